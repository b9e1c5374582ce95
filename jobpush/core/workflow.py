"""
The values of workflows: a named set of jobs as one thing that has a state.

Values and pure functions only. A workflow's key is its name in no cluster, so that it never is a job's.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import ClassVar

import attrs

from jobpush.core.aggregate import whole_phase, worst
from jobpush.core.model import STARTED_PHASES, Confidence, JobDescriptor, JobKey, Outcome, Phase, split_state
from jobpush.core.record import Record

#: What the name may be that a workflow has among those of its owner. In its name as it is kept, ``@`` and the owner follow; one
#: that is nobody's, as it was put by somebody who did not say who he is, has none.
WORKFLOW_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:+-]{0,127}")

#: The place of the cluster in a workflow's key.
NO_CLUSTER = ""

#: What stands for the owner where a workflow that is nobody's is named in full.
NOBODY = "-"

#: The outcomes that are no failure.
GOOD_OUTCOMES = frozenset({Outcome.COMPLETED, Outcome.MOVED})


@attrs.frozen
class WorkflowMember:
    """
    What a workflow knows of one of its jobs; it keeps that when the job is forgotten elsewhere.

    :ivar uid: names the submission of the id; empty for a job that nobody has seen yet.
    :ivar counts: of an array: the number of its tasks per state; else None.
    :ivar begun: whether it, or an array's first task, has begun to run.
    :ivar settled: whether it has ended, and that is confirmed.
    :ivar moved_to: CLUSTER/ID of the job that it has become, if it was moved to another cluster: how it stands is how that one
        does.
    """

    uid: str = ""
    state: str = Phase.UNKNOWN.value
    counts: Mapping[str, int] | None = None
    begun: bool = False
    settled: bool = False
    exit_code: int | None = None
    signal: int | None = None
    reason: str | None = None
    name: str | None = None
    submitted_at: float | None = None
    started_at: float | None = None
    ended_at: float | None = None
    moved_to: str | None = None

    @classmethod
    def of(cls, job: JobDescriptor, key: JobKey | None = None) -> WorkflowMember:
        """
        Return what is known of this job.

        :param key: of the member, if this is the job that it has become.
        """
        return cls(
            moved_to=f"{job.cluster}/{job.id}" if key not in (None, job.key) else job.moved_to,
            uid=job.uid, state=job.state, counts=job.counts,
            begun=job.started or (job.started_at is not None and job.phase is not Phase.STARTING), settled=job.terminal,
            exit_code=job.exit_code, signal=job.signal, reason=job.reason, name=job.name,
            submitted_at=job.submitted_at, started_at=job.started_at, ended_at=job.ended_at,
        )  # fmt: skip

    @property
    def parts(self) -> Mapping[str, int]:
        """The number of its parts per state; of a job that is no array, itself."""
        return self.counts if self.counts is not None else {self.state: 1}

    @property
    def failed(self) -> bool:
        """Whether it has ended, and not well."""
        outcome = split_state(self.state)[1]
        return outcome is not None and outcome not in GOOD_OUTCOMES


#: A member that nobody has seen yet.
NOT_SEEN = WorkflowMember()


@attrs.frozen
class FirstFailure:
    """
    The job, or the array's task, that was the first to end badly.

    :ivar member: the member that it is or belongs to.
    """

    job: JobKey
    member: JobKey
    state: str
    at: float
    exit_code: int | None = None
    signal: int | None = None
    reason: str | None = None


@attrs.frozen(eq=False)
class Workflow:
    """
    A workflow as it was at one moment: the unit of its answers and events.

    :ivar name: as it is kept: ``NAME@OWNER``, or ``NAME`` of one that is nobody's.
    :ivar phase: as an array's: the first that any job is in of running, finishing, starting, suspended, queued, held, unknown,
        done; but once something has begun, it does not go back to queued.
    :ivar outcome: the worst of its jobs', once all have ended.
    :ivar settled: whether all of its jobs have ended for good and, as far as can be told, no job will join it.
    :ivar counts: the number of its jobs (and arrays' tasks) per state.
    :ivar found: whether it was found in jobs' tags, rather than put by a client.
    :ivar deleted: whether this is the last that is told of it.
    :ivar named: whether it is told as ``OWNER/NAME``: where clients say who they are.
    """

    name: str
    phase: Phase = Phase.UNKNOWN
    outcome: Outcome | None = None
    settled: bool = False
    counts: Mapping[str, int] = attrs.field(factory=dict)
    first_failure: FirstFailure | None = None
    started_at: float | None = None
    ended_at: float | None = None
    found: bool = False
    deleted: bool = False
    named: bool = False

    kind: ClassVar[str] = "workflow"
    each_event_is_a_step: ClassVar[bool] = False

    @property
    def state(self) -> str:
        """The outcome if all has ended, else the phase."""
        return self.outcome.value if self.outcome is not None else self.phase.value

    @property
    def key(self) -> JobKey:
        """What its events are found by."""
        return workflow_key(self.name)

    @property
    def uid(self) -> str:
        """Its name: a workflow that is put again goes on with its history."""
        return self.name

    @property
    def parent(self) -> None:
        """A workflow is a part of nothing."""
        return None

    @property
    def moved_key(self) -> None:
        """A workflow is not moved."""
        return None

    @property
    def attempt(self) -> int:
        """Workflows are not requeued."""
        return 0

    @property
    def confidence(self) -> Confidence:
        """A workflow is what its jobs are seen to be."""
        return Confidence.OBSERVED

    @property
    def user(self) -> str | None:
        """Its owner: who put it, or the user whose jobs it was found in; None if it is nobody's."""
        return owner_of(self.name) or None

    @property
    def told_name(self) -> str:
        """Its name as clients are told it."""
        return full_name(self.name) if self.named else self.name

    @property
    def total(self) -> int:
        """How many jobs and tasks."""
        return sum(self.counts.values())

    @property
    def progress(self) -> float:
        """The share of them that has ended, 0 to 1."""
        total = self.total
        ended = sum(count for state, count in self.counts.items() if split_state(state)[1] is not None)
        return ended / total if total else 0.0

    @property
    def terminal(self) -> bool:
        """Whether it has ended, and that is confirmed."""
        return self.phase is Phase.DONE and self.settled

    @property
    def started(self) -> bool:
        """Whether anything of it has begun to run."""
        return self.started_at is not None or self.phase in STARTED_PHASES

    def visible(self) -> tuple[object, ...]:
        """Return what makes an event when it changes."""
        return (self.phase, self.outcome, self.settled, self.counts, self.first_failure, self.deleted)


@attrs.frozen(eq=False)
class Membership:
    """
    The jobs of a workflow.

    :ivar members: by key. Only the publisher changes it, in the turn in which the change becomes visible.
    :ivar edges: (before, after) pairs, as the client gave them.
    """

    members: dict[JobKey, WorkflowMember] = attrs.field(factory=dict)
    edges: tuple[tuple[JobKey, JobKey], ...] = ()


#: The record of a workflow.
WorkflowRecord = Record[Workflow, Membership]


def owner_of(name: str) -> str:
    """Return the owner of the workflow of that name, as it is kept; empty if it is nobody's."""
    return name.partition("@")[2]


def full_name(name: str) -> str:
    """Return a name as it is kept in the form ``OWNER/NAME``; that of one that is nobody's as it is."""
    own, _, owner = name.partition("@")
    return f"{owner}/{own}" if owner else name


def kept_name(text: str, asker: str = "") -> str:
    """
    Return a name that a client wrote as it is kept. What is no name stays none.

    :param text: ``OWNER/NAME``, ``NAME@OWNER``, or ``NAME`` for one of the asker's own; ``-/NAME`` is one that is nobody's.
    :param asker: the user who wrote it; empty for who did not say who he is.
    """
    owner, slash, own = text.rpartition("/")
    if slash:
        if not owner or not WORKFLOW_NAME.fullmatch(own):
            return text
        return own if owner == NOBODY else f"{own}@{owner}"
    return f"{text}@{asker}" if asker and "@" not in text else text


def workflow_key(name: str) -> JobKey:
    """Return the key under which a workflow's events are found."""
    return (NO_CLUSTER, name)


@attrs.define(eq=False)
class Tally:
    """
    The sum of members, kept as they change.

    :ivar begun: how many have begun to run.
    :ivar unsettled: how many have not ended for good.
    """

    counts: dict[str, int] = attrs.field(factory=dict)
    begun: int = 0
    unsettled: int = 0
    started_at: float | None = None
    ended_at: float | None = None

    def copy(self) -> Tally:
        """Return another one, to go on from."""
        return attrs.evolve(self, counts=dict(self.counts))

    def add(self, member: WorkflowMember) -> None:
        """Count one more."""
        self._count(member, 1)
        if member.started_at is not None and member.begun:
            self.started_at = min(member.started_at, self.started_at or member.started_at)
        if member.ended_at is not None:
            self.ended_at = max(member.ended_at, self.ended_at or member.ended_at)

    def remove(self, member: WorkflowMember) -> None:
        """Count one less. When the first began stays known."""
        self._count(member, -1)

    def _count(self, member: WorkflowMember, by: int) -> None:
        for state, count in member.parts.items():
            self.counts[state] = self.counts.get(state, 0) + by * count
            if not self.counts[state]:
                del self.counts[state]
        self.begun += by * member.begun
        self.unsettled += by * (not member.settled)

    def describe(self, before: Workflow, settles: bool) -> Workflow:
        """
        Return the workflow that these members make.

        :param settles: whether it may be settled, when all of its jobs are.
        """
        parts = [split_state(state) for state in self.counts]
        phase = whole_phase({phase for phase, _ in parts}, self.begun > 0)
        done = phase is Phase.DONE
        return attrs.evolve(
            before,
            phase=phase,
            outcome=worst(outcome for _, outcome in parts if outcome is not None) if done else None,
            settled=done and not self.unsettled and settles,
            counts=dict(sorted(self.counts.items())),
            started_at=self.started_at,
            ended_at=self.ended_at if done else None,
        )
