"""Random histories of jobs, written to the file of the mock queue; and what stood in that file when."""

from __future__ import annotations

import json
import os
import random
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import attrs

from tests.service_process import write_jobs

USERS = (("kim", "bio"), ("ada", "cfd"), ("lee", "ml"), ("ines", "climate"))

#: What a job may become next.
NEXT = {
    "QUEUED": ("RUNNING", "RUNNING", "HELD", "CANCELLED"),
    "HELD": ("QUEUED",),
    "RUNNING": ("COMPLETED", "COMPLETED", "FAILED", "TIMEOUT", "SUSPENDED", "QUEUED"),
    "SUSPENDED": ("RUNNING",),
}

#: How many jobs are listed at most, without a crowd.
LISTED = 40


@attrs.define
class Row:
    """A job as the file has it."""

    id: str
    name: str
    user: str
    account: str
    state: str
    submitted_at: str

    @property
    def line(self) -> str:
        """Its line in the file."""
        return json.dumps(attrs.asdict(self))


@attrs.frozen
class Version:
    """
    The file from a time on.

    :ivar before: seconds since the epoch, when it was certainly not there yet.
    :ivar at: the same, when it certainly was.
    :ivar states: by id; None while no job can be read in it.
    """

    before: float
    at: float
    states: Mapping[str, str] | None


@attrs.frozen
class Stood:
    """A state that stood in the file from a time on, until another."""

    id: str
    state: str
    begin: float
    end: float


def submitted() -> str:
    """Return this moment as a time of submission."""
    now = time.time()
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now)) + f".{int(now % 1 * 1000):03d}Z"


class History:
    """
    The jobs, and the file that they are in.

    :param path: of the file.
    :cvar cluster: the name of the queue.
    """

    cluster = "mock"

    def __init__(self, path: Path, draw: random.Random) -> None:
        self.path = path
        self.rows: dict[str, Row] = {}
        self.versions: list[Version] = []
        self.requeued = self.reused = 0
        self._draw = draw
        self._next = 100
        self._broken = False
        for _ in range(12):
            self.submit()
        self.write()

    def submit(self, name: str = "align", state: str = "QUEUED") -> Row:
        """A new job."""
        self._next += 1
        user, account = self._draw.choice(USERS)
        row = Row(str(self._next), f"{name}-{self._draw.randint(1, 5)}", user, account, state, submitted())
        self.rows[row.id] = row
        return row

    def step(self) -> None:
        """Some jobs change, one comes or goes."""
        for row in self._draw.sample(list(self.rows.values()), min(len(self.rows), self._draw.randint(1, 4))):
            if row.state in NEXT:
                before, row.state = row.state, self._draw.choice(NEXT[row.state])
                self.requeued += before == "RUNNING" and row.state == "QUEUED"
        ended = [row for row in self.rows.values() if row.state not in NEXT]
        if self._draw.random() < 0.5 or len(ended) == len(self.rows):
            self.submit()
        if ended and (self._draw.random() < 0.2 or len(self.rows) > LISTED):
            del self.rows[self._draw.choice(ended).id]
        self.write()

    def requeue(self, count: int = 5) -> None:
        """Jobs that run or have ended wait again."""
        some = [row for row in self.rows.values() if row.state not in ("QUEUED", "HELD")]
        for row in self._draw.sample(some, min(count, len(some))):
            row.state = "QUEUED"
            self.requeued += 1
        self.write()

    def reuse(self, count: int = 5) -> None:
        """Other jobs, of other users, by the ids of these."""
        for row in self._draw.sample(list(self.rows.values()), min(count, len(self.rows))):
            user, account = self._draw.choice([one for one in USERS if one[0] != row.user])
            self.rows[row.id] = Row(row.id, "another-1", user, account, "QUEUED", submitted())
            self.reused += 1
        self.write()

    def crowd(self, count: int = 1000) -> None:
        """So many jobs appear at once."""
        for _ in range(count):
            self.submit("crowd")
        self.write()

    def disperse(self) -> None:
        """All jobs of crowds vanish at once."""
        self.rows = {row.id: row for row in self.rows.values() if not row.name.startswith("crowd")}
        self.write()

    # -- the file

    def write(self) -> None:
        """Replace the file by what is so now, unless it is broken."""
        if not self._broken:
            self._put("".join(row.line + "\n" for row in self.rows.values()), list(self.rows.values()))

    def _put(self, text: str, rows: list[Row]) -> None:
        states, before = {row.id: row.state for row in rows}, time.time()
        write_jobs(self.path, text)
        self.versions.append(Version(before, time.time(), states))

    def break_file(self, how: str) -> None:
        """From now on the file is "missing", "half", "unreadable" or "empty", whatever happens, until it is mended."""
        self._broken = True
        if how == "half":
            rows = list(self.rows.values())[: len(self.rows) // 2 + 1]
            self._put("".join(row.line + "\n" for row in rows)[: -len(rows[-1].line) // 2], rows[:-1])
        elif how == "empty":
            self._put("", [])
        else:
            before = time.time()
            self.path.unlink()
            if how == "unreadable":  # by root as well
                self.path.mkdir()
            self.versions.append(Version(before, time.time(), None))

    def mend_file(self) -> None:
        """The file is there again, with what is so now."""
        self._broken = False
        if self.path.is_dir():
            os.rmdir(self.path)
        self.write()

    # -- what is known of it

    def stood(self, least: float, until: float) -> Iterator[Stood]:
        """
        All states that stood in the file without a break.

        :param least: for at least so many seconds.
        """
        since: dict[str, tuple[str, float]] = {}
        for version in [*self.versions, Version(until, until, None)]:
            states = version.states or {}
            for job_id, (state, begin) in list(since.items()):
                if states.get(job_id) != state:
                    del since[job_id]
                    if version.before - begin >= least:
                        yield Stood(job_id, state, begin, version.before)
            for job_id, state in states.items():
                since.setdefault(job_id, (state, version.at))

    def ever(self) -> set[tuple[str, str]]:
        """Return each id with each state that it had in the file."""
        return {item for version in self.versions for item in (version.states or {}).items()}
