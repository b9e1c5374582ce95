"""The threads of the journal. (Tests: tests/events/test_journal.py.)"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorFromThreads
from twisted.internet.threads import deferToThreadPool
from twisted.python.threadpool import ThreadPool

T = TypeVar("T")


class Threads:
    """Where the journal's blocking work runs: one thread writes, one reads, each in the order of the calls."""

    def __init__(self, reactor: IReactorFromThreads) -> None:
        self._reactor = reactor
        self._pools = {name: ThreadPool(1, 1, f"journal-{name}") for name in ("write", "read")}

    def run(self, name: str, work: Callable[[], T]) -> Deferred[T]:
        """Do that on the thread of this name ("write" or "read"); fires in the reactor's thread."""
        pool = self._pools[name]
        if not pool.started:
            pool.start()
        return deferToThreadPool(self._reactor, pool, work)

    def stop(self) -> None:
        """Wait for what runs and end the threads."""
        for pool in self._pools.values():
            if pool.started:
                pool.stop()
