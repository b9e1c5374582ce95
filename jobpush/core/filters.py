"""Which jobs a client asked for: the filters of the protocol, as one value with one question."""

from __future__ import annotations

from collections.abc import Callable, Collection
from fnmatch import fnmatchcase
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

    @property
    def clusters(self) -> frozenset[str]:
        """The clusters whose jobs are waited for; all, if none is named."""

    def matches(self, event: Event) -> bool:
        """Is this event chosen?"""


@attrs.frozen(cache_hash=True)
class Visibility:
    """
    Whose jobs may be shown. It is a part of each filter, and so of whatever is shared between those who ask alike.

    :ivar user: only this user's; None for everybody's.
    """

    user: str | None = None

    def shows(self, user: str | None) -> bool:
        """Return whether a job or workflow of that user may be shown."""
        return self.user is None or self.user == user


#: Everybody's jobs.
ALL = Visibility()


@attrs.frozen(cache_hash=True)
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
    visibility: Visibility = ALL

    def matches(self, event: Event) -> bool:
        """Is this event chosen?"""
        return self.takes_workflow(event.workflow) if isinstance(event, WorkflowEvent) else self.takes(event.job)

    def takes_workflow(self, workflow: Workflow) -> bool:
        """Return whether this workflow, as it is now, fits."""
        if not self.visibility.shows(workflow.user) or (self.keys is not None and workflow.key not in self.keys):
            return False
        return (
            (not self.workflows or workflow.name in self.workflows)
            and (not self.states or workflow.state in self.states)
            and (not self.users or workflow.user in self.users)
            and not (self.clusters or self.accounts or self.queues or self.names or self.comments)
        )

    def takes(self, job: JobDescriptor) -> bool:
        """Return whether this job, as it is now, fits."""
        keys = self.keys
        if keys is not None and job.key not in keys and (job.parent is None or (job.cluster, job.parent) not in keys):
            return False
        return (
            self.visibility.shows(job.user)
            and (not self.users or job.user in self.users)
            and (not self.clusters or job.cluster in self.clusters)
            and (not self.states or job.state in self.states)
            and (not self.accounts or job.account in self.accounts)
            and (not self.queues or job.queue in self.queues)
            and (not self.names or any(fnmatchcase(job.name or "", pattern) for pattern in self.names))
            and (not self.comments or any(fnmatchcase(job.comment or "", pattern) for pattern in self.comments))
            and (not self.workflows or not self.workflows.isdisjoint(self.workflows_of(job)))
        )


EVERYTHING = Selection()


@attrs.frozen
class OfSubject:
    """
    The events of one job and of its tasks, or of one workflow.

    :ivar key: of the job or workflow.
    """

    key: JobKey
    visibility: Visibility = ALL
    workflows: frozenset[str] = frozenset()
    users: frozenset[str] = frozenset()

    @property
    def keys(self) -> frozenset[JobKey]:
        """The one key."""
        return frozenset((self.key,))

    @property
    def clusters(self) -> frozenset[str]:
        """The job's cluster; none for a workflow, which may have jobs of all."""
        return frozenset((self.key[0],)) if self.key[0] else frozenset()

    def matches(self, event: Event) -> bool:
        """Return whether this event is one of theirs."""
        if event.key != self.key and (event.parent is None or (event.key[0], event.parent) != self.key):
            return False
        return self.visibility.user is None or self.visibility.shows(user_of(event))


def user_of(event: Event) -> str | None:
    """Return the user whose job or workflow an event is about."""
    return event.workflow.user if isinstance(event, WorkflowEvent) else event.job.user


@attrs.frozen
class Targets:
    """
    The events of these jobs and workflows themselves; not of arrays' tasks that are not named.

    :ivar keys: of jobs and of workflows.
    """

    keys: frozenset[JobKey]
    visibility: Visibility = ALL
    workflows: frozenset[str] = frozenset()
    users: frozenset[str] = frozenset()

    @property
    def clusters(self) -> frozenset[str]:
        """Of the jobs; none if a workflow is among them, which may have jobs of all."""
        found = frozenset(cluster for cluster, _ in self.keys)
        return frozenset() if "" in found else found

    def matches(self, event: Event) -> bool:
        """Return whether this event is one of theirs."""
        return event.key in self.keys and (self.visibility.user is None or self.visibility.shows(user_of(event)))
