"""The load that jobpush may cause a scheduler: a token bucket of seconds of queries. The clock is an argument."""

from __future__ import annotations

import statistics
from collections import deque

#: The share of the time that queries may take.
DUTY = 0.05

#: Seconds of queries that may be saved up while there was nothing to ask.
RESERVE_S = 60 * DUTY

#: The most seconds until a query may begin again, whatever those before it took.
LONGEST_WAIT_S = 30.0

#: Of so many answers of about the same length the median is the usual cost; of fewer than `FEWEST_ANSWERS` the least is.
REMEMBERED_ANSWERS = 15
FEWEST_ANSWERS = 3


class LoadBudget:
    """
    Seconds of queries that may be spent. They accrue at a share of the time, up to a reserve: after a quiet time a change is
    looked at at once, and a steady stream of changes costs no more than the share, or one query in `LONGEST_WAIT_S`.

    :param share: seconds that accrue in each second.
    :param reserve: the most seconds that accrue; also what there is at the beginning.
    """

    def __init__(self, share: float = DUTY, reserve: float = RESERVE_S) -> None:
        self._share = share
        self._reserve = reserve
        self._balance = reserve
        self._at: float | None = None

    def spend(self, seconds: float, now: float) -> None:
        """Take the seconds that a query cost, which ended now. The balance may become negative, but not without end."""
        self._accrue(now)
        self._balance = max(self._balance - seconds, -LONGEST_WAIT_S * self._share)

    def wait(self, now: float) -> float:
        """Return the seconds until the balance is not negative."""
        self._accrue(now)
        return max(0.0, -self._balance / self._share)

    def _accrue(self, now: float) -> None:
        if self._at is not None:
            self._balance = min(self._reserve, self._balance + max(0.0, now - self._at) * self._share)
        self._at = now


class UsualCost:
    """
    What a query costs the scheduler when all is well, by the number of rows in its answer.

    An answer that takes longer than others of its length was waited for (a controller that restarts, a lock): the scheduler did
    no more for it, and the excess is not charged. What takes longer most of the time is load. Lengths are told apart
    by powers of two; where there are few answers of a length, those of other lengths bound the cost.
    """

    def __init__(self) -> None:
        self._answers: dict[int, deque[float]] = {}

    def charge(self, rows: int, seconds: float) -> float:
        """
        Take note of an answer.

        :param seconds: from the question to the answer.
        :return: the seconds of it that are load.
        """
        self._answers.setdefault(rows.bit_length(), deque(maxlen=REMEMBERED_ANSWERS)).append(seconds)
        usual = self.usual(rows)
        assert usual is not None
        return min(seconds, usual)

    def proved(self, rows: int) -> float | None:
        """Return the seconds that an answer with about so many rows costs; None while there were too few of them."""
        own = self._answers.get(rows.bit_length(), ())
        return statistics.median(own) if len(own) >= FEWEST_ANSWERS else None

    def usual(self, rows: int) -> float | None:
        """Return the best estimate of the seconds that an answer with so many rows costs; None if there was no answer yet."""
        length = rows.bit_length()
        proved = self.proved(rows)
        if proved is not None:
            return proved
        bounds = list(self._answers.get(length, ()))
        for other, answers in self._answers.items():
            if other != length and len(answers) >= FEWEST_ANSWERS:
                # A shorter list costs no more than a longer one; each row of a longer one no more than one of a shorter one.
                bounds.append(statistics.median(answers) * 2.0 ** max(0, length - other))
        return min(bounds, default=None)
