"""Arrays and heterogeneous jobs as the sum of their parts."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from jobpush.core.aggregate import aggregate
from jobpush.core.model import (
    JobDescriptor,
    split_state,
)


class AggregateTests(SynchronousTestCase):
    """`aggregate`."""

    def part(self, index: int, state: str, **fields: object) -> JobDescriptor:
        phase, outcome = split_state(state)
        return JobDescriptor(
            cluster="c", id=f"7_{index}", phase=phase, outcome=outcome, settled=outcome is not None, parent="7",
            task_index=index, submitted_at=10.0, **fields,  # type: ignore[arg-type]
        )  # fmt: skip

    def test_phase_and_counts(self) -> None:
        """The whole runs while any part does, and between two parts; it is done when all are, with the worst outcome."""
        cases = [
            (["RUNNING", "QUEUED", "COMPLETED"], "RUNNING"), (["QUEUED", "HELD"], "QUEUED"), (["HELD", "HELD"], "HELD"),
            (["COMPLETED", "COMPLETED"], "COMPLETED"), (["COMPLETED", "FAILED", "CANCELLED"], "FAILED"),
            (["SUSPENDED", "QUEUED"], "SUSPENDED"), (["COMPLETED", "CANCELLED"], "CANCELLED"), (["LOST", "FAILED"], "LOST"),
            (["COMPLETED", "QUEUED"], "RUNNING"),
        ]  # fmt: skip
        for states, expected in cases:
            parts = [
                self.part(i, state, started_at=20.0 if state in ("RUNNING", "COMPLETED", "FAILED") else None)
                for i, state in enumerate(states)
            ]
            whole = aggregate("7", parts, None, None)
            self.assertEqual(whole.state, expected, states)
            self.assertEqual(sum((whole.counts or {}).values()), len(states))
            self.assertEqual(whole.id, "7")

    def test_exit_code_is_the_highest(self) -> None:
        """As Slurm's own derived exit code; only at the end."""
        parts = [self.part(0, "COMPLETED", exit_code=0), self.part(1, "FAILED", exit_code=3)]
        self.assertEqual(aggregate("7", parts, None, None).exit_code, 3)
        self.assertIsNone(aggregate("7", [*parts, self.part(2, "RUNNING")], None, None).exit_code)
