"""Signed tokens of others: their keys, and what they say."""

from __future__ import annotations

import json
import os
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from jobpush.web.identity import Refused
from jobpush.web.principal import Principal
from jobpush.web.signed_tokens import (
    LEEWAY_S,
    MOST_KEYS,
    BadKeys,
    BadToken,
    Believed,
    end_of,
    key_document,
    keys_of,
    secret_key,
    unverified,
    user_name,
    verified,
)
from tests.signed import SECRET, b64, claims, entry, hs256, jwks, public_pem, raw, rs256

NOW = 1_800_000_000.0


class KeyTests(SynchronousTestCase):
    """Where keys are read from."""

    def write(self, data: bytes, mode: int = 0o640) -> str:
        path = os.path.abspath(self.mktemp())
        with open(path, "wb") as file:
            file.write(data)
        os.chmod(path, mode)
        return path

    def test_secret(self) -> None:
        """All bytes of a file that others may not read; what is wrong is said."""
        (key,) = secret_key(self.write(SECRET + b"\n"))
        self.assertEqual((key.key, key.algorithm, key.id), (SECRET + b"\n", "HS256", None))
        self.assertNotIn("0123", repr(key))
        for path, words in ((self.write(SECRET, 0o644), "chmod o="), (self.write(SECRET[:-1]), "at least 32"), ("/nowhere/x", "No such file")):
            error = self.assertRaises(BadKeys, secret_key, path)
            self.assertIn(words, str(error))
            self.assertIn(path, str(error))

    def test_document(self) -> None:
        """Its RSA keys for RS256; everybody may read it, but not change it."""
        found = key_document(self.write(jwks(0, 1), 0o644))
        self.assertEqual([(key.id, key.algorithm) for key in found], [("k0", "RS256"), ("k1", "RS256")])
        self.assertEqual(len({key.fingerprint for key in found}), 2)
        for path, words in (
            (self.write(jwks(0), 0o646), "chmod o-w"), (self.write(b"{"), "expected a JWKS"), (self.write(b'{"keys": 1}'), "expected a JWKS"),
            (self.write(b"[1]"), "expected a JWKS"), (self.write(b'{"keys": []}'), "no RSA key"), (os.path.dirname(self.write(b"")), "is a directory"),
        ):  # fmt: skip
            self.assertIn(words.lower(), str(self.assertRaises(BadKeys, key_document, path)).lower(), words)

    def test_other_keys(self) -> None:
        """Those for something else, those that are too short, secrets and what is none are passed over."""
        others: list[Any] = [
            entry(1, use="enc"), entry(1, alg="RS512"), entry(2, 1024), {"kty": "oct", "k": "AAAA", "alg": "HS256"}, {"kty": "EC"}, 5,
            {"kty": "RSA"}, {"kty": "RSA", "n": "!", "e": 5}, entry(1, kid=5), {**entry(1), "n": ""}, {**entry(1), "e": []},
        ]  # fmt: skip
        self.assertEqual([key.id for key in keys_of(json.dumps({"keys": [*others, entry(0, use="sig", alg="RS256")]}).encode())], ["k0"])
        for each in others:
            self.assertRaises(BadKeys, keys_of, json.dumps({"keys": [each]}).encode())
        self.assertRaises(BadKeys, keys_of, json.dumps({"keys": [5] * MOST_KEYS + [entry(0)]}).encode())


class VerifiedTests(SynchronousTestCase):
    """`verified`, `end_of` and `user_name`."""

    def setUp(self) -> None:
        self.rsa = keys_of(jwks(0, 1))
        path = os.path.abspath(self.mktemp())
        with open(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600), "wb") as file:
            file.write(SECRET)
        self.secret = secret_key(path)

    def why(self, text: str, keys: Any = None) -> str:
        """Why it is not taken."""
        return str(self.assertRaises(BadToken, verified, text, self.secret if keys is None else keys))

    def test_good(self) -> None:
        """One that is signed with one of the keys, with and without a kid."""
        for text, keys, expected in (
            (rs256(claims(NOW)), self.rsa, self.rsa[0]), (rs256(claims(NOW), 1), self.rsa, self.rsa[1]), (hs256(claims(NOW)), self.secret, self.secret[0]),
            (rs256(claims(NOW), 1, kid=None), self.rsa, self.rsa[1]),
        ):  # fmt: skip
            said, key = verified(text, keys)
            self.assertEqual((said["sun"], key), ("kim", expected))
            self.assertEqual(unverified(text), said)

    def test_wrong_key(self) -> None:
        """Another key; another one's kid; a signature that was cut off or changed; a payload of another token."""
        self.assertIn("not signed", self.why(rs256(claims(NOW), 3), self.rsa))
        self.assertIn("not signed", self.why(rs256(claims(NOW), 3, kid="k0"), self.rsa))
        self.assertIn("not signed", self.why(rs256(claims(NOW), 0, kid="k1"), self.rsa))
        self.assertIn("not signed", self.why(hs256(claims(NOW), b"x" * 32)))
        one, other = hs256(claims(NOW)).split("."), hs256(claims(NOW, sun="root")).split(".")
        self.assertIn("not signed", self.why(".".join((one[0], other[1], one[2]))))
        self.assertIn("not signed", self.why(".".join((*one[:2], ""))))
        self.assertIn("not signed", self.why(".".join((*one[:2], one[2][:-4]))))

    def test_algorithms(self) -> None:
        """That of a token counts for nothing: none, another one, and an RSA key's public half taken for a secret."""
        for name in ("none", "None", "NONE", "", "HS384", "hs256", None, 5, ["HS256"], {}):
            self.assertIn("algorithm", self.why(raw({"alg": name}, json.dumps(claims(NOW)))), name)
        unsigned = f"{b64(json.dumps({'alg': 'none'}))}.{b64(json.dumps(claims(NOW)))}."
        for keys in (self.rsa, self.secret):
            self.assertIn("algorithm", self.why(unsigned, keys))
        for head in ({"alg": "HS256"}, {"alg": "HS256", "kid": "k0"}):
            self.assertIn("algorithm", self.why(raw(head, json.dumps(claims(NOW)), public_pem(0)), self.rsa))
        self.assertIn("not signed", self.why(raw({"alg": "RS256"}, json.dumps(claims(NOW)), public_pem(0)), self.rsa))
        self.assertIn("algorithm", self.why(rs256(claims(NOW)), self.secret))

    def test_keys_of_its_own(self) -> None:
        """A token that brings a key, or says where one is, is not signed by one that is known; a critical extension is refused."""
        for more in ({"jwk": entry(3)}, {"jku": "http://127.0.0.1:1/"}, {"x5u": "http://127.0.0.1:1/"}):
            self.assertIn("not signed", self.why(rs256(claims(NOW), 3, kid=None, **more), self.rsa))
        self.assertIn("critical", self.why(raw({"alg": "HS256", "crit": ["exp"]}, json.dumps(claims(NOW)))))
        self.assertIn("critical", self.why(raw({"alg": "HS256", "b64": False, "crit": ["b64"]}, json.dumps(claims(NOW)))))

    def test_malformed(self) -> None:
        """Names that come twice, in either part; what is no object, no JSON, no number; what is huge, or deeply nested."""
        good = json.dumps(claims(NOW))
        for payload in (good[:-1] + ', "sun": "root"}', '{"exp": 1, "exp": 2}', "[]", "5", "", "{", '{"exp": NaN}', '{"exp": Infinity}', "\x00", "[" * 3000,
                        '{"a": {"sun": 1, "sun": 2}}', '{"exp": 1' + "0" * 5000 + "}"):  # fmt: skip
            self.assertIn("malformed", self.why(raw({"alg": "HS256"}, payload)), payload[:50])
        self.assertIn("malformed", self.why(raw('{"alg": "none", "alg": "HS256"}', good)))
        self.assertIn("malformed", self.why(raw("[]", good)))
        for text in ("", ".", "..", "...", "a.b", "a.b.c", hs256(claims(NOW)) + ".", "é.é.é", "\udc80.b.c", " " + hs256(claims(NOW)), hs256(claims(NOW)).replace(".", ".\n", 1)):
            self.why(text)
            self.assertEqual(unverified(text).get("iss"), None)
        self.assertIn("longer", self.why("x" * 9000))
        self.assertIn("longer", self.why(raw({"alg": "HS256"}, json.dumps(claims(NOW, x="x" * 8000)))))

    def test_dates(self) -> None:
        """Each must be there, and a date; ten seconds are forgiven."""
        self.assertEqual(end_of(claims(NOW), NOW), NOW + 60 + LEEWAY_S)
        for name in ("exp", "iat"):
            for value in (None, "1", True, -1, 1e300, 10**30, [], {}):
                self.assertIn(name, str(self.assertRaises(BadToken, end_of, claims(NOW, **{name: value}), NOW)), value)
        self.assertIn("nbf", str(self.assertRaises(BadToken, end_of, claims(NOW, nbf="x"), NOW)))
        for said, good in (
            ({"exp": NOW - 9}, True), ({"exp": NOW - 10}, False), ({"iat": NOW + 10}, True), ({"iat": NOW + 11}, False), ({"nbf": NOW + 10}, True),
            ({"nbf": NOW + 11}, False), ({"exp": NOW + 1e9}, True),
        ):  # fmt: skip
            if good:
                end_of(claims(NOW, **said), NOW)
            else:
                self.assertRaises(BadToken, end_of, claims(NOW, **said), NOW)

    def test_users(self) -> None:
        """Names of users, and nothing else."""
        for name in ("kim", "root", "a_b-c.d", "kim@EXAMPLE.org", "host$", "DOM\\kim"):
            self.assertEqual(user_name(name), name)
        for other in ("", " ", "kim ", "a b", "@staff", "-x", "a/b", "a\n", "a\x00", "é", "x" * 300, None, 5, ["kim"], {"kim": 1}, True):
            self.assertRaises(BadToken, user_name, other)

    @given(st.data())
    def test_any_bytes(self, data: Any) -> None:
        """Whatever is changed in a good token, it is refused as a bad one, or says what it said."""
        good = data.draw(st.sampled_from([hs256(claims(NOW)), rs256(claims(NOW))]))
        at = data.draw(st.integers(0, len(good) - 1))
        text = good[:at] + data.draw(st.text(max_size=3)) + good[at + data.draw(st.integers(0, 5)) :]
        for keys in (self.rsa, self.secret):
            try:
                said, _ = verified(text, keys)
            except BadToken:
                continue
            self.assertEqual(said, claims(NOW))

    @given(st.dictionaries(st.sampled_from(["alg", "kid", "typ", "crit", "b64", "jwk", "zip"]), st.none() | st.booleans() | st.integers() | st.text(max_size=9)),
           st.recursive(st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=9), lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3), max_leaves=9))  # fmt: skip
    def test_any_parts(self, head: Any, payload: Any) -> None:
        """Whatever stands in a signed token, it is a bad one or has the claims that it has."""
        try:
            said, _ = verified(raw(head, json.dumps(payload)), self.secret)
        except BadToken:
            return
        self.assertEqual((head["alg"], said), ("HS256", payload))

    @given(st.dictionaries(st.sampled_from(["exp", "iat", "nbf"]), st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=9) | st.lists(st.integers())))
    def test_any_dates(self, said: Any) -> None:
        """Whatever dates are claimed: refused, or good until a date that is to come."""
        try:
            until = end_of(said, NOW)
        except BadToken:
            return
        self.assertGreater(until, NOW)


class BelievedTests(SynchronousTestCase):
    """`Believed`."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.date = NOW
        self.asked = 0
        self.revoked: list[Any] = []
        self.believed = Believed(self.clock, lambda: self.date, "test", keys_of(jwks(0, 1)), self.user_of)
        self.believed.on_revoked.append(self.revoked.append)

    def user_of(self, said: Any) -> str:
        self.asked += 1
        return user_name(said.get("sun"))

    def test_principal(self) -> None:
        """The same object each time, found once; no roles; it ends with the token."""
        text = rs256(claims(NOW, sun="root"))
        found = self.believed.principal(text)
        self.assertEqual((found.name, found.roles, found.expires_at), ("root", frozenset(), 70.0))
        self.clock.advance(5)
        self.date += 5
        self.assertIs(self.believed.principal(text), found)
        self.assertEqual(self.asked, 1)
        self.clock.advance(65)
        self.date += 65
        error = self.assertRaises(Refused, self.believed.principal, text)
        self.assertEqual((error.status, error.who, "expired" in error.why), (401, "root", True))

    def test_the_clock_is_set(self) -> None:
        """Forward over the end of a token: it has expired."""
        text = rs256(claims(NOW))
        self.believed.principal(text)
        self.date += 71
        self.assertRaises(Refused, self.believed.principal, text)
        self.date -= 100
        self.assertRaises(Refused, self.believed.principal, text)

    def test_unsigned_names(self) -> None:
        """Whom a token names whose signature is bad is not said."""
        error = self.assertRaises(Refused, self.believed.principal, rs256(claims(NOW), 3))
        self.assertEqual((error.who, error.close), ("", True))
        self.assertNotIn("kim", error.why)

    def test_long(self) -> None:
        """A token without an end to speak of gives a principal for a month at once."""
        text = rs256(claims(NOW, exp=NOW + 1e9))
        self.assertEqual(self.believed.principal(text).expires_at, 30 * 86400.0)
        self.assertIs(self.believed.principal(text), self.believed.principal(text))

    def test_new_keys(self) -> None:
        """Who is known by a key that is gone is revoked, and his token is not taken; others go on."""
        texts = [rs256(claims(NOW), number) for number in (0, 1)]
        zero, one = (self.believed.principal(text) for text in texts)
        self.assertTrue(self.believed.give(keys_of(jwks(1, 4))))
        (is_revoked,) = self.revoked
        self.assertEqual([is_revoked(each) for each in (zero, one, Principal("kim"))], [True, False, False])
        self.assertRaises(Refused, self.believed.principal, texts[0])
        self.assertEqual(self.believed.principal(texts[1]), one)
        self.assertFalse(self.believed.give(keys_of(jwks(4, 1))))
        self.assertEqual(len(self.revoked), 1)
