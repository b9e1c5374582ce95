"""What is violated is found. tests/web/held/test_registry.py tries it after each step of a registry."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from jobpush.runtime.timer_wheel import TimerWheel
from jobpush.web.held.invariants import violations
from tests.web.held.test_registry import Lab, Member


class InvariantsTests(SynchronousTestCase):
    def test_found(self) -> None:
        """A request without a deadline, one that is in no group, and a group without members that can be joined."""
        lab = Lab()
        member = Member(lab)
        lab.hold(member)
        registry = lab.registry
        held, joinable, streams = registry._members, registry._groups, (registry._catching_up,)
        self.assertEqual(list(violations(held, joinable, streams, registry.wheel)), [])
        self.assertEqual(
            list(violations(held, joinable, streams, TimerWheel(Clock()))),
            ["a held request's deadline is not the one that the timer wheel keeps"],
        )
        (group,) = joinable.values()
        del group.members[member]
        self.assertEqual(
            list(violations(held, joinable, streams, registry.wheel)),
            [
                "1 requests are held, 0 are in groups", "a held poll is not in its group",
                "a group without members can be joined",
            ],
        )  # fmt: skip
