"""
Incremental rows: an answer of which most rows are those of the answer before is read by its differences.

With a hundred thousand jobs that is the usual case. The text of the answer before is kept in parts of some kilobytes that end
as rows end. What is the same is found by comparing memory: no row of it is cut out, and no object that belongs to it is touched
(after a command has been forked, the first touch of each page costs a page fault). Only where a part differs, its rows are
compared, and only rows that are new are parsed. The snapshot says which jobs are new or changed (`Snapshot.fresh`), so that the
other jobs need not be compared either.

Used where a row is a whole job: Slurm, Torque, the file of the mock queue. Grid Engine's rows (`jobpush_adapters.sge.rows`)
are parts of jobs, and OpenPBS (`jobpush_adapters.pbs.openpbs`) compares by id what a job's attributes are asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import islice

import attrs

from jobpush.core.model import JobDescriptor, Snapshot
from jobpush_adapters.common.overlay import OverlayMapping

#: Bytes of an answer that are compared together: in a longer text each search takes longer to begin.
PART = 20_000

#: Parts that are compared, and rows that are parsed, before other work of the reactor's thread may be done.
PARTS, ROWS = 16, 128

#: Jobs that are copied before other work may be done.
COPIED = 2048

#: Rows that may be new at once; with more, all rows are gone through, which pauses more often.
MOST_ADDED = 20_000


@attrs.frozen(eq=False)
class _Answer:
    """
    What is kept of an answer. Each row's text is kept once.

    :ivar jobs: its jobs by id.
    :ivar texts: its text in parts, if each of its rows is a job of its own; else None.
    :ivar known: what its rows were parsed as, by their text, if ``texts`` is None.
    """

    jobs: dict[str, JobDescriptor] | OverlayMapping = attrs.field(factory=dict)
    texts: list[bytes] | None = None
    known: Mapping[bytes, JobDescriptor | str] = attrs.field(factory=dict)


class IncrementalRows:
    """
    Reads one answer after another, each by its differences from the one before.

    :param read: returns the job of a row, or the reason why the row is not understood. The result depends on the row alone.
    :param id_of: returns the id of the job of a row for which ``read`` has returned a job, without the cost of parsing it.
    :param doubtful: returns the ids that a row which is not understood may stand for.
    :param skip: returns whether a row says nothing, as a comment.
    :param end: what each row ends with.
    :ivar jobs: the jobs of the last answer, by id.
    :ivar fresh: the ids of those that are not as in the answer before; None where that is not known.
    :ivar gone: the ids of the answer before that are not in this one, where ``fresh`` is known.
    :ivar base: the jobs of the answer before, where ``fresh`` is known.
    :ivar rejected: why rows could not be understood, with the numbers of the rows.
    :ivar ids: the ids of such rows, where they could be read, and those that more than one row has.
    """

    def __init__(
        self,
        read: Callable[[bytes], JobDescriptor | str],
        id_of: Callable[[bytes], str],
        doubtful: Callable[[bytes], Iterable[str]],
        skip: Callable[[bytes], bool] = lambda row: False,
        end: bytes = b"\n",
    ) -> None:
        self._read = read
        self._id_of = id_of
        self._doubtful = doubtful
        self._skip = skip
        self._end = end
        self._set(_Answer())

    def _set(self, answer: _Answer) -> None:
        self._last = answer
        self.fresh: tuple[str, ...] | None = None
        self.gone: tuple[str, ...] = ()
        self.base: Mapping[str, JobDescriptor] | None = None
        self.rejected: list[tuple[int, str]] = []
        self.ids: set[str] = set()

    @property
    def jobs(self) -> dict[str, JobDescriptor] | OverlayMapping:
        return self._last.jobs

    def snapshot(self, began_at: float, ended_at: float, say: Callable[[int, str], str] = lambda number, why: why) -> Snapshot:
        """
        Return the last answer, to a query that began and ended then (seconds since the epoch).

        :param say: returns what is said of a row that is not understood, by its number and the reason.
        """
        return Snapshot(
            jobs=self.jobs,
            began_at=began_at,
            ended_at=ended_at,
            rejected=tuple(say(number, why) for number, why in self.rejected[:10]),
            rejected_count=len(self.rejected),
            rejected_ids=frozenset(self.ids),
            base=self.base,
            fresh=self.fresh,
            gone=self.gone,
        )

    def answer(self, answer: Iterable[bytes]) -> Iterator[None]:
        """
        Read an answer; pauses now and then. At its end the attributes are of this answer.

        :param answer: the text in parts that end with a row (see `parts`).
        """
        last = self._last
        comparison = Comparison(last.texts, self._end) if last.texts is not None else None
        texts: list[bytes] = []
        for count, part in enumerate(answer, 1):
            if comparison is None:
                texts.append(part)
            else:
                comparison.take(part)
            if count % PARTS == 0:
                yield
        if comparison is not None:
            comparison.finish()
            if (yield from self._take(last, comparison)):
                return
            texts = comparison.texts
        yield from self._take_all(last, texts)

    def _take(self, last: _Answer, comparison: Comparison) -> Generator[None, None, bool]:
        """
        Take the jobs of the last answer, without those whose rows were removed and with those that were added.

        :return: False, and nothing is taken, if all rows must be gone through: one that was added is not understood or has the
            id of another row, or another answer was read meanwhile.
        """
        added, removed = comparison.added, comparison.removed
        if len(added) > MOST_ADDED:
            return False
        added_once, removed_once = set(added), set(removed)
        # Another answer may have been read meanwhile, if this one was cancelled: it is not compared with what is known now.
        if len(added_once) != len(added) or last is not self._last:
            return False
        base, id_of = last.jobs, self._id_of
        gone = {id_of(row) for row in removed if row not in added_once}
        changed: dict[str, JobDescriptor] = {}
        for count, row in enumerate((row for row in added if row not in removed_once), 1):
            if count % ROWS == 0:
                yield
            job = "" if self._skip(row) else self._read(row)
            if isinstance(job, str) or job.id in changed or (job.id in base and job.id not in gone):
                return False
            changed[job.id] = job
        gone.difference_update(changed)
        jobs = base
        if changed or gone:
            jobs = OverlayMapping.of(base, changed, gone)
            if jobs.is_large:
                jobs = yield from _copied(jobs)
        if last is not self._last:
            return False
        self._set(_Answer(jobs, comparison.texts))
        self.fresh, self.gone, self.base = tuple(changed), tuple(gone), base
        return True

    def _take_all(self, last: _Answer, texts: list[bytes]) -> Iterator[None]:
        """Go through all rows. One whose text is known is not parsed again."""
        known = last.known if last.texts is None else (yield from self._by_row(last.texts, last.jobs))
        jobs: dict[str, JobDescriptor] = {}
        #: What the rows were parsed as; not needed as long as each of them is a job of its own.
        read: dict[bytes, JobDescriptor | str] | None = {} if last.known else None
        rejected: list[tuple[int, str]] = []
        ids: set[str] = set()
        number = 0
        for row in self._rows(texts):
            number += 1
            if number % ROWS == 0:
                yield
            job = None if self._skip(row) else known.get(row) or self._read(row)
            if read is None and (job is None or isinstance(job, str) or job.id in jobs):
                read = yield from self._by_row(texts, jobs, number - 1)
            if job is None:
                continue
            if read is not None:
                read[row] = job
            if isinstance(job, str):
                rejected.append((number, job))
                ids.update(self._doubtful(row))
            elif job.id in jobs or job.id in ids:
                # Nobody may speak for another's job: which of the two rows is the job's own cannot be told.
                jobs.pop(job.id, None)
                ids.add(job.id)
                rejected.append((number, f"two rows have the id {job.id}"))
            else:
                jobs[job.id] = job
        self._set(_Answer(jobs, texts) if len(jobs) == number else _Answer(jobs, None, read or {}))
        self.rejected, self.ids = rejected, ids

    def _by_row(
        self, texts: list[bytes], jobs: Mapping[str, JobDescriptor], most: int | None = None
    ) -> Generator[None, None, dict[bytes, JobDescriptor | str]]:
        """Return the jobs by their rows, of the first rows of these texts, of which each is a job of its own."""
        known: dict[bytes, JobDescriptor | str] = {}
        for count, row in enumerate(islice(self._rows(texts), most), 1):
            if count % COPIED == 0:
                yield
            known[row] = jobs[self._id_of(row)]
        return known

    def _rows(self, texts: list[bytes]) -> Iterator[bytes]:
        return (row for text in texts for row in rows_in(text, self._end))


def parts(text: bytes, end: bytes) -> Iterator[bytes]:
    """
    Return a text in parts that end with a row. Where the last row has no end, it gets one.

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
    """Return the rows of such a part, without their ends."""
    rows = part.split(end)
    rows.pop()
    return rows


class Comparison:
    """
    One answer, compared with the one before.

    :param before: the parts of the answer before, in which no two rows are alike.
    :param end: what each row ends with.
    :ivar texts: this answer in parts; those that are as before are the same objects.
    :ivar added: rows that are not where they were, in order; one that has moved is in ``removed`` too.
    :ivar removed: rows of the answer before that are not where they were.
    """

    def __init__(self, before: Sequence[bytes], end: bytes) -> None:
        self.texts: list[bytes] = []
        self.added: list[bytes] = []
        self.removed: list[bytes] = []
        self._before = before
        self._end = end
        #: The number of parts before that were found or replaced.
        self._passed = 0
        #: The number of rows that were added up to the last part that was found.
        self._since = 0
        #: What was taken and is not compared yet.
        self._rest = b""

    def take(self, part: bytes) -> None:
        """Compare the next part of the answer."""
        text = self._rest + part if self._rest else part
        self._rest = text[self._compare(text, last=False) :]

    def finish(self) -> None:
        """Compare what is left; the answer ends here."""
        self._compare(self._rest, last=True)
        self._replace(len(self._before))

    def _compare(self, text: bytes, last: bool) -> int:
        """Compare as far as possible before the next part is known, or to the end; return where the rest begins."""
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
        """Take the rows from here to where one of the parts before begins; return that place."""
        rows = rows_in(text[place:], self._end)
        found = None
        for count, row in enumerate(rows):
            part = self._first_rows.get(row, -1)
            if part > self._passed or (part == self._passed and count > 0):
                found = part
                del rows[count:]
                break
        until = place + sum(map(len, rows)) + len(rows) * len(self._end)
        if rows:
            self.added.extend(rows)
            self._add(text[place:until])
        if found is not None:
            self._replace(found)
        return until

    def _add(self, text: bytes) -> None:
        """Add a part, to the last one if both are small: a part that changes leaves two, again and again."""
        if self.texts and len(self.texts[-1]) + len(text) <= PART:
            text = self.texts.pop() + text
        self.texts.append(text)

    def _replace(self, until: int) -> None:
        """Take the parts before, up to this one, as replaced by the rows that were added since the last part that was found."""
        removed = [row for part in self._before[self._passed : until] for row in rows_in(part, self._end)]
        added = self.added[self._since :]
        once = set(added)
        if len(once) == len(added):  # a row that is there twice now is added, wherever it was
            both = once.intersection(removed)
            removed = [row for row in removed if row not in both]
            self.added[self._since :] = [row for row in added if row not in both]
        self.removed.extend(removed)
        self._passed, self._since = until, len(self.added)

    @cached_property
    def _first_rows(self) -> dict[bytes, int]:
        """The numbers of the parts before by their first rows."""
        return {part[: part.index(self._end)]: number for number, part in enumerate(self._before)}


def _copied(jobs: Mapping[str, JobDescriptor]) -> Generator[None, None, dict[str, JobDescriptor]]:
    """Return a dict of the jobs; pauses: copying a hundred thousand of them takes as long as all the rest."""
    copy: dict[str, JobDescriptor] = {}
    items = iter(jobs.items())
    while len(copy) < len(jobs):
        copy.update(islice(items, COPIED))
        yield
    return copy
