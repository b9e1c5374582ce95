"""The timer wheel: deadlines are kept, never early and little late, with one call of the reactor."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from jobpush.runtime import timer_wheel as wheel
from jobpush.runtime.timer_wheel import FINEST_S, SHARE, STALE, TimerWheel


class Item:
    """Notes when its time was up."""

    def __init__(self, clock: Clock) -> None:
        self.due: float | None = None
        self.at: list[float] = []
        self.waiting = True
        self._clock = clock

    def waits(self) -> bool:
        return self.waiting

    def expired(self) -> None:
        self.at.append(self._clock.seconds())


class WheelTests(SynchronousTestCase):
    """On a clock that the test moves."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.rightNow = 1_795_000_000.3
        self.wheel = TimerWheel(self.clock)

    def item(self, seconds: float) -> Item:
        item = Item(self.clock)
        self.wheel.add(item, seconds)
        return item

    def test_thousands(self) -> None:
        """Many deadlines are few buckets, and one call."""
        items = [self.item(30 + n / 5000) for n in range(5000)]
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        self.assertLess(len(self.wheel._buckets), 4)
        self.clock.advance(29.9)
        self.assertFalse(any(item.at for item in items))
        self.clock.pump([0.1] * 22)
        self.assertTrue(all(len(item.at) == 1 and item.due is None for item in items))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_removed(self) -> None:
        """Nothing is left of it, and the call goes with the last one."""
        first, second = self.item(1), self.item(100)
        self.wheel.remove(first)
        self.wheel.remove(first)
        self.clock.advance(50)
        self.assertEqual((first.at, second.at), ([], []))
        self.wheel.remove(second)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_taken_back_again_and_again(self) -> None:
        """What counts no more is kept only so far; what counts is kept."""
        items = [self.item(600) for _ in range(1000)]
        for _ in range(100):
            self.clock.advance(1)
            for item in items:
                self.wheel.add(item, 600)
            self.assertLessEqual(sum(map(len, self.wheel._buckets.values())), 2 * len(items) + STALE + 1)
        for item in items[1:]:
            self.wheel.remove(item)
        self.clock.advance(630)
        self.assertEqual([len(item.at) for item in items], [1] + [0] * 999)
        self.assertEqual((self.wheel._entries, self.wheel._stale, self.clock.getDelayedCalls()), (0, 0, []))

    def test_many_lapse_at_once(self) -> None:
        """Those that wait no more are passed over, and swept out; nothing is left when none is."""
        self.patch(wheel, "STALE", 50)
        items = [self.item(30) for _ in range(10_000)]
        for item in items[:9_000]:
            item.waiting = False
        self.wheel.lapsed(9_000)
        self.assertLess(sum(map(len, self.wheel._buckets.values())), 1_001)
        self.clock.advance(31)
        self.assertEqual([len(item.at) for item in items], [0] * 9_000 + [1] * 1_000)
        for item in items:
            item.waiting = True
            self.wheel.add(item, 5)
        for item in items:
            item.waiting = False
        self.wheel.lapsed(10_000)
        self.assertEqual((self.wheel._buckets, self.clock.getDelayedCalls()), ({}, []))

    def test_added_again(self) -> None:
        """The later deadline counts."""
        item = self.item(1)
        self.wheel.add(item, 10)
        self.clock.advance(5)
        self.assertEqual(item.at, [])
        self.clock.advance(6)
        self.assertEqual(len(item.at), 1)

    def test_removed_by_another(self) -> None:
        """What one of them takes out when its time is up does not expire; what it adds does, in its time."""
        items = [self.item(1) for _ in range(3)]
        last = Item(self.clock)
        for item in items:
            item.expired = lambda: (*map(self.wheel.remove, items), self.wheel.add(last, 2))  # type: ignore[assignment]
        self.clock.advance(1.5)
        self.assertTrue(all(item.due is None for item in items))
        self.clock.advance(2.5)
        self.assertEqual(len(last.at), 1)

    @given(st.lists(st.tuples(st.floats(0, 5), st.floats(0, 4000), st.booleans()), max_size=30))
    def test_in_time(self, script: list[tuple[float, float, bool]]) -> None:
        """Whatever is added and taken out when: never early, and at most a thirty-second of its time late."""
        self.setUp()
        kept = []
        for pause, seconds, keep in script:
            self.clock.advance(pause)
            item, at = self.item(seconds), self.clock.seconds()
            if keep:
                kept.append((item, at, seconds))
            else:
                self.wheel.remove(item)
        while self.clock.getDelayedCalls():
            self.clock.advance(max(0.0, self.clock.getDelayedCalls()[0].getTime() - self.clock.seconds()))
        for item, at, seconds in kept:
            self.assertEqual(len(item.at), 1)
            late = item.at[0] - at - seconds
            # Pauses of the script in which nobody looks at the clock are no fault of the wheel's.
            self.assertGreaterEqual(late, -1e-6)
            self.assertLessEqual(late, max(FINEST_S, seconds * SHARE) + 5.0 + 1e-6)
