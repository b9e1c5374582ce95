"""The tokens of an OpenID Connect issuer."""

from __future__ import annotations

import os
from typing import Any

from twisted.internet.defer import Deferred

from jobpush.adapter.interfaces import BadQueueOption
from jobpush.auth_types import OidcFactory, OidcOptions
from jobpush.runtime.reload import CannotReload
from jobpush.web.access import Policy
from jobpush.web.fetching import FetchError
from jobpush.web.oidc import OidcTokens
from jobpush.web.signed_tokens import BadToken, keys_of
from jobpush.web.slurm_tokens import SlurmTokens
from tests.signed import claims, entry, hs256, jwks, public_pem, rs256
from tests.support import USER_HEADER, LabCase, Pending, Says

ISSUER = "https://id.example.org/realms/hpc"


class OidcCase(LabCase):
    """A service that hides users' jobs, with job 1 of kim and job 2 of lee, and an issuer whose answers are kept back."""

    map: str | None = "same"

    def setUp(self) -> None:
        super().setUp()
        for number, user in (("1", "kim"), ("2", "lee")):
            self.lab.queue.set(number, "RUNNING", user=user)
        self.lab.tick()
        self.fetches: list[Deferred[bytes]] = []
        options = OidcOptions(ISSUER, "jobpush", "https://id.example.org/keys", map=self.map, refresh=600.0)
        self.tokens = OidcTokens(self.lab.clock, options, self.fetch, self.lab.clocks.wall)
        self.lab.serve(100, Policy(private=True), [self.tokens, Says(explicit=False)])
        self.tokens.startService()
        self.addCleanup(self.tokens.stopService)

    def fetch(self) -> Deferred[bytes]:
        self.fetches.append(Deferred())
        return self.fetches[-1]

    def token(self, user: object = "kim", number: int = 0, **more: Any) -> str:
        said = {"sun": None, "iss": ISSUER, "aud": "jobpush", "preferred_username": user, "exp": self.lab.clocks.wall() + 3600, **more}
        return rs256(claims(self.lab.clocks.wall(), **said), number)

    def ask(self, token: str, path: str = "/v1/jobs", **headers: str) -> Pending:
        return self.lab.request("GET", path, headers={"authorization": f"Bearer {token}", **headers})

    def jobs(self, token: str) -> list[str]:
        return [job["id"] for job in self.ask(token).json()["jobs"]]


class TokenTests(OidcCase):
    """Tokens, when the keys are there."""

    def setUp(self) -> None:
        super().setUp()
        self.fetches[0].callback(jwks(0))

    def test_own_jobs(self) -> None:
        """The user of the claim sees his; `aud` may be a list; no role comes of it."""
        self.assertEqual(self.jobs(self.token()), ["1"])
        self.assertEqual(self.jobs(self.token("lee", aud=["account", "jobpush"])), ["2"])
        self.assertEqual(self.jobs(self.token("root", roles=["admin"], sun="kim")), [])
        self.assertEqual(len(self.fetches), 1, "no request fetches")

    def test_refused(self) -> None:
        """Another issuer, audience, key or algorithm; no user; expired. The peer does not make up for it."""
        date = self.lab.clocks.wall()
        good = claims(date, iss=ISSUER, aud="jobpush", preferred_username="kim")
        for token in (
            self.token(iss="https://evil.example"), self.token(iss=ISSUER + "/"), self.token(iss=None), self.token(aud="other"),
            self.token(aud=None), self.token(aud=["other"]), self.token(aud={"jobpush": 1}), self.token(aud="jobpush2"), self.token(number=3),
            self.token(None), self.token(5), self.token(""), self.token("@staff"), self.token("a b"), self.token(exp=date - 11), self.token(exp=None),
            self.token(iat=date + 11), hs256(good, public_pem(0)), rs256(good, 3, kid="k0", jwk=entry(3)),
        ):  # fmt: skip
            self.assertEqual(self.ask(token, **{USER_HEADER: "kim"}).status, 401)

    def test_another_issuer_with_these_keys(self) -> None:
        """What is asked of a token before its signature is looked at is asked again of what was signed."""
        good = {"iss": ISSUER, "aud": "jobpush", "preferred_username": "kim"}
        self.assertEqual(self.tokens._user_of(good), "kim")
        self.assertRaises(BadToken, self.tokens._user_of, {**good, "iss": "https://evil.example"})

    def test_beside_slurm(self) -> None:
        """Each bearer token goes to who has made it; two that name two users are 400."""
        slurm = SlurmTokens(self.lab.clock, lambda: keys_of(jwks(5)), self.lab.clocks.wall)
        self.lab.serve(100, Policy(private=True), [slurm, self.tokens])
        theirs = rs256(claims(self.lab.clocks.wall(), sun="lee"), 5)
        self.assertEqual((self.jobs(theirs), self.jobs(self.token())), (["2"], ["1"]))
        self.assertEqual(self.ask(self.token(), **{"x-slurm-user-token": theirs}).status, 400)
        self.assertEqual(self.ask(self.token("lee"), **{"x-slurm-user-token": theirs}).status, 200)


class KeyTests(OidcCase):
    """Where the keys come from."""

    def test_not_yet(self) -> None:
        """Until they are known, 503 for tokens of the issuer; it is asked again; others are answered."""
        answer = self.ask(self.token())
        self.assertEqual((answer.status, answer.header("retry-after")), (503, "5"))
        self.assertEqual(self.ask("x").status, 401)
        self.fetches[0].errback(FetchError("down"))
        for count, seconds in ((2, 2), (3, 4), (4, 8), (5, 16), (6, 32), (7, 60), (8, 60)):
            self.lab.clock.advance(seconds - 0.1)
            self.assertEqual(len(self.fetches), count - 1)
            self.lab.clock.advance(0.1)
            self.assertEqual(len(self.fetches), count)
            if count == 3:
                self.fetches[-1].callback(b"no keys")
            elif count < 8:
                self.fetches[-1].errback(FetchError("down"))
        self.fetches[-1].callback(jwks(0))
        self.assertEqual(self.jobs(self.token()), ["1"])

    def test_kept_while_it_is_down(self) -> None:
        """They are fetched on a timer; those that are known stay while that fails; a key that is gone ends what is held by it."""
        self.fetches[0].callback(jwks(0))
        held = self.ask(self.token(), "/v1/changes?since=now&wait=600")
        self.lab.clock.advance(599)
        self.assertEqual(len(self.fetches), 1)
        self.assertTrue(held.held or held.status == 200)
        self.lab.clock.advance(1)
        self.fetches[1].errback(FetchError("down"))
        self.assertEqual(self.jobs(self.token()), ["1"])
        held = self.ask(self.token(), "/v1/changes?since=now&wait=600")
        self.lab.clock.advance(2)
        self.assertTrue(held.held)
        self.fetches[2].callback(jwks(1))
        self.assertEqual((held.status, self.ask(self.token()).status), (401, 401))
        self.assertEqual(self.jobs(self.token(number=1)), ["1"])

    def test_stopped(self) -> None:
        """Nothing is fetched any more."""
        self.successResultOf(self.tokens.stopService())  # type: ignore[arg-type]
        self.lab.clock.advance(2000)
        self.assertEqual(len(self.fetches), 1)


class MapTests(OidcCase):
    """A map of users."""

    def setUp(self) -> None:
        self.map = os.path.abspath(self.mktemp())
        self.write('"k@example.org" = "kim"\n')
        super().setUp()
        self.fetches[0].callback(jwks(0))

    def write(self, text: str, mode: int = 0o644) -> None:
        with open(str(self.map), "w") as file:
            file.write(text)
        os.chmod(str(self.map), mode)

    def test_mapped(self) -> None:
        """Who is in it, and nobody else, whatever his name; it is read again, and what is held by the old one ends."""
        self.assertEqual(self.jobs(self.token("k@example.org")), ["1"])
        self.assertEqual([self.ask(self.token(name)).status for name in ("kim", "lee", "l@example.org")], [401] * 3)
        held = self.ask(self.token("k@example.org"), "/v1/changes?since=now&wait=60")
        self.assertIsNone(self.tokens.reload())
        self.write('"l@example.org" = "lee"\n')
        self.assertEqual(self.tokens.reload(), "the map of users has changed")
        self.assertEqual((held.status, self.ask(self.token("k@example.org")).status), (401, 401))
        self.assertEqual(self.jobs(self.token("l@example.org")), ["2"])
        for text, mode in (("x", 0o644), ('"a" = 5', 0o644), ('"a" = "@b"', 0o644), ("", 0o646)):
            self.write(text, mode)
            self.assertRaises(CannotReload, self.tokens.reload)


class OptionTests(LabCase):
    """``--auth oidc``."""

    def test_errors(self) -> None:
        """What is missing, and addresses that are not to be asked."""
        full = {"issuer": ISSUER, "audience": "jobpush", "jwks": "https://id.example.org/keys", "map": "same"}
        make = OidcFactory().generate_authenticator
        make(self.lab.clock, full)
        for name in full:
            error = self.assertRaises(BadQueueOption, make, self.lab.clock, {key: value for key, value in full.items() if key != name})
            self.assertIn(f"expected {name}= too", str(error))
        for more, words in (({"jwks": "http://id.example.org/"}, "https://"), ({"map": "/nowhere"}, "No such file"), ({"refresh": 1}, "from 10")):
            self.assertIn(words, str(self.assertRaises(BadQueueOption, make, self.lab.clock, {**full, **more})))
