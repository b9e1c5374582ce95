"""The load that a scheduler may be caused: a token bucket of seconds. The clock is an argument."""

from __future__ import annotations

#: Queries may take this share of the time.
DUTY = 0.05

#: Seconds of queries that may be saved up while there was nothing to ask.
RESERVE_S = 60 * DUTY


class LoadBudget:
    """
    Seconds of queries that may be spent. They accrue at a share of the time, up to a reserve, so that single changes are looked
    at at once, and a steady stream of them costs no more than the share.
    """

    def __init__(self, share: float = DUTY, reserve: float = RESERVE_S) -> None:
        self._share = share
        self._reserve = reserve
        self._balance = reserve
        self._at: float | None = None

    def spend(self, seconds: float, now: float) -> None:
        """A query took so long. The balance may become negative."""
        self._accrue(now)
        self._balance -= seconds

    def wait(self, now: float) -> float:
        """Seconds until there is something to spend."""
        self._accrue(now)
        return max(0.0, -self._balance / self._share)

    def _accrue(self, now: float) -> None:
        if self._at is not None:
            self._balance = min(self._reserve, self._balance + max(0.0, now - self._at) * self._share)
        self._at = now
