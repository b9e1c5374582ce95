"""
A Parsl program on a real Slurm, with and without jobpush: ``python -m benchmarks.parsl_blocks PYTHON``.

A hundred tasks on eight blocks (pilot jobs), then a program all of whose blocks fail at once: how often is slurmctld asked how
the blocks are, and when does the program know that they have failed? With Parsl's own SlurmProvider, and with the one of
``etc/parsl``. Counted by wrappers of Slurm's commands, and by jobpush itself. Loopback only; as root.
"""

from __future__ import annotations

import argparse
import subprocess
from pathlib import Path

from benchmarks.engines import engine_site
from tests import slurm_cluster
from tests.service_process import ROOT

TASKS, BLOCKS, TASK_S = 100, 8, 8

PROGRAM = """\
import sys, time
import parsl
from parsl.config import Config
from parsl.executors import HighThroughputExecutor
from parsl.providers import SlurmProvider
from jobpush_parsl import JobpushSlurmProvider

provider, prepare = {"parsl": SlurmProvider, "jobpush": JobpushSlurmProvider}[sys.argv[1]], sys.argv[2]
tasks, blocks, seconds = map(int, sys.argv[3:])

@parsl.python_app
def task(seconds):
    import time
    time.sleep(seconds)
    return 1

executor = HighThroughputExecutor(
    label="slurm", address="127.0.0.1", max_workers_per_node=1,
    provider=provider(init_blocks=blocks, max_blocks=blocks, exclusive=False, mem_per_node=1, worker_init=prepare),
)
with parsl.load(Config(executors=[executor], run_dir="runs", usage_tracking=0)):
    began = time.monotonic()
    futures = [task(seconds) for _ in range(tasks)]
    try:
        print("did", sum(future.result() for future in futures))
    except Exception as error:
        print("failed", type(error).__name__)
    print("seconds", round(time.monotonic() - began))
"""


def play(python: str, provider: str) -> None:
    """Both programs once."""
    with engine_site(provider == "jobpush") as site:
        (site.work / "program.py").write_text(PROGRAM)
        cells = [provider]
        for prepare in ("", "exit 3"):
            asked, queries = site.asked, site.queries
            done = subprocess.run(
                [python, "program.py", provider, prepare, str(TASKS), str(BLOCKS), str(TASK_S)], cwd=site.work,
                env=site.environment(ROOT / "etc" / "parsl", Path(python).parent), capture_output=True, text=True, timeout=400,
                check=False,
            )  # fmt: skip
            if ("failed" if prepare else f"did {TASKS}") not in done.stdout:
                raise SystemExit(f"the program: {done.stdout[-1500:]}{done.stderr[-1500:]}")
            cells += [str(site.asked - asked), str(site.queries - queries), done.stdout.split()[-1]]
        print(f"| {' | '.join(cells)} |", flush=True)


def main() -> None:
    """Both."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.parsl_blocks", description=__doc__)
    parser.add_argument("python", help="of an environment with parsl and jobpush")
    given = parser.parse_args()
    why = slurm_cluster.why_not()
    if why is not None:
        raise SystemExit(why)
    version = subprocess.run(
        [given.python, "-c", "import parsl; print(parsl.__version__)"], capture_output=True, text=True, check=True
    ).stdout.strip()
    print(f"Parsl {version}\n")
    columns = "Parsl's questions to slurmctld", "jobpush's", "seconds"
    print(f"| provider | {' | '.join(columns)} | blocks fail: {' | '.join(columns)} |\n|---{'|---' * 6}|")
    play(given.python, "parsl")
    play(given.python, "jobpush")


if __name__ == "__main__":
    main()
