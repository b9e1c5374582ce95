"""Requests in turns of the reactor."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from jobpush.runtime.turns import Turns
from tests.support import one_turn


class TurnsTests(SynchronousTestCase):
    """`Turns`."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.turns = Turns(self.clock)
        self.done: list[object] = []

    def work(self, name: object, seconds: float = 0.002) -> None:
        """Work that takes so long."""

        def work() -> None:
            self.done.append(name)
            self.clock.rightNow += seconds

        if self.turns.has_time:
            self.turns.now(work)
        else:
            self.turns.later(work)

    def test_few(self) -> None:
        """What comes alone is done at once."""
        self.work(1)
        self.assertEqual((self.done, len(self.turns), self.clock.getDelayedCalls()), ([1], 0, []))

    def test_many(self) -> None:
        """Of what comes all at once, 5 ms are done in a turn, in its order; nothing that comes meanwhile goes before it."""
        for name in range(10):
            self.work(name)
        self.assertEqual((self.done, len(self.turns)), ([0, 1, 2], 7))
        one_turn(self.clock)
        self.assertEqual((self.done, len(self.turns)), ([0, 1, 2, 3, 4, 5], 4))
        self.work(10)
        one_turn(self.clock)
        one_turn(self.clock)
        self.assertEqual((self.done, len(self.turns)), (list(range(11)), 0))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_what_work_asks_for(self) -> None:
        """Work that is asked for by work waits for its turn, and there is one turn at a time."""
        self.work("long", 0.006)
        self.turns.later(lambda: self.work("first", 0.006))
        self.assertFalse(self.turns.has_time)
        self.turns.later(lambda: self.turns.later(lambda: self.done.append("last")))
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        for _ in range(4):
            one_turn(self.clock)
        self.assertEqual((self.done, self.clock.getDelayedCalls()), (["long", "first", "last"], []))

    def test_fault(self) -> None:
        """What fails is logged, and the rest is done."""
        self.work("long", 0.006)
        self.turns.later(lambda: [][0])
        self.work("next")
        one_turn(self.clock)
        self.assertEqual(self.done, ["long", "next"])
        self.assertEqual(len(self.flushLoggedErrors(IndexError)), 1)
