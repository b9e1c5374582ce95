"""
What a batch makes of one workflow: its members, its state and its first failure then, before any of it is in force. Pure.

tests/core/test_workflows.py tries it with all the others.
"""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from jobpush.core.model import JobDescriptor, JobKey, Phase
from jobpush.core.record import Change, Changes
from jobpush.core.workflow import FirstFailure, Membership, Tally, Workflow, WorkflowMember, WorkflowRecord


@attrs.define(eq=False)
class WorkflowChanges(Changes[WorkflowRecord]):
    """
    What a batch changes in the workflows; nothing is in force before `Workflows.publish`.

    :ivar members: the members that are new or changed, by the workflow's name; all of them, where the record has none yet.
    :ivar tallies: the sums of the members then, by the workflow's name.
    """

    members: dict[str, Mapping[JobKey, WorkflowMember]] = attrs.field(factory=dict)
    tallies: dict[str, Tally] = attrs.field(factory=dict)

    def put(self, record: WorkflowRecord, members: Mapping[JobKey, WorkflowMember], tally: Tally) -> None:
        """Replace a workflow's record."""
        name = record.subject.name
        self.records[name], self.members[name], self.tallies[name] = record, members, tally


class Draft:
    """
    A workflow while a batch is looked at.

    :param record: as it is in force; it is not changed.
    :param tally: the sum of its members, if it has any.
    :param at: the time of what changes it; seconds since the epoch.
    """

    def __init__(self, record: WorkflowRecord, tally: Tally | None, at: float) -> None:
        self.record = record
        self.tally = tally.copy() if tally is not None else Tally()
        self.members: dict[JobKey, WorkflowMember] = {}
        self.failure = record.subject.first_failure
        self.at = at
        self._begun: Workflow | None = None
        self._begun_at = at

    def get(self, key: JobKey) -> WorkflowMember | None:
        """Return a member as it is now."""
        return self.members.get(key) or self.record.detail.members.get(key)

    def moved(self, job: JobDescriptor, at: float, key: JobKey) -> None:
        """Take the job that a member has become in another cluster, if it still is that."""
        member = self.get(key)
        if member is not None and member.moved_to == f"{job.cluster}/{job.id}":
            self.seen(job, at, key)

    def seen(self, job: JobDescriptor, at: float, key: JobKey) -> None:
        """Take a member, or a job that becomes one, as it is now; or what it has become in another cluster."""
        before = self.get(key)
        member = WorkflowMember.of(job, key)
        if before is not None and before.settled and before.uid != member.uid and before.moved_to == member.moved_to:
            return  # another job by the same id
        if before is not None:
            self.tally.remove(before)
        self.tally.add(member)
        self.members[key] = member
        self.at = at
        told_by_task = self.failure is not None and self.failure.member == key != self.failure.job
        if not told_by_task:
            self._note_failure(key, key, member)
        if self._begun is None and member.begun and not self.record.subject.started:
            self._begun, self._begun_at = self._describe(), at

    def part_seen(self, job: JobDescriptor, at: float) -> None:
        """Take a task of a member that is an array; the array's own event counts it."""
        assert job.parent is not None
        self.at = at
        self._note_failure(job.key, (job.cluster, job.parent), WorkflowMember.of(job))

    def replace(self, members: Mapping[JobKey, WorkflowMember], edges: tuple[tuple[JobKey, JobKey], ...]) -> None:
        """Make these the members."""
        self.tally = Tally()
        for member in members.values():
            self.tally.add(member)
        self.record = attrs.evolve(self.record, detail=Membership(edges=edges))
        self.members = dict(members)
        if self.failure is not None and self.failure.member not in members:
            self.failure = None
        self._first_of_members()

    def finish(self, found: WorkflowChanges) -> None:
        """Add what has changed."""
        before = self.record.subject
        new = self.record.last_seq == 0
        if not self.members and (new or self.failure == before.first_failure):
            return
        after = self._describe()
        if new or after.visible() != before.visible():
            previous = None if new else before.state
            if after.phase is Phase.DONE and self._begun is not None and self._begun.phase is not Phase.DONE:
                # Begun and ended between two looks: that it ran is told all the same.
                found.changes.append(Change(self._begun, previous, self._begun_at))
                previous = self._begun.state
            found.changes.append(Change(after, previous, self.at))
        found.put(attrs.evolve(self.record, subject=after, updated_at=self.at), self.members, self.tally)

    def _describe(self) -> Workflow:
        before = self.record.subject
        described = attrs.evolve(before, first_failure=self.failure)
        return self.tally.describe(described, settles=before.terminal or not before.found)

    def _note_failure(self, key: JobKey, member_key: JobKey, job: WorkflowMember) -> None:
        failure = self.failure
        if job.failed:
            ended = job.ended_at or self.at
            if failure is None or failure.job == key or ended < failure.at:
                self.failure = _failure(key, member_key, job, ended)
        elif failure is not None and failure.job == key:
            self.failure = None  # it was requeued, or ended otherwise than it seemed
            self._first_of_members()

    def _first_of_members(self) -> None:
        for key, member in {**self.record.detail.members, **self.members}.items():
            ended = member.ended_at or self.at
            if member.failed and (self.failure is None or ended < self.failure.at):
                self.failure = _failure(key, key, member, ended)


def _failure(key: JobKey, member: JobKey, job: WorkflowMember, at: float) -> FirstFailure:
    return FirstFailure(key, member, job.state, at, job.exit_code, job.signal, job.reason)
