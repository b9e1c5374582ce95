"""The id in what a scheduler's command says."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from jobpush_client import ClientError
from jobpush_client.cli import parser
from jobpush_client.cli.submit import run, submitted


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

    def test_no_job(self) -> None:
        """A command that prints no job id is refused with its name and what was expected."""
        error = self.assertRaises(ClientError, run, parser().parse_args(["submit", "--", "true"]))
        self.assertEqual(str(error), "true printed no job id; expected a line such as 'Submitted batch job 4711'")
