"""
Responses that clients have not read yet. A response has no time in which it must be read: of four megabytes at 20 kB/s that is
more than three minutes. But a client that reads nothing, or next to nothing, is not waited for: its response takes memory.

Streams are not among them: what waits for their clients has a bound of its own.
"""

from __future__ import annotations

from typing import Protocol

import attrs
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from jobpush.runtime.repeated import Repeated
from jobpush.web.requests import Transport
from jobpush.web.twisted_internals import waiting

#: Seconds in which a client must read something, and the bytes a second that it must read in that time.
PROGRESS_S = 60.0
SLOWEST_B_PER_S = 1000

#: Seconds between two looks.
LOOK_S = 1.0

LOG = Logger(namespace="jobpush.web")


class Departing(Protocol):
    """
    A connection with a response that was not read in full.

    :ivar transport: None where it has another protocol by now.
    :ivar written: bytes that were handed to the transport, by this protocol of the connection's.
    :ivar responding: more of the response is to come.
    """

    transport: Transport
    written: int
    responding: bool


@attrs.define
class _Window:
    """
    :ivar began: the reactor's time.
    :ivar read: bytes that the client had read by then.
    :ivar moved_at: when it was last seen to have read more.
    :ivar moved: what it had read then.
    """

    began: float
    read: int
    moved_at: float
    moved: int


class Departures:
    """
    Ends connections whose clients do not read.

    :param reactor: whose time is used.
    """

    def __init__(self, reactor: IReactorTime) -> None:
        self._reactor = reactor
        self._windows: dict[Departing, _Window] = {}
        self._loop = Repeated(reactor, self._look)

    def __len__(self) -> int:
        return len(self._windows)

    def __contains__(self, connection: object) -> bool:
        return connection in self._windows

    def start(self) -> None:
        """Look from now on."""
        self._loop.start(LOOK_S, now=False)

    def stop(self) -> None:
        """Look no more."""
        if self._loop.running:
            self._loop.stop()

    def begins(self, connection: Departing) -> None:
        """A response is being sent that may take long."""
        if connection not in self._windows:
            now, read = self._reactor.seconds(), _read(connection)
            self._windows[connection] = _Window(now, read, now, read)

    def over(self, connection: Departing) -> None:
        """All of it was handed to the kernel, or the connection is gone."""
        self._windows.pop(connection, None)

    def _look(self) -> None:
        now = self._reactor.seconds()
        for connection, window in list(self._windows.items()):
            transport = connection.transport
            if transport is None or not (connection.responding or waiting(transport)):
                del self._windows[connection]
                continue
            read = _read(connection)
            if not waiting(transport, in_kernel=True):  # it waits for us
                self._windows[connection] = _Window(now, read, now, read)
                continue
            if read != window.moved:
                window.moved_at, window.moved = now, read
            over = now - window.began >= PROGRESS_S
            too_slow = over and read - window.read < PROGRESS_S * SLOWEST_B_PER_S
            if too_slow or now - window.moved_at >= PROGRESS_S:
                del self._windows[connection]
                LOG.info("a client reads nothing of a response, or next to nothing: its connection ends")
                transport.abortConnection()
            elif over:
                window.began, window.read = now, read


def _read(connection: Departing) -> int:
    return connection.written - waiting(connection.transport, in_kernel=True)
