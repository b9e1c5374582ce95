"""The file of twistd's ``--logfile``."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

from twisted.logger import ILogObserver
from twisted.python.components import Componentized
from twisted.trial.unittest import SynchronousTestCase

from jobpush.runtime.log_file import ServiceLogFile, log_path
from jobpush.runtime.reload import CannotReload


class Reactor:
    """Calls at once."""

    def callFromThread(self, call: Any) -> None:
        call()


class LogFileTests(SynchronousTestCase):
    """`ServiceLogFile`."""

    def setUp(self) -> None:
        before = signal.getsignal(signal.SIGUSR1)
        self.addCleanup(signal.signal, signal.SIGUSR1, before)
        self.path = Path(os.path.abspath(self.mktemp()))
        self.file = ServiceLogFile(Reactor(), str(self.path))  # type: ignore[arg-type]
        application = Componentized()
        self.file.observe_for(application)
        self.observer = application.getComponent(ILogObserver)
        self.addCleanup(self.file._file.close)

    def say(self, text: str) -> None:
        self.observer({"log_format": text, "log_time": 0.0})

    def test_moved(self) -> None:
        """A file that was moved away is written until it is opened anew, and then the new one is."""
        self.say("first")
        moved = self.path.with_suffix(".1")
        self.path.rename(moved)
        self.say("second")
        self.assertEqual(self.file.reopen(), f"{self.path} was opened again")
        self.say("third")
        self.assertEqual([line.split()[-1] for line in moved.read_text().splitlines()], ["first", "second"])
        self.assertEqual([line.split()[-1] for line in self.path.read_text().splitlines()], ["third"])

    def test_not_moved(self) -> None:
        """A file that was not moved goes on where it was."""
        self.say("first")
        self.file.reopen()
        self.say("second")
        self.assertEqual(len(self.path.read_text().splitlines()), 2)

    def test_that_cannot_be_opened(self) -> None:
        """The log goes on in the old file."""
        moved = self.path.with_suffix(".1")
        self.path.rename(moved)
        self.path.mkdir()
        with self.assertRaisesRegex(CannotReload, "cannot be written: Is a directory"):
            self.file.reopen()
        self.say("first")
        self.assertIn("first", moved.read_text())

    def test_a_new_one_by_signal(self) -> None:
        """SIGUSR1 begins a new file, as with twistd's own."""
        signal.signal(signal.SIGUSR1, signal.SIG_DFL)
        file = ServiceLogFile(Reactor(), f"{self.path}.b")  # type: ignore[arg-type]
        self.addCleanup(file._file.close)
        os.kill(os.getpid(), signal.SIGUSR1)
        self.assertTrue(Path(f"{self.path}.b.1").exists())


class PathTests(SynchronousTestCase):
    """`log_path`."""

    def test_path(self) -> None:
        """As twistd has it; None where it logs to standard output, to syslog, or as somebody's own observer wants."""
        for twistd, path in (
            ({"logfile": "a.log"}, "a.log"), ({"logfile": None}, "twistd.log"), ({"logfile": None, "nodaemon": True}, None),
            ({"logfile": "-", "nodaemon": True}, None), ({"logfile": "a.log", "syslog": True}, None),
            ({"logfile": "a.log", "logger": "x.y"}, None), ({"logfile": "a.log", "nodaemon": 1}, "a.log"),
        ):  # fmt: skip
            self.assertEqual(log_path(twistd), path, twistd)
