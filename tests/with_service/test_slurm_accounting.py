"""
A real Slurm that forgets finished jobs in seconds, with a real slurmdbd: what ended while jobpush did not look is found in
accounting; what accounting has not, is not called a success.
"""

from __future__ import annotations

import os
import shutil
import signal
import time
from pathlib import Path

import pytest

from jobpush_client.values import moment
from tests.service_process import ServiceProcess, twistd_environment
from tests.slurm_cluster import SlurmCluster, wait_until

pytestmark = [pytest.mark.slurm, pytest.mark.service, pytest.mark.timeout(240)]

#: Run before jobpush's own code: its clock is an hour ahead as soon as that file is there.
CLOCK = """\
import os, time
_time = time.time
time.time = lambda: _time() + (3600 if os.path.exists({path!r}) else 0)
"""


def wrapped(directory: Path, **before: str) -> Path:
    """Slurm's commands in a directory, some of them with shell commands before them."""
    directory.mkdir()
    for name in ("squeue", "sacct", "scontrol", "sacctmgr", "sdiag"):
        command = directory / name
        if name in before:
            command.write_text(f"#!/bin/sh\n{before[name]}\nexec {shutil.which(name)} \"$@\"\n")
            command.chmod(0o755)
        else:
            command.symlink_to(str(shutil.which(name)))
    return directory


def told(service: ServiceProcess, job: str) -> list[str]:
    """The states that were told of a job."""
    return [event["job"]["state"] for event in service.events(job=f"slurm/{job}")]


def forgets(slurm: SlurmCluster, *jobs: str) -> None:
    """Until squeue lists none of these jobs, ended or not."""
    wait_until(lambda: not set(jobs) & set(slurm.command("squeue", "-h", "-a", "-t", "all", "-o", "%i").split()), 90)


def test_ended_while_jobpush_was_down(forgetful_slurm: SlurmCluster, short_path: Path) -> None:
    """Jobs end, and Slurm forgets them, while jobpush is down: their outcomes come from accounting, with Slurm's own times."""
    slurm = forgetful_slurm
    state = str(short_path / "acct-state")
    arguments = ["--queue", f"slurm:interval=0.3:grace=8:conf={slurm.conf}", "--state", state]
    service = ServiceProcess(short_path / "acct1", *arguments)
    service.start()
    ready = service.get("/readyz").json
    service.ready()
    running = {
        "exit 3": slurm.submit(script="sleep 4; exit 3"),
        "success": slurm.submit(script="sleep 4"),
        "signal": slurm.submit(script="sleep 4; kill -SEGV $$"),
        "cancelled": slurm.submit(script="sleep 300"),
    }
    pending = {"never ran": slurm.submit("--hold"), "ran unseen": slurm.submit("--hold", script="sleep 1; exit 7")}
    array = slurm.submit("--array=0-3%1", "--hold", script="sleep 300")
    # Its tasks run while nobody looks, all but the last.
    unseen = slurm.submit("--array=0-2%1", "--hold", script='[ "$SLURM_ARRAY_TASK_ID" != 2 ] || exec sleep 300; exit $((SLURM_ARRAY_TASK_ID * 4))')
    jobs = {**running, **pending}
    for job in running.values():
        assert service.job("slurm", job, until="started", wait=20)["job"]["state"] == "RUNNING"
    for job in [*pending.values(), array, unseen]:
        assert service.job("slurm", job, wait=20)["job"]["state"] == "HELD"
    cursor = service.get("/v1/changes").json["cursor"]
    service.stop()
    slurm.command("scancel", jobs["cancelled"], jobs["never ran"], array)
    slurm.command("scontrol", "release", jobs["ran unseen"])
    slurm.command("scontrol", "release", unseen)
    wait_until(lambda: f"{unseen}_2" in slurm.command("squeue", "-h", "-t", "R", "-o", "%i"), 60)
    slurm.command("scancel", unseen)
    wait_until(lambda: not slurm.command("squeue", "-h", "-a", "-t", "all", "-o", "%i"), 120)
    service = ServiceProcess(short_path / "acct2", *arguments)
    service.start()
    try:
        ends = {name: service.job("slurm", job, until="terminal", wait=60)["job"] for name, job in jobs.items()}
        assert {name: (end["state"], end["exit_code"], end["signal"]) for name, end in ends.items()} == {
            "exit 3": ("FAILED", None, None),
            "success": ("COMPLETED", 0, None),
            "signal": ("FAILED", None, 11),
            "cancelled": ("CANCELLED", None, ends["cancelled"]["signal"]),
            "never ran": ("CANCELLED", None, None),
            "ran unseen": ("FAILED", None, None),
        }
        # sacct of this version prints exit codes modulo 128.
        for name, code in (("exit 3", "3"), ("ran unseen", "7")):
            assert (ends[name]["flags"], ends[name]["native"]["exit_code_mod_128"]) == (["exit_code_mod_128"], code)
        for name, end in ends.items():
            assert (end["source"], end["confidence"], end["settled"]) == ("sacct", "accounting", True), (name, end)
        assert ends["never ran"]["started_at"] is None
        told = [e["job"]["state"] for e in service.events(since=cursor, job=f"slurm/{jobs['ran unseen']}")]
        assert told == ["RUNNING", "FAILED"]
        assert ends["ran unseen"]["ended_at"] > ends["ran unseen"]["started_at"]
        whole = service.job("slurm", array, until="terminal", wait=60)["job"]
        assert whole["counts"] == {"CANCELLED": 4}
        assert whole["source"] == "sacct"
        assert service.job("slurm", unseen, until="terminal", wait=60)["job"]["counts"] == {"CANCELLED": 1, "COMPLETED": 1, "FAILED": 1}
        assert service.job("slurm", f"{unseen}_1")["job"]["native"]["exit_code_mod_128"] == "4"
        assert any("MinJobAge" in line for line in ready["queues"]["slurm"]["missing"]) is False
    finally:
        service.stop()


def test_task_that_accounting_does_not_know(forgetful_slurm: SlurmCluster, short_path: Path) -> None:
    """A pending array task that is cancelled is in no record at all: cancelled, inferred; never completed."""
    slurm = forgetful_slurm
    service = ServiceProcess(short_path / "acct3", "--queue", f"slurm:interval=0.3:grace=2:conf={slurm.conf}")
    service.start()
    try:
        array = slurm.submit("--array=0-3%1", script="sleep 8")
        service.job("slurm", f"{array}_0", until="started", wait=20)
        slurm.command("scancel", f"{array}_2")
        end = service.job("slurm", f"{array}_2", until="terminal", wait=20)["job"]
        assert (end["state"], end["confidence"]) == ("CANCELLED", "inferred")
        slurm.command("scancel", array)
        assert service.job("slurm", array, until="terminal", wait=30)["job"]["state"] == "CANCELLED"
    finally:
        service.stop()


def test_warning_about_a_forgetful_slurm(forgetful_slurm: SlurmCluster, short_path: Path) -> None:
    """Where Slurm forgets sooner than twice the interval, the log says so at the start, with the setting's name."""
    service = ServiceProcess(short_path / "acct4", "--queue", f"slurm:interval=5:conf={forgetful_slurm.conf}")
    service.start()
    try:
        service.ready()
        assert "MinJobAge" in service.log
        assert any("MinJobAge" in line for line in service.get("/readyz").json["queues"]["slurm"]["missing"])
    finally:
        service.stop()


def test_another_cluster_of_the_same_database(forgetful_slurm: SlurmCluster, short_path: Path) -> None:
    """``clusters=`` names it, as ``squeue --clusters`` does: jobs, arrays and outcomes all the same."""
    slurm = forgetful_slurm
    service = ServiceProcess(short_path / "acct-m", "--queue", f"slurm:interval=0.3:clusters=lab:conf={slurm.conf}")
    service.start()
    try:
        service.ready()
        job, array = slurm.submit(script="sleep 1; exit 3"), slurm.submit("--array=0-1", script="sleep 1")
        assert service.job("slurm", job, until="terminal", wait=40)["job"]["exit_code"] == 3
        assert service.job("slurm", array, until="terminal", wait=40)["job"]["counts"] == {"COMPLETED": 2}
    finally:
        service.stop()


def test_array_of_which_a_task_was_never_seen(forgetful_slurm: SlurmCluster, short_path: Path) -> None:
    """
    A task fails, and Slurm forgets it, before jobpush starts; those that it sees succeed. The array has failed: accounting is
    asked before it is told how it ended. So it is for an array that had ended, and is asked for by its id.
    """
    slurm = forgetful_slurm
    fails = '[ "$SLURM_ARRAY_TASK_ID" != 1 ] || exit 3; '
    over = slurm.submit("--array=1-3", script=f"{fails}exit 0")
    array = slurm.submit("--array=1-3", script=f"{fails}sleep 20")
    left = {f"{array}_2", f"{array}_3"}
    wait_until(lambda: set(slurm.command("squeue", "-h", "-a", "-r", "-t", "all", "-o", "%i").split()) == left, 40)
    service = ServiceProcess(short_path / "acct4", "--queue", f"slurm:interval=0.3:grace=8:conf={slurm.conf}")
    service.start()
    try:
        service.ready()
        assert service.job("slurm", array)["job"]["flags"] == ["parts_unknown"]
        for job in (over, array):
            end = service.job("slurm", job, until="terminal", wait=60)["job"]
            assert (end["state"], end["counts"]) == ("FAILED", {"COMPLETED": 2, "FAILED": 1})
        told = [event["job"]["state"] for event in service.events(job=f"slurm/{array}") if event["job"]["id"] == array]
        assert "COMPLETED" not in told
    finally:
        service.stop()


def test_slurmdbd_down(forgetful_slurm: SlurmCluster, short_path: Path) -> None:
    """
    Twenty jobs end, and Slurm forgets them, while slurmdbd is down; when it is back slurmctld has their records to send still. None
    of them is told to have ended before its record is there, and each as it ended; meanwhile `/readyz` says what is missing.
    """
    slurm = forgetful_slurm
    service = ServiceProcess(short_path / "acct5", "--queue", f"slurm:interval=0.3:grace=2:conf={slurm.conf}")
    service.start()
    try:
        service.ready()
        slurm.stop_accounting()
        jobs = {slurm.submit(script=f"sleep 6; exit {number % 2 * 3}"): number % 2 for number in range(20)}
        for job in jobs:
            assert service.job("slurm", job, until="started", wait=20)["job"]["state"] == "RUNNING"
        assert service.process is not None
        os.kill(service.process.pid, signal.SIGSTOP)
        wait_until(lambda: not slurm.command("squeue", "-h", "-a", "-t", "all", "-o", "%i"), 90)
        os.kill(service.process.pid, signal.SIGCONT)
        wait_until(lambda: any(text.startswith("accounting") for text in service.get("/readyz").json["queues"]["slurm"]["missing"]), 30)
        time.sleep(6)  # three times the grace
        states = {job["id"]: job for job in service.get("/v1/jobs").json["jobs"]}
        for job in jobs:
            assert states[job]["state"] in ("FINISHING", "UNKNOWN"), states[job]
        slurm.start_accounting()
        for job, fails in jobs.items():
            end = service.job("slurm", job, until="terminal", wait=90)["job"]
            assert end["state"] == ("FAILED" if fails else "COMPLETED"), end
        told = [(event["job"]["id"], event["job"]["state"]) for event in service.events() if event["job"]["id"] in jobs]
        assert not {state for _, state in told} & {"LOST", "CANCELLED"}
    finally:
        service.stop()


def test_slow_answers(slurm: SlurmCluster, short_path: Path) -> None:
    """
    While the controller takes eight seconds for an answer, the ends of jobs are told within ten seconds of it, health says what is
    so, and nothing is made of the pause; when it is quick again, they are told at once.
    """
    slow = short_path / "slow-now"
    commands = wrapped(short_path / "slow-bin", squeue=f"[ ! -e {slow} ] || sleep 8")
    service = ServiceProcess(short_path / "slow1", "--queue", f"slurm:bin={commands}:conf={slurm.conf}")
    service.start()
    try:
        service.ready()
        running = slurm.submit(script="sleep 300")
        assert service.job("slurm", running, until="started", wait=20)["job"]["state"] == "RUNNING"
        time.sleep(10)  # what an answer costs usually is known
        slow.touch()
        ended = slurm.submit(script="sleep 1; exit 3")
        told = service.job("slurm", ended, until="terminal", wait=40)
        assert told["job"]["state"] == "FAILED"
        late = time.time() - moment(told["job"]["ended_at"]).timestamp()
        assert late < 8 + 8 + 4, late  # an answer that was on its way, one that began after the end, and a pause
        slow.unlink()
        time.sleep(10)
        ended = slurm.submit(script="exit 3")
        told = service.job("slurm", ended, until="terminal", wait=40)
        late = time.time() - moment(told["job"]["ended_at"]).timestamp()
        assert late < 10, late
        queue = service.get("/readyz").json["queues"]["slurm"]
        assert (queue["health"], queue["interval_s"] <= 10) == ("ok", True)
        assert service.job("slurm", running)["job"]["state"] == "RUNNING"
        slurm.command("scancel", running)
    finally:
        service.stop()


def test_accounting_that_is_late(forgetful_slurm: SlurmCluster, short_path: Path) -> None:
    """
    Jobs end unseen, and sacct has no record of them for sixteen seconds, four times the grace, though nothing waits to be
    written: what is concluded from that is a guess, which the records replace.
    """
    slurm, late = forgetful_slurm, short_path / "late"
    commands = wrapped(short_path / "late-bin", sacct=f"[ ! -e {late} ] || exit 0")
    service = ServiceProcess(short_path / "late1", "--queue", f"slurm:interval=0.3:grace=4:bin={commands}:conf={slurm.conf}")
    service.start()
    try:
        service.ready()
        jobs = {slurm.submit(script=f"sleep 4; exit {code}"): state for code, state in ((0, "COMPLETED"), (3, "FAILED"))}
        for job in jobs:
            assert service.job("slurm", job, until="started", wait=20)["job"]["state"] == "RUNNING"
        late.touch()
        assert service.process is not None
        service.process.send_signal(signal.SIGSTOP)
        forgets(slurm, *jobs)
        service.process.send_signal(signal.SIGCONT)
        time.sleep(16)
        for job in jobs:
            shown = service.job("slurm", job)["job"]
            assert (shown["state"], shown["confidence"]) in (("UNKNOWN", "inferred"), ("LOST", "inferred"))
        late.unlink()
        for job, state in jobs.items():
            wait_until(lambda job=job, state=state: service.job("slurm", job)["job"]["state"] == state, 60)  # type: ignore[misc]
            assert "COMPLETED" not in told(service, job)[:-1]
    finally:
        service.stop()


def test_clock_that_jumps(forgetful_slurm: SlurmCluster, short_path: Path) -> None:
    """
    The clock of jobpush's host is set an hour ahead while a job runs, one has just ended unseen, and one waits: none is lost by
    that, and each is told as it ends.
    """
    slurm, ahead = forgetful_slurm, short_path / "ahead"
    customized = short_path / "customized"
    customized.mkdir()
    (customized / "sitecustomize.py").write_text(CLOCK.format(path=str(ahead)))
    path = os.pathsep.join([str(customized), twistd_environment(None)["PYTHONPATH"]])
    late = short_path / "late-record"
    commands = wrapped(short_path / "jump-bin", sacct=f"[ ! -e {late} ] || exit 0")
    service = ServiceProcess(
        short_path / "jump", "--queue", f"slurm:interval=0.3:grace=8:bin={commands}:conf={slurm.conf}", environment={"PYTHONPATH": path}
    )
    service.start()
    try:
        service.ready()
        runs, ends = slurm.submit(script="sleep 30; exit 3"), slurm.submit(script="sleep 4; exit 3")
        waits = slurm.submit("--hold")
        for job in (runs, ends):
            assert service.job("slurm", job, until="started", wait=20)["job"]["state"] == "RUNNING"
        late.touch()
        assert service.process is not None
        service.process.send_signal(signal.SIGSTOP)
        forgets(slurm, ends)
        service.process.send_signal(signal.SIGCONT)
        wait_until(lambda: service.job("slurm", ends)["job"]["state"] == "FINISHING", 20)
        ahead.touch()
        time.sleep(4)
        late.unlink()
        assert service.job("slurm", ends, until="terminal", wait=40)["job"]["state"] == "FAILED"
        assert service.job("slurm", runs, until="terminal", wait=60)["job"]["state"] == "FAILED"
        assert service.job("slurm", waits)["job"]["state"] == "HELD"
        for job in (runs, ends, waits):
            assert "LOST" not in told(service, job)
        assert service.get("/readyz").json["queues"]["slurm"]["health"] == "ok"
        slurm.command("scancel", waits)
    finally:
        service.stop()


def test_controller_that_was_away(forgetful_slurm: SlurmCluster, short_path: Path) -> None:
    """
    slurmctld is stopped for 30 s, and jobs end meanwhile: nothing is told but that the queue is stale. When it is back, each end is
    told within ten seconds of its being known, and so is that of a job that is submitted then.
    """
    slurm = forgetful_slurm
    service = ServiceProcess(short_path / "away", "--queue", f"slurm:conf={slurm.conf}")
    service.start()
    try:
        service.ready()
        jobs = {slurm.submit(script=f"sleep 8; exit {code}"): state for code, state in ((0, "COMPLETED"), (3, "FAILED"))}
        runs = slurm.submit(script="sleep 90; exit 3")
        for job in (*jobs, runs):
            assert service.job("slurm", job, until="started", wait=20)["job"]["state"] == "RUNNING"
        cursor = service.get("/v1/changes").json["cursor"]
        slurm.stop_controller()
        time.sleep(30)
        assert service.events(since=cursor) == []
        assert service.get("/readyz").json["queues"]["slurm"]["health"] == "stale"
        slurm.start_controller()
        wait_until(lambda: not set(jobs) & set(slurm.command("squeue", "-h", "-t", "R,CG", "-o", "%i").split()), 90)
        known = time.monotonic()
        for job, state in jobs.items():
            assert service.job("slurm", job, until="terminal", wait=30)["job"]["state"] == state
        assert time.monotonic() - known < 10
        assert service.get("/readyz").json["queues"]["slurm"]["health"] == "ok"
        after = slurm.submit(script="exit 3")
        began = time.monotonic()
        assert service.job("slurm", after, until="terminal", wait=30)["job"]["state"] == "FAILED"
        assert time.monotonic() - began < 10
        assert service.job("slurm", runs)["job"]["state"] == "RUNNING"
        slurm.command("scancel", runs)
    finally:
        service.stop()


def test_attempts_that_were_followed(forgetful_slurm: SlurmCluster, short_path: Path) -> None:
    """
    How an attempt ended that Slurm followed by another is in accounting alone: it is told while the next one waits, and of a job
    that went through all of them while nobody looked.
    """
    slurm = forgetful_slurm
    arguments = ["--queue", f"slurm:interval=0.3:grace=8:conf={slurm.conf}", "--state", str(short_path / "attempts" / "state")]
    service = ServiceProcess(short_path / "attempts", *arguments)
    service.start()
    service.ready()
    once = '[ -n "$SLURM_RESTART_COUNT" ] && exit 5; sleep 1; exit 97'  # RequeueExitHold
    held = slurm.submit("--requeue", script=once)
    wait_until(lambda: (service.job("slurm", held, wait=5)["job"]["previous_attempt"] or {}).get("ended_at") is not None, 60)
    answer = service.job("slurm", held)["job"]
    before = answer["previous_attempt"]
    assert (answer["state"], answer["attempt"], before["attempt"], before["outcome"], before["exit_code"]) == ("HELD", 1, 0, "FAILED", None)
    assert before["started_at"] < before["ended_at"]
    service.stop()
    unseen = slurm.submit("--requeue", script=once)
    wait_until(lambda: "held" in slurm.command("squeue", "-h", "-j", unseen, "-o", "%r").lower(), 60)
    slurm.command("scontrol", "release", held, unseen)
    forgets(slurm, held, unseen)
    service = ServiceProcess(short_path / "attempts", *arguments)
    service.start()
    try:
        for job in (held, unseen):
            end = service.job("slurm", job, until="terminal", wait=60)["job"]
            assert (end["state"], end["attempt"], end["native"]["exit_code_mod_128"]) == ("FAILED", 1, "5"), end
            assert (end["previous_attempt"]["attempt"], end["previous_attempt"]["outcome"]) == (0, "FAILED"), end
    finally:
        service.stop()
