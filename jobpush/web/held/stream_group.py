"""
Stream groups: those that follow the same events. What is told is written down once for each form in which clients read it;
signs of life, bookmarks and the limit on what waits for a client that does not read stand here, once for all forms.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Generic, Protocol, TypeVar

import attrs
from twisted.logger import Logger

from jobpush.core.filters import Selection
from jobpush.core.record import Event
from jobpush.events.tracker import JobStatusTracker
from jobpush.runtime.cooperate import Cooperator
from jobpush.web.held.members import Held

#: Members that are written to before other work may have its turn.
AT_ONCE = 128

#: Seconds between two signs of life of a stream, and between two bookmarks.
HEARTBEAT_S = 15.0
BOOKMARK_S = 60.0

#: Seconds in which each member has a sign of life: one that joins in between has it in the next round, and in time.
ROUND_S = HEARTBEAT_S / 2

#: Seconds between two calls of `StreamGroup.beat`.
BEAT_S = 1.0

#: Events that concern others, after which a bookmark moves the place of those that follow.
BOOKMARK_EVENTS = 1000

#: Bytes that may wait for a client that does not read, and for all of these together: where they are many, each has its part of
#: that. How many they are is counted anew after a second, and when so many bytes have been written to such clients.
BUFFER_LIMIT = 1024 * 1024
MOST_UNREAD = 256 * 1024 * 1024
COUNT_S = 1.0
COUNT_BYTES = 16 * 1024 * 1024

Chunk = TypeVar("Chunk")
Chunk_co = TypeVar("Chunk_co", covariant=True)


class Form(Protocol[Chunk_co]):
    """A form in which streams are told: it makes what their members write."""

    def events(self, events: Sequence[Event]) -> Chunk_co:
        """Events of the journal."""

    def bookmark(self, seq: int) -> Chunk_co:
        """Nothing that concerns the stream has happened up to this number."""

    def reset(self, seq: int) -> Chunk_co:
        """The client's cursor is lost; the stream goes on from this number."""


class StreamMember(Held, Protocol[Chunk]):
    """
    One stream, as a group tells it.

    :ivar form: how it is told. Members with the same form share what is written.
    """

    @property
    def form(self) -> Form[Chunk]: ...

    @property
    def size(self) -> int:
        """Bytes that what it follows takes up: ids and values of filters."""

    @property
    def unread(self) -> int:
        """Bytes that wait for the client."""

    def write(self, chunk: Chunk) -> None:
        """Send it, or keep it while the client does not read."""

    def alive(self) -> None:
        """Send a sign of life."""

    def abort(self) -> None:
        """Drop the connection: the client does not read. Its cursor brings back what it has missed."""

    def finish(self) -> None:
        """End in order: nothing is told any more."""

    def refused(self) -> None:
        """End it: whoever follows may not any more."""


#: A stream, in whatever form it is told.
AnyStream = StreamMember[Any]


def reads(member: StreamMember[Chunk], limit: int | None = None) -> bool:
    """
    Return whether a client reads what it is told; drop its connection if not, and too much waits for it.

    :param limit: bytes that may wait for it.
    """
    if member.unread <= (BUFFER_LIMIT if limit is None else limit):
        return True
    member.abort()
    return False


def tell(member: StreamMember[Chunk], chunk: Chunk, limit: int | None = None) -> None:
    """
    Write to a client that reads.

    :param limit: bytes that may wait for it.
    """
    if reads(member, limit):
        member.write(chunk)


class UnreadLimit:
    """
    The bytes that may wait for each client that does not read.

    :param streams: returns all streams.
    :param seconds: returns the reactor's time.
    """

    def __init__(self, streams: Callable[[], Iterable[AnyStream]], seconds: Callable[[], float]) -> None:
        self._streams = streams
        self._seconds = seconds
        self._counted_at: float | None = None
        self._written = 0
        self._limit = 0

    def now(self) -> int:
        """Return the limit."""
        now = self._seconds()
        if self._counted_at is None or now - self._counted_at >= COUNT_S or self._written >= COUNT_BYTES:
            self._counted_at, self._written = now, 0
            unread = [waiting for stream in self._streams() if (waiting := stream.unread)]
            self._limit = BUFFER_LIMIT if sum(unread) <= MOST_UNREAD else min(BUFFER_LIMIT, MOST_UNREAD // len(unread) // 2)
        return self._limit

    def written(self, size: int) -> None:
        """So many bytes were written to clients that had not read all that was written before."""
        self._written += size


class StreamRegistry(Protocol):
    """What a stream group needs of the registry."""

    tracker: JobStatusTracker
    cooperator: Cooperator
    unread_limit: UnreadLimit

    def seconds(self) -> float:
        """The reactor's time."""


class Streams(Generic[Chunk]):
    """
    Streams, and their signs of life.

    :ivar members: by stream: the number up to which it was told everything when it came.
    """

    size = 0

    def __init__(self, registry: StreamRegistry) -> None:
        self.members: dict[StreamMember[Chunk], int] = {}
        self._registry = registry
        self._round_at = 0.0
        self._beating: list[StreamMember[Chunk]] = []

    def add(self, member: StreamMember[Chunk], since: int) -> None:
        """One more; it was told everything up to this number."""
        self.members[member] = since

    def told_up_to(self, member: StreamMember[Chunk]) -> int:
        """The number up to which a member was told everything."""
        return self.members[member]

    def beat(self) -> None:
        """Once a second: give some of the members a sign of life."""
        now = self._registry.seconds()
        if not self._beating and now >= self._round_at:
            self._round_at = now + ROUND_S
            self._beating = list(self.members)[::-1]
        if self._beating:
            count = math.ceil(len(self.members) / ROUND_S)
            for member in self._beating[-count:]:
                if member in self.members and reads(member):
                    member.alive()
            del self._beating[-count:]

    def close(self) -> None:
        """The service ends: end all streams in order."""
        for member in list(self.members):
            member.finish()

    def end(self) -> None:
        """It has no members any more."""


class StreamGroup(Streams[Chunk]):
    """
    Streams that follow the same.

    :param since: the number up to which the first of them was told everything.
    :ivar selection: what they follow.
    :ivar size: bytes that it takes up.
    """

    log = Logger()

    def __init__(self, registry: StreamRegistry, selection: Selection, since: int, size: int = 0) -> None:
        super().__init__(registry)
        self.size = size
        self.selection = selection
        self._sent_seq = since
        self._bookmark_at = registry.seconds() + BOOKMARK_S
        #: What is still to be written, in its order.
        self._due: list[_Due[Chunk]] = []
        self._subscription = registry.tracker.subscribe(selection, since, self._deliver)

    def told_up_to(self, member: StreamMember[Chunk]) -> int:
        before = next((due.before for due in self._due if member in due.members), self._sent_seq)
        return max(self.members[member], before)

    def end(self) -> None:
        self._subscription.cancel()
        self._due = []
        self._beating = []

    # -- events

    def _deliver(self, events: Sequence[Event], head: int) -> None:
        """Tell what was published. Who joined after it was published, and before this, may have been told some of it."""
        first = events[0].seq
        behind = [member for member, since in self.members.items() if since < first]
        self._send({member.form: member.form.events(events) for member in _one_of_each_form(behind)}, behind, woken=True)
        for member, since in self.members.items():
            own = [event for event in events if event.seq > since] if since >= first else ()
            if own:
                self._send({member.form: member.form.events(own)}, [member], woken=True)
        self._sent_seq = head

    def _send(
        self, chunks: dict[Form[Chunk], Chunk], members: list[StreamMember[Chunk]], woken: bool = False
    ) -> None:
        """
        Write to these, in turns, when what is before it has been written.

        :param woken: it is what a batch has for them.
        """
        if members:
            self._due.append(_Due(chunks, members, woken, self._sent_seq))
            if len(self._due) == 1:
                self._registry.cooperator.soon(self._write_some)

    def _write_some(self) -> None:
        if not self._due:
            return
        due = self._due[0]
        some = due.members[-AT_ONCE:]
        del due.members[-AT_ONCE:]
        limit = self._registry.unread_limit
        for member in some:
            if member in self.members:
                try:
                    before = member.unread
                    tell(member, due.chunks[member.form], limit.now())
                    if before:
                        limit.written(member.unread - before)
                except Exception:  # the others are written to all the same
                    self.log.failure("a stream could not be written to")
                    member.abort()
        if due.woken:
            self._registry.tracker.woke("stream", len(some))
        if not due.members:
            del self._due[0]
        if self._due:
            self._registry.cooperator.soon(self._write_some)

    # -- signs of life

    def beat(self) -> None:
        """Once a second: give some of the members a sign of life; now and then all of them one that moves their place."""
        if self._subscription.waiting or self._due:
            return  # what is sent is a sign of life
        now, head = self._registry.seconds(), self._registry.tracker.head
        if now < self._bookmark_at and head - self._sent_seq < BOOKMARK_EVENTS:
            super().beat()
            return
        self._bookmark_at = now + BOOKMARK_S
        members = list(self.members)
        self._send({member.form: member.form.bookmark(head) for member in _one_of_each_form(members)}, members)
        self._sent_seq = head

    # -- the end

    def close(self) -> None:
        """Tell what is left to be told, and end all streams in order."""
        self._subscription.flush()
        while self._due:
            self._write_some()
        super().close()


@attrs.frozen(eq=False)
class _Due(Generic[Chunk]):
    """
    What is still to be written to some members.

    :ivar chunks: by form.
    :ivar members: those that have not got it yet.
    :ivar woken: it is what a batch has for them.
    :ivar before: the number up to which they were told everything before it.
    """

    chunks: dict[Form[Chunk], Chunk]
    members: list[StreamMember[Chunk]]
    woken: bool
    before: int


def _one_of_each_form(members: Sequence[StreamMember[Chunk]]) -> list[StreamMember[Chunk]]:
    return list({member.form: member for member in members}.values())


#: The same for streams in whatever form they are told.
AnyStreams = Streams[Any]
AnyStreamGroup = StreamGroup[Any]
