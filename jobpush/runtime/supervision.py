"""
The life of the process as its service manager sees it: ready, reloading, stopping; how it is doing; and a watchdog that is fed
as long as the reactor turns and the work goes on.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from jobpush.runtime.sd_notify import Notify, monotonic_usec

#: Seconds between two looks at whether the status has changed.
STATUS_S = 5.0

#: How often the watchdog is fed in the time in which it wants to be.
FEEDS = 3


class Supervision:
    """
    Tells the service manager.

    :param notify: how it is told.
    :param status: returns one line for people: what the process is doing.
    :param stuck: returns why the work does not go on; None while it does. Then the watchdog is not fed.
    :param watchdog_s: the seconds within which the watchdog wants to be fed; None if there is none.
    """

    log = Logger(namespace="jobpush.supervision")

    def __init__(
        self,
        reactor: IReactorTime,
        notify: Notify,
        status: Callable[[], str],
        stuck: Callable[[], str | None],
        watchdog_s: float | None,
    ) -> None:
        self._reactor = reactor
        self._notify = notify
        self._status = status
        self._stuck = stuck
        self._watchdog_s = watchdog_s
        self._told: str | None = None
        self._why: str | None = None
        self._calls: dict[Callable[[], None], IDelayedCall] = {}

    def start(self) -> None:
        """The process serves from the reactor's next turn on."""
        self._soon(self._ready, 0.0)

    def _ready(self) -> None:
        self._told = self._status()
        self._notify(READY=1, STATUS=self._told)
        self._soon(self._tell_status, STATUS_S)
        if self._watchdog_s is not None:
            self._feed()

    def reloading(self) -> None:
        """It reads again what can be read again; `reloaded` must follow."""
        self._notify(RELOADING=1, MONOTONIC_USEC=monotonic_usec(), STATUS="reloading")

    def reloaded(self) -> None:
        """It serves with what it has read, or with what it had."""
        self._told = self._status()
        self._notify(READY=1, STATUS=self._told)

    def stop(self) -> None:
        """It ends: it answers those who wait. The watchdog is fed until the process is gone."""
        for call in (self._ready, self._tell_status):
            pending = self._calls.pop(call, None)
            if pending is not None and pending.active():
                pending.cancel()
        self._notify(STOPPING=1, STATUS="answering those who wait")

    def end(self) -> None:
        """All has been done: nothing of this runs any more."""
        for pending in self._calls.values():
            if pending.active():
                pending.cancel()
        self._calls.clear()

    def _soon(self, call: Callable[[], None], seconds: float) -> None:
        self._calls[call] = self._reactor.callLater(seconds, call)

    def _tell_status(self) -> None:
        status = self._status()
        if status != self._told:
            self._told = status
            self._notify(STATUS=status)
        self._soon(self._tell_status, STATUS_S)

    def _feed(self) -> None:
        assert self._watchdog_s is not None
        why = self._stuck()
        if why is None:
            self._notify(WATCHDOG=1)
        elif why != self._why:
            self.log.critical("the watchdog is not fed: {why}", why=why)
        self._why = why
        self._soon(self._feed, self._watchdog_s / FEEDS)
