"""Problems: what is refused while it arrives is one, too."""

from __future__ import annotations

import json
import socket

from twisted.internet import reactor
from twisted.internet.task import deferLater
from twisted.internet.tcp import Server
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SynchronousTestCase, TestCase

from jobpush.web.problems import Problem
from jobpush.web.site import BODY_LIMIT, JobpushSite
from tests.support import Lab


class LimitTests(TestCase):
    """What is refused while it arrives, over a real socket."""

    def setUp(self) -> None:
        self.lab = Lab().start()
        self.addCleanup(self.lab.stop)
        site = JobpushSite(self.lab.resource, reactor)
        port = reactor.listenTCP(0, site, interface="127.0.0.1")  # type: ignore[attr-defined]
        self.addCleanup(port.stopListening)
        self.port = port.getHost().port
        self.addCleanup(self.connections_are_gone)

    async def connections_are_gone(self) -> None:
        """The server has noticed that its clients left."""
        while any(isinstance(reader, Server) for reader in reactor.getReaders()):  # type: ignore[attr-defined]
            await deferLater(reactor, 0.01)

    async def exchange(self, data: bytes) -> bytes:
        """Send that, and read to the end."""

        def exchange() -> bytes:
            with socket.create_connection(("127.0.0.1", self.port), timeout=10) as sock:
                received = b""
                try:
                    sock.sendall(data)
                    while more := sock.recv(65536):
                        received += more
                except (ConnectionResetError, BrokenPipeError):
                    pass
                return received

        return await deferToThread(exchange)

    async def refused(self, data: bytes, status: int, parameter: str) -> None:
        """It is answered with that problem, and the connection is closed."""
        received = await self.exchange(data)
        head, _, body = received.partition(b"\r\n\r\n")
        self.assertIn(f" {status} ".encode(), head.split(b"\r\n")[0], received[:200])
        self.assertIn(b"application/problem+json", head)
        for line in (b"Server: jobpush", b"X-Content-Type-Options: nosniff", b"X-Frame-Options: DENY", b"Content-Security-Policy: default-src 'none'"):
            self.assertIn(line, head)
        self.assertEqual(json.loads(body)["parameter"], parameter)

    async def test_query_of_a_megabyte(self) -> None:
        """414, and the client can read it."""
        await self.refused(b"GET /v1/jobs?user=" + b"a" * 1_000_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n", 414, "request line")

    async def test_headers_too_long(self) -> None:
        """431."""
        lines = b"".join(b"X-%d: %s\r\n" % (n, b"a" * 1000) for n in range(40))
        await self.refused(b"GET / HTTP/1.1\r\nHost: localhost\r\n" + lines + b"\r\n", 431, "header")
        await self.refused(b"GET / HTTP/1.1\r\nX: " + b"a" * 100_000 + b"\r\n\r\n", 431, "header")

    async def test_not_http(self) -> None:
        """400."""
        await self.refused(b"HELLO\r\n\r\n", 400, "request")
        await self.refused(b"GET / HTTP/1.1\r\nno colon here\r\n\r\n", 400, "request")
        await self.refused(b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400, "request")

    async def test_hosts(self) -> None:
        """A Host header that no host can have."""
        for host in (b"a" * 100, b"..", b"a..b", b"\xff\xfe"):
            received = await self.exchange(b"GET /healthz HTTP/1.1\r\nHost: " + host + b"\r\nConnection: close\r\n\r\n")
            self.assertIn(b"400 Bad Request", received)
            self.assertIn(b"problem+json", received)
        await self.refused(b"GET * HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", 400, "path")

    async def test_body_too_long(self) -> None:
        """413, as soon as its length is known, or is reached."""
        length = str(BODY_LIMIT + 1).encode()
        await self.refused(b"POST /v1/changes HTTP/1.1\r\nHost: localhost\r\nContent-Length: " + length + b"\r\n\r\n{", 413, "body")
        head = b"POST /v1/changes HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: "
        self.assertNotIn(b"100 Continue", await self.exchange(head + length + b"\r\n\r\n"))
        chunk = b"10000\r\n" + b" " * 65536 + b"\r\n"
        chunks = chunk * (BODY_LIMIT // 65536 + 2)
        await self.refused(b"POST /v1/changes HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks, 413, "body")

    async def test_pipelined_requests(self) -> None:
        """A second request behind a held one waits for its turn and is answered."""
        first = b"GET /v1/changes?since=now&wait=0 HTTP/1.1\r\nHost: localhost\r\n\r\n"
        second = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        received = await self.exchange(first + second)
        self.assertEqual(received.count(b"HTTP/1.1 200 OK"), 2)
        self.assertLess(received.index(b'"events"'), received.index(b'"status":"ok"'))

    async def test_http_1_0(self) -> None:
        """An old client gets its answer, and the connection is closed."""
        received = await self.exchange(b"GET /healthz HTTP/1.0\r\n\r\n")
        self.assertIn(b'"status":"ok"', received)

    async def test_keep_alive(self) -> None:
        """One connection, several requests."""

        def exchange() -> list[int]:
            import http.client

            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
            statuses = []
            for path in ("/healthz", "/v1/nothing", "/v1/changes?since=now&wait=0", "/v1/jobs/memory/9"):
                connection.request("GET", path)
                response = connection.getresponse()
                response.read()
                statuses.append(response.status)
            connection.close()
            return statuses

        self.assertEqual(await deferToThread(exchange), [200, 404, 200, 404])


class ProblemTests(SynchronousTestCase):
    """`Problem`."""

    def test_body(self) -> None:
        """RFC 9457's members, and ours."""
        body = json.loads(Problem(410, "gone", "since", oldest_cursor="e-1").body())
        self.assertEqual(
            body,
            {
                "type": "about:blank", "title": "Gone", "status": 410, "detail": "gone", "parameter": "since",
                "oldest_cursor": "e-1",
            },
        )  # fmt: skip
