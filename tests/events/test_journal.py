"""The journal: durable, numbered, bounded, and honest about what it can open."""

from __future__ import annotations

import errno
import gc
import os
import shutil
import sqlite3
import time
from pathlib import Path
from threading import current_thread
from typing import Any
from unittest import mock

from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults, succeed
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase, TestCase

from jobpush.core import wire
from jobpush.core.cursors import Cursor
from jobpush.core.filters import Scope
from jobpush.core.model import JobDescriptor, split_state
from jobpush.core.record import UNSEEN, Change, Event, Record
from jobpush.core.stored_event import StoredEvent
from jobpush.core.workflow import NO_CLUSTER, Membership, Workflow, WorkflowMember
from jobpush.events import journal as journal_module
from jobpush.events import state_directory
from jobpush.events.interfaces import CursorGone, Found, IJournal, JournalError
from jobpush.events.journal import WAL_KEPT, Retention, SQLiteJournal
from jobpush.events.journal_reading import decoded
from jobpush.events.journal_tables import MIGRATIONS
from jobpush.events.journal_threads import Threads
from jobpush.events.state_directory import NETWORK_FILE_SYSTEMS
from tests.support import NOW, Lab, StepThreads


def change(job_id: str, state: str, cluster: str = "c", **fields: Any) -> Change:
    """A change to that state."""
    phase, outcome = split_state(state)
    return Change(JobDescriptor(cluster=cluster, id=job_id, phase=phase, outcome=outcome, **fields), None, NOW)


def open_files() -> list[str]:
    """The paths of the files that this process has open (``proc_pid_fd(5)``)."""
    paths = []
    for number in os.listdir("/proc/self/fd"):
        try:
            paths.append(os.readlink(f"/proc/self/fd/{number}"))
        except FileNotFoundError:  # the listing's own
            continue
    return paths


class JournalCase(SynchronousTestCase):
    """A journal in a directory."""

    def setUp(self) -> None:
        self.directory = os.path.abspath(self.mktemp())
        self.now = NOW
        self.journals: list[SQLiteJournal] = []
        self.addCleanup(self.close)

    def open(self, **options: Any) -> SQLiteJournal:
        journal = SQLiteJournal(StepThreads(), self.directory, clock=lambda: self.now, **options)  # type: ignore[arg-type]
        self.known = journal.open()
        self.journals.append(journal)
        return journal

    def close(self) -> None:
        while self.journals:
            self.successResultOf(self.journals.pop().close())

    def write(self, journal: SQLiteJournal, *changes: Change) -> list[Event]:
        events = [wire.number(journal.epochs.current, seq, c) for seq, c in enumerate(changes, journal.last_seq + 1)]
        records = {e.key: Record(e.subject, UNSEEN, last_seq=e.seq) for e in events}
        self.successResultOf(journal.commit(events, list(records.values()), []))
        return events

    def read(self, journal: SQLiteJournal, since: int = 0, limit: int = 10_000, keys: Any = None) -> list[int]:
        return [event.seq for event in self.events(journal, since, journal.last_seq, limit, keys)]

    def events(
        self, journal: SQLiteJournal, since: int, upto: int, limit: int = 10_000, keys: Any = None, **scope: Any
    ) -> list[StoredEvent]:
        """All that a reader gets that reads on until it has so many."""
        found: list[StoredEvent] = []
        of = Scope(frozenset(keys) if keys is not None else None, **scope)
        while since < upto and len(found) < limit:
            some = self.successResultOf(journal.read(since, upto, of, limit - len(found)))
            assert some.seq > since
            since = some.seq
            found.extend(event for event in some.events if self.is_of(event, of))
        return found[:limit]

    def is_of(self, event: StoredEvent, scope: Scope) -> bool:
        """Whether an event is of a scope."""
        if scope.keys is not None:
            return event.key in scope.keys or (event.key[0], event.parent) in scope.keys
        if scope.users is not None:
            return event.facts.user in scope.users
        return scope.clusters is None or event.key[0] in scope.clusters


class DurabilityTests(JournalCase):
    """What is committed stays."""

    def test_size(self) -> None:
        """Known jobs whose records are of a usual length take up little more than that."""
        journal = self.open()
        records = [Record(change(str(n), "RUNNING", comment="x" * 700).subject, UNSEEN) for n in range(500)]
        self.successResultOf(journal.commit([], records, []))
        self.close()
        length = len(wire.record_bytes(records[0]))
        self.assertGreater(length, 1200)
        self.assertLess(os.path.getsize(os.path.join(self.directory, "journal.sqlite")), 500 * length * 1.6)

    def test_interface(self) -> None:
        """It provides `IJournal`."""
        self.assertTrue(IJournal.providedBy(self.open()))

    def test_reopen(self) -> None:
        """Events, numbers, epoch and known jobs are there again, byte for byte."""
        journal = self.open()
        written = self.write(journal, change("1", "RUNNING", name="naïve\n🚀", user="kim"), change("2", "FAILED", exit_code=3))
        cursor = journal.epochs.cursor(2)
        self.close()
        journal = self.open()
        self.assertEqual((journal.epochs.cursor(2), journal.last_seq), (cursor, 2))
        found = self.events(journal, 0, 2)
        self.assertEqual([e.data for e in found], [e.data for e in written])
        self.assertEqual((found[0].event.job.name, found[1].event.job.exit_code), ("naïve\n🚀", 3))
        self.assertEqual(self.known["c"]["2"].job.exit_code, 3)

    def test_all_or_nothing(self) -> None:
        """A commit that fails leaves nothing of itself."""
        journal = self.open()
        self.write(journal, change("1", "RUNNING"))
        journal._writer.execute("CREATE TRIGGER t BEFORE INSERT ON job BEGIN SELECT RAISE(ABORT, 'no'); END")
        event = wire.number(journal.epochs.current, 2, change("2", "RUNNING"))
        failure = self.failureResultOf(journal.commit([event], [Record(event.subject, UNSEEN)], []), JournalError)
        self.assertNotIn("\n", str(failure.value))
        self.assertEqual((journal.last_seq, self.read(journal)), (1, [1]))

    def fails_after(self, journal: SQLiteJournal, *changes: Change) -> tuple[Deferred[None], list[Event]]:
        """Commit a batch that is written, although SQLite says that it failed."""
        events = [wire.number(journal.epochs.current, seq, c) for seq, c in enumerate(changes, journal.last_seq + 1)]
        written = journal._transaction

        def fail_after(write: Any) -> None:
            written(write)
            journal._transaction = written  # type: ignore[method-assign]
            raise JournalError("a test says so")

        journal._transaction = fail_after  # type: ignore[method-assign]
        return journal.commit(events, [Record(e.subject, UNSEEN, last_seq=e.seq) for e in events], []), events

    def test_written_all_the_same(self) -> None:
        """What SQLite called a failure is read back: a batch that is in the file was committed."""
        journal = self.open()
        self.write(journal, change("1", "RUNNING"))
        log, before, write = Path(self.directory, "journal.sqlite-wal"), [], os.pwrite

        def noted(file: int, data: bytes, at: int) -> int:
            if os.readlink(f"/proc/self/fd/{file}") == str(log):
                self.assertEqual(at, sum(map(len, before)))
                before.append(data)
            return write(file, data, at)

        self.patch(os, "pwrite", noted)
        done, _ = self.fails_after(journal, change("2", "RUNNING"))
        self.assertIsNone(self.successResultOf(done))
        self.assertEqual((journal.last_seq, journal.problem), (2, None))
        # The log, which the kernel may take for written, has been written once more as it was.
        self.assertEqual(before, [log.read_bytes()])
        self.assertGreater(len(before[0]), 4096)
        self.write(journal, change("3", "RUNNING"))
        self.assertEqual(self.read(journal), [1, 2, 3])

    def test_written_and_perhaps_not_on_the_disk(self) -> None:
        """A batch that is in the file, and of which nobody can say that it is on the disk, is not told before the next start."""
        for how, why in (("reader", "a reader is in the way"), ("disk", "disk I/O error"), ("log", "[Errno 5] Input/output error")):
            journal = self.open()
            before = journal.last_seq
            self.write(journal, change("1", "RUNNING"))
            reader, connect = sqlite3.connect(os.path.join(self.directory, "journal.sqlite")), journal._connect_writer

            def in_the_way(path: str, how: str = how, reader: Any = reader, connect: Any = connect) -> Any:
                made = connect(path)
                made.execute("PRAGMA busy_timeout=0")
                if how == "disk":
                    made = mock.Mock(wraps=made)
                    made.execute.side_effect = lambda text, *more: self.fail_checkpoint(made, text, *more)
                return made

            if how == "log":
                self.patch(os, "fsync", mock.Mock(side_effect=OSError(errno.EIO, os.strerror(errno.EIO))))
            if how == "reader":  # it reads what was there before the batch: the log cannot be copied as a whole
                reader.execute("BEGIN").execute("SELECT count(*) FROM event").fetchall()
            with mock.patch.object(journal, "_connect_writer", in_the_way):
                done, events = self.fails_after(journal, change("2", "RUNNING"))
            failure = self.failureResultOf(done, JournalError)
            self.assertIn(f"it cannot be made sure that it is on the disk: {why}", str(failure.value))
            self.assertEqual((journal.last_seq, journal.problem), (before + 1, str(failure.value)))
            reader.close()
            for _ in range(2):
                failure = self.failureResultOf(journal.commit(events, [], []), JournalError)
                self.assertIn("restart jobpush", str(failure.value))
            self.close()
            self.assertEqual(self.open().last_seq, before + 2)
            self.close()

    def fail_checkpoint(self, made: Any, text: str, *more: Any) -> Any:
        """As SQLite does when the disk refuses."""
        if "wal_checkpoint" in text:
            raise sqlite3.OperationalError("disk I/O error")
        return made._mock_wraps.execute(text, *more)

    def test_written_and_not_read_back(self) -> None:
        """Where it is found later, after who gave the batch was told that it failed, nothing more is written: its number was not told."""
        journal = self.open()
        self.write(journal, change("1", "RUNNING"))
        reopen = journal._reopen

        def fail() -> None:
            raise JournalError("cannot be opened again")

        self.patch(journal, "_reopen", fail)
        done, events = self.fails_after(journal, change("2", "RUNNING"))
        self.failureResultOf(done, JournalError)
        self.assertEqual((journal.last_seq, journal.problem), (1, "cannot be opened again"))
        self.patch(journal, "_reopen", reopen)
        for _ in range(2):
            failure = self.failureResultOf(journal.commit(events, [], []), JournalError)
            self.assertIn("ends with event 2, not with 1", str(failure.value))
        self.close()
        self.assertEqual(self.read(self.open()), [1, 2])

    def test_opened_again_later(self) -> None:
        """Where the file cannot be opened again after a failure, it is tried with each batch, and goes on when it can."""
        journal = self.open()
        self.write(journal, change("1", "RUNNING"))
        journal._writer.execute("PRAGMA query_only=1")
        event = wire.number(journal.epochs.current, 2, change("2", "RUNNING"))
        with mock.patch.object(journal, "_connect_writer", side_effect=sqlite3.OperationalError("unable to open database file")):
            for _ in range(3):
                self.failureResultOf(journal.commit([event], [], []), JournalError)
                self.assertIn("cannot be opened again: unable to open database file", journal.problem or "")
        self.successResultOf(journal.commit([event], [], []))
        self.assertEqual((journal.problem, self.read(journal)), (None, [1, 2]))

    def test_nothing_is_kept_of_failures(self) -> None:
        """A disk that is full for a weekend leaves no connection behind for each look."""
        journal = self.open()

        def fail() -> int:
            journal._writer.execute("PRAGMA query_only=1")
            event = wire.number(journal.epochs.current, journal.last_seq + 1, change("1", "RUNNING"))
            self.failureResultOf(journal.commit([event], [], []), JournalError)
            gc.collect()
            return sum(isinstance(each, sqlite3.Connection) for each in gc.get_objects())

        self.assertEqual([fail() for _ in range(5)], [fail()] * 5)

    def test_problem(self) -> None:
        """It is known that nothing can be committed until something is; an empty batch is written to learn that."""
        journal = self.open()
        self.patch(journal, "_reopen", lambda: None)
        journal._writer.execute("PRAGMA query_only=1")
        for events in ([wire.number(journal.epochs.current, 1, change("1", "RUNNING"))], []):
            self.failureResultOf(journal.commit(events, [], []), JournalError)
            self.assertIn("cannot be written", journal.problem or "")
        journal._writer.execute("PRAGMA query_only=0")
        self.successResultOf(journal.commit([], [], []))
        self.assertEqual((journal.problem, journal.last_seq), (None, 0))

    def test_a_fault_of_ours(self) -> None:
        """A batch that cannot be encoded fails alone, whole: the next one can be committed."""
        journal = self.open()
        event = wire.number(journal.epochs.current, 1, change("1", "RUNNING"))
        with mock.patch.object(wire, "record_bytes", side_effect=TypeError("a test says so")):
            self.failureResultOf(journal.commit([event], [Record(event.subject, UNSEEN)], []), TypeError)
        self.write(journal, change("2", "RUNNING"))
        found = self.events(journal, 0, 1)
        self.assertEqual([e.key[1] for e in found], ["2"])

    def test_numbers_follow_each_other(self) -> None:
        """An event out of order is a fault of the caller."""
        journal = self.open()
        self.assertRaises(ValueError, journal.commit, [wire.number(journal.epochs.current, 5, change("1", "RUNNING"))], [], [])

    def test_others_may_not_read_it(self) -> None:
        """Whatever the state directory's mode is."""
        self.write(self.open(), change("1", "RUNNING"))
        for name in os.listdir(self.directory):
            self.assertEqual(os.stat(os.path.join(self.directory, name)).st_mode & 0o007, 0, name)

    def test_settings(self) -> None:
        """The file survives a power cut: a write-ahead log, synced at every commit."""
        journal = self.open()
        self.assertEqual(journal._writer.execute("PRAGMA journal_mode").fetchone()[0], "wal")
        self.assertEqual(journal._writer.execute("PRAGMA synchronous").fetchone()[0], 2)

    def test_space_is_given_back(self) -> None:
        """After a large batch the write-ahead log becomes small again, while the journal is in use."""
        journal = self.open()
        records = [Record(change(str(n), "RUNNING", comment="x" * 50_000).subject, UNSEEN) for n in range(500)]
        self.successResultOf(journal.commit([], records, []))
        log = os.path.join(self.directory, "journal.sqlite-wal")
        self.assertGreater(os.path.getsize(log), 20_000_000)
        for _ in range(2):
            self.write(journal, change("1", "RUNNING"))
        self.assertLessEqual(os.path.getsize(log), WAL_KEPT)

    def given_out(self, journal: SQLiteJournal, since: int = 0) -> list[Cursor]:
        """The cursors of all numbers of a journal."""
        return [Cursor.parse(journal.epochs.cursor(seq)) for seq in range(since, journal.last_seq + 1)]

    def knows(self, journal: SQLiteJournal, cursors: list[Cursor]) -> list[int]:
        """The numbers of the cursors that it knows."""
        return [cursor.seq for cursor in cursors if journal.epochs.knows(cursor, journal.last_seq)]

    def test_openings(self) -> None:
        """Each opening numbers events in a new epoch; the cursors of all epochs stay valid, whether or not one had events."""
        cursors = []
        for count in (0, 2, 0, 1, 3):
            journal = self.open()
            cursors.extend(self.given_out(journal))
            self.assertEqual(len(self.knows(journal, cursors)), len(cursors))
            for _ in range(count):
                self.write(journal, change("1", "RUNNING"))
            cursors.extend(self.given_out(journal))
            self.close()
        journal = self.open()
        self.assertEqual(len(self.knows(journal, cursors)), len(cursors))
        self.assertEqual([cursor.seq for cursor in self.given_out(journal)], list(range(7)))
        self.assertEqual(len({cursor.epoch for cursor in self.given_out(journal, 1)}), 3, "one for each opening that had events")

    def test_restored(self) -> None:
        """Of a copy that is put back, the cursors of what came after it are gone, also when its numbers have been given out again."""
        self.write(self.open(), change("1", "RUNNING"), change("2", "RUNNING"))
        self.close()
        backup = shutil.copytree(self.directory, self.directory + ".backup")
        before = self.open()
        kept = self.given_out(before)
        self.write(before, change("3", "RUNNING"), change("4", "RUNNING"))
        lost = self.given_out(before, 3)
        self.close()
        again = self.open()
        self.write(again, change("5", "RUNNING"))
        lost.extend(self.given_out(again, 5))
        self.close()
        shutil.rmtree(self.directory)
        shutil.copytree(backup, self.directory)
        restored = self.open()
        for _ in range(2):
            self.assertEqual((self.knows(restored, kept), self.knows(restored, lost)), ([0, 1, 2], []))
            self.write(restored, *(change(str(number), "FAILED") for number in range(9)))

    def test_lost_log(self) -> None:
        """So is it where the write-ahead log of a service that was killed is lost."""
        journal = self.open()
        self.write(journal, change("1", "RUNNING"))
        self.close()
        journal = self.open()
        self.write(journal, change("2", "RUNNING"))
        given_out = self.given_out(journal)
        killed = self.directory + ".killed"
        os.mkdir(killed)
        shutil.copy(os.path.join(self.directory, "journal.sqlite"), killed)
        self.close()
        self.directory = killed
        restored = self.open()
        self.write(restored, change("3", "RUNNING"), change("4", "RUNNING"))
        self.assertEqual(self.knows(restored, given_out), [0, 1])

    def test_epochs_end(self) -> None:
        """An epoch of which all events have been removed is forgotten; a journal of jobpush 0.1.0 has one."""
        for number in range(4):
            self.write(self.open(retention=Retention(events=2)), *(change(str(number), state) for state in ("RUNNING", "FAILED")))
            self.close()
        journal = self.open()
        self.assertEqual([first for _, first in journal.epochs.begun], [5, 7, 9])
        name = journal.epochs.begun[-2][0]
        journal._writer.execute("DELETE FROM meta WHERE name = 'epochs'")
        self.close()
        self.assertEqual(self.open().epochs.begun[:-1], [(name, 1)])

    def test_new_epoch(self) -> None:
        """With that option all old cursors are gone, the known jobs are not."""
        journal = self.open()
        self.write(journal, change("1", "RUNNING"))
        epoch = journal.epochs.current
        self.close()
        journal = self.open(new_epoch=True)
        self.assertNotEqual(journal.epochs.current, epoch)
        self.assertNotIn("-", journal.epochs.current)
        self.assertEqual((journal.last_seq, journal.trimmed_seq, list(self.known["c"])), (1, 1, ["1"]))
        self.assertEqual(journal.newest(10, 10**6), [])

    def test_newest(self) -> None:
        """The last events of a journal that is opened again; only those after one that cannot be read."""
        written = self.write(self.open(), *(change(str(number), "RUNNING") for number in range(6)))
        self.close()
        journal = self.open()
        for count, first in ((10, 0), (6, 0), (2, 4), (0, 6)):
            self.assertEqual([event.data for event in journal.newest(count, 10**6)], [event.data for event in written[first:]], count)
        length = len(written[0].data)
        self.assertEqual([event.seq for event in journal.newest(10, 2 * length)], [5, 6])
        journal._writer.execute("UPDATE event SET body = ? WHERE seq = 3", (written[1].data,))
        with capturedLogs() as logs:
            self.assertEqual([event.seq for event in journal.newest(10, 10**6)], [4, 5, 6])
        self.assertIn("event 3 is damaged: its checksum is wrong", " ".join(filter(None, map(formatEvent, logs))))
        journal._writer.execute("DELETE FROM event WHERE seq = 5")
        self.assertEqual([event.seq for event in journal.newest(10, 10**6)], [6])

    def test_listeners_places(self) -> None:
        """The last place of each listener is kept, and told at once."""
        journal = self.open()
        for name, seq in (("log", 7), ("other", 3), ("log", 8)):
            self.successResultOf(journal.save_cursor(name, seq))
        self.assertEqual(journal.cursors(), {"log": 8, "other": 3})
        self.close()
        self.assertEqual(self.open().cursors(), {"log": 8, "other": 3})

    def test_texts(self) -> None:
        """A text that is kept is told at once, and after the journal was closed; the last one of a name counts."""
        journal = self.open()
        self.assertEqual(journal.kept(), {})
        for name, value in (("a", "1"), ("epochs", "ü\n"), ("a", "2")):
            self.successResultOf(journal.keep(name, value))
        self.assertEqual(journal.kept(), {"a": "2", "epochs": "ü\n"})
        self.close()
        self.assertEqual(self.open().kept(), {"a": "2", "epochs": "ü\n"})

    def test_a_commit_without_events(self) -> None:
        """Keeps what it has, and no number is used."""
        journal = self.open()
        self.write(journal, change("1", "RUNNING"))
        job = change("2", "RUNNING").subject
        self.successResultOf(journal.commit([], [Record(job, UNSEEN)], []))
        self.assertEqual((journal.last_seq, journal.trimmed_seq), (1, 0))
        self.close()
        self.assertEqual(self.open().last_seq, 1)
        self.assertEqual(set(self.known["c"]), {"1", "2"})

    def test_each_cluster(self) -> None:
        """Jobs of two clusters with one id are two."""
        journal = self.open()
        self.write(journal, change("1", "RUNNING"), change("1", "QUEUED", cluster="d"))
        self.close()
        self.open()
        self.assertEqual({cluster: {i: r.job.state for i, r in jobs.items()} for cluster, jobs in self.known.items()}, {"c": {"1": "RUNNING"}, "d": {"1": "QUEUED"}})

    def test_workflows(self) -> None:
        """What was written last of each, with its members; without the members of a workflow by that name before, and not what was dropped."""
        journal = self.open()
        members = {("c", str(number)): WorkflowMember(state="QUEUED") for number in range(3)}
        first = [Record(Workflow(name), Membership()) for name in ("a", "b", "d")]
        self.successResultOf(journal.commit([], first, [], dict.fromkeys(("a", "b", "d"), members)))
        one = {("c", "1"): WorkflowMember(state="RUNNING")}
        changed = [Record(Workflow("a"), Membership()), Record(Workflow("b"), Membership(dict(members)))]
        self.successResultOf(journal.commit([], changed, [(NO_CLUSTER, "d")], {"a": one, "b": one}))
        self.close()
        self.open()
        records = self.known[NO_CLUSTER]
        loaded = {name: {key: member.state for key, member in record.detail.members.items()} for name, record in records.items()}
        self.assertEqual(loaded, {"a": {("c", "1"): "RUNNING"}, "b": {("c", "0"): "QUEUED", ("c", "1"): "RUNNING", ("c", "2"): "QUEUED"}})

    def test_forgotten_jobs(self) -> None:
        """A job that the table drops is dropped here too."""
        journal = self.open()
        self.write(journal, change("1", "COMPLETED"), change("2", "RUNNING"))
        self.successResultOf(journal.commit([], [], [("c", "1")]))
        self.close()
        self.open()
        self.assertEqual(list(self.known["c"]), ["2"])


class ReadingTests(JournalCase):
    """Old events."""

    def test_by_job(self) -> None:
        """A job's events, an array's with its tasks', and none of others."""
        journal = self.open()
        self.write(
            journal,
            change("1", "RUNNING"), change("7_1", "RUNNING", parent="7", task_index=1), change("7", "RUNNING"),
            change("1", "RUNNING", cluster="other"), change("1", "FAILED"),
        )  # fmt: skip
        self.assertEqual(self.read(journal, keys=[("c", "1")]), [1, 5])
        self.assertEqual(self.read(journal, keys=[("c", "7")]), [2, 3])
        self.assertEqual(self.read(journal, keys=[("c", "7"), ("other", "1")], since=2), [3, 4])
        last = self.successResultOf(journal.last_of([("c", "1"), ("c", "99")], 99))
        self.assertEqual({key: (e.seq, e.job.state) for key, e in last.items()}, {("c", "1"): (5, "FAILED")})

    def test_a_filter_that_few_events_of_a_job_pass(self) -> None:
        """However many of the job's events come before, the first that matches is found."""
        journal = self.open()
        self.write(journal, *(change("1", "RUNNING" if n % 2 else "SUSPENDED") for n in range(200)), change("1", "FAILED"))
        found = self.successResultOf(journal.read(0, 201, Scope(frozenset({("c", "1")})), 1))
        self.assertEqual([e.seq for e in found.events if e.facts.state == "FAILED"], [201])

    def test_bounds(self) -> None:
        """After one event, up to another, the first so many; of many jobs as of few."""
        journal = self.open()
        self.write(journal, *(change(str(number % 3), "RUNNING") for number in range(12)))
        few, many = [("c", str(number)) for number in range(32)], [("c", str(number)) for number in range(33)]
        for keys in (None, few, many):
            for since, upto, limit, expected in ((0, 12, 99, range(1, 13)), (3, 7, 99, range(4, 8)), (3, 7, 2, (4, 5)), (5, 5, 9, ()), (0, 12, 3, (1, 2, 3)), (11, 12, 1, (12,))):
                found = self.events(journal, since, upto, limit, keys)
                self.assertEqual([event.seq for event in found], list(expected), (since, upto, limit))

    def test_last_of(self) -> None:
        """The last event of each job; a job without one is not there."""
        journal = self.open()
        self.write(journal, change("1", "QUEUED"), change("2", "QUEUED"), change("1", "RUNNING"), change("1", "RUNNING", cluster="d"))
        found = self.successResultOf(journal.last_of([("c", "1"), ("d", "1"), ("c", "3")], 4))
        self.assertEqual({key: event.seq for key, event in found.items()}, {("c", "1"): 3, ("d", "1"): 4})
        found = self.successResultOf(journal.last_of([("c", "1"), ("d", "1"), ("c", "3")], 2))
        self.assertEqual({key: event.seq for key, event in found.items()}, {("c", "1"): 1})

    def test_last_of_a_user(self) -> None:
        """Another's is not there, and nothing of it is decoded: it takes as long as if there were none."""
        journal = self.open()
        self.write(journal, change("1", "QUEUED", user="lee"), change("2", "QUEUED", user="kim"), change("3", "QUEUED"))
        keys = [("c", "1"), ("c", "2"), ("c", "3"), ("c", "4")]
        with mock.patch("jobpush.events.journal_reading.decoded", wraps=decoded) as reads:
            self.assertEqual(list(self.successResultOf(journal.last_of(keys, 3, "kim"))), [("c", "2")])
            self.assertEqual(reads.call_count, 1)
            self.assertEqual(len(self.successResultOf(journal.last_of(keys, 3))), 3)

    def test_texts_that_are_none(self) -> None:
        """Lone surrogates are no error, and no other's loss: the columns have what the bodies have."""
        journal, odd, plain = self.open(), "a\ud800b", "a\ufffdb"
        task = change(odd, "RUNNING", user=odd, cluster=odd, parent=odd, task_index=1)
        self.write(journal, task, change("2", "RUNNING", user="kim"))
        workflow, member = Record(Workflow(odd), Membership()), WorkflowMember(state="RUNNING")
        self.successResultOf(journal.commit([], [workflow], [], {odd: {(odd, odd): member}}))
        for text in (odd, plain):
            self.assertEqual(list(self.successResultOf(journal.last_of([(text, text)], 2))), [(text, text)])
            for scope in (Scope(frozenset({(text, text)})), Scope(users=frozenset({text}))):
                found = self.successResultOf(journal.read(0, 2, scope, 10)).events
                self.assertEqual([event.seq for event in found], [1])
        self.close()
        journal = self.open()
        self.assertEqual({cluster: list(records) for cluster, records in self.known.items()}, {plain: [plain], "c": ["2"], NO_CLUSTER: [plain]})
        self.assertEqual(list(self.known[NO_CLUSTER][plain].detail.members), [(plain, plain)])
        self.successResultOf(journal.commit([], [], [(odd, odd), (NO_CLUSTER, odd)]))
        self.close()
        self.open()
        self.assertEqual(list(self.known), ["c"])

    def test_in_chunks(self) -> None:
        """However many there are, the first ``limit`` of them."""
        journal = self.open()
        self.write(journal, *(change(str(n), "RUNNING") for n in range(2500)))
        self.assertEqual(self.read(journal, since=10), list(range(11, 2501)))
        self.assertEqual(self.read(journal, since=900, limit=1500), list(range(901, 2401)))


class ThreadTests(SynchronousTestCase):
    """Which thread does what, and in which order."""

    def journal(self, directory: str | None) -> tuple[SQLiteJournal, list[str]]:
        """A journal, and the names of the threads that were given work."""
        used: list[str] = []

        class Noted(StepThreads):
            def run(self, name: str, work: Any) -> Any:
                used.append(name)
                return super().run(name, work)

        self.threads = Noted()
        journal = SQLiteJournal(self.threads, directory)  # type: ignore[arg-type]
        journal.open()
        return journal, used

    def test_names(self) -> None:
        """In a directory one writes and another reads; in memory one does both, for there is one connection."""
        for directory, reads in ((os.path.abspath(self.mktemp()), "read"), (None, "write")):
            journal, used = self.journal(directory)
            event = wire.number(journal.epochs.current, 1, change("1", "RUNNING"))
            for deferred in (journal.commit([event], [Record(event.subject, UNSEEN)], []), journal.save_cursor("log", 1)):
                self.successResultOf(deferred)
            self.assertEqual(used, ["write", "write"])
            used.clear()
            for scope in (Scope(), Scope(frozenset({("c", "1")}))):
                self.assertEqual(len(self.successResultOf(journal.read(0, 1, scope, 10)).events), 1)
            self.successResultOf(journal.last_of([("c", "1")], 1))
            self.assertEqual(used, [reads] * 3)
            self.successResultOf(journal.close())

    def test_closing(self) -> None:
        """It is closed when what was asked for before has been done, on both threads; another may use it then."""
        directory = os.path.abspath(self.mktemp())
        for only in ("write", "read"):
            journal, _ = self.journal(directory)
            seq = journal.last_seq + 1
            self.threads.hold(only)
            event = wire.number(journal.epochs.current, seq, change("1", "RUNNING"))
            written, read = journal.commit([event], [], []), journal.read(0, seq - 1, Scope(), 10) if seq > 1 else succeed(Found([], 0))
            closed = journal.close()
            self.assertNoResult(closed)
            self.assertFalse(self.threads.stopped)
            self.threads.release()
            self.successResultOf(closed)
            self.successResultOf(written)
            self.assertEqual(len(self.successResultOf(read).events), seq - 1)
            self.assertTrue(self.threads.stopped)


class RealThreadTests(TestCase):
    """`Threads`."""

    async def test_in_order(self) -> None:
        """Each in the order of the calls, on a thread of its own; the answer comes in the reactor's. A failure is one."""
        threads = Threads(reactor)
        self.addCleanup(threads.stop)
        done: list[Any] = []

        def work(number: int) -> str:
            if number == 0:
                time.sleep(0.05)
            done.append(number)
            return current_thread().name

        names = await gatherResults([threads.run(name, lambda number=number: work(number)) for number, name in enumerate(["write", "write", "read"])])
        self.assertEqual([number for number in done if number < 2], [0, 1])
        self.assertEqual([name.split("-")[2] for name in names], ["write", "write", "read"])
        self.assertEqual(len(set(names)), 2)
        await self.assertFailure(threads.run("read", lambda: 1 / 0), ZeroDivisionError)  # type: ignore[arg-type]

    def test_stop(self) -> None:
        """What was begun is done first; threads that were never used need none."""
        threads = Threads(reactor)
        done: list[int] = []
        threads.run("write", lambda: (time.sleep(0.05), done.append(1)))
        threads.stop()
        self.assertEqual(done, [1])
        Threads(reactor).stop()


class RetentionTests(JournalCase):
    """What is removed is known to be gone."""

    def test_by_count(self) -> None:
        """The newest stay; a cursor before them is gone, and stays gone after a restart."""
        journal = self.open(retention=Retention(events=100))
        for _ in range(30):
            self.write(journal, *(change("1", "RUNNING") for _ in range(10)))
        self.assertGreaterEqual(journal.trimmed_seq, 190)
        self.assertEqual(self.read(journal, since=journal.trimmed_seq), list(range(journal.trimmed_seq + 1, 301)))
        trimmed = journal.trimmed_seq
        self.close()
        journal = self.open(retention=Retention(events=100))
        self.assertEqual(journal.trimmed_seq, trimmed)
        gone = self.failureResultOf(journal.read(trimmed - 1, 300, Scope(), 10), CursorGone)
        self.assertEqual(gone.value.oldest_seq, trimmed)

    def test_by_count_exactly(self) -> None:
        """So many stay; they are removed when a twentieth more has come, of very few each."""
        for events, writes, expected in ((100, 104, 0), (100, 105, 5), (100, 109, 5), (100, 110, 10), (1, 1, 0), (1, 2, 1), (1, 3, 2), (39, 40, 1)):
            self.directory = os.path.abspath(self.mktemp())
            journal = self.open(retention=Retention(events=events))
            for _ in range(writes):
                self.write(journal, change("1", "RUNNING"))
            self.assertEqual(journal.trimmed_seq, expected, (events, writes))
            self.assertEqual(self.read(journal, since=expected), list(range(expected + 1, writes + 1)))

    def test_by_age_exactly(self) -> None:
        """What is as old as that stays. They go a thousand at a time, which must all be older."""
        journal = self.open(retention=Retention(seconds=3600.0))
        for count in (999, 1, 1000):
            self.write(journal, *(change("1", "RUNNING") for _ in range(count)))
            self.now += 10
        for at, expected in ((3610, 0), (3610.5, 1000), (3620, 1000), (3620.5, 2000)):
            self.now = NOW + at
            self.write(journal, change("1", "RUNNING"))
            self.assertEqual(journal.trimmed_seq, expected, at)
        self.now += 9000
        self.write(journal, change("1", "RUNNING"))
        self.assertEqual(journal.trimmed_seq, 2000, "the last thousand is not full")
        self.assertEqual(self.read(journal, since=2000), [2001, 2002, 2003, 2004, 2005])

    def test_many_at_once(self) -> None:
        """However many are too many, or too old, a batch waits for a part of them only; the next ones remove the rest."""
        self.patch(journal_module, "TRIMMED", 20)
        for retention in (Retention(events=5), Retention(seconds=10.0)):
            journal = self.open()
            self.write(journal, *(change(str(n), "RUNNING") for n in range(2200)))
            first = journal.trimmed_seq
            self.close()
            self.now += 100.0
            journal = self.open(retention=retention)
            removed = []
            for _ in range(3):
                self.write(journal, change("1", "RUNNING"))
                removed.append(journal.trimmed_seq - first)
            self.assertEqual(removed, [22, 44, 66])
            self.write(journal, *(change(str(n), "RUNNING") for n in range(3000)))
            self.assertGreater(journal.trimmed_seq - first, 2000)
            self.close()

    def test_by_default(self) -> None:
        """A million events, a week."""
        self.assertEqual((Retention().events, Retention().seconds), (1_000_000, 604800.0))

    def test_gone(self) -> None:
        """A cursor before what is kept is gone, whoever's events are asked for; that of the last one that went is not."""
        journal = self.open(retention=Retention(events=1))
        for job_id in ("1", "2", "1", "2"):
            self.write(journal, change(job_id, "RUNNING"))
        for keys in (None, frozenset({("c", "1")}), frozenset(("c", str(number)) for number in range(40))):
            for since in (0, 2):
                gone = self.failureResultOf(journal.read(since, 4, Scope(keys), 10), CursorGone)
                self.assertEqual(gone.value.oldest_seq, 3)
            self.successResultOf(journal.read(3, 4, Scope(keys), 10))

    def test_by_age(self) -> None:
        """What is older than that goes, by the time at which it was written."""
        journal = self.open(retention=Retention(seconds=3600.0))
        self.write(journal, *(change("1", "RUNNING") for _ in range(1500)))
        self.now += 4000
        self.write(journal, change("2", "RUNNING"))
        self.assertGreaterEqual(journal.trimmed_seq, 1000)
        self.write(journal, change("2", "FAILED"))
        self.assertLessEqual(journal.trimmed_seq, 1500)
        self.assertEqual(self.read(journal, since=1500), [1501, 1502])

    def test_a_trim_that_fails(self) -> None:
        """What was committed counts, also where old events cannot be removed; they are removed with a later batch."""
        journal = self.open(retention=Retention(events=1))
        self.write(journal, change("1", "RUNNING"))
        broken = mock.patch.object(SQLiteJournal, "_trim", side_effect=sqlite3.OperationalError("disk I/O error"))
        with broken, capturedLogs() as events:
            self.write(journal, change("1", "SUSPENDED"))
        self.assertEqual((journal.last_seq, journal.trimmed_seq), (2, 0))
        self.assertEqual(formatEvent(events[0]), "old events could not be removed from the journal: disk I/O error")
        self.write(journal, change("1", "FAILED"))
        self.assertEqual((journal.last_seq, journal.trimmed_seq), (3, 2))

    def test_cannot_be_read(self) -> None:
        """A read that SQLite fails is an error of the journal, with one line that says why."""
        journal = self.open()
        self.write(journal, change("1", "RUNNING"))
        journal._writer.execute("ALTER TABLE event RENAME TO gone")
        key = ("c", "1")
        for read in (journal.read(0, 1, Scope(), 10), journal.read(0, 1, Scope(frozenset({key})), 10), journal.last_of([key], 1)):
            self.assertIn("cannot be read: no such table", str(self.failureResultOf(read, JournalError).value))

    def test_numbers_go_on(self) -> None:
        """When all events are gone the numbers still go on."""
        journal = self.open(retention=Retention(events=1))
        self.write(journal, change("1", "RUNNING"))
        self.write(journal, change("1", "FAILED"))
        journal._writer.execute("DELETE FROM event")
        journal._writer.execute("UPDATE meta SET value = '2' WHERE name = 'trimmed_seq'")
        self.close()
        self.assertEqual(self.open().last_seq, 2)


class OpeningTests(JournalCase):
    """What cannot be used is refused with one line that names the directory."""

    def refused(self, expected: str, **options: Any) -> None:
        error = self.assertRaises(JournalError, self.open, **options)
        self.assertIn(expected, str(error))
        self.assertIn(self.directory, str(error))
        self.assertNotIn("\n", str(error))

    def test_in_use(self) -> None:
        """Two services never share a journal; when the first has ended the other may."""
        self.open()
        self.refused("in use by another")
        self.close()
        self.open()

    def test_not_a_directory(self) -> None:
        """A file, or a place where none may be made."""
        with open(self.directory, "w") as file:
            file.write("x")
        self.refused("cannot be used: Not a directory")

    def test_not_a_database(self) -> None:
        """Something else by that name."""
        os.makedirs(self.directory)
        with open(os.path.join(self.directory, "journal.sqlite"), "wb") as file:
            file.write(b"not a database, but long enough to be looked at" * 100)
        self.refused("not a database")

    def test_newer_schema(self) -> None:
        """A journal of a newer jobpush is left alone."""
        self.open()
        self.close()
        with sqlite3.connect(os.path.join(self.directory, "journal.sqlite")) as db:
            db.execute("PRAGMA user_version=99")
        db.close()
        self.refused("schema 99")

    def test_older_schema(self) -> None:
        """It is upgraded, with a backup of how it was."""
        journal = self.open()
        self.write(journal, change("1", "RUNNING"))
        self.close()
        upgraded = (*MIGRATIONS, "ALTER TABLE listener ADD COLUMN note TEXT; CREATE INDEX x ON listener (note)")
        journal = self.open(migrations=upgraded)
        self.assertEqual(self.read(journal), [1])
        self.assertEqual(journal._writer.execute("PRAGMA user_version").fetchone()[0], len(upgraded))
        with sqlite3.connect(os.path.join(self.directory, f"journal.v{len(MIGRATIONS)}.sqlite")) as backup:
            self.assertEqual(backup.execute("SELECT count(*) FROM event").fetchone()[0], 1)
            self.assertEqual(backup.execute("PRAGMA user_version").fetchone()[0], len(MIGRATIONS))
        backup.close()

    def test_an_upgrade_that_fails(self) -> None:
        """Nothing of it stays: the older jobpush can still use the journal."""
        self.open()
        self.close()
        broken = (*MIGRATIONS, "ALTER TABLE listener ADD COLUMN note TEXT; SELECT nonsense FROM nowhere")
        self.refused("nowhere", migrations=broken)
        self.open()

    def test_on_a_network_file_system(self) -> None:
        """Where SQLite's log is not safe."""
        kinds = ["nfs", "nfs4", "lustre", "gpfs", "beegfs", "cifs", "smb3", "ceph", "9p", "fuse.sshfs", "fuse.glusterfs", "fuse.ceph-fuse"]
        self.assertLessEqual(set(kinds), NETWORK_FILE_SYSTEMS)
        self.assertTrue(NETWORK_FILE_SYSTEMS.isdisjoint({"ext4", "xfs", "btrfs", "zfs", "tmpfs", "overlay", "fuse.fuse-overlayfs", "fuseblk"}))
        for kind in kinds:
            self.patch(state_directory, "file_system_of", lambda path, kind=kind: kind)
            self.refused(f"is on {kind}; it must be on a local disk")
        self.patch(state_directory, "file_system_of", lambda path: "")
        self.open()

    def test_not_writable(self) -> None:
        """A directory into which this process may not write."""
        self.patch(os, "access", lambda path, mode: mode != os.W_OK)
        self.refused("cannot be used: not writable")
        self.patch(os, "access", lambda path, mode: mode == os.W_OK)
        self.open()

    def test_a_file_in_the_way(self) -> None:
        """A journal that is a directory."""
        os.makedirs(os.path.join(self.directory, "journal.sqlite"))
        self.refused("journal.sqlite cannot be used: Is a directory")
        os.rmdir(os.path.join(self.directory, "journal.sqlite"))
        self.open()

    def test_modes_and_files(self) -> None:
        """Its own group may look, nobody else; a new journal needs no backup of an old one."""
        journal = self.open()
        self.assertEqual(os.stat(self.directory).st_mode & 0o777, 0o750 & ~self.umask())
        self.write(journal, change("1", "RUNNING"))
        for name in os.listdir(self.directory):
            self.assertEqual(os.stat(os.path.join(self.directory, name)).st_mode & 0o777, 0o640 & ~self.umask(), name)
        self.assertEqual(sorted(os.listdir(self.directory)), ["journal.sqlite", "journal.sqlite-shm", "journal.sqlite-wal", "lock"])
        total = sum(os.stat(os.path.join(self.directory, name)).st_size for name in os.listdir(self.directory) if name != "lock")
        self.assertEqual(journal.size(), total)
        self.assertRegex(journal.epochs.current, r"\A[0-9a-f]{16}\Z")

    @staticmethod
    def umask() -> int:
        mask = os.umask(0)
        os.umask(mask)
        return mask

    def test_in_memory(self) -> None:
        """Nothing is left of it, and it has no size; it is upgraded without a backup."""
        self.directory = None  # type: ignore[assignment]
        journal = self.open()
        self.write(journal, change("1", "RUNNING"))
        self.assertEqual((self.read(journal), journal.size()), ([1], 0))
        first = journal.epochs.current
        self.close()
        self.assertNotEqual(self.open().epochs.current, first)

    def test_size_of_what_is_there(self) -> None:
        """Files that are not there, or not any more, have none."""
        journal = self.open()
        self.close()
        before = journal.size()
        self.assertEqual(before, os.stat(os.path.join(self.directory, "journal.sqlite")).st_size)
        os.rename(self.directory, f"{self.directory}-away")
        self.assertEqual(journal.size(), 0)

    def test_the_journal_of_a_failed_start(self) -> None:
        """Is free for the next one."""
        self.open()
        self.close()
        for broken in ("SELECT nonsense FROM nowhere", "not sql"):
            self.refused("cannot be used", migrations=(*MIGRATIONS, broken))
        self.refused(f"has schema {len(MIGRATIONS)}, written by a newer jobpush; this one knows 1", migrations=MIGRATIONS[:1])
        self.open()

    def test_refused_leaves_nothing_open(self) -> None:
        """A journal that is refused leaves none of its files open."""
        self.open()
        self.close()
        broken = (*MIGRATIONS, "SELECT nonsense FROM nowhere")
        self.refused("nowhere", migrations=broken)
        with open(os.path.join(self.directory, "journal.sqlite"), "wb") as file:
            file.write(b"not a database, but long enough to be looked at" * 100)
        self.refused("not a database")
        self.assertEqual([path for path in open_files() if path.startswith(self.directory)], [])


class RestartTests(SynchronousTestCase):
    """A service that ends and begins again with its journal."""

    def test_what_changed_meanwhile(self) -> None:
        """It is told, with the scheduler's own times, and nothing is told twice."""
        directory = os.path.abspath(self.mktemp())
        lab = Lab(directory)
        lab.queue.set("1", "QUEUED")
        lab.queue.set("2", "RUNNING")
        lab.start()
        cursor = lab.cursor
        lab.stop()
        again = Lab(directory)
        again.queue.set("1", "COMPLETED", started_at=NOW + 5, ended_at=NOW + 9, nodes="n1")
        again.queue.set("2", "RUNNING")
        again.start()
        self.addCleanup(again.stop)
        events = again.events(cursor)
        self.assertEqual([(e["job"]["id"], e["job"]["state"]) for e in events], [("1", "RUNNING"), ("1", "COMPLETED")])
        self.assertEqual(events[0]["at"], "2026-11-22T06:00:05.000Z")
        history = again.get("/v1/jobs/memory/1").json()["history"]
        self.assertEqual([h["state"] for h in history], ["QUEUED", "RUNNING", "COMPLETED"])

    def test_cursors_and_etags(self) -> None:
        """An event, a history and an ETag have the cursor of before; the next event has one of the new epoch."""
        directory = os.path.abspath(self.mktemp())
        lab = Lab(directory)
        lab.queue.set("1", "RUNNING")
        lab.start()
        before = lab.get("/v1/jobs/memory/1?since=0")
        lab.stop()
        again = Lab(directory)
        again.queue.set("1", "RUNNING")
        again.start()
        self.addCleanup(again.stop)
        after = again.get("/v1/jobs/memory/1?since=0")
        for name in ("cursor", "history", "events"):
            self.assertEqual(after.json()[name], before.json()[name], name)
        etag = before.header("etag")
        self.assertEqual(after.header("etag"), etag)
        self.assertEqual(again.get("/v1/jobs/memory/1", headers={"If-None-Match": etag or ""}).status, 304)
        again.set("1", "COMPLETED")
        events = again.events(before.json()["cursor"])
        self.assertEqual([event["cursor"] for event in events], [f"{again.journal.epochs.current}-2"])
        self.assertNotEqual(events[0]["cursor"].partition("-")[0], before.json()["cursor"].partition("-")[0])

    def test_restored(self) -> None:
        """After a copy was put back, a cursor of what came after it is 410 for ever, and is told to who waits."""
        directory = os.path.abspath(self.mktemp())
        lab = Lab(directory)
        lab.queue.set("1", "RUNNING")
        lab.start()
        kept = lab.cursor
        lab.stop()
        backup = shutil.copytree(directory, directory + ".backup")
        lab = Lab(directory)
        lab.queue.set("1", "COMPLETED")
        lab.start()
        lost = lab.cursor
        lab.stop()
        shutil.rmtree(directory)
        shutil.copytree(backup, directory)
        lab = Lab(directory)
        lab.queue.set("1", "RUNNING")
        lab.start()
        self.addCleanup(lab.stop)
        for number in range(3):
            self.assertEqual(lab.get(f"/v1/changes?since={lost}&wait=60").status, 410)
            self.assertEqual(len(lab.events(kept)), number)
            lab.set("1", "SUSPENDED" if number % 2 == 0 else "RUNNING")

    def test_everyone_comes_back(self) -> None:
        """What was told before the restart is in memory after it: nobody's cursor costs a reading of the journal."""
        directory = os.path.abspath(self.mktemp())
        lab = Lab(directory)
        lab.queue.set("1", "RUNNING")
        lab.start()
        cursors = [lab.cursor]
        for number in range(5):
            lab.set("1", "SUSPENDED" if number % 2 == 0 else "RUNNING")
            cursors.append(lab.cursor)
        lab.stop()
        again = Lab(directory)
        again.queue.set("1", "SUSPENDED")
        again.start()
        self.addCleanup(again.stop)
        with mock.patch.object(again.journal, "read", side_effect=AssertionError("the journal is read")):
            for number, cursor in enumerate(cursors):
                self.assertEqual(len(again.events(cursor)), 5 - number)
