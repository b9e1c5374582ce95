"""A job and its history, as lines."""

from __future__ import annotations

import os
import time

from twisted.trial.unittest import SynchronousTestCase

from jobpush_client import Step
from jobpush_client.cli.show import describe, history
from tests.client.cli.jobs import job


class ShowTests(SynchronousTestCase):
    """``jobpush show``."""

    def setUp(self) -> None:
        self.patch(os, "environ", {**os.environ, "TZ": "UTC"})
        time.tzset()
        self.addCleanup(time.tzset)

    def test_job(self) -> None:
        """What is known of it, a line each; nothing is said of what is not."""
        self.assertEqual(describe(job("QUEUED", confidence="observed")), ["slurm/1 QUEUED"])
        full = job(
            "FAILED", exit_code=3, name="a\x1bb", user="kim", account="bio", queue="batch", nodes="n1", workdir="/w", comment="c", reason="why",
            submitted_at="2026-11-22T06:00:00Z", started_at="2026-11-22T06:01:00Z", ended_at="2026-11-22T06:01:05Z", time_limit_s=3600,
            counts={"FAILED": 2, "COMPLETED": 1}, confidence="accounting",
        )  # fmt: skip
        self.assertEqual(describe(full), [
            "slurm/1 FAILED exit 3 after 5 s (why)", "  name       a\ufffdb", "  user       kim", "  account    bio", "  queue      batch", "  nodes      n1",
            "  workdir    /w", "  comment    c", "  reason     why", "  submitted  2026-11-22 06:00:00", "  started    2026-11-22 06:01:00",
            "  ended      2026-11-22 06:01:05", "  limit      1 h", "  tasks      2 FAILED, 1 COMPLETED", "  known by   accounting",
        ])  # fmt: skip

    def test_history(self) -> None:
        """Each state, for how long, and how that is known."""
        steps = [Step({"state": state, "at": f"2026-11-22T06:00:{at}Z", "confidence": how})
                 for state, at, how in (("QUEUED", "00", "observed"), ("RUNNING", "05", "inferred"), ("COMPLETED", "25", "observed"))]  # fmt: skip
        self.assertEqual(history(steps), [
            "history", "  2026-11-22 06:00:00  QUEUED        for 5 s", "  2026-11-22 06:00:05  RUNNING       for 20 s  (inferred)", "  2026-11-22 06:00:25  COMPLETED   ",
        ])  # fmt: skip
        self.assertEqual(history([]), ["history"])
