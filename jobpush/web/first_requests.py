"""
The first request of each new connection, in turns.

When thousands of clients connect at once, to accept them takes a fraction of the time that their requests take. So all are
accepted first, and their requests are answered a few milliseconds at a time, in the order in which they came, but for health
checks, which are answered at once. Otherwise a health check would wait in the kernel for all who connected before it.

A connection whose request waits has no HTTP channel yet, and is not read. (Tests: tests/web/test_first_requests.py.)
"""

from __future__ import annotations

from typing import Any

from twisted.internet.interfaces import IAddress, IProtocol
from twisted.internet.protocol import Factory, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from jobpush.runtime.turns import Turns
from jobpush.web.problems import Problem
from jobpush.web.requests import HEALTH_CHECKS
from jobpush.web.site import JobpushSite


class FirstRequests(Factory):
    """
    Makes the connections of a port. Their channels are the site's.

    :param turns: in which requests are answered.
    """

    noisy = False

    def __init__(self, turns: Turns, site: JobpushSite) -> None:
        self.turns = turns
        self.site = site

    def doStart(self) -> None:
        self.site.doStart()

    def doStop(self) -> None:
        self.site.doStop()

    def buildProtocol(self, addr: Any) -> Any:
        """Make a connection; None closes it, where it could only be refused."""
        return NewConnection(self, addr) if self.site.arrivals.has_room(addr) else None


@implementer(IProtocol)
class NewConnection:
    """A connection of which nothing has come yet, or whose first bytes wait to be looked at."""

    __slots__ = ("_address", "_channel", "_data", "_first", "_is_over", "transport")

    def __init__(self, first: FirstRequests, address: IAddress | None) -> None:
        self._first = first
        self._address = address
        self._channel: Any = None
        self._data = b""
        #: It has a channel, or is lost.
        self._is_over = False
        self.transport: Any = None

    def _give_channel(self) -> Any:
        """Give the connection its channel, and return that."""
        site, transport = self._first.site, self.transport
        site.arrivals.arrived(self)
        channel: Any = site.make_channel(self._address)
        if getattr(transport, "protocol", None) is self:
            transport.protocol = channel
        else:  # behind TLS the transport's protocol is another one: what comes is handed on
            self._channel = channel
        self._is_over = True
        channel.makeConnection(transport)
        return channel

    def _look(self) -> None:
        """Let the channel read what has come."""
        self._give_channel().dataReceived(self._data)

    def _look_later(self) -> None:
        if not self._is_over:
            self.transport.resumeProducing()
            self._look()

    @property
    def channel(self) -> Any:
        """Its channel, where that is not the transport's protocol itself."""
        return self._channel

    # -- what `jobpush.web.site.Arrivals` asks of it

    def refuse(self, problem: Problem) -> None:
        """Answer so, and close."""
        self._give_channel().refuse(problem)

    def too_slow(self) -> None:
        """Nothing has come in time, or we were too slow."""
        if self._data:
            self.refuse(Problem(503, "there are too many requests", headers={"retry-after": "5"}))
        else:
            self.transport.loseConnection()

    # -- IProtocol

    def makeConnection(self, transport: Any) -> None:
        """See `IProtocol`."""
        self.transport = transport
        arrivals = self._first.site.arrivals
        if (refusal := arrivals.refusal(transport)) is not None:
            self.refuse(refusal)
        elif arrivals.is_kept(transport):  # of those that only few may have, the channel decides what becomes
            self._give_channel()
        else:
            arrivals.begins(self)

    def connectionMade(self) -> None:
        """It was."""

    def dataReceived(self, data: bytes) -> None:
        """See `IProtocol`."""
        if self._channel is not None:
            self._channel.dataReceived(data)
            return
        turns = self._first.turns
        self._data += data
        if turns.has_time or data.startswith(HEALTH_CHECKS):
            turns.now(self._look)
        else:
            self.transport.pauseProducing()
            turns.later(self._look_later)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """See `IProtocol`."""
        self._is_over = True
        self._first.site.arrivals.arrived(self)
        channel, self._channel = self._channel, None
        self.transport = None  # which may refer to this: no cycle is left
        if channel is not None:
            channel.connectionLost(reason)
