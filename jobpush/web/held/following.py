"""
Streams that keep their HTTP channels: a client catches up with what it has missed, then it is told with all that follow the
same.

Every stream begins like this. One of server-sent events goes on without its channel where that can be done.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Generic, TypeVar

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IPushProducer
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from jobpush.core.filters import EVERYTHING, Selection, Visibility
from jobpush.events.interfaces import CursorGone, JournalError
from jobpush.events.reader import READING_S, Feed
from jobpush.web.held.registry import Registry
from jobpush.web.held.stream_group import Form, tell
from jobpush.web.principal import Principal

#: Events that are read at once when a client catches up.
REPLAY = 500

Chunk = TypeVar("Chunk")


@implementer(IPushProducer)
class Follower(ABC, Generic[Chunk]):
    """
    One stream with its channel. How it is written to, the subclasses know.

    :param form: how it is told.
    :param size: bytes that what it follows takes up: ids and values of filters.
    :ivar due: when whoever follows is nobody any more.
    """

    log = Logger()

    kind = "stream"

    def __init__(self, feed: Feed, registry: Registry, principal: Principal, form: Form[Chunk], size: int = 0) -> None:
        self.principal = principal
        self.size = size
        self.form = form
        self.due: float | None = None
        self._feed = feed
        self._registry = registry
        self._ended: Deferred[None] = Deferred()
        self._paused = False
        self._kept = bytearray()
        self._resumed: Deferred[None] | None = None
        #: Which of the client's selections is followed: a newer one ends the catching up for an older one.
        self._selection_number = 0
        self._selection = EVERYTHING
        #: The number up to which the client has been told everything, while it catches up.
        self._caught_up = feed.head

    # -- what subclasses know

    @abstractmethod
    def send(self, chunk: Chunk) -> None:
        """Write to the connection."""

    @abstractmethod
    def pack(self, chunk: Chunk) -> bytes:
        """Return it as bytes, to be kept while the client does not read."""

    @abstractmethod
    def unpack(self, kept: bytes) -> Chunk:
        """The inverse, for all that was kept."""

    @abstractmethod
    def alive(self) -> None:
        """Send a sign of life."""

    @abstractmethod
    def drop(self) -> None:
        """Drop the connection, whatever waits to be sent."""

    @abstractmethod
    def hang_up(self) -> None:
        """End in order, if the client is still there."""

    def go_on(self, selection: Selection, since: int) -> None:
        """The client has caught up: tell it what happens from now on."""
        self._registry.follow(self, selection, since)

    # -- following

    async def run(self, selection: Selection, since: int | None) -> None:
        """
        Follow until the client leaves or the service ends. The stream is held from now on.

        :param since: the number after which events are told; None if the client's cursor is lost.
        :raise Problem: 503, if no more requests may be held.
        """
        self._registry.stream(self)
        try:
            await self.follow(selection, since)
            if self._registry.closing:
                self.finish()
            await self._ended
        finally:
            self._registry.leave(self)
            self.hang_up()

    async def follow(self, selection: Selection, since: int | None) -> None:
        """From now on follow this: what the client has missed after that number, then what comes."""
        if not self.open:
            return
        self._selection = selection
        self._selection_number += 1
        number = self._selection_number
        self._wake()
        self._registry.stream(self)
        since = self._reset() if since is None else since
        while self.open and number == self._selection_number:
            self._caught_up = since
            try:
                page = await self._feed.next(selection, since, 0, REPLAY, ends=self._registry.seconds() + READING_S)
            except CursorGone:
                since = self._reset()
                continue
            except JournalError as error:
                # What comes next cannot be read: the client goes on from its cursor, once that can be.
                self.log.warn("a stream is ended: {error}", error=str(error))
                self.finish()
                return
            if not self.open or number != self._selection_number:
                return
            since = self._caught_up = page.seq
            if page.events:
                tell(self, self.form.events(page.events))
            if not page.more and page.seq >= self._feed.head:
                # In the turn in which nothing is missing any more.
                self.go_on(selection, since)
                return
            if self._paused:
                self._resumed = Deferred()
                await self._resumed

    def judged(self, visibility: Visibility) -> None:
        """While it catches up, it turns out that its client may see this."""
        if self.open and visibility != self._selection.visibility:
            following = Deferred.fromCoroutine(self.follow(attrs.evolve(self._selection, visibility=visibility), None))
            following.addErrback(self._failed)

    def _failed(self, failure: Failure) -> None:
        self.log.failure("a stream could not go on", failure)
        self.finish()

    @property
    def open(self) -> bool:
        """Whether the client is there, as far as is known, and the service goes on."""
        return not self._ended.called

    @property
    def told_up_to(self) -> int:
        """The number up to which the client has been told everything that it follows."""
        return max(self._caught_up, self._registry.told_up_to(self))

    def _reset(self) -> int:
        """The client's cursor is lost: say so in the stream, and go on from the head."""
        head = self._feed.head
        tell(self, self.form.reset(head))
        return head

    # -- StreamMember

    @property
    def unread(self) -> int:
        """Bytes that wait for the client here; its transport has more."""
        return len(self._kept)

    def write(self, chunk: Chunk) -> None:
        """Send it; or keep it, while the client does not read."""
        if not self.open:
            return
        if self._paused:
            self._kept += self.pack(chunk)
        else:
            self.send(chunk)

    def abort(self) -> None:
        """Drop the connection: the client does not read. Its cursor brings back what it has missed."""
        self._kept.clear()
        self.drop()

    def refused(self) -> None:
        """See `jobpush.web.held.stream_group.StreamMember`."""
        self._reset()
        self.finish()

    def finish(self) -> None:
        """It is over."""
        if self.open:
            self._ended.callback(None)
        self.resumeProducing()

    def expired(self) -> None:
        """See `jobpush.runtime.timer_wheel.Timed`. Who follows is nobody any more: that is the only deadline of a stream."""
        self.refused()

    # -- IPushProducer

    def pauseProducing(self) -> None:
        self._paused = True

    def resumeProducing(self) -> None:
        self._paused = False
        kept, self._kept = bytes(self._kept), bytearray()
        if kept and self.open:
            self.send(self.unpack(kept))
        self._wake()

    def _wake(self) -> None:
        """Let what waits for the client to read go on; where there is a newer selection by now, it ends."""
        resumed, self._resumed = self._resumed, None
        if resumed is not None:
            resumed.callback(None)

    def stopProducing(self) -> None:
        self.finish()

