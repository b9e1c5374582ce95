"""Who is at the other end of a unix socket."""

from __future__ import annotations

import os
import socket
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.trial.unittest import SynchronousTestCase

from jobpush.runtime.accounts import NoAnswer
from jobpush.web.peers import PeerCredentials, peer_uid
from jobpush.web.problems import Problem


class Transport:
    """One with this socket, perhaps inside another."""

    def __init__(self, inner: Any) -> None:
        if isinstance(inner, socket.socket):
            self.socket = inner
        else:
            self.transport = inner


class Accounts:
    """Answers with that."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer
        self.asked: list[int] = []

    def name_of(self, uid: int) -> Deferred[Any]:
        self.asked.append(uid)
        return fail(self.answer) if isinstance(self.answer, Exception) else succeed(self.answer)


class PeerTests(SynchronousTestCase):
    """`PeerCredentials`."""

    def pair(self, family: int = socket.AF_UNIX) -> socket.socket:
        """One end of a connection."""
        if family == socket.AF_UNIX:
            ends = socket.socketpair()
        else:
            with socket.create_server(("127.0.0.1", 0)) as server:
                ends = (socket.create_connection(server.getsockname()), server.accept()[0])
        for end in ends:
            self.addCleanup(end.close)
        return ends[1]

    def asks(self, transport: Any, answer: Any = "kim", **options: Any) -> Deferred[Any]:
        """Who asks over this."""
        self.accounts: Any = Accounts(answer)
        request: Any = type("Request", (), {"channel": type("Channel", (), {"transport": transport})})
        return PeerCredentials(self.accounts, **options).principal(request)

    def test_uid(self) -> None:
        """The kernel's, however the connection is wrapped; none over TCP."""
        end = self.pair()
        self.assertEqual(peer_uid(Transport(end)), os.getuid())
        self.assertEqual(peer_uid(Transport(Transport(end))), os.getuid())
        self.assertIsNone(peer_uid(Transport(self.pair(socket.AF_INET))))
        self.assertIsNone(peer_uid(object()))

    def test_who(self) -> None:
        """The user of that name; nobody, if it has none."""
        transport = Transport(self.pair())
        self.assertEqual(self.successResultOf(self.asks(transport)).name, "kim")
        self.assertEqual(self.accounts.asked, [os.getuid()])
        self.assertIsNone(self.successResultOf(self.asks(transport, None)))
        self.assertIsNone(self.successResultOf(self.asks(Transport(self.pair(socket.AF_INET)))))

    def test_a_proxy(self) -> None:
        """What a proxy asks is asked for others: it is not taken for its own account, but for nobody."""
        transport, proxies = Transport(self.pair()), frozenset({os.getuid()})
        problem = self.failureResultOf(self.asks(transport, proxies=proxies), Problem).value
        self.assertEqual((problem.status, problem.close), (401, True))
        self.assertIsNone(self.successResultOf(self.asks(transport, proxies=proxies, anonymous=True)))
        self.assertEqual(self.accounts.asked, [])

    def test_no_answer(self) -> None:
        """503, and when to come back."""
        problem = self.failureResultOf(self.asks(Transport(self.pair()), NoAnswer("it hangs")), Problem).value
        self.assertEqual((problem.status, problem.detail, problem.headers), (503, "it hangs", {"Retry-After": "5"}))
