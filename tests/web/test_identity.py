"""How it is found out who asks."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.http_headers import Headers

from jobpush.web.identity import Identity, Roles
from jobpush.web.principal import ANONYMOUS, Principal
from jobpush.web.problems import Problem
from tests.support import Says


class Request:
    """One with these headers."""

    def __init__(self, **headers: str) -> None:
        self.headers = {name.encode(): value.encode() for name, value in headers.items()}

        self.requestHeaders = Headers({name: [value] for name, value in self.headers.items()})

    def getHeader(self, name: bytes) -> bytes | None:
        return self.headers.get(name)


class IdentityTests(SynchronousTestCase):
    """`Identity`."""

    def who(self, *authenticators: Any, **headers: str) -> Principal:
        """Who asks with these headers."""
        request: Any = Request(**headers)
        return self.successResultOf(Deferred.fromCoroutine(Identity(authenticators).principal(request)))

    def refused(self, *authenticators: Any, **headers: str) -> Problem:
        """Why it is not found out."""
        request: Any = Request(**headers)
        failed = self.failureResultOf(Deferred.fromCoroutine(Identity(authenticators).principal(request)), Problem)
        problem: Problem = failed.value
        return problem

    def test_nobody(self) -> None:
        """Where nothing is said, and where nobody asks."""
        self.assertEqual(self.who(), ANONYMOUS)
        self.assertEqual(self.who(authorization="Bearer abc"), ANONYMOUS)
        self.assertEqual(self.who(Says("a"), Says("b", explicit=False)), ANONYMOUS)

    def test_explicit_first(self) -> None:
        """What a client has put into its request goes before what its connection says, whatever the order."""
        peer, token = Says("peer", explicit=False), Says("token")
        for order in ((peer, token), (token, peer)):
            self.assertEqual(self.who(*order, peer="root", token="kim").name, "kim")
            self.assertEqual(self.who(*order, peer="root").name, "root")

    def test_wrong(self) -> None:
        """What is wrong is an error: nothing else of the request makes up for it."""
        peer, token = Says("peer", explicit=False), Says("token")
        problem = self.refused(peer, token, peer="root", token="wrong")
        self.assertEqual((problem.status, problem.close), (401, True))

    def test_two(self) -> None:
        """Two explicit ones that say the same are one; two that differ are 400, which says who they are."""
        one, two = Says("a"), Says("b")
        self.assertEqual(self.who(one, two, a="kim", b="kim").name, "kim")
        problem = self.refused(one, two, a="kim", b="lee")
        self.assertEqual((problem.status, problem.close), (400, True))
        for name in ("kim", "lee"):
            self.assertIn(name, problem.detail)

    def test_a_token_that_nothing_reads(self) -> None:
        """It is wrong: whoever has sent it is not taken for somebody else by his connection. Another kind is not looked at."""
        peer = Says("peer", explicit=False)
        self.assertEqual(self.refused(peer, peer="root", authorization="Bearer abc").status, 401)
        self.assertEqual(self.refused(Says("token"), authorization="bearer  abc").status, 401)
        self.assertEqual(self.who(peer, peer="root", authorization="Basic abc").name, "root")

    def test_revoked_while_groups_are_looked_up(self) -> None:
        """Who has shown it is asked again: it may have been revoked."""
        looked_up: list[Deferred[frozenset[str]]] = []

        def groups_of(name: str) -> Deferred[frozenset[str]]:
            looked_up.append(Deferred())
            return looked_up[-1]

        identity = Identity([Says("a")], Roles(frozenset({"@staff"})), groups_of)
        request: Any = Request(a="kim")
        asked = Deferred.fromCoroutine(identity.principal(request))
        identity.revoke(lambda principal: True)
        request.headers[b"a"] = b"wrong"  # as it is from now on
        looked_up[0].callback(frozenset({"staff"}))
        self.assertEqual(self.failureResultOf(asked, Problem).value.status, 401)
        request.headers[b"a"] = b"kim"
        asked = Deferred.fromCoroutine(identity.principal(request))
        looked_up[1].callback(frozenset({"staff"}))
        self.assertEqual(self.successResultOf(asked).name, "kim")

    def test_roles(self) -> None:
        """They come from the configuration, by name and by group; a name is no role."""
        asked: list[str] = []

        def groups_of(name: str) -> Deferred[frozenset[str]]:
            asked.append(name)
            return succeed(frozenset({"staff"} if name == "lee" else ()))

        def roles(user: str, **by_role: str) -> list[str]:
            request: Any = Request(a=user)
            identity = Identity([Says("a")], Roles(**{role: frozenset(names.split()) for role, names in by_role.items()}), groups_of)
            found = self.successResultOf(Deferred.fromCoroutine(identity.principal(request)))
            return sorted(role.value for role in found.roles)

        self.assertEqual(roles("operator"), [])
        self.assertEqual(roles("kim", operators="kim lee", admins="kim"), ["admin", "operator"])
        self.assertEqual((roles("staff", operators="@staff"), roles("@staff", operators="@staff")), ([], []))
        self.assertEqual(asked, ["staff", "@staff"])
        self.assertEqual(roles("lee", operators="@staff"), ["operator"])
        self.assertEqual(roles("kim", operators="@staff"), [])
