"""
Response groups: those that wait for the same, and get the same response, which is made once.

The members of a group may be connections without channels or requests with a Deferred: a group does not know the difference.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol

from twisted.internet.defer import CancelledError, Deferred, maybeDeferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from jobpush.core.filters import Targets, named_clusters
from jobpush.core.record import Event
from jobpush.events.tracker import Continuation, JobStatusTracker, Wake
from jobpush.runtime.cooperate import Cooperator
from jobpush.web.held.members import Member
from jobpush.web.held.questions import Asked, Hold, LookRequest, Outcome
from jobpush.web.held.schedulers import Looks
from jobpush.web.problems import fault
from jobpush.web.responses import Rendering, Response

#: Members that are answered before other work may have its turn.
AT_ONCE = 128

#: Different responses at the end of the service, so that clients come back at different times.
CLOSING_RESPONSES = 8

#: The selection of a group that waits for no events.
_NOTHING = Targets(frozenset())


class GroupRegistry(Looks, Protocol):
    """What a response group needs of the registry."""

    tracker: JobStatusTracker
    cooperator: Cooperator

    def answer(self, members: Sequence[Member], response: Response) -> None:
        """Answer these members of a group; they are held no more."""

    def move(self, members: Sequence[Member], group: ResponseGroup) -> None:
        """From now on these are in another group."""

    def retire(self, group: ResponseGroup) -> None:
        """Let nobody join this group any more."""

    def settle(self, group: ResponseGroup, outcome: Outcome) -> None:
        """What this group's members wait for has turned out to be something else."""

    def seconds(self) -> float:
        """The reactor's time."""


class ResponseGroup(Continuation):
    """
    :param hold: what the first member waits for, and so all of them.
    :ivar asked: what is kept of their question.
    :ivar members: in the order in which they came.
    """

    __slots__ = ("_looking", "_registry", "_timed_out", "asked", "hold", "members")

    log = Logger()

    def __init__(self, registry: GroupRegistry, hold: Hold, asked: Asked) -> None:
        super().__init__(hold.watch.selection if hold.watch is not None else _NOTHING, hold.since)
        self.hold = hold
        self.asked = asked
        self.members: dict[Member, None] = {}
        self._registry = registry
        self._looking: tuple[Deferred[None], ...] = ()
        #: When somebody's time was up last, and the response; or those who get it, while it is made.
        self._timed_out: tuple[object, Response | ResponseGroup] | None = None

    def begin(self, client: str | None = None) -> None:
        """
        Wait for events, and look where that was asked for.

        :param client: the name of who asks.
        """
        self._registry.tracker.enter(self)
        self._looking = tuple(self._look(look, client) for look in self.hold.looks)

    def add(self, member: Member) -> None:
        """One more waits for the same."""
        self.members[member] = None

    def end(self) -> None:
        """It has no members any more."""
        self._registry.tracker.leave(self)
        self._stop_looking()

    @property
    def size(self) -> int:
        """Bytes that its question takes up."""
        return self.asked.size

    # -- what it waits for

    @property
    def named(self) -> frozenset[str]:
        """The clusters that its question names, by themselves or with a job."""
        looked_for = frozenset(cluster for look in self.hold.looks for cluster, _ in look.jobs if cluster)
        return looked_for | named_clusters(self.selection)

    def take(self, events: Sequence[Event]) -> bool:
        watch = self.hold.watch
        if watch is None:
            return False
        taken = watch.take(events)
        if not taken:
            self._registry.tracker.select(self, watch.selection)
        return taken

    @property
    def gathered(self) -> Sequence[Event]:
        return self.hold.watch.gathered if self.hold.watch is not None else ()

    def touched(self, tracker: JobStatusTracker, events: list[Event]) -> None:
        instead = self.hold.instead(events) if self.hold.instead is not None else None
        if instead is not None:
            self._registry.settle(self, instead)
            return
        super().touched(tracker, events)
        if self.wake is not None:
            self._registry.retire(self)

    def _look(self, look: LookRequest, client: str | None) -> Deferred[None]:
        looking = self._registry.fresh(look.clusters, look.jobs, client, look.visibility)
        looking.addCallback(lambda _: self._seen(look)).addErrback(self._not_seen)
        return looking

    def _seen(self, look: LookRequest) -> None:
        if self.wake is not None:
            return
        outcome = look.seen()
        if outcome is not None:
            self._registry.settle(self, outcome)
        elif self.take(()):
            self.claim()

    def _not_seen(self, failure: Failure) -> None:
        if not failure.check(CancelledError):
            self.log.failure("a look that held requests wait for failed", failure)

    def _stop_looking(self) -> None:
        looking, self._looking = self._looking, ()
        for each in looking:
            each.cancel()

    def claim(self, timed_out: bool = False, closing: bool = False) -> None:
        """From now on its members get what it has gathered; nobody joins it."""
        self._registry.retire(self)
        self._registry.tracker.claim(self, timed_out, closing)

    # -- what its members get

    def answer(self, wake: Wake) -> None:
        """Make the response, and send it in turns."""
        self._stop_looking()
        self.made(lambda: self.hold.render(wake)).addCallback(self.send, wake)

    def made(self, render: Callable[[], Rendering]) -> Deferred[Response]:
        """Make a response, in turns if it takes long. A fault of ours becomes a problem that says so."""

        def failed(failure: Failure) -> Response:
            self.log.failure("a response to held requests could not be made", failure)
            return fault(close=True).response()

        def run(rendering: Rendering) -> Response | Deferred[Response]:
            return rendering if isinstance(rendering, Response) else self._registry.cooperator.run(rendering)

        made: Deferred[Response] = maybeDeferred(render).addCallback(run)
        return made.addErrback(failed)

    def send(self, response: Response, wake: Wake | None = None) -> None:
        """
        Answer all members, in turns.

        :param wake: why; None if it was no batch that answered them.
        """
        closing = wake is not None and wake.closing
        responses = [response, *(response.later_return() for _ in range(CLOSING_RESPONSES - 1))] if closing else [response]
        self._send_some(responses, list(self.members), wake)

    def _send_some(self, responses: Sequence[Response], left: list[Member], wake: Wake | None) -> None:
        """Answer some of those that are left, and the others in another turn."""
        part = [member for member in left[-AT_ONCE:] if member in self.members]
        del left[-AT_ONCE:]
        for number, each in enumerate(responses):
            if members := part[number :: len(responses)]:
                self._registry.answer(members, each)
        if wake is not None and not wake.timed_out:
            self._registry.tracker.woke("poll", len(part))
        if left:
            self._registry.cooperator.soon(partial(self._send_some, responses, left, wake))

    def time_is_up(self, member: Member) -> None:
        """
        Answer this member alone. Those whose time is up in the same second share a response.

        While that is made, they are in a group of their own: a connection that was answered may be back in this one at once.
        """
        if self.wake is not None:
            return  # its response is on its way
        head = self._registry.tracker.head
        like = (head, len(self.gathered), int(self._registry.seconds()))
        if self._timed_out is None or self._timed_out[0] != like:
            apart = ResponseGroup(self._registry, self.hold, self.asked)
            gathered = list(self.gathered)  # an event that comes meanwhile is not up to this head
            wake = apart.wake = Wake(gathered, head, timed_out=True)
            self._timed_out = (like, apart)

            def send(response: Response) -> None:
                if self._timed_out == (like, apart):
                    self._timed_out = (like, response)
                apart.send(response, wake)

            self.made(lambda: self.hold.render(wake)).addCallback(send)
        response = self._timed_out[1]
        if isinstance(response, ResponseGroup):
            self._registry.move((member,), response)
        else:
            self._registry.answer((member,), response)
