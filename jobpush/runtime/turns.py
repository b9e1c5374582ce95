"""
Requests that come all at once, done in turns of the reactor.

The reactor reads all that has come before it does anything else: ten thousand requests in the same instant are one turn of a
second and more. Here each is done when it is read, as long as few have come; the others wait, in their order, and a few
milliseconds of them are done in each turn.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from jobpush.runtime.cooperate import TURN_S


class Turns:
    """
    :param reactor: its clock says how long a turn takes, and it calls for the next one.
    """

    log = Logger()

    def __init__(self, reactor: IReactorTime) -> None:
        self._reactor = reactor
        self._waiting: deque[Callable[[], None]] = deque()
        #: The seconds that work has taken since the last turn of this.
        self._taken = 0.0

    def __len__(self) -> int:
        """Return how many wait."""
        return len(self._waiting)

    @property
    def has_time(self) -> bool:
        """Whether nothing waits, and little has been done since the last turn."""
        return not self._waiting and self._taken < TURN_S

    def now(self, work: Callable[[], None]) -> None:
        """Do this now, and count the time. An exception is logged."""
        began = self._reactor.seconds()
        try:
            work()
        except Exception:
            self.log.failure("a request failed")
        self._taken += self._reactor.seconds() - began

    def later(self, work: Callable[[], None]) -> None:
        """Do this in one of the next turns, after all that wait already."""
        self._waiting.append(work)
        if len(self._waiting) == 1:
            self._reactor.callLater(0, self._turn)

    def _turn(self) -> None:
        self._taken = 0.0
        while self._waiting:
            self.now(self._waiting[0])
            self._waiting.popleft()  # only now: what comes meanwhile asks for no other turn
            if self._taken >= TURN_S:
                break
        if self._waiting:
            self._reactor.callLater(0, self._turn)
