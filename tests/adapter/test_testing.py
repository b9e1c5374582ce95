"""The queue in memory that tests build on keeps the contract too."""

from __future__ import annotations

import unittest
from types import SimpleNamespace
from typing import Any

import attrs
from twisted.internet import reactor
from twisted.internet.defer import fail, succeed
from twisted.trial.unittest import SynchronousTestCase, TestCase

from jobpush.adapter.interfaces import InvalidJobId, QueueError
from jobpush.adapter.testing import MemoryQueue, QueueUnderTest, makeQueueServiceTests
from jobpush.core.model import JobDescriptor, Outcome, Outcomes, Phase, QueueFacts, Snapshot
from tests.support import NOW, ManualClock


def memory_queue(case: TestCase) -> QueueUnderTest:
    return queue_under_test(MemoryQueue(reactor))


def queue_under_test(queue: MemoryQueue) -> QueueUnderTest:
    """How to show jobs in it."""

    def show(jobs: Any) -> Any:
        queue.jobs.clear()
        queue.failure = None
        for job_id, state in jobs.items():
            queue.set(job_id, state)
        kept = {i: j for i, j in before.items() if i in queue.jobs and j.state == queue.jobs[i].state}
        queue.jobs.update(kept)
        before.update(queue.jobs)
        return jobs

    before: dict[str, JobDescriptor] = {}

    def fail() -> None:
        queue.failure = QueueError("asked for")

    return QueueUnderTest(queue, show, fail, ids=("1", "2", "7_3"), task=("7_3", "7", 3))


class Broken(MemoryQueue):
    """
    A queue that breaks the contract in one way.

    :param how: in which.
    """

    def __init__(self, how: str) -> None:
        super().__init__(reactor)
        self._how = how
        self._old: dict[str, JobDescriptor] = {}
        if how == "cluster":
            self.cluster = "a b"
        if how in ("timeout", "grace"):
            setattr(self, how, 0)
        if how == "quick":
            self.timeout = self.grace = 0.5
        if how == "evidence":
            self.facts = QueueFacts(sees_all=True, evidence="")

    def set(self, job_id: str, state: str, **fields: Any) -> JobDescriptor:
        if self._how == "native":
            fields["native"] = {}
        return super().set(job_id, state, **fields)

    def check(self) -> Any:
        return succeed(SimpleNamespace(evidence="x")) if self._how == "facts" else super().check()

    def snapshot(self) -> Any:
        if self._how == "failure" and self.failure is not None:
            return super().snapshot().addErrback(lambda _: Snapshot({}, 1.0, 1.0))
        if self._how in ("lines", "silent") and self.failure is not None:
            return fail(QueueError("two\nlines" if self._how == "lines" else ""))
        if self._how == "other error" and self.failure is not None:
            return fail(ValueError("no"))
        return super().snapshot().addCallback(self._spoil)

    def _spoil(self, snapshot: Snapshot) -> Snapshot:
        jobs = dict(snapshot.jobs)
        for job_id, job in snapshot.jobs.items():
            if self._how == "new objects":
                jobs[job_id] = attrs.evolve(job)
            if self._how == "stale" and job_id in self._old:
                jobs[job_id] = self._old[job_id]
            if self._how == "others' cluster":
                jobs[job_id] = attrs.evolve(job, cluster="other")
            if self._how == "other id":
                jobs[job_id] = attrs.evolve(job, id="other")
            if self._how == "state":
                jobs[job_id] = attrs.evolve(job, phase=Phase.UNKNOWN, outcome=None)
        if self._how == "ghost":
            jobs["9"] = JobDescriptor("memory", "9", Phase.RUNNING, native={"state": "R"})
        if self._how == "loses":
            jobs = dict(list(jobs.items())[1:])
        self._old = jobs
        if self._how == "time":
            return attrs.evolve(snapshot, began_at=snapshot.ended_at + 1)
        return attrs.evolve(snapshot, jobs=jobs)

    def outcomes(self, jobs: Any) -> Any:
        if self._how == "makes up":
            return succeed(Outcomes(answered=True, jobs={"x": self.set("x", "COMPLETED")}))
        if self._how == "believes":
            return succeed(Outcomes(answered=True, jobs={job.id: job for job in jobs}))
        return super().outcomes(jobs)

    def canonical_id(self, text: str) -> str:
        if self._how == "takes any":
            return text
        if self._how == "refuses" or self._how == "changes":
            super().canonical_id(text)
            if self._how == "refuses":
                raise InvalidJobId("no")
            return text + "x"
        return super().canonical_id(text)

    def task_of(self, job_id: str) -> tuple[str, int] | None:
        found = super().task_of(job_id)
        if self._how == "array's task" and found is None:
            return (job_id, 0)
        return (found[0], found[1] + 1) if self._how == "index" and found is not None else found

    def task_id(self, array: str, index: int) -> str:
        return array if self._how == "task id" else super().task_id(array, index)


class NoticeTests(SynchronousTestCase):
    """Each way to break the contract is noticed by the test that is about it."""

    def failing(self, how: str) -> set[str]:
        """The tests of the contract that fail for this queue."""
        failed = set()
        for name in names(MemoryContractTests):
            result = unittest.TestResult()
            makeQueueServiceTests(lambda case: queue_under_test(Broken(how)))(name).run(result)
            if not result.wasSuccessful():
                failed.add(name.removeprefix("test_"))
        return failed

    def test_each(self) -> None:
        """And an honest queue passes."""
        for how, expected in [
            ("", set()), ("quick", set()), ("ghost", {"lists_jobs", "empty", "change", "failure_is_a_queue_error"}), ("cluster", {"provides_the_interface"}), ("timeout", {"provides_the_interface"}), ("grace", {"provides_the_interface"}),
            ("evidence", {"check"}), ("facts", {"check"}), ("native", {"lists_jobs"}), ("failure", {"failure_is_a_queue_error"}),
            ("lines", {"failure_is_a_queue_error"}), ("silent", {"failure_is_a_queue_error"}), ("other error", {"failure_is_a_queue_error"}),
            ("new objects", {"same_row_same_object"}), ("stale", {"change"}), ("others' cluster", {"lists_jobs", "same_row_same_object"}),
            ("other id", {"lists_jobs", "same_row_same_object"}), ("loses", {"lists_jobs", "change", "failure_is_a_queue_error", "same_row_same_object"}),
            ("time", {"lists_jobs"}), ("makes up", {"outcomes_of_nothing", "outcomes_of_the_unknown"}), ("believes", {"outcomes_of_the_unknown"}),
            ("takes any", {"refuses_what_is_no_id"}), ("refuses", {"ids_are_canonical"}), ("changes", {"ids_are_canonical"}),
            ("array's task", {"task_ids"}), ("index", {"task_ids"}), ("task id", {"task_ids"}),
        ]:  # fmt: skip
            self.assertEqual(self.failing(how), expected, how)

    def test_interface(self) -> None:
        """What lacks something of the interface is told so."""
        result = unittest.TestResult()
        queue = MemoryQueue(reactor)
        del queue.interval
        makeQueueServiceTests(lambda case: queue_under_test(queue))("test_provides_the_interface").run(result)
        self.assertFalse(result.wasSuccessful())

    def test_no_arrays(self) -> None:
        """A scheduler may have none."""
        result = unittest.TestResult()
        under_test = attrs.evolve(queue_under_test(Broken("index")), task=None)
        makeQueueServiceTests(lambda case: under_test)("test_task_ids").run(result)
        self.assertTrue(result.wasSuccessful())


def names(case: type[TestCase]) -> list[str]:
    """The tests of a case."""
    return unittest.TestLoader().getTestCaseNames(case)  # type: ignore[return-value]


class MemoryTests(SynchronousTestCase):
    """What the queue in memory takes and gives."""

    def setUp(self) -> None:
        self.clock = ManualClock()
        self.queue = MemoryQueue(self.clock)

    def test_job(self) -> None:
        """A job by its flat state, and what a test says of it."""
        expected = JobDescriptor("memory", "1", Phase.RUNNING, submitted_at=1.0, native={"state": "RUNNING"}, observed_at=NOW)
        self.assertEqual(attrs.asdict(self.queue.set("1", "RUNNING")), attrs.asdict(expected))
        ended = attrs.evolve(expected, phase=Phase.DONE, outcome=Outcome.FAILED, settled=True, native={"state": "FAILED"})
        self.assertEqual(attrs.asdict(self.queue.set("1", "FAILED")), attrs.asdict(ended))
        self.assertFalse(self.queue.set("1", "FAILED", settled=False).settled)
        task = self.queue.set("7_3", "QUEUED", submitted_at=5.0, native={})
        self.assertEqual((task.parent, task.task_index, task.submitted_at, task.native), ("7", 3, 5.0, {}))
        self.assertEqual((self.queue.set("7_3", "QUEUED", parent="9").task_index, self.queue.queue_type), (None, "memory"))
        self.assertEqual((self.queue.cluster, self.queue.interval, self.queue.timeout, self.queue.grace), ("memory", 1.0, 10.0, 5.0))

    def test_answers(self) -> None:
        """At once, or when the test says so, as it was when it was asked; or a failure; each query is counted."""
        self.queue.set("1", "RUNNING")
        self.clock.advance(2)
        snapshot = self.successResultOf(self.queue.snapshot())
        self.assertEqual((set(snapshot.jobs), snapshot.began_at, snapshot.ended_at), ({"1"}, NOW + 2, NOW + 2))
        self.queue.pending = []
        answer = self.queue.snapshot()
        self.queue.set("2", "RUNNING")
        self.assertNoResult(answer)
        self.queue.pending.pop().callback(None)
        self.assertEqual(set(self.successResultOf(answer).jobs), {"1"})
        self.queue.failure = QueueError("x")
        self.failureResultOf(self.queue.snapshot(), QueueError)
        self.assertEqual(self.queue.queries, 3)
        self.queue.facts = QueueError("y")
        self.failureResultOf(self.queue.check(), QueueError)

    def test_outcomes(self) -> None:
        """What accounting knows, if there is any."""
        job, other = self.queue.set("1", "RUNNING"), self.queue.set("2", "RUNNING")
        self.queue.records = {"1": self.queue.set("1", "FAILED")}
        for facts, answered in ((self.queue.facts, False), (QueueFacts(sees_all=True, accounting=True), True), (QueueError("x"), False)):
            self.queue.facts = facts
            outcomes = self.successResultOf(self.queue.outcomes([job, other]))
            self.assertEqual((outcomes.answered, dict(outcomes.jobs)), (answered, self.queue.records if answered else {}))

    def test_ids(self) -> None:
        """Letters, digits and underscores; with an index they are tasks."""
        for good in ("1", "a_b", "x" * 64):
            self.assertEqual(self.queue.canonical_id(good), good)
        for bad in ("x" * 65, "_", "a-b", "\u0661"):
            error = self.assertRaises(InvalidJobId, self.queue.canonical_id, bad)
            self.assertEqual(str(error), "expected up to 64 letters, digits and '_'")
        self.assertEqual([self.queue.task_of(text) for text in ("7_3", "7_x", "7")], [("7", 3), None, None])


class MemoryContractTests(makeQueueServiceTests(memory_queue)):  # type: ignore[misc]
    """A fake is honest: it keeps the contract too."""
