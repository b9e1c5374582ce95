"""What is used of Twisted's private parts is there, and where it is not, requests are held with their channels."""

from __future__ import annotations

import ast
import inspect
import re
import socket
from pathlib import Path
from typing import Any

from twisted.internet import abstract
from twisted.internet import reactor as real_reactor
from twisted.internet.protocol import Protocol, ServerFactory
from twisted.internet.task import deferLater
from twisted.protocols import tls
from twisted.trial.unittest import SynchronousTestCase, TestCase
from twisted.web.http import HTTPChannel

from jobpush.web import twisted_internals
from jobpush.web.twisted_internals import unexpected, unsent, waiting
from tests.service_process import ROOT
from tests.support import Lab

reactor: Any = real_reactor

#: Names of Twisted's that begin with an underscore, and that this code base has none of its own of.
PRIVATE = (
    "_buffer", "_dataBuffer", "_tempDataBuffer", "_tempDataLen", "_waitingForTransport", "_receivedHeaderSize",
    "_receivedHeaderCount", "_respondToBadRequestAndDisconnect", "_send100Continue", "_protocolUpgradeForWebsockets", "_wsp",
    "_escape", "_logDateTime", "_logFormatter", "_logFile", "_openLogFile", "_disconnected", "_handlingRequest", "_savedTimeOut",
    "_transferDecoder", "_UnsafeNoResource", "_textBuffer", "_bytesBuffer", "_appSendBuffer",
)  # fmt: skip


class TrialTests(SynchronousTestCase):
    """`unexpected`."""

    def test_as_it_is(self) -> None:
        """This Twisted is as expected."""
        self.assertIsNone(unexpected())

    def test_a_transport_that_is_different(self) -> None:
        """Where unsent bytes are kept elsewhere, that is noticed."""
        self.patch(abstract.FileDescriptor, "write", lambda self, data: None)
        self.assertEqual(unexpected(), "bytes that wait in a transport are not seen")

    def test_a_channel_that_is_different(self) -> None:
        """Where a channel keeps what it reads elsewhere, that is noticed."""
        self.patch(HTTPChannel, "dataReceived", lambda self, data: None)
        self.assertEqual(unexpected(), "the beginning of a request in a channel is not seen")

    def test_a_name_that_is_gone(self) -> None:
        """An attribute that is not there any more is named."""
        self.patch(twisted_internals, "unsent", lambda transport: transport._gone)
        self.assertIn("_gone", unexpected() or "")

    def test_requests_are_held_all_the_same(self) -> None:
        """Then requests are held with their channels, and the log says so."""
        self.patch(twisted_internals, "unexpected", lambda: "a test says so")
        logged: list[str] = []
        from twisted.logger import formatEvent, globalLogPublisher

        def observe(event: dict[str, object]) -> None:
            logged.append(formatEvent(event))

        globalLogPublisher.addObserver(observe)
        self.addCleanup(globalLogPublisher.removeObserver, observe)
        lab = Lab().start()
        self.addCleanup(lab.stop)
        lab.set("1", "RUNNING")
        held = lab.get("/v1/jobs/memory/1?since=now&wait=60")
        self.assertEqual((held.held, lab.registry.held), (True, 1))
        lab.set("1", "SUSPENDED")
        self.assertEqual(held.json()["job"]["state"], "SUSPENDED")
        self.assertTrue([text for text in logged if "with their HTTP channels" in text and "a test says so" in text])


class WaitingTests(TestCase):
    """`waiting`."""

    async def test_plain(self) -> None:
        """What Twisted keeps, and what the kernel has, of a connection whose client does not read."""
        made: list[Any] = []
        factory = ServerFactory()
        factory.buildProtocol = lambda addr: made.append(Protocol()) or made[-1]  # type: ignore[method-assign,func-returns-value]
        port = reactor.listenTCP(0, factory, interface="127.0.0.1")
        with socket.create_connection(("127.0.0.1", port.getHost().port)) as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 14)
            while not made:
                await deferLater(reactor, 0.01)
            (transport,) = (protocol.transport for protocol in made)
            self.assertEqual((waiting(transport), waiting(transport, in_kernel=True)), (0, 0))
            transport.write(b"x" * 10_000_000)
            await deferLater(reactor, 0.3)
            kept = waiting(transport)
            self.assertEqual(kept, unsent(transport))
            self.assertGreater(kept, 0)
            self.assertGreater(waiting(transport, in_kernel=True), kept)
            transport.abortConnection()
        await port.stopListening()
        self.assertEqual(waiting(transport, in_kernel=True), waiting(transport))

    def test_tls(self) -> None:
        """Over TLS also what is not encrypted yet; of a transport that is none of Twisted's, nothing is known."""

        class Plain:
            _tempDataLen, dataBuffer, offset, connected = 5, b"xxx", 1, 0

        class Tls:
            _appSendBuffer = (b"ab", b"c")
            transport = Plain()

        self.assertEqual((waiting(Tls()), waiting(Plain()), waiting(object())), (10, 7, 0))
        self.assertIn("_appSendBuffer", Path(inspect.getsourcefile(tls) or "").read_text())


class OneFileTests(SynchronousTestCase):
    """Where the private names stand."""

    def test_one_file(self) -> None:
        """Each private name of Twisted's stands in one file alone."""
        for path in (ROOT / "jobpush").rglob("*.py"):
            if path.name == "twisted_internals.py":
                continue
            tree = ast.parse(path.read_text())
            used = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
            for node in ast.walk(tree):
                if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("twisted"):
                    used |= {alias.name for alias in node.names}
                    self.assertNotRegex(node.module or "", r"\._", path)
                elif isinstance(node, ast.FunctionDef):
                    used.add(node.name)
            self.assertEqual(used & set(PRIVATE), set(), path)

    def test_versions(self) -> None:
        """setup.py says which versions of Twisted were tested."""
        self.assertIsNotNone(re.search(r'"Twisted >= [\d.]+"', (ROOT / "setup.py").read_text()))
