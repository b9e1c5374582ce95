"""Does what adapters must not do in one piece on the reactor's thread: long loops, and reading files."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from typing import NoReturn, ParamSpec, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThreadPool
from twisted.python.failure import Failure

from jobpush.adapter.interfaces import IQueueReactor, QueueError
from jobpush.runtime.cooperate import Cooperator

_T = TypeVar("_T")
_P = ParamSpec("_P")


class Work:
    """
    :param reactor: runs the work, in its turns and on its threads.
    """

    def __init__(self, reactor: IQueueReactor) -> None:
        self._reactor = reactor
        self._cooperator = Cooperator(reactor)

    def sliced(self, steps: Iterable[None]) -> Deferred[None]:
        """Run a generator to its end, with other work of the thread where it pauses. Fires at its end; fails as it does."""

        def run() -> Generator[None, None, None]:
            yield from steps

        return self._cooperator.run(run())

    def reading(self, read: Callable[_P, _T], *arguments: _P.args, **keywords: _P.kwargs) -> Deferred[_T]:
        """Call a function that reads files on a thread. Fires with its result; fails with `QueueError` if one is unreadable."""
        pool = self._reactor.getThreadPool()
        result: Deferred[_T] = deferToThreadPool(self._reactor, pool, read, *arguments, **keywords)
        return result.addErrback(_unreadable)


def _unreadable(failure: Failure) -> NoReturn:
    failure.trap(OSError)
    error = failure.value
    assert isinstance(error, OSError)
    raise QueueError(f"{error.filename}: {error.strerror}") from None
