"""
The values that flow through jobpush: jobs, their states, and what schedulers say of them.

Frozen values and pure functions only; nothing here knows a scheduler, a clock, a file or a socket.
Times are seconds since the epoch (UTC), as floats; durations are seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from enum import Enum
from operator import attrgetter
from typing import ClassVar

import attrs
from attrs import field

from jobpush.core.fields import Field, FieldKind, fields_of, on_wire
from jobpush.core.frozen import quick
from jobpush.core.shared import shared_number_or_none, shared_table, shared_text, shared_text_or_none
from jobpush.core.tasks import TaskSet

TEXT, NUMBER, BOOLEAN, TIME, TEXTS, TABLE, COUNTS, TASKS = (
    FieldKind.TEXT, FieldKind.NUMBER, FieldKind.BOOLEAN, FieldKind.TIME, FieldKind.TEXTS, FieldKind.TABLE, FieldKind.COUNTS,
    FieldKind.TASKS,
)  # fmt: skip


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

#: The flag of a job that ended while somebody held it.
HELD = "held"

#: The phases in which a job waits for its start.
WAITING_PHASES = frozenset({Phase.QUEUED, Phase.HELD})

#: The phases that pass by themselves, without another word from the scheduler.
PASSING_PHASES = frozenset({Phase.STARTING, Phase.FINISHING})

#: The source of what was concluded because no row tells of a job any more.
ABSENCE = "absence"

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


@attrs.frozen
class PastAttempt:
    """How an attempt ended that was followed by another, as far as that is known: what is not is None."""

    attempt: int = field(metadata=on_wire(NUMBER, "Which one it was, from 0."))
    outcome: Outcome | None = field(default=None, metadata=on_wire(Outcome))
    exit_code: int | None = field(default=None, metadata=on_wire(NUMBER))
    signal: int | None = field(default=None, metadata=on_wire(NUMBER))
    reason: str | None = field(default=None, metadata=on_wire(TEXT))
    started_at: float | None = field(default=None, metadata=on_wire(TIME))
    ended_at: float | None = field(default=None, metadata=on_wire(TIME))

    def or_else(self, other: PastAttempt) -> PastAttempt:
        """Return it with what the other says of the same attempt where it says nothing."""
        lacks = {one.name: getattr(other, one.name) for one in ATTEMPT_FIELDS if getattr(self, one.name) is None}
        return attrs.evolve(self, **lacks)


#: Its fields on the wire, in their order.
ATTEMPT_FIELDS = tuple(fields_of(PastAttempt))


@quick
@attrs.frozen(eq=False, weakref_slot=False)
class JobDescriptor:
    """
    One job as it was seen: the unit of every answer and event.

    ``id`` is the scheduler's own canonical notation (``4711``, ``4711_3``, ``40+1``). ``parent`` is the id of the array or
    heterogeneous job that this is a part of, ``task_index`` an array task's index. On an array's parent, ``pending_tasks``
    are the tasks that the scheduler lists as a range, without a row of their own, and ``counts`` the number of parts per
    state.

    Each attribute is a field on the wire and says so in its metadata; what else must know the fields follows from `JOB_FIELDS`.
    """

    cluster: str = field(converter=shared_text, metadata=on_wire(TEXT, "The name of the queue that it belongs to."))
    id: str = field(metadata=on_wire(TEXT, "The scheduler's own id: 4711, 4711_3, 123[4].server, 4711.3 …"))
    phase: Phase = field(metadata=on_wire(Phase, event=True))
    aliases: tuple[str, ...] = field(default=(), metadata=on_wire(TEXTS, "Other ids by which it can be asked for."))
    _uid: str = field(default="", alias="uid", metadata=on_wire(TEXT, "Names this very submission: ids recur."))
    name: str | None = field(default=None, metadata=on_wire(TEXT))
    user: str | None = field(default=None, converter=shared_text_or_none, metadata=on_wire(TEXT))
    account: str | None = field(default=None, converter=shared_text_or_none, metadata=on_wire(TEXT))
    outcome: Outcome | None = field(
        default=None, metadata=on_wire(Outcome, "How it ended; null while it has not.", event=True)
    )
    settled: bool = field(default=False, metadata=on_wire(BOOLEAN, "Has it ended, and is that confirmed?", event=True))
    attempt: int = field(default=0, metadata=on_wire(NUMBER, "0, and one more after each requeue.", event=True))
    exit_code: int | None = field(
        default=None, metadata=on_wire(NUMBER, "Of its script; null if a signal ended it, or it never ran.", event=True)
    )
    signal: int | None = field(default=None, metadata=on_wire(NUMBER, "The signal that ended it.", event=True))
    reason: str | None = field(
        default=None, converter=shared_text_or_none, metadata=on_wire(TEXT, "Why it waits or failed, in the scheduler's words.")
    )
    reason_code: ReasonCode | None = field(
        default=None, metadata=on_wire(ReasonCode, "The same in a vocabulary that all schedulers share.", event=True)
    )
    flags: tuple[str, ...] = field(default=(), metadata=on_wire(TEXTS, event=True))
    native: Mapping[str, str] = field(
        factory=dict, converter=shared_table, metadata=on_wire(TABLE, "What the scheduler said, verbatim.")
    )
    submitted_at: float | None = field(default=None, metadata=on_wire(TIME))
    started_at: float | None = field(default=None, metadata=on_wire(TIME, event=True))
    ended_at: float | None = field(default=None, metadata=on_wire(TIME, event=True))
    queue: str | None = field(
        default=None, converter=shared_text_or_none, metadata=on_wire(TEXT, "The partition or queue.", event=True)
    )
    nodes: str | None = field(default=None, converter=shared_text_or_none, metadata=on_wire(TEXT, event=True))
    workdir: str | None = field(default=None, converter=shared_text_or_none, metadata=on_wire(TEXT))
    comment: str | None = field(default=None, converter=shared_text_or_none, metadata=on_wire(TEXT))
    time_limit_s: int | None = field(default=None, converter=shared_number_or_none, metadata=on_wire(NUMBER))
    observed_at: float = field(default=0.0, metadata=on_wire(TIME))
    source: str = field(default="", converter=shared_text, metadata=on_wire(TEXT, "The command or file that told it."))
    confidence: Confidence = field(
        default=Confidence.OBSERVED, metadata=on_wire(Confidence, "Seen in the queue, taken from accounting, or concluded.")
    )
    previous_attempt: PastAttempt | None = field(
        default=None, metadata=on_wire(FieldKind.ATTEMPT, "Of a job that was requeued: how the attempt before ended.")
    )
    moved_to: str | None = field(
        default=None,
        metadata=on_wire(TEXT, "Of a job that is MOVED: CLUSTER/ID of the job that it is now, if that is known.", event=True),
    )
    parent: str | None = field(
        default=None, metadata=on_wire(TEXT, "The array or heterogeneous job that it is a part of.", optional=True)
    )
    task_index: int | None = field(default=None, metadata=on_wire(NUMBER, "Of an array's task.", optional=True))
    pending_tasks: TaskSet | None = field(
        default=None, metadata=on_wire(TASKS, "Of an array: the tasks that wait, such as 4-10,12.", optional=True)
    )
    counts: Mapping[str, int] | None = field(
        default=None, metadata=on_wire(COUNTS, "How many are in each state.", optional=True)
    )

    kind: ClassVar[str] = "job"
    each_event_is_a_step: ClassVar[bool] = True

    def __attrs_post_init__(self) -> None:
        if (self.phase is Phase.DONE) != (self.outcome is not None):
            raise ValueError(f"job {self.id}: phase {self.phase.value} with outcome {self.outcome}")
        if self._uid and self._uid == self._own_uid:
            object.__setattr__(self, "_uid", "")

    @property
    def _own_uid(self) -> str:
        return f"{self.cluster}/{self.id}@{int(self.submitted_at or 0)}"

    @property
    def uid(self) -> str:
        """
        What names this very submission: what was given, else what follows from the id and the time of submission.

        Who changes one of these in a copy, and means the same submission, gives the uid too.
        """
        return self._uid or self._own_uid

    def is_same_submission(self, other: JobDescriptor) -> bool:
        """Return whether both have the same uid."""
        alike = self.submitted_at == other.submitted_at and self.id == other.id and self.cluster == other.cluster
        return (alike and self._uid == other._uid) or self.uid == other.uid

    @property
    def state(self) -> str:
        """The outcome of a job that is done, else its phase: enough for a simple client."""
        state: str = (self.outcome or self.phase)._value_
        return state

    @property
    def key(self) -> JobKey:
        """What the job is found by: its cluster and its id."""
        return (self.cluster, self.id)

    @property
    def moved_key(self) -> JobKey | None:
        """What the job is found by that this one has become; None if it was not moved, or nobody knows where to."""
        if self.moved_to is None:
            return None
        cluster, _, job_id = self.moved_to.partition("/")
        return cluster, job_id

    @property
    def done(self) -> bool:
        """Whether it has ended, as far as is known now."""
        return self.phase is Phase.DONE

    @property
    def terminal(self) -> bool:
        """Whether it has ended, and that is confirmed."""
        return self.phase is Phase.DONE and self.settled

    @property
    def is_guess(self) -> bool:
        """Whether its end was concluded from its absence: a record, or a row, that comes later replaces it."""
        return self.source == ABSENCE and self.terminal

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
        return _said(self) == _said(other)

    def visible(self) -> tuple[object, ...]:
        """Return what makes an event when it changes. Not ``observed_at``, and not the wording of ``reason`` alone."""
        return _visible(self)


def _job_fields() -> Iterator[Field]:
    """Yield the fields of a job in their order on the wire: its state and its phase stand before its outcome."""
    cluster, job_id, phase, *others = fields_of(JobDescriptor)
    yield from (cluster, job_id)
    for one in others:
        if one.name == "outcome":
            states = dict.fromkeys(STATES)
            yield Field("state", FieldKind.WORD, states, description="The outcome if the phase is DONE, else the phase.")
            yield phase
        yield one


#: The fields of a job on the wire, in their order. ``state`` follows from phase and outcome.
JOB_FIELDS = tuple(_job_fields())

#: What a descriptor says of its job, and what of that makes an event when it changes.
_said: Callable[[JobDescriptor], tuple[object, ...]] = attrgetter(
    *(one.name for one in attrs.fields(JobDescriptor) if one.name != "observed_at")
)
_visible: Callable[[JobDescriptor], tuple[object, ...]] = attrgetter(*(one.name for one in JOB_FIELDS if one.event))

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
    :ivar whole: the ids of arrays of which all parts that ever were are among ``jobs``, or known.
    :ivar recorded: the ids of arrays of which all parts are that accounting has a record of.
    :ivar queries: how often the scheduler was asked for it.
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
    whole: frozenset[str] = frozenset()
    recorded: frozenset[str] = frozenset()
    queries: int = 1


@attrs.frozen(eq=False)
class Outcomes:
    """
    What accounting said of jobs that left the queue. Of a job that is in none of these it said nothing that counts: it did not
    answer, does not reach back so far, or has not caught up.

    :ivar jobs: how those have ended of which it has the end, by id.
    :ivar still_open: the ids of those that it has a record of without an end: they have not ended, however long they are not
        listed.
    :ivar no_record: the ids of those that it has no record of, although it reaches back to when they were last seen, and has
        caught up with what happened since.
    :ivar whole: whether it was asked about all of them; if not, about the others the next time.
    """

    jobs: Mapping[str, JobDescriptor] = attrs.field(factory=dict)
    still_open: frozenset[str] = frozenset()
    no_record: frozenset[str] = frozenset()
    whole: bool = True


@attrs.frozen
class QueueFacts:
    """
    What a scheduler lets this service see and know.

    :ivar sees_all: whether the service's account may see every user's jobs; only then does a missing row mean anything.
    :ivar hides_jobs: whether the scheduler hides jobs from other users; then loopback is no protection for what is served.
    :ivar accounting: whether the outcome of a job that left the queue can be asked for.
    :ivar remembers_s: how long the scheduler lists finished jobs, in seconds; 0 if it does not; None if unknown.
    :ivar remembers_by: the name of the scheduler's setting for that.
    :ivar lists_ended: whether an array's task that has ended stays listed for a while (``remembers_s``); where it does not, one
        that left its array's pending range may have run.
    :ivar records_waiting: whether accounting, or a log, has a record of an array's task that was deleted while it waited; else
        the records of an array's tasks do not prove that there were no others.
    :ivar whole_arrays: whether an array that is listed is listed with all of its tasks, those that have ended too, however long
        ago that was.
    :ivar evidence: how the above is known.
    :ivar problems: what an administrator should mend, one sentence each.
    :ivar answers_as: what the scheduler says that it is called, by which it is told from others; None if it has no name.
    """

    sees_all: bool
    hides_jobs: bool = False
    accounting: bool = False
    remembers_s: float | None = None
    remembers_by: str = ""
    evidence: str = ""
    problems: tuple[str, ...] = ()
    lists_ended: bool = True
    whole_arrays: bool = False
    records_waiting: bool = False
    answers_as: str | None = None
