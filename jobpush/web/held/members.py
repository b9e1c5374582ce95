"""
The members of groups: what a held request is to those that hold it, whatever its form.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol

from twisted.internet.defer import Deferred

from jobpush.web.principal import Principal
from jobpush.web.responses import Response

if TYPE_CHECKING:
    from typing_extensions import Self


class Held(Protocol):
    """
    One held request.

    :ivar due: its deadline, as the timer wheel keeps it.
    :ivar kind: under which it is counted: ``poll``, ``stream`` or ``socket``.
    """

    due: float | None

    @property
    def kind(self) -> str: ...

    @property
    def principal(self) -> Principal:
        """Who asks."""

    def expired(self) -> None:
        """Its time is up."""


class Member(Held, Protocol):
    """One held request that is answered once."""

    @classmethod
    def deliver_all(cls, members: Sequence[Self], response: Response) -> None:
        """
        Answer these, which are of this class. They are held no more.

        It must not raise.
        """


class DeferredMember:
    """
    A request that keeps its HTTP channel: a Deferred waits for its response.

    :param expired: called when its time is up.
    :param left: called when its client leaves.
    """

    __slots__ = ("_expired", "deferred", "due", "principal")

    kind = "poll"

    def __init__(
        self,
        principal: Principal,
        expired: Callable[[DeferredMember], None],
        left: Callable[[DeferredMember], None],
    ) -> None:
        self.due: float | None = None
        self.principal = principal
        self._expired = expired
        self.deferred: Deferred[Response] = Deferred(lambda _: left(self))

    def expired(self) -> None:
        """Its time is up."""
        self._expired(self)

    @classmethod
    def deliver_all(cls, members: Sequence[Self], response: Response) -> None:
        """Fire their Deferreds. What comes of the response is the business of those that wait for them."""
        for member in members:
            member.deferred.callback(response)
