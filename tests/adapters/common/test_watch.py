"""Watching logs: what is appended is told at once, over rotation and truncation; which lines are about jobs."""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from unittest import mock

from twisted.internet import inotify, reactor
from twisted.internet.task import deferLater
from twisted.logger import capturedLogs, formatEvent
from twisted.python.filepath import FilePath
from twisted.trial.unittest import SynchronousTestCase, TestCase

from jobpush_adapters.common import logs
from jobpush_adapters.common.watch import LogWatch, Watching
from tests.adapters.watching import WatchingCase
from tests.fakes import SameThread


class Kernel:
    """
    In the place of the kernel's inotify.

    :ivar refused: directories that it will not watch.
    :ivar calls: what to call when something is written in a directory.
    """

    def __init__(self) -> None:
        self.refused: set[str] = set()
        self.calls: dict[str, Any] = {}
        self.mask = 0
        self.reading = self.closed = False

    def startReading(self) -> None:
        self.reading = True

    def watch(self, path: FilePath[str], mask: int, callbacks: Sequence[Any]) -> None:
        if path.path in self.refused:
            raise inotify.INotifyError("no space left on device")
        self.mask = mask
        (self.calls[path.path],) = callbacks

    def loseConnection(self) -> None:
        self.closed = True


class Threads(SameThread):
    """A clock whose threads keep their work back until the test does it."""

    def __init__(self) -> None:
        super().__init__()
        self.busy = False
        self.work: list[Any] = []

    def callInThreadWithCallback(self, told: Any, work: Any, *arguments: Any) -> None:
        if self.busy:
            self.work.append((told, work, *arguments))
        else:
            super().callInThreadWithCallback(told, work, *arguments)

    def done(self) -> None:
        """Do the work that a thread has now."""
        kept, self.work = self.work, []
        for work in kept:
            super().callInThreadWithCallback(*work)


class WatchCase(SynchronousTestCase):
    """
    A watch with a scripted clock and kernel.

    :ivar told: what it told, call by call.
    """

    def setUp(self) -> None:
        self.clock = Threads()
        self.kernel = Kernel()
        self.patch(inotify, "INotify", lambda reactor: self.kernel)
        self.directory = Path(self.mktemp()).resolve()
        self.directory.mkdir()
        self.path = self.directory / "log"
        self.told: list[list[bytes]] = []

    def begin(self, *paths: Path, spools: Sequence[Path] = ()) -> LogWatch:
        watch = LogWatch(self.clock, [str(path) for path in paths or (self.path,)], lambda lines: self.told.append(list(lines)), [str(path) for path in spools])
        watch.start()
        return watch

    def append(self, text: str, path: Path | None = None) -> None:
        with (path or self.path).open("a") as file:
            file.write(text)

    def touch(self, directory: Path | None = None) -> None:
        """Report as the kernel does that something was written there."""
        self.kernel.calls[str(directory or self.directory)](None, None, 0)

    def lines(self) -> list[bytes]:
        """Return the lines that were told since the last call."""
        told = [line for lines in self.told for line in lines]
        self.told.clear()
        return told


class LookTests(WatchCase):
    """When the logs are read, and what is told of them."""

    def test_every_second(self) -> None:
        """What is there at the beginning is skipped; nothing is told if nothing is new."""
        self.append("old\n")
        self.begin()
        self.append("one\ntw")
        self.clock.advance(0.9)
        self.assertEqual(self.told, [])
        self.clock.advance(0.1)
        self.assertEqual(self.told, [[b"one"]])
        self.clock.advance(1)
        self.append("o\n")
        self.clock.advance(1)
        self.assertEqual(self.told, [[b"one"], [b"two"]])

    def test_when_the_kernel_says(self) -> None:
        """A file that is written, made or moved is read at once; each directory is watched once."""
        other, apart = self.directory / "other", self.directory / "apart"
        apart.mkdir()
        for path in (self.path, other, apart / "log"):
            path.touch()
        self.begin(self.path, other, apart / "log")
        self.assertTrue(self.kernel.reading)
        self.assertEqual(list(self.kernel.calls), [str(self.directory), str(apart)])
        self.assertEqual(self.kernel.mask, inotify.IN_MODIFY | inotify.IN_CREATE | inotify.IN_MOVED_TO)
        self.append("one\n")
        self.append("two\n", other)
        self.append("three\n", apart / "log")
        self.touch(apart)
        self.assertEqual(self.told, [[b"one", b"two", b"three"]])

    def test_while_it_reads(self) -> None:
        """The logs are read once more afterwards, however often the kernel reports a write meanwhile."""
        self.append("")
        self.begin()
        self.clock.busy = True
        self.touch()
        for _ in range(3):
            self.touch()
        self.assertEqual(len(self.clock.work), 1)
        self.append("one\n")
        self.clock.done()
        self.append("two\n")
        self.assertEqual(len(self.clock.work), 1)
        self.clock.done()
        self.assertEqual((self.told, self.clock.work), ([[b"one"], [b"two"]], []))

    def test_daily(self) -> None:
        """In a directory of logs whose names are dates the last one is followed, and the next one once it exists."""
        self.begin(self.directory)
        self.assertEqual(list(self.kernel.calls), [str(self.directory)])
        self.append("old\n", self.directory / "20261121")
        self.touch()
        self.assertEqual(self.told, [], "the first that comes: what is there already is passed over")
        self.append("new\n", self.directory / "20261121")
        for name in ("20261120", "202611210", "2026112", "notes"):
            self.append("nothing\n", self.directory / name)
        self.touch()
        self.append("last\n", self.directory / "20261121")
        self.append("first\n", self.directory / "20261122")
        self.touch()
        self.append("second\n", self.directory / "20261122")
        self.touch()
        self.assertEqual(self.told, [[b"new"], [b"last", b"first"], [b"second"]])

    def test_unreadable(self) -> None:
        """A log that cannot be read is logged once while it stays so; what is written meanwhile is read later."""
        self.append("")
        self.begin()
        refused = PermissionError(13, "Permission denied", str(self.path))
        with capturedLogs() as said:
            for _ in range(2):
                self.append("x\n")
                with mock.patch.object(logs, "open", side_effect=refused, create=True):
                    for _ in range(3):
                        self.touch()
                self.assertEqual(self.lines(), [])
                self.touch()
                self.assertEqual(self.lines(), [b"x"])
        why = f"{self.path}: Permission denied: changes are seen by polling"
        self.assertEqual([formatEvent(event) for event in said], [why, why])


    def test_a_fault_of_ours(self) -> None:
        """An exception of the caller is logged with its place, and ends nothing."""
        self.append("")
        self.begin()
        self.append("x\n")
        with mock.patch.object(logs, "open", side_effect=ValueError("no"), create=True):
            self.touch()
        gc.collect()
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)
        self.touch()
        self.assertEqual(self.lines(), [b"x"])


class SpoolTests(WatchCase):
    """Directories of which it is only told that something is written there."""

    def test_settled(self) -> None:
        """It is told a moment after the first write, once for all writes."""
        spool = self.directory / "db"
        self.begin(spools=(spool,))
        self.assertEqual(list(self.kernel.calls), [str(self.directory), str(spool)])
        for _ in range(2):
            self.touch(spool)
            self.clock.advance(0.01)
            self.touch(spool)
            self.assertEqual(self.told, [])
            self.clock.advance(0.01)
            self.assertEqual(self.told, [[]])
            self.told.clear()
        self.clock.advance(0.5)
        self.assertEqual(self.told, [])


class KernelTests(WatchCase):
    """What the kernel cannot watch."""

    def test_directories(self) -> None:
        """Logs in such directories are read every second; such a spool is not watched."""
        none, db, good = self.directory / "none", self.directory / "db", self.directory / "good"
        self.kernel.refused = {str(none), str(db)}
        with capturedLogs() as said:
            self.begin(none / "log", self.path, spools=(db, good))
        self.assertEqual([formatEvent(event) for event in said], [
            f"{none} cannot be watched: looked at every 1 s", f"{db} cannot be watched: what is written there is seen by polling",
        ])  # fmt: skip
        self.assertEqual(list(self.kernel.calls), [str(self.directory), str(good)])

    def test_nothing(self) -> None:
        """Without inotify the logs are read every second."""

        def none(reactor: Any) -> Any:
            raise inotify.INotifyError("too many open files")

        self.patch(inotify, "INotify", none)
        self.append("")
        with capturedLogs() as said:
            watch = self.begin()
        self.assertEqual([formatEvent(event) for event in said], ["too many open files: logs are looked at every 1 s"])
        self.append("one\n")
        self.clock.advance(1)
        self.assertEqual(self.lines(), [b"one"])
        self.successResultOf(watch.stop())


class StopTests(WatchCase):
    """The end of watching."""

    def test_nothing_more(self) -> None:
        """Afterwards nothing is told, neither by the clock nor by the kernel, nor what was due."""
        spool = self.directory / "db"
        self.append("")
        watch = self.begin(spools=(spool,))
        self.touch(spool)
        self.append("one\n")
        self.successResultOf(watch.stop())
        self.assertTrue(self.kernel.closed)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.touch(spool)
        self.clock.advance(1)
        self.assertEqual((self.told, self.clock.getDelayedCalls()), ([], []))
        self.successResultOf(watch.stop())

    def test_while_it_reads(self) -> None:
        """It has ended when the thread has; what the thread has read is not told, and nothing is read again."""
        self.append("")
        watch = self.begin()
        self.clock.busy = True
        self.append("one\n")
        self.touch()
        self.touch()
        ended = watch.stop()
        self.assertNoResult(ended)
        self.clock.done()
        self.successResultOf(ended)
        self.assertEqual((self.told, self.clock.work), ([], []))


class QueueTests(WatchingCase):
    """`Watching`, with a stand-in for `LogWatch`."""

    class Queue(Watching):
        """A queue whose logs have the lines ``job NAME`` and ``all``."""

        _reactor = None

        def _jobs_in(self, lines: Sequence[bytes]) -> Sequence[str] | None:
            if b"all" in lines:
                return []
            return [line.split()[1].decode() for line in lines if line.startswith(b"job ")] or None

    def test_begun_and_ended(self) -> None:
        """Logs are watched once the queue is watched and has logs, once for the same logs, until the end."""
        queue = self.Queue()
        queue._follow_logs(["/a"])
        self.assertEqual(self.watches, [])
        end = self.watch(queue)
        queue._follow_logs(iter(["/a"]))
        self.assertEqual([(watch.paths, watch.spools, watch.started) for watch in self.watches], [(("/a",), (), 1)])
        queue._follow_logs(["/a"], iter(["/db"]))
        queue._follow_logs(["/b"], ["/db"])
        queue._follow_logs([], ["/db"])
        self.assertEqual([(watch.paths, watch.spools, watch.started, watch.stopped) for watch in self.watches],
                         [(("/a",), (), 1, 1), (("/a",), ("/db",), 1, 1), (("/b",), ("/db",), 1, 1), ((), ("/db",), 1, 0)])  # fmt: skip
        queue._follow_logs([])
        self.assertEqual((len(self.watches), self.watches[-1].stopped), (4, 1))
        self.assertIsNone(end())
        queue._follow_logs(["/c"])
        self.assertEqual(len(self.watches), 4)
        end = self.watch(queue)
        self.successResultOf(end())
        self.assertEqual((len(self.watches), self.watches[-1].stopped), (5, 1))
        self.watches[-1].told([b"all"])
        self.assertEqual(self.nudges, [])
        self.assertIsNone(end())

    def test_echo(self) -> None:
        """There are default times of the looks after a hook's nudge."""
        self.assertEqual(self.Queue().echo, (0.1, 0.2, 0.3, 0.5, 1.0))

    def test_nudges(self) -> None:
        """A nudge is for the jobs of the lines, or for all jobs; there is none for other lines. A spool's is for all jobs."""
        queue = self.Queue()
        queue._follow_logs(["/a"])
        self.watch(queue)
        for lines, expected in (((b"job 1", b"x", b"job 2"), ["1", "2"]), ((b"x",), None), ((b"x", b"all"), []), ((), [])):
            self.assertEqual(self.said(*lines), expected)


class RealTests(TestCase):
    """A real directory, watched by the real kernel."""

    def setUp(self) -> None:
        self.directory = Path(self.mktemp())
        self.directory.mkdir(parents=True)
        self.path = self.directory / "log"
        self.told: list[bytes] = []

    async def begin(self, *paths: Path, spools: Sequence[Path] = ()) -> None:
        """Follow these logs from their present end on."""
        began: list[bytes] = []
        self.spools = 0

        def told(lines: Sequence[bytes]) -> None:
            self.told.extend(lines)
            began.extend(lines)
            self.spools += not lines

        watch = LogWatch(reactor, [str(path) for path in paths], told, [str(path) for path in spools])
        watch.start()
        # The kernel's descriptor is closed a turn later.
        self.addCleanup(lambda: watch.stop().addCallback(lambda _: deferLater(reactor, 0.01)))  # type: ignore[arg-type]
        # What was there before its first look is passed over: it has begun when it tells of something.
        until = time.monotonic() + 5.0
        while not began and time.monotonic() < until:
            self.append(paths[0], ".\n")
            await deferLater(reactor, 0.01)  # type: ignore[arg-type]
        await self.until(lambda: began)
        await deferLater(reactor, 0.05)  # type: ignore[arg-type]
        self.told.clear()

    async def until(self, condition: Any, seconds: float = 5.0) -> None:
        until = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > until:
                self.fail(f"not within {seconds} s; told: {self.told}")
            await deferLater(reactor, 0.002)  # type: ignore[arg-type]

    def append(self, path: Path, text: str) -> None:
        with open(path, "a") as file:
            file.write(text)

    async def test_the_kernel_says_when(self) -> None:
        """Of ten lines, one each tenth of a second, most are told before the next read by the clock."""
        await self.begin(self.path)
        quick = 0
        for number in range(10):
            began = time.monotonic()
            self.append(self.path, f"{number}\n")
            await self.until(lambda number=number: len(self.told) == number + 1)
            quick += time.monotonic() - began < 0.1
        self.assertGreaterEqual(quick, 5)

    async def test_rotation_and_truncation(self) -> None:
        """No line is missed when the log is renamed and begun again, or truncated."""
        await self.begin(self.path)
        self.append(self.path, "before\n")
        os.rename(self.path, f"{self.path}.1")
        self.append(Path(f"{self.path}.1"), "late\n")
        self.append(self.path, "after\n")
        await self.until(lambda: self.told == [b"before", b"late", b"after"])
        self.path.write_text("")
        await deferLater(reactor, 0.05)  # type: ignore[arg-type]
        self.append(self.path, "anew\n")
        await self.until(lambda: self.told[-1:] == [b"anew"])

    async def test_a_spool(self) -> None:
        """A write to a spool is told; a spool that does not exist does no harm."""
        spool = self.directory / "db"
        spool.mkdir()
        await self.begin(self.path, spools=[self.directory / "none", spool])
        self.assertEqual(self.spools, 0)
        self.append(spool / "log.0000000001", "x\n")
        await self.until(lambda: self.spools)
        self.append(self.path, "one\n")
        await self.until(lambda: self.told == [b"one"])
