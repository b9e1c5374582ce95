"""What queues make of the lines of logs that they follow, without files: the watch is played by the test."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.trial.unittest import SynchronousTestCase

from jobpush_adapters.common import watch


class Watch:
    """
    In the place of a `LogWatch`.

    :ivar told: what is to be called with lines, or with none when something was written to a spool.
    """

    def __init__(self, reactor: Any, paths: Sequence[str], told: Callable[[Sequence[bytes]], None], spools: Sequence[str] = ()) -> None:
        self.paths, self.told, self.spools = tuple(paths), told, tuple(spools)
        self.started = self.stopped = 0

    def start(self) -> None:
        self.started += 1

    def stop(self) -> Deferred[None]:
        self.stopped += 1
        return succeed(None)


class WatchingCase(SynchronousTestCase):
    """
    :ivar watches: those that queues have begun, in order.
    :ivar nudges: what queues have nudged for.
    """

    def setUp(self) -> None:
        self.watches: list[Watch] = []
        self.nudges: list[list[str]] = []

        def begin(*arguments: Any) -> Watch:
            self.watches.append(Watch(*arguments))
            return self.watches[-1]

        self.patch(watch, "LogWatch", begin)

    def watch(self, queue: Any) -> Any:
        """Begin to watch; what ends it."""
        return queue.watch(lambda jobs: self.nudges.append(list(jobs)))

    def said(self, *lines: bytes) -> list[str] | None:
        """The jobs that the queue which watches nudges for when these lines come; None if it does not nudge."""
        self.nudges.clear()
        self.watches[-1].told(lines)
        self.assertLessEqual(len(self.nudges), 1)
        return self.nudges[0] if self.nudges else None
