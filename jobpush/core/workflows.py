"""
The workflows that are known, and what becomes of them when their jobs change.

Pure: no clock, no I/O. The publisher plans a batch's changes here before they are made durable, and puts the plan into force in
the turn in which they become visible.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Generator, Iterable, Mapping, Sequence

import attrs

from jobpush.core.model import HistoryEntry, JobDescriptor, JobKey, JobStatusEvent, Phase
from jobpush.core.workflow import (
    UNSEEN,
    FirstFailure,
    Member,
    Tally,
    Workflow,
    WorkflowChange,
    WorkflowEvent,
    WorkflowRecord,
)

#: Seconds without a change after which a workflow that was found, and whose jobs have all ended, counts as complete.
QUIET_S = 60.0

#: How many steps of a workflow's life its record keeps.
HISTORY_LENGTH = 200

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
        """The name of the workflow whose tag this job carries: of one user's."""
        text = getattr(job, self.field)
        found = self.pattern.search(text) if text else None
        return f"{found[1]}@{job.user or ''}" if found is not None and found[1] else None


class Plan:
    """
    What a batch changes in the workflows; nothing is in force before ``publish``.

    :ivar changes: what is to be told, in order.
    :ivar updated: the records that replace the known ones, by name, with the members that changed.
    :ivar dropped: the names of workflows that are no more.
    """

    def __init__(self) -> None:
        self.changes: list[WorkflowChange] = []
        self.updated: dict[str, tuple[WorkflowRecord, Mapping[JobKey, Member]]] = {}
        self.dropped: list[str] = []
        self.tallies: dict[str, Tally] = {}

    def __bool__(self) -> bool:
        return bool(self.updated or self.dropped)

    def numbered(self, events: Iterable[WorkflowEvent]) -> None:
        """The changes have their numbers: the records' histories grow by them."""
        for event in events:
            if event.workflow.name in self.updated:
                record, members = self.updated[event.workflow.name]
                history: tuple[HistoryEntry, ...] = record.history
                if not history or history[-1].state != event.workflow.state:
                    history = (*history, event.step)[-HISTORY_LENGTH:]
                self.updated[event.workflow.name] = (attrs.evolve(record, last_seq=event.seq, history=history), members)


class Workflows:
    """
    All workflows.

    :param tags: by cluster.
    """

    def __init__(self, tags: Mapping[str, Tag] | None = None) -> None:
        self.records: dict[str, WorkflowRecord] = {}
        self._tags = tags or {}
        self._tallies: dict[str, Tally] = {}
        #: The names of the workflows that have a job as a member.
        self._of: dict[JobKey, dict[str, None]] = {}

    # -- what is known

    def load(self, records: Iterable[WorkflowRecord]) -> None:
        """Begin with what a journal has kept."""
        for record in records:
            tally = Tally()
            for member in record.members.values():
                tally.add(member)
            self._put(record, record.members, tally)

    def names_of(self, job: JobDescriptor) -> Collection[str]:
        """The names of the workflows that a job belongs to: itself, by its array, or by its tag."""
        own = self._of.get(job.key)
        whole = self._of.get((job.cluster, job.parent)) if job.parent is not None else None
        found = self.tagged(job)
        if own is None and whole is None:
            return (found,) if found is not None else ()
        return {**(own or {}), **(whole or {}), **({found: None} if found is not None else {})}

    def tagged(self, job: JobDescriptor) -> str | None:
        """The name in a job's tag, if it has one."""
        tag = self._tags.get(job.cluster)
        return tag.workflow_of(job) if tag is not None else None

    @property
    def tagging(self) -> Collection[str]:
        """The clusters whose jobs may carry tags."""
        return self._tags.keys()

    # -- what changes

    def plan(self, events: Sequence[JobStatusEvent], arrays: Iterable[JobDescriptor] = ()) -> Generator[None, None, Plan]:
        """
        What these events, in their order, mean for the workflows of their jobs.

        :param arrays: those of which anything has changed: their counts may have, without an event of their own.
        """
        drafts: dict[str, _Draft] = {}
        for count, event in enumerate(events):
            if count % 256 == 255:
                yield
            self._draft_all(drafts, event.job, event.at)
        for count, array in enumerate(arrays if events else ()):
            if count % 256 == 255:
                yield
            self._draft_all(drafts, array, events[-1].at)
        plan = Plan()
        for draft in drafts.values():
            draft.finish(plan)
            yield
        return plan

    def adopt(self, jobs: Iterable[JobDescriptor], now: float) -> Generator[None, None, Plan]:
        """
        Jobs that are known already and carry tags of workflows that are not: at the start, where the tags are new. A workflow
        of which no job is left that has not ended is passed over.
        """
        drafts: dict[str, _Draft] = {}
        for count, job in enumerate(jobs):
            if count % 256 == 255:
                yield
            name = self.tagged(job)
            if name is not None and name not in self.records:
                self._draft(drafts, name, now).seen(job, now)
        plan = Plan()
        for draft in drafts.values():
            if draft.tally.unsettled:
                draft.finish(plan)
            yield
        return plan

    def define(
        self,
        name: str,
        keys: Collection[JobKey],
        edges: tuple[tuple[JobKey, JobKey], ...],
        known: Callable[[JobKey], JobDescriptor | None],
        now: float,
    ) -> Generator[None, None, Plan]:
        """
        A client says which jobs a workflow has. Nothing changes if it has them already.

        :param known: what is known of a job, if anything.
        """
        plan = Plan()
        before = self.records.get(name)
        if before is not None and before.members.keys() == set(keys) and before.edges == edges:
            return plan
        members: dict[JobKey, Member] = {}
        for count, key in enumerate(keys):
            members[key] = _member(before, key, known(key))
            if count % 256 == 255:
                yield
        draft = _Draft(before or WorkflowRecord(Workflow(name)), self._tallies.get(name), now)
        draft.record = attrs.evolve(draft.record, edges=edges)
        draft.replace(members)
        draft.finish(plan)
        return plan

    def delete(self, names: Iterable[str], now: float) -> Plan:
        """These workflows are no more."""
        plan = Plan()
        for name in names:
            record = self.records.get(name)
            if record is not None:
                gone = attrs.evolve(record.workflow, deleted=True)
                plan.changes.append(WorkflowChange(gone, record.workflow.state, now))
                plan.dropped.append(name)
        return plan

    def settle(self, now: float) -> Plan:
        """The workflows that were found, whose jobs have all ended, and that no job has joined for a while."""
        plan = Plan()
        for record in self.records.values():
            workflow = record.workflow
            if workflow.found and not workflow.terminal and now - record.updated_at >= QUIET_S:
                tally = self._tallies[workflow.name]
                if not tally.unsettled:
                    settled = attrs.evolve(workflow, settled=True)
                    plan.changes.append(WorkflowChange(settled, workflow.state, now))
                    plan.updated[workflow.name] = (attrs.evolve(record, workflow=settled), {})
                    plan.tallies[workflow.name] = tally
        return plan

    def expired(self, now: float, keep: float) -> list[str]:
        """The names of the workflows that ended longer ago than so many seconds."""
        return [n for n, record in self.records.items() if record.workflow.terminal and now - record.updated_at > keep]

    def publish(self, plan: Plan) -> None:
        """Put a plan into force."""
        for name, (record, members) in plan.updated.items():
            self._put(record, members, plan.tallies[name])
        for name in plan.dropped:
            dropped = self.records.pop(name, None)
            self._tallies.pop(name, None)
            if dropped is not None:
                self._forget_members(name, dropped.members)

    # -- inside

    def _put(self, record: WorkflowRecord, members: Mapping[JobKey, Member], tally: Tally) -> None:
        name = record.workflow.name
        before = self.records.get(name)
        if before is not None and before.members is not record.members:
            self._forget_members(name, before.members)
            members = record.members
        record.members.update(members)
        for key in members:
            self._of.setdefault(key, {})[name] = None
        self.records[name] = record
        self._tallies[name] = tally

    def _forget_members(self, name: str, members: Iterable[JobKey]) -> None:
        for key in members:
            names = self._of.get(key, {})
            names.pop(name, None)
            if not names:
                self._of.pop(key, None)

    def _draft_all(self, drafts: dict[str, _Draft], job: JobDescriptor, at: float) -> None:
        for name in self._of.get(job.key, ()):
            self._draft(drafts, name, at).seen(job, at)
        for name in self._of.get((job.cluster, job.parent), ()) if job.parent is not None else ():
            self._draft(drafts, name, at).part_seen(job, at)
        found = self.tagged(job)
        if found is None:
            return
        if job.parent is None and found not in self._of.get(job.key, ()):
            self._draft(drafts, found, at).seen(job, at)
        elif job.parent is not None and found not in self._of.get((job.cluster, job.parent), ()):
            self._draft(drafts, found, at).part_seen(job, at)  # its array comes after it in the same batch

    def _draft(self, drafts: dict[str, _Draft], name: str, at: float) -> _Draft:
        draft = drafts.get(name)
        if draft is None:
            record = self.records.get(name) or WorkflowRecord(Workflow(name, found=True))
            draft = drafts[name] = _Draft(record, self._tallies.get(name), at)
        return draft


class _Draft:
    """A workflow while a batch is looked at."""

    def __init__(self, record: WorkflowRecord, tally: Tally | None, at: float) -> None:
        self.record = record
        self.tally = tally.copy() if tally is not None else Tally()
        self.members: dict[JobKey, Member] = {}
        self.failure = record.workflow.first_failure
        self.at = at
        self._begun: Workflow | None = None
        self._begun_at = at

    def get(self, key: JobKey) -> Member | None:
        """A member as it is now."""
        return self.members.get(key) or self.record.members.get(key)

    def seen(self, job: JobDescriptor, at: float) -> None:
        """A member, or a job that becomes one, is like this now."""
        before = self.get(job.key)
        if before is not None and before.settled and before.uid != job.uid:
            return  # another job by the same id
        member = Member.of(job)
        if before is not None:
            self.tally.remove(before)
        self.tally.add(member)
        self.members[job.key] = member
        self.at = at
        told_by_task = self.failure is not None and self.failure.member == job.key != self.failure.job
        if not told_by_task:
            self._note_failure(job.key, job.key, member)
        if self._begun is None and member.begun and not self.record.workflow.started:
            self._begun, self._begun_at = self._describe(), at

    def part_seen(self, job: JobDescriptor, at: float) -> None:
        """A task of a member that is an array; the array's own event counts it."""
        assert job.parent is not None
        self.at = at
        self._note_failure(job.key, (job.cluster, job.parent), Member.of(job))

    def replace(self, members: Mapping[JobKey, Member]) -> None:
        """From now on these are the members."""
        self.tally = Tally()
        for member in members.values():
            self.tally.add(member)
        self.record = attrs.evolve(self.record, members={})
        self.members = dict(members)
        if self.failure is not None and self.failure.member not in members:
            self.failure = None
        self._first_of_members()

    def finish(self, plan: Plan) -> None:
        """Enter what has changed into the plan."""
        before = self.record.workflow
        if not self.members and self.failure == before.first_failure:
            return
        after = self._describe()
        new = self.record.last_seq == 0
        if new or after.visible() != before.visible():
            previous = None if new else before.state
            if after.phase is Phase.DONE and self._begun is not None and self._begun.phase is not Phase.DONE:
                # Begun and ended between two looks: that it ran is told all the same.
                plan.changes.append(WorkflowChange(self._begun, previous, self._begun_at))
                previous = self._begun.state
            plan.changes.append(WorkflowChange(after, previous, self.at))
        record = attrs.evolve(self.record, workflow=after, updated_at=self.at)
        plan.updated[after.name] = (record, self.members)
        plan.tallies[after.name] = self.tally

    def _describe(self) -> Workflow:
        before = self.record.workflow
        described = attrs.evolve(before, first_failure=self.failure)
        return self.tally.describe(described, settles=before.terminal or not before.found)

    def _note_failure(self, key: JobKey, member_key: JobKey, job: Member) -> None:
        failure = self.failure
        if job.failed:
            ended = job.ended_at or self.at
            if failure is None or failure.job == key or ended < failure.at:
                self.failure = _failure(key, member_key, job, ended)
        elif failure is not None and failure.job == key:
            self.failure = None  # it was requeued, or ended otherwise than it seemed
            self._first_of_members()

    def _first_of_members(self) -> None:
        for key, member in {**self.record.members, **self.members}.items():
            ended = member.ended_at or self.at
            if member.failed and (self.failure is None or ended < self.failure.at):
                self.failure = _failure(key, key, member, ended)


def _failure(key: JobKey, member: JobKey, job: Member, at: float) -> FirstFailure:
    return FirstFailure(key, member, job.state, at, job.exit_code, job.signal, job.reason)


def _member(before: WorkflowRecord | None, key: JobKey, job: JobDescriptor | None) -> Member:
    """What is known of a member: as it is now, or as the workflow remembers it."""
    if job is not None:
        return Member.of(job)
    return (before.members.get(key) if before is not None else None) or UNSEEN
