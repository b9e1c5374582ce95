"""What clients make the service keep for them is bounded in bytes, on every route, over real sockets."""

from __future__ import annotations

import json
import socket
from urllib.parse import urlencode

from twisted.internet import reactor
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from jobpush.web.held import connections, registry
from tests.web.held.test_connections import Client, House
from tests.web.held.test_websocket import frame

UPGRADE = (
    "Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: MDAwMDAwMDAwMDAwMDAwMA==",
)  # fmt: skip

#: Values with which a question takes up more than `registry.SMALL`, and less than half of `MOST`.
USERS = [f"user{number}" for number in range(12)]
MOST = 16_000

ROUTES = ("GET changes", "POST changes", "GET wait", "POST wait", "events", "socket")


def ask(client: Client, route: str, prefix: str) -> None:
    """Ask for what is held, with values that begin so."""
    users = [prefix + user for user in USERS]
    jobs = [f"memory/{number}{prefix}" for number in range(1, 13)]
    if route == "GET changes":
        client.get(f"/v1/changes?{urlencode({'since': 'now', 'wait': 60, 'user': users}, doseq=True)}")
    elif route == "POST changes":
        client.get("/v1/changes", method="POST", body=json.dumps({"since": "now", "wait": 60, "user": users}).encode())
    elif route == "GET wait":
        client.get(f"/v1/wait?{urlencode({'wait': 60, 'job': jobs}, doseq=True)}")
    elif route == "POST wait":
        client.get("/v1/wait", method="POST", body=json.dumps({"wait": 60, "jobs": jobs}).encode())
    elif route == "events":
        client.get(f"/v1/events?{urlencode({'user': users}, doseq=True)}")
    else:
        client.get(f"/v1/socket?{urlencode({'user': users}, doseq=True)}", *UPGRADE)


class BoundsTests(TestCase):
    """Filters and ids, early bytes, pongs."""

    timeout = 60

    async def filters(self, route: str) -> None:
        self.patch(registry, "MOST_BYTES", MOST)
        house = House(self, True)
        try:
            first, again, refused, small, fast = (house.client() for _ in range(5))
            for prefix in "ab" if "wait" in route else "a":
                ask(first if prefix == "a" else again, route, "a")
                await house.until(lambda: house.registry.held >= 1)
            await house.until(lambda: house.registry.held >= (2 if "wait" in route else 1))
            held, size = house.registry.held, house.registry.size()
            self.assertTrue(registry.SMALL < size < MOST, size)
            if "wait" not in route:
                ask(again, route, "a")
                await house.until(lambda: house.registry.held == held + 1)
                self.assertEqual(house.registry.size(), size, "those that ask alike share it")
            ask(refused, route, "b")
            await refused.until(lambda: b"\r\n\r\n" in refused.got)
            self.assertIn(b"HTTP/1.1 503", refused.got)
            self.assertIn(b"retry-after: ", refused.got.lower())
            held = house.registry.held
            small.get("/v1/jobs/memory/1?since=now&wait=60")
            await house.until(lambda: house.registry.held == held + 1)
            # The fast path: the next request on a connection.
            fast.get("/v1/jobs/memory/1")
            await fast.until(lambda: b"200 OK" in fast.got)
            fast.got = b""
            ask(fast, "GET changes", "c")
            await fast.until(lambda: b"\r\n\r\n" in fast.got)
            self.assertIn(b"HTTP/1.1 503", fast.got)
            for client in (first, again):
                client.socket.close()
            await house.until(lambda: house.registry.held == 1)
            third = house.client()
            ask(third, route, "b")
            await house.until(lambda: house.registry.held == 2)
            self.assertEqual(house.violations(), [])
        finally:
            await house.stop()

    async def test_a_message_of_a_web_socket(self) -> None:
        """Other filters by a message are refused in a message, and it follows what it followed."""
        self.patch(registry, "MOST_BYTES", MOST)
        house = House(self, True)
        try:
            first, second = house.client(), house.client()
            ask(first, "events", "a")
            second.get("/v1/socket", *UPGRADE)
            await second.until(lambda: b"selected" in second.got)
            users = ["b" + user for user in USERS]
            second.send(frame(0x81, json.dumps({"select": {"user": users}}).encode()))
            await second.until(lambda: b'"type":"error"' in second.got)
            self.assertIn(b'"status":503', second.got)
            size = house.registry.size()
            second.send(frame(0x81, json.dumps({"select": {"user": users[:2]}}).encode()))
            await second.until(lambda: second.got.count(b"selected") == 2)
            self.assertGreater(house.registry.size(), size, "a small one has room")
        finally:
            await house.stop()

    async def test_pings_of_one_who_does_not_read(self) -> None:
        """Pongs wait for the client as everything else does: a megabyte of them at most."""
        house = House(self, True)
        try:
            client = house.client()
            client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.get("/v1/socket", *UPGRADE)
            await house.until(lambda: house.registry.held == 1)
            pings = frame(0x89, b"x" * 125) * 500
            for _ in range(300):
                try:
                    client.socket.send(pings)
                except BlockingIOError:
                    pass
                except OSError:
                    break
                await deferLater(reactor, 0.001)
                if not house.registry.held:
                    break
            self.assertEqual(house.registry.held, 0, "it was ended")
        finally:
            await house.stop()

    async def test_requests_behind_held_ones(self) -> None:
        """What comes while a request is held is kept, so much of each; of all of them so much, and then who sends more is ended."""
        self.patch(connections, "MOST_EARLY_BYTES", 3 * connections.EARLY_BYTES)
        house = House(self, True)
        try:
            clients = [house.client() for _ in range(6)]
            for client in clients:
                client.get("/v1/jobs/memory/1?since=now&wait=60")
            await house.until(lambda: house.registry.held == 6)
            for client in clients:
                client.send(b"GET /" + b"x" * (connections.EARLY_BYTES + 1))
                await deferLater(reactor, 0.05)
            await house.until(lambda: house.registry.held < 6)
            kept = house.resource.connections._early
            self.assertLessEqual(sum(map(len, kept.values())), 3 * connections.EARLY_BYTES)
            self.assertGreaterEqual(house.registry.held, 2)
            for client in clients:
                client.socket.close()
            house.lab.clock.advance(61)  # nothing is read of those that have sent too much: not even that they are gone
            await house.until(lambda: not house.registry.held)
            await deferLater(reactor, 0.3)  # the access log
        finally:
            await house.stop()


def _add(route: str) -> None:
    async def test(self: BoundsTests) -> None:
        await self.filters(route)

    test.__doc__ = f"{route}: 503 where the filters and ids of held requests take up too much; equal ones take it up once."
    setattr(BoundsTests, f"test_{route.replace(' ', '_')}", test)


for _route in ROUTES:
    _add(_route)
