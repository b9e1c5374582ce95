"""
The connections whose next request is on its way: how long that may take, and how many connections there may be.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from resource import RLIM_INFINITY, RLIMIT_NOFILE, getrlimit
from typing import Any, Protocol

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from jobpush.runtime.repeated import Repeated
from jobpush.web.problems import Problem
from jobpush.web.requests import is_local

#: Seconds in which a request must have come in full, and between two looks for those that have not.
ARRIVE_S = 30.0
LOOK_S = 1.0

#: Seconds for which a connection may be silent before it is given up for another one.
GRACE_S = 2.0

#: Descriptors that no connection may have, and how many of these clients may take that are being told so.
KEPT = 128
REFUSED_AT_ONCE = 28

#: One in so many descriptors of connections is for those of unix sockets alone, where there is one for users.
RESERVED = 4

#: Seconds between two lines of the log on connections that were refused.
SAY_EVERY_S = 10.0

WEB = Logger(namespace="jobpush.web")


class Arriving(Protocol):
    """A connection whose next request is on its way."""

    @property
    def transport(self) -> Any: ...
    def refuse(self, problem: Problem, /) -> None: ...
    def too_slow(self) -> None: ...


class Arrivals:
    """
    The connections whose next request is on its way, and the room for connections. A part of the descriptors that the process
    may have open is kept: for the schedulers' commands, for the journal, for files that are served.

    :param reactor: whose time is used.
    :param reserved: whether one in `RESERVED` of the descriptors is for connections of unix sockets alone.
    :ivar give_up_idle: each ends one connection on which nothing is asked, of a unix socket or not if it is told that, and
        returns whether there was one.
    :ivar on_refused: called when a connection was refused.
    :ivar refusal: given a new connection's transport, returns what it is refused with; None if it is not.
    """

    def __init__(self, reactor: IReactorTime, reserved: bool = False) -> None:
        self._reactor = reactor
        #: When the request of each has begun, or the connection; in this order.
        self._begun: dict[Arriving, float] = {}
        self._loop = Repeated(reactor, self._look)
        self.give_up_idle: list[Callable[[bool | None], bool]] = []
        self.on_refused: list[Callable[[], None]] = []
        self.refusal: Callable[[Any], Problem | None] = lambda transport: None
        self._first_kept = first_kept_descriptor()
        self._reserved = self._first_kept // RESERVED if reserved else 0
        self._said_at: float | None = None
        self._any_file = -1
        self._none_idle_at = dict.fromkeys((True, False), -GRACE_S)

    def __bool__(self) -> bool:
        return bool(self._begun)

    def __iter__(self) -> Iterator[Arriving]:
        return iter(self._begun)

    def __contains__(self, channel: object) -> bool:
        return channel in self._begun

    @property
    def room(self) -> int:
        """How many descriptors connections may have."""
        return self._first_kept

    @property
    def is_pressed(self) -> bool:
        """Whether half of those are taken that any connection may have."""
        try:
            number = os.dup(self._any_file) if self._any_file >= 0 else 0
        except OSError:
            return True
        if number:
            os.close(number)
        return number >= self._first_not_for(False) // 2

    def start(self) -> None:
        """Look for requests that take too long from now on."""
        self._any_file = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        self._loop.start(LOOK_S, now=False)

    def stop(self) -> None:
        """Look no more."""
        if self._loop.running:
            self._loop.stop()
            os.close(self._any_file)
            self._any_file = -1

    def begins(self, channel: Arriving) -> None:
        """A connection, or a request on it, has begun."""
        if channel not in self._begun:
            self._begun[channel] = self._reactor.seconds()
            if self.is_kept(channel.transport) and not self._make_room(is_local(channel.transport.getHost())):
                self._refuse(channel)

    def is_kept(self, transport: Any) -> bool:
        """Return whether a connection has a descriptor that is kept for other things, or for those of unix sockets."""
        number = descriptor(transport)
        return number is not None and number >= self._first_not_for(is_local(transport.getHost()))

    def _first_not_for(self, local: bool) -> int:
        """Return the first descriptor that a connection may not have. The kernel gives the lowest one that is free."""
        return self._first_kept if local else self._first_kept - self._reserved

    def arrived(self, channel: Arriving) -> None:
        """A request has come in full, or will not come any more."""
        self._begun.pop(channel, None)

    def _look(self) -> None:
        now = self._reactor.seconds()
        for channel, begun in list(self._begun.items()):
            if now - begun < ARRIVE_S:
                break
            del self._begun[channel]
            channel.too_slow()

    def _make_room(self, local: bool) -> bool:
        """
        End a connection that asks for nothing, if there is one: first those whose request has not come.

        :param local: whether the room is for a connection of a unix socket: where some is reserved for these, others do not
            make them go.
        """
        now = self._reactor.seconds()
        alike = (each for each in self._begun if not self._reserved or is_local(each.transport.getHost()) is local)
        oldest = next(alike)
        if now - self._begun[oldest] >= GRACE_S:
            del self._begun[oldest]
            oldest.transport.abortConnection()
            return True
        if now - self._none_idle_at[local] < 1.0:
            return False
        if any(give_up(local if self._reserved else None) for give_up in self.give_up_idle):
            return True
        self._none_idle_at[local] = now
        return False

    def has_room(self, address: object = None) -> bool:
        """
        Return whether one more connection may be looked at, if only to be told that there are too many.

        :param address: of the client.
        """
        try:
            number = os.dup(self._any_file) if self._any_file >= 0 else 0
        except OSError:
            return False
        if not number:
            return True
        os.close(number)
        if number < self._first_not_for(is_local(address)) + REFUSED_AT_ONCE:
            return True
        self._say()
        return False

    def _refuse(self, channel: Arriving) -> None:
        self._say()
        del self._begun[channel]
        channel.refuse(Problem(503, "there are too many connections", headers={"retry-after": "5"}))

    def _say(self) -> None:
        now = self._reactor.seconds()
        if self._said_at is None or now - self._said_at >= SAY_EVERY_S:
            self._said_at = now
            left = KEPT + self._reserved
            WEB.error("connections are refused: all but {n} of the files that this process may open are open", n=left)
        for call in self.on_refused:
            call()


def first_kept_descriptor() -> int:
    """Return the first descriptor that no connection may have. The lowest that is free is the next one to be used."""
    soft, _ = getrlimit(RLIMIT_NOFILE)
    return max(soft - KEPT, soft // 2) if soft != RLIM_INFINITY else sys.maxsize


def descriptor(transport: Any) -> int | None:
    """Return the descriptor of a connection; None if it has none, as in tests."""
    while transport is not None:
        number = getattr(transport, "fileno", lambda: None)()
        if isinstance(number, int):
            return number
        transport = getattr(transport, "transport", None)
    return None
