"""The probe of a real slurmctld: what no hook and no log tells is seen at once; a helper that breaks takes nothing with it."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.service_process import ServiceProcess
from tests.slurm_cluster import SlurmCluster, wait_until

pytestmark = [pytest.mark.slurm, pytest.mark.service, pytest.mark.timeout(240)]

#: Seconds between two queries that nobody asks for, and seconds within which a change is told, on a loaded host too.
SELDOM_S = 600
SOON_S = 20.0


@pytest.fixture
def jobpush(slurm: SlurmCluster, short_path: Path) -> Iterator[ServiceProcess]:
    queue = f"slurm:conf={slurm.conf}:interval={SELDOM_S}"
    service = ServiceProcess(short_path / "probed", "--queue", queue, "--state", str(short_path / "probed" / "state"))
    service.start()
    service.ready()
    wait_until(lambda: "whether anything has changed (libslurm " in service.log, SOON_S)
    yield service
    service.stop()


def helpers(service: ServiceProcess) -> list[int]:
    """The processes of the probe."""
    assert service.process is not None
    children = Path(f"/proc/{service.process.pid}/task/{service.process.pid}/children").read_text().split()
    return [int(pid) for pid in children if b"probe_helper.py" in Path(f"/proc/{pid}/cmdline").read_bytes()]


def told(service: ServiceProcess, job: str) -> list[str]:
    """The states that were told of a job."""
    return [event["job"]["state"] for event in service.events(job=f"slurm/{job}")]


def test_every_change(slurm: SlurmCluster, jobpush: ServiceProcess) -> None:
    """Submission, hold, release, start, requeue, suspension, end: each within a second or so, by no hook."""
    job = slurm.submit("--hold", "--requeue", script="sleep 600")
    wait_until(lambda: told(jobpush, job) == ["HELD"], SOON_S)
    slurm.command("scontrol", "release", job)
    assert jobpush.job("slurm", job, until="started", wait=SOON_S)["job"]["state"] == "RUNNING"
    for command, state in (("suspend", "SUSPENDED"), ("resume", "RUNNING")):
        slurm.command("scontrol", command, job)
        wait_until(lambda state=state: told(jobpush, job)[-1] == state, SOON_S)  # type: ignore[misc]
    slurm.command("scontrol", "requeue", job)
    wait_until(lambda: jobpush.job("slurm", job)["job"]["attempt"] == 1, SOON_S)  # it may be seen FINISHING before
    slurm.command("scancel", job)
    assert jobpush.job("slurm", job, until="terminal", wait=SOON_S)["job"]["state"] == "CANCELLED"


def test_a_helper_that_dies(slurm: SlurmCluster, jobpush: ServiceProcess) -> None:
    """Another one takes its place, and what happened in between is told."""
    first = slurm.submit("--hold")
    wait_until(lambda: told(jobpush, first) == ["HELD"], SOON_S)
    (pid,) = helpers(jobpush)
    os.kill(pid, signal.SIGSEGV)
    wait_until(lambda: "the probe of slurmctld ended" in jobpush.log, SOON_S)
    second = slurm.submit("--hold")
    wait_until(lambda: told(jobpush, second) == ["HELD"], 2 * SOON_S)
    wait_until(lambda: helpers(jobpush) not in ([], [pid]), 2 * SOON_S)
    slurm.command("scancel", first, second)
    wait_until(lambda: told(jobpush, second) == ["HELD", "CANCELLED"], 2 * SOON_S)


def test_nothing_is_left(slurm: SlurmCluster, jobpush: ServiceProcess) -> None:
    """The helper ends with the service, also with one that is killed."""
    (pid,) = helpers(jobpush)
    jobpush.kill()
    wait_until(lambda: not Path(f"/proc/{pid}").exists() or "\nState:\tZ" in Path(f"/proc/{pid}/status").read_text(), SOON_S)
    jobpush.start()
    jobpush.ready()
    wait_until(lambda: bool(helpers(jobpush)), SOON_S)
    (pid,) = helpers(jobpush)
    jobpush.stop()
    assert not Path(f"/proc/{pid}").exists()


def test_a_controller_that_is_away(slurm: SlurmCluster, jobpush: ServiceProcess) -> None:
    """Is no change and no reason to end; what it says when it is back is seen at once."""
    job = slurm.submit("--hold")
    wait_until(lambda: told(jobpush, job) == ["HELD"], SOON_S)
    slurm.stop_controller()
    try:
        wait_until(lambda: slurm.run("scontrol", "ping").returncode != 0, SOON_S)
    finally:
        slurm.start_controller()
    slurm.command("scancel", job)
    assert jobpush.job("slurm", job, until="terminal", wait=60)["job"]["state"] == "CANCELLED"
