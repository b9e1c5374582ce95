"""A proxy that says who asks."""

from __future__ import annotations

import os
import pwd
import socket
from typing import Any
from unittest import mock

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.address import IPv4Address
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.http_headers import Headers

from jobpush.adapter.interfaces import BadQueueOption
from jobpush.auth_types import ProxyFactory
from jobpush.web.access import Policy
from jobpush.web.identity import Identity
from jobpush.web.peers import PeerCredentials
from jobpush.web.principal import Principal, is_user_name
from jobpush.web.problems import Problem
from jobpush.web.proxy_header import ProxyHeader
from tests.web.held.test_connections import House, Stage, bodies
from tests.web.test_peers import Accounts, Transport


class HeaderTests(SynchronousTestCase):
    """`ProxyHeader`."""

    def setUp(self) -> None:
        ends = socket.socketpair()
        for end in ends:
            self.addCleanup(end.close)
        self.unix = Transport(ends[0])
        self.tcp = type("Tcp", (), {"getPeer": lambda self: IPv4Address("TCP", "127.0.0.1", 5)})()

    def asks(self, values: list[bytes], transport: Any = None, proxies: frozenset[int] = frozenset({os.getuid()})) -> Any:
        headers = Headers({b"x-remote-user": values} if values else {})
        channel = type("Channel", (), {"transport": transport or self.unix})
        request: Any = type("Request", (), {"requestHeaders": headers, "channel": channel})
        done: list[Any] = []
        ProxyHeader("X-Remote-User", proxies).principal(request).addBoth(done.append)
        return getattr(done[0], "value", done[0])

    def test_named(self) -> None:
        """The user; nobody, without the header."""
        self.assertEqual(self.asks([b"kim"]), Principal("kim", credential="proxy"))
        self.assertEqual(self.asks([b"root"]).roles, frozenset())
        self.assertIsNone(self.asks([]))
        self.assertIsNone(self.asks([], self.tcp))

    def test_from_elsewhere(self) -> None:
        """Over TCP, or from another account: 403, whatever it says, once or twice."""
        for transport, proxies in ((self.tcp, frozenset({os.getuid()})), (self.unix, frozenset({os.getuid() + 1})), (self.unix, frozenset())):
            for values in ([b"kim"], [b""], [b"kim", b"kim"]):
                problem = self.asks(values, transport, proxies)
                self.assertEqual((problem.status, problem.close), (403, True))

    def test_wrong(self) -> None:
        """Twice, empty, several names, and what is none: 400."""
        for values in ([b"kim", b"kim"], [b"kim", b"lee"], [b""], [b"kim, lee"], [b"kim lee"], [b"@staff"], [b"-"], [b"\xc3\xa9"], [b"\xff"], [b"x" * 300]):
            problem = self.asks(values)
            self.assertEqual((problem.status, problem.close), (400, True), values)

    @given(st.lists(st.binary(max_size=20).map(lambda value: value.replace(b"\r", b"").replace(b"\n", b"")), min_size=1, max_size=3))
    def test_any(self, values: list[bytes]) -> None:
        """Whatever is in it: a user of that very name, or 400."""
        found = self.asks(values)
        if isinstance(found, Problem):
            self.assertEqual(found.status, 400)
        else:
            self.assertEqual([found.name.encode()], [value.strip() for value in values])
            self.assertTrue(is_user_name(found.name))


class OptionTests(SynchronousTestCase):
    """``--auth proxy``."""

    def make(self, **options: object) -> Any:
        return ProxyFactory().generate_authenticator(None, options)

    def test_peers(self) -> None:
        """Accounts by name or uid."""
        root = pwd.getpwuid(0).pw_name
        self.assertEqual(self.make(header="X-Remote-User", peer=f"{root},33").proxies, frozenset({0, 33}))

    def test_errors(self) -> None:
        """What is missing, no account, and headers that say something else."""
        for options, words in (
            ({}, "header=NAME, and peer=USER"), ({"header": "X-A"}, "or certificate=NAME"), ({"peer": "0"}, "header=NAME"), ({"header": "X-A", "peer": "no such user"}, "no such user"),
            ({"header": "X-A", "peer": "root,"}, "no such user"), ({"header": "Host", "peer": "0"}, "for nothing else"),
            ({"header": "authorization", "peer": "0"}, "for nothing else"), ({"header": "X_A", "peer": "0"}, "for nothing else"),
        ):  # fmt: skip
            self.assertIn(words, str(self.assertRaises(BadQueueOption, self.make, **options)))


class ConnectionTests(Stage):
    """A proxy's connection, over which different users ask."""

    async def test_users_in_turn(self) -> None:
        """Each gets his own, held or not, by the fast path and without it; who is not named is nobody."""

        async def scene(house: House) -> Any:
            lab = house.lab
            proxies = frozenset({os.getuid()})
            for way in (ProxyHeader(house_header[0], proxies), PeerCredentials(mock.Mock(wraps=Accounts("proxy")), proxies)):
                house.resource.identity.add(way)
            lab.queue.set("2", "RUNNING", user="kim")
            lab.tick()
            client, given = house.client(), []
            for count, name in enumerate(("kim", "kim", "lee", "lee", "kim", "lee"), 1):
                client.get("/v1/changes?since=0&wait=0", f"{house_header[0]}: {name}")
                await client.answers(count)
                given.append(b"kim" in bodies(client.got)[-1])
            client.get("/v1/changes?since=0&wait=0")
            await client.answers(7)
            return given, b"HTTP/1.1 401 " in client.got, b"has not said who asks" in bodies(client.got)[-1]

        for name in ("X-Remote-User", "X-Forwarded-User"):
            house_header = [name]
            given = await self.both(scene, without=False, policy=Policy(private=True), identity=Identity([]), path="x")
            self.assertEqual(given, ([True, True, False, False, True, False], True, True))
