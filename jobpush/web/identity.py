"""How it is found out who asks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, runtime_checkable

import attrs
from twisted.internet.defer import Deferred, succeed
from zope.interface import Attribute, Interface

from jobpush.web.principal import ANONYMOUS, Principal, Role
from jobpush.web.problems import Problem
from jobpush.web.requests import ClientRequest


class Refused(Problem):
    """
    What a client says of itself is not so.

    :ivar who: whom it has named, for the log; empty if that is not known.
    :ivar why: as the log has it, which may say more than the client is told. Never a secret.
    """

    def __init__(
        self,
        status: int,
        detail: str,
        parameter: str | None = None,
        headers: Mapping[str, str] | None = None,
        who: str = "",
        why: str = "",
    ) -> None:
        super().__init__(status, detail, parameter, headers, close=True)
        self.who = who
        self.why = why or detail


def not_so(detail: str, who: str = "", why: str = "") -> Refused:
    """401: what proves who asks is wrong."""
    return Refused(401, detail, headers={"WWW-Authenticate": 'Bearer error="invalid_token"'}, who=who, why=why)


def only(request: ClientRequest, name: str) -> str | None:
    """
    Return the value of a header, without white space around it; None if the request does not have it.

    :raise Problem: 400, if it has several; the connection ends.
    """
    values = request.requestHeaders.getRawHeaders(name.lower().encode("ascii")) or ()
    if len(values) > 1:
        raise Problem(400, f"the request has several {name} headers", name, close=True)
    return values[0].strip().decode("ascii", "surrogateescape") if values else None


def bearer(request: ClientRequest) -> str | None:
    """
    Return what follows ``Bearer`` in a request's Authorization header; None if it has none, or one of another kind.

    :raise Problem: 400, if there are several; the connection ends.
    """
    kind, _, text = (only(request, "Authorization") or "").partition(" ")
    return text.strip() if kind.lower() == "bearer" else None


class IAuthenticator(Interface):
    """One way in which clients say who they are."""

    how: str = Attribute("How a client says who it is in this way, for errors; a clause: ``send a token (jobpush login)``.")
    explicit: bool = Attribute("Whether a client has put it into its request: that goes before what its connection says.")

    def principal(request: ClientRequest) -> Deferred[Principal | None]:
        """
        Fire with who asks; with None if the request says nothing of it in this way. Does not block.

        Fails with a `Problem`, 401, if what it says is not so. The connection ends.
        """


@runtime_checkable
class Revoking(Protocol):
    """
    An authenticator whose credentials may end before their time.

    :ivar on_revoked: is called when some do, with what says of a principal whether it was known by one.
    """

    on_revoked: list[Callable[[Callable[[Principal], bool]], None]]


@attrs.frozen
class Roles:
    """
    Who has which role: names of users, and of groups with ``@`` before them.

    :ivar operators: see everybody's jobs.
    :ivar admins: may do everything.
    """

    operators: frozenset[str] = frozenset()
    admins: frozenset[str] = frozenset()

    @property
    def named(self) -> frozenset[str]:
        """All of them."""
        return self.operators | self.admins

    @property
    def need_groups(self) -> bool:
        """Whether a user's groups must be known."""
        return any(name.startswith("@") for name in self.named)

    def of(self, name: str, groups: frozenset[str]) -> frozenset[Role]:
        """Return the roles of a user in these groups."""
        ways = {f"@{group}" for group in groups} | ({name} if not name.startswith("@") else set())
        by_role = {Role.OPERATOR: self.operators, Role.ADMIN: self.admins}
        return frozenset(role for role, names in by_role.items() if not names.isdisjoint(ways))


class Identity:
    """
    :param authenticators: asked in this order.
    :param roles: who has which.
    :param groups_of: returns a Deferred that fires with the groups of a user; it may fail with a `Problem`.
    :ivar on_revoked: called when credentials are none any more, with what says of a principal whether it was known by one.
    """

    def __init__(
        self,
        authenticators: Sequence[IAuthenticator] = (),
        roles: Roles = Roles(),  # noqa: B008
        groups_of: Callable[[str], Deferred[frozenset[str]]] = lambda name: succeed(frozenset()),
    ) -> None:
        self._roles = roles
        self._groups_of = groups_of
        self._authenticators: list[IAuthenticator] = []
        for authenticator in authenticators:
            self.add(authenticator)
        self.on_revoked: list[Callable[[Callable[[Principal], bool]], None]] = []
        #: The last one: another object after each.
        self._revocation = object()

    def add(self, authenticator: IAuthenticator) -> None:
        """Ask one more, after those of its sort."""
        if isinstance(authenticator, Revoking):
            authenticator.on_revoked.append(self.revoke)
        self._authenticators = sorted((*self._authenticators, authenticator), key=lambda each: not each.explicit)

    @property
    def ways(self) -> tuple[str, ...]:
        """How clients can say who they are; clauses."""
        return tuple(authenticator.how for authenticator in self._authenticators)

    def __bool__(self) -> bool:
        return bool(self._authenticators)

    async def principal(self, request: ClientRequest) -> Principal:
        """
        Return who asks; `ANONYMOUS` if nothing of the request says so.

        What a client says explicitly goes before what is known of its connection.

        :raise Problem: 401, if what it says is not so; 400, if it says that it is two. The connection ends.
        """
        found: Principal | None = None
        unread = self._unread(request)
        for authenticator in self._authenticators:
            if not authenticator.explicit and (found is not None or unread):
                break
            principal = await authenticator.principal(request)
            if principal is None:
                continue
            if found is not None and principal.name != found.name:
                both = f"the request says that it is {found.name}, and that it is {principal.name}"
                raise Refused(400, both, who=f"{found.name}, {principal.name}")
            found = principal if found is None else _both(found, principal)
        if found is None and unread:
            raise not_so(f"nothing here reads this {unread}")
        if found is None:
            return ANONYMOUS
        if not self._roles.named:
            return found
        before = self._revocation
        groups = await self._groups_of(found.name) if self._roles.need_groups else frozenset[str]()
        if self._revocation is not before:  # perhaps of what this one has shown
            return await self.principal(request)
        return attrs.evolve(found, roles=found.roles | self._roles.of(found.name, groups))

    def _unread(self, request: ClientRequest) -> str:
        """Return what a request shows to prove who asks, and must not be passed over; empty if it shows nothing."""
        if not self._authenticators:
            return ""
        if bearer(request) is not None:
            return "bearer token"
        return "X-SLURM-USER-TOKEN" if only(request, "X-SLURM-USER-TOKEN") is not None else ""

    def revoke(self, is_revoked: Callable[[Principal], bool]) -> None:
        """Those of whom this is so are nobody any more, with what was held for them."""
        self._revocation = object()
        for call in self.on_revoked:
            call(is_revoked)


def _both(one: Principal, other: Principal) -> Principal:
    """Return who has said in two ways that it is the same: it may do what both are for, until the first of them ends."""
    ends = [each.expires_at for each in (one, other) if each.expires_at is not None]
    scopes, roles = one.scopes & other.scopes, one.roles | other.roles
    return attrs.evolve(one, expires_at=min(ends, default=None), scopes=scopes, roles=roles)
