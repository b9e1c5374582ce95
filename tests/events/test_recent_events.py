"""The newest events, in memory."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from jobpush.core import wire
from jobpush.core.model import JobDescriptor, Phase
from jobpush.core.record import Change, Event
from jobpush.events.recent_events import Tail

CHANGE = Change(JobDescriptor(cluster="c", id="1", phase=Phase.RUNNING), None, 1.0)


def events(first: int, last: int) -> list[Event]:
    """The events with these numbers."""
    return [wire.number("e", seq, CHANGE) for seq in range(first, last + 1)]


class TailTests(SynchronousTestCase):
    """`Tail`."""

    def test_fill(self) -> None:
        """It begins with the journal's last events, and goes on from there; with fewer, or none, it covers what it has."""
        for count, oldest in ((4, 16), (2, 18), (0, 20)):
            tail = Tail(0, 4)
            tail.fill(lambda most, count=count: events(21 - min(most, count), 20), 20)
            self.assertEqual((tail.head, tail.covers(oldest), tail.covers(oldest - 1)), (20, True, False))
            tail.append(events(21, 22))
            self.assertEqual([event.seq for event in tail.after(oldest)], list(range(oldest + 1, 23)))

    @given(st.integers(0, 50), st.integers(1, 20), st.lists(st.integers(0, 30), max_size=20))
    def test_window(self, head: int, capacity: int, batches: list[int]) -> None:
        """It has the newest without a gap: as many as it should keep, once there are so many, and never more than twice as many."""
        tail = Tail(head, capacity)
        total = 0
        for size in batches:
            tail.append(events(tail.head + 1, tail.head + size))
            total += size
            self.assertEqual(tail.head, head + total)
            oldest = next(since for since in range(tail.head + 1) if tail.covers(since))
            kept = tail.head - oldest
            self.assertTrue(min(capacity, total) <= kept <= 2 * capacity)
            for since in range(oldest, tail.head + 1):
                self.assertTrue(tail.covers(since))
                self.assertEqual([event.seq for event in tail.after(since)], list(range(since + 1, tail.head + 1)))

    def test_when_it_forgets(self) -> None:
        """When there are more than twice as many as it keeps."""
        tail = Tail(0, 3)
        tail.append(events(1, 6))
        self.assertTrue(tail.covers(0))
        tail.append(events(7, 7))
        self.assertEqual([tail.covers(since) for since in (3, 4)], [False, True])
        self.assertEqual(Tail().head, 0)
        self.assertTrue(Tail(5).covers(5))
        self.assertFalse(Tail(5).covers(4))

    def test_numbers(self) -> None:
        """One that does not follow is a fault."""
        tail = Tail(5)
        for seq in (5, 7):
            self.assertRaises(AssertionError, tail.append, events(seq, seq))
