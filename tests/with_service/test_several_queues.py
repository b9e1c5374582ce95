"""Several schedulers in one service, real ones: each with its own monitor, and none of them in another's way."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.adapters.pbs.test_queue import Recorded
from tests.service_process import ServiceProcess
from tests.sge_cluster import GridEngine
from tests.slurm_cluster import SlurmCluster, wait_until

pytestmark = [pytest.mark.slurm, pytest.mark.sge, pytest.mark.service, pytest.mark.timeout(240)]


@pytest.fixture(scope="module")
def pbs(short_path: Path) -> Recorded:
    """A stand-in for PBS's commands."""
    return Recorded(str(short_path / "gamma"))


@pytest.fixture(scope="module")
def jobpush(slurm: SlurmCluster, sge: GridEngine, pbs: Recorded, short_path: Path) -> Iterator[ServiceProcess]:
    """Three clusters, as the command line names them."""
    service = ServiceProcess(
        short_path / "several",
        "--queue", f"slurm:cluster=alpha:interval=0.4:conf={slurm.conf}",
        "--queue", f"sge:cluster=beta:interval=0.4:timeout=2:root={sge.root}:cell=default:qmaster_port={sge.port}",
        "--queue", f"pbs:cluster=gamma:interval=0.4:server=pbslab:bin={pbs.directory}",
        "--allow-anonymous",
    )  # fmt: skip
    service.start()
    service.ready()
    yield service
    service.stop()


def test_one_feed_for_all(slurm: SlurmCluster, sge: GridEngine, pbs: Recorded, jobpush: ServiceProcess) -> None:
    """The same id on three clusters is three jobs; one feed tells them all, and a bare id is refused as ambiguous."""
    cursor = jobpush.get("/v1/changes").json["cursor"]
    pbs.set("77.pbslab", "QUEUED")
    first, second = slurm.submit(script="sleep 1; exit 3"), sge.submit(script="sleep 1; exit 4")
    pbs.set("77.pbslab", "RUNNING")
    assert jobpush.job("alpha", first, until="terminal", wait=30)["job"]["exit_code"] == 3
    assert jobpush.job("beta", second, until="terminal", wait=30)["job"]["exit_code"] == 4
    pbs.set("77.pbslab", "FAILED")
    assert jobpush.job("gamma", "77", until="terminal", wait=30)["job"]["exit_code"] == 3
    ended = {(e["job"]["cluster"], e["job"]["state"]) for e in jobpush.events(since=cursor) if e["job"]["settled"]}
    assert ended >= {("alpha", "FAILED"), ("beta", "FAILED"), ("gamma", "FAILED")}
    refused = jobpush.get(f"/v1/changes?job={first}")
    assert refused.status == 400
    assert "alpha" in refused.json["detail"]


def test_one_that_hangs_slows_no_other(sge: GridEngine, slurm: SlurmCluster, jobpush: ServiceProcess) -> None:
    """The qmaster is frozen: its cluster grows stale and backs off, the others are asked as often as before."""
    job = sge.submit("-h")
    assert jobpush.job("beta", job, wait=20)["job"]["state"] == "HELD"
    pid = sge.pid("sge_qmaster")
    os.kill(pid, signal.SIGSTOP)
    try:
        wait_until(lambda: jobpush.get("/readyz").json["queues"]["beta"]["health"] == "stale", 30)
        before = jobpush.get("/readyz").json["queues"]
        began = time.monotonic()
        time.sleep(6)
        after = jobpush.get("/readyz").json["queues"]
        elapsed = time.monotonic() - began
        for cluster in ("alpha", "gamma"):
            assert after[cluster]["health"] == "ok"
            assert after[cluster]["stale_s"] < 3
        assert after["alpha"]["queries"] - before["alpha"]["queries"] >= elapsed / 0.4 / 2
        assert after["beta"]["stale_s"] > 5
        assert after["beta"]["queries"] - before["beta"]["queries"] <= 4
        quick = slurm.submit(script="exit 0")
        assert jobpush.job("alpha", quick, until="terminal", wait=20)["job"]["state"] == "COMPLETED"
        assert jobpush.job("beta", job)["job"]["state"] == "HELD"
    finally:
        os.kill(pid, signal.SIGCONT)
    wait_until(lambda: jobpush.get("/readyz").json["queues"]["beta"]["health"] == "ok", 60)
    sge.command("qdel", job)
    assert jobpush.job("beta", job, until="terminal", wait=30)["job"]["state"] == "CANCELLED"


def test_pbs_hides_jobs_while_it_runs(pbs: Recorded, jobpush: ServiceProcess) -> None:
    """``query_other_jobs`` is taken away from a running service: the list is empty with exit status 0, and no job ends."""
    pbs.set("90.pbslab", "RUNNING")
    pbs.set("91[].pbslab", "BEGUN")
    pbs.set("91[1].pbslab", "QUEUED")
    assert jobpush.job("gamma", "91[1]", wait=20)["job"]["state"] == "QUEUED"
    cursor = jobpush.get("/v1/changes").json["cursor"]
    jobs, pbs.server["jobs"] = pbs.server["jobs"], {}
    pbs.server["attributes"] = {"query_other_jobs": "False"}
    pbs.save()
    wait_until(lambda: jobpush.get("/readyz").json["queues"]["gamma"]["health"] == "blind", 20)
    time.sleep(2)
    for job in ("90", "91[1]"):
        assert jobpush.job("gamma", job)["job"]["state"] in ("RUNNING", "QUEUED")
    assert not [e for e in jobpush.events(since=cursor) if e["job"]["cluster"] == "gamma"]
    assert "query_other_jobs=False" in jobpush.log
    pbs.server.update(jobs=jobs, attributes={})
    pbs.save()
    wait_until(lambda: jobpush.get("/readyz").json["queues"]["gamma"]["health"] == "ok", 60)
    pbs.set("90.pbslab", "COMPLETED")
    assert jobpush.job("gamma", "90.pbslab", until="terminal", wait=20)["job"]["state"] == "COMPLETED"
