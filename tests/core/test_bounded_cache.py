"""A cache that is bounded by what its values take up."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from jobpush.core.bounded_cache import BoundedCache


class BoundedCacheTests(SynchronousTestCase):
    """`BoundedCache`."""

    @given(st.lists(st.integers(0, 12), max_size=60), st.integers(1, 40), st.none() | st.integers(1, 6))
    def test_as_if_all_were_counted(self, keys: list[int], most_size: int, most: int | None) -> None:
        """What is kept is the longest end of what was used last that fits; a value stays the same as long as it is kept."""
        made: list[int] = []
        cache: BoundedCache[int, list[int]] = BoundedCache(lambda key: [made.append(key) or key], lambda key, _: key, most_size, most)  # type: ignore[func-returns-value]
        expected: list[int] = []
        for key in keys:
            count = len(made)
            self.assertEqual(cache.get(key), [key])
            self.assertEqual(len(made) - count, key not in expected)
            expected = [*(other for other in expected if other != key), key]
            while len(expected) > 1 and len(made) > count and (sum(expected) > most_size or (most is not None and len(expected) > most)):
                del expected[0]
            self.assertEqual(([*cache], cache.size), (expected, sum(expected)))
