"""
The registry of held requests: every one of them, whatever its form, with its deadline and the one limit on them.

What can be asked about held requests follows from what is here: nothing is counted beside it.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Sequence
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from jobpush.core.filters import ALL, Selection, Visibility, named_clusters
from jobpush.core.model import JobKey
from jobpush.events.interfaces import JournalError
from jobpush.events.tracker import JobStatusTracker
from jobpush.runtime.cooperate import Cooperator
from jobpush.runtime.repeated import Repeated
from jobpush.runtime.timer_wheel import TimerWheel
from jobpush.web.held.held_requests import HeldRequests
from jobpush.web.held.invariants import violations
from jobpush.web.held.members import Held, Member
from jobpush.web.held.questions import Asked, Hold, Later, Outcome, Ready
from jobpush.web.held.response_group import ResponseGroup
from jobpush.web.held.schedulers import Schedulers
from jobpush.web.held.stream_group import (
    BEAT_S,
    AnyStream,
    AnyStreamGroup,
    AnyStreams,
    StreamGroup,
    Streams,
    UnreadLimit,
    tell,
)
from jobpush.web.params import journal_fails
from jobpush.web.principal import Principal
from jobpush.web.problems import Problem, fault
from jobpush.web.responses import Response
from jobpush.web.shares import Shares

#: Descriptors kept for everything but held requests: listening, the journal, commands, requests that are not held.
RESERVE = 256

#: Bytes that the questions of all held requests may take up: ids and values of filters, which clients choose. It is room for
#: seventeen barriers on 20,000 jobs each, or for 3,500 on a hundred. Questions of less than so many bytes always have room: how
#: many there are is limited by the number of held requests.
MOST_BYTES = 256 * 1024 * 1024
SMALL = 4000

#: The log warns when this share of the limit is used; again, after it was less than nine tenths of that.
NEAR = 0.9

#: The kinds of held requests.
KINDS = ("poll", "stream", "socket")

Group = ResponseGroup | AnyStreams

EXPIRED = Problem(401, "the identity that this request was made with has expired", close=True)


class Registry:
    """
    :param reactor: the clock.
    :param limit: how many requests may be held at once.
    :param wheel: keeps the deadlines; of other things too, if they share it.
    :param shares: how much of it one principal may take; by default all.
    """

    log = Logger()

    def __init__(
        self,
        reactor: IReactorTime,
        cooperator: Cooperator,
        tracker: JobStatusTracker,
        schedulers: Schedulers,
        limit: int,
        wheel: TimerWheel,
        shares: Shares | None = None,
    ) -> None:
        self.shares = shares if shares is not None else Shares(reactor)
        self.tracker = tracker
        self.cooperator = cooperator
        self.limit = limit
        self.wheel = wheel
        self.closing = False
        self._reactor = reactor
        self._schedulers = schedulers
        #: Every held request, with its group.
        self._members: HeldRequests[Group] = HeldRequests()
        #: The groups that can be joined: by what they wait for, and by what they follow.
        self._groups: dict[Hashable, ResponseGroup] = {}
        self._streams: dict[Selection, AnyStreamGroup] = {}
        #: Streams that are told elsewhere what they have missed.
        self._catching_up: AnyStreams = Streams(self)
        self.unread_limit = UnreadLimit(self._all_streams, self.seconds)
        self._warned = False
        self._beat = Repeated(reactor, self._alive)

    # -- what can be asked

    def _all_streams(self) -> Iterator[AnyStream]:
        for group in (*self._streams.values(), self._catching_up):
            yield from group.members

    @property
    def held(self) -> int:
        """How many requests are held."""
        return len(self._members)

    def __contains__(self, member: object) -> bool:
        return member in self._members

    def told_up_to(self, stream: AnyStream) -> int:
        """The number up to which a stream was told everything that it follows; 0 if it is not held."""
        group = self._members.get(stream)
        return group.told_up_to(stream) if isinstance(group, Streams) else 0

    def by_kind(self) -> dict[str, int]:
        """How many requests are held, by kind."""
        counts = dict.fromkeys(KINDS, 0)
        for member in self._members:
            counts[member.kind] += 1
        return counts

    def of(self, name: str) -> list[Held]:
        """The held requests of the principal with that name."""
        return list(self._members.of(name))

    def size(self, name: str | None = None) -> int:
        """
        Bytes that the questions of held requests take up. One that several ask alike takes it up once.

        :param name: of a principal: those that a request of it is held for; by default all.
        """
        members = self._members.keys() if name is None else self._members.of(name)
        groups = {id(group): group for group in map(self._members.__getitem__, members)}
        catching_up = self._catching_up.members
        own = sum(member.size for member in catching_up if member in members) if id(self._catching_up) in groups else 0
        return own + sum(group.size for group in groups.values())

    def groups(self) -> list[Group]:
        """The groups of held requests."""
        return list({id(group): group for group in self._members.values()}.values())

    def seconds(self) -> float:
        """The reactor's time."""
        return self._reactor.seconds()

    # -- requests come

    def follows(self, selection: Selection) -> bool:
        """Return whether a stream follows that: another one takes up nothing more."""
        return selection in self._streams

    def check(self, principal: Principal, size: int = 0, key: Hashable = None) -> None:
        """
        Check that one more request may be held.

        :param size: bytes that its question takes up.
        :param key: of what it waits for: the question of those that wait for it already takes up nothing more.
        :raise Problem: 429, if this principal has its share; 503, if as many are held as may be of all.
        """
        if key not in self._groups:
            self.check_bytes(principal, size)
        if len(self._members) >= self.limit:
            detail = f"{self.limit} requests are held already, as many as this server may; try again later"
            raise self.shares.refuse_all("held", detail)
        if not self.has_room(principal):
            raise self.shares.refuse_one("held", principal, f"{self.shares.held} requests are held already, as many as may be")

    def has_room(self, principal: Principal) -> bool:
        """Return whether one more request of this principal may be held."""
        most = self.shares.held
        return len(self._members) < self.limit and (most is None or len(self._members.of(principal.name)) < most)

    def check_bytes(self, principal: Principal, size: int) -> None:
        """
        Check that the questions of held requests may take up so many bytes more.

        :raise Problem: 429, if those of this principal may not; 503, if those of all may not.
        """
        if size <= SMALL:
            return
        if size + self.size() > MOST_BYTES:
            detail = f"the ids and filters of held requests take up nearly {MOST_BYTES} bytes; ask for fewer, or later"
            raise self.shares.refuse_all("bytes", detail)
        most = self.shares.size
        if most is not None and size + self.size(principal.name) > most:
            raise self.shares.refuse_one("bytes", principal, f"ids and filters of held requests take up nearly {most} bytes")

    def hold(self, member: Member, hold: Hold, asked: Asked) -> ResponseGroup:
        """
        Hold a request until what it waits for has come or its time is up.

        :param asked: what is kept of its question.
        :return: the group that it is held in.
        :raise Problem: 429 or 503, if no more requests may be held (`check`).
        """
        self.check(member.principal, asked.size, hold.key)
        group = self._group(hold, asked, member.principal.name)
        self._join(member, group)
        self._set_deadline(member, hold.deadline - self._reactor.seconds())
        self._schedulers.awaited(hold.clusters)
        if not self._schedulers.serves(hold.clusters):  # it was removed after the question came
            group.claim(timed_out=True)
        return group

    def join(self, member: Member, group: ResponseGroup, seconds: float) -> None:
        """
        Hold a request in a group that can be joined.

        :param seconds: until its time is up.
        :raise Problem: 429 or 503, if no more requests may be held (`check`).
        """
        self.check(member.principal)
        self._join(member, group)
        self._set_deadline(member, seconds)
        self._schedulers.awaited(group.hold.clusters)

    def _set_deadline(self, member: Member, seconds: float) -> None:
        """Set a deadline in that many seconds, or when the identity expires, if that is earlier."""
        expires_at = member.principal.expires_at
        if expires_at is not None:
            seconds = min(seconds, expires_at - self._reactor.seconds())
        self.wheel.set(member, max(0.0, seconds))

    def can_be_joined(self, group: ResponseGroup) -> bool:
        """Return whether a request can still be held in that group."""
        return self._groups.get(group.hold.key) is group

    def stream(self, member: AnyStream) -> None:
        """
        Hold a stream that is told elsewhere what it has missed; it has signs of life.

        :raise Problem: 429 or 503, if no more requests may be held (`check`).
        """
        if member in self._members:
            self.leave(member)
        else:
            self.check(member.principal, member.size)
        self._join(member, self._catching_up, 0)

    def follow(self, member: AnyStream, selection: Selection, since: int) -> None:
        """
        Tell a stream what happens from now on. It was held already, perhaps in another form: the limit is not asked again.

        :param since: the number up to which it was told everything.
        """
        self.leave(member)
        group = self._streams.get(selection)
        if group is None:
            group = self._streams[selection] = StreamGroup(self, selection, since, member.size)
        self._join(member, group, since)
        self._schedulers.awaited(selection.clusters)
        if not self._schedulers.serves(named_clusters(selection)):  # it was removed while the stream caught up
            member.finish()

    def restrict(self, member: AnyStream, selection: Selection) -> None:
        """Let a stream follow something else from the head on, after a ``reset``."""
        head = self.tracker.head
        tell(member, member.form.reset(head))
        self.follow(member, selection, head)

    def _group(self, hold: Hold, asked: Asked, client: str | None) -> ResponseGroup:
        """The group of those that wait for the same; the client is the one for which it begins, if there is none yet."""
        group = self._groups.get(hold.key)
        if group is None:
            group = self._groups[hold.key] = ResponseGroup(self, hold, asked)
            group.begin(client)
        return group

    def _join(self, member: Any, group: Any, *where: int) -> None:
        self._members[member] = group
        group.add(member, *where)
        if isinstance(group, Streams):
            if not self._beat.running:
                self._beat.start(BEAT_S, now=False)
            if member.principal.expires_at is not None:
                self.wheel.set(member, max(0.0, member.principal.expires_at - self._reactor.seconds()))
        if len(self._members) >= NEAR * self.limit and not self._warned:
            self._warned = True
            self.log.warn(
                "{held} requests are held; from {limit} on new ones get 503 (raise the limit of open files, or --max-held)",
                held=len(self._members),
                limit=self.limit,
            )

    # -- requests go

    def leave(self, member: Held) -> None:
        """Forget a held request whose client is gone, or that goes on in another form."""
        group = self._members.get(member)
        if group is not None:
            self._release((member,), group)
            if not group.members:
                self._drop(group)

    def answer(self, members: Sequence[Member], response: Response) -> None:
        """See `response_group.GroupRegistry`."""
        group = self._members[members[0]]
        self._release(members, group)
        for kind in {type(member): None for member in members}:
            kind.deliver_all([member for member in members if type(member) is kind], response)
        if not group.members:
            self._drop(group)

    def _release(self, members: Iterable[Any], group: Group) -> None:
        """Take these out of whatever they are in."""
        self.wheel.clear_all(members)
        for member in members:
            del self._members[member]
            del group.members[member]
        if self._warned and len(self._members) < NEAR * self.limit * 0.9:
            self._warned = False

    def _drop(self, group: Group) -> None:
        """A group has no members any more."""
        self.retire(group)
        group.end()
        if not self._streams and not self._catching_up.members and self._beat.running:
            self._beat.stop()

    def move(self, members: Sequence[Member], group: ResponseGroup) -> None:
        """See `response_group.GroupRegistry`."""
        for member in members:
            before: Any = self._members[member]
            del before.members[member]
            self._join(member, group)
            if not before.members:
                self._drop(before)

    def retire(self, group: Group) -> None:
        """See `response_group.GroupRegistry`."""
        if isinstance(group, ResponseGroup) and self._groups.get(group.hold.key) is group:
            del self._groups[group.hold.key]
        elif isinstance(group, StreamGroup) and self._streams.get(group.selection) is group:
            del self._streams[group.selection]

    # -- what becomes of them

    def time_is_up(self, member: Member) -> None:
        """A held request's deadline has come."""
        group = self._members.get(member)
        if isinstance(group, ResponseGroup):
            expires_at = member.principal.expires_at
            if expires_at is not None and expires_at <= self._reactor.seconds():
                self.end_one(member, EXPIRED.response())
            else:
                group.time_is_up(member)

    def refuse(self, member: Any, problem: Problem) -> None:
        """Answer a held request with a problem; end a stream, whose client is told in its form that this is no usual end."""
        if isinstance(self._members[member], ResponseGroup):
            self.end_one(member, problem.response())
        else:
            member.refused()

    def end_one(self, member: Member, response: Response) -> None:
        """Answer one held request with a response of its own."""
        if isinstance(self._members.get(member), ResponseGroup):
            self.answer((member,), response)

    def fresh(
        self, clusters: Iterable[str], jobs: Iterable[JobKey] = (), client: str | None = None, visibility: Visibility = ALL
    ) -> Deferred[None]:
        """See `schedulers.Looks`."""
        return self._schedulers.fresh(clusters, jobs, client, visibility)

    def settle(self, group: ResponseGroup, outcome: Outcome) -> None:
        """See `response_group.GroupRegistry`."""
        self.retire(group)
        if isinstance(outcome, Ready):
            group.made(outcome.render).addCallback(group.send)
        elif isinstance(outcome, Hold):
            client = next((member.principal.name for member in group.members), None)
            other = self._group(outcome, group.asked, client)
            self.move(list(group.members), other)
            self._schedulers.awaited(outcome.clusters)
            group.end()
        else:
            assert isinstance(outcome, Later)
            finding = Deferred.fromCoroutine(outcome.find())
            finding.addErrback(self._failed)
            finding.addCallback(lambda found: self._found(group, found))

    def _found(self, group: ResponseGroup, outcome: Outcome) -> None:
        """Take what was found out, unless the members have been answered meanwhile, or are about to be."""
        if group.members and group.wake is None:
            self.settle(group, outcome)

    def _failed(self, failure: Failure) -> Outcome:
        error = failure.value
        if isinstance(error, Problem):
            problem = error
        elif isinstance(error, JournalError):
            problem = journal_fails(error)
        else:
            self.log.failure("what held requests wait for could not be found out", failure)
            problem = fault(close=True)
        response = problem.response()
        return Ready(lambda: response)

    def ask_again(self, members: Sequence[Member], asked: Asked, hold: Hold, outcome: Outcome) -> None:
        """
        Let held requests, which were in the same group, wait for something else. Their deadlines stay.

        :param asked: what is kept of their question from now on.
        :param hold: while it is found out what that is.
        :param outcome: of their question, asked again.
        """
        apart = ResponseGroup(self, hold, asked)
        self.move(members, apart)
        self.settle(apart, outcome)

    def removed(self, cluster: str) -> None:
        """
        A cluster is served no more: answer what is held for it ``timed_out``, tell streams that name it what is left to be
        told, and end them. What is held for all clusters stays.
        """
        for group in self.groups():
            if isinstance(group, StreamGroup):
                if cluster in named_clusters(group.selection):
                    group.close()
            elif isinstance(group, ResponseGroup) and group.wake is None and cluster in group.named:
                group.claim(timed_out=True)

    def close(self) -> None:
        """
        Answer every held request ``timed_out``, tell streams what is left to be told, and end them. From now on nobody is held.
        """
        self.closing = True
        for group in self.groups():
            if isinstance(group, Streams):
                group.close()
            elif group.wake is None:
                group.claim(closing=True)
        if self._beat.running:
            self._beat.stop()

    def _alive(self) -> None:
        """Once a second: signs of life for streams."""
        for group in (*self._streams.values(), self._catching_up):
            try:
                group.beat()
            except Exception:  # which would end the signs of life of all streams
                self.log.failure("signs of life could not be sent")

    # -- invariants

    def violations(self) -> Iterator[str]:
        """
        What is not as it must be, a sentence each; none in a program without a fault.

        Every held request is in its group and in no other, has a deadline if it is one that is answered once, and each group
        that can be joined has members.
        """
        yield from self._members.violations(self.shares.held)
        yield from violations(self._members, self._groups, (*self._streams.values(), self._catching_up), self.wheel)
        if self.held > self.limit:
            yield f"{self.held} requests are held, more than {self.limit}"
