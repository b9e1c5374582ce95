"""Notices that the clock of the host was set, so that what is measured by it is not taken for time that has passed."""

from __future__ import annotations

import time
from collections.abc import Callable

#: A difference of so many seconds or more is a step.
LEAST_STEP_S = 1.0


def elapsed() -> float:
    """Return seconds that no setting of the clock changes; where the system tells them, those too in which the host slept."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


class ClockSteps:
    """
    :param wall: returns the seconds since the epoch, as the host's clock has them.
    :param elapsed: returns seconds that go on whatever the clock is set to.
    """

    def __init__(self, wall: Callable[[], float], elapsed: Callable[[], float]) -> None:
        self._wall = wall
        self._elapsed = elapsed
        self._difference = wall() - elapsed()

    def taken(self) -> float:
        """Return the seconds by which the clock was set forward since this was asked last; negative if it was set back."""
        difference = self._wall() - self._elapsed()
        step = difference - self._difference
        if abs(step) < LEAST_STEP_S:
            return 0.0
        self._difference = difference
        return step
