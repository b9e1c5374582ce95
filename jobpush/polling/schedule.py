"""
When a queue is asked: what its load allows, what nudges want, and whether nudges can be relied upon.

Values and arithmetic only; the clock is an argument. `jobpush.polling.monitor` asks this and then runs the queries.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence

import attrs

#: Seconds between queries where the user has not said; when nobody waits and nothing changes it grows to the second.
DEFAULT_INTERVAL_S = 2.0
IDLE_INTERVAL_S = 10.0

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


@attrs.frozen
class Refresh:
    """
    A request to look at a job, or at everything.

    :ivar looks: how often it was looked at already.
    :ivar early: whether what was announced may not be visible yet. A hook is early, a log is not.
    """

    looks: int = 0
    early: bool = True


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
    """Whether nudges announce what changes. Only then the poll may become a mere reconciler."""

    def __init__(self) -> None:
        self._announced: deque[bool] = deque(maxlen=REMEMBERED_LOOKS)

    def found(self, announced: bool) -> None:
        """
        Note that a look has found changes.

        :param announced: whether a nudge asked for the look.
        """
        self._announced.append(announced)

    @property
    def good(self) -> bool:
        """Whether changes can be expected to be announced."""
        looks = len(self._announced)
        return looks >= FEWEST_LOOKS and sum(self._announced) >= ANNOUNCED_SHARE * looks
