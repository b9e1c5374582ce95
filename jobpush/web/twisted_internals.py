"""
What jobpush uses of Twisted's private parts, all of it, and nothing else.

A held connection is a transport without its HTTP channel. To take it from the channel, it must be known that nothing waits in
either of them to be read or written, and Twisted has no public name for that. Nor has it one for answering in one's own words
what cannot become a request, or for guarding a WebSocket. Each of these names stands in this file alone.

`unexpected` tries at the start what held connections rest on. Where Twisted is not as it was, requests are held with their
channels, and the log says so.
"""

from __future__ import annotations

import fcntl
import socket
import struct
import sys
import termios
from contextlib import suppress
from typing import Any

from twisted.internet import tcp, unix
from twisted.internet.interfaces import IProtocol
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.http import HTTPChannel

#: The kinds of transports whose sockets may be written to: not TLS, nor another reactor's.
PLAIN_TRANSPORTS = (tcp.Server, unix.Server)


# -- transports


def unsent(transport: Any) -> int:
    """Return how many bytes wait in a plain transport to be sent."""
    return transport._tempDataLen + len(transport.dataBuffer) - transport.offset  # type: ignore[no-any-return]


def kept(transport: Any) -> int:
    """
    Return how many bytes the plain transport of a connection, below TLS too, keeps in memory; 0 if it is closed. What was sent
    is kept until all that was written with it has been sent.
    """
    while transport is not None and not isinstance(transport, PLAIN_TRANSPORTS):
        transport = getattr(transport, "transport", None)
    return transport._tempDataLen + len(transport.dataBuffer) if transport is not None and transport.connected else 0


def waiting(transport: Any, in_kernel: bool = False) -> int:
    """
    Return how many bytes wait in any transport to be sent; of one over TLS, also those that are not encrypted yet.

    :param in_kernel: also those that the kernel has, and whose arrival the client's host has not confirmed (tcp(7), SIOCOUTQ).
        The kernel asks for more in pieces of a megabyte and more: by this alone it is seen that a slow client reads.
    """
    count = 0
    while transport is not None and not hasattr(transport, "dataBuffer"):
        count += sum(map(len, getattr(transport, "_appSendBuffer", ())))
        transport = getattr(transport, "transport", None)
    if transport is None:
        return count
    if in_kernel and transport.connected:
        with suppress(OSError):
            count += struct.unpack("i", fcntl.ioctl(transport.fileno(), termios.TIOCOUTQ, bytes(4)))[0]
    return count + unsent(transport)


def is_clear(transport: Any, flush: bool = False) -> bool:
    """
    Return whether a plain transport is open and nothing waits in it to be sent.

    :param flush: hand to the kernel now what waits.
    """
    if flush and unsent(transport):
        transport.doWrite()
    return bool(transport.connected and not transport.disconnecting and not unsent(transport))


def slim(transport: Any) -> None:
    """
    Share between connections what each has a copy of: its texts for the log, and its client's address. That is a quarter of a
    kilobyte of a connection that does nothing but wait.
    """
    transport.logstr = transport.repstr = "a connection without a channel"
    host, *rest = transport.client
    if isinstance(host, str):
        transport.hostname = sys.intern(host)
        transport.client = (transport.hostname, *rest)


# -- HTTP channels


class GuardedChannel(HTTPChannel):
    """
    A channel of HTTP whose subclass answers what cannot become a request.

    :ivar refused: the subclass has answered; what comes is not listened to any more.
    """

    transport: Any
    refused = False

    def bad_request(self) -> None:
        """Answer what is no HTTP."""
        raise NotImplementedError

    def upgraded(self, protocol: IProtocol, application: Any) -> IProtocol:
        """
        Return the protocol that the connection gets as a WebSocket.

        :param protocol: Twisted's own, which reads the frames.
        :param application: what that tells of the messages.
        """
        raise NotImplementedError

    @property
    def between_requests(self) -> bool:
        """Whether nothing has been read that belongs to no request yet."""
        return not self.requests and not self._buffer

    @property
    def has_unread(self) -> bool:
        """Whether bytes were read that no request has taken, or the transport takes no more for now."""
        return bool(self._buffer or any(self._dataBuffer) or self._waitingForTransport)

    @property
    def in_request_line(self) -> bool:
        """Whether the request line has not come in full."""
        return self._receivedHeaderSize == 0

    @property
    def headers_too_large(self) -> bool:
        """Whether the headers that came are larger, or more, than is allowed."""
        return bool(self._receivedHeaderSize > self.totalHeadersSize or self._receivedHeaderCount > self.maxHeaders)

    def headerReceived(self, line: bytes) -> bool:
        """
        Take a header. Twisted passes over ``Transfer-Encoding: identity``, which RFC 9112 has no more; a proxy may take the
        body to end elsewhere then. In HTTP/1.0 there is no such header (RFC 9112, 6.1).
        """
        name, _, value = line.partition(b":")
        if name.lower() == b"transfer-encoding" and (value.strip().lower() != b"chunked" or self._version == b"HTTP/1.0"):
            self.bad_request()
            return False
        taken: bool = super().headerReceived(line)
        return taken

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        super().connectionLost(reason)
        self._transferDecoder = None  # of a body that has not come in full: it refers to the channel and the request

    def _respondToBadRequestAndDisconnect(self) -> None:
        self.bad_request()

    def _send100Continue(self) -> None:
        if not self.refused:
            super()._send100Continue()

    def _protocolUpgradeForWebsockets(self, protocol: Any) -> None:
        super()._protocolUpgradeForWebsockets(self.upgraded(protocol, protocol._wsp))


# -- WebSocket


def unfinished(protocol: Any) -> int:
    """
    Return how much a WebSocket's byte-level protocol keeps of a message that has not come in full: characters of a text, bytes
    of another.
    """
    return len(protocol._textBuffer.data) + len(protocol._bytesBuffer.data)


def let_go(protocol: Any) -> None:
    """
    End what reads the frames of a WebSocket whose connection is gone: a generator of wsproto's, and what it reads for, refer to
    each other.
    """
    reader = getattr(getattr(protocol._wsconn, "_proto", None), "_parse_more", None)
    if reader is not None:
        reader.close()


def send_close(protocol: Any, code: int, reason: str) -> None:
    """
    Send a WebSocket's close frame, and leave the connection open for the client's, which Twisted's own method does not wait
    for. When that comes, Twisted closes the connection.

    :raise LocalProtocolError: if the connection is being closed already.
    """
    from wsproto.events import CloseConnection

    protocol.transport.write(protocol._wsconn.send(CloseConnection(code, reason)))


# -- the trial


def unexpected() -> str | None:
    """
    Try what held connections rest on.

    :return: what is not as expected; None if all is.
    """
    ours, theirs = socket.socketpair()
    try:
        ours.setblocking(False)
        transport = tcp.Server(ours, Protocol(), ("", 0), None, 0, _NoReactor())  # type: ignore[arg-type]
        if not is_clear(transport):
            return "a new transport is not clear"
        transport.write(b"12345678")
        if unsent(transport) != 8 or is_clear(transport):
            return "bytes that wait in a transport are not seen"
        if not is_clear(transport, flush=True) or theirs.recv(16) != b"12345678":
            return "bytes that wait in a transport are not sent by doWrite"
        if not callable(getattr(transport.socket, "send", None)):
            return "a transport's socket cannot be written to"
        channel = GuardedChannel()
        channel.makeConnection(_NoTransport())
        if channel.has_unread or not channel.between_requests:
            return "a new channel is not empty"
        channel.dataReceived(b"GET / HT")
        if not channel.has_unread or channel.between_requests:
            return "the beginning of a request in a channel is not seen"
        channel.setTimeout(None)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    finally:
        ours.close()
        theirs.close()
    return None


class _NoReactor:
    """Takes what a transport registers, and does nothing with it."""

    def addReader(self, reader: object) -> None:
        """See `IReactorFDSet`."""

    removeReader = addWriter = removeWriter = addReader


class _NoTransport:
    """A connection that nobody reads."""

    disconnecting = False

    def write(self, data: bytes) -> None:
        """See `ITransport`."""

    def registerProducer(self, producer: object, streaming: bool) -> None:
        """See `IConsumer`."""

    def pauseProducing(self) -> None:
        """See `IPushProducer`."""

    unregisterProducer = resumeProducing = stopProducing = loseConnection = pauseProducing

    def setTcpNoDelay(self, enabled: bool) -> None:
        """See `ITCPTransport`."""

    def getPeer(self) -> None:
        """See `ITransport`."""

    getHost = getPeer

