"""
What must hold for every request, whoever asks: its method, the host that it is for, that no page of another site has sent it,
and the type of its body.

A browser lets any page send requests to any host that it reaches, also through a tunnel to a cluster. It says where a request
comes from: by ``Origin``, and by ``Sec-Fetch-Site`` where this service is reached over TLS or on loopback. And it does not send
JSON for a page of another origin without asking first, which is never allowed here.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from jobpush.runtime.host_names import Authority, KnownHosts, read_authority
from jobpush.web.cors import Cors
from jobpush.web.problems import Problem
from jobpush.web.requests import ClientRequest

#: Addresses that are answered whatever the Host is: whoever checks a service's health names it as it likes.
READYZ = b"/readyz"
HEALTH = (b"/healthz", READYZ)

JSON = b"application/json"

_PORTS = {"http": 80, "https": 443}


class Admission:
    """
    :param hosts: what the service is known by.
    :param cors: the other origins whose pages may ask.
    """

    def __init__(self, hosts: KnownHosts, cors: Cors) -> None:
        self.hosts = hosts
        self.cors = cors

    def check(self, request: ClientRequest) -> None:
        """
        Check what must hold for every request.

        :raise Problem: 400, 403, 415, 421 or 501, if it does not.
        """
        if request.method != request.method.upper():
            shown = request.method.decode("latin-1")[:20]
            raise Problem(501, f"{shown} is no method: methods are in upper case", "method", close=True)
        self._check_host(request)
        if not self.cors.allow(request) and request.path not in HEALTH:
            _check_origin(request)
        _check_type(request)

    def _check_host(self, request: ClientRequest) -> None:
        given = request.requestHeaders.getRawHeaders(b"host", [])
        health = request.path in HEALTH
        local = getattr(request.getHost(), "host", None)  # a unix socket's has none
        if not given and (local is None or (health and request.clientproto == b"HTTP/1.0")):
            return
        if len(given) != 1:
            raise Problem(400, f"expected one Host header, not {len(given) or 'none'}", "Host", close=True)
        authority = read_authority(given[0].decode("latin-1"))
        if authority is None:
            raise Problem(400, "the Host header is not a host name or address, with a port or without", "Host", close=True)
        if not health and local is not None and not self.hosts.knows(authority.host, local):
            names = ", ".join(self.hosts.names[:20])
            raise Problem(
                421,
                f"this service is not known by the name {authority.host[:100]}; it is by its addresses and as {names}. "
                "The administrator adds names with --host NAME (host in the configuration file)",
                "Host",
            )


def _check_origin(request: ClientRequest) -> None:
    """Refuse what a page of another site has sent. A link to a page here may be followed from anywhere."""
    headers = request.requestHeaders
    origins = headers.getRawHeaders(b"origin", [])
    if origins and not (len(origins) == 1 and _is_same(origins[0], headers.getRawHeaders(b"host", [b""])[0])):
        raise Problem(403, "a page of another site may not ask here (the Origin is not this Host)", "Origin")
    if b"cross-site" in headers.getRawHeaders(b"sec-fetch-site", []):
        modes = headers.getRawHeaders(b"sec-fetch-mode", [])
        if request.method not in (b"GET", b"HEAD") or modes != [b"navigate"]:
            raise Problem(403, "a page of another site may not ask here", "Sec-Fetch-Site")


def _is_same(origin: bytes, host: bytes) -> bool:
    """
    Return whether an origin is this host and port. The scheme may be another: a proxy may take the TLS away. A Host without a
    port has that of the origin's scheme.
    """
    try:
        parts = urlsplit(origin.decode("latin-1"))
    except ValueError:
        return False
    theirs, ours = read_authority(parts.netloc), read_authority(host.decode("latin-1"))
    default = _PORTS.get(parts.scheme)
    if theirs is None or ours is None or default is None:
        return False
    return _with_port(theirs, default) == _with_port(ours, default)


def _with_port(authority: Authority, default: int) -> tuple[str, int]:
    return authority.host, authority.port if authority.port is not None else default


def _check_type(request: ClientRequest) -> None:
    """Refuse a body that does not say that it is JSON: that is how a page's form, or its plain request, would send it."""
    if not _has_body(request):
        return
    types = request.requestHeaders.getRawHeaders(b"content-type", [])
    if [kind.partition(b";")[0].strip().lower() for kind in types] != [JSON]:
        given = ", ".join(kind.decode("latin-1")[:80] for kind in types) or "none"
        raise Problem(
            415, f"expected Content-Type: application/json for a body, not {given}", "Content-Type", {"Accept": JSON.decode()}
        )


def _has_body(request: ClientRequest) -> bool:
    here = request.content.tell()
    end = request.content.seek(0, 2)
    request.content.seek(here)
    return end > here
