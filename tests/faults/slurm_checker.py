"""What must be so, besides what `tests.faults.checker` checks, of jobs whose endings a scripted accounting knows."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from datetime import datetime

from tests.faults.checker import Checker
from tests.faults.service import Service
from tests.faults.slurm_history import Ending, SlurmHistory
from tests.faults.world import KNOWN_S, Json, World


def submitted(event: Json) -> int:
    """Return when the job of an event was submitted, in seconds since the epoch; 0 if it does not say so."""
    text = event["job"].get("submitted_at")
    return int(datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()) if text else 0


def untold(endings: dict[str, Ending], events: Sequence[Json], now: float) -> dict[str, str]:
    """
    Return the jobs that were told, whose end accounting has, and that were not told as they ended; by id, what was told last.

    :param now: seconds since the epoch.
    """
    last = {event["job"]["id"]: event for event in events}
    due = {job: ending for job, ending in endings.items() if ending.since <= now and job in last}
    return {
        job: last[job]["job"]["state"]
        for job, ending in due.items()
        if submitted(last[job]) == ending.submit and last[job]["job"]["state"] != ending.state
    }


class SlurmChecker(Checker):
    """As `Checker`; and every end is the true one."""

    def __init__(self, world: World, history: SlurmHistory, events: list[Json]) -> None:
        arrays = set(history.arrays)
        self.slurm = history
        super().__init__(world, history, events)
        self.arrays = arrays

    def away(self) -> Iterator[tuple[float, float]]:
        """
        As `Checker.away`; and a service does not know who answers, and tells nothing, where the scheduler, or ``scontrol``
        alone, has failed since its start. One that knows goes on while ``scontrol`` fails.
        """
        yield from super().away()
        for down in self.world.down:
            up = down.wall_end or time.time()
            for silent in self.world.silent:
                end = silent.wall_end or time.time()
                if silent.wall <= up + KNOWN_S and end >= up:
                    yield up, end + KNOWN_S

    def check(self, service: Service, until: float) -> None:
        super().check(service, until)
        for branch in self.branches:
            for event in branch.events:
                job = event["job"]
                if job["state"] != "COMPLETED" or job["id"] in self.arrays:
                    continue
                if (job["id"], submitted(event)) not in self.slurm.proved:
                    text = f"{job['id']} submitted at {submitted(event)}: {event['cursor']}: {json.dumps(job)}"
                    self.world.violation("success not proved", text)
        for job, state in untold(self.slurm.endings, self.branches[-1].events, time.time()).items():
            ending = self.slurm.endings[job]
            late = time.time() - ending.since
            self.world.violation("ending not told", f"{job} ended as {ending.state}, known for {late:.0f} s, was told {state}")
