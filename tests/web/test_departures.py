"""Responses that are read slowly, or not at all, over real sockets, with and without channels; the clock is the test's."""

from __future__ import annotations

import re
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet import reactor as real_reactor
from twisted.internet.task import Clock, deferLater
from twisted.trial.unittest import SynchronousTestCase, TestCase

from jobpush.web import resource
from jobpush.web.departures import PROGRESS_S, SLOWEST_B_PER_S, Departures
from jobpush.web.site import JobpushSite
from tests.web.held.test_connections import Client, House
from tests.web.held.test_fast_path import ask

reactor: Any = real_reactor

BIG = "/v1/changes?since=0&limit=10000"


class ClockedHouse(House):
    """A service whose site goes by the clock of the test too, with 4 MB to tell."""

    def make_site(self) -> JobpushSite:
        self.connected: list[Any] = []
        return JobpushSite(self.resource, self.lab.clock, self.log)

    def fill(self) -> None:
        """Let there be events of about 3.9 MB."""
        for number in range(2400):
            self.lab.queue.set(str(100 + number), "QUEUED", name="n" * 1000)
        self.lab.tick(3)

    async def narrow(self) -> Client:
        """A client with small buffers, and on the server's side too."""
        # Accepted sockets have it too: segments as in a network, not as large as the buffers.
        self.port.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 15)
        self.port.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 1400)
        client = self.client()
        client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 15)

        def accepted() -> list[Any]:
            return [transport for transport in self.transports if transport not in self.connected]

        await self.until(accepted)
        self.connected += accepted()
        return client


class ReaderTests(TestCase):
    """`Departures`, in a service."""

    timeout = 110

    async def read(self, house: ClockedHouse, client: Client, rate: float, step: float = 5.0, most: float = 1000.0) -> tuple[int, float]:
        """Read so many bytes a second until all has come, or the connection ends; the bytes, and after how many seconds."""
        got, passed = b"", 0.0
        length: int | None = None
        while passed < most and (length is None or len(got) < length):
            house.lab.clock.advance(step)
            passed += step
            await deferLater(reactor, 0.003)
            wanted = int(rate * step)
            try:
                while wanted > 0:
                    data = client.socket.recv(wanted)
                    if not data:
                        return len(got), passed
                    got += data
                    wanted -= len(data)
                    await deferLater(reactor, 0.0)
            except BlockingIOError:
                pass
            except ConnectionResetError:
                return len(got), passed
            if length is None and b"\r\n\r\n" in got:
                head = got.partition(b"\r\n\r\n")[0]
                found = re.search(rb"(?i)content-length: (\d+)", head)
                assert found is not None, head
                length = int(found[1]) + len(head) + 4
        return len(got), passed

    async def begin(self, house: ClockedHouse, fast: bool, *headers: str, version: str = "1.1") -> Client:
        """A client that has asked for all there is; its second request, so that the fast path may take it, if that is said."""
        client = await house.narrow()
        if fast:
            await ask(client, "/v1/jobs/memory/1", "/v1/jobs/memory/1")
        client.get(BIG, *headers, version=version)
        await house.until(lambda: len(house.site.departures), lambda: f"{client.read()} {client.got[-300:]}")
        return client

    async def settled(self, house: ClockedHouse) -> None:
        """The buffers of the kernel are full, and that was seen."""
        await deferLater(reactor, 0.5)
        house.lab.clock.advance(1.0)

    async def ended(self, house: ClockedHouse, is_so: Callable[[], object]) -> None:
        """
        In little more than a minute from when the kernel has taken some bytes last: which it still does, at times of its own,
        when its buffers have been full.
        """
        for _ in range(600):
            if is_so():
                return
            now = house.lab.clock.seconds()
            moved = [window.moved_at for window in house.site.departures._windows.values()]
            self.assertLess(now - max(moved, default=now), PROGRESS_S + 3.0)
            house.lab.clock.advance(1.0)
            await deferLater(reactor, 0.005)
        self.fail("it does not end")

    async def each(self, scene: Any, **how: Any) -> None:
        """Play it on the fast path, on the ordinary way on the same service, and with channels kept."""
        for without_channels, fast in ((True, True), (True, False), (False, True), (False, False)):
            house = ClockedHouse(self, without_channels, **how)
            house.fill()
            await scene(house, fast)
            house.lab.clock.advance(1.0)  # the next look
            await house.until(lambda house=house: not len(house.site.departures))
            self.assertEqual(house.violations(), [])
            await house.stop()

    async def test_an_honest_reader(self) -> None:
        """3.9 MB at 20 kB/s take more than three minutes, and come in full; then the connection goes on."""

        async def scene(house: ClockedHouse, fast: bool) -> None:
            client = await self.begin(house, fast)
            got, passed = await self.read(house, client, 20_000)
            self.assertGreater(got, 3_800_000)
            self.assertGreater(passed, 180)
            client.got = b""
            await ask(client, "/v1/jobs/memory/1")

        await self.each(scene)

    async def test_nothing_is_read(self) -> None:
        """The connection ends when nothing was read for a minute; neither earlier, nor much later."""

        async def scene(house: ClockedHouse, fast: bool) -> None:
            await self.begin(house, fast)
            (transport,) = house.connected
            await self.settled(house)
            house.lab.clock.pump([1.0] * 55)
            await deferLater(reactor, 0.01)
            self.assertTrue(transport.connected)
            await self.ended(house, lambda: not transport.connected)

        await self.each(scene)

    async def test_next_to_nothing_is_read(self) -> None:
        """500 bytes a second are too few; 2000 are enough."""

        async def scene(house: ClockedHouse, fast: bool) -> None:
            client = await self.begin(house, fast)
            _, passed = await self.read(house, client, 500)
            self.assertLess(passed, 3 * PROGRESS_S)
            client = await self.begin(house, fast)
            got, _ = await self.read(house, client, 2000, most=400)
            self.assertGreater(got, 700_000)
            client.socket.close()

        await self.each(scene)

    async def test_the_last_response(self) -> None:
        """The same where the connection is to end with the response."""

        async def scene(house: ClockedHouse, fast: bool) -> None:
            await self.begin(house, fast, "Connection: close")
            await self.begin(house, False, version="1.0")
            self.assertEqual([transport.connected for transport in house.connected], [1, 1])
            await self.settled(house)
            await self.ended(house, lambda: not any(transport.connected for transport in house.connected))
            client = await self.begin(house, fast, "Connection: close")
            got, _ = await self.read(house, client, 40_000)
            self.assertGreater(got, 3_800_000)

        await self.each(scene)

    async def test_a_file(self) -> None:
        """A file, which is not written all at once: an honest reader has it all, one that reads nothing is not waited for."""
        root = Path(self.mktemp())
        root.mkdir()
        (root / "big.txt").write_bytes(b"x" * 2_000_000)
        house = ClockedHouse(self, True)
        house.resource = resource(house.lab.service, static=str(root), max_held=10)
        house.site.resource = house.resource
        client = await house.narrow()
        client.get("/big.txt")
        got, passed = await self.read(house, client, 20_000)
        self.assertGreater(got, 2_000_000)
        self.assertGreater(passed, 90)
        client = await house.narrow()
        client.get("/big.txt")
        await house.until(lambda: len(house.site.departures), lambda: f"{client.read()} {client.got[-300:]}")
        await self.settled(house)
        await self.ended(house, lambda: not house.connected[-1].connected)
        client.socket.close()
        await house.stop()

    async def test_streams(self) -> None:
        """A stream that has little to tell is no response that is not read."""
        for without_channels in (True, False):
            house = ClockedHouse(self, without_channels)
            client = house.client()
            client.get("/v1/events")
            await client.until(lambda client=client: b"retry" in client.got)
            house.lab.clock.pump([1.0] * 130)
            await deferLater(reactor, 0.01)
            client.read()
            self.assertFalse(client.closed)
            self.assertEqual(len(house.site.departures), 0)
            await house.stop()


class WindowTests(SynchronousTestCase):
    """`Departures` by itself."""

    def test_a_response_that_the_server_does_not_make(self) -> None:
        """A client that has read all there is waits for us, not we for it."""

        class Transport:
            connected = True
            aborted = False
            _tempDataLen = offset = 0
            dataBuffer = b""

            def fileno(self) -> int:
                raise OSError

            def abortConnection(self) -> None:
                self.aborted = True

        class Connection:
            transport: Any = Transport()
            written = 0
            responding = True

        clock, connection = Clock(), Connection()
        departures = Departures(clock)
        departures.start()
        self.addCleanup(departures.stop)
        departures.begins(connection)
        clock.pump([1.0] * 200)
        self.assertFalse(connection.transport.aborted)
        connection.transport.dataBuffer = b"x" * int(PROGRESS_S * SLOWEST_B_PER_S)
        clock.pump([1.0] * 130)
        self.assertTrue(connection.transport.aborted)
        self.assertEqual(len(departures), 0)
