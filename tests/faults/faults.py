"""What is done to the service, to its journal, and to the file of its jobs."""

from __future__ import annotations

import asyncio
import random
import signal
from collections.abc import Awaitable, Callable

from tests.faults.clients import NeverReads
from tests.faults.history import History
from tests.faults.machine import Machine, MachineFaults
from tests.faults.metrics import check_held
from tests.faults.service import Service
from tests.faults.world import Window, World


class Faults:
    """Each method is one fault; it returns when that is over."""

    def __init__(self, world: World, service: Service, history: History, draw: random.Random, machine: Machine) -> None:
        self.world = world
        self.service = service
        self.history = history
        self.draw = draw
        self.machine = MachineFaults(world, service, machine, random.Random(draw.random()))
        self.deaf: list[NeverReads] = []

    @property
    def of_process(self) -> dict[str, Callable[[], Awaitable[None]]]:
        """Those of the process, its journal and its connections."""
        return {
            "kill -9": self.kill,
            "SIGTERM": self.terminate,
            "SIGSTOP": self.stop,
            "-wal lost": self.lose_wal,
            "backup restored": self.restore,
            "never reads": self.never_read,
            **self.machine.by_name(),
        }

    @property
    def of_jobs(self) -> dict[str, Callable[[], Awaitable[None]]]:
        """Those of the jobs and their file."""
        return {
            "file missing": lambda: self.break_file("missing"),
            "file half": lambda: self.break_file("half"),
            "file unreadable": lambda: self.break_file("unreadable"),
            "file empty": lambda: self.break_file("empty"),
            "ids used again": self.reuse,
            "requeues": self.requeue,
            "crowd": self.crowd,
        }

    async def play(self, until: float) -> None:
        """Faults of both sorts, each sort in turns, with phases without any between, until that time of the loop's clock."""
        clock = asyncio.get_running_loop().time
        decks: list[list[str]] = [[], []]
        while clock() < until:
            ends = min(until, clock() + self.draw.uniform(20.0, 40.0))
            await asyncio.gather(self.storm(self.of_process, decks[0], ends), self.storm(self.of_jobs, decks[1], ends))
            await self.sleep(self.draw.uniform(5.0, 10.0))
            await check_held(self.service, self.world, len(self.deaf))
            self.world.calms += 1

    async def storm(self, faults: dict[str, Callable[[], Awaitable[None]]], deck: list[str], until: float) -> None:
        """Do all of these in a random order, again and again."""
        clock = asyncio.get_running_loop().time
        while clock() < until:
            if not deck:
                deck += sorted(faults)
                self.draw.shuffle(deck)
            await self.sleep(0.2, 1.0, self.draw.uniform(1.0, 5.0))
            name = deck.pop()
            await faults[name]()
            self.world.faults[name] += 1

    async def sleep(self, *seconds: float) -> None:
        """For one of these times; in a short run for a part of it."""
        await asyncio.sleep(self.draw.choice(seconds) * self.world.pace)

    # -- the process

    def going_down(self) -> Window:
        """Note that the service goes down."""
        window = Window.now()
        self.world.down.append(window)
        return window

    async def kill(self) -> None:
        """As a power cut."""
        window = self.going_down()
        await self.service.end(signal.SIGKILL)
        await self.pause()
        await self.service.up(window, self.world)

    async def terminate(self) -> None:
        """In order, and started again."""
        window = self.going_down()
        await self.service.end(signal.SIGTERM)
        await self.pause()
        await self.service.up(window, self.world)

    async def stop(self) -> None:
        """Stopped for a while, and continued."""
        window = Window.now()
        self.world.stopped.append(window)
        self.service.send(signal.SIGSTOP)
        await self.sleep(self.draw.uniform(0.5, 5.0))
        self.service.send(signal.SIGCONT)
        window.close()

    async def pause(self) -> None:
        """For a while, or not."""
        await self.sleep(0.0, self.draw.uniform(0.1, 2.0))

    # -- the journal

    async def lose_wal(self) -> None:
        """Killed, and the write-ahead log lost."""
        await self.replace(signal.SIGKILL, self.service.lose_wal)

    async def restore(self) -> None:
        """An earlier backup takes the journal's place."""
        if self.service.backup is None:
            await asyncio.to_thread(self.service.back_up)
            await self.sleep(self.draw.uniform(1.0, 3.0))
        await self.replace(self.draw.choice([signal.SIGKILL, signal.SIGTERM]), self.service.restore)
        self.service.backup = None

    async def replace(self, how: signal.Signals, work: Callable[[], None]) -> None:
        """Do that to the journal while the service is down; what the journal had is kept for the checker."""
        window = self.going_down()
        window.replaces = True
        await self.service.end(how)
        self.world.lost.append(await asyncio.to_thread(self.service.journal_events))
        await asyncio.to_thread(work)
        self.world.branch += 1
        await self.service.up(window, self.world)

    # -- the file

    async def break_file(self, how: str) -> None:
        """The file is broken for a while."""
        self.history.break_file(how)
        await self.sleep(0.3, self.draw.uniform(1.0, 6.0))
        self.history.mend_file()

    async def reuse(self) -> None:
        """Ids are given to other jobs."""
        self.history.reuse()

    async def requeue(self) -> None:
        """Jobs wait again."""
        self.history.requeue()

    async def crowd(self) -> None:
        """A thousand jobs appear, and vanish some time later."""
        self.history.crowd()
        await self.sleep(self.draw.uniform(0.5, 4.0))
        self.history.disperse()

    # -- clients

    async def never_read(self) -> None:
        """Some clients open streams and read nothing."""
        self.deaf += [NeverReads(self.world.port) for _ in range(5)]

    def hang_up(self) -> None:
        """Those clients go."""
        for client in self.deaf:
            client.close()
