"""
The journal: numbered events and the last known jobs, durable before anyone hears of them.

SQLite in a state directory (WAL, ``synchronous=FULL``), or in memory where there is none. One thread writes; another
reads what is older than the in-memory tail. Nothing here knows who reads the events.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import sqlite3
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack, closing
from itertools import islice
from typing import Any, TypeVar

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThreadPool
from twisted.python.threadpool import ThreadPool
from zope.interface import implementer

from jobpush.core import wire
from jobpush.core.model import JobKey, JobRecord, JobStatusEvent
from jobpush.core.workflow import Event, Member, WorkflowRecord
from jobpush.events.interfaces import CursorGone, IJournal, JournalError

T = TypeVar("T")

#: File systems on which SQLite's write-ahead log does not work, or not safely.
NETWORK_FILE_SYSTEMS = frozenset(
    {"nfs", "nfs4", "lustre", "gpfs", "beegfs", "cifs", "smb3", "smbfs", "ceph", "afs", "9p", "fuse.sshfs", "fuse.glusterfs"}
)

#: How many events a reader looks at before it lets a writer of an in-memory journal in.
READ_CHUNK = 1000

_V1 = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE event (
    seq INTEGER PRIMARY KEY, stored_at REAL NOT NULL, cluster TEXT NOT NULL, job TEXT NOT NULL, parent TEXT, body BLOB NOT NULL
);
CREATE INDEX event_job ON event (cluster, job, seq);
CREATE INDEX event_parent ON event (cluster, parent, seq) WHERE parent IS NOT NULL;
CREATE TABLE job (cluster TEXT NOT NULL, job TEXT NOT NULL, body BLOB NOT NULL, PRIMARY KEY (cluster, job)) WITHOUT ROWID;
CREATE TABLE listener (name TEXT PRIMARY KEY, seq INTEGER NOT NULL) WITHOUT ROWID;
"""

_V2 = """
CREATE TABLE workflow (name TEXT PRIMARY KEY, body BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE member (
    workflow TEXT NOT NULL, cluster TEXT NOT NULL, job TEXT NOT NULL, body BLOB NOT NULL, PRIMARY KEY (workflow, cluster, job)
) WITHOUT ROWID;
"""

#: The script that leads from each schema version to the next; the number of scripts is the version that this code writes.
MIGRATIONS: tuple[str, ...] = (_V1, _V2)


@attrs.frozen
class Retention:
    """How much the journal keeps: so many events, and none older than so many seconds."""

    events: int = 1_000_000
    seconds: float = 7 * 86400.0


class Threads:
    """Where the journal's blocking work runs: one thread writes, one reads, each in the order of the calls."""

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._pools = {name: ThreadPool(1, 1, f"journal-{name}") for name in ("write", "read")}

    def run(self, name: str, work: Callable[[], T]) -> Deferred[T]:
        """Do that on the thread of this name ("write" or "read"); fires in the reactor's thread."""
        pool = self._pools[name]
        if not pool.started:
            pool.start()
        return deferToThreadPool(self._reactor, pool, work)

    def stop(self) -> None:
        """Wait for what runs and end the threads."""
        for pool in self._pools.values():
            if pool.started:
                pool.stop()


@implementer(IJournal)
class SQLiteJournal:
    """
    :param directory: the state directory; None keeps the journal in memory.
    :param new_epoch: begin a new sequence: every cursor that was given out is gone. For a restored backup.
    """

    def __init__(
        self,
        threads: Threads,
        directory: str | None,
        retention: Retention = Retention(),  # noqa: B008
        new_epoch: bool = False,
        clock: Callable[[], float] = time.time,
        migrations: Sequence[str] = MIGRATIONS,
    ) -> None:
        self.epoch = ""
        self.last_seq = 0
        self.trimmed_seq = 0
        self.directory = directory
        self._retention = retention
        self._new_epoch = new_epoch
        self._clock = clock
        self._migrations = migrations
        self._threads = threads
        self._cursors: dict[str, int] = {}
        self._workflows: list[WorkflowRecord] = []
        self._opened = ExitStack()  # gives back the lock and the connections
        self._writer: sqlite3.Connection
        self._reader: sqlite3.Connection

    # -- opening and closing

    def open(self) -> Mapping[str, Mapping[str, JobRecord]]:
        try:
            if self.directory is None:
                self._writer = self._reader = self._connect(":memory:")
            else:
                self._opened.callback(os.close, _lock_directory(self.directory))
                path = os.path.join(self.directory, "journal.sqlite")
                _create(path)
                self._writer = self._connect(path)
                self._writer.execute("PRAGMA journal_mode=WAL")
                self._writer.execute("PRAGMA synchronous=FULL")
                self._reader = self._connect(path)
            self._upgrade()
            return self._load()
        except sqlite3.Error as error:
            self._opened.close()
            raise JournalError(f"the journal in {self.directory} cannot be used: {error}") from None
        except JournalError:
            self._opened.close()
            raise

    def _connect(self, path: str) -> sqlite3.Connection:
        return self._opened.enter_context(closing(_connect(path)))

    def _upgrade(self) -> None:
        db = self._writer
        version = db.execute("PRAGMA user_version").fetchone()[0]
        wanted = len(self._migrations)
        if version > wanted:
            raise JournalError(
                f"the journal in {self.directory} has schema {version}, written by a newer jobpush; this one knows {wanted}"
            )
        if 0 < version < wanted and self.directory is not None:
            backup = os.path.join(self.directory, f"journal.v{version}.sqlite")
            _create(backup)
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

    def _load(self) -> Mapping[str, Mapping[str, JobRecord]]:
        db = self._writer
        meta = dict(db.execute("SELECT name, value FROM meta"))
        newest = db.execute("SELECT max(seq) FROM event").fetchone()[0] or 0
        self.trimmed_seq = int(meta.get("trimmed_seq", 0))
        self.last_seq = max(newest, self.trimmed_seq)
        self.epoch = meta.get("epoch", "")
        if not self.epoch or self._new_epoch:
            self.epoch = secrets.token_hex(8)
            self.trimmed_seq = self.last_seq
            db.execute("BEGIN IMMEDIATE")
            db.execute("DELETE FROM event")
            _set_meta(db, epoch=self.epoch, trimmed_seq=self.trimmed_seq)
            db.execute("COMMIT")
        self._cursors = dict(db.execute("SELECT name, seq FROM listener"))
        self._workflows = self._load_workflows()
        known: dict[str, dict[str, JobRecord]] = {}
        for cluster, job, body in db.execute("SELECT cluster, job, body FROM job"):
            known.setdefault(cluster, {})[job] = wire.record_from_bytes(body)
        return known

    def _load_workflows(self) -> list[WorkflowRecord]:
        members: dict[str, dict[JobKey, Member]] = {}
        for name, cluster, job, body in self._writer.execute("SELECT workflow, cluster, job, body FROM member"):
            members.setdefault(name, {})[(cluster, job)] = wire.member_from_bytes(body)
        rows = self._writer.execute("SELECT name, body FROM workflow")
        return [wire.workflow_record_from_bytes(body, members.get(name, {})) for name, body in rows]

    def workflows(self) -> Iterable[WorkflowRecord]:
        loaded, self._workflows = self._workflows, []
        return loaded

    def size(self) -> int:
        total = 0
        for end in ("", "-wal", "-shm") if self.directory is not None else ():
            try:
                total += os.stat(os.path.join(self.directory or "", f"journal.sqlite{end}")).st_size
            except OSError:
                continue
        return total

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
        records: Sequence[JobRecord],
        forgotten: Sequence[JobKey],
        workflows: Sequence[tuple[WorkflowRecord, Mapping[JobKey, Member]]] = (),
        dropped: Sequence[str] = (),
    ) -> Deferred[None]:
        if events and events[0].seq != self.last_seq + 1:
            raise ValueError(f"event {events[0].seq} does not follow {self.last_seq}")
        now = self._clock()

        def write(db: sqlite3.Connection) -> None:
            db.executemany(
                "INSERT INTO event (seq, stored_at, cluster, job, parent, body) VALUES (?, ?, ?, ?, ?, ?)",
                ((e.seq, now, *e.key, e.parent, e.data) for e in events),
            )
            db.executemany(
                "INSERT OR REPLACE INTO job (cluster, job, body) VALUES (?, ?, ?)",
                ((r.job.cluster, r.job.id, wire.record_bytes(r)) for r in records),
            )
            db.executemany("DELETE FROM job WHERE cluster = ? AND job = ?", forgotten)
            _write_workflows(db, workflows, dropped)

        def work() -> None:
            self._transaction(write)
            if events:
                self._trim(events[-1].seq, now)

        def committed(_: None) -> None:
            if events:
                self.last_seq = events[-1].seq

        return self._threads.run("write", work).addCallback(committed)

    def _trim(self, last: int, now: float) -> None:
        """Remove what is beyond the retention, a thousand events at a time."""
        keep_from = last - self._retention.events
        upto = keep_from if keep_from - self.trimmed_seq >= max(1, self._retention.events // 20) else self.trimmed_seq
        oldest_allowed = now - self._retention.seconds
        while True:
            row = self._writer.execute(
                "SELECT max(seq), max(stored_at) FROM (SELECT seq, stored_at FROM event WHERE seq > ? ORDER BY seq LIMIT 1000)",
                (upto,),
            ).fetchone()
            if row[0] is None or row[1] >= oldest_allowed:
                break
            upto = row[0]
        if upto <= self.trimmed_seq:
            return

        def write(db: sqlite3.Connection) -> None:
            db.execute("DELETE FROM event WHERE seq <= ?", (upto,))
            _set_meta(db, trimmed_seq=upto)

        self._transaction(write)
        self.trimmed_seq = upto

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
        except sqlite3.Error as error:
            if db.in_transaction:
                db.execute("ROLLBACK")
            raise JournalError(f"the journal in {self.directory or 'memory'} cannot be written: {error}") from None

    # -- reading

    @property
    def _reading(self) -> str:
        return "write" if self.directory is None else "read"

    def read(
        self,
        since: int,
        upto: int,
        limit: int,
        matches: Callable[[Event], bool],
        keys: Sequence[JobKey] | None,
    ) -> Deferred[list[Event]]:
        if keys is not None and len(keys) <= 32:
            return self._threads.run(self._reading, lambda: self._read_jobs(since, upto, limit, matches, keys))
        found: list[Event] = []

        def chunk(begin: int) -> Deferred[list[Event]]:
            def looked(result: tuple[list[Event], int]) -> Any:
                events, end = result
                found.extend(events[: limit - len(found)])
                return found if len(found) >= limit or end >= upto else chunk(end)

            return self._threads.run(self._reading, lambda: self._read_chunk(begin, upto, matches)).addCallback(looked)

        return chunk(since)

    def _read_chunk(
        self, since: int, upto: int, matches: Callable[[Event], bool]
    ) -> tuple[list[Event], int]:
        end = min(upto, since + READ_CHUNK)
        rows = self._reader.execute("SELECT body FROM event WHERE seq > ? AND seq <= ? ORDER BY seq", (since, end))
        events = [event for event in _decode(rows) if matches(event)]
        self._check_gone(since)
        return events, end

    def _read_jobs(
        self, since: int, upto: int, limit: int, matches: Callable[[Event], bool], keys: Sequence[JobKey]
    ) -> list[Event]:
        events: dict[int, Event] = {}
        for cluster, job in keys:
            for column in ("job", "parent"):
                rows = self._reader.execute(
                    f"SELECT body FROM event WHERE cluster = ? AND {column} = ? AND seq > ? AND seq <= ? ORDER BY seq",
                    (cluster, job, since, upto),
                )
                # The first of each are enough for the first of all; rows beyond them are not even read.
                some = islice((event for event in _decode(rows) if matches(event)), limit)
                events.update((event.seq, event) for event in some)
        self._check_gone(since)
        return [events[seq] for seq in sorted(events)][:limit]

    def _check_gone(self, since: int) -> None:
        """Asked after a read: a trim may have overtaken it."""
        row = self._reader.execute("SELECT value FROM meta WHERE name = 'trimmed_seq'").fetchone()
        trimmed = int(row[0])
        if since < trimmed:
            raise CursorGone(trimmed)

    def last_of(self, keys: Sequence[JobKey]) -> Deferred[dict[JobKey, JobStatusEvent]]:
        def read() -> dict[JobKey, JobStatusEvent]:
            found: dict[JobKey, JobStatusEvent] = {}
            for key in keys:
                rows = self._reader.execute(
                    "SELECT body FROM event WHERE cluster = ? AND job = ? ORDER BY seq DESC LIMIT 1", key
                )
                found.update((key, event) for event in _decode(rows) if isinstance(event, JobStatusEvent))
            return found

        return self._threads.run(self._reading, read)


def _write_workflows(
    db: sqlite3.Connection,
    workflows: Sequence[tuple[WorkflowRecord, Mapping[JobKey, Member]]],
    dropped: Sequence[str],
) -> None:
    for record, members in workflows:
        name = record.workflow.name
        if not record.members:
            db.execute("DELETE FROM member WHERE workflow = ?", (name,))
        db.execute("INSERT OR REPLACE INTO workflow (name, body) VALUES (?, ?)", (name, wire.workflow_record_bytes(record)))
        db.executemany(
            "INSERT OR REPLACE INTO member (workflow, cluster, job, body) VALUES (?, ?, ?, ?)",
            ((name, *key, wire.member_bytes(member)) for key, member in members.items()),
        )
    for name in dropped:
        db.execute("DELETE FROM workflow WHERE name = ?", (name,))
        db.execute("DELETE FROM member WHERE workflow = ?", (name,))


def _decode(rows: Iterable[tuple[bytes]]) -> Iterable[Event]:
    return (wire.event_from_bytes(bytes(body)) for (body,) in rows)


def _set_meta(db: sqlite3.Connection, **values: object) -> None:
    db.executemany("INSERT OR REPLACE INTO meta (name, value) VALUES (?, ?)", ((k, str(v)) for k, v in values.items()))


def _connect(path: str) -> sqlite3.Connection:
    # Each connection is used by one thread at a time, in turn: the one that opens it, then its own.
    return sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=10.0)


def _create(path: str) -> None:
    """Make a file that others may not read: jobs' names and comments are in it. SQLite gives its helpers the same mode."""
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640))
    except OSError as error:
        raise JournalError(f"{path} cannot be used: {error.strerror}") from None


def _lock_directory(directory: str) -> int:
    """Make the state directory and keep it for this process. The lock goes with the process, however it ends."""
    try:
        os.makedirs(directory, mode=0o750, exist_ok=True)
        kind = file_system_of(directory)
        if kind in NETWORK_FILE_SYSTEMS:
            raise JournalError(f"the state directory {directory} is on {kind}; it must be on a local disk (SQLite's WAL)")
        descriptor = os.open(os.path.join(directory, "lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
    except OSError as error:
        raise JournalError(f"the state directory {directory} cannot be used: {error.strerror or error}") from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not os.access(directory, os.W_OK):
            raise OSError("not writable")
    except BlockingIOError:
        os.close(descriptor)
        raise JournalError(f"the state directory {directory} is in use by another jobpush") from None
    except OSError as error:
        os.close(descriptor)
        raise JournalError(f"the state directory {directory} cannot be used: {error}") from None
    return descriptor


def file_system_of(path: str, mountinfo: str = "/proc/self/mountinfo") -> str:
    """The type of the file system that holds a path (``proc_pid_mountinfo(5)``); empty if that cannot be told."""
    path = os.path.realpath(path)
    best = ("", "")
    try:
        with open(mountinfo, encoding="utf-8", errors="surrogateescape") as lines:
            for line in lines:
                fields, _, rest = line.partition(" - ")
                point = fields.split()[4].replace("\\040", " ")
                inside = path == point or path.startswith(point.rstrip("/") + "/")
                if inside and len(point) >= len(best[0]):
                    best = (point, rest.split()[0])
    except (OSError, IndexError):
        return ""
    return best[1]


