"""Random histories of jobs of a scripted Slurm, and what its commands, and its accounting, said of them when."""

from __future__ import annotations

import os
import random
import sys
import time
from pathlib import Path

import attrs

from tests.faults.history import NEXT, History, Row, Version

#: The name that Slurm has for a state, where that is another one, and the reason of a job that waits.
NATIVE = {"QUEUED": ("PENDING", "Priority"), "HELD": ("PENDING", "JobHeldUser")}

#: What ``squeue`` and ``sacct`` give as the status of an end.
STATUS = {"FAILED": ("768", "3:0")}

COMMANDS = ("squeue", "sacct", "sdiag", "scontrol")


@attrs.define
class SlurmRow(Row):
    """
    A job as squeue has it.

    :ivar raw: its own number; ``id`` of an array's task is another.
    :ivar submit: when it was submitted, in whole seconds since the epoch.
    """

    raw: int = 0
    submit: int = 0
    start: int = 0
    end: int = 0
    restarts: int = 0

    @property
    def line(self) -> str:
        state, reason = NATIVE.get(self.state, (self.state, "None"))
        status = STATUS.get(self.state, ("0", "0:0"))[0]
        plain = [self.raw, self.id, state, status, "main", "n1" if self.start else "", self.submit, self.start or "N/A",
                 self.end or "N/A", "1:00:00", self.restarts, self.user]  # fmt: skip
        return "\1f".join(["|".join(map(str, plain)), reason, self.account, "/tmp", "(null)", self.name]) + "\1r"

    def record(self, state: str = "") -> str:
        """Its record in accounting."""
        name = {"CANCELLED": "CANCELLED by 1000"}.get(self.state, NATIVE.get(self.state, (self.state,))[0])
        code = STATUS.get(self.state, ("0", "0:0"))[1]
        fields = [self.id, state or name, code, self.submit, self.start or "Unknown", self.end or "Unknown", "main",
                  "n1" if self.start else "None assigned", "None", self.user]  # fmt: skip
        return "|".join(map(str, fields))


@attrs.frozen
class Ending:
    """How a job ended, in truth; ``since`` is when accounting had it, in seconds since the epoch, infinity if never."""

    submit: int
    state: str
    since: float


class SlurmFiles:
    """
    The commands and the files that they answer from.

    :param directory: gets ``bin`` with the commands.
    """

    def __init__(self, directory: Path) -> None:
        self.bin = directory / "bin"
        self.state = self.bin / "state"
        self.state.mkdir(parents=True)
        program = Path(__file__).with_name("slurm_commands.py").read_text(encoding="utf-8")
        for name in COMMANDS:
            (self.bin / name).write_text(f"#!{sys.executable} -IS\n{program}", encoding="utf-8")
            (self.bin / name).chmod(0o755)

    def put(self, name: str, text: str) -> None:
        """Replace a file at once; without a text there is none."""
        if not text:
            (self.state / name).unlink(missing_ok=True)
            return
        fresh = self.state / f"{name}.new"
        fresh.write_text(text, encoding="utf-8")
        os.replace(fresh, self.state / name)


class SlurmHistory(History):
    """
    As `History`, told by the scripted commands. Some jobs leave ``squeue`` in the moment in which they end: how they did is
    known from accounting alone, at once, seconds later, or never.

    :ivar endings: how the last job of each id ended, by the id.
    :ivar proved: each job that was successful: its id, and when it was submitted.
    :ivar arrays: the ids of arrays, with the tasks that have no row of their own yet.
    """

    cluster = "slurm"

    def __init__(self, directory: Path, draw: random.Random) -> None:
        self.files = SlurmFiles(directory)
        self.endings: dict[str, Ending] = {}
        self.proved: set[tuple[str, int]] = set()
        self.arrays: dict[str, SlurmRow] = {}
        self.late = self.never = self.vanished = 0
        self._tasks: dict[str, list[int]] = {}
        self._records: list[str] = []
        self._hidden: list[tuple[float, str]] = []
        self._told: set[tuple[str, str]] = set()
        self._away = False
        super().__init__(directory / "unused", draw)

    def submit(self, name: str = "align", state: str = "QUEUED") -> Row:
        row = super().submit(name, state)
        made = SlurmRow(**attrs.asdict(row), raw=int(row.id), submit=int(time.time()))
        self.rows[row.id] = made
        return made

    def submit_array(self) -> None:
        """An array of a few tasks, which wait in one row."""
        row = self.submit("array")
        del self.rows[row.id]
        assert isinstance(row, SlurmRow)
        self.arrays[row.id] = row
        self._tasks[row.id] = list(range(self._draw.randint(2, 6)))

    def step(self) -> None:
        for array in [array for array, tasks in self._tasks.items() if tasks and self._draw.random() < 0.3]:
            self._start_task(array)
        if self._draw.random() < 0.05 and sum(map(bool, self._tasks.values())) < 3:
            self.submit_array()
        before = {job: (row, row.state) for job, row in self.rows.items()}
        self._quiet(super().step)
        for job, (row, state) in before.items():
            assert isinstance(row, SlurmRow)
            if self.rows.get(job) is row and row.state != state:
                self._changed(row, state)
        running = [row for row in self.rows.values() if row.state == "RUNNING"]
        if running and self._draw.random() < 0.3:
            self._vanish(self._draw.choice(running))
        self.write()

    def _quiet(self, work: object) -> None:
        """Do that without writing: what it changed is not whole yet."""
        right, self.write = self.write, lambda: None  # type: ignore[method-assign]
        try:
            work()  # type: ignore[operator]
        finally:
            self.write = right  # type: ignore[method-assign]

    def _start_task(self, array: str) -> None:
        first, index = self.arrays[array], self._tasks[array].pop(0)
        self._next += 1
        row = attrs.evolve(first, id=f"{array}_{index}", raw=self._next, state="RUNNING", start=int(time.time()))
        self.rows[row.id] = row

    def _changed(self, row: SlurmRow, before: str) -> None:
        """A job is in another state: its times, its attempt and its record follow."""
        now = int(time.time())
        if row.state == "QUEUED" and before != "HELD":
            if before in NEXT:
                self._records.append(attrs.evolve(row, end=max(now, row.submit)).record("REQUEUED"))
            row.submit, row.restarts, row.start, row.end = max(now, row.submit + 1), row.restarts + 1, 0, 0
            self.endings.pop(row.id, None)
        elif row.state == "RUNNING" and not row.start:
            row.start = now
        elif row.state not in NEXT:
            row.end = max(now, row.submit)
            self._end(row)

    def _end(self, row: SlurmRow) -> None:
        """Accounting has the record of an end now, some seconds later, or never."""
        chance, since = self._draw.random(), time.time()
        if chance < 0.7:
            self._records.append(row.record())
        elif chance < 0.95:
            since += self._draw.uniform(1.0, 8.0)
            self._hidden.append((since, row.record()))
            self.late += 1
        else:
            since = float("inf")
            self.never += 1
        self.endings[row.id] = Ending(row.submit, row.state, since)
        if row.state == "COMPLETED":
            self.proved.add((row.id, row.submit))

    def _vanish(self, row: Row) -> None:
        assert isinstance(row, SlurmRow)
        row.state = self._draw.choice(["COMPLETED", "FAILED", "TIMEOUT"])
        self._changed(row, "RUNNING")
        if self.endings[row.id].since < float("inf"):
            self._told.add((row.id, row.state))
        self.vanished += 1
        del self.rows[row.id]

    def requeue(self, count: int = 5) -> None:
        before = {job: row.state for job, row in self.rows.items()}
        self._quiet(lambda: super(SlurmHistory, self).requeue(count))
        for job, row in self.rows.items():
            assert isinstance(row, SlurmRow)
            if row.state != before[job]:
                self._changed(row, before[job])
        self.write()

    def reuse(self, count: int = 5) -> None:
        before = dict(self.rows)
        self._quiet(lambda: super(SlurmHistory, self).reuse(count))
        for job, row in list(self.rows.items()):
            old = before[job]
            assert isinstance(old, SlurmRow)
            if row is not old:
                submit = max(int(time.time()), old.submit + 1)
                self.rows[job] = SlurmRow(**attrs.asdict(row), raw=old.raw, submit=submit)
                self.endings.pop(job, None)
        self.write()

    # -- what the commands say

    def write(self) -> None:
        """The commands answer with what is so now."""
        now = time.time()
        due = [record for since, record in self._hidden if since <= now]
        self._hidden = [one for one in self._hidden if one[0] > now]
        self._records += due
        rows = list(self.rows.values())
        text = "".join(row.line + "\n" for row in rows)
        for array, tasks in self._tasks.items():
            if tasks:
                waiting = f"{array}_[{','.join(map(str, tasks))}]"
                text += attrs.evolve(self.arrays[array], id=waiting).line + "\n"
        live = [row.record() for row in rows if isinstance(row, SlurmRow) and row.state in NEXT]
        behind = len(self._hidden) + 5 * self._away
        self.files.put("waiting", str(behind) if behind else "")
        self.files.put("sacct", "".join(record + "\n" for record in (*self._records, *live)))
        before = time.time()
        self.files.put("squeue", text)
        self._told.update((row.id, row.state) for row in rows)
        states = {row.id: row.state for row in rows}
        self.versions.append(Version(before, time.time(), None if self._broken else states))

    def break_command(self, name: str, how: str) -> None:
        """From now on a command fails in that way; all of them, if the name is empty."""
        self._broken = name in ("", "squeue")
        self.files.put(f"fault-{name}" if name else "fault", how)
        self.write()

    def mend_command(self, name: str) -> None:
        """The command answers again. Its failed answer may still be awaited: `answers` follows."""
        self.files.put(f"fault-{name}" if name else "fault", "")

    def answers(self) -> None:
        """From now on the command is expected to have answered."""
        self._broken = False
        self.write()

    def slurmdbd(self, away: bool) -> None:
        """Accounting is away, or is there again."""
        self._away = away
        self.files.put("away", "yes" if away else "")
        self.write()

    def crowd_of(self, count: int) -> list[str]:
        """So many waiting jobs appear at once, in a file that is written once; returns their ids."""
        first, submit = self._next + 1, int(time.time())
        self._next += count
        row = SlurmRow("1", "multitude-1", "kim", "bio", "QUEUED", "", submit=submit)
        lines = (attrs.evolve(row, id=str(job), raw=job).line for job in range(first, first + count))
        self.files.put("crowd", "\n".join(lines) + "\n")
        ids = [str(job) for job in range(first, first + count)]
        self._told.update((job, "QUEUED") for job in ids)
        return ids

    def settle(self) -> None:
        """From now on nothing fails, and accounting has all that it will ever have."""
        now = time.time()
        self._hidden = [(min(since, now), record) for since, record in self._hidden]
        self.endings = {job: e if e.since > 1e12 else attrs.evolve(e, since=min(e.since, now)) for job, e in self.endings.items()}
        self.write()

    def disperse_all(self) -> None:
        """They vanish at once."""
        self.files.put("crowd", "")

    def ever(self) -> set[tuple[str, str]]:
        return self._told
