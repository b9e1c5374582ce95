"""
Tickets: what opens one stream for a browser, whose ``EventSource`` and ``WebSocket`` can send no header. A ticket is good once,
for half a minute, for one filter; so it may stand in an address. (Tests: tests/web/routes/test_tickets.py.)
"""

from __future__ import annotations

import secrets
from collections.abc import Callable

import attrs
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IReactorTime
from zope.interface import implementer

from jobpush.core.filters import ALL, Selection
from jobpush.web.identity import IAuthenticator
from jobpush.web.principal import Principal, Scope
from jobpush.web.problems import Problem, try_later, who_are_you
from jobpush.web.requests import ClientRequest
from jobpush.web.tokens import digest_of

#: What each begins with, and its random part, in bytes.
PREFIX = "jt_"
RANDOM_BYTES = 32

#: Seconds for which one is good.
GOOD_S = 30.0

#: How many one user may have that were not used, and all together; and bytes that the filter of one may take up.
MOST_OF_ONE = 20
MOST = 2000
MOST_BYTES = 32_000

#: The parameter that it is given in, and what it opens.
PARAMETER = b"ticket"
STREAMS = ("/v1/events", "/v1/socket")


@attrs.frozen
class Ticket:
    """
    What is kept of a ticket.

    :ivar principal: who opens the stream.
    :ivar selection: what it may follow, whoever's jobs are shown.
    :ivar ends: the reactor's time.
    """

    principal: Principal
    selection: Selection
    ends: float

    def opens(self, selection: Selection) -> bool:
        """Return whether this is what it may follow."""
        return attrs.evolve(selection, visibility=ALL) == self.selection


class Tickets:
    """
    Those that are good, in memory alone.

    :param reactor: whose time is used.
    """

    def __init__(self, reactor: IReactorTime) -> None:
        self._reactor = reactor
        #: By the SHA-256 of each, the oldest first.
        self._tickets: dict[str, Ticket] = {}

    def __len__(self) -> int:
        self._forget()
        return len(self._tickets)

    def make(self, principal: Principal, selection: Selection) -> str:
        """
        Return a new one.

        :raise Problem: 429 or 503, if there are too many that were not used.
        """
        self._forget()
        own = sum(ticket.principal.name == principal.name for ticket in self._tickets.values())
        if own >= MOST_OF_ONE:
            detail = f"{principal.name} has {own} tickets that were not used; they expire in {GOOD_S:g} s"
            raise Problem(429, detail, headers={"Retry-After": f"{GOOD_S:.0f}"})
        if len(self._tickets) >= MOST:
            raise try_later(f"there are {MOST} tickets that were not used")
        text = PREFIX + secrets.token_urlsafe(RANDOM_BYTES)
        opens = attrs.evolve(principal, scopes=principal.scopes & {Scope.WATCH})
        ticket = Ticket(opens, attrs.evolve(selection, visibility=ALL), self._reactor.seconds() + GOOD_S)
        self._tickets[digest_of(text)] = ticket
        return text

    def use(self, text: str) -> Ticket | None:
        """Return what a ticket is for, which is none from now on; None if it is none."""
        self._forget()
        return self._tickets.pop(digest_of(text), None)

    def revoke(self, is_revoked: Callable[[Principal], bool]) -> None:
        """Those of principals of whom this is so are none any more."""
        self._tickets = {digest: each for digest, each in self._tickets.items() if not is_revoked(each.principal)}

    def _forget(self) -> None:
        now = self._reactor.seconds()
        while self._tickets:
            digest, oldest = next(iter(self._tickets.items()))
            if oldest.ends > now:
                break
            del self._tickets[digest]


@implementer(IAuthenticator)
class TicketAuthenticator:
    """``?ticket=jt_…`` where streams are opened."""

    how = "open a stream with a ticket"
    explicit = True

    def __init__(self, reactor: IReactorTime, tickets: Tickets) -> None:
        self._reactor = reactor
        self._tickets = tickets

    def principal(self, request: ClientRequest) -> Deferred[Principal | None]:
        given = request.args.get(PARAMETER, [])
        path = "/" + b"/".join(request.postpath).decode("utf-8", "replace")
        if not given or path not in STREAMS:
            return succeed(None)
        if len(given) > 1:
            return fail(Problem(400, "ticket is given several times; expected once", "ticket", close=True))
        ticket = self._tickets.use(given[0].decode("utf-8", "replace"))
        if ticket is None:
            return fail(who_are_you("this ticket is not known, was used, or is older than 30 s: POST /v1/tickets", wrong=True))
        expires_at = ticket.principal.expires_at
        if expires_at is not None and expires_at <= self._reactor.seconds():
            return fail(who_are_you("who got this ticket is nobody any more", wrong=True))
        request.ticket = ticket
        return succeed(ticket.principal)
