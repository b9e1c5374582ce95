"""A journal whose files are taken away, or are damaged, under the running service."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from unittest import mock

from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from jobpush.adapter.interfaces import QueueError
from jobpush.events.journal_watch import EVENTS_EVERY_S, FILES_EVERY_S
from jobpush.events.state_directory import Files
from tests.support import Lab


class FilesTests(SynchronousTestCase):
    """`Files`."""

    def setUp(self) -> None:
        self.directory = Path(os.path.abspath(self.mktemp()))
        self.directory.mkdir()
        self.path = self.directory / "journal.sqlite"
        self.path.write_bytes(b"0" * 100)
        self.files = Files(str(self.path))
        self.addCleanup(self.files.close)
        self.wal = self.directory / "journal.sqlite-wal"

    def test_as_usual(self) -> None:
        """It grows; the log beside it comes, grows and shrinks."""
        self.assertIsNone(self.files.problem())
        self.wal.write_bytes(b"1" * 50)
        self.path.write_bytes(b"0" * 200)
        self.assertIsNone(self.files.problem())
        os.truncate(self.wal, 0)
        self.assertIsNone(self.files.problem())

    def test_problems(self) -> None:
        """Gone, replaced, cut: each is said, and which file."""
        self.wal.write_bytes(b"1")
        self.assertIsNone(self.files.problem())
        for path, words in ((self.wal, "journal.sqlite-wal was replaced"), (self.path, "journal.sqlite was replaced")):
            other = path.with_suffix(".other")
            os.rename(path, other)
            self.assertIn(f"{path.name} is gone: No such file", self.files.problem() or "")
            path.write_bytes(other.read_bytes())
            self.assertIn(words, self.files.problem() or "")
            os.rename(other, path)
            self.assertIsNone(self.files.problem())
        os.truncate(self.path, 99)
        self.assertIn("journal.sqlite was cut from 100 to 99 bytes", self.files.problem() or "")

    def test_a_log_that_was_cut(self) -> None:
        """What it lost is noticed, and that it begins anew, in SQLite's own order, is not taken for that."""
        self.path.unlink()
        with closing(sqlite3.connect(self.path, isolation_level=None)) as db:
            db.execute("PRAGMA journal_mode=WAL")
            db.execute("CREATE TABLE t (x)")
            files = Files(str(self.path))
            self.addCleanup(files.close)
            for mode in ("PASSIVE", "RESTART", "TRUNCATE"):
                db.executemany("INSERT INTO t VALUES (?)", [("x" * 1000,)] * 50)
                self.assertIsNone(files.problem(), mode)
                db.execute(f"PRAGMA wal_checkpoint({mode})")
                self.assertIsNone(files.problem(), mode)
            db.execute("INSERT INTO t VALUES (1)")
            size = self.wal.stat().st_size
            os.truncate(self.wal, size - 1)
            self.assertIn(f"journal.sqlite-wal was cut from {size} to {size - 1} bytes", files.problem() or "")
            os.truncate(self.wal, 0)
            self.assertIn(f"journal.sqlite-wal was cut from {size} to 0 bytes", files.problem() or "")


class WatchTests(SynchronousTestCase):
    """The service on a directory."""

    def setUp(self) -> None:
        self.directory = os.path.abspath(self.mktemp())
        self.path = os.path.join(self.directory, "journal.sqlite")
        self.lab = self.start()
        self.lab.set("1", "RUNNING")

    def start(self) -> Lab:
        """Start one, which looks at its scheduler seldom."""
        lab = Lab(self.directory).start()
        self.addCleanup(lab.stop)
        return lab

    def ready(self) -> tuple[int, str]:
        """What ``/readyz`` says of the journal."""
        answer = self.lab.get("/readyz")
        return answer.status, answer.body().decode()

    def test_files(self) -> None:
        """
        Within seconds it is not ready, and says why; what happens then is told to nobody, for it would be told again, or never,
        after the restart.
        """
        self.assertEqual(self.ready()[0], 200)
        head = self.lab.service.feed.head
        os.rename(self.path, f"{self.path}.gone")
        self.lab.clock.advance(FILES_EVERY_S)
        status, words = self.ready()
        self.assertEqual(status, 503)
        self.assertIn("journal.sqlite is gone", words)
        self.lab.set("1", "FAILED")
        self.assertEqual((self.lab.service.feed.head, self.lab.get("/v1/jobs/memory/1").json()["job"]["state"]), (head, "RUNNING"))
        os.rename(f"{self.path}.gone", self.path)
        self.flushLoggedErrors()

    def test_locks(self) -> None:
        """Looking at the files takes no lock of SQLite's away, by which other processes know that the journal is in use."""
        for _ in range(2):
            self.lab.clock.advance(FILES_EVERY_S)
        # The byte of -shm that each process that uses a journal has locked (UNIX_SHM_DMS in SQLite's os_unix.c).
        program = "import fcntl, sys; fcntl.lockf(open(sys.argv[1], 'r+b'), fcntl.LOCK_EX | fcntl.LOCK_NB, 1, 128)"
        locked = [sys.executable, "-c", program, f"{self.path}-shm"]
        self.assertIn(b"BlockingIOError", subprocess.run(locked, capture_output=True, check=False).stderr)

    def test_replaced_between_two_looks(self) -> None:
        """A commit is not written to a file that nobody will find again, however soon it comes."""
        head = self.lab.service.feed.head
        os.rename(self.path, f"{self.path}.gone")
        Path(self.path).write_bytes(b"")
        self.lab.set("1", "FAILED")
        self.assertEqual(self.lab.service.feed.head, head)
        os.rename(f"{self.path}.gone", self.path)
        self.lab.tick()
        self.assertEqual(self.lab.get("/v1/jobs/memory/1").json()["job"]["state"], "FAILED")

    def test_written_again(self) -> None:
        """While the scheduler is away too, it is found out that the journal can be written again, and not said before."""
        journal = self.lab.service.journal
        with mock.patch.object(journal, "_connect_writer", side_effect=sqlite3.OperationalError("unable to open database file")):
            journal._writer.execute("PRAGMA query_only=1")
            self.lab.set("1", "FAILED")
            self.lab.queue.failure = QueueError("away")
            self.lab.tick()
            self.lab.clock.advance(FILES_EVERY_S)
            status, words = self.ready()
            self.assertEqual(status, 503)
            self.assertIn("cannot be opened again", words)
        self.lab.clock.advance(FILES_EVERY_S)
        self.assertEqual((self.ready()[0], journal.problem), (200, None))
        self.lab.queue.failure = None
        self.lab.tick(10)
        self.assertEqual(self.lab.get("/v1/jobs/memory/1").json()["job"]["state"], "FAILED")

    def test_what_could_not_be_written_is_told_at_once(self) -> None:
        """When the journal is well again, the pause after the failed look is not slept out."""
        self.lab.queue.interval = 600.0
        with mock.patch.object(
            self.lab.service.journal, "_connect_writer", side_effect=sqlite3.OperationalError("unable to open database file")
        ):
            self.lab.service.journal._writer.execute("PRAGMA query_only=1")
            self.lab.set("1", "FAILED")
        self.assertEqual(self.ready()[0], 503)
        self.lab.clock.advance(FILES_EVERY_S)
        self.lab.threads.release()
        self.lab.clock.advance(1.0)
        self.assertEqual(self.lab.get("/v1/jobs/memory/1").json()["job"]["state"], "FAILED")

    def test_old_events(self) -> None:
        """After a start all events are read, and one that is damaged makes it not ready, though nobody has asked for it."""
        for number in range(30):
            self.lab.set("1", "RUNNING" if number % 2 else "SUSPENDED")
        self.lab.stop()
        with closing(sqlite3.connect(self.path, isolation_level=None)) as db:
            db.execute("UPDATE event SET body = ? WHERE seq = 3", (b"{}",))
        self.lab = Lab(self.directory, tail=4).start()
        self.addCleanup(self.lab.stop)
        self.assertEqual(self.ready()[0], 200)
        self.lab.clock.advance(EVENTS_EVERY_S)
        self.lab.threads.release()
        status, words = self.ready()
        self.assertEqual(status, 503)
        self.assertIn("event 3 is damaged: its checksum is wrong", words)
        answer = self.lab.get("/v1/changes?since=0&wait=0")
        self.assertEqual(answer.status, 503)
        self.assertIn("event 3 is damaged", answer.json()["detail"])

    def take_out(self, column: str) -> int:
        """Take the last event out of the indexes with that column, as a flipped bit would; return its number."""
        is_index = "type = 'index' AND sql IS NOT NULL"
        with closing(sqlite3.connect(self.path, isolation_level=None)) as db:
            seq, value = db.execute(f"SELECT seq, {column} FROM event ORDER BY seq DESC LIMIT 1").fetchone()
            db.execute(f"UPDATE event SET {column} = 'other' WHERE seq = ?", (seq,))
            db.execute("PRAGMA writable_schema=ON")
            columns = "type, name, tbl_name, rootpage, sql"
            schema = db.execute(f"SELECT {columns} FROM sqlite_master WHERE {is_index}").fetchall()
            db.execute(f"DELETE FROM sqlite_master WHERE {is_index}")
        with closing(sqlite3.connect(self.path, isolation_level=None)) as db:  # one that knows of no index
            db.execute(f"UPDATE event SET {column} = ? WHERE seq = ?", (value, seq))
            db.execute("PRAGMA writable_schema=ON")
            db.executemany(f"INSERT INTO sqlite_master ({columns}) VALUES (?, ?, ?, ?, ?)", schema)
        return int(seq)

    def check_index(self, index: str, column: str, whole: str = "") -> None:
        """
        Damage an index, and those of ``column`` that are not in ``whole``.

        So with what events are found by: one that is not in an index would be passed over. From then on events are found without.
        """
        self.lab.set("1", "RUNNING", user="kim")
        self.lab.set("1", "SUSPENDED", user="kim")
        self.lab.stop()
        seq = self.take_out(column)
        if whole:
            with closing(sqlite3.connect(self.path, isolation_level=None)) as db:
                db.execute(f"REINDEX {whole}")
        self.lab = Lab(self.directory, tail=1).start()
        self.addCleanup(self.lab.stop)
        self.lab.set("2", "RUNNING")
        for _ in range(2):
            self.lab.clock.advance(EVENTS_EVERY_S)
            self.lab.threads.release()
        status, words = self.ready()
        self.assertEqual(status, 503)
        self.assertIn(f"the index {index} is damaged: event {seq} is not in it", words)
        for query in ("user=kim", "job=memory/1", "cluster=memory"):
            events = self.lab.get(f"/v1/changes?since=0&wait=0&{query}").json()["events"]
            self.assertIn(seq, [event["seq"] for event in events], query)

    def test_index_of_users(self) -> None:
        """See `check_index`."""
        self.check_index("event_user", "user")

    def test_index_of_jobs(self) -> None:
        """See `check_index`."""
        self.check_index("event_job", "job")

    def test_index_of_clusters(self) -> None:
        """See `check_index`."""
        self.check_index("event_cluster", "cluster", whole="event_job")

    def test_a_file_that_is_missing_at_the_start(self) -> None:
        """Or is empty, or has nothing but its first page: that it was lost is said, also if its write-ahead log is there."""
        self.lab.stop()
        with closing(sqlite3.connect(f"{self.path}.new")) as db:
            db.execute("PRAGMA journal_mode=WAL")
        for content, log in ((None, b""), (b"", b""), (None, b"log"), (b"", b"log"), (Path(f"{self.path}.new").read_bytes(), b"")):
            for end in ("", "-wal", "-shm"):
                Path(self.path + end).unlink(missing_ok=True)
            if content is not None:
                Path(self.path).write_bytes(content)
            if log:
                Path(self.path + "-wal").write_bytes(log)
            with capturedLogs() as logs:
                lab = Lab(self.directory).start()
            lab.stop()
            lines = " ".join(filter(None, map(formatEvent, logs)))
            self.assertIn("is missing or empty, and was not: all events and known jobs are lost", lines)
