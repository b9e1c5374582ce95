"""
Barriers: how far many jobs and workflows are, until any, some or all of them are far enough.

Level-triggered: what is so already counts at once, and what is undone again (a job that is requeued) counts no more. Knows no
request: what waits for a barrier hands it events, and asks whether it is over.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from jobpush.core.filters import ALL, Targets, Visibility
from jobpush.core.model import JobKey
from jobpush.core.record import Event, Subject


def _nothing(key: JobKey) -> Subject | None:
    return None


class Barrier:
    """
    :param keys: of the jobs and workflows that are waited for. Each is then ``put``.
    :param is_enough: whether a subject is far enough.
    :param need: how many must be; None for all of them.
    :param follow: (key) to what a job is now that was moved to another cluster; None if nothing is known of it. How far
        that one is is how far the job is.
    :ivar met: those that are, by key.
    :ivar earlier: those that were before the client's cursor: they count where all must be, and are not told again.
    :ivar open: those that are not yet.
    :ivar unseen: those of which nothing is known, while a look at their scheduler that could tell is still awaited.
    :ivar unknown: those that such a look did not find.
    """

    __slots__ = ("_follow", "_now", "earlier", "is_enough", "keys", "met", "need", "open", "unknown", "unseen", "visibility")

    def __init__(
        self,
        keys: Iterable[JobKey],
        is_enough: Callable[[Subject], bool],
        need: int | None,
        visibility: Visibility = ALL,
        follow: Callable[[JobKey], Subject | None] = _nothing,
    ) -> None:
        self.visibility = visibility
        self.keys = frozenset(keys)
        self.is_enough = is_enough
        self.need = need
        self._follow = follow
        #: The keys of what was moved, by the key of the job that it was then.
        self._now: dict[JobKey, set[JobKey]] = {}
        self.met: dict[JobKey, Subject] = {}
        self.earlier: dict[JobKey, None] = {}
        self.open: dict[JobKey, None] = {}
        self.unseen: dict[JobKey, None] = {}
        self.unknown: dict[JobKey, None] = {}

    @property
    def selection(self) -> Targets:
        """The events that concern it."""
        return Targets(self.keys.union(self._now) if self._now else self.keys, self.visibility)

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
        if subject is not None and subject.moved_key is not None:
            self._now.setdefault(subject.moved_key, set()).add(key)
            subject = self._follow(subject.moved_key) or subject
            if subject.key != key:
                self._now.setdefault(subject.key, set()).add(key)
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

    def take(self, events: Sequence[Event]) -> bool:
        """Take note of events of its subjects, and return whether it is over."""
        for event in events:
            for moved in tuple(self._now.get(event.key, ())):
                self.put(moved, self._follow(moved) or event.subject, earlier=moved in self.earlier)
            if event.key in self.keys:
                self.put(event.key, event.subject, earlier=event.key in self.earlier)
        return self.over

    @property
    def gathered(self) -> Sequence[Event]:
        """No events: what is told is how its subjects are."""
        return ()

    def rename(self, key: JobKey, other: JobKey) -> None:
        """Wait for another key instead of one that was unseen: it is an alias of that one, which is then ``put``."""
        self.unseen.pop(key, None)
        self.keys = self.keys - {key} | {other}

    def give_up(self, keys: Iterable[JobKey]) -> None:
        """Count these as unknown: a query that began after the request did not find them."""
        for key in keys:
            if key in self.unseen:
                del self.unseen[key]
                self.unknown[key] = None
