"""
Who tells the truth: how jobs ended, as workflow tools tell it: ``python -m benchmarks.truth slurm|sge PYTHON``.

The same jobs are submitted to a real Slurm (with slurmdbd, MinJobAge=60) or Grid Engine by PSI/J, Parsl's provider, submitit,
the Snakemake Slurm plugin and ReFrame, each in its own documented use, with the Python of an environment that has them; and by
hand, for jobpush. Each job writes its own start and end; some are deleted or put back, and the scheduler's daemon is down for
half a minute while others end. What a tool told last, and what it told too early, is compared with what the jobs wrote.

What is wrong is marked in the table. The exit status is 1 if jobpush told something wrong, or of something that is known that
it is not. Needs root; loopback only; takes seven minutes; stops only what it started.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs

from benchmarks.tables import header, row
from benchmarks.truth.kinds import FAILURE, KINDS, OPEN, SUCCESS, UNKNOWN, WRONG, Kind, Told, cell, truth_of
from tests import sge_cluster, slurm_cluster
from tests.service_process import ServiceProcess

HERE = Path(__file__).parent

#: The tools: what they are called, their distribution, the script that has them tell, the schedulers, and a user of their own.
TOOLS = (
    ("PSI/J", "psij-python", "psij", ("slurm",), "games"),
    ("Parsl", "parsl", "parsl", ("slurm", "sge"), "man"),
    ("Parsl without sacct", "parsl", "parsl", ("slurm",), "lp"),
    ("submitit", "submitit", "submitit", ("slurm",), "mail"),
    ("Snakemake", "snakemake-executor-plugin-slurm", "snakemake", ("slurm",), "news"),
    ("ReFrame", "reframe-hpc", "reframe", ("slurm",), "uucp"),  # its Grid Engine backend knows no exit code
)
OURS = ("jobpush", "nobody")

#: Ended jobs are forgotten after a minute; memory is not limited to what the tests' jobs need.
CONFIG = "MinJobAge=60\nDefMemPerCPU=300\nJobAcctGatherParams=NoShared"

#: Seconds: for which the tools are listened to; until they ask about what they are to ask about late; for which the scheduler's
#: daemon is down, and from when.
SECONDS, LATE_S, OUTAGE_S, OUTAGE_AT_S = 360, 150, 30, 60

PROLOGUE = """\
PATH=/usr/bin:/bin; FILE={path}; OUTAGE={outage}
note() {{ echo "$* $(date +%s.%N)" >>"$FILE"; }}
fin() {{ note end $1; exit $1; }}
echo "id ${{SLURM_JOB_ID:-$JOB_ID}}" >>"$FILE"; note start
{body}
"""


class Teller:
    """
    One tool, and what it tells.

    :ivar told: by the key of the kind.
    :ivar deleted: when the jobs were deleted, by the same.
    """

    def __init__(self, name: str, user: str, work: Path, outage: Path) -> None:
        self.name = name
        self.user = user
        self.work = work
        self.told: dict[str, list[Told]] = {}
        self.deleted: dict[str, float] = {}
        self.done: set[str] = set()
        self._outage = outage
        work.mkdir()
        shutil.chown(work, user)

    def lines(self, kind: Kind) -> list[str]:
        path = self.work / f"{kind.key}.written"
        return path.read_text().split("\n")[:-1] if path.exists() else []  # the last one may be half written

    def job(self, kind: Kind) -> str | None:
        """The id of a job that has started."""
        return next((line.split()[1] for line in self.lines(kind) if line.startswith("id ")), None)

    def plan(self, scheduler: str) -> str:
        jobs = [
            {"name": kind.key, "script": self.script(kind), "waits": kind.waits, "limit": kind.limit, "late": kind.late}
            for kind in KINDS
        ]
        return json.dumps({"scheduler": scheduler, "work": str(self.work), "seconds": SECONDS, "late": LATE_S, "jobs": jobs})

    def script(self, kind: Kind) -> str:
        return PROLOGUE.format(path=self.work / f"{kind.key}.written", outage=self._outage, body=kind.script)

    def listen(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("{"):
                said = json.loads(line)
                self.told.setdefault(said["name"], []).append(Told(said["at"], said["means"], said["words"]))


@attrs.define
class Site:
    """A scheduler, and what is done to its jobs."""

    name: str
    cluster: Any
    begin: tuple[str, ...]

    def delete(self, job: str, user: str | None) -> None:
        self.cluster.command("scancel" if self.name == "slurm" else "qdel", job, user=user)

    def waiting(self, user: str) -> str | None:
        """The job of that user that must not start yet."""
        if self.name == "slurm":
            rows = self.cluster.command("squeue", "-h", "-u", user, "-t", "PD", "-o", "%i %r").splitlines()
            return next((row.split()[0] for row in rows if "BeginTime" in row), None)
        rows = [line.split() for line in self.cluster.command("qstat", "-u", user, "-s", "p").splitlines()[2:]]
        return rows[0][0] if len(rows) == 1 else None

    def away(self, outage: Path) -> None:
        """The daemon is down for a while, and then jobs end that wait for that."""
        stop, start = (
            (self.cluster.stop_controller, self.cluster.start_controller) if self.name == "slurm"
            else (self.cluster.stop_qmaster, self.cluster.start_qmaster)
        )  # fmt: skip
        stop()
        outage.touch()
        time.sleep(OUTAGE_S)
        start()


@contextmanager
def site(name: str, root: Path) -> Iterator[Site]:
    why = slurm_cluster.why_not(accounting=True) if name == "slurm" else sge_cluster.why_not()
    if why is not None:
        raise SystemExit(why)
    cluster: Any
    if name == "slurm":
        cluster = slurm_cluster.SlurmCluster(root / "c", extra=CONFIG, accounting=True)
    else:
        cluster = sge_cluster.GridEngine(root / "c")
    try:
        cluster.start()
        yield Site(name, cluster, ("--begin=now+1hour",) if name == "slurm" else ("-a", "203001010000"))
    finally:
        cluster.stop()


def treat(site: Site, tellers: list[Teller]) -> None:
    """Do to each job what is to be done to it, as soon as it has begun."""
    for teller in tellers:
        for kind in KINDS:
            if kind.key in teller.done or kind.act in ("", "outage"):
                continue
            job = site.waiting(teller.user) if kind.waits else teller.job(kind)
            started = [float(line.split()[1]) for line in teller.lines(kind) if line.startswith("start")]
            if job is None or (started and time.time() < started[0] + 3):
                continue
            try:
                if kind.act == "requeue":
                    site.cluster.command("scontrol", "requeue", job)
                else:
                    at = time.time()
                    site.delete(job, teller.user if kind.act == "user" else None)
                    teller.deleted[kind.key] = at
            except AssertionError:
                continue  # it is tried again
            teller.done.add(kind.key)


def _as_user() -> str:
    found = shutil.which("setpriv")
    if found is None:
        raise SystemExit("setpriv is missing: it is in util-linux")
    return found


def start(site: Site, python: str, teller: Teller, script: str, without_sacct: bool) -> subprocess.Popen[str]:
    """The tool, as a user of its own."""
    environment = {**site.cluster.environment, "HOME": str(teller.work), "USER": teller.user, "LOGNAME": teller.user}
    commands = teller.work.with_name(f"{teller.work.name}-bin")
    commands.mkdir()
    if site.name == "slurm":
        # The Snakemake plugin takes all SLURM_ variables away, and this slurm.conf is not where Slurm looks for it.
        srun = commands / "srun"
        srun.write_text(f"#!/bin/sh\nSLURM_CONF={site.cluster.conf} exec {shutil.which('srun')} \"$@\"\n")
        srun.chmod(0o755)
    path = [str(Path(python).parent), str(commands)]
    if without_sacct:
        for name in ("sbatch", "squeue", "scancel", "scontrol", "sinfo", "bash", "sh"):
            (commands / name).symlink_to(str(shutil.which(name, path=environment["PATH"])))
        environment["PATH"] = os.pathsep.join(path)
    else:
        environment["PATH"] = os.pathsep.join([*path, environment["PATH"]])
    log = open(teller.work.with_name(f"{teller.work.name}.log"), "w")  # noqa: SIM115 - it is the process's
    process = subprocess.Popen(
        [_as_user(), f"--reuid={teller.user}", "--clear-groups", python, str(HERE / "tellers" / f"{script}_teller.py")],
        env=environment, cwd=teller.work, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True,
        start_new_session=True,
    )  # fmt: skip
    assert process.stdin is not None
    process.stdin.write(teller.plan(site.name))
    process.stdin.close()
    return process


def submit_ours(site: Site, teller: Teller) -> dict[str, str]:
    """The same jobs by hand, for jobpush; their ids."""
    limit = ("-t", "1") if site.name == "slurm" else ("-l", "h_rt=60")
    found = {}
    for kind in KINDS:
        options = [*(site.begin if kind.waits else ()), *(limit if kind.limit else ())]
        found[kind.key] = site.cluster.submit(*options, script=teller.script(kind))
    return found


class Stream(threading.Thread):
    """What jobpush tells, as it does: the client of our column."""

    def __init__(self, port: int, teller: Teller, jobs: dict[str, str]) -> None:
        super().__init__(daemon=True)
        self._teller = teller
        self._keys = {job: key for key, job in jobs.items()}
        self._socket = socket.create_connection(("127.0.0.1", port))

    def run(self) -> None:
        self._socket.sendall(b"GET /v1/events?last_event_id=0 HTTP/1.1\r\nHost: localhost\r\n\r\n")
        for line in self._socket.makefile("rb"):
            if line.startswith(b'data: {"seq"') and (event := json.loads(line[6:]))["type"] == "job":
                job = event["job"]
                if job["id"] in self._keys:
                    self._teller.told.setdefault(self._keys[job["id"]], []).append(told_of(job))


def told_of(job: Mapping[str, Any]) -> Told:
    """What a descriptor means to its user; an end that is not confirmed is none."""
    state = job["state"]
    ended = job["phase"] == "DONE" and job["settled"]
    means = OPEN if not ended else UNKNOWN if state == "LOST" else SUCCESS if state == "COMPLETED" else FAILURE
    code = f" {job['exit_code']}" if job["exit_code"] else f" signal {job['signal']}" if job["signal"] else ""
    return Told(time.time(), means, state + code)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.truth", description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("scheduler", choices=("slurm", "sge"))
    parser.add_argument("python", help="of an environment that has the tools")
    parser.add_argument("--keep", action="store_true", help="keep the directory")
    options = parser.parse_args()
    for _, distribution, script, schedulers, user in TOOLS:
        modules = {"psij": "psij", "parsl": "parsl", "submitit": "submitit"}.get(script, "json")
        command = [_as_user(), f"--reuid={user}", "--clear-groups", options.python, "-c", f"import {modules}"]
        if options.scheduler in schedulers and subprocess.run(command, cwd="/", check=False).returncode != 0:
            raise SystemExit(f"{user} cannot run {options.python} with {distribution}")
    root = Path(tempfile.mkdtemp(prefix="jpt", dir="/tmp"))
    root.chmod(0o755)
    outage = root / "outage"
    running: list[subprocess.Popen[str]] = []
    try:
        with site(options.scheduler, root) as lab:
            if lab.name == "slurm":
                queue = f"slurm:conf={lab.cluster.conf}"
            else:
                queue = f"sge:root={lab.cluster.root}:qmaster_port={lab.cluster.port}:bin={lab.cluster.bin}"
            service = ServiceProcess(root / "service", "--queue", queue, "--state", str(root / "state"))
            service.start()
            service.ready()
            ours = Teller(*OURS, root / "jobpush", outage)
            Stream(service.port, ours, submit_ours(lab, ours)).start()
            tellers = [ours]
            for name, _, script, schedulers, user in TOOLS:
                if lab.name in schedulers:
                    teller = Teller(name, user, root / name.replace("/", "").replace(" ", "_"), outage)
                    process = start(lab, options.python, teller, script, without_sacct="without" in name)
                    running.append(process)
                    threading.Thread(target=teller.listen, args=(process,), daemon=True).start()
                    tellers.append(teller)
            began = time.monotonic()
            while time.monotonic() < began + SECONDS + 10:
                if not outage.exists() and time.monotonic() > began + OUTAGE_AT_S:
                    lab.away(outage)
                treat(lab, tellers)
                time.sleep(1)
            service.stop()
            wrong = show(lab.name, options.python, tellers)
    finally:
        for process in running:
            if process.poll() is None:
                os.killpg(process.pid, 9)
        if not options.keep:
            shutil.rmtree(root, ignore_errors=True)
    return 1 if wrong else 0


def show(scheduler: str, python: str, tellers: list[Teller]) -> bool:
    """Print the table; return whether jobpush is wrong anywhere, or does not know what it could."""
    print("\n".join(header([f"{scheduler}: a job that …", *(teller.name for teller in tellers)])))
    bad = False
    for kind in KINDS:
        if kind.act == "requeue" and scheduler != "slurm":
            continue
        cells = []
        for teller in tellers:
            truth = truth_of(teller.lines(kind), teller.deleted.get(kind.key))
            cells.append(cell(kind, teller.told.get(kind.key, ()), truth))
        bad = bad or cells[0].startswith((WRONG, "unknown", "cannot"))
        print(row([kind.name, *cells]))
    names = dict.fromkeys(tool[1] for tool in TOOLS if scheduler in tool[3])
    listed = subprocess.run([python, "-m", "pip", "list", "--format=freeze"], capture_output=True, text=True, check=True).stdout
    print("\n" + ", ".join(line for line in listed.splitlines() if line.partition("==")[0] in names))
    return bad


if __name__ == "__main__":
    raise SystemExit(main())
