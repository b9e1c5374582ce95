"""What held requests ask of those that watch the schedulers. (Tests: tests/web/held/test_registry.py.)"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from twisted.internet.defer import Deferred

from jobpush.core.filters import ALL, Visibility
from jobpush.core.model import JobKey


class Looks(Protocol):
    """What takes looks at schedulers for those who wait."""

    def fresh(
        self, clusters: Iterable[str], jobs: Iterable[JobKey] = (), client: str | None = None, visibility: Visibility = ALL
    ) -> Deferred[None]:
        """
        Fire when a look at each of these clusters that begins now is published, and accounting has been asked about those of
        these jobs that it did not show. Cancelling is allowed.

        :param client: the name of who asks.
        :param visibility: whose jobs that one may see. Others' are asked about in the same way as such as are not known.
        """


class Schedulers(Looks, Protocol):
    """What the registry asks of those that watch the schedulers."""

    def awaited(self, clusters: frozenset[str]) -> None:
        """Take note that somebody begins to wait for jobs of these clusters; of all, if none is named."""

    def serves(self, clusters: Iterable[str]) -> bool:
        """Return whether each of these clusters is served."""
