"""
A real Grid Engine, watched by jobpush in its own process: what an HTTP client is told of each way in which a job can go.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.endings import LONG, NAMES, PASSING, Doing, Ending, cell, check_column, check_history, submit_all, told, when
from tests.fakes import Programs
from tests.service_process import ServiceProcess
from tests.sge_cluster import GridEngine
from tests.slurm_cluster import OTHER_USER, wait_until

pytestmark = [pytest.mark.sge, pytest.mark.service, pytest.mark.timeout(240)]

#: Names with what a table, a protocol or XML could trip over, as far as Grid Engine takes them.
ODD_NAMES = {"pipe": "a|b|c", "comma": "a,b;c", "markup": "a<b>&'c\"", "percent": "p100%s", "long": "x" * 500}

#: A script that uses 200 MB.
GREEDY = "exec perl -e '$x = \"a\" x 200000000; sleep 60'"


@pytest.fixture(scope="module")
def jobpush(sge: GridEngine, short_path: Path) -> Iterator[ServiceProcess]:
    """jobpush beside that Grid Engine, with a ``qstat`` that notes how it is called."""
    service = ServiceProcess(
        short_path / "jobpush-sge",
        "--queue", f"sge:interval=0.3:root={sge.root}:qmaster_port={sge.port}:bin={noting_programs(sge, short_path / 'sge-bin')}",
        "--state", str(short_path / "jobpush-sge" / "state"),
    )  # fmt: skip
    service.start()
    yield service
    service.stop()


def noting_programs(sge: GridEngine, directory: Path) -> Path:
    """Grid Engine's commands, each behind a wrapper that notes its arguments."""
    programs = Programs(str(directory))
    for name in ("qstat", "qconf", "qacct"):
        programs.write(name, f'#!/bin/sh\necho "{name} $*" >>$DIR/log\nexec {sge.bin}/{name} "$@"\n')
    return programs.directory


def clear_and_delete(doing: Doing) -> None:
    """In the error state: it is cleared, tries again, fails again, and is deleted."""
    doing.reaches("HELD")
    assert doing.shown()["reason_code"] == "ERROR"

    def records() -> int:
        file = doing.cluster.accounting  # it is not there before the first record
        return file.read_text().count(f":{doing.job}:sge:") if file.exists() else 0

    wait_until(lambda: records() > 0, 20)
    tried = records()
    doing.cluster.run("qmod", "-cj", doing.job)
    wait_until(lambda: records() > tried, 20)
    when("HELD", "qdel")(doing)


def suspend_and_resume(doing: Doing) -> None:
    when("RUNNING", "qmod", "-sj")(doing)
    when("SUSPENDED", "qmod", "-usj")(doing)


def hold_running(doing: Doing) -> None:
    """A hold on a running job changes nothing until it ends."""
    doing.reaches("RUNNING")
    doing.cluster.command("qhold", doing.job)
    assert doing.shown()["state"] == "RUNNING"


ENDINGS = [
    Ending("success", ["QUEUED", "RUNNING", "COMPLETED"], script="sleep 1", final={"exit_code": 0, "signal": None}),
    Ending("exit 3", ["QUEUED", "RUNNING", "FAILED"], script="sleep 1; exit 3", final={"exit_code": 3, "signal": None}),
    Ending("exit 255", ["QUEUED", "RUNNING", "FAILED"], script="sleep 1; exit 255", final={"exit_code": 255}),
    Ending("exit 137", ["QUEUED", "RUNNING", "FAILED"], script="sleep 1; exit 137", final={"exit_code": 137, "signal": None}),
    Ending("signal", ["QUEUED", "RUNNING", "FAILED"], script="sleep 1; kill -SEGV $$", final={"exit_code": None, "signal": 11}),
    Ending("kill -9", ["QUEUED", "RUNNING", "FAILED"], script="sleep 1; kill -KILL $$", final={"exit_code": None, "signal": 9}),
    Ending("at once", ["QUEUED", "RUNNING", "COMPLETED"], script="true", final={"exit_code": 0, "confidence": "accounting"}),
    Ending(
        "cancel pending", ["HELD", "CANCELLED"], options=("-h",), then=when("HELD", "qdel"),
        final={"exit_code": None, "signal": None, "started_at": None},
    ),
    Ending("cancel waiting", ["QUEUED", "CANCELLED"], options=("-a", "203001010000"), then=when("QUEUED", "qdel")),
    Ending("cancel running", ["QUEUED", "RUNNING", "CANCELLED"], script="sleep 300", then=when("RUNNING", "qdel")),
    Ending("time-out", ["QUEUED", "RUNNING", "TIMEOUT"], options=("-l", "h_rt=3"), script="sleep 300", final={"time_limit_s": 3}),
    Ending("soft limit", ["QUEUED", "RUNNING", "FAILED"], options=("-l", "s_rt=2"), script="sleep 9", final={"signal": 10}),
    Ending("memory", ["QUEUED", "RUNNING", "FAILED"], options=("-l", "h_vmem=60M"), script=GREEDY, final={"signal": None}),
    Ending("hold and release", ["HELD", "RUNNING", "COMPLETED"], options=("-h",), then=when("HELD", "qrls"), passing=PASSING | {"QUEUED"}),
    Ending("held while it runs", ["QUEUED", "RUNNING", "COMPLETED"], script=LONG, then=hold_running),
    Ending(
        "suspend and resume", ["QUEUED", "RUNNING", "SUSPENDED", "RUNNING", "COMPLETED"], script=LONG,
        then=suspend_and_resume,
    ),
    Ending(
        # By exit 99: rescheduled by qmod -rj, a job may stay "Rr" for ever where its execution daemon still clears up after it.
        "requeue", ["RUNNING", "COMPLETED"], passing=PASSING | {"QUEUED"}, script='[ "$RESTARTED" = 1 ] || { sleep 1; exit 99; }',
        final={"attempt": 1, "exit_code": 0},
    ),
    Ending("dependency", ["QUEUED", "RUNNING", "COMPLETED"], options=("-hold_jid", "{success}"), final={"exit_code": 0}),
    Ending(
        # qstat may show such a job as running for a moment, before its execution daemon says what is wrong.
        "bad output path", ["HELD", "CANCELLED"], passing=PASSING | {"QUEUED", "RUNNING"}, options=("-o", "/nonexistent/x"), then=when("HELD", "qdel"),
        final={"signal": None, "exit_code": None},
    ),
    Ending(
        "bad work directory", ["HELD", "CANCELLED"], options=("-wd", "/nonexistent"), then=clear_and_delete,
        passing=PASSING | {"QUEUED", "RUNNING"},
    ),
    Ending("exit 100", ["HELD", "CANCELLED"], script="exit 100", then=when("HELD", "qdel"), passing=PASSING | {"QUEUED", "RUNNING"}),
    Ending(
        "array, one fails", ["QUEUED", "RUNNING", "FAILED"], options=("-t", "1-3"), script="sleep 1; exit $((SGE_TASK_ID == 2 ? 7 : 0))",
        final={"exit_code": 7, "counts": {"COMPLETED": 2, "FAILED": 1}},
    ),
    Ending(
        "array, cancelled", ["QUEUED", "RUNNING", "CANCELLED"], options=("-t", "1-3", "-tc", "1"), script="sleep 300",
        then=when("RUNNING", "qdel"), final={"counts": {"CANCELLED": 3}},
    ),
    *(
        Ending(f"name with {kind}", ["QUEUED", "RUNNING", "COMPLETED"], options=("-N", name), script="sleep 1", final={"name": name})
        for kind, name in ODD_NAMES.items()
    ),
]  # fmt: skip


@pytest.fixture(scope="module")
def endings(sge: GridEngine, jobpush: ServiceProcess) -> dict[str, str]:
    """All jobs of `ENDINGS`: name to id."""
    wait_until(lambda: jobpush.get("/readyz").status == 200, 20)
    return submit_all(ENDINGS, sge, jobpush, "sge")


@pytest.mark.parametrize("ending", ENDINGS, ids=lambda ending: ending.name)
def test_history(ending: Ending, endings: dict[str, str], sge: GridEngine, jobpush: ServiceProcess) -> None:
    """What a client is told of each way in which a job can go."""
    check_history(ending, Doing(sge, jobpush, "sge", endings[ending.name]), 60)


def test_table(endings: dict[str, str], jobpush: ServiceProcess) -> None:
    """The documentation's table of endings says what was seen."""
    ends = {name: jobpush.job("sge", endings[name], until="terminal", wait=60)["job"] for name in NAMES}
    check_column("Grid Engine", {name: cell(job) for name, job in ends.items()})


def test_why_a_job_waits(sge: GridEngine, jobpush: ServiceProcess) -> None:
    """One letter h stands for three things: a person's hold, an operator's, and a dependency, which is none."""
    running = sge.submit(script="sleep 60")
    user, operator = sge.submit("-h"), sge.submit("-h")
    sge.command("qhold", "-h", "o", operator)
    sge.command("qrls", "-h", "u", operator)
    after, both = sge.submit("-hold_jid", running), sge.submit("-hold_jid", running, "-h")
    later = sge.submit("-a", "203001010000")
    for job, state, code in (
        (user, "HELD", "HELD_BY_USER"), (operator, "HELD", "HELD_BY_ADMIN"), (after, "QUEUED", "DEPENDENCY"),
        (both, "HELD", "HELD_BY_USER"), (later, "QUEUED", "BEGIN_TIME"),
    ):  # fmt: skip
        doing = Doing(sge, jobpush, "sge", job)
        doing.reaches(state)
        assert doing.shown()["reason_code"] == code, doing.shown()
    sge.command("qrls", both)
    wait_until(lambda: Doing(sge, jobpush, "sge", both).shown()["state"] == "QUEUED", 40)
    sge.command("qdel", running, user, operator, after, both, later)
    for job in (running, user, operator, after, both, later):
        assert jobpush.job("sge", job, until="terminal", wait=30)["job"]["state"] == "CANCELLED"


def test_arrays(sge: GridEngine, jobpush: ServiceProcess) -> None:
    """Tasks with a step and a limit, one held, one deleted while it waits: each is told, and the array is their sum."""
    array = sge.submit("-t", "1-9:2", "-tc", "1", script="sleep 2")
    doing = Doing(sge, jobpush, "sge", array)
    doing.reaches("RUNNING")
    waiting = jobpush.job("sge", f"{array}.9", wait=5)
    assert (waiting["job"]["state"], waiting["job"]["id"]) == ("QUEUED", f"{array}.9")
    sge.command("qhold", f"{array}.7")
    sge.command("qdel", array, "-t", "9")
    held = Doing(sge, jobpush, "sge", f"{array}.7")
    held.reaches("HELD")
    assert jobpush.job("sge", f"{array}.9", until="terminal", wait=20)["job"]["state"] == "CANCELLED"
    for index in (1, 3, 5):
        assert jobpush.job("sge", f"{array}.{index}", until="terminal", wait=30)["job"]["state"] == "COMPLETED"
    assert held.shown()["state"] == "HELD"
    sge.command("qrls", f"{array}.7")
    whole = jobpush.job("sge", array, until="terminal", wait=40)["job"]
    assert whole["counts"] == {"CANCELLED": 1, "COMPLETED": 4}
    assert told(jobpush.events(job=f"sge/{array}.7"))[-2:] == ["RUNNING", "COMPLETED"]
    assert jobpush.get(f"/v1/jobs/sge/{array}.2").status == 404


def test_tasks_of_a_moment(sge: GridEngine, jobpush: ServiceProcess) -> None:
    """Tasks that run and end between two queries were not cancelled, though they left the range without a row."""
    array = sge.submit("-t", "1-12", script="exit $((SGE_TASK_ID == 5 ? 3 : 0))")
    whole = jobpush.job("sge", array, until="terminal", wait=40)["job"]
    assert whole["counts"] == {"COMPLETED": 11, "FAILED": 1}
    for index in (1, 5, 12):
        states = told(jobpush.events(job=f"sge/{array}.{index}"), PASSING | {"QUEUED"})
        assert states == ["RUNNING", "FAILED" if index == 5 else "COMPLETED"]


def test_resubmitted(sge: GridEngine, jobpush: ServiceProcess) -> None:
    """``qresub`` makes another job of a job."""
    first = sge.submit("-h", script="sleep 1; exit 4")
    second = sge.command("qresub", first).split()[2]
    assert second != first
    sge.command("qrls", first, second)
    for job in (first, second):
        assert jobpush.job("sge", job, until="terminal", wait=30)["job"]["exit_code"] == 4


def test_jobs_that_come_and_go_between_two_queries(sge: GridEngine, jobpush: ServiceProcess, short_path: Path) -> None:
    """With a query every five seconds, jobs of a moment are seen with their outcomes and times all the same."""
    slow = ServiceProcess(short_path / "slow-sge", "--queue", f"sge:interval=5:root={sge.root}:qmaster_port={sge.port}")
    slow.start()
    try:
        wait_until(lambda: slow.get("/readyz").status == 200, 20)
        cursor = slow.get("/v1/changes").json["cursor"]
        jobs = [sge.submit(script=f"exit {code}", user=OTHER_USER) for code in (0, 5, 6)]
        for job, code in zip(jobs, (0, 5, 6), strict=True):
            answer = slow.job("sge", job, until="terminal", wait=30)["job"]
            assert (answer["exit_code"], answer["user"], answer["confidence"]) == (code, OTHER_USER, "accounting")
            events = slow.events(since=cursor, job=f"sge/{job}")
            assert told(events) == ["QUEUED", "RUNNING", "FAILED" if code else "COMPLETED"]
    finally:
        slow.stop()


def test_ended_while_jobpush_was_down(sge: GridEngine, short_path: Path) -> None:
    """What ended meanwhile is found in the accounting file, what was deleted in the reporting file."""
    arguments = [
        "--queue", f"sge:interval=0.3:root={sge.root}:qmaster_port={sge.port}", "--state", str(short_path / "down-sge" / "state"),
    ]  # fmt: skip
    service = ServiceProcess(short_path / "down-sge", *arguments)
    service.start()
    service.ready()
    runs, deleted, waits = sge.submit(script="sleep 3; exit 9"), sge.submit(script="sleep 300"), sge.submit("-h")
    array = sge.submit("-h", "-t", "1-3")
    for job, state in ((runs, "RUNNING"), (deleted, "RUNNING"), (waits, "HELD"), (array, "HELD")):
        Doing(sge, service, "sge", job).reaches(state)
    service.stop()
    sge.command("qdel", deleted, waits, array)
    wait_until(lambda: f":{runs}:sge:" in sge.accounting.read_text(), 20)
    time.sleep(1.5)
    service = ServiceProcess(short_path / "down-sge", *arguments)
    service.start()
    try:
        for job, state, code in ((runs, "FAILED", 9), (deleted, "CANCELLED", None), (waits, "CANCELLED", None), (array, "CANCELLED", None)):
            answer = service.job("sge", job, until="terminal", wait=30)["job"]
            assert (answer["state"], answer["exit_code"]) == (state, code), answer
            assert answer["confidence"] == "accounting"
    finally:
        service.stop()


def test_slaves_of_a_parallel_job(sge: GridEngine, jobpush: ServiceProcess, short_path: Path) -> None:
    """Each slave has an accounting record of its own, here of a signal: how the job ends is what its script exits with."""
    sge.add_parallel_environment("mpi")
    script = f"{sge.slave('/bin/true')}\n{sge.slave('/bin/sleep 60')} &\nsleep 2; exit "
    jobs = {code: sge.submit("-pe", "mpi", "2", script=f"{script}{code}") for code in (0, 5)}
    for code, job in jobs.items():
        answer = jobpush.job("sge", job, until="terminal", wait=60)["job"]
        assert (answer["state"], answer["exit_code"], answer["attempt"]) == ("FAILED" if code else "COMPLETED", code, 0), answer
    time.sleep(2)
    for code, job in jobs.items():
        lines = [line for line in sge.accounting.read_text().splitlines() if f":{job}:sge:" in line]
        assert len(lines) == 3, lines
        assert told(jobpush.events(job=f"sge/{job}"), PASSING | {"QUEUED"}) == ["RUNNING", "FAILED" if code else "COMPLETED"]


def test_deletions(sge: GridEngine, jobpush: ServiceProcess) -> None:
    """One that is forced is no success, though its record says exit 0; one that the job catches leaves it its exit status."""
    forced = sge.submit(script="sleep 300")
    caught = sge.submit("-notify", script="trap 'exit 3' USR2; while :; do sleep 0.2; done")
    for job in (forced, caught):
        Doing(sge, jobpush, "sge", job).reaches("RUNNING")
    time.sleep(3)
    sge.command("qdel", "-f", forced)
    sge.command("qdel", caught)
    answer = jobpush.job("sge", forced, until="terminal", wait=40)["job"]
    assert (answer["state"], answer["exit_code"]) == ("CANCELLED", None), answer
    answer = jobpush.job("sge", caught, until="terminal", wait=90)["job"]
    assert (answer["state"], answer["exit_code"], answer["flags"]) == ("FAILED", 3, ["deleted"]), answer


def test_rescheduled_while_jobpush_was_down(sge: GridEngine, short_path: Path) -> None:
    """Their records have a new time of submission: they are the same jobs all the same, though the files were moved away."""
    arguments = [
        "--queue", f"sge:interval=0.3:root={sge.root}:qmaster_port={sge.port}", "--state", str(short_path / "again-sge" / "state"),
    ]  # fmt: skip
    service = ServiceProcess(short_path / "again-sge", *arguments)
    service.start()
    service.ready()
    again = sge.submit(script='[ "$RESTARTED" = 1 ] || { sleep 3; exit 99; }; exit 6')
    held = sge.submit("-h", script='[ "$RESTARTED" = 1 ] || exit 99; exit 8')
    uids = {}
    for job, state in ((again, "RUNNING"), (held, "HELD")):
        Doing(sge, service, "sge", job).reaches(state)
        uids[job] = service.job("sge", job)["job"]["uid"]
    service.stop()
    sge.command("qrls", held)
    for job, code in ((again, 6), (held, 8)):
        wait_until(lambda job=job, code=code: sge.accounting.exists() and any(  # type: ignore[misc]
            line.split(":")[5] == job and line.split(":")[12] == str(code) for line in sge.accounting.read_text().splitlines() if line.count(":") > 40
        ), 60)  # fmt: skip
    sge.accounting.rename(sge.accounting.with_name("accounting-20261126"))
    service = ServiceProcess(short_path / "again-sge", *arguments)
    service.start()
    try:
        for job, code in ((again, 6), (held, 8)):
            answer = service.job("sge", job, until="terminal", wait=40)["job"]
            assert (answer["state"], answer["exit_code"], answer["uid"]) == ("FAILED", code, uids[job]), answer
            before = answer["previous_attempt"]
            assert (before["attempt"], before["outcome"], before["exit_code"]) == (0, "FAILED", 99), answer
            states = told(service.events(job=f"sge/{job}"), PASSING | {"QUEUED", "HELD"})
            assert states[-1] == "FAILED", states
            assert not {"LOST", "CANCELLED"} & set(states), states
    finally:
        service.stop()


def test_rescheduled_while_jobpush_looks(sge: GridEngine, jobpush: ServiceProcess) -> None:
    """How the attempt before ended is told while the next one waits or runs, as soon as Grid Engine has written its record."""
    job = sge.submit(script='[ "$RESTARTED" = 1 ] && exec sleep 60; sleep 1; exit 99')
    jobpush.job("sge", job, until="started", wait=30)
    wait_until(lambda: (jobpush.job("sge", job)["job"]["previous_attempt"] or {}).get("exit_code") == 99, 60)
    answer = jobpush.job("sge", job)["job"]
    assert (answer["attempt"], answer["previous_attempt"]["outcome"], answer["previous_attempt"]["attempt"]) == (1, "FAILED", 0)
    sge.command("qdel", job)
    assert jobpush.job("sge", job, until="terminal", wait=40)["job"]["previous_attempt"] == answer["previous_attempt"]


def test_qmaster_stopped(sge: GridEngine, jobpush: ServiceProcess) -> None:
    """While the qmaster is gone no job ends, staleness grows, and then events resume."""
    job = sge.submit(script="sleep 12; exit 2")
    doing = Doing(sge, jobpush, "sge", job)
    doing.reaches("RUNNING")
    sge.stop_qmaster()
    wait_until(lambda: jobpush.job("sge", job)["health"] == "stale", 40)
    first = jobpush.job("sge", job)["stale_s"]
    time.sleep(4)
    answer = jobpush.job("sge", job)
    assert answer["job"]["state"] == "RUNNING"
    assert answer["stale_s"] > first
    sge.start_qmaster()
    end = jobpush.job("sge", job, until="terminal", wait=60)["job"]
    assert (end["state"], end["exit_code"]) == ("FAILED", 2)


def test_unchanged_jobs_are_not_asked_about(sge: GridEngine, jobpush: ServiceProcess, short_path: Path) -> None:
    """A tick in which nothing changes is one ``qstat``, whoever waits."""
    job = sge.submit(script="sleep 300")
    Doing(sge, jobpush, "sge", job).reaches("RUNNING")
    time.sleep(1)
    log = short_path / "sge-bin" / "log"
    before = len(log.read_text().splitlines())
    queries = jobpush.get("/readyz").json["queues"]["sge"]["queries"]
    for _ in range(6):  # the files tell of each change by now, so that the poll is seldom
        assert jobpush.request("POST", "/v1/nudge", b"{}").status == 202
        time.sleep(0.5)
    ran = log.read_text().splitlines()[before:]
    assert set(ran) == {"qstat -u * -s prs -xml"}
    assert abs(len(ran) - (jobpush.get("/readyz").json["queues"]["sge"]["queries"] - queries)) <= 1
    sge.command("qdel", job)
    jobpush.job("sge", job, until="terminal", wait=30)


def test_settings_are_warned_about(sge: GridEngine, jobpush: ServiceProcess, short_path: Path) -> None:
    """Without a log of deletions, and with accounting records kept back for long, the administrator is told by their names."""
    sge.configure(reporting_params="accounting=true reporting=false flush_time=00:00:01 accounting_flush_time=00:05:00 joblog=false")
    service = ServiceProcess(short_path / "warned-sge", "--queue", f"sge:interval=0.5:root={sge.root}:qmaster_port={sge.port}")
    service.start()
    try:
        wait_until(lambda: "reporting=true joblog=true" in service.log, 20)
        assert "accounting_flush_time" in service.log
    finally:
        service.stop()
        sge.configure(reporting_params="accounting=true reporting=true flush_time=00:00:01 joblog=true sharelog=00:00:00")
