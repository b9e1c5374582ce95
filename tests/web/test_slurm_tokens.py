"""Slurm's own tokens."""

from __future__ import annotations

import json
import os
from typing import Any

from jobpush.adapter.interfaces import BadQueueOption
from jobpush.auth_types import SlurmTokenFactory
from jobpush.runtime.reload import CannotReload
from jobpush.web import resource
from jobpush.web.access import Policy
from jobpush.web.identity import Identity
from jobpush.web.signed_tokens import keys_of
from jobpush.web.slurm_tokens import SlurmTokens
from jobpush.web.tokens import TokenAuthenticator, Tokens
from tests.signed import SECRET, claims, hs256, jwks, rs256
from tests.support import USER_HEADER, LabCase, Pending, Says

TOKEN, NAME = "x-slurm-user-token", "x-slurm-user-name"


class SlurmTokenCase(LabCase):
    """A service that hides users' jobs, with job 1 of kim and job 2 of lee; root has none."""

    def setUp(self) -> None:
        super().setUp()
        for number, user in (("1", "kim"), ("2", "lee")):
            self.lab.queue.set(number, "RUNNING", user=user)
        self.lab.tick()
        self.keys = keys_of(jwks(0))
        self.tokens = SlurmTokens(self.lab.clock, lambda: self.keys, self.lab.clocks.wall)
        self.lab.serve(100, Policy(private=True), [self.tokens, Says(explicit=False)])

    def token(self, user: str = "kim", number: int = 0, **more: Any) -> str:
        return rs256(claims(self.lab.clocks.wall(), **{"sun": user, **more}), number)

    def ask(self, path: str = "/v1/jobs", **headers: Any) -> Pending:
        return self.lab.request("GET", path, headers={name.replace("_", "-"): value for name, value in headers.items()})

    def jobs(self, **headers: Any) -> list[str]:
        return [job["id"] for job in self.ask(**headers).json()["jobs"]]


class RequestTests(SlurmTokenCase):
    """Requests with tokens."""

    def test_own_jobs(self) -> None:
        """In either header; another's job is as one that does not exist; root is a user of that name."""
        for header, prefix in (("x_slurm_user_token", ""), ("authorization", "Bearer ")):
            self.assertEqual(self.jobs(**{header: prefix + self.token()}), ["1"])
            self.assertEqual(self.jobs(**{header: prefix + self.token("lee")}), ["2"])
            self.assertEqual(self.jobs(**{header: prefix + self.token("root")}), [])
            statuses = [self.ask(f"/v1/jobs/memory/{job}", **{header: prefix + self.token()}).status for job in ("1", "2", "3")]
            self.assertEqual(statuses, [200, 404, 404])

    def test_before_the_peer(self) -> None:
        """It goes before who is at the other end of the socket; what is wrong is not made up for by that."""
        peer = {USER_HEADER: "lee"}
        self.assertEqual(self.jobs(**peer), ["2"])
        self.assertEqual(self.jobs(x_slurm_user_token=self.token(), **peer), ["1"])
        for wrong in (self.token(number=3), "", "x", self.token(exp=self.lab.clocks.wall() - 11), self.token(iat=self.lab.clocks.wall() + 11),
                      self.token(sun=None), self.token("a b"), self.token(exp=None), hs256(claims(self.lab.clocks.wall()))):  # fmt: skip
            self.assertEqual(self.ask(x_slurm_user_token=wrong, **peer).status, 401, wrong)
            self.assertEqual(self.ask(authorization=f"Bearer {wrong}", **peer).status, 401, wrong)
        self.assertEqual(self.ask(x_slurm_user_name="kim", **peer).status, 401)

    def test_names(self) -> None:
        """``X-SLURM-USER-NAME`` must agree, and two tokens with each other."""
        self.assertEqual(self.jobs(x_slurm_user_token=self.token(), x_slurm_user_name="kim"), ["1"])
        for name in ("lee", "root", "", "KIM"):
            self.assertEqual(self.ask(x_slurm_user_token=self.token("root"), x_slurm_user_name=name).status, 200 if name == "root" else 400)
        self.assertEqual(self.jobs(x_slurm_user_token=self.token(), authorization=f"Bearer {self.token()}"), ["1"])
        self.assertEqual(self.ask(x_slurm_user_token=self.token(), authorization=f"Bearer {self.token('lee')}").status, 400)
        self.assertEqual(self.ask(x_slurm_user_token=self.token(), authorization=f"Bearer {self.token(number=3)}").status, 401)
        self.assertEqual(self.ask(x_slurm_user_token=[self.token(), self.token()]).status, 400)

    def test_held(self) -> None:
        """At its end what is held with it is answered 401; so it is when its key is gone."""
        held = self.ask("/v1/changes?since=now&wait=600", x_slurm_user_token=self.token())
        other = self.ask("/v1/changes?since=now&wait=600", x_slurm_user_token=self.token("lee", exp=self.lab.clocks.wall() + 3600))
        self.lab.clock.advance(69)
        self.assertTrue(held.held)
        self.lab.clock.advance(2)
        self.assertEqual((held.status, other.held), (401, True))
        self.keys = keys_of(jwks(1))
        self.assertEqual(self.tokens.reload(), "its keys have changed")
        self.assertEqual(other.status, 401)

    def test_a_token_of_ours(self) -> None:
        """One that is made with Slurm's does not outlast it."""
        wall = self.lab.clocks.wall
        identity = Identity([self.tokens])
        ours = Tokens(self.lab.service.journal, wall, identity.revoke)
        identity.add(TokenAuthenticator(self.lab.clock, ours, wall))
        self.lab.resource = resource(self.lab.service, Policy(private=True), identity, ours, max_held=100)
        self.lab.registry = self.lab.resource.registry
        self.lab.treq.__init__(self.lab.resource)  # type: ignore[misc]
        made = self.lab.request("POST", "/v1/tokens", headers={TOKEN: self.token()})
        self.assertEqual(made.status, 201)
        text = made.json()["token"]
        self.assertEqual(self.jobs(authorization=f"Bearer {text}"), ["1"])
        self.assertEqual(self.ask(authorization=f"Bearer {text}", x_slurm_user_token=self.token("lee")).status, 400)
        self.lab.clock.advance(71)
        self.assertEqual(self.ask(authorization=f"Bearer {text}").status, 401)

    def test_nothing_reads_it(self) -> None:
        """Where Slurm's tokens are not for this service they are not passed over."""
        self.lab.serve(100, Policy(private=True), [Says(explicit=False)])
        self.assertEqual(self.ask(x_slurm_user_token=self.token(), **{USER_HEADER: "kim"}).status, 401)


class OptionTests(LabCase):
    """``--auth slurm-jwt``."""

    def make(self, **options: object) -> Any:
        return SlurmTokenFactory().generate_authenticator(self.lab.clock, options)

    def path(self, data: bytes, mode: int = 0o640) -> str:
        path = os.path.abspath(self.mktemp())
        with open(path, "wb") as file:
            file.write(data)
        os.chmod(path, mode)
        return path

    def test_keys(self) -> None:
        """A secret or a document, which are read again; what is wrong is said, and the old keys stay."""
        path = self.path(jwks(0))
        made = self.make(jwks=path)
        self.assertIsNone(made.reload())
        self.assertIsNone(self.make(key=self.path(SECRET)).reload())
        with open(path, "wb") as file:
            file.write(b"{}")
        self.assertRaises(CannotReload, made.reload)
        with open(path, "wb") as file:
            file.write(json.dumps(json.loads(jwks(1))).encode())
        self.assertEqual(made.reload(), "its keys have changed")

    def test_errors(self) -> None:
        """Neither, both, a secret for all, and options that are not there."""
        document, secret = self.path(jwks(0)), self.path(SECRET)
        for options, words in (
            ({}, "either key=PATH or jwks=PATH"), ({"jwks": document, "key": secret}, "either"), ({"key": self.path(SECRET, 0o644)}, "chmod o="),
            ({"jwks": secret}, "expected a JWKS"), ({"alg": "none"}, "unknown option 'alg'"),
        ):  # fmt: skip
            self.assertIn(words, str(self.assertRaises(BadQueueOption, self.make, **options)))

    def test_without_its_extra(self) -> None:
        """It says what to install."""
        factory = SlurmTokenFactory()
        self.patch(SlurmTokenFactory, "maker", "jobpush_no_such_module.make")
        error = self.assertRaises(BadQueueOption, factory.generate_authenticator, None, {})
        self.assertIn("pip install 'jobpush[jwt]'", str(error))
