"""Which jobs and workflows a client asked for: the filters of the protocol as one value."""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import lru_cache
from typing import Protocol

import attrs

from jobpush.core.model import JobDescriptor, JobKey
from jobpush.core.patterns import beginnings, patterns
from jobpush.core.record import Event, Subject
from jobpush.core.stored_event import Facts
from jobpush.core.workflow import NO_CLUSTER


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

    @property
    def visibility(self) -> Visibility:
        """Whose jobs may be shown."""

    def matches(self, event: Event) -> bool:
        """Return whether this event is chosen."""

    def may_match(self, facts: Facts) -> bool:
        """Return whether an event of which this is known can be chosen: then it is looked at."""


@lru_cache(256)
def _only(cluster: str) -> frozenset[str]:
    """Return the set of that cluster alone: the same object for the ten thousand requests that wait for its jobs."""
    return frozenset((cluster,))


def _own_name(subject: Subject) -> Collection[str]:
    """Return the name of a workflow. What workflows a job belongs to is not known here."""
    return (subject.key[1],) if subject.kind == "workflow" else ()


@attrs.frozen(cache_hash=True)
class Visibility:
    """
    Whose jobs may be shown. It is a part of each filter, and so of whatever is shared between those who ask alike.

    :ivar user: only this user's; None for everybody's.
    :ivar settled: False while it is not known whether others' may be shown too: then what is not shown may be there.
    """

    user: str | None = None
    settled: bool = True

    def shows(self, user: str | None) -> bool:
        """Return whether a job or workflow of that user may be shown."""
        return self.user is None or self.user == user


#: Everybody's jobs, and nobody's.
ALL = Visibility()
NOTHING = Visibility("")


@attrs.frozen(cache_hash=True)
class Selection:
    """
    Filters: a job or workflow matches if each filter that is given has a value that fits. An empty selection matches all.

    ``keys`` are jobs by cluster and id, or workflows; an array's key stands for its tasks too. ``names`` and ``comments`` may
    hold the wildcards ``*``, ``?`` and ``[…]``. ``states`` are flat states. ``workflows`` are names; ``workflows_of`` returns
    those of a job, and of a workflow its own.

    A workflow is chosen by its name (or key), its state and its user. Any other filter is one on jobs, and leaves workflows
    out.
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
    workflows_of: Callable[[Subject], Collection[str]] = _own_name
    visibility: Visibility = ALL

    def matches(self, event: Event) -> bool:
        """Return whether this event is chosen."""
        return self.takes(event.subject)

    def takes(self, subject: Subject) -> bool:
        """Return whether this job or workflow, as it is now, fits."""
        keys, parent = self.keys, subject.parent
        if keys is not None and subject.key not in keys and (parent is None or (subject.key[0], parent) not in keys):
            return False
        return self._fits(subject) and (not self.workflows or not self.workflows.isdisjoint(self.workflows_of(subject)))

    def may_match(self, facts: Facts) -> bool:
        """See `Selects`."""
        return self._fits(facts)

    def _fits(self, subject: Subject | Facts) -> bool:
        """Return whether the filters on a subject's own fields let this through."""
        return (
            self.visibility.shows(subject.user)
            and (not self.users or subject.user in self.users)
            and (not self.states or subject.state in self.states)
            and self._fits_job(subject)
        )

    def _fits_job(self, subject: Subject | Facts) -> bool:
        """Return whether the filters on jobs alone let this through."""
        if not (self.clusters or self.accounts or self.queues or self.names or self.comments):
            return True
        if subject.kind != "job":
            return False
        assert isinstance(subject, JobDescriptor | Facts)
        return (
            (not self.clusters or subject.cluster in self.clusters)
            and (not self.accounts or subject.account in self.accounts)
            and (not self.queues or subject.queue in self.queues)
            and (not self.names or patterns(self.names).fit(subject.name or ""))
            and (not self.comments or patterns(self.comments).fit(subject.comment or ""))
        )


EVERYTHING = Selection()


def named_clusters(selects: Selects) -> frozenset[str]:
    """Return the clusters that are named, by themselves or with a job; none if it is about all of them."""
    return selects.clusters | {cluster for cluster, _ in selects.keys or () if cluster}


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
        return _only(self.key[0]) if self.key[0] else frozenset()

    def matches(self, event: Event) -> bool:
        """Return whether this event is one of theirs."""
        if event.key != self.key and (event.parent is None or (event.key[0], event.parent) != self.key):
            return False
        return self.visibility.shows(event.subject.user)

    def may_match(self, facts: Facts) -> bool:
        """See `Selects`."""
        return self.visibility.shows(facts.user)


@attrs.frozen
class Targets:
    """
    Selects the events of these jobs and workflows themselves; not of arrays' tasks that are not named.

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
        return event.key in self.keys and self.visibility.shows(event.subject.user)

    def may_match(self, facts: Facts) -> bool:
        """See `Selects`."""
        return self.visibility.shows(facts.user)


#: How many jobs of workflows events are found by.
MOST_KEYS = 20_000


@attrs.frozen
class Scope:
    """
    What stored events are found by: those that are not of it are not even looked at.

    :ivar keys: of jobs and workflows, whose events and those of whose parts are of it; None for all.
    :ivar users: if there are no keys: whose events are of it; None for everybody's.
    :ivar clusters: if there are neither: of which clusters its events are; None for all.
    :ivar names: if there are neither keys nor users: what its jobs' names begin with; None for any.
    """

    keys: frozenset[JobKey] | None = None
    users: frozenset[str] | None = None
    clusters: frozenset[str] | None = None
    names: tuple[str, ...] | None = None


def scope_of(selection: Selects, members: Callable[[str], Collection[JobKey] | None]) -> Scope:
    """
    Return what the events of a selection are found by. Of workflows with many jobs, by what else is known.

    :param members: the keys of a workflow's jobs; None if no workflow of that name is known.
    """
    keys: Collection[JobKey] | None = selection.keys
    if keys is None and selection.workflows:
        owners = frozenset(name.partition("@")[2] for name in selection.workflows)
        if "" not in owners:
            # Found by tags, which the jobs carry themselves: it may have been forgotten, and have got some of them back only.
            return Scope(None, owners)
        found: set[JobKey] = set()
        for name in selection.workflows:
            # What is not known has no jobs: such a name is in no tag. It may have had events of its own.
            of_one = members(name) or ()
            if len(found) + len(of_one) > MOST_KEYS:
                break
            found.update(of_one, ((NO_CLUSTER, name),))
        else:
            keys = found
    if keys is not None:
        return Scope(keys if isinstance(keys, frozenset) else frozenset(keys))
    user = selection.visibility.user
    users = selection.users if user is None else frozenset((user,)) & (selection.users or {user})
    if users or user is not None:
        return Scope(None, users)
    # Events of workflows are of no cluster, and a filter on clusters leaves them out.
    if not isinstance(selection, Selection):
        return Scope()
    return Scope(None, None, selection.clusters or None, beginnings(selection.names) if selection.names else None)
