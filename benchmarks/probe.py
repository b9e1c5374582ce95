"""
Does the probe pay? ``python -m benchmarks.probe [--jobs 10000] [--seconds 60] [RATE…]``

On a real Slurm with so many pending jobs, of which so many change a second (they are held and released), measures what the
controller spends and how late a change is told to a client that holds a stream, in three ways: no jobpush; jobpush with
``probe=no``, which polls; jobpush with ``probe=yes``. In both somebody waits all the time. Loopback only; ends by itself.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import threading
import time
from pathlib import Path

import attrs

from benchmarks.cpu import children_time, cpu_time
from benchmarks.freshness import Client
from benchmarks.ticks import submit
from tests import slurm_cluster
from tests.service_process import ServiceProcess
from tests.slurm_cluster import wait_until

#: Seconds for which jobpush runs before it is measured: what it had saved up of queries is spent by then, or is not needed.
SETTLE_S = 40.0

#: Jobs whose changes are measured; each is changed again after all others.
CHANGING = 1000


class Changes(threading.Thread):
    """Holds and releases jobs at a rate, until it is told to end."""

    def __init__(self, cluster: slurm_cluster.SlurmCluster, rate: float) -> None:
        super().__init__(daemon=True)
        self._cluster, self._rate = cluster, rate
        self._over = threading.Event()
        self.at: list[tuple[float, str]] = []

    def run(self) -> None:
        began, done = time.monotonic(), 0
        while not self._over.wait(0.02):
            due = int((time.monotonic() - began) * self._rate)
            while done < due:  # one command for all that are due: at fifty a second, commands of their own would be the load
                last = min(due, (done // CHANGING + 1) * CHANGING)
                jobs = [str(1 + n % CHANGING) for n in range(done, last)]
                self._cluster.command("scontrol", "release" if done // CHANGING % 2 else "hold", ",".join(jobs))
                self.at.extend((time.time(), job) for job in jobs)
                done = last

    def stop(self) -> None:
        """Release what is held."""
        self._over.set()
        self.join()
        self._cluster.command("scontrol", "release", ",".join(str(1 + n) for n in range(CHANGING)))


@attrs.frozen
class Result:
    """What came of one way."""

    controller_ms: float
    queries: int
    late: list[float]
    lost: int


def spent_by(pid: int) -> float:
    """Return the seconds of CPU of a process, and of its children that have ended."""
    return cpu_time(pid).total + children_time(pid).total


def run(cluster: slurm_cluster.SlurmCluster, root: Path, way: str, rate: float, seconds: float) -> Result:
    """One way at one rate."""
    pid = int((cluster.root / "run" / "slurmctld.pid").read_text())
    queue = f"slurm:conf={cluster.conf}:probe={'yes' if way == 'probe' else 'no'}"
    service = ServiceProcess(root / "service", "--queue", queue) if way != "none" else None
    client = None
    if service is not None:
        service.start()
        service.ready()
        client = Client(service.port)
        client.start()

    def queries() -> int:
        """How often ``squeue`` was run."""
        queue = service.get("/readyz").json["queues"]["slurm"] if service is not None else {"queries": 0, "queries_probing": 0}
        return int(queue["queries"] - queue["queries_probing"])

    changes = Changes(cluster, rate)
    changes.start()
    try:
        time.sleep(SETTLE_S if service is not None else 2.0)
        began, spent, asked = time.time(), spent_by(pid), queries()
        time.sleep(seconds)
        spent, asked, until = spent_by(pid) - spent, queries() - asked, time.time()
        time.sleep(15.0 if rate and service is not None else 0.0)
        late, lost = [], 0
        for at, job in changes.at:
            if client is not None and began <= at < until:
                told = [when - at for when, _ in client.told.get(job, []) if when >= at - 0.05]
                lost += not told
                late.extend(told[:1])
    finally:
        changes.stop()
        if service is not None:
            service.stop()
    return Result(1000 * spent / seconds, asked, sorted(late), lost)


def main() -> None:
    parser = argparse.ArgumentParser(description="What the probe of slurmctld costs, and brings.")
    parser.add_argument("rates", nargs="*", type=float, default=[0.0, 0.2, 1.0, 10.0, 50.0], help="changes a second, 0 to 100")
    parser.add_argument("--jobs", type=int, default=10000, help="1000 to 20000")
    parser.add_argument("--seconds", type=float, default=60.0, help="1 to 300, for each way and rate")
    options = parser.parse_args()
    if not (all(0 <= r <= 100 for r in options.rates) and CHANGING <= options.jobs <= 20000 and 1 <= options.seconds <= 300):
        parser.error("out of range")
    why = slurm_cluster.why_not()
    if why is not None:
        raise SystemExit(why)
    with tempfile.TemporaryDirectory(prefix="jp", dir="/tmp") as root:
        Path(root).chmod(0o755)
        cluster = slurm_cluster.SlurmCluster(Path(root) / "slurm", extra=f"MaxJobCount={options.jobs + 1000}")
        try:
            cluster.start()
            sbatch = "sbatch -Q --begin=now+1day -D /tmp -o /dev/null -J job{} --wrap 'sleep 600'"
            submit(cluster.environment, sbatch, options.jobs)
            wait_until(lambda: len(cluster.command("squeue", "-h", "-o", "%i").split()) >= options.jobs, 60)
            columns = "changes/s", "way", "slurmctld, CPU ms/s", "squeue/min", "late, p50 ms", "p99 ms", "never told"
            print(f"| {' | '.join(columns)} |\n{'|---' * len(columns)}|")
            for rate in options.rates:
                for way in ("none", "poll", "probe"):
                    result = run(cluster, Path(root), way, rate, options.seconds)
                    late = result.late
                    p50, p99 = (f"{1000 * late[int(share * len(late))]:.0f}" if late else "-" for share in (0.5, 0.99))
                    spent, minute = f"{result.controller_ms:.1f}", f"{result.queries * 60 / options.seconds:.0f}"
                    print(f"| {rate:g} | {way} | {spent} | {minute} | {p50} | {p99} | {result.lost} |", flush=True)
        finally:
            cluster.stop()


if __name__ == "__main__":
    sys.exit(main())
