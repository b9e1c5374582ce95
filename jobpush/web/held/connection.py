"""
Connections without HTTP channels: a held request, a connection that waits for its next request, an open stream.

A plain held request keeps a Twisted HTTP channel, a request with its headers, Klein's bookkeeping, a coroutine and a Deferred:
about fifteen kilobytes. None of it is needed to wait. So the transport gets one of these in place of its channel.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from twisted.internet.interfaces import IProtocol, ITransport
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from jobpush.web.held.stream_group import Form
from jobpush.web.held.summary import Summary
from jobpush.web.principal import Principal
from jobpush.web.requests import Transport
from jobpush.web.responses import LATEST_RETURN_S, SOONEST_RETURN_S, Response
from jobpush.web.twisted_internals import unsent
from jobpush.web.unread import LARGE_BYTES

if TYPE_CHECKING:
    from typing_extensions import Self


class Host(Protocol):
    """What the connections without channels of one resource have in common, and what becomes of them."""

    @property
    def head(self) -> int:
        """The number of the last event that is published."""

    def received(self, connection: HeldConnection, data: bytes) -> None:
        """Bytes have come."""

    def lost(self, connection: HeldConnection | StreamConnection) -> None:
        """The client is gone."""

    def time_is_up(self, connection: HeldConnection) -> None:
        """Its deadline has come: its held request's, or the one for its next request."""

    def chosen(self, response: Response, connection: HeldConnection) -> Response:
        """Return what this one is sent in place of a large response: another one, where too much is unread already."""

    def reads_slowly(self, connection: HeldConnection) -> None:
        """The kernel does not take all of its response at once."""

    def delivered(self, connections: Sequence[HeldConnection], response: Response) -> None:
        """This response was sent to these."""

    def ended(self, stream: StreamConnection) -> None:
        """The service has ended this stream."""


@implementer(IProtocol)
class HeldConnection:
    """
    A connection that answers one request after another.

    :ivar summary: what is remembered of its last request.
    :ivar came_at: when that came, to a millisecond.
    :ivar due: its deadline, as the timer wheel keeps it.
    """

    __slots__ = ("came_at", "due", "host", "socket", "summary", "transport")

    kind = "poll"

    #: See `jobpush.web.departures.Departing`: what it writes is written at once, and nothing is written while that is not read.
    written = 0
    responding = False

    def __init__(self, host: Host, transport: Transport, summary: Summary, came_at: float) -> None:
        self.host = host
        self.transport = transport
        self.socket = transport.socket
        self.summary = summary
        self.came_at = came_at
        self.due: float | None = None

    @property
    def principal(self) -> Principal:
        """Who asks."""
        return self.summary.block.principal

    @classmethod
    def deliver_all(cls, members: Sequence[Self], response: Response) -> None:
        """
        Send a response to these.

        After one event thousands are answered here, and what is done for each beside sending costs more than it seems: the
        kernel's work leaves little in the caches. Nothing waits in a held connection to be sent, so the socket is written to.
        """
        if len(response.body) < LARGE_BYTES:
            cls._deliver(members, response)
            return
        for member in members:
            cls._deliver([member], member.host.chosen(response, member))

    @staticmethod
    def _deliver(members: Sequence[HeldConnection], response: Response) -> None:
        data = response.rendered.data
        size = len(data)
        for connection in members:
            try:
                sent = connection.socket.send(data)
            except (BlockingIOError, InterruptedError):
                sent = 0
            except OSError:
                connection.transport.abortConnection()
                continue
            if sent != size:
                connection.transport.write(data[sent:])
                connection.host.reads_slowly(connection)
        members[0].host.delivered(members, response)

    def expired(self) -> None:
        """See `jobpush.runtime.timer_wheel.Timed`."""
        self.host.time_is_up(self)

    # -- IProtocol

    def makeConnection(self, transport: ITransport) -> None:
        """It has one."""

    def connectionMade(self) -> None:
        """It was."""

    def dataReceived(self, data: bytes) -> None:
        """See `IProtocol`."""
        self.host.received(self, data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """See `IProtocol`."""
        self.host.lost(self)


@implementer(IProtocol)
class StreamConnection:
    """
    A connection with an open stream of server-sent events, in chunks (RFC 9112, 7.1).

    :ivar form: how its chunks are written.
    :ivar size: bytes that what it follows takes up.
    """

    __slots__ = ("came_at", "due", "form", "host", "size", "summary", "transport")

    kind = "stream"

    def __init__(
        self, host: Host, transport: Transport, summary: Summary, came_at: float, form: Form[bytes], size: int = 0
    ) -> None:
        self.host = host
        self.transport = transport
        self.summary = summary
        self.came_at = came_at
        self.form = form
        self.size = size
        self.due: float | None = None

    @property
    def principal(self) -> Principal:
        """Who follows."""
        return self.summary.block.principal

    @property
    def unread(self) -> int:
        """Bytes that wait for the client."""
        return unsent(self.transport)

    def write(self, chunk: bytes) -> None:
        """Send it; the transport keeps what the kernel does not take."""
        transport = self.transport
        if not transport.connected or transport.disconnecting:
            return
        if unsent(transport):
            transport.write(chunk)
            return
        try:
            sent = transport.socket.send(chunk)
        except (BlockingIOError, InterruptedError):
            sent = 0
        except OSError:
            transport.abortConnection()
            return
        if sent < len(chunk):
            transport.write(chunk[sent:])

    def alive(self) -> None:
        """Send a sign of life."""
        self.write(ALIVE)

    def abort(self) -> None:
        """Drop the connection."""
        self.transport.abortConnection()

    def finish(self) -> None:
        """Send when the client may come back, and the last chunk, and close when it is sent."""
        if not self.transport.disconnecting:
            self.write(chunked(come_back_line()) + LAST_CHUNK)
            self.transport.loseConnection()
            self.host.ended(self)

    def refused(self) -> None:
        """What has brought it here is no cursor for whoever comes next."""
        self.write(self.form.reset(self.host.head))
        self.finish()

    def expired(self) -> None:
        """See `jobpush.runtime.timer_wheel.Timed`. Who follows is nobody any more: that is the only deadline of a stream."""
        self.refused()

    # -- IProtocol

    def makeConnection(self, transport: ITransport) -> None:
        """It has one."""

    def connectionMade(self) -> None:
        """It was."""

    def dataReceived(self, data: bytes) -> None:
        """A request that is pipelined behind a stream is never answered: a stream has no end."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """See `IProtocol`."""
        self.host.lost(self)


def come_back_line() -> bytes:
    """Return what tells EventSource when to connect again after a stream has ended: not all of them at once."""
    return b"retry: %d\n\n" % random.randint(1000 * SOONEST_RETURN_S, 1000 * LATEST_RETURN_S)


def chunked(data: bytes) -> bytes:
    """A chunk of a response of unknown length (RFC 9112, 7.1)."""
    return b"%x\r\n%b\r\n" % (len(data), data)


#: A comment of server-sent events: browsers pass it over, proxies see that the stream is open.
ALIVE = chunked(b": alive\n\n")

LAST_CHUNK = b"0\r\n\r\n"
