"""A journal whose n-th write, or n-th sync, fails: what it has acknowledged is there, once, and it goes on."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from jobpush.core.filters import Scope
from jobpush.events.journal import SQLiteJournal
from tests.events.journal_writer import BATCH, BATCHES
from tests.support import StepThreads

ROOT = Path(__file__).resolve().parents[2]

#: The call of a process that fails; each makes fewer.
COUNT = 1000

#: Each of the calls is made to fail where this is set, else every so manieth.
ALL = "JOBPUSH_ALL_FAULTS"
STEP = {"pwrite64": 23, "fdatasync": 3}


def why_not() -> str | None:
    """Why system calls cannot be made to fail here; None if they can."""
    if shutil.which("strace") is None:
        return "there is no strace"
    tried = subprocess.run(["strace", "-o", os.devnull, "true"], capture_output=True, text=True)
    return None if tried.returncode == 0 else f"strace may not trace here: {tried.stderr.strip()[-100:]}"


class FailingCallsTests(SynchronousTestCase):
    """Each batch that fails is written again, as other events."""

    def setUp(self) -> None:
        reason = why_not()
        if reason is not None:
            raise SkipTest(reason)
        self.directory = Path(self.mktemp()).absolute()
        self.directory.mkdir()

    def fail_each(self, call: str, error: str, most: int) -> None:
        """Let each of the first calls of that name fail, in processes of their own, and check what they leave."""
        numbers = range(1, most + 1, 1 if os.environ.get(ALL) else STEP[call])
        subprocess.run(
            ["strace", "-f", "-o", os.devnull, "-e", f"trace={call}", "-e", f"inject={call}:error={error}:when={COUNT}",
             sys.executable, "-m", "tests.events.journal_writer", str(self.directory), call, str(COUNT), *map(str, numbers)],
            check=True, cwd=ROOT, env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}, timeout=600,
        )  # fmt: skip
        failures = sum(self.check(number) for number in numbers)
        self.assertGreater(failures, len(numbers) // 3, "many of the calls belong to a commit, and that fails")

    def check(self, number: int) -> int:
        """Check what one process left; return how many batches failed."""
        lines = (self.directory / str(number) / "output").read_text().splitlines()
        if lines and lines[0].startswith("not opened"):
            self.assertEqual(len(lines), 1, lines)
            return 1
        self.assertLess(lines.count("failed"), 3, f"call {number}: it goes on after the failure: {lines}")
        told = dict(line.split() for line in lines if line != "failed")
        self.assertEqual(list(told), [str(seq) for seq in range(1, BATCHES * BATCH + 1)], f"call {number}")
        journal = SQLiteJournal(StepThreads(), str(self.directory / str(number) / "state"))  # type: ignore[arg-type]
        known = journal.open()["c"]
        events = self.successResultOf(journal.read(journal.trimmed_seq, journal.last_seq, Scope(), 10_000)).events
        self.successResultOf(journal.close())
        self.assertEqual(journal.last_seq, BATCHES * BATCH, f"call {number}")
        self.assertEqual([event.seq for event in events], list(range(journal.trimmed_seq + 1, journal.last_seq + 1)), f"call {number}")
        self.assertGreaterEqual(len(events), 60)
        self.assertEqual({str(event.seq): event.key[1] for event in events}, {str(e.seq): told[str(e.seq)] for e in events}, f"call {number}")
        self.assertLessEqual(set(told.values()), set(known), f"call {number}")
        return lines.count("failed")

    def test_full_disk(self) -> None:
        """A write that finds no room."""
        self.fail_each("pwrite64", "ENOSPC", 460)

    def test_failed_write(self) -> None:
        """A write that the disk refuses."""
        self.fail_each("pwrite64", "EIO", 460)

    def test_failed_sync(self) -> None:
        """A sync that fails."""
        self.fail_each("fdatasync", "EIO", 24)
