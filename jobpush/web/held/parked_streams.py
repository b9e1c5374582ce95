"""
Parked streams: what is left of an open stream of server-sent events when it has caught up.

As a held request is (`jobpush.web.held.parking`), so a stream is parked: its connection gets a `ParkedStream` in place of its
channel. Those that follow the same are one `Wharf`: one subscription of the tracker, whose events are rendered once and sent as
shared bytes. A client that does not read is dropped when too much waits for it; its cursor brings back what it has missed.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from typing import Any

from twisted.internet.interfaces import IProtocol
from twisted.internet.protocol import connectionDone
from twisted.internet.task import LoopingCall
from zope.interface import implementer

from jobpush.core import wire
from jobpush.core.filters import Selection
from jobpush.core.record import Event
from jobpush.web.held.bays import AT_ONCE
from jobpush.web.held.following import BOOKMARK_EVENTS, BOOKMARK_S, BUFFER_LIMIT, HEARTBEAT_S
from jobpush.web.held.parking import ParkingLot, detach
from jobpush.web.held.sheets import AccessLine, Sheet, send

ALIVE = b": alive\n\n"

#: Seconds in which each stream has a sign of life: one that comes in between has it in the next round, and in time.
ROUND_S = HEARTBEAT_S / 2


@implementer(IProtocol)
class ParkedStream:
    """
    The connection of a stream, without a channel.

    :ivar call: what the access log will say.
    :ivar since: the number up to which it was told everything when it was parked.
    """

    __slots__ = ("call", "came_at", "since", "transport", "wharf")

    def __init__(self, wharf: Wharf, request: Any, since: int) -> None:
        lot = wharf.garage.lot
        self.wharf: Wharf | None = wharf
        self.transport: Any = request.channel.transport
        self.since = since
        self.call = lot.call(request.channel, request)
        self.came_at = lot.calls.moment(request.came_at)

    def makeConnection(self, transport: Any) -> None:
        """It has one."""

    def connectionMade(self) -> None:
        """It was."""

    def dataReceived(self, data: bytes) -> None:
        """A request that is pipelined behind a stream, which has no end."""

    def connectionLost(self, reason: Any = connectionDone) -> None:
        """The client is gone."""
        wharf, self.wharf = self.wharf, None
        if wharf is not None:
            wharf.leave(self)

    def write(self, chunk: bytes) -> None:
        """Send it, or keep it while the client does not read."""
        transport = self.transport
        if not transport.connected or transport.disconnecting:
            return
        if transport._tempDataLen + len(transport.dataBuffer) - transport.offset > BUFFER_LIMIT:
            transport.abortConnection()
        else:
            send(transport, chunk)


class Wharf:
    """
    Streams that follow the same.

    :ivar streams: those that were told all that was published.
    :ivar fresh: those that came while what was published was not told yet; they may have had it.
    """

    def __init__(self, garage: Garage, key: Hashable, selection: Selection, since: int) -> None:
        self.garage = garage
        self.streams: dict[ParkedStream, None] = {}
        self.fresh: dict[ParkedStream, None] = {}
        self._key = key
        self._service = garage.lot.service
        self._sent_seq = since
        self._due: list[tuple[bytes, list[ParkedStream], bool]] = []
        self._beating: list[ParkedStream] = []
        self._round_at = 0.0
        self._bookmark_at = self._service.reactor.seconds() + BOOKMARK_S
        self._subscription = self._service.tracker.subscribe(selection, since, self._deliver)

    def put(self, stream: ParkedStream) -> None:
        """One more."""
        (self.fresh if self._subscription.waiting else self.streams)[stream] = None

    def leave(self, stream: ParkedStream) -> None:
        """One less."""
        self.streams.pop(stream, None)
        self.fresh.pop(stream, None)
        self.garage.let_go()
        if not self.streams and not self.fresh:
            self._subscription.cancel()
            self.garage.close(self._key)

    def _deliver(self, events: Sequence[Event], head: int) -> None:
        self._send(self._chunk(events), list(self.streams), told=True)
        for stream in self.fresh:
            own = [event for event in events if event.seq > stream.since]
            if own:
                self._send(self._chunk(own), [stream], told=True)
            self.streams[stream] = None
        self.fresh = {}
        self._sent_seq = head

    def _chunk(self, events: Sequence[Event]) -> bytes:
        return chunked(b"".join(wire.sse_event(self._service.feed.epoch, event) for event in events))

    def _send(self, chunk: bytes, streams: list[ParkedStream], told: bool = False) -> None:
        """To these, in slices, when what is before it has been sent. Is it what a batch has for them?"""
        self._due.append((chunk, streams, told))
        if len(self._due) == 1:
            self._service.tracker.later(self._slice)

    def _slice(self) -> None:
        if not self._due:
            return
        chunk, streams, told = self._due[0]
        for stream in streams[-AT_ONCE:]:
            stream.write(chunk)
        if told:
            self._service.tracker.woke("parked stream", len(streams[-AT_ONCE:]))
        del streams[-AT_ONCE:]
        if not streams:
            del self._due[0]
        if self._due:
            self._service.tracker.later(self._slice)

    # -- signs of life

    def beat(self) -> None:
        """Once a second: some of the streams have a sign of life; now and then all have one that moves their place."""
        now, tracker = self._service.reactor.seconds(), self._service.tracker
        if self._subscription.waiting or self._due:
            return  # what is sent is a sign of life
        if now >= self._bookmark_at or tracker.head - self._sent_seq >= BOOKMARK_EVENTS:
            self._bookmark_at = now + BOOKMARK_S
            self._sent_seq = tracker.head
            cursor = self._service.feed.cursor(tracker.head)
            self._send(chunked(wire.sse("bookmark", wire.dumps({"cursor": cursor}), cursor)), list(self.streams))
            return
        if not self._beating and now >= self._round_at:
            self._round_at = now + ROUND_S
            self._beating = list(self.streams)[::-1]
        if self._beating:
            count = math.ceil(len(self.streams) / ROUND_S)
            some, self._beating = self._beating[-count:], self._beating[:-count]
            self._send(chunked(ALIVE), some)

    def close(self) -> None:
        """The service ends: say what is left to be said, then the end."""
        while self._due:
            self._slice()
        streams = [stream for stream in self.streams if not stream.transport.disconnecting]
        if streams:
            site = streams[0].call.site
            log = AccessLine(Sheet(b"", 200, 0, False), site)
            for stream in streams:
                stream.write(b"0\r\n\r\n")
                stream.transport.loseConnection()
            self._service.measures.answered(200, len(streams))
            site.write_log("".join(log.of(stream.call, stream.came_at) for stream in streams))


class Garage:
    """All streams that are parked."""

    def __init__(self, lot: ParkingLot) -> None:
        self.lot = lot
        self._wharfs: dict[Hashable, Wharf] = {}
        self._beat = LoopingCall(self._alive)
        self._beat.clock = lot.service.reactor

    def park(self, request: Any, selection: Selection, since: int) -> None:
        """
        The stream goes on without its request. It counts as held already.

        :param since: the number up to which it was told everything.
        """
        wharf = self._wharfs.get(selection)
        if wharf is None:
            wharf = self._wharfs[selection] = Wharf(self, selection, selection, since)
        stream = ParkedStream(wharf, request, since)
        self.lot.service.in_flight += 1
        detach(request.channel).protocol = stream
        wharf.put(stream)
        if not self._beat.running:
            self._beat.start(1.0, now=False)

    def let_go(self) -> None:
        """One less."""
        self.lot.holds.end(kind="stream")
        self.lot.service.in_flight -= 1

    def close(self, key: Hashable) -> None:
        """Nobody is there any more."""
        del self._wharfs[key]
        if not self._wharfs and self._beat.running:
            self._beat.stop()

    def _alive(self) -> None:
        for wharf in list(self._wharfs.values()):
            if self.lot.service.closing:
                wharf.close()
            else:
                wharf.beat()


def chunked(data: bytes) -> bytes:
    """A chunk of an answer of unknown length (RFC 9112, 7.1)."""
    return b"%x\r\n%b\r\n" % (len(data), data)
