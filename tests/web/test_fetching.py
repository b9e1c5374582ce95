"""Fetching a small document."""

from __future__ import annotations

from typing import Any

from twisted.internet import reactor as real_reactor
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from jobpush.web import fetching
from jobpush.web.fetching import FetchError, check_url, fetch

reactor: Any = real_reactor


class Server(Protocol):
    """Answers with these bytes, and ends the connection unless it is to be kept."""

    def dataReceived(self, data: bytes) -> None:
        answer, end = self.factory.answer  # type: ignore[union-attr]
        self.factory.asked.append(data)  # type: ignore[union-attr]
        self.transport.write(answer)  # type: ignore[union-attr]
        if end:
            self.transport.loseConnection()  # type: ignore[union-attr]


class FetchTests(TestCase):
    """`fetch`, from a server on loopback."""

    timeout = 30

    async def got(self, answer: bytes, end: bool = True) -> bytes:
        factory: Any = Factory.forProtocol(Server)
        factory.answer, factory.asked = (answer, end), []
        port = reactor.listenTCP(0, factory, interface="127.0.0.1")
        try:
            return await fetch(reactor, f"http://127.0.0.1:{port.getHost().port}/keys")
        finally:
            self.asked = factory.asked
            await port.stopListening()
            await deferLater(reactor, 0.05)

    async def test_got(self) -> None:
        """What is there, with a length, in chunks, and until the end."""
        for head, body in ((b"Content-Length: 2\r\n", b"{}"), (b"Transfer-Encoding: chunked\r\n", b"2\r\n{}\r\n0\r\n\r\n"), (b"", b"{}")):
            self.assertEqual(await self.got(b"HTTP/1.1 200 OK\r\n" + head + b"\r\n" + body), b"{}")
        self.assertTrue(self.asked[0].startswith(b"GET /keys HTTP/1.1\r\n"))

    async def test_not_got(self) -> None:
        """Another status, a redirection, half of it, too much, no HTTP, nothing, silence: in its time, without a trace."""
        self.patch(fetching, "WITHIN_S", 0.5)
        for answer, words, end in (
            (b"HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n", "status 404", True),
            (b"HTTP/1.1 302 No\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 9\r\n\r\n", "status 302", True),
            (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}", "lost", True),
            (b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 300_000, "longer than", True),
            (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}", "", False), (b"nonsense\r\n\r\n", "", True), (b"", "", True), (b"", "", False),
        ):  # fmt: skip
            try:
                await self.got(answer, end)
            except FetchError as error:
                self.assertIn(words, str(error))
                self.assertRegex(str(error), r"\Ahttp://127.0.0.1:\d+/keys: .+\Z")
            else:
                self.fail(f"{answer[:30]!r} was taken")

    async def test_nobody_there(self) -> None:
        """Nobody listens."""
        try:
            await fetch(reactor, "http://127.0.0.1:1/")
        except FetchError as error:
            self.assertIn("refused", str(error))
        else:
            self.fail("nobody has answered")

    def test_addresses(self) -> None:
        """https, or loopback."""
        for url in ("https://id.example.org/keys", "http://127.0.0.1:8/x", "http://[::1]/", "http://localhost:1/"):
            check_url(url)
        for url in ("http://id.example.org/", "ftp://127.0.0.1/", "file:///etc/passwd", "", "https://", "http://127.0.0.1.example.org/", "https://a:b@c/", "https://é/"):
            self.assertRaises(ValueError, check_url, url)
