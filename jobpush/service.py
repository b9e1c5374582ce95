"""
The service without its wire: queues watched, changes journaled, waiters woken. What `jobpush.web` is mounted on.

`JobPush` can live in any Twisted application: give it queues, start it, and mount `jobpush.web.resource(service)`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

from twisted.application.service import MultiService
from twisted.internet.defer import CancelledError, Deferred, gatherResults, maybeDeferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from jobpush.adapter.interfaces import IBatchQueueService, IWatchfulQueue
from jobpush.core.filters import ALL, Visibility
from jobpush.core.job_table import JobTable
from jobpush.core.model import JobDescriptor, JobKey, QueueFacts
from jobpush.core.workflow import NO_CLUSTER
from jobpush.core.workflow_quotas import Quotas
from jobpush.core.workflows import Tag, Workflows
from jobpush.events.instruments import Instruments
from jobpush.events.interfaces import IJobStatusListener, IJournal
from jobpush.events.journal_watch import JournalWatch
from jobpush.events.listeners import ListenerService
from jobpush.events.publisher import Publisher
from jobpush.events.reader import Feed
from jobpush.events.recent_events import Tail
from jobpush.events.tracker import JobStatusTracker
from jobpush.events.workflow_expiry import WorkflowExpiry
from jobpush.polling.hiding import Hiding
from jobpush.polling.monitor import JobStatusMonitor
from jobpush.polling.nudges import Nudge, Nudges
from jobpush.polling.queue_options import PollingOptions
from jobpush.polling.scheduler_names import SchedulerNames
from jobpush.runtime.clocks import Clocks, ClockSteps
from jobpush.runtime.cooperate import Cooperator
from jobpush.runtime.heartbeat import Heartbeat

#: Seconds that answers get to leave at the end; and seconds after that in which adapters end their watching.
DRAIN_S = 5.0
UNWATCHED_S = 0.5

#: Seconds in which an adapter ends its watching, whose queue was removed or changed. It is not waited for any longer.
REMOVED_S = 10.0


class Clients(Protocol):
    """What holds and answers the requests of clients."""

    @property
    def busy(self) -> bool:
        """Whether a request is being answered or held."""

    def close(self) -> None:
        """Answer every held request, and hold none from now on."""

    def removed(self, cluster: str) -> None:
        """Answer every held request that names this cluster, which is served no more."""


class JobPush(MultiService):
    """
    :param journal: not yet open; it is opened by ``startService``, which raises `JournalError` where that fails.
    :param keep_ended: seconds for which jobs that ended stay in the served table.
    :param options: of the queues, by the name of the cluster.
    :param keep_workflows: seconds for which workflows that ended are known.
    :param reactor: its time is for intervals and deadlines only: it may be that of the wall clock, or another.
    :param quotas: how much room there is for workflows.
    :param clocks: for dates, and for the ages of answers; a test has its own.
    :ivar monitors: by the name of the cluster.
    :ivar instruments: what is counted and timed while it runs.
    :ivar hiding: whether the schedulers hide users' jobs from each other, as far as that is known.
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
        quotas: Quotas = Quotas(),  # noqa: B008
    ) -> None:
        super().__init__()
        self.reactor = reactor
        self.clocks = clocks
        self.journal = journal
        self._options = dict(options or {})
        self._keep_ended = keep_ended
        self.table = JobTable()
        self.tail = Tail()
        #: Where the jobs of a cluster carry the names of their workflows.
        self._tags: dict[str, Tag] = {}
        self.workflows = Workflows(self._tags, self._now_is, quotas)
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
        self._steps = ClockSteps(clocks)
        self.monitors = {queue.cluster: self._monitor(queue) for queue in queues}
        #: The monitors of queues that were removed: what was asked of them before is answered after.
        self._removed: dict[str, JobStatusMonitor] = {}
        self._names = SchedulerNames(journal)
        self.hiding = Hiding(journal, lambda: {name: monitor.status.facts for name, monitor in self.monitors.items()})
        self.nudges = Nudges(reactor, self.monitors)
        #: What ends the watch of a queue that learns by itself when to look, by cluster.
        self._watches: dict[str, Callable[[], Deferred[None] | None]] = {}
        #: Called each time that a queue has said what its account may see.
        self.on_check: list[Callable[[], None]] = []
        self._clients: list[Clients] = []
        self.closing = False
        WorkflowExpiry(reactor, self.publisher, keep_workflows, clocks.wall, self._steps).setServiceParent(self)
        JournalWatch(reactor, journal, self._journal_well).setServiceParent(self)
        for listener in listeners:
            ListenerService(reactor, listener, self.feed, journal).setServiceParent(self)

    def _journal_well(self) -> None:
        for monitor in self.monitors.values():
            monitor.journal_well()

    def _monitor(self, queue: IBatchQueueService) -> JobStatusMonitor:
        """Return a monitor of a queue; where its jobs carry the names of their workflows is in force from now on."""
        options = self._options.get(queue.cluster, PollingOptions())
        self._tags.pop(queue.cluster, None)
        if options.tag is not None:
            self._tags[queue.cluster] = options.tag
        return JobStatusMonitor(
            self.reactor,
            queue,
            self.publisher,
            self.clocks,
            self._steps,
            interested=lambda: self.busy,
            keep_ended=self._keep_ended,
            checked=self._checked,
            schedule=options.schedule,
            instruments=self.instruments,
            is_ours=lambda facts: self._names.check(queue.cluster, facts.answers_as, options.scheduler_name),
        )

    def _now_is(self, key: JobKey) -> JobDescriptor | None:
        record = self.table.follow(key)
        return record.subject if record is not None else None

    def _checked(self, facts: QueueFacts) -> None:
        self.hiding.checked()
        for call in self.on_check:
            call()

    def startService(self) -> None:
        known = dict(self.journal.open())
        self.workflows.load(known.pop(NO_CLUSTER, {}).values())
        self.table.load(known)
        for cluster in set(self.table.clusters) - set(self.monitors):
            kept = len(self.table.cluster(cluster))
            self.log.info("{n} known jobs of {cluster}, which is no queue now, are kept", cluster=cluster, n=kept)
        self.hiding.checked()
        self.tail.fill(self.journal.newest, self.journal.last_seq)
        super().startService()
        self._heartbeat.start()
        for monitor in self.monitors.values():
            self._start(monitor)

    def _start(self, monitor: JobStatusMonitor) -> None:
        monitor.start()
        if IWatchfulQueue.providedBy(monitor.queue):
            self._watches[monitor.queue.cluster] = monitor.queue.watch(self._watched(monitor.queue.cluster))

    async def _end(self, monitor: JobStatusMonitor) -> None:
        """Ask a queue nothing any more; returns when nothing of it runs."""
        stopped = monitor.stop()
        end = self._watches.pop(monitor.queue.cluster, None)
        if end is not None:
            await maybeDeferred(end).addTimeout(REMOVED_S, self.reactor).addErrback(self._watched_still)
        await stopped

    # -- queues come and go

    def add_queue(self, queue: IBatchQueueService, options: PollingOptions = PollingOptions()) -> None:  # noqa: B008
        """Watch one more queue. What is known of its cluster's jobs from before is served again."""
        assert queue.cluster not in self.monitors
        self._options[queue.cluster] = options
        self._removed.pop(queue.cluster, None)
        monitor = self.monitors[queue.cluster] = self._monitor(queue)
        self.hiding.checked()
        self._start(monitor)

    async def replace_queue(self, queue: IBatchQueueService, options: PollingOptions = PollingOptions()) -> None:  # noqa: B008
        """
        Watch a queue in place of the one of that name. Its jobs stay, held requests stay held, and who waits for a look waits
        for one of the new queue. Returns when the old one has ended and the new one is watched.
        """
        old = self.monitors[queue.cluster]
        self._options[queue.cluster] = options
        monitor = self.monitors[queue.cluster] = self._monitor(queue)
        self.hiding.checked()
        await self._end(old)
        if not self.closing:
            self._start(monitor)

    async def remove_queue(self, cluster: str) -> None:
        """
        Watch a queue no more. Held requests that name its cluster are answered as if their time was up, streams that do are
        ended: whoever asks again is told that there is no such cluster. Its jobs are kept, and come back with it. Returns when
        nothing of the queue runs any more.
        """
        monitor = self._removed[cluster] = self.monitors.pop(cluster)
        self.hiding.checked()
        self._tags.pop(cluster, None)
        for clients in self._clients:
            clients.removed(cluster)
        await self._end(monitor)

    def monitor_of(self, cluster: str) -> JobStatusMonitor:
        """Return the monitor of a cluster that was served when it was asked for, whether or not it is still."""
        monitor = self.monitors.get(cluster)
        return monitor if monitor is not None else self._removed[cluster]

    def serves(self, clusters: Iterable[str]) -> bool:
        """Return whether each of these clusters is served."""
        return all(cluster in self.monitors for cluster in clusters)

    @property
    def stuck(self) -> str | None:
        """Why queues are not looked at any more, a sentence; None while they are, whether or not their schedulers answer."""
        return next((why for monitor in self.monitors.values() if (why := monitor.stuck) is not None), None)

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
        self, clusters: Iterable[str], jobs: Iterable[JobKey] = (), client: str | None = None, visibility: Visibility = ALL
    ) -> Deferred[None]:
        """
        Fire when a look at each of these clusters that begins after this call has been published; never, while one of them
        cannot be asked. Cancelling is allowed.

        :param jobs: those that are looked for. Accounting is asked about those that the looks have not shown.
        :param client: the name of who asks.
        :param visibility: whose jobs that one may see. For whom some are hidden, no look is for single jobs, since how long
            that takes tells whether there is such a job.
        """
        wanted = tuple(jobs)
        named = wanted if visibility.user is None else ()
        waits = [self._fresh(cluster, [job_id for name, job_id in named if name == cluster], client) for cluster in clusters]
        gathered = gatherResults(waits, consumeErrors=True)
        if wanted:
            gathered.addCallback(lambda _: self.look_up(wanted, visibility))
        whole: Deferred[None] = Deferred(lambda _: gathered.cancel())
        gathered.addCallbacks(lambda _: whole.callback(None), lambda _: None)
        return whole

    def _fresh(self, cluster: str, jobs: Sequence[str], client: str | None) -> Deferred[None]:
        """As `fresh`, of one cluster: of whatever queue that has by then."""
        monitor = self.monitors.get(cluster)
        if monitor is None:  # it has no queue any more: there is nothing to look at
            return succeed(None)

        def cancelled(failure: Failure) -> Any:
            failure.trap(CancelledError)
            if self.closing or self.monitors.get(cluster) is monitor:
                return failure
            return self._fresh(cluster, jobs, client)

        waiting: Deferred[None] = monitor.fresh(jobs, client).addErrback(cancelled)
        return waiting

    def look_up(self, jobs: Iterable[JobKey], visibility: Visibility = ALL) -> Deferred[list[None]]:
        """
        Ask accounting about those of these jobs that are not known, and about those that may not be shown as if they were not.

        :return: fires when it has answered, or cannot be asked; what it knows is published then. Cancelling is allowed.
        """
        served = [key for key in jobs if key[0] in self.monitors]
        found = {key: self.table.find(*key, self.monitors[key[0]].queue.task_of) for key in served}
        absent = [key for key, there in found.items() if there is None or not visibility.shows(there[0].user)]
        hidden = visibility.user is not None
        return gatherResults(
            [self.monitors[cluster].lookups.find(job_id, hidden) for cluster, job_id in absent], consumeErrors=True
        )

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

    def _watched_still(self, failure: Failure) -> None:
        self.log.warn("a queue is watched still; its end is not waited for: {why}", why=failure.getErrorMessage())

    async def _stop(self) -> None:
        """Answer everybody, let the answers leave, end the queries, close the journal."""
        self.announce_end()
        self._heartbeat.stop()
        watched = gatherResults([maybeDeferred(end) for end in self._watches.values()], consumeErrors=True)
        until = self.reactor.seconds() + DRAIN_S
        while self.busy and self.reactor.seconds() < until:
            await deferLater(self.reactor, 0.02)
        await gatherResults([monitor.stop() for monitor in self.monitors.values()])
        await watched.addTimeout(UNWATCHED_S, self.reactor).addErrback(self._watched_still)
        await super().stopService()
        await self.journal.close()
