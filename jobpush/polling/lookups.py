"""
Questions to accounting about jobs that no look has shown: those that came and went while jobpush was down, or did not see; and
about arrays of which parts may have done so.

Many questions are one, one runs at a time, and an id that accounting does not know is not asked about again for a moment.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import attrs
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from jobpush.adapter.interfaces import IBatchQueueService, IRecordedJobsQueue, QueueError
from jobpush.adapter.load import DUTY
from jobpush.core.absence import NOTHING_ASKED, DiffPolicy
from jobpush.core.diff import diff
from jobpush.core.job_table import ClusterJobs
from jobpush.core.model import JobDescriptor, Snapshot
from jobpush.events.interfaces import JournalError
from jobpush.events.publisher import Publisher

#: Ids that one question may name, seconds from the begin of one to that of the next, and ids that may wait for one. Questions
#: take a twentieth of the time, as queries do; but none waits longer than that for one that took long.
MOST_AT_ONCE = 500
PAUSE_S = 1.0
LONGEST_PAUSE_S = 30.0
MOST_WAITING = 10_000

#: Seconds for which an id is taken to be unknown that accounting did not know, and of how many that is remembered.
UNKNOWN_S = 10.0
MOST_UNKNOWN = 10_000


class Lookups:
    """
    The questions to one cluster's accounting.

    :param policy: what the comparison needs to know of the cluster.
    :param proves_parts: returns whether the records of an array's tasks prove that there were no others.
    """

    log = Logger()

    def __init__(
        self,
        reactor: IReactorTime,
        wall: Callable[[], float],
        queue: IBatchQueueService,
        publisher: Publisher,
        policy: Callable[[], DiffPolicy],
        proves_parts: Callable[[], bool],
    ) -> None:
        self._proves_parts = proves_parts
        self._reactor = reactor
        self._wall = wall
        self._queue = queue
        self._publisher = publisher
        self._policy = policy
        self._waiting: dict[str, list[Deferred[None]]] = {}
        #: When it was asked about jobs that it does not know, and about those that are asked for once in that time alone.
        self._unknown: dict[str, float] = {}
        self._asked_once: set[str] = set()
        self._running = False
        self._call: IDelayedCall | None = None
        self._began_at = 0.0
        self._due = 0.0

    def find(self, job_id: str, known_too: bool = False) -> Deferred[None]:
        """
        Ask accounting about a job that is in no table, or about all parts of an array of which not all are known.

        :param job_id: canonical.
        :param known_too: also about one that is in the table: who asks may not find out by the time that it takes.
        :return: fires when it has answered, or cannot be asked; then what it knows of the job has been published. Cancelling
            is allowed.
        """
        waiting: Deferred[None] = Deferred(lambda cancelled: self._left(job_id, cancelled))
        now = self._reactor.seconds()
        asked_at = self._unknown.get(job_id)
        jobs = self._publisher.table.cluster(self._queue.cluster)
        known = not known_too and jobs.get(job_id) is not None and job_id not in jobs.parts_unknown
        recently = asked_at is not None and now - asked_at < UNKNOWN_S
        if known or recently or len(self._waiting) >= MOST_WAITING or not self._has_records:
            waiting.callback(None)
            return waiting
        self._waiting.setdefault(job_id, []).append(waiting)
        if known_too:
            self._asked_once.add(job_id)
        self._ask_soon()
        return waiting

    def find_parts(self) -> None:
        """Ask about each array whose end is unknown because not all of its parts are known."""
        for array in self._publisher.table.cluster(self._queue.cluster).parts_unknown:
            self.find(array)

    @property
    def _has_records(self) -> bool:
        return self._policy().accounting and IRecordedJobsQueue.providedBy(self._queue)

    def give_up(self) -> None:
        """Cancel all that wait."""
        for waiting in [each for those in self._waiting.values() for each in those]:
            waiting.cancel()
        if self._call is not None and self._call.active():
            self._call.cancel()
            self._running = False

    def _left(self, job_id: str, waiting: Deferred[None]) -> None:
        those = self._waiting.get(job_id)
        if those is not None and waiting in those:
            those.remove(waiting)
            if not those:
                del self._waiting[job_id]
                self._asked_once.discard(job_id)

    def _ask_soon(self) -> None:
        if self._running or not self._waiting:
            return
        self._running = True
        self._call = self._reactor.callLater(max(0.0, self._due - self._reactor.seconds()), self._ask)

    def _ask(self) -> None:
        ids = list(self._waiting)[:MOST_AT_ONCE]
        if not ids:  # all have left
            self._running = False
            return
        self._began_at = self._reactor.seconds()
        asking: Deferred[None] = Deferred.fromCoroutine(self._look_up(ids))
        asking.addErrback(self._failed).addBoth(lambda _: self._answered(ids))

    async def _look_up(self, ids: list[str]) -> None:
        queue = self._queue
        assert IRecordedJobsQueue.providedBy(queue)
        asked: Deferred[Mapping[str, JobDescriptor]] = maybeDeferred(queue.recorded, ids)
        limit = 2 * queue.timeout + 5.0
        found = await asked.addTimeout(limit, self._reactor)
        asked_at, now = self._reactor.seconds(), self._wall()
        jobs = self._publisher.table.cluster(queue.cluster)
        recorded = _recorded(ids, found, jobs)
        for job_id in ids:
            if job_id in self._asked_once or (job_id not in found and job_id not in recorded):
                if len(self._unknown) >= MOST_UNKNOWN:
                    self._unknown.clear()
                self._unknown[job_id] = asked_at
        new = {job_id: job for job_id, job in found.items() if jobs.get(job_id) is None}
        if new or recorded:
            jobs.applied = None
            # A part that is no array's task is a job of its own, which accounting knows from its submission on.
            of_tasks = {job.parent for job in found.values() if job.task_index is not None}
            whole = recorded if self._proves_parts() else recorded.difference(job_id for job_id in of_tasks if job_id)
            snapshot = Snapshot(new, now, now, partial=True, whole=whole, recorded=recorded)
            policy = attrs.evolve(self._policy(), all_since=math.inf)  # one part that was asked for says nothing of the others
            await self._publisher.apply(queue.cluster, lambda known: diff(known, snapshot, NOTHING_ASKED, policy, now))

    def _failed(self, failure: Failure) -> None:
        if failure.check(QueueError, JournalError):
            self.log.warn("{cluster}: accounting: {error}", cluster=self._queue.cluster, error=str(failure.value))
        else:
            self.log.failure("accounting of {cluster} could not be asked", failure, cluster=self._queue.cluster)

    def _answered(self, ids: list[str]) -> None:
        self._running = False
        took = self._reactor.seconds() - self._began_at
        self._due = self._began_at + max(PAUSE_S, min(took / DUTY, LONGEST_PAUSE_S))
        self._asked_once.difference_update(ids)
        for job_id in ids:
            for waiting in self._waiting.pop(job_id, ()):
                waiting.callback(None)
        self._ask_soon()


def _recorded(ids: Sequence[str], found: Mapping[str, JobDescriptor], jobs: ClusterJobs) -> frozenset[str]:
    """
    Return those of these ids that are of arrays of which accounting has told all that it knows: where the records are there of
    the parts that are known to have ended, it has caught up with the others, which ended before.
    """
    arrays = {job.parent for job in found.values() if job.parent is not None}.intersection(ids)

    def has_its_record(part: JobDescriptor) -> bool:
        return not part.done or part.is_guess or part.id in found

    return frozenset(
        array for array in arrays if all(has_its_record(jobs.records[part].subject) for part in jobs.parts(array))
    )
