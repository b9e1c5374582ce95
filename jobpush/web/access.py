"""
Who may ask, and whose jobs he may see.
"""

from __future__ import annotations

import enum

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from jobpush.core.filters import ALL, Visibility
from jobpush.polling.hiding import Hiding
from jobpush.web.principal import ANONYMOUS, Principal
from jobpush.web.problems import Problem, not_yet_known, who_are_you

#: Seconds for which a request waits until it is known whether jobs may be shown to whoever sent it.
PATIENCE_S = 5.0


class Anonymous(enum.Enum):
    """
    When a request is answered that does not say who asks.

    :cvar NEVER: never.
    :cvar OPEN: while it is known that the schedulers hide nobody's jobs from others.
    :cvar ALWAYS: always, whatever they hide (``--allow-anonymous``).
    """

    NEVER = "never"
    OPEN = "open"
    ALWAYS = "always"


@attrs.frozen
class Policy:
    """
    What the administrator has said.

    :ivar anonymous: when a request is answered that does not say who asks.
    :ivar private: whether users see their own jobs alone; None for as the schedulers have it.
    :ivar methods: how clients can say who they are, for errors.
    """

    anonymous: Anonymous = Anonymous.OPEN
    private: bool | None = None
    methods: tuple[str, ...] = ()


class Access:
    """
    Derived from what the schedulers have said, whenever somebody asks.

    :param hiding: which schedulers hide jobs.
    """

    def __init__(self, reactor: IReactorTime, hiding: Hiding, policy: Policy = Policy()) -> None:  # noqa: B008
        self._reactor = reactor
        self._hiding = hiding
        self.policy = policy
        self._waiting: list[Deferred[None]] = []

    def visibility(self, principal: Principal) -> Visibility:
        """
        Return whose jobs a principal may see.

        :raise Problem: 401, if it must say who it is, or 503, if that is not known yet; the connection ends.
        """
        if principal.sees_all or (principal.is_anonymous and self.policy.anonymous is Anonymous.ALWAYS):
            return ALL
        if principal.is_anonymous:
            return self._of_nobody()
        if self.policy.anonymous is Anonymous.ALWAYS or self.policy.private is False:
            return ALL
        if self.policy.private or self._hiding.why() is not None:
            return Visibility(principal.name)
        return Visibility(principal.name, settled=False) if self._hiding.unknown() else ALL

    def is_open(self) -> bool:
        """Return whether who does not say who he is is shown all jobs now."""
        try:
            return self.visibility(ANONYMOUS) == ALL
        except Problem:
            return False

    def _of_nobody(self) -> Visibility:
        why = self.refusal()
        if why is not None:
            raise who_are_you(why)
        unknown = self._hiding.unknown()
        if unknown:
            raise not_yet_known(unknown)
        return ALL

    def refusal(self) -> str | None:
        """Return why who does not say who he is gets no answer; None if he does, or if it is not known yet."""
        if self.policy.anonymous is Anonymous.ALWAYS:
            return None
        if self.policy.anonymous is Anonymous.NEVER:
            why = "who asks must say who he is"
        elif self.policy.private:
            why = "users see their own jobs alone: who asks must say who he is"
        else:
            hides = self._hiding.why()
            if hides is None:
                return None
            why = f"{hides}, and every user of this host reaches this port"
        how = ", or ".join(self.policy.methods)
        return f"{why}: {how}" if how else f"{why}: start with --allow-anonymous to show all jobs to all of them"

    # -- what is not known yet

    async def found_out(self, principal: Principal) -> Visibility:
        """
        Return whose jobs a principal may see, when that is known, or as far as it is after `PATIENCE_S`.

        :raise Problem: as `visibility` does.
        """
        try:
            visibility = self.visibility(principal)
            if visibility.settled:
                return visibility
        except Problem as problem:
            if problem.status != 503:
                raise
        await self._known()
        return self.visibility(principal)

    def _known(self) -> Deferred[None]:
        """Fire when it is known whether jobs are hidden, at the latest after `PATIENCE_S`."""
        waiting: Deferred[None] = Deferred(lambda waited: self._waiting.remove(waited))
        self._waiting.append(waiting)
        return waiting.addTimeout(PATIENCE_S, self._reactor).addErrback(lambda _: None)

    def changed(self) -> None:
        """More is known of what is hidden."""
        if not self._hiding.unknown() or self._hiding.why() is not None:
            waiting, self._waiting = self._waiting, []
            for each in waiting:
                each.callback(None)
