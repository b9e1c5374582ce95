"""PBS's accounting log."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from jobpush.core.model import JobDescriptor, Phase
from jobpush_adapters.pbs import accounting as pbs_accounting
from tests.adapters.pbs.captures import CAPTURES
from tests.support import NOW


class LogTests(SynchronousTestCase):
    """The accounting log of a server without history."""

    def test_recorded(self) -> None:
        """Ends and deletions, of the submission that is meant."""
        directory = Path(self.mktemp())
        directory.mkdir()
        (directory / "20261122").write_bytes((CAPTURES / "log.accounting.by-record-type").read_bytes())
        self.assertTrue(pbs_accounting.readable(str(directory)))
        self.assertFalse(pbs_accounting.readable("/nonexistent"))
        since = 1795329600.0
        entries = pbs_accounting.find(str(directory), {"1.pbslab", "12.pbslab", "15.pbslab", "99.pbslab"}, since, since + 3600)
        self.assertNotIn("99.pbslab", entries)
        job = JobDescriptor("pbs", "1.pbslab", Phase.RUNNING, submitted_at=1795329614.0)
        ended = pbs_accounting.ended(job, entries["1.pbslab"], NOW)
        assert ended is not None
        self.assertEqual((ended.state, ended.exit_code, ended.started_at, ended.ended_at), ("FAILED", 3, 1795329614.0, 1795329618.0))
        other = JobDescriptor("pbs", "1.pbslab", Phase.RUNNING, submitted_at=1795320000.0)
        self.assertIsNone(pbs_accounting.ended(other, entries["1.pbslab"], NOW))
        deleted = pbs_accounting.ended(JobDescriptor("pbs", "15.pbslab", Phase.QUEUED), entries["15.pbslab"], NOW)
        self.assertEqual(deleted and deleted.state, "CANCELLED")
