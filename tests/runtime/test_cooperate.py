"""Long work on the reactor's thread, in turns."""

from __future__ import annotations

from collections.abc import Generator

from twisted.internet.defer import CancelledError
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from jobpush.runtime.cooperate import TURN_S, Cooperator, finish


class CooperatorTests(SynchronousTestCase):
    """`Cooperator`, on a clock that the work moves: it takes as long as the test says."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.cooperator = Cooperator(self.clock)
        self.done: list[str] = []

    def steps(self, name: str, count: int = 3, seconds: float = 0.0) -> Generator[None, None, str]:
        """Work of that many steps, each of which takes that long."""
        for number in range(count):
            self.done.append(f"{name}{number}")
            self.clock.rightNow += seconds
            if number < count - 1:
                yield
        return name

    def test_short_work_is_done_at_once(self) -> None:
        """Work without a pause needs no turn of the reactor."""
        self.assertEqual(self.successResultOf(self.cooperator.run(self.steps("a", 1))), "a")
        self.assertEqual((self.cooperator.idle, self.clock.getDelayedCalls()), (True, []))

    def test_one_turn(self) -> None:
        """As long as there is time, one step follows another in the same turn."""
        whole = self.cooperator.run(self.steps("a"))
        self.assertEqual(self.done, ["a0"])
        self.assertNoResult(whole)
        self.clock.advance(0)
        self.assertEqual(self.successResultOf(whole), "a")
        self.assertTrue(self.cooperator.idle)

    def test_others_have_their_turn(self) -> None:
        """When a turn's time is over, what else the reactor has to do runs before the next step."""
        whole = self.cooperator.run(self.steps("a", seconds=TURN_S))
        self.clock.callLater(0, lambda: self.done.append("reactor"))
        self.clock.advance(0)
        self.clock.callLater(0, lambda: self.done.append("reactor again"))
        self.clock.advance(0)
        self.assertEqual(self.done[:2], ["a0", "a1"])
        self.assertLess(self.done.index("reactor"), self.done.index("a2"))
        self.successResultOf(whole)

    def test_several_share(self) -> None:
        """Several pieces of work take steps in turn, and calls are made in their order."""
        for name in "ab":
            self.cooperator.run(self.steps(name))
        self.cooperator.soon(lambda: self.done.append("call"))
        self.clock.advance(0)
        self.assertEqual(self.done, ["a0", "b0", "a1", "b1", "call", "a2", "b2"])

    def test_failures(self) -> None:
        """A generator that raises fails its Deferred, a call that raises is logged, and other work goes on."""

        def fails() -> Generator[None, None, None]:
            yield
            raise ValueError("no")

        failing, other = self.cooperator.run(fails()), self.cooperator.run(self.steps("a"))
        self.cooperator.soon(lambda: 1 / 0)  # type: ignore[arg-type, return-value]
        self.clock.advance(0)
        self.failureResultOf(failing, ValueError)
        self.assertEqual(self.successResultOf(other), "a")
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_cancelled(self) -> None:
        """Cancelling ends the work at its pause."""
        whole = self.cooperator.run(self.steps("a"))
        whole.cancel()
        self.failureResultOf(whole, CancelledError)
        self.clock.advance(0)
        self.assertEqual(self.done, ["a0"])

    def test_more_comes_in_a_turn(self) -> None:
        """Work that is given in a turn is done without a second call of the reactor beside the first."""
        self.cooperator.soon(lambda: self.cooperator.soon(lambda: self.done.append("second")))
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        self.clock.advance(0)
        self.assertEqual((self.done, self.clock.getDelayedCalls()), (["second"], []))

    def test_finish(self) -> None:
        """A generator is run to its end without pauses."""
        self.assertEqual(finish(self.steps("a")), "a")
