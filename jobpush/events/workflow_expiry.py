"""
What time does to workflows: one that was found is complete when no job has joined it for a while; one that ended is dropped
when the journal's retention is over; one that has no job which is known and has not ended, a day later, if nobody waits for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from jobpush.core.model import JobDescriptor
from jobpush.events.interfaces import JournalError
from jobpush.events.publisher import ChangeWorkflows, Publisher
from jobpush.runtime.clocks import ClockSteps
from jobpush.runtime.repeated import Repeated

#: Seconds between two looks at the clock.
EVERY_S = 5.0


class WorkflowExpiry(Service):
    """
    :param keep: seconds for which a workflow that has ended is kept.
    :param steps: says by how much the wall clock was set.
    """

    log = Logger()

    def __init__(
        self, reactor: IReactorTime, publisher: Publisher, keep: float, wall: Callable[[], float], steps: ClockSteps
    ) -> None:
        self._wall = wall
        self._steps = steps
        self._followed = steps.total()
        self._publisher = publisher
        self._keep = keep
        self._adopted = False
        self._loop = Repeated(reactor, self._look)
        self._working: Deferred[None] | None = None

    def startService(self) -> None:
        super().startService()
        self._loop.start(EVERY_S, now=True)

    def stopService(self) -> Deferred[None] | None:
        super().stopService()
        if self._loop.running:
            self._loop.stop()
        return self._working

    def _look(self) -> Deferred[None]:
        self._working = Deferred.fromCoroutine(self._keep_in_order())
        self._working.addErrback(self._failed)
        return self._working

    def _failed(self, failure: Failure) -> None:
        if failure.check(JournalError):
            self.log.warn("workflows: {error}", error=str(failure.value))
        else:
            self.log.failure("workflows could not be kept in order", failure)

    async def _keep_in_order(self) -> None:
        workflows, total = self._publisher.workflows, self._steps.total()
        if total != self._followed:
            workflows.clock_was_set(total - self._followed)
            self._followed = total
        now = self._wall()
        workflows.not_ahead(now)
        if not self._adopted:
            await self._apply(lambda w: w.adopt(self._jobs(), now))
            self._adopted = True
        if workflows.settle(now):
            await self._apply(lambda w: w.settle(now))
        waits = self._publisher.tracker.waits_for_workflow
        if workflows.expired(now, self._keep, waits):
            await self._apply(lambda w: w.delete(w.expired(now, self._keep, waits), now))

    async def _apply(self, change: ChangeWorkflows) -> None:
        await self._publisher.apply_to_workflows(change)

    def _jobs(self) -> Iterator[JobDescriptor]:
        """The known jobs whose tags count: an array's tasks have those of the array."""
        for name in self._publisher.workflows.tagging:
            for record in list(self._publisher.table.cluster(name).records.values()):
                if record.subject.parent is None:
                    yield record.subject
