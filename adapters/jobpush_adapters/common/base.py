"""The base of the queues that run commands: their common options, and the interface's Deferreds made of coroutines."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import TypedDict

import attrs
from twisted.internet.defer import Deferred

from jobpush.adapter.interfaces import IQueueReactor
from jobpush.core.model import JobDescriptor, Outcomes, QueueFacts, Snapshot
from jobpush_adapters.common.commands import Commands


@attrs.frozen(kw_only=True)
class Common:
    """
    The options that every queue which runs commands takes.

    :ivar cluster: the name under which its jobs are served.
    :ivar interval: seconds between two queries; None leaves it to the monitor.
    :ivar timeout: seconds after which a command, and so the query, has failed.
    :ivar grace: seconds for which a job that left the queue may lack a record of its end.
    :ivar directory: where the scheduler's commands are; by default along PATH.
    :ivar prefix: the words of a command that runs them on another host, by giving its arguments to a shell there.
    :ivar wall: the clock that dates are of, in seconds since the epoch. The reactor's is for intervals only.
    """

    cluster: str
    interval: float | None = None
    timeout: float = 20.0
    grace: float = 60.0
    directory: str | None = None
    prefix: Sequence[str] = ()
    wall: Callable[[], float] = time.time


class CommonArguments(TypedDict, total=False):
    """`Common` as keyword arguments, without the cluster."""

    interval: float | None
    timeout: float
    grace: float
    directory: str | None
    prefix: Sequence[str]
    wall: Callable[[], float]


class CommandQueue:
    """
    A queue that runs commands. A subclass for a scheduler has three coroutines, one for each method of the interface.

    :param environment: the environment of every command, besides PATH, LC_ALL and TZ.
    """

    def __init__(self, reactor: IQueueReactor, common: Common, environment: Mapping[str, str]) -> None:
        self.cluster = common.cluster
        self.interval = common.interval
        self.timeout = common.timeout
        self.grace = common.grace
        self._reactor = reactor
        self._wall = common.wall
        self._commands = Commands(reactor, common.timeout, environment, common.directory, tuple(common.prefix))

    def snapshot(self) -> Deferred[Snapshot]:
        """See `IBatchQueueService`."""
        return Deferred.fromCoroutine(self._snapshot())

    def check(self) -> Deferred[QueueFacts]:
        """See `IBatchQueueService`."""
        return Deferred.fromCoroutine(self._check())

    def outcomes(self, jobs: Sequence[JobDescriptor]) -> Deferred[Outcomes]:
        """See `IBatchQueueService`."""
        return Deferred.fromCoroutine(self._outcomes(jobs))

    async def _snapshot(self) -> Snapshot:
        raise NotImplementedError

    async def _check(self) -> QueueFacts:
        raise NotImplementedError

    async def _outcomes(self, jobs: Sequence[JobDescriptor]) -> Outcomes:
        raise NotImplementedError
