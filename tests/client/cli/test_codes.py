"""Jobs as exit codes, and as lines that people read."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from jobpush.core.model import Outcome
from jobpush_client import Met
from jobpush_client.cli import parser
from jobpush_client.cli.codes import duration, exit_code, printable, summary, worst
from tests.client.cli.jobs import job


class ExitCodeTests(SynchronousTestCase):
    """How a job's end becomes an exit status."""

    def test_of_jobs(self) -> None:
        """The job's own code or signal; a code of its own for each outcome that has none."""
        self.assertEqual(exit_code(job("COMPLETED", exit_code=0)), 0)
        self.assertEqual(exit_code(job("FAILED", exit_code=3)), 3)
        self.assertEqual(exit_code(job("FAILED", signal=9)), 137)
        self.assertEqual(exit_code(job("FAILED")), 229)
        self.assertEqual(exit_code(job("CANCELLED", signal=15)), 220)
        self.assertEqual(exit_code(job("RUNNING")), 0)
        self.assertEqual(exit_code(Met({"job": "slurm/1", "state": "TIMEOUT"})), 221)

    def test_every_outcome_has_one(self) -> None:
        """No outcome but COMPLETED is taken for a success, and no two are alike."""
        codes = {outcome: exit_code(job(outcome.value)) for outcome in Outcome}
        self.assertEqual([outcome for outcome, code in codes.items() if code == 0], [Outcome.COMPLETED])
        self.assertEqual(len(set(codes.values())), len(codes))
        for code in codes.values():
            self.assertTrue(code == 0 or str(code) in parser().epilog, code)  # type: ignore[operator]

    def test_of_several(self) -> None:
        """The highest; the same as of all."""
        self.assertEqual(worst([0, 3, 0]), 3)
        self.assertEqual(worst([]), 0)


class WordTests(SynchronousTestCase):
    """What is printed."""

    def test_summary(self) -> None:
        """The state, the exit code, how long, and why."""
        times = {"started_at": "2026-11-22T06:00:00.000Z", "ended_at": "2026-11-22T06:00:05.000Z"}
        self.assertEqual(summary(job("FAILED", exit_code=3, reason="NonZeroExitCode", **times)), "slurm/1 FAILED exit 3 after 5 s (NonZeroExitCode)")
        self.assertEqual(summary(job("COMPLETED", exit_code=0, **times)), "slurm/1 COMPLETED exit 0 after 5 s")
        self.assertEqual(summary(job("FAILED", signal=11)), "slurm/1 FAILED signal 11")
        self.assertEqual(summary(job("QUEUED", reason="Priority\x1b[31m")), "slurm/1 QUEUED (Priority\ufffd[31m)")

    def test_duration(self) -> None:
        """In the two largest units."""
        for seconds, text in ((0, "0 s"), (59.6, "1 min"), (200, "3 min 20 s"), (7500, "2 h 5 min"), (3 * 86400 + 4 * 3600, "3 d 4 h"), (-5, "0 s")):
            self.assertEqual(duration(seconds), text)

    def test_printable(self) -> None:
        """What a terminal would obey is taken out."""
        self.assertEqual(printable("a\x1b[2J\nb日本"), "a\ufffd[2J\ufffdb日本")
