"""Connections without channels: what is sent to sockets that take everything, something, nothing, or are gone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from jobpush.web.held.connection import LAST_CHUNK, HeldConnection, StreamConnection, chunked
from jobpush.web.held.summary import HeaderBlock, Summary
from jobpush.web.principal import ANONYMOUS
from jobpush.web.responses import Response


class Socket:
    """A socket that takes so many bytes a call; None stands for one that is full, an exception for one that is gone."""

    def __init__(self, *takes: int | OSError | None) -> None:
        self.took = b""
        self._takes = list(takes)

    def send(self, data: bytes) -> int:
        takes = self._takes.pop(0) if self._takes else len(data)
        if isinstance(takes, OSError):
            raise takes
        if takes is None:
            raise BlockingIOError
        self.took += data[:takes]
        return min(takes, len(data))


class Transport:
    """A transport that keeps what the socket does not take."""

    client = ("127.0.0.1", 1)

    def __init__(self, socket: Socket) -> None:
        self.socket = socket
        self.connected = 1
        self.disconnecting = False
        self.dataBuffer, self.offset = b"", 0
        self._tempDataLen = 0
        self.aborted = False

    def write(self, data: bytes) -> None:
        self.dataBuffer += data

    def loseConnection(self) -> None:
        self.disconnecting = True

    def abortConnection(self) -> None:
        self.aborted = True

    @property
    def all(self) -> bytes:
        return self.socket.took + self.dataBuffer


class Host:
    """Notes what it is told of connections."""

    def __init__(self) -> None:
        self.notes: list[tuple[Any, ...]] = []
        self.slow: list[HeldConnection] = []

    def delivered(self, connections: Sequence[HeldConnection], response: Response) -> None:
        self.notes.append(("delivered", len(connections), response.status))

    def reads_slowly(self, connection: HeldConnection) -> None:
        self.slow.append(connection)

    def ended(self, stream: StreamConnection) -> None:
        self.notes.append(("ended",))

    def lost(self, connection: Any) -> None:
        self.notes.append(("lost", connection.kind))

    def received(self, connection: Any, data: bytes) -> None:
        self.notes.append(("received", data))

    def time_is_up(self, connection: Any) -> None:
        self.notes.append(("time is up",))


SUMMARY = Summary("GET / HTTP/1.1", "127.0.0.1", HeaderBlock(b"", "", ANONYMOUS, None, 0))  # type: ignore[arg-type]


class Form:
    """Needs nothing."""


class HeldConnectionTests(SynchronousTestCase):
    """`HeldConnection`."""

    def test_deliver_all(self) -> None:
        """
        Each gets the whole response: what its socket does not take goes to its transport, and one that is gone is dropped without
        disturbing the others.
        """
        host = Host()
        sockets = [Socket(), Socket(5), Socket(None), Socket(ConnectionResetError()), Socket()]
        transports = [Transport(socket) for socket in sockets]
        connections = [HeldConnection(host, transport, SUMMARY, 0.0) for transport in transports]
        response = Response(200, ((b"content-type", b"text/plain"),), b"hello")
        HeldConnection.deliver_all(connections, response)
        whole = response.rendered.data
        self.assertTrue(whole.endswith(b"\r\n\r\nhello"))
        self.assertEqual([transport.all == whole for transport in transports], [True, True, True, False, True])
        self.assertEqual([transport.aborted for transport in transports], [False, False, False, True, False])
        self.assertEqual(sockets[1].took, whole[:5])
        self.assertEqual(host.notes, [("delivered", 5, 200)])
        self.assertEqual(host.slow, connections[1:3])

    def test_what_it_tells(self) -> None:
        """Bytes, a deadline and the end of the connection are told to its host."""
        host = Host()
        connection = HeldConnection(host, Transport(Socket()), SUMMARY, 0.0)
        connection.dataReceived(b"GET")
        connection.expired()
        connection.connectionLost()
        self.assertEqual(host.notes, [("received", b"GET"), ("time is up",), ("lost", "poll")])
        self.assertIs(connection.principal, ANONYMOUS)


class StreamConnectionTests(SynchronousTestCase):
    """`StreamConnection`."""

    def stream(self, *takes: int | OSError | None) -> tuple[StreamConnection, Transport, Host]:
        host, transport = Host(), Transport(Socket(*takes))
        return StreamConnection(host, transport, SUMMARY, 0.0, Form()), transport, host  # type: ignore[arg-type]

    def test_in_order(self) -> None:
        """To a client that reads slowly later chunks never overtake unsent ones."""
        stream, transport, _ = self.stream(3, 2, None)
        for chunk in (b"first", b"second", b"third"):
            stream.write(chunk)
        self.assertEqual((transport.all, transport.socket.took), (b"firstsecondthird", b"fir"))
        self.assertEqual(stream.unread, len(b"stsecondthird"))

    def test_full(self) -> None:
        """What a full socket does not take at all is kept."""
        stream, transport, _ = self.stream(None)
        stream.write(b"first")
        self.assertEqual((transport.all, stream.unread), (b"first", 5))

    def test_gone(self) -> None:
        """A socket that is gone ends the connection, and nothing is kept for it; nor for one that is being closed."""
        stream, transport, host = self.stream(ConnectionResetError())
        stream.write(b"first")
        self.assertEqual((transport.aborted, transport.all), (True, b""))
        stream.connectionLost()
        self.assertEqual(host.notes, [("lost", "stream")])
        closing, other, _ = self.stream()
        other.disconnecting = True
        closing.write(b"first")
        self.assertEqual(other.all, b"")

    def test_finish(self) -> None:
        """It ends with when the client may come back, and the last chunk, once; its host is told."""
        stream, transport, host = self.stream()
        stream.alive()
        stream.finish()
        stream.finish()
        self.assertRegex(transport.all, rb"\A9\r\n: alive\n\n\r\nd\r\nretry: [1-5]\d\d\d\n\n\r\n" + LAST_CHUNK + rb"\Z")
        self.assertEqual((transport.disconnecting, host.notes), (True, [("ended",)]))

    def test_chunked(self) -> None:
        """A chunk has its length in hexadecimal digits before it (RFC 9112, 7.1)."""
        self.assertEqual(chunked(b"x" * 26), b"1a\r\n" + b"x" * 26 + b"\r\n")
