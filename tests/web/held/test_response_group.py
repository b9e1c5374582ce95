"""Response groups: what they wait for, when their response is made, and who gets it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from jobpush.events.tracker import Wake
from jobpush.runtime.cooperate import TURN_S
from jobpush.web.held import response_group
from jobpush.web.held.questions import Hold, LookRequest, Outcome, Question, Ready
from jobpush.web.held.response_group import CLOSING_RESPONSES
from jobpush.web.problems import Problem
from jobpush.web.responses import Rendering, Response, json_response
from tests.web.held.test_registry import Lab, Member, Watch


class GroupCase(SynchronousTestCase):
    """A registry, and requests that it holds."""

    def setUp(self) -> None:
        self.lab = Lab()

    def members(self, count: int, **how: Any) -> list[Member]:
        """So many that wait for the same."""
        members = [Member(self.lab) for _ in range(count)]
        for member in members:
            self.lab.hold(member, **how)
        return members


class LookTests(GroupCase):
    """Groups that wait for looks."""

    def test_a_look_that_settles_nothing(self) -> None:
        """It leaves them waiting, and what they wait for is what the look has made of it: its events count from then on."""
        watch = Watch("1")

        def seen() -> Outcome | None:
            watch.selection = Watch("2").selection  # the job is known by another id now
            return None

        member = Member(self.lab)
        self.lab.registry.hold(member, Hold(
            key="alias", since=0, watch=watch, deadline=60.0, looks=(LookRequest(("lab",), seen),),
            render=lambda wake: Response(200, (), f"{[event.seq for event in wake.events]}".encode()),
        ), Question("job", (), {}, 0.0))  # fmt: skip
        self.lab.looks[0].callback(None)
        self.lab.publish("1")
        self.lab.settle()
        self.assertEqual(member.got, [])
        self.lab.publish("2")
        self.lab.settle()
        self.assertEqual(member.got, [b"[2]"])

    def test_a_look_that_makes_it_enough(self) -> None:
        """Where no event is missing any more after a look, they are answered."""
        watch = Watch("1", need=1)

        def seen() -> None:
            watch.gathered.append(self.lab.event(1, "1"))

        member = Member(self.lab)
        self.lab.registry.hold(member, Hold(
            key="enough", since=0, watch=watch, deadline=60.0, looks=(LookRequest(("lab",), seen),),
            render=lambda wake: Response(200, (), b"timed out" if wake.timed_out else b"enough"),
        ), Question("wait", (), {}, 0.0))  # fmt: skip
        self.lab.looks[0].callback(None)
        self.lab.settle()
        self.assertEqual((member.got, self.lab.registry.held), ([b"enough"], 0))

    def test_several_looks(self) -> None:
        """Each is begun once for all of the group, and the first that settles it ends the others."""
        outcome = Ready(lambda: Response(404, (), b"unknown"))
        members = self.members(3, looks=(LookRequest(("a",), lambda: None), LookRequest(("b",), lambda: outcome), LookRequest(("c",), lambda: None)))
        self.assertEqual(len(self.lab.looks), 3)
        self.lab.looks[0].callback(None)
        self.lab.settle()
        self.assertEqual([member.got for member in members], [[]] * 3)
        self.lab.looks[1].callback(None)
        self.lab.settle()
        self.assertEqual([member.got for member in members], [[b"unknown"]] * 3)
        self.assertTrue(self.lab.looks[2].called, "it is given up")

    def test_a_look_comes_too_late(self) -> None:
        """What is claimed already gets what it was claimed for, whatever a look says then."""
        (member,) = self.members(1, looks=(LookRequest(("lab",), lambda: Ready(lambda: Response(404, (), b"unknown"))),))
        self.lab.publish("1")
        self.lab.looks[0].callback(None)
        self.lab.settle()
        self.assertEqual(member.got, [b"changed [1]"])

    def test_a_look_that_fails(self) -> None:
        """A fault in a look is logged, and those that wait for it time out."""
        (member,) = self.members(1, wait=10.0, looks=(LookRequest(("lab",), lambda: None),))
        self.lab.looks[0].errback(ZeroDivisionError())
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.lab.clock.advance(10.5)
        self.assertEqual(member.got, [b"timed out []"])


class ResponseTests(GroupCase):
    """What members get."""

    def test_in_turns(self) -> None:
        """Many are answered a few in each turn, so that other work has its own; all of them in the end."""
        self.patch(response_group, "AT_ONCE", 10)
        members = self.members(25)
        counts: list[int] = []

        def other() -> None:
            counts.append(sum(len(member.got) for member in members))
            if counts[-1] < 25:
                self.lab.cooperator.soon(other)

        self.lab.publish("1")
        self.lab.cooperator.soon(other)
        self.lab.settle()
        self.assertEqual([count for count in counts if count], [10, 20, 25])
        self.assertEqual({len(member.got) for member in members}, {1})

    def test_time_outs_of_one_second(self) -> None:
        """Those whose time is up in the same second share one response; later, or after an event, there is another."""
        made: list[int] = []

        def render(wake: Wake) -> Response:
            made.append(wake.head)
            return Response(200, (), b"%d" % len(made))

        first = self.members(5, wait=10.0, need=5, render=render)
        second = self.members(2, wait=20.0, need=5, render=render)
        third = self.members(2, wait=20.25, need=5, render=render)
        self.lab.clock.advance(10.5)
        self.assertEqual([member.got for member in first], [[b"1"]] * 5)
        self.lab.clock.advance(9.0)
        self.lab.publish("1")
        self.lab.settle()
        self.lab.clock.pump([0.1] * 20)
        self.assertEqual([member.got for member in second], [[b"2"]] * 2)
        self.assertGreaterEqual(len(made), 2)
        self.assertEqual({len(member.got) for member in third}, {1})
        self.assertEqual(made[:2], [0, 1])

    def test_a_time_out_whose_response_takes_long(self) -> None:
        """It is made once for those whose time is up in the same second, and neither an event nor those who come change it."""
        made: list[int] = []
        violations: list[str] = []

        def render(wake: Wake) -> Rendering:
            made.append(len(wake.events))

            def steps() -> Any:
                for step in range(10):
                    self.lab.clock.rightNow += 2 * TURN_S
                    if step == 5:
                        self.lab.publish("1")
                    yield
                    violations.extend(self.lab.registry.violations())
                return Response(200, (), b"%d of %d" % (len(wake.events), len(made)))

            return steps()

        first = self.members(3, wait=1.0, need=2, render=render)
        (later,) = self.members(1, wait=60.0, need=2, render=render)
        self.lab.clock.advance(1.1)
        self.lab.settle()
        self.assertEqual([member.got for member in first], [[b"0 of 1"]] * 3)
        self.assertEqual((later.got, made, violations), ([], [0], []))
        self.lab.publish("1")
        self.lab.settle()
        self.assertEqual((later.got, made), ([b"2 of 2"], [0, 2]))
        self.assertEqual(self.lab.clock.getDelayedCalls(), [])

    def test_left_while_the_response_is_made(self) -> None:
        """Nobody is left who gets it."""

        def render(wake: Wake) -> Rendering:
            def steps() -> Any:
                self.lab.clock.rightNow += 2 * TURN_S
                yield
                self.lab.registry.leave(member)
                self.lab.clock.rightNow += 2 * TURN_S
                yield
                return Response(200, (), b"")

            return steps()

        (member,) = self.members(1, wait=1.0, render=render)
        self.lab.clock.advance(1.1)
        self.lab.settle()
        self.assertEqual((member.got, self.lab.registry.held, list(self.lab.registry.violations())), ([], 0, []))

    def test_back_at_once(self) -> None:
        """A connection that is answered in time and asks the same at once waits for as long as it asks now."""
        self.back_at_once(0)

    def test_back_at_once_after_a_long_response(self) -> None:
        """The same, where the response took some turns."""
        self.back_at_once(3)

    def back_at_once(self, turns: int) -> None:
        """A response takes so many turns to make."""

        def render(wake: Wake) -> Rendering:
            def steps() -> Any:
                for _ in range(turns):
                    self.lab.clock.rightNow += 2 * TURN_S
                    yield
                return Response(200, (), b"timed out")

            return steps()

        ended: list[float] = []

        class Asking(Member):
            @classmethod
            def deliver_all(cls, members: Sequence[Any], response: Response) -> None:
                for member in members:
                    ended.append(member._lab.clock.seconds())
                    if len(ended) == 1:
                        member._lab.hold(member, wait=20.0, render=render)

        other, member = self.members(2, wait=90.0, render=render)
        self.lab.registry.leave(member)
        member.__class__ = Asking
        self.lab.hold(member, wait=1.0, render=render)
        self.lab.clock.pump([0.125] * 8 * 25)
        self.assertEqual(len(ended), 2)
        self.assertTrue(20.0 <= ended[1] - ended[0] < 21.0, ended)
        self.assertIn(other, self.lab.registry)

    def test_the_end(self) -> None:
        """At the end of the service clients are told different times to come back; without such a time all get the same."""
        members = self.members(200, render=lambda wake: json_response(b"{}", "e-1", closing=wake.closing))
        got: list[Response] = []

        class Noting(Member):
            @classmethod
            def deliver_all(cls, of_class: Sequence[Any], response: Response) -> None:
                got.extend([response] * len(of_class))

        for member in members:
            member.__class__ = Noting
        self.lab.registry.close()
        self.lab.settle()
        self.assertEqual(len(got), 200)
        self.assertEqual(len({id(response) for response in got}), CLOSING_RESPONSES)
        times = {dict(response.headers)[b"retry-after"] for response in got}
        self.assertGreater(len(times), 1)

    def test_a_problem(self) -> None:
        """A response that cannot be made because of a fault ends the connection: the client begins anew."""
        (member,) = self.members(1, render=lambda wake: 1 / 0)
        responses: list[Response] = []

        class Noting(Member):
            @classmethod
            def deliver_all(cls, of_class: Sequence[Any], response: Response) -> None:
                responses.append(response)

        member.__class__ = Noting
        self.lab.publish("1")
        self.lab.settle()
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual([(response.status, response.close) for response in responses], [(500, True)])
        self.assertEqual(responses[0].body, Problem(500, "an error of the server; its log tells more").body())

    def test_wakes_are_counted(self) -> None:
        """How long it took to answer is counted for a change, not for a time-out."""
        woken: list[tuple[str, int]] = []
        self.lab.tracker.woke = lambda kind, count: woken.append((kind, count))  # type: ignore[method-assign]
        self.members(3, wait=10.0)
        self.lab.clock.advance(10.5)
        self.assertEqual(woken, [])
        self.members(4)
        self.lab.publish("1")
        self.lab.settle()
        self.assertEqual(woken, [("poll", 4)])
