"""
Reading events from the journal's file: by what they are of, or all in a range. Tests: tests/events/test_journal.py.

What is read is shared: after a restart thousands of clients ask for the same thousand events, each with a filter of its own.
"""

from __future__ import annotations

import sqlite3
from bisect import bisect_right
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Sequence

import attrs
from twisted.internet.defer import Deferred, succeed
from twisted.python.failure import Failure

from jobpush.core.filters import Scope
from jobpush.core.model import JobKey
from jobpush.core.record import Event
from jobpush.core.stored_event import StoredEvent
from jobpush.events.interfaces import CursorGone, Found
from jobpush.events.journal_tables import Damaged, column, key_columns, whole

#: How many events one reading of a range has, and the least that one by an index may have.
CHUNK = 1000
FOUND = 500

#: How many jobs or users are looked for by an index, each for itself. Of more, all events that follow each other are read:
#: these are shared.
MOST_OF = 1000

#: Among how many events jobs or users are looked for, where each may have as many as are wanted: it adds up.
SEARCHED = 20_000

#: How many chunks are kept for who asks next: about 1 MB each.
KEPT_CHUNKS = 8

#: What is read of an event.
COLUMNS = "seq, cluster, job, parent, user, body, crc"

#: The indexes that events are found by, and the columns of each.
INDEXES = {
    "event_job": ("cluster", "job"),
    "event_parent": ("cluster", "parent"),
    "event_user": ("user",),
    "event_cluster": ("cluster",),
}

Row = tuple[int, str, str, str | None, str | None, bytes, int | None]


def stored(row: Row) -> StoredEvent:
    """
    Return the event of a row of `COLUMNS`.

    :raise Damaged: if its bytes are not those that were written.
    """
    seq, cluster, job, parent, user, body, crc = row
    return StoredEvent(seq, (cluster, job), parent, user, whole(f"event {seq}", body, crc))


def decoded(event: StoredEvent) -> Event:
    """
    Return an event.

    :raise Damaged: if its bytes are not those of an event. (Rows of a version without checksums.)
    """
    try:
        return event.event
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Damaged(f"event {event.seq} is damaged: {error}; see 'jobpush journal check'") from None


@attrs.frozen(eq=False)
class _Chunk:
    """
    Events that follow each other.

    :ivar end: the number of the last one.
    :ivar trimmed: the number of the last event that had been removed when they were read.
    """

    end: int
    events: list[StoredEvent]
    trimmed: int

    def after(self, since: int) -> Found:
        """
        Return those after that number.

        :raise CursorGone: if some of them had been removed.
        :raise Damaged: if some of them are missing.
        """
        if since < self.trimmed:
            raise CursorGone(self.trimmed)
        events = self.events[bisect_right(self.events, since, key=lambda event: event.seq) :]
        if len(events) != self.end - since:
            raise Damaged(f"of the events {since + 1} to {self.end} some are missing; see 'jobpush journal check'")
        return Found(events, self.end)


class Reading:
    """
    The events of the file.

    :param run: runs something on the reading thread; fires in the reactor's.
    :param connection: returns the connection of that thread.
    """

    def __init__(
        self,
        run: Callable[[Callable[[], tuple[list[StoredEvent], int]]], Deferred[tuple[list[StoredEvent], int]]],
        connection: Callable[[], sqlite3.Connection],
    ) -> None:
        self._run = run
        self._connection = connection
        #: The first event whose row says its user.
        self.users_from = 1
        #: Whether events may be found by an index. One that is damaged would pass some over.
        self.by_index = True
        #: What is being read, and what was read last: the number of the chunk, and the last event of it that is read.
        self._asked: dict[tuple[int, int], deque[Deferred[_Chunk]]] = {}
        self._chunks: OrderedDict[tuple[int, int], _Chunk] = OrderedDict()

    # -- on the reactor's thread

    def read(self, since: int, upto: int, scope: Scope, limit: int) -> Deferred[Found]:
        """See `IJournal.read`."""
        found_by = scope.keys is not None or scope.users is not None or scope.clusters is not None
        by_index = found_by and self.by_index
        unsaid = scope.keys is None and scope.users is not None and since + 1 < self.users_from
        of = len(scope.keys if scope.keys is not None else scope.users or ())
        if not by_index or unsaid or of > min(MOST_OF, upto - since):
            return self._range(since, upto)
        most = max(limit, FOUND)
        if of * most > SEARCHED:
            upto = min(upto, since + SEARCHED)
        seqs: list[int] = []

        def find() -> tuple[list[StoredEvent], int]:
            seqs.extend(self._seqs(since, upto, scope, most))
            return self._rows("seq = ?", ((seq,) for seq in seqs[:most]))

        def found(result: tuple[list[StoredEvent], int]) -> Found:
            events, trimmed = result
            if since < trimmed:
                raise CursorGone(trimmed)
            return Found(events, seqs[most - 1] if len(seqs) > most else upto)

        return self._run(find).addCallback(found)

    def _range(self, since: int, upto: int) -> Deferred[Found]:
        """Read events that follow each other: those of a chunk, for all who ask for it."""
        number = since // CHUNK
        end = min(upto, (number + 1) * CHUNK)
        kept = self._chunks.get((number, end))
        if kept is not None:
            self._chunks.move_to_end((number, end))
            return succeed(kept).addCallback(lambda chunk: chunk.after(since))
        waiting = self._asked.get((number, end))
        reads = waiting is not None  # perhaps for nobody: those who asked have left
        if waiting is None:
            waiting = self._asked[(number, end)] = deque()
        mine: Deferred[_Chunk] = Deferred(waiting.remove)
        waiting.append(mine)
        if not reads:
            read = self._run(lambda: self._rows("seq > ? AND seq <= ? ORDER BY seq", [(number * CHUNK, end)]))
            read.addCallbacks(lambda rows: self._answer(_Chunk(end, *rows)), lambda failure: self._fail(number, end, failure))
        return mine.addCallback(lambda chunk: chunk.after(since))

    def _answer(self, chunk: _Chunk) -> None:
        of = ((chunk.end - 1) // CHUNK, chunk.end)
        if chunk.end % CHUNK == 0:
            self._chunks[of] = chunk
            while len(self._chunks) > KEPT_CHUNKS:
                self._chunks.popitem(last=False)
        waiting = self._asked.pop(of)
        while waiting:  # one that is told may let another leave
            waiting.popleft().callback(chunk)

    def _fail(self, number: int, end: int, failure: Failure) -> None:
        waiting = self._asked.pop((number, end))
        while waiting:
            waiting.popleft().errback(failure)

    # -- on the reading thread

    def _trimmed(self) -> int:
        """Asked after a read: a trim may have overtaken it."""
        (value,) = self._connection().execute("SELECT value FROM meta WHERE name = 'trimmed_seq'").fetchone() or ("0",)
        return int(value)

    def _rows(self, condition: str, values: Iterable[tuple[int, ...]]) -> tuple[list[StoredEvent], int]:
        """Return the events that satisfy a condition with each of these values, and the number of the last that was removed."""
        execute = self._connection().execute
        found = [stored(row) for some in values for row in execute(f"SELECT {COLUMNS} FROM event WHERE {condition}", some)]
        return found, self._trimmed()

    def _seqs(self, since: int, upto: int, scope: Scope, most: int) -> list[int]:
        """Return the numbers of the first events of a scope, ascending, and one more if there are more."""
        wanted: list[tuple[str, tuple[str, ...]]] = []
        if scope.keys is not None:
            for key in scope.keys:
                wanted += [(f"cluster = ? AND {of} = ?", key_columns(key)) for of in ("job", "parent")]
        elif scope.users is not None:
            wanted = [("user = ?", (column(user),)) for user in scope.users]
        else:
            wanted = [("cluster = ?", (cluster,)) for cluster in scope.clusters or ()]
        found: set[int] = set()
        execute = self._connection().execute
        for condition, values in wanted:
            rows = execute(
                f"SELECT seq FROM event WHERE {condition} AND seq > ? AND seq <= ? ORDER BY seq LIMIT ?",
                (*values, since, upto, most + 1),
            )
            found.update(seq for (seq,) in rows)
        return sorted(found)[: most + 1]

    def check_indexes(self, since: int, upto: int) -> None:
        """
        Look for each of these events in the indexes.

        :raise Damaged: if one is not there; from then on no index is used.
        """
        for index, columns in INDEXES.items():
            same = " AND ".join(f"i.{name} = e.{name}" for name in (*columns, "seq"))
            found = f"SELECT 1 FROM event AS i INDEXED BY {index} WHERE i.{columns[-1]} IS NOT NULL AND {same}"
            missing = f"e.seq > ? AND e.seq <= ? AND e.{columns[-1]} IS NOT NULL AND NOT EXISTS ({found})"
            question = f"SELECT min(e.seq) FROM event AS e WHERE {missing}"
            try:
                seq = self._connection().execute(question, (since, upto)).fetchone()[0]
            except sqlite3.DatabaseError as error:
                if type(error) is not sqlite3.DatabaseError:
                    raise
                self.by_index = False
                raise Damaged(f"the index {index} is damaged: {error}; see 'jobpush journal check'") from None
            if seq is not None:
                self.by_index = False
                raise Damaged(f"the index {index} is damaged: event {seq} is not in it; see 'jobpush journal check'")

    def last_of(self, keys: Sequence[JobKey], upto: int, user: str | None) -> dict[JobKey, Event]:
        """Return the last event of each of these jobs and workflows up to that number, as far as there is one of the user's."""
        found: dict[JobKey, Event] = {}
        for key in keys:
            condition = "cluster = ? AND job = ? AND seq <= ? ORDER BY seq DESC LIMIT 1"
            rows = self._connection().execute(f"SELECT {COLUMNS} FROM event WHERE {condition}", (*key_columns(key), upto))
            found.update((key, decoded(stored(row))) for row in rows if user is None or row[4] == user)
        return found
