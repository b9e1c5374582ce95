"""
What hooks cost the jobs: ``python -m benchmarks.hooks [--jobs 40]``.

On a real Slurm and a real Grid Engine jobs are submitted one after another: without hooks, and with them while jobpush is up,
hangs (SIGSTOP), was killed so that nobody listens on its socket, and is gone with its socket. How long the command that submits
takes, how long until the job starts and has ended, and how it ended. Loopback only; ends by itself.
"""

from __future__ import annotations

import argparse
import signal
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import attrs

from benchmarks.freshness import slurm_changes
from tests import sge_cluster, slurm_cluster
from tests.hooks import install_hooks, install_slurm_submit_hook
from tests.service_process import ServiceProcess
from tests.slurm_cluster import wait_until

STATES = ("no hooks", "jobpush up", "jobpush hung", "killed", "gone")


@attrs.frozen
class Ran:
    """One job: seconds of its submission, and from then on to its start and its end; how it ended."""

    submit: float
    start: float
    end: float
    how: str


@contextmanager
def slurm(root: Path) -> Iterator[tuple[str, Callable[[bool], None], Callable[[], Ran]]]:
    hooks = install_hooks(root / "hooks", root / "nudge")
    lines = (
        f"JobCompType=jobcomp/script\nJobCompLoc={hooks.jobcomp}\nPrologSlurmctld={hooks.slurmctld}\n"
        f"EpilogSlurmctld={hooks.slurmctld}\nCliFilterPlugins=cli_filter/lua"
    )
    cluster = slurm_cluster.SlurmCluster(root / "slurm", extra="LogTimeFormat=iso8601_ms")
    cluster.start()
    log = cluster.root / "log" / "slurmctld.log"

    def configure(with_hooks: bool) -> None:
        cluster.stop_controller()
        cluster.write_config("LogTimeFormat=iso8601_ms\n" + (lines if with_hooks else ""))
        if with_hooks:
            install_slurm_submit_hook(cluster.conf.parent, hooks.cli_filter)
        cluster.start_controller()
        wait_until(lambda: set(cluster.command("sinfo", "-h", "-N", "-o", "%T").split()) == {"idle"}, 60)

    def run() -> Ran:
        began = time.time()
        job = cluster.submit(script="exit 3")
        submitted = time.time()
        wait_until(lambda: ("end", job) in slurm_changes(log), 60, every=0.02)
        show = lambda: cluster.command("scontrol", "-o", "show", "job", job)  # noqa: E731
        wait_until(lambda: "COMPLETING" not in show(), 60)
        changes = slurm_changes(log)
        shown = dict(f.partition("=")[::2] for f in show().split())
        how = f"{shown['JobState']} {shown['ExitCode']}"
        at = changes["submit", job]
        return Ran(submitted - began, changes["start", job] - at, changes["end", job] - at, how)

    try:
        yield f"slurm:conf={cluster.conf}:probe=no", configure, run
    finally:
        cluster.stop()


@contextmanager
def grid_engine(root: Path) -> Iterator[tuple[str, Callable[[bool], None], Callable[[], Ran]]]:
    hook = install_hooks(root / "hooks", root / "nudge").grid_engine
    cluster = sge_cluster.GridEngine(root / "sge")
    cluster.start()
    root.chmod(0o777)

    def configure(with_hooks: bool) -> None:
        script = f"root@{hook}" if with_hooks else "none"
        cluster.configure(prolog=script, epilog=script)
        time.sleep(10)  # until the execution daemon has heard of it

    def run() -> Ran:
        began = time.time()
        stamp = f"date +%s.%N > {root}"
        job = cluster.submit(script=f"{stamp}/start.$JOB_ID; {stamp}/end.$JOB_ID; exit 3")
        submitted = time.time()
        record: list[str] = []

        def recorded() -> bool:
            lines = cluster.accounting.read_text().splitlines() if cluster.accounting.exists() else []
            record[:] = next((line.split(":") for line in lines if f":{job}:sge:" in line), [])
            return bool(record)

        wait_until(recorded, 60, every=0.05)
        start, end = (float((root / f"{kind}.{job}").read_text()) for kind in ("start", "end"))
        return Ran(submitted - began, start - submitted, end - submitted, f"failed {record[11]}, exit_status {record[12]}")

    try:
        yield f"sge:root={cluster.root}:qmaster_port={cluster.port}", configure, run
    finally:
        cluster.stop()


def main() -> None:
    parser = argparse.ArgumentParser(description="What hooks cost the jobs.")
    parser.add_argument("--jobs", type=int, default=40, help="in each state, 1 to 200")
    options = parser.parse_args()
    if not 1 <= options.jobs <= 200:
        parser.error("--jobs: expected 1 to 200")
    columns = "scheduler", "state", "jobs", "submit command, ms", "to the start, ms", "to the end, ms", "how they ended"
    print(f"| {' | '.join(columns)} |\n{'|---' * len(columns)}|")
    for make, why in ((slurm, slurm_cluster.why_not()), (grid_engine, sge_cluster.why_not())):
        if why is not None:
            raise SystemExit(why)
        with tempfile.TemporaryDirectory(prefix="jp", dir="/tmp") as directory:
            root = Path(directory)
            root.chmod(0o755)
            with make(root) as (queue, configure, run):
                measure(make.__name__, root, queue, configure, run, options.jobs)


def measure(name: str, root: Path, queue: str, configure: Callable[[bool], None], run: Callable[[], Ran], count: int) -> None:
    """All states of one scheduler."""
    service = ServiceProcess(root / "service", "--queue", queue, "--nudge", f"unix:{root / 'nudge'}:mode=666")
    for state in STATES:
        if state == "jobpush up":
            configure(True)
            service.start()
            service.ready()
        process = service.process
        if state == "jobpush hung":
            assert process is not None
            process.send_signal(signal.SIGSTOP)
        elif state == "killed":
            service.kill()
            assert (root / "nudge").exists()
        elif state == "gone":
            (root / "nudge").unlink()
        run()
        ran = [run() for _ in range(count)]
        times = (f"{1000 * statistics.median(getattr(r, of) for r in ran):.0f}" for of in ("submit", "start", "end"))
        how = ", ".join(f"{n} x {text}" for text, n in Counter(r.how for r in ran).items())
        print(f"| {name} | {state} | {count} | {' | '.join(times)} | {how} |", flush=True)


if __name__ == "__main__":
    main()
