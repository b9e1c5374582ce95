"""The probe of slurmctld, beside a helper that the test plays: when it says "look", and what a broken helper costs."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any
from unittest import mock

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from jobpush_adapters.slurm import probe as slurm_probe
from jobpush_adapters.slurm import probe_helper as slurm_probe_helper
from jobpush_adapters.slurm.probe import SlurmProbe, find_library

#: Says what the test has written into a file, line by line; then "same" for ever. Notes what it is asked.
HELPER = """\
import os, sys, time
here = os.path.dirname(__file__)
print("library 38", flush=True)
for line in sys.stdin:
    with open(here + "/asked", "a") as asked:
        asked.write(line)
    lines = open(here + "/answers").read().splitlines()
    open(here + "/answers", "w").write("".join(f"{line}\\n" for line in lines[1:]))
    answer = lines[0] if lines else "same"
    if answer == "hang":
        time.sleep(60)
    if answer == "crash":
        os.abort()
    if answer == "refuse":
        raise SystemExit("slurmctld: no such\\x1b[31m")
    if answer == "always":
        open(here + "/answers", "w").write("always\\n")
        answer = "changed 1800000000"
    print(answer, flush=True)
"""


class ProbeTests(TestCase):
    """Real processes and a real clock, in which pauses are short."""

    def setUp(self) -> None:
        self.directory = Path(self.mktemp())
        self.directory.mkdir(parents=True)
        self.directory = self.directory.resolve()
        self.script = self.directory / "helper.py"
        self.script.write_text(HELPER)
        self.told = 0
        for name, value in (("PROBE_S", 0.01), ("PATIENCE_S", 1.0), ("AFTER_S", (0.1,)), ("AFTER_CHEAP_S", (0.05, 0.1)), ("CHEAP_S", 0.0), ("RESTART_S", 0.05), ("OFF_S", 0.5), ("RETRY_S", 0.1)):
            self.patch(slurm_probe, name, value)

    def begin(self, *answers: str) -> SlurmProbe:
        (self.directory / "answers").write_text("".join(f"{answer}\n" for answer in answers))
        (self.directory / "asked").write_text("")
        with mock.patch.object(slurm_probe_helper, "__file__", str(self.script)):
            probe = SlurmProbe(reactor, "/nonexistent", {}, self.tell)
        probe.start()
        self.addCleanup(probe.stop)
        return probe

    def tell(self) -> None:
        self.told += 1

    def asked(self) -> list[int]:
        """The times that the helper was asked with."""
        return [int(line) for line in (self.directory / "asked").read_text().splitlines()]

    async def until(self, condition: Any, seconds: float = 10.0) -> None:
        until = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > until:
                self.fail(f"not within {seconds} s; told {self.told} times, asked {self.asked()}")
            await self.pause(0.005)

    def pause(self, seconds: float) -> Deferred[None]:
        return deferLater(reactor, seconds)  # type: ignore[arg-type]

    async def test_changed(self) -> None:
        """Is told at once, and once more when the controller's second is over; what is asked next is about what comes after it."""
        self.begin("same", "same", "changed 1800000000")
        await self.until(lambda: self.told == 1)
        await self.until(lambda: len(self.asked()) > 4)
        self.assertEqual(self.asked()[:5], [0, 0, 0, 1800000001, 1800000001])
        await self.until(lambda: self.told == 2)
        await self.pause(0.3)
        self.assertEqual(self.told, 2)

    async def test_cheap_answers(self) -> None:
        """Are followed by more looks in that second."""
        self.patch(slurm_probe, "CHEAP_S", 60.0)
        self.begin("changed 1800000000")
        await self.until(lambda: self.told == 3)
        await self.pause(0.2)
        self.assertEqual(self.told, 3)

    async def test_always_changed(self) -> None:
        """Then it is not asked any more for a while, and the queue is looked at as often as a poll would; then asked again."""
        self.patch(slurm_probe, "CHEAP_S", 60.0)
        self.begin("always")
        await self.until(lambda: len(self.asked()) >= slurm_probe.REMEMBERED)
        asked, told = len(self.asked()), self.told
        await self.pause(0.35)
        self.assertEqual(len(self.asked()), asked)
        self.assertTrue(told + 2 <= self.told <= told + 7, (told, self.told))
        await self.until(lambda: len(self.asked()) > asked)

    async def test_always_changed_and_dear(self) -> None:
        """Where each answer costs as much as a look, a few are enough; and if it is no better later, it rests for twice as long."""
        self.begin("always")
        await self.until(lambda: len(self.asked()) >= slurm_probe.FEW)
        await self.pause(0.35)
        self.assertEqual(len(self.asked()), slurm_probe.FEW)
        await self.until(lambda: len(self.asked()) >= 2 * slurm_probe.FEW)
        await self.pause(0.7)
        self.assertEqual(len(self.asked()), 2 * slurm_probe.FEW)

    async def test_errors(self) -> None:
        """A controller that is away is asked less often, and tells nothing."""
        self.begin("error 1800", "error 1800", "changed 1800000000")
        began = time.monotonic()
        await self.until(lambda: self.told == 1)
        self.assertGreater(time.monotonic() - began, 0.2)

    async def test_hung_and_crashed(self) -> None:
        """A helper that had worked is started again; each time it is said that something may have changed."""
        for answer in ("hang", "crash", "refuse"):
            self.told = 0
            probe = self.begin("changed 1800000000", answer, "same", "changed 1800000007", "same")
            await self.until(lambda: 1800000008 in self.asked(), 20)
            self.assertGreaterEqual(self.told, 3)
            await probe.stop()

    async def test_crashed_in_that_second(self) -> None:
        """What changes after the crash in the second of the last answer would not be told by the next helper."""
        self.patch(slurm_probe, "RESTART_S", 60.0)
        self.patch(slurm_probe, "AFTER_S", (0.5,))
        self.begin("changed 1800000000", "crash")
        await self.until(lambda: self.told == 2)  # it has changed, and the helper is gone
        await self.until(lambda: self.told == 3)

    async def test_never_worked(self) -> None:
        """Then it is left alone: no library, another version, no right to ask."""
        self.patch(slurm_probe, "PATIENCE_S", 60.0)  # on a host that is busy a helper takes seconds to start
        self.begin("refuse")
        await self.until(lambda: len(self.asked()) == 1, 60)
        await self.pause(0.5)
        self.assertEqual((self.told, len(self.asked())), (0, 1))
        missing = SlurmProbe(reactor, "/nonexistent", {}, self.tell)  # the real helper
        missing.start()
        await self.until(lambda: missing._helper is None)
        await missing.stop()
        self.assertEqual(self.told, 0)

    async def test_stop(self) -> None:
        """Nothing is left, whatever the helper is doing."""
        probe = self.begin("changed 1800000000", "hang")
        await self.until(lambda: len(self.asked()) == 2)
        began = time.monotonic()
        await probe.stop()
        self.assertLess(time.monotonic() - began, 0.9)
        await self.pause(0.3)
        self.assertEqual(self.told, 1)

    async def test_garbage(self) -> None:
        """Words that nobody knows are passed over, and end as a silence does."""
        self.begin("changed 1800000000", "changed x", "same", "changed 1800000007")
        await self.until(lambda: 1800000008 in self.asked(), 20)


class LibraryTests(TestCase):
    """Where libslurm is looked for."""

    def test_beside_the_commands(self) -> None:
        """In the installation that squeue is of."""
        root = Path(self.mktemp()).resolve()
        for name in ("bin", "lib64/slurm"):
            (root / name).mkdir(parents=True)
        squeue, library = root / "bin" / "squeue", root / "lib64" / "slurm" / "libslurmfull.so"
        self.assertIsNone(find_library(str(root / "bin")))
        squeue.write_text("#!/bin/sh\n")
        squeue.chmod(0o755)
        library.write_text("")
        self.assertEqual(find_library(str(root / "bin")), str(library))
