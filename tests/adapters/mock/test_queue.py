"""The mock queue: jobs from a file."""

from __future__ import annotations

import json
import os
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet import reactor
from twisted.trial.unittest import SynchronousTestCase, TestCase

from jobpush.adapter.interfaces import InvalidJobId, QueueError
from jobpush.adapter.testing import QueueUnderTest, makeQueueServiceTests
from jobpush.core.model import Snapshot
from jobpush_adapters.mock.queue import FileQueue
from tests.support import ManualClock


def write(path: str, *lines: object) -> None:
    """A jobs file of these lines."""
    with open(path, "wb") as file:
        for line in lines:
            file.write(line if isinstance(line, bytes) else json.dumps(line).encode())
            file.write(b"\n")


def file_queue(case: TestCase) -> QueueUnderTest:
    path = os.path.abspath(case.mktemp())

    def show(jobs: Any) -> Any:
        write(path, *({"id": job_id, "state": state} for job_id, state in jobs.items()))
        return jobs

    show({})
    return QueueUnderTest(FileQueue(reactor, path), show, lambda: os.unlink(path), ids=("1", "a-b", "7_3"), task=("7_3", "7", 3))


class FileContractTests(makeQueueServiceTests(file_queue)):  # type: ignore[misc]
    """The public contract, for ``mock:file=``."""


class FileTests(SynchronousTestCase):
    """``mock:file=PATH``."""

    def setUp(self) -> None:
        self.path = os.path.abspath(self.mktemp())
        self.clock = ManualClock()
        self.queue = FileQueue(self.clock, self.path)

    def look(self, *lines: object) -> Snapshot:
        write(self.path, *lines)
        answer = self.queue.snapshot()
        self.clock.advance(0)
        return self.successResultOf(answer)

    def test_a_descriptor(self) -> None:
        """The protocol's own names; what an answer shows can be written back."""
        given_ = {
            "id": "7_3", "state": "FAILED", "exit_code": 3, "user": "kim", "name": "naïve|\n", "submitted_at": "2026-11-22T06:00:00Z",
            "started_at": "2026-11-22T07:00:00+01:00", "reason_code": "DEPENDENCY", "flags": ["x"], "aliases": ["99"], "parent": "7",
            "task_index": 3, "native": {"state": "F"}, "time_limit_s": 60,
        }  # fmt: skip
        job = self.look(given_).jobs["7_3"]
        self.assertEqual((job.state, job.exit_code, job.user, job.name, job.cluster), ("FAILED", 3, "kim", "naïve|\n", "mock"))
        self.assertEqual((job.submitted_at, job.started_at), (1795327200.0, 1795327200.0))
        self.assertTrue(job.settled)

    def test_rejected_lines(self) -> None:
        """Each is named with file, line and why; the others count; a rejected job is not absent."""
        snapshot = self.look(
            {"id": "1", "state": "RUNNING"}, b"# a comment", b"", b"{", {"id": "2"}, {"id": "3", "state": "DEAD"},
            {"id": "4", "state": "RUNNING", "colour": "red"}, {"id": "5", "state": "RUNNING", "exit_code": "3"},
            {"id": "6", "state": "RUNNING", "submitted_at": "yesterday"}, {"id": "--help", "state": "RUNNING"}, b"\xff\xfe",
            {"id": "1", "state": "FAILED"}, {"id": "8", "state": "RUNNING", "native": {"state": 5}}, {"id": "9", "state": "RUNNING"},
        )  # fmt: skip
        self.assertEqual({i: j.state for i, j in snapshot.jobs.items()}, {"9": "RUNNING"}, "which of two lines with one id is the job cannot be told")
        self.assertEqual(snapshot.rejected_count, 10)
        for number, word in ((4, "line 4"), (5, "'state'"), (6, "DEAD"), (7, "colour"), (8, "exit_code"), (9, "submitted_at")):
            self.assertIn(word, snapshot.rejected[number - 4])
            self.assertIn(f"{self.path}, line {number}: ", snapshot.rejected[number - 4])
        self.assertLessEqual({"2", "3", "4", "5", "6"}, snapshot.rejected_ids)

    def test_missing_file(self) -> None:
        """A failed query, which names the file."""
        error = self.failureResultOf(self.queue.snapshot(), QueueError)
        self.assertIn(self.path, str(error.value))

    @given(st.lists(st.binary(max_size=60), max_size=8))
    def test_arbitrary_bytes(self, lines: list[bytes]) -> None:
        """Nothing but a QueueError leaves it."""
        snapshot = self.look(*lines)
        self.assertFalse(snapshot.jobs)

    @given(st.dictionaries(st.sampled_from(["id", "state", "exit_code", "submitted_at", "flags", "native", "counts", "pending_tasks"]),
           st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=9), st.lists(st.integers(), max_size=2))))  # fmt: skip
    def test_arbitrary_objects(self, fields: dict[str, Any]) -> None:
        """A job or a rejected line."""
        snapshot = self.look(fields)
        self.assertEqual(len(snapshot.jobs) + snapshot.rejected_count, 1)

    def test_ids(self) -> None:
        """No paths, no options, no shell's words."""
        self.assertRaises(InvalidJobId, self.queue.canonical_id, "a/b")
