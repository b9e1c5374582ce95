"""An answer's text, compared with the one before."""

from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from jobpush_adapters.common import texts
from jobpush_adapters.common.texts import Comparison, parts, rows_in

END = b";\n"
ROWS = st.lists(st.integers(1, 60).map(lambda number: b"%d " % number + b"x" * (number % 7)), max_size=60, unique=True)


def text_of(rows: list[bytes]) -> bytes:
    """As a scheduler would print them."""
    return b"".join(row + END for row in rows)


class PartsTests(SynchronousTestCase):
    """`parts` and `rows_in`."""

    def setUp(self) -> None:
        self.patch(texts, "PART", 20)

    @given(ROWS)
    def test_whole(self, rows: list[bytes]) -> None:
        """All rows, in order; parts end with a row and are about as long as they should be."""
        cut = list(parts(text_of(rows), END))
        self.assertEqual([row for part in cut for row in rows_in(part, END)], rows)
        self.assertTrue(all(20 < len(part) < 20 + 15 for part in cut[:-1]))

    def test_last_row_without_end(self) -> None:
        """It gets one: what comes after it next time is another row."""
        self.assertEqual(list(parts(b"a;\nb", END)), [b"a;\nb;\n"])
        self.assertEqual(list(parts(b"", END)), [])
        self.assertEqual(rows_in(b"a;\n;\n", END), [b"a", b""])


class ComparisonTests(SynchronousTestCase):
    """`Comparison`."""

    def setUp(self) -> None:
        self.patch(texts, "PART", 20)

    def compare(self, before: list[bytes], rows: list[bytes]) -> Comparison:
        """These rows with those before."""
        comparison = Comparison(before, END)
        for part in parts(text_of(rows), END):
            comparison.take(part)
        comparison.finish()
        return comparison

    @settings(max_examples=400)
    @given(ROWS, ROWS, st.data())
    def test_what_it_tells(self, old: list[bytes], other: list[bytes], data: st.DataObject) -> None:
        """The texts are the answer; what came and what left makes the one answer of the other."""
        begin, end = (data.draw(st.integers(0, len(old))) for _ in range(2))
        for rows in (old, other, old[:begin] + [row for row in other if row not in old] + old[end:], old[::-1]):
            rows = list(dict.fromkeys(rows))
            before = list(parts(text_of(old), END))
            comparison = self.compare(before, rows)
            self.assertEqual(b"".join(comparison.texts), text_of(rows))
            self.assertEqual(set(old).difference(comparison.left).union(comparison.came), set(rows))
            self.assertEqual(len(comparison.came), len(set(comparison.came)))
            self.assertEqual(self.compare(comparison.texts, rows).came, [], "and what it found serves for the next one")

    def test_nothing_changed(self) -> None:
        """The very parts of the answer before."""
        before = list(parts(text_of([b"%d" % number for number in range(1000)]), END))
        comparison = self.compare(before, [b"%d" % number for number in range(1000)])
        self.assertTrue(all(map(lambda one, other: one is other, comparison.texts, before)))
        self.assertEqual((comparison.came, comparison.left), ([], []))

    def test_little_is_looked_at(self) -> None:
        """Wherever rows come, go or change, however many, the rest of the answer is found again."""
        rows = [b"row %d" % number for number in range(5000)]
        before = list(parts(text_of(rows), END))
        for name, changed, most in [
            ("one changed", [*rows[:2000], b"row x", *rows[2001:]], 1),
            ("one longer", [*rows[:2000], b"row 2000 " + b"x" * 500, *rows[2001:]], 1),
            ("first gone", rows[1:], 0),
            ("many gone", [*rows[:500], *rows[3500:]], 0),
            ("many new", [*rows[:500], *(b"new %d" % number for number in range(3000)), *rows[500:]], 3000),
            ("new at the end", [*rows, *(b"new %d" % number for number in range(3000))], 3000),
            ("new at the beginning", [b"new", *rows], 1),
            ("here and there", [row for number, row in enumerate(rows) if number % 500], 0),
            ("all but nothing", rows[2500:2510], 0),
        ]:
            comparison = self.compare(before, changed)
            self.assertEqual(b"".join(comparison.texts), text_of(changed), name)
            self.assertEqual(len(comparison.came), most, name)
            self.assertEqual(len(comparison.left), len(set(rows) - set(changed)), name)

    def test_parts_do_not_crumble(self) -> None:
        """After a thousand answers of which each has changed somewhere, parts are about as long as they were."""
        self.patch(texts, "PART", 200)
        rows = [b"row %d" % number for number in range(500)]
        before = list(parts(text_of(rows), END))
        chance = random.Random(1)
        for number in range(1000):
            place = chance.randrange(len(rows))
            rows[place] = b"row %d %d" % (place, number)
            if number % 3 == 0:
                del rows[chance.randrange(len(rows))]
                rows.append(b"new %d" % number)
            before = self.compare(before, rows).texts
        self.assertEqual(b"".join(before), text_of(rows))
        self.assertLess(len(before), 2.5 * len(text_of(rows)) / 200)

    def test_a_row_twice(self) -> None:
        """A row that is there a second time has come."""
        rows = [b"row %d" % number for number in range(100)]
        before = list(parts(text_of(rows), END))
        for place in range(101):
            self.assertIn(b"row 50", self.compare(before, [*rows[:place], b"row 50", *rows[place:]]).came)
