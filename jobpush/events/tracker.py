"""
JobStatusTracker: the continuations that wait for jobs, and the streams that follow them.

A published batch touches only what is indexed under its jobs. A waiter that a batch satisfies is *claimed* in the same
reactor turn: from then on it is answered with its whole part of the batch or it is disconnected, but it cannot time out.
Answers go out in slices, so that other work runs between.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import attrs
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from jobpush.core.filters import Selects
from jobpush.core.model import JobKey
from jobpush.core.record import Event, Subject
from jobpush.events.instruments import Instruments
from jobpush.runtime.timer_wheel import TimerWheel

#: Seconds for which answers go out before other work gets its turn.
SLICE_S = 0.01


@attrs.frozen(eq=False)
class Wake:
    """
    Why a continuation fired.

    :ivar events: what it waited for, oldest first.
    :ivar head: the published head up to which nothing else matched.
    :ivar timed_out: its time was up, or the service stops (``closing``).
    """

    events: Sequence[Event]
    head: int
    timed_out: bool = False
    closing: bool = False


class Interest:
    """Something that a batch can touch: what it selects, and the number after which events are news to it."""

    __slots__ = ("events", "selection", "since")

    def __init__(self, selection: Selects, since: int) -> None:
        self.selection = selection
        self.since = since
        self.events: list[Event] = []

    def touched(self, tracker: JobStatusTracker) -> None:
        """Matching events were added to ``events``. Called once for a batch, in the turn that publishes it."""
        raise NotImplementedError


class Continuation(Interest):
    """
    What is answered once, when a batch has what it waits for. Holds one request (`Waiter`), or many that wait for the same.

    :ivar wake: set when it is claimed.
    """

    __slots__ = ("enough", "wake")

    def __init__(self, selection: Selects, since: int, enough: Callable[[Event], bool] | None) -> None:
        super().__init__(selection, since)
        self.enough = enough
        self.wake: Wake | None = None

    def touched(self, tracker: JobStatusTracker) -> None:
        if self.enough is None or self.enough(self.events[-1]) or any(map(self.enough, self.events)):
            tracker.claim(self, Wake(self.events, tracker.head))

    def answer(self, tracker: JobStatusTracker, wake: Wake) -> None:
        """Its turn has come, in a slice after the batch."""
        raise NotImplementedError


class Waiter(Continuation):
    """One held request: a Deferred that fires once with a `Wake`."""

    __slots__ = ("deferred", "due", "expired")

    def __init__(self, selection: Selects, since: int, enough: Callable[[Event], bool] | None) -> None:
        super().__init__(selection, since, enough)
        self.deferred: Deferred[Wake]
        self.due: float | None = None
        self.expired: Callable[[], None]

    def waits(self) -> bool:
        """Its deadline counts as long as it has one."""
        return True

    def answer(self, tracker: JobStatusTracker, wake: Wake) -> None:
        tracker.wheel.remove(self)
        self.deferred.callback(wake)
        tracker.woke("poll")


class Subscription(Interest):
    """One stream: ``deliver(events, head)`` is called, soon after the turn that publishes, until it is cancelled."""

    __slots__ = ("_tracker", "active", "deliver", "waiting")

    def __init__(
        self,
        selection: Selects,
        since: int,
        deliver: Callable[[Sequence[Event], int], None],
        tracker: JobStatusTracker,
    ) -> None:
        super().__init__(selection, since)
        self.deliver = deliver
        self.waiting = False
        self.active = True
        self._tracker = tracker

    def touched(self, tracker: JobStatusTracker) -> None:
        if not self.waiting:
            self.waiting = True
            tracker.later(self._flush)

    def _flush(self) -> None:
        self.waiting = False
        events, self.events = self.events, []
        if self.active and events:
            self.since = events[-1].seq
            self.deliver(events, events[-1].seq)

    def cancel(self) -> None:
        """Forget it. Nothing is delivered any more."""
        if self.active:
            self.active = False
            self.events = []
            self._tracker.forget(self)


class JobStatusTracker:
    """
    All that waits, indexed by what it waits for.

    :param head: returns the number of the last published event.
    :param workflows_of: returns the names of the workflows that a job belongs to, and a workflow's own.
    """

    log = Logger()

    def __init__(
        self,
        reactor: Any,
        head: Callable[[], int] = lambda: 0,
        workflows_of: Callable[[Subject], Iterable[str]] = lambda _: (),
        measures: Instruments | None = None,
    ) -> None:
        self._head = head
        self._measures = measures or Instruments()
        self._workflows_of = workflows_of
        self._reactor = reactor
        self._by_key: dict[JobKey, dict[Interest, None]] = {}
        self._by_user: dict[str, dict[Interest, None]] = {}
        self._by_workflow: dict[str, dict[Interest, None]] = {}
        self._rest: dict[Interest, None] = {}
        self.wheel = TimerWheel(reactor)
        self._due: deque[Callable[[], None]] = deque()
        self._turn: Any = None
        self._held: dict[Continuation, None] = {}
        self._closing = False

    @property
    def head(self) -> int:
        """The number of the last published event."""
        return self._head()

    @property
    def waiting(self) -> int:
        """How many continuations there are."""
        return len(self._held)

    @property
    def idle(self) -> bool:
        """Whether nobody waits or follows, and nothing is left to be answered."""
        return not (self._held or self._by_key or self._by_user or self._by_workflow or self._rest or self._due)

    def wait(
        self,
        selection: Selects,
        since: int,
        timeout: float,
        enough: Callable[[Event], bool] | None = None,
    ) -> Deferred[Wake]:
        """
        Wait for a matching event after ``since``.

        :param timeout: seconds after which it fires with ``timed_out``.
        :param enough: if given, matching events are gathered until one's job satisfies it.
        :return: fires once with a `Wake`. Cancelling forgets the waiter; nothing is left behind.
        """
        return self.hold(Waiter(selection, since, enough), timeout)

    def hold(self, waiter: Waiter, timeout: float) -> Deferred[Wake]:
        """As ``wait``, for a waiter that is made already."""
        waiter.deferred = Deferred(lambda _: self._disconnected(waiter))
        if self._closing:
            waiter.wake = Wake((), self.head, timed_out=True, closing=True)
            waiter.deferred.callback(waiter.wake)
            return waiter.deferred
        waiter.expired = lambda: self._time_is_up(waiter)
        self.enter(waiter)
        self.wheel.add(waiter, timeout)
        return waiter.deferred

    def enter(self, continuation: Continuation) -> None:
        """It is claimed by the next batch that has what it waits for, or by the end of the service."""
        self._add(continuation)
        self._held[continuation] = None

    def leave(self, continuation: Continuation) -> None:
        """Nobody is left who could be answered."""
        self.forget(continuation)
        self._held.pop(continuation, None)

    def subscribe(
        self, selection: Selects, since: int, deliver: Callable[[Sequence[Event], int], None]
    ) -> Subscription:
        """
        Follow matching events after ``since``.

        :param deliver: called with events, oldest first, and the number of the last; it must not raise.
        """
        subscription = Subscription(selection, since, deliver, self)
        self._add(subscription)
        return subscription

    def publish(self, batch: Sequence[Event]) -> None:
        """Hand a published batch to all that it concerns. Claims, and answers later."""
        touched: dict[Interest, None] = {}
        for event in batch:
            for interest in self._candidates(event):
                if event.seq > interest.since and interest.selection.matches(event):
                    interest.events.append(event)
                    touched[interest] = None
        for interest in touched:
            interest.touched(self)

    def claim(self, continuation: Continuation, wake: Wake) -> None:
        """From now on it can only be answered with that, or be disconnected."""
        continuation.wake = wake
        self.forget(continuation)
        self.later(lambda: self._answer(continuation))

    def later(self, work: Callable[[], None]) -> None:
        """Do this in one of the next slices."""
        self._due.append(work)
        if self._turn is None:
            self._turn = self._reactor.callLater(0, self._slice)

    def woke(self, kind: str, count: int = 1) -> None:
        """So many of that kind have just been answered after a batch."""
        self._measures.woke(kind, self._reactor.seconds(), count)

    def close(self) -> None:
        """Answer every waiter ``timed_out`` and ``closing``, those that are claimed with what they were claimed for."""
        self._closing = True
        while self._due:
            self._due.popleft()()
        for held in list(self._held):
            if held.wake is None:
                self.claim(held, Wake(held.events, self.head, timed_out=True, closing=True))
        while self._due:
            self._due.popleft()()

    def select(self, interest: Interest, selection: Selects) -> None:
        """From now on it selects this."""
        if interest.selection != selection:
            self.forget(interest)
            interest.selection = selection
            self._add(interest)

    def forget(self, interest: Interest) -> None:
        """Take it out of the indexes."""
        for index, key in self._places(interest):
            found = index.get(key)
            if found is not None:
                found.pop(interest, None)
                if not found:
                    del index[key]
        self._rest.pop(interest, None)

    def _candidates(self, event: Event) -> Iterator[Interest]:
        """Yield all that an event may concern, each once."""
        subject = event.subject
        key, parent, user = subject.key, subject.parent, subject.user
        own = self._by_key.get(key, ())
        yield from own
        if parent is not None:
            for interest in self._by_key.get((key[0], parent), ()):
                if interest not in own:
                    yield interest
        if self._by_workflow:
            yield from self._candidates_by_workflow(event)
        if user is not None:
            yield from self._by_user.get(user, ())
        yield from self._rest

    def _candidates_by_workflow(self, event: Event) -> Iterator[Interest]:
        names = self._workflows_of(event.subject)
        found = [self._by_workflow[name] for name in names if name in self._by_workflow]
        yield from found[0] if len(found) == 1 else {interest: None for interests in found for interest in interests}

    def _places(self, interest: Interest) -> list[tuple[dict[Any, dict[Interest, None]], Any]]:
        """Return where it is found: by its keys, else by its workflows, else by its users, else among the rest."""
        selection = interest.selection
        if selection.keys is not None:
            return [(self._by_key, key) for key in selection.keys]
        if selection.workflows:
            return [(self._by_workflow, name) for name in selection.workflows]
        return [(self._by_user, user) for user in selection.users]

    def _add(self, interest: Interest) -> None:
        places = self._places(interest)
        if not places and interest.selection.keys is None:
            self._rest[interest] = None
        for index, key in places:
            index.setdefault(key, {})[interest] = None

    def _time_is_up(self, waiter: Waiter) -> None:
        if waiter.wake is None:
            waiter.wake = Wake(waiter.events, self.head, timed_out=True)
            self.leave(waiter)
            waiter.deferred.callback(waiter.wake)

    def _disconnected(self, waiter: Waiter) -> None:
        self.wheel.remove(waiter)
        self.leave(waiter)

    def _answer(self, continuation: Continuation) -> None:
        if continuation not in self._held or continuation.wake is None:
            return  # disconnected since it was claimed
        del self._held[continuation]
        continuation.answer(self, continuation.wake)

    def _slice(self) -> None:
        until = self._reactor.seconds() + SLICE_S
        while self._due:
            try:
                self._due.popleft()()
            except Exception:
                self.log.failure("a waiting client could not be answered")
            if self._reactor.seconds() >= until:
                break
        # Not before: what is due only now would ask for a turn of its own, and others would wait for two, then four, at once.
        self._turn = self._reactor.callLater(0, self._slice) if self._due else None
