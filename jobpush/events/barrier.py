"""
Barriers: one held request that waits until any, some or all of many jobs and workflows are as far as is wished.

Level-triggered: what is so already counts at once, and what is undone again (a job that is requeued) counts no more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from jobpush.core.filters import Targets
from jobpush.core.model import JobKey
from jobpush.core.record import Subject
from jobpush.events.tracker import JobStatusTracker, Waiter, Wake


class BarrierWaiter(Waiter):
    """
    A waiter that is claimed when it is over: when enough is met, or when nothing is left that could be.

    :param enough: returns whether a job or workflow is as far as is wished.
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
        """Whether enough is met."""
        if self.need is not None:
            return len(self.met) >= self.need
        return not (self.open or self.unseen or self.unknown)

    @property
    def over(self) -> bool:
        """Whether it is done, or nothing is left that is known and could still be met."""
        return self.done or not (self.open or self.unseen)

    def put(self, key: JobKey, subject: Subject | None, earlier: bool = False) -> None:
        """
        Take a job or workflow as it is now.

        :param subject: None if nothing is known of it.
        :param earlier: whether it was so before the client's cursor already.
        """
        for place in (self.met, self.earlier, self.open, self.unseen, self.unknown):
            place.pop(key, None)
        if subject is None:
            self.unseen[key] = None
        elif subject.deleted:
            self.unknown[key] = None
        elif not self.is_enough(subject):
            self.open[key] = None
        elif earlier:
            self.earlier[key] = None
        else:
            self.met[key] = subject

    def give_up(self, keys: Iterable[JobKey], tracker: JobStatusTracker) -> None:
        """Count these as unknown: a query that began after the request did not find them."""
        for key in keys:
            if key in self.unseen:
                del self.unseen[key]
                self.unknown[key] = None
        self._check(tracker)

    def touched(self, tracker: JobStatusTracker) -> None:
        events, self.events = self.events, []
        for event in events:
            self.put(event.key, event.subject, earlier=event.key in self.earlier)
        self._check(tracker)

    def _check(self, tracker: JobStatusTracker) -> None:
        if self.over and self.wake is None:
            tracker.claim(self, Wake((), tracker.head))
