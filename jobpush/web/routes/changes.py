"""
The routes on what happens: the change feed, server-sent events, and the WebSocket.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.web.server import NOT_DONE_YET

from jobpush.core import wire
from jobpush.events.reader import Page
from jobpush.web import health
from jobpush.web.held.bays import Ask
from jobpush.web.held.following import Followers
from jobpush.web.held.parked_streams import Garage
from jobpush.web.held.sockets import SocketFollower, SocketProtocol, check_upgrade, socket_resource
from jobpush.web.held.streams import Stream, stream_headers
from jobpush.web.params import DEFAULT_WAIT_S, Params, jittered, resolve
from jobpush.web.problems import Problem
from jobpush.web.routes.common import SELECTION, Routes, app

_CHANGES = SELECTION | {"since", "wait", "limit"}


class ChangeRoutes(Routes):
    """``/v1/changes``, ``/v1/events`` and ``/v1/socket``."""

    followers: Followers
    garage: Garage

    @app.route("/v1/changes", methods=["GET"])
    async def changes(self, request: Any) -> Any:
        """Every matching event after a cursor, now or when it comes."""
        return await self._changes(request, Params.of_query(self.service, request, _CHANGES))

    @app.route("/v1/changes", methods=["POST"])
    async def changes_posted(self, request: Any) -> Any:
        """The same, with the parameters in a body."""
        return await self._changes(request, Params.of_body(self.service, request, _CHANGES))

    async def _changes(self, request: Any, params: Params) -> Any:
        selection, limit = params.selection(), params.limit()
        wait = params.wait(DEFAULT_WAIT_S)
        since = params.since()
        zero = params.text("since") == "0"

        def answer(request: Any, page: Page) -> bytes:
            cursor = self.service.feed.cursor(page.seq)
            fields: dict[str, object] = {
                "cursor": cursor,
                "more": page.more,
                "timed_out": page.timed_out,
                "clusters": health.clusters(self.service, selection.clusters),
            }
            if zero and since is not None:
                fields["oldest_cursor"] = self.service.feed.cursor(since)
            return self._answer(request, wire.envelope(fields, page.events), cursor, page.closing)

        if since is None:
            return answer(request, Page((), self.service.feed.head))
        ask = Ask(("changes", selection, limit, since if zero else None), selection, limit, None, answer, wait)
        return await self._answer_when(request, ask, since, jittered(wait or 0.0))

    # -- streams

    @app.route("/v1/events", methods=["GET"])
    async def events(self, request: Any) -> Any:
        """Server-sent events."""
        params = Params.of_query(self.service, request, SELECTION | {"since", "last_event_id"})
        selection = params.selection()
        header = request.getHeader(b"last-event-id")
        text = header.decode("latin-1") if header else params.text("last_event_id") or params.text("since")
        since: int | None = self.service.feed.head
        if text is not None:
            since = self._resolve_in_band(text, "Last-Event-ID")
        stream_headers(request, self.service.feed.cursor())
        if request.method == b"HEAD":
            return b""
        stream = Stream(self.service, request, selection, self.garage)
        self.holds.begin("stream")
        try:
            self.service.awaited(selection.clusters)
            await self.followers.run(stream, since)
        finally:
            if not stream.parked:
                self.holds.end(kind="stream")
        return NOT_DONE_YET

    @app.route("/v1/socket", methods=["GET"])
    def socket(self, request: Any) -> Any:
        """A WebSocket."""
        params = Params.of_query(self.service, request, SELECTION | {"since"})
        selection = params.selection()
        text = params.text("since")
        since: int | None = self.service.feed.head
        if text is not None:
            since = self._resolve_in_band(text, "since")
        check_upgrade(request)

        async def follow(protocol: SocketProtocol) -> None:
            with self.holds.holding("socket"):
                self.service.awaited(selection.clusters)
                await self.followers.run(SocketFollower(self.service, protocol, selection), since)

        self.holds.check()
        return socket_resource(SocketProtocol(request, lambda protocol: Deferred.fromCoroutine(follow(protocol))))

    def _resolve_in_band(self, text: str, name: str) -> int | None:
        """The number of a cursor; None if it is lost, which is said in the stream."""
        try:
            return resolve(self.service, text, name)
        except Problem as problem:
            if problem.status != 410:
                raise
            return None
