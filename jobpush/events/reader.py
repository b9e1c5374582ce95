"""
Reading what was published: the events after a cursor, now or when they come.

What is in the in-memory tail is found there; what is older comes from the journal, on a thread, and is checked against the tail
again in the same reactor turn in which a waiter registers, so that nothing falls between. Many events are looked through in
turns, until the request's deadline: the client goes on from there with its next request.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Generator, Iterable, Sequence

import attrs
from twisted.internet.interfaces import IReactorTime

from jobpush.core.cursors import Cursor, Epochs
from jobpush.core.filters import Scope, Selects, scope_of
from jobpush.core.model import JobKey
from jobpush.core.record import Event
from jobpush.core.stored_event import StoredEvent
from jobpush.events.interfaces import CursorGone, IJournal, JournalError
from jobpush.events.last_events import LastEvents
from jobpush.events.recent_events import Tail
from jobpush.events.tracker import JobStatusTracker, Wake
from jobpush.runtime.cooperate import Cooperator

#: Seconds for which events are read at most, where nobody said how long they may be waited for.
READING_S = 1.0

#: How many events are looked at without a pause.
AT_ONCE = 200

Enough = Callable[[Event], bool]


@attrs.frozen(eq=False)
class Page:
    """
    Events after a cursor.

    :ivar seq: the number up to which this is all that matches, or of the last event if there is ``more``.
    """

    events: Sequence[Event]
    seq: int
    more: bool = False
    timed_out: bool = False
    closing: bool = False


@attrs.frozen(eq=False)
class Pending:
    """
    There is nothing yet that would be an answer.

    :ivar gathered: events after the cursor that are a part of it.
    :ivar since: the number after which events are news to who goes on waiting.
    """

    gathered: Sequence[Event]
    since: int


@attrs.frozen(eq=False)
class Older:
    """
    Events after the cursor that are only in the journal.

    :ivar read: reads some of them and finds what comes then, as `Feed.recent` does. Fails with `CursorGone` if events after the
        cursor have been removed.
    """

    read: Callable[[], Awaitable[Page | Pending | Older]]


class _Reading:
    """
    What one request reads.

    :ivar selection: what chooses them.
    :ivar since: the number after which is read.
    :ivar at: the number up to which everything was looked at.
    :ivar gathered: the events that were chosen, oldest first.
    :ivar ends: the reactor's time at which it ends, with what there is then; None if it is read to its end.
    """

    def __init__(self, selection: Selects, since: int, limit: int, enough: Enough | None, ends: float | None) -> None:
        self.selection = selection
        self.since = self.at = since
        self.limit = limit
        self._enough = enough
        self.ends = ends
        self.gathered: list[Event] = []
        self._satisfied = False
        self._scope: Scope | None = None
        self._scope_at = -1

    def scope(self, head: int, members: Callable[[str], Collection[JobKey] | None]) -> Scope:
        """
        Return what the events are found by.

        :param head: the number of the last published event. With each, a job may have joined a workflow.
        :param members: see `scope_of`.
        """
        if self._scope is None or (self._scope_at != head and self.selection.keys is None and self.selection.workflows):
            self._scope, self._scope_at = scope_of(self.selection, members), head
        return self._scope

    def look_at(self, stored: StoredEvent) -> None:
        """
        Choose an event, or not.

        :raise JournalError: if its bytes are not those of an event.
        """
        try:
            event = stored.event if self._may_match(stored) else None
        except (ValueError, KeyError, TypeError, AttributeError) as error:  # of a version without checksums
            why = f"event {stored.seq} is damaged: {type(error).__name__}: {error}; see 'jobpush journal check'"
            raise JournalError(why) from None
        if event is not None and self.selection.matches(event):
            self.gathered.append(event)
            self._satisfied = self._satisfied or self._enough is None or self._enough(event)

    def _may_match(self, stored: StoredEvent) -> bool:
        """Return whether an event is worth being decoded: of what is found in other ways than by an index, hardly any is."""
        keys = None if self._scope is None else self._scope.keys
        if keys is None:
            return self.selection.may_match(stored.facts)
        return stored.key in keys or (stored.parent is not None and (stored.key[0], stored.parent) in keys)

    @property
    def full(self) -> bool:
        """Whether there are more events than the answer may hold."""
        return len(self.gathered) > self.limit

    @property
    def answers(self) -> bool:
        """Whether what was gathered is an answer."""
        return self.full or self._satisfied

    def page(self, more: bool = False) -> Page:
        """
        Return what was gathered.

        :param more: whether there may be more because time was up: the client asks for the rest.
        """
        page = _page(self.gathered, self.at, self.limit)
        return attrs.evolve(page, more=True) if more else page


class Feed:
    """
    The published events.

    :param members: returns the keys of a workflow's jobs; None if no workflow of that name is known.
    """

    def __init__(
        self,
        reactor: IReactorTime,
        cooperator: Cooperator,
        journal: IJournal,
        tail: Tail,
        tracker: JobStatusTracker,
        members: Callable[[str], Collection[JobKey] | None] = lambda name: None,
    ) -> None:
        self._reactor = reactor
        self._cooperator = cooperator
        self._journal = journal
        self._tail = tail
        self._tracker = tracker
        self._members = members
        self._last_events = LastEvents(cooperator, journal)

    @property
    def head(self) -> int:
        """The number of the last published event."""
        return self._tail.head

    @property
    def oldest(self) -> int:
        """The lowest number after which nothing has been removed."""
        return self._journal.trimmed_seq

    @property
    def epochs(self) -> Epochs:
        """The journal's epochs."""
        return self._journal.epochs

    def cursor(self, seq: int | None = None) -> str:
        """The cursor of that number; by default of the head."""
        return self._journal.epochs.cursor(self._tail.head if seq is None else seq)

    def resolve(self, since: Cursor) -> int:
        """
        The number that a client's cursor stands for.

        :raise CursorGone: if this journal has not given it out (see `Epochs`), or it is older than what is kept.
        """
        if since.seq < self._journal.trimmed_seq or not self._journal.epochs.knows(since, self._journal.last_seq):
            raise CursorGone(self._journal.trimmed_seq)
        return since.seq

    async def last_of(self, keys: Sequence[JobKey], user: str | None = None) -> dict[JobKey, Event]:
        """
        The last published event of each of these jobs and workflows, as far as the journal holds one.

        :param user: of this user's alone.
        """
        return await self._last_events.of(keys, self._tail.head, user)

    async def next(
        self,
        selection: Selects,
        since: int,
        wait: float,
        limit: int = 500,
        enough: Enough | None = None,
        ends: float | None = None,
    ) -> Page:
        """
        The events after ``since``, oldest first; if there are none, wait for them.

        :param wait: seconds; 0 does not wait. Cancelling forgets the wait.
        :param enough: if given, wait until an event satisfies it, and return all up to there.
        :param ends: as for `recent`.
        :raise CursorGone: if events after ``since`` have been removed meanwhile.
        """
        began = self._reactor.seconds()
        found = self.recent(selection, since, limit, enough, ends)
        while isinstance(found, Older):
            found = await found.read()
        if isinstance(found, Page):
            return found
        left = wait - (self._reactor.seconds() - began)
        if left <= 0:
            return self.nothing(found, timed_out=wait > 0)
        wake = await self._tracker.wait(selection, found.since, left, enough)
        return self.page(found.gathered, found.since, wake, limit)

    def recent(
        self,
        selection: Selects,
        since: int,
        limit: int = 500,
        enough: Enough | None = None,
        ends: float | None = None,
    ) -> Page | Pending | Older:
        """
        The events after ``since``, as ``next`` gives them, if that takes no time. What then waits registers in the same turn.

        A cursor may be ahead of the published head (never of the journal): older events are no news to it.

        :param ends: the reactor's time at which reading ends: with a `Page` that has ``more``, perhaps no events, and a number
            beyond ``since``. None reads all that there is.
        :return: a `Page`; or `Pending`, if it must wait; or `Older`, if it takes longer.
        """
        if since >= self._tail.head:  # as most who come back
            return Pending((), since)
        return self._go_on(_Reading(selection, since, limit, enough, ends))

    def _go_on(self, reading: _Reading) -> Page | Pending | Older:
        """Look at what the tail has, if all that is older was looked at, and it is not much."""
        if not self._tail.covers(reading.at):
            return Older(lambda: self._read(reading))
        head = self._tail.head
        numbers = self._tail.find(reading.scope(head, self._members), reading.at)
        if len(numbers) > AT_ONCE:
            return Older(lambda: self._look(reading, numbers, head))
        for number in numbers:
            reading.look_at(self._tail.get(number))
        reading.at = head
        return reading.page() if reading.answers else Pending(reading.gathered, head)

    async def _look(self, reading: _Reading, numbers: Sequence[int], head: int) -> Page | Pending | Older:
        """Look at many events of the tail, found when that was its head, in turns."""
        if await self._cooperator.run(self._looking(reading, numbers)):
            reading.at = head
        return self._found(reading)

    def _looking(self, reading: _Reading, numbers: Sequence[int]) -> Generator[None, None, bool]:
        """Look at these events as far as they are still in the tail, and time allows; return whether at all of them."""
        for begin in range(0, len(numbers), AT_ONCE):
            if begin:
                yield
            some = numbers[begin : begin + AT_ONCE]
            if not self._tail.covers(some[0] - 1):
                reading.at = some[0] - 1
                return False
            if not self._look_at(reading, (self._tail.get(number) for number in some)):
                return False
        return True

    def _look_at(self, reading: _Reading, events: Iterable[StoredEvent]) -> bool:
        """Look at some events that follow each other; return whether to go on."""
        for event in events:
            reading.look_at(event)
            reading.at = event.seq
            if reading.full:
                return False
        return reading.ends is None or self._reactor.seconds() < reading.ends

    def _found(self, reading: _Reading) -> Page | Pending | Older:
        """Return the answer, if there is one or time is up; else go on."""
        if reading.full:
            return reading.page()
        found = self._go_on(reading)
        late = reading.ends is not None and self._reactor.seconds() >= reading.ends
        if isinstance(found, Older) and late and reading.at > reading.since:
            return reading.page(more=True)
        return found

    async def _read(self, reading: _Reading) -> Page | Pending | Older:
        """Look at some events of the journal that are older than the tail."""
        upto = self._tail.oldest
        scope = reading.scope(self._tail.head, self._members)
        found = await self._journal.read(reading.at, upto, scope, reading.limit + 1 - len(reading.gathered))
        if await self._cooperator.run(self._looking_at_read(reading, found.events)):
            reading.at = found.seq
        return self._found(reading)

    def _looking_at_read(self, reading: _Reading, events: Sequence[StoredEvent]) -> Generator[None, None, bool]:
        """Look at events that were read, as far as time allows; return whether at all of them."""
        for begin in range(0, len(events), AT_ONCE):
            if begin:
                yield
            if not self._look_at(reading, events[begin : begin + AT_ONCE]):
                return False
        return True

    def nothing(self, pending: Pending, timed_out: bool) -> Page:
        """The answer for what does not wait, or not any longer."""
        return Page(pending.gathered, self._tail.head, timed_out=timed_out)

    @staticmethod
    def page(gathered: Sequence[Event], since: int, wake: Wake, limit: int) -> Page:
        """The answer for what waited."""
        page = _page([*gathered, *wake.events], max(wake.head, since), limit)
        return attrs.evolve(page, timed_out=wake.timed_out, closing=wake.closing)


def _page(events: Sequence[Event], seq: int, limit: int) -> Page:
    if len(events) > limit:
        return Page(events[:limit], events[limit - 1].seq, more=True)
    return Page(events, seq)
