"""How many connections one client may have. With real ones and two users: tests/with_service/test_descriptors.py."""

from __future__ import annotations

from typing import Any
from unittest import mock

from twisted.internet.address import IPv4Address
from twisted.internet.task import Clock
from twisted.internet.tcp import Server
from twisted.trial.unittest import SynchronousTestCase

from jobpush.runtime import sock_diag
from jobpush.web import connection_shares
from jobpush.web.connection_shares import LOOK_S, ConnectionShares

PORT = mock.Mock(**{"getHost.return_value": IPv4Address("TCP", "127.0.0.1", 8080)})


class Transport(Server):
    """A connection."""

    def __init__(self, host: str, port: int, kind: int | None = None) -> None:
        self.client = (host, port)
        self.server = PORT  # type: ignore[assignment]
        self.protocol = mock.Mock(spec=["kind"], kind=kind)
        self.ended = False

    def getHost(self) -> IPv4Address:
        return IPv4Address("TCP", "127.0.0.1", 8080)

    def abortConnection(self) -> None:
        self.ended = True

    def __hash__(self) -> int:
        return id(self)


class Arrivals:
    """The room for connections."""

    room, is_pressed = 40, True


class SharesTests(SynchronousTestCase):
    """`ConnectionShares`."""

    def setUp(self) -> None:
        self.clock, self.arrivals = Clock(), Arrivals()
        self.uids: dict[tuple[str, int], int] = {}
        self.transports: list[Transport] = []
        self.noted: list[None] = []
        self.patch(connection_shares, "deferToThreadPool", lambda reactor, pool, work, *given: connection_shares.succeed(work(*given)))
        self.clock.getThreadPool = lambda: None  # type: ignore[attr-defined]
        self.asked: list[int] = []
        self.patch(sock_diag, "owners", lambda port: (self.asked.append(port), self.uids)[1])
        self.patch(sock_diag, "owner", lambda place, port, address: self.uids.get(place))
        self.shares = ConnectionShares(
            self.clock, self.arrivals, lambda: self.transports, lambda protocol: protocol.kind,  # type: ignore[arg-type]
            exempt=frozenset({33}), note=lambda: self.noted.append(None),
        )  # fmt: skip
        self.shares.startService()
        self.addCleanup(self.shares.stopService)

    def come(self, host: str, count: int = 1, uid: int | None = None, kind: int | None = 1) -> list[Transport]:
        """So many connections come."""
        made = [Transport(host, 1000 + len(self.transports) + number, kind) for number in range(count)]
        self.transports += made
        if uid is not None:
            self.uids.update(dict.fromkeys([each.client for each in made], uid))
        return made

    def look(self) -> int:
        """It looks; how many connections have ended."""
        self.clock.advance(LOOK_S)
        return sum(each.ended for each in self.transports)

    def refused(self, transport: Any) -> bool:
        """Is this new one refused?"""
        problem = self.shares.refusal(transport)
        return problem is not None and (problem.status, problem.headers) == (429, {"Retry-After": "5"})

    def test_users_of_this_host(self) -> None:
        """Each has a quarter of all, whatever others have; the least is lost with those that end."""
        mine, theirs = self.come("127.0.0.1", 9, uid=7), self.come("127.0.0.1", 10, uid=8)
        self.assertEqual(self.look(), 0)
        self.assertEqual([self.refused(*self.come("127.0.0.1", uid=uid)) for uid in (7, 8, 9)], [False, True, False])
        del self.transports[-3:]
        theirs += self.come("127.0.0.1", 2, uid=8, kind=2) + self.come("127.0.0.1", 1, uid=8, kind=0) + self.come("127.0.0.1", 9, uid=8, kind=None)
        self.assertEqual(self.look(), 12)
        self.assertFalse(any(each.ended for each in (*mine, *theirs[-9:])))
        self.assertEqual([each.ended for each in theirs[10:13]], [True, False, True])
        self.assertEqual(len(self.noted), 13)

    def test_unix_sockets(self) -> None:
        """A user's connections to a unix socket are his as those over TCP are."""
        self.patch(connection_shares, "peer_uid", lambda transport: 7)
        for name in ("", ("/run/users.sock", None)):
            self.transports.clear()
            self.come("127.0.0.1", 8, uid=7)
            for each in self.come("", 2):
                each.client = name  # type: ignore[assignment]
            self.assertEqual(self.look(), 0)
            self.assertTrue(self.refused(*self.come("127.0.0.1", uid=7)))

    def test_addresses(self) -> None:
        """Elsewhere an address counts, of IPv6 a network; an IPv4 address is one, however it is written."""
        for host, alike, other in (
            ("192.0.2.7", "::ffff:192.0.2.7", "192.0.2.8"), ("2001:db8::1", "2001:db8::ffff:2", "2001:db8:0:1::1"),
        ):  # fmt: skip
            self.transports.clear()
            self.come(host, 10)
            self.look()
            self.assertEqual([self.refused(Transport(each, 5)) for each in (host, alike, other)], [True, True, False])

    def test_proxies(self) -> None:
        """Those of a listed proxy are others'."""
        self.come("127.0.0.1", 30, uid=33)
        self.assertEqual((self.look(), self.refused(*self.come("127.0.0.1", uid=33))), (0, False))

    def test_nobody_knows(self) -> None:
        """Where the kernel does not say whose they are, loopback is not taken for one client's."""
        self.come("127.0.0.1", 30)
        self.assertEqual((self.look(), self.refused(Transport("127.0.0.1", 5))), (0, False))
        self.patch(sock_diag, "owners", mock.Mock(side_effect=OSError("no sock_diag")))
        self.come("192.0.2.7", 11)
        self.assertEqual(self.look(), 1)

    def test_room(self) -> None:
        """While there is room nobody is asked about, or refused."""
        self.come("127.0.0.1", 30, uid=7)
        self.arrivals.is_pressed = False
        self.assertEqual((self.look(), self.asked), (0, []))
        self.arrivals.is_pressed = True
        self.assertEqual((self.look(), self.asked), (20, [8080]))
        self.assertTrue(self.refused(*self.come("127.0.0.1", uid=7)))
        self.arrivals.is_pressed = False
        self.look()
        self.assertFalse(self.refused(*self.come("127.0.0.1", uid=7)))
