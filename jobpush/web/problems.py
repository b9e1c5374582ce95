"""Errors as the client sees them: ``application/problem+json`` (RFC 9457)."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from http import HTTPStatus

from jobpush.core import wire
from jobpush.web.requests import ClientRequest
from jobpush.web.responses import GUARDS, SERVER, Response

CONTENT_TYPE = b"application/problem+json"


class Problem(Exception):
    """
    An answer that is not 200.

    :param detail: what is wrong and what was expected, one sentence.
    :param parameter: the name of the query parameter, body field, path part or header that is at fault.
    :param headers: more headers of the response.
    :param close: the connection ends after it: what is wrong is with whoever asks, not with what was asked for.
    :param fields: more members of the problem.
    """

    def __init__(
        self,
        status: int,
        detail: str,
        parameter: str | None = None,
        headers: Mapping[str, str] | None = None,
        close: bool = False,
        **fields: object,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.headers = dict(headers or {})
        self.close = close
        self.fields = {"parameter": parameter, **fields} if parameter is not None else fields

    def body(self) -> bytes:
        """The JSON of it."""
        title = HTTPStatus(self.status).phrase
        return wire.dumps(
            {"type": "about:blank", "title": title, "status": self.status, "detail": self.detail, **self.fields}
        )

    def response(self) -> Response:
        """The response that tells of it."""
        body = self.body()
        return Response(
            self.status,
            (
                (b"content-type", CONTENT_TYPE),
                (b"cache-control", b"no-store"),
                (b"content-length", b"%d" % len(body)),
                *((name.lower().encode(), value.encode()) for name, value in self.headers.items()),
            ),
            body,
            close=self.close,
        )

    def send(self, request: ClientRequest) -> None:
        """Answer a request that nothing else will answer."""
        request.write(self.response().apply(request))
        request.finish()

    def raw(self) -> bytes:
        """A whole HTTP/1.1 response that ends the connection, for what goes wrong before there is a request."""
        body = self.body()
        more = "".join(f"{name}: {value}\r\n" for name, value in self.headers.items())
        more += "".join(f"{name.decode().title()}: {value.decode()}\r\n" for name, value in ((b"server", SERVER), *GUARDS))
        head = (
            f"HTTP/1.1 {self.status} {HTTPStatus(self.status).phrase}\r\n"
            f"Content-Type: {CONTENT_TYPE.decode()}\r\nContent-Length: {len(body)}\r\n{more}Connection: close\r\n\r\n"
        )
        return head.encode() + body


def fault(close: bool = False) -> Problem:
    """500 for a fault of ours, which is logged."""
    return Problem(500, "an error of the server; its log tells more", close=close)


def nothing_at(request: ClientRequest) -> Problem:
    """404 for the address of a request."""
    path = request.path.decode("utf-8", "replace")[:200]
    return Problem(404, f"there is nothing at {path}")


def revoked() -> Problem:
    """401: who asked is nobody any more."""
    return Problem(401, "what this request was made with has been revoked", close=True)


def try_later(detail: str) -> Problem:
    """503, until there is room again. Not all come back at once."""
    return Problem(503, detail, headers={"Retry-After": str(random.randint(2, 10))})


def who_are_you(detail: str, wrong: bool = False) -> Problem:
    """
    401: it is not said who asks, or what is said is not so.

    :param wrong: it is the latter.
    """
    challenge = 'Bearer error="invalid_token"' if wrong else "Bearer"
    return Problem(401, detail, headers={"WWW-Authenticate": challenge}, close=True)


def not_yet_known(clusters: Iterable[str]) -> Problem:
    """503: what is asked for may be hidden from whoever asks."""
    names = ", ".join(clusters)
    return Problem(
        503,
        f"whether users' jobs are hidden from each other is not known before {names} has answered",
        headers={"Retry-After": "2"},
    )
