"""
The registry of held requests as a state machine: hold, hold again on the same connection, time out, event, disconnect, limit, end of
one, end of all, in any order; and what it says of the requests that it holds.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from jobpush.core.filters import OfSubject, Selection
from jobpush.core.record import Event
from jobpush.events.interfaces import JournalError
from jobpush.events.tracker import JobStatusTracker, Wake
from jobpush.runtime.cooperate import Cooperator
from jobpush.runtime.timer_wheel import FINEST_S, SHARE, TimerWheel
from jobpush.web.held import response_group
from jobpush.web.held.questions import Hold, Later, LookRequest, Outcome, Question, Ready
from jobpush.web.held.registry import Registry
from jobpush.web.principal import ANONYMOUS, Principal
from jobpush.web.problems import Problem
from jobpush.web.responses import Response
from jobpush.web.shares import Shares
from tests.support import a_job

JOBS = ("1", "2", "3")


class Watch:
    """Waits for that many events of a job."""

    def __init__(self, job: str, need: int = 1) -> None:
        self.selection = OfSubject(("lab", job))
        self.gathered: list[Event] = []
        self._need = need

    def take(self, events: Sequence[Event]) -> bool:
        self.gathered.extend(events)
        return len(self.gathered) >= self._need


class Member:
    """A held request that notes its responses."""

    kind = "poll"

    def __init__(self, lab: Lab, principal: Principal = ANONYMOUS) -> None:
        self.due: float | None = None
        self.principal = principal
        self.got: list[bytes] = []
        self._lab = lab

    def expired(self) -> None:
        if self in self._lab.registry:
            self._lab.registry.time_is_up(self)

    @classmethod
    def deliver_all(cls, members: Sequence[Any], response: Response) -> None:
        for member in members:
            member.got.append(response.body)


class Lab:
    """A registry with a tracker, a clock that the test moves, and looks that the test ends."""

    def __init__(self, limit: int = 1000, each: int | None = None) -> None:
        self.clock = Clock()
        self.cooperator = Cooperator(self.clock)
        self.head = 0
        self.tracker = JobStatusTracker(self.clock, self.cooperator, lambda: self.head)
        self.looks: list[Deferred[None]] = []
        self.askers: list[str | None] = []
        self.awaited_clusters: list[frozenset[str]] = []
        shares = Shares(self.clock, each)
        self.registry = Registry(self.clock, self.cooperator, self.tracker, self, limit, TimerWheel(self.clock), shares)
        #: Clusters that are served no more.
        self.removed: set[str] = set()

    # -- what the registry asks of those that watch the schedulers

    def fresh(self, clusters: Any, jobs: Any = (), client: Any = None, visibility: Any = None) -> Deferred[None]:
        look: Deferred[None] = Deferred()
        self.askers.append(client)
        self.looks.append(look)
        return look

    def serves(self, clusters: Iterable[str]) -> bool:
        return not self.removed.intersection(clusters)

    def awaited(self, clusters: frozenset[str]) -> None:
        self.awaited_clusters.append(clusters)

    # -- what a test does

    def hold(self, member: Member, job: str = "1", wait: float = 60.0, need: int = 1, size: int = 0, **more: Any) -> None:
        """Hold a request for events of a job; the response tells why it came."""

        def render(wake: Wake) -> Response:
            why = "closing" if wake.closing else "timed out" if wake.timed_out else "changed"
            return Response(200, (), f"{why} {[event.seq for event in wake.events]}".encode())

        hold = Hold(
            key=more.pop("key", (job, need)),
            since=self.tracker.head,
            watch=Watch(job, need),
            render=more.pop("render", render),
            deadline=self.clock.seconds() + wait,
            clusters=frozenset({"lab"}),
            **more,
        )
        self.registry.hold(member, hold, Question("job", (), {}, self.clock.seconds(), size=size))

    def publish(self, *jobs: str) -> None:
        """An event of each of these jobs, in one batch."""
        batch = [self.event(self.tracker.head + number, job) for number, job in enumerate(jobs, 1)]
        self.head = batch[-1].seq
        self.tracker.publish(batch)

    @staticmethod
    def event(seq: int, job: str) -> Event:
        return Event(seq=seq, at=0.0, subject=a_job(job, cluster="lab"), previous=None, data=b"{}")

    def settle(self) -> None:
        while not self.cooperator.idle:
            self.clock.advance(0)


class RegistryModel(RuleBasedStateMachine):
    """
    The registry beside a plain table of who is held for what and until when.

    A member stands for a connection: it may be held again when it was answered, in the same group as before, and it may leave.
    """

    @initialize(limit=st.sampled_from((3, 6, 1000)), each=st.sampled_from((2, None)))
    def begin(self, limit: int, each: int | None) -> None:
        self.lab = Lab(limit, each)
        self.limit, self.each = limit, each
        self.members = [Member(self.lab, Principal(name)) for name in ("kim", "lee") for _ in range(5)]
        #: Those that are held: the job, how many events it still needs, the first and the last time at which it may time out.
        self.held: dict[Member, tuple[str, int, float, float]] = {}

    def answers(self, member: Member) -> list[bytes]:
        got, member.got = member.got, []
        return got

    @rule(index=st.integers(0, 9), job=st.sampled_from(JOBS), wait=st.floats(0.05, 90), need=st.integers(1, 2))
    def hold(self, index: int, job: str, wait: float, need: int) -> None:
        """A request comes on a connection, or, where one is held on it, the client leaves and another one comes."""
        member = self.members[index]
        if member in self.held:
            self.leave(index)
        key = (job, need, self.lab.tracker.head)
        if len(self.held) >= self.limit:
            with pytest.raises(Problem) as raised:
                self.lab.hold(member, job, wait, need, key=key)
            assert raised.value.status == 503
            return
        own = [other for other in self.held if other.principal.name == member.principal.name]
        if self.each is not None and len(own) >= self.each:
            with pytest.raises(Problem) as raised:
                self.lab.hold(member, job, wait, need, key=key)
            assert raised.value.status == 429
            return
        self.lab.hold(member, job, wait, need, key=key)
        now = self.lab.clock.seconds()
        self.held[member] = (job, need, now + wait, now + wait + max(FINEST_S, wait * SHARE))

    @rule(index=st.integers(0, 9))
    def leave(self, index: int) -> None:
        """The client is gone; or it was not held at all."""
        member = self.members[index]
        self.lab.registry.leave(member)
        self.held.pop(member, None)
        self.lab.settle()
        assert self.answers(member) == []

    @rule(index=st.integers(0, 9))
    def end_one(self, index: int) -> None:
        """One is answered with a response of its own, the others stay."""
        member = self.members[index]
        self.lab.registry.end_one(member, Response(401, (), b"ended"))
        assert self.answers(member) == ([b"ended"] if self.held.pop(member, None) else [])

    @rule(jobs=st.lists(st.sampled_from(JOBS), min_size=1, max_size=4), leaves=st.sets(st.integers(0, 9)), at_once=st.integers(1, 4))
    def event(self, jobs: list[str], leaves: set[int], at_once: int) -> None:
        """A batch is published; some clients leave before they are answered."""
        before, response_group.AT_ONCE = response_group.AT_ONCE, at_once
        try:
            self.lab.publish(*jobs)
            for index in leaves:
                self.lab.registry.leave(self.members[index])
                self.held.pop(self.members[index], None)
            self.lab.settle()
        finally:
            response_group.AT_ONCE = before
        for member, (job, need, earliest, latest) in list(self.held.items()):
            need -= jobs.count(job)
            if need <= 0:
                (answer,) = self.answers(member)
                assert answer.startswith(b"changed"), answer
                del self.held[member]
            else:
                self.held[member] = (job, need, earliest, latest)

    @rule(seconds=st.floats(0.01, 60))
    def time_passes(self, seconds: float) -> None:
        """Each is answered in its time, never early, and none is forgotten."""
        self.lab.clock.advance(seconds)
        self.lab.settle()
        now = self.lab.clock.seconds()
        for member, (_, _, earliest, latest) in list(self.held.items()):
            got = self.answers(member)
            if got:
                assert len(got) == 1
                assert got[0].startswith(b"timed out"), got
                assert now >= earliest - 1e-6
                del self.held[member]
            else:
                assert now < latest + 1e-6, "a request was not answered in its time"

    @invariant()
    def what_must_be_so(self) -> None:
        """The registry holds exactly what the model holds, with its deadlines; nobody got a response that was not due."""
        if not hasattr(self, "lab"):
            return
        assert list(self.lab.registry.violations()) == []
        assert self.lab.registry.held == len(self.held)
        assert set(self.lab.registry.wheel) == set(self.held)
        for name in ("kim", "lee"):
            expected = [member for member in self.held if member.principal.name == name]
            assert sorted(map(id, self.lab.registry.of(name))) == sorted(map(id, expected))
        assert not any(member.got for member in self.members)
        if not self.held:
            assert self.lab.tracker.idle
            assert self.lab.clock.getDelayedCalls() == []

    @precondition(lambda self: hasattr(self, "lab"))
    @rule()
    def close(self) -> None:
        """The service ends: everybody is answered once; then it begins anew."""
        self.lab.registry.close()
        self.lab.settle()
        for member in self.held:
            (answer,) = self.answers(member)
            assert answer.startswith(b"closing")
        self.held.clear()
        self.what_must_be_so()
        self.begin(self.limit, self.each)


class RegistryModelTests(RegistryModel.TestCase):  # type: ignore[name-defined, misc]
    """`RegistryModel` as a test case."""


class RegistryTests(SynchronousTestCase):
    """What the registry says, and what becomes of requests that wait for looks or whose responses take long."""

    def setUp(self) -> None:
        self.lab = Lab()
        self.registry = self.lab.registry

    def member(self, name: str = "kim", expires_at: float | None = None) -> Member:
        return Member(self.lab, Principal(name, expires_at))

    def test_what_is_asked(self) -> None:
        """How many are held, of what kind, of whom, and how many bytes their questions take up, each question once."""
        for name in ("kim", "kim", "lee"):
            self.lab.hold(self.member(name), size=100)
        self.lab.hold(self.member("lee"), job="2", size=7)
        self.assertEqual(self.registry.held, 4)
        self.assertEqual(self.registry.by_kind(), {"poll": 4, "stream": 0, "socket": 0})
        self.assertEqual([len(self.registry.of(name)) for name in ("kim", "lee", "pat")], [2, 2, 0])
        self.assertEqual([self.registry.size(name) for name in (None, "kim", "lee", "pat")], [107, 100, 107, 0])

    def test_rendered_once(self) -> None:
        """Those that wait for the same get one response, which is made once."""
        made: list[Response] = []

        def render(wake: Wake) -> Response:
            made.append(Response(200, (), b"x"))
            return made[-1]

        members = [self.member() for _ in range(500)]
        for member in members:
            self.lab.hold(member, render=render)
        self.lab.publish("1")
        self.lab.settle()
        self.assertEqual(({len(member.got) for member in members}, len(made)), ({1}, 1))

    def test_removed(self) -> None:
        """What is held for a cluster that is removed is answered as if its time was up, with what it has gathered."""
        one, other = self.member(), self.member()
        self.lab.hold(one, need=2)
        self.lab.hold(other)
        self.lab.publish("2", "1")
        self.lab.settle()
        self.registry.removed("elsewhere")
        self.lab.settle()
        self.assertEqual((one.got, other.got), ([], [b"changed [2]"]))
        self.registry.removed("lab")
        self.registry.removed("lab")
        self.lab.settle()
        self.assertEqual((one.got, self.registry.held, list(self.registry.violations())), ([b"timed out [2]"], 0, []))

    def test_removed_before(self) -> None:
        """A request that came before a cluster was removed, and is held after, is answered at once."""
        self.lab.removed.add("lab")
        member = self.member()
        self.lab.hold(member)
        self.lab.settle()
        self.assertEqual((member.got, self.registry.held), ([b"timed out []"], 0))

    def test_the_least_deadline(self) -> None:
        """A request ends when its time is up or when the identity that it was made with expires, whichever comes first."""
        expires, waits = self.member("kim", expires_at=10.0), self.member("lee", expires_at=100.0)
        self.lab.hold(expires, wait=60)
        self.lab.hold(waits, wait=60)
        self.lab.clock.advance(9.9)
        self.assertEqual((expires.got, waits.got), ([], []))
        self.lab.clock.advance(1)
        self.assertIn(b'"status":401', expires.got[0])
        self.lab.clock.advance(55)
        self.assertEqual(waits.got, [b"timed out []"])

    def test_the_least_deadline_of_one_that_joins(self) -> None:
        """A request that joins a group by itself ends when its identity expires, too."""
        first, second = self.member(), self.member("lee", expires_at=10.0)
        self.lab.hold(first)
        self.registry.join(second, self.registry._members[first], 60.0)  # type: ignore[arg-type]
        self.lab.clock.advance(11)
        self.assertIn(b'"status":401', second.got[0])
        self.assertEqual(first.got, [])

    def test_a_look_answers(self) -> None:
        """Those that wait for a look alone get what the look says, rendered once."""
        members = [self.member() for _ in range(3)]
        outcome: Outcome = Ready(lambda: Response(404, (), b"unknown"))
        for member in members:
            self.lab.hold(member, looks=(LookRequest(("lab",), lambda: outcome),))
        self.assertEqual((len(self.lab.looks), self.lab.askers), (1, ["kim"]))
        self.lab.looks[0].callback(None)
        self.lab.settle()
        self.assertEqual([member.got for member in members], [[b"unknown"]] * 3)
        self.assertEqual((self.registry.held, self.lab.tracker.idle), (0, True))

    def test_a_look_makes_another_hold(self) -> None:
        """Those that wait go on in another group when a look has found what they ask about, with the deadlines that they have."""
        first, second = self.member(), self.member()

        def seen() -> Outcome:
            return Hold(
                key="found", since=self.lab.tracker.head, watch=Watch("1"), deadline=0.0,
                render=lambda wake: Response(200, (), b"timed out" if wake.timed_out else b"changed"),
            )  # fmt: skip

        for member, wait in ((first, 60), (second, 20)):
            self.lab.hold(member, wait=wait, looks=(LookRequest(("lab",), seen),), key="unknown")
        self.lab.clock.advance(1)
        self.lab.looks[0].callback(None)
        self.assertEqual((self.registry.held, list(self.registry.violations())), (2, []))
        self.lab.clock.advance(21)
        self.assertEqual((first.got, second.got), ([], [b"timed out"]))
        self.lab.publish("1")
        self.lab.settle()
        self.assertEqual(first.got, [b"changed"])

    def test_what_cannot_be_found_out(self) -> None:
        """Where the journal cannot be read, those that wait for that are told to come back; another fault is logged."""
        for error, expected, logged in ((JournalError("no"), b'"status":503', 0), (KeyError("x"), b'"status":500', 1)):

            async def find(error: Exception = error) -> Outcome:
                raise error

            member, looks = self.member(), (LookRequest(("lab",), lambda find=find: Later(find)),)  # type: ignore[misc]
            self.lab.hold(member, looks=looks, key=expected)
            self.lab.looks[-1].callback(None)
            self.assertIn(expected, member.got[0])
            self.assertEqual(len(self.flushLoggedErrors(type(error))), logged)

    def test_the_end_while_something_is_found_out(self) -> None:
        """Those for whom the journal is read when the service ends are answered, and held in no other group after that."""
        reading: Deferred[Outcome] = Deferred()

        async def find() -> Outcome:
            return await reading

        member = self.member()
        self.lab.hold(member, looks=(LookRequest(("lab",), lambda: Later(find)),))
        self.lab.looks[0].callback(None)
        self.registry.close()
        reading.callback(
            Hold(key="found", since=0, watch=Watch("1"), deadline=60.0, render=lambda wake: Response(200, (), b"late"))
        )
        self.lab.settle()
        self.assertEqual((member.got, self.registry.held), ([b"closing []"], 0))

    def test_a_look_is_given_up(self) -> None:
        """When the last that waits for a look leaves, the look is not waited for any more."""
        member = self.member()
        self.lab.hold(member, looks=(LookRequest(("lab",), lambda: None),))
        self.registry.leave(member)
        self.assertIsNone(self.successResultOf(self.lab.looks[0]))  # its cancellation is no fault
        self.assertTrue(self.lab.tracker.idle)

    def test_a_response_that_takes_long(self) -> None:
        """A response that is made in turns reaches those that are still there; who leaves meanwhile gets nothing."""

        def render(wake: Wake) -> Any:
            def steps() -> Any:
                yield
                return Response(200, (), b"timed out" if wake.timed_out else b"changed")

            return steps()

        stays, leaves, times_out = self.member(), self.member(), self.member()
        for member, wait in ((stays, 60), (leaves, 60), (times_out, 10)):
            self.lab.hold(member, wait=wait, render=render)
        self.lab.clock.advance(10.4)
        self.assertEqual(times_out.got, [b"timed out"])
        self.lab.publish("1")
        self.registry.leave(leaves)
        self.lab.settle()
        self.assertEqual((stays.got, leaves.got, self.registry.held), ([b"changed"], [], 0))

    def test_between_claim_and_answer(self) -> None:
        """
        What is claimed is answered with what it was claimed for: it does not time out, later events do not concern it, and a request
        that comes then waits for later events.
        """
        claimed, late = self.member(), self.member()
        self.lab.hold(claimed)
        self.lab.publish("1")
        self.lab.hold(late)
        self.registry.time_is_up(claimed)
        self.lab.publish("2", "1", "1")
        self.lab.settle()
        self.assertEqual((claimed.got, late.got), ([b"changed [1]"], [b"changed [3, 4]"]))

    def test_one_leaves_while_others_are_answered(self) -> None:
        """A client that leaves between two turns of answers gets none, and the others get theirs."""
        self.patch(response_group, "AT_ONCE", 1)
        members = [self.member() for _ in range(4)]

        class Last(Member):
            @classmethod
            def deliver_all(cls, of_class: Sequence[Any], response: Response) -> None:
                super().deliver_all(of_class, response)
                self.registry.leave(members[1])

        last = Last(self.lab)
        for member in (*members, last):
            self.lab.hold(member)
        self.lab.publish("1")
        self.lab.settle()
        self.assertEqual([len(member.got) for member in (*members, last)], [1, 0, 1, 1, 1])

    def test_one_leaves_while_its_response_is_made(self) -> None:
        """A client that leaves while the response to its time-out is made gets none."""
        member = self.member()

        def render(wake: Wake) -> Any:
            def steps() -> Any:
                yield
                self.registry.leave(member)
                return Response(200, (), b"timed out")

            return steps()

        self.lab.hold(member, wait=1, render=render)
        self.lab.clock.advance(2)
        self.lab.settle()
        self.assertEqual((member.got, self.registry.held, self.lab.clock.getDelayedCalls()), ([], 0, []))

    def test_a_response_that_cannot_be_made(self) -> None:
        """A fault while a response is made is logged once, and everybody is told 500."""
        members = [self.member() for _ in range(3)]
        for member in members:
            self.lab.hold(member, render=lambda wake: 1 / 0)
        self.lab.publish("1")
        self.lab.settle()
        for member in members:
            self.assertIn(b'"status":500', member.got[0])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_the_limit(self) -> None:
        """One over the limit is refused with 503 and is not held; the log warns once when the limit is near."""
        self.lab = Lab(limit=10)
        for _ in range(10):
            self.lab.hold(self.member())
        with self.assertRaises(Problem) as raised:
            self.lab.hold(self.member())
        self.assertEqual((raised.exception.status, self.lab.registry.held), (503, 10))
        self.assertIn("Retry-After", raised.exception.headers)

    def test_interest(self) -> None:
        """The clusters of whose jobs somebody waits are told."""
        self.lab.hold(self.member())
        (group,) = {self.registry._members[member] for member in self.registry.of("kim")}
        self.registry.join(self.member(), group, 5.0)  # type: ignore[arg-type]
        self.assertEqual(self.lab.awaited_clusters, [frozenset({"lab"})] * 2)

    def test_violations_are_found(self) -> None:
        """Each invariant that is violated is said."""
        member, other = self.member(), self.member()
        self.lab.hold(member)
        self.lab.hold(other)
        self.registry.wheel.clear(member)
        self.assertIn("a held request has no deadline", list(self.registry.violations()))
        group = self.registry._members[member]
        del group.members[other]
        self.assertIn("2 requests are held, 1 are in groups", list(self.registry.violations()))


class StreamsTests(SynchronousTestCase):
    """Streams in the registry."""

    def test_catching_up_and_following(self) -> None:
        """A stream is held from its beginning, and goes on in a group without being counted twice."""
        lab = Lab(limit=1)
        stream = StreamStub()
        lab.registry.stream(stream)
        self.assertEqual((lab.registry.held, lab.registry.by_kind()["stream"]), (1, 1))
        self.assertRaises(Problem, lab.registry.check, ANONYMOUS)
        lab.registry.follow(stream, Selection(), 0)
        self.assertEqual((lab.registry.held, list(lab.registry.violations())), (1, []))
        lab.publish("1", "2")
        lab.settle()
        self.assertEqual(stream.got, ["events [1, 2]"])
        self.assertEqual(lab.registry.told_up_to(stream), 2)
        lab.registry.leave(stream)
        self.assertEqual((lab.registry.held, lab.tracker.idle, lab.clock.getDelayedCalls()), (0, True, []))


    def test_removed(self) -> None:
        """Streams that name a cluster end with it, also one that is catching up still; those that follow all go on."""
        lab = Lab()
        named, all_of_them, late = StreamStub(), StreamStub(), StreamStub()
        selection = Selection(clusters=frozenset({"lab"}))
        for stream, selected in ((named, selection), (all_of_them, Selection())):
            lab.registry.stream(stream)
            lab.registry.follow(stream, selected, 0)
        lab.registry.stream(late)
        lab.publish("1")
        lab.removed.add("lab")
        lab.registry.removed("lab")
        lab.settle()
        self.assertEqual((named.got, all_of_them.got, late.got), (["events [1]", "finished"], ["events [1]"], []))
        lab.registry.follow(late, selection, 1)
        self.assertEqual(late.got, ["finished"])


class StreamStub:
    """A stream that notes what it is told; it is its own form."""

    kind = "stream"
    principal = ANONYMOUS
    size = 0

    def __init__(self) -> None:
        self.due: float | None = None
        self.form = self
        self.unread = 0
        self.got: list[str] = []

    def events(self, events: Sequence[Event]) -> str:
        return f"events {[event.seq for event in events]}"

    def bookmark(self, seq: int) -> str:
        return f"bookmark {seq}"

    def reset(self, seq: int) -> str:
        return f"reset {seq}"

    def write(self, chunk: str) -> None:
        self.got.append(chunk)

    def alive(self) -> None:
        self.got.append("alive")

    def abort(self) -> None:
        self.got.append("aborted")

    def finish(self) -> None:
        self.got.append("finished")

    def expired(self) -> None:
        raise AssertionError("a stream has no deadline")
