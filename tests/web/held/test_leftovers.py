"""A client that disconnects while it is held leaves nothing behind, on any route, over real sockets."""

from __future__ import annotations

import gc
import os
import socket
from pathlib import Path

from twisted.internet import reactor
from twisted.internet.task import deferLater
from twisted.internet.tcp import Server
from twisted.trial.unittest import TestCase

from jobpush.web.site import JobpushSite
from tests.support import Lab

ROUTES = (
    "GET /v1/jobs/memory/1?since=now&wait=60",
    "GET /v1/jobs/memory/1?until=terminal&wait=60",
    "GET /v1/jobs/memory/unknown?wait=60",
    "GET /v1/changes?since=now&wait=60",
    "GET /v1/changes?since=now&wait=60&user=kim",
    "GET /v1/changes?since=now&wait=60&job=memory/1",
    "GET /v1/events",
    "GET /v1/events?user=kim",
    "GET /jobstatus?jobId=1&since=now&timeout=60",
    "GET /jobstatus?jobId=unknown&timeout=60",
)


class DisconnectTests(TestCase):
    """Waiters, timers, descriptors."""

    def setUp(self) -> None:
        self.lab = Lab().start()
        self.lab.set("1", "QUEUED", user="kim")
        self.addCleanup(self.lab.stop)
        self.site = JobpushSite(self.lab.resource, self.lab.clock)
        port = reactor.listenTCP(0, self.site, interface="127.0.0.1")  # type: ignore[attr-defined]
        self.addCleanup(port.stopListening)
        self.port = port.getHost().port

    async def until(self, count: int) -> None:
        """As many connections are open on the server's side."""
        while sum(isinstance(reader, Server) for reader in reactor.getReaders()) != count:  # type: ignore[attr-defined]
            self.lab.clock.advance(0)
            await deferLater(reactor, 0.005)

    async def check(self, route: str) -> None:
        await deferLater(reactor, 0)  # the reactor runs, with descriptors of its own
        gc.collect()  # and without those of tests before this one
        timers = len(self.lab.clock.getDelayedCalls())
        descriptors = len(os.listdir("/proc/self/fd"))
        clients = []
        for _ in range(5):
            client = socket.create_connection(("127.0.0.1", self.port))
            client.sendall(f"{route} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            clients.append(client)
        while self.lab.registry.held < 5:
            self.lab.clock.advance(0)
            await deferLater(reactor, 0.005)
        for client in clients:
            client.close()
        await self.until(0)
        self.lab.clock.advance(0)
        self.assertEqual(self.lab.registry.held, 0, route)
        self.assertFalse(self.lab.service.busy, route)
        self.assertTrue(self.lab.service.tracker.idle, route)
        self.assertEqual(list(self.lab.registry.violations()), [], route)
        self.assertFalse(self.lab.service.monitors["memory"]._next_fresh, route)
        self.assertEqual(len(self.lab.clock.getDelayedCalls()), timers, f"{route}: {self.lab.clock.getDelayedCalls()}")
        self.assertLessEqual(len(os.listdir("/proc/self/fd")), descriptors, route)


def _add(number: int, route: str) -> None:
    async def test(self: DisconnectTests) -> None:
        await self.check(route)

    test.__doc__ = f"{route}: nothing is left."
    setattr(DisconnectTests, f"test_route_{number:02}", test)


for _number, _route in enumerate(ROUTES):
    _add(_number, _route)

assert Path("/proc/self/fd").exists(), "these tests count open descriptors in /proc"
