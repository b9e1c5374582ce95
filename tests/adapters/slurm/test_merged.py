"""Waiting tasks that squeue merges into one row, told apart by ``squeue -r``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from jobpush.adapter.command import CommandResult
from jobpush.adapter.interfaces import QueueError
from jobpush.core.model import JobDescriptor, Phase, Snapshot
from jobpush_adapters.slurm import merged
from jobpush_adapters.slurm import queue as slurm
from jobpush_adapters.slurm.merged import is_merged
from tests.adapters.slurm.rows import parse, row
from tests.adapters.slurm.test_queue import ScriptedCase, framed

WAITING = {"State": "PENDING", "StartTime": "N/A", "EndTime": "N/A", "NodeList": ""}


def waiting(job_id: str, reason: str, **fields: str) -> bytes:
    """The row of a job, a range or a task that waits for that reason."""
    return row(job_id, **{**WAITING, "Reason": reason, **fields})  # type: ignore[arg-type]


class RowTests(SynchronousTestCase):
    """Which rows are merged."""

    def test_merged(self) -> None:
        """A waiting range with two reasons; not one whose reason has a comma of its own, no task, no range that has ended."""
        for job_id, fields, expected in [
            ("2_[1-4]", {"Reason": "BeginTime,JobHeldAdmin"}, True), ("2_[1-4]", {"Reason": "BeginTime"}, False),
            ("2_[1-4]", {"Reason": "ReqNodeNotAvail, May be reserved for other job"}, False), ("2_1", {"Reason": "BeginTime,JobHeldAdmin"}, False),
            ("2_[1-4]", {"Reason": "BeginTime,JobHeldAdmin", "State": "CANCELLED"}, False),
        ]:  # fmt: skip
            self.assertEqual(is_merged(parse(job_id, **{**WAITING, **fields})), expected, (job_id, fields))


class MergedTests(ScriptedCase):
    """A queue that lists merged ranges."""

    def setUp(self) -> None:
        super().setUp()
        self.patch(slurm, "new_token", lambda: "Tabcdefghij")
        self.rows: list[bytes] = [waiting("2_[1-4]", "BeginTime,JobHeldAdmin"), row("9")]
        self.tasks: dict[str, list[bytes]] = {"2": [*(waiting(f"2_{n}", "BeginTime") for n in (1, 2, 3)), waiting("2_4", "JobHeldAdmin", JobID="4")]}
        self.answers["squeue"] = self.squeue

    def squeue(self, argv: Sequence[str]) -> Any:
        """The list, or the tasks of one array."""
        if "-r" not in argv:
            return framed(*self.rows)
        self.assertEqual(list(argv[1:3]), ["-r", "-j"])
        return framed(*self.tasks[argv[3]])

    def look(self) -> Snapshot:
        """What is listed now."""
        self.commands.calls.clear()
        found: Snapshot = self.result(self.queue.snapshot())
        return found

    def shown(self) -> dict[str, tuple[str, str | None, str | None]]:
        """The waiting jobs: state, reason and pending tasks."""
        jobs = self.look().jobs.values()
        return {job.id: (job.state, job.reason, str(job.pending_tasks) if job.pending_tasks is not None else None) for job in jobs if not job.nodes}

    @property
    def asked(self) -> list[str]:
        """The arrays that were asked for in the last look."""
        return [call.split(" ")[3] for call in self.commands.calls if " -r -j " in call]

    def test_one_is_held(self) -> None:
        """It has a row of its own; the others are as most of them are."""
        self.assertEqual(self.shown(), {"2": ("QUEUED", "BeginTime", "1-3"), "2_4": ("HELD", "JobHeldAdmin", None)})
        self.assertEqual(self.asked, ["2"])
        self.assertEqual((self.look().queries, self.asked), (1, []))
        self.clock.advance(merged.AGAIN_S)
        self.assertEqual((self.look().queries, self.asked), (2, ["2"]))

    def test_most_are_held(self) -> None:
        """Then the range is."""
        self.tasks["2"] = [waiting("2_1", "BeginTime"), *(waiting(f"2_{n}", "JobHeldUser") for n in (2, 3, 4))]
        self.assertEqual(self.shown(), {"2": ("HELD", "JobHeldUser", "2-4"), "2_1": ("QUEUED", "BeginTime", None)})

    def test_one_was_put_back(self) -> None:
        """It waits for the same; its attempt is its own."""
        self.rows[0] = waiting("2_[1-3]", "BeginTime,Priority")
        self.tasks["2"] = [waiting("2_1", "Priority"), waiting("2_2", "Priority", RestartCnt="1"), waiting("2_3", "Priority")]
        jobs = self.look().jobs
        self.assertEqual((jobs["2_2"].attempt, jobs["2"].attempt, str(jobs["2"].pending_tasks)), (1, 0, "1,3"))

    def test_again_and_again(self) -> None:
        """A row that stays is asked for every ten seconds, as another task may have been held; what has not changed is the same object."""
        first = self.look()
        for _ in range(3):
            self.clock.advance(3)
            again = self.look()
            self.assertEqual(self.asked, [])
            self.assertTrue(all(again.jobs[job_id] is job for job_id, job in first.jobs.items()))
        self.tasks["2"][0] = waiting("2_1", "JobHeldAdmin", JobID="5")
        self.clock.advance(2)
        later = self.look()
        self.assertEqual((self.asked, later.jobs["2_1"].state, str(later.jobs["2"].pending_tasks)), (["2"], "HELD", "2-3"))
        self.assertIs(later.jobs["2_4"], first.jobs["2_4"])

    def test_tasks_begin(self) -> None:
        """A row that has changed is asked for; until that is done the tasks that waited otherwise are as they were."""
        self.look()
        arrays = [str(number) for number in range(10, 10 + merged.MOST_AT_ONCE)]
        for array in arrays:
            self.rows.append(waiting(f"{array}_[1-2]", "BeginTime,JobHeldUser"))
            self.tasks[array] = [waiting(f"{array}_1", "BeginTime"), waiting(f"{array}_2", "JobHeldUser")]
        self.rows[0] = waiting("2_[2-4]", "BeginTime,JobHeldAdmin")
        del self.tasks["2"][0]
        shown = self.shown()
        self.assertEqual(self.asked, arrays, "those first that were never asked for")
        self.assertEqual((shown["2"], shown["2_4"]), (("QUEUED", "BeginTime", "2-3"), ("HELD", "JobHeldAdmin", None)))
        self.shown()
        self.assertEqual(self.asked, ["2"])

    def test_not_asked_for_yet(self) -> None:
        """A range says no more than that its tasks wait."""
        for number in range(10, 11 + merged.MOST_AT_ONCE):
            self.rows.append(waiting(f"{number}_[1-2]", "JobHeldUser,Priority"))
            self.tasks[str(number)] = [waiting(f"{number}_1", "Priority"), waiting(f"{number}_2", "JobHeldUser")]
        jobs = self.look().jobs
        left = [job for job in jobs.values() if job.reason == "JobHeldUser,Priority"]
        self.assertEqual([(job.state, job.reason_code, len(job.pending_tasks or ())) for job in left], [("QUEUED", None, 2)] * 2)

    def test_over(self) -> None:
        """When the row has one reason again, or is gone, nothing is left."""
        self.look()
        self.rows[0] = waiting("2_[1-4]", "BeginTime")
        self.assertEqual(self.shown(), {"2": ("QUEUED", "BeginTime", "1-4")})
        self.assertEqual(self.asked, [])
        self.rows[0] = waiting("2_[1-4]", "BeginTime,JobHeldAdmin")
        self.look()
        del self.rows[0]
        self.assertEqual(self.shown(), {})

    def test_gone_meanwhile(self) -> None:
        """An array that has ended between the two questions is told as the list had it."""
        self.answers["squeue"] = lambda argv: framed(*self.rows) if "-r" not in argv else CommandResult(1, b"", b"Invalid job id specified\n")
        self.assertEqual(self.shown(), {"2": ("QUEUED", "BeginTime,JobHeldAdmin", "1-4")})

    def test_a_failure(self) -> None:
        """Fails the query: what is served stays."""

        def fails(argv: Sequence[str]) -> Any:
            if "-r" in argv:
                raise QueueError("squeue did not answer")
            return framed(*self.rows)

        self.answers["squeue"] = fails
        answer = self.queue.snapshot()
        self.clock.advance(0)
        self.failureResultOf(answer, QueueError)

    def test_a_task_with_a_row(self) -> None:
        """What the list says of a task goes before."""
        self.rows.append(row("2_4"))
        jobs = self.look().jobs
        self.assertEqual((jobs["2_4"].state, jobs["2"].phase), ("RUNNING", Phase.QUEUED))
        self.assertIsInstance(jobs["2"], JobDescriptor)
