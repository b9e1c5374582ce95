"""The bound on what was answered and is not read."""

from __future__ import annotations

import json
import socket
from typing import Any

from twisted.internet.task import deferLater
from twisted.trial.unittest import SynchronousTestCase

from jobpush.web import unread
from jobpush.web.responses import Response
from jobpush.web.unread import LARGE_BYTES, Unread
from tests.web.held.test_connections import House, Stage, bodies, reactor


class _Transport:
    """Keeps what it is given."""

    def __init__(self, kept: int) -> None:
        self.kept = kept


class UnreadTests(SynchronousTestCase):
    """`Unread`."""

    def setUp(self) -> None:
        self.patch(unread, "kept", lambda transport: transport.kept)
        self.unread = Unread(3 * LARGE_BYTES)
        self.large = Response(200, (), b"x" * LARGE_BYTES)

    def test_bound(self) -> None:
        """Large responses are given out as long as what is kept of them, with the next one, is no more than may be."""
        transports = [_Transport(0) for _ in range(4)]
        for transport in transports[:3]:
            self.assertIs(self.unread.choose(self.large, transport), self.large)
            transport.kept = LARGE_BYTES
        refused = self.unread.choose(self.large, transports[3])
        self.assertEqual((refused.status, self.unread.bytes), (503, 3 * LARGE_BYTES))
        self.assertIn(b"retry-after", dict(refused.headers))
        transports[0].kept = 0  # read, or gone
        self.assertIs(self.unread.choose(self.large, transports[3]), self.large)

    def test_small(self) -> None:
        """Small ones are given out whatever is kept."""
        self.assertIs(self.unread.choose(self.large, _Transport(100 * LARGE_BYTES)), self.large)
        small = Response(200, (), b"x" * (LARGE_BYTES - 1))
        self.assertIs(self.unread.choose(small, _Transport(0)), small)
        self.assertEqual(self.unread.choose(self.large, _Transport(0)).status, 503)

    def test_one_that_is_larger(self) -> None:
        """Is given out if nothing else is kept: who asks for it would never get it otherwise."""
        larger = Response(200, (), b"x" * (3 * LARGE_BYTES + 1))
        transport = _Transport(0)
        self.assertIs(self.unread.choose(larger, transport), larger)
        transport.kept = 1
        self.assertEqual(self.unread.choose(larger, _Transport(0)).status, 503)


class ClientsThatDoNotRead(Stage):
    """Over real sockets, with and without channels."""

    def setUp(self) -> None:
        super().setUp()
        self.patch(unread, "MOST_BYTES", 8_000_000)

    def fill(self, house: House) -> None:
        """Many jobs, which make an answer of about 2 MB."""
        for number in range(1000):
            house.lab.queue.set(str(100 + number), "QUEUED", name="n" * 1000)

    def deaf(self, house: House) -> Any:
        """A client that does not read; the kernel keeps little for it."""
        client = house.client()
        client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
        return client

    async def statuses(self, house: House, clients: list[Any], count: int) -> list[bytes]:
        """The statuses of the answers, which are read now."""
        for client in clients:
            await client.until(lambda client=client: len(bodies(client.got)) >= count)
        return [client.got[9:12] for client in clients]

    def narrow(self, house: House) -> None:
        """The kernel keeps little of what is sent, either."""
        for transport in house.transports:
            transport.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)

    async def test_answered_at_once(self) -> None:
        """Of those who ask one after the other some get 503, on each route; when the others have read, they get theirs."""

        async def scene(house: House) -> Any:
            self.fill(house)
            house.lab.tick(3)
            found = []
            for path in ("/v1/jobs?limit=2000", "/v1/changes?since=0&limit=5000&wait=0"):
                clients = []
                for _ in range(10):
                    clients.append(self.deaf(house))
                    await deferLater(reactor, 0.02)
                    self.narrow(house)
                    clients[-1].get(path)
                    await house.until(lambda: not house.resource._requests)
                    self.assertLess(house.resource.connections.unread.bytes, 8_000_000)
                statuses = await self.statuses(house, clients, 1)
                refused = clients[statuses.index(b"503")]
                self.assertIn("too many bytes", json.loads(bodies(refused.got)[0])["detail"])
                refused.get(path)
                await refused.answers(2)
                self.assertGreater(len(bodies(refused.got)[1]), 1_000_000)
                found.append(sorted(set(statuses)))
            return found

        self.assertEqual(await self.both(scene, without=False), [[b"200", b"503"]] * 2)

    async def test_held(self) -> None:
        """Of those who are held for the same some get 503, and nobody is held any more; small answers go out to all."""

        async def scene(house: House) -> Any:
            clients = [self.deaf(house) for _ in range(10)]
            for number, client in enumerate(clients):
                client.get(f"/v1/changes?since={house.lab.cursor}&wait=60&limit=10000")
                await house.held(number + 1)
            small = house.client()
            small.get(f"/v1/jobs/memory/1?since={house.lab.cursor}&wait=60")
            await house.held(11)
            self.narrow(house)
            self.fill(house)
            house.lab.set("1", "SUSPENDED")
            house.lab.tick(3)
            await house.held(0)
            self.assertLess(house.resource.connections.unread.bytes, 8_000_000)
            await small.answers(1)
            return sorted(set(await self.statuses(house, clients, 1)))

        self.assertEqual(await self.both(scene), [b"200", b"503"])
