"""Where nudges come in as datagrams."""

from __future__ import annotations

import json
import os
import socket
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.task import deferLater
from twisted.trial.unittest import SynchronousTestCase, TestCase

from jobpush.adapter.interfaces import BadQueueOption
from jobpush.adapter.testing import MemoryQueue
from jobpush.polling.nudge_sockets import NudgeSocket, NudgeSocketError, UdpAddress, UnixAddress, parse_address, read_secret
from jobpush.polling.nudges import Nudges, signed

SECRET = b"0123456789abcdef"


class AddressTests(SynchronousTestCase):
    """What ``--nudge`` takes."""

    def test_good(self) -> None:
        """Unix sockets with a mode, UDP at an address."""
        self.assertEqual(parse_address("unix:/run/x"), UnixAddress("/run/x", 0o660))
        self.assertEqual(parse_address("unix:/run/x:mode=666"), UnixAddress("/run/x", 0o666))
        self.assertEqual(parse_address("udp:127.0.0.1:99"), UdpAddress("127.0.0.1", 99))
        self.assertEqual(parse_address("udp:[::1]:99"), UdpAddress("::1", 99))

    def test_bad(self) -> None:
        """Anything else is refused with what was expected."""
        for text in ("", "unix:", "tcp:1", "udp:1", "udp:example.org:1", "udp:1.2.3.4:0", "udp:1.2.3.4:99999", "unix:/x:mode=9", "unix:/x:mode="):
            with self.assertRaises(BadQueueOption):
                parse_address(text)

    def test_the_secret(self) -> None:
        """A file that others can read is refused, and so is a short one."""
        path = Path(self.mktemp())
        path.write_bytes(SECRET + b"\n")
        path.chmod(0o640)
        self.assertEqual(read_secret(str(path)), SECRET)
        path.chmod(0o644)
        with self.assertRaises(BadQueueOption):
            read_secret(str(path))
        path.write_bytes(b"short")
        path.chmod(0o600)
        with self.assertRaises(BadQueueOption):
            read_secret(str(path))
        with self.assertRaises(BadQueueOption):
            read_secret(str(path) + "x")


class Monitor:
    """Notes what it is nudged for."""

    def __init__(self) -> None:
        self.nudged: list[Sequence[str]] = []
        self.queue = MemoryQueue(None)

    def nudge(self, jobs: Sequence[str] = (), early: bool = True) -> None:
        self.nudged.append(jobs)


class SocketTests(TestCase):
    """Real sockets."""

    def setUp(self) -> None:
        self.monitor = Monitor()
        self.nudges = Nudges(reactor, {"memory": self.monitor})  # type: ignore[dict-item]

    def listen(self, address: Any, secret: bytes | None = None) -> NudgeSocket:
        service = NudgeSocket(reactor, self.nudges, address, secret)
        service.startService()
        self.addCleanup(lambda: service.stopService() if service.running else None)
        return service

    async def until(self, condition: Any) -> None:
        for _ in range(500):
            if condition():
                return
            await deferLater(reactor, 0.01)  # type: ignore[arg-type]
        self.fail("not within 5 s")

    async def test_unix(self) -> None:
        """A datagram makes a monitor look; what is none is counted; the socket goes with the service."""
        path = os.path.relpath(self.mktemp())
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        service = self.listen(UnixAddress(path, 0o600))
        self.assertEqual(stat.S_IMODE(os.stat(path).st_mode), 0o600)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.connect(path)
            sender.send(json.dumps({"cluster": "memory", "jobs": ["1"]}).encode())
            sender.send(b"nonsense")
        await self.until(lambda: self.nudges.counts and self.nudges.counts["unix"].refused)
        self.assertEqual((self.monitor.nudged, self.nudges.counts["unix"].taken), ([("1",)], 1))
        await service.stopService()
        self.assertFalse(os.path.exists(path))

    async def test_a_socket_that_was_left_behind(self) -> None:
        """Is replaced; a file that is no socket is not."""
        path = os.path.relpath(self.mktemp())
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as left:
            left.bind(path)
        await self.listen(UnixAddress(path)).stopService()
        Path(path).write_text("mine")
        with self.assertRaises(NudgeSocketError):
            self.listen(UnixAddress(path))
        self.assertEqual(Path(path).read_text(), "mine")

    async def test_udp(self) -> None:
        """Only what is signed is taken."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.bind(("127.0.0.1", 0))
            port = sender.getsockname()[1]
        self.listen(UdpAddress("127.0.0.1", port), SECRET)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.sendto(b"{}", ("127.0.0.1", port))
            sender.sendto(signed(SECRET, reactor.seconds(), b"{}"), ("127.0.0.1", port))  # type: ignore[attr-defined]
        await self.until(lambda: self.monitor.nudged)
        self.assertEqual((self.nudges.counts["udp"].refused, self.nudges.counts["udp"].taken), (1, 1))
