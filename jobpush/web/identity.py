"""How it is found out who asks."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from twisted.internet.defer import Deferred
from zope.interface import Attribute, Interface

from jobpush.web.principal import ANONYMOUS, Principal
from jobpush.web.problems import Problem
from jobpush.web.requests import ClientRequest


class IAuthenticator(Interface):
    """One way in which clients say who they are."""

    how: str = Attribute("How a client says who it is in this way, for errors; a clause: ``send a token (jobpush login)``.")
    explicit: bool = Attribute("Whether a client has put it into its request: that goes before what its connection says.")

    def principal(request: ClientRequest) -> Deferred[Principal | None]:
        """
        Fire with who asks; with None if the request says nothing of it in this way. Does not block.

        Fails with a `Problem`, 401, if what it says is not so. The connection ends.
        """


class Identity:
    """
    :param authenticators: asked in this order.
    :ivar on_revoked: called when credentials are none any more, with what says of a principal whether it was known by one.
    """

    def __init__(self, authenticators: Sequence[IAuthenticator] = ()) -> None:
        self._authenticators = sorted(authenticators, key=lambda each: not each.explicit)
        self.on_revoked: list[Callable[[Callable[[Principal], bool]], None]] = []

    def __bool__(self) -> bool:
        return bool(self._authenticators)

    async def principal(self, request: ClientRequest) -> Principal:
        """
        Return who asks; `ANONYMOUS` if nothing of the request says so.

        What a client says explicitly goes before what is known of its connection.

        :raise Problem: 401, if what it says is not so; 400, if it says that it is two. The connection ends.
        """
        found: Principal | None = None
        for authenticator in self._authenticators:
            if found is not None and not authenticator.explicit:
                break
            principal = await authenticator.principal(request)
            if principal is None:
                continue
            if found is not None and principal.name != found.name:
                raise Problem(400, f"the request says that it is {found.name}, and that it is {principal.name}", close=True)
            found = found or principal
        return found or ANONYMOUS

    def revoke(self, is_revoked: Callable[[Principal], bool]) -> None:
        """Those of whom this is so are nobody any more, with what was held for them."""
        for call in self.on_revoked:
            call(is_revoked)
