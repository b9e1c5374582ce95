"""The process that asks a PBS server through libpbs, with a library of the test's; a real one is in ``with_service``."""

from __future__ import annotations

import ctypes
import io
import json
import sys
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from jobpush.adapter.command import CommandResult
from jobpush_adapters.pbs import ifl_helper
from jobpush_adapters.pbs.ifl_helper import Attribute, PbsError, Server, Status
from jobpush_adapters.pbs.parse import describe, parse_jobs, parse_list

Attributes = list[tuple[bytes, bytes | None, bytes | None]]


def chain(attributes: Attributes) -> Any:
    """A list of attributes as libpbs has it."""
    last = None
    for name, resource, value in reversed(attributes):
        last = ctypes.pointer(Attribute(last, name, resource, value, 0))
    return last


class Library:
    """
    In the place of libpbs.

    :ivar jobs: what the server has.
    :ivar errors: the numbers of the errors of the next questions; 0 is none.
    :ivar asked: the questions: job, names of attributes, extension.
    """

    def __init__(self) -> None:
        self.jobs: dict[bytes, Attributes] = {}
        self.errors: list[int] = []
        self.refused = False
        self.asked: list[Any] = []
        self.connections: list[str] = []
        self.freed = 0
        self._error = ctypes.c_int(0)

    def __getattr__(self, name: str) -> Any:
        if name == "__pbs_errno_location":
            return lambda: ctypes.pointer(self._error)
        raise AttributeError(name)

    def pbs_connect(self, server: None) -> int:
        self._error = ctypes.c_int(15010)
        self.connections.append("refused" if self.refused else "opened")
        return -1 if self.refused else len(self.connections)

    def pbs_disconnect(self, connection: int) -> None:
        self.connections.append(f"closed {connection}")

    def pbs_statjob(self, connection: int, job: bytes | None, names: Any, extend: bytes | None) -> Any:
        found = []
        while names:
            found.append(names.contents.name)
            names = names.contents.next
        self.asked.append((job, found, extend))
        number = self.errors.pop(0) if self.errors else 0
        wanted = [job] if job is not None else list(self.jobs)
        self._error = ctypes.c_int(number or (15001 if job is not None and job not in self.jobs else 0))
        last = None
        for each in reversed(wanted if not self._error.value else []):
            last = ctypes.pointer(Status(last, each, chain(self.jobs[each]), None))
        return last

    def pbs_statfree(self, first: Any) -> None:
        self.freed += 1

    def pbs_geterrmsg(self, connection: int) -> bytes | None:
        return b"Bad UID" if self._error.value == 15023 else None


JOB: Attributes = [
    (b"Job_Name", None, b"x\xff"), (b"Job_Owner", None, b"kim@h"), (b"job_state", None, b"R"), (b"queue", None, b"workq"), (b"substate", None, b"42"),
    (b"ctime", None, b"1795329746"), (b"stime", None, b"1795329750"), (b"Resource_List", b"walltime", b"00:01:00"), (b"Resource_List", b"ncpus", b"1"),
    (b"Variable_List", None, b"PBS_O_WORKDIR=/a\\,b,workflow=w=1,EMPTY=,,X"), (b"comment", None, None),
]  # fmt: skip


class ServerTests(SynchronousTestCase):
    """`Server`."""

    def setUp(self) -> None:
        self.library = Library()
        self.server = Server(self.library)  # type: ignore[arg-type]

    def test_list(self) -> None:
        """The id, the letter and the queue of each job and subjob: what is read of ``qstat -t -w``."""
        self.library.jobs = {b"1.s": [(b"job_state", None, b"R"), (b"queue", None, b"workq")], b"2[3].s": [(b"job_state", None, b"H"), (b"queue", None, b"q2")]}
        rows, rejected = parse_list(CommandResult(0, self.server.answer(["list"]).encode(), b""))
        self.assertEqual((rows, rejected), ({"1.s": ("R", b"Rworkq"), "2[3].s": ("H", b"Hq2")}, []))
        self.assertEqual(self.library.asked, [(None, [b"job_state", b"queue"], b"t")])
        self.assertEqual(self.library.freed, 1)

    def test_nothing(self) -> None:
        """No job is no text, as ``qstat`` has it; one whose attributes are missing is a row that makes no sense."""
        self.assertEqual(self.server.answer(["list"]), "")
        self.library.jobs = {b"1.s": []}
        rows, rejected = parse_list(CommandResult(0, self.server.answer(["list"]).encode(), b""))
        self.assertEqual((rows, len(rejected)), ({}, 1))

    def test_jobs(self) -> None:
        """All attributes, those with resources nested, and the variables apart; jobs that are unknown are left out."""
        self.library.jobs = {b"1.s": JOB}
        answer = self.server.answer(["jobs", True, "1.s", "9.s"])
        told = json.loads(answer)["Jobs"]["1.s"]
        self.assertEqual(told["Resource_List"], {"walltime": "00:01:00", "ncpus": "1"})
        self.assertEqual(told["Variable_List"], {"PBS_O_WORKDIR": "/a,b", "workflow": "w=1", "EMPTY": "", "X": ""})
        job = describe("pbs", "1.s", parse_jobs(CommandResult(0, answer.encode(), b""))["1.s"], 0.0)
        self.assertEqual((job.name, job.user, job.state, job.submitted_at, job.started_at), ("x\ufffd", "kim", "RUNNING", 1795329746.0, 1795329750.0))
        self.assertEqual((job.time_limit_s, job.workdir, job.queue), (60, "/a,b", "workq"))
        self.assertEqual(self.library.asked, [(b"1.s", [], b"x"), (b"9.s", [], b"x")])
        self.server.answer(["jobs", False, "1.s"])
        self.assertEqual(self.library.asked[-1], (b"1.s", [], None))
        self.assertEqual(parse_jobs(CommandResult(0, self.server.answer(["jobs", False, "9.s"]).encode(), b"")), {})

    def test_finished_without_history(self) -> None:
        """A job that has finished is left out where its history is not asked for."""
        self.library.errors = [15139]
        self.assertEqual(json.loads(self.server.answer(["jobs", False, "1.s"])), {"Jobs": {}})

    def test_list_that_fails(self) -> None:
        """An error is never an empty list, whatever its number."""
        self.library.errors = [15001, 15001]
        self.assertRaises(PbsError, self.server.answer, ["list"])

    def test_one_connection(self) -> None:
        """It is kept; after an error the question is asked once more over a new one."""
        self.library.jobs = {b"1.s": JOB}
        for _ in range(3):
            self.server.answer(["list"])
        self.assertEqual(self.library.connections, ["opened"])
        self.library.errors = [15031]
        self.assertIn("1.s", self.server.answer(["list"]))
        self.assertEqual(self.library.connections, ["opened", "closed 1", "opened"])

    def test_failure(self) -> None:
        """The server's own words, and the number; or that there is no connection."""
        self.library.errors = [15023]
        with self.assertRaises(PbsError) as caught:
            self.server.answer(["list"])
        self.assertEqual(str(caught.exception), "libpbs: Bad UID (errno=15023)")
        self.library.errors = [15031, 15031]
        with self.assertRaises(PbsError) as caught:
            self.server.answer(["list"])
        self.assertEqual(str(caught.exception), "libpbs: no answer (errno=15031)")
        self.library.refused = True
        with self.assertRaises(PbsError) as caught:
            Server(self.library).answer(["list"])  # type: ignore[arg-type]
        self.assertEqual(str(caught.exception), "libpbs: cannot connect to the server (errno=15010)")


class MainTests(SynchronousTestCase):
    """What it says over its streams."""

    def test_answers(self) -> None:
        """Each with its status and its length in bytes; a failure does not end it."""
        library = Library()
        library.jobs = {b"1.s": JOB}
        library.errors = [15023]
        self.patch(ifl_helper, "load", lambda path: library)
        self.patch(ctypes, "CDLL", lambda name: _Process())
        self.patch(sys, "stdin", io.StringIO('["list"]\n["list"]\n["jobs", true, "1.s"]\n'))
        out = io.TextIOWrapper(io.BytesIO())
        self.patch(sys, "stdout", out)
        ifl_helper.main(["/x/libpbs.so"])
        data = out.buffer.getvalue()  # type: ignore[attr-defined]
        found = []
        while data:
            head, _, rest = data.partition(b"\n")
            status, length = map(int, head.split())
            found.append((status, rest[:length]))
            data = rest[length:]
        self.assertEqual([status for status, _ in found], [1, 0, 0])
        self.assertEqual(found[0][1], b"libpbs: Bad UID (errno=15023)\n")
        self.assertEqual(set(parse_jobs(CommandResult(0, found[2][1], b""))), {"1.s"})


class _Process:
    def prctl(self, *arguments: int) -> int:
        return 0
