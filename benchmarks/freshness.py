"""
How fresh an answer is: ``python -m benchmarks.freshness [--changes 200] [MODE…]``.

Starts a real Slurm and a real Grid Engine as the tests do, with jobpush beside each, lets jobs be submitted, start, end and be
cancelled, and measures from the scheduler's own record of each change (milliseconds in slurmctld's log, in Grid Engine's
reporting file) to the client that holds a stream open. With hooks, the time at which the scheduler has called the hook is
measured too. Sooner than the scheduler's own command shows a change nobody can know of it: the modes "asked" ask it without a
pause, and no jobpush. On Grid Engine, which shows what a job does up to two seconds later, it is asked beside jobpush in every
mode, so that each change has both times. Counts the queries. Writes a table, and a picture with ``--picture FILE``. Loopback
only; ends by itself.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import random
import re
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs

from benchmarks.picture import percentile_picture
from jobpush_adapters.pbs.queue import configured_home
from tests import pbs_cluster, sge_cluster, slurm_cluster
from tests.hooks import HOOKS, install_hooks, install_slurm_submit_hook
from tests.service_process import ServiceProcess

KINDS = ("submit", "start", "end", "cancel", "cancel held")

#: Seconds from one round (a job that runs, a job that is cancelled) to the next, if nothing else is said.
ROUND_S = 3.0

#: Seconds that a change may take to be told before it counts as lost.
LOST_S = 30.0

#: Seconds between two questions to the scheduler's own command beside jobpush: as seldom as is fine enough, for it takes its
#: share of the machine. What it shows is noted half of that late on average.
BESIDE_S = 0.05

#: The state by which a client learns of each kind of change.
TOLD_BY = {
    "submit": {"QUEUED", "HELD", "STARTING", "RUNNING"}, "start": {"RUNNING"}, "end": {"FINISHING", "COMPLETED"},
    "cancel": {"FINISHING", "CANCELLED"}, "cancel held": {"FINISHING", "CANCELLED"},
    # The server calls a job started when it has sent it to its node, which says a second or two later that it runs.
    "start pbs": {"STARTING", "RUNNING"},
}  # fmt: skip


@attrs.define
class Lab:
    """
    A scheduler with its jobpush.

    :ivar changes: the scheduler's record: (kind, job) to the time, seconds since the epoch.
    :ivar submit: submits a job that sleeps so long, with these options besides; its id.
    :ivar hold: the option that holds it.
    :ivar ask: asks the scheduler's own command, without jobpush: the states of jobs by id.
    """

    service: ServiceProcess
    cluster: str
    submit: Callable[..., str]
    hold: str
    cancel: Callable[[str], None]
    changes: Callable[[], dict[tuple[str, str], float]]
    hooked: Callable[[], list[tuple[float, str]]]
    ask: Callable[[], dict[str, str]]


@contextmanager
def slurm(root: Path, mode: str) -> Iterator[Lab]:
    """slurm-asked, slurm-poll, slurm-probe (the default), slurm-hooks, slurm-log."""
    why = slurm_cluster.why_not()
    if why is not None:
        raise SystemExit(why)
    stamps, nudge = root / "stamps", root / "nudge"
    extra = "LogTimeFormat=iso8601_ms"
    arguments = [] if mode == "probe" else [":probe=no"]
    if mode == "hooks":
        hooks = install_hooks(root / "hooks", nudge, stamps)
        extra += (
            f"\nJobCompType=jobcomp/script\nJobCompLoc={hooks.jobcomp}\nPrologSlurmctld={hooks.slurmctld}"
            f"\nEpilogSlurmctld={hooks.slurmctld}\nCliFilterPlugins=cli_filter/lua"
        )
    cluster = slurm_cluster.SlurmCluster(root / "slurm", extra=extra)
    if mode == "hooks":
        install_slurm_submit_hook(cluster.conf.parent, hooks.cli_filter)
    log = cluster.root / "log" / "slurmctld.log"
    if mode == "log":
        arguments.append(f":follow={log}")
    service = ServiceProcess(
        root / "service", "--queue", f"slurm:conf={cluster.conf}" + "".join(arguments), "--state", str(root / "state"),
        "--nudge", f"unix:{nudge}:mode=666",
    )  # fmt: skip
    try:
        cluster.start()
        service.start()
        service.ready()
        yield Lab(
            service, "slurm", lambda seconds, *options: cluster.submit(*options, script=f"sleep {seconds:.2f}"), "--hold",
            lambda job: str(cluster.command("scancel", job)), lambda: slurm_changes(log), lambda: hooked(stamps),
            lambda: dict(line.split() for line in cluster.command("squeue", "-h", "-t", "all", "-o", "%i %T").splitlines()),
        )  # fmt: skip
    finally:
        service.stop()
        cluster.stop()


def slurm_changes(log: Path) -> dict[tuple[str, str], float]:
    """What slurmctld has written down."""
    patterns = {
        "submit": r"_slurm_rpc_submit_batch_job: JobId=(\d+) ",
        "start": r"(?:sched: Allocate|_start_job: Started) JobId=(\d+) ",
        "end": r"_job_complete: JobId=(\d+) WEXITSTATUS", "cancel": r"_slurm_rpc_kill_job: REQUEST_KILL_JOB JobId=(\d+) ",
    }  # fmt: skip
    found: dict[tuple[str, str], float] = {}
    for line in log.read_text(errors="replace").splitlines():
        stamp = re.match(r"\[(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3})\] ", line)
        for kind, pattern in patterns.items():
            job = re.search(pattern, line)
            if stamp is not None and job is not None:
                moment = datetime.datetime.fromisoformat(stamp[1]).replace(tzinfo=datetime.timezone.utc)
                found.setdefault((kind, job[1]), moment.timestamp())
    return found


@contextmanager
def grid_engine(root: Path, mode: str) -> Iterator[Lab]:
    """sge-poll, sge-hooks (hooks alone), sge-watch (files and database are watched: the default), sge-both."""
    why = sge_cluster.why_not()
    if why is not None:
        raise SystemExit(why)
    stamps, nudge = root / "stamps", root / "nudge"
    cluster = sge_cluster.GridEngine(root / "sge")
    where = f"sge:root={cluster.root}:qmaster_port={cluster.port}"
    service = ServiceProcess(
        root / "service", "--queue", where + (":watch=no" if mode in ("poll", "hooks") else ""), "--state", str(root / "state"),
        "--nudge", f"unix:{nudge}:mode=666",
    )  # fmt: skip
    submitted: dict[tuple[str, str], float] = {}

    def submit(seconds: float, *options: str) -> str:
        stamp = f"date +%s.%N > {root}"
        job = cluster.submit(*options, script=f"{stamp}/start.$JOB_ID; sleep {seconds:.2f}; {stamp}/end.$JOB_ID")
        submitted["submit", job] = time.time()
        return job

    def cancel(job: str) -> None:
        cluster.command("qdel", job)
        submitted["cancel", job] = time.time()

    def changes() -> dict[tuple[str, str], float]:
        found = dict(submitted)
        for path in root.glob("*.[0-9]*"):
            kind, _, job = path.name.partition(".")
            if kind in ("start", "end") and path.read_text().strip():
                found[kind, job] = float(path.read_text())
        return found

    def ask() -> dict[str, str]:
        rows = [line.split() for line in cluster.command("qstat", "-u", "*").splitlines()[2:]]
        return {row[0]: {"r": "RUNNING", "qw": "QUEUED", "t": "STARTING"}.get(row[4], row[4]) for row in rows}

    try:
        cluster.start()
        root.chmod(0o777)
        if mode in ("hooks", "both"):
            hook = install_hooks(root / "hooks", nudge, stamps).grid_engine
            cluster.configure(prolog=f"root@{hook}", epilog=f"root@{hook}")
        service.start()
        service.ready()
        yield Lab(service, "sge", submit, "-h", cancel, changes, lambda: hooked(stamps), ask)
    finally:
        service.stop()
        cluster.stop()


#: The hook of the server that is made for the time of the measurement.
PBS_HOOK = "jobpush_freshness"


@contextmanager
def pbs(root: Path, mode: str) -> Iterator[Lab]:
    """pbs-poll, pbs-hooks, pbs-log (the default), on an OpenPBS that is there: with PBS_LOG_HIGHRES_TIMESTAMP=1 in pbs.conf."""
    why = pbs_cluster.why_not() or pbs_cluster.why_not_configure()
    if why is not None:
        raise SystemExit(why)
    nudge = root / "nudge"
    logs = Path(configured_home(os.environ)) / "server_logs"
    queue = "pbs" if mode in ("log", "asked") else f"pbs:follow={root}/none"
    service = ServiceProcess(
        root / "service", "--queue", queue, "--state", str(root / "state"), "--nudge", f"unix:{nudge}:mode=666"
    )
    with pbs_cluster.pbs_with_user() as cluster:

        def ask() -> dict[str, str]:
            rows = (line.split() for line in cluster.command("qstat", "-t", "-w").splitlines()[5:])
            names = {"R": "RUNNING", "Q": "QUEUED", "H": "HELD", "E": "FINISHING"}
            return {row[0]: names.get(row[-2], row[-2]) for row in rows}

        try:
            if mode == "hooks":
                script = root / "hook.py"
                text = (HOOKS / "pbs-hook.py").read_text()
                script.write_text(re.sub(r"(?m)^SOCKET, CLUSTER = .*$", f'SOCKET, CLUSTER = "{nudge}", "pbs"', text))
                for command in (
                    f"create hook {PBS_HOOK}", f'set hook {PBS_HOOK} event = "postqueuejob,runjob,jobobit,modifyjob,movejob"',
                    f"import hook {PBS_HOOK} application/x-python default {script}",
                ):  # fmt: skip
                    cluster.command("qmgr", "-c", command)
            service.start()
            service.ready()
            yield Lab(
                service, "pbs", lambda seconds, *options: cluster.submit(*options, script=f"sleep {seconds:.2f}"), "-h",
                lambda job: str(cluster.command("qdel", job)), lambda: pbs_changes(logs), list, ask,
            )  # fmt: skip
        finally:
            service.stop()
            if mode == "hooks":
                cluster.run("qmgr", "-c", f"delete hook {PBS_HOOK}")


def pbs_changes(logs: Path) -> dict[tuple[str, str], float]:
    """What the server has written down. A deletion of a job that runs is the end that it leads to, seconds later."""
    patterns = {
        "submit": "Job Queued at request of", "start": "Job Run at request of", "end": "Exit_status=",
        "cancel": "Job to be deleted at request of",
    }  # fmt: skip
    found: dict[tuple[str, str], float] = {}
    for path in sorted(logs.iterdir())[-2:]:
        for line in path.read_text(errors="replace").splitlines():
            fields = line.split(";", 5)
            kind = next((kind for kind, text in patterns.items() if len(fields) == 6 and text in fields[5]), None)
            if kind is not None and fields[3] == "Job" and "." in fields[0]:
                moment = datetime.datetime.strptime(fields[0], "%m/%d/%Y %H:%M:%S.%f").astimezone()
                if kind == "end" and ("cancel", fields[4]) in found:
                    kind = "cancel"
                    del found["cancel", fields[4]]
                found.setdefault((kind, fields[4]), moment.timestamp())
    return found


def hooked(stamps: Path) -> list[tuple[float, str]]:
    """When hooks were called, and for which jobs."""
    lines = stamps.read_text().splitlines() if stamps.exists() else []
    pairs = (line.split() for line in lines)
    return [(float(pair[0]), pair[1]) for pair in pairs if len(pair) == 2]


class Client(threading.Thread):
    """One client that holds a stream open, and notes when it is told what."""

    def __init__(self, port: int) -> None:
        super().__init__(daemon=True)
        self.told: dict[str, list[tuple[float, str]]] = {}
        self._socket = socket.create_connection(("127.0.0.1", port))

    def run(self) -> None:
        self._socket.sendall(b"GET /v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n")
        for line in self._socket.makefile("rb"):
            if line.startswith(b'data: {"seq"'):
                job = json.loads(line[6:])["job"]
                self.told.setdefault(job["id"], []).append((time.time(), job["state"]))


class Asker(threading.Thread):
    """
    Asks the scheduler's own command again and again: when it shows what, that nobody can know before.

    :param pause: seconds between two questions.
    """

    def __init__(self, ask: Callable[[], dict[str, str]], pause: float) -> None:
        super().__init__(daemon=True)
        self.told: dict[str, list[tuple[float, str]]] = {}
        self._ask = ask
        self._pause = pause

    def run(self) -> None:
        before: dict[str, str] = {}
        while True:
            try:
                now = self._ask()
            except AssertionError:  # the scheduler is being stopped
                return
            at = time.time()
            for job in {*before, *now}:
                if before.get(job) != now.get(job):
                    state = now.get(job, "FINISHING")
                    state = {"PENDING": "QUEUED", "COMPLETING": "FINISHING"}.get(state, state)
                    self.told.setdefault(job, []).append((at, state))
            before = now
            time.sleep(self._pause)


@attrs.frozen
class Result:
    """
    Seconds from each change to the client, to the hook, from the hook to the client, and from when the scheduler's own command
    showed it to the client (where that was asked beside jobpush); of one mode.
    """

    name: str
    late: dict[str, list[float]]
    beyond: dict[str, list[float]]
    hook: dict[str, list[float]]
    after_hook: dict[str, list[float]]
    lost: int
    queries_per_minute: float
    seconds: float


def measure(name: str, lab: Lab, count: int, every: float) -> Result:
    """So many changes of each kind, a round of them every so many seconds."""
    client: Client | Asker = Asker(lab.ask, 0.01) if name.endswith("-asked") else Client(lab.service.port)
    client.start()
    shown = Asker(lab.ask, BESIDE_S) if lab.cluster == "sge" and isinstance(client, Client) else None
    if shown is not None:
        shown.start()
    draw = random.Random(7)
    # Long enough without a nudge for the interval to be what it is in the long run.
    time.sleep(3)
    before = lab.service.get("/readyz").json["queues"][lab.cluster]["queries"]
    began = time.time()
    doomed: list[str] = []
    held: set[str] = set()
    for number in range(count):
        lab.submit(draw.uniform(1.0, 1.5))
        time.sleep(draw.uniform(0.2, 0.4) * every)
        doomed.append(lab.submit(60))
        doomed.append(lab.submit(60, lab.hold))
        held.add(doomed[-1])
        while len(doomed) > 3:
            time.sleep(draw.uniform(0.1, 0.2) * every)
            lab.cancel(doomed.pop(0))
        time.sleep(max(0.0, began + (number + 1) * every - time.time()))
    for job in doomed:
        lab.cancel(job)
    seconds = time.time() - began
    queries = lab.service.get("/readyz").json["queues"][lab.cluster]["queries"] - before
    time.sleep(12)
    late: dict[str, list[float]] = {kind: [] for kind in KINDS}
    hook: dict[str, list[float]] = {kind: [] for kind in KINDS}
    after: dict[str, list[float]] = {kind: [] for kind in KINDS}
    beyond: dict[str, list[float]] = {kind: [] for kind in KINDS}
    lost = 0
    calls = lab.hooked()
    told_by = {kind: TOLD_BY.get(f"{kind} {lab.cluster}", TOLD_BY[kind]) for kind in KINDS}
    changes = {
        ("cancel held" if kind == "cancel" and job in held else kind, job): at for (kind, job), at in lab.changes().items()
    }
    cancelled = {job for kind, job in changes if kind.startswith("cancel")}
    for (kind, job), at in changes.items():
        if at < began or (kind == "end" and job in cancelled):
            continue
        told = [when for when, state in client.told.get(job, []) if state in told_by[kind]]
        if not told or told[0] - at > LOST_S:
            lost += 1
            continue
        late[kind].append(told[0] - at)
        seen = [when for when, state in shown.told.get(job, []) if state in told_by[kind]] if shown is not None else []
        if seen:
            beyond[kind].append(told[0] - seen[0])
        called = [when for when, who in calls if who == job and -0.05 <= when - at < 5]
        if called:
            hook[kind].append(called[0] - at)
            after[kind].append(told[0] - called[0])
    return Result(name, late, beyond, hook, after, lost, queries / seconds * 60, seconds)


def show(values: Sequence[float], share: float) -> str:
    """A percentile in milliseconds."""
    if not values:
        return "-"
    return f"{1000 * sorted(values)[min(len(values) - 1, int(share * len(values)))]:.0f}"


def table(results: Sequence[Result]) -> str:
    """Markdown."""
    lines = [
        "| mode | change | n | p50 ms | p99 ms | after it was shown, p50 ms | p99 ms | hook called, p50 ms "
        "| after the hook, p50 ms | p99 ms | queries/min |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for r in results:
        for kind in KINDS:
            v, b, h, a = r.late[kind], r.beyond[kind], r.hook[kind], r.after_hook[kind]
            per_minute = f"{r.queries_per_minute:.0f}" if kind == KINDS[0] else ""
            shown = (
                show(v, 0.5), show(v, 0.99), show(b, 0.5), show(b, 0.99), show(h, 0.5), show(a, 0.5), show(a, 0.99), per_minute,
            )  # fmt: skip
            lines.append(f"| {r.name} | {kind} | {len(v)} | {' | '.join(shown)} |")
        if r.lost:
            lines.append(f"| {r.name} | not told within {LOST_S:g} s | {r.lost} | | | | | | | | |")
    return "\n".join(lines)


MODES: dict[str, tuple[Any, str]] = {
    "slurm-asked": (slurm, "asked"),
    "slurm-poll": (slurm, "poll"), "slurm-probe": (slurm, "probe"), "slurm-hooks": (slurm, "hooks"),
    "slurm-log": (slurm, "log"),
    "sge-poll": (grid_engine, "poll"), "sge-hooks": (grid_engine, "hooks"), "sge-watch": (grid_engine, "watch"),
    "sge-both": (grid_engine, "both"),
    "pbs-asked": (pbs, "asked"), "pbs-poll": (pbs, "poll"), "pbs-hooks": (pbs, "hooks"), "pbs-log": (pbs, "log"),
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description="From a scheduler's change to the client that waits for it.")
    parser.add_argument("modes", nargs="*", default=[name for name in MODES if not name.startswith("pbs-")])
    parser.add_argument("--changes", type=int, default=200, help="of each kind, 1 to 1000")
    parser.add_argument("--every", type=float, default=ROUND_S, help="seconds from a round of changes to the next, 2 to 60")
    parser.add_argument("--picture", type=Path, help="an SVG file")
    parser.add_argument("--results", type=Path, help="a JSON file that results are added to, and drawn from")
    options = parser.parse_args()
    unknown = set(options.modes) - set(MODES)
    if unknown:
        parser.error(f"no mode {unknown.pop()!r}; expected {', '.join(MODES)}")
    if not 1 <= options.changes <= 1000:
        parser.error("--changes: expected 1 to 1000")
    if not 2 <= options.every <= 60:
        parser.error("--every: expected 2 to 60")
    results: list[Result] = []
    if options.results and options.results.exists():
        results = [Result(**fields) for fields in json.loads(options.results.read_text())]
    for name in options.modes:
        make, mode = MODES[name]
        with tempfile.TemporaryDirectory(prefix="jobpush-", dir="/tmp") as root:
            Path(root).chmod(0o755)
            with make(Path(root), mode) as lab:
                result = measure(name, lab, options.changes, options.every)
        results = [*(r for r in results if r.name != name), result]
        print(table([result]), flush=True)
        if options.results:
            options.results.write_text(json.dumps([attrs.asdict(r) for r in results]))
    print()
    print(f"{platform.platform()}, Python {platform.python_version()}, {len(results)} modes, a round every {options.every:g} s")
    print(table(results))
    if options.picture:
        lines = {f"{r.name} {kind}": r.late[kind] for r in results for kind in KINDS if r.late[kind]}
        options.picture.write_text(percentile_picture(lines))


if __name__ == "__main__":
    main()
