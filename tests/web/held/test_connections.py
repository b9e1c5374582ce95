"""
Held requests over real sockets, with and without their channels: the same bytes either way, whatever the client does meanwhile.
"""

from __future__ import annotations

import errno
import json
import os
import re
import socket
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from unittest import mock
from urllib.parse import parse_qs

from twisted.internet import reactor as real_reactor
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from jobpush.core import wire
from jobpush.runtime.turns import Turns
from jobpush.web import access_log, resource
from jobpush.web.first_requests import FirstRequests
from jobpush.web.held import response_group
from jobpush.web.held.connection import HeldConnection, StreamConnection
from jobpush.web.held.connections import EARLY_BYTES
from jobpush.web.params import size_of
from jobpush.web.site import JobpushSite
from tests.support import Lab

reactor: Any = real_reactor


class Client:
    """A connection that is written to and read from as the test likes."""

    def __init__(self, house: House) -> None:
        self.house = house
        self.socket = socket.socket(socket.AF_UNIX if house.path else socket.AF_INET)
        self.socket.connect(house.path or ("127.0.0.1", house.port.getHost().port))
        self.socket.setblocking(False)
        self.got = b""
        self.closed = False

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def get(self, path: str, *headers: str, method: str = "GET", version: str = "1.1", body: bytes = b"") -> None:
        """Send a request."""
        lines = [f"{method} {path} HTTP/{version}", "Host: localhost", *headers]
        if body:
            lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
        self.send("\r\n".join([*lines, "", ""]).encode() + body)

    def read(self) -> None:
        """What is there."""
        try:
            while data := self.socket.recv(1 << 16):
                self.got += data
            self.closed = True
        except BlockingIOError:
            pass
        except OSError:
            self.closed = True

    async def until(self, condition: Callable[[], object]) -> None:
        """Read on until it holds."""
        await self.house.until(lambda: (self.read(), condition())[1], lambda: repr(self.got[-500:]))

    async def answers(self, count: int) -> bytes:
        """So many whole answers, in a form in which those of two services are the same."""
        await self.until(lambda: len(bodies(self.got)) >= count)
        return self.house.plain(self.got)


def bodies(data: bytes) -> list[bytes]:
    """The bodies of the whole answers in this, all of which have a length or none."""
    found = []
    while b"\r\n\r\n" in data:
        head, _, data = data.partition(b"\r\n\r\n")
        length = re.search(rb"(?i)content-length: (\d+)", head)
        size = int(length[1]) if length is not None else 0
        if len(data) < size:
            break
        found.append(data[:size])
        data = data[size:]
    return found


def stream_of(data: bytes) -> bytes:
    """The head, and what was sent in chunks, however it was cut; without signs of life."""
    head, _, data = data.partition(b"\r\n\r\n")
    found = []
    while data:
        size, _, data = data.partition(b"\r\n")
        found.append(data[: int(size, 16)])
        assert data[int(size, 16) :][:2] == b"\r\n"
        data = data[int(size, 16) + 2 :]
    return head + b"".join(found).replace(b": alive\n\n", b"")


class House:
    """A service behind a real port, whose clock the test moves."""

    def __init__(
        self, case: TestCase, without_channels: bool, max_held: int = 1000, path: str | None = None, **access: Any
    ) -> None:
        self.lab = Lab()
        self.lab.queue.set("1", "RUNNING", name="a")
        self.lab.start()
        self.without_channels = without_channels
        self.path = path
        self.resource = resource(self.lab.service, max_held=max_held, keep_channels=not without_channels, **access)
        self.registry = self.resource.registry
        self.log = os.path.abspath(case.mktemp())
        self.site = self.make_site()
        first = FirstRequests(self.resource.turns, self.site)
        self.port = reactor.listenUNIX(path, first) if path else reactor.listenTCP(0, first, interface="127.0.0.1")
        self.clients: list[Client] = []

    def make_site(self) -> JobpushSite:
        """The site that listens."""
        return JobpushSite(self.resource, reactor, self.log)

    def client(self) -> Client:
        self.clients.append(Client(self))
        return self.clients[-1]

    @property
    def free_connections(self) -> int:
        """The number of connections without channels, whether a request is held on them or not."""
        return sum(isinstance(transport.protocol, HeldConnection | StreamConnection) for transport in self.transports)

    def violations(self) -> list[str]:
        """What is not as it must be of held requests."""
        return [*self.registry.violations(), *self.resource.connections.violations()]

    @property
    def transports(self) -> list[Any]:
        """The connections."""
        return [reader for reader in reactor.getReaders() if getattr(reader, "server", None) is self.port]

    async def until(self, condition: Callable[[], object], shown: Callable[[], str] = str) -> None:
        until = time.monotonic() + 10
        while not condition():
            if time.monotonic() > until:
                raise AssertionError(f"not within 10 s: {shown()}")
            await deferLater(reactor, 0.002)
            self.lab.clock.advance(0)

    async def held(self, count: int) -> None:
        """So many requests are held, without their channels where they can be."""
        await self.until(lambda: self.registry.held == count, lambda: f"{self.registry.held} are held")

    async def hold(self, client: Client, *headers: str, query: str = "", **how: Any) -> None:
        """A request that waits for job 1's next change."""
        before = self.registry.held
        client.get(f"/v1/jobs/memory/1?since={self.lab.cursor}&wait=60{query}", *headers, **how)
        await self.held(before + 1)

    def plain(self, data: bytes) -> bytes:
        """Without what differs between two services that do the same."""
        epoch = self.lab.service.feed.epochs.current.encode()
        data = data.replace(epoch, b"E" * len(epoch))
        data = re.sub(rb"\r\nDate: [^\r]*", b"\r\nDate: D", data)
        data = re.sub(rb"\nretry: \d{4}\n", b"\nretry: NNNN\n", data)
        return re.sub(rb"(?i)(\r\nRetry-After: )\d+", rb"\1N", data)

    def access_log(self) -> list[str]:
        """Its lines, in a form in which those of two services are the same."""
        self.site.access_log.flush()
        return self.plain(Path(self.log).read_bytes()).decode().splitlines()

    async def stop(self) -> None:
        for client in self.clients:
            client.socket.close()
        await self.port.stopListening()
        await self.until(lambda: not self.transports)
        self.lab.stop()


Scene = Callable[[House], Awaitable[Any]]


class Stage(TestCase):
    """Each scene is played twice, and gives the same."""

    timeout = 60

    async def both(self, scene: Scene, without: bool = True, **how: Any) -> Any:
        """
        Play it without channels and with them, and return what it gives.

        :param without: whether a request of the scene can be held without its channel.
        """
        given = []
        for without_channels in (True, False):
            if how.get("path"):
                how["path"] = f"{os.path.relpath(self.mktemp())}"
                Path(how["path"]).parent.mkdir(parents=True, exist_ok=True)
            house = House(self, without_channels, **how)
            taken: list[bool] = []
            join = house.registry._join

            def noted(member: Any, *rest: Any, join: Any = join, taken: list[bool] = taken) -> Any:
                taken.append(isinstance(member, HeldConnection | StreamConnection))
                return join(member, *rest)

            house.registry._join = noted  # type: ignore[method-assign]
            try:
                given.append(await scene(house))
                self.assertEqual((house.registry.held, house.lab.service.busy, list(house.violations())), (0, False, []))
                self.assertTrue(house.lab.service.tracker.idle)
            finally:
                await house.stop()
            self.assertEqual(any(taken), without_channels and without, "whether a request was held without its channel")
        self.assertEqual(given[0], given[1])
        return given[0]


class HeldRequests(Stage):
    """Long polls."""

    async def test_a_change(self) -> None:
        """Told to all that wait; each connection goes on."""

        async def scene(house: House) -> Any:
            clients = [house.client() for _ in range(40)]
            for client in clients:
                await house.hold(client)
            house.lab.set("1", "SUSPENDED")
            first = [await client.answers(1) for client in clients]
            self.assertEqual(len(set(first)), 1)
            for client in clients:
                await house.hold(client)
            house.lab.set("1", "COMPLETED", exit_code=0)
            return [await client.answers(2) for client in clients]

        given = await self.both(scene)
        body = json.loads(bodies(given[0])[1])
        self.assertEqual((body["job"]["state"], body["timed_out"]), ("COMPLETED", False))
        self.assertEqual([event["job"]["state"] for event in body["events"]], ["COMPLETED"])

    async def test_the_time_is_up(self) -> None:
        """Each in its time, with the cursor of then; also where another change was seen meanwhile."""

        async def scene(house: House) -> Any:
            first, second = house.client(), house.client()
            await house.hold(first)
            house.lab.clock.advance(20)
            house.lab.set("2", "RUNNING")
            await house.hold(second)
            house.lab.clock.advance(41)
            given = [await first.answers(1)]
            self.assertEqual(house.registry.held, 1)
            house.lab.clock.advance(21)
            given.append(await second.answers(1))
            return given

        for answer in await self.both(scene):
            self.assertTrue(json.loads(bodies(answer)[0])["timed_out"])

    async def test_no_deadline_is_overrun(self) -> None:
        """Every answer comes between 15/16 of the wait and the wait: a proxy in front may wait no longer than the client."""

        async def scene(house: House) -> Any:
            clients = [house.client() for _ in range(50)]
            for client in clients:
                await house.hold(client)
            house.lab.clock.advance(60 * 15 / 16 - 0.1)
            self.assertEqual(house.registry.held, 50)
            house.lab.clock.pump([0.01] * 385)
            return [json.loads(bodies(await client.answers(1))[0])["timed_out"] for client in clients]

        self.assertEqual(await self.both(scene), [True] * 50)

    async def test_held_for_longer_than_it_was_idle(self) -> None:
        """The deadline of a connection that waits for its next request does not cut that request when it is held."""

        async def scene(house: House) -> Any:
            client = house.client()
            await house.hold(client)
            house.lab.set("1", "SUSPENDED")
            await client.answers(1)
            house.lab.clock.advance(40)
            client.get(f"/v1/jobs/memory/1?since={house.lab.cursor}&wait=600")
            await house.held(1)
            house.lab.clock.pump([1.0] * 300)
            client.read()
            self.assertEqual((house.registry.held, client.closed), (1, False))
            house.lab.set("1", "RUNNING")
            return await client.answers(2)

        await self.both(scene)

    async def test_size(self) -> None:
        """A held question takes up the bytes of its address, whatever it asks and whichever way it came."""

        async def scene(house: House) -> Any:
            client = house.client()
            for route in ("/v1/jobs/memory/1?", "/jobstatus?jobId=1&", "/v1/changes?job=memory/1&", "/v1/wait?job=memory/1&"):
                for _ in range(2):
                    house.lab.set("1", "RUNNING")
                    path = f"{route}since={house.lab.cursor}"
                    client.get(path)
                    await house.held(1)
                    values = parse_qs(path.partition("?")[2])
                    self.assertEqual(house.registry.size(), size_of(values))
                    house.lab.set("1", "COMPLETED")
                    await house.held(0)

        await self.both(scene)

    async def test_until(self) -> None:
        """What is gathered on the way is in the answer: for each from its own cursor on."""

        async def scene(house: House) -> Any:
            clients = [house.client() for _ in range(3)]
            await house.hold(clients[0], query="&until=terminal")
            cursor = house.lab.cursor
            house.lab.set("1", "SUSPENDED")
            await house.hold(clients[1], query="&until=terminal")
            clients[2].get(f"/v1/jobs/memory/1?since={cursor}&wait=60&until=terminal")
            await house.held(3)
            house.lab.set("1", "RUNNING")
            self.assertEqual(house.registry.held, 3)
            house.lab.set("1", "COMPLETED", exit_code=0)
            return [await client.answers(1) for client in clients]

        given = await self.both(scene)
        self.assertEqual([len(json.loads(bodies(answer)[0])["events"]) for answer in given], [3, 2, 3])
        self.assertEqual(given[0], given[2])

    async def test_changes(self) -> None:
        """The feed, by GET and by POST, with filters; those that wait for the same share an answer, others do not."""

        async def scene(house: House) -> Any:
            clients = [house.client() for _ in range(4)]
            cursor = house.lab.cursor
            clients[0].get(f"/v1/changes?since={cursor}&wait=60")
            clients[1].get(f"/v1/changes?since={cursor}&wait=60&user=kim")
            clients[2].get("/v1/changes", method="POST", body=json.dumps({"since": cursor, "wait": 60, "jobs": ["memory/7"]}).encode())
            clients[3].get(f"/v1/changes?since={cursor}&wait=60&user=kim&limit=1")
            await house.held(4)
            house.lab.queue.set("7", "QUEUED", user="kim")
            house.lab.queue.set("8", "QUEUED", user="kim")
            house.lab.set("9", "QUEUED", user="lee")
            return [await client.answers(1) for client in clients]

        given = await self.both(scene)
        self.assertEqual([len(json.loads(bodies(answer)[0])["events"]) for answer in given], [3, 2, 1, 1])

    async def test_held_again_where_the_time_was_up(self) -> None:
        """Whose time is up and who asks again is held once; all others keep their deadlines, and the counts are right."""

        async def scene(house: House) -> Any:
            again = [house.client() for _ in range(12)]
            for client in again:
                client.get(f"/v1/jobs/memory/1?since={house.lab.cursor}&wait=2")
            await house.held(12)
            stays = house.client()
            await house.hold(stays)
            house.lab.clock.advance(2)
            await house.held(1)
            for client in again:
                await house.hold(client)
            others = [house.client() for _ in range(5)]
            house.lab.queue.set("2", "RUNNING")
            house.lab.tick()
            cursor = house.lab.cursor
            paths = (
                f"/v1/changes?job=memory/2&since={cursor}&wait=5", "/v1/jobs/memory/2?since=now&wait=5",
                "/v1/wait?job=memory/2&wait=5", f"/jobstatus?jobId=2&since={cursor}&timeout=5",
                "/v1/jobs/memory/2?until=terminal&wait=5",
            )  # fmt: skip
            for client, path in zip(others, paths, strict=True):
                client.get(path)
            await house.held(18)
            house.lab.set("1", "SUSPENDED")
            for client in again:
                await client.answers(2)
            await house.held(5)
            house.lab.clock.advance(5)
            return [await client.answers(1) for client in others]

        given = await self.both(scene)
        self.assertEqual([json.loads(bodies(answer)[0]) is None or json.loads(bodies(answer)[0])["timed_out"] for answer in given], [True] * 5)

    async def test_held_again_at_the_end(self) -> None:
        """At the end of the service one that was held twice in one place is answered once, and before its connection ends."""
        self.patch(response_group, "AT_ONCE", 1)

        async def scene(house: House) -> Any:
            client, stays = house.client(), house.client()
            await house.hold(stays)
            client.get(f"/v1/jobs/memory/1?since={house.lab.cursor}&wait=2")
            await house.held(2)
            house.lab.clock.advance(2)
            await client.answers(1)
            await house.hold(client)
            house.lab.service.announce_end()
            for one in (client, stays):
                await one.until(lambda one=one: one.closed)
            return [house.plain(one.got) for one in (client, stays)]

        given = await self.both(scene)
        self.assertEqual([len(bodies(answer)) for answer in given], [2, 1])

    async def test_preferences(self) -> None:
        """``If-None-Match`` with ``Prefer: wait``: 304 when the time is up, 200 with the next version."""

        async def scene(house: House) -> Any:
            client = house.client()
            client.get("/v1/jobs/memory/1")
            await client.answers(1)
            etag = re.search(rb"(?i)etag: ([^\r]+)", client.got)
            assert etag is not None
            asked = f"If-None-Match: {etag[1].decode()}", "Prefer: wait=30"
            client.get("/v1/jobs/memory/1", *asked)
            await house.held(1)
            house.lab.clock.advance(31)
            await client.answers(2)
            client.get("/v1/jobs/memory/1", *asked)
            await house.held(1)
            house.lab.set("1", "SUSPENDED")
            return await client.answers(3)

        given = await self.both(scene)
        self.assertEqual(re.findall(rb"HTTP/1.1 (\d+)", given), [b"200", b"304", b"200"])

    async def test_the_call_of_2010(self) -> None:
        """``/jobstatus``, answered and timed out."""

        async def scene(house: House) -> Any:
            client = house.client()
            for _ in range(2):
                client.get(f"/jobstatus?jobId=1&timeout=30&since={house.lab.cursor}")
                await house.held(1)
                house.lab.clock.advance(31)
                await house.held(0)
            client.get(f"/jobstatus?jobId=1&timeout=30&since={house.lab.cursor}")
            await house.held(1)
            house.lab.set("1", "COMPLETED", exit_code=0)
            return await client.answers(3)

        given = await self.both(scene)
        self.assertEqual([body == b"null" for body in bodies(given)], [True, True, False])

    async def test_pipelined_in_one_segment(self) -> None:
        """The second request is answered after the first, by whichever way that is held."""

        async def scene(house: House) -> Any:
            client = house.client()
            cursor = house.lab.cursor
            first = f"GET /v1/jobs/memory/1?since={cursor}&wait=60 HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
            client.send(first + b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
            await house.held(1)
            house.lab.set("1", "SUSPENDED")
            return await client.answers(2)

        given = await self.both(scene, without=False)
        self.assertIn(b'"ok"', bodies(given)[1])

    async def test_pipelined_later(self) -> None:
        """What comes while the first is held, in pieces: answered after it, and in its order."""

        async def scene(house: House) -> Any:
            client = house.client()
            await house.hold(client)
            cursor = house.lab.cursor
            for piece in (b"GET /heal", b"thz HTTP/1.1\r\nHost: localhost\r\n", b"\r\nGET /v1/jobs/memory/1?wait=60&since="):
                client.send(piece)
                await deferLater(reactor, 0.01)
            self.assertEqual(client.got, b"")
            house.lab.set("1", "SUSPENDED")
            await client.answers(2)
            client.send(f"{cursor} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            return await client.answers(3)

        given = bodies(await self.both(scene))
        self.assertIn(b'"ok"', given[1])
        self.assertEqual(len(json.loads(given[2])["events"]), 1)

    async def test_more_than_is_kept(self) -> None:
        """A client that goes on sending is read no further than that, and nothing of it is lost."""

        async def scene(house: House) -> Any:
            client = house.client()
            await house.hold(client)
            client.send(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n" * (3 * EARLY_BYTES // 37))
            await deferLater(reactor, 0.05)
            house.lab.set("1", "SUSPENDED")
            await client.answers(1 + 3 * EARLY_BYTES // 37)
            return len(bodies(client.got)), set(bodies(client.got)[1:])

        await self.both(scene)

    async def test_not_without_their_channels(self) -> None:
        """HTTP/1.0, ``Connection: close``, HEAD: held by their Deferreds, and right."""

        async def scene(house: House) -> Any:
            given = []
            for headers, how in (((), {"version": "1.0"}), (("Connection: close",), {}), ((), {"method": "HEAD"})):
                client = house.client()
                await house.hold(client, *headers, **how)
                house.lab.set("1", "SUSPENDED" if house.lab.states()["1"] == "RUNNING" else "RUNNING")
                if "method" in how:
                    await client.until(lambda client=client: b"\r\n\r\n" in client.got)
                else:
                    await client.until(lambda client=client: client.closed)
                given.append(house.plain(client.got))
            return given

        given = await self.both(scene, without=False)
        self.assertTrue(given[2].endswith(b"\r\n\r\n"))

    async def test_disconnected(self) -> None:
        """While it is held; by half, too; while all are answered. Nobody else notices."""

        async def scene(house: House) -> Any:
            clients = [house.client() for _ in range(30)]
            for client in clients:
                await house.hold(client)
            clients[0].socket.close()
            clients[1].socket.shutdown(socket.SHUT_WR)
            await house.held(28)
            house.lab.clock.advance(0)
            # These leave while the others are answered: the server has not heard of it yet.
            house.lab.queue.set("1", "SUSPENDED")
            house.lab.clock.advance(1.0)
            for client in clients[2:12]:
                client.socket.close()
            house.lab.tick()
            return {await client.answers(1) for client in clients[12:]}

        self.assertEqual(len(await self.both(scene)), 1)

    async def test_a_slow_reader(self) -> None:
        """An answer that the kernel does not take at once arrives whole; the next request is answered after it."""

        async def scene(house: House) -> Any:
            client = house.client()
            client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
            client.get(f"/v1/changes?since={house.lab.cursor}&wait=60&limit=10000")
            await house.held(1)
            (transport,) = house.transports
            transport.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
            for number in range(3000):
                house.lab.queue.set(str(100 + number), "QUEUED", name="n" * 1000)
            house.lab.tick(3)
            await house.held(0)
            self.assertTrue(transport.dataBuffer or transport._tempDataBuffer)
            client.get("/healthz")
            await deferLater(reactor, 0.05)
            given = await client.answers(2)
            return len(given), bodies(client.got)[1]

        size, second = await self.both(scene)
        self.assertGreater(size, 500_000)
        self.assertIn(b'"ok"', second)

    async def test_the_end_of_the_service(self) -> None:
        """Everybody is answered, told to come back, and on another connection."""

        async def scene(house: House) -> Any:
            clients = [house.client() for _ in range(20)]
            for client in clients:
                await house.hold(client)
            house.lab.service.announce_end()
            for client in clients:
                await client.until(lambda client=client: client.closed)
            late = house.client()
            late.get(f"/v1/jobs/memory/1?since={house.lab.cursor}&wait=60")
            await late.until(lambda: late.closed)
            return [house.plain(client.got) for client in (*clients, late)]

        for answer in await self.both(scene):
            self.assertRegex(answer, rb"(?i)\r\nconnection: close\r\n")
            self.assertRegex(answer, rb"(?i)\r\nretry-after: N\r\n")

    async def test_too_many(self) -> None:
        """The first that is too many gets 503, and its connection goes on."""

        async def scene(house: House) -> Any:
            first, second = house.client(), house.client()
            await house.hold(first)
            second.get(f"/v1/jobs/memory/1?since={house.lab.cursor}&wait=60")
            await second.answers(1)
            house.lab.set("1", "SUSPENDED")
            await first.answers(1)
            await house.hold(second)
            house.lab.set("1", "RUNNING")
            return await second.answers(2)

        given = await self.both(scene, max_held=1)
        self.assertEqual(re.findall(rb"HTTP/1.1 (\d+)", given), [b"503", b"200"])

    async def test_a_unix_socket(self) -> None:
        """As over TCP."""

        async def scene(house: House) -> Any:
            client = house.client()
            for state in ("SUSPENDED", "RUNNING"):
                await house.hold(client)
                house.lab.set("1", state)
                await house.held(0)
            return await client.answers(2)

        await self.both(scene, path="unix")

    async def test_the_access_log(self) -> None:
        """The same lines, with the time for which it was held."""

        async def scene(house: House) -> Any:
            client = house.client()
            await house.hold(client, 'User-Agent: a "test" \\ 1', "Referer: http://x/\xe9")
            await deferLater(reactor, 0.1)
            house.lab.set("1", "SUSPENDED")
            await client.answers(1)
            await house.hold(client)
            house.lab.clock.advance(61)
            await client.answers(2)
            lines = house.access_log()
            for line in lines:
                self.assertRegex(line, r'^"127.0.0.1" - - \[[^]]+\] "GET /v1/jobs/memory/1\?since=E+-\d+&wait=60 HTTP/1.1" 200 \d+ "')
            self.assertGreaterEqual(float(lines[0].rpartition(" ")[2]), 0.1)
            return [re.sub(r"\[[^]]+\]", "[]", line.rpartition(" ")[0]) for line in lines]

        given = await self.both(scene)
        self.assertIn('"http://x/\\xc3\\xa9" "a \\"test\\" \\\\ 1"', given[0])

    async def test_the_access_log_of_many(self) -> None:
        """Each its own line, also where most have left before they were answered."""
        self.patch(response_group, "AT_ONCE", 4)
        agents = [f"{number // 30}-{number // 3 % 3}" for number in range(60)]
        stay = range(0, 60, 5)

        async def scene(house: House) -> Any:
            clients = []
            for number, agent in enumerate(agents):
                if number == 30:
                    await deferLater(reactor, 0.3)
                clients.append(house.client())
                await house.hold(clients[-1], f"User-Agent: {agent}")
            for number, client in enumerate(clients):
                if number not in stay:
                    client.socket.close()
            await house.held(len(stay))
            house.lab.set("1", "SUSPENDED")
            self.assertEqual(len({await clients[number].answers(1) for number in stay}), 1)
            lines = [line.rsplit(" ", 2) for line in house.access_log()]
            early = [float(held) for _, agent, held in lines if agent[1] == "0"]
            late = [float(held) for _, agent, held in lines if agent[1] == "1"]
            self.assertGreater(min(early), max(late) + 0.29)
            return sorted(agent for _, agent, _ in lines)

        self.assertEqual(await self.both(scene), sorted(f'"{agents[number]}"' for number in stay))

    async def test_an_access_log_that_cannot_be_written(self) -> None:
        """Everybody is answered, and goes on."""

        async def scene(house: House) -> Any:
            clients = [house.client() for _ in range(10)]
            for client in clients:
                await house.hold(client)
            sink = mock.Mock()
            sink.write.side_effect = OSError(errno.ENOSPC, "No space left on device")
            with (
                mock.patch.object(house.site.access_log, "_sink", sink),
                mock.patch.object(access_log, "BUFFER", 0),
                mock.patch.object(response_group, "AT_ONCE", 3),
            ):
                house.lab.set("1", "SUSPENDED")
                return [await client.answers(1) for client in clients]

        await self.both(scene)

    async def test_a_fault_in_an_answer(self) -> None:
        """Is logged once for each answer that is rendered, and everybody is told 500."""

        async def scene(house: House) -> Any:
            client = house.client()
            await house.hold(client)
            with mock.patch.object(wire, "joined", None):
                house.lab.set("1", "SUSPENDED")
                await client.answers(1)
            self.assertEqual(len(self.flushLoggedErrors(TypeError)), 1)
            return re.findall(rb"HTTP/1.1 (\d+)", client.got), bodies(client.got)

        await self.both(scene)


class OpenStreams(Stage):
    """Server-sent events."""

    async def follow(self, house: House, query: str = "") -> Client:
        """One that has caught up."""
        before = house.registry.held
        client = house.client()
        client.get(f"/v1/events{query}")
        await house.held(before + 1)
        await client.until(lambda: b"retry: " in client.got)
        return client

    async def told(self, clients: list[Client], text: bytes) -> list[bytes]:
        """What each of them has got when it has got that."""
        for client in clients:
            await client.until(lambda client=client: text in client.got)
        return [stream_of(client.house.plain(client.got)) for client in clients]

    async def leave(self, house: House) -> None:
        """All of them."""
        for client in house.clients:
            client.socket.close()
        await house.held(0)
        # The service lets go of a follower a turn after its connection is gone.
        await house.until(lambda: not house.lab.service.busy)

    async def test_events(self) -> None:
        """Told to all that follow; those that come later get what they have missed first."""

        async def scene(house: House) -> Any:
            begin = house.lab.cursor
            clients = [await self.follow(house) for _ in range(40)]
            house.lab.set("1", "SUSPENDED")
            first = await self.told(clients, b"SUSPENDED")
            self.assertEqual(len(set(first)), 1)
            clients.append(await self.follow(house, f"?since={begin}"))
            clients.append(await self.follow(house, "?job=memory/2"))
            house.lab.set("2", "QUEUED")
            house.lab.set("1", "COMPLETED", exit_code=0)
            house.lab.set("2", "RUNNING")
            house.lab.set("2", "COMPLETED", exit_code=7)
            given = await self.told(clients, b'"exit_code":7')
            await self.leave(house)
            return given

        given = await self.both(scene)
        self.assertEqual(len(set(given[:40])), 1)
        self.assertEqual([len(re.findall(rb"\nevent: job|^event: job", answer)) for answer in (given[0], given[40], given[41])], [5, 5, 3])

    async def test_between_publishing_and_telling(self) -> None:
        """Who comes in just then gets each event once."""

        async def scene(house: House) -> Any:
            clients = [await self.follow(house) for _ in range(3)]
            tracker, cooperator = house.lab.service.tracker, house.lab.service.cooperator
            kept: list[Any] = []
            tracker.cooperator = mock.Mock(soon=kept.append)
            begin = house.lab.cursor
            house.lab.set("1", "SUSPENDED")
            clients.append(await self.follow(house, f"?since={begin}"))
            house.lab.set("1", "RUNNING")
            clients.append(await self.follow(house, f"?since={begin}"))
            tracker.cooperator = cooperator
            for work in kept:
                cooperator.soon(work)
            house.lab.set("1", "COMPLETED", exit_code=0)
            given = await self.told(clients, b'"COMPLETED"')
            await self.leave(house)
            return [re.findall(rb"\nid: [^\n]+", answer) for answer in given]

        for ids in await self.both(scene):
            self.assertEqual((len(ids), len(set(ids))), (3, 3))

    async def test_signs_of_life(self) -> None:
        """Each has one within fifteen seconds, and within a minute one that moves its place."""

        async def scene(house: House) -> Any:
            clients = [await self.follow(house, "?job=memory/5") for _ in range(20)]
            house.lab.clock.pump([0.5] * 34)
            await self.told(clients, b": alive\n\n")
            for client in clients:
                self.assertLessEqual(client.got.count(b": alive"), 3)
            house.lab.set("1", "SUSPENDED")
            house.lab.clock.pump([0.5] * 130)
            await self.told(clients, b"event: bookmark\n")
            cursor = house.plain(house.lab.cursor.encode())
            await self.told(clients, house.lab.cursor.encode())
            await self.leave(house)
            return cursor

        await self.both(scene)

    async def test_the_end_of_the_service_for_streams(self) -> None:
        """They end in order, with what was still to be told."""

        async def scene(house: House) -> Any:
            clients = [await self.follow(house) for _ in range(20)]
            house.lab.set("1", "SUSPENDED")
            house.lab.service.announce_end()
            house.lab.clock.pump([0.5] * 4)
            given = await self.told(clients, b"\r\n0\r\n\r\n")
            await self.leave(house)
            return given

        for answer in await self.both(scene):
            self.assertIn(b"SUSPENDED", answer)

    async def test_a_stream_that_is_not_read(self) -> None:
        """Is dropped when too much waits for it; others go on."""

        async def scene(house: House) -> Any:
            slow = await self.follow(house)
            for transport in house.transports:
                transport.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
            other = await self.follow(house, "?job=memory/1")
            for state in ("QUEUED", "RUNNING", "SUSPENDED"):
                for number in range(1500):
                    house.lab.queue.set(str(100 + number), state, name="n" * 1000)
                house.lab.tick()
                await deferLater(reactor, 0.05)
            await house.held(1)
            house.lab.set("1", "SUSPENDED")
            await self.told([other], b"SUSPENDED")
            slow.read()
            await self.leave(house)

        await self.both(scene)

    async def test_pipelined_behind_a_stream(self) -> None:
        """Is never answered, and does no harm."""

        async def scene(house: House) -> Any:
            client = await self.follow(house)
            client.send(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n" * 100)
            house.lab.set("1", "SUSPENDED")
            given = await self.told([client], b"SUSPENDED")
            await self.leave(house)
            return given

        (given,) = await self.both(scene)
        self.assertEqual(given.count(b"HTTP/1.1"), 1)


class WithoutChannelsTests(TestCase):
    """What only a connection without a channel does."""

    timeout = 30

    async def test_no_next_request(self) -> None:
        """A connection on which nothing comes any more is closed after the usual time."""
        house = House(self, True)
        client = house.client()
        await house.hold(client)
        house.lab.set("1", "SUSPENDED")
        await client.answers(1)
        self.assertEqual(house.free_connections, 1)
        house.lab.clock.advance(74)
        await deferLater(reactor, 0.02)
        client.read()
        self.assertFalse(client.closed)
        house.lab.clock.advance(4)
        await client.until(lambda: client.closed)
        await house.stop()

    async def test_pipelined_behind_the_last_response(self) -> None:
        """What came while a request was held is forgotten when the response ends the connection, however long its end takes."""
        house = House(self, True)
        client = house.client()
        await house.hold(client)
        client.send(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await deferLater(reactor, 0.02)
        (transport,) = house.transports
        with mock.patch.object(transport, "loseConnection") as lose:
            house.lab.service.announce_end()
            await house.until(lambda: lose.called)
            self.assertEqual(house.violations(), [])
        transport.loseConnection()
        await client.until(lambda: client.closed)
        self.assertEqual(len(bodies(client.got)), 1)
        await house.stop()

    async def test_early_bytes_at_the_end(self) -> None:
        """What a client has sent behind a request that ends its connection is not kept."""
        house = House(self, True)
        client = house.client()
        await house.hold(client)
        client.send(b"GET /healthz HTTP/1.1\r\n")
        await house.until(lambda: house.resource.connections._early)
        house.lab.service.announce_end()
        while not house.lab.service.cooperator.idle:
            house.lab.clock.advance(0)
        self.assertEqual((house.registry.held, house.violations()), (0, []))
        await house.stop()

    async def test_more_comes_while_it_waits_for_its_turn(self) -> None:
        """It is one request after the other: the first is held, the next one waits behind it."""
        house = House(self, True)
        client = house.client()
        client.get("/v1/jobs")
        await client.answers(1)
        (connection,) = (item for item in house.registry.wheel if isinstance(item, HeldConnection))
        with mock.patch.object(Turns, "has_time", False):  # as the reactor does with what it had seen before it was paused
            connection.dataReceived(b"GET /v1/changes?since=now&wait=500 HTTP/1.1\r\nHost: localhost\r\n\r\n")
            connection.dataReceived(b"GET /v1/jobs HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await house.held(1)
        self.assertEqual(house.violations(), [])
        house.lab.set("1", "SUSPENDED")
        await client.answers(3)
        self.assertEqual([b"events" in body for body in bodies(client.got)], [False, True, False])
        self.assertEqual((house.violations(), house.resource.connections._later), ([], {}))
        await house.stop()

    async def test_one_group(self) -> None:
        """Those that wait for the same are one continuation, and leave nothing behind."""
        house = House(self, True)
        clients = [house.client() for _ in range(10)]
        for client in clients:
            await house.hold(client)
        self.assertEqual((house.free_connections, house.lab.service.tracker.waiting), (10, 1))
        for client in clients:
            client.socket.close()
        await house.held(0)
        self.assertEqual((house.lab.service.tracker.waiting, house.violations()), (0, []))
        self.assertTrue(house.lab.service.tracker.idle)
        await house.stop()

    async def test_no_more_is_read(self) -> None:
        """While a request is held no more of what its client sends is read than is kept: it must wait."""
        house = House(self, True)
        client = house.client()
        client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 16)
        await house.hold(client)
        (transport,) = house.transports
        transport.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
        sent = 0
        for _ in range(300):
            try:
                sent += client.socket.send(b"x" * (1 << 16))
            except BlockingIOError:
                pass
            await deferLater(reactor, 0.001)
        self.assertLess(sent, 1 << 21)  # what the two kernels' buffers take, and no more
        client.socket.close()
        house.registry.close()
        transport.abortConnection()
        await house.held(0)
        await house.stop()

    async def test_left_with_early_bytes(self) -> None:
        """What a client has sent while it was held is forgotten when it leaves."""
        house = House(self, True)
        client = house.client()
        await house.hold(client)
        client.send(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n")
        await deferLater(reactor, 0.02)
        client.socket.close()
        await house.held(0)
        self.assertEqual(house.violations(), [])
        await house.stop()
