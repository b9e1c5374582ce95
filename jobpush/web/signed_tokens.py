"""
Signed tokens of others (JSON Web Tokens, RFC 7519): their keys, and what they say.

The algorithm is a property of the key and never taken from the token: RS256 for the RSA keys of a JWKS document, HS256 for a
secret. What a token refers to (``jku``, ``x5u``, a key of its own) is not looked at, a critical extension is not known.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs
from jwt.algorithms import RSAAlgorithm
from jwt.api_jws import PyJWS
from jwt.exceptions import PyJWTError
from twisted.internet.interfaces import IReactorTime

from jobpush.web.identity import not_so
from jobpush.web.principal import Principal, is_user_name

#: Seconds by which the clock of whoever made a token may differ from this host's.
LEEWAY_S = 10.0

#: Characters of a token, and keys of a document, at most; bits of an RSA key and bytes of a secret, at least.
MOST_CHARACTERS = 8192
MOST_KEYS = 50
LEAST_RSA_BITS = 2048
LEAST_SECRET_BYTES = 32

#: How many tokens are remembered that were found good.
MOST_KNOWN = 10_000

#: Dates in a token are at most this (the year 9999), and a principal lasts at most so many seconds at once.
_LATEST = 253_402_300_800
_LONGEST_S = 30 * 86400.0

#: Seconds by which the two clocks may differ before a token is looked at anew.
_DRIFT_S = 1.0


class BadKeys(Exception):
    """These keys cannot be used; one line."""


class BadToken(Exception):
    """
    A token is not to be believed; one line.

    :ivar who: whom it names, if its signature is good.
    """

    def __init__(self, why: str, who: object = "") -> None:
        super().__init__(why)
        self.who = who if isinstance(who, str) else ""


@attrs.frozen
class Key:
    """
    A key that signatures are checked with.

    :ivar id: its ``kid``; None if it has none.
    :ivar fingerprint: tells keys apart; it is no secret.
    """

    id: str | None
    algorithm: str
    key: Any = attrs.field(repr=False)
    fingerprint: str


def secret_key(path: str) -> Sequence[Key]:
    """
    Return the key of a file with a secret, as Slurm has it: all of its bytes.

    :raise BadKeys: if it cannot be read, others may read it, or it is too short.
    """
    try:
        with open(path, "rb") as file:
            if os.fstat(file.fileno()).st_mode & 0o007:
                raise BadKeys(f"{path}: everybody may read or write it; take that away with chmod o= {path}")
            secret = file.read(65536)
    except OSError as error:
        raise BadKeys(f"{path}: it cannot be read: {error.strerror}") from None
    if len(secret) < LEAST_SECRET_BYTES:
        raise BadKeys(f"{path}: expected at least {LEAST_SECRET_BYTES} bytes")
    return [Key(None, "HS256", secret, hashlib.sha256(b"fingerprint" + secret).hexdigest()[:16])]


def key_document(path: str) -> Sequence[Key]:
    """
    Return the keys of a file with a JWKS document.

    :raise BadKeys: if it cannot be read, everybody may change it, or it has no key that can be used.
    """
    try:
        with open(path, "rb") as file:
            if os.fstat(file.fileno()).st_mode & 0o002:
                raise BadKeys(f"{path}: everybody may change it; take that away with chmod o-w {path}")
            text = file.read(1024 * 1024)
    except OSError as error:
        raise BadKeys(f"{path}: it cannot be read: {error.strerror}") from None
    try:
        return keys_of(text)
    except BadKeys as error:
        raise BadKeys(f"{path}: {error}") from None


def keys_of(text: bytes) -> Sequence[Key]:
    """
    Return the RSA keys of a JWKS document that are for RS256. Others in it are passed over.

    :raise BadKeys: if it is none, or has no such key.
    """
    try:
        entries = _strict(text)["keys"]
    except (BadToken, KeyError):
        raise BadKeys('expected a JWKS document, {"keys": [...]}') from None
    if not isinstance(entries, list):
        raise BadKeys('expected a JWKS document, {"keys": [...]}')
    if len(entries) > MOST_KEYS:
        raise BadKeys(f"expected at most {MOST_KEYS} keys")
    found = [key for entry in entries if isinstance(entry, dict) for key in _rsa_key(entry)]
    if not found:
        raise BadKeys(f"it has no RSA key of {LEAST_RSA_BITS} bits or more for RS256")
    return found


def _rsa_key(entry: Mapping[str, Any]) -> Sequence[Key]:
    """Return the key of an entry; none if it is for something else."""
    if entry.get("kty") != "RSA" or entry.get("use", "sig") != "sig" or entry.get("alg", "RS256") != "RS256":
        return []
    key_id = entry.get("kid")
    try:
        key = RSAAlgorithm.from_jwk({name: entry[name] for name in ("kty", "n", "e")})
    except (PyJWTError, KeyError, TypeError, ValueError, binascii.Error):
        return []
    if getattr(key, "key_size", 0) < LEAST_RSA_BITS or not isinstance(key_id, str | None):
        return []
    return [Key(key_id, "RS256", key, hashlib.sha256(str((entry["n"], entry["e"])).encode()).hexdigest()[:16])]


def _strict(text: bytes) -> dict[str, Any]:
    """
    Return a JSON object in which no name comes twice and all numbers are numbers.

    :raise BadToken: if it is none.
    """

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs):
            raise ValueError("a name comes twice")
        return found

    def refuse(word: str) -> Any:
        raise ValueError(f"{word} is no number")

    try:
        found = json.loads(text.decode("utf-8"), object_pairs_hook=once, parse_constant=refuse)
    except (ValueError, RecursionError):
        raise BadToken("it is malformed") from None
    if not isinstance(found, dict):
        raise BadToken("it is malformed")
    return found


def _part(text: str) -> dict[str, Any]:
    """Return what a part of a token says."""
    try:
        return _strict(base64.b64decode(text.encode("ascii") + b"=" * (-len(text) % 4), b"-_", validate=True))
    except (ValueError, binascii.Error):
        raise BadToken("it is malformed") from None


def unverified(text: str) -> Mapping[str, Any]:
    """Return what a token claims, whoever has made it: that says who is to look at it, no more. Empty if it is none."""
    parts = text.split(".")
    if len(parts) != 3 or len(text) > MOST_CHARACTERS:
        return {}
    try:
        return _part(parts[1])
    except BadToken:
        return {}


def verified(text: str, keys: Sequence[Key]) -> tuple[Mapping[str, Any], Key]:
    """
    Return what a token claims, and by which of the keys it is signed.

    :raise BadToken: if it is signed by none of them, or malformed.
    """
    if len(text) > MOST_CHARACTERS:
        raise BadToken(f"it is longer than {MOST_CHARACTERS} characters")
    parts = text.split(".")
    if len(parts) != 3 or not text.isascii():
        raise BadToken("it is malformed")
    head = _part(parts[0])
    if "crit" in head:
        raise BadToken("it has a critical extension, of which none is known here")
    key_id = head.get("kid")
    fitting = [key for key in keys if key.algorithm == head.get("alg")]
    if not fitting:
        raise BadToken(f"its algorithm is not that of a key here ({', '.join(sorted({key.algorithm for key in keys}))})")
    if key_id is not None:
        fitting = [key for key in fitting if key.id in (None, key_id)]
    for key in fitting:
        try:
            whole = PyJWS().decode_complete(text, key.key, algorithms=[key.algorithm])
        except (PyJWTError, ValueError, TypeError):
            continue
        return _strict(whole["payload"]), key
    raise BadToken("it is not signed by a key that is known here")


def end_of(claims: Mapping[str, Any], date: float, who: object = "") -> float:
    """
    Return the date until which what a token claims is good, with the leeway.

    :param date: by the wall clock.
    :raise BadToken: if it has expired, is not good yet, or does not say when it was made and when it ends.
    """
    dates: dict[str, float] = {}
    for name in ("exp", "iat", "nbf"):
        value = claims.get(name)
        if name == "nbf" and value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= _LATEST:
            raise BadToken(f"expected {name}, a date as a number", who)
        dates[name] = float(value)
    if date >= dates["exp"] + LEEWAY_S:
        raise BadToken("it has expired", who)
    if max(dates["iat"], dates.get("nbf", 0.0)) > date + LEEWAY_S:
        raise BadToken("it is of the future: is the clock of this host right?", who)
    return dates["exp"] + LEEWAY_S


def user_name(value: object) -> str:
    """
    Return a claim as the name of a user.

    :raise BadToken: if it cannot be one.
    """
    if not isinstance(value, str) or not is_user_name(value):
        raise BadToken("it names no user")
    return value


def _seconds_left(until: float, date: float) -> float:
    """Return for how many seconds after a date something is good until another one; as long as a principal lasts, at most."""
    return min(until - date, _LONGEST_S)


class Believed:
    """
    Who is named by tokens that were found good. A token is looked at once, as long as neither keys nor clocks change.

    :param kind: what credentials of these tokens begin with.
    :param user_of: (claims) to the name of the user; raises `BadToken`.
    :param wall: returns the date by the host's clock.
    :ivar on_revoked: called when a key is not good any more, as `jobpush.web.identity.Revoking` has it.
    """

    def __init__(
        self,
        reactor: IReactorTime,
        wall: Callable[[], float],
        kind: str,
        keys: Sequence[Key],
        user_of: Callable[[Mapping[str, Any]], str],
    ) -> None:
        self._reactor = reactor
        self._wall = wall
        self._kind = kind
        self._keys = keys
        self._user_of = user_of
        #: By digest: the principal, and the date until which the token is good.
        self._known: dict[bytes, tuple[Principal, float]] = {}
        self.on_revoked: list[Callable[[Callable[[Principal], bool]], None]] = []

    @property
    def keys(self) -> Sequence[Key]:
        """The keys that are good."""
        return self._keys

    def give(self, keys: Sequence[Key]) -> bool:
        """
        Use these keys. What is held for who is known by another key is answered 401.

        :return: whether they are others than before.
        """
        before, now = ({key.fingerprint for key in some} for some in (self._keys, keys))
        self._keys = keys
        self._known.clear()
        gone = {f"{self._kind}:{fingerprint}" for fingerprint in before - now}
        if gone:
            for revoked in self.on_revoked:
                revoked(lambda principal: principal.credential in gone)
        return before != now

    def forget(self) -> None:
        """Let nobody be known by these tokens any more; who shows one again is looked at anew."""
        self._known.clear()
        for revoked in self.on_revoked:
            revoked(lambda principal: principal.credential.startswith(f"{self._kind}:"))

    def principal(self, text: str) -> Principal:
        """
        Return whom a token names; the same object each time.

        :raise Refused: 401, if it is not to be believed.
        """
        digest = hashlib.sha256(text.encode("utf-8", "surrogateescape")).digest()
        date = self._wall()
        found, until = self._known.get(digest, (None, 0.0))
        expires_at = self._reactor.seconds() + _seconds_left(until, date)
        if found is not None and date < until and abs((found.expires_at or 0.0) - expires_at) <= _DRIFT_S:
            return found
        try:
            claims, key = verified(text, self._keys)
            name = self._user_of(claims)
            until = end_of(claims, date, name)
        except BadToken as error:
            raise not_so(f"this token is not taken: {error}", error.who) from None
        expires_at = self._reactor.seconds() + _seconds_left(until, date)
        made = Principal(name, expires_at, credential=f"{self._kind}:{key.fingerprint}")
        if len(self._known) >= MOST_KNOWN:
            self._known.clear()
        self._known[digest] = made, until
        return made
