"""
What one principal may take of what the service has: held requests, bytes of their questions, requests a second. Those who do
not say who they are have one share together, so the rest is left to the others.
"""

from __future__ import annotations

import random

from twisted.internet.interfaces import IReactorTime

from jobpush.web.principal import Principal
from jobpush.web.problems import Problem, try_later

#: One in so many held requests, and of their bytes, may be one principal's, where clients can say who they are.
PARTS = 4

#: Requests a second that one principal may send in the long run, where clients can say who they are.
REQUESTS_S = 1000

#: Of how many principals it is known when they may ask again before those are looked for who may ask now.
MOST_NOTED = 1000


class Shares:
    """
    :param reactor: whose time is used.
    :param held: how many requests of one principal may be held at once; None for as many as of all.
    :param size: bytes that the questions of its held requests may take up; None for as many as of all.
    :param rate: requests a second that it may send in the long run; None for any number.
    :param rate_of_all: the same of all principals together.
    :param burst: how many requests may come at once: after an event all that were held come again. At least a second's.
    :ivar refused: how many requests were refused, by the limit and by whose it was: ``one`` or ``all``.
    """

    def __init__(
        self,
        reactor: IReactorTime,
        held: int | None = None,
        size: int | None = None,
        rate: float | None = None,
        rate_of_all: float | None = None,
        burst: int = 0,
    ) -> None:
        self.held = held
        self.size = size
        self.refused: dict[tuple[str, str], int] = {}
        self._reactor = reactor
        self._rate = rate
        self._rate_of_all = rate_of_all
        self._burst = burst
        #: When what each has sent would have been sent at its rate (the generic cell rate algorithm); under None that of all.
        self._sent_by: dict[str | None, float] = {}

    def refuse_one(self, limit: str, principal: Principal, detail: str) -> Problem:
        """Count a refusal, and return it: 429, for this principal has taken its share."""
        self.note(limit, "one")
        who = f"for {principal.name}" if principal.name else "for all who do not say who they are"
        return Problem(429, f"{who}: {detail}; try again later", headers={"Retry-After": str(random.randint(2, 10))})

    def refuse_all(self, limit: str, detail: str) -> Problem:
        """Count a refusal, and return it: 503, for nobody may take more."""
        self.note(limit, "all")
        return try_later(detail)

    def note(self, limit: str, of: str) -> None:
        """Count a refusal by a limit of one principal's or of all: ``one``, ``all``."""
        self.refused[limit, of] = self.refused.get((limit, of), 0) + 1

    # -- requests a second

    def may_ask(self, principal: Principal) -> bool:
        """Return whether one more request of this principal may be answered now."""
        return self._may(principal.name, self._rate) and self._may(None, self._rate_of_all)

    def asked(self, principal: Principal) -> None:
        """Note that one more request of this principal is answered."""
        self._note(principal.name, self._rate)
        self._note(None, self._rate_of_all)

    def ask(self, principal: Principal) -> None:
        """
        Check that one more request may be answered, and note it.

        :raise Problem: 429, if this principal has sent too many; 503, if all together have.
        """
        if not self._may(principal.name, self._rate):
            raise self.refuse_one("requests", principal, f"more than {self._rate:g} requests a second")
        if not self._may(None, self._rate_of_all):
            raise self.refuse_all("requests", f"more than {self._rate_of_all:g} requests a second come from all clients")
        self.asked(principal)

    def _may(self, name: str | None, rate: float | None) -> bool:
        if rate is None:
            return True
        ahead = self._sent_by.get(name, 0.0) - self._reactor.seconds()
        return ahead * rate <= max(self._burst, rate) - 0.5  # one more than that has whole numbers but for rounding

    def _note(self, name: str | None, rate: float | None) -> None:
        if rate is None:
            return
        now = self._reactor.seconds()
        if len(self._sent_by) >= MOST_NOTED and name not in self._sent_by:
            self._sent_by = {each: at for each, at in self._sent_by.items() if at > now}
        self._sent_by[name] = max(self._sent_by.get(name, 0.0), now) + 1 / rate
