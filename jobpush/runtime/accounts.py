"""
The user database of the host, which may be a directory server: it is asked on threads, with a time limit, and never twice for
the same at once.
"""

from __future__ import annotations

import grp
import os
import pwd
from collections.abc import Callable, Hashable
from functools import partial
from threading import Thread
from typing import Any, TypeVar

import attrs
from twisted.internet.defer import Deferred, TimeoutError, succeed
from twisted.internet.threads import deferToThreadPool
from twisted.python.failure import Failure
from twisted.python.threadpool import ThreadPool

T = TypeVar("T")

#: Seconds after which it has not answered, and for which an answer is used again.
PATIENCE_S = 5.0
KEPT_S = 60.0

#: Threads that may wait for it at once, and answers that are kept.
THREADS = 4
MOST_KEPT = 10_000

#: Where the kernel says which uid stands for those that have none in this user namespace.
OVERFLOW_UID_FILE = "/proc/sys/kernel/overflowuid"


class NoAnswer(Exception):
    """The user database has not answered in time, or not at all; one line."""


@attrs.frozen
class Database:
    """
    What blocks.

    :ivar name_of: (uid) to the user's name; raises `KeyError` if there is none.
    :ivar groups_of: (name) to the names of the user's groups; none if there is no such user.
    """

    name_of: Callable[[int], str]
    groups_of: Callable[[str], frozenset[str]]


def _name_of(uid: int) -> str:
    return pwd.getpwuid(uid).pw_name


def _groups_of(name: str) -> frozenset[str]:
    try:
        primary = pwd.getpwnam(name).pw_gid
    except KeyError:
        return frozenset()
    found = set()
    for gid in os.getgrouplist(name, primary):
        try:
            found.add(grp.getgrgid(gid).gr_name)
        except KeyError:
            continue
    return frozenset(found)


#: That of this host.
HOST = Database(_name_of, _groups_of)


class Accounts:
    """
    :param reactor: whose clock and threads are used.
    """

    def __init__(self, reactor: Any, database: Database = HOST) -> None:
        self._reactor = reactor
        self._database = database
        self._pool: ThreadPool | None = None
        #: What was answered, and until when that is used.
        self._kept: dict[Hashable, tuple[float, Any]] = {}
        self._asking: dict[Hashable, list[Deferred[Any]]] = {}
        self._nobody = _overflow_uid()

    def name_of(self, uid: int) -> Deferred[str | None]:
        """
        Fire with the name of the user with that uid; with None if none has it, or it stands for users of elsewhere.

        Fails with `NoAnswer`.
        """
        if uid == self._nobody:
            return succeed(None)

        def ask() -> str | None:
            try:
                return self._database.name_of(uid)
            except KeyError:
                return None

        return self._ask(("uid", uid), ask)

    def groups_of(self, name: str) -> Deferred[frozenset[str]]:
        """Fire with the names of a user's groups; with none if there is no such user. Fails with `NoAnswer`."""
        return self._ask(("groups", name), lambda: self._database.groups_of(name))

    def stop(self) -> None:
        """Ask no more. What still waits for an answer is not waited for."""
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.adjustPoolsize(0, 0)

    def _ask(self, key: Hashable, ask: Callable[[], T]) -> Deferred[T]:
        until, answer = self._kept.get(key, (float("-inf"), None))
        if self._reactor.seconds() < until:
            return succeed(answer)
        waiting: Deferred[T] = Deferred(lambda gone: self._asking.get(key, []).remove(gone))
        waiting.addTimeout(PATIENCE_S, self._reactor)
        waiting.addErrback(self._too_late)
        if key in self._asking:
            self._asking[key].append(waiting)
            return waiting
        self._asking[key] = [waiting]
        deferToThreadPool(self._reactor, self._threads(), ask).addBoth(self._answered, key)
        return waiting

    def _threads(self) -> ThreadPool:
        if self._pool is None:
            self._pool = ThreadPool(0, THREADS, "accounts")
            # One that waits for a server that is gone must not keep the process.
            self._pool.threadFactory = partial(Thread, daemon=True)  # type: ignore[assignment]
            self._pool.start()
        return self._pool

    def _answered(self, answer: Any, key: Hashable) -> None:
        if not isinstance(answer, Failure):
            if len(self._kept) >= MOST_KEPT:
                self._kept.clear()
            self._kept[key] = (self._reactor.seconds() + KEPT_S, answer)
        for waiting in self._asking.pop(key):
            waiting.callback(answer)

    @staticmethod
    def _too_late(failure: Failure) -> Any:
        if failure.check(TimeoutError):
            raise NoAnswer(f"the user database of the host has not answered in {PATIENCE_S:g} s")
        raise NoAnswer(f"the user database of the host cannot be asked: {failure.getErrorMessage()}")


def _overflow_uid() -> int:
    try:
        with open(OVERFLOW_UID_FILE) as file:
            return int(file.read())
    except (OSError, ValueError):
        return 65534
