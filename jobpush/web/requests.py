"""
Requests and transports of Twisted's, as far as jobpush uses them.
"""

from __future__ import annotations

import socket
from typing import Any, BinaryIO, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress, IProtocol
from twisted.web.http_headers import Headers

from jobpush.web.principal import Principal


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
    client: tuple[Any, ...]
    TLS: bool

    def write(self, data: bytes, /) -> None: ...
    def loseConnection(self) -> None: ...
    def abortConnection(self) -> None: ...
    def pauseProducing(self) -> None: ...
    def resumeProducing(self) -> None: ...
    def unregisterProducer(self) -> None: ...
    def getPeer(self) -> IAddress: ...


class ClientRequest(Protocol):
    """
    A request of Twisted's, with what `jobpush.web.ApiResource` has found out about it.

    :ivar principal: who asks.
    :ivar admitted: it passed every check on who asks.
    :ivar connections: what takes its connection when it is answered.
    :ivar came_at: the reactor's time at which its headers had come.
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
    channel: Any
    prepath: list[bytes]
    postpath: list[bytes]
    principal: Principal
    admitted: bool
    connections: Any
    came_at: float

    def getHeader(self, name: bytes, /) -> bytes | None: ...
    def setHeader(self, name: bytes, value: bytes, /) -> None: ...
    def setResponseCode(self, code: int, /) -> None: ...
    def setETag(self, etag: bytes, /) -> object: ...
    def getRequestHostname(self) -> bytes: ...
    def notifyFinish(self) -> Deferred[None]: ...
    def registerProducer(self, producer: object, streaming: bool, /) -> None: ...
    def unregisterProducer(self) -> None: ...
    def write(self, data: bytes, /) -> None: ...
    def finish(self) -> None: ...
