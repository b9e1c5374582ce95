"""Names with wildcards."""

from __future__ import annotations

import time
from fnmatch import fnmatchcase

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from jobpush.core import patterns as module
from jobpush.core.patterns import MOST_BYTES, MOST_WILDCARDS, Patterns, patterns, wildcards

FEW = st.text("ab*?[]!-\n\\.é", max_size=8)


class PatternsTests(SynchronousTestCase):
    """`Patterns`."""

    @given(st.lists(FEW, max_size=4), FEW)
    def test_as_shells_have_them(self, texts: list[str], name: str) -> None:
        """One of them fits, or none does."""
        expected = any(fnmatchcase(name, pattern) for pattern in texts)
        for _ in range(2):
            self.assertEqual(patterns(tuple(texts)).fit(name), expected)

    def test_what_is_kept(self) -> None:
        """So many patterns of all filters, those that were used last; and of a long filter so many texts."""
        self.patch(module, "_KEPT_ONES", module._cache(200))
        long = [tuple(f"{number}*{which}" for number in range(90)) for which in range(4)]
        for texts in long:
            patterns(("a*",))
            self.assertIs(patterns(texts), patterns(texts))
        self.assertEqual([*module._KEPT_ONES], [long[2], ("a*",), long[3]])
        some = patterns(long[3])
        for number in range(1000):
            self.assertEqual(some.fit(f"{number}x{3 + number % 2}"), number % 2 == 0)
        self.assertFalse(some.fit("y" * 10_000))
        self.assertLessEqual(len(some._remembered), module._REMEMBERED)
        self.assertNotIn("y" * 10_000, some._remembered)

    def test_wildcards(self) -> None:
        """How many there are."""
        self.assertEqual([wildcards(text) for text in ("", "a-b", "*", "a***b", "a*b?c[de]*", "[")], [0, 0, 1, 1, 4, 1])

    def test_hostile(self) -> None:
        """The worst that is taken, against the longest that a job is called, takes no longer the more wildcards there are."""
        names = ["a" * 1000, "ab" * 500, "a" * 999 + "b", "b" * 1000]
        hostile = [
            "*a" * MOST_WILDCARDS + "c", "*" + "?" * (MOST_WILDCARDS - 1) + "c", "*" + "a" * (MOST_BYTES - 2) + "c", "*[ab]" * (MOST_WILDCARDS // 2) + "c",
            "*" + "a" * 90 + "*" + "a" * 90 + "c",
        ]  # fmt: skip
        for pattern in hostile:
            self.assertLessEqual((len(pattern), wildcards(pattern)), (MOST_BYTES + 1, MOST_WILDCARDS))
            began = time.process_time()
            for name in names * 5:
                self.assertFalse(Patterns((pattern,)).fit(name) and not fnmatchcase(name, pattern))
            # A backtracking match of these takes minutes; these twenty take milliseconds, compiling included.
            self.assertLess(time.process_time() - began, 2.0, pattern)
