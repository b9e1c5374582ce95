"""
What the routes of jobs, changes, barriers and workflows have in common: finding a job, reading events, and the response to an
event that was waited for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import attrs

from jobpush.core.filters import Selects, Visibility
from jobpush.core.model import JobDescriptor, JobKey
from jobpush.core.record import UNSEEN, Event, JobRecord, JobStatusEvent, Record, packed
from jobpush.events.interfaces import CursorGone
from jobpush.events.reader import Enough, Feed, Older, Page, Pending
from jobpush.events.tracker import Wake
from jobpush.service import JobPush
from jobpush.web.held.questions import Hold, Later, Outcome, Ready
from jobpush.web.params import FILTERS, gone, resolved
from jobpush.web.responses import Rendering

#: The parameters by which a client says which jobs it asks for.
SELECTION = frozenset({*FILTERS, "job"})

#: Events of one job that one response may hold.
JOB_EVENTS = 10_000

Found = tuple[JobDescriptor, JobRecord]


class NextEvents:
    """
    What a poll waits for: events, gathered until one is enough.

    :param pending: what was read already.
    :param enough: if given, events are gathered until one satisfies it.
    """

    __slots__ = ("_enough", "_events", "selection")

    def __init__(self, selection: Selects, pending: Pending, enough: Enough | None) -> None:
        self.selection = selection
        self._enough = enough
        self._events: Sequence[Event] = pending.gathered

    def take(self, events: Sequence[Event]) -> bool:
        """See `jobpush.web.held.questions.Watch`."""
        self._events = (*self._events, *events)
        return self._enough is None or any(map(self._enough, events))

    @property
    def gathered(self) -> Sequence[Event]:
        """See `jobpush.web.held.questions.Watch`."""
        return self._events


@attrs.frozen(eq=False)
class Poll:
    """
    A question that is answered with events.

    :ivar key: questions with the same key and cursor get the same response when they are held. It is of the route's own making.
    :ivar limit: how many events a response may hold.
    :ivar enough: if given, events are gathered until one satisfies it.
    :ivar answer: makes the response.
    :ivar deadline: the reactor's time up to which it may be held.
    :ivar asked: whether the client asked to be held at all: then a response without events says ``timed_out``.
    :ivar wait: the seconds that the client asked for, if the same question at the same moment is held in the same way.
    :ivar instead: as in `jobpush.web.held.questions.Hold`.
    :ivar ends: the reactor's time at which reading ends, if the response can say that there is more.
    """

    key: tuple[object, ...]
    selection: Selects
    limit: int
    enough: Enough | None
    answer: Callable[[Page], Rendering]
    deadline: float
    asked: bool
    wait: float | None = None
    instead: Callable[[Sequence[Event]], Outcome | None] | None = None
    ends: float | None = None


@attrs.frozen(eq=False)
class _Rendered:
    """Makes the response to a held question. Thousands are kept: a closure takes four times the memory."""

    answer: Callable[[Page], Rendering]
    limit: int
    since: int

    def __call__(self, wake: Wake) -> Rendering:
        return self.answer(Feed.page((), self.since, wake, self.limit))


class Polls:
    """Makes outcomes of questions that are answered with events, and finds jobs."""

    def __init__(self, service: JobPush) -> None:
        self.service = service

    # -- events

    def after(self, poll: Poll, since: int) -> Outcome:
        """The outcome of a question on what comes after that number."""
        return self._outcome(poll, since, self.service.feed.recent(poll.selection, since, poll.limit, poll.enough, poll.ends))

    def _outcome(self, poll: Poll, since: int, found: Page | Pending | Older) -> Outcome:
        if isinstance(found, Older):
            return Later(lambda: self._read(poll, since, found))
        if isinstance(found, Page):
            return Ready(lambda: poll.answer(found))
        feed = self.service.feed
        if poll.deadline <= self.service.reactor.seconds():
            page = feed.nothing(found, timed_out=poll.asked)
            return Ready(lambda: poll.answer(page))
        # All that wait for the next event after the head wait for the same, wherever the head is: it has not come yet.
        news = not found.gathered and found.since == feed.head
        alike = news and poll.enough is None

        return Hold(
            key=(*poll.key, None if alike else since),
            since=found.since,
            watch=NextEvents(poll.selection, found, poll.enough),
            render=_Rendered(poll.answer, poll.limit, found.since),
            deadline=poll.deadline,
            clusters=poll.selection.clusters,
            wait=poll.wait if news else None,
            instead=poll.instead,
        )

    async def _read(self, poll: Poll, since: int, older: Older) -> Outcome:
        try:
            return self._outcome(poll, since, await older.read())
        except CursorGone:
            raise gone(self.service) from None

    # -- jobs

    def known(self, key: JobKey) -> Found | None:
        """The job of the table with that key or alias, and its record."""
        return self.service.table.find(*key, self.service.monitor_of(key[0]).queue.task_of)

    def followed(self, found: Found) -> Found:
        """Return what a job is now that was moved to another cluster, as far as that is known; any other job itself."""
        job = found[0]
        record = self.service.table.follow(job.moved_key) if job.moved_key is not None else None
        return found if record is None else (record.subject, record)

    async def remembered(self, key: JobKey, visibility: Visibility) -> Found | None:
        """A job that only the journal knows, if it may be shown."""
        last = (await self.service.feed.last_of([key], visibility.user)).get(key)
        return (last.job, from_event(last)) if last is not None else None

    def canonical(self, key: JobKey, visibility: Visibility) -> JobKey:
        """See `jobpush.web.params.resolved`."""
        return resolved(self.service, key, visibility)


def from_event(event: JobStatusEvent) -> JobRecord:
    """The record of a job that only the journal remembers."""
    return Record(event.job, UNSEEN, last_seq=event.seq, steps=packed((event.step,)))
