"""Recorded answers of PBS, and a stand-in for its commands."""

from __future__ import annotations

import contextlib
import io
import json
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from twisted.internet import reactor

from jobpush.adapter.command import CommandResult
from jobpush.core.model import JobDescriptor
from jobpush_adapters.pbs import parse
from jobpush_adapters.pbs.queue import PbsQueue
from tests import fake_pbs
from tests.fakes import CommandCase, Programs, far_words
from tests.service_process import ROOT
from tests.support import NOW

CAPTURES = ROOT / "tests" / "captures" / "pbs"


FAKE = ROOT / "tests" / "fake_pbs.py"


def capture(name: str, status: int = 0) -> CommandResult:
    """A recorded answer."""
    errors = CAPTURES / f"{name}.err"
    return CommandResult(status, (CAPTURES / name).read_bytes(), errors.read_bytes() if errors.exists() else b"")


def described(name: str) -> dict[str, JobDescriptor]:
    """The jobs of a recorded ``qstat -f -F json``, by id."""
    return {job_id: parse.describe("pbs", job_id, a, NOW) for job_id, a in parse.parse_jobs(capture(name)).items()}


def told(job: JobDescriptor) -> str:
    """A job's state, its exit code or signal, and why."""
    number = f" {job.exit_code}" if job.exit_code is not None else f" signal {job.signal}" if job.signal is not None else ""
    return job.state + number + (f" {job.reason_code.value}" if job.reason_code else "")


def attributes(state: str, **more: Any) -> dict[str, Any]:
    """What PBS keeps of a job in that flat state."""
    letter, substate = {
        "QUEUED": ("Q", 10), "HELD": ("H", 20), "RUNNING": ("R", 42), "COMPLETED": ("F", 92), "FAILED": ("F", 93), "CANCELLED": ("F", 91),
        "FINISHING": ("E", 51), "SUSPENDED": ("S", 43), "BEGUN": ("B", 70),
    }[state]  # fmt: skip
    job: dict[str, Any] = {
        "Job_Name": "n", "Job_Owner": "kim@host", "job_state": letter, "queue": "workq", "server": "pbslab", "ctime": "Sun Nov 22 07:42:29 2026",
        "Hold_Types": "u" if state == "HELD" else "n", "substate": substate, "modified": int(time.time()),
    }  # fmt: skip
    if letter in "RSEF" and state != "CANCELLED":
        job.update(stime="Sun Nov 22 07:43:00 2026", exec_host="n1/0", run_count=1)
    if letter == "F":
        job.update(history_timestamp=1795333500)
        if state != "CANCELLED":
            job.update(Exit_status=0 if state == "COMPLETED" else 3, obittime="Sun Nov 22 07:44:00 2026")
    return {**job, **more}


class PbsCase(CommandCase):
    """
    A queue whose commands the stand-in answers within the process, by the same clock.

    :ivar server: what the stand-in knows.
    :ivar instead: by a command's name or the whole of it, what is answered instead.
    """

    def setUp(self) -> None:
        super().setUp()
        self.server: dict[str, Any] = {"jobs": {}}
        self.instead: dict[str, CommandResult] = {}
        self.home = Path(self.mktemp()).resolve()
        self.home.mkdir()
        self.patch(fake_pbs, "now", self.wall)
        self.queue = self.make()

    def make(self, **options: Any) -> PbsQueue:
        return PbsQueue(self.clock, wall=self.wall, **{"home": str(self.home), **options})

    def answer(self, argv: Sequence[str]) -> CommandResult:
        name, *words = far_words(argv)
        command = " ".join([name, *words])
        for said in (command, name):
            if said in self.instead:
                return self.instead[said]
        if name == "id":
            return CommandResult(0, b"far\n", b"")
        stdout, stderr = io.TextIOWrapper(io.BytesIO(), "utf-8"), io.StringIO()
        with contextlib.redirect_stdout(stdout), contextlib.redirect_stderr(stderr):
            status = {"qstat": fake_pbs.qstat, "qselect": fake_pbs.qselect}[name](self.server, words)
        stdout.flush()
        return CommandResult(status, stdout.buffer.getvalue(), stderr.getvalue().encode())  # type: ignore[attr-defined]

    def set(self, job_id: str, state: str, **more: Any) -> None:
        """A job is in that state, modified now unless it says otherwise."""
        self.server["jobs"][job_id] = attributes(state, **{"modified": int(self.clock.seconds()), **more})

    def told(self) -> dict[str, str]:
        """The jobs' states."""
        return {job_id: told(job) for job_id, job in self.look().jobs.items()}


class Recorded(Programs):
    """An adapter with the stand-in for PBS's commands."""

    def __init__(self, directory: str, **options: Any) -> None:
        super().__init__(directory)
        for name in ("qstat", "qselect"):
            self.write(name, f"#!{sys.executable}\n" + FAKE.read_text())
        self.server: dict[str, Any] = {"jobs": {}}
        self.queue = PbsQueue(reactor, directory=str(self.directory), home=str(self.directory), **options)
        self.save()

    def save(self) -> None:
        self.put("server.json", json.dumps(self.server))

    def set(self, job_id: str, state: str, **more: Any) -> None:
        self.server["jobs"][job_id] = attributes(state, **more)
        self.save()

    def show(self, jobs: Mapping[str, str]) -> Mapping[str, str]:
        self.server["jobs"] = {}
        for job_id, state in jobs.items():
            self.set(job_id, state)
        self.save()
        # One that has ended before the first look is history, and not listed.
        return {job_id: state for job_id, state in jobs.items() if state != "COMPLETED"}

    def record(self, job: JobDescriptor) -> None:
        """Let the history know of this submission."""
        assert job.submitted_at is not None
        self.set(job.id, "COMPLETED", Job_Owner=f"{job.user}@host", ctime=time.ctime(job.submitted_at))
