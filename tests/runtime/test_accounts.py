"""The user database of the host."""

from __future__ import annotations

import os
import pwd
import threading
from typing import Any

from twisted.internet import reactor as real_reactor
from twisted.internet.defer import gatherResults
from twisted.internet.task import Clock, deferLater
from twisted.trial.unittest import TestCase

from jobpush.runtime.accounts import KEPT_S, OVERFLOW_UID_FILE, PATIENCE_S, Accounts, Database, NoAnswer

reactor: Any = real_reactor


class Reactor(Clock):
    """A clock that the test moves, with the real reactor's threads."""

    def callFromThread(self, *call: Any) -> None:
        reactor.callFromThread(*call)

    def getThreadPool(self) -> Any:
        return reactor.getThreadPool()


class AccountsTests(TestCase):
    """`Accounts`."""

    timeout = 30

    def setUp(self) -> None:
        self.clock = Reactor()
        self.asked: list[object] = []
        self.go_on = threading.Event()
        self.go_on.set()
        self.failure: Exception | None = None
        self.accounts = Accounts(self.clock, Database(self.name_of, self.groups_of))
        self.addCleanup(self.accounts.stop)
        self.addCleanup(self.go_on.set)

    def name_of(self, uid: int) -> str:
        self.asked.append(uid)
        self.go_on.wait(20)
        if self.failure is not None:
            raise self.failure
        return {1000: "kim", 1001: "lee"}[uid]

    def groups_of(self, name: str) -> frozenset[str]:
        self.asked.append(name)
        self.go_on.wait(20)
        return frozenset({"staff"} if name == "kim" else ())

    async def test_names_and_groups(self) -> None:
        """Those that there are; None and none for others."""
        self.assertEqual([await self.accounts.name_of(uid) for uid in (1000, 1001, 4711)], ["kim", "lee", None])
        self.assertEqual([await self.accounts.groups_of(name) for name in ("kim", "lee")], [{"staff"}, set()])

    async def test_kept(self) -> None:
        """An answer is used for a minute, that there is no such user too; then it is asked again."""
        for uid in (1000, 4711):
            for _ in range(3):
                await self.accounts.name_of(uid)
        self.assertEqual(self.asked, [1000, 4711])
        self.clock.advance(KEPT_S)
        await self.accounts.name_of(1000)
        self.assertEqual(self.asked, [1000, 4711, 1000])

    async def test_asked_once(self) -> None:
        """Who asks for the same while it is asked waits for that; one who gives up disturbs nobody."""
        self.go_on.clear()
        waiting = [self.accounts.name_of(1000) for _ in range(5)]
        left = waiting.pop()
        left.cancel()
        self.failureResultOf(left, NoAnswer)
        self.go_on.set()
        self.assertEqual(await gatherResults(waiting), ["kim"] * 4)
        self.assertEqual(self.asked, [1000])

    async def test_it_hangs(self) -> None:
        """After some seconds that is said; other answers still come, and this one when it comes back."""
        self.go_on.clear()
        waiting = self.accounts.name_of(1000)
        self.clock.advance(PATIENCE_S)
        self.assertIn("5 s", str(self.failureResultOf(waiting, NoAnswer).value))
        again = self.accounts.name_of(1000)
        self.go_on.set()
        self.assertEqual(await again, "kim")
        self.assertEqual(self.asked, [1000])

    async def test_it_fails(self) -> None:
        """That is said too, and not kept."""
        self.failure = OSError("no server")
        with self.assertRaises(NoAnswer) as caught:
            await self.accounts.name_of(1000)
        self.assertIn("no server", str(caught.exception))
        self.failure = None
        self.assertEqual(await self.accounts.name_of(1000), "kim")

    async def test_nobody(self) -> None:
        """The uid that stands for users of elsewhere is nobody's, whatever it is called here."""
        with open(OVERFLOW_UID_FILE) as file:
            self.assertIsNone(await self.accounts.name_of(int(file.read())))
        self.assertEqual(self.asked, [])

    async def test_host(self) -> None:
        """The host's own says who runs this."""
        accounts = Accounts(reactor)
        self.addCleanup(accounts.stop)
        name = pwd.getpwuid(os.getuid()).pw_name
        self.assertEqual(await accounts.name_of(os.getuid()), name)
        self.assertIn("root" if os.getuid() == 0 else name, {*(await accounts.groups_of(name)), name})
        self.assertEqual(await accounts.groups_of("no such user"), frozenset())
        await deferLater(reactor, 0)
