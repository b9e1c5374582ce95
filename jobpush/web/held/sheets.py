"""
Answers as bytes, for connections that have no HTTP channel: rendered once, sent to many, and noted in the access log as any
other.

Of Twisted's private parts this touches: `FileDescriptor`'s ``dataBuffer`` and ``_tempDataBuffer``, `Site`'s ``_logDateTime``,
and ``_escape`` of `twisted.web.http`. tests/web/held/test_parking.py fails where they change.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING, Any

import attrs
from twisted.python.failure import Failure
from twisted.web.http import RESPONSES, _escape, datetimeToString
from twisted.web.server import version

from jobpush.web.problems import Problem

if TYPE_CHECKING:
    from jobpush.web.held.parking import ParkingLot

#: Of how many different requests the access log's part is kept, to be shared.
MOST_KEPT = 10_000


@attrs.frozen
class Sheet:
    """A whole answer: of one request, or of many that are answered alike."""

    data: bytes
    code: int
    length: int
    persistent: bool


class Letterhead:
    """
    What follows the request line, as bytes, and what the access log has of it (the referrer and the user agent).

    :ivar raw: empty if it was not kept: then the next request on the connection is read anew.
    """

    __slots__ = ("client", "raw")

    def __init__(self, raw: bytes, client: str) -> None:
        self.raw = raw
        self.client = client


class Call:
    """
    What is remembered of a request on a connection without a channel: once for all that are alike.

    :ivar line: the request line, as the access log has it.
    :ivar host: the client's address.
    """

    __slots__ = ("host", "letterhead", "line", "lot", "site")

    def __init__(self, lot: ParkingLot, site: Any, host: str, line: str, letterhead: Letterhead) -> None:
        self.lot = lot
        self.site = site
        self.host = host
        self.line = line
        self.letterhead = letterhead


class Calls:
    """The calls of a lot."""

    def __init__(self, lot: ParkingLot) -> None:
        self._lot = lot
        self._calls: dict[Hashable, Call] = {}
        self._clients: dict[tuple[bytes | None, bytes | None], str] = {}
        self._moment = 0.0

    def of(self, site: Any, host: str, line: str, letterhead: Letterhead) -> Call:
        """One like this."""
        key = line, host, letterhead, site
        call = self._calls.get(key)
        if call is None:
            if len(self._calls) >= MOST_KEPT:
                self._calls.clear()
            call = self._calls[key] = Call(self._lot, site, host, line, letterhead)
        return call

    def client(self, request: Any) -> str:
        """The referrer and the user agent of a request as the access log has them; of few clients there are many requests."""
        key = request.getHeader(b"referer"), request.getHeader(b"user-agent")
        text = self._clients.get(key)
        if text is None:
            text = f'"{_escape(key[0] or b"-")}" "{_escape(key[1] or b"-")}"'
            if len(text) < 500:
                if len(self._clients) >= MOST_KEPT:
                    self._clients.clear()
                self._clients[key] = text
        return text

    def moment(self, seconds: float) -> float:
        """That time, to a millisecond: the same value for all in it."""
        if not 0.0 <= seconds - self._moment < 0.001:
            self._moment = seconds
        return self._moment


def host_of(transport: Any) -> str:
    """The client's address, as the access log has it: the same text for the same address."""
    host, port = transport.client[:2]
    return sys.intern(host) if port is not None else "-"  # a unix socket's has no port


def line_of(request: Any) -> str:
    """The request line, as the access log has it."""
    line: str = _escape(request.method + b" " + request.uri + b" " + request.clientproto)
    return line


class AccessLine:
    """The access log's line on one answer, for each of those that get it: the same as of a request with a channel."""

    __slots__ = ("_begin", "_middle", "_now")

    def __init__(self, sheet: Sheet, site: Any) -> None:
        self._begin, self._middle = f'" - - {site._logDateTime} "', f'" {sheet.code} {sheet.length or "-"} '
        self._now: float = site.reactor.seconds()

    def of(self, call: Call, came_at: float) -> str:
        """Of a request that came then."""
        held = max(0.0, self._now - came_at)
        return f'"{call.host}{self._begin}{call.line}{self._middle}{call.letterhead.client} {held:.3f}\n'


def send(transport: Any, data: bytes) -> None:
    """At once, if nothing is in front of it; the transport sends what the kernel does not take."""
    if transport.dataBuffer or transport._tempDataBuffer:
        transport.write(data)
        return
    try:
        sent = transport.socket.send(data)
    except (BlockingIOError, InterruptedError):
        sent = 0
    except OSError:
        transport.abortConnection()
        return
    if sent < len(data):
        transport.write(data[sent:])


def is_sent(transport: Any, flush: bool) -> bool:
    """
    Is nothing left to be sent?

    :param flush: send now what the transport has kept for later.
    """
    if flush and (transport.dataBuffer or transport._tempDataBuffer):
        transport.doWrite()
    return transport.connected and not (transport.disconnecting or transport.dataBuffer or transport._tempDataBuffer)


class Answer:
    """
    Where a route puts the head of an answer that is written here: what it needs of a request, as far as answering goes.

    :ivar persistent: does the connection go on?
    """

    __slots__ = ("code", "headers", "persistent")

    def __init__(self) -> None:
        self.code = 200
        self.headers: dict[bytes, bytes] = {}
        self.persistent = True

    @property
    def channel(self) -> Answer:
        """What knows whether the connection goes on."""
        return self

    def setHeader(self, name: bytes, value: bytes) -> None:
        """Of the answer."""
        self.headers[name] = value

    def setResponseCode(self, code: int) -> None:
        """Of the answer."""
        self.code = code

    def sheet(self, body: bytes) -> Sheet:
        """The whole answer, as `twisted.web.http.HTTPChannel` writes it."""
        parts = [b"HTTP/1.1 %d %b\r\nServer: %b\r\nDate: %b\r\n" % (self.code, RESPONSES[self.code], version, _date())]
        for name, value in self.headers.items():
            parts.append(b"%b: %b\r\n" % (_canonical(name), value))
        parts.append(b"\r\n")
        parts.append(body)
        return Sheet(b"".join(parts), self.code, len(body), self.persistent)


_dated: tuple[int, bytes] = (0, b"")


def _date() -> bytes:
    """The Date header; it changes once a second."""
    global _dated
    now = int(time.time())
    if _dated[0] != now:
        _dated = (now, datetimeToString())
    return _dated[1]


_CANONICAL: dict[bytes, bytes] = {b"etag": b"ETag"}


def _canonical(name: bytes) -> bytes:
    """As `twisted.web.http_headers` writes it."""
    found = _CANONICAL.get(name)
    if found is None:
        found = _CANONICAL[name] = name.title()
    return found


def render(site: Any, answer: Callable[[Any], bytes]) -> Sheet:
    """
    An answer that belongs to no request alone.

    :param answer: sets the head, and gives the body.
    """
    made = Answer()
    try:
        return made.sheet(answer(made))
    except Exception:
        site.log_failure(Failure())
        problem = Problem(500, "an error of the server; its log tells more")
        return Sheet(problem.raw(), problem.status, len(problem.body()), False)
