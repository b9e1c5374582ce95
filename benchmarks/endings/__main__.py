"""
What jobpush tells of 300 jobs, compared with what they did: ``python -m benchmarks.endings slurm|sge|pbs``.

A real Slurm (with slurmdbd) or Grid Engine (with a parallel environment) is started on loopback, in a temporary directory,
and jobpush beside it. An OpenPBS is not started, but used where it is: one that nobody else uses, with
JOBPUSH_PBS_MAY_CONFIGURE=1. Jobs of all kinds come in random order: exit codes, signals, holds, dependencies, deletions,
requeues, arrays, time limits, jobs that cannot start. Meanwhile the scheduler is restarted, jobpush is stopped, killed and
paused, and the accounting and reporting files are rotated. Each job writes its start, its exit code or signal, and its end
into a file; its plan says what must stand there. At the end jobpush's answer and history, the scheduler's own record and that
file are compared. `benchmarks.endings.permitted` lists the differences that are permitted.

The exit status is 1 if anything was told wrong, or a job did not do what it was to do. Needs root; bounded in time; stops
only what it started.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.endings.clusters import OpenPbs, Scheduler, Sge, Slurm
from benchmarks.endings.run import Run, failures, table
from benchmarks.endings.verdict import Verdict
from tests import pbs_cluster, sge_cluster, slurm_cluster


@contextmanager
def running(name: str, directory: Path) -> Iterator[Scheduler]:
    """Yield a scheduler that runs."""
    why = {
        "slurm": lambda: slurm_cluster.why_not(accounting=True),
        "sge": sge_cluster.why_not,
        "pbs": lambda: pbs_cluster.why_not() or pbs_cluster.why_not_configure(),
    }[name]()
    if why is not None:
        raise SystemExit(why)
    if name == "pbs":
        with pbs_cluster.pbs_with_user() as pbs:
            yield OpenPbs(pbs)
        return
    scheduler: Slurm | Sge
    if name == "slurm":
        scheduler = Slurm(slurm_cluster.SlurmCluster(directory, extra="MinJobAge=2", accounting=True))
    else:
        scheduler = Sge(sge_cluster.GridEngine(directory))
    try:
        scheduler.cluster.start()
        yield scheduler
    finally:
        scheduler.cluster.stop()


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.endings", description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("scheduler", choices=("slurm", "sge", "pbs"))
    parser.add_argument("--jobs", type=int, default=300, help="how many (default: %(default)s)")
    parser.add_argument("--minutes", type=float, default=5.0, help="in which they are submitted (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of what is random (default: %(default)s)")
    parser.add_argument("--keep", action="store_true", help="keep the directory")
    options = parser.parse_args()
    directory = Path(tempfile.mkdtemp(prefix="jpe", dir="/tmp"))
    directory.chmod(0o755)
    try:
        with running(options.scheduler, directory / "c") as scheduler:
            run = Run(
                scheduler, directory / "r", options.jobs, options.minutes * 60, options.seed, short=False, grace_s=20,
                say=lambda text: print(text, file=sys.stderr, flush=True),
            )  # fmt: skip
            found = run.run()
    finally:
        if not options.keep:
            shutil.rmtree(directory, ignore_errors=True)
    print("\n".join(table(options.scheduler, found)))
    allowed = Counter(
        f"{one.kind}: {difference}" for one in found if one.verdict is Verdict.PERMITTED for difference in one.differences
    )
    print("\nPermitted:", *(f"  {count} x {what}" for what, count in sorted(allowed.items())), sep="\n")
    print("\nUnknown or lost:", *(f"  {one}" for one in found if one.verdict is Verdict.UNKNOWN), sep="\n")
    wrong = failures(found, run.problems)
    print("\nWrong:" if wrong else "\nNothing was told wrong.", *wrong, sep="\n  ")
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
