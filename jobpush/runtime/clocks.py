"""
The two clocks of the service.

The elapsed clock measures: intervals, deadlines, ages, budgets. It goes on whatever the clock of the host is set to. The wall
clock tells dates: what is shown or written as one, and what is compared with the scheduler's own times.

`IReactorTime.seconds` of Twisted's reactors is the wall clock, until `give_elapsed` has changed that. So it is used for
intervals only, together with `callLater`, and never for a date.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import attrs
from twisted.logger import Logger

#: A difference of so many seconds or more is a step.
LEAST_STEP_S = 1.0

wall = time.time


def elapsed() -> float:
    """Return seconds that no setting of the clock changes; where the system tells them, those too in which the host slept."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


@attrs.frozen
class Clocks:
    """
    The clocks as they are handed in; those of the host, unless a test has its own.

    :ivar wall: returns the seconds since the epoch, as the host's clock has them.
    :ivar elapsed: returns seconds that go on whatever that is set to.
    """

    wall: Callable[[], float] = wall
    elapsed: Callable[[], float] = elapsed


class ClockSteps:
    """Notices that the wall clock was set, and logs each step once, with its size."""

    log = Logger()

    def __init__(self, clocks: Clocks) -> None:
        self._clocks = clocks
        self._difference = self._first_difference = clocks.wall() - clocks.elapsed()
        self._least = 0.0

    def total(self) -> float:
        """
        Return the seconds by which the wall clock was set forward since this was made, in all; negative if it was set back.
        Who has noted a date to measure an age from moves it by as much as this has changed since.
        """
        difference = self._clocks.wall() - self._clocks.elapsed()
        step = difference - self._difference
        if abs(step) >= LEAST_STEP_S:
            self._difference = difference
            self._least = min(self._least, difference - self._first_difference)
            way = "forward" if step > 0 else "back"
            self.log.warn("the clock of this host was set {way} by {s:.1f} s", way=way, s=abs(step))
        return self._difference - self._first_difference

    def excess(self) -> float:
        """
        Return by how many seconds, at most, the time from a date to now is longer than what has passed, for dates that were
        noted since this was made.
        """
        return self.total() - self._least


def give_elapsed(reactor: Any) -> bool:
    """
    Let a reactor go by the elapsed clock: its ``seconds`` and its delayed calls.

    :return: False, and nothing is changed, if it has delayed calls already, which are due by the clock that it has.
    """
    if reactor.getDelayedCalls():
        return False
    reactor.seconds = elapsed
    return True
