"""Sets of array indices."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

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
