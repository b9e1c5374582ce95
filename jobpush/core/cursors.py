"""Cursors, and the epochs of the journal whose events they count."""

from __future__ import annotations

import re
from bisect import bisect_right

import attrs


@attrs.frozen
class Cursor:
    """A place in the journal: after event ``seq``, as it was numbered in ``epoch``."""

    epoch: str
    seq: int

    def __str__(self) -> str:
        return f"{self.epoch}-{self.seq}"

    @classmethod
    def parse(cls, text: str) -> Cursor:
        """
        :raise ValueError: if it is not ``<epoch>-<seq>``.
        """
        found = re.fullmatch(r"([0-9A-Za-z]{1,64})-([0-9]{1,18})", text)
        if found is None:
            raise ValueError("expected a cursor, EPOCH-NUMBER, as an earlier answer gave it")
        return cls(found[1], int(found[2]))


class Epochs:
    """
    The epochs of a journal. Each opening begins a new one, which counts on from the last number of the one before.

    A number that was given out twice, because a file was restored or lost, has another epoch the second time: the cursors that
    were given out the first time are of an epoch that this journal does not know, or beyond the end of one that it knows.

    :param begun: the name of each and the first number that it can give, oldest first; at least one.
    """

    __slots__ = ("_firsts", "_names", "_places")

    def __init__(self, begun: list[tuple[str, int]]) -> None:
        self._names = [name for name, _ in begun]
        self._firsts = [first for _, first in begun]
        self._places = {name: place for place, name in enumerate(self._names)}

    @property
    def begun(self) -> list[tuple[str, int]]:
        """The name and the first number of each, oldest first."""
        return list(zip(self._names, self._firsts, strict=True))

    @property
    def current(self) -> str:
        """The name of the newest, in which events are numbered now."""
        return self._names[-1]

    @property
    def first_seq(self) -> int:
        """The number of the first event of the newest."""
        return self._firsts[-1]

    def cursor(self, seq: int) -> str:
        """Return the cursor after that event: of the epoch in which it was numbered, as far as it is known."""
        if seq >= self._firsts[-1]:
            return f"{self._names[-1]}-{seq}"
        return f"{self._names[max(0, bisect_right(self._firsts, seq) - 1)]}-{seq}"

    def knows(self, cursor: Cursor, last_seq: int) -> bool:
        """
        Return whether this journal has given out that cursor, or could have.

        :param last_seq: the number of the journal's last event.
        """
        place = self._places.get(cursor.epoch)
        if place is None:
            return False
        after = place + 1
        return cursor.seq <= (self._firsts[after] - 1 if after < len(self._firsts) else last_seq)
