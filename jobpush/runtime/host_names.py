"""
The names and addresses that a service is known by: those of this host, and those that somebody has given.

A page in a browser can reach a service on this host under a name of its own, if the owner of that name lets it point here (DNS
rebinding): for the browser both are one origin then. It cannot make the service known by that name.
"""

from __future__ import annotations

import ipaddress
import re
import socket
import threading
from collections.abc import Callable, Iterable

import attrs
from twisted.internet.interfaces import IReactorFromThreads

#: A host, and a port behind it (RFC 3986, 3.2), as far as hosts have such names: no user, no percent signs.
_AUTHORITY = re.compile(r"(?:\[([0-9A-Fa-f:.]{2,45})\]|([A-Za-z0-9._-]{1,255}))(?::([0-9]{0,5}))?")


@attrs.frozen
class Authority:
    """
    :ivar host: a name in lower case without a dot at its end, or an address without brackets.
    :ivar port: None if there is none.
    """

    host: str
    port: int | None = None


def read_authority(text: str) -> Authority | None:
    """Return what is in ``HOST[:PORT]``; None if that is something else."""
    found = _AUTHORITY.fullmatch(text)
    if found is None:
        return None
    six, name, port = found.groups()
    if six is not None and _address(six) is None:
        return None
    host = six if six is not None else name.lower().rstrip(".")
    return Authority(host.lower(), int(port) if port else None) if host else None


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        found = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return None
    return (isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped) or found


class KnownHosts:
    """
    What a service is known by. Always: loopback addresses, ``localhost`` and names below it, addresses of this host, and the
    name that it has itself. After `look_up` also the names that the resolver has for it.

    :param given: more names and addresses; ``*.example.org`` stands for every name below ``example.org``.
    """

    def __init__(self, given: Iterable[str] = ()) -> None:
        self.given = tuple(name.lower().rstrip(".") for name in given)
        self._own = frozenset(_with_short([socket.gethostname()]))

    def knows(self, host: str, local: str = "") -> bool:
        """
        Return whether the service is known by that name or address. Asks no resolver.

        :param host: as `Authority` has it.
        :param local: the address of this host that the client has connected to.
        """
        if host in self.given or host in self._own or host == "localhost" or host.endswith(".localhost"):
            return True
        if any(name.startswith("*.") and host.endswith(name[1:]) for name in self.given):
            return True
        address = _address(host)
        return address is not None and (address.is_loopback or address == _address(local) or _is_of_this_host(address))

    @property
    def names(self) -> tuple[str, ...]:
        """The names, for people."""
        return ("localhost", *sorted(self._own), *self.given)

    def give(self, given: Iterable[str]) -> bool:
        """Replace the names that were given; return whether these are others."""
        before, self.given = self.given, tuple(name.lower().rstrip(".") for name in given)
        return before != self.given

    def look_up(self, reactor: IReactorFromThreads, names: Callable[[], Iterable[str]] | None = None) -> None:
        """
        Ask the resolver for the names of this host, on a thread of its own, which nothing waits for: a resolver may take half a
        minute. Until it answers, those of before are known.

        :param names: asks it; may fail with `OSError`, or with a `UnicodeError` where the host's name is none.
        """
        ask = names or names_of_this_host

        def run() -> None:
            try:
                found = frozenset(_with_short([socket.gethostname(), *ask()]))
            except (OSError, UnicodeError):
                return
            reactor.callFromThread(self._found, found)

        threading.Thread(target=run, name="names of this host", daemon=True).start()

    def _found(self, names: frozenset[str]) -> None:
        self._own = names


def names_of_this_host() -> list[str]:
    """Return the names that the resolver has for this host. Blocks."""
    name, aliases, _ = socket.gethostbyname_ex(socket.gethostname())
    return [name, *aliases, socket.getfqdn()]


def _with_short(names: Iterable[str]) -> Iterable[str]:
    """These names, and the first parts of them, by which hosts are called in their own domain."""
    for name in names:
        authority = read_authority(name)
        if authority is not None and _address(authority.host) is None:
            yield authority.host
            yield authority.host.partition(".")[0]


def _is_of_this_host(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    """Return whether an interface of this host has the address: then, and only then, a socket can be bound to it."""
    if address.is_unspecified or address.is_multicast:
        return False
    family = socket.AF_INET6 if address.version == 6 else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind((str(address), 0))
    except OSError:
        return False
    return True
