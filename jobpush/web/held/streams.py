"""
Server-sent events: a follower that is told in ``text/event-stream``.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from jobpush.core import wire
from jobpush.core.filters import Selection
from jobpush.core.record import Event
from jobpush.service import JobPush
from jobpush.web.held.following import Follower
from jobpush.web.held.parked_streams import Garage


def stream_headers(request: Any, cursor: str) -> None:
    """What says that this is a stream, to clients and to proxies."""
    request.setHeader(b"content-type", b"text/event-stream; charset=utf-8")
    request.setHeader(b"cache-control", b"no-cache, no-transform")
    request.setHeader(b"x-accel-buffering", b"no")
    request.setHeader(b"jobpush-cursor", cursor.encode())


class Stream(Follower):
    """
    One open stream.

    :ivar parked: was its connection parked? Then this is over, and the stream goes on there.
    """

    def __init__(self, service: JobPush, request: Any, selection: Selection, garage: Garage) -> None:
        super().__init__(service, selection)
        self._request = request
        self._garage = garage
        self.parked = False

    async def run(self, since: int | None) -> None:
        self._request.registerProducer(self, True)
        self._request.notifyFinish().addBoth(lambda _: self.end())
        self.write([f"retry: {random.randint(1000, 3000)}\n\n".encode()])
        await super().run(since)

    async def follow(self, selection: Selection, since: int | None) -> None:
        await super().follow(selection, since)
        # In the turn in which nothing is missing any more.
        if self._subscription is not None and not self._ended.called and self._garage.lot.takes(self._request, begun=True):
            self._subscription.cancel()
            self._subscription = None
            self._request.unregisterProducer()
            self.parked = True
            self._garage.park(self._request, selection, self.sent_seq)

    def event(self, event: Event) -> bytes:
        return wire.sse_event(self.service.feed.epoch, event)

    def bookmark(self, cursor: str) -> bytes:
        return wire.sse("bookmark", wire.dumps({"cursor": cursor}), cursor)

    def reset(self, fields: dict[str, object], cursor: str) -> bytes:
        # In the stream: EventSource cannot read a 410.
        return wire.sse("reset", wire.dumps(fields), cursor)

    def sign_of_life(self) -> None:
        self.write([b": alive\n\n"])

    def send(self, messages: Sequence[bytes]) -> None:
        self._request.write(b"".join(messages))

    def abort(self) -> None:
        self._request.channel.forceAbortClient()

    def hang_up(self) -> None:
        request = self._request
        if not self.parked and not request.finished and not request._disconnected:
            request.unregisterProducer()
            request.finish()
