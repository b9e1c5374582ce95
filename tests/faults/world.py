"""What clients, faults and the checker share: the service's address, when it was down or stopped, and what was wrong."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from datetime import datetime
from typing import Any

import attrs

#: Seconds by which an answer may be late.
LATE_S = 3.0

Json = dict[str, Any]


def number(cursor: str) -> int:
    """Return the number of a cursor."""
    return int(cursor.rpartition("-")[2])


def moment(event: Json) -> float:
    """Return when an event was, in seconds since the epoch."""
    return datetime.fromisoformat(str(event["at"]).replace("Z", "+00:00")).timestamp()


@attrs.define
class Window:
    """
    A span of time, by the monotonic clock and by the host's; without an end while it lasts.

    :ivar replaces: whether the journal was replaced by an older one in it.
    """

    begin: float
    end: float | None = None
    wall: float = attrs.field(factory=time.time)
    wall_end: float | None = None
    replaces: bool = False

    @classmethod
    def now(cls) -> Window:
        """Return one that begins now."""
        return cls(time.monotonic())

    def close(self) -> None:
        """It ends now."""
        self.end, self.wall_end = time.monotonic(), time.time()

    def overlap(self, begin: float, end: float) -> float:
        """Return how many seconds it shares with that span; less than 0 if none."""
        return min(end, time.monotonic() if self.end is None else self.end) - max(begin, self.begin)


@attrs.define
class Stretch:
    """
    What one client was told from one cursor to another, without a loss of its cursor.

    :ivar matches: whether an event is the client's.
    :ivar branch: of the journal, at the last answer.
    """

    who: str
    begin: str
    matches: Callable[[Json], bool]
    branch: int
    end: str = ""
    told: list[str] = attrs.field(factory=list)

    def __attrs_post_init__(self) -> None:
        self.end = self.end or self.begin


@attrs.define
class State:
    """
    What one answer said of one job.

    :ivar since: the number after which was asked.
    :ivar state: None if the time was up.
    """

    who: str
    job: str
    since: int
    cursor: str
    state: str | None
    branch: int


@attrs.define
class Barrier:
    """What one answer said of a barrier over jobs."""

    who: str
    jobs: list[str]
    cursor: str
    met: list[str]
    done: bool
    branch: int


@attrs.define(eq=False)
class World:
    """
    :ivar longest: seconds for which a client waits at most.
    :ivar pace: by what the times of faults are multiplied.
    :ivar branch: how often the journal was replaced by an older one.
    :ivar down: when the service was not there.
    :ivar stopped: when it was stopped, or this process itself was late.
    :ivar unknown: how often a job was not known that may be unknown.
    :ivar hung_up: how often a client hung up while its request was held.
    :ivar calms: how often there were no faults for a while.
    :ivar lost: the events of each branch of the journal that was given up.
    """

    port: int
    longest: float = 8.0
    pace: float = 1.0
    branch: int = 0
    down: list[Window] = attrs.field(factory=list)
    stopped: list[Window] = attrs.field(factory=list)
    lost: list[list[Json]] = attrs.field(factory=list)
    stretches: list[Stretch] = attrs.field(factory=list)
    states: list[State] = attrs.field(factory=list)
    barriers: list[Barrier] = attrs.field(factory=list)
    requests: Counter[str] = attrs.field(factory=Counter)
    deliveries: Counter[str] = attrs.field(factory=Counter)
    resets: Counter[str] = attrs.field(factory=Counter)
    ended: Counter[str] = attrs.field(factory=Counter)
    faults: Counter[str] = attrs.field(factory=Counter)
    violations: Counter[str] = attrs.field(factory=Counter)
    first: list[str] = attrs.field(factory=list)
    unknown: int = 0
    hung_up: int = 0
    calms: int = 0
    ending: asyncio.Event = attrs.field(factory=asyncio.Event)

    def violation(self, kind: str, text: str) -> None:
        """Note that something was wrong."""
        self.violations[kind] += 1
        if self.violations[kind] <= 5:
            self.first.append(f"{kind}: {text}")

    def was_down(self, begin: float, end: float) -> bool:
        """Return whether the service was taken away, or not yet back, at some time in that span."""
        return any(window.overlap(begin, end) >= 0 for window in self.down)

    def late(self, begin: float, end: float, wait: float) -> float:
        """Return by how many seconds an answer was late, beyond what is allowed and what it was stopped for."""
        stopped = sum(max(0.0, window.overlap(begin, end)) for window in self.stopped)
        return end - begin - wait - stopped - LATE_S

    async def watch_itself(self) -> None:
        """Note when this process itself was late."""
        while True:
            before = time.monotonic()
            await asyncio.sleep(0.1)
            late = time.monotonic() - before - 0.1
            if late > 0.2:
                now = time.monotonic()
                self.stopped.append(Window(before, now, time.time() - (now - before), time.time()))
