"""Health checks on a socket of their own."""

from __future__ import annotations

import errno
import json
import os
import socket
import sys
import threading
import time
from collections.abc import Mapping
from typing import Any

from twisted.internet.task import Clock
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from jobpush.listen_addresses import UnixSocket
from jobpush.web import health_socket
from jobpush.web.health_socket import MOST_BYTES, MOST_CHECKS, NOTE_S, STUCK_S, HealthSocket, HealthSocketError
from tests.support import short_path


class Case(SynchronousTestCase):
    """A socket whose service is as the test says, beside a reactor that stands still."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.path = short_path(self)
        self.ready, self.fields = True, {"status": "ready", "queues": {}}
        self.socket = self.make()

    def make(self, wanted: bool = True) -> HealthSocket:
        """A health socket."""
        return HealthSocket(self.clock, UnixSocket(self.path), self.readiness, wanted)

    def readiness(self) -> tuple[bool, Mapping[str, object]]:
        """As the test says."""
        return self.ready, dict(self.fields)

    def start(self) -> None:
        """Answer until the end of the test."""
        self.socket.privilegedStartService()
        self.addCleanup(self.socket.stopService)
        self.socket.startService()
        self.socket.started()

    def connect(self) -> socket.socket:
        """A connection."""
        client = socket.socket(socket.AF_UNIX)
        self.addCleanup(client.close)
        client.settimeout(10)
        client.connect(self.path)
        return client

    def send(self, data: bytes) -> bytes:
        """The whole answer to these bytes."""
        client = self.connect()
        client.sendall(data)
        return rest(client)

    def get(self, path: str) -> tuple[int, Any]:
        """Status and body."""
        head, _, body = self.send(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode()).partition(b"\r\n\r\n")
        return int(head[9:12]), json.loads(body)


def rest(client: socket.socket) -> bytes:
    """All that comes."""
    return b"".join(iter(lambda: client.recv(65536), b""))


class AnswerTests(Case):
    """What is answered."""

    def test_ok(self) -> None:
        """Both answers, as whole HTTP responses that end the connection, with the age of what they say."""
        self.start()
        self.clock.rightNow += 0.5
        self.assertEqual(self.get("/healthz"), (200, {"status": "ok", "age_s": 0.5}))
        self.assertEqual(self.get("/readyz?x=1"), (200, {"status": "ready", "queues": {}, "age_s": 0.5}))
        whole = self.send(b"GET /healthz HTTP/1.0\r\n\r\n")
        head, _, body = whole.partition(b"\r\n\r\n")
        self.assertIn(b"\r\nContent-Length: %d\r\n" % len(body), head)
        self.assertTrue(head.startswith(b"HTTP/1.1 200 OK\r\n") and head.endswith(b"\r\nConnection: close"), head)
        self.assertEqual(self.send(b"HEAD /healthz HTTP/1.1\r\n\r\n"), head + b"\r\n\r\n")

    def test_not_ready(self) -> None:
        """Noted each second."""
        self.start()
        self.ready, self.fields = False, {"status": "not ready", "causes": ["journal"]}
        self.assertEqual(self.get("/readyz")[0], 200)
        self.clock.advance(NOTE_S)
        self.assertEqual(self.get("/readyz"), (503, {"status": "not ready", "causes": ["journal"], "age_s": 0.0}))
        self.assertEqual(self.get("/healthz")[0], 200)

    def test_starting(self) -> None:
        """Before the service has been started, it is not ready, and answers."""
        self.socket.privilegedStartService()
        self.addCleanup(self.socket.stopService)
        self.assertEqual((self.get("/readyz")[0], self.get("/readyz")[1]["causes"]), (503, ["starting"]))
        self.assertEqual(self.get("/healthz")[0], 200)

    def test_stuck(self) -> None:
        """Where the reactor does not turn, neither answer is 200; where it turns again, both are."""
        self.start()
        self.clock.rightNow += STUCK_S - 0.001
        self.assertEqual([self.get(path)[0] for path in ("/healthz", "/readyz")], [200, 200])
        self.clock.rightNow += 2.0
        causes = ["the reactor has not turned for 12 s"]
        self.assertEqual(self.get("/healthz"), (503, {"status": "stuck", "causes": causes, "age_s": 11.999}))
        self.assertEqual((self.get("/readyz")[0], self.get("/readyz")[1]["causes"]), (503, causes))
        self.clock.advance(0)
        self.assertEqual([self.get(path)[0] for path in ("/healthz", "/readyz")], [200, 200])

    def test_fault(self) -> None:
        """Where it cannot be said whether the service is ready, it is not; that is said again when it can be."""
        self.patch(self.socket, "_readiness", lambda: [][0])
        self.start()
        self.assertEqual((self.get("/readyz")[0], self.get("/readyz")[1]["causes"]), (503, ["fault"]))
        self.assertEqual(self.get("/healthz")[0], 200)
        self.assertEqual(len(self.flushLoggedErrors(IndexError)), 1)
        self.patch(self.socket, "_readiness", self.readiness)
        self.clock.advance(NOTE_S)
        self.assertEqual(self.get("/readyz")[0], 200)

    def test_anything_else(self) -> None:
        """Is answered with what is wrong."""
        self.start()
        for request, status in [
            (b"GET /metrics HTTP/1.1\r\n\r\n", 404), (b"GET /healthz/ HTTP/1.1\r\n\r\n", 404), (b"POST /healthz HTTP/1.1\r\n\r\n", 405),
            (b"hello\r\n\r\n", 400), (b"GET /healthz\r\n\r\n", 400), (b"\0\xff / HTTP/1.1\r\n\r\n", 404), (b"\r\n\r\n", 400),
        ]:  # fmt: skip
            head, _, body = self.send(request).partition(b"\r\n\r\n")
            self.assertTrue(head.startswith(b"HTTP/1.1 %d " % status), (request, head))
            self.assertEqual(json.loads(body)["status"], status)
        self.assertIn(b"HTTP/1.1 431 ", self.send(b"GET /healthz HTTP/1.1\r\nX: " + b"x" * (MOST_BYTES - 26)))
        self.assertEqual(self.get("/healthz")[0], 200)


class Full(socket.socket):
    """Has no descriptor left for a connection, three times."""

    left = 3

    def accept(self) -> Any:
        if self.left:
            self.left -= 1
            raise OSError(errno.EMFILE, "too many")
        return super().accept()


class ConnectionTests(Case):
    """How connections are handled."""

    def test_pieces(self) -> None:
        """A request may come in pieces, and an answer leave in pieces, while others are answered."""
        self.fields = {"long": "x" * 2_000_000}
        self.start()
        slow, reader = self.connect(), self.connect()
        slow.sendall(b"GET /heal")
        reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        reader.sendall(b"GET /readyz HTTP/1.1\r\n\r\n")
        self.assertEqual(self.get("/healthz")[0], 200)
        slow.sendall(b"thz HTTP/1.1\r\n\r\n")
        self.assertIn(b" 200 OK", rest(slow))
        self.assertGreater(len(rest(reader)), 2_000_000)

    def test_silent(self) -> None:
        """A connection on which no request comes, or whose answer is not read, ends after some seconds."""
        self.patch(health_socket, "ASK_S", 0.2)
        self.fields = {"long": "x" * 2_000_000}
        self.start()
        silent, deaf = self.connect(), self.connect()
        deaf.sendall(b"GET /readyz HTTP/1.1\r\n\r\n")
        self.assertEqual(rest(silent), b"")
        time.sleep(0.3)
        self.get("/healthz")
        self.assertLess(len(rest(deaf)), 2_000_000)

    def test_many(self) -> None:
        """Of too many silent connections the oldest end, and checks are answered."""
        self.start()
        silent = [self.connect() for _ in range(MOST_CHECKS + 5)]
        self.assertEqual(self.get("/healthz")[0], 200)
        self.assertEqual(rest(silent[0]), b"")
        silent[-1].sendall(b"GET /healthz HTTP/1.1\r\n\r\n")
        self.assertIn(b" 200 OK", rest(silent[-1]))

    def test_gone(self) -> None:
        """Those who leave before or after they have asked end nothing."""
        self.start()
        for data in (b"", b"GET /hea", b"GET /healthz HTTP/1.1\r\n\r\n"):
            client = self.connect()
            client.sendall(data)
            client.close()
        self.assertEqual(self.get("/healthz")[0], 200)

    def test_no_descriptor(self) -> None:
        """Where no file can be opened any more, it is tried again a little later."""
        listening, close = UnixSocket(self.path).open()
        full = Full(fileno=listening.detach())
        self.addCleanup(full.close)
        self.patch(UnixSocket, "open", lambda address: (full, close))
        self.patch(health_socket, "PAUSE_S", 0.01)
        self.start()
        self.assertEqual((self.get("/healthz")[0], full.left), (200, 0))

    def test_a_busy_reactor(self) -> None:
        """It is answered while the reactor's thread computes."""
        self.start()
        answered: list[float] = []

        def ask() -> None:
            for _ in range(5):
                began = time.monotonic()
                self.get("/healthz")
                answered.append(time.monotonic() - began)

        asking = threading.Thread(target=ask)
        asking.start()
        until = time.monotonic() + 20
        while asking.is_alive() and time.monotonic() < until:
            sum(range(1000))
        asking.join()
        self.assertLess(sorted(answered)[2], 1.0)


class LifeTests(Case):
    """Its start and its end."""

    def test_end(self) -> None:
        """The socket's file, the thread and all connections are gone; it may start again."""
        interval = sys.getswitchinterval()
        self.start()
        self.assertAlmostEqual(sys.getswitchinterval(), health_socket.SWITCH_S)
        silent = self.connect()
        before = threading.active_count()
        self.socket.stopService()
        self.assertEqual((os.path.lexists(self.path), threading.active_count()), (False, before - 1))
        self.assertEqual(rest(silent), b"")
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertAlmostEqual(sys.getswitchinterval(), interval)
        self.start()
        self.assertEqual(self.get("/healthz")[0], 200)

    def test_in_use(self) -> None:
        """Where another process listens, the service does not start if that was asked for; else it goes on without."""
        self.start()
        other = self.make()
        error = self.assertRaises(HealthSocketError, other.privilegedStartService)
        self.assertEqual(str(error), f"cannot answer health checks at unix:{self.path}: another process listens on {self.path}")
        other.stopService()
        unwanted = self.make(wanted=False)
        with capturedLogs() as logged:
            unwanted.privilegedStartService()
            unwanted.startService()
            unwanted.stopService()
        self.assertIn("another process listens", str(logged[0]["why"]))
        self.assertEqual((len(logged), self.get("/healthz")[0]), (1, 200))

    def test_a_directory_that_the_start_makes(self) -> None:
        """It listens when all has been started, where it was not asked for."""
        self.path = f"{os.path.dirname(self.path)}/state/s"
        self.socket = self.make(wanted=False)
        with capturedLogs() as logged:
            self.socket.privilegedStartService()
        self.addCleanup(self.socket.stopService)
        self.assertEqual(len(logged), 0)
        self.socket.startService()
        os.mkdir(os.path.dirname(self.path))
        self.socket.started()
        self.assertEqual(self.get("/readyz")[0], 200)

    def test_no_directory(self) -> None:
        """What the system says is in the error."""
        self.path = "/nowhere/at/all"
        error = self.assertRaises(HealthSocketError, self.make().privilegedStartService)
        self.assertEqual(str(error), "cannot answer health checks at unix:/nowhere/at/all: No such file or directory")
