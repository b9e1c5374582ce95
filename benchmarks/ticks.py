"""
What a tick costs with many jobs: ``python -m benchmarks.ticks [--jobs 10000] [slurm sge pbs]``.

Starts a real Slurm and a real Grid Engine as the tests do, submits so many held jobs, and runs jobpush beside each; reads the
CPU of its process, and of the commands that it ran, from the kernel. For PBS the commands are a stand-in that prints recorded
attributes: only the service's own share means something there. Loopback only; ends by itself.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import attrs

from tests import sge_cluster, slurm_cluster
from tests.fakes import Programs
from tests.service_process import ROOT, ServiceProcess
from tests.slurm_cluster import OTHER_USER, wait_until

#: Seconds for which ticks are counted, and between two changes.
WINDOW_S = 24.0
CHANGE_EVERY_S = 4.0

#: How many jobs change at once.
CHANGES = 100

#: Whose commands cost nothing that means anything.
STAND_INS = ("pbs", "recorded")

_CLOCK = os.sysconf("SC_CLK_TCK")


@attrs.frozen
class Scheduler:
    """A scheduler with its jobs; ``change`` lets as many wait for another reason."""

    name: str
    argument: str
    change: Callable[[int, int], None]


@contextmanager
def slurm(root: Path, jobs: int) -> Iterator[Scheduler]:
    """A real one; its jobs are held, and released to change."""
    why = slurm_cluster.why_not()
    if why is not None:
        raise SystemExit(why)
    cluster = slurm_cluster.SlurmCluster(root / "slurm", extra=f"MaxJobCount={jobs + 1000}")
    try:
        cluster.start()
        submit(cluster.environment, f"sbatch -Q --hold -D /tmp -o /dev/null -J {'n' * 20}{{}} --wrap 'sleep 600'", jobs)
        wait_until(lambda: len(cluster.command("squeue", "-h", "-o", "%i").split()) >= jobs, 60)

        def change(first: int, count: int) -> None:
            cluster.command("scontrol", "release", ",".join(str(first + n) for n in range(count)))

        yield Scheduler("Slurm 22.05", f"slurm:interval=1:probe=no:conf={cluster.conf}", change)
    finally:
        cluster.stop()


@contextmanager
def sge(root: Path, jobs: int) -> Iterator[Scheduler]:
    """A real one; its jobs are held, and released to change."""
    why = sge_cluster.why_not()
    if why is not None:
        raise SystemExit(why)
    cluster = sge_cluster.GridEngine(root / "sge", slots=1)
    try:
        cluster.start()
        script = root / "job.sh"
        script.write_text("#!/bin/sh\nsleep 600\n")
        submit(cluster.environment, f"qsub -terse -h -wd /tmp -o /dev/null -j y -N {'n' * 20}{{}} {script} >/dev/null", jobs)

        def change(first: int, count: int) -> None:
            cluster.command("qrls", *(str(first + n) for n in range(count)))

        yield Scheduler("Grid Engine 8.1.9", f"sge:interval=1:root={cluster.root}:qmaster_port={cluster.port}", change)
    finally:
        cluster.stop()


@contextmanager
def pbs(root: Path, jobs: int) -> Iterator[Scheduler]:
    """A stand-in for its commands."""
    fake = Programs(str(root / "pbs"))
    letters = ["H"] * jobs
    attributes = Path(__file__).parent.parent / "tests" / "captures" / "pbs" / "gallery.root.qstat-xt-f-json"
    held = json.loads(attributes.read_text())["Jobs"]["11450.pbslab"]
    # The list is ready to be printed: what a stand-in spends must not look like PBS's cost.
    fake.write("qselect", "#!/bin/sh\nexec cat $DIR/modified\n")
    stand_in = Path(__file__).parent / "pbs_stand_in.py"
    fake.write("qstat", f'#!/bin/sh\n[ "$*" = "-t -w" ] && exec cat $DIR/list\nexec {sys.executable} -S {stand_in} $DIR "$@"\n')
    fake.put("job", json.dumps(held))

    def write(modified: str) -> None:
        head = f"{'Job id':<31}{'Name':<16}{'User':<18}Time Use S Queue\n{'-' * 29}  {'-' * 15} {'-' * 15}  -------- - -----\n"
        row = "{:<31}g_held_u        alice                    0 {} workq\n"
        rows = (row.format(f"{number + 1}.pbslab", letter) for number, letter in enumerate(letters))
        fresh = fake.put("list.new", head + "".join(rows))
        fake.put("letters", json.dumps(letters))
        fake.put("modified", modified)
        os.replace(fresh, fake.directory / "list")

    def change(first: int, count: int) -> None:
        letters[first - 1 : first - 1 + count] = ["Q"] * count
        write("".join(f"{first + n}.pbslab\n" for n in range(count)))

    write("")
    yield Scheduler("PBS (stand-in)", f"pbs:interval=1:bin={fake.directory}", change)


#: As squeue does: the rows of a file, each field followed by what -O asks for.
RECORDED_SQUEUE = """\
#!/bin/sh
token=$(printf %s "$9" | sed 's/.*,Name:\\(T[0-9a-zA-Z]*\\)r$/\\1/')
exec sed "s/@F/${token}f/g; s/@R/${token}r/g" "$DIR/rows"
"""


@contextmanager
def recorded(root: Path, jobs: int) -> Iterator[Scheduler]:
    """Slurm's commands as a stand-in that prints what they would: for more jobs than a real one can be given here."""
    fake = Programs(str(root / "recorded"))
    fake.write("squeue", RECORDED_SQUEUE)
    fake.write("scontrol", f'#!/bin/sh\ncat "{ROOT}/tests/captures/slurm/scontrol-show-config.txt"\n')
    fake.write("sacct", "#!/bin/sh\nexit 0\n")
    reasons = ["Priority"] * jobs

    def write() -> None:
        rows = []
        for number, reason in enumerate(reasons, 1):
            fields = [
                reason, "physics", "/home/kim/work/of/today", "", f"nnnnnnnnnnnnnnnnnnnn{number}",
            ]  # fmt: skip
            plain = f"{number}|{number}|PENDING|0|main||1795327000|N/A|N/A|1:00:00|0|kim"
            rows.append("@F".join([plain, *fields]) + "@R\n")
        fresh = fake.put("rows.new", "".join(rows))
        os.replace(fresh, fake.directory / "rows")

    def change(first: int, count: int) -> None:
        for number in range(first, first + count):
            reasons[number - 1] = "JobHeldUser"
        write()

    write()
    yield Scheduler("Slurm (recorded)", f"slurm:interval=1:probe=no:bin={fake.directory}", change)


def submit(environment: dict[str, str], command: str, count: int) -> None:
    """Submit jobs, some at a time, as an ordinary user."""
    # The system's own first: a scheduler's directory may hold other things.
    subprocess.run(
        ["runuser", "-u", OTHER_USER, "--", "xargs", "-P", "4", "-I{}", "sh", "-c", command],
        input="".join(f"{n}\n" for n in range(count)), text=True, env=environment, cwd="/", check=True,
        stdout=subprocess.DEVNULL,
    )  # fmt: skip


def cpu(pid: int) -> tuple[float, float]:
    """Seconds of CPU of a process, and of its children that have ended."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    own, children = int(fields[11]) + int(fields[12]), int(fields[13]) + int(fields[14])
    return own / _CLOCK, children / _CLOCK


def measure(scheduler: Scheduler, directory: Path, jobs: int) -> dict[str, float]:
    """Milliseconds of CPU: of the first look, and for each tick, without changes and with some."""
    service = ServiceProcess(directory, "--queue", scheduler.argument, "--state", str(directory / "state"))
    service.start()
    try:
        assert service.process is not None
        pid, name = service.process.pid, scheduler.argument.partition(":")[0]

        def queue() -> dict[str, float]:
            queues: dict[str, dict[str, float]] = service.get("/readyz").json["queues"]
            return queues[name]

        wait_until(lambda: queue()["jobs"] >= jobs and service.get("/readyz").status == 200, 120)
        first = cpu(pid)

        def window(change: bool) -> tuple[float, float, float]:
            """Milliseconds of CPU of the service and of its commands for each query, and the queries for each change."""
            began, before, queries, changes = time.monotonic(), cpu(pid), queue()["queries"], 0
            while time.monotonic() < began + WINDOW_S:
                if change:
                    scheduler.change(1 + changes * CHANGES, CHANGES)
                changes += 1
                time.sleep(CHANGE_EVERY_S)
            after, count = cpu(pid), queue()["queries"] - queries
            return (after[0] - before[0]) * 1000 / count, (after[1] - before[1]) * 1000 / count, count / changes

        time.sleep(3)
        idle, commands, _ = window(False)
        busy, _, per_change = window(True)
        busy = idle + (busy - idle) * max(1.0, per_change)
        return {"first": first[0] * 1000, "idle": idle, "commands": commands, "busy": busy}
    finally:
        service.stop()


def main() -> None:
    """Measure, and print one Markdown table."""
    kinds = {"slurm": slurm, "sge": sge, "pbs": pbs, "recorded": recorded}
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0] if __doc__ else None)
    parser.add_argument("--jobs", type=int, default=10_000, help="how many jobs, 2000 to 200000 (default: 10000)")
    parser.add_argument("schedulers", nargs="*", choices=[*kinds, []], help="which (default: all)")
    options = parser.parse_args()
    if not 2000 <= options.jobs <= 200_000:
        parser.error("--jobs: expected 2000 to 200000")
    root = Path(tempfile.mkdtemp(prefix="jp", dir="/tmp"))
    root.chmod(0o755)
    try:
        (root / "empty").write_text("")
        queue = f"mock:file={root / 'empty'}:interval=1"
        idle = ServiceProcess(root / "idle", "--queue", queue, "--state", str(root / "idle" / "state"))
        idle.start()
        time.sleep(2)
        assert idle.process is not None
        base = cpu(idle.process.pid)[0] * 1000
        idle.stop()
        print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}; {options.jobs} jobs\n")
        print(
            "| scheduler | first look | a tick, nothing changed | of it for each unchanged row, µs | a tick, 100 changed "
            "| the commands of a tick | service / commands |"
        )
        print("|---|---|---|---|---|---|---|")
        for kind in options.schedulers or kinds:
            with kinds[kind](root, options.jobs) as scheduler:
                found = measure(scheduler, root / f"jobpush-{kind}", options.jobs)
            command = "stand-in" if kind in STAND_INS else f"{found['commands']:.0f}"
            ratio = "" if kind in STAND_INS else f"{found['idle'] / found['commands']:.2f}"
            each = f"{found['idle'] * 1000 / options.jobs:.1f}"
            first, idle_ms, busy_ms = (f"{value:.0f}" for value in (found["first"] - base, found["idle"], found["busy"]))
            row = [scheduler.name, first, idle_ms, each, busy_ms, command, ratio]
            print("| " + " | ".join(row) + " |", flush=True)
    finally:
        shutil.rmtree(root, ignore_errors=True)


if __name__ == "__main__":
    main()
