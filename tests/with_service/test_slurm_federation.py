"""
Two real Slurm clusters that are a federation: a job that the other cluster takes is told as moved there, once, and who waits for
it waits for the job that it has become.
"""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.service_process import ServiceProcess
from tests.slurm_cluster import SlurmCluster, wait_until, why_not

pytestmark = [pytest.mark.slurm, pytest.mark.service, pytest.mark.timeout(240)]


@pytest.fixture(scope="module")
def clusters(short_path: Path) -> Iterator[tuple[SlurmCluster, SlurmCluster]]:
    """``lab``, where jobs are submitted, and ``far``; each forgets ended jobs after ten seconds."""
    why = why_not(accounting=True)
    if why is not None:
        pytest.skip(why)
    lab = SlurmCluster(short_path / "lab", nodes=1, extra="MinJobAge=10", accounting=True)
    running = [lab]
    try:
        lab.start()
        # Its ports are chosen when those of the other are taken.
        far = SlurmCluster(short_path / "far", nodes=1, extra="MinJobAge=10", name="far", shares=lab)
        running.insert(0, far)
        far.start()
        lab.command("sacctmgr", "-i", "add", "federation", "both", "clusters=lab,far")
        wait_until(lambda: "Synced:Yes" in lab.command("scontrol", "show", "federation"), 30)
        yield lab, far
    finally:
        for cluster in running:
            cluster.stop()


@pytest.fixture
def service(clusters: tuple[SlurmCluster, SlurmCluster], short_path: Path, request: pytest.FixtureRequest) -> Iterator[ServiceProcess]:
    """jobpush beside both."""
    queues = (f"slurm:cluster={cluster.name}:interval=1:grace=8:conf={cluster.conf}" for cluster in clusters)
    service = ServiceProcess(short_path / request.node.name, *(word for queue in queues for word in ("--queue", queue)))
    service.start()
    service.ready()
    try:
        yield service
    finally:
        service.stop()


def starts(cluster: SlurmCluster, state: str) -> None:
    """Let the cluster start jobs (``up``), or not (``down``)."""
    cluster.command("scontrol", "update", "partitionname=main", f"state={state}")


def steps(service: ServiceProcess, cluster: str, job: str) -> list[str]:
    """The states of a job's history, one each where several steps in a row have it."""
    states = [step["state"] for step in service.job(cluster, job)["history"]]
    return [state for number, state in enumerate(states) if states[number - 1 : number] != [state]]


def test_job_that_the_other_cluster_takes(clusters: tuple[SlurmCluster, SlurmCluster], service: ServiceProcess) -> None:
    """It is moved, never runs and has no exit code at its origin; all who wait for it there get how it ended."""
    lab = clusters[0]
    starts(lab, "down")
    try:
        job = lab.submit(script="sleep 6; exit 3")
        answers: dict[str, object] = {}
        waits = {
            "job": f"/v1/jobs/lab/{job}?until=terminal&wait=60",
            "barrier": f"/v1/wait?job=lab/{job}&wait=60",
            "both": f"/v1/wait?job=lab/{job}&job=far/{job}&wait=60",
        }
        held = [
            threading.Thread(target=lambda name=name, path=path: answers.update({name: service.get(path).json}))
            for name, path in waits.items()
        ]
        for thread in held:
            thread.start()
        command = [sys.executable, "-m", "jobpush_client.cli", "wait", "--url", f"http://127.0.0.1:{service.port}", f"lab/{job}"]
        waited = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        for thread in held:
            thread.join(60)
    finally:
        starts(lab, "up")
    assert waited.returncode == 3, waited
    there = service.job("far", job)["job"]
    assert (there["state"], there["exit_code"], there["moved_to"]) == ("FAILED", 3, None)
    here = service.job("lab", job)["job"]
    assert (here["state"], here["settled"], here["moved_to"]) == ("MOVED", True, f"far/{job}")
    assert (here["started_at"], here["exit_code"], here["signal"]) == (None, None, None)
    assert steps(service, "lab", job) == ["QUEUED", "MOVED"]
    assert answers["job"]["job"] == there
    assert [(met["job"], met["moved_to"], met["exit_code"]) for met in answers["barrier"]["met"]] == [(f"lab/{job}", f"far/{job}", 3)]
    assert {met["job"]: met["state"] for met in answers["both"]["met"]} == {f"lab/{job}": "FAILED", f"far/{job}": "FAILED"}
    # Asked when all is over; and when Slurm lists it no more, and says itself that it was revoked with exit code 3.
    for _ in range(2):
        assert service.job("lab", job, until="terminal", wait=10)["job"] == there
        wait_until(lambda: not lab.command("squeue", "--local", "-h", "-a", "-t", "all", "-o", "%i"), 60)
    assert service.job("lab", job)["job"]["state"] == "MOVED"


def test_copies_of_the_cluster_that_lost(clusters: tuple[SlurmCluster, SlurmCluster], service: ServiceProcess) -> None:
    """
    The other cluster's copy of a job that its origin started is moved there; that of a job which was cancelled while it waited is
    cancelled. The row that Slurm shows for a moment under no job's number is no job.
    """
    lab, far = clusters
    for cluster in clusters:
        starts(cluster, "down")
    try:
        # Late in a second: then the other cluster mostly notes the next one as the time of submission.
        time.sleep((0.96 - time.time()) % 1)
        taken = lab.submit(script="sleep 4")
        cancelled = lab.submit()
        for job in (taken, cancelled):
            for cluster in clusters:
                assert service.job(cluster.name, job, wait=20)["job"]["state"] == "QUEUED"
        lab.command("scancel", cancelled)
        starts(lab, "up")
        for name in ("lab", "far"):
            end = service.job(name, taken, until="terminal", wait=60)["job"]
            assert (end["cluster"], end["state"]) == ("lab", "COMPLETED")
            assert service.job(name, cancelled, until="terminal", wait=60)["job"]["state"] == "CANCELLED"
    finally:
        starts(lab, "up")
        starts(far, "up")
    assert service.job("far", taken)["job"]["moved_to"] == f"lab/{taken}"
    assert steps(service, "far", taken)[-1] == "MOVED"
    assert "RUNNING" not in steps(service, "far", taken)
    assert not [job for job in service.get("/v1/jobs").json["jobs"] if job["id"] == "4294967294"]
    assert "could not be understood" not in service.log
