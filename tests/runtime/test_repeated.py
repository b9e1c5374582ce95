"""What is done again and again."""

from __future__ import annotations

from twisted.internet.defer import Deferred, fail
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from jobpush.runtime.repeated import Repeated


class RepeatedTests(SynchronousTestCase):
    """`Repeated`."""

    def test_goes_on(self) -> None:
        """An error of one call is logged and does not end it, raised or in a Deferred."""
        clock, times = Clock(), []

        def call() -> Deferred[None] | None:
            times.append(clock.seconds())
            if len(times) == 1:
                raise ValueError("one wrong sum")
            return fail(ValueError("another")) if len(times) == 2 else None

        repeated = Repeated(clock, call)
        repeated.start(2.0, now=False)
        clock.pump([1.0] * 8)
        self.assertEqual(times, [2.0, 4.0, 6.0, 8.0])
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 2)
        repeated.stop()
        clock.advance(10)
        self.assertEqual(len(times), 4)

    def test_waits(self) -> None:
        """A call that takes longer is not made twice at once."""
        clock, waiting = Clock(), []

        def call() -> Deferred[None]:
            waiting.append(Deferred[None]())
            return waiting[-1]

        repeated = Repeated(clock, call)
        repeated.start(1.0)
        clock.pump([1.0] * 5)
        self.assertEqual(len(waiting), 1)
        waiting[0].callback(None)
        clock.pump([1.0] * 2)
        self.assertEqual(len(waiting), 2)
        repeated.stop()
