"""The process that asks slurmctld, with a library of the test's; a real one is in ``with_service``."""

from __future__ import annotations

import ctypes
import io
import signal
import sys
import time
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from jobpush_adapters.slurm import probe_helper
from jobpush_adapters.slurm.probe_helper import Head


class Library:
    """
    In the place of libslurm.

    :ivar answer: the time of its answer, or the number of an error.
    :ivar asked: with which times and flags, and what was freed.
    """

    def __init__(self, version: int = 38) -> None:
        self.asked: list[Any] = []
        self.answer: int = 0
        self.error = 0
        self._version = version << 16 | 0xFF00FFFF
        self._head: Any = None
        self.slurm_api_version = _Call(lambda: self._version)
        self.slurm_init = _Call(lambda config: self.asked.append(("init", config)))

    def slurm_load_jobs(self, since: Any, answer: Any, flags: Any) -> int:
        self.asked.append((since.value, flags.value))
        if self.error:
            return -1
        self._head = Head(7, self.answer, 3)
        answer._obj.contents = self._head
        return 0

    def slurm_get_errno(self) -> int:
        return self.error

    def slurm_free_job_info_msg(self, answer: Any) -> None:
        self.asked.append(("freed", answer.contents.last_update))


class _Call:
    """A function of a library, whose type can be set."""

    def __init__(self, call: Any) -> None:
        self._call = call
        self.restype: Any = None

    def __call__(self, *arguments: Any) -> Any:
        return self._call(*arguments)


class AskTests(SynchronousTestCase):
    """One question."""

    def setUp(self) -> None:
        self.library = Library()

    def test_answers(self) -> None:
        """Changed, with the controller's time; the same; or another error."""
        now = int(time.time())
        self.library.answer = now
        self.assertEqual(probe_helper.ask(self.library, 5), f"changed {now}")  # type: ignore[arg-type]
        self.assertEqual(self.library.asked, [(5, 1), ("freed", now)])
        self.library.error = 1900
        self.assertEqual(probe_helper.ask(self.library, 6), "same")  # type: ignore[arg-type]
        self.library.error = 1800
        self.assertEqual(probe_helper.ask(self.library, 7), "error 1800")  # type: ignore[arg-type]
        self.assertEqual(self.library.asked[2:], [(6, 1), (7, 1)], "there is nothing to free")

    def test_no_time(self) -> None:
        """A number that is no time of now, a day to or fro, is no answer: the structure is another."""
        self.patch(probe_helper.time, "time", lambda: 1000000.0)
        for off in (-86400, 86400):
            self.library.answer = 1000000 + off
            self.assertEqual(probe_helper.ask(self.library, 5), f"changed {1000000 + off}")  # type: ignore[arg-type]
        for off in (-86401, 86401):
            self.library.answer = 1000000 + off
            error = self.assertRaises(SystemExit, probe_helper.ask, self.library, 5)
            self.assertEqual(str(error), f"this libslurm's answer is not understood: {1000000 + off} is no time of now")


class MainTests(SynchronousTestCase):
    """The whole process."""

    def run_main(self, version: int, *more: str, lines: str = "") -> list[str]:
        """What it says."""
        self.library = Library(version)
        self.library.error = 1900
        self.opened: list[Any] = []
        self.death: list[Any] = []
        system = type("System", (), {"prctl": lambda _, *arguments: self.death.append(arguments)})()

        def load(path: str | None, mode: int = 0) -> Any:
            self.opened.append((path, mode))
            return system if path is None else self.library

        output = io.StringIO()
        self.flushed: list[str] = []
        self.patch(output, "flush", lambda: self.flushed.append(output.getvalue()))
        self.patch(ctypes, "CDLL", load)
        self.patch(sys, "stdin", io.StringIO(lines))
        self.patch(sys, "stdout", output)
        probe_helper.main(["/lib/slurm.so", *more])
        return output.getvalue().splitlines()

    def test_talk(self) -> None:
        """The library's version first, then an answer to each question, until there are no more; it dies with its parent."""
        self.assertEqual(self.run_main(38, lines="0\n12\n"), ["library 38", "same", "same"])
        self.assertEqual(self.flushed, ["library 38\n", "library 38\nsame\n", "library 38\nsame\nsame\n"], "each at once")
        self.assertEqual(self.library.asked, [("init", None), (0, 1), (12, 1)])
        self.assertEqual(self.opened, [(None, 0), ("/lib/slurm.so", ctypes.RTLD_GLOBAL)])
        self.assertEqual(self.death, [(1, signal.SIGKILL, 0, 0, 0)])
        self.assertIs(self.library.slurm_api_version.restype, ctypes.c_long)

    def test_versions(self) -> None:
        """Only one that was tested, unless somebody has asked for it."""
        for more in ((), ("some",)):
            error = self.assertRaises(SystemExit, self.run_main, 39, *more)
            self.assertEqual(str(error), "libslurm 39 has not been tested (but 38 of Slurm 22.05); probe=yes takes it all the same")
        self.assertEqual(self.run_main(39, "any"), ["library 39"])

    def test_head(self) -> None:
        """The structure is read as ``slurm.h`` has it."""
        self.assertEqual([(name, kind) for name, kind in Head._fields_],
                         [("last_backfill", ctypes.c_long), ("last_update", ctypes.c_long), ("record_count", ctypes.c_uint32)])  # fmt: skip
