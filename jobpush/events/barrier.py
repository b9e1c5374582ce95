"""
Barriers: one held request that waits until any, some or all of many jobs and workflows are as far as is wished.

Level-triggered: what is so already counts at once, and what is undone again (a job that is requeued) counts no more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from jobpush.core.filters import Targets
from jobpush.core.model import JobDescriptor, JobKey
from jobpush.core.workflow import Workflow, WorkflowEvent
from jobpush.events.tracker import JobStatusTracker, Waiter, Wake

#: What a barrier waits for.
Subject = JobDescriptor | Workflow


class Barrier(Waiter):
    """
    A waiter that is claimed when it is over: when enough is met, or when nothing is left that could be.

    :param enough: is a subject as far as is wished?
    :param need: how many must be; None for all of them.
    :ivar met: those that are, by key.
    :ivar earlier: those that were before the client's cursor: they count where all must be, and are not told again.
    :ivar open: those that are not yet.
    :ivar unseen: those of which nothing is known, while a query that could tell is still awaited.
    :ivar unknown: those that such a query did not find.
    """

    __slots__ = ("earlier", "is_enough", "met", "need", "open", "unknown", "unseen")

    def __init__(self, keys: Iterable[JobKey], since: int, enough: Callable[[Subject], bool], need: int | None) -> None:
        super().__init__(Targets(frozenset(keys)), since, None)
        self.is_enough = enough
        self.need = need
        self.met: dict[JobKey, Subject] = {}
        self.earlier: dict[JobKey, None] = {}
        self.open: dict[JobKey, None] = {}
        self.unseen: dict[JobKey, None] = {}
        self.unknown: dict[JobKey, None] = {}

    @property
    def done(self) -> bool:
        """Is enough met?"""
        if self.need is not None:
            return len(self.met) >= self.need
        return not (self.open or self.unseen or self.unknown)

    @property
    def over(self) -> bool:
        """Is it done, or is nothing left that is known and could still be met?"""
        return self.done or not (self.open or self.unseen)

    def put(self, key: JobKey, subject: Subject | None, earlier: bool = False) -> None:
        """
        A subject is like this now.

        :param subject: None if nothing is known of it.
        :param earlier: was it so before the client's cursor already?
        """
        for place in (self.met, self.earlier, self.open, self.unseen, self.unknown):
            place.pop(key, None)
        if subject is None:
            self.unseen[key] = None
        elif isinstance(subject, Workflow) and subject.deleted:
            self.unknown[key] = None
        elif not self.is_enough(subject):
            self.open[key] = None
        elif earlier:
            self.earlier[key] = None
        else:
            self.met[key] = subject

    def give_up(self, keys: Iterable[JobKey], tracker: JobStatusTracker) -> None:
        """A query that began after the request does not know these."""
        for key in keys:
            if key in self.unseen:
                del self.unseen[key]
                self.unknown[key] = None
        self._check(tracker)

    def touched(self, tracker: JobStatusTracker) -> None:
        events, self.events = self.events, []
        for event in events:
            subject = event.workflow if isinstance(event, WorkflowEvent) else event.job
            self.put(event.key, subject, earlier=event.key in self.earlier)
        self._check(tracker)

    def _check(self, tracker: JobStatusTracker) -> None:
        if self.over and self.wake is None:
            tracker.claim(self, Wake((), tracker.head))
