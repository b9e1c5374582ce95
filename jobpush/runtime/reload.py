"""
The one registry of what can be read again while the process runs: configuration, logs, and what else joins.

A part either takes the new or keeps the old as a whole, and the log says which, and why. A part that cannot be read keeps no
other from being read: logs that were moved are opened anew whatever the configuration says.
"""

from __future__ import annotations

import signal
import termios
from collections.abc import Awaitable, Callable
from types import FrameType

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorFromThreads
from twisted.logger import Logger

#: Reads a part again. Returns, or gives, what has changed, for the log; None if that is nothing. Raises `CannotReload`.
Reload = Callable[[], "Awaitable[str | None] | str | None"]


class CannotReload(Exception):
    """A part keeps what it had. One line that says why."""


class Reloads:
    """
    Parts by name.

    :param begun: called each time before parts are read again: systemd waits for a word that is younger than its own signal.
    :param ended: called when nothing is read any more, whatever came of it.
    """

    log = Logger(namespace="jobpush.reload")

    def __init__(self, begun: Callable[[], None] = lambda: None, ended: Callable[[], None] = lambda: None) -> None:
        self._begun = begun
        self._ended = ended
        self._parts: dict[str, Reload] = {}
        self._running = False
        #: Who waits until nothing is read any more.
        self._waiting: list[Deferred[None]] = []
        self._again = False
        self._closed = False

    def add(self, name: str, reload: Reload) -> None:
        """Add a part. Parts are read again in the order in which they were added, one after another."""
        assert name not in self._parts, f"there is a reloadable part {name!r} already"
        self._parts[name] = reload

    @property
    def names(self) -> tuple[str, ...]:
        """The parts, in their order."""
        return tuple(self._parts)

    def reload(self) -> None:
        """Read all parts again. What comes while that is done is one more time afterwards."""
        if self._closed:
            return
        self._again = True
        if not self._running:
            self._running = True
            Deferred.fromCoroutine(self._run())

    def close(self) -> Deferred[None]:
        """Read nothing any more; fires when nothing is being read."""
        self._closed, self._again = True, False
        over: Deferred[None] = Deferred()
        if self._running:
            self._waiting.append(over)
        else:
            over.callback(None)
        return over

    async def _run(self) -> None:
        while self._again:
            self._again = False
            self._begun()
            for name, reload in tuple(self._parts.items()):
                await self._one(name, reload)
        self._running = False
        self._ended()
        waiting, self._waiting = self._waiting, []
        for over in waiting:
            over.callback(None)

    async def _one(self, name: str, reload: Reload) -> None:
        try:
            found = reload()
            said = await found if isinstance(found, Awaitable) else found
        except CannotReload as error:
            self.log.error("{name}: the old stays: {error}", name=name, error=str(error))
        except Exception:  # of a part that was not expected to fail: the others are read all the same
            self.log.failure("{name}: the old stays: it could not be read again", name=name)
        else:
            self.log.info("{name}: {said}", name=name, said=said or "nothing has changed")


def on_signal(reactor: IReactorFromThreads, number: int, call: Callable[[], None]) -> Callable[[], None]:
    """
    Have the reactor call that whenever a signal comes. In the main thread only.

    :return: puts back what was done with the signal before.
    """

    def handle(number: int, frame: FrameType | None) -> None:
        reactor.callFromThread(call)

    before = signal.signal(number, handle)
    return lambda: void(signal.signal(number, before if before is not None else signal.SIG_DFL))


def noted(number: int) -> Callable[[], bool]:
    """
    Let a signal end nothing any more, but note it. In the main thread only.

    :return: says whether it has come.
    """
    came = []
    signal.signal(number, lambda number, frame: came.append(number))
    return lambda: bool(came)


def has_terminal() -> bool:
    """Return whether standard input is a terminal that is there."""
    try:
        termios.tcgetattr(0)
    except (termios.error, OSError):
        return False
    return True


def void(_: object) -> None:
    """Return nothing."""
