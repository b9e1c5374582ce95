"""The numbers of kept events by job, array, user and name. Tests: tests/events/test_recent_events.py."""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
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
        self._by_name: Numbers = {}
        #: The names, in their order but for the new ones at the end; some of them may be gone.
        self._names: list[str] = []
        self._ordered = True

    def add(self, event: StoredEvent) -> None:
        """Take the next event."""
        self._put(self._by_key, event.key, event.seq)
        if event.parent is not None:
            self._put(self._by_key, (event.key[0], event.parent), event.seq)
        self._put(self._by_user, event.user, event.seq)
        name = event.facts.name
        if name is not None:
            if name not in self._by_name:
                self._names.append(name)
                self._ordered = False
            self._put(self._by_name, name, event.seq)

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
        self._cut(self._by_name, {event.facts.name for event in events if event.facts.name is not None}, last)
        if len(self._names) > 2 * len(self._by_name):
            self._names = [name for name in self._names if name in self._by_name]

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
        elif scope.names is not None:
            numbers, of = self._by_name, self._beginning_with(scope.names)
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

    def _beginning_with(self, beginnings: Sequence[str]) -> set[str]:
        if not self._ordered:
            self._names = sorted(set(self._names))
            self._ordered = True
        found: set[str] = set()
        for begin in beginnings:
            place = bisect_left(self._names, begin)
            while place < len(self._names) and self._names[place].startswith(begin):
                found.add(self._names[place])
                place += 1
        return found
