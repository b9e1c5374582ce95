"""Values: states, task sets, cursors, wholes made of parts."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from jobpush.core.aggregate import aggregate
from jobpush.core.model import (
    STATES,
    Cursor,
    JobDescriptor,
    Outcome,
    Phase,
    split_state,
)
from jobpush.core.tasks import TaskSet

INDICES = st.frozensets(st.integers(0, 60), max_size=40)


class TaskSetTests(SynchronousTestCase):
    """`TaskSet`."""

    def test_slurm_notation(self) -> None:
        """What ``squeue`` prints."""
        for text, indices in {
            "0-9": range(10), "2-9%2": range(2, 10), "2-3,6-9": (2, 3, 6, 7, 8, 9), "7": (7,), "0-20:10": (0, 10, 20), "5,1": (1, 5),
        }.items():  # fmt: skip
            self.assertEqual(list(TaskSet.parse(text)), sorted(indices), text)

    def test_refuses(self) -> None:
        """Anything else."""
        for text in ("", "a", "1-", "-1", "3-1", "1..2", "1,,2", "1-99999999", "0-9:0", "4000002", "1,2..."):
            self.assertRaises(ValueError, TaskSet.parse, text)

    def test_a_huge_array_is_small(self) -> None:
        """A million tasks are one pair."""
        tasks = TaskSet.parse("0-999999%50")
        self.assertEqual((len(tasks), tasks.ranges, str(tasks)), (1_000_000, ((0, 999_999),), "0-999999"))

    @given(INDICES, INDICES)
    def test_set_algebra(self, a: frozenset[int], b: frozenset[int]) -> None:
        """It behaves as a set of its indices, and its text reads back as itself."""
        left, right = TaskSet.of(a), TaskSet.of(b)
        self.assertEqual(set(left.minus(right)), a - b)
        self.assertEqual(len(left), len(a))
        self.assertEqual([i for i in range(61) if i in left], sorted(a))
        if a:
            self.assertEqual(TaskSet.parse(str(left)), left)


class StateTests(SynchronousTestCase):
    """Flat states, phases, outcomes."""

    def test_flat_states(self) -> None:
        """Each stands for a phase, or for DONE and an outcome, and back."""
        for state in STATES:
            phase, outcome = split_state(state)
            job = JobDescriptor(cluster="c", id="1", phase=phase, outcome=outcome)
            self.assertEqual(job.state, state)
            self.assertEqual(job.done, outcome is not None)
        self.assertNotIn("DONE", STATES)
        self.assertRaises(ValueError, split_state, "DONE")

    def test_no_outcome_before_the_end(self) -> None:
        """A job has an outcome exactly if it is done."""
        for phase, outcome in ((Phase.RUNNING, Outcome.COMPLETED), (Phase.DONE, None)):
            self.assertRaises(ValueError, JobDescriptor, cluster="c", id="1", phase=phase, outcome=outcome)

    def test_uid(self) -> None:
        """Ids recur; with the time of submission they do not."""
        job = JobDescriptor(cluster="c", id="1", phase=Phase.QUEUED, submitted_at=1795328900.4)
        self.assertEqual(job.uid, "c/1@1795328900")


class CursorTests(SynchronousTestCase):
    """`Cursor`."""

    @given(st.from_regex(r"[0-9a-f]{1,16}", fullmatch=True), st.integers(0, 10**17))
    def test_round_trip(self, epoch: str, seq: int) -> None:
        """Its text reads back as itself."""
        self.assertEqual(Cursor.parse(str(Cursor(epoch, seq))), Cursor(epoch, seq))

    @given(st.text())
    def test_anything(self, text: str) -> None:
        """Other texts are refused with a ValueError, and nothing else."""
        try:
            self.assertEqual(str(Cursor.parse(text)).partition("-")[0], text.partition("-")[0])
        except ValueError:
            pass


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
