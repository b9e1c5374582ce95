"""
Requests and transports of Twisted's, as far as jobpush uses them. tests/web/test_twisted_internals.py tries that they have what
is used.
"""

from __future__ import annotations

import socket
from typing import Any, BinaryIO, Protocol, cast

from twisted.internet.address import UNIXAddress
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress, IProtocol
from twisted.python.failure import Failure
from twisted.web.http_headers import Headers
from twisted.web.iweb import IRequest
from zope.interface import Interface

from jobpush.core.filters import Visibility
from jobpush.web.principal import Principal

#: How requests begin that wait for no others.
HEALTH_CHECKS = (b"GET /healthz", b"GET /readyz", b"HEAD /healthz", b"HEAD /readyz")


class Transport(Protocol):
    """
    A plain transport of Twisted's: its socket may be written to.

    :ivar protocol: what is told of its bytes.
    :ivar client: the client's address: host and port, or a unix socket's path and None.
    """

    connected: int
    disconnecting: bool
    socket: socket.socket
    protocol: IProtocol
    client: tuple[str | int | None, ...]
    TLS: bool

    def write(self, data: bytes, /) -> None: ...
    def loseConnection(self) -> None: ...
    def abortConnection(self) -> None: ...
    def pauseProducing(self) -> None: ...
    def resumeProducing(self) -> None: ...
    def unregisterProducer(self) -> None: ...
    def getPeer(self) -> IAddress: ...
    def getHost(self) -> IAddress: ...


class Channel(Protocol):
    """
    An HTTP channel of jobpush's: one connection.

    :ivar requests: those that are not answered yet; the first one is.
    :ivar persistent: whether more requests may come.
    :ivar piece: what came from the network last, if it is the beginning of a request.
    :ivar has_unread: whether bytes were read that no request has taken.
    :ivar site: what it belongs to, a `jobpush.web.held.summary.SiteLike`.
    """

    transport: Transport
    requests: list[ClientRequest]
    persistent: int
    piece: bytes
    site: Any

    @property
    def has_unread(self) -> bool: ...

    def setTimeout(self, seconds: float | None, /) -> None: ...
    def makeConnection(self, transport: Transport, /) -> None: ...
    def dataReceived(self, data: bytes, /) -> None: ...
    def forceAbortClient(self) -> None: ...
    def connectionLost(self, reason: Failure, /) -> None: ...


class IdleConnections(Protocol):
    """What takes connections that wait for their next request."""

    def idle(self, channel: Channel, request: ClientRequest) -> None:
        """A request was answered, and the next one has not come."""


class ClientRequest(Protocol):
    """
    A request of Twisted's, with what `jobpush.web.ApiResource` has found out about it.

    :ivar principal: who asks.
    :ivar visibility: whose jobs it may be shown.
    :ivar admitted: it passed every check on who asks, and its headers would for any other address.
    :ivar connections: what takes its connection when it is answered.
    :ivar unread: the bound on what was answered and is not read, a `jobpush.web.unread.Unread`.
    :ivar came_at: the reactor's time at which its headers had come.
    :ivar ticket: with which it opens a stream, a `jobpush.web.tickets.Ticket`; None without one.
    :ivar revoked: what says who asks has been revoked since the request came.
    :ivar cross_origin: a page of a listed origin has sent it; its answer has headers of its own (`jobpush.web.cors`).
    :ivar below: the path below that of the API, not quoted any more; set by what finds its route.
    """

    method: bytes
    uri: bytes
    path: bytes
    clientproto: bytes
    args: dict[bytes, list[bytes]]
    content: BinaryIO
    requestHeaders: Headers
    startedWriting: int
    finished: int
    channel: Channel
    prepath: list[bytes]
    postpath: list[bytes]
    notifications: list[Deferred[None]]
    principal: Principal
    visibility: Visibility
    admitted: bool
    connections: IdleConnections | None
    unread: Any
    came_at: float
    ticket: Any
    revoked: bool
    cross_origin: bool
    below: str

    def getHeader(self, name: bytes, /) -> bytes | None: ...
    def setHeader(self, name: bytes, value: bytes, /) -> None: ...
    def setResponseCode(self, code: int, message: bytes | None = None, /) -> None: ...
    def setETag(self, etag: bytes, /) -> object: ...
    def getRequestHostname(self) -> bytes: ...
    def getHost(self) -> IAddress: ...
    def notifyFinish(self) -> Deferred[None]: ...
    def registerProducer(self, producer: object, streaming: bool, /) -> None: ...
    def unregisterProducer(self) -> None: ...
    def write(self, data: bytes, /) -> None: ...
    def unsetComponent(self, interfaceClass: type[Interface], /) -> None: ...
    def finish(self) -> None: ...
    def processingFailed(self, reason: Failure, /) -> object: ...
    def render(self, resource: object, /) -> None: ...


def is_local(address: object) -> bool:
    """Return whether an address is that of a unix socket."""
    return isinstance(address, UNIXAddress)


def client_request(request: IRequest | object) -> ClientRequest:
    """Return one of Twisted's requests with the names that jobpush uses, which its interfaces do not all have."""
    return cast(ClientRequest, request)
