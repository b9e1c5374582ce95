"""Where nudges come in as datagrams."""

from __future__ import annotations

import json
import os
import socket
import stat
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.error import CannotListenError
from twisted.internet.task import deferLater
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase, TestCase

from jobpush.adapter.interfaces import BadQueueOption
from jobpush.adapter.testing import MemoryQueue
from jobpush.polling.nudge_sockets import NudgeSocket, NudgeSocketError, UdpAddress, UnixAddress, parse_address, read_secret
from jobpush.polling.nudges import NudgeCounts, Nudges, signed
from tests.support import NOW, ManualClock

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


class BoundsTests(SynchronousTestCase):
    """What is just taken, and what is just refused."""

    def test_addresses(self) -> None:
        """Ports and modes; what is wrong is told with what was expected."""
        self.assertEqual(parse_address("unix:x:y"), UnixAddress(os.path.abspath("x:y"), 0o660))
        self.assertEqual(parse_address("unix:x:mode=0600"), UnixAddress(os.path.abspath("x"), 0o600))
        for port in (1, 65535):
            self.assertEqual(parse_address(f"udp:0.0.0.0:{port}"), UdpAddress("0.0.0.0", port))
        expected = "expected unix:PATH, unix:PATH:mode=666 or udp:HOST:PORT"
        for text, told in [
            ("unix:/x:mode=1660", "mode: expected three octal digits such as 660"), ("unix:/x:mode=698", "mode: expected three octal digits such as 660"),
            ("udp:host:9", "'host': expected an IP address of this host, or 0.0.0.0"), ("udp:9", "'': expected an IP address of this host, or 0.0.0.0"),
            ("udp:0.0.0.0:65536", expected), ("udp:0.0.0.0:0", expected), ("udp:0.0.0.0:-1", expected), ("udp:0.0.0.0:\u0661", expected), ("udp:0.0.0.0:", expected),
            ("udp:0.0.0.0:0000001234567", expected), ("unix:", expected), ("file:/x", expected), ("", expected),
        ]:  # fmt: skip
            with self.assertRaises(BadQueueOption) as caught:
                parse_address(text)
            self.assertEqual(str(caught.exception), told)
        self.assertEqual((str(UnixAddress("/x")), str(UdpAddress("::1", 9))), ("unix:/x", "udp:::1:9"))

    def test_secrets(self) -> None:
        """Sixteen bytes without white space around them; no right of everybody's."""
        path = Path(self.mktemp())
        for content, mode, told in [
            (b" %s \n" % SECRET, 0o660, None), (b"x" * 5000, 0o600, None), (b" %s \n" % SECRET[1:], 0o600, "expected at least 16 bytes, such as of openssl rand -hex 32"),
            *((SECRET, 0o600 | mode, f"everybody may read or write it; take that away with chmod o= {path}") for mode in (1, 2, 4)),
        ]:  # fmt: skip
            path.write_bytes(content)
            path.chmod(mode)
            if told is None:
                self.assertEqual(read_secret(str(path)), content.strip()[:4096])
                continue
            with self.assertRaises(BadQueueOption) as caught:
                read_secret(str(path))
            self.assertEqual(str(caught.exception), told)
        path.unlink()
        error = self.assertRaises(BadQueueOption, read_secret, str(path))
        self.assertEqual(str(error), "cannot be read: No such file or directory")


class Port:
    """In the place of a socket."""

    def __init__(self) -> None:
        self.stopped = 0

    def stopListening(self) -> None:
        self.stopped += 1


class Ports(ManualClock):
    """
    A clock whose sockets are played by the test.

    :ivar listened: how they were opened.
    :ivar error: what opening one raises.
    """

    def __init__(self) -> None:
        super().__init__()
        self.listened: list[Any] = []
        self.error: Exception | None = None
        self.port = Port()
        self.protocol: Any = None

    def _listen(self, place: Any, protocol: Any, options: dict[str, Any]) -> Port:
        self.listened.append((place, options))
        if self.error is not None:
            raise self.error
        self.protocol = protocol
        return self.port

    def listenUDP(self, port: int, protocol: Any, **options: Any) -> Port:
        return self._listen(port, protocol, options)

    def listenUNIXDatagram(self, path: str, protocol: Any, **options: Any) -> Port:
        return self._listen(path, protocol, options)


class ServiceTests(SynchronousTestCase):
    """`NudgeSocket`, beside sockets of the test's."""

    def setUp(self) -> None:
        self.reactor = Ports()
        self.reactor.rightNow = 57.0  # it goes by another clock than the senders
        self.monitor = Monitor()
        self.nudges = Nudges(self.reactor, {"memory": self.monitor})  # type: ignore[dict-item]

    def begin(self, address: Any, secret: bytes | None = None, **options: Any) -> NudgeSocket:
        service = NudgeSocket(self.reactor, self.nudges, address, secret, wall=lambda: NOW, **options)
        service.startService()
        return service

    def test_opened(self) -> None:
        """With room for the longest datagram; that it is open is said."""
        with capturedLogs() as said:
            self.begin(UdpAddress("1.2.3.4", 99))
            self.begin(UnixAddress("/none/x", 0o640))
        self.assertEqual(self.reactor.listened, [(99, {"interface": "1.2.3.4", "maxPacketSize": 65507}), ("/none/x", {"maxPacketSize": 65507, "mode": 0o640})])
        self.assertEqual([formatEvent(event) for event in said], ["nudges are taken at udp:1.2.3.4:99", "nudges are taken at unix:/none/x"])

    def test_who_must_sign(self) -> None:
        """Senders by UDP, with the secret, now; where there is one, not those of this host."""
        self.begin(UdpAddress("1.2.3.4", 99), SECRET)
        for data in (b"{}", signed(SECRET, NOW - 31, b"{}"), signed(SECRET, NOW, b"x"), signed(SECRET, NOW, b"{}")):
            self.reactor.protocol.datagramReceived(data, None)
        self.assertEqual((self.nudges.counts, len(self.monitor.nudged)), ({"udp": NudgeCounts(taken=1, refused=3)}, 1))
        self.begin(UnixAddress("/none/x"), SECRET)
        self.reactor.protocol.datagramReceived(b"{}", None)
        self.assertEqual(self.nudges.counts["unix"], NudgeCounts(taken=1))

    def test_not_opened(self) -> None:
        """One that somebody has asked for is needed; of another it is said, and that is all."""
        for error, why in ((CannotListenError("1.2.3.4", 99, OSError("address in use")), "address in use"), (PermissionError(13, "Permission denied"), "[Errno 13] Permission denied")):
            self.reactor.error = error
            failure = self.assertRaises(NudgeSocketError, self.begin, UdpAddress("1.2.3.4", 99))
            self.assertEqual(str(failure), f"cannot take nudges at udp:1.2.3.4:99: {why}")
            with capturedLogs() as said:
                service = self.begin(UdpAddress("1.2.3.4", 99), wanted=False)
            self.assertEqual([formatEvent(event) for event in said], [str(failure)])
            self.successResultOf(service.stopService())
        self.assertEqual(self.reactor.port.stopped, 0)

    def test_closed(self) -> None:
        """With its file; whether that is there or not; once."""
        path = Path(self.mktemp())
        service = self.begin(UnixAddress(str(path)))
        path.touch()
        for _ in range(2):
            self.successResultOf(service.stopService())
            self.assertFalse(path.exists() or service.running)
            self.assertEqual(self.reactor.port.stopped, 1)
        service = self.begin(UdpAddress("1.2.3.4", 99))
        self.successResultOf(service.stopService())
        self.assertEqual(self.reactor.port.stopped, 2)


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
            sender.sendto(signed(SECRET, time.time(), b"{}"), ("127.0.0.1", port))
        await self.until(lambda: self.monitor.nudged)
        self.assertEqual((self.nudges.counts["udp"].refused, self.nudges.counts["udp"].taken), (1, 1))
