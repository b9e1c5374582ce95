"""The load that jobpush may cause a scheduler: a token bucket of seconds of queries. The clock is an argument."""

from __future__ import annotations

#: The share of the time that queries may take.
DUTY = 0.05

#: Seconds of queries that may be saved up while there was nothing to ask.
RESERVE_S = 60 * DUTY


class LoadBudget:
    """
    Seconds of queries that may be spent. They accrue at a share of the time, up to a reserve: after a quiet time a change is
    looked at at once, and a steady stream of changes costs no more than the share.

    :param share: seconds that accrue in each second.
    :param reserve: the most seconds that accrue; also what there is at the beginning.
    """

    def __init__(self, share: float = DUTY, reserve: float = RESERVE_S) -> None:
        self._share = share
        self._reserve = reserve
        self._balance = reserve
        self._at: float | None = None

    def spend(self, seconds: float, now: float) -> None:
        """Take the seconds that a query took, which ended now. The balance may become negative."""
        self._accrue(now)
        self._balance -= seconds

    def wait(self, now: float) -> float:
        """Return the seconds until the balance is not negative."""
        self._accrue(now)
        return max(0.0, -self._balance / self._share)

    def _accrue(self, now: float) -> None:
        if self._at is not None:
            self._balance = min(self._reserve, self._balance + max(0.0, now - self._at) * self._share)
        self._at = now
