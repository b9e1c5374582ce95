"""
Following events on an open connection: replay first, then a subscription, a bounded buffer, signs of life. What server-sent
events and WebSockets have in common.
"""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IPushProducer
from twisted.internet.task import LoopingCall
from zope.interface import implementer

from jobpush.core import wire
from jobpush.core.filters import Selection
from jobpush.core.record import Event
from jobpush.events.interfaces import CursorGone
from jobpush.events.tracker import Subscription
from jobpush.service import JobPush

#: Seconds between two signs of life, and between two bookmarks.
HEARTBEAT_S = 15.0
BOOKMARK_S = 60.0

#: Events that concern others, after which a follower's place is moved by a bookmark.
BOOKMARK_EVENTS = 1000

#: Bytes that may wait for a client that does not read.
BUFFER_LIMIT = 1024 * 1024

#: How many events are read at once when a follower catches up.
REPLAY = 500


class Followers:
    """All that follow a service's events; their signs of life."""

    def __init__(self, service: JobPush) -> None:
        self._service = service
        self._followers: dict[Follower, None] = {}
        self._beat = LoopingCall(self._alive)
        self._beat.clock = service.reactor

    async def run(self, follower: Follower, since: int | None) -> None:
        """
        Follow until the client leaves or the service ends.

        :param since: None if the client's cursor is lost.
        """
        self._followers[follower] = None
        if not self._beat.running:
            self._beat.start(1.0, now=False)
        try:
            await follower.run(since)
        finally:
            follower.close()
            del self._followers[follower]
            if not self._followers and self._beat.running:
                self._beat.stop()

    def _alive(self) -> None:
        now = self._service.reactor.seconds()
        for follower in list(self._followers):
            if now >= follower.beat_at or follower.behind() >= BOOKMARK_EVENTS or self._service.closing:
                self._service.tracker.later(follower.beat)


@implementer(IPushProducer)
class Follower(ABC):
    """One client that follows. How it is told, the subclasses know."""

    def __init__(self, service: JobPush, selection: Selection) -> None:
        self.service = service
        self._selection = selection
        self._subscription: Subscription | None = None
        self._ended: Deferred[None] = Deferred()
        self._paused = False
        self._buffer: list[bytes] = []
        self._buffered = 0
        self._resumed: Deferred[None] | None = None
        self._turn = 0
        self.sent_seq = service.feed.head
        now = service.reactor.seconds()
        self.beat_at = now + HEARTBEAT_S * random.uniform(0.5, 1.0)
        self._bookmark_at = now + BOOKMARK_S * random.uniform(0.5, 1.0)

    # -- what subclasses say, and how they say it

    @abstractmethod
    def event(self, event: Event) -> bytes:
        """An event, for this client."""

    @abstractmethod
    def bookmark(self, cursor: str) -> bytes:
        """Nothing that it follows has happened up to this cursor."""

    @abstractmethod
    def reset(self, fields: dict[str, object], cursor: str) -> bytes:
        """Its cursor is lost; it goes on from this one."""

    @abstractmethod
    def sign_of_life(self) -> None:
        """The connection is open still."""

    @abstractmethod
    def send(self, messages: Sequence[bytes]) -> None:
        """Write these to the connection."""

    @abstractmethod
    def abort(self) -> None:
        """Drop the connection: the client does not read."""

    @abstractmethod
    def hang_up(self) -> None:
        """End in order, if the client is still there."""

    # -- following

    async def run(self, since: int | None) -> None:
        """Until the client leaves, or ``end``."""
        await self.follow(self._selection, since)
        await self._ended

    async def follow(self, selection: Selection, since: int | None) -> None:
        """From now on follow this, from there on: what the client has missed, then what comes."""
        self._turn += 1
        self._selection = selection
        if self._subscription is not None:
            self._subscription.cancel()
            self._subscription = None
        await self._replay(self._turn, self._reset() if since is None else since)

    async def _replay(self, turn: int, since: int) -> None:
        """What the client has missed, then the subscription, in the turn in which nothing is missing any more."""
        feed = self.service.feed
        while not self._ended.called and turn == self._turn:
            try:
                page = await feed.next(self._selection, since, 0, REPLAY)
            except CursorGone:
                since = self._reset()
                continue
            if self._ended.called or turn != self._turn:
                return
            self.sent_seq = since = page.seq
            self.write([self.event(event) for event in page.events])
            if not page.more and page.seq >= feed.head:
                self._subscription = self.service.tracker.subscribe(self._selection, page.seq, self._deliver)
                return
            if self._paused:
                self._resumed = Deferred()
                await self._resumed

    def _reset(self) -> int:
        """The client's cursor is lost: say so in the stream, and go on from the head."""
        head = self.service.feed.head
        cursor = self.service.feed.cursor(head)
        self.write([self.reset({"cursor": cursor, "snapshot_url": "/v1/jobs"}, cursor)])
        return head

    def _deliver(self, events: Sequence[Event], head: int) -> None:
        self.write([self.event(event) for event in events])
        self.sent_seq = head
        self.service.tracker.woke("stream")

    def behind(self) -> int:
        """How many events that are none of its own have passed since its last place."""
        if self._subscription is None or self._subscription.waiting:
            return 0
        return self.service.feed.head - self.sent_seq

    def beat(self) -> None:
        """A sign of life; now and then one that moves the client's place."""
        if self._ended.called:
            return
        now = self.service.reactor.seconds()
        self.beat_at = now + HEARTBEAT_S
        if self.behind() >= BOOKMARK_EVENTS or now >= self._bookmark_at:
            self._bookmark_at = now + BOOKMARK_S
            if self._subscription is not None and not self._subscription.waiting:
                self.sent_seq = self.service.feed.head
            self.write([self.bookmark(self.service.feed.cursor(self.sent_seq))])
        else:
            self.sign_of_life()
        if self.service.closing:
            self.end()

    def close(self) -> None:
        """Leave nothing behind."""
        if self._subscription is not None:
            self._subscription.cancel()
            self._subscription = None
        self.hang_up()

    def end(self) -> None:
        """It is over."""
        if not self._ended.called:
            self._ended.callback(None)
        self.resumeProducing()

    def write(self, messages: Sequence[bytes]) -> None:
        """Send these; or keep them, while the client does not read."""
        if self._ended.called or not messages:
            return
        if not self._paused:
            self.send(messages)
            return
        self._buffer.extend(messages)
        self._buffered += sum(map(len, messages))
        if self._buffered > BUFFER_LIMIT:
            # The client does not read. Its cursor brings back what is dropped here.
            self._buffer.clear()
            self.abort()

    # -- IPushProducer

    def pauseProducing(self) -> None:
        self._paused = True

    def resumeProducing(self) -> None:
        self._paused = False
        messages, self._buffer, self._buffered = self._buffer, [], 0
        if messages and not self._ended.called:
            self.send(messages)
        resumed, self._resumed = self._resumed, None
        if resumed is not None:
            resumed.callback(None)

    def stopProducing(self) -> None:
        self.end()


def message(kind: str, **fields: Any) -> bytes:
    """A JSON object of that type, for what is no event of the journal."""
    return wire.dumps({"type": kind, **fields})
