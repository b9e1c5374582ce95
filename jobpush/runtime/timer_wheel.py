"""
One timer for thousands of deadlines.

Deadlines that end at about the same time share a bucket, and the reactor has one call, for the next bucket. A deadline ends at
most a thirty-second of its time late, and never early.

A deadline belongs to its item and leaves the wheel when it is cleared: nothing is kept for later, counted, or deleted in bulk
but by the items themselves.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

#: The finest grain, in seconds, and the share of a time by which its deadline may be late.
FINEST_S = 1 / 512
SHARE = 1 / 32

#: Deadlines of buckets that are gone which may be kept beside as many again as there are buckets.
MOST_GONE = 64


class Timed(Protocol):
    """
    What can have a deadline: one at a time. It is hashable by its identity.

    :ivar due: the deadline that it has, as the wheel keeps it; None while it has none. Only the wheel sets it.
    """

    due: float | None

    def expired(self) -> None:
        """Its time is up. It has no deadline any more."""


class TimerWheel:
    """
    :param reactor: the clock, and what calls when a bucket is due.
    """

    log = Logger()

    def __init__(self, reactor: IReactorTime) -> None:
        self._reactor = reactor
        self._buckets: dict[float, _Bucket] = {}
        #: The deadlines of the buckets, and of some that are empty and gone.
        self._heap: list[float] = []
        self._call: IDelayedCall | None = None

    def __len__(self) -> int:
        return sum(map(len, self._buckets.values()))

    def __iter__(self) -> Iterator[Timed]:
        """All items that have a deadline, in no order."""
        for bucket in self._buckets.values():
            yield from bucket

    def soonest_first(self) -> Iterator[Timed]:
        """All items that have a deadline, about in the order of their deadlines."""
        for due in sorted(self._buckets):
            yield from self._buckets[due]

    def set(self, item: Timed, seconds: float) -> None:
        """Give it a deadline in that many seconds, in place of the one that it may have."""
        bucket = self._bucket(seconds)
        if item.due is not bucket.due:
            if item.due is not None:
                self._take_out(item)
            bucket[item] = None
            item.due = bucket.due

    def set_all(self, items: Sequence[Timed], seconds: float) -> None:
        """Give each of these a deadline in that many seconds, in place of the one that it may have."""
        if not items:
            return
        bucket = self._bucket(seconds)
        due = bucket.due
        for item in items:
            if item.due is not due:
                if item.due is not None:
                    self._take_out(item)
                bucket[item] = None
                item.due = due

    def _bucket(self, seconds: float) -> _Bucket:
        """Return the bucket of a deadline in that many seconds. An item is put into it at once: none stays empty."""
        # The greatest power of two times the finest grain that is not over the share.
        grain = FINEST_S * 2.0 ** max(0, math.frexp(seconds * (SHARE / FINEST_S))[1] - 1)
        due = math.ceil((self._reactor.seconds() + seconds) / grain) * grain
        bucket = self._buckets.get(due)
        if bucket is None:
            bucket = self._buckets[due] = _Bucket(due)
            heapq.heappush(self._heap, due)
            self._schedule()
        return bucket

    def clear(self, item: Timed) -> None:
        """Take its deadline away, if it has one."""
        self.clear_all((item,))

    def clear_all(self, items: Iterable[Timed]) -> None:
        """Take the deadlines of these away."""
        for item in items:
            if item.due is not None:
                self._take_out(item)
                item.due = None

    def _take_out(self, item: Timed) -> None:
        assert item.due is not None
        bucket = self._buckets[item.due]
        del bucket[item]
        if not bucket:
            del self._buckets[item.due]
            if not self._buckets:
                self._heap.clear()
                if self._call is not None and self._call.active():
                    self._call.cancel()
            elif len(self._heap) > 2 * len(self._buckets) + MOST_GONE:
                self._heap = list(self._buckets)
                heapq.heapify(self._heap)

    def _schedule(self) -> None:
        """Have the reactor call for the next bucket."""
        if self._call is not None and self._call.active():
            if self._call.getTime() == self._heap[0]:
                return
            self._call.cancel()
        self._call = self._reactor.callLater(max(0.0, self._heap[0] - self._reactor.seconds()), self._turn)

    def _turn(self) -> None:
        """End what is due."""
        now = self._reactor.seconds()
        over: list[float] = []
        while self._heap and self._heap[0] <= now:
            over.append(heapq.heappop(self._heap))
        for due in over:
            for item in list(self._buckets.get(due, ())):
                if item.due == due:  # an item that ended before it may have cleared its deadline, or set another
                    self._take_out(item)
                    item.due = None
                    try:
                        item.expired()
                    except Exception:
                        self.log.failure("an item whose time is up failed")
            if due in self._buckets and due not in self._heap:  # an item that ended has put another one in
                heapq.heappush(self._heap, due)
        if self._heap:
            self._schedule()


class _Bucket(dict[Timed, None]):
    """
    The items that end at one time.

    :ivar due: that time: one object for all of them.
    """

    __slots__ = ("due",)

    def __init__(self, due: float) -> None:
        super().__init__()
        self.due = due
