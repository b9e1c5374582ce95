"""What is done to the commands of a scripted Slurm, to its accounting and to its jobs."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable

from tests.faults.faults import Faults
from tests.faults.machine import Machine
from tests.faults.service import TIMEOUT_S, Service
from tests.faults.slurm_history import SlurmHistory
from tests.faults.world import Window, World

#: How a command fails: what the report calls it, which command ("": all), and what the command is told.
FAILS = {
    "squeue hangs": ("squeue", "hang"),
    "squeue crashes": ("squeue", "crash"),
    "squeue killed": ("squeue", "killed"),
    "squeue half": ("squeue", "half"),
    "squeue empty": ("squeue", "empty"),
    "squeue empty, complains": ("squeue", "complaint"),
    "squeue garbage": ("squeue", "garbage"),
    "another cluster's answers": ("", "foreign"),
    "all commands slow": ("", "slow"),
    "sacct hangs": ("sacct", "hang"),
    "sacct half": ("sacct", "half"),
    "sacct garbage": ("sacct", "garbage"),
    "scontrol crashes": ("scontrol", "crash"),
}


class SlurmFaults(Faults):
    """As `Faults`, with those of the commands in the place of those of the file."""

    def __init__(self, world: World, service: Service, history: SlurmHistory, draw: random.Random, machine: Machine) -> None:
        super().__init__(world, service, history, draw, machine)
        self.slurm = history

    @property
    def of_process(self) -> dict[str, Callable[[], Awaitable[None]]]:
        return {name: fault for name, fault in super().of_process.items() if name not in self.machine.by_name()}

    @property
    def of_jobs(self) -> dict[str, Callable[[], Awaitable[None]]]:
        fails = {name: (lambda which=which: self.fail(*which)) for name, which in FAILS.items()}
        return {
            **fails,
            "slurmdbd away": self.no_slurmdbd,
            "ids used again": self.reuse,
            "requeue storm": self.requeue_storm,
            "array": self.array,
            "crowd": self.crowd,
        }

    async def fail(self, name: str, how: str) -> None:
        """A command fails for a while."""
        window = Window.now()
        if name != "sacct":
            self.world.silent.append(window)
        self.slurm.break_command(name, how)
        await self.sleep(0.5, self.draw.uniform(1.0, 5.0))
        self.slurm.mend_command(name)
        window.close()
        if how in ("hang", "slow"):
            await asyncio.sleep(TIMEOUT_S + 1.0)
        self.slurm.answers()

    async def no_slurmdbd(self) -> None:
        """Accounting does not answer for a while."""
        self.slurm.slurmdbd(away=True)
        await self.sleep(self.draw.uniform(1.0, 6.0))
        self.slurm.slurmdbd(away=False)

    async def requeue_storm(self) -> None:
        """The same jobs are put back into the queue again and again."""
        for _ in range(self.draw.randint(3, 8)):
            self.slurm.requeue(10)
            await self.sleep(0.1, 0.4)

    async def array(self) -> None:
        """An array comes."""
        self.slurm.submit_array()
        self.slurm.write()
