"""
Bays: connections without channels, as many as wait for the same, and one answer for all of them.

After one event thousands are answered here, and all that is done for each beside sending costs more than it seems, as the
kernel's work for each leaves little in the caches. So a bay keeps what answering needs in lists of its own, looks at no
connection while it answers, and leaves no mark on it: who stands at or behind ``rest`` has been answered, and waits for its
next request until the bay's own deadline.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Callable, Hashable, Sequence
from typing import TYPE_CHECKING, Any

import attrs
from twisted.internet.interfaces import IProtocol
from twisted.internet.protocol import connectionDone
from zope.interface import implementer

from jobpush.core.filters import Selection
from jobpush.core.record import Event
from jobpush.events.reader import Enough, Feed, Page, Pending
from jobpush.events.tracker import Continuation, JobStatusTracker, Wake
from jobpush.web.held.sheets import AccessLine, Call, Sheet, render

if TYPE_CHECKING:
    from jobpush.web.held.parking import ParkingLot

#: Bytes that may come while a request is held, before the connection is not read any more: as many as Twisted's channel takes.
EARLY_BYTES = 0x4000

#: Connections that are answered before other work may get its turn.
AT_ONCE = 128

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
    :ivar wait: the seconds that the client asked for, if the same request at the same moment is to be held in the same way.
    """

    key: Hashable
    selection: Selection
    limit: int
    enough: Enough | None
    answer: Callable[[Any, Page], bytes]
    wait: float | None = None


@implementer(IProtocol)
class Parked:
    """
    A connection without a channel: its request is held, or was answered and the next one has not come yet.

    :ivar call: what is remembered of its last request, for the access log and for the next one.
    :ivar bay: where its request is held, or was, if it got the answer that all got there; None if it was answered otherwise.
    :ivar place: where in the bay.
    """

    __slots__ = ("bay", "call", "due", "place", "transport")

    def __init__(self, call: Call, transport: Any) -> None:
        self.call = call
        self.transport = transport
        self.bay: Bay | None = None
        self.place = 0
        self.due: float | None = None

    @property
    def held(self) -> bool:
        """Is its request held?"""
        return self.bay is not None and self.place < self.bay.rest

    # -- what its transport says

    def makeConnection(self, transport: Any) -> None:
        """It has one."""

    def connectionMade(self) -> None:
        """It was."""

    def dataReceived(self, data: bytes) -> None:
        """The next request: now, or when this one is answered."""
        bay = self.bay
        if bay is None or self.place >= bay.rest:
            self.call.lot.next(self, data)
            return
        early = bay.early[self] = bay.early.get(self, b"") + data
        if len(early) > EARLY_BYTES:
            self.transport.pauseProducing()

    def connectionLost(self, reason: Any = connectionDone) -> None:
        """The client is gone, held or not."""
        self.call.lot.forget(self)

    # -- what the wheel says

    def waits(self) -> bool:
        """Is it held, or has it a deadline for its next request of its own?"""
        return self.bay is None or self.place < self.bay.rest

    def expired(self) -> None:
        """Its time is up: the held request's, or that of a connection on which no more requests come."""
        if self.bay is not None:
            self.bay.time_is_up(self)
        else:
            self.transport.loseConnection()


class Bay(Continuation):
    """
    Requests that wait for the same, and will get the same answer.

    :ivar rest: how many places there are whose requests are held still; those behind have been answered.
    :ivar early: what came while requests were held.
    """

    __slots__ = (
        "_begins", "_calls", "_gathered", "_held", "_holes", "_idle", "_moments", "_parked", "_sheets", "_sockets", "ask",
        "due", "early", "key", "lot", "rest", "site",
    )  # fmt: skip

    def __init__(self, lot: ParkingLot, site: Any, key: Hashable, ask: Ask, pending: Pending) -> None:
        super().__init__(ask.selection, pending.since, ask.enough)
        self.lot = lot
        self.site = site
        self.key = key
        self.ask = ask
        self.rest = 0
        self.due: float | None = None
        self.early: dict[Parked, bytes] = {}
        self._gathered: Sequence[Event] = pending.gathered
        self._sheets: dict[object, Sheet] = {}
        # By place: who it is, where the answer is sent. A place that was left has no socket.
        self._parked: list[Parked] = []
        self._sockets: list[Any] = []
        # Runs, of which the access log will say the same, as most clients come together: from which place on, which call, when.
        self._begins = array("L")
        self._calls: list[Call] = []
        self._moments = array("d")
        self._held = 0
        self._holes = 0
        self._idle = 0

    # -- who comes and goes

    def put(self, parked: Parked, moment: float) -> None:
        """One more, whose request came at that time."""
        parked.bay = self
        self._held += 1
        self._place(parked, parked.call, moment)

    def _place(self, parked: Parked, call: Call, moment: float) -> None:
        parked.place = self.rest
        if not self._calls or self._calls[-1] is not call or self._moments[-1] != moment:
            self._begins.append(self.rest)
            self._calls.append(call)
            self._moments.append(moment)
        self.rest += 1
        self._parked.append(parked)
        self._sockets.append(parked.transport.socket)

    def leave(self, parked: Parked) -> None:
        """One that is held no more: its time is up, or its client is gone."""
        self._sockets[parked.place] = None
        self._holes += 1
        self._held -= 1
        self.early.pop(parked, None)
        parked.bay = None
        if self.wake is not None:
            return
        if not self._held:
            self.lot.give_up(self)
        elif self._holes > self._held + AT_ONCE:
            self._close_ranks()

    def _close_ranks(self) -> None:
        """Forget the places that were left."""
        parked, sockets, begins = self._parked, self._sockets, [*self._begins, len(self._sockets)]
        calls, moments = self._calls, self._moments
        self._parked, self._sockets, self._begins, self._calls, self._moments = [], [], array("L"), [], array("d")
        self.rest = self._holes = 0
        for run, (call, moment) in enumerate(zip(calls, moments, strict=True)):
            for place in range(begins[run], begins[run + 1]):
                if sockets[place] is not None:
                    self._place(parked[place], call, moment)

    def depart(self, parked: Parked) -> None:
        """One that was answered here: its next request has come, or its client is gone."""
        parked.bay = parked.due = None  # the deadline has lapsed with those of all others
        self._idle -= 1
        if self.rest:
            return
        if not self._idle:
            self._parked = []
            self.lot.wheel.remove(self)
        elif len(self._parked) > 4 * self._idle + AT_ONCE:
            self._parked = [parked for parked in self._parked if parked.bay is self]

    # -- the answer for all

    def touched(self, tracker: JobStatusTracker) -> None:
        super().touched(tracker)
        if self.wake is not None:
            self.lot.close(self)

    def answer(self, tracker: JobStatusTracker, wake: Wake) -> None:
        """In slices, the last place first."""
        page = Feed.page(self._gathered, self.since, wake, self.ask.limit)
        begin, end = max(0, self.rest - AT_ONCE), self.rest
        if wake.closing:
            for place in range(end - 1, begin - 1, -1):
                self._send(place, self._sheet(place % FAREWELLS, page))
        else:
            self._send(begin, self._sheet(0, page))
            tracker.woke("parked poll", end - begin)
        if self.rest:
            tracker.later(lambda: self.answer(tracker, wake))
        elif self._idle:
            self.lot.wheel.add(self, self.site.timeOut)
        if wake.closing or self.early:
            # One that left a place here may be held again at another one.
            at = enumerate(self._parked[begin:end], begin)
            some = [parked for place, parked in at if parked.bay is self and parked.place == place]
            if wake.closing:
                for parked in some:
                    parked.transport.loseConnection()
            else:
                self.lot.go_on([(parked, self.early.pop(parked)) for parked in some if parked in self.early])

    def _send(self, begin: int, sheet: Sheet) -> None:
        """Answer those from that place to the last one."""
        data, size, end = sheet.data, len(sheet.data), self.rest
        sockets = self._sockets[begin:]
        del self._sockets[begin:]
        lost: list[int] = []
        place = begin - 1
        for socket in sockets:
            place += 1
            if socket is None:
                lost.append(place)
                continue
            try:
                sent = socket.send(data)
            except (BlockingIOError, InterruptedError):
                sent = 0
            except OSError:
                lost.append(place)
                self._parked[place].transport.abortConnection()
                continue
            if sent != size:
                self._parked[place].transport.write(data[sent:])
        self.rest = begin
        self._log(sheet, end, lost)
        # Not by whose place it was: that client may be held here again, at another place.
        count = end - begin - sockets.count(None)
        self.lot.let_go(count)
        self.lot.service.measures.answered(sheet.code, count)
        self._held -= count
        self._idle += count

    def _log(self, sheet: Sheet, end: int, lost: Sequence[int]) -> None:
        """Those from ``rest`` up to that place, which have been answered, but for these places."""
        log, lines = AccessLine(sheet, self.site), []
        begins, calls, moments = self._begins, self._calls, self._moments
        while end > self.rest:
            begin, call, moment = max(begins[-1], self.rest), calls[-1], moments[-1]
            if begin == begins[-1]:
                del begins[-1], calls[-1], moments[-1]
            count = end - begin - sum(begin <= place < end for place in lost)
            lines.append(log.of(call, moment) * count)
            end = begin
        self.site.write_log("".join(lines))

    def _sheet(self, key: object, page: Page) -> Sheet:
        sheet = self._sheets.get(key)
        if sheet is None:
            sheet = self._sheets[key] = render(self.site, lambda request: self.ask.answer(request, page))
        return sheet

    # -- time

    def time_is_up(self, parked: Parked) -> None:
        """For this one alone. Those whose time is up in the same second share an answer."""
        if self.wake is not None:
            return  # its answer is on its way
        tracker = self.lot.service.tracker
        wake = Wake(self.events, tracker.head, timed_out=True)
        early, moment = self.early.get(parked, b""), self._came_at(parked.place)
        self.leave(parked)
        self.lot.let_go(1, lapsed=False)
        key = (tracker.head, len(self.events), int(self.lot.service.reactor.seconds()))
        if key not in self._sheets:
            self._sheets.clear()
        self.lot.reply(parked, self._sheet(key, Feed.page(self._gathered, self.since, wake, self.ask.limit)), moment)
        if early:
            self.lot.go_on([(parked, early)])

    def _came_at(self, place: int) -> float:
        """When the request at this place came."""
        return self._moments[bisect_right(self._begins, place) - 1]

    def waits(self) -> bool:
        """Its deadline counts as long as it has one."""
        return True

    def expired(self) -> None:
        """Those that were answered here have sent no more requests for long enough."""
        for parked in [parked for parked in self._parked if parked.bay is self]:
            parked.transport.loseConnection()
