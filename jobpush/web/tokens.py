"""
Tokens: what a program shows in place of a password. Only their SHA-256 is kept, in the journal; a token itself is seen once, by
whoever asked for it. (Tests: tests/web/routes/test_tokens.py.)
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Callable, Iterable, Mapping

import attrs
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IReactorTime
from zope.interface import implementer

from jobpush.events.interfaces import IJournal
from jobpush.web.identity import IAuthenticator, bearer
from jobpush.web.principal import EVERY_SCOPE, Principal, Scope
from jobpush.web.problems import Problem, who_are_you
from jobpush.web.requests import ClientRequest

#: What each token begins with, so that one that was published by mistake is recognized; and its random part, in bytes.
PREFIX = "jp_"
RANDOM_BYTES = 32

#: Hours for which a token is good: by default, and at most.
HOURS = 12.0
MOST_HOURS = 30 * 24.0

#: Characters of what an owner calls one.
MOST_LABEL = 100

#: How many one user may have, and all together.
MOST_OF_ONE = 50
MOST = 20_000

#: What the names begin with under which the journal keeps them.
KEPT = "token:"

#: Seconds by which the two clocks may differ before the reactor's time of an end is computed anew.
_DRIFT_S = 1.0


@attrs.frozen
class Token:
    """
    What is kept of a token.

    :ivar id: its name: it is no secret.
    :ivar digest: the SHA-256 of the token, in hexadecimal digits.
    :ivar label: what its owner calls it.
    :ivar made_at: by the wall clock, as ``good_until``.
    """

    id: str
    digest: str
    user: str
    scopes: frozenset[Scope]
    made_at: float
    good_until: float
    label: str = ""

    def seconds_left(self, now: float) -> float:
        """Return for how many seconds it is good after that date."""
        return self.good_until - now

    def to_json(self) -> str:
        """Return it as text."""
        return json.dumps({**attrs.asdict(self), "scopes": sorted(scope.value for scope in self.scopes)})

    @classmethod
    def of_json(cls, text: str) -> Token:
        """Return the token that a text tells of."""
        fields = json.loads(text)
        return cls(**{**fields, "scopes": frozenset(map(Scope, fields["scopes"]))})


class Tokens:
    """
    Those that are good. They are what the journal keeps: nothing is kept beside it.

    :param wall: returns the time by the host's clock: that is what the ends of tokens are dates of.
    :param revoked: called when some are good no more, with what says of a principal whether it was known by one of them.
    """

    def __init__(
        self,
        journal: IJournal,
        wall: Callable[[], float],
        revoked: Callable[[Callable[[Principal], bool]], None],
    ) -> None:
        self._journal = journal
        self._wall = wall
        self._revoked = revoked
        #: By digest, made of what the journal keeps.
        self._known: tuple[Mapping[str, str], dict[str, Token]] | None = None

    def find(self, text: str) -> Token | None:
        """Return the token, if it is good."""
        token = self._by_digest().get(digest_of(text))
        return token if token is not None and self._wall() < token.good_until else None

    def of(self, user: str) -> list[Token]:
        """Return those of a user that are good, the oldest first."""
        return sorted((token for token in self._good() if token.user == user), key=lambda token: (token.made_at, token.id))

    async def make(self, user: str, scopes: frozenset[Scope], hours: float, label: str = "") -> tuple[str, Token]:
        """
        Return a new token, and what is kept of it.

        :raise Problem: 429, if there are as many as may be.
        :raise JournalError: if it cannot be kept.
        """
        await self._forget_expired()
        if len(self.of(user)) >= MOST_OF_ONE or len(self._by_digest()) >= MOST:
            text = f"{user} has {MOST_OF_ONE} tokens, or there are {MOST} in all: revoke some, or wait until they expire"
            raise Problem(429, text, headers={"Retry-After": "3600"})
        text = PREFIX + secrets.token_urlsafe(RANDOM_BYTES)
        now = self._wall()
        token = Token(secrets.token_hex(4), digest_of(text), user, scopes, now, now + hours * 3600.0, label)
        await self._journal.keep(KEPT + token.id, token.to_json())
        return text, token

    async def revoke(self, tokens: Iterable[Token]) -> None:
        """
        Let these be good no more; what is held for whoever has shown one of them is answered 401.

        :raise JournalError: if that cannot be kept; in this process they are good no more all the same.
        """
        gone = list(tokens)
        kept = [self._journal.keep(KEPT + token.id, None) for token in gone]
        credentials = {credential_of(token) for token in gone}
        self._revoked(lambda principal: principal.credential in credentials)
        for each in kept:
            await each

    def _good(self) -> list[Token]:
        now = self._wall()
        return [token for token in self._by_digest().values() if now < token.good_until]

    async def _forget_expired(self) -> None:
        now = self._wall()
        for token in list(self._by_digest().values()):
            if token.good_until <= now:
                await self._journal.keep(KEPT + token.id, None)

    def _by_digest(self) -> dict[str, Token]:
        kept = self._journal.kept()
        if self._known is None or self._known[0] is not kept:
            tokens = [Token.of_json(text) for name, text in kept.items() if name.startswith(KEPT)]
            self._known = kept, {token.digest: token for token in tokens}
        return self._known[1]


@implementer(IAuthenticator)
class TokenAuthenticator:
    """``Authorization: Bearer jp_…``."""

    how = "send a token (jobpush login)"
    explicit = True

    def __init__(self, reactor: IReactorTime, tokens: Tokens, wall: Callable[[], float]) -> None:
        self._reactor = reactor
        self._tokens = tokens
        self._wall = wall
        #: The principals of tokens: the same object for all requests with one, so that they share what is shared.
        self._principals: dict[str, Principal] = {}

    def principal(self, request: ClientRequest) -> Deferred[Principal | None]:
        text = bearer(request)
        if text is None or not text.startswith(PREFIX):
            return succeed(None)
        token = self._tokens.find(text)
        if token is None:
            why = "this token is not known here, has expired, or was revoked: jobpush login gives another one"
            return fail(who_are_you(why, wrong=True))
        expires_at = self._reactor.seconds() + token.seconds_left(self._wall())
        found = self._principals.get(token.id)
        if found is None or found.expires_at is None or abs(found.expires_at - expires_at) > _DRIFT_S:
            found = Principal(token.user, expires_at, scopes=token.scopes, credential=credential_of(token))
            if len(self._principals) >= MOST:
                self._principals.clear()
            self._principals[token.id] = found
        return succeed(found)


def digest_of(text: str) -> str:
    """Return what is kept of a token."""
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


def credential_of(token: Token) -> str:
    """Return the credential of a principal that is known by a token."""
    return KEPT + token.id


def scopes_of(names: Iterable[object]) -> frozenset[Scope]:
    """
    Return the scopes of these names; all, if there are none.

    :raise Problem: 400, naming what is none.
    """
    known = {scope.value: scope for scope in Scope}
    found = []
    for name in names:
        if not isinstance(name, str) or name not in known:
            raise Problem(400, f"scopes: {str(name)[:50]!r} is none of {', '.join(known)}", "scopes")
        found.append(known[name])
    return frozenset(found) or EVERY_SCOPE
