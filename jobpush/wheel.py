"""
One timer for thousands of deadlines.

What ends at about the same time shares a bucket, and the reactor has one call, for the next bucket. A deadline is kept at most
a thirty-second of its time late, and never early.
"""

from __future__ import annotations

import heapq
import math
from typing import Any, Protocol

#: The finest grain, in seconds, and the share of a time by which its deadline may be late.
FINEST_S = 1 / 512
SHARE = 1 / 32


class Timed(Protocol):
    """
    What can have a deadline: one at a time.

    :ivar due: where the wheel keeps it; None while it has no deadline.
    """

    due: float | None

    def expired(self) -> None:
        """Its time is up. It has no deadline any more."""


class TimerWheel:
    """
    :param reactor: its ``seconds()`` is the time since the epoch.
    """

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._buckets: dict[float, dict[Timed, None]] = {}
        self._heap: list[float] = []
        self._call: Any = None

    def add(self, item: Timed, seconds: float) -> None:
        """From now on its deadline is in so many seconds; an earlier one of its own counts no more."""
        self.remove(item)
        grain = FINEST_S * 2.0 ** max(0, math.floor(math.log2(max(seconds, FINEST_S) * SHARE / FINEST_S)))
        due = math.ceil((self._reactor.seconds() + seconds) / grain) * grain
        bucket = self._buckets.get(due)
        if bucket is None:
            bucket = self._buckets[due] = {}
            heapq.heappush(self._heap, due)
            self._set()
        bucket[item] = None
        item.due = due

    def remove(self, item: Timed) -> None:
        """It has no deadline any more."""
        due, item.due = item.due, None
        if due is not None:
            bucket = self._buckets.get(due)
            if bucket is not None:
                bucket.pop(item, None)
                if not bucket:
                    del self._buckets[due]  # its place in the heap is passed over later
                    if not self._buckets:
                        self._heap.clear()
                        self._set()

    def _set(self) -> None:
        """The reactor's call is for the next bucket."""
        while self._heap and self._heap[0] not in self._buckets:
            heapq.heappop(self._heap)
        if self._call is not None and self._call.active():
            if self._heap and self._call.getTime() == self._heap[0]:
                return
            self._call.cancel()
        self._call = None
        if self._heap:
            self._call = self._reactor.callLater(max(0.0, self._heap[0] - self._reactor.seconds()), self._turn)

    def _turn(self) -> None:
        """End what is due."""
        now = self._reactor.seconds()
        while self._heap and self._heap[0] <= now:
            due = heapq.heappop(self._heap)
            bucket = self._buckets.get(due, {})
            while bucket:
                item, _ = bucket.popitem()
                item.due = None
                item.expired()
            self._buckets.pop(due, None)
        self._set()
