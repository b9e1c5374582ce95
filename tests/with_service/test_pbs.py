"""
The OpenPBS that is on PATH, watched by jobpush in its own process. None is started here: it is no Debian package.

Jobs run as the user of ``JOBPUSH_PBS_USER`` (default: nobody); to hold, suspend and rerun them the tests must run as a manager.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from jobpush_adapters.common.detect import detect_pbs
from tests.cluster import Cluster
from tests.endings import LONG, PASSING, Doing, Ending, check_history, submit_all, when
from tests.service_process import ServiceProcess
from tests.slurm_cluster import wait_until

pytestmark = [pytest.mark.pbs, pytest.mark.service, pytest.mark.timeout(300)]

USER = os.environ.get("JOBPUSH_PBS_USER", "nobody")


class Pbs(Cluster):
    """The commands of the PBS on PATH."""

    directory = "/tmp"

    @property
    def environment(self) -> Mapping[str, str]:
        """That of the tests."""
        return os.environ

    def submit(self, *options: str, script: str = "exit 0") -> str:
        """Submit a job; its id."""
        where = ["-o", "/tmp", "-e", "/tmp"] if "-o" not in options else []
        return self.command("qsub", *where, *options, "--", "/bin/sh", "-c", script, user=USER)


@pytest.fixture(scope="module")
def pbs() -> Pbs:
    if detect_pbs() is None or "pbs_version" not in Pbs().run("qstat", "--version").stdout:
        pytest.skip("there is no OpenPBS on PATH, and no Debian package of it")
    if os.geteuid() != 0 or shutil.which("runuser") is None:
        pytest.skip("submitting as another user needs root")
    return Pbs()


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


ENDINGS = [
    Ending("success", ["QUEUED", "RUNNING", "COMPLETED"], script="sleep 2", final={"exit_code": 0}, passing=PASSING | {"QUEUED"}),
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
        "requeue", ["RUNNING", "QUEUED", "RUNNING", "COMPLETED"], script="sleep 10", then=when("RUNNING", "qrerun"), final={"attempt": 1},
    ),
    Ending(
        "dependency", ["COMPLETED"], options=("-W", "depend=afterok:{success}"), passing=PASSING | {"QUEUED", "RUNNING"},
    ),
    Ending(
        "dependency never satisfied", ["QUEUED", "CANCELLED"], options=("-W", "depend=afternotok:{success}"),
        final={"reason_code": "DEPENDENCY"},
    ),
    Ending(
        "array, one fails", ["FAILED"], options=("-J", "1-3"), script="sleep 2; exit $((PBS_ARRAY_INDEX == 2 ? 7 : 0))",
        final={"counts": {"COMPLETED": 2, "FAILED": 1}}, passing=PASSING | {"QUEUED", "RUNNING"},
    ),
]  # fmt: skip


@pytest.fixture(scope="module")
def endings(pbs: Pbs, jobpush: ServiceProcess) -> dict[str, str]:
    """All jobs of `ENDINGS`: name to id."""
    return submit_all(ENDINGS, pbs, jobpush, "pbs")


@pytest.mark.parametrize("ending", ENDINGS, ids=lambda ending: ending.name)
def test_history(ending: Ending, endings: dict[str, str], pbs: Pbs, jobpush: ServiceProcess) -> None:
    """What a client is told of each way in which a job can go."""
    check_history(ending, Doing(pbs, jobpush, "pbs", endings[ending.name]), 120)


def test_hidden_jobs_end_nothing(pbs: Pbs, jobpush: ServiceProcess) -> None:
    """``query_other_jobs`` is taken away while jobpush, which is no operator, watches: no job ends."""
    if os.environ.get("JOBPUSH_PBS_MAY_CONFIGURE") != "1":
        pytest.skip("this changes the server's configuration: say JOBPUSH_PBS_MAY_CONFIGURE=1")
    job = pbs.submit("-h")
    doing = Doing(pbs, jobpush, "pbs", job)
    doing.reaches("HELD")
    pbs.command("qmgr", "-c", "set server query_other_jobs = False")
    try:
        wait_until(lambda: jobpush.job("pbs", job)["job"]["state"] == "HELD", 10)
    finally:
        pbs.command("qmgr", "-c", "set server query_other_jobs = True")
    pbs.command("qdel", job)
