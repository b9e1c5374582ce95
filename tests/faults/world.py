"""What clients, faults and the checker share: the service's address, when it was down or stopped, and what was wrong."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import attrs

#: Seconds by which an answer may be late.
LATE_S = 3.0

#: Seconds within which a client sees that its connection has ended.
CUT_S = 1.0

#: Seconds for which a request is held while it is not known what may be shown; and seconds after the start, or after a scheduler
#: answers again, within which that is known.
PATIENCE_S = 5.0
KNOWN_S = 6.0

Json = dict[str, Any]


def number(cursor: str) -> int:
    """Return the number of a cursor."""
    return int(cursor.rpartition("-")[2])


def moment(event: Json) -> float:
    """Return when an event was by the service's clock, in seconds since the epoch."""
    return datetime.fromisoformat(str(event["at"]).replace("Z", "+00:00")).timestamp()


def waited_for_processor(pid: int) -> float | None:
    """Return for how many seconds a process's main thread has been ready to run without a processor; None if it is not known."""
    try:
        return int(Path(f"/proc/{pid}/schedstat").read_text(encoding="ascii").split()[1]) / 1e9
    except (OSError, ValueError, IndexError):
        return None


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
class Asking:
    """
    One request that is under way, or was.

    :ivar kind: as the service counts it: poll, stream or socket.
    """

    kind: str
    began: float = attrs.field(factory=time.monotonic)
    ended: float | None = None


@attrs.define(eq=False)
class World:
    """
    :ivar longest: seconds for which a client waits at most.
    :ivar pace: by what the times of faults are multiplied.
    :ivar branch: how often the journal was replaced by an older one.
    :ivar down: when the service was not there.
    :ivar stopped: when it was stopped, or this process itself was late.
    :ivar failing: when some of the journal's writes or syncs failed.
    :ivar crowded: when the service could open hardly any files.
    :ivar silent: when the scheduler gave no answer that can be believed.
    :ivar dates_are_of_looks: whether events have the dates of the looks that saw them, by this host's clock: the service's was
        never set, and no steps are told that are known only from the scheduler's dates.
    :ivar heard: by cursor, when an event was first heard of: seconds since the epoch, by this host's clock.
    :ivar calls_failed: how many calls for the journal's files failed.
    :ivar asking: the requests that are under way.
    :ivar asked: those, and those that ended not long ago.
    :ivar compared: how often metrics were compared.
    :ivar cut_by_proxies: how often a proxy gave up a request, or a stream, in its time.
    :ivar unknowns: 404s: of whom, which job, when it was asked, in which branch.
    :ivar unknown: how often a job was not known that may be unknown.
    :ivar hung_up: how often a client hung up while its request was held.
    :ivar calms: how often there were no faults for a while.
    :ivar starved: seconds for which the service waited for a processor at most, of one second, and when that was.
    :ivar lost: the events of each branch of the journal that was given up.
    """

    port: int
    longest: float = 8.0
    pace: float = 1.0
    branch: int = 0
    down: list[Window] = attrs.field(factory=list)
    stopped: list[Window] = attrs.field(factory=list)
    failing: list[Window] = attrs.field(factory=list)
    crowded: list[Window] = attrs.field(factory=list)
    silent: list[Window] = attrs.field(factory=list)
    dates_are_of_looks: bool = True
    heard: dict[str, float] = attrs.field(factory=dict)
    asking: set[Asking] = attrs.field(factory=set)
    asked: list[Asking] = attrs.field(factory=list)
    compared: int = 0
    calls_failed: int = 0
    cut_by_proxies: int = 0
    unknowns: list[tuple[str, str, float, int]] = attrs.field(factory=list)
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
    starved: tuple[float, float] = (0.0, 0.0)
    ending: asyncio.Event = attrs.field(factory=asyncio.Event)

    @contextmanager
    def under_way(self, kind: str) -> Iterator[None]:
        """A request of that kind is under way meanwhile."""
        one = Asking(kind)
        self.asking.add(one)
        self.asked.append(one)
        try:
            yield
        finally:
            one.ended = time.monotonic()
            self.asking.discard(one)

    def violation(self, kind: str, text: str) -> None:
        """Note that something was wrong."""
        self.violations[kind] += 1
        if self.violations[kind] <= 5:
            self.first.append(f"{kind}: {text}")

    def may_be_cut(self, at: float, more: float = 0.0) -> bool:
        """
        Return whether a connection may end then, or be refused: only while the service is away, or may open no files.

        :param more: seconds by which that may be seen later.
        """
        return any(window.overlap(at - CUT_S - more, at) >= 0 for window in (*self.down, *self.crowded))

    def may_fail(self, at: float, more: float = 0.0) -> bool:
        """Return whether 503 may be answered then."""
        failing = any(window.overlap(at - CUT_S, at) >= 0 for window in self.failing)
        return failing or self.may_be_cut(at, more) or self.may_be_unknown(at)

    def may_be_unknown(self, at: float) -> bool:
        """Return whether the service may not know then whether jobs are hidden: the scheduler has not answered since its start."""
        started = heard = max((window.end for window in self.down if window.end is not None and window.end <= at), default=at)
        since = [window for window in self.silent if window.overlap(started, at) >= 0]
        for window in sorted(since, key=lambda window: window.begin):
            if window.begin - heard >= KNOWN_S:
                return False
            heard = max(heard, at if window.end is None else window.end)
        return bool(since) and at - heard < KNOWN_S

    def late(self, begin: float, end: float, wait: float) -> float:
        """Return by how many seconds an answer was late, beyond what is allowed and what it was stopped for."""
        stopped = sum(max(0.0, window.overlap(begin, end)) for window in (*self.stopped, *self.down, *self.crowded))
        # It may have come while the service was down, and be answered by the next.
        begins = (begin, *(window.end for window in self.down if window.end is not None and begin <= window.end <= end))
        return end - begin - wait - stopped - LATE_S - (PATIENCE_S if any(map(self.may_be_unknown, begins)) else 0.0)

    def asked_again(self, begin: float, end: float) -> float:
        """Return when a request came to the service, at the latest, that a proxy repeats after the service was away."""
        away = [window for window in (*self.down, *self.crowded) if window.overlap(begin - CUT_S, end) >= 0]
        return max([begin, *(end if window.end is None else window.end for window in away)])

    async def watch_service(self, process: Callable[[], int | None]) -> None:
        """
        Note for how long the service's main thread was ready to run and had no processor.

        :param process: returns the id of the service's process; None if there is none.
        """
        before, pid_before = 0.0, None
        while True:
            pid = process()
            waited = waited_for_processor(pid) if pid is not None else None
            if waited is not None:
                if pid == pid_before:
                    self.starved = max(self.starved, (waited - before, time.time()))
                before = waited
            pid_before = pid if waited is not None else None
            await asyncio.sleep(1.0)

    async def watch_itself(self) -> None:
        """Note when this process itself was late."""
        while True:
            before = time.monotonic()
            await asyncio.sleep(0.1)
            late = time.monotonic() - before - 0.1
            if late > 0.2:
                now = time.monotonic()
                self.stopped.append(Window(before, now, time.time() - (now - before), time.time()))
