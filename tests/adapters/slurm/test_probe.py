"""The probe of slurmctld, beside a helper that the test plays: when it says "look", and what a broken helper costs."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any
from unittest import mock

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessExitedAlready, ProcessTerminated
from twisted.internet.task import deferLater
from twisted.logger import capturedLogs, formatEvent
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase, TestCase

from jobpush_adapters.slurm import probe as slurm_probe
from jobpush_adapters.slurm import probe_helper as slurm_probe_helper
from jobpush_adapters.slurm.probe import SlurmProbe, find_library
from tests.support import NOW, ManualClock

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


class Transport:
    """In the place of a process."""

    def __init__(self, clock: HelperClock) -> None:
        self._clock = clock
        self.killed = 0

    def write(self, data: bytes) -> None:
        self._clock.asked.append(data)

    def signalProcess(self, name: str) -> None:
        self.killed += name == "KILL"
        if self._clock.exited:
            raise ProcessExitedAlready


class HelperClock(ManualClock):
    """
    A clock whose processes are played by the test.

    :ivar started: how processes were begun.
    :ivar helper: the protocol of the last one.
    :ivar asked: what was written to them.
    :ivar error: what beginning one raises.
    :ivar exited: have they ended, without anybody having noticed yet?
    """

    def __init__(self) -> None:
        super().__init__()
        self.started: list[tuple[Any, ...]] = []
        self.asked: list[bytes] = []
        self.error: OSError | None = None
        self.exited = False
        self.helper: Any = None

    def spawnProcess(self, protocol: Any, *arguments: Any, **more: Any) -> None:
        self.started.append((*arguments, more))
        if self.error is not None:
            raise self.error
        self.helper = protocol
        protocol.transport = Transport(self)


class ScriptedCase(SynchronousTestCase):
    """
    A probe beside a helper and a clock of the test's.

    :ivar told: when it said that something may have changed, in seconds since the test began.
    """

    def setUp(self) -> None:
        self.clock = HelperClock()
        self.told: list[float] = []

    def begin(self, works: bool = True, **options: Any) -> SlurmProbe:
        probe = SlurmProbe(self.clock, "/lib/slurm.so", {"SLURM_CONF": "/c"}, lambda: self.told.append(self.now()), **options)
        probe.start()
        if works:
            self.say("library 38")
        return probe

    def now(self) -> float:
        return round(self.clock.seconds() - NOW, 3)

    def say(self, *lines: str) -> None:
        """The helper says these lines."""
        self.clock.helper.outReceived("".join(f"{line}\n" for line in lines).encode())

    def asked(self) -> int | None:
        """What it is asked with in this moment; None if it is not."""
        if not self.clock.asked:
            return None
        (question,) = self.clock.asked
        self.clock.asked.clear()
        self.assertTrue(question.endswith(b"\n"))
        return int(question)

    def until_asked(self) -> float:
        """How many seconds pass until the next question."""
        began = self.clock.seconds()
        while not self.clock.asked:
            self.assertLess(self.clock.seconds() - began, 2000, "it is not asked any more")
            self.assertTrue(self.step(), "it waits for nothing")
        self.asked()
        return round(self.clock.seconds() - began, 3)

    def step(self, until: float = float("inf")) -> bool:
        """Time passes to what is due next, if that is not later."""
        later = [call.getTime() for call in self.clock.getDelayedCalls() if call.getTime() <= until]
        self.clock.advance(max(0.0, min(later) - self.clock.seconds()) if later else 0)
        return bool(later)

    def looks(self, seconds: float) -> list[float]:
        """When it says, from now on, that something may have changed; a look of this moment is at 0."""
        began = self.now()
        while self.step(NOW + began + seconds):
            pass
        return [round(at - began, 2) for at in self.told]

    def end(self, stderr: bytes = b"") -> None:
        """The helper ends."""
        self.clock.helper.errReceived(stderr)
        self.clock.helper.processEnded(Failure(ProcessTerminated(1)))


class QuestionTests(ScriptedCase):
    """What it asks, when, and what it tells."""

    def test_how_the_helper_is_begun(self) -> None:
        """Apart from everything: nothing of this process's environment, no site-packages."""
        self.begin()
        self.begin(untested=True)
        argv = [sys.executable, "-I", "-S", slurm_probe_helper.__file__, "/lib/slurm.so"]
        more = {"env": {"SLURM_CONF": "/c"}, "path": "/", "childFDs": None}
        self.assertEqual(self.clock.started, [(sys.executable, argv, more), (sys.executable, [*argv, "any"], more)])

    def test_when(self) -> None:
        """Every 0.15 s from an answer on: since the second after that of the last change."""
        with capturedLogs() as said:
            self.begin()
        self.assertEqual([formatEvent(event) for event in said], ["slurmctld is asked every 0.15 s whether anything has changed (libslurm 38)"])
        self.clock.advance(0.14)
        self.assertIsNone(self.asked())
        self.clock.advance(0.02)
        self.assertEqual(self.asked(), 0)
        self.clock.advance(1)
        self.assertIsNone(self.asked())
        self.say("same")
        self.assertEqual((self.until_asked(), self.told), (0.15, []))
        self.say("changed 1800000000")
        self.assertEqual(len(self.told), 1)
        self.clock.advance(0.15)
        self.assertEqual(self.asked(), 1800000001)

    def test_looks_after_a_change(self) -> None:
        """In the second of a dear answer one more, of a cheap one several; those that a change before made due are replaced."""
        for took, expected in ((0.021, [0, 1.1]), (0.019, [0, 0.15, 0.4, 1.1])):
            self.setUp()
            self.begin()
            self.until_asked()
            self.clock.advance(took)
            self.say("changed 1800000000")
            self.assertEqual(self.looks(3), expected)
        self.setUp()
        self.begin()
        self.until_asked()
        self.say("changed 1800000000")
        self.until_asked()
        self.clock.advance(0.05)
        self.say("changed 1800000001")
        self.assertEqual(self.looks(3), [-0.2, -0.05, 0, 1.1])

    def test_errors(self) -> None:
        """A controller that is away is asked every two seconds, and tells nothing."""
        self.begin()
        self.until_asked()
        self.say("changed 1800000000")
        self.until_asked()
        self.told.clear()
        self.say("error 1800")
        self.clock.advance(1.9)
        self.told.clear()
        self.assertIsNone(self.asked())
        self.clock.advance(0.1)
        self.assertEqual((self.asked(), self.told), (1800000001, []))

    def test_budget(self) -> None:
        """Answers that take long are asked for less often: a twentieth of the time, once the three seconds saved up are spent."""
        self.begin()
        for took, pause in ((1.5, 0.15), (1.5, 0.15), (1.0, 17.0), (1.0, 19.0)):
            self.until_asked()
            self.clock.advance(took)
            self.say("same")
            self.assertApproximates(self.until_asked(), pause, 0.15)
            self.say("same")

    def test_waiting_is_not_charged(self) -> None:
        """One answer that a controller which restarts gives late; each question counts as one."""
        probe = self.begin()
        for _ in range(10):
            self.until_asked()
            self.clock.advance(0.001)
            self.say("same")
        self.until_asked()
        self.clock.advance(8.0)
        self.say("same")
        self.assertEqual((self.until_asked(), probe.asked), (0.15, 12))

    def test_garbage(self) -> None:
        """Words that nobody knows are passed over; what comes in pieces is put together."""
        self.begin()
        self.until_asked()
        self.say("changed x", "changed -1", "maybe 3", "", "\u00e9")
        self.clock.advance(1)
        self.assertEqual((self.told, self.asked()), ([], None))
        self.clock.helper.outReceived(b"chan")
        self.clock.helper.outReceived(b"ged 1800000000")
        self.assertEqual(self.told, [])
        self.clock.helper.outReceived(b"\nsa")
        self.clock.advance(0.15)
        self.assertEqual((len(self.told), self.asked()), (1, 1800000001))


class UseTests(ScriptedCase):
    """When asking is of no use."""

    def answer(self, word: str, took: float = 0.0, times: int = 1) -> float:
        """So many questions are answered so; how long it is then to the next one."""
        pause = 0.0
        for _ in range(times):
            self.clock.advance(took)
            self.say(word)
            self.told.clear()
            pause = self.until_asked()
        return pause

    def test_cheap(self) -> None:
        """Twenty answers, more than half of which are "changed"."""
        self.begin()
        self.until_asked()
        self.assertEqual(self.answer("same", times=10), 0.15)
        self.assertEqual(self.answer("changed 1800000000", times=10), 0.15)
        began = self.now()
        self.assertGreater(self.answer("changed 1800000000"), 59.9)
        looks = [round(at - began, 2) for at in self.told]
        self.assertEqual(looks[:6], [0.15, 0.4, 1.1, 2.0, 4.0, 6.0])
        self.assertEqual(looks[-1], 58.0)
        self.assertEqual(self.answer("changed 1800000000", times=19), 0.15, "anew")
        self.assertGreater(self.answer("changed 1800000000"), 119.9)

    def test_dear(self) -> None:
        """Six are enough where each costs as much as a look; cheap ones and others do not count."""
        self.begin()
        self.until_asked()
        self.assertLess(self.answer("changed 1800000000", 0.021, times=5), 1)
        self.assertGreater(self.answer("changed 1800000000", 0.021), 59.9)
        self.answer("same", times=3)
        self.assertLess(self.answer("changed 1800000000", 0.021, times=3), 1, "just half")
        self.assertGreater(self.answer("changed 1800000000", 0.021), 59.9)

    def test_twice_as_long(self) -> None:
        """Each time, up to sixteen minutes; from the beginning after an answer that nothing has changed."""
        self.begin()
        self.until_asked()
        pauses = [round(self.answer("changed 1800000000", 0.021, times=6)) for _ in range(6)]
        self.assertEqual(pauses, [60, 120, 240, 480, 960, 960])
        self.answer("same")
        self.assertEqual(round(self.answer("changed 1800000000", 0.021, times=5)), 60)


class EndTests(ScriptedCase):
    """Helpers that end, hang, or never worked."""

    def said(self, events: Any) -> list[tuple[str, str]]:
        return [(event["log_level"].name, formatEvent(event)) for event in events]

    def test_never_worked(self) -> None:
        """It is left alone, and that is said: louder where somebody has asked for it."""
        for wanted, level in ((False, "info"), (True, "warn")):
            with capturedLogs() as events:
                probe = self.begin(works=False, untested=wanted)
                self.end(stderr=b"Traceback:\nno \x1b library\n")
            self.assertEqual(self.said(events), [(level, "no probe of slurmctld: no \\x1b library")])
            self.assertEqual((self.told, self.clock.getDelayedCalls()), ([], []))
            self.successResultOf(probe.stop())
        self.clock.error = FileNotFoundError(2, "No such file or directory")
        with capturedLogs() as events:
            probe = self.begin(works=False)
        self.assertEqual(self.said(events), [("info", "no probe of slurmctld: [Errno 2] No such file or directory")])
        self.successResultOf(probe.stop())

    def test_ended(self) -> None:
        """One that had worked is started again after 10 s, then after twice as long, up to 300 s; that something may have changed is said."""
        self.begin()
        self.until_asked()
        self.say("changed 1800000000")
        for number, pause in enumerate((10, 20, 40, 80, 160, 300, 300), 1):
            self.told.clear()
            before = self.now()
            with capturedLogs() as events:
                self.end(stderr=b"" if number > 1 else b"x" * 2000 + b"\n" + b"y" * 999 + b"\n")
            why = "y" * 300 + "\u2026" if number == 1 else "A process has ended with a probable error condition: process ended with exit code 1."
            self.assertEqual(self.said(events), [("warn", f"the probe of slurmctld ended: {why}; another one in {pause} s")])
            self.assertEqual(self.told, [before])
            self.clock.pump([1.0] * (pause - 1))
            self.assertEqual(len(self.clock.started), number)
            self.clock.advance(1.01)
            self.assertEqual(len(self.clock.started), number + 1)
            self.clock.asked.clear()
        self.say("library 38")
        self.clock.advance(0.15)
        self.assertEqual(self.asked(), 1800000001)
        self.say("same")
        with capturedLogs() as events:
            self.end()
        self.assertIn("another one in 10 s", self.said(events)[0][1], "it has worked since")

    def test_what_was_due(self) -> None:
        """Looks that the last answer made due stay due."""
        self.begin()
        self.until_asked()
        self.clock.advance(1)
        self.say("changed 1800000000")
        self.end()
        began = self.told[0]
        self.clock.advance(1.1)
        self.assertEqual([round(at - began, 2) for at in self.told], [0, 0, 1.1])

    def test_hung(self) -> None:
        """Without a word for 15 s, of the library or of the controller, it is ended."""
        for word in (False, True):
            self.setUp()
            self.begin(works=word)
            if word:
                self.until_asked()
                self.say("changed 1800000000")
                self.until_asked()
            self.clock.advance(14.9)
            self.assertEqual(self.clock.helper.transport.killed, 0)
            self.clock.advance(0.1)
            self.assertEqual(self.clock.helper.transport.killed, 1)
            with capturedLogs() as events:
                self.end(stderr=b"x\n")
            self.assertIn("no answer within 15 s", self.said(events)[0][1])

    def test_stop(self) -> None:
        """It has ended when the helper has; nothing is told, asked or begun after it."""
        probe = self.begin()
        self.until_asked()
        self.say("changed 1800000000")
        self.until_asked()
        ended = probe.stop()
        self.assertEqual((self.clock.helper.transport.killed, self.clock.getDelayedCalls()), (1, []))
        self.assertNoResult(ended)
        self.say("changed 1800000001")
        told = len(self.told)
        with capturedLogs() as events:
            self.end()
        self.successResultOf(ended)
        self.assertEqual((self.told[told:], self.said(events), self.clock.getDelayedCalls()), ([], [], []))
        self.clock.exited = True
        again = self.begin()
        stopped = again.stop()
        self.end()
        self.successResultOf(stopped)

    def test_stopped_between_two_helpers(self) -> None:
        """None is begun."""
        probe = self.begin()
        self.until_asked()
        self.say("changed 1800000000")
        self.end()
        self.successResultOf(probe.stop())
        self.assertEqual(self.clock.getDelayedCalls(), [])


class ProbeTests(TestCase):
    """Real processes and a real clock, in which pauses are short."""

    def setUp(self) -> None:
        self.directory = Path(self.mktemp())
        self.directory.mkdir(parents=True)
        self.directory = self.directory.resolve()
        self.script = self.directory / "helper.py"
        self.script.write_text(HELPER)
        self.told = 0
        for name, value in (("PROBE_S", 0.01), ("ANSWER_TIMEOUT_S", 1.0), ("AFTER_S", (0.1,)), ("AFTER_CHEAP_S", (0.05, 0.1)), ("CHEAP_S", 0.0), ("RESTART_S", 0.05), ("OFF_S", 0.5), ("RETRY_S", 0.1)):
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

    async def test_hung_and_crashed(self) -> None:
        """A helper that had worked is started again; each time it is said that something may have changed."""
        for answer in ("hang", "crash", "refuse"):
            self.told = 0
            probe = self.begin("changed 1800000000", answer, "same", "changed 1800000007", "same")
            await self.until(lambda: 1800000008 in self.asked(), 20)
            self.assertGreaterEqual(self.told, 3)
            await probe.stop()

    async def test_never_worked(self) -> None:
        """Then it is left alone: no library, another version, no right to ask."""
        self.patch(slurm_probe, "ANSWER_TIMEOUT_S", 60.0)  # on a host that is busy a helper takes seconds to start
        self.begin("refuse")
        await self.until(lambda: len(self.asked()) == 1, 60)
        await self.pause(0.5)
        self.assertEqual((self.told, len(self.asked())), (0, 1))
        missing = SlurmProbe(reactor, "/nonexistent", {}, self.tell)  # the real helper
        missing.start()
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

    def test_places(self) -> None:
        """As Slurm installs itself and as Debian does, beside the real squeue; its own before that of /usr; the first by name."""
        root = Path(self.mktemp()).resolve()
        linked = root / "links"
        for path in (linked, root / "a[b]" / "bin"):
            path.mkdir(parents=True)
        squeue = root / "a[b]" / "bin" / "squeue"
        squeue.touch()
        squeue.chmod(0o755)
        (linked / "squeue").symlink_to(squeue)
        for place in ("lib/arch/slurm-wlm", "lib/arch/slurm", "lib64/slurm-wlm", "lib/slurm-wlm", "lib64/slurm", "lib/slurm"):
            library = root / "a[b]" / place / "libslurmfull.so"
            library.parent.mkdir(parents=True)
            library.touch()
            self.assertEqual(find_library(str(linked)), str(library))
