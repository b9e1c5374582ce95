"""
Server-sent events: one subscription for each open stream, replay first, a bounded buffer, signs of life.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IPushProducer
from twisted.internet.task import LoopingCall
from zope.interface import implementer

from jobpush import wire
from jobpush.interfaces import CursorGone
from jobpush.selection import Selection
from jobpush.service import JobPush
from jobpush.tracker import Subscription
from jobpush.workflow import Event

#: Seconds between two signs of life, and between two bookmarks.
HEARTBEAT_S = 15.0
BOOKMARK_S = 60.0

#: Events that concern others, after which a stream's place is moved by a bookmark.
BOOKMARK_EVENTS = 1000

#: Bytes that may wait for a client that does not read.
BUFFER_LIMIT = 1024 * 1024

#: How many events are read at once when a stream catches up.
REPLAY = 500


class Streams:
    """All open streams of a service."""

    def __init__(self, service: JobPush) -> None:
        self._service = service
        self._streams: dict[Stream, None] = {}
        self._beat = LoopingCall(self._alive)
        self._beat.clock = service.reactor

    def headers(self, request: Any) -> None:
        """What says that this is a stream, to clients and to proxies."""
        request.setHeader(b"content-type", b"text/event-stream; charset=utf-8")
        request.setHeader(b"cache-control", b"no-cache, no-transform")
        request.setHeader(b"x-accel-buffering", b"no")
        request.setHeader(b"jobpush-cursor", self._service.feed.cursor().encode())

    async def run(self, request: Any, selection: Selection, since: int | None) -> None:
        """
        Stream until the client leaves or the service ends.

        :param since: None if the client's cursor is lost.
        """
        stream = Stream(self._service, request, selection)
        self._streams[stream] = None
        if not self._beat.running:
            self._beat.start(1.0, now=False)
        self.headers(request)
        try:
            await stream.run(since)
        finally:
            stream.close()
            del self._streams[stream]
            if not self._streams and self._beat.running:
                self._beat.stop()

    def _alive(self) -> None:
        now = self._service.reactor.seconds()
        for stream in list(self._streams):
            if now >= stream.beat_at or stream.behind() >= BOOKMARK_EVENTS or self._service.closing:
                self._service.tracker.later(stream.beat)


@implementer(IPushProducer)
class Stream:
    """One open stream."""

    def __init__(self, service: JobPush, request: Any, selection: Selection) -> None:
        self._service = service
        self._request = request
        self._selection = selection
        self._subscription: Subscription | None = None
        self._ended: Deferred[None] = Deferred()
        self._paused = False
        self._buffer: list[bytes] = []
        self._buffered = 0
        self._resumed: Deferred[None] | None = None
        self._live = False
        self.sent_seq = 0
        now = service.reactor.seconds()
        self.beat_at = now + HEARTBEAT_S * random.uniform(0.5, 1.0)
        self._bookmark_at = now + BOOKMARK_S * random.uniform(0.5, 1.0)

    async def run(self, since: int | None) -> None:
        self._request.registerProducer(self, True)
        self._request.notifyFinish().addBoth(lambda _: self._end())
        self._write(f"retry: {random.randint(1000, 3000)}\n\n".encode())
        if since is None:
            since = self._reset()
        await self._replay(since)
        await self._ended

    async def _replay(self, since: int) -> None:
        """What the client has missed, then the subscription, in the turn in which nothing is missing any more."""
        feed = self._service.feed
        while not self._ended.called:
            try:
                page = await feed.next(self._selection, since, 0, REPLAY)
            except CursorGone:
                since = self._reset()
                continue
            if self._ended.called:
                return
            self.sent_seq = since = page.seq
            for event in page.events:
                self._write(wire.sse_event(feed.epoch, event))
            if not page.more and page.seq >= feed.head:
                self._subscription = self._service.tracker.subscribe(self._selection, page.seq, self._deliver)
                self._live = True
                return
            if self._paused:
                self._resumed = Deferred()
                await self._resumed

    def _reset(self) -> int:
        """The client's cursor is lost: say so in the stream (EventSource cannot read a 410), and go on from the head."""
        head = self._service.feed.head
        cursor = self._service.feed.cursor(head)
        self._write(wire.sse("reset", wire.dumps({"cursor": cursor, "snapshot_url": "/v1/jobs"}), cursor))
        return head

    def _deliver(self, events: Sequence[Event], head: int) -> None:
        epoch = self._service.feed.epoch
        self._write(b"".join(wire.sse_event(epoch, event) for event in events))
        self.sent_seq = head

    def behind(self) -> int:
        """How many events that are none of its own have passed since its last id."""
        if not self._live or self._subscription is None or self._subscription.waiting:
            return 0
        return self._service.feed.head - self.sent_seq

    def beat(self) -> None:
        """A sign of life; now and then one that moves the client's place."""
        if self._ended.called:
            return
        now = self._service.reactor.seconds()
        self.beat_at = now + HEARTBEAT_S
        moved = self.behind()
        if moved >= BOOKMARK_EVENTS or (moved > 0 and now >= self._bookmark_at) or now >= self._bookmark_at:
            self._bookmark_at = now + BOOKMARK_S
            if self._live and self._subscription is not None and not self._subscription.waiting:
                self.sent_seq = self._service.feed.head
            cursor = self._service.feed.cursor(self.sent_seq)
            self._write(wire.sse("bookmark", wire.dumps({"cursor": cursor}), cursor))
        else:
            self._write(b": alive\n\n")
        if self._service.closing:
            self._end()

    def close(self) -> None:
        """Leave nothing behind; end the answer if the client is still there."""
        if self._subscription is not None:
            self._subscription.cancel()
        self._live = False
        request = self._request
        if not request.finished and not request._disconnected:
            request.unregisterProducer()
            request.finish()

    def _end(self) -> None:
        if not self._ended.called:
            self._ended.callback(None)
        self.resumeProducing()

    def _write(self, data: bytes) -> None:
        if self._ended.called:
            return
        if not self._paused:
            self._request.write(data)
            return
        self._buffer.append(data)
        self._buffered += len(data)
        if self._buffered > BUFFER_LIMIT:
            # The client does not read. Its Last-Event-ID brings back what is dropped here.
            self._buffer.clear()
            self._request.channel.forceAbortClient()

    # -- IPushProducer

    def pauseProducing(self) -> None:
        self._paused = True

    def resumeProducing(self) -> None:
        self._paused = False
        data, self._buffer, self._buffered = b"".join(self._buffer), [], 0
        if data and not self._ended.called:
            self._request.write(data)
        resumed, self._resumed = self._resumed, None
        if resumed is not None:
            resumed.callback(None)

    def stopProducing(self) -> None:
        self._end()
