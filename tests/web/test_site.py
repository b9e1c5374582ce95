"""The site by itself: under a root of another program's, and with the requests of such a program."""

from __future__ import annotations

from typing import Any

from twisted.internet import reactor as real_reactor
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock, deferLater
from twisted.internet.testing import StringTransportWithDisconnection
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase, TestCase
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from jobpush.web.site import JobpushSite
from tests.web.held.test_connections import House, bodies

reactor: Any = real_reactor


class Own(Resource):
    """A page of another program."""

    isLeaf = True

    def render(self, request: Any) -> Any:
        if request.path == b"/own/later":
            request.setHeader(b"content-length", b"5")
            request.notifyFinish().addErrback(lambda _: None)
            reactor.callLater(0, lambda: (request.write(b"later"), request.finish()))
            return NOT_DONE_YET
        return b"own"


class EmbeddedHouse(House):
    """A service whose resource is mounted below a plain root."""

    def make_site(self) -> JobpushSite:
        root = Resource()
        root.putChild(b"jobs", self.resource)
        root.putChild(b"own", Own())
        return JobpushSite(root, reactor, self.log)


class Faulty(Resource):
    """A page that fails, before or after it has begun to answer."""

    isLeaf = True

    def __init__(self, begun: bool) -> None:
        super().__init__()
        self.begun = begun

    def render(self, request: Any) -> Any:
        if self.begun:
            request.setHeader(b"content-length", b"10")
            request.write(b"half")
        raise ZeroDivisionError("secret")


class UnreadTests(SynchronousTestCase):
    """`JobpushSite.arrivals`."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.site = JobpushSite(Own(), self.clock)
        self.site.startFactory()
        self.addCleanup(self.site.stopFactory)

    def connect(self) -> Any:
        transport = StringTransportWithDisconnection()
        channel: Any = self.site.buildProtocol(None)
        transport.protocol = channel
        channel.makeConnection(transport)
        self.addCleanup(channel.setTimeout, None)
        return channel

    def test_unread(self) -> None:
        """A connection is unread until its request has come in full, or until it is lost."""
        one, two = self.connect(), self.connect()
        self.assertEqual(list(self.site.arrivals), [one, two])
        one.dataReceived(b"GET /own HTTP/1.1\r\n")
        self.assertEqual(list(self.site.arrivals), [one, two])
        one.dataReceived(b"Host: localhost\r\n\r\n")
        self.assertEqual(list(self.site.arrivals), [two])
        two.transport.loseConnection()
        self.assertEqual(list(self.site.arrivals), [])

    def test_too_slow(self) -> None:
        """A request that has not come in full in 30 seconds is answered so, whatever of it has come, on a kept connection too."""
        get = b"GET /own HTTP/1.1\r\nHost: localhost\r\n"
        for first in (b"", get + b"\r\n"):
            for begin in (b"G", get, get + b"Content-Length: 9\r\n\r\nhalf", get + b"Transfer-Encoding: chunked\r\n\r\n5\r\nab"):
                one = self.connect()
                one.dataReceived(first)
                one.transport.clear()
                self.clock.advance(20.0 if first else 0.0)
                for byte in begin:
                    one.dataReceived(bytes([byte]))
                self.clock.advance(29.0)
                self.assertEqual(one.transport.value(), b"")
                one.dataReceived(b"")
                self.clock.advance(2.0)
                self.assertTrue(one.transport.value().startswith(b"HTTP/1.1 408 "), one.transport.value())
                self.assertIn(b"the request has not come in 30 seconds", one.transport.value())
                self.assertEqual(list(self.site.arrivals), [])

    def test_too_slow_behind_another(self) -> None:
        """So is one whose beginning came while the one before it was not answered yet."""
        waiting: list[Any] = []

        class Later(Resource):
            isLeaf = True

            def render(self, request: Any) -> Any:
                request.setHeader(b"content-length", b"2")
                waiting.append(request)
                return NOT_DONE_YET

        self.site.resource = Later()
        for begin in (b"G", b"GET /own HTTP/1.1\r\nHost: x", b"POST /own HTTP/1.1\r\nContent-Length: 90\r\n\r\n"):
            one = self.connect()
            one.dataReceived(b"GET /own HTTP/1.1\r\nHost: x\r\n\r\n" + begin)
            self.clock.advance(100.0)
            request = waiting.pop()
            request.write(b"ok")
            request.finish()
            one.transport.clear()
            for _ in range(14):
                self.assertEqual(one.transport.value(), b"")
                self.clock.advance(2.0)
                one.dataReceived(b"T")
            self.clock.advance(3.0)
            self.assertTrue(one.transport.value().startswith(b"HTTP/1.1 408 "), (begin, one.transport.value()))

    def test_nothing_comes(self) -> None:
        """A connection on which nothing comes is closed without a word."""
        one = self.connect()
        self.clock.advance(29.0)
        self.assertTrue(one.transport.connected)
        self.clock.advance(2.0)
        self.assertEqual((one.transport.connected, one.transport.value()), (False, b""))


class FaultTests(SynchronousTestCase):
    """Faults of what answers."""

    def answer(self, begun: bool) -> StringTransportWithDisconnection:
        """What a client gets."""
        site = JobpushSite(Faulty(begun), Clock())
        site.startFactory()
        self.addCleanup(site.stopFactory)
        transport = StringTransportWithDisconnection()
        channel: Any = site.buildProtocol(None)
        transport.protocol = channel
        channel.makeConnection(transport)
        channel.dataReceived(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        if transport.connected:
            channel.connectionLost(Failure(ConnectionDone()))
        return transport

    def test_before(self) -> None:
        """The log has the fault, the client a problem without a word of it."""
        data = self.answer(begun=False).value()
        self.assertTrue(data.startswith(b"HTTP/1.1 500 "))
        self.assertIn(b"application/problem+json", data)
        self.assertNotIn(b"secret", data)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_after(self) -> None:
        """Half of a response is not taken for a whole one: the connection ends without the rest."""
        transport = self.answer(begun=True)
        self.assertFalse(transport.connected)
        self.assertTrue(transport.value().endswith(b"\r\n\r\nhalf"))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)


class EmbeddingTests(TestCase):
    """`JobpushSite` with a plain resource at its root."""

    timeout = 30

    async def test_mounted(self) -> None:
        """Both programs' pages are answered on one connection, in any order, and held requests lose their channels here too."""
        house = EmbeddedHouse(self, True)
        client = house.client()
        for path in ("/own", "/jobs/v1/jobs/memory/1", "/own/later", "/jobs/healthz", "/nothing"):
            count = len(bodies(client.got))
            client.get(path)
            await client.answers(count + 1)
        client.get(f"/jobs/v1/jobs/memory/1?since={house.lab.cursor}&wait=60")
        await house.held(1)
        self.assertEqual(house.free_connections, 1)
        house.lab.set("1", "SUSPENDED")
        await client.answers(6)
        client.get("/own")
        await client.answers(7)
        found = bodies(client.got)
        self.assertEqual([found[0], found[2], found[6]], [b"own", b"later", b"own"])
        self.assertIn(b'"SUSPENDED"', found[5])
        await deferLater(reactor, 0.01)
        self.assertEqual(len(house.access_log()), 7)
        await house.stop()
