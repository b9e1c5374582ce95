"""The contract of adapters: the queue in memory keeps it, and each fault is noticed."""

from __future__ import annotations

import os
import socket
import subprocess
import time
import unittest
from collections.abc import Callable, Mapping, Sequence
from time import sleep
from types import SimpleNamespace
from typing import Any

import attrs
from twisted.internet import reactor
from twisted.internet.defer import Deferred, fail, succeed
from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface import implementer

from jobpush.adapter.command import CommandResult, find_executable, run_command
from jobpush.adapter.interfaces import IBatchQueueService, InvalidJobId, QueueError
from jobpush.adapter.testing import FakeCommands, MemoryQueue, QueueUnderTest, makeQueueServiceTests
from jobpush.core.model import Confidence, JobDescriptor, Outcome, Outcomes, Phase, QueueFacts, Snapshot, split_state


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

    def record(job: JobDescriptor) -> None:
        queue.records[job.id] = attrs.evolve(job, phase=Phase.DONE, outcome=Outcome.COMPLETED, settled=True)

    if isinstance(queue.facts, QueueFacts):
        queue.facts = attrs.evolve(queue.facts, accounting=True)
    return QueueUnderTest(queue, show, fail, ids=("1", "2", "7_3"), task=("7_3", "7", 3), record=record)


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
            return succeed(Outcomes(jobs={"x": self.set("x", "COMPLETED")}))
        if self._how == "believes":
            return succeed(Outcomes(jobs={job.id: job for job in jobs}))
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
        records = {"outcomes_of_own_record", "outcomes_of_an_earlier_submission", "outcomes_of_another_user"}
        for how, expected in [
            ("", set()), ("quick", set()), ("ghost", {"lists_jobs", "empty", "change", "failure_is_a_queue_error"}), ("cluster", {"provides_the_interface"}), ("timeout", {"provides_the_interface"}), ("grace", {"provides_the_interface"}),
            ("evidence", {"check"}), ("facts", {"check", *records}), ("native", {"lists_jobs"}), ("failure", {"failure_is_a_queue_error"}),
            ("lines", {"failure_is_a_queue_error"}), ("silent", {"failure_is_a_queue_error"}), ("other error", {"failure_is_a_queue_error"}),
            ("new objects", {"same_row_same_object"}), ("stale", {"change"}), ("others' cluster", {"lists_jobs", "same_row_same_object"}),
            ("other id", {"lists_jobs", "same_row_same_object"}), ("loses", {"lists_jobs", "change", "failure_is_a_queue_error", "same_row_same_object", "task_fields"}),
            ("time", {"lists_jobs"}), ("makes up", {"outcomes_of_nothing", "outcomes_of_the_unknown", "absence_is_no_success", *records}),
            ("believes", {"outcomes_of_the_unknown", "absence_is_no_success", *records}),
            ("takes any", {"refuses_what_is_no_id"}), ("refuses", {"ids_are_canonical"}), ("changes", {"ids_are_canonical"}),
            ("array's task", {"task_ids"}), ("index", {"task_ids", "task_fields"}), ("task id", {"task_ids"}),
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


class MemoryContractTests(makeQueueServiceTests(memory_queue)):  # type: ignore[misc]
    """A fake is honest: it keeps the contract too."""


@implementer(IBatchQueueService)
class LineQueue:
    """
    A queue that asks commands, and keeps the contract but for one fault.

    ``list`` prints a job a line, ``ended`` an accounting record a line.

    :param fault: which; empty for none.
    """

    queue_type = "line"
    cluster = "line"
    interval = None
    timeout = 1.0
    grace = 5.0

    def __init__(self, directory: str, fault: str = "") -> None:
        self._directory = directory
        self._fault = fault
        self._rows: dict[bytes, JobDescriptor] = {}
        self._jobs: dict[str, JobDescriptor] = {}

    # -- what it should do

    def check(self) -> Any:
        if self._fault == "check never settles":
            return Deferred()
        return succeed(QueueFacts(sees_all=True, accounting=True, evidence="list shows all jobs"))

    def snapshot(self) -> Any:
        faulty: Callable[[], Any] | None = {
            "never settles": Deferred,
            "raises": self._raise,
            "returns a snapshot": lambda: Snapshot({}, 1.0, 1.0),
            "raises where there is no command": lambda: self._run("list").addCallback(self._snapshot_of),
            "ignores cancelling": lambda: apart(Deferred.fromCoroutine(self._snapshot())),
            "answers when it is cancelled": lambda: Deferred.fromCoroutine(self._snapshot()).addErrback(self._last),
        }.get(self._fault)
        return faulty() if faulty is not None else Deferred.fromCoroutine(self._snapshot())

    async def _snapshot(self) -> Snapshot:
        self._block()
        if self._fault == "uses a shell":
            return self._snapshot_of(await self._start(["/bin/sh", "-c", f"'{self._directory}/list' -a"]))
        result = await self._run("list")
        if self._fault == "asks for each job":
            for row in result.stdout.splitlines():
                await self._run("list", row.split()[0].decode())
        return self._snapshot_of(result)

    def _snapshot_of(self, result: CommandResult) -> Snapshot:
        if result.status != 0 and self._fault != "takes a failure for an answer":
            raise QueueError(f"list ended with status {result.status}: {result.complaint}")
        *rows, rest = result.stdout.split(b"\n")
        rejected = 1 if rest else 0
        if self._fault == "takes a part for a row":
            rows, rejected = result.stdout.splitlines(), 0
        if self._fault == "passes over a part of a row":
            rejected = 0
        known, self._rows = self._rows, {}
        for row in rows:
            fields = row.decode().split(" ")
            if len(fields) == 3:
                self._rows[row] = known.get(row) or self._job(*fields)
            else:
                rejected += 1
        jobs = {job.id: job for job in self._rows.values()}
        if self._fault == "takes the vanished for completed":
            for job_id in self._jobs.keys() - jobs.keys():
                jobs[job_id] = attrs.evolve(self._jobs[job_id], phase=Phase.DONE, outcome=Outcome.COMPLETED, settled=True)
        if self._fault == "changes an earlier snapshot":
            self._jobs.clear()
            self._jobs.update(jobs)
        else:
            self._jobs = jobs
        now = time.monotonic() if self._fault == "tells the reactor's time" else time.time()
        return Snapshot(self._jobs, now, now, ("cut",) * rejected, rejected)

    def _job(self, job_id: str, state: str, user: str) -> JobDescriptor:
        phase, outcome = split_state(state)
        task = self.task_of(job_id) or (None, None)
        if self._fault == "forgets the array":
            task = (None, task[1])
        return JobDescriptor(
            "line", job_id, phase, outcome=outcome, settled=outcome is not None, user=user, native={"state": state},
            parent=task[0], task_index=task[1],
        )  # fmt: skip

    def outcomes(self, jobs: Sequence[JobDescriptor]) -> Any:
        if self._fault == "outcomes never settle":
            return Deferred()
        return Deferred.fromCoroutine(self._outcomes(jobs))

    async def _outcomes(self, jobs: Sequence[JobDescriptor]) -> Outcomes:
        found = {}
        for line in (await self._run("ended")).stdout.decode().splitlines():
            job_id, user, submitted = line.split(" ")
            for job in jobs:
                of_user = user == job.user or self._fault == "believes other users' records"
                of_time = float(submitted) == job.submitted_at or self._fault == "believes earlier records"
                if job.id == job_id and of_user and of_time:
                    found[job_id] = ended(job)
        if self._fault == "makes ends up":
            found = {job.id: ended(job) for job in jobs}
        if self._fault == "believes no record":
            found = {}
        return Outcomes(found, no_record=frozenset(job.id for job in jobs).difference(found))

    def canonical_id(self, text: str) -> str:
        return MemoryQueue(reactor).canonical_id(text)

    def task_of(self, job_id: str) -> tuple[str, int] | None:
        return MemoryQueue(reactor).task_of(job_id)

    def task_id(self, array: str, index: int) -> str:
        return f"{array}_{index}"

    # -- what it does instead

    def _run(self, name: str, *arguments: str) -> Deferred[CommandResult]:
        return self._start([find_executable(name, self._directory), *arguments])

    def _start(self, words: Sequence[str]) -> Deferred[CommandResult]:
        return run_command(reactor, words, {}, 60.0 if self._fault == "waits for the scheduler" else self.timeout)

    def _block(self) -> None:
        path = os.path.join(self._directory, "list")
        if self._fault == "sleeps":
            time.sleep(0.001)
        if self._fault == "sleeps by another name":
            sleep(0.001)
        if self._fault == "runs a subprocess":
            subprocess.run([path], stdout=subprocess.DEVNULL, check=False)
        if self._fault == "asks for an address":
            socket.gethostbyname("127.0.0.1")
        if self._fault == "calls os.system":
            os.system("true")
        if self._fault == "waits for a process":
            os.waitpid(os.posix_spawn(path, [path], {}, file_actions=[(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)]), 0)

    def _raise(self) -> None:
        raise QueueError("not now")

    def _last(self, reason: object) -> Snapshot:
        return Snapshot(self._jobs, time.time(), time.time())


def ended(job: JobDescriptor) -> JobDescriptor:
    return attrs.evolve(job, phase=Phase.DONE, outcome=Outcome.COMPLETED, settled=True, confidence=Confidence.ACCOUNTING)


def apart(answer: Deferred[Any]) -> Deferred[Any]:
    """Return a Deferred that fires as this one does, and cancels nothing."""
    outer: Deferred[Any] = Deferred()
    answer.addBoth(lambda result: None if outer.called else outer.callback(result))
    return outer


def line_queue(case: TestCase, fault: str = "") -> QueueUnderTest:
    commands = FakeCommands(case.mktemp())
    records: list[str] = []

    def show(jobs: Mapping[str, str]) -> Mapping[str, str]:
        commands.prints("list", "".join(f"{job_id} {state} kimberly\n" for job_id, state in jobs.items()))
        return jobs

    def record(job: JobDescriptor) -> None:
        assert job.submitted_at is not None
        records.append(f"{job.id} {job.user} {job.submitted_at:.0f}\n")
        commands.prints("ended", "".join(records))

    show({})
    commands.prints("ended", "")
    queue = LineQueue(commands.directory, fault)
    return QueueUnderTest(
        queue, show, lambda: commands.fails("list"), ids=("1", "22", "7_3"), task=("7_3", "7", 3), commands=commands, record=record
    )


class LineContractTests(makeQueueServiceTests(line_queue)):  # type: ignore[misc]
    """A queue that asks commands and has no fault passes all of it."""


class FaultTests(SynchronousTestCase):
    """A fault is noticed, and the author is told what is wrong and what is expected."""

    def said(self, test: str, factory: Callable[[TestCase], QueueUnderTest]) -> str:
        """What one test of the contract says of a queue; nothing if it is content."""
        result = unittest.TestResult()
        case: Any = makeQueueServiceTests(factory)
        case.margin = 0.3
        case(f"test_{test}").run(result)
        self.assertEqual(result.skipped, [])
        return "".join(text for _, text in [*result.failures, *result.errors])

    def test_each(self) -> None:
        """By the test that is about it."""
        for fault, test, expected in [
            ("sleeps", "lists_jobs", r"snapshot\(\) called time\.sleep in the reactor's thread.*Expected: .*run_command"),
            ("sleeps by another name", "lists_jobs", r"called time\.sleep in the reactor's thread"),
            ("runs a subprocess", "lists_jobs", r"called subprocess in the reactor's thread.*Expected: .*run_command"),
            ("calls os.system", "lists_jobs", r"called os\.system in the reactor's thread"),
            ("asks for an address", "lists_jobs", r"called socket\.gethostbyname in the reactor's thread"),
            ("waits for a process", "reactor_runs", r"blocked the reactor for 0\.[5-9] s; the scheduler took 0\.5 s.*Expected: "),
            ("tells the reactor's time", "lists_jobs", r"began_at is no date of now\. Expected: time\.time\(\), not reactor\.seconds\(\)"),
            ("never settles", "lists_jobs", r"snapshot\(\) has neither fired nor failed within 1\.3 s.*timeout is 1 s.*Expected: "),
            ("waits for the scheduler", "silent_scheduler", r"snapshot\(\) has neither fired nor failed within 1\.3 s"),
            ("check never settles", "check", r"check\(\) has neither fired nor failed"),
            ("outcomes never settle", "outcomes_of_nothing", r"outcomes\(\) has neither fired nor failed"),
            ("raises", "lists_jobs", r"snapshot\(\) raised QueueError\('not now'\)\. Expected: it returns a Deferred, which fails"),
            ("raises where there is no command", "missing_command", r"snapshot\(\) raised CommandFailed\(.*Expected: it returns a Deferred"),
            ("returns a snapshot", "lists_jobs", r"snapshot\(\) returned Snapshot\. Expected: it returns a Deferred"),
            ("ignores cancelling", "cancel", r"was cancelled, and its command still ran 0\.3 s later\. Expected: "),
            ("answers when it is cancelled", "cancel", r"was cancelled and fired with a snapshot all the same\. Expected: it fails"),
            ("uses a shell", "lists_jobs", r"snapshot\(\) started a shell: /bin/sh -c .*Expected: the command itself with a list of arguments"),
            ("asks for each job", "asks_once", r"ran 2 commands for 1 job and 4 for 3\. Expected: one query for all"),
            ("takes a failure for an answer", "failure_is_a_queue_error", r"the query failed, and .* fired with 0 jobs\. Expected: it fails with QueueError"),
            ("takes a part for a row", "cut_off_answer", r"last 2 bytes .* were missing, and job 7_3 was read .*: user is 'kimberl', not 'kimberly'\. Expected: "),
            ("passes over a part of a row", "cut_off_answer", r"last 1 to 8 bytes .* were missing, .*says nothing of that row\. Expected: QueueError, or the row is counted"),
            ("believes earlier records", "outcomes_of_an_earlier_submission", r"record of the id 1 that is another submission's: it was submitted a day earlier\. Expected: "),
            ("believes other users' records", "outcomes_of_another_user", r"record of the id 1 that is another submission's: its user is robin, not kim\. Expected: "),
            ("believes no record", "outcomes_of_own_record", r"accounting has the record of this very submission"),
            ("makes ends up", "outcomes_of_the_unknown", r"accounting has no record of this job\. Expected: it is left out"),
            ("makes ends up", "absence_is_no_success", r"has left the list, and accounting has no record of it\. Expected: "),
            ("takes the vanished for completed", "absence_is_no_success", r"job 1 has left the list, and the snapshot says that it has ended\. Expected: "),
            ("changes an earlier snapshot", "snapshots_stay", r"the next query has changed the jobs of this snapshot\. Expected: each Snapshot.jobs is a mapping of its own"),
            ("forgets the array", "task_fields", r"parent and task_index of 7_3 are not what task_of says"),
        ]:  # fmt: skip
            self.assertRegex(self.said(test, lambda case, fault=fault: line_queue(case, fault)), f"(?s){expected}", fault)

    def test_key(self) -> None:
        """A job under another id than its own."""
        said = self.said("lists_jobs", lambda case: queue_under_test(Broken("other id")))
        self.assertIn("a job of Snapshot.jobs has another id than its key", said)

    def test_ids(self) -> None:
        """An id that is none, and is taken."""
        said = self.said("refuses_what_is_no_id", lambda case: queue_under_test(Broken("takes any")))
        self.assertIn("canonical_id('') returned ''. Expected: InvalidJobId is raised", said)

    def test_accounting_that_is_not_tested(self) -> None:
        """Who has accounting says how to make it know of a job; who has none does not answer."""
        said = self.said("outcomes_of_own_record", lambda case: attrs.evolve(line_queue(case), record=None))
        self.assertIn("QueueUnderTest.record is not given. Expected: a function that makes accounting know of a job", said)

        def without(case: TestCase) -> QueueUnderTest:
            under_test = line_queue(case)
            self.patch(under_test.queue, "check", lambda: succeed(QueueFacts(sees_all=True, evidence="x")))
            return under_test

        self.assertIn("outcomes() tells something. Expected: Outcomes()", self.said("outcomes_of_own_record", without))
        self.assertEqual(self.said("outcomes_of_another_user", without), "")

    def test_cut_without_effect(self) -> None:
        """A harness that cuts nothing off is no test."""
        said = self.said("cut_off_answer", lambda case: attrs.evolve(line_queue(case), commands=None, cut=lambda missing: None))
        self.assertIn("cut() had no effect on any answer", said)

    def test_skipped(self) -> None:
        """What is not given is not tested, and the report says what that would have shown."""
        for test, name in (("cancel", "slow"), ("reactor_runs", "slow"), ("silent_scheduler", "slow"), ("cut_off_answer", "cut"), ("missing_command", "commands")):
            result = unittest.TestResult()
            makeQueueServiceTests(memory_queue)(f"test_{test}").run(result)
            ((_, reason),) = result.skipped
            self.assertRegex(reason, rf"QueueUnderTest\.{name} is not given: it is not tested wh")
