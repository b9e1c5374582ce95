"""
Pages of other origins that may ask here, where the administrator has listed them (``--cors``): a science gateway's own page.

A browser asks first (a *preflight*) before it sends what a page could not send by itself, such as a token, and hands no answer
to the page that does not name its origin (https://fetch.spec.whatwg.org/#http-cors-protocol). Cookies are
not used here, and not allowed.
"""

from __future__ import annotations

from collections.abc import Iterable

from jobpush.web.requests import ClientRequest
from jobpush.web.responses import Response

#: Seconds for which a browser remembers that a page may ask.
REMEMBERED_S = 600

_METHODS = b"GET, HEAD, POST, PUT, DELETE"

#: What clients send beside the headers that every page may set.
_REQUEST_HEADERS = b"Authorization, Content-Type, If-None-Match, Last-Event-ID, Prefer, X-SLURM-USER-NAME, X-SLURM-USER-TOKEN"

#: What a page may read beside the headers that it always may.
_RESPONSE_HEADERS = b"ETag, Jobpush-Cursor, Jobpush-User, Preference-Applied, Retry-After, WWW-Authenticate"


class Cors:
    """
    :param origins: the listed ones, as `jobpush.adapter.kinds.Origin` gives them.
    """

    def __init__(self, origins: Iterable[str] = ()) -> None:
        self._origins = frozenset(origin.encode("ascii") for origin in origins)

    def give(self, origins: Iterable[str]) -> bool:
        """List these and no others; return whether that has changed anything."""
        before, self._origins = self._origins, frozenset(origin.encode("ascii") for origin in origins)
        return self._origins != before

    @property
    def listed(self) -> list[str]:
        """The listed origins."""
        return sorted(origin.decode("ascii") for origin in self._origins)

    def allow(self, request: ClientRequest) -> bool:
        """Return whether a request comes from a listed origin. Its answer then says so, whatever it is."""
        given = request.requestHeaders.getRawHeaders(b"origin", [])
        if len(given) != 1 or given[0] not in self._origins:
            return False
        request.cross_origin = True
        request.setHeader(b"access-control-allow-origin", given[0])
        request.setHeader(b"access-control-expose-headers", _RESPONSE_HEADERS)
        request.setHeader(b"vary", b"Origin")
        return True


def preflight(request: ClientRequest) -> Response | None:
    """Return the answer to a browser that asks whether a page of a listed origin may ask; None if this does not ask that."""
    if (
        not request.cross_origin
        or request.method != b"OPTIONS"
        or not request.requestHeaders.hasHeader(b"access-control-request-method")
    ):
        return None
    return Response(
        204,
        (
            (b"access-control-allow-methods", _METHODS),
            (b"access-control-allow-headers", _REQUEST_HEADERS),
            (b"access-control-max-age", b"%d" % REMEMBERED_S),
            (b"cache-control", b"no-store"),
        ),
        b"",
    )
