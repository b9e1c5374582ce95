"""
The values that flow through jobpush: jobs, their states, and what schedulers say of them.

Frozen values and pure functions only; nothing here knows a scheduler, a clock, a file or a socket.
Times are seconds since the epoch (UTC), as floats; durations are seconds.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from enum import Enum
from typing import ClassVar

import attrs

from jobpush.core.tasks import TaskSet


class Phase(str, Enum):
    """Where a job stands in its life."""

    QUEUED = "QUEUED"
    HELD = "HELD"
    STARTING = "STARTING"
    RUNNING = "RUNNING"
    SUSPENDED = "SUSPENDED"
    FINISHING = "FINISHING"
    DONE = "DONE"
    UNKNOWN = "UNKNOWN"


class Outcome(str, Enum):
    """How a job ended; only a job whose phase is DONE has one."""

    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"
    TIMEOUT = "TIMEOUT"
    OUT_OF_MEMORY = "OUT_OF_MEMORY"
    NODE_FAIL = "NODE_FAIL"
    LAUNCH_FAIL = "LAUNCH_FAIL"
    DEADLINE = "DEADLINE"
    PREEMPTED = "PREEMPTED"
    MOVED = "MOVED"
    LOST = "LOST"


class ReasonCode(str, Enum):
    """Why a job is not running, in a small vocabulary that is the same for every scheduler."""

    DEPENDENCY = "DEPENDENCY"
    BEGIN_TIME = "BEGIN_TIME"
    RESOURCES = "RESOURCES"
    PRIORITY = "PRIORITY"
    LIMIT = "LIMIT"
    HELD_BY_USER = "HELD_BY_USER"
    HELD_BY_ADMIN = "HELD_BY_ADMIN"
    ERROR = "ERROR"
    NODE_DOWN = "NODE_DOWN"
    STAGE_IN = "STAGE_IN"
    OTHER = "OTHER"


class Confidence(str, Enum):
    """How a state is known: seen in the queue, taken from accounting, or concluded."""

    OBSERVED = "observed"
    ACCOUNTING = "accounting"
    INFERRED = "inferred"


#: The phases in which a job has begun to run, whether or not it still does.
STARTED_PHASES = frozenset({Phase.RUNNING, Phase.SUSPENDED, Phase.FINISHING, Phase.DONE})

#: The phases in which a job waits for its start.
WAITING_PHASES = frozenset({Phase.QUEUED, Phase.HELD})

#: The phases that pass by themselves, without another word from the scheduler.
PASSING_PHASES = frozenset({Phase.STARTING, Phase.FINISHING})

#: Every value that the flat ``state`` can take.
STATES = frozenset({phase.value for phase in Phase if phase is not Phase.DONE} | {o.value for o in Outcome})


def split_state(state: str) -> tuple[Phase, Outcome | None]:
    """
    Return the phase and outcome that a flat ``state`` stands for.

    :raise ValueError: if it is none of `STATES`.
    """
    if state not in STATES:
        raise ValueError(f"{state!r} is not a state; expected one of {', '.join(sorted(STATES))}")
    if state in Phase.__members__:
        return Phase(state), None
    return Phase.DONE, Outcome(state)


@attrs.frozen(order=False, eq=False)
class JobDescriptor:
    """
    One job as it was seen: the unit of every answer and event.

    ``id`` is the scheduler's own canonical notation (``4711``, ``4711_3``, ``40+1``). ``parent`` is the id of the array or
    heterogeneous job that this is a part of, ``task_index`` an array task's index. On an array's parent, ``pending_tasks``
    are the tasks that the scheduler lists as a range, without a row of their own, and ``counts`` the number of parts per
    state.
    """

    cluster: str
    id: str
    phase: Phase
    outcome: Outcome | None = None
    settled: bool = False
    attempt: int = 0
    exit_code: int | None = None
    signal: int | None = None
    reason: str | None = None
    reason_code: ReasonCode | None = None
    flags: tuple[str, ...] = ()
    native: Mapping[str, str] = attrs.field(factory=dict)
    aliases: tuple[str, ...] = ()
    uid: str = ""
    name: str | None = None
    user: str | None = None
    account: str | None = None
    submitted_at: float | None = None
    started_at: float | None = None
    ended_at: float | None = None
    queue: str | None = None
    nodes: str | None = None
    workdir: str | None = None
    comment: str | None = None
    time_limit_s: int | None = None
    observed_at: float = 0.0
    source: str = ""
    confidence: Confidence = Confidence.OBSERVED
    parent: str | None = None
    task_index: int | None = None
    pending_tasks: TaskSet | None = None
    counts: Mapping[str, int] | None = None

    kind: ClassVar[str] = "job"
    each_event_is_a_step: ClassVar[bool] = True

    def __attrs_post_init__(self) -> None:
        if (self.phase is Phase.DONE) != (self.outcome is not None):
            raise ValueError(f"job {self.id}: phase {self.phase.value} with outcome {self.outcome}")
        if not self.uid:
            object.__setattr__(self, "uid", f"{self.cluster}/{self.id}@{int(self.submitted_at or 0)}")

    @property
    def state(self) -> str:
        """The outcome of a job that is done, else its phase: enough for a simple client."""
        return self.outcome.value if self.outcome is not None else self.phase.value

    @property
    def key(self) -> JobKey:
        """What the job is found by: its cluster and its id."""
        return (self.cluster, self.id)

    @property
    def done(self) -> bool:
        """Whether it has ended, as far as is known now."""
        return self.phase is Phase.DONE

    @property
    def terminal(self) -> bool:
        """Whether it has ended, and that is confirmed."""
        return self.phase is Phase.DONE and self.settled

    @property
    def started(self) -> bool:
        """Whether it has begun to run; it may have ended since."""
        return self.phase in STARTED_PHASES

    @property
    def deleted(self) -> bool:
        """Whether this is the last that is told of it: it never is, a job may be requeued."""
        return False

    def says_the_same(self, other: JobDescriptor) -> bool:
        """Return whether everything is the same but when it was observed."""
        return all(getattr(self, name) == getattr(other, name) for name in _SAID)

    def visible(self) -> tuple[object, ...]:
        """Return what makes an event when it changes. Not ``observed_at``, and not the wording of ``reason`` alone."""
        return (
            self.phase,
            self.outcome,
            self.settled,
            self.attempt,
            self.exit_code,
            self.signal,
            self.reason_code,
            self.queue,
            self.nodes,
            self.started_at,
            self.ended_at,
            self.flags,
        )


#: The fields of a descriptor that say something of the job.
_SAID = tuple(f.name for f in attrs.fields(JobDescriptor) if f.name != "observed_at")

#: What a job is found by: (cluster, id).
JobKey = tuple[str, str]


@attrs.frozen(eq=False)
class Snapshot:
    """
    What one successful query of one scheduler said.

    :ivar jobs: every job that was listed, by id.
    :ivar began_at: when the query began; what happened later may be missing.
    :ivar ended_at: when its answer was complete.
    :ivar rejected: why rows could not be understood, one text each (the first few of them).
    :ivar rejected_count: how many rows that were.
    :ivar rejected_ids: the ids of such rows, as far as they could be read. Such a job is not absent.
    :ivar base: the ``jobs`` of an earlier snapshot, if it is known what is different now. Then each job that is there and not
        among ``fresh`` is the same object.
    :ivar fresh: the ids of jobs that are not as in ``base``.
    :ivar gone: the ids of jobs of ``base`` that are not listed any more.
    :ivar partial: whether these are only the jobs that were asked for by name; then no job is absent.
    """

    jobs: Mapping[str, JobDescriptor]
    began_at: float
    ended_at: float
    rejected: tuple[str, ...] = ()
    rejected_count: int = 0
    rejected_ids: frozenset[str] = frozenset()
    base: Mapping[str, JobDescriptor] | None = None
    fresh: Sequence[str] | None = None
    gone: Sequence[str] = ()
    partial: bool = False


@attrs.frozen(eq=False)
class Outcomes:
    """
    What accounting said of jobs that left the queue.

    :ivar answered: whether accounting answered at all; if not, having no record says nothing.
    :ivar jobs: the jobs that it has a record of, by id.
    """

    answered: bool
    jobs: Mapping[str, JobDescriptor] = attrs.field(factory=dict)


@attrs.frozen
class QueueFacts:
    """
    What a scheduler lets this service see and know.

    :ivar sees_all: whether the service's account may see every user's jobs; only then does a missing row mean anything.
    :ivar hides_jobs: whether the scheduler hides jobs from other users; then loopback is no protection for what is served.
    :ivar accounting: whether the outcome of a job that left the queue can be asked for.
    :ivar remembers_s: how long the scheduler lists finished jobs, in seconds; 0 if it does not; None if unknown.
    :ivar remembers_by: the name of the scheduler's setting for that.
    :ivar lists_ended: whether an array's task that has ended stays listed, at least for as long as other tasks of it are; where
        it does not, one that left its array's pending range may have run.
    :ivar evidence: how the above is known.
    :ivar problems: what an administrator should mend, one sentence each.
    """

    sees_all: bool
    hides_jobs: bool = False
    accounting: bool = False
    remembers_s: float | None = None
    remembers_by: str = ""
    evidence: str = ""
    problems: tuple[str, ...] = ()
    lists_ended: bool = True


@attrs.frozen
class Cursor:
    """A place in the journal: after event ``seq`` of the journal ``epoch``."""

    epoch: str
    seq: int

    def __str__(self) -> str:
        return f"{self.epoch}-{self.seq}"

    @classmethod
    def parse(cls, text: str) -> Cursor:
        """
        :raise ValueError: if it is not ``<epoch>-<seq>``.
        """
        found = re.fullmatch(r"([0-9A-Za-z]{1,64})-([0-9]{1,18})", text)
        if found is None:
            raise ValueError("a cursor looks like EPOCH-NUMBER, as an earlier answer gave it")
        return cls(found[1], int(found[2]))
