"""
Questions to accounting about how the attempt before ended of jobs that have been put back into the queue: a scheduler's list
mostly shows only that they wait again.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence

from twisted.internet.defer import CancelledError, Deferred, TimeoutError, maybeDeferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from jobpush.adapter.interfaces import IBatchQueueService, IPastAttemptsQueue, QueueError
from jobpush.core.frozen import evolve
from jobpush.core.job_table import ClusterJobs
from jobpush.core.model import JobDescriptor, PastAttempt
from jobpush.core.record import Changes, JobRecord, Record, row_of, sighting
from jobpush.events.interfaces import JournalError
from jobpush.events.publisher import Publisher

#: Seconds from one question to the next: after a job has been put back, and at most, as the pause grows.
SOON_S = 5.0
EVERY_S = 60.0

#: Jobs that one question names, and seconds since a job changed after which it is not asked about any more.
MOST_AT_ONCE = 500
LONGEST_S = 600.0


class PastAttempts:
    """
    The questions to one cluster's accounting. One runs at a time.

    :param accounting: returns whether there is accounting that can be asked.
    """

    log = Logger()

    def __init__(
        self,
        reactor: IReactorTime,
        wall: Callable[[], float],
        queue: IBatchQueueService,
        publisher: Publisher,
        accounting: Callable[[], bool],
    ) -> None:
        self._reactor = reactor
        self._wall = wall
        self._queue = queue
        self._publisher = publisher
        self._accounting = accounting
        self._due = 0.0
        self._pause = SOON_S
        self._latest: str | None = None
        self._asking: Deferred[None] | None = None

    def ask(self) -> None:
        """Ask about those that were put back and of which it is not known, if it is time to. What is told is published."""
        if self._asking is not None or not IPastAttemptsQueue.providedBy(self._queue) or not self._accounting():
            return
        known, now = self._publisher.table.cluster(self._queue.cluster), self._reactor.seconds()
        latest = next(reversed(known.put_back), None)
        if latest != self._latest:
            # One that was put back just now has no record yet.
            self._latest, self._pause, self._due = latest, SOON_S, now + 1.0
        if now < self._due:
            return
        records = (known.records[job_id] for job_id in known.put_back)
        at = self._wall()
        jobs = [record.job for record in records if at - record.updated_at <= LONGEST_S]
        self._due, self._pause = now + self._pause, min(EVERY_S, 2 * self._pause)
        if not jobs:
            return
        self._asking = Deferred.fromCoroutine(self._ask(jobs[-MOST_AT_ONCE:]))
        self._asking.addErrback(self._failed).addBoth(self._answered)

    def give_up(self) -> None:
        """End what runs."""
        if self._asking is not None:
            self._asking.cancel()

    async def _ask(self, jobs: Sequence[JobDescriptor]) -> None:
        queue = self._queue
        assert IPastAttemptsQueue.providedBy(queue)
        asked: Deferred[Mapping[str, PastAttempt]] = maybeDeferred(queue.past_attempts, jobs)
        found = await asked.addTimeout(2 * queue.timeout + 5.0, self._reactor)
        if found:
            await self._publisher.apply(queue.cluster, lambda known: told(known, found))

    def _failed(self, failure: Failure) -> None:
        if failure.check(CancelledError):
            return  # given up
        if failure.check(QueueError, JournalError, TimeoutError):
            self.log.warn("{cluster}: accounting: {error}", cluster=self._queue.cluster, error=str(failure.value))
        else:
            self.log.failure("accounting of {cluster} could not be asked", failure, cluster=self._queue.cluster)

    def _answered(self, _: None) -> None:
        self._asking = None


def told(known: ClusterJobs, found: Mapping[str, PastAttempt]) -> Generator[None, None, Changes[JobRecord]]:
    """
    Return the records that change: of jobs whose attempt is the one after that which is told. It is no event.

    :param found: how the attempts before ended, by job.
    """
    changes = Changes[JobRecord]()
    for count, (job_id, past) in enumerate(found.items()):
        if count % 256 == 255:
            yield
        record = known.get(job_id)
        if record is None or record.subject.attempt != past.attempt + 1:
            continue
        before = record.subject.previous_attempt
        merged = past if before is None else before.or_else(past)
        if merged != before:
            job, seen = evolve(record.subject, previous_attempt=merged), record.detail
            seen = sighting(job, row_of(record), seen.absent_since, seen.unsettled_since, seen.range_row)
            changes.records[job_id] = Record(job, seen, record.updated_at, record.last_seq, record.steps)
    return changes
