"""
The express lane: the next request on a parked connection, if it is like the one before.

A client that waits for jobs sends the same headers again and again; what changes is the address. To read them takes Twisted,
Klein and Werkzeug a quarter of a millisecond, several times as long as to find the answer or to hold the request. So what
follows the request line is kept as the bytes that it is (a `Letterhead`), once for all connections with the same, and when the
next request ends with these very bytes, there is nothing new in it but the address. It goes to the same route as any other, as
an `ExpressRequest`, which is all that a route needs of a request; and what the route has to say goes to the connection as
Twisted would write it. tests/web/held/test_parking.py holds both ways against each other, byte by byte.

Whatever is out of the ordinary (other headers, a body, a percent sign in the path, an answer that needs the disk) goes the
long way: nothing has happened to the request yet.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Coroutine, Mapping
from typing import TYPE_CHECKING, Any

import attrs
from twisted.python.failure import Failure
from twisted.web.http import _escape, parse_qs
from twisted.web.server import NOT_DONE_YET

from jobpush.web.held.sheets import MOST_KEPT, Answer, Letterhead
from jobpush.web.params import decoded
from jobpush.web.problems import Problem

if TYPE_CHECKING:
    from jobpush.web.held.bays import Parked
    from jobpush.web.held.parking import Like

#: Headers that no route looks at, and that change nothing in how a request is read; also those that begin like this.
PLAIN = frozenset(
    {b"host", b"user-agent", b"referer", b"origin", b"cache-control", b"pragma", b"dnt", b"forwarded", b"via", b"priority"}
)
PLAIN_BEGINS = (b"accept", b"sec-", b"x-forwarded-")

#: Longer ones are not kept, in bytes.
LONGEST = 2000


class ExpressRequest(Answer):
    """What a route needs of a request: its address, and where its answer's head is put."""

    __slots__ = ("came_at", "parked", "plan", "uri")

    method = b"GET"

    def __init__(self, parked: Parked, uri: bytes, plan: Plan, came_at: float) -> None:
        super().__init__()
        self.parked = parked
        self.came_at = came_at
        self.uri = uri
        self.plan = plan

    @property
    def query(self) -> dict[str, list[Any]]:
        """The query string's names and values."""
        return self.plan.query

    def getHeader(self, name: bytes) -> None:
        """None that a route looks at: `PLAIN`."""


#: Paths of which a router would make nothing else, and queries that can stand in a request line.
_PLAIN_PATH = re.compile(rb"[A-Za-z0-9/._\-\[\]]+")
_VISIBLE = re.compile(rb"[!-~]*")

#: A route as the express lane calls it.
Handler = Callable[..., Coroutine[Any, Any, Any]]


@attrs.define(eq=False)
class Plan:
    """
    An address, read.

    :ivar line: the request line, as the access log has it.
    :ivar like: how the last request for it was held, if it was.
    """

    handler: Handler
    arguments: tuple[str, ...]
    query: dict[str, list[Any]]
    line: str
    like: Like | None = None


class ExpressLane:
    """
    :param routes: by path; those of ``/v1/jobs/`` get the cluster and the id too.
    :param check: raises a `Problem` where nothing must be shown.
    """

    def __init__(self, routes: Mapping[bytes, Handler], check: Callable[[], None]) -> None:
        self._routes = routes
        self._check = check
        self._plans: dict[bytes, Plan | None] = {}
        self._letterheads: dict[bytes, Letterhead] = {}

    # -- what is kept of requests that went the long way

    def letterhead(self, channel: Any, request: Any, client: str) -> Letterhead:
        """What to compare the next request on this connection with."""
        raw = self._raw(channel, request)
        if not raw:
            return Letterhead(b"", client)
        found = self._letterheads.get(raw)
        if found is None:
            if len(self._letterheads) >= MOST_KEPT:
                self._letterheads.clear()
            found = self._letterheads[raw] = Letterhead(raw, client)
        return found

    def _raw(self, channel: Any, request: Any) -> bytes:
        """What followed the request line, if the request came in one piece and has nothing that needs to be looked at."""
        piece: bytes = channel.piece
        end = piece.find(b"\r\n")
        if (
            request.method != b"GET"
            or request.clientproto != b"HTTP/1.1"
            or end < 0
            or not 4 < len(piece) - end <= LONGEST
            or piece.find(b"\r\n\r\n") != len(piece) - 4
        ):
            return b""
        host = False
        for name, values in request.requestHeaders.getAllRawHeaders():
            lower = name.lower()
            host = host or lower == b"host"
            if lower == b"connection":
                if [value.lower() for value in values] != [b"keep-alive"]:
                    return b""
            elif lower not in PLAIN and not lower.startswith(PLAIN_BEGINS):
                return b""
        return piece[end:] if host else b""

    # -- the next request

    def take(self, parked: Parked, data: bytes) -> bool:
        """
        Answer or hold the request in these bytes, which came on a connection whose last answer was sent.

        :return: False if that is not for here.
        """
        call = parked.call
        raw = call.letterhead.raw
        line_end = len(data) - len(raw)
        if not raw or line_end < 16 or not data.endswith(raw) or data.find(b"\r\n") != line_end:
            return False
        if data[:5] != b"GET /" or data[line_end - 9 : line_end] != b" HTTP/1.1":
            return False
        transport = parked.transport
        if transport.dataBuffer or transport._tempDataBuffer or not transport.connected or transport.disconnecting:
            return False
        uri = data[4 : line_end - 9]
        plan = self._plans.get(uri)
        if plan is None:
            plan = self._plan(uri)
            if plan is None:
                return False
        request = ExpressRequest(parked, uri, plan, call.site.reactor.seconds())
        site = call.site
        parked.call = call.lot.calls.of(site, call.host, plan.line, call.letterhead)
        try:
            self._check()
            if call.lot.joins(request):
                return True
            coroutine = plan.handler(request, *plan.arguments)
            try:
                coroutine.send(None)
            except StopIteration as end:
                body = end.value
            else:
                coroutine.close()  # it has to wait for something else than a change
                return False
        except Problem as problem:
            body = problem.answer(request)
        except Exception:
            site.log_failure(Failure())
            request.headers.clear()
            body = Problem(500, "an error of the server; its log tells more").answer(request)
        if body is not NOT_DONE_YET:
            call.lot.reply(parked, request.sheet(body), request.came_at)
        return True

    def _plan(self, uri: bytes) -> Plan | None:
        """Read an address; None if it is not one of those that are taken here."""
        path, _, query = uri.partition(b"?")
        arguments: tuple[str, ...] = ()
        handler = self._routes.get(path)
        if handler is None and path.startswith(b"/v1/jobs/"):
            cluster, _, job_id = path[9:].partition(b"/")
            if cluster and job_id and b"/" not in job_id:
                handler, arguments = self._routes[b"/v1/jobs/"], (cluster.decode("latin-1"), job_id.decode("latin-1"))
        if handler is None or len(uri) > LONGEST or not _PLAIN_PATH.fullmatch(path) or not _VISIBLE.fullmatch(query):
            return None
        try:
            values = decoded(parse_qs(query, 1))
        except Problem:
            return None
        if len(self._plans) >= MOST_KEPT:
            self._plans.clear()
        plan = self._plans[uri] = Plan(handler, arguments, values, _escape(b"GET " + uri + b" HTTP/1.1"))
        return plan

