"""Which jobs a client asked for: the filters of the protocol, as one value with one question."""

from __future__ import annotations

from fnmatch import fnmatchcase

import attrs

from jobpush.model import JobDescriptor, JobKey


@attrs.frozen
class Selection:
    """
    Filters: a job matches if each filter that is given has a value that fits. An empty selection matches every job.

    ``keys`` are jobs by cluster and id; an array's key stands for its tasks too. ``names`` and ``comments`` may hold the
    wildcards ``*``, ``?`` and ``[…]``. ``states`` are flat states.
    """

    keys: frozenset[JobKey] | None = None
    clusters: frozenset[str] = frozenset()
    users: frozenset[str] = frozenset()
    accounts: frozenset[str] = frozenset()
    states: frozenset[str] = frozenset()
    queues: frozenset[str] = frozenset()
    names: tuple[str, ...] = ()
    comments: tuple[str, ...] = ()

    def matches(self, job: JobDescriptor) -> bool:
        """Does this job, as it is now, fit?"""
        keys = self.keys
        if keys is not None and job.key not in keys and (job.parent is None or (job.cluster, job.parent) not in keys):
            return False
        return (
            (not self.users or job.user in self.users)
            and (not self.clusters or job.cluster in self.clusters)
            and (not self.states or job.state in self.states)
            and (not self.accounts or job.account in self.accounts)
            and (not self.queues or job.queue in self.queues)
            and (not self.names or any(fnmatchcase(job.name or "", pattern) for pattern in self.names))
            and (not self.comments or any(fnmatchcase(job.comment or "", pattern) for pattern in self.comments))
        )


EVERYTHING = Selection()
