"""
Listeners inside the service: each is told every event of a job, in order, at its own speed, and goes on where it stopped.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import attrs
from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred, maybeDeferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.plugin import IPlugin, getPlugins
from twisted.python.failure import Failure
from zope.interface import implementer

from jobpush.adapter.command import printable
from jobpush.adapter.kinds import Text
from jobpush.adapter.options import DeclaredOptions, option, read_options
from jobpush.adapter.registry import distinct_plugins, pick_plugin
from jobpush.core.filters import EVERYTHING
from jobpush.core.record import JobStatusEvent
from jobpush.events.interfaces import CursorGone, IJobStatusListener, IJobStatusListenerFactory, IJournal, JournalError
from jobpush.events.reader import Feed

#: How many events are read at once, and after how many the place is written down.
BATCH = 200

#: Seconds to wait after a listener failed: at first, and at most.
FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 60.0

#: Seconds to wait after the journal could not be read.
UNREADABLE_PAUSE_S = 5.0

#: Where `LogListener` writes.
EVENTS = Logger(namespace="jobpush.events")


class ListenerService(Service):
    """
    Feeds one listener from the journal. Its place is kept there too, under the listener's name, after each batch that it has
    taken; what it had taken since then comes again after a crash.
    """

    log = Logger()

    def __init__(self, reactor: IReactorTime, listener: IJobStatusListener, feed: Feed, journal: IJournal) -> None:
        self.listener = listener
        self._reactor = reactor
        self._feed = feed
        self._journal = journal
        self._work: Deferred[None] | None = None

    def startService(self) -> None:
        super().startService()
        self._work = Deferred.fromCoroutine(self._run())
        self._work.addErrback(self._ended)

    def _ended(self, failure: Failure) -> None:
        if failure.check(CancelledError) is None:
            self.log.failure("listener {name} ended", failure, name=self.listener.name)

    def stopService(self) -> Deferred[None] | None:
        super().stopService()
        if self._work is not None:
            self._work.cancel()
        return self._work

    async def _run(self) -> None:
        seq = self._journal.cursors().get(self.listener.name, self._feed.head)
        if seq > self._feed.head:
            seq = self._feed.head  # of a journal that was begun anew
        while self.running:
            try:
                page = await self._feed.next(EVERYTHING, seq, wait=3600.0, limit=BATCH)
            except CursorGone as gone:
                self.log.warn(
                    "listener {name}: events {first} to {last} are no longer in the journal and are passed over",
                    name=self.listener.name,
                    first=seq + 1,
                    last=gone.oldest_seq,
                )
                seq = gone.oldest_seq
                continue
            except JournalError as error:
                self.log.warn("listener {name}: {error}", name=self.listener.name, error=str(error))
                await deferLater(self._reactor, UNREADABLE_PAUSE_S)
                continue
            for event in page.events:
                if event.kind == "job":
                    await self._tell(event)
                seq = event.seq
            if page.closing:
                return
            if page.events:
                try:
                    await self._journal.save_cursor(self.listener.name, seq)
                except JournalError as error:
                    self.log.warn("listener {name}: {error}", name=self.listener.name, error=str(error))

    async def _tell(self, event: JobStatusEvent) -> None:
        """Until it has taken the event."""
        pause = FIRST_PAUSE_S
        while True:
            try:
                await maybeDeferred(self.listener.job_changed, event)
                return
            except CancelledError:
                raise
            except Exception:
                self.log.failure(
                    "listener {name} failed at event {seq}; again in {pause:g} s",
                    name=self.listener.name,
                    seq=event.seq,
                    pause=pause,
                )
            await deferLater(self._reactor, pause)
            pause = min(LONGEST_PAUSE_S, 2 * pause)


@implementer(IJobStatusListener)
class LogListener:
    """One line in the service's log for each event."""

    def __init__(self, name: str) -> None:
        self.name = name

    def job_changed(self, event: JobStatusEvent) -> None:
        job = event.job
        EVENTS.info(
            "job {cluster}/{id} {previous} -> {state} user={user} name={name} exit_code={exit_code} signal={signal} "
            "confidence={confidence} cursor={cursor}",
            cluster=job.cluster,
            id=job.id,
            previous=event.previous or "-",
            state=job.state,
            user=printable(job.user or "-"),
            name=printable(job.name or "-", 80),
            exit_code="-" if job.exit_code is None else job.exit_code,
            signal="-" if job.signal is None else job.signal,
            confidence=job.confidence.value,
            cursor=event.seq,
        )


@attrs.frozen
class LogOptions:
    """The options of ``--listener log``."""

    name: str = option(Text("NAME"), "log", "the name under which its place in the journal is kept")


@implementer(IPlugin, IJobStatusListenerFactory)
class LogListenerFactory(DeclaredOptions):
    """``--listener log``."""

    listener_type = "log"
    listener_help = "a line in the service's log for each event"
    options_class = LogOptions

    def generate_listener(self, reactor: object, options: Mapping[str, object]) -> IJobStatusListener:
        return LogListener(read_options(LogOptions, options).name)


def distinct(listeners: Sequence[IJobStatusListener]) -> str | None:
    """A name that two listeners share, if there is one."""
    names = [listener.name for listener in listeners]
    return next((name for name in names if names.count(name) > 1), None)


def listener_factories() -> list[IJobStatusListenerFactory]:
    """All listener factories that are installed, by type."""
    return distinct_plugins(getPlugins(IJobStatusListenerFactory), "listener_type")


def make_listener_from_table(reactor: object, kind: str, options: Mapping[str, object]) -> IJobStatusListener:
    """The listener of that type with these options; like `make_queue_from_table`."""
    factory = pick_plugin(kind, listener_factories(), "listener_type", "listener")
    listener: IJobStatusListener = factory.generate_listener(reactor, options)
    return listener
