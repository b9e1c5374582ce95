"""
The queues that the settings ask for, or that are found on this host. Makes them, and opens nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import attrs

from jobpush.adapter.interfaces import BadQueueOption, IBatchQueueService
from jobpush.adapter.options import OptionValues
from jobpush.adapter.registry import Component, detect_queues, make_queue_from_table
from jobpush.polling.queue_options import PollingOptions, take_common_options
from jobpush.setting import Place
from jobpush.settings import ConfigError, Settings, settings_at


@attrs.frozen(eq=False)
class MadeQueue:
    """
    A queue, and what it was made of.

    :ivar options: what the service does with it.
    :ivar asked: its type and its options, as they were given. A queue that is asked for alike is the same.
    """

    queue: IBatchQueueService
    options: PollingOptions
    asked: tuple[str, str, Mapping[str, object]]

    @property
    def cluster(self) -> str:
        """The name under which its jobs are served."""
        return self.queue.cluster


@attrs.frozen(eq=False)
class MadeQueues:
    """
    All queues, by cluster.

    :ivar found: lines for the log on what was found on this host, where the settings name no queue.
    """

    by_cluster: Mapping[str, MadeQueue]
    found: Sequence[str] = ()

    @property
    def queues(self) -> list[IBatchQueueService]:
        """The queues, in their order."""
        return [made.queue for made in self.by_cluster.values()]

    @property
    def options(self) -> dict[str, PollingOptions]:
        """What the service does with each of them."""
        return {cluster: made.options for cluster, made in self.by_cluster.items()}


def make_queues(reactor: object, settings: Settings) -> MadeQueues:
    """
    Return the queues that the settings name; where they name none, those of the schedulers on this host, else the
    demonstration.

    :raise ConfigError: naming the queue, where its options are refused.
    :raise BadQueueOption: if two have the same name.
    """
    interval: dict[str, object] = {} if settings.interval is None else {"interval": settings.interval}
    made: dict[str, MadeQueue] = {}
    found: list[str] = []

    def add(queue: IBatchQueueService, options: PollingOptions, directory: str, given: Mapping[str, object]) -> None:
        if queue.cluster in made:
            raise BadQueueOption(f"two queues are called {queue.cluster!r}: tell them apart with cluster=")
        made[queue.cluster] = MadeQueue(queue, options, (queue.queue_type, directory, given))

    for asked in settings.queues:
        with explained(asked):
            values = OptionValues({**interval, **asked.options}, asked.options.directory)
            options, rest = take_common_options(values)
            add(make_queue_from_table(reactor, asked.type, rest), options, values.directory, dict(values))
    if not settings.queues:
        for queue, evidence in detect_queues(reactor, interval):
            add(queue, PollingOptions(), "", interval)
            found.append(f"found {queue.queue_type}: {evidence}")
    if not made:
        add(make_queue_from_table(reactor, "mock", interval), PollingOptions(), "", interval)
        found.append(
            "NO SCHEDULER WAS FOUND ON THIS HOST: serving the mock queue, a demonstration with invented jobs. "
            "Name a scheduler with --queue"
        )
    return MadeQueues(made, found)


@contextmanager
def explained(component: Component) -> Iterator[None]:
    """
    Say where a queue or a listener was asked for, if its options are refused.

    :raise ConfigError: in place of a `BadQueueOption`.
    """
    try:
        yield
    except BadQueueOption as error:
        where = f"{component.where} ({component.type})" if component.table else component.where
        names = {item.name for item in settings_at(Place.FILE)}
        if component.table and error.unknown in component.options and error.unknown in names:
            raise ConfigError(
                f"{where}: {error.unknown} stands below {component.table} and is taken for an option of that table; "
                "a setting of the service must stand above the first table"
            ) from None
        raise ConfigError(f"{where}: {error}") from None
