"""
``jobpush-tls:8443:cert=FILE:key=FILE[:clientCAs=FILE][:interface=ADDRESS]``: an endpoint with TLS, to be renewed while it runs.

Twisted's own ``ssl:`` endpoint neither asks clients for certificates nor reads its files again. Here SIGHUP does that:
connections that are open keep what they have, new ones get the new certificate. TLS 1.2 is the oldest version. (Tests:
tests/test_tls_endpoint.py.)
"""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import datetime, timezone
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ServerEndpoint, TCP6ServerEndpoint
from twisted.internet.interfaces import (
    IListeningPort,
    IOpenSSLServerConnectionCreator,
    IProtocolFactory,
    IStreamServerEndpoint,
    IStreamServerEndpointStringParser,
)
from twisted.plugin import IPlugin
from zope.interface import implementer

from jobpush.runtime.reload import CannotReload

PREFIX = "jobpush-tls"

#: Connections that may wait to be accepted.
BACKLOG = 4096


#: Of TLS 1.2: forward secrecy and authenticated encryption. Those of TLS 1.3 all are so.
CIPHERS = b"ECDHE+AESGCM:ECDHE+CHACHA20"


class BadCertificate(ValueError):
    """What was given is of no use; one line that names the file."""


@implementer(IOpenSSLServerConnectionCreator)
class Certificates:
    """
    A certificate with its key, and whom clients must be certified by.

    :param cert: a file of PEM: the certificate, and those between it and its authority in their order.
    :param key: a file of PEM, which others than its owner and group may not read.
    :param client_cas: a file of PEM: the authorities one of which must have certified a client; without it clients need no
        certificate.
    :raise BadCertificate: if they are of no use.
    """

    def __init__(self, cert: str, key: str, client_cas: str | None = None) -> None:
        self._files = (cert, key, client_cas)
        self._context, self._identity = self._read()

    def reload(self) -> str | None:
        """
        Read the files again; see `jobpush.runtime.reload`.

        :raise CannotReload: if they are of no use; what was read last stays in force.
        """
        try:
            context, identity = self._read()
        except BadCertificate as error:
            raise CannotReload(str(error)) from None
        if identity == self._identity:
            return None
        self._context, self._identity = context, identity
        return f"{self._files[0]} is another one"

    def serverConnectionForTLS(self, protocol: Any) -> Any:
        """See `IOpenSSLServerConnectionCreator`."""
        from OpenSSL import SSL

        return SSL.Connection(self._context, None)

    def _read(self) -> tuple[Any, object]:
        """Return a context, and the bytes that it was made of."""
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives.serialization import load_pem_private_key
        from OpenSSL import SSL, crypto

        cert_file, key_file, cas_file = self._files
        chain_text, key_text = _bytes(cert_file), _bytes(key_file, secret=True)
        cas_text = None if cas_file is None else _bytes(cas_file)
        first, *others = _certificates(cert_file, chain_text)
        try:
            key: Any = load_pem_private_key(key_text, None)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            raise BadCertificate(f"{key_file}: there is no private key in it, as PEM and without a password") from None
        if first.not_valid_after_utc < datetime.now(timezone.utc):
            raise BadCertificate(f"{cert_file}: it ended on {first.not_valid_after_utc:%Y-%m-%d}")
        context = SSL.Context(SSL.TLS_SERVER_METHOD)
        context.set_min_proto_version(SSL.TLS1_2_VERSION)
        context.set_options(SSL.OP_NO_COMPRESSION | SSL.OP_NO_RENEGOTIATION | SSL.OP_CIPHER_SERVER_PREFERENCE)
        context.set_cipher_list(CIPHERS)
        context.set_session_id(b"jobpush")
        context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
        try:
            context.use_certificate(first)
            for other in others:
                context.add_extra_chain_cert(other)
            context.use_privatekey(key)
            context.check_privatekey()
        except (SSL.Error, TypeError):
            raise BadCertificate(f"{key_file}: that is not the key of {cert_file}") from None
        if cas_file is not None and cas_text is not None:
            store = context.get_cert_store()
            assert store is not None
            for authority in _certificates(cas_file, cas_text):
                store.add_cert(crypto.X509.from_cryptography(authority))
            context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT, lambda *args: bool(args[-1]))
        return context, (chain_text, key_text, cas_text)


def _bytes(path: str, secret: bool = False) -> bytes:
    try:
        with open(path, "rb") as file:
            if secret and os.fstat(file.fileno()).st_mode & 0o007:
                raise BadCertificate(f"{path}: everybody can read or change it; expected mode 640 or 600")
            return file.read()
    except OSError as error:
        raise BadCertificate(f"{path}: {error.strerror}") from None


def _certificates(path: str, text: bytes) -> list[Any]:
    from cryptography.x509 import load_pem_x509_certificates

    try:
        return load_pem_x509_certificates(text)
    except ValueError:
        raise BadCertificate(f"{path}: there is no certificate in it, as PEM") from None


@implementer(IStreamServerEndpoint)
class TlsEndpoint:
    """
    Listens, and speaks TLS with whoever connects.

    :ivar certificates: what is read again.
    """

    def __init__(self, endpoint: Any, certificates: Certificates) -> None:
        self._endpoint = endpoint
        self.certificates = certificates

    def listen(self, factory: IProtocolFactory) -> Deferred[IListeningPort]:
        """See `IStreamServerEndpoint`."""
        from twisted.protocols.tls import TLSMemoryBIOFactory

        found: Deferred[IListeningPort] = self._endpoint.listen(TLSMemoryBIOFactory(self.certificates, False, factory))
        return found


@implementer(IPlugin, IStreamServerEndpointStringParser)
class TlsEndpointParser:
    """What Twisted finds by its name at the beginning of an endpoint string."""

    prefix = PREFIX

    def parseStreamServer(self, reactor: Any, *args: Any, **kwargs: Any) -> TlsEndpoint:
        """
        See `IStreamServerEndpointStringParser`.

        :raise ValueError: if it is of no use; one line.
        """
        port, interface = kwargs.pop("port", None) or (args[0] if args else ""), kwargs.pop("interface", "")
        cert, key, client_cas = (kwargs.pop(name, None) for name in ("cert", "key", "clientCAs"))
        if not cert or not key or len(args) > 1 or kwargs:
            raise ValueError(f"expected {PREFIX}:PORT:cert=FILE:key=FILE, and perhaps :clientCAs=FILE and :interface=ADDRESS")
        if not port.isascii() or not port.isdigit() or int(port[:6]) > 65535:
            raise ValueError(f"{port!r} is no port from 0 to 65535")
        try:
            certificates = Certificates(cert, key, client_cas)
        except ImportError:
            raise ValueError(f"{PREFIX} needs pyOpenSSL: install jobpush[tls]") from None
        made: Callable[..., Any] = TCP6ServerEndpoint if ":" in interface else TCP4ServerEndpoint
        return TlsEndpoint(made(reactor, int(port), BACKLOG, interface), certificates)
