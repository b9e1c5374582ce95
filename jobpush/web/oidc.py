"""The tokens of an OpenID Connect issuer (Keycloak and others), as bearer tokens."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred, execute
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from jobpush.adapter.interfaces import BadQueueOption
from jobpush.auth_types import OidcOptions
from jobpush.runtime.clocks import wall as host_wall
from jobpush.runtime.reload import CannotReload
from jobpush.web.fetching import FetchError, check_url, fetch
from jobpush.web.identity import IAuthenticator, bearer
from jobpush.web.principal import Principal
from jobpush.web.problems import Problem
from jobpush.web.requests import ClientRequest
from jobpush.web.signed_tokens import BadKeys, BadToken, Believed, keys_of, unverified, user_name

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

#: Seconds after which keys that could not be fetched are asked for again: at first, and at most.
FIRST_PAUSE_S = 2.0
LONGEST_PAUSE_S = 60.0

#: The word for a map of users that leaves their names as they are.
SAME = "same"

#: Returns the users by what the claim says; None for the same names.
Users = Mapping[str, str] | None


@implementer(IAuthenticator)
class OidcTokens(Service):
    """
    Bearer tokens whose ``iss`` is that of the issuer. Its keys are fetched on a timer while this runs, and never for a request;
    while they cannot be fetched those that are known stay.

    :param options: as they were given, none of them left out.
    :param fetch_keys: returns a Deferred that fires with the JWKS document; it fails with `FetchError`.
    """

    log = Logger()
    how = "send a token of this site's identity provider"
    explicit = True

    def __init__(
        self,
        reactor: Any,
        options: OidcOptions,
        fetch_keys: Callable[[], Deferred[bytes]],
        wall: Callable[[], float] = host_wall,
    ) -> None:
        self._reactor = reactor
        self._options = options
        self._fetch_keys = fetch_keys
        self._users = read_users(options.map)
        self._kind = f"oidc:{options.issuer}"
        self._believed = Believed(reactor, wall, self._kind, (), self._user_of)
        self.on_revoked = self._believed.on_revoked
        self._work: Deferred[None] | None = None

    def startService(self) -> None:
        super().startService()
        self._work = Deferred.fromCoroutine(self._run())
        self._work.addErrback(self._ended)

    def stopService(self) -> Deferred[None] | None:
        super().stopService()
        if self._work is not None:
            self._work.cancel()
        return self._work

    def _ended(self, failure: Failure) -> None:
        if failure.check(CancelledError) is None:
            self.log.failure("the keys of {issuer} are fetched no more", failure, issuer=self._options.issuer)

    async def _run(self) -> None:
        pause = FIRST_PAUSE_S
        while True:
            try:
                self._believed.give(keys_of(await self._fetch_keys()))
            except (FetchError, BadKeys) as error:
                self.log.error(
                    "the keys of {issuer} could not be fetched, {what}: {error}",
                    issuer=self._options.issuer,
                    what="those that are known stay" if self._believed.keys else "and none are known",
                    error=str(error),
                )
                await deferLater(self._reactor, pause)
                pause = min(LONGEST_PAUSE_S, 2 * pause)
                continue
            pause = FIRST_PAUSE_S
            await deferLater(self._reactor, self._options.refresh)

    def principal(self, request: ClientRequest) -> Deferred[Principal | None]:
        return execute(self._principal, request)

    def _principal(self, request: ClientRequest) -> Principal | None:
        text = bearer(request)
        if text is None or unverified(text).get("iss") != self._options.issuer:
            return None
        if not self._believed.keys:
            why = "the keys of the identity provider are not known yet"
            raise Problem(503, why, headers={"Retry-After": "5"}, close=True)
        return self._believed.principal(text)

    def _user_of(self, claims: Mapping[str, Any]) -> str:
        """
        Return the user whom a token names.

        :raise BadToken: if it is of another issuer, for somebody else, or names no user.
        """
        audience = claims.get("aud")
        if claims.get("iss") != self._options.issuer:
            raise BadToken("it is of another issuer")
        if self._options.audience not in (audience if isinstance(audience, list) else [audience]):
            raise BadToken("it is not meant for this service (aud)", claims.get(self._options.claim))
        said = claims.get(self._options.claim)
        if self._users is None:
            return user_name(said)
        if not isinstance(said, str) or said not in self._users:
            raise BadToken(f"the map of users does not have its {self._options.claim}", said)
        return self._users[said]

    def reload(self) -> str | None:
        """
        Read the map of users again. If it has changed, what is held for those who are known by these tokens is answered 401.

        :return: what was done, for the log.
        :raise CannotReload: if that cannot be done; the old one stays.
        """
        try:
            users = read_users(self._options.map)
        except BadQueueOption as error:
            raise CannotReload(str(error)) from None
        if users == self._users:
            return None
        self._users = users
        self._believed.forget()
        return "the map of users has changed"


def read_users(path: str | None) -> Users:
    """
    Return the map of users in a TOML file of lines ``"what the claim says" = "user"``.

    :param path: that of the file, or `SAME`.
    :raise BadQueueOption: if it cannot be read, everybody may change it, or a user has no name of one.
    """
    if path in (None, SAME):
        return None
    try:
        with open(str(path), "rb") as file:
            if os.fstat(file.fileno()).st_mode & 0o002:
                raise BadQueueOption(f"map={path}: everybody may change it; take that away with chmod o-w {path}")
            table = tomllib.load(file)
        return {said: user_name(user) for said, user in table.items()}
    except OSError as error:
        raise BadQueueOption(f"map={path}: {error.strerror}") from None
    except BadToken:
        raise BadQueueOption(f'map={path}: expected lines such as "kim@example.org" = "kim"') from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadQueueOption(f"map={path}: {error}") from None


def make(reactor: Any, options: OidcOptions) -> OidcTokens:
    """
    Return what ``--auth oidc`` makes.

    :raise BadQueueOption: if something is missing, or the keys are not to be fetched from there.
    """
    missing = [name for name in ("issuer", "audience", "jwks", "map") if getattr(options, name) is None]
    if missing:
        raise BadQueueOption(f"expected {', '.join(f'{name}=' for name in missing)} too")
    url = str(options.jwks)
    try:
        check_url(url)
    except ValueError as error:
        raise BadQueueOption(f"jwks={url}: {error}") from None
    return OidcTokens(reactor, options, lambda: fetch(reactor, url))
