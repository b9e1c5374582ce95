"""The first requests of connections."""

from __future__ import annotations

from typing import Any

from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransportWithDisconnection
from twisted.logger import capturedLogs
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.resource import Resource

from jobpush.runtime.turns import Turns
from jobpush.web import arrivals
from jobpush.web.arrivals import ARRIVE_S
from jobpush.web.first_requests import FirstRequests
from jobpush.web.site import JobpushChannel, JobpushSite
from tests.support import one_turn


class Page(Resource):
    """Takes a while for each request."""

    isLeaf = True

    def __init__(self, clock: Clock, seconds: float) -> None:
        super().__init__()
        self.clock = clock
        self.seconds = seconds
        self.asked: list[bytes] = []

    def render_GET(self, request: Any) -> bytes:
        self.clock.rightNow += self.seconds
        self.asked.append(request.path)
        return b"page"


class Wire(StringTransportWithDisconnection):
    """A connection whose descriptor the test chooses."""

    number: int | None = None
    paused = False

    def fileno(self) -> int | None:
        return self.number

    def pauseProducing(self) -> None:
        self.paused = True

    def resumeProducing(self) -> None:
        self.paused = False


class FirstRequestsTests(SynchronousTestCase):
    """`FirstRequests`."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.page = Page(self.clock, 0.002)
        self.site = JobpushSite(self.page, self.clock)
        self.turns = Turns(self.clock)
        self.factory = FirstRequests(self.turns, self.site)
        self.factory.doStart()
        self.addCleanup(self.factory.doStop)
        self.channels: list[Any] = []
        make = self.site.make_channel

        def made(address: Any) -> Any:
            self.channels.append(make(address))
            self.addCleanup(self.channels[-1].setTimeout, None)
            return self.channels[-1]

        self.patch(self.site, "make_channel", made)

    def connect(self, number: int | None = None, factory: Any = None) -> Wire:
        """A connection."""
        wire = Wire()
        wire.number = number
        wire.protocol = (factory or self.factory).buildProtocol(None)
        wire.protocol.makeConnection(wire)
        return wire

    def ask(self, path: str, wire: Wire | None = None) -> Wire:
        """A connection with a request."""
        wire = wire or self.connect()
        wire.protocol.dataReceived(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        return wire

    def test_one(self) -> None:
        """A connection has no channel before something has come; then it has one, and is answered at once."""
        wire = self.connect()
        self.assertEqual((self.channels, len(list(self.site.arrivals))), ([], 1))
        self.ask("/a", wire)
        self.assertIsInstance(wire.protocol, JobpushChannel)
        self.assertTrue(wire.value().startswith(b"HTTP/1.1 200 OK"), wire.value())
        self.assertFalse(self.site.arrivals)
        self.ask("/b", wire)
        self.assertEqual(self.page.asked, [b"/a", b"/b"])

    def test_many(self) -> None:
        """Of those that come all at once, 5 ms are answered in a turn, in their order; the others are not read meanwhile."""
        wires = [self.ask(f"/{number}") for number in range(9)]
        self.assertEqual([wire.paused for wire in wires], [False] * 3 + [True] * 6)
        self.assertEqual(len(self.channels), 3)
        one_turn(self.clock)
        self.assertEqual(len(self.page.asked), 6)
        one_turn(self.clock)
        self.assertEqual(self.page.asked, [b"/%d" % number for number in range(9)])
        self.assertTrue(all(wire.value().endswith(b"page") and not wire.paused for wire in wires))

    def test_health_checks(self) -> None:
        """Do not wait."""
        for number in range(9):
            self.ask(f"/{number}")
        for path in ("/healthz", "/readyz"):
            self.assertTrue(self.ask(path).value().endswith(b"page"), path)
        self.assertEqual(len(self.turns), 6)

    def test_lost(self) -> None:
        """Who leaves while the request waits, or before there is one, is forgotten."""
        wires = [self.ask(f"/{number}") for number in range(5)]
        wires[3].protocol.connectionLost(Failure(ConnectionDone()))
        silent = self.connect()
        silent.protocol.connectionLost(Failure(ConnectionDone()))
        one_turn(self.clock)
        self.assertEqual(self.page.asked, [b"/0", b"/1", b"/2", b"/4"])
        self.assertFalse(self.site.arrivals)

    def test_nothing_comes(self) -> None:
        """A connection on which nothing has come in 30 seconds is closed."""
        wire = self.connect()
        self.clock.pump([1.0] * int(ARRIVE_S - 1))
        self.assertTrue(wire.connected)
        self.clock.pump([1.0] * 2)
        self.assertFalse(wire.connected)

    def test_too_late(self) -> None:
        """A request that could not be looked at in 30 seconds is answered with 503."""
        wires = [self.ask(f"/{number}") for number in range(5)]
        self.patch(self.turns, "_turn", lambda: None)  # a reactor that has no time
        for call in self.clock.getDelayedCalls():
            if call.getTime() <= self.clock.seconds():
                call.cancel()
        self.clock.pump([1.0] * int(ARRIVE_S + 1))
        self.assertIn(b"503 Service Unavailable", wires[4].value())
        self.assertIn(b"retry-after", wires[4].value().lower())

    def test_half_a_request(self) -> None:
        """The channel waits for the rest, and for no more than 30 seconds."""
        wire = self.connect()
        wire.protocol.dataReceived(b"GET / HT")
        self.assertEqual(list(self.site.arrivals), self.channels)
        self.clock.pump([1.0] * int(ARRIVE_S + 2))
        self.assertIn(b"408", wire.value())

    def test_no_room(self) -> None:
        """Of the descriptors that no connection may have, the channel decides what becomes: one is given up, or this is refused."""
        self.patch(self.site.arrivals, "_first_kept", 100)
        idle = self.connect(99)
        self.clock.advance(arrivals.GRACE_S)
        ours = self.connect(100)
        self.assertEqual((idle.connected, len(self.channels)), (False, 1))
        with capturedLogs():
            refused = self.connect(101)
        self.assertIn(b"503", refused.value())
        self.assertEqual(ours.value(), b"")
        self.patch(self.site.arrivals, "has_room", lambda address: False)
        self.assertIsNone(self.factory.buildProtocol(None))

    def test_behind_another_protocol(self) -> None:
        """As behind TLS, what comes is handed on to the channel."""
        wrapping = WrappingFactory(self.factory)
        wire = self.connect(factory=wrapping)
        self.assertIsInstance(wire.protocol, ProtocolWrapper)
        self.ask("/a", wire)
        self.ask("/b", wire)
        self.assertEqual(self.page.asked, [b"/a", b"/b"])
        lost: list[Any] = []
        self.patch(self.channels[0], "connectionLost", lost.append)
        wire.protocol.connectionLost(Failure(ConnectionDone()))
        self.assertEqual(len(lost), 1)
