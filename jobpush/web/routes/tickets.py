"""The route on tickets: who has said who he is gets one, with which a browser opens one stream."""

from __future__ import annotations

from jobpush.core import wire
from jobpush.service import JobPush
from jobpush.web.params import Params, body_of, decoded, with_kept_names
from jobpush.web.problems import Problem, who_are_you
from jobpush.web.requests import ClientRequest
from jobpush.web.responses import Response, json_response
from jobpush.web.routes.common import SELECTION
from jobpush.web.tickets import GOOD_S, MOST_BYTES, Tickets


class TicketRoutes:
    """``/v1/tickets``."""

    def __init__(self, service: JobPush, tickets: Tickets) -> None:
        self._service = service
        self._tickets = tickets

    def make(self, request: ClientRequest) -> Response:
        """A new ticket for whoever asks, for a stream with the filters of the body. It is in this response and nowhere else."""
        principal = request.principal
        if principal.is_anonymous:
            raise who_are_you("who asks for a ticket must say who he is, with a token (jobpush login)")
        has_body = request.content.read(1) != b""
        request.content.seek(0)
        values = with_kept_names(body_of(request) if has_body else decoded(request.args), principal.name)
        params = Params(self._service, values, SELECTION if has_body else frozenset(), request.visibility)
        if params.size > MOST_BYTES:
            raise Problem(400, f"the filters of a ticket may take up {MOST_BYTES} bytes, some forty values", "body")
        text = self._tickets.make(principal, params.selection())
        body = wire.dumps({"ticket": text, "user": principal.name, "expires_in_s": GOOD_S})
        response = json_response(body, self._service.feed.cursor(), status=201)
        response.headers = tuple(
            (name, b"no-store" if name == b"cache-control" else value) for name, value in response.headers
        )
        return response
