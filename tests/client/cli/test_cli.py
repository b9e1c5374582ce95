"""The command: exit codes, words and lines; what it does to a server is in ``with_service``."""

from __future__ import annotations

import datetime
import subprocess
import sys
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from jobpush.core.model import Outcome, Phase
from jobpush_client import Job, Met
from jobpush_client.cli import main, parser
from jobpush_client.cli.codes import duration, exit_code, printable, summary, worst
from jobpush_client.cli.status import word
from jobpush_client.cli.submit import submitted
from jobpush_client.cli.watch import Board
from tests.service_process import twistd_environment


def job(state: str = "RUNNING", settled: bool = True, **fields: Any) -> Job:
    """A job in that state."""
    done = state in Outcome.__members__
    return Job({
        "cluster": "slurm", "id": "1", "state": state, "phase": "DONE" if done else state, "settled": done and settled,
        "outcome": state if done else None, "exit_code": None, "signal": None, "reason": None, **fields,
    })  # fmt: skip


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

    def test_engines(self) -> None:
        """An end that is not confirmed is not told to an engine that would believe it; what is unknown is no success."""
        snakemake = {phase.value: word(job(phase.value), "snakemake") for phase in Phase if phase is not Phase.DONE}
        self.assertEqual(set(snakemake.values()), {"running"})
        self.assertEqual(word(job("COMPLETED"), "snakemake"), "success")
        self.assertEqual(word(job("COMPLETED", settled=False), "snakemake"), "running")
        for outcome in Outcome:
            if outcome is not Outcome.COMPLETED:
                self.assertEqual(word(job(outcome.value), "snakemake"), "failed")
                self.assertEqual(word(job(outcome.value), "nextflow"), "ERROR")
        self.assertEqual([word(job(s), "nextflow") for s in ("QUEUED", "HELD", "RUNNING", "COMPLETED")], ["PENDING", "HOLD", "RUNNING", "DONE"])
        self.assertEqual(word(job("OUT_OF_MEMORY"), "plain"), "OUT_OF_MEMORY")


class SubmitTests(SynchronousTestCase):
    """The id in what a scheduler's command says."""

    def test_ids(self) -> None:
        """sbatch, Grid Engine's qsub, PBS's qsub, and what a site's wrapper says around it."""
        for said, job_id in (
            ("Submitted batch job 4711\n", "4711"),
            ("Submitted batch job 4711 on cluster beta\n", "4711"),
            ("4711\n", "4711"),
            ("4711;beta\n", "4711"),
            ('Your job 12 ("align") has been submitted\n', "12"),
            ('Your job-array 13.1-10:1 ("a (b) c") has been submitted\n', "13"),
            ("123.pbs1.example.org\n", "123.pbs1.example.org"),
            ("124[].pbs1\n", "124[].pbs1"),
            ("quota: 12 % used\nSubmitted batch job 9\nbye\n", "9"),
            ("no job today\n", None),
            ("", None),
        ):
            self.assertEqual(submitted(said), job_id, said)


class BoardTests(SynchronousTestCase):
    """The table of ``jobpush watch``."""

    def test_order_and_age(self) -> None:
        """Running before waiting before ended; what ended long ago goes."""
        def one(job_id: str, state: str, ended: str | None = None) -> Job:
            return Job({**job(state).fields, "id": job_id, "ended_at": ended})

        board = Board([one("1", "QUEUED"), one("2", "COMPLETED", "2026-11-22T06:00:00Z"), one("3", "FAILED", "2026-11-22T05:00:00Z")], 300)
        board.put(one("4", "RUNNING"))
        now = datetime.datetime(2026, 11, 22, 6, 1, tzinfo=datetime.timezone.utc)
        self.assertEqual([job.id for job in board.shown(now)], ["4", "1", "2"])
        board.replace([one("9", "HELD")])
        self.assertEqual([job.id for job in board.shown(now)], ["9"])


class CommandLineTests(SynchronousTestCase):
    """What is wrong is said, and by the exit status."""

    def run_it(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return run_python("-m", "jobpush_client.cli", *arguments)

    def test_usage(self) -> None:
        """Status 2, naming what was expected."""
        for arguments, text in (
            (["wait"], "ID"), (["wait", "1", "--timeout", "-3"], "--timeout"), (["wait", "1", "--any", "--all"], "not allowed"),
            (["status", "1", "--format", "x"], "snakemake"), (["frobnicate"], "frobnicate"),
        ):  # fmt: skip
            with self.assertRaises(SystemExit) as caught, _Quiet() as said:
                main(arguments)
            self.assertEqual(caught.exception.code, 2)
            self.assertIn(text, said.text())

    def test_unreachable(self) -> None:
        """Status 241 when patience is at its end; 2 where the address is none."""
        gone = self.run_it("wait", "1", "--url", "http://127.0.0.1:1", "--patience", "0.2")
        self.assertEqual(gone.returncode, 241)
        self.assertIn("cannot be reached", gone.stderr)
        wrong = self.run_it("wait", "1", "--url", "localhost:80")
        self.assertEqual((wrong.returncode, "expected http://HOST:PORT" in wrong.stderr), (2, True))

    def test_nothing_heavy_is_loaded(self) -> None:
        """The plain commands start without Twisted and without what draws tables."""
        script = "import sys; from jobpush_client.cli import wait, show, status, submit, tail; print(*sys.modules)"
        modules = run_python("-c", script).stdout.split()
        self.assertIn("jobpush_client.cli.wait", modules)
        self.assertFalse({"twisted", "treq", "rich", "klein", "shtab", "zope"} & set(modules))

    def test_completion(self) -> None:
        """A script for each shell that knows the subcommands."""
        for shell in ("bash", "zsh", "tcsh"):
            done = self.run_it("completion", shell)
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertIn("snakemake", done.stdout)


def run_python(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Python with this checkout."""
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, check=False, env=twistd_environment({}), timeout=60
    )


class _Quiet:
    """What argparse says, kept."""

    def __enter__(self) -> _Quiet:
        import io

        self._before, self._said = sys.stderr, io.StringIO()
        sys.stderr = self._said
        return self

    def text(self) -> str:
        return self._said.getvalue()

    def __exit__(self, *_: object) -> None:
        sys.stderr = self._before
