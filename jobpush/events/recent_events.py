"""
The newest events, in memory: what nearly every waiting client needs, and the published head.

Only events that are durable and published are here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from jobpush.core.record import Event


class Tail:
    """A window on the end of the journal. Numbers in it are without gaps."""

    def __init__(self, head: int = 0, capacity: int = 10_000) -> None:
        #: The number of the last published event.
        self.head = head
        self._capacity = capacity
        self._events: list[Event] = []

    def fill(self, newest: Callable[[int], Sequence[Event]], head: int) -> None:
        """
        Begin with the last events of the journal: after a restart all clients come back with cursors of before.

        :param newest: returns the last events, at most so many, oldest first.
        :param head: the number of the last one.
        """
        self.head = head
        self._events = list(newest(self._capacity))

    def covers(self, since: int) -> bool:
        """Return whether all events after ``since`` are here."""
        return since >= self.head - len(self._events)

    def after(self, since: int) -> Iterator[Event]:
        """Yield all events after ``since``, oldest first. Only where it ``covers`` that."""
        begin = since - (self.head - len(self._events))
        for index in range(begin, len(self._events)):
            yield self._events[index]

    def append(self, batch: Sequence[Event]) -> None:
        """Publish a batch, whose numbers follow ``head``."""
        for event in batch:
            assert event.seq == self.head + 1, f"event {event.seq} after {self.head}"
            self.head = event.seq
            self._events.append(event)
        if len(self._events) > 2 * self._capacity:
            del self._events[: -self._capacity]
