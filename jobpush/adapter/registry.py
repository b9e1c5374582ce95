"""
``TYPE:key=value`` and tables of a configuration file to queues and listeners, through Twisted's plugins.

Knows no scheduler by name: what there is, `getPlugins` finds, in this distribution or another.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import attrs
from twisted.plugin import getPlugins

from jobpush.adapter.interfaces import (
    BadQueueOption,
    IBatchQueueFactory,
    IBatchQueueService,
    IJobStatusListener,
    IJobStatusListenerFactory,
)
from jobpush.adapter.options import OptionReader
from jobpush.core.workflows import TAG_PATTERNS, Tag
from jobpush.polling.schedule import FLOOR_S, RECONCILE_S, PaceOptions

#: The options that every queue has besides its adapter's own.
COMMON_OPTIONS = f"""\
reconcile=SECONDS: the time between two queries while nudges announce what changes (default: {RECONCILE_S:g})
floor=SECONDS: the least time between two queries, whatever wants them (default: {FLOOR_S:g})
workflow=comment|name|account|no: where jobs carry the name of their workflow (default: comment, as workflow=NAME)
workflow_pattern=REGEX: what it looks like there; its first group is the name"""


@attrs.frozen
class QueueOptions:
    """
    What the service does with a queue, whatever its type.

    :ivar pace: how often it is asked.
    :ivar tag: where its jobs carry the name of their workflow; None for nowhere.
    """

    pace: PaceOptions = attrs.field(factory=PaceOptions)
    tag: Tag | None = attrs.field(factory=Tag)


def queue_factories() -> list[Any]:
    """All factories that are installed, by type. Of two with one type the first by module name is taken."""
    return _distinct(getPlugins(IBatchQueueFactory), "queue_type")


def listener_factories() -> list[Any]:
    """All listener factories that are installed, by type."""
    return _distinct(getPlugins(IJobStatusListenerFactory), "listener_type")


def make_queue_from_table(reactor: object, kind: str, options: Mapping[str, object]) -> IBatchQueueService:
    """
    The queue of that type with these options.

    :raise BadQueueOption: naming what is wrong and what was expected.
    """
    factory = _pick(kind, queue_factories(), "queue_type", "queue")
    try:
        queue: IBatchQueueService = factory.generate_queue(reactor, options)
    except BadQueueOption as error:
        raise BadQueueOption(f"queue {kind!r}: {error}") from None
    return queue


def take_common_options(kind: str, options: Mapping[str, object]) -> tuple[QueueOptions, Mapping[str, object]]:
    """
    The options that are the service's, and those that are left for the adapter.

    :raise BadQueueOption: naming what is wrong and what was expected.
    """
    names = ("reconcile", "floor", "workflow", "workflow_pattern")
    reader = OptionReader({name: options[name] for name in names if name in options})
    try:
        pace = PaceOptions(
            floor=reader.seconds("floor", FLOOR_S, least=0.01) or FLOOR_S,
            reconcile=reader.seconds("reconcile", RECONCILE_S, least=0.1) or RECONCILE_S,
        )
        tag = _take_tag(reader)
    except BadQueueOption as error:
        raise BadQueueOption(f"queue {kind!r}: {error}") from None
    return QueueOptions(pace, tag), {name: value for name, value in options.items() if name not in names}


def _take_tag(reader: OptionReader) -> Tag | None:
    field = reader.text("workflow", "comment") or "comment"
    text = reader.text("workflow_pattern")
    if field == "no":
        return None
    if field not in TAG_PATTERNS:
        raise BadQueueOption(f"workflow={field!r}: expected {', '.join(TAG_PATTERNS)} or no")
    try:
        pattern = re.compile(text or TAG_PATTERNS[field])
    except re.error as error:
        raise BadQueueOption(f"workflow_pattern={text!r}: not a regular expression: {error}") from None
    if not pattern.groups:
        raise BadQueueOption(f"workflow_pattern={text!r}: expected a group (…) around the name")
    return Tag(field, pattern)


def make_listener_from_table(reactor: object, kind: str, options: Mapping[str, object]) -> IJobStatusListener:
    """The listener of that type with these options; like `make_queue_from_table`."""
    factory = _pick(kind, listener_factories(), "listener_type", "listener")
    try:
        listener: IJobStatusListener = factory.generate_listener(reactor, options)
    except BadQueueOption as error:
        raise BadQueueOption(f"listener {kind!r}: {error}") from None
    return listener


def detect_queues(reactor: object, options: Mapping[str, object]) -> list[tuple[IBatchQueueService, str]]:
    """A queue with these options for each scheduler that is on this host, with the evidence."""
    found = []
    for factory in queue_factories():
        evidence = factory.detect()
        if evidence is not None:
            found.append((factory.generate_queue(reactor, options), evidence))
    return found


def parse_argument(text: str) -> tuple[str, dict[str, object]]:
    """
    Take ``TYPE:key=value:…`` apart. ``\\:`` and ``\\\\`` stand for a colon and a backslash in a value.

    :raise BadQueueOption: if a part is not ``key=value`` or a key comes twice.
    """
    parts = [""]
    letters = iter(text)
    for letter in letters:
        if letter == "\\":
            parts[-1] += next(letters, "\\")
        elif letter == ":":
            parts.append("")
        else:
            parts[-1] += letter
    options: dict[str, object] = {}
    for part in parts[1:]:
        key, equals, value = part.partition("=")
        if not equals or not key:
            raise BadQueueOption(f"{text!r}: {part!r} is not key=value (write a colon in a value as '\\:')")
        if key in options:
            raise BadQueueOption(f"{text!r}: {key!r} is given twice")
        options[key] = value
    return parts[0], options


def _pick(kind: str, factories: Sequence[Any], attribute: str, what: str) -> Any:
    for factory in factories:
        if getattr(factory, attribute) == kind:
            return factory
    known = ", ".join(getattr(factory, attribute) for factory in factories)
    raise BadQueueOption(f"there is no {what} type {kind!r}; installed are: {known or 'none'}")


def _distinct(plugins: Iterable[Any], attribute: str) -> list[Any]:
    by_type: dict[str, Any] = {}
    order: Callable[[Any], str] = lambda plugin: f"{type(plugin).__module__}.{type(plugin).__qualname__}"  # noqa: E731
    for plugin in sorted(plugins, key=order):
        by_type.setdefault(getattr(plugin, attribute), plugin)
    return [by_type[kind] for kind in sorted(by_type)]
