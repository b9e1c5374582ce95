"""
The service without its wire: queues watched, changes journaled, waiters woken. What `jobpush.web` is mounted on.

`JobPush` can live in any Twisted application: give it queues, start it, and mount `jobpush.web.resource(service)`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol

from twisted.application.service import MultiService
from twisted.internet.defer import Deferred, gatherResults, maybeDeferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger

from jobpush.adapter.interfaces import IBatchQueueService, IWatchfulQueue
from jobpush.core.job_table import JobTable
from jobpush.core.model import JobDescriptor, JobKey, QueueFacts
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
from jobpush.polling.queue_options import PollingOptions
from jobpush.runtime.clocks import Clocks, ClockSteps
from jobpush.runtime.cooperate import Cooperator
from jobpush.runtime.heartbeat import Heartbeat

#: Seconds that answers get to leave at the end.
DRAIN_S = 5.0


class Clients(Protocol):
    """What holds and answers the requests of clients."""

    @property
    def busy(self) -> bool:
        """Whether a request is being answered or held."""

    def close(self) -> None:
        """Answer every held request, and hold none from now on."""


class JobPush(MultiService):
    """
    :param journal: not yet open; it is opened by ``startService``, which raises `JournalError` where that fails.
    :param keep_ended: seconds for which jobs that ended stay in the served table.
    :param options: of the queues, by the name of the cluster.
    :param keep_workflows: seconds for which workflows that ended are known.
    :param reactor: its time is for intervals and deadlines only: it may be that of the wall clock, or another.
    :param clocks: for dates, and for the ages of answers; a test has its own.
    :ivar monitors: by the name of the cluster.
    :ivar instruments: what is counted and timed while it runs.
    :ivar nudges: takes what says "look now".
    :ivar cooperator: in whose turns long work is done.
    """

    log = Logger()

    def __init__(
        self,
        reactor: IReactorTime,
        queues: Sequence[IBatchQueueService],
        journal: IJournal,
        listeners: Sequence[IJobStatusListener] = (),
        keep_ended: float = 86400.0,
        options: Mapping[str, PollingOptions] | None = None,
        keep_workflows: float = 7 * 86400.0,
        clocks: Clocks = Clocks(),  # noqa: B008
    ) -> None:
        super().__init__()
        self.reactor = reactor
        self.clocks = clocks
        self.journal = journal
        self.options = options or {}
        self.table = JobTable()
        self.tail = Tail()
        tags = {queue.cluster: self._options_of(queue).tag for queue in queues}
        self.workflows = Workflows({cluster: tag for cluster, tag in tags.items() if tag is not None}, self._now_is)
        self.instruments = Instruments()
        self.cooperator = Cooperator(reactor)
        self._heartbeat = Heartbeat(reactor, self.instruments.stall_s)
        self.tracker = JobStatusTracker(
            reactor, self.cooperator, lambda: self.tail.head, self.workflows.names_of, self.instruments
        )
        self.publisher = Publisher(
            reactor,
            clocks.wall,
            self.cooperator,
            journal,
            self.table,
            self.tail,
            self.tracker,
            self.workflows,
            self.instruments,
        )
        self.feed = Feed(reactor, self.cooperator, journal, self.tail, self.tracker, self.workflows.keys_of)
        steps = ClockSteps(clocks)
        self.monitors = {
            queue.cluster: JobStatusMonitor(
                reactor,
                queue,
                self.publisher,
                clocks,
                steps,
                interested=lambda: self.busy,
                keep_ended=keep_ended,
                checked=self._checked,
                schedule=self._options_of(queue).schedule,
                instruments=self.instruments,
            )
            for queue in queues
        }
        self.nudges = Nudges(reactor, self.monitors)
        self._watches: list[Callable[[], Deferred[None] | None]] = []
        #: Called each time that a queue has said what its account may see.
        self.on_check: list[Callable[[], None]] = []
        self._clients: list[Clients] = []
        self.closing = False
        WorkflowExpiry(reactor, self.publisher, keep_workflows, clocks.wall, steps).setServiceParent(self)
        for listener in listeners:
            ListenerService(reactor, listener, self.feed, journal).setServiceParent(self)

    def _options_of(self, queue: IBatchQueueService) -> PollingOptions:
        return self.options.get(queue.cluster, PollingOptions())

    def _now_is(self, key: JobKey) -> JobDescriptor | None:
        record = self.table.follow(key)
        return record.subject if record is not None else None

    def _checked(self, facts: QueueFacts) -> None:
        for call in self.on_check:
            call()

    def startService(self) -> None:
        known = dict(self.journal.open())
        self.workflows.load(known.pop(NO_CLUSTER, {}).values())
        self.table.load(known)
        for cluster in set(self.table.clusters) - set(self.monitors):
            kept = len(self.table.cluster(cluster))
            self.log.info("{n} known jobs of {cluster}, which is no queue now, are kept", cluster=cluster, n=kept)
        self.tail.fill(self.journal.newest, self.journal.last_seq)
        super().startService()
        self._heartbeat.start()
        for monitor in self.monitors.values():
            monitor.start()
            if IWatchfulQueue.providedBy(monitor.queue):
                self._watches.append(monitor.queue.watch(self._watched(monitor.queue.cluster)))

    def _watched(self, cluster: str) -> Callable[[Sequence[str]], None]:
        """What an adapter calls when its scheduler's log, or a probe, says that something has changed."""
        return lambda jobs: self.nudges.take("adapter", Nudge(cluster, tuple(jobs), early=False))

    def stopService(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self._stop())

    def serve(self, clients: Clients) -> None:
        """Take note of what serves clients: their interest decides how often schedulers are asked; the end waits for them."""
        self._clients.append(clients)

    @property
    def busy(self) -> bool:
        """Whether a request is being answered or held."""
        return any(clients.busy for clients in self._clients)

    def moment(self) -> tuple[int, int]:
        """The published head, and how many jobs were dropped from the table, which is no event: as long as both stay, nothing
        that is served has changed."""
        return self.tracker.head, self.table.forgotten

    def fresh(
        self, clusters: Iterable[str], jobs: Iterable[JobKey] = (), client: str | None = None
    ) -> Deferred[None]:
        """
        Fire when a look at each of these clusters that begins after this call has been published; never, while one of them
        cannot be asked. Cancelling is allowed.

        :param jobs: those that are looked for. Accounting is asked about those that the looks have not shown.
        :param client: the name of who asks.
        """
        wanted = tuple(jobs)
        waits = [
            self.monitors[cluster].fresh((job_id for name, job_id in wanted if name == cluster), client) for cluster in clusters
        ]
        gathered = gatherResults(waits, consumeErrors=True)
        if wanted:
            gathered.addCallback(lambda _: self.look_up(wanted))
        whole: Deferred[None] = Deferred(lambda _: gathered.cancel())
        gathered.addCallbacks(lambda _: whole.callback(None), lambda _: None)
        return whole

    def look_up(self, jobs: Iterable[JobKey]) -> Deferred[list[None]]:
        """
        Ask accounting about those of these jobs that are not known.

        :return: fires when it has answered, or cannot be asked; what it knows is published then. Cancelling is allowed.
        """
        unknown = [key for key in jobs if self.table.find(*key, self.monitors[key[0]].queue.task_of) is None]
        return gatherResults([self.monitors[cluster].lookups.find(job_id) for cluster, job_id in unknown], consumeErrors=True)

    def awaited(self, clusters: frozenset[str] = frozenset()) -> None:
        """Somebody begins to wait for jobs of these clusters; of all, if none is named."""
        for name, monitor in self.monitors.items():
            if not clusters or name in clusters:
                monitor.awaited()

    def announce_end(self) -> None:
        """Answer everybody who waits; from now on nobody is held."""
        self.closing = True
        for clients in self._clients:
            clients.close()
        self.tracker.close()
        for monitor in self.monitors.values():
            monitor.give_up()

    async def _stop(self) -> None:
        """Answer everybody, let the answers leave, end the queries, close the journal."""
        self.announce_end()
        self._heartbeat.stop()
        await gatherResults([maybeDeferred(end) for end in self._watches])
        until = self.reactor.seconds() + DRAIN_S
        while self.busy and self.reactor.seconds() < until:
            await deferLater(self.reactor, 0.02)
        await gatherResults([monitor.stop() for monitor in self.monitors.values()])
        await super().stopService()
        await self.journal.close()
