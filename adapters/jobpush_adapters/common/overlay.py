"""
An overlay mapping: jobs of which few differ from those of a dict, without a copy of that dict.

A copy of a hundred thousand jobs at each look would cost more than the look, and others still read the dict.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from jobpush.core.model import JobDescriptor

#: An overlay is large if it has more changes than this number, and than this share of what it changes.
FEW, SHARE = 1000, 16


class OverlayMapping(Mapping[str, JobDescriptor]):
    """
    Jobs by id: those of a dict, with some replaced, added and left out. Neither it nor the dict is ever changed.

    :param base: the dict.
    :param changed: the jobs that are not in ``base``, or differ there.
    :param gone: the ids in ``base`` that are left out.
    """

    __slots__ = ("_base", "_changed", "_gone", "_size")

    def __init__(self, base: dict[str, JobDescriptor], changed: dict[str, JobDescriptor], gone: set[str]) -> None:
        self._base = base
        self._changed = changed
        self._gone = gone
        self._size = len(base) - len(gone) + sum(1 for job_id in changed if job_id not in base)

    @classmethod
    def of(
        cls, jobs: dict[str, JobDescriptor] | OverlayMapping, changed: dict[str, JobDescriptor], gone: set[str]
    ) -> OverlayMapping:
        """
        Return an overlay of these jobs; of an overlay, one of the dict below both.

        :param changed: the jobs that are new or differ.
        :param gone: the ids of jobs to leave out; none of them is in ``changed``.
        """
        if not isinstance(jobs, OverlayMapping):
            return cls(jobs, changed, gone)
        base = jobs._base
        both = {job_id: job for job_id, job in jobs._changed.items() if job_id not in gone}
        both.update(changed)
        left_out = {job_id for job_id in (*jobs._gone, *gone) if job_id in base and job_id not in changed}
        return cls(base, both, left_out)

    @property
    def is_large(self) -> bool:
        """Whether so much differs that a dict of its own is better."""
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
