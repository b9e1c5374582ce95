"""
For people who write adapters: the contract as a test case, and a queue in memory that keeps it.

Subclass what `makeQueueServiceTests` returns before you write your adapter; see ``docs/writing-an-adapter.md``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs
from twisted.internet.defer import Deferred, fail, succeed
from twisted.trial.unittest import TestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from jobpush.adapter.interfaces import IBatchQueueService, InvalidJobId, QueueError
from jobpush.core.model import JobDescriptor, Outcomes, Phase, QueueFacts, Snapshot, split_state

#: What is never a job id, whatever the scheduler.
NEVER_IDS = (
    "", " ", "--help", "-1", "1;rm -rf /", "1 2", "1\n2", "$(id)", "`id`", "1|2", "1&2", "../1", "1/2", "é", "1\0", "a" * 5000,
    "'1'", '"1"', "*", "?", "1>2", "%s", "\u0661",
)  # fmt: skip


@implementer(IBatchQueueService)
class MemoryQueue:
    """
    A queue whose jobs a test sets: ``queue.set("1", "RUNNING")``.

    :ivar facts: what ``check`` answers; an exception fails it.
    :ivar failure: if set, what ``snapshot`` fails with.
    :ivar records: what accounting knows, by id.
    :ivar pending: if a list, ``snapshot`` answers only when the test fires the Deferreds that it finds there.
    :ivar queries: how often it was asked.
    """

    queue_type = "memory"

    def __init__(
        self, reactor: Any, cluster: str = "memory", interval: float | None = 1.0, timeout: float = 10.0, grace: float = 5.0
    ) -> None:
        self.cluster = cluster
        self.interval = interval
        self.timeout = timeout
        self.grace = grace
        self.jobs: dict[str, JobDescriptor] = {}
        self.facts: QueueFacts | Exception = QueueFacts(sees_all=True, evidence="memory hides nothing")
        self.failure: Exception | None = None
        self.records: dict[str, JobDescriptor] = {}
        self.pending: list[Deferred[None]] | None = None
        self.queries = 0
        self._reactor = reactor

    def set(self, job_id: str, state: str, **fields: Any) -> JobDescriptor:
        """The job with that id is now in that flat state."""
        phase, outcome = split_state(state)
        fields.setdefault("settled", outcome is not None)
        fields.setdefault("submitted_at", 1.0)
        fields.setdefault("native", {"state": state})
        task = self.task_of(job_id)
        if task is not None and "parent" not in fields:
            fields.update(parent=task[0], task_index=task[1])
        job = JobDescriptor(
            cluster=self.cluster, id=job_id, phase=phase, outcome=outcome, observed_at=self._reactor.seconds(), **fields
        )
        self.jobs[job_id] = job
        return job

    def check(self) -> Deferred[QueueFacts]:
        return fail(self.facts) if isinstance(self.facts, Exception) else succeed(self.facts)

    def snapshot(self) -> Deferred[Snapshot]:
        self.queries += 1
        if self.failure is not None:
            return fail(self.failure)
        snapshot = Snapshot(jobs=dict(self.jobs), began_at=self._reactor.seconds(), ended_at=self._reactor.seconds())
        if self.pending is None:
            return succeed(snapshot)
        answer: Deferred[None] = Deferred()
        self.pending.append(answer)
        return answer.addCallback(lambda _: snapshot)

    def outcomes(self, jobs: Sequence[JobDescriptor]) -> Deferred[Outcomes]:
        accounting = isinstance(self.facts, QueueFacts) and self.facts.accounting
        if not accounting:
            return succeed(Outcomes())
        records = {job.id: self.records[job.id] for job in jobs if job.id in self.records}
        ended = {job_id: job for job_id, job in records.items() if job.done}
        missing = frozenset(job.id for job in jobs if job.id not in records)
        return succeed(Outcomes(ended, frozenset(records).difference(ended), missing))

    def canonical_id(self, text: str) -> str:
        if not (text.isascii() and text.replace("_", "").isalnum() and len(text) <= 64):
            raise InvalidJobId("expected up to 64 letters, digits and '_'")
        return text

    def task_of(self, job_id: str) -> tuple[str, int] | None:
        array, _, index = job_id.partition("_")
        return (array, int(index)) if index.isdigit() else None

    def task_id(self, array: str, index: int) -> str:
        return f"{array}_{index}"


@attrs.define
class QueueUnderTest:
    """
    What `makeQueueServiceTests` needs to test a queue.

    :ivar queue: the queue.
    :ivar show: make the scheduler, real or recorded, list exactly these jobs, as id to flat state, and return the states
        that jobpush should tell (an adapter may have no such state: leave the job out of what is returned).
    :ivar fail: make the next query fail.
    :ivar ids: job ids in the scheduler's grammar, in canonical form.
    :ivar task: an array task's id with its array's id and its index; None where there are no arrays.
    """

    queue: IBatchQueueService
    show: Callable[[Mapping[str, str]], Mapping[str, str]]
    fail: Callable[[], None]
    ids: Sequence[str]
    task: tuple[str, str, int] | None = None


def makeQueueServiceTests(factory: Callable[[TestCase], QueueUnderTest]) -> type[TestCase]:
    """
    A trial test case that any queue must pass.

    :param factory: called before each test with the test case (for ``addCleanup``, ``mktemp``); makes a fresh queue.
    """

    class QueueServiceTests(TestCase):
        """The contract of `IBatchQueueService`."""

        def setUp(self) -> None:
            self.under_test = factory(self)
            self.queue = self.under_test.queue

        def test_provides_the_interface(self) -> None:
            """The queue has everything that the interface asks for."""
            verifyObject(IBatchQueueService, self.queue)
            self.assertRegex(self.queue.cluster, r"\A[A-Za-z0-9][A-Za-z0-9_.-]*\Z")
            self.assertGreater(self.queue.timeout, 0)
            self.assertGreater(self.queue.grace, 0)

        def test_ids_are_canonical(self) -> None:
            """A canonical id stays what it is."""
            for job_id in self.under_test.ids:
                self.assertEqual(self.queue.canonical_id(job_id), job_id)

        def test_refuses_what_is_no_id(self) -> None:
            """What could be an option, a list or a shell's word is no job id."""
            for text in NEVER_IDS:
                self.assertRaises(InvalidJobId, self.queue.canonical_id, text)

        def test_task_ids(self) -> None:
            """An array task's id and its array's id and index lead to each other."""
            if self.under_test.task is not None:
                task, array, index = self.under_test.task
                self.assertEqual(self.queue.task_of(task), (array, index))
                self.assertEqual(self.queue.task_id(array, index), task)
                self.assertIsNone(self.queue.task_of(array))

        async def test_check(self) -> None:
            """The queue says what its account may see, and how it knows."""
            facts = await self.queue.check()
            self.assertIsInstance(facts, QueueFacts)
            self.assertTrue(facts.evidence)

        async def test_lists_jobs(self) -> None:
            """A snapshot holds the jobs that are there, by id, in their states, from this cluster."""
            shown = self._show("QUEUED", "RUNNING", "COMPLETED")
            snapshot = await self.queue.snapshot()
            self.assertEqual({job_id: job.state for job_id, job in snapshot.jobs.items()}, shown)
            self.assertLessEqual(snapshot.began_at, snapshot.ended_at)
            for job_id, job in snapshot.jobs.items():
                self.assertEqual((job.cluster, job.id), (self.queue.cluster, job_id))
                self.assertTrue(job.native, "the scheduler's own word is kept")

        async def test_empty(self) -> None:
            """No jobs are no error."""
            self.under_test.show({})
            self.assertEqual(dict((await self.queue.snapshot()).jobs), {})

        async def test_same_row_same_object(self) -> None:
            """A job that has not changed is the same object in the next snapshot."""
            shown = self._show("QUEUED", "RUNNING")
            first = await self.queue.snapshot()
            second = await self.queue.snapshot()
            for job_id in shown:
                self.assertIs(first.jobs[job_id], second.jobs[job_id])

        async def test_change(self) -> None:
            """A job that has changed is seen as it is now."""
            self._show("QUEUED")
            await self.queue.snapshot()
            shown = self._show("RUNNING")
            snapshot = await self.queue.snapshot()
            self.assertEqual({job_id: job.state for job_id, job in snapshot.jobs.items()}, shown)

        async def test_failure_is_a_queue_error(self) -> None:
            """A query that fails says so with one line, and the next one may succeed."""
            shown = self._show("RUNNING")
            self.under_test.fail()
            error = await self.assertFailure(self.queue.snapshot(), QueueError)
            self.assertTrue(str(error))
            self.assertNotIn("\n", str(error))
            self._show("RUNNING")
            self.assertEqual(set((await self.queue.snapshot()).jobs), set(shown))

        async def test_outcomes_of_nothing(self) -> None:
            """Nothing asked, nothing told."""
            outcomes = await self.queue.outcomes([])
            self.assertEqual(dict(outcomes.jobs), {})

        async def test_outcomes_of_the_unknown(self) -> None:
            """A job that accounting does not know is not told of, and never as completed."""
            job = JobDescriptor(cluster=self.queue.cluster, id=self.under_test.ids[-1], phase=Phase.RUNNING, submitted_at=1.0)
            outcomes = await self.queue.outcomes([job])
            self.assertEqual(dict(outcomes.jobs), {})

        def _show(self, *states: str) -> Mapping[str, str]:
            return self.under_test.show(dict(zip(self.under_test.ids, states, strict=False)))

    return QueueServiceTests
