"""
Parking: what is left of a held request when its route has said what it waits for.

A plain held request keeps a Twisted HTTP channel, a request with its headers, Klein's bookkeeping, a coroutine and a Deferred:
about fifteen kilobytes. None of it is needed to wait. So the connection is given a `Parked` (`jobpush.web.held.bays`) in place
of its channel, and a place in a `Bay` with those that wait for the same: one continuation of the tracker, whose answer is
rendered once (`jobpush.web.held.sheets`) and sent as shared bytes. Connections on which nothing is asked for are parked too.
The next request on one takes the express lane (`jobpush.web.held.express`) if it is like the one before; else it gets a fresh
channel.

Where this does not fit (TLS, HTTP/1.0, ``Connection: close``, bytes that wait to be read or written) the request is held by its
Deferred, as any other; both ways give the same bytes.

Of Twisted's private parts this touches: `HTTPChannel`'s ``_buffer``, ``_dataBuffer`` and ``_waitingForTransport``, besides what
`jobpush.web.held.sheets` lists. tests/web/held/test_parking.py fails where they change.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import attrs
from klein.interfaces import IKleinRequest
from twisted.internet import tcp, unix

from jobpush.events.reader import Pending
from jobpush.service import JobPush
from jobpush.web.held.bays import EARLY_BYTES, Ask, Bay, Parked
from jobpush.web.held.express import ExpressLane, ExpressRequest
from jobpush.web.held.holds import Holds
from jobpush.web.held.sheets import AccessLine, Call, Calls, Sheet, host_of, is_sent, line_of, send
from jobpush.web.params import jittered


@attrs.frozen(eq=False)
class Like:
    """
    How the last request for an address was held, after what came after the head of then.

    :ivar forgotten: how many jobs had been dropped from the table then.
    :ivar wait: the seconds that it asked for.
    """

    bay: Bay
    head: int
    forgotten: int
    wait: float


class ParkingLot:
    """
    :param enabled: without it every request is held by its Deferred.
    :ivar lane: where the next request on a parked connection is tried first.
    """

    lane: ExpressLane

    def __init__(self, service: JobPush, holds: Holds, enabled: bool = True) -> None:
        self.service = service
        self.wheel = service.tracker.wheel
        self.holds = holds
        self.calls = Calls(self)
        self._enabled = enabled
        self._bays: dict[Hashable, Bay] = {}

    # -- into the lot

    def takes(self, request: Any, begun: bool = False) -> bool:
        """
        Can this request be parked?

        :param begun: of a stream, the beginning of whose answer was written already; what of it waits to be sent is sent.
        """
        if isinstance(request, ExpressRequest):
            return not self.service.closing
        channel = request.channel
        return (
            channel is not None
            and self._is_free(channel)
            and request.clientproto == b"HTTP/1.1"
            and request.method in (b"GET", b"POST")
            and channel.requests == [request]
            and bool(request.startedWriting) is begun
            and is_sent(channel.transport, begun)
        )

    def _is_free(self, channel: Any) -> bool:
        """Is there nothing about this connection that needs its channel?"""
        transport: Any = channel.transport
        return (
            self._enabled
            and not self.service.closing
            and type(transport) in (tcp.Server, unix.Server)
            and transport.protocol is channel
            and channel.persistent
            and not (channel._buffer or any(channel._dataBuffer) or channel._waitingForTransport)
            and not transport.TLS
        )

    def idle(self, channel: Any, request: Any) -> None:
        """This request was answered, and the next one has not come: park the connection, if that can be done."""
        answered = not channel.requests and request.clientproto == b"HTTP/1.1"
        if answered and self._is_free(channel) and is_sent(channel.transport, True):
            self.wheel.add(self._take_from(channel, request), channel.site.timeOut)

    def park(self, request: Any, ask: Ask, pending: Pending, seconds: float) -> None:
        """
        Take the connection from the request, which is over for whoever holds it, and answer it when a batch has what it waits
        for, or when the time is up.

        :raise Problem: 503, if no more requests may be held.
        """
        self.holds.check()
        express = isinstance(request, ExpressRequest)
        parked = request.parked if express else self._take_from(request.channel, request)
        site = parked.call.site
        # Whoever waits for what comes after the head waits for the same, wherever the head is: it has not come yet.
        news = not pending.gathered and pending.since == self.service.tracker.head
        key = (site, ask.key, None if news else pending.since)
        bay = self._bays.get(key)
        if bay is None:
            bay = self._bays[key] = Bay(self, site, key, ask, pending)
            self.service.tracker.enter(bay)
        self._put(parked, bay, request.came_at, seconds)
        if express and news and ask.wait is not None:
            request.plan.like = Like(bay, self.service.tracker.head, self.service.table.forgotten, ask.wait)

    def joins(self, request: ExpressRequest) -> bool:
        """
        Hold it where the last one with the same address is held, if nothing has happened since that could make it another
        answer.

        :raise Problem: 503, if no more requests may be held.
        """
        like = request.plan.like
        service = self.service
        if (
            like is None
            or like.head != service.tracker.head
            or like.forgotten != service.table.forgotten
            or like.bay.site is not request.parked.call.site
            or self._bays.get(like.bay.key) is not like.bay
            or service.closing
        ):
            return False
        self.holds.check()
        self._put(request.parked, like.bay, request.came_at, jittered(like.wait))
        service.awaited(like.bay.ask.selection.clusters)
        return True

    def _put(self, parked: Parked, bay: Bay, came_at: float, seconds: float) -> None:
        """From now on it is held there."""
        self._wake_up(parked)
        self.holds.begin()
        self.service.in_flight += 1
        bay.put(parked, self.calls.moment(came_at))
        self.wheel.add(parked, seconds)

    def _take_from(self, channel: Any, request: Any) -> Parked:
        """The connection of a channel, without it."""
        parked = Parked(self.call(channel, request), channel.transport)
        detach(channel).protocol = parked
        return parked

    def call(self, channel: Any, request: Any) -> Call:
        """What is remembered of a request."""
        letterhead = self.lane.letterhead(channel, request, self.calls.client(request))
        return self.calls.of(channel.site, host_of(channel.transport), line_of(request), letterhead)

    # -- bays

    def give_up(self, bay: Bay) -> None:
        """Nobody is in this bay any more."""
        self.service.tracker.leave(bay)
        self.close(bay)

    def close(self, bay: Bay) -> None:
        """Nobody comes into this bay any more."""
        if self._bays.get(bay.key) is bay:
            del self._bays[bay.key]

    def let_go(self, count: int, lapsed: bool = True) -> None:
        """
        So many are held no more.

        :param lapsed: have they lost their deadlines by that?
        """
        self.holds.end(count)
        self.service.in_flight -= count
        if lapsed:
            self.wheel.lapsed(count)

    # -- out of the lot

    def reply(self, parked: Parked, sheet: Sheet, moment: float) -> None:
        """Send this answer to one whose request came at that time."""
        site = parked.call.site
        send(parked.transport, sheet.data)
        self.service.measures.answered(sheet.code)
        site.write_log(AccessLine(sheet, site).of(parked.call, moment))
        self.wheel.add(parked, site.timeOut)
        if not sheet.persistent:
            parked.transport.loseConnection()

    def go_on(self, early: Sequence[tuple[Parked, bytes]]) -> None:
        """What came while their requests were held, which are answered now."""
        for parked, data in early:
            if len(data) > EARLY_BYTES:
                parked.transport.resumeProducing()
            if parked.transport.connected and not parked.transport.disconnecting:
                self.next(parked, data)

    def next(self, parked: Parked, data: bytes) -> None:
        """The next request on this connection, or the beginning of it."""
        if self.lane.take(parked, data):
            return
        self._wake_up(parked)
        transport = parked.transport
        channel = parked.call.site.buildProtocol(transport.getPeer())
        transport.protocol = channel
        channel.makeConnection(transport)
        channel.dataReceived(data)

    def forget(self, parked: Parked) -> None:
        """Its connection is gone."""
        if parked.held:
            assert parked.bay is not None
            parked.bay.leave(parked)
            self.let_go(1, lapsed=False)
            self.wheel.remove(parked)
        else:
            self._wake_up(parked)

    def _wake_up(self, parked: Parked) -> None:
        """It was waiting for its next request, and does so no more."""
        if parked.bay is not None:
            parked.bay.depart(parked)
        else:
            self.wheel.remove(parked)


def detach(channel: Any) -> Any:
    """
    Take the connection from a channel and its request, if it has one, which is over for whoever holds it: nothing of them
    refers to the connection any more, nor they to each other.

    :return: the transport, which needs a protocol.
    """
    transport = channel.transport
    transport.unregisterProducer()
    channel.setTimeout(None)
    channel.transport = None
    requests, channel.requests = channel.requests, []
    for request in requests:
        notifications, request.notifications = request.notifications, []
        for notified in notifications:
            notified.callback(None)
        request.unsetComponent(IKleinRequest)
        if request.content is not None:
            request.content.close()
        request.channel = None
    return transport
