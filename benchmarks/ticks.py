"""
What a tick costs with many jobs: ``python -m benchmarks.ticks [--jobs 10000] [slurm sge pbs]``.

Starts a real Slurm and a real Grid Engine as the tests do, submits so many held jobs, and runs jobpush beside each; reads the
CPU of its process (user and system), and of the commands that it ran, from the kernel, and its memory. For PBS the commands
are a stand-in that prints recorded attributes: only the service's own share means something there. Loopback only; ends by
itself.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import attrs

from benchmarks.cpu import CLOCK_NOTE, CpuTime, children_time, cpu_time
from benchmarks.servers import resident_kb
from benchmarks.tables import header, machine_line, parts, row
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
            fields = [reason, "physics", "/home/kim/work/of/today", "", f"nnnnnnnnnnnnnnnnnnnn{number}"]
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


@attrs.frozen
class Costs:
    """
    What many jobs cost.

    :ivar first: CPU time from the start of the process until it is ready.
    :ivar idle: CPU time of a tick in which nothing has changed; ``busy``: in which 100 jobs have.
    :ivar commands: CPU time of the commands of a tick, in units of 10 ms over all of them.
    :ivar kb: resident memory after the ticks without changes.
    """

    first: CpuTime
    idle: CpuTime
    busy: CpuTime
    commands: CpuTime
    kb: int


def measure(scheduler: Scheduler, directory: Path, jobs: int) -> Costs:
    """Run jobpush beside a scheduler, with changes and without."""
    service = ServiceProcess(directory, "--queue", scheduler.argument, "--state", str(directory / "state"))
    service.start()
    try:
        assert service.process is not None
        pid, name = service.process.pid, scheduler.argument.partition(":")[0]

        def queue() -> dict[str, float]:
            queues: dict[str, dict[str, float]] = service.get("/readyz").json["queues"]
            return queues[name]

        wait_until(lambda: queue()["jobs"] >= jobs and service.get("/readyz").status == 200, 120)
        first = cpu_time(pid)

        def window(change: bool) -> tuple[CpuTime, CpuTime, float]:
            """CPU time of the service and of its commands for each query, and the queries for each change."""
            began, own, commands, queries, changes = time.monotonic(), cpu_time(pid), children_time(pid), queue()["queries"], 0
            while time.monotonic() < began + WINDOW_S:
                if change:
                    scheduler.change(1 + changes * CHANGES, CHANGES)
                changes += 1
                time.sleep(CHANGE_EVERY_S)
            own, commands, count = cpu_time(pid) - own, children_time(pid) - commands, queue()["queries"] - queries
            return own * (1 / count), commands * (1 / count), count / changes

        time.sleep(3)
        idle, commands, _ = window(False)
        kb = resident_kb(pid)
        busy, _, per_change = window(True)
        return Costs(first, idle, idle + (busy - idle) * max(1.0, per_change), commands, kb)
    finally:
        service.stop()


def without_jobs(root: Path) -> tuple[CpuTime, int]:
    """Return the CPU time and the resident memory, in kB, of a service that has started and knows no jobs."""
    (root / "empty").write_text("")
    queue = f"mock:file={root / 'empty'}:interval=1"
    service = ServiceProcess(root / "idle", "--queue", queue, "--state", str(root / "idle" / "state"))
    service.start()
    try:
        time.sleep(2)
        assert service.process is not None
        return cpu_time(service.process.pid), resident_kb(service.process.pid)
    finally:
        service.stop()


def cells(scheduler: Scheduler, kind: str, jobs: int, costs: Costs, base: CpuTime, base_kb: int) -> list[str]:
    """Return the row of one scheduler; milliseconds of CPU."""
    first, stand_in = costs.first - base, kind in STAND_INS
    return [
        scheduler.name, str(jobs),
        f"{1000 * first.total:.0f}", parts([first], 0, 1000),
        f"{1000 * costs.idle.total:.0f}", parts([costs.idle], 0, 1000), f"{1e6 * costs.idle.total / jobs:.1f}",
        f"{1000 * costs.busy.total:.0f}", parts([costs.busy], 0, 1000),
        "stand-in" if stand_in else f"{1000 * costs.commands.total:.0f}",
        "" if stand_in else f"{costs.idle.total / costs.commands.total:.2f}",
        f"{(costs.kb - base_kb) / jobs:.1f}",
    ]  # fmt: skip


def main() -> None:
    """Measure, and print one Markdown table."""
    kinds = {"slurm": slurm, "sge": sge, "pbs": pbs, "recorded": recorded}
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ticks", description=__doc__)
    parser.add_argument("--jobs", type=int, default=10_000, help="how many jobs, 2000 to 200000 (default: 10000)")
    parser.add_argument("schedulers", nargs="*", choices=[*kinds, []], help="which (default: all)")
    options = parser.parse_args()
    if not 2000 <= options.jobs <= 200_000:
        parser.error("--jobs: expected 2000 to 200000")
    root = Path(tempfile.mkdtemp(prefix="jp", dir="/tmp"))
    root.chmod(0o755)
    try:
        base, base_kb = without_jobs(root)
        columns = [
            "scheduler", "jobs", "first look, ms", "user + system", "a tick, nothing changed, ms", "user + system",
            "of it for each unchanged row, µs", "a tick, 100 changed, ms", "user + system", "the commands of a tick, ms",
            "service / commands", "kB of memory for each job",
        ]  # fmt: skip
        print(f"{machine_line([])}\n\n" + "\n".join(header(columns)))
        for kind in options.schedulers or kinds:
            with kinds[kind](root, options.jobs) as scheduler:
                costs = measure(scheduler, root / f"jobpush-{kind}", options.jobs)
            print(row(cells(scheduler, kind, options.jobs, costs, base, base_kb)), flush=True)
        print(f"\n{CLOCK_NOTE}.")
    finally:
        shutil.rmtree(root, ignore_errors=True)


if __name__ == "__main__":
    main()
