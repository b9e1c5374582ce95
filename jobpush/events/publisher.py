"""
One order, no gap: diff, commit, publish, claim.

A tick's changes get their numbers, are made durable together with the known jobs, and only then become visible: in one reactor
turn the tail and the head move, the served table moves, and the waiters that they concern are claimed. A batch of thousands
becomes visible in parts, each in a turn of its own, so that a state never runs ahead of its cursor and nobody stalls. The next
tick of any queue waits for its turn.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Any

import attrs
from twisted.internet.defer import Deferred, DeferredLock

from jobpush.core import wire
from jobpush.core.diff import Changes
from jobpush.core.job_table import ClusterJobs, JobTable
from jobpush.core.model import HistoryEntry, JobKey, JobRecord, JobStatusEvent
from jobpush.core.workflow import Event, WorkflowEvent
from jobpush.core.workflows import Plan, Workflows
from jobpush.events.instruments import Measures
from jobpush.events.interfaces import IJournal
from jobpush.events.recent_events import Tail
from jobpush.events.tracker import JobStatusTracker
from jobpush.runtime.cooperate import Cooperator

#: How many steps of its life a job's record keeps; older ones are in the journal as long as that keeps them.
HISTORY_LENGTH = 200

#: About how many events become visible in one reactor turn.
PART = 500

#: What changes workflows: the plan, or a generator that pauses and returns it.
ChangeWorkflows = Callable[[Workflows], "Plan | Generator[None, None, Plan]"]

#: What compares a cluster's jobs with something: a generator that pauses, and returns the changes.
Compare = Callable[[ClusterJobs], Generator[None, None, Changes]]


class Publisher:
    """The only writer of the journal, the tail, the served table and the workflows."""

    def __init__(
        self,
        reactor: Any,
        cooperator: Cooperator,
        journal: IJournal,
        table: JobTable,
        tail: Tail,
        tracker: JobStatusTracker,
        workflows: Workflows,
        measures: Measures,
    ) -> None:
        self._reactor = reactor
        self.journal = journal
        self.table = table
        self.tail = tail
        self.tracker = tracker
        self.workflows = workflows
        self._measures = measures
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
        of_jobs: list[JobStatusEvent] = []
        records: dict[str, JobRecord] = {}

        def compared() -> Generator[None, None, tuple[Changes, Plan]]:
            changes = yield from compare(jobs)
            for seq, change in enumerate(changes.changes, self.journal.last_seq + 1):
                of_jobs.append(wire.number(self.journal.epoch, seq, change))
                if seq % 64 == 0:
                    yield
            yield from _with_history(changes.records, of_jobs, records)
            arrays = [record.job for record in records.values() if record.job.counts is not None]
            return changes, (yield from self.workflows.plan(of_jobs, arrays))

        changes, plan = await self._cooperator.run(compared())
        events: list[Event] = [*of_jobs, *self._number(plan, self.journal.last_seq + len(of_jobs))]
        forgotten = [(cluster, job_id) for job_id in changes.forgotten]
        if events or records or forgotten or plan:
            await self._commit(events, list(records.values()), forgotten, plan)
        visible()
        await self._cooperator.run(self._publish(events, plan, jobs, records))
        # What follows is visible to nobody as an event.
        for record in (*records.values(), *changes.refreshed.values()):
            jobs.put(record)
        for job_id in changes.forgotten:
            jobs.forget(job_id)
        self.table.forgotten += len(changes.forgotten)
        return events

    async def _apply_to_workflows(self, change: ChangeWorkflows) -> list[Event]:
        planned = change(self.workflows)
        plan = planned if isinstance(planned, Plan) else await self._cooperator.run(planned)
        events: list[Event] = [*self._number(plan, self.journal.last_seq)]
        if plan:
            await self._commit(events, [], [], plan)
        await self._cooperator.run(self._publish(events, plan, ClusterJobs(), {}))
        return events

    async def _commit(
        self, events: Sequence[Event], records: Sequence[JobRecord], forgotten: Sequence[JobKey], plan: Plan
    ) -> None:
        began = self._reactor.seconds()
        await self.journal.commit(events, records, forgotten, list(plan.updated.values()), plan.dropped)
        if events:
            self._measures.committed(began, self._reactor.seconds())

    def _number(self, plan: Plan, last_seq: int) -> list[WorkflowEvent]:
        events = [
            wire.number_workflow(self.journal.epoch, seq, change) for seq, change in enumerate(plan.changes, last_seq + 1)
        ]
        plan.numbered(events)
        return events

    def _publish(
        self, events: Sequence[Event], plan: Plan, jobs: ClusterJobs, records: dict[str, JobRecord]
    ) -> Generator[None, None, None]:
        """
        Make a durable batch visible, a part in each reactor turn: the tail and the head move, the records of the jobs whose
        last event it is and the workflows move with them, and waiters are claimed. A first look at a huge queue stalls nobody.
        """
        for part in parts(events):
            self.tail.append(part)
            for event in part:
                record = records.get(event.job.id) if isinstance(event, JobStatusEvent) else None
                if record is not None and record.last_seq == event.seq:
                    jobs.put(records.pop(record.job.id))
            if isinstance(part[-1], WorkflowEvent):
                self.workflows.publish(plan)
            self.tracker.publish(part, self.tail.head)
            self._measures.told(part, self._reactor.seconds())
            yield
        if not plan.changes:
            self.workflows.publish(plan)


def parts(events: Sequence[Event], size: int = PART) -> Iterator[Sequence[Event]]:
    """
    A batch in parts of about that size. The events of one job that follow each other stay together, and so do those of the
    workflows, which come last.
    """
    begin = 0
    while begin < len(events):
        end = min(begin + size, len(events))
        while end < len(events) and (events[end].key == events[end - 1].key or isinstance(events[end - 1], WorkflowEvent)):
            end += 1
        yield events[begin:end]
        begin = end


def _with_history(
    records: dict[str, JobRecord], events: Sequence[JobStatusEvent], complete: dict[str, JobRecord]
) -> Generator[None, None, None]:
    """Fill ``complete`` with the records and the steps that these events add."""
    steps: dict[str, list[HistoryEntry]] = {}
    uids: dict[str, str] = {}
    for event in events:
        job = event.job
        if uids.setdefault(job.id, job.uid) != job.uid:
            steps.pop(job.id, None)  # another job by the same id: its history is its own
            uids[job.id] = job.uid
        steps.setdefault(job.id, []).append(event.step)
    for count, (job_id, record) in enumerate(records.items()):
        if count % 256 == 0:
            yield
        new = steps.get(job_id)
        if new is not None:
            history = (*record.history, *new)[-HISTORY_LENGTH:]
            record = attrs.evolve(record, last_seq=new[-1].seq, history=history)
        complete[job_id] = record
