"""How values are distributed, as cheap to keep as can be. Nothing here knows how it is shown, or who asks."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence


class Distribution:
    """
    How often a value was at most each of some bounds.

    :ivar counts: for each bound, and for what is over all of them: how many values fell there.
    :ivar sum: of all values.
    :ivar most: the greatest of them.
    """

    __slots__ = ("bounds", "counts", "most", "sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0
        self.most = 0.0

    def add(self, value: float, times: int = 1) -> None:
        """So many values of this size."""
        self.counts[bisect_left(self.bounds, value)] += times
        self.sum += value * times
        if value > self.most:
            self.most = value
