"""A clock that is set."""

from __future__ import annotations

import time

from twisted.trial.unittest import SynchronousTestCase

from jobpush.runtime.clock_steps import LEAST_STEP_S, ClockSteps, elapsed


class ClockStepsTests(SynchronousTestCase):
    """`ClockSteps` and `elapsed`."""

    def test_steps(self) -> None:
        """Each is told once, forward or back; what is less than a second is told when it has become one."""
        now = {"wall": 1000.0, "elapsed": 5.0}
        steps = ClockSteps(lambda: now["wall"], lambda: now["elapsed"])
        for wall, passed, expected in (
            (60.0, 60.0, 0.0), (3660.0, 60.0, 3600.0), (1.0, 1.0, 0.0), (-3540.0, 60.0, -3600.0), (1.75, 1.0, 0.0), (1.25, 1.0, LEAST_STEP_S),
            (1.25, 1.0, 0.0),
        ):  # fmt: skip
            now["wall"] += wall
            now["elapsed"] += passed
            self.assertEqual(steps.taken(), expected)

    def test_elapsed(self) -> None:
        """It goes on."""
        first, began = elapsed(), time.monotonic()
        self.assertGreaterEqual(elapsed(), first)
        self.assertLess(elapsed() - first, time.monotonic() - began + 1.0)
