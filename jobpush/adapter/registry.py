"""
Makes queues of ``TYPE:key=value`` and of tables of a configuration file, by Twisted's plugins.

Knows no scheduler by name: `getPlugins` finds the adapters of this distribution and of others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeVar

import attrs
from twisted.plugin import getPlugins

from jobpush.adapter.interfaces import BadQueueOption, IBatchQueueFactory, IBatchQueueService
from jobpush.adapter.kinds import Kind
from jobpush.adapter.options import OptionValues

T = TypeVar("T")


@attrs.frozen
class Component:
    """
    A queue or a listener that was asked for.

    :ivar type: its type, as in ``--queue TYPE``.
    :ivar options: its options, without the type.
    :ivar where: where it was asked for, for errors: ``--queue slurm``, ``jobpush.toml: [[queue]] 1``.
    :ivar table: ``[[queue]]`` or ``[[listener]]``, if that is a configuration file; else empty.
    """

    type: str
    options: OptionValues
    where: str = ""
    table: str = ""


@attrs.frozen
class ComponentKind(Kind[Component]):
    """
    A queue or a listener: ``TYPE:key=value:…`` on the command line, a table in a TOML file.

    :ivar name: of the tables: ``queue`` or ``listener``.
    """

    name: str

    types = (dict,)
    placeholder = "TYPE:key=value:…"

    @property
    def expected(self) -> str:
        return f"tables, written as [[{self.name}]]"

    def read(self, value: object, directory: str = "") -> Component:
        if isinstance(value, str):
            component_type, options = parse_argument(value)
            return Component(component_type, OptionValues(options))
        if not isinstance(value, dict):
            raise self.unexpected()
        table = dict(value)
        component_type = table.pop("type", "")
        if not isinstance(component_type, str) or not component_type:
            raise ValueError('expected a key type = "…"')
        return Component(component_type, OptionValues(table, directory), table=f"[[{self.name}]]")


def queue_factories() -> list[IBatchQueueFactory]:
    """Return all installed factories, sorted by type. Of two with the same type the first by module name is taken."""
    return distinct_plugins(getPlugins(IBatchQueueFactory), "queue_type")


def make_queue_from_table(reactor: object, kind: str, options: Mapping[str, object]) -> IBatchQueueService:
    """
    Return a queue of that type with these options.

    :raise BadQueueOption: naming what is wrong and what was expected.
    """
    return pick_plugin(kind, queue_factories(), "queue_type", "queue").generate_queue(reactor, options)


def detect_queues(reactor: object, options: Mapping[str, object]) -> list[tuple[IBatchQueueService, str]]:
    """Return a queue with these options for each scheduler that is on this host, with the evidence."""
    found = []
    for factory in queue_factories():
        evidence = factory.detect()
        if evidence is not None:
            found.append((factory.generate_queue(reactor, options), evidence))
    return found


def parse_argument(text: str) -> tuple[str, dict[str, object]]:
    """
    Split ``TYPE:key=value:…``. ``\\:`` and ``\\\\`` stand for a colon and a backslash in a value.

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
            raise BadQueueOption(f"{part!r} is not key=value (write a colon in a value as '\\:')")
        if key in options:
            raise BadQueueOption(f"{key!r} is given twice")
        options[key] = value
    return parts[0], options


def pick_plugin(kind: str, factories: Sequence[T], attribute: str, what: str) -> T:
    """
    Return the factory whose attribute is that type.

    :raise BadQueueOption: naming the types that are installed.
    """
    for factory in factories:
        if getattr(factory, attribute) == kind:
            return factory
    known = ", ".join(getattr(factory, attribute) for factory in factories)
    raise BadQueueOption(f"there is no {what} type {kind!r}; installed are: {known or 'none'}")


def distinct_plugins(plugins: Iterable[T], attribute: str) -> list[T]:
    """Return plugins sorted by that attribute, each value once: of two, the first by module name."""
    by_type: dict[str, T] = {}
    order: Callable[[object], str] = lambda plugin: f"{type(plugin).__module__}.{type(plugin).__qualname__}"  # noqa: E731
    for plugin in sorted(plugins, key=order):
        by_type.setdefault(getattr(plugin, attribute), plugin)
    return [by_type[kind] for kind in sorted(by_type)]
