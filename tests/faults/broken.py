"""Known faults, put into the service's process to see that the suite finds them. Never loaded but by ``--break``."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

from jobpush.core.record import Event
from jobpush.events import reader
from jobpush.events.reader import Page
from jobpush.runtime.timer_wheel import Timed, TimerWheel
from jobpush.web.held.members import Member
from jobpush.web.held.registry import Registry
from jobpush.web.responses import Response

#: Seconds by which deadlines are late.
LATE_S = 6.0


def doubled() -> None:
    """One event of some pages is told twice."""
    _change_pages(lambda events: [*events, events[-1]])


def lost() -> None:
    """One event of some pages is not told."""
    _change_pages(lambda events: events[:-1])


def _change_pages(change: Callable[[Sequence[Event]], Sequence[Event]]) -> None:
    right, count = reader._page, itertools.count(1)

    def page(events: Sequence[Event], seq: int, limit: int) -> Page:
        made = right(events, seq, limit)
        if made.events and next(count) % 5 == 0:
            return Page(change(made.events), made.seq, more=made.more)
        return made

    reader._page = page


def deadlines() -> None:
    """What has a deadline ends later."""
    right = TimerWheel.set

    def later(self: TimerWheel, item: Timed, seconds: float) -> None:
        right(self, item, seconds + LATE_S)

    TimerWheel.set = later  # type: ignore[method-assign]


def wedge() -> None:
    """Some held requests are never answered."""
    right, count = Registry.answer, itertools.count(1)

    def answer(self: Registry, members: Sequence[Member], response: Response) -> None:
        if next(count) % 10:
            right(self, members, response)

    Registry.answer = answer  # type: ignore[method-assign]


BY_NAME = {"doubled": doubled, "lost": lost, "deadlines": deadlines, "wedge": wedge}


def put_in(name: str) -> None:
    """Put that fault into this process."""
    BY_NAME[name]()
