"""
A Snakemake workflow on a real Slurm, with and without jobpush: ``python -m benchmarks.snakemake SNAKEMAKE``.

A hundred jobs in four layers, submitted by the executor plugin cluster-generic. How each is, Snakemake asks a command: one with
``scontrol show job``, for a site without accounting, or ``jobpush status``. Counted are the questions to slurmctld (by wrappers
of Slurm's commands, and by jobpush itself) and the time that the workflow took. Loopback only; as root.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time

from benchmarks.engines import engine_site
from tests import slurm_cluster
from tests.service_process import ROOT

LAYERS, WIDTH = 4, 25

SNAKEFILE = """\
rule all:
    input: [f"out/{layer}_{n}" for layer in range(LAYERS) for n in range(WIDTH)]

rule job:
    output: "out/{layer}_{n}"
    input: lambda w: [] if w.layer == "0" else [f"out/{int(w.layer) - 1}_{w.n}"]
    shell: "sleep 2; touch {output}"
""".replace("LAYERS", str(LAYERS)).replace("WIDTH", str(WIDTH))

#: What a site without accounting is told to use.
STATUS_SCONTROL = """\
#!/bin/sh
state=$(scontrol -o show job "$1" | sed 's/.* JobState=\\([A-Z_]*\\).*/\\1/')
case $state in
    COMPLETED) echo success ;;
    PENDING | CONFIGURING | RUNNING | COMPLETING | SUSPENDED) echo running ;;
    *) echo failed ;;
esac
"""


def play(snakemake: str, with_jobpush: bool) -> None:
    """The workflow once."""
    with engine_site(with_jobpush) as site:
        (site.work / "Snakefile").write_text(SNAKEFILE)
        status = site.commands / "status"
        if with_jobpush:
            status.write_text(f'#!/bin/sh\nexec {sys.executable} -m jobpush_client.cli status --format snakemake "$1"\n')
        else:
            status.write_text(STATUS_SCONTROL)
        status.chmod(0o755)
        before = site.queries
        began = time.monotonic()
        done = subprocess.run(
            [
                snakemake, "--executor", "cluster-generic",
                "--cluster-generic-submit-cmd", "sbatch --parsable --mem 250 --output /dev/null",
                "--cluster-generic-status-cmd", str(status), "--jobs", "100", "--max-status-checks-per-second", "50",
                "--seconds-between-status-checks", "2", "--latency-wait", "10",
            ],
            cwd=site.work, env=site.environment(ROOT / "adapters"), capture_output=True, text=True, timeout=500, check=False,
        )  # fmt: skip
        seconds = time.monotonic() - began
        outputs = len(list((site.work / "out").glob("*")))
        if done.returncode or outputs != LAYERS * WIDTH:
            raise SystemExit(f"the workflow failed, {outputs} outputs:\n{done.stdout[-1500:]}{done.stderr[-1500:]}")
        cells = [
            "jobpush status" if with_jobpush else "scontrol show job", outputs, site.calls.count("sbatch"), site.asked,
            site.queries - before, f"{seconds:.0f}",
        ]  # fmt: skip
        print(f"| {' | '.join(map(str, cells))} |", flush=True)


def main() -> None:
    """Both."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.snakemake", description=__doc__)
    parser.add_argument("snakemake", help="the program, with snakemake-executor-plugin-cluster-generic")
    given = parser.parse_args()
    why = slurm_cluster.why_not()
    if why is not None:
        raise SystemExit(why)
    version = subprocess.run([given.snakemake, "--version"], capture_output=True, text=True, check=True).stdout.strip()
    print(f"Snakemake {version}\n")
    print("| status command | jobs | sbatch | Snakemake's questions to slurmctld | jobpush's | seconds |")
    print("|---|---|---|---|---|---|")
    play(given.snakemake, False)
    play(given.snakemake, True)


if __name__ == "__main__":
    main()
