"""Which jobs a client asked for: the filters of the protocol, as one value with one question."""

from __future__ import annotations

from collections.abc import Callable, Collection
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Protocol

import attrs

from jobpush.core.model import JobDescriptor, JobKey
from jobpush.core.workflow import Event, Workflow, WorkflowEvent


class Selects(Protocol):
    """
    What chooses events.

    :ivar keys: if not None, only events of these, and of the parts of these, can match.
    :ivar workflows: the names of workflows; if there are no keys, only events of these and of their jobs can match.
    :ivar users: if neither is given, and these are: only events of these users can match.
    """

    @property
    def keys(self) -> frozenset[JobKey] | None: ...

    @property
    def workflows(self) -> frozenset[str]: ...

    @property
    def users(self) -> frozenset[str]: ...

    def matches(self, event: Event) -> bool:
        """Is this event chosen?"""


@attrs.frozen
class Selection:
    """
    Filters: a job matches if each filter that is given has a value that fits. An empty selection matches every job.

    ``keys`` are jobs by cluster and id; an array's key stands for its tasks too. ``names`` and ``comments`` may hold the
    wildcards ``*``, ``?`` and ``[…]``. ``states`` are flat states. ``workflows`` are names; ``workflows_of``
    tells those of a job.

    A workflow's own events are chosen by its name (or key), its state and its user; any other filter is one on jobs, and leaves
    them out.
    """

    keys: frozenset[JobKey] | None = None
    clusters: frozenset[str] = frozenset()
    users: frozenset[str] = frozenset()
    accounts: frozenset[str] = frozenset()
    states: frozenset[str] = frozenset()
    queues: frozenset[str] = frozenset()
    names: tuple[str, ...] = ()
    comments: tuple[str, ...] = ()
    workflows: frozenset[str] = frozenset()
    workflows_of: Callable[[JobDescriptor], Collection[str]] = lambda _: ()

    def matches(self, event: Event) -> bool:
        """Is this event chosen?"""
        return self.takes_workflow(event.workflow) if isinstance(event, WorkflowEvent) else self.takes(event.job)

    def takes_workflow(self, workflow: Workflow) -> bool:
        """Does this workflow, as it is now, fit?"""
        if self.keys is not None and workflow.key not in self.keys:
            return False
        return (
            (not self.workflows or workflow.name in self.workflows)
            and (not self.states or workflow.state in self.states)
            and (not self.users or workflow.user in self.users)
            and not (self.clusters or self.accounts or self.queues or self.names or self.comments)
        )

    def takes(self, job: JobDescriptor) -> bool:
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
            and (not self.workflows or not self.workflows.isdisjoint(self.workflows_of(job)))
        )


EVERYTHING = Selection()


@lru_cache(4096)
def of_job(key: JobKey) -> Selection:
    """The events of one job, and of its tasks."""
    return Selection(keys=frozenset({key}))


@attrs.frozen
class Targets:
    """
    The events of these jobs and workflows themselves; not of arrays' tasks that are not named.

    :ivar keys: of jobs and of workflows.
    """

    keys: frozenset[JobKey]
    workflows: frozenset[str] = frozenset()
    users: frozenset[str] = frozenset()

    def matches(self, event: Event) -> bool:
        """Is this event one of theirs?"""
        return event.key in self.keys
