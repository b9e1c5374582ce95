"""
The journal: numbered events and the last known jobs, durable before anyone hears of them.

SQLite in a state directory (WAL, ``synchronous=FULL``), or in memory where there is none. One thread writes; another
reads what is older than the in-memory tail. Nothing here knows who reads the events.
"""

from __future__ import annotations

import os
import secrets
import sqlite3
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing, suppress
from typing import TypeVar

import attrs
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from jobpush.core.cursors import Epochs
from jobpush.core.filters import Scope
from jobpush.core.model import JobKey
from jobpush.core.record import AnyRecord, Event
from jobpush.core.stored_event import StoredEvent
from jobpush.core.workflow import WorkflowMember
from jobpush.events.interfaces import Found, IJournal, JournalError, KnownRecords
from jobpush.events.journal_reading import COLUMNS, Reading, decoded, stored
from jobpush.events.journal_tables import (
    MIGRATIONS,
    PAGE,
    Damaged,
    check_synced,
    epochs_of,
    forget,
    keep_text,
    kept_texts,
    load_known,
    set_epochs,
    set_meta,
    write_events,
    write_members,
    write_records,
)
from jobpush.events.journal_threads import Threads
from jobpush.events.state_directory import NAME, Files, create_file, lock_directory, mark_used, size_of, was_used

T = TypeVar("T")

#: How many events are removed after a batch, and twice as many as it has. Of a million that are too old at once each batch
#: removes some: it would take long, and as much room in the log as they have.
TRIMMED = 10_000

#: Bytes of the write-ahead log that are kept when it begins anew: twice of what it has between two checkpoints. SQLite itself
#: keeps it as large as it once was, after a first look at a huge queue, for as long as the service runs.
WAL_KEPT = 16 * 1024 * 1024


@attrs.frozen
class Retention:
    """How much the journal keeps: so many events, and none older than so many seconds."""

    events: int = 1_000_000
    seconds: float = 7 * 86400.0


@implementer(IJournal)
class SQLiteJournal:
    """
    :param directory: the state directory; None keeps the journal in memory.
    :param new_epoch: forget all epochs before: every cursor that was given out is gone.
    """

    log = Logger()

    def __init__(
        self,
        threads: Threads,
        directory: str | None,
        retention: Retention = Retention(),  # noqa: B008
        new_epoch: bool = False,
        clock: Callable[[], float] = time.time,
        migrations: Sequence[str] = MIGRATIONS,
    ) -> None:
        self.epochs = Epochs([("", 1)])
        self.last_seq = 0
        self.trimmed_seq = 0
        self.directory = directory
        self._retention = retention
        self._new_epoch = new_epoch
        self._clock = clock
        self._migrations = migrations
        self._threads = threads
        self.problem: str | None = None
        self.damage: str | None = None
        self._unsure = False  # of the writer's thread: whether what failed last was written all the same
        self._distrusted = False  # of the writer's thread: whether the file is to be opened again before it is used
        self._cursors: dict[str, int] = {}
        self._kept: dict[str, str] = {}
        self._events = Reading(self._run_reading, lambda: self._reader)
        self._files: Files | None = None
        self._opened = ExitStack()  # gives back the lock and the connections
        self._writer: sqlite3.Connection
        self._reader: sqlite3.Connection

    # -- opening and closing

    def open(self) -> KnownRecords:
        try:
            if self.directory is None:
                self._writer = self._reader = self._connect(":memory:")
                self._opened.callback(self._writer.close)
            else:
                self._opened.callback(os.close, lock_directory(self.directory))
                path = os.path.join(self.directory, NAME)
                create_file(path)
                self._files = self._opened.enter_context(closing(Files(path)))  # which is closed after SQLite's files
                self._writer = self._connect_writer(path)
                self._opened.callback(lambda: self._writer.close())
                self._reader = self._connect(path)
                self._opened.callback(self._reader.close)
            self._upgrade()
            known = self._load()
            if self.directory is not None:
                self.look_at_files()
                mark_used(self.directory)
            return known
        except sqlite3.Error as error:
            self._opened.close()
            hint = "; see 'jobpush journal check'" if _tells_of_damage(error) else ""
            raise JournalError(f"the journal in {self.directory} cannot be used: {error}{hint}") from None
        except Damaged as error:
            self._opened.close()
            raise Damaged(f"the journal in {self.directory} cannot be used: {error}") from None
        except JournalError:
            self._opened.close()
            raise

    def _connect(self, path: str) -> sqlite3.Connection:
        # Each connection is used by one thread at a time, in turn: the one that opens it, then its own.
        return sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=10.0)

    def _connect_writer(self, path: str) -> sqlite3.Connection:
        db = self._connect(path)
        try:
            db.execute(f"PRAGMA page_size={PAGE}")
            db.execute("PRAGMA journal_mode=WAL")
            db.execute("PRAGMA synchronous=FULL")
            db.execute(f"PRAGMA journal_size_limit={WAL_KEPT}")
        except sqlite3.Error:
            db.close()
            raise
        return db

    def _upgrade(self) -> None:
        db = self._writer
        version = db.execute("PRAGMA user_version").fetchone()[0]
        wanted = len(self._migrations)
        if version > wanted:
            raise JournalError(
                f"the journal in {self.directory} has schema {version}, written by a newer jobpush; this one knows {wanted}"
            )
        if version == 0 and self.directory is not None and was_used(self.directory):
            path = os.path.join(self.directory, NAME)
            self.log.error("{path} is missing or empty, and was not: all events and known jobs are lost", path=path)
        if 0 < version < wanted and self.directory is not None:
            backup = os.path.join(self.directory, f"journal.v{version}.sqlite")
            create_file(backup)
            with closing(sqlite3.connect(backup)) as copy:
                db.backup(copy)
        while version < wanted:
            # executescript() would end the transaction, so that an upgrade could stop half way
            db.execute("BEGIN IMMEDIATE")
            for statement in self._migrations[version].split(";"):
                if statement.strip():
                    db.execute(statement)
            version += 1
            db.execute(f"PRAGMA user_version={version:d}")
            db.execute("COMMIT")

    def _load(self) -> KnownRecords:
        db = self._writer
        meta = dict(db.execute("SELECT name, value FROM meta"))
        newest = db.execute("SELECT max(seq) FROM event").fetchone()[0] or 0
        self.trimmed_seq = int(meta.get("trimmed_seq", 0))
        self.last_seq = max(newest, self.trimmed_seq)
        begun = [] if self._new_epoch else epochs_of(meta, self.trimmed_seq)
        if begun:
            # It is stored together with its first event: before that, no cursor of it is given out.
            self.epochs = Epochs([*begun, (secrets.token_hex(8), self.last_seq + 1)])
        else:
            self.epochs = Epochs([(secrets.token_hex(8), self.last_seq + 1)])
            self.trimmed_seq = self.last_seq
            db.execute("BEGIN IMMEDIATE")
            db.execute("DELETE FROM event")
            set_meta(db, trimmed_seq=self.trimmed_seq)
            set_epochs(db, self.epochs)
            db.execute("COMMIT")
        self._events.users_from = int(meta.get("users_from", 1))
        self._cursors = dict(db.execute("SELECT name, seq FROM listener"))
        self._kept = kept_texts(meta)
        return load_known(db)

    def newest(self, count: int, size: int) -> Sequence[StoredEvent]:
        events: list[StoredEvent] = []
        rows = self._writer.execute(f"SELECT {COLUMNS} FROM event ORDER BY seq DESC LIMIT ?", (count,))
        try:
            for row in rows:
                event = stored(row)
                size -= len(event.data)
                if event.seq != self.last_seq - len(events) or size < 0:
                    break
                if event.seq < self._events.users_from:
                    event.user = decoded(event).subject.user
                events.append(event)
        except (sqlite3.Error, Damaged) as error:
            self.damage = str(error)
            self.log.error("the journal in {directory}: {error}", directory=self.directory, error=self.damage)
        return events[::-1]

    def size(self) -> int:
        ends = ("", "-wal", "-shm") if self.directory is not None else ()
        return sum(size_of(os.path.join(self.directory or "", NAME + end)) for end in ends)

    def close(self) -> Deferred[None]:
        def closed(_: object) -> None:
            self._threads.stop()
            self._opened.close()

        # Both threads work in order: when these have run, everything asked for before has.
        done = self._threads.run("write", lambda: None)
        done.addCallback(lambda _: self._threads.run(self._reading, lambda: None))
        return done.addCallback(closed)

    # -- writing

    def commit(
        self,
        events: Sequence[Event],
        records: Sequence[AnyRecord],
        forgotten: Sequence[JobKey],
        members: Mapping[str, Mapping[JobKey, WorkflowMember]] = {},  # noqa: B006
    ) -> Deferred[None]:
        if events and events[0].seq != self.last_seq + 1:
            raise ValueError(f"event {events[0].seq} does not follow {self.last_seq}")
        now = self._clock()

        def write(db: sqlite3.Connection) -> None:
            if self.problem is not None or (events and events[0].seq == self.epochs.first_seq):
                set_epochs(db, self.epochs)
            write_events(db, events, now)
            write_records(db, records, events)
            for name, changed in members.items():
                write_members(db, name, changed)
            forget(db, forgotten)

        def work() -> str | None:
            found = self._files.problem() if self._files is not None else None
            if found is not None:
                raise JournalError(found)
            if self._unsure:
                if self._distrusted:
                    self._reopen()
                self._check_head(self.last_seq)
            try:
                self._transaction(write)
            except JournalError:
                # Whether it was written is not known: an error may come after the fact.
                self._unsure = self._distrusted = True
                self._reopen()
                if not events or self._head() != events[-1].seq:
                    self._check_head(self.last_seq)
                    raise
                check_synced(self._writer, os.path.join(self.directory, f"{NAME}-wal") if self.directory is not None else None)
                self._unsure = False
            try:
                if events:
                    self._trim(events[-1].seq, now, TRIMMED + 2 * len(events))
            except (sqlite3.Error, JournalError) as error:
                return str(error)
            return None

        def committed(not_trimmed: str | None) -> None:
            # What is committed counts, whatever became of the trim: that comes again with the next batch.
            self.problem = None
            if events:
                self.last_seq = events[-1].seq
            if not_trimmed is not None:
                self.log.warn("old events could not be removed from the journal: {error}", error=not_trimmed)

        def failed(failure: Failure) -> Failure:
            if failure.check(JournalError):
                self.problem = str(failure.value)
            return failure

        return self._threads.run("write", work).addCallbacks(committed, failed)

    def _reopen(self) -> None:
        """
        Open the file again for writing: once a write or a sync has failed, what SQLite has in memory of it is not relied upon.

        :raise JournalError: if it cannot be opened.
        """
        if self.directory is not None:
            try:
                writer = self._connect_writer(os.path.join(self.directory, NAME))
                self._writer.close()
                self._writer = writer
            except sqlite3.Error as error:
                raise JournalError(f"the journal in {self.directory} cannot be opened again: {error}") from None
        self._distrusted = False

    def _head(self) -> int:
        """
        Return the number of the last event in the file.

        :raise JournalError: if it cannot be read.
        """
        try:
            newest = self._writer.execute("SELECT max(seq) FROM event").fetchone()[0]
        except sqlite3.Error as error:
            raise JournalError(f"the journal in {self.directory or 'memory'} cannot be read: {error}") from None
        return max(newest or 0, self.trimmed_seq)

    def _check_head(self, expected: int) -> None:
        """
        Check that the file ends with that event: nobody was told of one that is beyond it.

        :raise JournalError: if it does not, or cannot be read.
        """
        head = self._head()
        if head != expected:
            raise JournalError(
                f"the journal in {self.directory or 'memory'} ends with event {head}, not with {expected}: a write that "
                f"failed was done later, or the file was replaced; restart jobpush"
            )
        self._unsure = False

    def _trim(self, last: int, now: float, most: int) -> None:
        """Remove what is beyond the retention, at most so many events: a thousand at a time, or all that are too many."""
        keep_from = last - self._retention.events
        upto = keep_from if keep_from - self.trimmed_seq >= max(1, self._retention.events // 20) else self.trimmed_seq
        oldest_allowed = now - self._retention.seconds
        while upto - self.trimmed_seq < most:
            row = self._writer.execute(
                "SELECT max(seq), max(stored_at) FROM (SELECT seq, stored_at FROM event WHERE seq > ? ORDER BY seq LIMIT 1000)",
                (upto,),
            ).fetchone()
            if row[0] is None or row[1] >= oldest_allowed:
                break
            upto = row[0]
        upto = min(upto, self.trimmed_seq + most)
        if upto <= self.trimmed_seq:
            return

        def write(db: sqlite3.Connection) -> None:
            db.execute("DELETE FROM event WHERE seq <= ?", (upto,))
            set_meta(db, trimmed_seq=upto)

        self._transaction(write)
        self.trimmed_seq = upto

    def keep(self, name: str, value: str | None) -> Deferred[None]:
        def known(_: object = None) -> None:
            self._kept = {key: text for key, text in {**self._kept, name: value}.items() if text is not None}

        if value is None:
            known()
        return self._threads.run("write", lambda: self._transaction(lambda db: keep_text(db, name, value))).addCallback(known)

    def kept(self) -> Mapping[str, str]:
        return self._kept

    def save_cursor(self, listener: str, seq: int) -> Deferred[None]:
        self._cursors[listener] = seq

        def write(db: sqlite3.Connection) -> None:
            db.execute("INSERT OR REPLACE INTO listener (name, seq) VALUES (?, ?)", (listener, seq))

        return self._threads.run("write", lambda: self._transaction(write))

    def cursors(self) -> Mapping[str, int]:
        return self._cursors

    def _transaction(self, write: Callable[[sqlite3.Connection], None]) -> None:
        db = self._writer
        try:
            db.execute("BEGIN IMMEDIATE")
            write(db)
            db.execute("COMMIT")
        except Exception as error:
            with suppress(sqlite3.Error):  # then the next batch cannot begin, and the file is opened again
                if db.in_transaction:
                    db.execute("ROLLBACK")
            if not isinstance(error, sqlite3.Error):
                raise  # a fault of ours, in this batch alone: the next one can begin
            self._take_note(error)
            raise JournalError(f"the journal in {self.directory or 'memory'} cannot be written: {error}") from None

    def look_at_files(self) -> None:
        """Take note, once, of files that were removed, replaced or cut: whatever would be written to them is lost."""
        found = self._files.problem() if self._files is not None else None
        if found is not None and self.damage is None:
            self.damage = f"{found}; nothing is told any more until jobpush is restarted"
            self.log.error("the journal: {damage}", damage=self.damage)

    def check_events(self, since: int, upto: int) -> Deferred[int]:
        """
        Read some events after that number, compare their checksums, and look for them in the indexes; damage is taken note of.

        :return: fires with the number up to which this was done; fails with `JournalError` if it cannot be read.
        """

        def damaged(failure: Failure) -> Failure:
            failure.trap(Damaged)
            if self.damage is None:
                self.damage = str(failure.value)
                self.log.error("the journal: {damage}", damage=self.damage)
            return failure

        def indexed(found: Found) -> Deferred[int]:
            return self._run_reading(lambda: self._events.check_indexes(since, found.seq)).addCallback(lambda _: found.seq)

        return self._events.read(since, upto, Scope(), 1).addCallback(indexed).addErrback(damaged)

    def _take_note(self, error: sqlite3.Error) -> None:
        if _tells_of_damage(error):
            self.damage = f"the journal's file is damaged: {error}"

    # -- reading

    @property
    def _reading(self) -> str:
        return "write" if self.directory is None else "read"

    def _run_reading(self, read: Callable[[], T]) -> Deferred[T]:
        """Read on the thread for that. Fails with `JournalError` if SQLite does."""

        def work() -> T:
            try:
                return read()
            except sqlite3.Error as error:
                self._take_note(error)
                raise JournalError(f"the journal in {self.directory or 'memory'} cannot be read: {error}") from None

        return self._threads.run(self._reading, work)

    def read(self, since: int, upto: int, scope: Scope, limit: int) -> Deferred[Found]:
        return self._events.read(since, upto, scope, limit)

    def last_of(self, keys: Sequence[JobKey], upto: int, user: str | None = None) -> Deferred[dict[JobKey, Event]]:
        return self._run_reading(lambda: self._events.last_of(keys, upto, user))


def _tells_of_damage(error: sqlite3.Error) -> bool:
    return type(error) is sqlite3.DatabaseError  # SQLITE_CORRUPT and SQLITE_NOTADB; all else has a class of its own
