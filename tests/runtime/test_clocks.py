"""The clocks, and one of them that is set."""

from __future__ import annotations

import time

from twisted.internet.base import ReactorBase
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from jobpush.runtime.clocks import LEAST_STEP_S, Clocks, ClockSteps, elapsed, give_elapsed


class ClockStepsTests(SynchronousTestCase):
    """`ClockSteps`."""

    def setUp(self) -> None:
        self.wall = 1000.0
        self.elapsed = 5.0
        self.steps = ClockSteps(Clocks(lambda: self.wall, lambda: self.elapsed))

    def pass_time(self, seconds: float, step: float) -> None:
        """Let seconds pass, and set the clock forward by others."""
        self.wall += seconds + step
        self.elapsed += seconds

    def test_total(self) -> None:
        """Forward or back, all steps together; what is less than a second counts when it has become one."""
        for seconds, step, expected in (
            (60.0, 0.0, 0.0), (60.0, 3600.0, 3600.0), (1.0, 0.0, 3600.0), (60.0, -7200.0, -3600.0), (1.0, 0.75, -3600.0), (1.0, 0.25, LEAST_STEP_S - 3600.0),
            (1.0, 0.25, LEAST_STEP_S - 3600.0),
        ):  # fmt: skip
            self.pass_time(seconds, step)
            self.assertEqual(self.steps.total(), expected)

    def test_excess(self) -> None:
        """A date that was noted before the clock was set forward is too long ago; one that lies ahead is none the longer for it."""
        for step, expected in ((0.0, 0.0), (3600.0, 3600.0), (-5400.0, 0.0), (600.0, 600.0), (600.0, 1200.0)):
            self.pass_time(10.0, step)
            self.assertEqual(self.steps.excess(), expected)

    def test_log(self) -> None:
        """Each step is logged once, with its size and where it went."""
        with capturedLogs() as logged:
            for step in (0.0, 3600.0, 0.0, -90.5, 0.0):
                self.pass_time(10.0, step)
                self.steps.total()
                self.steps.excess()
        self.assertEqual(
            [formatEvent(event) for event in logged],
            ["the clock of this host was set forward by 3600.0 s", "the clock of this host was set back by 90.5 s"],
        )


class ElapsedTests(SynchronousTestCase):
    """`elapsed`, and the reactor that goes by it."""

    def test_elapsed(self) -> None:
        """It goes on."""
        first, began = elapsed(), time.monotonic()
        self.assertGreaterEqual(elapsed(), first)
        self.assertLess(elapsed() - first, time.monotonic() - began + 1.0)

    def test_without_boot_time(self) -> None:
        """Where the system does not tell the time since it was started, it is the monotonic clock."""
        self.patch(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
        del time.CLOCK_BOOTTIME
        began = time.monotonic()
        self.assertTrue(began <= elapsed() <= time.monotonic())

    def test_the_hosts(self) -> None:
        """Unless others are given, the clocks are those of the host."""
        clocks = Clocks()
        self.assertLess(abs(clocks.wall() - time.time()), 5.0)
        self.assertLess(abs(clocks.elapsed() - elapsed()), 5.0)

    def test_a_reactor(self) -> None:
        """It goes by the elapsed clock: its time, and when its calls are due."""
        reactor = StillReactor()
        self.assertTrue(give_elapsed(reactor))
        self.assertLess(abs(reactor.seconds() - elapsed()), 5.0)
        call = reactor.callLater(100.0, lambda: None)
        self.assertLess(abs(call.getTime() - elapsed() - 100.0), 5.0)
        call.delay(1.0)
        call.reset(50.0)
        self.assertLess(abs(call.getTime() - elapsed() - 50.0), 5.0)
        self.assertLess(abs((reactor.timeout() or 0.0) - 50.0), 5.0)

    def test_a_reactor_in_use(self) -> None:
        """One that has delayed calls keeps its clock: another program's is not touched."""
        reactor = StillReactor()
        reactor.callLater(100.0, lambda: None)
        self.assertFalse(give_elapsed(reactor))
        self.assertLess(abs(reactor.seconds() - time.time()), 5.0)


class StillReactor(ReactorBase):
    """A reactor that does not run."""

    def installWaker(self) -> None:
        """Have none."""
