"""
Reading what was published: the events after a cursor, now or when they come.

First the in-memory tail; what is older comes from the journal, on a thread, and is checked against the tail again in the
same reactor turn in which a waiter registers, so that nothing falls between.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

import attrs
from twisted.internet.interfaces import IReactorTime

from jobpush.core.cursors import Cursor, Epochs
from jobpush.core.filters import Selects
from jobpush.core.record import Event
from jobpush.events.interfaces import CursorGone, IJournal
from jobpush.events.recent_events import Tail
from jobpush.events.tracker import JobStatusTracker, Wake

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


class Feed:
    """The published events."""

    def __init__(self, reactor: IReactorTime, journal: IJournal, tail: Tail, tracker: JobStatusTracker) -> None:
        self._reactor = reactor
        self._journal = journal
        self._tail = tail
        self._tracker = tracker

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

    async def next(
        self, selection: Selects, since: int, wait: float, limit: int = 500, enough: Enough | None = None
    ) -> Page:
        """
        The events after ``since``, oldest first; if there are none, wait for them.

        :param wait: seconds; 0 does not wait. Cancelling forgets the wait.
        :param enough: if given, wait until an event satisfies it, and return all up to there.
        :raise CursorGone: if events after ``since`` have been removed meanwhile.
        """
        began = self._reactor.seconds()
        found = self.recent(selection, since, limit, enough)
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
        self, selection: Selects, since: int, limit: int = 500, enough: Enough | None = None
    ) -> Page | Pending | Older:
        """
        The events after ``since``, as ``next`` gives them, if that need not wait. What then waits registers in the same turn.

        A cursor may be ahead of the published head (never of the journal): older events are no news to it.

        :return: a `Page`; or `Pending`, if it must wait; or `Older`, if the journal must be read first.
        """
        if since >= self._tail.head:  # as most who come back
            return Pending((), since)
        return self._after([], selection, since, limit, enough)

    def _after(
        self, gathered: list[Event], selection: Selects, since: int, limit: int, enough: Enough | None
    ) -> Page | Pending | Older:
        """Add to what was read of the journal what the tail has; or say that more of the journal must be read."""
        if not self._tail.covers(since):
            return Older(lambda: self._read(gathered, selection, since, limit, enough))
        gathered.extend(e for e in self._tail.after(since) if selection.matches(e))
        if len(gathered) > limit or (gathered and _satisfied(gathered, enough)):
            return _page(gathered, self._tail.head, limit)
        return Pending(gathered, self._tail.head)

    async def _read(
        self, gathered: list[Event], selection: Selects, since: int, limit: int, enough: Enough | None
    ) -> Page | Pending | Older:
        upto = self._tail.head
        keys = sorted(selection.keys) if selection.keys is not None else None
        gathered.extend(await self._journal.read(since, upto, limit + 1, selection.matches, keys))
        if len(gathered) > limit or (gathered and _satisfied(gathered, enough)):
            return _page(gathered, upto, limit)
        return self._after(gathered, selection, upto, limit, enough)

    def nothing(self, pending: Pending, timed_out: bool) -> Page:
        """The answer for what does not wait, or not any longer."""
        return Page(pending.gathered, self._tail.head, timed_out=timed_out)

    @staticmethod
    def page(gathered: Sequence[Event], since: int, wake: Wake, limit: int) -> Page:
        """The answer for what waited."""
        page = _page([*gathered, *wake.events], max(wake.head, since), limit)
        return attrs.evolve(page, timed_out=wake.timed_out, closing=wake.closing)


def _satisfied(events: Sequence[Event], enough: Enough | None) -> bool:
    return enough is None or any(map(enough, events))


def _page(events: Sequence[Event], seq: int, limit: int) -> Page:
    if len(events) > limit:
        return Page(events[:limit], events[limit - 1].seq, more=True)
    return Page(events, seq)
