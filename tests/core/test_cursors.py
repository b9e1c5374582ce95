"""Cursors and the epochs of a journal."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from jobpush.core.cursors import Cursor, Epochs


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


class EpochsTests(SynchronousTestCase):
    """`Epochs`: a counts 1 to 10, b 11 to 20, c none, d from 21 on."""

    epochs = Epochs([("a", 1), ("b", 11), ("c", 21), ("d", 21)])

    def test_cursor(self) -> None:
        """Each number belongs to the epoch in which it was given out; what is older than all, to the oldest."""
        cursors = [self.epochs.cursor(seq) for seq in (0, 1, 10, 11, 20, 21, 99)]
        self.assertEqual(cursors, ["a-0", "a-1", "a-10", "b-11", "b-20", "d-21", "d-99"])
        self.assertEqual((self.epochs.current, self.epochs.first_seq), ("d", 21))

    def test_knows(self) -> None:
        """A cursor is known up to its epoch's last number."""
        known = [name for name in ("a-0", "a-10", "a-11", "b-5", "b-20", "b-21", "c-20", "c-21", "d-20", "d-25", "d-26", "e-1")
                 if self.epochs.knows(Cursor.parse(name), 25)]  # fmt: skip
        self.assertEqual(known, ["a-0", "a-10", "b-5", "b-20", "c-20", "d-20", "d-25"])

    @given(st.lists(st.integers(0, 5), min_size=1, max_size=6))
    def test_what_is_given_out_is_known(self, lengths: list[int]) -> None:
        """Every cursor that is given out is known, then and after any number of openings."""
        begun, last, given_out = [], 0, set()
        for place, length in enumerate(lengths):
            begun.append((f"e{place}", last + 1))
            epochs = Epochs(list(begun))
            last += length
            given_out.update(epochs.cursor(seq) for seq in range(last + 1))
            self.assertTrue(all(epochs.knows(Cursor.parse(cursor), last) for cursor in given_out))
