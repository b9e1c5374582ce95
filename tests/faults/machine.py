"""
What is done to the machine that the service runs on: its disk refuses, its clock is set, its descriptors are few.

Tested by ``tests/faults/test_machine.py``.
"""

from __future__ import annotations

import asyncio
import errno
import mmap
import os
import random
import resource
import shutil
import socket
import struct
import subprocess
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from pathlib import Path

from tests.faults.service import Service
from tests.faults.world import Window, World

SOURCE = Path(__file__).with_name("shim.c")

WRITES, SYNCS = 1, 2

#: Seconds within which the service says that it cannot commit, after a call has failed.
SAYS_S = 3.0

#: The same, that it can, when it can again: with the next look, which may have to wait until the jobs can be read.
SAYS_AGAIN_S = 10.0

#: Seconds by which the clock is set.
STEPS_S = (-3600, -60, -5, 5, 60, 3600)

#: Half-sent requests that are opened when there are few descriptors, and how many descriptors more than are open there may be.
HALF_SENT, MORE_FILES = 60, 25


class Machine:
    """
    What the service is started with so that its machine can be made to fail.

    :param directory: for a library and its control file. Where there is no C compiler, neither can calls be made to fail nor the
        clock be set.
    """

    def __init__(self, directory: Path) -> None:
        self._control_path = directory / "control"
        self._control_path.write_bytes(bytes(4096))
        with open(self._control_path, "r+b") as file:
            self._control = mmap.mmap(file.fileno(), 4096)
        self.shim = compiled(directory)

    @property
    def environment(self) -> Mapping[str, str]:
        """The variables that the service is started with."""
        return {"LD_PRELOAD": str(self.shim), "JOBPUSH_FAULTS_CONTROL": str(self._control_path)} if self.shim else {}

    def fail(self, calls: int, every: int, error: int) -> None:
        """
        From now on calls for the journal's files fail.

        :param calls: `WRITES`, `SYNCS` or both.
        :param every: every how manieth of them.
        :param error: errno; 0 writes half of what there is.
        """
        self._control[:20] = struct.pack("5i", calls, every, error, 0, 0)

    def mend(self) -> int:
        """No call fails any more; return how many did."""
        self._control[:4] = struct.pack("i", 0)
        return self.failed

    @property
    def failed(self) -> int:
        """How many calls failed since `fail`."""
        return int(struct.unpack("5i", self._control[:20])[4])

    def set_clock(self, seconds: int) -> None:
        """From now on the service's clock is so many seconds ahead of this host's."""
        self._control[20:24] = struct.pack("i", seconds)


def compiled(directory: Path) -> Path | None:
    """Return the library that makes calls fail, compiled in that directory; None if there is no C compiler."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        return None
    library = directory / "shim.so"
    subprocess.run([compiler, "-O2", "-Wall", "-shared", "-fPIC", "-o", library, SOURCE, "-ldl"], check=True)
    return library


class MachineFaults:
    """Each method is one fault; it returns when that is over."""

    def __init__(self, world: World, service: Service, machine: Machine, draw: random.Random) -> None:
        self.world = world
        self.service = service
        self.machine = machine
        self.draw = draw

    def by_name(self) -> dict[str, Callable[[], Awaitable[None]]]:
        """Those that can be done here."""
        found: dict[str, Callable[[], Awaitable[None]]] = {"few descriptors": self.few_descriptors}
        if self.machine.shim:
            found |= {
                "journal: disk full": lambda: self.fail_all(WRITES, errno.ENOSPC),
                "journal: syncs fail": lambda: self.fail_all(SYNCS, errno.EIO),
                "journal: n-th call fails": self.fail_some,
                "clock set": self.set_clock,
            }
        return found

    # -- the journal

    async def fail_all(self, calls: int, error: int) -> None:
        """All such calls fail for a while: the service says that it is not ready, then that it is."""
        window = self._failing()
        self.machine.fail(calls, 1, error)
        if await self._within(10.0, lambda: self.machine.failed > 0):
            if not await self._is_ready(False):
                self.world.violation("ready", f"the journal fails ({os.strerror(error)}), and /readyz says nothing of it")
            until = time.monotonic() + self.draw.uniform(0.5, 4.0) * self.world.pace
            while time.monotonic() < until:
                if await self._is_ready(True, 0.0):
                    self.world.violation("ready", f"the journal fails ({os.strerror(error)}), and /readyz says 200")
                await asyncio.sleep(0.2)
        await self._mended(window)

    async def fail_some(self) -> None:
        """Every so manieth write or sync fails, or writes a half, for a while."""
        window = self._failing()
        calls = self.draw.choice([WRITES, SYNCS])
        error = self.draw.choice([errno.ENOSPC, errno.EIO, 0] if calls == WRITES else [errno.EIO])
        self.machine.fail(calls, self.draw.randint(2, 9), error)
        await asyncio.sleep(self.draw.uniform(1.0, 5.0) * self.world.pace)
        await self._mended(window)

    def _failing(self) -> Window:
        window = Window.now()
        self.world.failing.append(window)
        return window

    async def _mended(self, window: Window) -> None:
        self.world.calls_failed += self.machine.mend()
        if not await self._is_ready(True, SAYS_AGAIN_S):
            self.world.violation("ready", "the journal can be written again, and /readyz does not say so")
        window.close()

    async def _is_ready(self, ready: bool, seconds: float = SAYS_S) -> bool:
        """Return whether the service says within that time that it can commit, or that it cannot."""

        async def says() -> bool:
            answer = await asyncio.to_thread(self.service.get, "/readyz", 10)
            others = [cause for cause in answer.json["causes"] if not cause.startswith("never seen")]  # as the jobs file is away
            return ready == (not others) and ready == ("journal" not in others) and (answer.status == 200) == (not answer.json["causes"])

        until = time.monotonic() + seconds
        while not await says():
            if time.monotonic() >= until:
                return False
            await asyncio.sleep(0.1)
        return True

    async def _within(self, seconds: float, holds: Callable[[], bool]) -> bool:
        until = time.monotonic() + seconds
        while not holds():
            if time.monotonic() > until:
                return False
            await asyncio.sleep(0.05)
        return True

    # -- the clock

    async def set_clock(self) -> None:
        """The service's clock is set, forward or back, and some time later set right."""
        self.machine.set_clock(self.draw.choice(STEPS_S))
        self.world.dates_are_of_looks = False
        await asyncio.sleep(self.draw.uniform(1.0, 6.0) * self.world.pace)
        self.machine.set_clock(0)
        # What was dated ahead of the clock stays so: dates are not compared with this host's clock any more.

    # -- descriptors

    async def few_descriptors(self) -> None:
        """The service may open hardly more files than it has, and somebody sends halves of requests; then it may again."""
        assert self.service.process is not None
        pid = self.service.process.pid
        before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        window = Window.now()
        self.world.crowded.append(window)
        most = max(map(int, os.listdir(f"/proc/{pid}/fd")))
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (most + MORE_FILES, before[1]))
        sockets = []
        try:
            for _ in range(HALF_SENT):
                one = socket.socket()
                sockets.append(one)
                one.settimeout(1.0)
                with suppress(OSError):
                    one.connect(("127.0.0.1", self.world.port))
                    one.sendall(b"GET /v1/jobs HTTP/1.1\r\nHost: x\r\n")
                await asyncio.sleep(0)
            await asyncio.sleep(self.draw.uniform(1.0, 4.0) * self.world.pace)
        finally:
            resource.prlimit(pid, resource.RLIMIT_NOFILE, before)
            for one in sockets:
                one.close()
        if not await self._is_ready(True, SAYS_AGAIN_S):
            self.world.violation("ready", "descriptors are there again, and /readyz does not say so")
        window.close()
