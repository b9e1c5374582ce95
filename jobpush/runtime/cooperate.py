"""
The reactor's thread, shared by work that takes long: each piece of work does a little of it at a time, one after another.

Everything in jobpush that has more to do than a few milliseconds goes through a `Cooperator`: comparing jobs, reading answers
of schedulers, rendering long responses, sending one response to thousands of clients.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator
from functools import partial
from typing import TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

T = TypeVar("T")

#: Seconds of work in one turn of the reactor; what has begun then goes on to its next pause. Twisted's own `Cooperator` takes
#: 10 ms, which is half of the time for which a held request may have to wait for something else.
TURN_S = 0.005


class Cooperator:
    """
    Runs pieces of work in turns of the reactor, in the order in which they were given, each up to its next pause.

    :param reactor: its clock says how long a turn takes, and it calls for the next one.
    """

    log = Logger()

    def __init__(self, reactor: IReactorTime) -> None:
        self._reactor = reactor
        self._work: deque[Callable[[], None]] = deque()
        #: The next turn, or the one that runs.
        self._call: IDelayedCall | None = None

    @property
    def idle(self) -> bool:
        """Whether nothing is left to be done."""
        return not self._work

    def run(self, steps: Generator[None, None, T]) -> Deferred[T]:
        """
        Run a generator to its end, with other work at each ``yield``. Its first step runs now.

        :return: fires with what the generator returns, at once if it does not pause; fails with what it raises. Cancelling
            closes the generator.
        """
        result: Deferred[T] = Deferred(lambda _: steps.close())

        self._step(steps, result)
        return result

    def _step(self, steps: Generator[None, None, T], result: Deferred[T]) -> None:
        """Go on to the next pause. (No function that refers to itself: it would keep all of this for the garbage collector.)"""
        if result.called:
            return
        try:
            next(steps)
        except StopIteration as end:
            result.callback(end.value)
        except Exception:
            result.errback(Failure())
        else:
            self.soon(partial(self._step, steps, result))

    def soon(self, work: Callable[[], None]) -> None:
        """Call this in one of the next turns. An exception is logged."""
        self._work.append(work)
        if self._call is None:
            self._call = self._reactor.callLater(0, self._turn)

    def _turn(self) -> None:
        seconds = self._reactor.seconds
        until = seconds() + TURN_S
        while self._work:
            try:
                self._work.popleft()()
            except Exception:
                self.log.failure("work on the reactor's thread failed")
            if seconds() >= until:
                break
        # Not before: what is due only now would ask for a turn of its own, and others would wait for two, then four, at once.
        self._call = self._reactor.callLater(0, self._turn) if self._work else None


def finish(steps: Generator[None, None, T]) -> T:
    """Run a generator to its end without a pause, and return what it returns."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            result: T = end.value
            return result
