"""How metrics are compared with what the clients and the journal know."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from tests.faults import metrics
from tests.faults.metrics import check_end, check_held, read
from tests.faults.world import Asking, Window, World

TEXT = """# TYPE jobpush_held_requests gauge
jobpush_held_requests{kind="poll"} 1.0
jobpush_held_requests{kind="stream"} 0.0
jobpush_held_requests{kind="socket"} 0.0
jobpush_journal_events 3.0
jobpush_events_total{cluster="mock",state="QUEUED"} 1.0
jobpush_events_total{cluster="mock",state="RUNNING"} 1.0
"""


class EndTests(SynchronousTestCase):
    """`check_end`."""

    def found(self, text: str, *events: str) -> int:
        """The violations; an event is its cursor and its state."""
        world = World(0)
        made = [{"cursor": cursor, "job": {"state": state}} for cursor, state in map(str.split, events)]
        check_end(world, read(text.replace('"poll"} 1.0', '"poll"} 0.0')), made)
        return world.violations["metrics"]

    def test_right(self) -> None:
        """The last events are those that are counted, and those before are of another start."""
        self.assertEqual(self.found(TEXT, "a-1 QUEUED", "b-2 QUEUED", "b-3 RUNNING"), 0)

    def test_wrong(self) -> None:
        """Another number in the journal, other states, events that were not counted, and more than there are."""
        self.assertEqual(self.found(TEXT, "b-2 QUEUED", "b-3 RUNNING"), 1)
        self.assertEqual(self.found(TEXT, "a-1 QUEUED", "b-2 QUEUED", "b-3 QUEUED"), 1)
        self.assertEqual(self.found(TEXT, "b-1 QUEUED", "b-2 QUEUED", "b-3 RUNNING"), 1)
        self.assertEqual(self.found(TEXT, "a-1 QUEUED", "a-2 QUEUED", "b-3 RUNNING"), 1)

    def test_held(self) -> None:
        """Nothing is held when nobody asks."""
        world = World(0)
        check_end(world, read('jobpush_held_requests{kind="poll"} 1.0\njobpush_journal_events 0.0\n'), [])
        self.assertEqual(world.violations, {"metrics": 1})


class HeldTests(SynchronousTestCase):
    """`check_held`."""

    def setUp(self) -> None:
        self.world = World(0)

        async def scrape(service: Any) -> object:
            return read(TEXT)

        self.patch(metrics, "scrape", scrape)

    def found(self) -> int:
        """The violations."""
        self.successResultOf(Deferred.fromCoroutine(check_held(SimpleNamespace(), self.world, 0)))  # type: ignore[arg-type]
        return self.world.violations["metrics"]

    def ask(self, kind: str, seconds: float) -> None:
        """One asks since then."""
        one = Asking(kind)
        one.began -= seconds
        self.world.asking.add(one)
        self.world.asked.append(one)

    def test_right(self) -> None:
        """Who has just asked may be held or not."""
        self.ask("poll", 10)
        self.ask("stream", 0)
        self.assertEqual(self.found(), 0)

    def test_more(self) -> None:
        """One is held, and nobody asks; unless there was a fault just now."""
        self.world.down.append(Window.now())
        self.assertEqual(self.found(), 0)
        self.world.down.clear()
        self.assertEqual(self.found(), 1)

    def test_fewer(self) -> None:
        """One asks for long, and is not held."""
        self.ask("poll", 10)
        self.ask("stream", 10)
        self.assertEqual(self.found(), 1)
