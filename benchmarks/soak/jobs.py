"""The jobs that the clients ask for: some change in turn, some never, and some run for a while and end."""

from __future__ import annotations

import random
import time

from benchmarks.servers import JobpushServer

#: How many jobs change, one after another, and how many do not.
CHANGING, STEADY = 36, 4

#: Seconds for which the jobs of a barrier run, and for which they are listed after that.
RUNS_S, LISTED_S = 8.0, 60.0


def group_jobs(group: int) -> list[str]:
    """Return the ids of the jobs that a barrier waits for. They run and end together."""
    return [f"b{group}-{number}" for number in (1, 2, 3)]


class Jobs:
    """
    The jobs file of a server.

    :param server: jobpush on that file. It is told of each change, as by a scheduler's hook.
    :ivar states: the state of each job by its id.
    :ivar running: the last group of which the jobs run; a new one begins to run when it ends.
    """

    def __init__(self, server: JobpushServer) -> None:
        self.states = {str(number): "RUNNING" for number in range(1, CHANGING + STEADY + 1)}
        self.running = 0
        self._server = server
        self._began: dict[int, float] = {}
        self._last = 0
        self._begin_group()

    def draw(self) -> str:
        """Return the id of some job that does not end."""
        return str(random.randint(1, CHANGING + STEADY))

    def change(self) -> frozenset[str]:
        """Let the next job change, and a group end if it is its time; return the jobs that have changed or ended."""
        self._last = self._last % CHANGING + 1
        changed = {self._turn(str(self._last))}
        if time.monotonic() > self._began[self.running] + RUNS_S:
            changed.update(self._end_group())
            self._begin_group()
        self._forget()
        self.write()
        return frozenset(changed)

    def end_all(self) -> frozenset[str]:
        """Let every job that has not ended change or end at once; return these jobs."""
        changed = {self._turn(str(number)) for number in range(1, CHANGING + STEADY + 1)}
        changed.update(self._end_group())
        self.write()
        return frozenset(changed)

    def write(self) -> None:
        """Write the file, and tell the server to look at it."""
        self._server.write_jobs({"id": job, "state": state} for job, state in self.states.items())
        self._server.nudge()

    def _turn(self, job: str) -> str:
        self.states[job] = "SUSPENDED" if self.states[job] == "RUNNING" else "RUNNING"
        return job

    def _begin_group(self) -> None:
        self.running += 1
        self._began[self.running] = time.monotonic()
        self.states.update(dict.fromkeys(group_jobs(self.running), "RUNNING"))

    def _end_group(self) -> list[str]:
        jobs = group_jobs(self.running)
        self.states.update(dict.fromkeys(jobs, "COMPLETED"))
        return jobs

    def _forget(self) -> None:
        """List jobs no more that ended long ago."""
        for group in [group for group, began in self._began.items() if time.monotonic() > began + RUNS_S + LISTED_S]:
            del self._began[group]
            for job in group_jobs(group):
                del self.states[job]
