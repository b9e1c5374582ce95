"""What is done again and again, whatever comes of it once. (Tests: tests/runtime/test_repeated.py.)"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

LOG = Logger(namespace="jobpush")


class Repeated(LoopingCall):
    """
    A `LoopingCall` that an error does not end for good: it is logged, and the next call comes.

    :param reactor: whose time is used.
    :param call: is called; may return a Deferred, which is waited for.
    """

    def __init__(self, reactor: IReactorTime, call: Callable[[], Any]) -> None:
        super().__init__(self._once)
        self.clock = reactor
        self._call = call

    def _once(self) -> Deferred[Any]:
        done: Deferred[Any] = maybeDeferred(self._call)
        return done.addErrback(lambda failure: LOG.failure("{call} failed; it is tried again", failure, call=self._call))
