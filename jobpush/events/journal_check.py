"""
What is left of a damaged journal: ``jobpush journal check DIR`` says what is damaged, ``jobpush journal salvage DIR`` makes a
journal of what can be read. Documented in docs/reliability.md.
"""

from __future__ import annotations

import os
import sqlite3
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from itertools import chain, count
from typing import Any
from urllib.parse import quote

import attrs

from jobpush.core import wire
from jobpush.events.interfaces import JournalError
from jobpush.events.journal_reading import CHUNK, COLUMNS, decoded, stored
from jobpush.events.journal_tables import MIGRATIONS, PAGE, Damaged, epochs_of, keep_text, kept_texts, load_record, set_meta
from jobpush.events.state_directory import NAME, create_file, lock_directory

#: How many faults are listed one by one.
LISTED = 20

#: The tables of what is known, their keys, and how a record of each is read.
KNOWN = {
    "job": (("cluster", "job"), wire.job_record_from_bytes),
    "member": (("workflow", "cluster", "job"), wire.member_from_bytes),
    "workflow": (("name",), lambda data: wire.workflow_record_from_bytes(data, {})),
}


@attrs.define
class Report:
    """
    What was found.

    :ivar faults: each in one line.
    :ivar events: how many events can be read.
    :ivar known: how many known jobs, workflows, and members of workflows can be read.
    :ivar lost_seq: the number of the last event that cannot be read, or is missing; 0 if there is none.
    :ivar end_is_known: whether it is sure which event was the last.
    """

    faults: list[str] = attrs.field(factory=list)
    events: int = 0
    known: int = 0
    lost_seq: int = 0
    end_is_known: bool = True


def check(directory: str) -> Report:
    """
    Read all of a journal, of a service that runs or does not.

    :raise JournalError: if there is none, or it cannot be opened at all.
    """
    with _opened(directory) as db:
        report = Report()
        try:
            found = [row[0] for row in db.execute(f"PRAGMA integrity_check({LISTED})")]
            report.faults += [f"SQLite: {line}" for text in found if text != "ok" for line in text.splitlines()]
        except sqlite3.DatabaseError as error:
            report.faults.append(f"SQLite: {error}")
        for _ in _events(db, _meta(db, report), report):
            report.events += 1
        for table in KNOWN:
            report.known += sum(1 for _ in _records(db, table, report))
        return report


def salvage(directory: str) -> tuple[Report, str]:
    """
    Make a journal of what can be read, in place of the damaged one, which is kept beside it. No service may use it meanwhile.

    Events before one that cannot be read are left out: a client that comes back with a cursor before it is told so (410), and
    none is ever given a gap. Jobs whose records cannot be read are forgotten: the next look tells them as new. Where it is not
    sure which event was the last, all cursors are gone.

    :return: what was found, and where the damaged journal is kept.
    :raise JournalError: if there is none, or a service uses it.
    """
    lock = lock_directory(directory)
    try:
        path, fresh = os.path.join(directory, NAME), os.path.join(directory, "journal.salvaged.sqlite")
        for end in ("", "-wal", "-shm"):
            if os.path.exists(fresh + end):
                os.unlink(fresh + end)
        report = Report()
        with _opened(directory) as old:
            create_file(fresh)
            with closing(sqlite3.connect(fresh, isolation_level=None)) as new:
                _copy(old, new, report)
        began = os.path.join(directory, time.strftime("journal.damaged-%Y%m%dT%H%M%S", time.gmtime()))
        ends = chain(("",), (f"-{number}" for number in count(2)))
        kept = next(name for end in ends if not os.path.exists(name := f"{began}{end}.sqlite"))
        _replace(path, fresh, kept)
        return report, kept
    except OSError as error:
        raise JournalError(f"the journal in {directory} cannot be made anew: {error.strerror}") from None
    finally:
        os.close(lock)


def _replace(path: str, fresh: str, kept: str) -> None:
    """Put the new file in the place of the old one, which is kept. Whatever ends this half way, there is one of them."""
    owner = os.stat(path)
    with open(fresh, "rb") as file:
        if (os.fstat(file.fileno()).st_uid, os.fstat(file.fileno()).st_gid) != (owner.st_uid, owner.st_gid):
            os.fchown(file.fileno(), owner.st_uid, owner.st_gid)  # this is root, and the service is not
        os.fsync(file.fileno())
    os.link(path, kept)
    for end in ("-wal", "-shm"):
        if os.path.exists(path + end):
            os.rename(path + end, kept + end)
    os.replace(fresh, path)
    directory = os.open(os.path.dirname(path), os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


@contextmanager
def _opened(directory: str) -> Iterator[sqlite3.Connection]:
    """Open a journal for reading: what is left of it stays as it is."""
    path = os.path.join(directory, NAME)
    if not os.path.exists(path):
        raise JournalError(f"there is no {NAME} in {directory}")
    if os.path.getsize(path) == 0:  # SQLite would remove the write-ahead log
        raise JournalError(f"{path} is empty: nothing of it is left")
    try:
        where = f"file:{quote(os.path.abspath(path))}?mode=ro"
        with closing(sqlite3.connect(where, uri=True, isolation_level=None, timeout=10.0)) as db:
            db.execute("PRAGMA writable_schema=ON")  # what is left of a file that was cut is refused otherwise
            version = db.execute("PRAGMA user_version").fetchone()[0]
            if not 1 <= version <= len(MIGRATIONS):
                raise JournalError(f"{path} has schema {version}; this jobpush knows 1 to {len(MIGRATIONS)}")
            if version < len(MIGRATIONS):
                raise JournalError(f"{path} has schema {version}, of an older jobpush: it is upgraded when jobpush is started")
            yield db
    except sqlite3.Error as error:
        raise JournalError(f"{path} cannot be used: {error}") from None


def _meta(db: sqlite3.Connection, report: Report) -> dict[str, str]:
    try:
        meta = dict(db.execute("SELECT name, value FROM meta"))
        int(meta["trimmed_seq"]), epochs_of(meta, 0)
        return meta
    except (sqlite3.Error, ValueError, KeyError, TypeError) as error:
        report.faults.append(f"the list of epochs cannot be read: {error}")
        report.end_is_known = False
        return {}


def _events(db: sqlite3.Connection, meta: dict[str, str], report: Report) -> Iterator[tuple[Any, ...]]:
    """Yield the rows of the events that can be read, and their times, oldest first."""
    seq = int(meta.get("trimmed_seq", 0))
    try:
        last = db.execute("SELECT max(seq) FROM event").fetchone()[0] or seq
    except sqlite3.Error as error:
        report.faults.append(f"the last event cannot be read: {error}")
        report.end_is_known = False
        last = max((int(row[0]) for row in _tries(db, "SELECT max(seq) FROM event INDEXED BY event_job")), default=seq)
    if not meta:
        seq = min((int(row[0]) - 1 for row in _tries(db, "SELECT min(seq) FROM event")), default=seq)
    while seq < last:
        end = min(last, seq + CHUNK)
        select = f"SELECT stored_at, {COLUMNS} FROM event WHERE seq"
        try:
            rows = db.execute(f"{select} > ? AND seq <= ? ORDER BY seq", (seq, end)).fetchall()
        except sqlite3.Error:
            rows = [row for one in range(seq + 1, end + 1) for row in _tries(db, f"{select} = ?", one)]
        for row in rows:
            yield from _event(row, seq, report)
            seq = row[1]
        if seq < end:
            _missing(seq + 1, end, report)
            seq = end


def _event(row: tuple[Any, ...], before: int, report: Report) -> Iterator[tuple[Any, ...]]:
    seq = row[1]
    if seq != before + 1:
        _missing(before + 1, seq - 1, report)
    try:
        decoded(stored(row[1:]))
    except Damaged as error:
        report.faults.append(str(error).partition(";")[0])
        report.lost_seq = seq
    else:
        yield row


def _missing(first: int, last: int, report: Report) -> None:
    report.faults.append(f"event {first} cannot be read" if first == last else f"events {first} to {last} cannot be read")
    report.lost_seq = last


def _tries(db: sqlite3.Connection, statement: str, *values: object) -> list[tuple[Any, ...]]:
    try:
        return [row for row in db.execute(statement, values) if row[0] is not None]
    except sqlite3.Error:
        return []


def _records(db: sqlite3.Connection, table: str, report: Report) -> Iterator[tuple[Any, ...]]:
    """Yield the rows of what is known that can be read: from the table's begin, and from its end, up to where it is damaged."""
    keys, read = KNOWN[table]
    names, seen = ", ".join(keys), set()
    for order in ("ASC", "DESC"):
        try:
            by = ", ".join(f"{key} {order}" for key in keys)
            for row in db.execute(f"SELECT {names}, body, crc FROM {table} ORDER BY {by}"):
                key = row[: len(keys)]
                if key in seen:
                    continue
                seen.add(key)
                try:
                    load_record(f"{table} {'/'.join(key)}", read, *row[len(keys) :])
                except Damaged as error:
                    report.faults.append(str(error).partition("; see")[0])
                else:
                    yield row
            return
        except sqlite3.Error as error:
            if order == "ASC":
                report.faults.append(f"the table {table} cannot be read as a whole: {error}")


def _copy(old: sqlite3.Connection, new: sqlite3.Connection, report: Report) -> None:
    """Write what can be read into a new file."""
    new.execute(f"PRAGMA page_size={PAGE}")
    new.execute("PRAGMA journal_mode=WAL")
    for version, migration in enumerate(MIGRATIONS, 1):
        new.executescript(f"BEGIN; {migration} PRAGMA user_version={version}; COMMIT;")
    new.execute("BEGIN")
    meta = _meta(old, report)
    seqs = [int(meta.get("trimmed_seq", 0))]
    insert = f"INSERT INTO event (stored_at, {COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
    for row in _events(old, meta, report):
        new.execute(insert, row)
        seqs.append(row[1])
    new.execute("DELETE FROM event WHERE seq <= ?", (report.lost_seq,))
    for table, (keys, _) in KNOWN.items():
        columns = (*keys, "body", "crc")
        put = f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})"
        for row in _records(old, table, report):
            new.execute(put, row)
            report.known += 1
            if table == "job":
                seqs.append(wire.job_record_from_bytes(bytes(row[2])).last_seq)
    for name, seq in _tries(old, "SELECT name, seq FROM listener"):
        new.execute("INSERT INTO listener (name, seq) VALUES (?, ?)", (name, seq))
        seqs.append(seq)
    report.events = new.execute("SELECT count(*) FROM event").fetchone()[0]
    newest = new.execute("SELECT max(seq) FROM event").fetchone()[0] or 0
    # Numbers go on after the highest that is known to have been given out.
    trimmed = max(report.lost_seq, seqs[0], 0 if newest == max(seqs) else max(seqs))
    new.execute("DELETE FROM event WHERE seq <= ?", (trimmed,))
    kept = {name: meta[name] for name in ("epoch", "epochs") if name in meta} if report.end_is_known else {}
    for name, value in kept_texts(meta).items():
        keep_text(new, name, value)
    set_meta(new, trimmed_seq=trimmed, users_from=meta.get("users_from", max(seqs) + 1), **kept)
    new.execute("COMMIT")
    new.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def main(action: str, directory: str) -> int:
    """
    Do what ``jobpush journal`` was told to, and print what was found.

    :return: the exit status: 0 if all is well or could be salvaged, 1 if something is damaged, 2 if nothing could be done.
    """
    try:
        report, kept = (check(directory), "") if action == "check" else salvage(directory)
    except JournalError as error:
        print(f"jobpush: {error}", file=sys.stderr)
        return 2
    for fault in report.faults[:LISTED]:
        print(fault)
    if len(report.faults) > LISTED:
        print(f"... and {len(report.faults) - LISTED} more")
    print(f"{report.events} events and {report.known} known jobs, workflows and members can be read")
    if action == "check":
        if report.faults:
            print("the journal is damaged: stop jobpush, and run 'jobpush journal salvage' with the same directory")
        return 1 if report.faults else 0
    if report.lost_seq:
        print(f"events up to {report.lost_seq} are gone: clients with older cursors begin anew")
    if not report.end_is_known:
        print("it is not known which event was the last: all cursors are gone")
    print(f"the journal is made anew; the damaged one is kept as {kept}")
    return 0
