"""Jobs of which few are others than before: without a copy of a hundred thousand, nor a change to what others hold."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from jobpush.core.model import JobDescriptor

#: With more changes than this, and than a part of what they are changes to, they are too many (see `Patched.heavy`).
FEW, SHARE = 1000, 16


class Patched(Mapping[str, JobDescriptor]):
    """
    Jobs by id: those of a dict that never changes, but for some. Does not change either.

    :param base: most of them.
    :param changed: those that are not in ``base``, or are others there.
    :param gone: the ids of those in ``base`` that are not meant.
    """

    __slots__ = ("_base", "_changed", "_gone", "_size")

    def __init__(self, base: dict[str, JobDescriptor], changed: dict[str, JobDescriptor], gone: set[str]) -> None:
        self._base = base
        self._changed = changed
        self._gone = gone
        self._size = len(base) - len(gone) + sum(1 for job_id in changed if job_id not in base)

    @classmethod
    def of(cls, jobs: dict[str, JobDescriptor] | Patched, changed: dict[str, JobDescriptor], gone: set[str]) -> Patched:
        """
        These jobs, changed.

        :param jobs: a dict that never changes, or a `Patched`.
        :param changed: those that are new or others now.
        :param gone: the ids of those that are no more; none of them is in ``changed``.
        """
        if not isinstance(jobs, Patched):
            return cls(jobs, changed, gone)
        base = jobs._base
        both = {job_id: job for job_id, job in jobs._changed.items() if job_id not in gone}
        both.update(changed)
        away = {job_id for job_id in (*jobs._gone, *gone) if job_id in base and job_id not in changed}
        return cls(base, both, away)

    @property
    def heavy(self) -> bool:
        """Whether so much has changed that a dict of its own is better."""
        return len(self._changed) + len(self._gone) > max(FEW, len(self._base) // SHARE)

    def __getitem__(self, job_id: str) -> JobDescriptor:
        job = self._changed.get(job_id)
        if job is not None:
            return job
        if job_id in self._gone:
            raise KeyError(job_id)
        return self._base[job_id]

    def __contains__(self, job_id: object) -> bool:
        return job_id in self._changed or (job_id in self._base and job_id not in self._gone)

    def __iter__(self) -> Iterator[str]:
        for job_id in self._base:
            if job_id not in self._gone:
                yield job_id
        for job_id in self._changed:
            if job_id not in self._base:
                yield job_id

    def __len__(self) -> int:
        return self._size
