"""
Would a probe pay? ``python -m benchmarks.probe [--jobs 10000] [--seconds 30] [RATE…]``

libslurm's ``slurm_load_jobs(last_update)`` answers "nothing has changed" for a fraction of what a ``squeue`` costs. So a probe
every 0.15 s could say when to run ``squeue``. This measures, on a real Slurm with so many held jobs of which so many change a
second, what the controller spends and how old a change is when it is known, in three ways: nothing; a ``squeue`` every two
seconds; the probe, and a ``squeue`` when it says "changed". ``squeue`` takes a twentieth of the time at most, as in jobpush.
Loopback only; ends by itself.
"""

from __future__ import annotations

import argparse
import ctypes
import glob
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import attrs

from benchmarks.ticks import cpu, submit
from jobpush.pace import DUTY, LoadBudget
from tests import slurm_cluster
from tests.slurm_cluster import wait_until

#: Seconds between two probes, and between two polls.
PROBE_S = 0.15
POLL_S = 2.0

#: What libslurm of Slurm 22.05 says when nothing has changed (slurm_errno.h), and the flag for all jobs (slurm.h).
NO_CHANGE = 1900
SHOW_ALL = 1


class Head(ctypes.Structure):
    """The head of ``job_info_msg_t`` of Slurm 22.05."""

    _fields_ = [
        ("last_backfill", ctypes.c_long), ("last_update", ctypes.c_long), ("record_count", ctypes.c_uint32),
        ("jobs", ctypes.c_void_p),
    ]  # fmt: skip


class Probe:
    """Asks whether anything has changed since it asked last."""

    def __init__(self, conf: Path) -> None:
        path = glob.glob("/usr/lib/*/slurm-wlm/libslurmfull.so")[0]
        self._slurm = ctypes.CDLL(path, mode=ctypes.RTLD_GLOBAL)  # its plugins need its symbols
        self._slurm.slurm_init(str(conf).encode())
        self._since = ctypes.c_long(0)

    def changed(self) -> bool:
        """One probe."""
        answer = ctypes.POINTER(Head)()
        if self._slurm.slurm_load_jobs(self._since, ctypes.byref(answer), ctypes.c_uint16(SHOW_ALL)) == 0:
            # A change in the same second would not be seen: the controller knows seconds.
            self._since = ctypes.c_long(answer.contents.last_update)
            self._slurm.slurm_free_job_info_msg(answer)
            return True
        errno = self._slurm.slurm_get_errno()
        if errno != NO_CHANGE:
            raise SystemExit(f"libslurm: error {errno}")
        return False


@attrs.define
class Way:
    """What came of one way."""

    name: str
    rate: float
    controller_ms: float = 0.0
    squeues: int = 0
    probes: int = 0
    changed: int = 0
    late: list[float] = attrs.field(factory=list)


class Changes(threading.Thread):
    """Priorities of held jobs are changed at a rate, by one ``scontrol`` each."""

    def __init__(self, cluster: slurm_cluster.SlurmCluster, rate: float, seconds: float) -> None:
        super().__init__(daemon=True)
        self._cluster, self._rate, self._seconds = cluster, rate, seconds
        self.at: list[float] = []

    def run(self) -> None:
        began = time.monotonic()
        while self._rate and (passed := time.monotonic() - began) < self._seconds:
            due = int(passed * self._rate) - len(self.at)
            if due > 0:  # one command for all that is due: at fifty a second, commands of their own would be the load
                ids = ",".join(str(1 + (len(self.at) + n) % 1000) for n in range(due))
                self._cluster.command("scontrol", "update", f"JobId={ids}", f"Comment=c{len(self.at)}")
                self.at.extend([time.monotonic()] * due)
            time.sleep(0.02)


def squeue(cluster: slurm_cluster.SlurmCluster) -> float:
    """As jobpush asks; seconds."""
    began = time.monotonic()
    fields = "%i|%F|%K|%T|%r|%M|%S|%e|%N|%P|%u|%a|%Z|%k|%j"
    subprocess.run(["squeue", "-h", "-t", "all", "-o", fields], env=cluster.environment, stdout=subprocess.DEVNULL, check=True)
    return time.monotonic() - began


def run(cluster: slurm_cluster.SlurmCluster, pid: int, name: str, rate: float, seconds: float) -> Way:
    """One way at one rate."""
    way = Way(name, rate)
    probe = Probe(cluster.conf) if name == "probe" else None
    if probe is not None:
        probe.changed()
    changes = Changes(cluster, rate, seconds)
    budget = LoadBudget()
    budget.spend(60 * DUTY, time.monotonic())  # what is measured is the long run, not what was saved up
    time.sleep(2)
    before = sum(cpu(pid))
    began = time.monotonic()
    changes.start()
    known, wanted, due = 0, False, began
    while (now := time.monotonic()) - began < seconds:
        if probe is not None:
            way.probes += 1
            if probe.changed():
                way.changed += 1
                wanted = True
        elif name == "poll" and now >= due:
            wanted = True
        if wanted and budget.wait(now) <= 0:
            wanted, seen = False, len(changes.at)
            took = squeue(cluster)
            way.squeues += 1
            budget.spend(took, time.monotonic())
            due = now + max(POLL_S, took / DUTY)
            way.late.extend(time.monotonic() - at for at in changes.at[known:seen])
            known = seen
        time.sleep(PROBE_S if probe is not None else 0.02)
    way.controller_ms = 1000 * (sum(cpu(pid)) - before) / seconds
    changes.join()
    return way


def main() -> None:
    parser = argparse.ArgumentParser(description="What a probe of slurmctld would cost, and bring.")
    parser.add_argument("rates", nargs="*", type=float, default=[0.0, 0.2, 1.0, 10.0, 50.0], help="changes a second, 0 to 100")
    parser.add_argument("--jobs", type=int, default=10000, help="1 to 20000")
    parser.add_argument("--seconds", type=float, default=30.0, help="1 to 300, for each way and rate")
    options = parser.parse_args()
    if not (all(0 <= r <= 100 for r in options.rates) and 1 <= options.jobs <= 20000 and 1 <= options.seconds <= 300):
        parser.error("out of range")
    why = slurm_cluster.why_not()
    if why is not None:
        raise SystemExit(why)
    with tempfile.TemporaryDirectory(prefix="jp", dir="/tmp") as root:
        Path(root).chmod(0o755)
        cluster = slurm_cluster.SlurmCluster(Path(root) / "slurm", extra=f"MaxJobCount={options.jobs + 1000}")
        try:
            cluster.start()
            submit(cluster.environment, "sbatch -Q --hold -D /tmp -o /dev/null -J job{} --wrap 'sleep 600'", options.jobs)
            wait_until(lambda: len(cluster.command("squeue", "-h", "-o", "%i").split()) >= options.jobs, 60)
            pid = int((cluster.root / "run" / "slurmctld.pid").read_text())
            columns = "changes/s", "way", "slurmctld, ms/s", "squeue/min", "probes/min", "say changed", "late, p50 s", "p99 s"
            print(f"| {' | '.join(columns)} |\n{'|---' * len(columns)}|")
            for rate in options.rates:
                for name in ("none", "poll", "probe"):
                    way = run(cluster, pid, name, rate, options.seconds)
                    late = sorted(way.late)
                    p50, p99 = (f"{late[int(s * len(late))]:.2f}" if late else "-" for s in (0.5, 0.99))
                    minute = 60 / options.seconds
                    share = f"{100 * way.changed / way.probes:.0f} %" if way.probes else "-"
                    print(
                        f"| {rate:g} | {name} | {way.controller_ms:.1f} | {way.squeues * minute:.0f} | "
                        f"{way.probes * minute:.0f} | {share} | {p50} | {p99} |", flush=True,
                    )  # fmt: skip
        finally:
            cluster.stop()


if __name__ == "__main__":
    sys.exit(main())
