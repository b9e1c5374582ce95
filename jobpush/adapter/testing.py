"""
For people who write adapters: the contract as a test case, and a queue in memory that keeps it.

Subclass what `makeQueueServiceTests` returns before you write your adapter; see ``docs/writing-an-adapter.md``.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import attrs
from twisted.python.failure import Failure
from twisted.trial.unittest import SkipTest, TestCase
from zope.interface.verify import verifyObject

from jobpush.adapter.fakes import FakeCommands, MemoryQueue
from jobpush.adapter.interfaces import IBatchQueueService, InvalidJobId, QueueError
from jobpush.adapter.watched import INSTEAD, WatchedCase, ended, sleep
from jobpush.core.model import JobDescriptor, Outcome, Outcomes, Phase, QueueFacts, Snapshot

__all__ = ["FakeCommands", "MemoryQueue", "QueueUnderTest", "makeQueueServiceTests"]

_T = TypeVar("_T")

#: What is never a job id, whatever the scheduler.
NEVER_IDS = (
    "", " ", "--help", "-1", "1;rm -rf /", "1 2", "1\n2", "$(id)", "`id`", "1|2", "1&2", "../1", "1/2", "é", "1\0", "a" * 5000,
    "'1'", '"1"', "*", "?", "1>2", "%s", "\u0661",
)  # fmt: skip


@attrs.define
class QueueUnderTest:
    """
    What `makeQueueServiceTests` needs to test a queue. The first four are always needed.

    What is None is not tested; the tests that need it are reported as skipped, with what they would have shown.

    :ivar queue: the queue. A short ``timeout``, such as 3 s, keeps the tests short: one of them waits for it.
    :ivar show: make the scheduler, real or recorded, list exactly these jobs, as id to flat state, and return the states
        that jobpush should tell (an adapter may have no such state: leave the job out of what is returned).
    :ivar fail: make the next query fail.
    :ivar ids: at least three job ids in the scheduler's grammar, in canonical form.
    :ivar task: an array task's id with its array's id and its index; None where there are no arrays.
    :ivar commands: the scheduler's commands, if the queue runs commands. They bring ``slow`` and ``cut`` with them.
    :ivar slow: make the scheduler answer each query only after so many seconds; 0 ends that.
    :ivar cut: make the scheduler end each answer so many bytes early and report success all the same; 0 ends that.
    :ivar record: make accounting know of one submission that it has completed: the job with this ``id``, ``user`` and
        ``submitted_at`` (whole seconds), and of no other. Needed where ``check`` says that there is accounting.
    """

    queue: IBatchQueueService
    show: Callable[[Mapping[str, str]], Mapping[str, str]]
    fail: Callable[[], None]
    ids: Sequence[str]
    task: tuple[str, str, int] | None = None
    commands: FakeCommands | None = None
    slow: Callable[[float], None] | None = None
    cut: Callable[[int], None] | None = None
    record: Callable[[JobDescriptor], None] | None = None

    def __attrs_post_init__(self) -> None:
        if self.commands is not None:
            self.slow = self.slow or self.commands.slow
            self.cut = self.cut or self.commands.cut


#: When the submissions that accounting is asked about were made, in seconds since the epoch.
SUBMITTED_AT = 1795333000.0

#: How many bytes an answer lacks where it is tested that it was cut off. Of one group at most three are between two rows, so
#: that a queue which rejects nothing in a whole group has passed over a part of a row.
CUTS = (range(1, 9), range(16, 20), range(32, 36), range(64, 68), range(128, 132), range(256, 260), range(512, 516))

#: Seconds that the scheduler takes where it is tested that the reactor runs meanwhile, and for which part of them it may not.
SLOW_S, BLOCKED_PART = 1.0, 0.8


def makeQueueServiceTests(factory: Callable[[TestCase], QueueUnderTest]) -> type[TestCase]:
    """
    A trial test case that any queue must pass.

    :param factory: called before each test with the test case (for ``addCleanup``, ``mktemp``); makes a fresh queue.
    """

    class QueueServiceTests(WatchedCase):
        """The contract of `IBatchQueueService`."""

        def setUp(self) -> None:
            super().setUp()
            self.under_test = factory(self)
            self.queue = self.under_test.queue
            self.timeout_s = self.queue.timeout

        # -- what it is

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
                try:
                    taken = self.queue.canonical_id(text)
                except InvalidJobId:
                    continue
                self.fail(f"canonical_id({text[:20]!r}) returned {taken[:20]!r}. Expected: InvalidJobId is raised")

        def test_task_ids(self) -> None:
            """An array task's id and its array's id and index lead to each other."""
            if self.under_test.task is not None:
                task, array, index = self.under_test.task
                self.assertEqual(self.queue.task_of(task), (array, index))
                self.assertEqual(self.queue.task_id(array, index), task)
                self.assertIsNone(self.queue.task_of(array))

        # -- what it may see

        async def test_check(self) -> None:
            """The queue says what its account may see, and how it knows."""
            facts = await self._check()
            self.assertIsInstance(facts, QueueFacts)
            self.assertTrue(facts.evidence, "QueueFacts.evidence is empty. Expected: how it is known what the account may see")

        # -- what it lists

        async def test_lists_jobs(self) -> None:
            """A snapshot holds the jobs that are there, by id, in their states, from this cluster."""
            shown = self._show("QUEUED", "RUNNING", "COMPLETED")
            snapshot = await self._snapshot()
            self.assertEqual(_states(snapshot), dict(shown), "the snapshot does not hold what the scheduler lists")
            self.assertLessEqual(snapshot.began_at, snapshot.ended_at)
            off = abs(snapshot.began_at - time.time())
            self.assertLess(off, 86400, "began_at is no date of now. Expected: time.time(), not reactor.seconds()")
            for job_id, job in snapshot.jobs.items():
                self.assertIsInstance(job, JobDescriptor)
                self.assertEqual(job.id, job_id, "a job of Snapshot.jobs has another id than its key")
                self.assertEqual(job.cluster, self.queue.cluster, f"job {job_id} is not of the queue's own cluster")
                self.assertTrue(job.native, f"job {job_id} has no native: the scheduler's own word for its state is kept there")

        async def test_task_fields(self) -> None:
            """An array's task says which array it is of, and its index."""
            if self.under_test.task is not None:
                task, array, index = self.under_test.task
                if self.under_test.show({task: "RUNNING"}):
                    job = (await self._snapshot()).jobs[task]
                    self.assertEqual(
                        (job.parent, job.task_index),
                        (array, index),
                        f"parent and task_index of {task} are not what task_of says",
                    )

        async def test_empty(self) -> None:
            """No jobs are no error."""
            self.under_test.show({})
            self.assertEqual(_states(await self._snapshot()), {}, "the scheduler lists no jobs, and the snapshot does")

        async def test_same_row_same_object(self) -> None:
            """A job that has not changed is the same object in the next snapshot."""
            shown = self._show("QUEUED", "RUNNING")
            first = await self._snapshot()
            second = await self._snapshot()
            for job_id in shown:
                self.assertIs(
                    first.jobs[job_id],
                    second.jobs[job_id],
                    f"job {job_id} did not change. Expected: the same object as last time",
                )

        async def test_change(self) -> None:
            """A job that has changed is seen as it is now."""
            self._show("QUEUED")
            await self._snapshot()
            shown = self._show("RUNNING")
            self.assertEqual(_states(await self._snapshot()), dict(shown), "the snapshot shows what was, not what is")

        async def test_snapshots_stay(self) -> None:
            """A snapshot says later what it said at first."""
            self._show("QUEUED", "QUEUED")
            first = await self._snapshot()
            kept = dict(first.jobs)
            self._show("RUNNING")
            await self._snapshot()
            self.assertEqual(
                _states(first), {job_id: job.state for job_id, job in kept.items()},
                "the next query has changed the jobs of this snapshot. Expected: each Snapshot.jobs is a mapping of its own",
            )  # fmt: skip

        async def test_absence_is_no_success(self) -> None:
            """A job that is not listed any more is not called completed for that."""
            self._show("RUNNING")
            job_id = self.under_test.ids[0]
            job = (await self._snapshot()).jobs.get(job_id)
            self.under_test.show({})
            seen = (await self._snapshot()).jobs.get(job_id)
            self.assertFalse(
                seen is not None and seen.outcome is not None,
                f"job {job_id} has left the list, and the snapshot says that it has ended. Expected: it is left "
                "out, unless accounting or a log says how it ended",
            )
            if job is not None:
                outcomes = await self._outcomes(job)
                self.assertEqual(
                    dict(outcomes.jobs),
                    {},
                    f"job {job_id} has left the list, and accounting has no record of it. Expected: outcomes() leaves it out",
                )

        # -- how it asks

        async def test_asks_once(self) -> None:
            """The number of commands does not grow with the number of jobs."""
            some, many = self.under_test.ids[:1], self.under_test.ids
            self.under_test.show({})
            await self._snapshot()
            counts = []
            for ids in (some, many):
                self.under_test.show(dict.fromkeys(ids, "RUNNING"))
                before = len(self.watch.commands)
                await self._snapshot()
                counts.append(len(self.watch.commands) - before)
            self.assertLess(
                counts[1], counts[0] + len(many) - 1,
                f"snapshot() ran {counts[0]} commands for 1 job and {counts[1]} for {len(many)}. Expected: one query for all",
            )  # fmt: skip

        async def test_reactor_runs(self) -> None:
            """The reactor serves others while the scheduler takes its time."""
            slow = self._needs(self.under_test.slow, "slow", "whether the reactor runs while the scheduler takes its time")
            self._show("RUNNING")
            seconds = min(SLOW_S, self.queue.timeout / 2)
            slow(seconds)
            await self._snapshot()
            self.assertLess(
                self.watch.longest, seconds * BLOCKED_PART,
                f"snapshot() blocked the reactor for {self.watch.longest:.1f} s; the scheduler took {seconds:g} s. {INSTEAD}",
            )  # fmt: skip

        async def test_silent_scheduler(self) -> None:
            """A query that the scheduler does not answer has failed when the queue's time-out is over."""
            slow = self._needs(self.under_test.slow, "slow", "whether a query ends that the scheduler does not answer")
            self._show("RUNNING")
            slow(self.queue.timeout + 2 * self.margin)
            await self._refusal("the scheduler did not answer within the time-out")

        async def test_cancel(self) -> None:
            """Cancelling a query ends what runs, and the next one is as any other."""
            slow = self._needs(self.under_test.slow, "slow", "whether cancelling a query ends its commands")
            shown = self._show("RUNNING")
            slow(self.queue.timeout)
            with self.watch:
                answer = self.begin("snapshot()", self.queue.snapshot)
                await sleep(min(0.2, self.queue.timeout / 4))
                answer.cancel()
                result = await self.settled("snapshot(), when it was cancelled,", answer, self.margin)
            self.assertIsInstance(
                result, Failure, "snapshot() was cancelled and fired with a snapshot all the same. Expected: it fails"
            )
            self.assertTrue(
                await ended(self.watch.processes, self.margin),
                f"snapshot() was cancelled, and its command still ran {self.margin:g} s later. Expected: cancelling the "
                "Deferred ends the command, as that of jobpush.adapter.command.run_command does if it is awaited or returned",
            )
            slow(0)
            self.assertEqual(set((await self._snapshot()).jobs), set(shown), "the query after one that was cancelled")

        # -- what it does not believe

        async def test_failure_is_a_queue_error(self) -> None:
            """A query that fails says so with one line, and the next one may succeed."""
            shown = self._show("RUNNING")
            self.under_test.fail()
            error = await self._refusal("the query failed")
            self.assertTrue(str(error), "the QueueError has no text. Expected: one line that says why, for the log")
            self.assertNotIn("\n", str(error), "the text of the QueueError has line breaks. Expected: one line, for the log")
            self._show("RUNNING")
            self.assertEqual(set((await self._snapshot()).jobs), set(shown), "the query after one that failed")

        async def test_missing_command(self) -> None:
            """A command that is not there makes the query fail."""
            commands = self._needs(self.under_test.commands, "commands", "what happens where there is no such command")
            for name in os.listdir(commands.directory):
                path = os.path.join(commands.directory, name)
                if os.path.isfile(path) and os.access(path, os.X_OK):
                    os.chmod(path, 0o644)
            await self._refusal("there is no such command")

        async def test_cut_off_answer(self) -> None:
            """An answer that was cut off is refused, or what was cut of it is."""
            cut = self._needs(self.under_test.cut, "cut", "whether an answer that was cut off is believed")
            self.under_test.show(dict.fromkeys(self.under_test.ids, "RUNNING"))
            whole = await self._snapshot()
            noticed = False
            for positions in CUTS:
                silent = 0
                listed = False
                for missing in positions:
                    cut(missing)
                    try:
                        snapshot = await self._snapshot()
                    except QueueError:
                        noticed = True
                        continue
                    self._compare(snapshot, whole, missing)
                    rejected = snapshot.rejected_count > 0
                    listed = listed or rejected or len(snapshot.jobs) > 0
                    fewer = len(snapshot.jobs) < len(whole.jobs)
                    noticed = noticed or rejected or fewer
                    silent += fewer and not rejected
                if silent == len(positions) and listed:
                    self.fail(
                        f"the last {positions[0]} to {positions[-1]} bytes of the scheduler's answer were missing, so that it "
                        "ended within a row, and the snapshot says nothing of that row. Expected: QueueError, or the row is "
                        "counted in Snapshot.rejected_count"
                    )
                if not listed:
                    break
            self.assertTrue(noticed, "cut() had no effect on any answer: QueueUnderTest.cut does not do what it should")

        # -- what accounting says

        async def test_outcomes_of_nothing(self) -> None:
            """Nothing asked, nothing told."""
            outcomes = await self._outcomes()
            self.assertEqual(dict(outcomes.jobs), {}, "outcomes([]) told of jobs that nobody asked for")

        async def test_outcomes_of_the_unknown(self) -> None:
            """A job that accounting does not know is not told of, and never as completed."""
            job = JobDescriptor(cluster=self.queue.cluster, id=self.under_test.ids[-1], phase=Phase.RUNNING, submitted_at=1.0)
            outcomes = await self._outcomes(job)
            self.assertEqual(dict(outcomes.jobs), {}, "accounting has no record of this job. Expected: it is left out")

        async def test_outcomes_of_own_record(self) -> None:
            """A record of that very submission says how the job has ended."""
            record = await self._recorder()
            job = self._submission()
            if record is None:
                outcomes = await self._outcomes(job)
                self.assertEqual(
                    (dict(outcomes.jobs), outcomes.still_open, outcomes.no_record), ({}, frozenset(), frozenset()),
                    "check() says that there is no accounting, and outcomes() tells something. Expected: Outcomes()",
                )  # fmt: skip
                return
            record(job)
            outcomes = await self._outcomes(job)
            self.assertNotIn(job.id, outcomes.no_record, "accounting has the record of this very submission")
            self.assertEqual(list(outcomes.jobs), [job.id], "accounting has the record of this very submission")
            ended = outcomes.jobs[job.id]
            self.assertEqual((ended.cluster, ended.id), (job.cluster, job.id))
            self.assertEqual((ended.outcome, ended.settled), (Outcome.COMPLETED, True), "the record says that it has completed")

        async def test_outcomes_of_an_earlier_submission(self) -> None:
            """A record of the same id, submitted earlier, is another job's."""
            record = await self._recorder()
            if record is not None:
                job = self._submission()
                record(attrs.evolve(job, submitted_at=SUBMITTED_AT - 86400.0))
                await self._disbelieves(job, "it was submitted a day earlier")

        async def test_outcomes_of_another_user(self) -> None:
            """A record of the same id and of another user is another job's."""
            record = await self._recorder()
            if record is not None:
                job = self._submission()
                record(attrs.evolve(job, user="robin"))
                await self._disbelieves(job, f"its user is robin, not {job.user}")

        # -- helpers

        def _show(self, *states: str) -> Mapping[str, str]:
            return self.under_test.show(dict(zip(self.under_test.ids, states, strict=False)))

        def _submission(self) -> JobDescriptor:
            return JobDescriptor(
                cluster=self.queue.cluster,
                id=self.under_test.ids[0],
                phase=Phase.RUNNING,
                user="kim",
                submitted_at=SUBMITTED_AT,
                started_at=SUBMITTED_AT + 1.0,
                observed_at=SUBMITTED_AT + 2.0,
            )

        def _needs(self, given: _T | None, name: str, what: str) -> _T:
            if given is None:
                raise SkipTest(f"QueueUnderTest.{name} is not given: it is not tested {what}")
            return given

        async def _recorder(self) -> Callable[[JobDescriptor], None] | None:
            """What makes accounting know of a job; None where there is no accounting."""
            if not (await self._check()).accounting:
                return None
            if self.under_test.record is None:
                self.fail(
                    "check() says that there is accounting, and QueueUnderTest.record is not given. Expected: a function that "
                    "makes accounting know of a job"
                )
            return self.under_test.record

        async def _disbelieves(self, job: JobDescriptor, why: str) -> None:
            outcomes = await self._outcomes(job)
            self.assertEqual(
                dict(outcomes.jobs), {},
                f"accounting has a record of the id {job.id} that is another submission's: {why}. Expected: the job is left "
                "out of Outcomes.jobs, as if there were no record",
            )  # fmt: skip

        def _compare(self, snapshot: Snapshot, whole: Snapshot, missing: int) -> None:
            for job_id, job in snapshot.jobs.items():
                before = whole.jobs.get(job_id)
                if before is None:
                    wrong = "there is no such job"
                elif job.says_the_same(before):
                    continue
                else:
                    wrong = ", ".join(
                        f"{name} is {getattr(job, name)!r}, not {getattr(before, name)!r}"
                        for name in (field.name.lstrip("_") for field in attrs.fields(JobDescriptor))
                        if name != "observed_at" and getattr(job, name) != getattr(before, name)
                    )
                self.fail(
                    f"the last {missing} bytes of the scheduler's answer were missing, and job {job_id} was read from what was "
                    f"left of its row: {wrong}. Expected: QueueError, or the row is counted in Snapshot.rejected_count; a row "
                    "counts only with its end"
                )

        async def _check(self) -> QueueFacts:
            return await self.ask("check()", self.queue.check)

        async def _snapshot(self) -> Snapshot:
            return await self.ask("snapshot()", self.queue.snapshot)

        async def _outcomes(self, *jobs: JobDescriptor) -> Outcomes:
            return await self.ask("outcomes()", lambda: self.queue.outcomes(jobs))

        async def _refusal(self, why: str) -> QueueError:
            """The error of a query that must fail."""
            try:
                snapshot = await self._snapshot()
            except QueueError as error:
                return error
            except (SkipTest, self.failureException):
                raise
            except Exception as error:
                self.fail(f"{why}, and snapshot() failed with {error!r}. Expected: it fails with QueueError")
            self.fail(
                f"{why}, and snapshot() fired with {len(snapshot.jobs)} jobs. Expected: it fails with QueueError; jobs vanish "
                "where a failure is taken for an answer"
            )

    return QueueServiceTests


def _states(snapshot: Snapshot) -> dict[str, str]:
    return {job_id: job.state for job_id, job in snapshot.jobs.items()}
