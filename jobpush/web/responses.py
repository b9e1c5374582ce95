"""
Responses as values: what a route answers, before it is known whether it goes to a request of Twisted's or straight to sockets.
"""

from __future__ import annotations

import random
import time
from collections.abc import Generator, Iterable
from functools import lru_cache
from http import HTTPStatus

import attrs
from twisted.web.http import RESPONSES, datetimeToString

from jobpush.web.requests import ClientRequest

Header = tuple[bytes, bytes]

#: The reason phrases that Twisted has not.
_MORE_REASONS = {each.value: each.phrase.encode() for each in HTTPStatus}

#: Seconds after which clients come back to a server that ends, at least and at most.
SOONEST_RETURN_S, LATEST_RETURN_S = 1, 5


@attrs.define(eq=False)
class Response:
    """
    :ivar headers: without ``Server``, ``Date`` and `GUARDS`, which every response gets. Names are in lower case.
    :ivar close: the connection ends after it.
    """

    status: int
    headers: tuple[Header, ...]
    body: bytes
    close: bool = False
    _rendered: Rendered | None = attrs.field(default=None, init=False)

    def apply(self, request: ClientRequest) -> bytes:
        """Set the status and the headers of a request of Twisted's, and return the body to write."""
        request.setResponseCode(self.status, reason(self.status))
        for name, value in self.headers:
            request.setHeader(name, value)
        if self.close:
            request.setHeader(b"connection", b"close")
            if getattr(request.channel, "persistent", False):
                request.channel.persistent = False
        return self.body

    @property
    def rendered(self) -> Rendered:
        """The response as `twisted.web.http.HTTPChannel` writes it in HTTP/1.1; rendered once."""
        if self._rendered is None:
            parts = [b"HTTP/1.1 %d %b\r\nServer: %b\r\nDate: %b\r\n" % (self.status, reason(self.status), SERVER, _date())]
            parts.extend(b"%b: %b\r\n" % (_canonical(name), value) for name, value in (*GUARDS, *self.headers))
            if self.close:
                parts.append(b"Connection: close\r\n")
            parts.append(b"\r\n")
            parts.append(self.body)
            self._rendered = Rendered(b"".join(parts), self.status, len(self.body), self.close)
        return self._rendered

    def later_return(self) -> Response:
        """The same, but a client that is told when to come back comes at another time."""
        others = tuple(header for header in self.headers if header[0] != b"retry-after")
        return attrs.evolve(self, headers=(*others, *come_back())) if len(others) < len(self.headers) else self


@attrs.frozen
class Rendered:
    """
    A response as bytes, for one client or for many that are answered alike.

    :ivar length: bytes of its body.
    :ivar close: the connection ends after it.
    """

    data: bytes
    status: int
    length: int
    close: bool


#: What the service calls itself: neither its version nor those of what it is made of.
SERVER = b"jobpush"

#: What each response has beside these: a browser makes nothing else of it than it says, shows it in no frame, and runs nothing.
GUARDS: tuple[Header, ...] = (
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
)


def guard(request: ClientRequest) -> None:
    """Set on a request of Twisted's what each response has. A page that needs more says so in a policy of its own."""
    request.setHeader(b"server", SERVER)
    for name, value in GUARDS:
        request.setHeader(name, value)


#: A response, or a generator that makes one and pauses where it takes long.
Rendering = Response | Generator[None, None, Response]


def json_response(
    body: bytes, cursor: str, headers: Iterable[Header] = (), status: int = 200, closing: bool = False
) -> Response:
    """
    A response in JSON.

    :param cursor: the value of ``Jobpush-Cursor``.
    :param closing: the server is about to end: the client is told to come back a little later, on another connection.
    """
    return Response(
        status,
        (
            *headers,
            (b"content-type", b"application/json"),
            (b"cache-control", b"no-cache"),
            (b"jobpush-cursor", cursor.encode()),
            (b"content-length", b"%d" % len(body)),
            *(come_back() if closing else ()),
        ),
        body,
        close=closing,
    )


def come_back() -> tuple[Header, ...]:
    """The header that tells a client when to come back to a server that ends; jittered, so that not all come at once."""
    return ((b"retry-after", b"%d" % random.randint(SOONEST_RETURN_S, LATEST_RETURN_S)),)


def reason(status: int) -> bytes:
    """The reason phrase of a status code."""
    phrase: bytes | None = RESPONSES.get(status)
    return phrase if phrase is not None else _MORE_REASONS.get(status, b"Unknown")


@lru_cache(256)
def _canonical(name: bytes) -> bytes:
    """A header's name as `twisted.web.http_headers` writes it."""
    return b"ETag" if name == b"etag" else name.title()


_dated: tuple[int, bytes] = (0, b"")


def _date() -> bytes:
    """The value of the Date header; it changes once a second."""
    global _dated
    now = int(time.time())
    if _dated[0] != now:
        _dated = (now, datetimeToString())
    return _dated[1]
