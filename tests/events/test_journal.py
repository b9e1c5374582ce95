"""The journal: durable, numbered, bounded, and honest about what it can open."""

from __future__ import annotations

import os
import sqlite3
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from jobpush.core import wire
from jobpush.core.model import Change, JobDescriptor, JobRecord, JobStatusEvent, split_state
from jobpush.events.interfaces import CursorGone, IJournal, JournalError
from jobpush.events.journal import MIGRATIONS, NETWORK_FILE_SYSTEMS, Retention, SQLiteJournal, file_system_of
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

    def write(self, journal: SQLiteJournal, *changes: Change) -> list[JobStatusEvent]:
        events = [wire.number(journal.epoch, seq, c) for seq, c in enumerate(changes, journal.last_seq + 1)]
        records = {e.job.key: JobRecord(e.job, last_seq=e.seq) for e in events}
        self.successResultOf(journal.commit(events, list(records.values()), []))
        return events

    def read(self, journal: SQLiteJournal, since: int = 0, limit: int = 10_000, keys: Any = None) -> list[int]:
        found = self.successResultOf(journal.read(since, journal.last_seq, limit, lambda e: True, keys))
        return [event.seq for event in found]


class DurabilityTests(JournalCase):
    """What is committed stays."""

    def test_interface(self) -> None:
        """It provides `IJournal`."""
        self.assertTrue(IJournal.providedBy(self.open()))

    def test_reopen(self) -> None:
        """Events, numbers, epoch and known jobs are there again, byte for byte."""
        journal = self.open()
        written = self.write(journal, change("1", "RUNNING", name="naïve\n🚀", user="kim"), change("2", "FAILED", exit_code=3))
        epoch = journal.epoch
        self.close()
        journal = self.open()
        self.assertEqual((journal.epoch, journal.last_seq), (epoch, 2))
        found = self.successResultOf(journal.read(0, 2, 10, lambda e: True, None))
        self.assertEqual([e.data for e in found], [e.data for e in written])
        self.assertEqual((found[0].job.name, found[1].job.exit_code), ("naïve\n🚀", 3))
        self.assertEqual(self.known["c"]["2"].job.exit_code, 3)

    def test_all_or_nothing(self) -> None:
        """A commit that fails leaves nothing of itself."""
        journal = self.open()
        self.write(journal, change("1", "RUNNING"))
        journal._writer.execute("CREATE TRIGGER t BEFORE INSERT ON job BEGIN SELECT RAISE(ABORT, 'no'); END")
        event = wire.number(journal.epoch, 2, change("2", "RUNNING"))
        failure = self.failureResultOf(journal.commit([event], [JobRecord(event.job)], []), JournalError)
        self.assertNotIn("\n", str(failure.value))
        self.assertEqual((journal.last_seq, self.read(journal)), (1, [1]))

    def test_numbers_follow_each_other(self) -> None:
        """An event out of order is a fault of the caller."""
        journal = self.open()
        self.assertRaises(ValueError, journal.commit, [wire.number(journal.epoch, 5, change("1", "RUNNING"))], [], [])

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

    def test_new_epoch(self) -> None:
        """A restored backup begins a new sequence: old cursors are gone, the known jobs are not."""
        journal = self.open()
        self.write(journal, change("1", "RUNNING"))
        epoch = journal.epoch
        self.close()
        journal = self.open(new_epoch=True)
        self.assertNotEqual(journal.epoch, epoch)
        self.assertNotIn("-", journal.epoch)
        self.assertEqual((journal.last_seq, journal.trimmed_seq, list(self.known["c"])), (1, 1, ["1"]))

    def test_listeners_places(self) -> None:
        """A listener's place is kept."""
        journal = self.open()
        self.successResultOf(journal.save_cursor("log", 7))
        self.close()
        self.assertEqual(self.open().cursors(), {"log": 7})

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
        last = self.successResultOf(journal.last_of([("c", "1"), ("c", "99")]))
        self.assertEqual({key: (e.seq, e.job.state) for key, e in last.items()}, {("c", "1"): (5, "FAILED")})

    def test_a_filter_that_few_events_of_a_job_pass(self) -> None:
        """However many of the job's events come before, the first that matches is found."""
        journal = self.open()
        self.write(journal, *(change("1", "RUNNING" if n % 2 else "SUSPENDED") for n in range(200)), change("1", "FAILED"))
        found = journal.read(0, 201, 1, lambda e: e.job.state == "FAILED", [("c", "1")])
        self.assertEqual([e.seq for e in self.successResultOf(found)], [201])

    def test_in_chunks(self) -> None:
        """However many there are, the first ``limit`` of them."""
        journal = self.open()
        self.write(journal, *(change(str(n), "RUNNING") for n in range(2500)))
        self.assertEqual(self.read(journal, since=10), list(range(11, 2501)))
        self.assertEqual(self.read(journal, since=900, limit=1500), list(range(901, 2401)))


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
        gone = self.failureResultOf(journal.read(trimmed - 1, 300, 10, lambda e: True, None), CursorGone)
        self.assertEqual(gone.value.oldest_seq, trimmed)

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
        self.refused("cannot be used")

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

    def test_network_file_systems(self) -> None:
        """The mount that holds a path tells its kind."""
        table = self.mktemp()
        with open(table, "w") as file:
            file.write("22 1 8:1 / / rw - ext4 /dev/sda rw\n")
            file.write("23 22 0:5 / /home rw,relatime shared:1 - nfs4 server:/home rw\n")
            file.write("24 23 0:6 / /home/local\\040disk rw - xfs /dev/sdb rw\n")
        for path, kind in {"/home/kim": "nfs4", "/var/lib": "ext4", "/home/local disk/x": "xfs", "/homes": "ext4"}.items():
            self.assertEqual(file_system_of(path, table), kind)
        self.assertIn("nfs4", NETWORK_FILE_SYSTEMS)
        self.assertEqual(file_system_of("/", "/nonexistent"), "")


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
