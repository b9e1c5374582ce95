"""The endpoint with TLS: what it takes, whom it speaks with, and what becomes of connections when its certificate is renewed."""

from __future__ import annotations

import os
import shutil
import socket
import ssl
import tempfile
import warnings
from pathlib import Path
from typing import Any
from unittest import mock

from twisted.internet import reactor as real_reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SynchronousTestCase, TestCase

from jobpush.runtime.reload import CannotReload
from jobpush.tls_endpoint import BadCertificate, Certificates, TlsEndpoint, TlsEndpointParser
from tests.certificates import Authority, Pair

reactor: Any = real_reactor


class Echo(Protocol):
    """Sends back what comes."""

    def dataReceived(self, data: bytes) -> None:
        assert self.transport is not None
        self.transport.write(data)


class Files:
    """A directory with an authority."""

    def __init__(self, test: SynchronousTestCase) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="jobpush-tls-"))
        test.addCleanup(shutil.rmtree, self.directory)
        self.authority = Authority(self.directory)


def replace(old: Pair, new: Pair) -> None:
    """Put files in the place of others, as what renews certificates does."""
    os.replace(new.cert, old.cert)
    os.replace(new.key, old.key)


class CertificatesTests(SynchronousTestCase):
    """What files are taken."""

    def setUp(self) -> None:
        self.files = Files(self)
        self.pair = self.files.authority.pair("one")

    def refused(self, *paths: object) -> str:
        """Why these are not taken."""
        return str(self.assertRaises(BadCertificate, Certificates, *map(str, paths)))

    def test_refusals(self) -> None:
        """One line, which names the file and what is wrong with it."""
        directory, pair = self.files.directory, self.pair
        other, old = self.files.authority.pair("two"), self.files.authority.pair("old", days=-3)
        (directory / "text").write_text("no PEM\n")
        (directory / "half").write_bytes(pair.cert.read_bytes()[:200] + b"\n-----END CERTIFICATE-----\n")
        self.assertEqual(self.refused(directory / "none", pair.key), f"{directory}/none: No such file or directory")
        self.assertEqual(self.refused(pair.cert, directory), f"{directory}: Is a directory")
        for path in (directory / "text", directory / "half", pair.key):
            self.assertEqual(self.refused(path, pair.key), f"{path}: there is no certificate in it, as PEM")
        os.chmod(directory / "text", 0o600)
        why = f"{directory}/text: there is no private key in it, as PEM and without a password"
        self.assertEqual(self.refused(pair.cert, directory / "text"), why)
        self.assertEqual(self.refused(pair.cert, other.key), f"{other.key}: that is not the key of {pair.cert}")
        self.assertEqual(self.refused(pair.cert, pair.key, directory / "text"), f"{directory}/text: there is no certificate in it, as PEM")
        self.assertRegex(self.refused(old.cert, old.key), r"old\.crt: it ended on \d{4}-\d\d-\d\d$")
        os.chmod(pair.key, 0o644)
        self.assertEqual(self.refused(pair.cert, pair.key), f"{pair.key}: everybody can read or change it; expected mode 640 or 600")
        os.chmod(pair.key, 0o640)
        Certificates(str(pair.cert), str(pair.key))

    def test_reload(self) -> None:
        """Renewed files are taken as a whole; what cannot be used leaves what there was."""
        certificates = Certificates(str(self.pair.cert), str(self.pair.key))
        self.assertIsNone(certificates.reload())
        before = certificates._context
        new = self.files.authority.pair("new")
        shutil.copy(new.cert, self.pair.cert)
        error = self.assertRaises(CannotReload, certificates.reload)
        self.assertIn("is not the key of", str(error))
        self.assertIs(certificates._context, before)
        os.replace(new.key, self.pair.key)
        self.assertEqual(certificates.reload(), f"{self.pair.cert} is another one")
        self.assertIsNot(certificates._context, before)
        self.assertIsNone(certificates.reload())

    def test_endpoint_strings(self) -> None:
        """Twisted finds it by its name; what is wrong with one is said in one line."""
        text = f"jobpush-tls:0:cert={self.pair.cert}:key={self.pair.key}:interface=127.0.0.1"
        self.assertIsInstance(serverFromString(reactor, text), TlsEndpoint)
        files = {"cert": str(self.pair.cert), "key": str(self.pair.key)}
        for args, kwargs, word in (
            (("8443",), {}, "expected jobpush-tls:PORT:cert=FILE:key=FILE"),
            (("8443", "x"), files, "expected jobpush-tls:PORT"),
            (("8443",), {**files, "other": "x"}, "expected jobpush-tls:PORT"),
            (("",), files, "'' is no port"),
            (("70000",), files, "'70000' is no port"),
            (("https",), files, "'https' is no port"),
            (("8443",), {**files, "key": "/nonexistent"}, "/nonexistent: No such file"),
        ):  # fmt: skip
            error = self.assertRaises(ValueError, TlsEndpointParser().parseStreamServer, reactor, *args, **kwargs)
            self.assertIn(word, str(error))
        with mock.patch.dict("sys.modules", {"OpenSSL": None}):
            error = self.assertRaises(ValueError, TlsEndpointParser().parseStreamServer, reactor, "8443", **files)
        self.assertIn("install jobpush[tls]", str(error))


class Peer:
    """A client on a connection, by Python's ssl; blocking, for threads."""

    def __init__(self, port: int, authority: Path, client: Pair | None = None, most: ssl.TLSVersion | None = None) -> None:
        context = ssl.create_default_context(cafile=str(authority))
        if client is not None:
            context.load_cert_chain(client.cert, client.key)
        if most is not None:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)  # it is an old version that is tried
                context.minimum_version, context.maximum_version = ssl.TLSVersion.TLSv1, most
            context.set_ciphers("ALL:@SECLEVEL=0")
        self.socket = context.wrap_socket(socket.create_connection(("127.0.0.1", port), 10), server_hostname="localhost")

    def says(self, word: bytes) -> bytes:
        """What comes back."""
        self.socket.sendall(word)
        return self.socket.recv(100)

    def close(self) -> None:
        """End it."""
        self.socket.close()

    @property
    def serial(self) -> int:
        """Of the server's certificate."""
        shown: Any = self.socket.getpeercert()
        return int(shown["serialNumber"], 16)


class EndpointTests(TestCase):
    """Over real sockets."""

    def setUp(self) -> None:
        self.files = Files(self)
        self.pair = self.files.authority.pair("one")

    async def listens(self, more: str = "") -> tuple[TlsEndpoint, int]:
        """The endpoint, and its port."""
        text = f"jobpush-tls:0:cert={self.pair.cert}:key={self.pair.key}:interface=127.0.0.1{more}"
        endpoint: Any = serverFromString(reactor, text)
        port = await endpoint.listen(Factory.forProtocol(Echo))
        self.addCleanup(port.stopListening)
        return endpoint, port.getHost().port

    async def peer(self, port: int, *more: Any) -> Peer:
        """A connection."""
        peer: Peer = await deferToThread(Peer, port, self.files.authority.cert, *more)
        self.addCleanup(peer.close)
        return peer

    def test_renewed(self) -> Deferred[None]:
        """A connection that is open keeps its certificate and goes on; who comes then gets the new one."""

        async def main() -> None:
            endpoint, port = await self.listens()
            first = await self.peer(port)
            self.assertEqual(first.serial, self.pair.serial)
            new = self.files.authority.pair("new")
            replace(self.pair, new)
            self.assertEqual(endpoint.certificates.reload(), f"{self.pair.cert} is another one")
            self.assertEqual((await self.peer(port)).serial, new.serial)
            self.assertEqual(await deferToThread(first.says, b"still here"), b"still here")

        return Deferred.fromCoroutine(main())

    def test_versions(self) -> Deferred[None]:
        """TLS 1.2 and 1.3, nothing older."""

        async def main() -> None:
            _, port = await self.listens()
            for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
                peer = await self.peer(port, None, version)
                self.assertEqual(await deferToThread(peer.says, b"x"), b"x")
            with self.assertRaises(ssl.SSLError):
                await self.peer(port, None, ssl.TLSVersion.TLSv1_1)

        return Deferred.fromCoroutine(main())

    def test_certified_clients(self) -> Deferred[None]:
        """With authorities for clients, only who one of them has certified is spoken with."""

        async def main() -> None:
            theirs = Authority(self.files.directory, "clients")
            _, port = await self.listens(f":clientCAs={theirs.cert}")
            peer = await self.peer(port, theirs.pair("proxy"))
            self.assertEqual(await deferToThread(peer.says, b"x"), b"x")
            for client in (None, self.files.authority.pair("stranger")):
                with self.assertRaises((ssl.SSLError, ConnectionError)):  # with TLS 1.3 it learns of it by what it reads
                    refused = await self.peer(port, client)
                    if await deferToThread(refused.says, b"x") == b"":
                        raise ConnectionError

        return Deferred.fromCoroutine(main())
