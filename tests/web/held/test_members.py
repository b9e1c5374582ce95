"""Held requests that keep their HTTP channels."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from jobpush.web.held.members import DeferredMember
from jobpush.web.principal import Principal
from jobpush.web.responses import Response


class DeferredMemberTests(SynchronousTestCase):
    """`DeferredMember`."""

    def setUp(self) -> None:
        self.expired: list[DeferredMember] = []
        self.left: list[DeferredMember] = []

    def member(self, name: str = "kim") -> DeferredMember:
        """A held request of that user."""
        return DeferredMember(Principal(name), self.expired.append, self.left.append)

    def test_answered(self) -> None:
        """Each Deferred fires with the response, and nobody is told that somebody has left."""
        members, response = [self.member(), self.member()], Response(200, (), b"x")
        DeferredMember.deliver_all(members, response)
        for member in members:
            self.assertIs(self.successResultOf(member.deferred), response)
        self.assertEqual((self.expired, self.left), ([], []))

    def test_only_these(self) -> None:
        """The others wait on."""
        answered, waits = self.member(), self.member()
        DeferredMember.deliver_all([answered], Response(200, (), b"x"))
        self.assertNoResult(waits.deferred)

    def test_the_time_is_up(self) -> None:
        """Whoever holds it is told which one's time is up."""
        first, second = self.member(), self.member()
        second.expired()
        self.assertEqual((self.expired, self.left), ([second], []))
        self.assertNoResult(first.deferred)

    def test_the_client_leaves(self) -> None:
        """When its Deferred is cancelled, whoever holds it is told once which one has left."""
        first, second = self.member(), self.member()
        second.deferred.addErrback(lambda _: None)
        second.deferred.cancel()
        second.deferred.cancel()
        self.assertEqual((self.expired, self.left), ([], [second]))
        self.assertNoResult(first.deferred)

    def test_who(self) -> None:
        """It is a poll of whoever asks, and has no deadline before it is given one."""
        member = self.member("lee")
        self.assertEqual((member.kind, member.principal.name, member.due), ("poll", "lee", None))
