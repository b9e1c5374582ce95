"""Slurm's own tokens (``scontrol token``), as slurmrestd takes them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from twisted.internet.defer import Deferred, execute
from twisted.internet.interfaces import IReactorTime
from zope.interface import implementer

from jobpush.adapter.interfaces import BadQueueOption
from jobpush.auth_types import SlurmTokenOptions
from jobpush.runtime.clocks import wall as host_wall
from jobpush.runtime.reload import CannotReload
from jobpush.web.identity import IAuthenticator, Refused, bearer, not_so, only
from jobpush.web.principal import Principal
from jobpush.web.requests import ClientRequest
from jobpush.web.signed_tokens import BadKeys, Believed, Key, key_document, secret_key, unverified, user_name

TOKEN, NAME = "X-SLURM-USER-TOKEN", "X-SLURM-USER-NAME"

#: The claim with the name of the user, as Slurm makes tokens.
CLAIM = "sun"


@implementer(IAuthenticator)
class SlurmTokens:
    """
    ``X-SLURM-USER-TOKEN``, and the bearer token that names a user in ``sun``. ``X-SLURM-USER-NAME`` must agree.

    :param read_keys: reads the keys; raises `BadKeys`.
    """

    how = f"send a token of Slurm's (scontrol token) as {TOKEN}"
    explicit = True

    def __init__(
        self, reactor: IReactorTime, read_keys: Callable[[], Sequence[Key]], wall: Callable[[], float] = host_wall
    ) -> None:
        self._read_keys = read_keys
        self._believed = Believed(reactor, wall, "slurm-jwt", read_keys(), lambda claims: user_name(claims.get(CLAIM)))
        self.on_revoked = self._believed.on_revoked

    def principal(self, request: ClientRequest) -> Deferred[Principal | None]:
        return execute(self._principal, request)

    def _principal(self, request: ClientRequest) -> Principal | None:
        shown, name, other = only(request, TOKEN), only(request, NAME), bearer(request)
        texts = [] if shown is None else [shown]
        if other is not None and CLAIM in unverified(other):
            texts.append(other)
        if not texts:
            if name is not None:
                raise not_so(f"{NAME} proves nothing: it needs {TOKEN}", who=name)
            return None
        found = [self._believed.principal(text) for text in texts]
        for said in (found[-1].name, name):
            if said is not None and said != found[0].name:
                both = f"the request says that it is {found[0].name}, and that it is somebody else"
                raise Refused(400, both, NAME if said == name else TOKEN, who=f"{found[0].name}, {said}")
        return min(found, key=lambda each: each.expires_at or 0.0)

    def reload(self) -> str | None:
        """
        Read the keys again.

        :return: what was done, for the log; None if they are the same.
        :raise CannotReload: if that cannot be done; the old ones stay.
        """
        try:
            changed = self._believed.give(self._read_keys())
        except BadKeys as error:
            raise CannotReload(str(error)) from None
        return "its keys have changed" if changed else None


def make(reactor: IReactorTime, options: SlurmTokenOptions) -> SlurmTokens:
    """
    Return what ``--auth slurm-jwt`` makes.

    :raise BadQueueOption: if its keys cannot be read.
    """
    secret, document = options.key, options.jwks
    if (secret is None) == (document is None):
        raise BadQueueOption("expected either key=PATH or jwks=PATH")
    try:
        return SlurmTokens(reactor, lambda: secret_key(secret) if secret is not None else key_document(str(document)))
    except BadKeys as error:
        raise BadQueueOption(str(error)) from None
