"""Recorded answers of PBS, and a stand-in for its commands."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping
from typing import Any

from twisted.internet import reactor

from jobpush.adapter.command import CommandResult
from jobpush.core.model import JobDescriptor
from jobpush_adapters.pbs import parse
from jobpush_adapters.pbs.queue import PbsQueue
from tests.fakes import Programs
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
