"""
The newest events, in memory: what nearly every client needs that comes back, and the published head.

Only events that are durable and published are here. After a restart all clients come back at once, with cursors of before: the
tail is filled from the journal, and finds what a client asks for without looking through the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from jobpush.core.filters import Scope
from jobpush.core.record import Event
from jobpush.core.stored_event import StoredEvent
from jobpush.events.event_index import EventIndex

#: How many events are kept, and the bytes that they may take.
CAPACITY = 50_000
BYTES = 64 * 1024 * 1024

#: The bytes that an event takes beside its own: what it is found by.
OVERHEAD = 400

#: How many of the newest events need not be decoded to be told: who follows everything, and was away for a moment, asks for
#: these.
AT_HAND = 5_000


class Tail:
    """
    A window on the end of the journal. Numbers in it are without gaps.

    :param capacity: the number of events that it keeps.
    :param most_bytes: the bytes that these may take.
    """

    def __init__(self, head: int = 0, capacity: int = CAPACITY, most_bytes: int = BYTES) -> None:
        #: The number of the last published event.
        self.head = head
        self._capacity = capacity
        self._most_bytes = most_bytes
        self._bytes = 0
        self._events: list[StoredEvent] = []
        self._index = EventIndex()

    def fill(self, newest: Callable[[int, int], Sequence[StoredEvent]], head: int) -> None:
        """
        Begin with the last events of the journal.

        :param newest: returns the last events, at most so many and of so many bytes in all, oldest first.
        :param head: the number of the last one.
        """
        self.head = head
        for stored in newest(self._capacity, self._most_bytes):
            self._add(stored)
        self._shrink()

    @property
    def oldest(self) -> int:
        """The lowest number after which all events are here."""
        return self.head - len(self._events)

    def covers(self, since: int) -> bool:
        """Return whether all events after ``since`` are here."""
        return since >= self.oldest

    def find(self, scope: Scope, since: int) -> Sequence[int]:
        """Return the numbers after ``since`` of events, ascending: all of that scope among them. Where it ``covers`` that."""
        found = self._index.find(scope, since, self.head - since)
        return range(since + 1, self.head + 1) if found is None else found

    def get(self, seq: int) -> StoredEvent:
        """Return the event of that number; it must be here."""
        place = seq - self.oldest - 1
        assert place >= 0, f"event {seq} is older than {self.oldest}"
        return self._events[place]

    def append(self, batch: Sequence[Event]) -> None:
        """Publish a batch, whose numbers follow ``head``."""
        for event in batch:
            assert event.seq == self.head + 1, f"event {event.seq} after {self.head}"
            self.head = event.seq
            self._add(StoredEvent.of(event))
        old = len(self._events) - AT_HAND
        for stored in self._events[max(0, old - len(batch)) : max(0, old)]:
            stored.forget_event()
        self._shrink()

    def _add(self, event: StoredEvent) -> None:
        self._events.append(event)
        self._bytes += len(event.data) + OVERHEAD
        self._index.add(event)

    def _shrink(self) -> None:
        """Forget the oldest, once there is a twentieth too much."""
        surplus = len(self._events) - self._capacity
        if surplus <= self._capacity // 20 and self._bytes <= self._most_bytes:
            return
        cut = max(0, surplus)
        left = self._bytes - sum(len(event.data) + OVERHEAD for event in self._events[:cut])
        while left > self._most_bytes - self._most_bytes // 20:
            left -= len(self._events[cut].data) + OVERHEAD
            cut += 1
        self._bytes = left
        self._index.remove(self._events[:cut])
        del self._events[:cut]
