"""Rows that are as they were last time, many at once: with a hundred thousand jobs, most of a query's answer is."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, MutableMapping, Sequence

from jobpush.model import JobDescriptor

#: Rows that are looked at together; one that has changed among them costs as much as reading all of these one by one.
PIECE = 128

#: So many pieces take about half a millisecond: then others may have their turn.
PIECES = 16


def pieces(rows: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    """The rows, some at a time."""
    for begin in range(0, len(rows), PIECE):
        yield rows[begin : begin + PIECE]


def taken_over(
    rows: Sequence[bytes],
    known: Mapping[bytes, JobDescriptor | str],
    jobs: MutableMapping[str, JobDescriptor],
    cache: MutableMapping[bytes, JobDescriptor | str],
    doubtful: Collection[str] = (),
) -> bool:
    """
    Put the jobs of these rows among ``jobs``, if each row is known, stands for a job, and for one of its own.

    :param known: what each row stood for last time: a job, or why it is none.
    :param cache: what to know next time.
    :param doubtful: ids that more than one row has claimed.
    :return: False if they must be read one by one; then nothing was done.
    """
    found = list(map(known.get, rows))
    try:
        fresh: dict[str, JobDescriptor] = {job.id: job for job in found}  # type: ignore[union-attr,misc]
    except AttributeError:
        return False
    if len(fresh) != len(found) or not fresh.keys().isdisjoint(jobs.keys()):
        return False
    if doubtful and not fresh.keys().isdisjoint(doubtful):
        return False
    jobs.update(fresh)
    cache.update(zip(rows, found, strict=True))  # type: ignore[arg-type]
    return True
