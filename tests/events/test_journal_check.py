"""What is left of a damaged journal, and what ``jobpush journal`` says and does."""

from __future__ import annotations

import io
import os
import random
import shutil
import sqlite3
from contextlib import closing, redirect_stderr, redirect_stdout
from pathlib import Path
from unittest import mock

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from jobpush.core import wire
from jobpush.core.cursors import Cursor
from jobpush.core.filters import Scope
from jobpush.core.record import UNSEEN, Event, Record
from jobpush.events import journal_check
from jobpush.events.interfaces import JournalError
from jobpush.events.journal import SQLiteJournal
from jobpush.events.journal_check import check, main, salvage
from jobpush_client.cli import main as jobpush
from tests.events.test_journal import change
from tests.support import Lab, StepThreads

#: Events of the journal, and of the jobs that it knows.
COUNT, JOBS = 600, 200


class DamageCase(SynchronousTestCase):
    """A journal of some hundred events, closed."""

    def setUp(self) -> None:
        self.directory = os.path.abspath(self.mktemp())
        self.path = Path(self.directory, "journal.sqlite")
        journal = self.open()
        self.epoch = journal.epochs.current
        self.events: list[Event] = []
        for first in range(1, COUNT + 1, 50):
            some = [
                wire.number(self.epoch, seq, change(str(seq % JOBS), "RUNNING", user="kim", comment="x" * 300))
                for seq in range(first, first + 50)
            ]
            self.successResultOf(journal.commit(some, [Record(e.subject, UNSEEN, 1.0, e.seq) for e in some], []))
            self.events += some
        self.successResultOf(journal.close())

    def open(self) -> SQLiteJournal:
        """Open it."""
        journal = SQLiteJournal(StepThreads(), self.directory)  # type: ignore[arg-type]
        self.known = journal.open()
        return journal

    def change(self, statement: str, *values: object) -> None:
        """Do harm to it."""
        with closing(sqlite3.connect(self.path, isolation_level=None)) as db:
            db.execute(statement, values)

    def salvaged(self) -> SQLiteJournal:
        """Salvage it, and open what comes of it; nothing is damaged any more."""
        self.report, self.kept = salvage(self.directory)
        self.assertEqual(check(self.directory).faults, [])
        journal = self.open()
        self.addCleanup(journal.close)
        return journal

    def told(self, journal: SQLiteJournal) -> list[bytes]:
        """The events of a journal."""
        if journal.trimmed_seq == journal.last_seq:
            return []
        found = self.successResultOf(journal.read(journal.trimmed_seq, journal.last_seq, Scope(), 10))
        return [event.data for event in found.events]


class CheckTests(DamageCase):
    """`check`."""

    def test_all_is_well(self) -> None:
        """Of a service that runs, too."""
        for runs in (False, True):
            if runs:
                self.addCleanup(self.open().close)
            report = check(self.directory)
            self.assertEqual((report.faults, report.events, report.known), ([], COUNT, JOBS))

    def test_faults(self) -> None:
        """Each is named."""
        self.change("UPDATE event SET body = ? WHERE seq = 7", b"{}")
        self.change("UPDATE event SET body = ?, crc = NULL WHERE seq = 9", b"{")
        self.change("DELETE FROM event WHERE seq IN (20, 21)")
        self.change("UPDATE job SET body = CAST(replace(CAST(body AS TEXT), 'RUNNING', 'QUEUED ') AS BLOB) WHERE job = '3'")
        faults = check(self.directory).faults
        self.assertEqual(faults[0], "event 7 is damaged: its checksum is wrong")
        self.assertIn("event 9 is damaged", faults[1])
        self.assertEqual(faults[2:], ["events 20 to 21 cannot be read", "job c/3 is damaged: its checksum is wrong"])

    def test_what_is_none(self) -> None:
        """A directory without a journal, an empty file, and a file that is something else."""
        for content, expected in ((None, "there is no journal.sqlite in"), (b"", "is empty"), (b"something else" * 100, "file is not a database")):
            self.directory = os.path.abspath(self.mktemp())
            os.makedirs(self.directory)
            if content is not None:
                Path(self.directory, "journal.sqlite").write_bytes(content)
            for act in (check, salvage):
                self.assertIn(expected, str(self.assertRaises(JournalError, act, self.directory)))


class SalvageTests(DamageCase):
    """`salvage`."""

    def test_nothing_lost(self) -> None:
        """Of a journal that is well all of it is there again, what the service keeps there too, and its cursors are good."""
        journal = self.open()
        self.successResultOf(journal.keep("hides_jobs", "{}"))
        self.successResultOf(journal.close())
        journal = self.salvaged()
        self.assertEqual(journal.kept(), {"hides_jobs": "{}"})
        self.assertEqual(self.told(journal), [event.data for event in self.events])
        self.assertEqual(len(self.known["c"]), JOBS)
        self.assertTrue(journal.epochs.knows(Cursor(self.epoch, COUNT), journal.last_seq))
        self.assertTrue(os.path.exists(self.kept))

    def test_no_gap(self) -> None:
        """What comes before a loss is gone with it: cursors before it are gone, those after it are good."""
        self.change("UPDATE event SET body = ? WHERE seq = 300", b"{}")
        journal = self.salvaged()
        self.assertEqual((journal.trimmed_seq, journal.last_seq), (300, COUNT))
        self.assertEqual(self.told(journal), [event.data for event in self.events[300:]])
        lab = Lab(self.directory)
        journal.close()
        lab.start()
        self.addCleanup(lab.stop)
        self.assertEqual(lab.get(f"/v1/changes?since={self.epoch}-299&wait=0").status, 410)
        self.assertEqual(lab.get(f"/v1/changes?since={self.epoch}-300&wait=0&limit=1").json()["events"][0]["seq"], 301)

    def test_the_last_events(self) -> None:
        """Where the last ones are gone, the numbers go on after the highest that is known."""
        self.change("DELETE FROM event WHERE seq > ?", COUNT - 10)
        journal = self.salvaged()
        self.assertEqual((journal.trimmed_seq, journal.last_seq, self.told(journal)), (COUNT, COUNT, []))

    def test_known_jobs(self) -> None:
        """One whose record cannot be read is forgotten; the service starts with the others."""
        self.change("UPDATE job SET crc = 5 WHERE job = '3'")
        error = self.assertRaises(JournalError, self.open)
        self.assertIn("job c/3 is damaged: its checksum is wrong; see 'jobpush journal check'", str(error))
        self.salvaged()
        self.assertEqual(len(self.known["c"]), JOBS - 1)

    def test_a_record_of_another_version(self) -> None:
        """A known job that cannot be understood is said, and is no traceback."""
        self.change("UPDATE job SET crc = NULL, body = CAST(replace(CAST(body AS TEXT), '\"id\"', '\"other\"') AS BLOB) WHERE job = '3'")
        self.assertIn("job c/3 cannot be understood", str(self.assertRaises(JournalError, self.open)))

    def test_epochs(self) -> None:
        """Where the list of the epochs is gone, all cursors are: no event is numbered twice."""
        self.change("DELETE FROM meta WHERE name = 'epoch'")
        self.change("UPDATE meta SET value = '[[' WHERE name = 'epochs'")
        journal = self.salvaged()
        self.assertFalse(self.report.end_is_known)
        self.assertFalse(journal.epochs.knows(Cursor(self.epoch, 5), journal.last_seq))
        self.assertEqual(journal.last_seq, COUNT)

    def test_pages(self) -> None:
        """
        Whatever pages of the file are overwritten: it is said, or not opened; what is made of it is well, and has of the events
        nothing but what was told, without a gap, up to the last.
        """
        chance, whole = random.Random(5), self.path.read_bytes()
        told = {event.seq: event.data for event in self.events}
        made = 0
        for _ in range(25):
            shutil.rmtree(self.directory)
            os.makedirs(self.directory)
            damaged = bytearray(whole)
            for _ in range(chance.choice((1, 1, 3))):
                page = chance.randrange(1, len(whole) // 8192)
                damaged[page * 8192 : page * 8192 + 8192] = chance.randbytes(8192)
            self.path.write_bytes(damaged)
            try:
                self.assertTrue(check(self.directory).faults)
                journal = self.salvaged()
            except JournalError:
                continue
            made += 1
            found = self.told(journal)
            self.assertEqual(found, [told[seq] for seq in range(journal.trimmed_seq + 1, journal.last_seq + 1)])
            if journal.epochs.knows(Cursor(self.epoch, journal.last_seq), journal.last_seq):
                self.assertEqual(journal.last_seq, COUNT)
            self.successResultOf(journal.close())
        self.assertGreater(made, 10)

    def test_a_file_that_was_cut(self) -> None:
        """Wherever that was, it says so, and makes a journal of what is left."""
        whole = self.path.read_bytes()
        for part in (0.3, 0.6, 0.9):
            self.path.write_bytes(whole[: int(len(whole) * part) // 8192 * 8192])
            self.assertTrue(check(self.directory).faults)
            journal = self.salvaged()
            self.assertFalse(journal.epochs.knows(Cursor(self.epoch, COUNT), journal.last_seq) and journal.last_seq < COUNT)
            self.successResultOf(journal.close())

    def test_checking_changes_nothing(self) -> None:
        """Nothing that is left is touched, neither the file nor a write-ahead log that a process left that was killed."""
        running, killed = self.open(), Path(self.directory + ".killed")
        event = wire.number(running.epochs.current, COUNT + 1, change("1", "RUNNING"))
        self.successResultOf(running.commit([event], [], []))
        shutil.copytree(self.directory, killed)
        self.successResultOf(running.close())
        path, log = killed / "journal.sqlite", killed / "journal.sqlite-wal"
        before = path.read_bytes(), log.read_bytes()
        self.assertEqual(check(str(killed)).events, COUNT + 1)
        self.assertEqual((path.read_bytes(), log.read_bytes()), before)
        path.write_bytes(b"")
        for action in (check, salvage):
            self.assertIn("is empty", str(self.assertRaises(JournalError, action, str(killed))))
        self.assertEqual(log.read_bytes(), before[1])

    def test_the_owner(self) -> None:
        """Where root salvages it, the service's account can use it afterwards: owner and mode are the old one's."""
        if os.getuid() != 0:
            raise SkipTest("only root gives files away")
        os.chown(self.path, 65534, 65533)
        salvage(self.directory)
        found = self.path.stat()
        self.assertEqual((found.st_uid, found.st_gid, found.st_mode & 0o777), (65534, 65533, 0o640))

    def test_half_way(self) -> None:
        """Whatever ends it half way, there is a journal: the old one or the new one; and the old one is kept, for each time."""
        for call in ("link", "rename", "replace"):
            with mock.patch.object(journal_check.os, call, side_effect=OSError(5, "a test says so")):
                if call == "rename":
                    Path(f"{self.path}-shm").write_bytes(b"")
                self.assertIn("a test says so", str(self.assertRaises(JournalError, salvage, self.directory)))
            self.assertEqual(check(self.directory).events, COUNT)
        with mock.patch.object(journal_check.time, "strftime", return_value="journal.damaged-now"):
            names = [os.path.basename(salvage(self.directory)[1]) for _ in range(3)]
        self.assertEqual(names, ["journal.damaged-now.sqlite", "journal.damaged-now-2.sqlite", "journal.damaged-now-3.sqlite"])

    def test_in_use(self) -> None:
        """Not while a service has it."""
        journal = self.open()
        self.addCleanup(journal.close)
        self.assertIn("in use by another jobpush", str(self.assertRaises(JournalError, salvage, self.directory)))


class CommandTests(DamageCase):
    """``jobpush journal``."""

    def run_command(self, *words: str) -> tuple[int, list[str]]:
        out = io.StringIO()
        with redirect_stdout(out), redirect_stderr(out):
            status = jobpush(["journal", *words])
        return status, out.getvalue().splitlines()

    def test_well(self) -> None:
        """It says how much there is."""
        self.assertEqual(self.run_command("check", self.directory), (0, [f"{COUNT} events and {JOBS} known jobs, workflows and members can be read"]))

    def test_damaged(self) -> None:
        """It says what is damaged and what to do; then that is done, and said."""
        self.change("UPDATE event SET body = ? WHERE seq < 60", b"{}")
        status, lines = self.run_command("check", self.directory)
        self.assertEqual((status, len(lines)), (1, 23))
        self.assertEqual(lines[-3], "... and 39 more")
        self.assertIn("'jobpush journal salvage'", lines[-1])
        status, lines = self.run_command("salvage", self.directory)
        self.assertEqual(status, 0)
        self.assertIn("events up to 59 are gone: clients with older cursors begin anew", lines)
        self.assertEqual(self.run_command("check", self.directory)[0], 0)

    def test_nothing(self) -> None:
        """There is no journal."""
        status, lines = self.run_command("check", self.mktemp())
        self.assertEqual(status, 2)
        self.assertIn("jobpush: there is no journal.sqlite in", lines[0])
        self.assertEqual(main.__module__, "jobpush.events.journal_check")
