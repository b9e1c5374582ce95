"""Garbage collection without long pauses."""

from __future__ import annotations

import gc
import time
import weakref

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from jobpush.runtime import gc_pauses
from jobpush.runtime.gc_pauses import GcPausesService


class Knot:
    """Refers to itself."""

    def __init__(self) -> None:
        self.itself = self


def looked_at(thing: object) -> bool:
    """
    Return whether a collection looks at an object.

    ``gc.get_freeze_count`` does not tell: from Python 3.12 on, collections themselves set immortal objects aside.
    """
    return any(each is thing for each in gc.get_objects())


class GcPausesTests(SynchronousTestCase):
    """`GcPausesService`."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.service = GcPausesService(self.clock)
        self.service.startService()
        self.addCleanup(self.service.stopService)

    def test_what_survives_is_set_aside(self) -> None:
        """A full collection, whoever asks for it, leaves nothing to look at for the next one."""
        gc.collect()
        kept = [Knot() for _ in range(1000)]
        self.assertGreater(len(gc.get_objects()), 1000)
        gc.collect()
        self.assertLess(len(gc.get_objects()), 1000)
        self.assertGreater(gc.get_freeze_count(), 1000)
        del kept

    def test_asked_for_while_little_is_new(self) -> None:
        """When the middle generation has been collected some times."""
        gc.collect()
        young = gc_pauses.YOUNG
        self.clock.advance(gc_pauses.LOOK_S)
        self.assertEqual(gc.get_count()[2], 0)
        for number in range(young):
            gc.collect(1)
            self.assertEqual(gc.get_count()[2], number + 1)
        self.clock.advance(gc_pauses.LOOK_S)
        self.assertEqual(gc.get_count()[2], 0)

    def test_everything_once_a_minute(self) -> None:
        """A cycle that died after it was set aside is freed then."""
        knot = Knot()
        dead = weakref.ref(knot)
        gc.collect()
        del knot
        gc.collect()
        self.assertIsNotNone(dead())
        self.clock.advance(gc_pauses.EVERYTHING_S - 1)
        self.assertIsNotNone(dead())
        self.clock.advance(1)
        self.assertIsNone(dead())
        self.assertGreater(gc.get_freeze_count(), 1000, "and the rest is set aside again")

    def test_more_seldom_where_it_takes_long(self) -> None:
        """A collection of everything that takes 140 ms is not made again for 280 s."""
        spent = iter([0.0, 0.140, 1.0, 1.0])
        self.patch(time, "process_time", lambda: next(spent))
        self.clock.advance(gc_pauses.EVERYTHING_S)
        knot = Knot()
        dead = weakref.ref(knot)
        gc.collect()
        del knot
        for _ in range(4):
            self.clock.advance(69)
        self.assertIsNotNone(dead())
        self.clock.advance(5)
        self.assertIsNone(dead())

    def test_everything_when_the_process_has_grown(self) -> None:
        """So that cycles which died after they were set aside do not pile up for a day; once for each time that it grows."""
        resident = 100_000_000
        self.patch(gc_pauses, "resident_bytes", lambda: resident)
        self.service.stopService()
        self.service.startService()
        self.clock.advance(gc_pauses.GROWTH_S)

        def dead_after(seconds: float) -> bool:
            knot = Knot()
            dead = weakref.ref(knot)
            gc.collect()
            del knot
            gc.collect()
            self.clock.advance(seconds)
            return dead() is None

        self.assertFalse(dead_after(gc_pauses.GROWTH_S))
        resident = int(resident * (1 + gc_pauses.GROWN_SHARE)) + gc_pauses.GROWN_BYTES + 1_000_000
        self.assertFalse(dead_after(gc_pauses.GROWTH_S - 1))
        self.assertTrue(dead_after(1))
        self.assertFalse(dead_after(gc_pauses.GROWTH_S), "it has not grown since")

    def test_the_end(self) -> None:
        """Once the service has stopped, collections look at everything again, and set nothing aside."""
        knot = Knot()
        gc.collect()
        self.assertFalse(looked_at(knot))
        self.service.stopService()
        self.assertTrue(looked_at(knot))
        gc.collect()
        self.assertTrue(looked_at(knot))
        self.assertEqual(self.clock.getDelayedCalls(), [])
