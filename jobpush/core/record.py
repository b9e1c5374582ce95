"""
What is kept and told of jobs and workflows: one change, one event, one record, whatever the subject.

Values only.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from typing import ClassVar, Generic, NamedTuple, Protocol, TypeVar, cast

import attrs

from jobpush.core.model import STATES, Confidence, JobDescriptor, JobKey

#: How many steps of its life a record keeps; older ones are in the journal as long as that keeps them.
HISTORY_LENGTH = 200


class Subject(Protocol):
    """
    What changes, events and records are about: a `JobDescriptor` or a `Workflow`.

    :ivar kind: ``job`` or ``workflow``: the type of its events.
    :ivar each_event_is_a_step: whether its history has every event, or only those with another state.
    :ivar key: (cluster, id); a workflow has the cluster ``""``.
    :ivar uid: what is the same in all events of one life; ids recur.
    :ivar user: whose it is, where that is known.
    :ivar parent: the id of the array that it is a part of.
    :ivar state: the outcome if it has ended, else the phase.
    :ivar started: whether it, or anything of it, has begun to run.
    :ivar moved_key: what it is found by now that it was moved to another cluster; None if it was not, or nobody knows where to.
    :ivar terminal: whether it has ended, and that is confirmed.
    :ivar deleted: whether this is the last that is told of it.
    """

    kind: ClassVar[str]
    each_event_is_a_step: ClassVar[bool]

    @property
    def key(self) -> JobKey: ...

    @property
    def uid(self) -> str: ...

    @property
    def user(self) -> str | None: ...

    @property
    def parent(self) -> str | None: ...

    @property
    def moved_key(self) -> JobKey | None: ...

    @property
    def state(self) -> str: ...

    @property
    def attempt(self) -> int: ...

    @property
    def confidence(self) -> Confidence: ...

    @property
    def started(self) -> bool: ...

    @property
    def terminal(self) -> bool: ...

    @property
    def deleted(self) -> bool: ...

    def visible(self) -> tuple[object, ...]:
        """Return what makes an event when it changes."""


S_co = TypeVar("S_co", bound=Subject, covariant=True)
D_co = TypeVar("D_co", covariant=True)


@attrs.frozen(eq=False, weakref_slot=False)
class Change:
    """A change that has no number yet: the subject as it is now, its state before, and when (seconds since the epoch)."""

    subject: Subject
    previous: str | None
    at: float


class HistoryEntry(NamedTuple):
    """One step of a life: the state that was entered, when, and the number of the event that told it."""

    seq: int
    at: float
    state: str
    attempt: int
    confidence: Confidence


@attrs.frozen(eq=False, weakref_slot=False)
class Event:
    """
    A change of a job or a workflow, with its number.

    :ivar seq: the number; the numbers of a journal have no gaps.
    :ivar at: when it happened, in seconds since the epoch.
    :ivar subject: the job or the workflow as it is from then on.
    :ivar previous: its state before; None if it is new.
    :ivar data: the event as JSON, as every client gets it.
    """

    seq: int
    at: float
    subject: Subject
    previous: str | None
    data: bytes = attrs.field(repr=False)

    @property
    def kind(self) -> str:
        """``job`` or ``workflow``."""
        return self.subject.kind

    @property
    def key(self) -> JobKey:
        """The key of its subject."""
        return self.subject.key

    @property
    def parent(self) -> str | None:
        """The id of the array that its job is a part of."""
        return self.subject.parent

    @property
    def job(self) -> JobDescriptor:
        """
        The job that changed.

        :raise AttributeError: if it is the event of a workflow.
        """
        if not isinstance(self.subject, JobDescriptor):
            raise AttributeError(f"event {self.seq} tells of a {self.kind}, not of a job")
        return self.subject

    @property
    def step(self) -> HistoryEntry:
        """What this event adds to the history of its subject."""
        subject = self.subject
        return HistoryEntry(self.seq, self.at, subject.state, subject.attempt, subject.confidence)


#: The events that listeners are told: those of jobs.
JobStatusEvent = Event


@attrs.frozen(eq=False, weakref_slot=False)
class Sighting:
    """
    How the queries of its cluster saw a job.

    :ivar row: see `row_of`.
    :ivar absent_since: the time from which successful queries did not list it.
    :ivar unsettled_since: the time from which it stands as done without confirmation.
    :ivar range_row: the scheduler's row for an array's pending range.
    """

    row: JobDescriptor | None = None
    absent_since: float | None = None
    unsettled_since: float | None = None
    range_row: JobDescriptor | None = None

    @property
    def unsettled(self) -> bool:
        """Whether time alone can change the job."""
        return self.absent_since is not None or self.unsettled_since is not None


#: How a job is seen that has not been compared with a snapshot.
UNSEEN = Sighting()

#: How nearly all jobs are seen: the job is what its row says, and nothing else is to be remembered.
AS_LISTED = Sighting()


def sighting(
    job: JobDescriptor,
    row: JobDescriptor | None,
    absent_since: float | None = None,
    unsettled_since: float | None = None,
    range_row: JobDescriptor | None = None,
) -> Sighting:
    """Return how that job is seen; a value of its own only where that is needed."""
    if absent_since is None and unsettled_since is None and range_row is None:
        if row is None:
            return UNSEEN
        if row is job:
            return AS_LISTED
    return Sighting(row, absent_since, unsettled_since, range_row)


def row_of(record: JobRecord) -> JobDescriptor | None:
    """Return the row that showed a job last: the same object as long as the row does not change; None where there is none."""
    return record.subject if record.detail is AS_LISTED else record.detail.row


@attrs.frozen(eq=False, weakref_slot=False)
class Record(Generic[S_co, D_co]):
    """
    What the service keeps of one job or workflow.

    :ivar subject: the job or the workflow as it is now.
    :ivar detail: what only records of such subjects have: a job's `Sighting`, a workflow's `Membership`.
    :ivar updated_at: when anything of it changed last, in seconds since the epoch.
    :ivar last_seq: the number of its last event; 0 if there was none.
    :ivar steps: its history, packed (`packed`).
    """

    subject: S_co
    detail: D_co
    updated_at: float = 0.0
    last_seq: int = 0
    steps: bytes = b""

    @property
    def job(self) -> S_co:
        """The subject, of a job's record."""
        return self.subject

    @property
    def history(self) -> tuple[HistoryEntry, ...]:
        """The last `HISTORY_LENGTH` steps of its life, oldest first."""
        return tuple(map(HistoryEntry._make, unpacked(self.steps)))

    @property
    def last_at(self) -> float | None:
        """When its last step was, in seconds since the epoch; None if it has none."""
        at: float | None = _STEP.unpack_from(self.steps, len(self.steps) - _STEP.size)[1] if self.steps else None
        return at

    def told(self, event: Event) -> Record[S_co, D_co]:
        """Return the record with an event of its subject in its history."""
        subject, steps = event.subject, self.steps
        if (subject is self.subject or subject.uid == self.subject.uid) and (
            subject.each_event_is_a_step or not steps or self.history[-1].state != subject.state
        ):
            step = _pack(event.seq, event.at, subject.state, subject.attempt, subject.confidence)
            steps = (steps + step)[-HISTORY_LENGTH * _STEP.size :]
        return Record(self.subject, self.detail, self.updated_at, event.seq, steps)

    def as_of(self, event: Event) -> Record[S_co, D_co]:
        """Return the record as it was when that event of its subject was told."""
        steps = packed(entry for entry in self.history if entry.seq <= event.seq)
        return attrs.evolve(self, subject=cast(S_co, event.subject), last_seq=event.seq, steps=steps)


def unpacked(steps: bytes) -> Iterator[tuple[int, float, str, int, Confidence]]:
    """Yield the fields of each step, as `HistoryEntry` has them."""
    for seq, at, attempt, state, confidence in _STEP.iter_unpack(steps):
        yield seq, at, _STATES[state], attempt, _CONFIDENCES[confidence]


def packed(history: Iterable[HistoryEntry]) -> bytes:
    """Return a history as a record keeps it: as objects, the steps of a job would take more memory than all else of it."""
    return b"".join([_pack(*entry) for entry in history])


def _pack(seq: int, at: float, state: str, attempt: int, confidence: Confidence) -> bytes:
    return _STEP.pack(seq, at, min(attempt, _MOST), _STATE_NUMBERS[state], _CONFIDENCES.index(confidence))


#: A step: its event's number, its time, the attempt, the state and the confidence.
_STEP = struct.Struct("<qdqBB")
_MOST = 2**63 - 1

_STATES = tuple(sorted(STATES))
_STATE_NUMBERS = {state: number for number, state in enumerate(_STATES)}
_CONFIDENCES = tuple(Confidence)


#: The record of a job, and of either kind.
JobRecord = Record[JobDescriptor, Sighting]
AnyRecord = Record[Subject, object]

R_co = TypeVar("R_co", covariant=True, bound=AnyRecord)


@attrs.define(eq=False)
class Changes(Generic[R_co]):
    """
    What was found to have changed; nothing of it is in force yet.

    :ivar changes: what is to be told, in order.
    :ivar records: the records that replace the known ones, by id; a subject of ``changes`` that is not dropped has one.
    :ivar refreshed: records that differ in nothing that is worth writing down, by id.
    :ivar forgotten: the keys of what is dropped.
    """

    changes: list[Change] = attrs.field(factory=list)
    records: dict[str, R_co] = attrs.field(factory=dict)
    refreshed: dict[str, R_co] = attrs.field(factory=dict)
    forgotten: list[JobKey] = attrs.field(factory=list)

    def __bool__(self) -> bool:
        return bool(self.changes or self.records or self.forgotten)
