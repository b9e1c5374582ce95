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

    @given(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 12), st.integers(1, 5)), min_size=1, max_size=8))
    def test_parts(self, parts: list[tuple[int, int, int]]) -> None:
        """Ranges and steps in any order, over each other or side by side, are the set of their indices, in as few pairs as can be."""
        text = ",".join(f"{low}-{low + more}:{step}" if step > 1 else f"{low}-{low + more}" if more else f"{low}" for low, more, step in parts)
        expected = {index for low, more, step in parts for index in range(low, low + more + 1, step)}
        self.assertEqual(TaskSet.parse(text), TaskSet.of(expected))
        self.assertEqual(list(TaskSet.parse(text)), sorted(expected))

    def test_what_is_believed(self) -> None:
        """The highest index that a scheduler may have, and no higher; nothing is no index."""
        self.assertEqual(len(TaskSet.parse("0-4000001")), 4_000_002)
        self.assertEqual(list(TaskSet.parse("9", most=9)), [9])
        self.assertRaises(ValueError, TaskSet.parse, "10", most=9)
        self.assertRaises(ValueError, TaskSet.parse, "0-10", most=9)
        self.assertEqual((None in TaskSet.parse("0-3"), 3 in TaskSet.parse("0-3"), 4 in TaskSet.parse("0-3"), 2 in TaskSet()), (False, True, False, False))
        self.assertEqual((len(TaskSet()), str(TaskSet()), str(TaskSet.of([3, 1, 2, 3, 7]))), (0, "", "1-3,7"))
