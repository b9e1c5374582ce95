"""
The routes on streams: server-sent events and the WebSocket.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from twisted.internet.defer import Deferred
from twisted.web.server import NOT_DONE_YET

from jobpush.core.filters import Selection, Visibility
from jobpush.service import JobPush
from jobpush.web.held.connections import Connections
from jobpush.web.held.registry import Registry
from jobpush.web.held.sse import ChunkedServerSentEvents, ServerSentEvents, Stream, stream_headers
from jobpush.web.held.websocket import Messages, SocketFollower, SocketProtocol, check_upgrade, socket_resource
from jobpush.web.params import Params, decoded, resolve, values_of, with_kept_names
from jobpush.web.principal import Principal
from jobpush.web.problems import Problem
from jobpush.web.requests import ClientRequest
from jobpush.web.routes.common import SELECTION

_EVENTS = SELECTION | {"since", "last_event_id", "ticket"}
_SOCKET = SELECTION | {"since", "ticket"}


class StreamRoutes:
    """
    ``/v1/events`` and ``/v1/socket``.

    :param visibility: returns whose jobs a principal may see; raises `Problem` where it gets no answer.
    """

    def __init__(
        self,
        service: JobPush,
        registry: Registry,
        connections: Connections,
        visibility: Callable[[Principal], Visibility],
    ) -> None:
        self._service = service
        self._visibility = visibility
        self._registry = registry
        self._connections = connections
        self._events_form = ServerSentEvents(service.feed)
        self._chunks_form = ChunkedServerSentEvents(service.feed)
        self._messages_form = Messages(service.feed)

    async def events(self, request: ClientRequest) -> object:
        """Server-sent events."""
        params = Params(self._service, self._parameters(request), _EVENTS, request.visibility)
        selection = _opened(request, params)
        size = 0 if self._registry.follows(selection) else params.size
        header = request.getHeader(b"last-event-id")
        text = header.decode("latin-1") if header else params.text("last_event_id") or params.text("since")
        since: int | None = self._service.feed.head
        if text is not None:
            since = self._resolve_in_band(text, "Last-Event-ID")
        if request.method != b"HEAD":
            self._registry.check(request.principal, size)
        stream_headers(request, self._service.feed.cursor())
        if request.method == b"HEAD":
            return b""
        stream = Stream(
            self._service.feed, self._registry, request.principal, self._events_form, request, self._connections,
            self._chunks_form, size,
        )  # fmt: skip
        await stream.run(selection, since)
        return NOT_DONE_YET

    def socket(self, request: ClientRequest) -> object:
        """A WebSocket."""
        params = Params(self._service, self._parameters(request), _SOCKET, request.visibility)
        selection = _opened(request, params)
        ticket = request.ticket
        text = params.text("since")
        since: int | None = self._service.feed.head
        if text is not None:
            since = self._resolve_in_band(text, "since")
        check_upgrade(request)
        size = 0 if self._registry.follows(selection) else params.size
        self._registry.check(request.principal, size)
        principal = request.principal

        def read(fields: dict[str, Any]) -> tuple[Selection, int | None, int]:
            values = with_kept_names(values_of(fields["select"]), principal.name)
            chosen_by = Params(self._service, values, SELECTION, self._visibility(principal))
            chosen = chosen_by.selection()
            if ticket is not None and not ticket.opens(chosen):
                raise Problem(403, "this socket was opened with a ticket for other filters", "select")
            size = 0 if self._registry.follows(chosen) else chosen_by.size
            since = fields.get("since")
            return chosen, resolve(self._service, since, "since") if since is not None else None, size

        def opened(protocol: SocketProtocol) -> Deferred[None]:
            feed, form = self._service.feed, self._messages_form
            follower = SocketFollower(feed, self._registry, principal, form, protocol, read, size)
            return Deferred.fromCoroutine(follower.run(selection, since))

        return socket_resource(SocketProtocol(request, opened))

    @staticmethod
    def _parameters(request: ClientRequest) -> Mapping[str, list[object]]:
        return with_kept_names(decoded(request.args), request.principal.name)

    def _resolve_in_band(self, text: str, name: str) -> int | None:
        """The number of a cursor; None if it is lost, which is said in the stream."""
        try:
            return resolve(self._service, text, name)
        except Problem as problem:
            if problem.status != 410:
                raise
            return None


def _opened(request: ClientRequest, params: Params) -> Selection:
    """Return what a stream follows, which its ticket must allow, if it was opened with one."""
    selection = params.selection()
    if request.ticket is not None and not request.ticket.opens(selection):
        raise Problem(403, "this ticket is for other filters than the stream", "ticket", close=True)
    return selection
