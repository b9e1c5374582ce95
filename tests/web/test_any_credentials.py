"""Whatever a client says of itself, in however many headers: no fault of the server's, and nobody's job without a good credential."""

from __future__ import annotations

import base64
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.logger import capturedLogs, formatEvent

from jobpush.web.access import Policy
from jobpush.web.tokens import TokenAuthenticator, Tokens
from tests.signed import b64, claims, hs256, public_pem, raw, rs256
from tests.support import Pending
from tests.web.test_slurm_tokens import NAME, TOKEN, SlurmTokenCase

AUTHORIZATION = "authorization"

#: What HTTP lets stand in a header's value.
VALUES = st.text(st.characters(min_codepoint=32, max_codepoint=255, exclude_characters="\x7f"), max_size=60)


class AnyCredentialTests(SlurmTokenCase):
    """A service that takes tokens of its own and Slurm's."""

    def setUp(self) -> None:
        super().setUp()
        wall = self.lab.clocks.wall
        self.own = Tokens(self.lab.service.journal, wall, lambda is_revoked: None)
        self.lab.serve(100, Policy(private=True), [TokenAuthenticator(self.lab.clock, self.own, wall), self.tokens])
        now = wall()
        good, lees = claims(now), claims(now, sun="lee")
        unsigned = b64('{"alg": "none"}')
        #: Those that are none, each with a name of a job's owner in it.
        self.bad = {
            "none": f"{unsigned}.{rs256(good).split('.')[1]}.",
            "none, with a signature": f"{unsigned}.{'.'.join(rs256(good).split('.')[1:])}",
            "HS256 with the public key": hs256(good, public_pem(0)),
            "HS256 with nothing": hs256(good, b""),
            "another key": rs256(good, 1),
            "another key by the right name": rs256(good, 1, kid="k0"),
            "no key's name": rs256(good, kid="k9"),
            "expired": rs256(claims(now - 3600)),
            "of the future": rs256(claims(now + 3600)),
            "no end": rs256(claims(now, exp=None)),
            "nobody's": rs256(claims(now, sun=None)),
            "two users'": raw({"alg": "HS256"}, f'{{"sun": "kim", "sun": "lee", "iat": {now:.0f}, "exp": {now + 60:.0f}}}'),
            "another's claims": ".".join((rs256(good).split(".")[0], rs256(lees).split(".")[1], rs256(good).split(".")[2])),
            "huge": rs256(claims(now, more="x" * 9000)),
            "cut": rs256(good)[:-9],
            "ours, never made": "jp_" + "A" * 43,
            "ours, a prefix": "jp_",
        }
        self.assertEqual(self.jobs(x_slurm_user_token=rs256(good)), ["1"])

    def refused(self, answer: Pending, secrets: list[str], *statuses: int) -> None:
        """It is, and neither the answer nor the log says what it was asked with."""
        self.assertIn(answer.status, statuses)
        body = answer.body()
        self.assertNotIn(b'"jobs"', body)
        for secret in secrets:
            if len(secret) > 20:
                self.assertNotIn(secret.encode("latin-1"), body)

    def test_bad_ones(self) -> None:
        """Each, in either header, three times: 401. The log says so, and not the token."""
        for name, token in self.bad.items():
            for header, value in ((TOKEN, token), (AUTHORIZATION, f"Bearer {token}"), (AUTHORIZATION, f"bearer  {token} ")):
                with capturedLogs() as captured:
                    for _ in range(3):
                        self.refused(self.lab.request("GET", "/v1/jobs", headers={header: value}), [token], 401)
                lines = [formatEvent(event) for event in captured]
                self.assertEqual(len([line for line in lines if "refused" in line]), 3, (name, lines))
                self.assertFalse([line for line in lines if token.split(".")[-1] in line and len(token.split(".")[-1]) > 5], name)

    @settings(max_examples=300)
    @given(st.data())
    def test_any_headers(self, data: Any) -> None:
        """Any values, good ones among them, up to three of each header: one good user's jobs, or none."""
        now = self.lab.clocks.wall()
        tokens = {"kim": rs256(claims(now)), "lee": rs256(claims(now, sun="lee")), **self.bad}
        given_: list[tuple[str, str]] = []
        for header in (AUTHORIZATION, TOKEN, NAME):
            good = st.sampled_from([tokens["kim"], tokens["lee"]])
            some = good | st.sampled_from(sorted(tokens)).map(tokens.__getitem__)
            if header == AUTHORIZATION:
                basic = VALUES.map(lambda text: "Basic " + base64.b64encode(text.encode("latin-1")).decode())
                some = some.map(lambda token: f"Bearer {token}") | basic | VALUES.map(lambda text: f"Bearer {text}")
            elif header == NAME:
                some = st.sampled_from(["kim", "lee", "root", ""])
            given_ += [(header, value) for value in data.draw(st.lists(some | VALUES, max_size=data.draw(st.sampled_from([0, 1, 1, 2]))))]
        headers: dict[str, list[bytes]] = {}
        for header, value in given_:
            headers.setdefault(header, []).append(value.encode("latin-1"))
        answer = self.lab.request("GET", "/v1/jobs", headers=headers)
        if answer.status != 200:
            self.refused(answer, [value for _, value in given_], 400, 401, 403)
            return
        proven = {value.removeprefix("Bearer ").strip() for header, value in given_ if header != NAME}
        users = {user for user in ("kim", "lee") if tokens[user] in proven}
        self.assertEqual(len(users), 1, given_)
        job = {"kim": "1", "lee": "2"}[users.pop()]
        self.assertEqual([each["id"] for each in answer.json()["jobs"]], [job])
