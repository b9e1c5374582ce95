"""
The tables of the journal's file: their schema, and how their rows are written and read. Tests: tests/events/test_journal.py.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TypeVar
from zlib import crc32

from jobpush.core import wire
from jobpush.core.cursors import Epochs
from jobpush.core.model import JobKey
from jobpush.core.record import AnyRecord, Event
from jobpush.core.workflow import NO_CLUSTER, Membership, WorkflowMember
from jobpush.events.interfaces import JournalError

T = TypeVar("T")

#: Bytes of a page of a new journal. On SQLite's own 4096 a known job of more than 1000 bytes, its key included, takes a page
#: more.
PAGE = 8192


class Damaged(JournalError):
    """What the journal holds is not what was written."""


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

# What events of before do not say is read from their bodies: to write a million of them over would take minutes.
_V3 = """
ALTER TABLE event ADD COLUMN user TEXT;
ALTER TABLE event ADD COLUMN crc INTEGER;
CREATE INDEX event_user ON event (user, seq) WHERE user IS NOT NULL;
CREATE INDEX event_cluster ON event (cluster, seq);
ALTER TABLE job ADD COLUMN crc INTEGER;
ALTER TABLE workflow ADD COLUMN crc INTEGER;
ALTER TABLE member ADD COLUMN crc INTEGER;
INSERT OR REPLACE INTO meta SELECT 'users_from', coalesce(max(seq), 0) + 1 FROM event;
"""

# An upsert writes a row that is there over; INSERT OR REPLACE deletes it and its overflow pages first, and takes twice as long.
_PUT = (
    "INSERT INTO {0} ({1}, body, crc) VALUES ({2}, ?, ?) "
    "ON CONFLICT ({1}) DO UPDATE SET body = excluded.body, crc = excluded.crc"
)
_PUT_JOB = _PUT.format("job", "cluster, job", "?, ?")
_PUT_WORKFLOW = _PUT.format("workflow", "name", "?")
_PUT_MEMBER = _PUT.format("member", "workflow, cluster, job", "?, ?, ?")

#: The script that leads from each schema version to the next; the number of scripts is the version that this code writes.
MIGRATIONS: tuple[str, ...] = (_V1, _V2, _V3)


def column(text: str) -> str:
    """Return a text as the file can hold it, and as it is in a body: lone surrogates, which a name may have, become U+FFFD."""
    return text if text.isascii() else wire.utf8(text).decode("utf-8")


def key_columns(key: JobKey) -> tuple[str, str]:
    """Return the key of a job, or of a workflow, as the file can hold it."""
    return column(key[0]), column(key[1])


def write_events(db: sqlite3.Connection, events: Sequence[Event], now: float) -> None:
    """Write events, stored then (seconds since the epoch)."""
    statement = "INSERT INTO event (seq, stored_at, cluster, job, parent, user, body, crc) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"

    def row(event: Event) -> tuple[object, ...]:
        parent, user = event.parent, event.subject.user
        texts = (parent and column(parent), user and column(user))
        return (event.seq, now, *key_columns(event.key), *texts, *summed(event.data))

    db.executemany(statement, map(row, events))


def write_records(db: sqlite3.Connection, records: Sequence[AnyRecord], events: Sequence[Event]) -> None:
    """Write records, those of jobs and of workflows; the bytes of a job's last event are taken from there."""
    first_seq = events[0].seq if events else 0

    def body(record: AnyRecord) -> tuple[bytes, int]:
        place = record.last_seq - first_seq
        return summed(wire.record_bytes(record, events[place] if 0 <= place < len(events) else None))

    jobs = (record for record in records if record.subject.kind == "job")
    db.executemany(_PUT_JOB, ((*key_columns(record.subject.key), *body(record)) for record in jobs))
    for record in records:
        if isinstance(record.detail, Membership):
            _, name = key_columns(record.subject.key)
            if not record.detail.members:
                db.execute("DELETE FROM member WHERE workflow = ?", (name,))
            db.execute(_PUT_WORKFLOW, (name, *body(record)))


def load_known(db: sqlite3.Connection) -> dict[str, dict[str, AnyRecord]]:
    """
    Read the known jobs, by cluster and id, and the known workflows, which have the cluster ``""``.

    :raise Damaged: if one of them is not what was written, or cannot be understood.
    """
    known: dict[str, dict[str, AnyRecord]] = {}
    for cluster, job, body, crc in db.execute("SELECT cluster, job, body, crc FROM job"):
        known.setdefault(cluster, {})[job] = load_record(f"job {cluster}/{job}", wire.job_record_from_bytes, body, crc)
    members: dict[str, dict[JobKey, WorkflowMember]] = {}
    for name, cluster, job, body, crc in db.execute("SELECT workflow, cluster, job, body, crc FROM member"):
        member = load_record(f"job {cluster}/{job} of workflow {name}", wire.member_from_bytes, body, crc)
        members.setdefault(name, {})[(cluster, job)] = member
    for name, body, crc in db.execute("SELECT name, body, crc FROM workflow"):
        read = partial(wire.workflow_record_from_bytes, members=members.get(name, {}))
        known.setdefault(NO_CLUSTER, {})[name] = load_record(f"workflow {name}", read, body, crc)
    return known


def whole(what: str, body: object, crc: int | None) -> bytes:
    """
    Return a body as it was written.

    :param what: says in errors whose it is.
    :param crc: None if it was written by a version without checksums.
    :raise Damaged: if it is another.
    """
    if not isinstance(body, bytes):
        raise Damaged(f"{what} is damaged: it is of type {type(body).__name__}; see 'jobpush journal check'")
    if crc is not None and crc32(body) != crc:
        raise Damaged(f"{what} is damaged: its checksum is wrong; see 'jobpush journal check'")
    return body


def load_record(what: str, read: Callable[[bytes], T], body: bytes, crc: int | None) -> T:
    """
    Return what a body is of.

    :param what: says in errors whose it is.
    :raise Damaged: if it is not what was written, or cannot be understood.
    """
    data = whole(what, body, crc)
    try:
        return read(data)
    except Exception as error:  # whatever the bytes of another version, or of nobody, bring about
        reason = f"{type(error).__name__}: {error}"
        raise Damaged(f"{what} cannot be understood: {reason}; see 'jobpush journal check'") from None


def write_members(db: sqlite3.Connection, workflow: str, members: Mapping[JobKey, WorkflowMember]) -> None:
    """Write members of a workflow."""
    name = column(workflow)
    rows = ((name, *key_columns(key), *summed(wire.member_bytes(member))) for key, member in members.items())
    db.executemany(_PUT_MEMBER, rows)


def summed(body: bytes) -> tuple[bytes, int]:
    """Return a body with its checksum."""
    return body, crc32(body)


def forget(db: sqlite3.Connection, keys: Sequence[JobKey]) -> None:
    """Remove the records of these jobs and workflows, and the workflows' members."""
    keys = list(map(key_columns, keys))
    db.executemany("DELETE FROM job WHERE cluster = ? AND job = ?", keys)
    names = [(name,) for cluster, name in keys if cluster == NO_CLUSTER]
    db.executemany("DELETE FROM workflow WHERE name = ?", names)
    db.executemany("DELETE FROM member WHERE workflow = ?", names)


def epochs_of(meta: Mapping[str, str], trimmed_seq: int) -> list[tuple[str, int]]:
    """
    Return the epochs of which cursors can still be valid, oldest first; none if the journal is new.

    jobpush 0.1.0 has one epoch for a journal, under a name of its own, and goes on in it if it is given this journal.
    """
    newest = meta.get("epoch")
    begun = [(str(name), int(first)) for name, first in json.loads(meta.get("epochs", "[]"))]
    if newest is not None and (not begun or begun[-1][0] != newest):
        begun = [(newest, 1)]
    # One ends where the next one begins.
    return [epoch for place, epoch in enumerate(begun) if place + 1 == len(begun) or begun[place + 1][1] > trimmed_seq]


def set_epochs(db: sqlite3.Connection, epochs: Epochs) -> None:
    """Write the list of the epochs, and the name of the newest where jobpush 0.1.0 looks for it."""
    set_meta(db, epoch=epochs.current, epochs=json.dumps(epochs.begun))


def set_meta(db: sqlite3.Connection, **values: object) -> None:
    """Write values under these names."""
    db.executemany("INSERT OR REPLACE INTO meta (name, value) VALUES (?, ?)", ((k, str(v)) for k, v in values.items()))


#: What the names of kept texts begin with in the table.
_KEPT = "kept:"


def keep_text(db: sqlite3.Connection, name: str, value: str | None) -> None:
    """Keep a text of the service's; None forgets it."""
    if value is None:
        db.execute("DELETE FROM meta WHERE name = ?", (_KEPT + name,))
    else:
        set_meta(db, **{_KEPT + name: value})


def kept_texts(meta: Mapping[str, str]) -> dict[str, str]:
    """Return the texts that are kept, by name."""
    return {name.removeprefix(_KEPT): value for name, value in meta.items() if name.startswith(_KEPT)}


def check_synced(db: sqlite3.Connection, log: str | None) -> None:
    """
    Check that what is read is on the disk: a sync that failed may have left it in the kernel's memory alone, marked as written
    (https://lwn.net/Articles/752063/). So the write-ahead log is written once more as it is, and copied into the file. Of a log
    that lacks its end on the disk the rest would be played over newer pages after a power cut.

    :param log: the path of the write-ahead log; None for a journal in memory.
    :raise JournalError: if it may not be.
    """
    try:
        if log is not None:
            _write_again(log)
        busy = db.execute("PRAGMA wal_checkpoint(FULL)").fetchone()[0]
        why = "a reader is in the way" if busy else None
    except (sqlite3.Error, OSError) as error:
        why = str(error)
    if why is not None:
        raise JournalError(
            f"a batch whose write failed is in the journal, and it cannot be made sure that it is on the disk: {why}"
        )


def _write_again(path: str) -> None:
    """
    Write a file's bytes in their places, and sync it: also what the kernel takes for written.

    :raise OSError: if that fails.
    """
    with open(path, "r+b", buffering=0) as file:
        at = 0
        while chunk := os.pread(file.fileno(), _CHUNK, at):
            at += os.pwrite(file.fileno(), chunk, at)
        os.fsync(file.fileno())


#: Bytes that are read and written at once.
_CHUNK = 1024 * 1024
