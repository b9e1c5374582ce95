"""The table of jobpush watch."""

from __future__ import annotations

import datetime

from twisted.trial.unittest import SynchronousTestCase

from jobpush_client import Job
from jobpush_client.cli.watch import Board
from tests.client.cli.jobs import job


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
