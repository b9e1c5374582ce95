"""
The routes on what happens: the change feed, and server-sent events.
"""

from __future__ import annotations

from typing import Any

from twisted.web.server import NOT_DONE_YET

from jobpush import wire
from jobpush.feed import Page
from jobpush.web import health
from jobpush.web.params import DEFAULT_WAIT_S, Params, jittered, resolve
from jobpush.web.problems import Problem
from jobpush.web.routes import SELECTION, Routes, app
from jobpush.web.streams import Streams

_CHANGES = SELECTION | {"since", "wait", "limit"}


class ChangeRoutes(Routes):
    """``/v1/changes`` and ``/v1/events``."""

    streams: Streams

    @app.route("/v1/changes", methods=["GET"])
    async def changes(self, request: Any) -> bytes:
        """Every matching event after a cursor, now or when it comes."""
        return await self._changes(request, Params.of_query(self.service, request, _CHANGES))

    @app.route("/v1/changes", methods=["POST"])
    async def changes_posted(self, request: Any) -> bytes:
        """The same, with the parameters in a body."""
        return await self._changes(request, Params.of_body(self.service, request, _CHANGES))

    async def _changes(self, request: Any, params: Params) -> bytes:
        selection, limit = params.selection(), params.limit()
        wait = params.wait(DEFAULT_WAIT_S)
        since = params.since()
        if since is None:
            page = Page((), self.service.feed.head)
        else:
            page = await self._next(selection, since, jittered(wait or 0.0), limit, None)
        cursor = self.service.feed.cursor(page.seq)
        fields: dict[str, object] = {
            "cursor": cursor,
            "more": page.more,
            "timed_out": page.timed_out,
            "clusters": health.clusters(self.service, selection.clusters),
        }
        if params.text("since") == "0":
            fields["oldest_cursor"] = self.service.feed.cursor(since)
        return self._answer(request, wire.envelope(fields, page.events), cursor, page.closing)

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
            try:
                since = resolve(self.service, text, "Last-Event-ID")
            except Problem as problem:
                if problem.status != 410:
                    raise
                since = None
        if request.method == b"HEAD":
            self.streams.headers(request)
            return b""
        with self.holds.holding():
            self.service.awaited(selection.clusters)
            await self.streams.run(request, selection, since)
        return NOT_DONE_YET
