"""What the scripted commands answer, as the Slurm adapter reads it; and what is found of endings."""

from __future__ import annotations

import random
import subprocess
import time
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from jobpush_adapters.slurm import accounting, queue, squeue
from tests.faults.slurm_checker import SlurmChecker, untold
from tests.faults.slurm_history import Ending, SlurmHistory, SlurmRow
from tests.faults.world import KNOWN_S, Json, Window, World

TOKEN = "Tabcdefghij"


class SlurmHistoryTests(SynchronousTestCase):
    """`SlurmHistory`."""

    def setUp(self) -> None:
        directory = Path(self.mktemp()).resolve()
        directory.mkdir()
        self.history = SlurmHistory(directory, random.Random(1))

    def run_command(self, name: str, *arguments: str) -> subprocess.CompletedProcess[bytes]:
        """One of the commands, to its end."""
        return subprocess.run([self.history.files.bin / name, *arguments], capture_output=True, timeout=20, check=False)

    def jobs(self, *arguments: str) -> dict[str, str]:
        """The states of the jobs that squeue lists, by id."""
        found = self.run_command("squeue", *squeue.squeue_arguments(TOKEN), *arguments)
        self.assertEqual((found.returncode, found.stderr), (0, b""))
        rows = b"".join(squeue.texts_of(found.stdout, TOKEN)).split(squeue.ROW_END)[:-1]
        jobs = [squeue.parse_row("slurm", squeue.framed(row), 0.0) for row in rows]
        return {job.id: job.state for job in jobs}

    def test_squeue(self) -> None:
        """What it says after many changes is what the history has; an array's waiting tasks are one row."""
        self.history.submit_array()
        for _ in range(30):
            self.history.step()
        listed = self.jobs()
        self.assertEqual({job: state for job, state in listed.items() if job in self.history.rows},
                         {job: row.state for job, row in self.history.rows.items()})  # fmt: skip
        self.assertLessEqual(listed.keys() - self.history.rows.keys(), self.history.arrays.keys())
        one = next(iter(self.history.rows))
        self.assertIn(one, self.jobs("-j", one))
        self.assertEqual(self.run_command("squeue", "-j", "77").returncode, 1)

    def test_sacct(self) -> None:
        """It has each end that is due, of the right submission, and tells it as the adapter understands it."""
        for _ in range(60):
            self.history.step()
        self.history.settle()
        known = {job: ending for job, ending in self.history.endings.items() if ending.since <= time.time()}
        self.assertGreater(len(known), 5)
        stdout = self.run_command("sacct", *queue.sacct_arguments(sorted(known))).stdout
        ends = {(r.job_id, r.submitted_at, r.outcome.value) for r in accounting.records(stdout) if r.outcome is not None}
        self.assertEqual({(job, float(e.submit), e.state) for job, e in known.items()} - ends, set())

    def test_commands_fail(self) -> None:
        """Each in its own way; nothing of it can be taken for a whole answer, but that of another cluster."""
        for how, status in (("crash", 134), ("killed", -9), ("half", 0), ("complaint", 0), ("garbage", 0)):
            self.history.break_command("squeue", how)
            found = self.run_command("squeue", *squeue.squeue_arguments(TOKEN))
            self.assertEqual(found.returncode, status, how)
            self.assertFalse(found.returncode == 0 and found.stdout.endswith(f"{TOKEN}r\n".encode()), how)
            self.history.mend_command("squeue")
        self.history.break_command("", "foreign")
        self.assertIn(b"= far\n", self.run_command("scontrol", "show", "config").stdout)
        self.assertEqual(set(self.jobs()), {"990001"})
        self.history.mend_command("")
        self.history.slurmdbd(away=True)
        self.assertEqual(self.run_command("sacct", "-j", "1").returncode, 1)
        self.assertEqual(accounting.waiting_records(self.run_command("sdiag").stdout), 5)

    def test_requeue_and_reuse(self) -> None:
        """A requeue counts a restart and has a later submission; another job by the same id has no restart."""
        row = next(iter(self.history.rows.values()))
        assert isinstance(row, SlurmRow)
        row.state, before = "RUNNING", row.submit
        self.history.requeue(1)
        self.assertEqual((row.state, row.restarts), ("QUEUED", 1))
        self.assertGreater(row.submit, before)
        self.history.reuse(len(self.history.rows))
        other = self.history.rows[row.id]
        assert isinstance(other, SlurmRow)
        self.assertEqual((other.restarts, other.submit > row.submit, other.raw), (0, True, row.raw))


class UntoldTests(SynchronousTestCase):
    """`untold`."""

    def test_endings(self) -> None:
        """An end that accounting has and that was told otherwise is found; one that it has not yet, or of another job, is not."""
        event: Json = {"job": {"id": "1", "state": "LOST", "submitted_at": "1970-01-01T00:00:50.000Z"}}
        for ending, found in (
            (Ending(50, "FAILED", 90.0), {"1": "LOST"}), (Ending(50, "FAILED", 110.0), {}), (Ending(51, "FAILED", 90.0), {}),
            (Ending(50, "LOST", 90.0), {}),
        ):  # fmt: skip
            self.assertEqual(untold({"1": ending}, [event], 100.0), found)


class SlurmCheckerTests(SynchronousTestCase):
    """`SlurmChecker`."""

    def setUp(self) -> None:
        directory = Path(self.mktemp()).resolve()
        directory.mkdir()
        self.now = time.time() - 100
        self.world = World(0)
        self.world.down = [self.window(-60, -50), self.window(0, 1)]
        self.checker = SlurmChecker(self.world, SlurmHistory(directory, random.Random(1)), [])

    def window(self, begin: float, end: float) -> Window:
        """A span of time."""
        return Window(0.0, 0.0, self.now + begin, self.now + end)

    def free(self) -> list[tuple[float, float]]:
        """In what of the 20 s after the start of the service it could look, in seconds."""
        return [(round(a - self.now, 3), round(b - self.now, 3)) for a, b in self.checker.free(self.now + 1, self.now + 21)]

    def test_before_it_knows(self) -> None:
        """Where the scheduler fails as the service starts, it may tell nothing, until a while after that."""
        self.assertEqual(self.free(), [(1, 21)])
        self.world.silent = [self.window(-1, 4)]
        self.assertEqual(self.free(), [(4 + KNOWN_S, 21)])

    def test_later(self) -> None:
        """Where it has answered first, that is no excuse; nor is what was over before the start."""
        self.world.silent = [self.window(2 + KNOWN_S, 12), self.window(-5, 0.5)]
        self.assertEqual(self.free(), [(1, 21)])
