"""From text and tables to queues, through plugins."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from jobpush.adapter import registry
from jobpush.adapter.interfaces import BadQueueOption, IBatchQueueFactory
from jobpush.adapter.registry import (
    detect_queues,
    distinct_plugins,
    make_queue_from_table,
    parse_argument,
    pick_plugin,
    queue_factories,
)


class Factory:
    """A factory whose queues are its arguments."""

    def __init__(self, kind: str, evidence: str | None = None) -> None:
        self.queue_type = kind
        self._evidence = evidence

    def generate_queue(self, reactor: object, options: Mapping[str, object]) -> Any:
        if "bad" in options:
            raise BadQueueOption("bad: expected good")
        return (self.queue_type, reactor, options)

    def detect(self) -> str | None:
        return self._evidence


class Another(Factory):
    """A factory of another class, whose name is sorted first."""


class QueueTests(SynchronousTestCase):
    """Queues of installed factories."""

    def setUp(self) -> None:
        self.asked: list[Any] = []
        self.plugins = [Factory("b"), Factory("a", "seen"), Factory("c", "")]
        self.patch(registry, "getPlugins", lambda interface: self.asked.append(interface) or self.plugins)

    def test_factories(self) -> None:
        """Factories are sorted by type, each type once: of two the first by module and name."""
        self.assertEqual([factory.queue_type for factory in queue_factories()], ["a", "b", "c"])
        self.assertEqual(self.asked, [IBatchQueueFactory])
        another = Another("b")
        for plugins in ([*self.plugins, another], [another, *self.plugins]):
            self.assertIs(distinct_plugins(plugins, "queue_type")[1], another)

    def test_from_a_table(self) -> None:
        """The factory of the type makes the queue; an unknown type is named."""
        self.assertEqual(make_queue_from_table("reactor", "b", {"x": 1}), ("b", "reactor", {"x": 1}))
        for kind, options, told in (("b", {"bad": 1}, "bad: expected good"), ("d", {}, "there is no queue type 'd'; installed are: a, b, c")):
            with self.assertRaises(BadQueueOption) as caught:
                make_queue_from_table("reactor", kind, options)
            self.assertEqual(str(caught.exception), told)
        with self.assertRaises(BadQueueOption) as caught:
            pick_plugin("x", [], "listener_type", "listener")
        self.assertEqual(str(caught.exception), "there is no listener type 'x'; installed are: none")

    def test_detected(self) -> None:
        """There is a queue for each scheduler that is found, with the evidence, even if that is empty."""
        self.assertEqual(detect_queues("reactor", {"x": 1}), [(("a", "reactor", {"x": 1}), "seen"), (("c", "reactor", {"x": 1}), "")])


class ArgumentTests(SynchronousTestCase):
    """``TYPE:key=value:…``."""

    def test_good(self) -> None:
        """Values may contain anything, with a backslash before colons and backslashes."""
        for text, expected in [
            ("mock", ("mock", {})), ("", ("", {})), ("a:b=c:d=", ("a", {"b": "c", "d": ""})), ("a:b=c=d", ("a", {"b": "c=d"})),
            (r"a:b=c\:d\\e\f", ("a", {"b": r"c:d\ef"})), ("a:b=c\\", ("a", {"b": "c\\"})), (r"a\:b:c=d", ("a:b", {"c": "d"})),
        ]:  # fmt: skip
            self.assertEqual(parse_argument(text), expected, text)

    def test_bad(self) -> None:
        """The part that is wrong is named."""
        for text, part in (("a:b", "b"), ("a:", ""), ("a:=b", "=b"), ("a:b=c:d", "d")):
            with self.assertRaises(BadQueueOption) as caught:
                parse_argument(text)
            self.assertEqual(str(caught.exception), f"{part!r} is not key=value (write a colon in a value as '\\:')")
        with self.assertRaises(BadQueueOption) as caught:
            parse_argument("a:b=1:b=2")
        self.assertEqual(str(caught.exception), "'b' is given twice")
