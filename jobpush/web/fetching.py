"""Fetches a small document over HTTP: bounded in time and size, without redirections."""

from __future__ import annotations

import ipaddress
from typing import Any
from urllib.parse import urlsplit

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.protocol import Protocol
from twisted.python.failure import Failure
from twisted.web.client import Agent, BrowserLikePolicyForHTTPS, ResponseDone
from twisted.web.http import PotentialDataLoss
from twisted.web.http_headers import Headers

#: Seconds until all of it has come, and bytes that it may have.
WITHIN_S = 20.0
MOST_BYTES = 256 * 1024


class FetchError(Exception):
    """The document has not come; one line."""


def check_url(url: str) -> None:
    """
    :raise ValueError: if a document is not to be fetched from there, where somebody else may answer.
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    if parts.scheme == "http" and (host == "localhost" or _is_loopback(host)):
        return
    if parts.scheme != "https" or not host or not url.isascii() or parts.username is not None:
        raise ValueError("expected an address with https:// (http:// on loopback alone)")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def fetch(reactor: Any, url: str) -> Deferred[bytes]:
    """Fire with what is there. Does not block. Fails with `FetchError`, in `WITHIN_S` at the latest."""
    agent = Agent(reactor, BrowserLikePolicyForHTTPS(), connectTimeout=WITHIN_S)
    getting = Deferred.fromCoroutine(_get(agent, url))
    getting.addTimeout(WITHIN_S, reactor)
    return getting.addErrback(_failed, url)


async def _get(agent: Agent, url: str) -> bytes:
    response = await agent.request(b"GET", url.encode("ascii"), Headers({b"Accept": [b"application/json"]}))
    body = _Body()
    response.deliverBody(body)
    if response.code != 200:
        body.abort()
        raise FetchError(f"the answer has the status {response.code}")
    return await body.whole()


class _Body(Protocol):
    """Collects a body; one that is too long ends the connection."""

    def __init__(self) -> None:
        self._got = b""
        self._over: bytes | FetchError | None = None
        self._waiting: Deferred[bytes] | None = None

    def whole(self) -> Deferred[bytes]:
        """Fire with all of it, or fail with `FetchError`; if that is cancelled, the connection ends. Called once."""
        self._waiting = Deferred(lambda _: self.abort())
        self._tell()
        return self._waiting

    def abort(self) -> None:
        """End the connection."""
        transport: Any = self.transport
        if transport is not None:
            transport.loseConnection()  # there is nothing that would have to be written before

    def _end(self, over: bytes | FetchError) -> None:
        if self._over is None:
            self._over = over
            self._tell()

    def _tell(self) -> None:
        if self._waiting is None or self._waiting.called or self._over is None:
            return
        if isinstance(self._over, bytes):
            self._waiting.callback(self._over)
        else:
            self._waiting.errback(self._over)

    def dataReceived(self, data: bytes) -> None:
        self._got += data
        if len(self._got) > MOST_BYTES:
            self._end(FetchError(f"it is longer than {MOST_BYTES} bytes"))
            self.abort()

    def connectionLost(self, reason: Failure = Failure(ConnectionDone())) -> None:  # noqa: B008
        complete = reason.check(ResponseDone, PotentialDataLoss) is not None
        self._end(self._got if complete else FetchError("the connection was lost"))


def _failed(failure: Failure, url: str) -> Any:
    reasons = getattr(failure.value, "reasons", None)  # of Twisted's ResponseNeverReceived
    text = "; ".join(each.getErrorMessage() for each in reasons) if reasons else failure.getErrorMessage()
    raise FetchError(f"{url}: {text or type(failure.value).__name__}")
