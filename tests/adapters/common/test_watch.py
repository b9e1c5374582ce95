"""Watching logs: what is appended is told at once, over rotation and truncation; which lines are about jobs."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from jobpush_adapters.common.watch import LogWatch


class WatchTests(TestCase):
    """A real directory."""

    def setUp(self) -> None:
        self.directory = Path(self.mktemp())
        self.directory.mkdir(parents=True)
        self.path = self.directory / "log"
        self.told: list[bytes] = []

    async def begin(self, *paths: Path) -> LogWatch:
        watch = LogWatch(reactor, [str(path) for path in paths], self.told.extend)
        watch.start()
        self.addCleanup(self.end, watch)
        assert watch._reading is not None
        await self.until(lambda: watch._reading is None)
        return watch

    def end(self, watch: LogWatch) -> Deferred[Any]:
        """The kernel's descriptor is closed a turn later."""
        ended = watch.stop()
        return ended.addCallback(lambda _: deferLater(reactor, 0.01))  # type: ignore[arg-type]

    async def until(self, condition: Any, seconds: float = 5.0) -> None:
        until = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > until:
                self.fail(f"not within {seconds} s; told: {self.told}")
            await deferLater(reactor, 0.002)  # type: ignore[arg-type]

    def append(self, path: Path, text: str) -> None:
        with open(path, "a") as file:
            file.write(text)

    async def test_appended_lines(self) -> None:
        """What is there at the start is passed over; what is appended is told, whole lines only."""
        self.append(self.path, "old\n")
        await self.begin(self.path)
        self.append(self.path, "one\ntw")
        await self.until(lambda: self.told == [b"one"])
        self.append(self.path, "o\n")
        await self.until(lambda: self.told == [b"one", b"two"])

    async def test_the_kernel_says_when(self) -> None:
        """Without waiting for the next look: of ten lines, one a tenth of a second, most are told at once."""
        self.append(self.path, "")
        await self.begin(self.path)
        quick = 0
        for number in range(10):
            began = time.monotonic()
            self.append(self.path, f"{number}\n")
            await self.until(lambda number=number: len(self.told) == number + 1)
            quick += time.monotonic() - began < 0.1
        self.assertGreaterEqual(quick, 5)

    async def test_rotation_and_truncation(self) -> None:
        """Nothing is missed when the log is renamed and begun anew, or cut to nothing."""
        self.append(self.path, "old\n")
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

    async def test_daily_logs(self) -> None:
        """In a directory of logs that are called after the date the last one is followed, and the next when it comes."""
        self.append(self.directory / "20261122", "old\n")
        await self.begin(self.directory)
        self.append(self.directory / "20261122", "today\n")
        await self.until(lambda: self.told == [b"today"])
        self.append(self.directory / "20261122", "last\n")
        self.append(self.directory / "20261123", "first\n")
        self.append(self.directory / "notes", "nothing\n")
        await self.until(lambda: self.told == [b"today", b"last", b"first"])

    async def test_a_log_that_comes_later(self) -> None:
        """It may not be there yet, nor its directory's watch be of use: the look every second sees it."""
        await self.begin(self.path)
        self.append(self.path, "first\n")
        self.append(self.path, "second\n")
        await self.until(lambda: self.told[-1:] == [b"second"])

    async def test_a_log_that_cannot_be_read(self) -> None:
        """Is said once, and ends nothing."""
        other = self.directory / "other"
        self.path.mkdir()
        self.append(other, "")
        os.rmdir(self.path)
        watch = await self.begin(other, self.path)
        self.path.mkdir()
        self.append(other, "x\n")
        await self.until(lambda: watch._complaint)
        self.path.rmdir()
        self.append(other, "y\n")
        await self.until(lambda: self.told[-1:] == [b"y"])


    async def test_a_spool(self) -> None:
        """That something is written there is told, and no more; one that is not there hinders nothing."""
        spool = self.directory / "db"
        spool.mkdir()
        touched = 0

        def told(lines: Sequence[bytes]) -> None:
            nonlocal touched
            self.told.extend(lines)
            touched += not lines

        watch = LogWatch(reactor, [str(self.path)], told, [str(self.directory / "none"), str(spool)])
        watch.start()
        self.addCleanup(self.end, watch)
        await self.until(lambda: watch._reading is None)
        self.assertEqual(touched, 0)
        self.append(spool / "log.0000000001", "x\n")
        await self.until(lambda: touched)
        self.append(self.path, "one\n")
        await self.until(lambda: self.told == [b"one"])
