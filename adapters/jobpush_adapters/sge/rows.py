"""
The rows of one ``qstat``. A row is parsed again only if its bytes have changed.

Its rows are not whole jobs: an array has several, a range of tasks has one, and jobs need their details too. So they are not
read by `jobpush_adapters.common.incremental_rows`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import attrs

from jobpush.adapter.command import printable
from jobpush.core.model import JobDescriptor
from jobpush_adapters.sge.xml import Row, number_of, parse_row


@attrs.define(eq=False)
class ListedRow:
    """A row with the jobs that were made of it; ``place`` is its position among the pending rows of its array."""

    row: Row
    jobs: tuple[JobDescriptor, ...] | None = None
    place: int = -1


class QstatRows:
    """
    Parses rows. One whose bytes are known is not parsed again.

    :param known: the ``cache`` of the answer before.
    :ivar entries: the rows that were understood.
    :ivar new: those of them that were not in the answer before.
    :ivar rejected: why rows could not be understood.
    :ivar numbers: the job numbers of such rows, where they could be read.
    :ivar cache: what the rows were parsed as, by their bytes.
    """

    def __init__(self, known: dict[bytes, ListedRow | str]) -> None:
        self.entries: list[ListedRow] = []
        self.new: list[ListedRow] = []
        self.rejected: list[str] = []
        self.numbers: set[str] = set()
        self.cache: dict[bytes, ListedRow | str] = {}
        self._known = known

    def read(self, rows: Sequence[bytes]) -> Iterator[None]:
        """Read all rows; pauses now and then."""
        for count, raw in enumerate(rows):
            if count % 256 == 255:
                yield
            entry = self._known.get(raw)
            if entry is None:
                try:
                    entry = ListedRow(parse_row(raw))
                    self.new.append(entry)
                except ValueError as error:
                    entry = f"{printable(error.args[0])}: {printable(raw.decode('utf-8', 'replace'), 120)}"
            self.cache[raw] = entry
            if isinstance(entry, str):
                self.rejected.append(entry)
                number = number_of(raw)
                if number is not None:
                    self.numbers.add(number)
            else:
                self.entries.append(entry)
