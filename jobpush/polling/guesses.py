"""
Which jobs accounting is asked about whose ends were guesses, and when. Its record may only be late; it may also be away for
hours, and thousands of jobs end meanwhile.
"""

from __future__ import annotations

from jobpush.core.absence import guesses
from jobpush.core.job_table import ClusterJobs
from jobpush.core.model import JobDescriptor, Snapshot

#: Seconds between two questions, after the last of the guesses and as the pause has grown; and about how many at once.
SOON_S = 5.0
EVERY_S = 60.0
MOST = 500


class Guesses:
    """The guesses of one cluster. The clock is an argument."""

    def __init__(self) -> None:
        self._due = 0.0
        self._pause = SOON_S
        self._latest: str | None = None
        #: How many of the older ones have been asked about in this turn.
        self._turn = 0

    def to_ask(self, jobs: ClusterJobs, snapshot: Snapshot, now: float) -> list[JobDescriptor]:
        """
        Return those that accounting is to be asked about now: soon, and then less and less often, once each has had its turn.
        """
        latest = next(reversed(jobs.guessed), None)
        if latest != self._latest:
            self._latest, self._pause = latest, SOON_S
            self._due = min(self._due, now + SOON_S)
        found = guesses(jobs, snapshot) if now >= self._due else []
        if not found:
            return []
        self._due = now + self._pause
        chosen = self._some(found)
        if not self._turn:
            self._pause = min(EVERY_S, 2 * self._pause)
        return chosen

    def _some(self, found: list[JobDescriptor]) -> list[JobDescriptor]:
        """The newest of them, and of the older ones those whose turn it is."""
        if len(found) <= MOST:
            self._turn = 0
            return found
        older, newest = found[: -(MOST // 2)], found[-(MOST // 2) :]
        begin = self._turn if self._turn < len(older) else 0
        end = begin + MOST - len(newest)
        self._turn = end if end < len(older) else 0
        return [*older[begin:end], *newest]
