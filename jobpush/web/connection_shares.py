"""
How many connections one client may have: one user of this host, by whatever way, or one address elsewhere.

Before its first request a connection is nobody's, and behind loopback all have one address. But the kernel knows whose the
sockets of this host are. It is asked only while half of the descriptors that connections may have are taken.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import lru_cache
from ipaddress import IPv6Address, ip_address
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred, succeed
from twisted.internet.tcp import Server
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger

from jobpush.runtime import sock_diag
from jobpush.runtime.repeated import Repeated
from jobpush.runtime.sock_diag import Place
from jobpush.web.arrivals import Arrivals
from jobpush.web.peers import peer_uid
from jobpush.web.problems import Problem
from jobpush.web.shares import PARTS

#: Seconds between two looks at whose the connections are, and between two lines of the log on one owner.
LOOK_S = 1.0
SAY_EVERY_S = 10.0

#: The first so many bits of an IPv6 address are one network's, in which each host gives itself addresses.
NETWORK_BITS = 64

#: A user of this host, by his uid, or an address.
Owner = int | str

Closable = Callable[[Any], int | None]


class ConnectionShares(Service):
    """
    Refuses connections of whoever has more than a share, and ends such of them as wait for nothing.

    :param arrivals: the room for connections.
    :param transports: returns those of all connections.
    :param closable: given a connection's protocol, returns how little is lost with it, the least first; None if it may not end.
    :param share: how many one owner may have; None for a quarter of all.
    :param exempt: uids whose connections are others': those of proxies.
    :param note: called for each connection that was refused or ended.
    """

    log = Logger()

    def __init__(
        self,
        reactor: Any,
        arrivals: Arrivals,
        transports: Callable[[], Iterable[Server]],
        closable: Closable,
        share: int | None = None,
        exempt: frozenset[int] = frozenset(),
        note: Callable[[], None] = lambda: None,
    ) -> None:
        self._reactor = reactor
        self._arrivals = arrivals
        self._transports = transports
        self._closable = closable
        self.share = share if share is not None else max(1, arrivals.room // PARTS)
        self._exempt = exempt
        self._note = note
        #: Those that have their share, or more.
        self._full: frozenset[Owner] = frozenset()
        self._said: dict[Owner, float] = {}
        self._loop = Repeated(reactor, self._look)

    def startService(self) -> None:
        super().startService()
        self._loop.start(LOOK_S, now=False)

    def stopService(self) -> None:
        super().stopService()
        if self._loop.running:
            self._loop.stop()

    def refusal(self, transport: Any) -> Problem | None:
        """Return what a new connection is told if its owner has as many as he may have; else None."""
        if not self._full or self._owner_of_one(transport) not in self._full:
            return None
        self._note()
        detail = f"one user of this host, or one address, may have {self.share} connections"
        return Problem(429, detail, headers={"Retry-After": "5"})

    def _look(self) -> Deferred[None]:
        """Find out who has too many, if there are many at all."""
        if not self._arrivals.is_pressed:
            self._full = frozenset()
            return succeed(None)
        servers = {transport.server for transport in self._transports() if _place(transport) is not None}
        ports = {server.getHost().port for server in servers}
        asking: Deferred[dict[Place, int]] = deferToThreadPool(
            self._reactor, self._reactor.getThreadPool(), _owners, sorted(ports)
        )
        return asking.addCallback(self._found)

    def _found(self, uids: dict[Place, int]) -> None:
        """
        :param uids: of the sockets of this host that are connected to the service's ports.
        """
        owned: dict[Owner, list[Server]] = {}
        for transport in self._transports():
            owner = _owner(transport, uids.get)
            if owner is not None and owner not in self._exempt:
                owned.setdefault(owner, []).append(transport)
        for owner, those in owned.items():
            if len(those) > self.share:
                self._end_some(owner, those)
        self._full = frozenset(owner for owner, those in owned.items() if len(those) >= self.share)

    def _end_some(self, owner: Owner, those: list[Server]) -> None:
        kinds = [(kind, place) for place, each in enumerate(those) if (kind := self._closable(_protocol(each))) is not None]
        ended = sorted(kinds)[: len(those) - self.share]
        for _, place in ended:
            self._note()
            those[place].abortConnection()
        now = self._reactor.seconds()
        if now - self._said.get(owner, -SAY_EVERY_S) >= SAY_EVERY_S:
            self._said = {each: at for each, at in self._said.items() if now - at < SAY_EVERY_S}
            self._said[owner] = now
            self.log.warn(
                "{who} has {count} connections, more than the share of {share}: new ones are refused, and {ended} that wait "
                "for nothing are ended",
                who=f"uid {owner}" if isinstance(owner, int) else owner,
                count=len(those),
                share=self.share,
                ended=len(ended),
            )

    def _owner_of_one(self, transport: Any) -> Owner | None:
        while not isinstance(transport, Server):
            transport = getattr(transport, "transport", None)
            if transport is None:
                return None
        host = transport.getHost()

        def ask(place: Place) -> int | None:
            if not any(isinstance(owner, int) for owner in self._full):
                return None
            try:
                return sock_diag.owner(place, host.port, _plain(host.host))
            except OSError:
                return None

        owner = _owner(transport, ask)
        return None if owner in self._exempt else owner


def _owners(ports: Iterable[int]) -> dict[Place, int]:
    """Return whose the sockets of this host are that are connected to these ports; none, where the kernel does not say so."""
    found: dict[Place, int] = {}
    try:
        for port in ports:
            found.update(sock_diag.owners(port))
    except OSError:
        return {}
    return found


def _owner(transport: Any, uid_of: Callable[[Place], int | None]) -> Owner | None:
    """Return whose a connection is; None if that is not known."""
    place = _place(transport)
    if place is None:
        return peer_uid(transport)
    uid = uid_of(place)
    if uid is not None:
        return uid
    return None if ip_address(place[0]).is_loopback else _network(place[0])


def _place(transport: Any) -> Place | None:
    """Return where a connection comes from; None if that is a unix socket."""
    client = transport.client
    if isinstance(client, tuple) and isinstance(client[1], int):
        return _plain(client[0]), client[1]
    return None


@lru_cache(10_000)
def _plain(host: str) -> str:
    """Return an IPv4 address that is mapped into IPv6 as what it is."""
    address = ip_address(host.partition("%")[0])
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return str(mapped or address)


@lru_cache(10_000)
def _network(host: str) -> str:
    """Return an IPv4 address, or the network of an IPv6 one."""
    address = ip_address(host)
    if address.version == 4:
        return host
    return f"{IPv6Address(int(address) >> NETWORK_BITS << NETWORK_BITS)}/{NETWORK_BITS}"


def _protocol(transport: Any) -> Any:
    """Return what reads a connection, behind TLS too."""
    protocol = getattr(transport.protocol, "wrappedProtocol", transport.protocol)
    return getattr(protocol, "channel", None) or protocol
