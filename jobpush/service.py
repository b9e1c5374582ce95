"""
The service without its wire: queues watched, changes journaled, waiters woken. What `jobpush.web` is mounted on.

`JobPush` can live in any Twisted application: give it queues, start it, and mount `jobpush.web.resource(service)`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from twisted.application.service import MultiService
from twisted.internet.defer import Deferred, gatherResults, maybeDeferred
from twisted.internet.task import deferLater
from twisted.logger import Logger

from jobpush.adapter.interfaces import IBatchQueueService, IWatchfulQueue
from jobpush.core.job_table import JobTable
from jobpush.core.model import QueueFacts
from jobpush.core.workflow import NO_CLUSTER
from jobpush.core.workflows import Workflows
from jobpush.events.instruments import Instruments
from jobpush.events.interfaces import IJobStatusListener, IJournal
from jobpush.events.listeners import ListenerService
from jobpush.events.publisher import Publisher
from jobpush.events.reader import Feed
from jobpush.events.recent_events import Tail
from jobpush.events.tracker import JobStatusTracker
from jobpush.events.workflow_expiry import WorkflowExpiry
from jobpush.polling.monitor import JobStatusMonitor
from jobpush.polling.nudges import Nudge, Nudges
from jobpush.polling.queue_options import QueueOptions
from jobpush.runtime.heartbeat import Heartbeat

#: Seconds that answers get to leave at the end.
DRAIN_S = 5.0


class JobPush(MultiService):
    """
    :param journal: not yet open; it is opened by ``startService``, which raises `JournalError` where that fails.
    :param keep_ended: seconds for which jobs that ended stay in the served table.
    :param options: of the queues, by the name of the cluster.
    :param keep_workflows: seconds for which workflows that ended are known.
    :ivar monitors: by the name of the cluster.
    :ivar measures: what is counted and timed while it runs.
    :ivar nudges: takes what says "look now".
    :ivar in_flight: how many requests are being answered; the web counts, the end waits for it.
    """

    log = Logger()

    def __init__(
        self,
        reactor: Any,
        queues: Sequence[IBatchQueueService],
        journal: IJournal,
        listeners: Sequence[IJobStatusListener] = (),
        keep_ended: float = 86400.0,
        options: Mapping[str, QueueOptions] | None = None,
        keep_workflows: float = 7 * 86400.0,
    ) -> None:
        super().__init__()
        self.reactor = reactor
        self.journal = journal
        self.options = options or {}
        self.table = JobTable()
        self.tail = Tail()
        tags = {queue.cluster: self._options_of(queue).tag for queue in queues}
        self.workflows = Workflows({cluster: tag for cluster, tag in tags.items() if tag is not None})
        self.measures = Instruments()
        self._heartbeat = Heartbeat(reactor, self.measures.stall_s)
        self.tracker = JobStatusTracker(reactor, lambda: self.tail.head, self.workflows.names_of, self.measures)
        self.publisher = Publisher(reactor, journal, self.table, self.tail, self.tracker, self.workflows, self.measures)
        self.feed = Feed(reactor, journal, self.tail, self.tracker)
        self.monitors = {
            queue.cluster: JobStatusMonitor(
                reactor,
                queue,
                self.publisher,
                interested=lambda: self.in_flight > 0,
                keep_ended=keep_ended,
                checked=self._checked,
                pace=self._options_of(queue).pace,
                measures=self.measures,
            )
            for queue in queues
        }
        self.nudges = Nudges(reactor, self.monitors)
        self._watches: list[Callable[[], Deferred[None] | None]] = []
        #: Called each time that a queue has said what its account may see.
        self.on_check: Callable[[], None] = lambda: None
        self.in_flight = 0
        self.closing = False
        WorkflowExpiry(reactor, self.publisher, keep_workflows).setServiceParent(self)
        for listener in listeners:
            ListenerService(reactor, listener, self.feed, journal).setServiceParent(self)

    def _options_of(self, queue: IBatchQueueService) -> QueueOptions:
        return self.options.get(queue.cluster, QueueOptions())

    def _checked(self, facts: QueueFacts) -> None:
        self.on_check()

    def startService(self) -> None:
        known = dict(self.journal.open())
        self.workflows.load(known.pop(NO_CLUSTER, {}).values())
        self.table.load(known)
        for cluster in set(self.table.clusters) - set(self.monitors):
            kept = len(self.table.cluster(cluster))
            self.log.info("{n} known jobs of {cluster}, which is no queue now, are kept", cluster=cluster, n=kept)
        self.tail.head = self.journal.last_seq
        super().startService()
        self._heartbeat.start()
        for monitor in self.monitors.values():
            monitor.start()
            if IWatchfulQueue.providedBy(monitor.queue):
                self._watches.append(monitor.queue.watch(self._watched(monitor.queue.cluster)))

    def _watched(self, cluster: str) -> Callable[[Sequence[str]], None]:
        """What an adapter calls when its scheduler's log, or a probe, says that something has changed."""
        return lambda jobs: self.nudges.take("adapter", Nudge(cluster, tuple(jobs), early=False))

    def stopService(self) -> Deferred[Any]:
        return Deferred.fromCoroutine(self._stop())

    def awaited(self, clusters: frozenset[str] = frozenset()) -> None:
        """Somebody begins to wait for jobs of these clusters; of all, if none is named."""
        for name, monitor in self.monitors.items():
            if not clusters or name in clusters:
                monitor.awaited()

    def announce_end(self) -> None:
        """Answer everybody who waits; from now on nobody is held."""
        self.closing = True
        self.tracker.close()
        for monitor in self.monitors.values():
            monitor.give_up()

    async def _stop(self) -> None:
        """Answer everybody, let the answers leave, end the queries, close the journal."""
        self.announce_end()
        self._heartbeat.stop()
        await gatherResults([maybeDeferred(end) for end in self._watches])
        until = self.reactor.seconds() + DRAIN_S
        while self.in_flight and self.reactor.seconds() < until:
            await deferLater(self.reactor, 0.02)
        await gatherResults([monitor.stop() for monitor in self.monitors.values()])
        await super().stopService()
        await self.journal.close()
