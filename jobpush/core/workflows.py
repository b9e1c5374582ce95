"""
The workflows that are known, and what becomes of them when their jobs change.

Pure: no clock, no I/O. The publisher asks here what a batch of events changes before it is made durable, and puts the changes
into force in the turn in which they become visible.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection, Generator, Iterable, Mapping, Sequence

import attrs

from jobpush.core.model import JobDescriptor, JobKey
from jobpush.core.record import Change, Event, Record, Subject
from jobpush.core.workflow import (
    NOT_SEEN,
    Membership,
    Tally,
    Workflow,
    WorkflowMember,
    WorkflowRecord,
    full_name,
    owner_of,
)
from jobpush.core.workflow_draft import Draft, WorkflowChanges
from jobpush.core.workflow_quotas import WORKFLOW_BYTES, NoRoom, Quotas, Room, Usage, member_size, usage_of

#: Seconds without a change after which a workflow that was found, and whose jobs have all ended, counts as complete.
QUIET_S = 60.0

#: Seconds after which a workflow is forgotten that nobody waits for and that has no job that is known and has not ended.
UNSEEN_S = 86_400.0

#: Where a queue's jobs may carry the name of their workflow, and what it looks like there unless the site says otherwise.
TAG_PATTERNS = {
    "comment": r"(?:^|[\s,;])workflow=([A-Za-z0-9][A-Za-z0-9_.:+-]{0,127})",
    "name": r"^([A-Za-z0-9][A-Za-z0-9_:+-]{0,127})\.",
    "account": r"^([A-Za-z0-9][A-Za-z0-9_.:+-]{0,127})$",
}


@attrs.frozen
class Tag:
    """
    Where jobs carry the name of their workflow.

    :ivar field: ``comment``, ``name`` or ``account``.
    :ivar pattern: its first group is the name.
    """

    field: str = "comment"
    pattern: re.Pattern[str] = attrs.field(factory=lambda: re.compile(TAG_PATTERNS["comment"]))

    def workflow_of(self, job: JobDescriptor) -> str | None:
        """Return the name of the workflow whose tag this job carries: of one user's."""
        text = getattr(job, self.field)
        found = self.pattern.search(text) if text else None
        return f"{found[1]}@{job.user or ''}" if found is not None and found[1] else None


class Workflows:
    """
    All workflows.

    :param tags: by cluster.
    :param quotas: how much room there is.
    :param now_is: (key) to what a job is now that was moved to another cluster; None if nothing is known of it.
    :ivar usage: what is taken up, by owner.
    :ivar refused: how often something was refused for want of room, by what asked for it (``tag`` or ``put``) and whose room
        was full (``owner`` or ``all``).
    """

    def __init__(
        self,
        tags: Mapping[str, Tag] | None = None,
        now_is: Callable[[JobKey], JobDescriptor | None] = lambda _: None,
        quotas: Quotas = Quotas(),  # noqa: B008
    ) -> None:
        self.quotas = quotas
        self.usage: dict[str, Usage] = {}
        self.refused: Counter[tuple[str, str]] = Counter()
        self._named = False
        self.records: dict[str, WorkflowRecord] = {}
        self._tags: Mapping[str, Tag] = tags if tags is not None else {}
        self._tallies: dict[str, Tally] = {}
        #: The names of the workflows that have a job as a member.
        self._of: dict[JobKey, dict[str, None]] = {}
        self._now_is = now_is
        #: The keys of members that were moved to another cluster, by the key of the job that they have become.
        self._moved: dict[JobKey, dict[JobKey, None]] = {}
        #: The inverse: what a member has become, all that it has been in turn.
        self._become: dict[JobKey, dict[JobKey, None]] = {}

    # -- what is known

    def load(self, records: Iterable[WorkflowRecord]) -> None:
        """Begin with what a journal has kept."""
        for record in records:
            tally = Tally()
            for member in record.detail.members.values():
                tally.add(member)
            self._put(self._told(record), record.detail.members, tally)

    def tell_owners(self, named: bool) -> None:
        """
        Tell names as ``OWNER/NAME``, or as ``NAME@OWNER``. Either is understood.

        :param named: whether clients can say who they are.
        """
        self._named = named
        self.records.update({name: self._told(record) for name, record in self.records.items()})

    def _told(self, record: WorkflowRecord) -> WorkflowRecord:
        subject = record.subject
        if subject.named is self._named:
            return record
        return attrs.evolve(record, subject=attrs.evolve(subject, named=self._named))

    def told_name(self, name: str) -> str:
        """Return how the name of a workflow, as it is kept, is told to clients."""
        return full_name(name) if self._named else name

    def names_of(self, subject: Subject) -> Collection[str]:
        """
        Return the names of the workflows that a job belongs to: itself, by its array, or by its tag; a workflow's own name.
        """
        if isinstance(subject, Workflow):
            return (subject.name,)
        assert isinstance(subject, JobDescriptor)
        return self._names_of(subject)

    def _names_of(self, job: JobDescriptor) -> Collection[str]:
        own = self._of.get(job.key)
        whole = self._of.get((job.cluster, job.parent)) if job.parent is not None else None
        found = self.tagged(job)
        if own is None and whole is None and job.key not in self._moved:
            return (found,) if found is not None else ()
        moved = {name: None for key in self._moved.get(job.key, ()) for name in self._of.get(key, ())}
        names = {**(own or {}), **(whole or {}), **moved, **({found: None} if found is not None else {})}
        return [name for name in names if may_have(name, job)]

    def keys_of(self, name: str) -> Collection[JobKey] | None:
        """
        Return the keys of a workflow's jobs, those that they have become in other clusters included; None if no workflow of
        that name is known.
        """
        record = self.records.get(name)
        if record is None:
            return None
        members = record.detail.members
        if not self._become:
            return members.keys()
        return [*members, *(become for key in members if key in self._become for become in self._become[key])]

    def tagged(self, job: JobDescriptor) -> str | None:
        """Return the name in a job's tag, if it has one."""
        tag = self._tags.get(job.cluster)
        return tag.workflow_of(job) if tag is not None else None

    @property
    def tagging(self) -> Collection[str]:
        """The clusters whose jobs may carry tags."""
        return self._tags.keys()

    # -- what changes

    def follow(self, events: Sequence[Event], arrays: Iterable[JobDescriptor] = ()) -> Generator[None, None, WorkflowChanges]:
        """
        Return what these events of jobs, in their order, mean for the workflows of the jobs.

        :param arrays: those of which anything has changed: their counts may have, without an event of their own.
        """
        drafts: dict[str, Draft] = {}
        room = Room(self.usage, self.quotas)
        for count, event in enumerate(events):
            if count % 256 == 255:
                yield
            self._draft_all(drafts, event.job, event.at, room)
        for count, array in enumerate(arrays if events else ()):
            if count % 256 == 255:
                yield
            self._draft_all(drafts, array, events[-1].at, room)
        found = WorkflowChanges()
        for draft in drafts.values():
            draft.finish(found)
            yield
        return found

    def adopt(self, jobs: Iterable[JobDescriptor], now: float) -> Generator[None, None, WorkflowChanges]:
        """
        Return the workflows of jobs that are known already, and carry tags of workflows that are not: at the start, where the
        tags are new. A workflow of which no job is left that has not ended is passed over.
        """
        drafts: dict[str, Draft] = {}
        room = Room(self.usage, self.quotas)
        for count, job in enumerate(jobs):
            if count % 256 == 255:
                yield
            name = self.tagged(job)
            if name is not None and name not in self.records and self._has_room(drafts, name, job, room):
                self._draft(drafts, name, now).seen(job, now, job.key)
        found = WorkflowChanges()
        for draft in drafts.values():
            if draft.tally.unsettled:
                draft.finish(found)
            yield
        return found

    def define(
        self,
        name: str,
        keys: Collection[JobKey],
        edges: tuple[tuple[JobKey, JobKey], ...],
        known: Callable[[JobKey], JobDescriptor | None],
        now: float,
    ) -> Generator[None, None, WorkflowChanges]:
        """
        Return what changes when a client says which jobs a workflow has: nothing if it has them already.

        :param known: returns what is known of a job, if anything. One that the workflow may not have is as one that is unknown.
        :raise NoRoom: it would take up more than there is room for.
        """
        found = WorkflowChanges()
        before = self.records.get(name)
        if before is not None and before.detail.members.keys() == set(keys) and before.detail.edges == edges:
            return found
        members: dict[JobKey, WorkflowMember] = {}
        for count, key in enumerate(keys):
            job = known(key)
            members[key] = _member(before, key, self._now(job) if job is not None and may_have(name, job) else None)
            if count % 256 == 255:
                yield
        taken = usage_of(members, edges) - (usage_of(before.detail.members, before.detail.edges) if before else Usage())
        try:
            Room(self.usage, self.quotas).take(owner_of(name), taken)
        except NoRoom as error:
            self.refused["put", error.whose] += 1
            raise
        if before is not None and before.subject.found:
            before = attrs.evolve(before, subject=attrs.evolve(before.subject, found=False))
        draft = Draft(before or Record(Workflow(name, named=self._named), Membership()), self._tallies.get(name), now)
        draft.replace(members, edges)
        draft.finish(found)
        return found

    def delete(self, names: Iterable[str], now: float) -> WorkflowChanges:
        """Return what changes when these workflows are forgotten."""
        found = WorkflowChanges()
        for name in names:
            record = self.records.get(name)
            if record is not None:
                gone = attrs.evolve(record.subject, deleted=True)
                found.changes.append(Change(gone, record.subject.state, now))
                found.forgotten.append(gone.key)
        return found

    def settle(self, now: float) -> WorkflowChanges:
        """
        Return what changes for workflows whose jobs have all ended, and that no job has joined for a while: those that were
        found, as one that was put has ended with its jobs.
        """
        found = WorkflowChanges()
        for record in self.records.values():
            workflow = record.subject
            if not workflow.terminal and now - record.updated_at >= QUIET_S:
                tally = self._tallies[workflow.name]
                if not tally.unsettled:
                    settled = attrs.evolve(workflow, settled=True)
                    found.changes.append(Change(settled, workflow.state, now))
                    found.put(attrs.evolve(record, subject=settled), {}, tally)
        return found

    def expired(self, now: float, keep: float, waits: Callable[[str], bool] = lambda _: False) -> list[str]:
        """
        Return the names of the workflows that ended longer ago than so many seconds; and of those that never will: no member is
        known but such as have ended, nothing has joined them for `UNSEEN_S`, and nobody waits for them.

        :param waits: whether anybody waits for the workflow of that name.
        """
        return [
            name
            for name, record in self.records.items()
            if (record.subject.terminal and now - record.updated_at > keep)
            or (
                now - record.updated_at > UNSEEN_S
                and not record.subject.terminal
                and all(member.settled or not member.uid for member in record.detail.members.values())
                and not waits(name)
            )
        ]

    def clock_was_set(self, seconds: float) -> None:
        """
        Move the times since which nothing has joined workflows.

        :param seconds: by which the clock was set forward.
        """
        for name, record in self.records.items():
            self.records[name] = attrs.evolve(record, updated_at=record.updated_at + seconds)

    def not_ahead(self, now: float) -> None:
        """
        Let nothing have joined a workflow much later than now: events are dated so where a job had later ones before the clock
        was set back, or the scheduler's is far ahead.
        """
        for name, record in self.records.items():
            if record.updated_at > now + QUIET_S:
                self.records[name] = attrs.evolve(record, updated_at=now)

    def publish(self, changes: WorkflowChanges) -> None:
        """Put changes into force."""
        for name, record in changes.records.items():
            self._put(record, changes.members[name], changes.tallies[name])
        for _, name in changes.forgotten:
            dropped = self.records.pop(name, None)
            self._tallies.pop(name, None)
            if dropped is not None:
                self._use(name, Usage() - usage_of(dropped.detail.members, dropped.detail.edges))
                self._forget_members(name, dropped.detail.members)

    # -- inside

    def _put(self, record: WorkflowRecord, members: Mapping[JobKey, WorkflowMember], tally: Tally) -> None:
        name, own = record.subject.name, record.detail.members
        before = self.records.get(name)
        if before is not None and before.detail is record.detail:
            used = usage_of(members) - usage_of({key: own[key] for key in members if key in own})
            self._use(name, attrs.evolve(used, workflows=0))
        else:
            if before is not None:
                self._use(name, Usage() - usage_of(before.detail.members, before.detail.edges))
                self._forget_members(name, before.detail.members)
            self._use(name, usage_of({**own, **members}, record.detail.edges))
        own.update(members)
        for key, member in members.items():
            self._of.setdefault(key, {})[name] = None
            if member.moved_to is not None:
                cluster, _, job_id = member.moved_to.partition("/")
                self._moved.setdefault((cluster, job_id), {})[key] = None
                self._become.setdefault(key, {})[(cluster, job_id)] = None
        self.records[name] = record
        self._tallies[name] = tally

    def _use(self, name: str, usage: Usage) -> None:
        owner = owner_of(name)
        after = self.usage.get(owner, Usage()) + usage
        if after == Usage():
            self.usage.pop(owner, None)
        else:
            self.usage[owner] = after

    def _has_room(self, drafts: Mapping[str, Draft], name: str, job: JobDescriptor | None, room: Room) -> bool:
        """
        Return whether there is room for the workflow in a tag, and for a job that joins it; it is taken then.

        :param job: None if none joins it.
        """
        new = name not in self.records and name not in drafts
        size = member_size(job.key, WorkflowMember.of(job)) if job is not None else 0
        try:
            room.take_for_tag(owner_of(name), Usage(int(new), int(job is not None), size + WORKFLOW_BYTES * new))
        except NoRoom as error:
            self.refused["tag", error.whose] += 1
            return False
        return True

    def _forget_members(self, name: str, members: Iterable[JobKey]) -> None:
        for key in members:
            names = self._of.get(key, {})
            names.pop(name, None)
            if not names:
                self._of.pop(key, None)
                for become in self._become.pop(key, ()):
                    self._moved[become].pop(key)
                    if not self._moved[become]:
                        del self._moved[become]

    def _now(self, job: JobDescriptor | None) -> JobDescriptor | None:
        """Return what a job is now that was moved to another cluster, as far as that is known; any other job itself."""
        there = self._now_is(job.moved_key) if job is not None and job.moved_key is not None else None
        return job if there is None else there

    def _draft_all(self, drafts: dict[str, Draft], job: JobDescriptor, at: float, room: Room) -> None:
        for name in self._of.get(job.key, ()):
            if may_have(name, job):
                self._draft(drafts, name, at).seen(self._now(job) or job, at, job.key)
        for key in self._moved.get(job.key, ()):
            for name in self._of.get(key, ()):
                if may_have(name, job):
                    self._draft(drafts, name, at).moved(job, at, key)
        array = (job.cluster, job.parent) if job.parent is not None else None
        for name in self._of.get(array, ()) if array is not None else ():
            if may_have(name, job):
                self._draft(drafts, name, at).part_seen(job, at)
        found = self.tagged(job)
        if found is None:
            return
        if array is None and found not in self._of.get(job.key, ()):
            draft = drafts.get(found)
            if (draft is not None and job.key in draft.members) or self._has_room(drafts, found, job, room):
                self._draft(drafts, found, at).seen(self._now(job) or job, at, job.key)
        elif array is not None and found not in self._of.get(array, ()) and self._has_room(drafts, found, None, room):
            self._draft(drafts, found, at).part_seen(job, at)  # its array comes after it in the same batch

    def _draft(self, drafts: dict[str, Draft], name: str, at: float) -> Draft:
        draft = drafts.get(name)
        if draft is None:
            record = self.records.get(name) or Record(Workflow(name, found=True, named=self._named), Membership())
            draft = drafts[name] = Draft(record, self._tallies.get(name), at)
        return draft


def may_have(name: str, job: JobDescriptor) -> bool:
    """
    Return whether the workflow of that name, as it is kept, may have this job: a user's workflow has that user's jobs alone, so
    that nobody learns of others' by putting them into one; one that is nobody's has everybody's.
    """
    owner = owner_of(name)
    return not owner or job.user == owner


def _member(before: WorkflowRecord | None, key: JobKey, job: JobDescriptor | None) -> WorkflowMember:
    """Return what is known of a member: as it is now, or as the workflow remembers it."""
    if job is not None:
        return WorkflowMember.of(job, key)
    return (before.detail.members.get(key) if before is not None else None) or NOT_SEEN
