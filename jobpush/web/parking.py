"""
Parking: what is left of a held request when its route has said what it waits for.

A plain held request keeps a Twisted HTTP channel, a request with its headers, Klein's bookkeeping, a coroutine and a Deferred:
about fifteen kilobytes. None of it is needed to wait. So the connection is given a `Parked` in place of its channel: the
transport, a deadline, and what the access log will say. Those that wait for the same are one `Bay`: one continuation of the
tracker, whose answer is rendered once and sent as shared bytes. The next request on a connection gets a fresh channel.

Where this does not fit (TLS, HTTP/1.0, ``Connection: close``, bytes that wait to be read or written) the request is held by its
Deferred, as any other; both ways give the same bytes.

Of Twisted's private parts this touches: `HTTPChannel`'s ``_buffer``, ``_dataBuffer`` and ``_waitingForTransport``,
`FileDescriptor`'s ``dataBuffer`` and ``_tempDataBuffer``, `Site`'s ``_logDateTime``, and ``_escape`` of `twisted.web.http`.
tests/test_parking.py fails where they change.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any

import attrs
from klein.interfaces import IKleinRequest
from twisted.internet import tcp, unix
from twisted.internet.interfaces import IProtocol
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from twisted.web.http import HTTPChannel, _escape
from zope.interface import implementer

from jobpush.feed import Enough, Feed, Page, Pending
from jobpush.selection import Selection
from jobpush.service import JobPush
from jobpush.tracker import Continuation, JobStatusTracker, Wake
from jobpush.web.holds import Holds
from jobpush.web.problems import Problem
from jobpush.workflow import Event

#: Bytes that may come while a request is held, before the connection is not read any more: as many as Twisted's channel takes.
EARLY_BYTES = 0x4000

#: Connections that are answered before other work may get its turn.
AT_ONCE = 16

#: Different answers at the end of the service, so that clients come back at different times.
FAREWELLS = 8


@attrs.frozen(eq=False)
class Ask:
    """
    What a held request waits for, and how it is answered.

    :ivar key: requests with the same key, held at the same time, get the same answer. It is of the route's own making.
    :ivar limit: how many events an answer may hold.
    :ivar enough: if given, events are gathered until one satisfies it.
    :ivar answer: sets the headers of a request, and gives the body. It must not depend on that request in another way.
    """

    key: Hashable
    selection: Selection
    limit: int
    enough: Enough | None
    answer: Callable[[Any, Page], bytes]


@attrs.frozen
class Sheet:
    """A whole answer, for many connections."""

    data: bytes
    code: int
    length: int
    persistent: bool


class _Paper(HTTPChannel):
    """A channel to nowhere: keeps what a request writes."""

    def __init__(self, site: Any) -> None:
        super().__init__()
        self.site = site
        self.persistent = True
        self.written: list[bytes] = []
        self.transport = self

    def getPeer(self) -> Any:
        return None

    def getHost(self) -> Any:
        return None

    def write(self, data: bytes) -> None:
        self.written.append(data)

    def writeSequence(self, iovec: Any) -> None:
        self.written.extend(iovec)


class Bay(Continuation):
    """
    Requests that wait for the same, and will get the same answer.

    :ivar parked: theirs, in the order in which they came.
    """

    __slots__ = ("ask", "gathered", "key", "lot", "parked", "sheets", "site")

    def __init__(self, lot: ParkingLot, site: Any, key: Hashable, ask: Ask, pending: Pending) -> None:
        super().__init__(ask.selection, pending.since, ask.enough)
        self.lot = lot
        self.site = site
        self.key = key
        self.ask = ask
        self.gathered: Sequence[Event] = pending.gathered
        self.parked: dict[Parked, None] = {}
        self.sheets: dict[object, Sheet] = {}

    def touched(self, tracker: JobStatusTracker) -> None:
        super().touched(tracker)
        if self.wake is not None:
            self.lot.close(self)

    def answer(self, tracker: JobStatusTracker, wake: Wake) -> None:
        """In slices."""
        page = Feed.page(self.gathered, self.since, wake, self.ask.limit)
        for _ in range(min(AT_ONCE, len(self.parked))):
            parked, _ = self.parked.popitem()
            parked.answer(self._sheet(len(self.parked) % FAREWELLS if wake.closing else 0, page))
        self.lot.write_log()
        if self.parked:
            tracker.later(lambda: self.answer(tracker, wake))

    def time_is_up(self, parked: Parked) -> None:
        """For this one alone. Those whose time is up in the same second share an answer."""
        if self.wake is None:
            tracker = self.lot.service.tracker
            wake = Wake(self.events, tracker.head, timed_out=True)
            del self.parked[parked]
            if not self.parked:
                self.lot.leave(self)
            key = (tracker.head, len(self.events), int(self.lot.service.reactor.seconds()))
            if key not in self.sheets:
                self.sheets.clear()
            parked.answer(self._sheet(key, Feed.page(self.gathered, self.since, wake, self.ask.limit)))
            self.lot.write_log()

    def _sheet(self, key: object, page: Page) -> Sheet:
        sheet = self.sheets.get(key)
        if sheet is None:
            sheet = self.sheets[key] = self.lot.render(self.site, self.ask, page)
        return sheet


@implementer(IProtocol)
class Parked:
    """
    A connection without a channel: its request is held, or was answered and the next one has not come yet.

    :ivar bay: where it waits; None once it is answered.
    :ivar early: what came while it was held.
    :ivar asked: the method and the address, for the access log.
    :ivar client: the referrer and the user agent, as they stand in it.
    """

    __slots__ = ("asked", "bay", "came_at", "client", "due", "early", "lot", "site", "transport")

    def __init__(self, lot: ParkingLot, bay: Bay, request: Any) -> None:
        self.lot = lot
        self.site = bay.site
        self.bay: Bay | None = bay
        self.transport: Any = request.channel.transport
        self.due: float | None = None
        self.early = b""
        self.asked: bytes = request.method + b" " + request.uri
        self.client = lot.client(request)
        self.came_at: float = request.came_at

    # -- what its transport says

    def makeConnection(self, transport: Any) -> None:
        """It has one."""

    def connectionMade(self) -> None:
        """It was."""

    def dataReceived(self, data: bytes) -> None:
        """The next request: now, or when this one is answered."""
        if self.bay is None:
            self.lot.unpark(self, data)
            return
        self.early += data
        if len(self.early) > EARLY_BYTES:
            self.transport.pauseProducing()

    def connectionLost(self, reason: Any = connectionDone) -> None:
        """The client is gone, held or not."""
        self.lot.forget(self)

    # -- what its bay and the wheel say

    def answer(self, sheet: Sheet) -> None:
        """Send it. It was taken out of its bay."""
        self.bay = None
        lot, transport = self.lot, self.transport
        lot.let_go(self)
        if not transport.connected or transport.disconnecting:
            return
        send(transport, sheet.data)
        lot.log(self, sheet.code, sheet.length)
        if not sheet.persistent:
            transport.loseConnection()
        elif self.early:
            early, self.early = self.early, b""
            if len(early) > EARLY_BYTES:
                transport.resumeProducing()
            lot.unpark(self, early)
        else:
            lot.wheel.add(self, self.site.timeOut)

    def expired(self) -> None:
        """Its time is up: the held request's, or that of a connection on which no more requests come."""
        if self.bay is not None:
            self.bay.time_is_up(self)
        else:
            self.transport.loseConnection()


def send(transport: Any, data: bytes) -> None:
    """At once, if nothing is in front of it; the transport sends what the kernel does not take."""
    if transport.dataBuffer or transport._tempDataBuffer:
        transport.write(data)
        return
    try:
        sent = transport.getHandle().send(data)
    except (BlockingIOError, InterruptedError):
        sent = 0
    except OSError:
        transport.abortConnection()
        return
    if sent < len(data):
        transport.write(data[sent:])


def detach(request: Any) -> Any:
    """
    Take the connection from a request, which is over for whoever holds it: nothing of it and of its channel refers to the
    connection any more, nor they to each other.

    :return: the transport, which needs a protocol.
    """
    channel = request.channel
    transport = channel.transport
    transport.unregisterProducer()
    channel.setTimeout(None)
    channel.requests = []
    channel.transport = None
    notifications, request.notifications = request.notifications, []
    for notified in notifications:
        notified.callback(None)
    request.unsetComponent(IKleinRequest)
    if request.content is not None:
        request.content.close()
    request.channel = None
    return transport


class ParkingLot:
    """
    :param enabled: without it every request is held by its Deferred.
    """

    def __init__(self, service: JobPush, holds: Holds, enabled: bool = True) -> None:
        self.service = service
        self.wheel = service.tracker.wheel
        self.holds = holds
        self._enabled = enabled
        self._bays: dict[Hashable, Bay] = {}
        self._agents: dict[tuple[bytes | None, bytes | None], str] = {}
        self._lines: list[tuple[Any, str]] = []

    # -- into the lot

    def takes(self, request: Any, begun: bool = False) -> bool:
        """
        Can this request be parked?

        :param begun: of a stream, the beginning of whose answer was written already; what of it waits to be sent is sent.
        """
        channel = request.channel
        transport: Any = getattr(channel, "transport", None)
        if not (
            self._enabled
            and not self.service.closing
            and type(transport) in (tcp.Server, unix.Server)
            and transport.protocol is channel
            and request.clientproto == b"HTTP/1.1"
            and request.method in (b"GET", b"POST")
            and channel.persistent
            and channel.requests == [request]
            and bool(request.startedWriting) is begun
            and not (channel._buffer or any(channel._dataBuffer) or channel._waitingForTransport)
            and not transport.TLS
        ):
            return False
        if begun and (transport.dataBuffer or transport._tempDataBuffer):
            transport.doWrite()
        return transport.connected and not (
            transport.disconnecting or transport.dataBuffer or transport._tempDataBuffer
        )

    def park(self, request: Any, ask: Ask, pending: Pending, seconds: float) -> None:
        """
        Take the connection from the request, which is over for whoever holds it, and answer it when a batch has what it waits
        for, or when the time is up.

        :raise Problem: 503, if no more requests may be held.
        """
        self.holds.begin()
        site = request.channel.site
        # Whoever waits for what comes after the head waits for the same, wherever the head is: it has not come yet.
        news = not pending.gathered and pending.since == self.service.tracker.head
        key = (site, ask.key, None if news else pending.since)
        bay = self._bays.get(key)
        if bay is None:
            bay = self._bays[key] = Bay(self, site, key, ask, pending)
            self.service.tracker.enter(bay)
        parked = Parked(self, bay, request)
        bay.parked[parked] = None
        self.wheel.add(parked, seconds)
        self.service.in_flight += 1
        detach(request).protocol = parked

    # -- out of it

    def leave(self, bay: Bay) -> None:
        """Nobody is in this bay any more."""
        self.service.tracker.leave(bay)
        self.close(bay)

    def close(self, bay: Bay) -> None:
        """Nobody comes into this bay any more."""
        if self._bays.get(bay.key) is bay:
            del self._bays[bay.key]

    def let_go(self, parked: Parked) -> None:
        """It is held no more."""
        self.wheel.remove(parked)
        self.holds.end()
        self.service.in_flight -= 1

    def forget(self, parked: Parked) -> None:
        """Its connection is gone."""
        bay, parked.bay = parked.bay, None
        if bay is None:
            self.wheel.remove(parked)
            return
        self.let_go(parked)
        bay.parked.pop(parked, None)
        if not bay.parked and bay.wake is None:
            self.leave(bay)

    def unpark(self, parked: Parked, data: bytes) -> None:
        """The next request on this connection."""
        self.wheel.remove(parked)
        transport = parked.transport
        channel = parked.site.buildProtocol(transport.getPeer())
        transport.protocol = channel
        channel.makeConnection(transport)
        channel.dataReceived(data)

    # -- answers

    def render(self, site: Any, ask: Ask, page: Page) -> Sheet:
        """The answer as its bytes: what a request with a channel would write."""
        paper = _Paper(site)
        request = site.requestFactory(paper)
        request.method, request.clientproto, request.args = b"GET", b"HTTP/1.1", {}
        request.begin_answer()
        try:
            body = ask.answer(request, page)
        except Exception:
            site.log_failure(Failure())
            problem = Problem(500, "an error of the server; its log tells more")
            data = problem.raw()
            return Sheet(data, problem.status, len(problem.body()), False)
        request.write(body)
        return Sheet(b"".join(paper.written), request.code, request.sentLength, bool(paper.persistent))

    # -- the access log

    def client(self, request: Any) -> str:
        """The referrer and the user agent as the access log has them; of few clients there are thousands of requests."""
        key = request.getHeader(b"referer"), request.getHeader(b"user-agent")
        text = self._agents.get(key)
        if text is None:
            text = f'"{_escape(key[0] or b"-")}" "{_escape(key[1] or b"-")}"'
            if len(text) < 500:
                if len(self._agents) >= 1000:
                    self._agents.clear()
                self._agents[key] = text
        return text

    def log(self, parked: Any, code: int, length: int | None) -> None:
        """The same line as of a request with a channel; written a slice at a time."""
        host = getattr(parked.transport.getPeer(), "host", "-")
        held = max(0.0, parked.site.reactor.seconds() - parked.came_at)
        line = (
            f'"{host}" - - {parked.site._logDateTime} "{_escape(parked.asked)} HTTP/1.1" {code} {length or "-"} '
            f"{parked.client} {held:.3f}\n"
        )
        self._lines.append((parked.site, line))

    def write_log(self) -> None:
        """Write the lines of a slice."""
        lines, self._lines = self._lines, []
        if len({site for site, _ in lines}) == 1:
            lines[0][0].write_log("".join(line for _, line in lines))
        else:
            for site, line in lines:
                site.write_log(line)
