"""Long work in turns."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from jobpush.runtime import cooperate as turns


class TurnsTests(SynchronousTestCase):
    """`jobpush.runtime.cooperate`."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.done: list[int] = []
        self.seen: list[int] = []

    def steps(self) -> Iterator[None]:
        """Three steps with two pauses; at each, something else is to be done that notes how far they are."""
        for number in range(3):
            self.done.append(number)
            if number < 2:
                self.clock.callLater(0, lambda: self.seen.append(len(self.done)))
                yield

    def test_others_have_their_turn(self) -> None:
        """When a turn's time is over, what else waits for the reactor runs before the next step; the end is told."""
        self.patch(turns, "TURN_S", -1.0)
        whole = turns.in_turns(self.clock).cooperate(self.steps()).whenDone()
        self.clock.advance(0)
        self.successResultOf(whole)
        self.assertEqual((self.done, self.seen), ([0, 1, 2], [1, 2]))

    def test_short_work_takes_one_turn(self) -> None:
        """As long as there is time, one step follows another."""
        self.patch(turns, "TURN_S", 60.0)
        whole = turns.in_turns(self.clock).cooperate(self.steps()).whenDone()
        self.clock.advance(0)
        self.successResultOf(whole)
        self.assertEqual((self.done, self.seen), ([0, 1, 2], [3, 3]))

    def test_how_long_a_turn_is(self) -> None:
        """Five milliseconds: a step that ends after that is the turn's last."""
        now = 0.0
        self.patch(turns.time, "monotonic", lambda: now)
        steps = 0
        due: list[tuple[float, Callable[[], None]]] = []

        class Reactor:
            def callLater(self, seconds: float, work: Callable[[], None]) -> None:
                due.append((seconds, work))

        def work() -> Iterator[None]:
            nonlocal now, steps
            for _ in range(100):
                now += 0.002
                steps += 1
                yield

        turns.in_turns(Reactor()).cooperate(work())
        for expected in (3, 6):
            ((seconds, turn),) = due
            due.clear()
            turn()
            self.assertEqual((steps, seconds), (expected, 0))
