"""The timer wheel: deadlines are kept, never early and little late, with one call of the reactor."""

from __future__ import annotations

import gc
import weakref

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from jobpush.runtime.timer_wheel import FINEST_S, SHARE, TimerWheel


class Item:
    """Notes when its time was up."""

    def __init__(self, clock: Clock) -> None:
        self.due: float | None = None
        self.at: list[float] = []
        self._clock = clock

    def expired(self) -> None:
        self.at.append(self._clock.seconds())


class WheelTests(SynchronousTestCase):
    """On a clock that the test moves."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.rightNow = 1_795_000_000.3
        self.wheel = TimerWheel(self.clock)

    def item(self, seconds: float) -> Item:
        """An item with that deadline."""
        item = Item(self.clock)
        self.wheel.set(item, seconds)
        return item

    def test_thousands(self) -> None:
        """Many deadlines need one call of the reactor, and all end in time."""
        items = [self.item(30 + n / 5000) for n in range(5000)]
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        self.clock.advance(29.9)
        self.assertFalse(any(item.at for item in items))
        self.clock.pump([0.1] * 22)
        self.assertTrue(all(len(item.at) == 1 and item.due is None for item in items))
        self.assertEqual((len(self.wheel), self.clock.getDelayedCalls()), (0, []))

    def test_cleared(self) -> None:
        """An item whose deadline was cleared does not end; clearing it again does nothing."""
        first, second = self.item(1), self.item(100)
        self.wheel.clear(first)
        self.wheel.clear(first)
        self.clock.advance(50)
        self.assertEqual((first.at, second.at, len(self.wheel)), ([], [], 1))
        self.wheel.clear(second)
        self.clock.advance(60)
        self.assertEqual((second.at, self.clock.getDelayedCalls()), ([], []))

    def test_nothing_is_kept(self) -> None:
        """An item whose deadline was cleared is not referred to any more."""
        item = self.item(600)
        gone = weakref.ref(item)
        self.wheel.clear(item)
        del item
        gc.collect()
        self.assertIsNone(gone())

    def test_set_and_cleared_in_bulk(self) -> None:
        """A bulk operation concerns its items and no others, whatever deadlines they have."""
        items = [self.item(30 + n) for n in range(100)]
        others = [self.item(30 + n) for n in range(100)]
        self.wheel.clear_all(items)
        self.assertEqual(set(self.wheel), set(others))
        self.wheel.set_all(items, 5)
        self.clock.advance(6)
        self.assertEqual(({len(item.at) for item in items}, {len(item.at) for item in others}), ({1}, {0}))
        self.clock.advance(150)
        self.assertEqual({len(item.at) for item in others}, {1})

    def test_set_again(self) -> None:
        """The last deadline counts, whether it is later or sooner."""
        later, sooner = self.item(1), self.item(10)
        self.wheel.set(later, 10)
        self.wheel.set(sooner, 1)
        self.clock.advance(5)
        self.assertEqual((len(later.at), len(sooner.at)), (0, 1))
        self.clock.advance(6)
        self.assertEqual((len(later.at), len(sooner.at)), (1, 1))

    def test_changed_by_another(self) -> None:
        """An item that ends may clear the deadlines of others that are due in the same turn, and set new ones."""
        items = [self.item(1) for _ in range(3)]
        last = Item(self.clock)
        for item in items:
            item.expired = lambda: (self.wheel.clear_all(items), self.wheel.set(last, 2))  # type: ignore[assignment, method-assign]
        self.clock.advance(1.5)
        self.assertTrue(all(item.due is None for item in items))
        self.clock.advance(2.5)
        self.assertEqual(len(last.at), 1)

    def test_set_at_once_again(self) -> None:
        """An item that ends and sets a deadline of no time ends again in the next turn, not in the same."""
        item = self.item(1)
        ends: list[float] = []
        item.expired = lambda: (ends.append(self.clock.seconds()), self.wheel.set(item, 0))  # type: ignore[assignment, method-assign]
        self.clock.advance(2)
        self.assertEqual(len(ends), 1)
        self.clock.advance(FINEST_S)
        self.assertEqual(len(ends), 2)
        self.wheel.clear(item)

    def test_an_item_that_fails(self) -> None:
        """An exception is logged, and the other items end."""
        items = [self.item(1) for _ in range(3)]
        items[1].expired = lambda: 1 / 0  # type: ignore[assignment, method-assign, return-value]
        self.clock.advance(2)
        self.assertEqual([len(item.at) for item in items], [1, 0, 1])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    @given(st.lists(st.tuples(st.floats(0, 5), st.floats(0, 4000), st.booleans()), max_size=30))
    def test_in_time(self, script: list[tuple[float, float, bool]]) -> None:
        """Whatever is set and cleared when: never early, and at most a thirty-second of its time late."""
        self.setUp()
        kept = []
        for pause, seconds, keep in script:
            self.clock.advance(pause)
            item, at = self.item(seconds), self.clock.seconds()
            if keep:
                kept.append((item, at, seconds))
            else:
                self.wheel.clear(item)
        while self.clock.getDelayedCalls():
            self.clock.advance(max(0.0, self.clock.getDelayedCalls()[0].getTime() - self.clock.seconds()))
        for item, at, seconds in kept:
            self.assertEqual(len(item.at), 1)
            late = item.at[0] - at - seconds
            # Pauses of the script in which nobody looks at the clock are no fault of the wheel's.
            self.assertGreaterEqual(late, -1e-6)
            self.assertLessEqual(late, max(FINEST_S, seconds * SHARE) + 5.0 + 1e-6)


class WheelModel(RuleBasedStateMachine):
    """The wheel beside a plain list of deadlines: the same items end, and none is lost or kept."""

    @initialize()
    def begin(self) -> None:
        self.clock = Clock()
        self.wheel = TimerWheel(self.clock)
        self.items = [Item(self.clock) for _ in range(12)]
        self.due: dict[Item, tuple[float, float]] = {}
        self.ended = 0

    @rule(index=st.integers(0, 11), seconds=st.floats(0.01, 900))
    def set(self, index: int, seconds: float) -> None:
        item = self.items[index]
        self.wheel.set(item, seconds)
        now = self.clock.seconds()
        self.due[item] = (now + seconds, now + seconds + max(FINEST_S, seconds * SHARE))

    @rule(indices=st.sets(st.integers(0, 11)), seconds=st.floats(0.01, 90))
    def set_all(self, indices: set[int], seconds: float) -> None:
        now = self.clock.seconds()
        self.wheel.set_all([self.items[index] for index in sorted(indices)], seconds)
        for index in indices:
            self.due[self.items[index]] = (now + seconds, now + seconds + max(FINEST_S, seconds * SHARE))

    @rule(indices=st.sets(st.integers(0, 11)))
    def clear_all(self, indices: set[int]) -> None:
        self.wheel.clear_all([self.items[index] for index in sorted(indices)])
        for index in indices:
            self.due.pop(self.items[index], None)

    @rule(seconds=st.floats(0.001, 300))
    def advance(self, seconds: float) -> None:
        self.clock.advance(seconds)
        now = self.clock.seconds()
        for item, (earliest, latest) in list(self.due.items()):
            if item.at:
                assert now >= earliest - 1e-6
                del self.due[item]
            else:
                assert now < latest + 1e-6
        assert not any(item.at for item in self.items if item in self.due)
        for item in self.items:
            item.at.clear()

    @invariant()
    def deadlines_are_those_of_the_items(self) -> None:
        """The wheel holds exactly the items that have a deadline."""
        if hasattr(self, "due"):
            assert set(self.wheel) == set(self.due) == {item for item in self.items if item.due is not None}
            assert len(self.wheel) == len(self.due)


class WheelModelTests(WheelModel.TestCase):  # type: ignore[name-defined, misc]
    """`WheelModel` as a test case."""
