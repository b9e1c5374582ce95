"""Each change as a line."""

from __future__ import annotations

import os
import time

from twisted.trial.unittest import SynchronousTestCase

from jobpush_client import ChangeEvent
from jobpush_client.cli.tail import line
from tests.client.cli.jobs import job


class LineTests(SynchronousTestCase):
    """``jobpush tail``."""

    def test_lines(self) -> None:
        """When, what it is now, whose and which; of a workflow how far it is."""
        self.patch(os, "environ", {**os.environ, "TZ": "UTC"})
        time.tzset()
        self.addCleanup(time.tzset)
        at = "2026-11-22T06:00:00.000Z"
        for fields, expected in [
            ({"job": job("RUNNING", user="kim", name="a\nb").fields}, "2026-11-22 06:00:00  slurm/1 RUNNING  kim  a\ufffdb"),
            ({"job": job("FAILED", exit_code=3).fields}, "2026-11-22 06:00:00  slurm/1 FAILED exit 3  -  -"),
            ({"workflow": {"name": "w7", "state": "RUNNING", "progress": 0.5}}, "2026-11-22 06:00:00  workflow w7 RUNNING 50%"),
        ]:  # fmt: skip
            self.assertEqual(line(ChangeEvent({"at": at, "cursor": "e-1", **fields})), expected)
