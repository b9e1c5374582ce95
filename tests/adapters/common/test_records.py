"""What an accounting record makes of a job."""

from __future__ import annotations

import attrs
from twisted.trial.unittest import SynchronousTestCase

from jobpush.core.model import Confidence, JobDescriptor, Outcome, Phase, ReasonCode
from jobpush.core.tasks import TaskSet
from jobpush_adapters.common.records import ended_by_record, is_same_user
from jobpush_adapters.sge.states import End


class RecordTests(SynchronousTestCase):
    """`ended_by_record`."""

    def test_every_field(self) -> None:
        """How it ended is the record's; what only a waiting or running job has is gone; the rest is as it was, or as the record says."""
        job = JobDescriptor(
            "c", "1", Phase.RUNNING, attempt=2, flags=("deleting",), reason="Priority", reason_code=ReasonCode.PRIORITY, name="n", user="kim",
            submitted_at=1.0, started_at=2.0, pending_tasks=TaskSet.of([1]), counts={"RUNNING": 1},
        )  # fmt: skip
        end = End(Outcome.FAILED, 3, 9, "why", ReasonCode.LIMIT)
        expected = attrs.evolve(
            job, phase=Phase.DONE, outcome=Outcome.FAILED, settled=True, exit_code=3, signal=9, reason="why", reason_code=ReasonCode.LIMIT, flags=(),
            confidence=Confidence.ACCOUNTING, pending_tasks=None, counts=None, ended_at=5.0,
        )  # fmt: skip
        self.assertEqual(attrs.asdict(ended_by_record(job, end, ended_at=5.0)), attrs.asdict(expected))

    def test_same_user(self) -> None:
        """A record of another user's job is not this one's; a number, or no name at all, says nothing."""
        job = JobDescriptor("c", "1", Phase.RUNNING, user="kim")
        told = {user: is_same_user(job, user) for user in ("kim", "robin", "", None, "1000")}
        self.assertEqual(told, {"kim": True, "robin": False, "": True, None: True, "1000": True})
        for unknown in (None, "1000"):
            self.assertTrue(is_same_user(attrs.evolve(job, user=unknown), "robin"), unknown)
