"""
One order, no gap: diff, commit, publish, claim.

A tick's changes get their numbers, are made durable together with the known jobs, and only then become visible: in one reactor
turn the tail and the head move, the served table moves, and the waiters that they concern are claimed. A batch of thousands
becomes visible in parts, each in a turn of its own, so that a state never runs ahead of its cursor and nobody stalls. The next
tick of any queue waits for its turn.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence

from twisted.internet.defer import Deferred, DeferredLock
from twisted.internet.interfaces import IReactorTime

from jobpush.core import wire
from jobpush.core.job_table import ClusterJobs, JobTable
from jobpush.core.record import AnyRecord, Changes, Event, JobRecord
from jobpush.core.workflow_draft import WorkflowChanges
from jobpush.core.workflows import Workflows
from jobpush.events.instruments import Instruments
from jobpush.events.interfaces import IJournal
from jobpush.events.recent_events import Tail
from jobpush.events.tracker import JobStatusTracker
from jobpush.runtime.cooperate import Cooperator

#: About how many events become visible in one reactor turn.
PART = 500

#: What compares a cluster's jobs with something: a generator that pauses, and returns the changes.
Compare = Callable[[ClusterJobs], Generator[None, None, Changes[JobRecord]]]

#: What changes workflows: returns the changes, or a generator that pauses and returns them.
ChangeWorkflows = Callable[[Workflows], "WorkflowChanges | Generator[None, None, WorkflowChanges]"]


class Publisher:
    """The only writer of the journal, the tail, the served table and the workflows."""

    def __init__(
        self,
        reactor: IReactorTime,
        wall: Callable[[], float],
        cooperator: Cooperator,
        journal: IJournal,
        table: JobTable,
        tail: Tail,
        tracker: JobStatusTracker,
        workflows: Workflows,
        instruments: Instruments,
    ) -> None:
        self._reactor = reactor
        self._wall = wall
        self.journal = journal
        self.table = table
        self.tail = tail
        self.tracker = tracker
        self.workflows = workflows
        self._instruments = instruments
        self._lock = DeferredLock()
        self._cooperator = cooperator

    def apply(
        self, cluster: str, compare: Compare, visible: Callable[[], None] = lambda: None
    ) -> Deferred[list[Event]]:
        """
        Compare a cluster's jobs and make what comes of it durable, then visible.

        :param visible: called in the turn in which it begins to be visible, before that.
        :return: fires with the published events when the waiters are claimed; fails with `JournalError` if it could not be
            made durable, and then nothing has changed.
        """
        return self._lock.run(lambda: Deferred.fromCoroutine(self._apply(cluster, compare, visible)))

    def apply_to_workflows(self, change: ChangeWorkflows) -> Deferred[list[Event]]:
        """Change workflows, not jobs. Fires and fails as ``apply`` does."""
        return self._lock.run(lambda: Deferred.fromCoroutine(self._apply_to_workflows(change)))

    async def _apply(self, cluster: str, compare: Compare, visible: Callable[[], None]) -> list[Event]:
        jobs = self.table.cluster(cluster)
        events: list[Event] = []

        def compared() -> Generator[None, None, tuple[Changes[JobRecord], WorkflowChanges]]:
            changes = yield from compare(jobs)
            events.extend((yield from self._number(changes, events)))
            arrays = [record.subject for record in changes.records.values() if record.subject.counts is not None]
            of_workflows = yield from self.workflows.follow(events, arrays)
            events.extend((yield from self._number(of_workflows, events)))
            return changes, of_workflows

        changes, of_workflows = await self._cooperator.run(compared())
        await self._commit(events, changes, of_workflows)
        visible()
        await self._cooperator.run(self._publish(events, of_workflows, jobs, changes.records))
        # What is left is visible to nobody as an event.
        for record in (*changes.records.values(), *changes.refreshed.values()):
            jobs.put(record)
        for _, job_id in changes.forgotten:
            jobs.forget(job_id)
        self.table.forgotten += len(changes.forgotten)
        return events

    async def _apply_to_workflows(self, change: ChangeWorkflows) -> list[Event]:
        events: list[Event] = []
        changed = change(self.workflows)
        changes = changed if isinstance(changed, WorkflowChanges) else await self._cooperator.run(changed)
        events.extend(await self._cooperator.run(self._number(changes, events)))
        await self._commit(events, Changes[JobRecord](), changes)
        await self._cooperator.run(self._publish(events, changes, ClusterJobs(), {}))
        return events

    def _number(self, changes: Changes[AnyRecord], before: Sequence[Event]) -> Generator[None, None, list[Event]]:
        """Return the events of these changes, which follow those of the same batch."""
        return wire.number_all(self.journal.epochs.current, self.journal.last_seq + len(before), changes)

    async def _commit(self, events: Sequence[Event], of_jobs: Changes[JobRecord], of_workflows: WorkflowChanges) -> None:
        if not (of_jobs or of_workflows) and self.journal.problem is None:
            return
        began = self._reactor.seconds()
        records: list[AnyRecord] = [*of_jobs.records.values(), *of_workflows.records.values()]
        await self.journal.commit(events, records, [*of_jobs.forgotten, *of_workflows.forgotten], of_workflows.members)
        if events:
            self._instruments.committed(began, self._reactor.seconds())

    def _publish(
        self, events: Sequence[Event], of_workflows: WorkflowChanges, jobs: ClusterJobs, records: dict[str, JobRecord]
    ) -> Generator[None, None, None]:
        """
        Make a durable batch visible, a part in each reactor turn: the tail and the head move, the records of the jobs whose
        last event it is and the workflows move with them, and waiters are claimed. A first look at a huge queue stalls nobody.

        :param records: of the jobs; those that become visible are removed.
        """
        for part in parts(events):
            self.tail.append(part)
            for event in part:
                cluster, job_id = event.subject.key
                record = records.get(job_id) if cluster else None
                if record is not None and record.last_seq == event.seq:
                    jobs.put(records.pop(job_id))
            if part[-1].kind == "workflow":
                self.workflows.publish(of_workflows)
            self.tracker.publish(part)
            self._instruments.told(part, self._wall())
            yield
        if not of_workflows.changes:
            self.workflows.publish(of_workflows)


def parts(events: Sequence[Event], size: int = PART) -> Iterator[Sequence[Event]]:
    """
    Yield a batch in parts of about that size. The events of one job that follow each other stay together, and so do those of
    the workflows, which come last.
    """
    begin = 0
    while begin < len(events):
        end = min(begin + size, len(events))
        while end < len(events) and (events[end].key == events[end - 1].key or events[end - 1].kind == "workflow"):
            end += 1
        yield events[begin:end]
        begin = end
