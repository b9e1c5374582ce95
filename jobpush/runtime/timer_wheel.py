"""
One timer for thousands of deadlines.

What ends at about the same time shares a bucket, and the reactor has one call, for the next bucket. A deadline is kept at most
a thirty-second of its time late, and never early.
"""

from __future__ import annotations

import heapq
import math
from typing import Any, Protocol

from twisted.logger import Logger

#: The finest grain, in seconds, and the share of a time by which its deadline may be late.
FINEST_S = 1 / 512
SHARE = 1 / 32


#: So many deadlines that count no more may be kept, beside as many as those that do.
STALE = 32_768


class Timed(Protocol):
    """
    What can have a deadline: one at a time.

    :ivar due: which one, as the wheel has it; None while it has none.
    """

    due: float | None

    def waits(self) -> bool:
        """Does its deadline still count? Who loses it with thousands of others says so here, and tells `TimerWheel.lapsed`."""

    def expired(self) -> None:
        """Its time is up. It has no deadline any more."""


class TimerWheel:
    """
    A deadline that is taken back stays in its bucket, and is passed over when its time comes: to forget thousands costs next to
    nothing. When those are too many, they are swept out.

    :param reactor: its ``seconds()`` is the time since the epoch.
    """

    log = Logger()

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._buckets: dict[float, list[Timed]] = {}
        self._heap: list[float] = []
        self._entries = 0
        self._stale = 0
        self._turning = False
        self._call: Any = None

    def add(self, item: Timed, seconds: float) -> None:
        """From now on its deadline is in so many seconds; an earlier one of its own counts no more."""
        # The greatest power of two times the finest grain that is not over the share.
        grain = FINEST_S * 2.0 ** max(0, math.frexp(seconds * (SHARE / FINEST_S))[1] - 1)
        due = math.ceil((self._reactor.seconds() + seconds) / grain) * grain
        bucket = self._buckets.get(due)
        if bucket is None:
            bucket = self._buckets[due] = []
            heapq.heappush(self._heap, due)
            self._set()
        bucket.append(item)
        self._entries += 1
        again, item.due = item.due is not None, due
        if again:
            self.lapsed(1)

    def remove(self, item: Timed) -> None:
        """It has no deadline any more."""
        if item.due is not None:
            item.due = None
            self.lapsed(1)

    def lapsed(self, count: int) -> None:
        """So many deadlines count no more."""
        self._stale += count
        if not self._turning:
            self._tidy()

    def _tidy(self) -> None:
        """Drop what counts no more, if it is too much, or all that there is."""
        if self._stale >= self._entries:
            self._buckets.clear()
            self._heap.clear()
            self._entries = self._stale = 0
            self._set()
        elif self._stale > self._entries - self._stale + STALE:
            for due, bucket in self._buckets.items():
                # One that was taken back and given again may be there twice.
                bucket[:] = dict.fromkeys(item for item in bucket if item.due == due and item.waits())
            self._entries, self._stale = sum(map(len, self._buckets.values())), 0

    def _set(self) -> None:
        """The reactor's call is for the next bucket."""
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
        self._turning = True
        try:
            while self._heap and self._heap[0] <= now:
                due = heapq.heappop(self._heap)
                for item in self._buckets.pop(due):
                    self._entries -= 1
                    if item.due == due and item.waits():
                        item.due = None
                        try:
                            item.expired()
                        except Exception:
                            self.log.failure("a deadline could not be kept")
                    else:
                        self._stale -= 1
        finally:
            self._turning = False
            self._set()
        self._tidy()
