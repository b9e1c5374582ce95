"""The OpenPBS that is on PATH (tests.pbs_cluster), watched by jobpush in its own process."""

from __future__ import annotations

import json
import os
import pwd
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobpush.adapter.command import CommandResult
from jobpush_adapters.pbs import ifl_helper
from jobpush_adapters.pbs.ifl import find_library
from jobpush_adapters.pbs.parse import describe, parse_jobs
from jobpush_adapters.pbs.queue import configured_home
from tests.endings import LONG, PASSING, Doing, Ending, check_history, when
from tests.pbs_cluster import Pbs, pbs_with_user, why_not, why_not_configure
from tests.service_process import ServiceProcess
from tests.slurm_cluster import wait_until

pytestmark = [pytest.mark.pbs, pytest.mark.service, pytest.mark.timeout(300)]

#: The account as which a jobpush runs that is no manager.
OTHER_ACCOUNT = "nobody"


@pytest.fixture(scope="module")
def pbs() -> Iterator[Pbs]:
    why = why_not()
    if why is not None:
        pytest.skip(why)
    with pbs_with_user() as found:
        yield found


@pytest.fixture(scope="module")
def jobpush(pbs: Pbs, short_path: Path) -> Iterator[ServiceProcess]:
    """jobpush beside that PBS."""
    directory = short_path / "jobpush-pbs"
    service = ServiceProcess(directory, "--queue", "pbs:interval=0.5", "--state", str(directory / "state"))
    service.start()
    service.ready()
    yield service
    service.stop()


def suspend_and_resume(doing: Doing) -> None:
    when("RUNNING", "qsig", "-s", "suspend")(doing)
    when("SUSPENDED", "qsig", "-s", "resume")(doing)


def delete_third(doing: Doing) -> None:
    doing.reaches("RUNNING")
    doing.cluster.command("qdel", doing.job.replace("[]", "[3]"))


ENDINGS = [
    Ending("success", ["RUNNING", "COMPLETED"], script="sleep 2", final={"exit_code": 0}, passing=PASSING | {"QUEUED"}),
    Ending("exit 3", ["RUNNING", "FAILED"], script="sleep 2; exit 3", final={"exit_code": 3}, passing=PASSING | {"QUEUED"}),
    Ending("exit 255", ["RUNNING", "FAILED"], script="sleep 2; exit 255", final={"exit_code": 255}, passing=PASSING | {"QUEUED"}),
    Ending("exit 137", ["RUNNING", "FAILED"], script="sleep 2; exit 137", final={"exit_code": 137}, passing=PASSING | {"QUEUED"}),
    Ending("kill -9", ["RUNNING", "FAILED"], script="sleep 2; kill -KILL $$", final={"signal": 9}, passing=PASSING | {"QUEUED"}),
    Ending("signal", ["RUNNING", "FAILED"], script="sleep 2; kill -SEGV $$", final={"signal": 11}, passing=PASSING | {"QUEUED"}),
    Ending("at once", ["COMPLETED"], script="true", passing=PASSING | {"QUEUED", "RUNNING"}),
    Ending("cancel pending", ["HELD", "CANCELLED"], options=("-h",), then=when("HELD", "qdel"), final={"exit_code": None}),
    Ending("cancel waiting", ["QUEUED", "CANCELLED"], options=("-a", "203001010000"), then=when("QUEUED", "qdel")),
    Ending("cancel running", ["RUNNING", "CANCELLED"], script="sleep 300", then=when("RUNNING", "qdel"), passing=PASSING | {"QUEUED"}),
    Ending("time-out", ["RUNNING", "TIMEOUT"], options=("-l", "walltime=3"), script="sleep 300", passing=PASSING | {"QUEUED"}),
    Ending("hold and release", ["HELD", "COMPLETED"], options=("-h",), then=when("HELD", "qrls"), passing=PASSING | {"QUEUED", "RUNNING"}),
    Ending(
        "suspend and resume", ["RUNNING", "SUSPENDED", "RUNNING", "COMPLETED"], script=LONG,
        then=suspend_and_resume, passing=PASSING | {"QUEUED"},
    ),
    Ending(
        "requeue", ["RUNNING", "COMPLETED"], script="sleep 10", then=when("RUNNING", "qrerun"), final={"attempt": 1},
        passing=PASSING | {"QUEUED"},
    ),
    Ending(
        "dependency", ["COMPLETED"], options=("-W", "depend=afterok:{success}"), passing=PASSING | {"QUEUED", "RUNNING"},
    ),
    Ending(
        "dependency never satisfied", ["QUEUED", "CANCELLED"], options=("-W", "depend=afternotok:{success}"),
        final={"reason_code": "DEPENDENCY"},
    ),
    Ending("bad output path", ["COMPLETED"], options=("-o", "/nowhere/x"), passing=PASSING | {"QUEUED", "RUNNING"}),
    Ending(
        "array, cancelled", ["RUNNING", "CANCELLED"], options=("-J", "1-3%1"), script="sleep 300", then=when("RUNNING", "qdel"),
        final={"counts": {"CANCELLED": 3}, "exit_code": None}, passing=PASSING | {"QUEUED"},
    ),
    Ending(
        "array, a waiting subjob is deleted", ["RUNNING", "CANCELLED"], options=("-J", "1-3%1"), script="sleep $((PBS_ARRAY_INDEX == 1 ? 40 : 1))",
        then=delete_third, final={"counts": {"CANCELLED": 1, "COMPLETED": 2}, "exit_code": None}, passing=PASSING | {"QUEUED"},
    ),
    Ending(
        "array, one fails", ["FAILED"], options=("-J", "1-3"), script="sleep 2; exit $((PBS_ARRAY_INDEX == 2 ? 7 : 0))",
        final={"counts": {"COMPLETED": 2, "FAILED": 1}}, passing=PASSING | {"QUEUED", "RUNNING"},
    ),
]  # fmt: skip


@pytest.fixture(scope="module")
def endings(pbs: Pbs, jobpush: ServiceProcess) -> dict[str, str | Exception]:
    """All jobs of `ENDINGS`, submitted at once and treated one after another: name to id, or to what went wrong with that one."""
    found: dict[str, str | Exception] = {}
    for ending in ENDINGS:
        try:
            options = [re.sub(r"\{(.+?)\}", lambda name: str(found[name[1]]), option) for option in ending.options]
            found[ending.name] = pbs.submit(*options, script=ending.script)
        except AssertionError as error:
            found[ending.name] = error
    for ending in ENDINGS:
        job = found[ending.name]
        if isinstance(job, str):
            try:
                ending.then(Doing(pbs, jobpush, "pbs", job))
            except (AssertionError, TimeoutError) as error:
                found[ending.name] = error
    return found


@pytest.mark.parametrize("ending", ENDINGS, ids=lambda ending: ending.name)
def test_history(ending: Ending, endings: dict[str, str | Exception], pbs: Pbs, jobpush: ServiceProcess) -> None:
    """What a client is told of each way in which a job can go."""
    job = endings[ending.name]
    if isinstance(job, Exception):
        raise job
    check_history(ending, Doing(pbs, jobpush, "pbs", job), 120)


def test_subjobs_that_never_ran(endings: dict[str, str | Exception], jobpush: ServiceProcess) -> None:
    """Those that were deleted while they waited are told as CANCELLED, and as nothing else that follows waiting."""
    for name, indices in (("array, cancelled", (2, 3)), ("array, a waiting subjob is deleted", (3,))):
        array = endings[name]
        assert isinstance(array, str), array
        jobpush.job("pbs", array, until="terminal", wait=60)
        for index in indices:
            subjob = array.replace("[]", f"[{index}]")
            job = jobpush.job("pbs", subjob)["job"]
            assert (job["state"], job["exit_code"], job["started_at"]) == ("CANCELLED", None, None), job
            states = [event["job"]["state"] for event in jobpush.events(job=f"pbs/{subjob}") if event["job"]["id"] == subjob]
            assert set(states) <= {"QUEUED", "CANCELLED"}, states


def may_configure() -> None:
    """Skip a test that changes the server's configuration, unless that is allowed."""
    why = why_not_configure()
    if why is not None:
        pytest.skip(why)


def test_hidden_jobs_end_nothing(pbs: Pbs) -> None:
    """``query_other_jobs`` is taken away while a jobpush watches that is no manager: it is blind, and no job ends."""
    may_configure()
    account = pwd.getpwnam(OTHER_ACCOUNT)
    directory = Path(tempfile.mkdtemp(prefix="jobpush-pbs-", dir="/var/tmp"))
    os.chown(directory, account.pw_uid, account.pw_gid)
    service = ServiceProcess(
        directory, "--queue", "pbs:interval=0.5", "--state", str(directory / "state"), "--allow-anonymous",
        twistd_options=["--uid", str(account.pw_uid), "--gid", str(account.pw_gid)],
    )  # fmt: skip
    service.start()
    job = pbs.submit("-h")
    try:
        service.ready()
        Doing(pbs, service, "pbs", job).reaches("HELD")
        pbs.command("qmgr", "-c", "set server query_other_jobs = False")
        wait_until(lambda: service.get("/readyz").json["queues"]["pbs"]["health"] == "blind", 20)
        time.sleep(3)
        assert service.job("pbs", job)["job"]["state"] == "HELD"
        pbs.command("qmgr", "-c", "set server query_other_jobs = True")
        wait_until(lambda: service.get("/readyz").json["queues"]["pbs"]["health"] == "ok", 60)
        assert service.job("pbs", job)["job"]["state"] == "HELD"
    finally:
        pbs.command("qmgr", "-c", "set server query_other_jobs = True")
        pbs.command("qdel", job)
        service.stop()
        shutil.rmtree(directory)


def test_history_switched_off(pbs: Pbs, jobpush: ServiceProcess) -> None:
    """Under the running service: that is said, and each job is told once, with its end, from the accounting log."""
    may_configure()
    home = os.environ.get("JOBPUSH_PBS_HOME") or configured_home(os.environ)
    if not os.access(Path(home) / "server_priv" / "accounting", os.R_OK):
        pytest.skip("the accounting log cannot be read")
    before = pbs.submit(script="sleep 25; exit 5")
    Doing(pbs, jobpush, "pbs", before).reaches("RUNNING")
    pbs.command("qmgr", "-c", "set server job_history_enable = False")
    try:
        wait_until(lambda: "job_history_enable" in str(jobpush.get("/readyz").json["queues"]["pbs"]["missing"]), 60)
        wait_until(lambda: jobpush.get("/readyz").json["queues"]["pbs"]["health"] == "ok", 60)
        jobs = {before: 5, **{pbs.submit(script=f"exit {code}"): code for code in (3, 0, 4)}}
        for job, code in jobs.items():
            wait_until(lambda job=job: jobpush.job("pbs", job).get("job", {}).get("settled"), 60)
            assert jobpush.job("pbs", job)["job"]["exit_code"] == code
            ends = [event for event in jobpush.events(job=f"pbs/{job}") if event["job"]["settled"]]
            assert len(ends) == 1, ends
    finally:
        pbs.command("qmgr", "-c", "set server job_history_enable = True")


def test_libpbs_tells_what_qstat_tells(pbs: Pbs, jobpush: ServiceProcess) -> None:
    """Each attribute that is read, of jobs and subjobs, listed and finished; and jobpush asks it so, without a word of failure."""
    library = find_library(None)
    if library is None:
        pytest.skip("libpbs is not beside qstat")
    held = pbs.submit("-h", "-N", "a_name", "-l", "walltime=00:10:00", "-v", "workflow=w7,ODD=a,EMPTY=")
    array = pbs.submit("-J", "1-3%1", script="sleep 4")
    ended = pbs.submit(script="exit 3")
    Doing(pbs, jobpush, "pbs", ended).reaches("FAILED")
    ids = [held, array, array.replace("[]", "[1]"), array.replace("[]", "[3]"), ended, "999999"]
    helper = [sys.executable, "-I", "-S", ifl_helper.__file__, library]
    question = json.dumps(["jobs", True, *ids]) + "\n"
    for _ in range(10):  # until nothing has changed meanwhile
        run = subprocess.run(helper, input=question.encode(), capture_output=True, timeout=30, check=True)
        by_library = parse_jobs(CommandResult(0, run.stdout.partition(b"\n")[2], b""))
        by_qstat = parse_jobs(CommandResult(153, pbs.run("qstat", "-x", "-E", "-f", "-F", "json", *ids).stdout.encode(), b""))
        told = [{job: describe("pbs", job, a, 0.0) for job, a in answer.items()} for answer in (by_library, by_qstat)]
        if told[0].keys() == told[1].keys() and all(told[0][job].says_the_same(told[1][job]) for job in told[0]):
            break
        time.sleep(0.5)
    else:
        raise AssertionError(told)
    assert len(told[0]) == 5
    pbs.command("qdel", held, array)
    assert "libpbs" not in jobpush.log
