"""
Rows that are as they were the last time: with a hundred thousand jobs, most of an answer is.

An answer's text is compared with that of the answer before (`jobpush_adapters.common.texts`), and only rows that are new are
read. What is told of the answer is not only which jobs there are, but also which of them are new or changed
(`Snapshot.fresh`), so that who compares jobs need not look at the others again.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from itertools import islice

from jobpush.core.model import JobDescriptor, Snapshot
from jobpush_adapters.common.overlay import Patched
from jobpush_adapters.common.texts import Comparison, rows_in

#: Parts of an answer that are compared, and rows that are read, before others may have their turn.
PARTS, ROWS = 16, 128

#: Jobs that are copied before others may.
COPIED = 2048

#: Rows that may have come at once; with more, all are gone through, which has more pauses.
MOST_CAME = 20_000


class RowReader:
    """
    Reads one answer after another.

    :param read: a row as a job, or the reason why it is none; it must depend on nothing but the row.
    :param doubtful: the ids that a row which is none may stand for.
    :param skip: is this row no row?
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
        doubtful: Callable[[bytes], Iterable[str]],
        skip: Callable[[bytes], bool] = lambda row: False,
        end: bytes = b"\n",
    ) -> None:
        self._read = read
        self._doubtful = doubtful
        self._skip = skip
        self._end = end
        self._texts: list[bytes] = []
        self._known: dict[bytes, JobDescriptor | str] = {}
        #: Does each row of ``_texts`` stand for a job of its own?
        self._clean = False
        self.jobs: dict[str, JobDescriptor] | Patched = {}
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

    def answer(self, answer: Iterable[bytes]) -> Iterator[None]:
        """
        Read an answer; pauses now and then. At its end the attributes are of this answer.

        :param answer: the text in parts that end with a row (see `jobpush_adapters.common.texts.parts`).
        """
        before = self._texts
        comparison = Comparison(before, self._end) if self._clean else None
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
            if (yield from self._take(before, comparison)):
                return
            texts = comparison.texts
        yield from self._take_all(texts)

    def _take(self, before: Sequence[bytes], comparison: Comparison) -> Generator[None, None, bool]:
        """The jobs before, without those whose rows have left and with those that came; False if that is not all."""
        came, left = comparison.came, comparison.left
        if len(came) > MOST_CAME:
            return False
        came_once, left_once = set(came), set(left)
        # Another answer may have been read meanwhile, if this one was given up: it is not compared with what is known now.
        if len(came_once) != len(came) or before is not self._texts:
            return False
        known, base = self._known, self.jobs
        gone_rows = [row for row in left if row not in came_once]
        gone = {self._job(row).id for row in gone_rows}
        changed: dict[str, JobDescriptor] = {}
        found: dict[bytes, JobDescriptor] = {}
        for count, row in enumerate((row for row in came if row not in left_once), 1):
            if count % ROWS == 0:
                yield
            job = known.get(row) or ("" if self._skip(row) else self._read(row))
            if isinstance(job, str) or job.id in changed or (job.id in base and job.id not in gone):
                return False
            changed[job.id] = found[row] = job
        gone.difference_update(changed)
        jobs = base
        if changed or gone:
            jobs = Patched.of(base, changed, gone)
            if jobs.heavy:
                jobs = yield from _copied(jobs)
        if before is not self._texts:
            return False
        self._forget()
        self.fresh, self.gone, self.base = tuple(changed), tuple(gone), base
        for row in gone_rows:
            del known[row]
        known.update(found)
        self._texts, self.jobs = comparison.texts, jobs
        return True

    def _job(self, row: bytes) -> JobDescriptor:
        job = self._known[row]
        assert isinstance(job, JobDescriptor)
        return job

    def _take_all(self, texts: list[bytes]) -> Iterator[None]:
        """Row by row. One whose bytes are known is not read again."""
        known = self._known
        jobs: dict[str, JobDescriptor] = {}
        cache: dict[bytes, JobDescriptor | str] = {}
        rejected: list[tuple[int, str]] = []
        ids: set[str] = set()
        number = 0
        for row in (row for text in texts for row in rows_in(text, self._end)):
            number += 1
            if number % ROWS == 0:
                yield
            if self._skip(row):
                continue
            job = cache[row] = known.get(row) or self._read(row)
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
        self._forget()
        self.rejected, self.ids = rejected, ids
        self._texts, self._known, self.jobs = texts, cache, jobs
        self._clean = len(jobs) == number


def _copied(jobs: Mapping[str, JobDescriptor]) -> Generator[None, None, dict[str, JobDescriptor]]:
    """A dict of them, made some at a time: in one go it would take as long for a hundred thousand as all the rest."""
    copy: dict[str, JobDescriptor] = {}
    items = iter(jobs.items())
    while len(copy) < len(jobs):
        copy.update(islice(items, COPIED))
        yield
    return copy
