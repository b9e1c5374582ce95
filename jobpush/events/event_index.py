"""The numbers of kept events by job, array and user. Tests: tests/events/test_recent_events.py."""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Collection, Hashable, Iterable, Sequence

from jobpush.core.filters import Scope
from jobpush.core.stored_event import StoredEvent

#: Of how many jobs or users events are found by the index at once; those of more are looked for in turns.
MOST_OF = 2000

#: The numbers of the events of each job, array or user, ascending.
Numbers = dict[Hashable, "array[int]"]


class EventIndex:
    """Which of the kept events are of a `Scope`. Events come in the order of their numbers, and go from the front."""

    def __init__(self) -> None:
        self._by_key: Numbers = {}
        self._by_user: Numbers = {}

    def add(self, event: StoredEvent) -> None:
        """Take the next event."""
        self._put(self._by_key, event.key, event.seq)
        if event.parent is not None:
            self._put(self._by_key, (event.key[0], event.parent), event.seq)
        self._put(self._by_user, event.user, event.seq)

    @staticmethod
    def _put(numbers: Numbers, of: Hashable, seq: int) -> None:
        found = numbers.get(of)
        if found is None:
            numbers[of] = array("q", (seq,))
        elif found[-1] != seq:
            found.append(seq)

    def remove(self, events: Sequence[StoredEvent]) -> None:
        """Forget the oldest events."""
        if not events:
            return
        last = events[-1].seq
        self._cut(self._by_key, {event.key for event in events}, last)
        self._cut(self._by_key, {(event.key[0], event.parent) for event in events if event.parent is not None}, last)
        self._cut(self._by_user, {event.user for event in events}, last)

    @staticmethod
    def _cut(numbers: Numbers, of: Iterable[Hashable], last: int) -> None:
        for one in of:
            found = numbers.get(one)
            if found is None:
                continue
            if found[-1] <= last:
                del numbers[one]
            else:
                del found[: bisect_right(found, last)]

    def find(self, scope: Scope, since: int, most: int) -> Sequence[int] | None:
        """
        Return the numbers after ``since`` of the events of a scope, ascending.

        :param most: how many events there are after it.
        :return: None if to go through all of them is less work, or can be done in turns.
        """
        of: Collection[Hashable]
        if scope.keys is not None:
            numbers, of = self._by_key, scope.keys
        elif scope.users is not None:
            numbers, of = self._by_user, scope.users
        else:
            return None
        if len(of) > min(MOST_OF, most):
            return None
        found = [numbers[one] for one in of if one in numbers]
        parts = [part[bisect_right(part, since) :] for part in found]
        if len(parts) == 1:
            return parts[0]
        # An event of a task stands under its own key and its array's.
        return sorted({seq for part in parts for seq in part})
