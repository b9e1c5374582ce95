"""
The ways in which a job can go, the same for every scheduler: what tests against real ones share, and the table of what was
seen, ``docs/endings.md``.
"""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from jobpush_client.values import moment
from tests.service_process import ServiceProcess
from tests.slurm_cluster import wait_until

TABLE = Path(__file__).resolve().parent.parent / "docs" / "endings.md"

#: The endings of the table: name to what happens. Each scheduler's tests say how it is brought about there.
NAMES = {
    "success": "exits 0",
    "exit 3": "exits 3",
    "exit 255": "exits 255",
    "exit 137": "exits 137 (128 + 9) by itself",
    "signal": "its script is killed by SIGSEGV",
    "kill -9": "its script kills itself with SIGKILL",
    "at once": "ends at once",
    "cancel pending": "is deleted while it is held (PBS: queued)",
    "cancel waiting": "is deleted while it waits for its start time",
    "cancel running": "is deleted while it runs",
    "time-out": "runs past its time limit",
    "memory": "uses more memory than it asked for",
    "hold and release": "is held, then released",
    "suspend and resume": "is suspended, then resumed",
    "requeue": "is put back into the queue while it runs",
    "dependency": "depends on a job that runs, and runs after it",
    "bad output path": "cannot write its output",
    "bad work directory": "has no work directory",
    "array, one fails": "is an array of which one task exits 7",
    "array, cancelled": "is an array that is deleted while one task runs",
}

#: States that last a moment and may fall between two queries.
PASSING = frozenset({"STARTING", "FINISHING"})

QUEUED = "QUEUED"

#: A job that was started within so many seconds of its submission, as it is told in whole ones, may not be seen to wait.
AT_ONCE_S = 1

#: A script that runs long enough to be treated while it runs, after all the jobs before it were; it may be suspended.
LONG = "for second in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do sleep 1; done"


@attrs.frozen
class Doing:
    """A job in the middle of a test: where it runs and who watches it."""

    cluster: Any
    service: ServiceProcess
    queue: str
    job: str

    def shown(self, wait: float = 5) -> dict[str, Any]:
        """The job as jobpush tells it now; empty while it is unknown."""
        return self.service.job(self.queue, self.job, wait=wait).get("job") or {}

    def reaches(self, state: str, seconds: float = 30) -> None:
        """Until jobpush says that it is in this state."""
        try:
            wait_until(lambda: self.shown().get("state") == state, seconds)
        except TimeoutError:
            raise AssertionError(f"job {self.job} never was {state}, but {self.shown()}") from None


@attrs.frozen
class Ending:
    """
    A job that goes one way: how it is submitted and treated, and the states that a client is to see.

    States that pass within a moment (``passing``) may be seen or not, as may the waiting of a job that was started at once; all
    others must be seen, once each, in this order.
    """

    name: str
    states: list[str]
    options: tuple[str, ...] = ()
    script: str = "exit 0"
    passing: frozenset[str] = PASSING
    then: Callable[[Doing], None] = lambda doing: None
    final: dict[str, Any] = attrs.field(factory=dict)
    #: A second way in which it may be told where the scheduler's record cannot prove the first: a test of the record, and that way.
    unproved: tuple[Callable[[Mapping[str, Any]], bool], list[str], dict[str, Any]] | None = None

    def expected(self, job: Mapping[str, Any]) -> tuple[list[str], dict[str, Any]]:
        """The states and the last job's values that are right for what the scheduler recorded of this one."""
        if self.unproved is not None and self.unproved[0](job):
            return self.unproved[1], self.unproved[2]
        return self.states, self.final


def when(state: str, *command: str) -> Callable[[Doing], None]:
    """When jobpush says that the job is in this state: run a command on it."""

    def act(doing: Doing) -> None:
        doing.reaches(state)
        doing.cluster.command(*command, doing.job)

    return act


def submit_all(endings: Sequence[Ending], cluster: Any, service: ServiceProcess, queue: str) -> dict[str, str]:
    """All these jobs, submitted at once and treated one after another: name to id."""
    ids: dict[str, str] = {}
    for ending in endings:
        options = [re.sub(r"\{(.+?)\}", lambda found: ids[found[1]], option) for option in ending.options]
        ids[ending.name] = cluster.submit(*options, script=ending.script)
    for ending in endings:
        ending.then(Doing(cluster, service, queue, ids[ending.name]))
    return ids


def told(events: list[dict[str, Any]], passing: frozenset[str] = PASSING) -> list[str]:
    """The states of these events without repetitions (a change of the reason, say) and without what passes in a moment."""
    states: list[str] = []
    for event in events:
        state = event["job"]["state"]
        if state not in passing and (not states or states[-1] != state):
            states.append(state)
    return states


def waited_s(job: Mapping[str, Any]) -> float | None:
    """Seconds from a job's submission to its start, in the whole seconds that schedulers tell; None if it did not start."""
    started, submitted = moment(job["started_at"]), moment(job["submitted_at"])
    return None if started is None or submitted is None else (started - submitted).total_seconds()


def check_history(ending: Ending, doing: Doing, seconds: float = 150) -> dict[str, Any]:
    """The whole history of a job as a client sees it, with exit code and signal, no event twice; the job at its end."""
    answer = doing.service.job(doing.queue, doing.job, until="terminal", wait=seconds)
    job: dict[str, Any] = answer["job"]
    states, final = ending.expected(job)
    assert job["state"] == states[-1], answer
    assert job["settled"] is True
    # An array's tasks have histories of their own.
    events = [e for e in doing.service.events(job=f"{doing.queue}/{doing.job}") if e["job"]["id"] == job["id"]]
    seen = told(events, ending.passing)
    if (waited := waited_s(events[0]["job"])) is not None and waited <= AT_ONCE_S and [QUEUED, *seen] == states:
        seen = states
    assert seen == states, f"{seen} instead of {states}"
    for name, value in final.items():
        assert job[name] == value, (name, job)
    cursors = [event["cursor"] for event in events]
    assert len(set(cursors)) == len(cursors)
    assert [entry["state"] for entry in answer["history"]] == [event["job"]["state"] for event in events]
    before = None
    for event in events:
        assert (event["previous"] or {}).get("state") == before, "each event begins where the one before it ended"
        before = event["job"]["state"]
    return job


def cell(job: Mapping[str, Any]) -> str:
    """A job's end as the table shows it."""
    code = f" {job['exit_code']}" if job["exit_code"] is not None else ""
    signal = f" signal {job['signal']}" if job["signal"] is not None else ""
    return f"{job['state']}{code}{signal}"


def check_column(scheduler: str, cells: Mapping[str, str]) -> None:
    """
    Does the table say what was seen? A new row wants all schedulers' tests. With JOBPUSH_WRITE_DOCS set, what was seen is written into it instead.
    """
    text = TABLE.read_text()
    lines = text.splitlines()
    begin = next(number for number, line in enumerate(lines) if line.startswith("| "))
    table_lines = list(itertools.takewhile(lambda line: line.startswith("|"), lines[begin:]))  # the page has other tables below
    rows = [line.strip("| \n").split(" | ") for line in table_lines if line.startswith("| ")]
    place = rows[0].index(scheduler)
    if os.environ.get("JOBPUSH_WRITE_DOCS"):
        table = {row[0]: row for row in rows[1:]}
        body = []
        for name, what in NAMES.items():
            row = table.get(what, [what] + ["?"] * (len(rows[0]) - 1))
            row[place] = cells.get(name, "not tested")
            body.append("| " + " | ".join(row) + " |")
        end = begin + len(table_lines)
        TABLE.write_text("\n".join([*lines[: begin + 2], *body, *lines[end:]]) + "\n")
        return
    written = {row[0]: row[place] for row in rows[1:]}
    differ = [f"a job that {NAMES[name]}: {seen}, not {written[NAMES[name]]}" for name, seen in cells.items() if seen not in written[NAMES[name]].split(" or ")]
    assert not differ, differ
    assert cells.keys() == NAMES.keys()
