"""
One order, no gap: diff, commit, publish, claim.

A tick's changes get their numbers, are made durable together with the known jobs, and only then, in one reactor turn,
become visible: the tail and the head move, the served table moves, and the waiters that they concern are claimed. The
next tick of any queue waits for its turn.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import Any

import attrs
from twisted.internet.defer import Deferred, DeferredLock
from twisted.internet.task import Cooperator

from jobpush import wire
from jobpush.diff import Changes
from jobpush.interfaces import IJournal
from jobpush.model import HistoryEntry, JobRecord, JobStatusEvent
from jobpush.table import ClusterJobs, JobTable
from jobpush.tail import Tail
from jobpush.tracker import JobStatusTracker

#: How many steps of its life a job's record keeps; older ones are in the journal as long as that keeps them.
HISTORY_LENGTH = 200

#: What compares a cluster's jobs with something: a generator that pauses, and returns the changes.
Compare = Callable[[ClusterJobs], Generator[None, None, Changes]]


class Publisher:
    """The only writer of the journal, the tail and the served table."""

    def __init__(self, reactor: Any, journal: IJournal, table: JobTable, tail: Tail, tracker: JobStatusTracker) -> None:
        self.journal = journal
        self.table = table
        self.tail = tail
        self.tracker = tracker
        #: Called with each published batch, after the waiters were claimed.
        self.followers: list[Callable[[Sequence[JobStatusEvent]], None]] = []
        self._lock = DeferredLock()
        self._cooperator = Cooperator(scheduler=lambda work: reactor.callLater(0, work))

    def apply(self, cluster: str, compare: Compare) -> Deferred[list[JobStatusEvent]]:
        """
        Compare a cluster's jobs and make what comes of it durable, then visible.

        :return: fires with the published events when the waiters are claimed; fails with `JournalError` if it could not be
            made durable, and then nothing has changed.
        """
        return self._lock.run(lambda: Deferred.fromCoroutine(self._apply(cluster, compare)))

    async def _apply(self, cluster: str, compare: Compare) -> list[JobStatusEvent]:
        jobs = self.table.cluster(cluster)
        changes = Changes()
        events: list[JobStatusEvent] = []

        def compared() -> Generator[None, None, None]:
            nonlocal changes
            changes = yield from compare(jobs)
            for seq, change in enumerate(changes.changes, self.journal.last_seq + 1):
                events.append(wire.number(self.journal.epoch, seq, change))
                if seq % 64 == 0:
                    yield

        await self._cooperator.cooperate(compared()).whenDone()
        records = _with_history(changes.records, events)
        forgotten = [(cluster, job_id) for job_id in changes.forgotten]
        if events or records or forgotten:
            await self.journal.commit(events, records, forgotten)
        # From here to the end is one reactor turn.
        self.tail.append(events)
        for record in records:
            jobs.put(record)
        for record in changes.refreshed.values():
            jobs.put(record)
        for job_id in changes.forgotten:
            jobs.forget(job_id)
        self.tracker.publish(events, self.tail.head)
        for follower in self.followers:
            follower(events)
        return events


def _with_history(records: dict[str, JobRecord], events: Sequence[JobStatusEvent]) -> list[JobRecord]:
    """The records with the steps that these events add."""
    steps: dict[str, list[HistoryEntry]] = {}
    uids: dict[str, str] = {}
    for event in events:
        job = event.job
        if uids.setdefault(job.id, job.uid) != job.uid:
            steps.pop(job.id, None)  # another job by the same id: its history is its own
            uids[job.id] = job.uid
        steps.setdefault(job.id, []).append(
            HistoryEntry(event.seq, event.at, job.state, job.attempt, job.confidence)
        )
    complete = []
    for job_id, record in records.items():
        new = steps.get(job_id)
        if new is not None:
            history = (*record.history, *new)[-HISTORY_LENGTH:]
            record = attrs.evolve(record, last_seq=new[-1].seq, history=history)
        complete.append(record)
    return complete
