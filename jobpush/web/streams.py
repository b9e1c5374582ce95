"""
Server-sent events: a follower that is told in ``text/event-stream``.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from jobpush import wire
from jobpush.selection import Selection
from jobpush.service import JobPush
from jobpush.web.following import Follower
from jobpush.workflow import Event


def stream_headers(request: Any, cursor: str) -> None:
    """What says that this is a stream, to clients and to proxies."""
    request.setHeader(b"content-type", b"text/event-stream; charset=utf-8")
    request.setHeader(b"cache-control", b"no-cache, no-transform")
    request.setHeader(b"x-accel-buffering", b"no")
    request.setHeader(b"jobpush-cursor", cursor.encode())


class Stream(Follower):
    """One open stream."""

    def __init__(self, service: JobPush, request: Any, selection: Selection) -> None:
        super().__init__(service, selection)
        self._request = request

    async def run(self, since: int | None) -> None:
        self._request.registerProducer(self, True)
        self._request.notifyFinish().addBoth(lambda _: self.end())
        self.write([f"retry: {random.randint(1000, 3000)}\n\n".encode()])
        await super().run(since)

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
        if not request.finished and not request._disconnected:
            request.unregisterProducer()
            request.finish()
