"""
When a queue is asked: what its load allows, what nudges want, and whether nudges can be relied upon.

Values and arithmetic only; the clock is an argument. `jobpush.polling.monitor` asks this and then runs the queries.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterable, Sequence

import attrs

#: Seconds between queries where the user has not said; when nobody waits and nothing changes it grows to the second.
DEFAULT_INTERVAL_S = 2.0
IDLE_INTERVAL_S = 5.0

#: An answer is fresh for so many intervals, at least and at most so many seconds.
FRESH_INTERVALS = 3
LEAST_FRESH_S = 6.0
MOST_FRESH_S = 30.0

#: The most seconds from a query to the next while somebody waits, and while nobody does, whatever it cost or how it failed.
LONGEST_AWAITED_PAUSE_S = 10.0
LONGEST_PAUSE_S = 30.0

#: Seconds from a nudge to the query that answers it, at the most.
NUDGE_ANSWERED_S = 2.0

#: Seconds between the begins of two queries, whatever wants them.
FLOOR_S = 0.1

#: Seconds between queries while the scheduler's hooks say when to look.
RECONCILE_S = 10.0

#: Seconds after which a job that a hook has named is looked at again, and again, while it is still on its way: a start hook
#: comes before RUNNING, and no hook says that an end is over. An adapter may know better.
ECHO_S = (0.1, 0.2, 0.3, 0.5, 1.0)

#: Of so many looks that found something, this share must have been announced for nudges to be relied upon.
REMEMBERED_LOOKS = 20
FEWEST_LOOKS = 5
ANNOUNCED_SHARE = 0.8

#: Seconds within which a nudge may follow the look that has found its change already.
LATE_NUDGE_S = 2.0

#: A kind of change that was found by the poll alone is expected to be announced again after so many announced ones in a row.
FORGIVEN_AFTER = 20

#: More names than these are one request to see everything.
MOST_NAMES = 1000


@attrs.frozen
class ScheduleOptions:
    """
    How a queue is asked, whatever its type.

    :ivar floor: seconds between the begins of two queries.
    :ivar reconcile: seconds between two queries while nudges announce the changes.
    """

    floor: float = FLOOR_S
    reconcile: float = RECONCILE_S


def fresh_for(interval: float | None) -> float:
    """
    Return the seconds after the begin of a query for which its answer is fresh.

    :param interval: the seconds between queries that the user has set, if any.
    """
    return min(MOST_FRESH_S, max(LEAST_FRESH_S, FRESH_INTERVALS * (interval or DEFAULT_INTERVAL_S)))


def longest_pause(awaited: bool) -> float:
    """Return the most seconds from a query to the next, where the user has not set a longer interval."""
    return LONGEST_AWAITED_PAUSE_S if awaited else LONGEST_PAUSE_S


def breath(interval: float | None, cost: float) -> float:
    """
    Return the seconds after a query in which the next one does not begin, however urgent it is: as many as a query costs, so
    that queries take at most half of the time, unless such a pause alone would be too long for `fresh_for`.

    :param cost: the seconds that a query costs the scheduler when all is well.
    """
    return min(cost, fresh_for(interval) * 5 / 6)


def latest_begin(interval: float | None, awaited: bool, cost: float, began_at: float, ended_at: float) -> float:
    """
    Return the time at which the next query for all jobs begins at the latest, whatever the last one cost.

    A quick answer then comes before the last one has ceased to be fresh; that of a query that usually takes longer comes
    after a pause as long as the query.

    :param interval: the seconds between queries that the user has set, if any. The pause is not cut below that, or the
        default.
    :param awaited: whether somebody waits.
    :param cost: the seconds that a query costs when all is well.
    :param began_at: when the last query for all jobs began.
    :param ended_at: when it ended.
    """
    fresh = fresh_for(interval)
    margin = min(max(fresh / 6, cost), fresh / 3)
    healthy = max(began_at + fresh - margin, ended_at + breath(interval, cost))
    return max(ended_at + (interval or DEFAULT_INTERVAL_S), min(healthy, ended_at + longest_pause(awaited)))


@attrs.frozen
class Refresh:
    """
    A request to look at a job, or at everything.

    :ivar looks: how often it was looked at already.
    :ivar early: whether what was announced may not be visible yet. A hook is early, a log is not.
    """

    looks: int = 0
    early: bool = True


#: The state of a job before a change, None if it was not known, and the state after it.
Kind = tuple[str | None, str]


class RefreshQueue:
    """
    What nudges want to be looked at, and what must be looked at again.

    A job is named by its canonical id; ``None`` stands for everything.

    :param echo: the seconds from each look at a job that is still on its way to the next.
    """

    def __init__(self, echo: Sequence[float] = ECHO_S) -> None:
        self._echo = echo
        self._waiting: dict[str | None, Refresh] = {}

    def add(self, jobs: Iterable[str], early: bool = True) -> None:
        """Add these jobs, which have changed as somebody says; everything, if none is named."""
        names: list[str | None] = list(jobs) or [None]
        for name in names:
            name = name if len(self._waiting) < MOST_NAMES else None
            before = self._waiting.get(name)
            self._waiting[name] = Refresh(early=early or (before is not None and before.early))

    @property
    def fresh(self) -> bool:
        """Whether something in it has not been looked at yet."""
        return any(not refresh.looks for refresh in self._waiting.values())

    @property
    def empty(self) -> bool:
        """Whether nothing is to be looked at."""
        return not self._waiting

    @property
    def waiting(self) -> Collection[str | None]:
        """The jobs that are to be looked at; None among them stands for everything."""
        return self._waiting.keys()

    @property
    def names(self) -> tuple[str, ...] | None:
        """The jobs that are to be looked at; None if that is everything, or nothing."""
        names = tuple(name for name in self._waiting if name is not None)
        return names if names and len(names) == len(self._waiting) else None

    def take(self) -> dict[str | None, Refresh]:
        """Empty the queue for a look that begins, and return what it is for. What is added from now on is for the next one."""
        taken, self._waiting = self._waiting, {}
        return taken

    def give_back(self, taken: dict[str | None, Refresh]) -> None:
        """Put back what a look was for that failed."""
        self._waiting = {**taken, **self._waiting}

    def looked(self, taken: dict[str | None, Refresh], settled: Callable[[str | None, bool], bool]) -> None:
        """
        Note that a look is over. Those jobs that it did not show as settled are looked at again, a few times.

        :param settled: asked with the job and whether its refresh was early.
        """
        for name, refresh in taken.items():
            if name not in self._waiting and refresh.looks < len(self._echo) and not settled(name, refresh.early):
                self._waiting[name] = Refresh(refresh.looks + 1, refresh.early)

    def echo(self) -> float | None:
        """Seconds from the last look to the next one that is due; None if none is."""
        pauses = (self._echo[refresh.looks - 1] if refresh.looks else 0.0 for refresh in self._waiting.values())
        return min(pauses, default=None)


class Foresight:
    """
    Whether nudges announce what changes. Only then the poll may become a mere reconciler.

    A kind of change is the state before and the state after it. One that a look has found without a nudge is polled for from
    then on, as long as there are jobs that it can happen to.
    """

    def __init__(self) -> None:
        self._announced: deque[bool] = deque(maxlen=REMEMBERED_LOOKS)
        self._missed: dict[Kind, int] = {}
        self._doubtful: dict[Kind, tuple[float, Collection[str]]] = {}

    def found(self, announced: bool) -> None:
        """
        Note that a look has found changes.

        :param announced: whether a nudge asked for the look.
        """
        self._announced.append(announced)

    def changed(self, kind: Kind, names: Collection[str], announced: bool, now: float) -> None:
        """
        Note that a look has found a change. Of several of a kind that no nudge has announced, the first one is kept.

        :param names: the ids by which a nudge may name the job.
        :param announced: whether one has. If not, it may come within `LATE_NUDGE_S`.
        """
        if announced:
            self._count(kind)
        else:
            self._doubtful.setdefault(kind, (now, names))

    def nudged(self, jobs: Collection[str], now: float) -> None:
        """Note that a nudge has come for these jobs; for any, if none is named."""
        self._judge(now)
        for kind, (_, names) in tuple(self._doubtful.items()):
            if not jobs or any(name in jobs for name in names):
                del self._doubtful[kind]
                self._count(kind)

    def polled_for(self, now: float) -> Collection[str | None]:
        """Return the states from which jobs have changed without a nudge; None among them if jobs have appeared without one."""
        self._judge(now)
        return {before for before, _ in self._missed}

    @property
    def good(self) -> bool:
        """Whether changes can be expected to be announced."""
        looks = len(self._announced)
        return looks >= FEWEST_LOOKS and sum(self._announced) >= ANNOUNCED_SHARE * looks

    def _count(self, kind: Kind) -> None:
        """This kind was announced once more."""
        if kind in self._missed:
            self._missed[kind] += 1
            if self._missed[kind] >= FORGIVEN_AFTER:
                del self._missed[kind]

    def _judge(self, now: float) -> None:
        """No nudge has come for these: they were found by the poll alone."""
        for kind, (found_at, _) in tuple(self._doubtful.items()):
            if now - found_at >= LATE_NUDGE_S:
                self._missed[kind] = 0
                del self._doubtful[kind]


class TokenBucket:
    """
    A bound on how often something may be done.

    :param burst: how many times at once after a quiet time.
    :param every: seconds after which it may be done once more.
    """

    def __init__(self, burst: int, every: float) -> None:
        self._burst = burst
        self._every = every
        self._used_until = float("-inf")

    def has(self, now: float) -> bool:
        """Return whether it may be done now."""
        return max(now, self._used_until) + self._every <= now + self._burst * self._every

    def take(self, now: float) -> None:
        """Do it once."""
        self._used_until = max(now, self._used_until) + self._every
