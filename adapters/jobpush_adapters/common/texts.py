"""
An answer as text, compared with the answer before: with a hundred thousand jobs most of it is the same.

An answer is taken in parts of some kilobytes that end as rows end, and the text of the answer before is kept in such parts.
What is the same is found so by comparing memory: no row of it is cut out, and nothing that stands for it is touched (after a
command has been forked, the first touch of each page costs a page fault). Only where a part differs its rows are looked at.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property

#: Bytes of an answer that are taken together: in a longer text each search takes longer to begin.
PART = 20_000


def parts(text: bytes, end: bytes) -> Iterator[bytes]:
    """
    A text in parts that end with a row. Where the last row has no end, it gets one.

    :param end: what each row ends with.
    """
    place = 0
    while place < len(text):
        found = text.find(end, place + PART)
        until = found + len(end) if found >= 0 else len(text)
        part = text[place:until]
        yield part if part.endswith(end) else part + end
        place = until


def rows_in(part: bytes, end: bytes) -> list[bytes]:
    """The rows of such a part, without their ends."""
    rows = part.split(end)
    rows.pop()
    return rows


class Comparison:
    """
    One answer, compared with the one before.

    :param before: the parts of the answer before, in which no two rows are alike.
    :param end: what each row ends with.
    :ivar texts: this answer in parts; those that are as before are the same objects.
    :ivar came: rows that are not where they were, in order; one that has moved is in ``left`` too.
    :ivar left: rows that were before and are not there any more.
    """

    def __init__(self, before: Sequence[bytes], end: bytes) -> None:
        self.texts: list[bytes] = []
        self.came: list[bytes] = []
        self.left: list[bytes] = []
        self._before = before
        self._end = end
        #: How many of the parts before have been dealt with.
        self._passed = 0
        #: How many rows had come when this answer was last as before.
        self._since = 0
        #: What was taken and is not compared yet.
        self._rest = b""

    def take(self, part: bytes) -> None:
        """The answer goes on with this part."""
        text = self._rest + part if self._rest else part
        self._rest = text[self._compare(text, last=False) :]

    def finish(self) -> None:
        """The answer ends."""
        self._compare(self._rest, last=True)
        self._leave(len(self._before))

    def _compare(self, text: bytes, last: bool) -> int:
        """Compare as far as it can be told, to the end if nothing comes after this; where the rest begins."""
        place = 0
        while place < len(text):
            if self._passed < len(self._before):
                expected = self._before[self._passed]
                if text.startswith(expected, place):
                    self.texts.append(expected)
                    self._passed += 1
                    place += len(expected)
                    continue
                if len(text) - place < len(expected) and not last:
                    break
            place = self._differs(text, place)
        return place

    def _differs(self, text: bytes, place: int) -> int:
        """What follows here is not the part that is expected: row by row, to where a part before begins. Where that is."""
        rows = rows_in(text[place:], self._end)
        found = None
        for count, row in enumerate(rows):
            part = self._heads.get(row, -1)
            if part > self._passed or (part == self._passed and count > 0):
                found = part
                del rows[count:]
                break
        until = place + sum(map(len, rows)) + len(rows) * len(self._end)
        if rows:
            self.came.extend(rows)
            self._add(text[place:until])
        if found is not None:
            self._leave(found)
        return until

    def _add(self, text: bytes) -> None:
        """A new part; or, if it is small, more of the last one: of a part that has changed two may be left, again and again."""
        if self.texts and len(self.texts[-1]) + len(text) <= PART:
            text = self.texts.pop() + text
        self.texts.append(text)

    def _leave(self, until: int) -> None:
        """What has come since this answer was last as before stands in the place of the parts before, up to this one."""
        left = [row for part in self._before[self._passed : until] for row in rows_in(part, self._end)]
        came = self.came[self._since :]
        once = set(came)
        if len(once) == len(came):  # a row that is there twice now has come, wherever it was
            both = once.intersection(left)
            left = [row for row in left if row not in both]
            self.came[self._since :] = [row for row in came if row not in both]
        self.left.extend(left)
        self._passed, self._since = until, len(self.came)

    @cached_property
    def _heads(self) -> dict[bytes, int]:
        """The first row of each part before."""
        return {part[: part.index(self._end)]: number for number, part in enumerate(self._before)}
