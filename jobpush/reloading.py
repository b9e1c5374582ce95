"""
What the configuration file says of queues, read again: queues that were added, changed or taken out, and those that were not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import attrs
from twisted.internet.defer import CancelledError, Deferred, FirstError, TimeoutError, gatherResults, maybeDeferred
from twisted.internet.interfaces import IReactorTime

from jobpush.adapter.interfaces import BadQueueOption, QueueError
from jobpush.core.model import QueueFacts
from jobpush.queues import MadeQueue, MadeQueues, make_queues
from jobpush.runtime.reload import CannotReload
from jobpush.service import JobPush
from jobpush.settings import ConfigError, Settings

#: Seconds in which a new queue may say what its account sees. One that does not answer is watched all the same.
CHECK_S = 10.0

#: The settings that queues follow from, and those of other parts that are read again.
_READ_AGAIN = frozenset({"config", "queues", "interval", "hosts", "cors"})


class ConfiguredQueues:
    """
    A reloadable part (`jobpush.runtime.reload`): the queues that a service watches.

    :param read: reads the settings again.
    :param settings: those that are in force.
    :param made: the queues that the service was started with.
    """

    def __init__(
        self,
        reactor: IReactorTime,
        service: JobPush,
        read: Callable[[], Settings],
        settings: Settings,
        made: MadeQueues,
        knows_users: bool = False,
    ) -> None:
        self._reactor = reactor
        self._service = service
        self._read = read
        self._settings = settings
        self._knows_users = knows_users
        self._made = dict(made.by_cluster)
        self._asking: Deferred[list[None]] | None = None
        #: Whether the settings name the queues that are watched. If not, they were found on this host at the start.
        self._named = bool(settings.queues)

    async def reload(self) -> str | None:
        """
        Watch the queues that the settings name now. Nothing is done before all of them could be made.

        :return: what has changed.
        :raise CannotReload: if the file cannot be taken, or a new queue may not be shown to everybody; all stays as it is.
        """
        try:
            settings = self._read()
            if not settings.queues:
                return self._without_names(settings)
            wanted = make_queues(self._reactor, settings).by_cluster
        except (ConfigError, BadQueueOption) as error:
            raise CannotReload(str(error)) from None
        added = [made for name, made in wanted.items() if name not in self._made]
        changed = [made for name, made in wanted.items() if name in self._made and made.asked != self._made[name].asked]
        removed = [name for name in self._made if name not in wanted]
        await self._check_all([*added, *changed])
        if self._service.closing:
            return None
        for made in changed:
            await self._service.replace_queue(made.queue, made.options)
            self._made[made.cluster] = made
        for name in removed:
            await self._service.remove_queue(name)
            del self._made[name]
        for made in added:
            self._service.add_queue(made.queue, made.options)
            self._made[made.cluster] = made
        self._named = True
        return _said(added, changed, removed, self._later(settings))

    def _without_names(self, settings: Settings) -> str | None:
        """
        The settings name no queue. What is on this host is looked for at the start only: a scheduler's command that is missing
        for a moment, while it is upgraded, must not take its queue away.
        """
        if self._named:
            raise CannotReload("no queue is named any more; those that are on this host are looked for at the start only")
        return _said((), (), (), self._later(settings))

    def give_up(self) -> None:
        """The service ends: wait for no scheduler's answer any more."""
        if self._asking is not None:
            self._asking.cancel()

    async def _check_all(self, queues: Iterable[MadeQueue]) -> None:
        """Check new queues, all at once: schedulers that do not answer take no longer than one of them."""
        checks = [Deferred.fromCoroutine(self._check(made)) for made in queues]
        self._asking = gatherResults(checks, consumeErrors=True)
        try:
            await self._asking
        except CancelledError:
            raise CannotReload("the service ends") from None
        except FirstError as error:
            if error.subFailure.check(CancelledError):
                raise CannotReload("the service ends") from None
            error.subFailure.raiseException()
        finally:
            self._asking = None

    async def _check(self, made: MadeQueue) -> None:
        """As at the start: where users' jobs are hidden from each other they must not be shown to all by an oversight."""
        if self._settings.allow_anonymous or self._knows_users:
            return
        asked: Deferred[QueueFacts] = maybeDeferred(made.queue.check)
        try:
            facts = await asked.addTimeout(CHECK_S, self._reactor)
        except (QueueError, TimeoutError):
            return
        if facts.hides_jobs:
            raise CannotReload(
                f"{made.cluster} hides users' jobs from each other ({facts.evidence}), and every user of this host reaches the "
                "port: start with --allow-anonymous to show all jobs to all of them"
            )

    def _later(self, settings: Settings) -> list[str]:
        """Return the names of the settings that have changed and that only a restart puts into force."""
        fields = [field.name for field in attrs.fields(Settings) if field.name not in _READ_AGAIN]
        return [name for name in fields if getattr(settings, name) != getattr(self._settings, name)]


def _said(added: Iterable[MadeQueue], changed: Iterable[MadeQueue], removed: Iterable[str], later: Iterable[str]) -> str | None:
    """Return what has changed, for the log; None if nothing has."""
    parts = {
        "added": [made.cluster for made in added],
        "changed": [made.cluster for made in changed],
        "removed": list(removed),
        "changed, and in force after a restart only": list(later),
    }
    return "; ".join(f"{what}: {', '.join(names)}" for what, names in parts.items() if names) or None
