"""A proxy that has found out who asks, and says so in a header."""

from __future__ import annotations

import pwd
import re
from typing import Any

from twisted.internet.defer import Deferred, execute
from zope.interface import implementer

from jobpush.adapter.interfaces import BadQueueOption
from jobpush.auth_types import ProxyOptions
from jobpush.web.identity import IAuthenticator, Refused, only
from jobpush.web.peers import peer_uid
from jobpush.web.principal import Principal, is_user_name
from jobpush.web.requests import ClientRequest

#: Names that a header can have, and those that say something else.
_HEADER = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?")
_TAKEN = frozenset(
    (
        "accept", "authorization", "connection", "content-length", "content-type", "cookie", "expect", "host", "if-none-match",
        "keep-alive", "last-event-id", "origin", "prefer", "proxy-authorization", "referer", "te", "trailer",
        "transfer-encoding", "upgrade", "user-agent", "x-slurm-user-name", "x-slurm-user-token",
    )
)  # fmt: skip


@implementer(IAuthenticator)
class ProxyHeader:
    """
    The user whom a header names, if a listed proxy has sent it: over a unix socket, or with a client certificate over TLS. Sent
    by anybody else it is 403.

    :param header: its name.
    :param certificates: names in the client certificates of proxies.
    :ivar proxies: the uids of the proxies.
    """

    explicit = True

    def __init__(self, header: str, proxies: frozenset[int], certificates: frozenset[str] = frozenset()) -> None:
        self.proxies = proxies
        self._certificates = certificates
        self.how = "go through the proxy of this site"
        self._header = header

    def principal(self, request: ClientRequest) -> Deferred[Principal | None]:
        return execute(self._principal, request)

    def _principal(self, request: ClientRequest) -> Principal | None:
        values = request.requestHeaders.getRawHeaders(self._header.lower().encode("ascii"))
        if not values:
            return None
        uid = peer_uid(request.channel.transport)
        certified = self._certificates and certificate_names(request.channel.transport)
        if uid not in self.proxies and not (certified and certified & self._certificates):
            why = "it is not from a listed proxy" if uid is None else f"uid {uid} is no listed proxy"
            alone = f"{self._header} is for the proxy of this site alone"
            raise Refused(403, alone, self._header, why=f"{self._header}: {why}")
        name = only(request, self._header)
        if name is None or not is_user_name(name):
            raise Refused(400, f"{self._header} is not the name of a user", self._header, who=name or "")
        return Principal(name, credential="proxy")


def make(reactor: object, options: ProxyOptions) -> ProxyHeader:
    """
    Return what ``--auth proxy`` makes.

    :raise BadQueueOption: if a proxy's account is not there, or the header is for something else.
    """
    header, peers, certificates = options.header, _names(options.peer), _names(options.certificate)
    if header is None or not (peers or certificates):
        raise BadQueueOption("expected header=NAME, and peer=USER, the account of the proxy, or certificate=NAME")
    if not _HEADER.fullmatch(header) or header.lower() in _TAKEN:
        raise BadQueueOption(f"header={header!r}: expected a header's name that is for nothing else, such as X-Remote-User")
    return ProxyHeader(header, frozenset(map(_uid, peers)), frozenset(certificates))


def certificate_names(transport: Any) -> frozenset[str]:
    """
    Return the common name and the DNS names of the client's certificate; none, if it has shown none. That an authority has
    certified it was checked when the connection began.
    """
    while transport is not None:
        shown = transport.getPeerCertificate() if hasattr(transport, "getPeerCertificate") else None
        if shown is not None:
            return _names_in(shown.to_cryptography())
        transport = getattr(transport, "transport", None)
    return frozenset()


def _names_in(certificate: Any) -> frozenset[str]:
    from cryptography import x509  # the extra ``tls``, which who shows a certificate has

    common = certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    try:
        others = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        others = ()
    dns = others.get_values_for_type(x509.DNSName) if others else ()
    return frozenset((*(str(name.value) for name in common), *map(str, dns)))


def _names(text: str | None) -> list[str]:
    """Return the names that commas stand between."""
    return [name.strip() for name in text.split(",")] if text is not None else []


def _uid(text: str) -> int:
    if re.fullmatch("[0-9]{1,9}", text):
        return int(text)
    try:
        return pwd.getpwnam(text).pw_uid
    except (KeyError, ValueError):
        raise BadQueueOption(f"peer={text!r}: this host has no such user") from None
