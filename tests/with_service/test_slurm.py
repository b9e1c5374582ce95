"""
A real Slurm, watched by jobpush in its own process: what an HTTP client is told of each way in which a job can go.
"""

from __future__ import annotations

import json
import pwd
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.load import Load, why_not
from tests.endings import LONG, NAMES, PASSING, Doing, Ending, cell, check_column, check_history, submit_all, told, when
from tests.fakes import Programs
from tests.service_process import ROOT, ServiceProcess
from tests.slurm_cluster import OTHER_USER, USER, SlurmCluster, wait_until

pytestmark = [pytest.mark.slurm, pytest.mark.service, pytest.mark.timeout(300)]

#: A name with everything that a shell, a table or a protocol could trip over.
ODD_NAMES = {
    "spaces": "a b  c ",
    "pipe": "a|b|c",
    "quotes": "it's \"quoted\" \\back\\",
    "unicode": "naïve-Ω-日本-🚀",
    "newline": "line1\nline2",
    "comma": "a,b;c",
    "long": "x" * 1000,
    "tab": "a\tb",
    "percent": "100%j %i",
}


@pytest.fixture(scope="module")
def jobpush(slurm: SlurmCluster, short_path: Path) -> Iterator[ServiceProcess]:
    """jobpush beside that Slurm, with a ``squeue`` that counts how often it runs, and how many at once."""
    service = ServiceProcess(
        short_path / "jobpush",
        "--queue", f"slurm:interval=0.4:reconcile=0.4:conf={slurm.conf}:bin={counting_programs(short_path / 'bin')}",
        "--state", str(short_path / "jobpush" / "state"),
    )  # fmt: skip
    service.start()
    yield service
    service.stop()


def counting_programs(directory: Path) -> Path:
    """Slurm's commands, each behind a wrapper that notes when it begins and ends."""
    programs = Programs(str(directory))
    for name in ("squeue", "scontrol", "sacct", "sacctmgr"):
        log = f"$DIR/{name}.log"
        programs.write(name, f'#!/bin/sh\necho "begin $$" >>{log}\n/usr/bin/{name} "$@"\nrc=$?\necho "end $$" >>{log}\nexit $rc\n')
    return programs.directory


def squeue_log(directory: Path) -> list[str]:
    """What the wrapper of ``squeue`` has noted."""
    return (directory / "bin" / "squeue.log").read_text().splitlines()


def release(doing: Doing) -> None:
    when("HELD", "scontrol", "release")(doing)


def suspend_and_resume(doing: Doing) -> None:
    when("RUNNING", "scontrol", "suspend")(doing)
    when("SUSPENDED", "scontrol", "resume")(doing)


def cancel_never_satisfied(doing: Doing) -> None:
    """It stays pending for ever; it is told as queued for its dependency, not as held."""
    wait_until(lambda: "Never" in str(doing.shown().get("reason")), 60)
    shown = doing.shown()
    assert (shown["state"], shown["reason_code"]) == ("QUEUED", "DEPENDENCY")
    doing.cluster.command("scancel", doing.job)


#: A script that uses 100 MB.
GREEDY = "exec python3 -c 'import time; x = bytearray(100 * 1024 * 1024); time.sleep(60)'"

ENDINGS = [
    Ending("success", ["QUEUED", "RUNNING", "COMPLETED"], script="sleep 1", final={"exit_code": 0, "signal": None}),
    Ending("exit 3", ["QUEUED", "RUNNING", "FAILED"], script="sleep 1; exit 3", final={"exit_code": 3, "signal": None}),
    Ending("exit 255", ["QUEUED", "RUNNING", "FAILED"], script="sleep 1; exit 255", final={"exit_code": 255}),
    Ending("exit 137", ["QUEUED", "RUNNING", "FAILED"], script="sleep 1; exit 137", final={"exit_code": 137, "signal": None}),
    Ending("signal", ["QUEUED", "RUNNING", "FAILED"], script="sleep 1; kill -SEGV $$", final={"exit_code": None, "signal": 11}),
    Ending("kill -9", ["QUEUED", "RUNNING", "FAILED"], script="sleep 1; kill -KILL $$", final={"exit_code": None, "signal": 9}),
    Ending("at once", ["QUEUED", "RUNNING", "COMPLETED"], script="true", final={"exit_code": 0}),
    Ending(
        "cancel pending", ["HELD", "CANCELLED"], options=("--hold",), then=when("HELD", "scancel"),
        final={"exit_code": None, "signal": None, "started_at": None},
    ),
    Ending("cancel waiting", ["QUEUED", "CANCELLED"], options=("--begin=now+1hour",), then=when("QUEUED", "scancel")),
    Ending("cancel running", ["QUEUED", "RUNNING", "CANCELLED"], script="exec sleep 300", then=when("RUNNING", "scancel")),
    Ending("time-out", ["QUEUED", "RUNNING", "TIMEOUT"], options=("-t", "0:05"), script="exec sleep 300", final={"time_limit_s": 60}),
    Ending("memory", ["QUEUED", "RUNNING", "FAILED"], options=("--mem=20",), script=GREEDY, final={"signal": 9}),
    Ending("hold and release", ["HELD", "RUNNING", "COMPLETED"], options=("--hold",), then=release, passing=PASSING | {"QUEUED"}),
    Ending(
        "suspend and resume", ["QUEUED", "RUNNING", "SUSPENDED", "RUNNING", "COMPLETED"], script=LONG,
        then=suspend_and_resume,
    ),
    Ending(
        "requeue", ["QUEUED", "RUNNING", "QUEUED", "RUNNING", "COMPLETED"], options=("--requeue",),
        # Slow to end, so that it is seen while it is put back.
        script='[ "$SLURM_RESTART_COUNT" ] || { trap "" TERM; exec sleep 300; }', then=when("RUNNING", "scontrol", "requeue"),
        final={"attempt": 1, "exit_code": 0},
    ),
    Ending("dependency", ["QUEUED", "RUNNING", "COMPLETED"], options=("-d", "afterok:{success}"), final={"exit_code": 0}),
    Ending(
        "dependency never satisfied", ["QUEUED", "CANCELLED"], options=("-d", "afternotok:{success}"),
        final={"reason_code": "DEPENDENCY", "exit_code": None},
    ),
    Ending(
        "dependency never satisfied, kept", ["QUEUED", "CANCELLED"],
        options=("-d", "afternotok:{success}", "--kill-on-invalid-dep=no"), then=cancel_never_satisfied,
    ),
    Ending(
        "bad output path", ["QUEUED", "RUNNING", "LAUNCH_FAIL"], options=("-o", "/nonexistent/x"), final={"signal": None},
        # A busy machine lets a second pass between the two; then it cannot be told from a job that died of signal 53.
        unproved=(lambda job: job["started_at"] not in (None, job["ended_at"]), ["QUEUED", "RUNNING", "FAILED"], {"signal": 53}),
    ),
    Ending("bad work directory", ["QUEUED", "RUNNING", "COMPLETED"], options=("-D", "/nonexistent"), script="sleep 1"),
    Ending(
        "array, one fails", ["QUEUED", "RUNNING", "FAILED"], options=("--array=1-3",), script="sleep 1; exit $((SLURM_ARRAY_TASK_ID == 2 ? 7 : 0))",
        final={"exit_code": 7, "counts": {"COMPLETED": 2, "FAILED": 1}},
    ),
    Ending(
        "array, cancelled", ["QUEUED", "RUNNING", "CANCELLED"], options=("--array=1-3%1",), script="exec sleep 300",
        then=when("RUNNING", "scancel"), final={"counts": {"CANCELLED": 3}},
    ),
    Ending("hidden partition", ["QUEUED", "RUNNING", "COMPLETED"], options=("-p", "secret"), script="sleep 1"),
    *(
        Ending(f"name with {kind}", ["QUEUED", "RUNNING", "COMPLETED"], options=("-J", name), script="sleep 1", final={"name": name})
        for kind, name in ODD_NAMES.items()
    ),
]  # fmt: skip


@pytest.fixture(scope="module")
def endings(slurm: SlurmCluster, jobpush: ServiceProcess) -> dict[str, str]:
    """All jobs of `ENDINGS`: name to id."""
    return submit_all(ENDINGS, slurm, jobpush, "slurm")


@pytest.mark.parametrize("ending", ENDINGS, ids=lambda ending: ending.name)
def test_history(ending: Ending, endings: dict[str, str], slurm: SlurmCluster, jobpush: ServiceProcess) -> None:
    """What a client is told of each way in which a job can go."""
    check_history(ending, Doing(slurm, jobpush, "slurm", endings[ending.name]))


def test_table(endings: dict[str, str], jobpush: ServiceProcess) -> None:
    """The documentation's table of endings says what was seen."""
    ends = {name: jobpush.job("slurm", endings[name], until="terminal", wait=100)["job"] for name in NAMES}
    check_column("Slurm", {name: cell(job) for name, job in ends.items()})


def test_array_with_a_limit(slurm: SlurmCluster, jobpush: ServiceProcess) -> None:
    """Tasks have histories of their own, the array is their sum, and a task that has no row yet is answered for."""
    array = slurm.submit("--array=0-5%2", script="sleep 1; exit $((SLURM_ARRAY_TASK_ID == 4 ? 7 : 0))")
    waiting = jobpush.job("slurm", f"{array}_5", wait=5)
    assert waiting["job"]["state"] == "QUEUED"
    assert waiting["job"]["id"] == f"{array}_5"
    whole = jobpush.job("slurm", array, until="terminal", wait=60)["job"]
    assert whole["state"] == "FAILED"
    assert whole["exit_code"] == 7
    assert whole["counts"] == {"COMPLETED": 5, "FAILED": 1}
    for index in range(6):
        events = jobpush.events(job=f"slurm/{array}_{index}")
        # The first tasks may start before the array is first seen: their waiting is inferred then.
        assert told(events, PASSING | {"QUEUED"}) == ["RUNNING", "FAILED" if index == 4 else "COMPLETED"], index
        ran = next(event for event in events if event["job"]["state"] not in PASSING | {"QUEUED"})
        assert ran["previous"]["state"] in PASSING | {"QUEUED"}
    assert told([e for e in jobpush.events(job=f"slurm/{array}") if e["job"]["id"] == array]) == ["QUEUED", "RUNNING", "FAILED"]


def test_array_tasks_cancelled_while_pending(slurm: SlurmCluster, jobpush: ServiceProcess) -> None:
    """A pending task that is cancelled vanishes from Slurm; it is told as cancelled, inferred."""
    array = slurm.submit("--array=1-6%1", script="sleep 3")
    wait_until(lambda: jobpush.job("slurm", array, wait=2)["job"]["state"] == "RUNNING", 20)
    slurm.command("scancel", f"{array}_[3,5]")
    answer = jobpush.job("slurm", f"{array}_3", until="terminal", wait=20)["job"]
    assert (answer["state"], answer["confidence"]) == ("CANCELLED", "inferred")
    slurm.command("scancel", array)
    whole = jobpush.job("slurm", array, until="terminal", wait=30)["job"]
    assert whole["counts"].get("CANCELLED", 0) >= 5
    for index in range(2, 7):
        assert jobpush.job("slurm", f"{array}_{index}")["job"]["state"] == "CANCELLED"


def test_task_that_is_held_alone(slurm: SlurmCluster, jobpush: ServiceProcess) -> None:
    """squeue merges it into its array's range: it is told as held, the others as waiting, until it is released; each counts once."""
    array = slurm.submit("--array=1-4", "--begin=now+1hour")
    assert jobpush.job("slurm", array, wait=5)["job"]["counts"] == {"QUEUED": 4}
    slurm.command("scontrol", "hold", f"{array}_3")
    wait_until(lambda: jobpush.job("slurm", f"{array}_3")["job"]["state"] == "HELD", 20)
    wait_until(lambda: jobpush.job("slurm", f"{array}_1")["job"]["reason_code"] == "BEGIN_TIME", 20)  # Slurm says so a moment later
    states = {index: jobpush.job("slurm", f"{array}_{index}")["job"] for index in range(1, 5)}
    assert {index: (job["state"], job["reason_code"]) for index, job in states.items()} == {
        1: ("QUEUED", "BEGIN_TIME"), 2: ("QUEUED", "BEGIN_TIME"), 3: ("HELD", "HELD_BY_ADMIN"), 4: ("QUEUED", "BEGIN_TIME"),
    }  # fmt: skip
    assert jobpush.job("slurm", array)["job"]["counts"] == {"HELD": 1, "QUEUED": 3}
    assert jobpush.job("slurm", f"{array}_1")["history"] == []
    slurm.command("scontrol", "release", f"{array}_3")
    wait_until(lambda: jobpush.job("slurm", array)["job"]["counts"] == {"QUEUED": 4}, 20)
    assert told([e for e in jobpush.events(job=f"slurm/{array}_3") if e["job"]["id"] == f"{array}_3"]) == ["HELD", "QUEUED"]
    slurm.command("scancel", array)
    assert jobpush.job("slurm", array, until="terminal", wait=30)["job"]["counts"] == {"CANCELLED": 4}


def test_tasks_that_are_put_back(slurm: SlurmCluster, jobpush: ServiceProcess) -> None:
    """
    One exits with a code for which Slurm puts it back and holds it, another is put back by hand after it has succeeded: each
    counts once, with its own attempt, whatever row squeue shows it in.
    """
    script = 'case $SLURM_ARRAY_TASK_ID in 1) exit 0;; 2) exit 97;; 3) exec sleep 300;; esac'
    array = slurm.submit("--array=1-5%1", "--requeue", script=script)
    assert jobpush.job("slurm", array, wait=5)["job"]["counts"]
    wait_until(lambda: jobpush.job("slurm", f"{array}_2")["job"]["state"] == "HELD", 30)
    assert jobpush.job("slurm", f"{array}_3", until="started", wait=20)["job"]["state"] == "RUNNING"
    slurm.command("scontrol", "requeue", f"{array}_1")
    wait_until(lambda: jobpush.job("slurm", f"{array}_1")["job"]["state"] == "QUEUED", 20)
    wait_until(lambda: jobpush.job("slurm", array)["job"]["counts"] == {"HELD": 1, "QUEUED": 3, "RUNNING": 1}, 20)
    jobs = {index: jobpush.job("slurm", f"{array}_{index}")["job"] for index in range(1, 6)}
    assert {index: (job["state"], job["attempt"]) for index, job in jobs.items()} == {
        1: ("QUEUED", 1), 2: ("HELD", 1), 3: ("RUNNING", 0), 4: ("QUEUED", 0), 5: ("QUEUED", 0),
    }  # fmt: skip
    assert jobs[1]["previous_attempt"]["outcome"] == "COMPLETED"
    slurm.command("scancel", array)
    assert jobpush.job("slurm", array, until="terminal", wait=30)["job"]["counts"] == {"CANCELLED": 5}


def test_heterogeneous_job(slurm: SlurmCluster, jobpush: ServiceProcess) -> None:
    """A het job is the sum of its components."""
    job = slurm.command(
        "sbatch", "--parsable", "-D", "/tmp", "-o", "/dev/null", "-n1", ":", "-n1", "--wrap", "sleep 1", user=USER
    ).partition(";")[0]
    whole = jobpush.job("slurm", job, until="terminal", wait=60)["job"]
    assert whole["state"] == "COMPLETED"
    assert whole["counts"] == {"COMPLETED": 2}
    part = jobpush.job("slurm", f"{job}+1")["job"]
    assert part["parent"] == job
    raw = part["aliases"][0]
    assert jobpush.job("slurm", raw)["job"]["id"] == f"{job}+1"


def test_forged_rows(slurm: SlurmCluster, jobpush: ServiceProcess) -> None:
    """A user who names a job so as to forge another's row changes nothing but that job's own name."""
    victim = slurm.submit(script="sleep 6", user=OTHER_USER)
    jobpush.job("slurm", victim, until="started", wait=20)
    row = f"{victim}\0{victim}\0FAILED\x00256".replace("\0", "|")
    forgeries = [
        f"x\n{row}",
        f"x\r\n{victim}|{victim}|FAILED|256|None|main|n1|1|1|1|1:00|0|{OTHER_USER}|(null)|/tmp|(null)|forged\n",
        f"Tdeadbeefr\n{victim}Tdeadbeeff{victim}TdeadbeeffFAILEDTdeadbeeff256",
        f"x\x1b[2J\x01\x02\x1e\x1f\n{victim} FAILED",
    ]
    ids = []
    for name in forgeries:
        job = slurm.submit("-J", name, "--comment", name, script="sleep 1")
        ids.append((job, name))
    for job, name in ids:
        answer = jobpush.job("slurm", job, until="terminal", wait=30)["job"]
        assert (answer["state"], answer["name"], answer["comment"]) == ("COMPLETED", name, name)
        assert answer["user"] == USER
    end = jobpush.job("slurm", victim, until="terminal", wait=30)["job"]
    assert (end["state"], end["user"], end["name"]) == ("COMPLETED", OTHER_USER, "wrap")
    assert told(jobpush.events(job=f"slurm/{victim}")) == ["QUEUED", "RUNNING", "COMPLETED"]
    ready = jobpush.get("/readyz").json
    assert ready["queues"]["slurm"]["rejected_rows"] == 0


def test_long_poll_is_pushed(slurm: SlurmCluster, jobpush: ServiceProcess) -> None:
    """A client that sends its cursor back is told each change when it comes, and loses none."""
    job = slurm.submit(script="sleep 2; exit 5")
    answer = jobpush.job("slurm", job, wait=10)
    seen = [entry["state"] for entry in answer["history"]]
    while not answer["job"]["settled"]:
        answer = jobpush.job("slurm", job, since=answer["cursor"], wait=20)
        assert not answer["timed_out"]
        seen.extend(event["job"]["state"] for event in answer["events"])
    assert [state for state in dict.fromkeys(seen) if state not in PASSING] == ["QUEUED", "RUNNING", "FAILED"]
    assert answer["job"]["exit_code"] == 5


def test_ids_that_answer_for_others(jobpush: ServiceProcess) -> None:
    """Ids that Slurm's commands would take for other jobs, options or lists are refused before anything runs."""
    for job_id in ("0", "1;2", "1.batch", "--help", "4294967296", "1,2", "1_[2-3]", "01", "1_"):
        reply = jobpush.get("/v1/jobs/slurm/" + job_id.replace(";", "%3B").replace("[", "%5B").replace("]", "%5D"))
        assert reply.status == 400, job_id
        assert reply.headers["content-type"] == "application/problem+json"
        assert reply.json["parameter"] == "id"


def test_controller_stopped_under_held_requests(slurm: SlurmCluster, jobpush: ServiceProcess, short_path: Path) -> None:
    """
    The controller is gone for a minute under 500 held requests: no job ends, nobody is dropped or answered wrongly,
    staleness grows, at most one query runs at a time; then events resume.
    """
    if (why := why_not()) is not None:
        pytest.skip(why)
    job = slurm.submit(script="sleep 75")
    cursor = jobpush.job("slurm", job, until="started", wait=20)["cursor"]
    live = {j["id"] for j in jobpush.get("/v1/jobs?state=RUNNING&limit=2000").json["jobs"]}
    assert job in live
    clients = Load()
    clients.do("open", port=jobpush.port, count=500, path=f"/v1/jobs/slurm/{job}?since={cursor}&wait=200")
    wait_until(lambda: jobpush.get("/readyz").json["held"] >= 500, 30)
    slurm.stop_controller()
    stopped_at = time.monotonic()
    log_begin = len(squeue_log(short_path))
    before = jobpush.events(since=cursor)
    stale = []
    while time.monotonic() < stopped_at + 60:
        time.sleep(5)
        answer = jobpush.job("slurm", job)
        assert answer["job"]["state"] == "RUNNING"
        stale.append(answer["stale_s"])
    assert stale == sorted(stale)
    assert stale[-1] > 45
    assert answer["health"] == "stale"
    assert jobpush.events(since=cursor) == before, "nothing is told while nothing is known"
    assert jobpush.get("/readyz").json["held"] >= 500
    slurm.start_controller()
    running = 0
    for line in squeue_log(short_path)[log_begin:]:
        running += 1 if line.startswith("begin") else -1
        assert running <= 1, "two queries at once"
    report = clients.do("collect", seconds=110)
    clients.stop()
    assert report["answered"] == 500, report
    assert report["errors"] == 0, report
    end = jobpush.job("slurm", job, until="terminal", wait=60)
    assert end["job"]["state"] == "COMPLETED"
    assert end["health"] == "ok"
    assert all(event["job"]["state"] != "LOST" for event in jobpush.events(since=cursor))


def test_permission_lost_while_running(slurm: SlurmCluster, short_path: Path) -> None:
    """When Slurm begins to hide other users' jobs from the account, no job ends; when it stops, all goes on."""
    job = slurm.submit(script="sleep 20; exit 4")
    # Nothing is hidden from root: twistd gives its rights up after it has started.
    account = pwd.getpwnam(OTHER_USER)
    service = ServiceProcess(
        short_path / "blind", "--queue", f"slurm:interval=0.3:grace=1:conf={slurm.conf}", "--allow-anonymous",
        twistd_options=["--uid", str(account.pw_uid), "--gid", str(account.pw_gid)],
    )  # fmt: skip
    service.start()
    try:
        assert service.job("slurm", job, until="started", wait=20)["job"]["state"] == "RUNNING"
        slurm.write_config(extra="PrivateData=jobs")
        slurm.command("scontrol", "reconfigure")
        wait_until(lambda: service.job("slurm", job)["health"] == "blind", 20)
        time.sleep(5)
        blind = service.job("slurm", job)
        assert blind["job"]["state"] == "RUNNING"
        assert blind["stale_s"] > 4
        assert any("PrivateData" in line for line in service.get("/readyz").json["queues"]["slurm"]["missing"])
        slurm.write_config()
        slurm.command("scontrol", "reconfigure")
        end = service.job("slurm", job, until="terminal", wait=60)
        assert (end["job"]["state"], end["job"]["exit_code"], end["health"]) == ("FAILED", 4, "ok")
    finally:
        slurm.write_config()
        slurm.command("scontrol", "reconfigure")
        service.stop()


def test_loopback_is_refused_where_jobs_are_hidden(slurm: SlurmCluster, short_path: Path) -> None:
    """Where Slurm hides users' jobs from each other, jobpush does not show them to all users of the host unasked."""
    slurm.write_config(extra="PrivateData=jobs")
    slurm.command("scontrol", "reconfigure")
    try:
        service = ServiceProcess(short_path / "refused", "--queue", f"slurm:conf={slurm.conf}")
        with pytest.raises((AssertionError, TimeoutError)):
            service.start(seconds=10)
            wait_until(lambda: service.process is not None and service.process.poll() is not None, 10)
            raise AssertionError
        assert service.process is not None
        assert service.process.wait(10) == 1
        assert "--allow-anonymous" in service.log
        allowed = ServiceProcess(short_path / "allowed", "--queue", f"slurm:conf={slurm.conf}", "--allow-anonymous")
        allowed.start()
        assert allowed.get("/v1/jobs").status == 200
        assert allowed.stop() == -signal.SIGTERM, "twistd ends by the signal that it was told to end with"
    finally:
        slurm.write_config()
        slurm.command("scontrol", "reconfigure")


def test_one_query_a_tick(slurm: SlurmCluster, jobpush: ServiceProcess, short_path: Path) -> None:
    """However many ask, one query serves them."""
    seconds = 4.0
    before = jobpush.get("/readyz").json["queues"]["slurm"]
    begin = len(squeue_log(short_path))
    until = time.monotonic() + seconds
    asked = 0
    while time.monotonic() < until:
        jobpush.get("/v1/jobs?limit=1")
        jobpush.job("slurm", "999999", wait=0)
        asked += 2
    squeues = sum(line.startswith("begin") for line in squeue_log(short_path)[begin:])
    after = jobpush.get("/readyz").json["queues"]["slurm"]
    nudged = after["queries_nudged"] - before["queries_nudged"]  # what jobs of the tests before still do
    assert 2 <= squeues <= seconds / 0.4 + 2 + nudged
    assert asked > 4 * squeues


@pytest.mark.load
def test_a_thousand_clients_on_two_hundred_jobs(slurm: SlurmCluster, jobpush: ServiceProcess, short_path: Path) -> None:
    """
    1,000 clients on 200 jobs, with random disconnects, for a minute: each sees every transition of its jobs exactly once by
    cursor, and ``squeue`` runs once a tick, whoever waits.
    """
    jobs = [slurm.submit("--hold", script=f"sleep {n % 6}; exit {n % 3}") for n in range(200)]
    wait_until(lambda: jobpush.job("slurm", jobs[-1], wait=5)["job"] is not None, 20)
    before = jobpush.get("/readyz").json["queues"]["slurm"]
    squeues = sum(line.startswith("begin") for line in squeue_log(short_path))
    clients = subprocess.Popen(
        [sys.executable, "-m", "tests.followers", str(jobpush.port), "1000", "60", "7"],
        cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert clients.stdin is not None
    clients.stdin.write(json.dumps([f"slurm/{job}" for job in jobs]))
    clients.stdin.close()
    clients.stdin = None
    began = time.monotonic()
    for number, job in enumerate(jobs):
        slurm.command("scontrol", "release", job)
        if number % 10 == 0:
            slurm.run("scontrol", "hold", jobs[(number + 37) % len(jobs)])
            time.sleep(1.5)
    for job in jobs:
        slurm.run("scontrol", "release", job)
    output, _ = clients.communicate(timeout=150)
    elapsed = time.monotonic() - began
    followers = json.loads(output)
    events = jobpush.events()
    assert len(followers) == 1000
    assert sum(f["disconnects"] for f in followers) > 500
    for follower in followers:
        first, last = (int(follower[name].rpartition("-")[2]) for name in ("begin", "end"))
        wanted = set(follower["jobs"])
        expected = [e["cursor"] for e in events if f"slurm/{e['job']['id']}" in wanted and first < e["seq"] <= last]
        assert follower["seen"] == expected
    assert sum(len(f["seen"]) for f in followers) > 3000
    after = jobpush.get("/readyz").json["queues"]["slurm"]
    names = "queries", "queries_probing", "queries_nudged"
    asked, probing, nudged = (after[name] - before[name] for name in names)
    queries = asked - probing
    ran = sum(line.startswith("begin") for line in squeue_log(short_path)) - squeues
    assert abs(ran - queries) <= 1
    assert queries - nudged <= elapsed / 0.4 + 2
    assert nudged <= elapsed / 0.1 + 2, "the floor between two queries"
