"""Held requests by who asks. tests/web/held/test_registry.py has them in a registry, in any order."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from jobpush.web.held.held_requests import HeldRequests
from jobpush.web.held.members import DeferredMember
from jobpush.web.principal import ANONYMOUS, Principal


def member(principal: Principal) -> DeferredMember:
    return DeferredMember(principal, lambda _: None, lambda _: None)


class HeldRequestsTests(SynchronousTestCase):
    """The index follows the dictionary."""

    def test_index(self) -> None:
        """It has those that are there, also one that has moved to another group, and no names without any."""
        held: HeldRequests[Any] = HeldRequests()
        kim, again, nobody = member(Principal("kim")), member(Principal("kim")), member(ANONYMOUS)
        for each in (kim, again, nobody):
            held[each] = "group"
        held[kim] = "other"
        self.assertEqual([list(held.of(name)) for name in ("kim", "", "lee")], [[kim, again], [nobody], []])
        self.assertEqual(list(held.violations(2)), [])
        self.assertEqual(list(held.violations(1)), ["2 requests of one principal are held, more than 1"])
        del held[kim], held[again]
        self.assertRaises(KeyError, held.__delitem__, kim)
        self.assertEqual((list(held.of("kim")), list(held)), ([], [nobody]))
        self.assertEqual((list(held._by_name), list(held.violations(None))), ([""], []))

    def test_violations(self) -> None:
        """An index that is not that of the dictionary is found, and one whose principals are others than they were."""
        held: HeldRequests[Any] = HeldRequests()
        kim = member(Principal("kim"))
        held[kim] = "group"
        kim.principal = Principal("lee")
        self.assertEqual(list(held.violations(None)), ["the requests of kim are not found by that"])
        dict.__delitem__(held, kim)
        self.assertIn("0 requests are held, 1 are found by who asks", list(held.violations(None)))
