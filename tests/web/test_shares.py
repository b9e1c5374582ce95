"""What one principal may take, and what is left to the others."""

from __future__ import annotations

from treq.testing import StubTreq
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from jobpush.web import Each, resource
from jobpush.web.identity import Identity
from jobpush.web.principal import ANONYMOUS, Principal
from jobpush.web.problems import Problem
from jobpush.web.shares import MOST_NOTED, Shares
from tests.support import USER_HEADER, LabCase, Pending, Says

KIM, LEE = Principal("kim"), Principal("lee")

POLL = "/v1/changes?since=now&wait=60"


class RateTests(SynchronousTestCase):
    """Requests a second."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1000)

    def taken(self, shares: Shares, principal: Principal, most: int = 100) -> int:
        """How many requests are answered at once, until one is refused."""
        for number in range(most):
            if not shares.may_ask(principal):
                return number
            shares.ask(principal)
        return most

    def test_each(self) -> None:
        """So many come at once, then so many a second; another principal has its own, and all who are nobody have one."""
        shares = Shares(self.clock, rate=5, burst=20)
        for principal in (KIM, LEE, ANONYMOUS):
            self.assertEqual(self.taken(shares, principal), 20)
            problem = self.assertRaises(Problem, shares.ask, principal)
            self.assertEqual(problem.status, 429)
            self.assertGreaterEqual(int(problem.headers["Retry-After"]), 1)
        self.clock.advance(1.001)
        self.assertEqual(self.taken(shares, KIM), 5)
        self.clock.advance(60)
        self.assertEqual(self.taken(shares, KIM), 20)
        self.assertEqual(shares.refused, {("requests", "one"): 3})

    def test_all(self) -> None:
        """What all together send is limited as well: 503."""
        shares = Shares(self.clock, rate=5, rate_of_all=8)
        self.assertEqual([self.taken(shares, principal) for principal in (KIM, LEE)], [5, 3])
        self.assertEqual(self.assertRaises(Problem, shares.ask, LEE).status, 503)
        self.assertEqual(shares.refused, {("requests", "all"): 1})

    def test_no_limit(self) -> None:
        """Without a rate nothing is limited, and nothing is kept."""
        shares = Shares(self.clock)
        self.assertEqual(self.taken(shares, KIM, 5000), 5000)
        self.assertEqual(shares._sent_by, {})

    def test_what_is_noted(self) -> None:
        """Those who could ask for all again are forgotten."""
        shares = Shares(self.clock, rate=5)
        for number in range(3 * MOST_NOTED):
            shares.ask(Principal(f"user{number}"))
            self.clock.advance(0.01)
        self.assertLessEqual(len(shares._sent_by), MOST_NOTED)
        self.assertEqual(self.taken(shares, Principal(f"user{3 * MOST_NOTED - 1}")), 4)


class ShareTests(LabCase):
    """Over HTTP."""

    def serve(self, max_held: int = 8, each: Each = Each(), authenticators: bool = True) -> None:  # noqa: B008
        identity = Identity([Says()] if authenticators else [])
        self.lab.resource = resource(self.lab.service, identity=identity, max_held=max_held, each=each)
        self.lab.treq = StubTreq(self.lab.resource)

    def ask(self, user: str | None = None, path: str = POLL) -> Pending:
        return self.lab.get(path, headers={USER_HEADER: user} if user is not None else {})

    def metric(self, limit: str, of: str) -> int:
        return self.lab.resource.registry.shares.refused.get((limit, of), 0)

    def test_held(self) -> None:
        """A quarter is for one; who is nobody shares one; what is left is for others. All are full: 503. One ends: there is room."""
        self.serve()
        held = {user: [self.ask(user) for _ in range(2)] for user in (None, "kim", "lee")}
        for user, polls in held.items():
            self.assertEqual([poll.held for poll in polls], [True, True], user)
            for _ in range(3):
                refused = self.ask(user)
                self.assertEqual(refused.status, 429)
                self.assertIsNotNone(refused.header("retry-after"))
        self.assertEqual((self.metric("held", "one"), self.metric("held", "all")), (9, 0))
        self.assertTrue(all(self.ask("ann").held for _ in range(2)))
        self.assertEqual(self.ask("bob").status, 503)
        self.assertEqual(self.metric("held", "all"), 1)
        self.assertEqual(list(self.lab.resource.registry.violations()), [])
        text = self.lab.get("/metrics").body().decode()
        self.assertIn('jobpush_refused_total{limit="held",of="one"} 9.0', text)
        held["kim"][0].cancel()
        self.assertEqual((self.ask("lee").status, self.ask("kim").held), (429, True))

    def test_streams(self) -> None:
        """They are held requests too."""
        self.serve(each=Each(held=1))
        stream = self.ask("kim", "/v1/events")
        self.assertEqual((self.ask("kim", "/v1/events").status, self.ask("kim").status), (429, 429))
        self.assertTrue(self.ask("lee").held)
        self.assertTrue(stream.response)

    def test_nobody_says_who_he_is(self) -> None:
        """Where that cannot be said, there is no limit but that of all, unless one is asked for."""
        self.serve(3, authenticators=False)
        self.assertTrue(all(self.ask().held for _ in range(3)))
        self.assertEqual(self.ask().status, 503)
        self.serve(3, Each(held=1, requests=1), authenticators=False)
        self.assertTrue(self.ask().held)
        self.assertEqual(self.ask().status, 429)

    def test_bytes(self) -> None:
        """Of the bytes of filters and ids one may take a quarter."""
        self.serve()
        self.lab.resource.registry.shares.size = 16_000
        path = "/v1/changes?since=now&wait=60" + "".join(f"&user=user{number}" for number in range(12))
        self.assertTrue(self.ask("kim", path).held)
        self.assertEqual(self.ask("kim", path + "&account=a").status, 429)
        self.assertTrue(self.ask("lee", path + "&account=a").held)
        self.assertEqual((self.metric("bytes", "one"), self.metric("bytes", "all")), (1, 0))

    def test_requests(self) -> None:
        """Too many at once are 429, of an open address too; health checks are always answered."""
        self.serve(each=Each(held=1, requests=2))
        self.assertEqual([self.ask("kim", "/v1/jobs").status for _ in range(4)], [200, 200, 429, 429])
        self.assertEqual([self.ask(None, "/openapi.json").status for _ in range(3)], [200, 200, 429])
        self.assertEqual([self.ask(None, "/healthz").status for _ in range(5)], [200] * 5)
        self.lab.clock.advance(1)
        self.assertEqual(self.ask("kim", "/v1/jobs").status, 200)
        self.assertEqual(self.metric("requests", "one"), 3)
