"""Workflows and their members as JSON."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from jobpush.core import wire
from jobpush.core.workflow import WorkflowMember
from tests.core.wire.samples import FULL


class MemberTests(SynchronousTestCase):
    """A workflow's jobs. The workflow itself is tested beside its events, in test_events.py."""

    def test_members(self) -> None:
        """As the protocol shows them; only an array has counts."""
        times = {"submitted_at": "1970-01-01T00:00:05.000Z", "started_at": "1970-01-01T00:00:06.250Z", "ended_at": "1970-01-01T00:00:07.500Z"}
        self.assertEqual(
            wire.member_fields(("c", "7_1"), WorkflowMember.of(FULL)),
            {"job": "c/7_1", "name": "naïve 🚀\n", "state": "FAILED", "exit_code": 3, **times, "counts": {"FAILED": 1}},
        )
        self.assertEqual(
            wire.member_fields(("c", "1"), WorkflowMember()),
            {"job": "c/1", "name": None, "state": "UNKNOWN", "exit_code": None, **dict.fromkeys(times)},
        )

    def test_keys(self) -> None:
        """The cluster stands before the first slash."""
        self.assertEqual([wire.key_of(text) for text in ("c/1", "c/x/y", "w")], [("c", "1"), ("c", "x/y"), ("w", "")])
