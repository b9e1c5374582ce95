"""
Server-sent events: a stream that is told in ``text/event-stream`` (HTML, "Server-sent events").
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from twisted.python.failure import Failure

from jobpush.core import wire
from jobpush.core.filters import Selection
from jobpush.core.record import Event
from jobpush.events.reader import Feed
from jobpush.web.held.connection import chunked, come_back_line
from jobpush.web.held.connections import Connections
from jobpush.web.held.following import Follower
from jobpush.web.held.registry import Registry
from jobpush.web.principal import Principal
from jobpush.web.requests import ClientRequest


def stream_headers(request: ClientRequest, cursor: str) -> None:
    """Set the headers that say to clients and to proxies that this is a stream."""
    request.setHeader(b"content-type", b"text/event-stream; charset=utf-8")
    request.setHeader(b"cache-control", b"no-cache, no-transform")
    request.setHeader(b"x-accel-buffering", b"no")
    request.setHeader(b"jobpush-cursor", cursor.encode())


class ServerSentEvents:
    """How streams of server-sent events are told: a `jobpush.web.held.stream_group.Form`."""

    def __init__(self, feed: Feed) -> None:
        self._feed = feed

    def events(self, events: Sequence[Event]) -> bytes:
        """See `Form`."""
        return b"".join(wire.sse_event(self._feed.epochs, event) for event in events)

    def bookmark(self, seq: int) -> bytes:
        """See `Form`."""
        cursor = self._feed.cursor(seq)
        return wire.sse("bookmark", wire.dumps({"cursor": cursor}), cursor)

    def reset(self, seq: int) -> bytes:
        """See `Form`. It is said in the stream, as EventSource cannot read a 410."""
        cursor = self._feed.cursor(seq)
        return wire.sse("reset", wire.dumps({"cursor": cursor, "snapshot_url": "/v1/jobs"}), cursor)


class ChunkedServerSentEvents(ServerSentEvents):
    """The same on a connection without a channel, in the chunks that the channel would make of it."""

    def events(self, events: Sequence[Event]) -> bytes:
        return chunked(super().events(events))

    def bookmark(self, seq: int) -> bytes:
        return chunked(super().bookmark(seq))

    def reset(self, seq: int) -> bytes:
        return chunked(super().reset(seq))


class Stream(Follower[bytes]):
    """
    An open stream with its request.

    :param connections: takes its connection from its channel, when it has caught up and where that can be done.
    :param chunks: how it is told from then on.
    :ivar taken: its connection was taken: this is over, and the stream goes on there.
    """

    def __init__(
        self,
        feed: Feed,
        registry: Registry,
        principal: Principal,
        form: ServerSentEvents,
        request: ClientRequest,
        connections: Connections,
        chunks: ChunkedServerSentEvents,
        size: int = 0,
    ) -> None:
        super().__init__(feed, registry, principal, form, size)
        self._request = request
        self._connections = connections
        self._chunks = chunks
        self.taken = False
        self._gone = False

    async def run(self, selection: Selection, since: int | None) -> None:
        self._request.registerProducer(self, True)
        self._request.notifyFinish().addCallbacks(lambda _: self.finish(), self._left)
        self.write(f"retry: {random.randint(1000, 3000)}\n\n".encode())
        await super().run(selection, since)

    def _left(self, failure: Failure) -> None:
        """The client is gone."""
        self._gone = True
        self.finish()

    def go_on(self, selection: Selection, since: int) -> None:
        if self.open and self._connections.can_take(self._request, begun=True):
            self._request.unregisterProducer()
            self.taken = True
            self._registry.leave(self)
            self._registry.follow(self._connections.take_stream(self._request, self._chunks, self.size), selection, since)
        else:
            super().go_on(selection, since)

    def send(self, chunk: bytes) -> None:
        self._request.write(chunk)

    def pack(self, chunk: bytes) -> bytes:
        return chunk

    def unpack(self, kept: bytes) -> bytes:
        return kept

    def alive(self) -> None:
        self.write(b": alive\n\n")

    def drop(self) -> None:
        self._request.channel.forceAbortClient()

    def hang_up(self) -> None:
        request = self._request
        if not self.taken and not request.finished and not self._gone:
            request.unregisterProducer()
            request.write(come_back_line())
            request.finish()
