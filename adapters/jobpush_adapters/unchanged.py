"""
Rows that are as they were the last time: with a hundred thousand jobs, most of an answer is.

An answer's rows are compared with those of the answer before, some at a time and in their order, and only where they differ
they are looked at one by one. What is told of the answer is not only which jobs there are, but also which of them are new or
changed (`Snapshot.fresh`), so that who compares jobs need not look at the others again.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from itertools import islice

from jobpush.model import JobDescriptor, Snapshot

#: Rows that are compared at once, and how many times that is done before others may have their turn.
PIECE = 128
PIECES = 16

#: Bytes of an answer that are taken apart together.
SEARCHED = 20_000

#: Rows that may have come at once; with more, all are gone through, which has more pauses.
MOST_CAME = 20_000

#: Rows that may have come or gone between two pieces, and the place is still found.
NEAR = 4 * PIECE


def parts(text: bytes) -> Iterator[bytes]:
    """
    A text in parts that end with a line: to take megabytes apart at once would keep others waiting, and in a longer text each
    search takes longer to begin.
    """
    place = 0
    while place < len(text):
        until = text.find(b"\n", place + SEARCHED) + 1 or len(text)
        yield text[place:until]
        place = until


def lines_of(part: bytes) -> list[bytes]:
    """The lines of such a part; the last one of a text may have no end."""
    lines = part.split(b"\n")
    if not lines[-1]:
        lines.pop()
    return lines


class RowReader:
    """
    Reads one answer after another.

    :param read: a row as a job, or the reason why it is none; it must depend on nothing but the row.
    :param doubtful: the ids that a row which is none may stand for.
    :param skip: is this row no row?
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
        doubtful: Callable[[bytes], Iterable[str]],
        skip: Callable[[bytes], bool] = lambda row: False,
    ) -> None:
        self._read = read
        self._doubtful = doubtful
        self._skip = skip
        self._rows: list[bytes] = []
        self._known: dict[bytes, JobDescriptor | str] = {}
        #: Does each of ``_rows`` stand for a job of its own?
        self._clean = False
        self.jobs: dict[str, JobDescriptor] = {}
        self._forget()

    def _forget(self) -> None:
        self.fresh: tuple[str, ...] | None = None
        self.gone: tuple[str, ...] = ()
        self.base: Mapping[str, JobDescriptor] | None = None
        self.rejected: list[tuple[int, str]] = []
        self.ids: set[str] = set()

    def snapshot(
        self, began_at: float, ended_at: float, say: Callable[[int, str], str] = lambda number, why: why
    ) -> Snapshot:
        """
        The last answer, to a query that began and ended then.

        :param say: what to say of a row that could not be understood: its number, and why.
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

    def answer(self, answer: Iterable[Sequence[bytes]]) -> Iterator[None]:
        """Read an answer, its rows some at a time; pauses now and then. At its end the attributes are of this answer."""
        rows: list[bytes] = []
        came: list[bytes] = []
        left: list[bytes] = []
        before, place, clean = self._rows, 0, self._clean
        for count, piece in enumerate(answer, 1):
            if clean:
                same = before[place : place + len(piece)]
                if same == piece:
                    place += len(piece)
                    piece = same  # not a second copy of each row, to be freed in one go with the answer before
                else:
                    end = _after(before, piece, place)
                    came.extend(piece)
                    left.extend(before[place:end])
                    place = end
            rows.extend(piece)
            if count % PIECES == 0:
                yield
        left.extend(before[place:])
        if not (clean and (yield from self._take(before, rows, came, left))):
            yield from self._take_all(rows)

    def _take(
        self, before: list[bytes], rows: list[bytes], came: Sequence[bytes], left: Sequence[bytes]
    ) -> Generator[None, None, bool]:
        """The answer before, without the rows that are left over and with those that came; False if that is not all."""
        if len(came) > MOST_CAME:
            return False
        came_once, left_once = set(came), set(left)
        if len(came_once) != len(came):
            return False
        base, known = self.jobs, self._known
        jobs = (yield from _copied(base)) if came or left else base
        found: dict[bytes, JobDescriptor] = {}
        gone = [row for row in left if row not in came_once]
        if before is not self._rows:
            return False  # another answer has been read meanwhile, as this one was given up
        for row in gone:
            del jobs[self._job(row).id]
        for count, row in enumerate((row for row in came if row not in left_once), 1):
            if count % PIECE == 0:
                yield
            job = known.get(row) or ("" if self._skip(row) else self._read(row))
            if isinstance(job, str) or job.id in jobs:
                return False
            jobs[job.id] = found[row] = job
        if before is not self._rows:
            return False
        self._forget()
        fresh = {job.id: None for job in found.values()}
        self.fresh, self.base = tuple(fresh), base
        self.gone = tuple({job_id: None for row in gone if (job_id := self._job(row).id) not in fresh})
        for row in gone:
            del known[row]
        known.update(found)
        self._rows, self.jobs = rows, jobs
        return True

    def _job(self, row: bytes) -> JobDescriptor:
        job = self._known[row]
        assert isinstance(job, JobDescriptor)
        return job

    def _take_all(self, rows: list[bytes]) -> Iterator[None]:
        """Row by row. One whose bytes are known is not read again."""
        known = self._known
        self._clean = False
        self._forget()
        jobs: dict[str, JobDescriptor] = {}
        cache: dict[bytes, JobDescriptor | str] = {}
        for number, row in enumerate(rows, 1):
            if number % PIECE == 0:
                yield
            if self._skip(row):
                continue
            job = cache[row] = known.get(row) or self._read(row)
            if isinstance(job, str):
                self.rejected.append((number, job))
                self.ids.update(self._doubtful(row))
            elif job.id in jobs or job.id in self.ids:
                # Nobody may speak for another's job: which of the two rows is the job's own cannot be told.
                jobs.pop(job.id, None)
                self.ids.add(job.id)
                self.rejected.append((number, f"two rows have the id {job.id}"))
            else:
                jobs[job.id] = job
        self._rows, self._known, self.jobs = rows, cache, jobs
        self._clean = len(jobs) == len(rows)


def _copied(jobs: Mapping[str, JobDescriptor]) -> Generator[None, None, dict[str, JobDescriptor]]:
    """A copy, made some at a time: in one go it would take as long for a hundred thousand as all the rest."""
    copy: dict[str, JobDescriptor] = {}
    items = iter(jobs.items())
    while len(copy) < len(jobs):
        copy.update(islice(items, PIECE * PIECES))
        yield
    return copy


def _after(before: Sequence[bytes], piece: Sequence[bytes], place: int) -> int:
    """Where the answer before goes on, after what stands there for this piece."""
    for back in (1, len(piece) // 2 + 1):
        try:
            found = before.index(piece[-back], place, place + len(piece) + NEAR)
        except ValueError:
            continue
        return min(found + back, len(before))
    return min(place + len(piece), len(before))
