"""What the queues that ask by running commands have in common: their options, and coroutines behind the interface."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
    :ivar prefix: how to reach them on another host: the words of a command that gives its arguments to a shell there.
    """

    cluster: str
    interval: float | None = None
    timeout: float = 20.0
    grace: float = 60.0
    directory: str | None = None
    prefix: Sequence[str] = ()


class CommonArguments(TypedDict, total=False):
    """`Common` as keyword arguments, without the cluster."""

    interval: float | None
    timeout: float
    grace: float
    directory: str | None
    prefix: Sequence[str]


class CommandQueue:
    """
    A queue that is asked by commands; what is special about its scheduler is in a subclass's three coroutines.

    :param environment: what every command gets besides PATH, LC_ALL and TZ.
    """

    def __init__(self, reactor: IQueueReactor, common: Common, environment: Mapping[str, str]) -> None:
        self.cluster = common.cluster
        self.interval = common.interval
        self.timeout = common.timeout
        self.grace = common.grace
        self._reactor = reactor
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
