"""Known faults, put into the service's process to see that the suite finds them. Never loaded but by ``--break``."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import attrs

from jobpush.core.model import JobDescriptor, Outcome, Outcomes, Phase
from jobpush.core.record import Event
from jobpush.events import reader
from jobpush.events.reader import Page
from jobpush.events.tracker import JobStatusTracker, Selects, Subscription
from jobpush.runtime.timer_wheel import Timed, TimerWheel
from jobpush.web.held.connection import HeldConnection
from jobpush.web.held.members import DeferredMember, Held, Member
from jobpush.web.held.registry import Registry
from jobpush.web.responses import Response
from jobpush_adapters.slurm import accounting, queue

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


def held() -> None:
    """Some of those that are gone stay held."""
    right, count = Registry.leave, itertools.count(1)

    def leave(self: Registry, member: Held) -> None:
        if not (isinstance(member, HeldConnection | DeferredMember) and next(count) % 2):
            right(self, member)

    Registry.leave = leave  # type: ignore[method-assign]


def early() -> None:
    """What has a deadline ends sooner."""
    right = TimerWheel.set

    def sooner(self: TimerWheel, item: Timed, seconds: float) -> None:
        right(self, item, seconds * 0.6)

    TimerWheel.set = sooner  # type: ignore[method-assign]


def ahead() -> None:
    """The cursor of some pages is that of an event that is not in them."""
    right, count = reader._page, itertools.count(1)

    def page(events: Sequence[Event], seq: int, limit: int) -> Page:
        made = right(events, seq, limit)
        if len(made.events) > 1 and next(count) % 3 == 0:
            return Page(made.events[:-1], made.seq, more=made.more)
        return made

    reader._page = page


def metrics() -> None:
    """One poll more is said to be held than are."""
    right = Registry.by_kind

    def by_kind(self: Registry) -> dict[str, int]:
        counts = right(self)
        return {**counts, "poll": counts["poll"] + 1}

    Registry.by_kind = by_kind  # type: ignore[method-assign]


def proxied() -> None:
    """What was asked through a proxy is not answered, when it was held."""
    right = Registry.answer

    def answer(self: Registry, members: Sequence[Member], response: Response) -> None:
        own = [member for member in members if b"x-forwarded-for" not in asked_with(member)]
        if own:
            right(self, own, response)

    def asked_with(member: Member) -> bytes:
        summary = getattr(member, "summary", None)
        return b"" if summary is None else summary.block.raw.lower()

    Registry.answer = answer  # type: ignore[method-assign]


def slow() -> None:
    """Streams are told of events later than these are known."""
    right = JobStatusTracker.subscribe

    def subscribe(
        self: JobStatusTracker, selection: Selects, since: int, deliver: Callable[[Sequence[Event], int], None]
    ) -> Subscription:
        from twisted.internet import reactor

        def later(events: Sequence[Event], last: int) -> None:
            reactor.callLater(LATE_S, deliver, events, last)  # type: ignore[attr-defined]

        return right(self, selection, since, later)

    JobStatusTracker.subscribe = subscribe  # type: ignore[method-assign]


def unseen() -> None:
    """Jobs of Slurm that run are taken for ones that wait."""
    _change_rows(lambda job: attrs.evolve(job, phase=Phase.QUEUED) if job.phase is Phase.RUNNING else job)


def invented() -> None:
    """Jobs of Slurm that did not succeed are taken for successful ones."""
    _change_rows(lambda job: attrs.evolve(job, outcome=Outcome.COMPLETED) if job.outcome else job)


def _change_rows(change: Callable[[JobDescriptor], JobDescriptor]) -> None:
    right = queue.parse_row

    def parse_row(cluster: str, row: bytes, now: float) -> JobDescriptor:
        return change(right(cluster, row, now))

    queue.parse_row = parse_row


def endless() -> None:
    """What accounting says of ends is not heard."""
    accounting.outcomes = lambda *asked, **how: Outcomes()


BY_NAME = {
    "doubled": doubled, "lost": lost, "deadlines": deadlines, "wedge": wedge, "held": held, "early": early, "ahead": ahead,
    "metrics": metrics, "proxied": proxied, "slow": slow, "unseen": unseen, "invented": invented, "endless": endless,
}  # fmt: skip


def put_in(names: str) -> None:
    """Put those faults, with commas between their names, into this process."""
    for name in names.split(","):
        BY_NAME[name]()
