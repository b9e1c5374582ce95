"""What the suite of faults does to the machine: does that happen in a process?"""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import time
from pathlib import Path

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests.faults.machine import SYNCS, WRITES, Machine

#: Writes ten bytes with three calls, syncs them, and prints what became of each; then both clocks.
CALLS = """
import os, sys, time
file = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)
for work in (lambda: os.pwrite(file, b"0123456789", 0),) * 3 + (lambda: os.fsync(file), lambda: os.fdatasync(file)):
    try:
        print(work())
    except OSError as error:
        print(error.errno)
print(time.time())
print(time.monotonic())
"""


class MachineTests(SynchronousTestCase):
    """`Machine`."""

    def setUp(self) -> None:
        self.directory = Path(self.mktemp()).absolute()
        self.directory.mkdir()
        self.machine = Machine(self.directory)
        if self.machine.shim is None:
            raise SkipTest("there is no C compiler")

    def run_calls(self, name: str = "journal.sqlite-wal") -> list[str]:
        """What a process prints."""
        environment = {**os.environ, **self.machine.environment}
        command = [sys.executable, "-c", CALLS, str(self.directory / name)]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.split()

    def test_nothing(self) -> None:
        """Nothing fails before it is to, and what is not the journal's never does."""
        self.assertEqual(self.run_calls()[:5], ["10", "10", "10", "None", "None"])
        self.machine.fail(WRITES | SYNCS, 1, errno.EIO)
        self.assertEqual(self.run_calls("other")[:5], ["10", "10", "10", "None", "None"])
        self.assertEqual(self.machine.failed, 0)

    def test_writes(self) -> None:
        """Every second write fails, or is half of what was asked for."""
        self.machine.fail(WRITES, 2, errno.ENOSPC)
        self.assertEqual(self.run_calls()[:5], ["10", str(errno.ENOSPC), "10", "None", "None"])
        self.machine.fail(WRITES, 2, 0)
        self.assertEqual(self.run_calls()[:5], ["10", "5", "10", "None", "None"])
        self.assertEqual(self.machine.mend(), 1)
        self.assertEqual(self.run_calls()[:5], ["10", "10", "10", "None", "None"])

    def test_syncs(self) -> None:
        """Both ways to sync fail."""
        self.machine.fail(SYNCS, 1, errno.EIO)
        self.assertEqual(self.run_calls()[:5], ["10", "10", "10", str(errno.EIO), str(errno.EIO)])

    def test_clock(self) -> None:
        """The clock of dates is set; the one that measures is not."""
        self.machine.set_clock(-3600)
        wall, monotonic = map(float, self.run_calls()[5:])
        self.assertLess(abs(wall - time.time() + 3600), 60)
        self.assertLess(abs(monotonic - time.monotonic()), 60)
