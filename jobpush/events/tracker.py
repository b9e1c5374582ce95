"""
JobStatusTracker: what waits for jobs and what follows them, and how a published batch reaches it.

A published batch touches only what is indexed under its jobs. What a batch satisfies is *claimed* in the same reactor turn:
from then on it is answered with its whole part of the batch, or it is left by its clients, but it cannot time out. Answers go
out in turns, so that other work runs between.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from typing import Generic, TypeVar

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from jobpush.core.filters import Selects
from jobpush.core.model import JobKey
from jobpush.core.record import Event, Subject
from jobpush.core.workflow import workflow_key
from jobpush.events.instruments import Instruments
from jobpush.runtime.cooperate import Cooperator

K = TypeVar("K", bound=Hashable)


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
    """
    What a batch can touch.

    :ivar selection: the events that concern it.
    :ivar since: the number after which events are news to it.
    """

    __slots__ = ("selection", "since")

    def __init__(self, selection: Selects, since: int) -> None:
        self.selection = selection
        self.since = since

    def touched(self, tracker: JobStatusTracker, events: list[Event]) -> None:
        """Take the matching events of a batch. Called once for a batch, in the turn that publishes it."""
        raise NotImplementedError


class Continuation(Interest):
    """
    What is answered once, when a batch has what it waits for: one Deferred (`Waiter`), or all clients that wait for the same.

    :ivar wake: set when it is claimed.
    """

    __slots__ = ("wake",)

    def __init__(self, selection: Selects, since: int) -> None:
        super().__init__(selection, since)
        self.wake: Wake | None = None

    def take(self, events: Sequence[Event]) -> bool:
        """Take note of events; return whether it has now what it waits for."""
        raise NotImplementedError

    @property
    def gathered(self) -> Sequence[Event]:
        """The events that it has taken and that belong to its answer, oldest first."""
        raise NotImplementedError

    def answer(self, wake: Wake) -> None:
        """Answer. Called in a turn after the one that claimed it."""
        raise NotImplementedError

    def touched(self, tracker: JobStatusTracker, events: list[Event]) -> None:
        if self.take(events):
            tracker.claim(self)


class Waiter(Continuation):
    """
    A Deferred that waits for events.

    :param enough: if given, events are gathered until one satisfies it.
    :ivar deferred: fires once with a `Wake`.
    """

    __slots__ = ("_enough", "_events", "deferred", "timer")

    def __init__(
        self, selection: Selects, since: int, enough: Callable[[Event], bool] | None, cancelled: Callable[[Waiter], None]
    ) -> None:
        super().__init__(selection, since)
        self._enough = enough
        self._events: list[Event] = []
        self.deferred: Deferred[Wake] = Deferred(lambda _: cancelled(self))
        self.timer: IDelayedCall | None = None

    def take(self, events: Sequence[Event]) -> bool:
        self._events.extend(events)
        return self._enough is None or any(map(self._enough, events))

    @property
    def gathered(self) -> Sequence[Event]:
        return self._events

    def answer(self, wake: Wake) -> None:
        if self.timer is not None and self.timer.active():
            self.timer.cancel()
        self.deferred.callback(wake)


def _to_nobody(events: Sequence[Event], head: int) -> None:
    """Nobody is told any more; who was, nothing refers to."""


class Subscription(Interest):
    """
    What follows: ``deliver(events, head)`` is called, soon after the turn that publishes, until it is cancelled.

    :ivar waiting: whether events were published that are not delivered yet.
    """

    __slots__ = ("_events", "_tracker", "active", "deliver")

    def __init__(
        self,
        selection: Selects,
        since: int,
        deliver: Callable[[Sequence[Event], int], None],
        tracker: JobStatusTracker,
    ) -> None:
        super().__init__(selection, since)
        self.deliver = deliver
        self.active = True
        self._events: list[Event] = []
        self._tracker = tracker

    @property
    def waiting(self) -> bool:
        return bool(self._events)

    def touched(self, tracker: JobStatusTracker, events: list[Event]) -> None:
        if not self._events:
            tracker.cooperator.soon(self.flush)
        self._events.extend(events)

    def flush(self) -> None:
        """Deliver now what was published and is not delivered yet."""
        events, self._events = self._events, []
        if self.active and events:
            self.since = events[-1].seq
            self.deliver(events, events[-1].seq)

    def cancel(self) -> None:
        """Forget it. Nothing is delivered any more."""
        if self.active:
            self.active = False
            self._events = []
            self.deliver = _to_nobody
            self._tracker.forget(self)


class _Index(Generic[K]):
    """Interests by key. A key that only one interest has costs no dict of its own: most jobs have one client that waits."""

    def __init__(self) -> None:
        self._interests: dict[K, Interest | dict[Interest, None]] = {}

    def __bool__(self) -> bool:
        return bool(self._interests)

    def add(self, key: K, interest: Interest) -> None:
        found = self._interests.get(key)
        if found is None:
            self._interests[key] = interest
        elif isinstance(found, dict):
            found[interest] = None
        else:
            self._interests[key] = {found: None, interest: None}

    def discard(self, key: K, interest: Interest) -> None:
        found = self._interests.get(key)
        if isinstance(found, dict):
            found.pop(interest, None)
            if not found:
                del self._interests[key]
        elif found is interest:
            del self._interests[key]

    def get(self, key: K) -> Iterable[Interest]:
        """All that have this key, in the order in which they came."""
        found = self._interests.get(key)
        if found is None:
            return ()
        return found if isinstance(found, dict) else (found,)


class JobStatusTracker:
    """
    All that waits and follows, indexed by what it waits for.

    :param cooperator: in whose turns answers go out.
    :param workflows_of: the names of the workflows that a job belongs to.
    """

    log = Logger()

    def __init__(
        self,
        reactor: IReactorTime,
        cooperator: Cooperator,
        head: Callable[[], int] = lambda: 0,
        workflows_of: Callable[[Subject], Iterable[str]] = lambda _: (),
        instruments: Instruments | None = None,
    ) -> None:
        self._head = head
        self.cooperator = cooperator
        self._instruments = instruments or Instruments()
        self._workflows_of = workflows_of
        self._reactor = reactor
        self._by_key: _Index[JobKey] = _Index()
        self._by_user: _Index[str] = _Index()
        self._by_workflow: _Index[str] = _Index()
        self._rest: dict[Interest, None] = {}
        self._waiting: dict[Continuation, None] = {}
        self._closing = False

    @property
    def head(self) -> int:
        """The number of the last published event."""
        return self._head()

    @property
    def waiting(self) -> int:
        """How many continuations there are."""
        return len(self._waiting)

    @property
    def idle(self) -> bool:
        """Whether nothing waits or follows."""
        return not (self._waiting or self._by_key or self._by_user or self._by_workflow or self._rest)

    def waits_for_workflow(self, name: str) -> bool:
        """Return whether anything waits for or follows the workflow of that name, by its name."""
        return bool(self._by_key.get(workflow_key(name)) or self._by_workflow.get(name))

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
        :param enough: if given, matching events are gathered until one satisfies it.
        :return: fires once with a `Wake`. Cancelling forgets the waiter; nothing is left behind.
        """
        waiter = Waiter(selection, since, enough, self._cancelled)
        if self._closing:
            waiter.wake = Wake((), self.head, timed_out=True, closing=True)
            waiter.deferred.callback(waiter.wake)
        else:
            self.enter(waiter)
            waiter.timer = self._reactor.callLater(timeout, self._time_is_up, waiter)
        return waiter.deferred

    def enter(self, continuation: Continuation) -> None:
        """It is claimed by the next batch that has what it waits for, or by the end of the service."""
        self._add(continuation)
        self._waiting[continuation] = None

    def leave(self, continuation: Continuation) -> None:
        """Forget it: nobody is left who could be answered."""
        self.forget(continuation)
        self._waiting.pop(continuation, None)

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
        touched: dict[Interest, list[Event]] = {}
        for event in batch:
            for interest in self._candidates(event):
                if event.seq > interest.since and interest.selection.matches(event):
                    events = touched.get(interest)
                    if events is None:
                        touched[interest] = [event]
                    else:
                        events.append(event)
        for interest, events in touched.items():
            try:
                interest.touched(self, events)
            except Exception:  # the batch is durable: it becomes visible to all others
                self.log.failure("a batch could not be handed to what waits for it")

    def claim(self, continuation: Continuation, timed_out: bool = False, closing: bool = False) -> None:
        """From now on it can only be answered with what it has gathered, or be left."""
        continuation.wake = Wake(continuation.gathered, self.head, timed_out=timed_out or closing, closing=closing)
        self.forget(continuation)
        self.cooperator.soon(lambda: self._answer(continuation))

    def woke(self, kind: str, count: int = 1) -> None:
        """Note that so many of that kind have just been answered after a batch."""
        self._instruments.woke(kind, self._reactor.seconds(), count)

    def close(self) -> None:
        """Claim every continuation ``timed_out`` and ``closing``. Those that are claimed already are answered before."""
        self._closing = True
        for continuation in self._waiting:
            if continuation.wake is None:
                self.claim(continuation, closing=True)

    def select(self, interest: Interest, selection: Selects) -> None:
        """From now on it selects this."""
        if interest.selection != selection:
            self.forget(interest)
            interest.selection = selection
            self._add(interest)

    def forget(self, interest: Interest) -> None:
        """Take it out of the indexes."""
        for index, key in self._places(interest):
            index.discard(key, interest)
        self._rest.pop(interest, None)

    def _candidates(self, event: Event) -> Iterator[Interest]:
        """Yield all that an event may concern, each once."""
        subject = event.subject
        key, parent, user = subject.key, subject.parent, subject.user
        own = self._by_key.get(key)
        yield from own
        if parent is not None:
            for interest in self._by_key.get((key[0], parent)):
                if interest not in own:
                    yield interest
        if self._by_workflow:
            yield from self._candidates_by_workflow(event)
        if user is not None:
            yield from self._by_user.get(user)
        yield from self._rest

    def _candidates_by_workflow(self, event: Event) -> Iterable[Interest]:
        return {interest: None for name in self._workflows_of(event.subject) for interest in self._by_workflow.get(name)}

    def _places(self, interest: Interest) -> Iterator[tuple[_Index[Hashable], Hashable]]:
        """Yield where it is found: by its keys, else by its workflows, else by its users, else nowhere: all are tried."""
        selection = interest.selection
        index: _Index[Hashable]
        keys: Iterable[Hashable]
        if selection.keys is not None:
            index, keys = self._by_key, selection.keys  # type: ignore[assignment]
        elif selection.workflows:
            index, keys = self._by_workflow, selection.workflows  # type: ignore[assignment]
        else:
            index, keys = self._by_user, selection.users  # type: ignore[assignment]
        return ((index, key) for key in keys)

    def _add(self, interest: Interest) -> None:
        selection = interest.selection
        if selection.keys is None and not selection.workflows and not selection.users:
            self._rest[interest] = None
        for index, key in self._places(interest):
            index.add(key, interest)

    def _time_is_up(self, waiter: Waiter) -> None:
        if waiter.wake is None:
            waiter.wake = Wake(waiter.gathered, self.head, timed_out=True)
            self.leave(waiter)
            waiter.deferred.callback(waiter.wake)

    def _cancelled(self, waiter: Waiter) -> None:
        if waiter.timer is not None and waiter.timer.active():
            waiter.timer.cancel()
        self.leave(waiter)

    def _answer(self, continuation: Continuation) -> None:
        if continuation in self._waiting and continuation.wake is not None:  # else it was left since it was claimed
            del self._waiting[continuation]
            continuation.answer(continuation.wake)
