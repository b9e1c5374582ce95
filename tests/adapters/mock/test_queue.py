"""The mock queue: jobs from a file."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import attrs
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet import reactor
from twisted.trial.unittest import SynchronousTestCase, TestCase

from jobpush.adapter.interfaces import InvalidJobId, QueueError
from jobpush.adapter.testing import QueueUnderTest, makeQueueServiceTests
from jobpush.core.model import JobDescriptor, Phase, QueueFacts, Snapshot
from jobpush_adapters.mock import queue as mock
from jobpush_adapters.mock.queue import FileQueue, MockQueue
from tests.support import NOW, ManualClock


def write(path: str, *lines: object) -> None:
    """A jobs file of these lines."""
    with open(path, "wb") as file:
        for line in lines:
            file.write(line if isinstance(line, bytes) else json.dumps(line).encode())
            file.write(b"\n")


def file_queue(case: TestCase) -> QueueUnderTest:
    path = os.path.abspath(case.mktemp())

    def show(jobs: Any) -> Any:
        task = {"7_3": {"parent": "7", "task_index": 3}}
        write(path, *({"id": job_id, "state": state, **task.get(job_id, {})} for job_id, state in jobs.items()))
        content.append(Path(path).read_bytes())
        return jobs

    def cut(missing: int) -> None:
        whole = content[-1]
        Path(path).write_bytes(whole[: max(0, len(whole) - missing)])

    content: list[bytes] = []
    show({})
    return QueueUnderTest(
        FileQueue(reactor, path), show, lambda: os.unlink(path), ids=("1", "a-b", "7_3"), task=("7_3", "7", 3), cut=cut
    )


class FileContractTests(makeQueueServiceTests(file_queue)):  # type: ignore[misc]
    """The public contract, for ``mock:file=``."""


class FileTests(SynchronousTestCase):
    """``mock:file=PATH``."""

    def setUp(self) -> None:
        self.path = os.path.abspath(self.mktemp())
        self.clock = ManualClock()
        self.queue = FileQueue(self.clock, self.path, wall=self.clock.seconds)

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

    def test_what_leaves(self) -> None:
        """A line that leaves or changes is told by its job's id, which it may write as it likes; a comment makes all lines be read."""
        lines = [b'{"id": "7_3", "state": "RUNNING"}', b'{"state": "RUNNING", "native": {"id": "x"}, "\\u0069d": "\\u0037"}', b'{"id": "9", "state": "RUNNING"}']
        self.assertEqual(set(self.look(*lines).jobs), {"7_3", "7", "9"})
        self.assertEqual(set(self.look(lines[2]).gone), {"7_3", "7"})
        again = self.look(*lines)
        self.assertEqual((set(again.fresh or ()), again.gone), ({"7_3", "7"}, ()))
        commented = self.look(b"# x", b"", *lines)
        self.assertEqual((commented.fresh, set(commented.jobs), commented.rejected_count), (None, {"7_3", "7", "9"}, 0))
        self.assertTrue(all(commented.jobs[job_id] is job for job_id, job in again.jobs.items()))

    def test_whole(self) -> None:
        """What the file says, and when it was read; who says where it is from is believed."""
        job = self.look({"id": "1", "state": "RUNNING"}, {"id": "2", "state": "RUNNING", "source": "squeue", "observed_at": "2026-11-22T05:00:00Z"}).jobs
        expected = JobDescriptor("mock", "1", Phase.RUNNING, native={"state": "RUNNING"}, observed_at=NOW, source="mock")
        self.assertEqual(attrs.asdict(job["1"]), attrs.asdict(expected))
        self.assertEqual((job["2"].source, job["2"].observed_at), ("squeue", NOW))

    def test_rejected_ids(self) -> None:
        """The id that a line seems to be about."""
        snapshot = self.look(b' # x', b'  ', b'{"id" :\t"7"', b'{"id": "8\\n"}', b'{"id": ""}', b'{"id": "\xff"}', b'["id": "9"]')
        self.assertEqual((snapshot.rejected_ids, snapshot.rejected_count), ({"7", "9", "\ufffd"}, 5))
        self.assertEqual((snapshot.began_at, snapshot.ended_at), (NOW, NOW))

    def test_too_large(self) -> None:
        """Is a mistake; the limit itself is none."""
        self.patch(mock, "FILE_LIMIT", 40)
        line = b'{"id": "1", "state": "RUNNING"}'
        self.assertEqual(set(self.look(line + b" " * (39 - len(line))).jobs), {"1"})
        write(self.path, line + b" " * (40 - len(line)))
        self.assertEqual(str(self.failureResultOf(self.queue.snapshot(), QueueError).value), f"the jobs file {self.path} is larger than 40 bytes")

    def test_missing_file(self) -> None:
        """A failed query, which names the file."""
        error = self.failureResultOf(self.queue.snapshot(), QueueError)
        self.assertEqual(str(error.value), f"the jobs file {self.path} cannot be read: No such file or directory")

    def test_facts_and_options(self) -> None:
        """It hides nothing, and has no accounting."""
        facts = self.successResultOf(self.queue.check())
        self.assertEqual(facts, QueueFacts(sees_all=True, evidence="the mock queue hides nothing", whole_arrays=True))
        outcomes = self.successResultOf(self.queue.outcomes([JobDescriptor("mock", "1", Phase.RUNNING)]))
        self.assertEqual((outcomes.no_record, outcomes.jobs), (frozenset(), {}))
        self.assertEqual((self.queue.cluster, self.queue.interval, self.queue.timeout, self.queue.grace, self.queue.queue_type), ("mock", None, 5.0, 5.0, "mock"))
        other = FileQueue(self.clock, self.path, cluster="c", interval=1.0, timeout=2.0, grace=3.0)
        self.assertEqual((other.cluster, other.interval, other.timeout, other.grace), ("c", 1.0, 2.0, 3.0))
        self.failureResultOf(MockQueue(self.clock).snapshot(), NotImplementedError)

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
        for bad in ("a/b", "", "-a", "a" * 129, "a b", "\u00e9"):
            error = self.assertRaises(InvalidJobId, self.queue.canonical_id, bad)
            self.assertEqual(str(error), "expected 1 to 128 letters, digits and '_.+-[]', such as 12 or 12_3")
        for good in ("a" * 128, "1_2", "A.b+c-d[3]"):
            self.assertEqual(self.queue.canonical_id(good), good)
        for task, expected in (("7_3", ("7", 3)), ("a" * 101 + "_0", ("a" * 101, 0)), ("a" * 102 + "_0", None), ("7_03", None), ("7_1234567", ("7", 1234567)), ("7_12345678", None), ("7", None)):
            self.assertEqual(self.queue.task_of(task), expected)
        self.assertEqual(self.queue.task_id("7", 3), "7_3")
