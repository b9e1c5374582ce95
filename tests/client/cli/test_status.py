"""One word for workflow engines."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from jobpush.core.model import Outcome, Phase
from jobpush_client.cli.status import word
from tests.client.cli.jobs import job


class WordTests(SynchronousTestCase):
    """The state, as that engine calls it."""

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
