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

#: More names than these are one wish to see everything.
MOST_NAMES = 1000


@attrs.frozen
class PaceOptions:
    """
    How a queue is asked, whatever its type.

    :ivar floor: seconds between the begins of two queries.
    :ivar reconcile: seconds between two queries while nudges announce the changes.
    """

    floor: float = FLOOR_S
    reconcile: float = RECONCILE_S


@attrs.frozen
class Wish:
    """
    :ivar looks: how often it was looked at already.
    :ivar early: may what was announced not be visible yet? A hook is early, a log is not.
    """

    looks: int = 0
    early: bool = True


class Wishes:
    """
    What nudges want to be looked at, and what must be looked at again.

    A job is named by its canonical id; ``None`` stands for everything.

    :param echo: the seconds from each look at a job that is still on its way to the next.
    """

    def __init__(self, echo: Sequence[float] = ECHO_S) -> None:
        self._echo = echo
        self._wishes: dict[str | None, Wish] = {}

    def add(self, jobs: Iterable[str], early: bool = True) -> None:
        """Somebody says that these jobs have changed; that something has, if none is named."""
        names: list[str | None] = list(jobs) or [None]
        for name in names:
            name = name if len(self._wishes) < MOST_NAMES else None
            before = self._wishes.get(name)
            self._wishes[name] = Wish(early=early or (before is not None and before.early))

    @property
    def fresh(self) -> bool:
        """Whether there is one that has not been looked at yet."""
        return any(not wish.looks for wish in self._wishes.values())

    @property
    def names(self) -> tuple[str, ...] | None:
        """The jobs that are wished for; None if that is everything, or nothing."""
        names = tuple(name for name in self._wishes if name is not None)
        return names if names and len(names) == len(self._wishes) else None

    def take(self) -> dict[str | None, Wish]:
        """A look begins: what it is for. What is added from now on is for the next one."""
        taken, self._wishes = self._wishes, {}
        return taken

    def give_back(self, taken: dict[str | None, Wish]) -> None:
        """The look failed."""
        self._wishes = {**taken, **self._wishes}

    def looked(self, taken: dict[str | None, Wish], settled: Callable[[str | None, bool], bool]) -> None:
        """
        A look is over. Those jobs that it did not show as settled are looked at again, a few times.

        :param settled: asked with the job and whether its wish was early.
        """
        for name, wish in taken.items():
            if name not in self._wishes and wish.looks < len(self._echo) and not settled(name, wish.early):
                self._wishes[name] = Wish(wish.looks + 1, wish.early)

    def echo(self) -> float | None:
        """Seconds from the last look to the next one that is wished for; None if none is."""
        pauses = (self._echo[wish.looks - 1] if wish.looks else 0.0 for wish in self._wishes.values())
        return min(pauses, default=None)


class Foresight:
    """Whether nudges announce what changes. Only then may polling become rare."""

    def __init__(self) -> None:
        self._announced: deque[bool] = deque(maxlen=REMEMBERED_LOOKS)

    def found(self, announced: bool) -> None:
        """Note that a look has found changes, and whether a nudge had asked for it."""
        self._announced.append(announced)

    @property
    def good(self) -> bool:
        """Whether changes can be expected to be announced."""
        looks = len(self._announced)
        return looks >= FEWEST_LOOKS and sum(self._announced) >= ANNOUNCED_SHARE * looks
