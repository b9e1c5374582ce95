"""Sockets that listen already."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from twisted.internet import endpoints, reactor
from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.threads import deferToThread
from twisted.python.systemd import ListenFDs
from twisted.trial.unittest import TestCase

from jobpush.runtime.listening import AdoptedPort, InheritedSocket, inherited_sockets, listening_service
from tests.support import short_path


class Hello(Protocol):
    """Greets, and ends."""

    def connectionMade(self) -> None:
        assert self.transport is not None
        self.transport.write(b"hello")
        self.transport.loseConnection()


def ask(family: int, address: Any) -> bytes:
    """What is said there."""
    with socket.socket(family) as client:
        client.settimeout(10)
        client.connect(address)
        return client.recv(16)


class InheritedTests(TestCase):
    """Of a process that was started with sockets; here they are handed over by the test."""

    @contextmanager
    def handed(self, *sockets: socket.socket) -> Iterator[None]:
        """These were handed over, as Twisted has read it of the environment when it began."""
        descriptors = [os.dup(each.fileno()) for each in sockets]
        parsers = [p for p in endpoints.getPlugins(endpoints.IStreamServerEndpointStringParser) if p.prefix == "systemd"]
        self.patch(type(parsers[0]), "_sddaemon", ListenFDs(descriptors, ("jobpush.socket",) * len(descriptors)))
        try:
            yield
        finally:
            for each in sockets:
                each.close()

    def test_none(self) -> None:
        """A process that was started without any has none."""
        self.assertEqual(inherited_sockets(reactor), ())

    def test_what_they_are(self) -> None:
        """Those that listen for streams, with their addresses, and whether others than this host's users reach them."""
        path = short_path(self)
        unix = socket.socket(socket.AF_UNIX)
        unix.bind(path)
        unix.listen()
        abstract = socket.socket(socket.AF_UNIX)
        abstract.bind(f"\0jobpush-{os.getpid()}")
        abstract.listen()
        loopback, public = socket.create_server(("127.0.0.1", 0)), socket.create_server(("0.0.0.0", 0))
        datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        deaf = socket.socket(socket.AF_INET)
        addresses = [f"{host}:{port}" for host, port in (loopback.getsockname(), public.getsockname())]
        with self.handed(datagrams, loopback, deaf, public, unix, abstract):
            self.assertEqual(inherited_sockets(reactor), (
                InheritedSocket("systemd:domain=INET:index=1", addresses[0], False),
                InheritedSocket("systemd:domain=INET:index=3", addresses[1], True),
                InheritedSocket("systemd:domain=UNIX:index=4", path, False),
                InheritedSocket("systemd:domain=UNIX:index=5", f"@jobpush-{os.getpid()}", False),
            ))  # fmt: skip

    @inlineCallbacks
    def serve(self, listening: socket.socket, address: Any) -> Iterator[Deferred[Any]]:
        """Serve on a socket that was handed over; afterwards it listens still, for somebody else."""
        family = listening.family
        with self.handed(listening.dup()):
            (found,) = inherited_sockets(reactor)
            service = listening_service(reactor, found.endpoint, Factory.forProtocol(Hello))
            self.assertIsInstance(service, AdoptedPort)
            service.privilegedStartService()
            service.startService()
            said = yield deferToThread(ask, family, address)
            self.assertEqual(said, b"hello")
            yield service.stopService()  # type: ignore[misc]
            client = socket.socket(family)
            client.connect(address)  # it waits for the next process
            accepted, _ = listening.accept()
            accepted.close()
            client.close()

    def test_a_port(self) -> Any:
        """It listens on while the service is gone."""
        listening = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(listening.close)
        return self.serve(listening, listening.getsockname())

    def test_a_unix_socket(self) -> Any:
        """Its file stays too."""
        path = short_path(self)
        listening = socket.socket(socket.AF_UNIX)
        self.addCleanup(listening.close)
        listening.bind(path)
        listening.listen()
        return self.serve(listening, path)

    def test_not_started(self) -> None:
        """A service that never listened can be stopped."""
        with self.handed(socket.create_server(("127.0.0.1", 0))):
            service = listening_service(reactor, "systemd:domain=INET:index=0", Factory.forProtocol(Hello))
        self.assertIsNone(service.stopService())

    def test_another_endpoint(self) -> None:
        """Any other endpoint is listened on as ever."""
        self.assertNotIsInstance(listening_service(reactor, "tcp:0:interface=127.0.0.1", Factory()), AdoptedPort)
