"""Events and records as JSON, and back."""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Mapping

from jobpush.core.model import STATES, Confidence, JobDescriptor, JobKey
from jobpush.core.record import (
    AnyRecord,
    Change,
    Changes,
    Event,
    HistoryEntry,
    JobRecord,
    Record,
    Sighting,
    Subject,
    packed,
    sighting,
    unpacked,
)
from jobpush.core.wire.jobs import job_bytes, job_from_fields
from jobpush.core.wire.values import JsonFields, dumps, from_time, quoted_time, to_json
from jobpush.core.wire.workflows import key_of, workflow_fields, workflow_from_fields
from jobpush.core.workflow import Membership, Workflow, WorkflowMember, WorkflowRecord


def number(epoch: str, seq: int, change: Change) -> Event:
    """Return the event of a change, with that number, and with its bytes: the one encoding of an event."""
    subject, kind = change.subject, change.subject.kind
    head = f'{{"seq":{seq},"cursor":"{epoch}-{seq}","type":"{kind}","at":{quoted_time(change.at)}'
    data = b"".join((head.encode(), _LABELS[kind], subject_bytes(subject), _ENDS[change.previous]))
    return Event(seq, change.at, subject, change.previous, data)


def subject_bytes(subject: Subject, event: Event | None = None) -> bytes:
    """
    Return a job or a workflow as the protocol has it.

    :param event: one that may have this very subject: then its bytes are taken from there.
    """
    if event is not None and event.subject is subject:
        label = _LABELS[subject.kind]
        return event.data[event.data.index(label) + len(label) : -len(_ENDS[event.previous])]
    if isinstance(subject, JobDescriptor):
        return job_bytes(subject)
    assert isinstance(subject, Workflow)
    return dumps(workflow_fields(subject))


#: What stands before the subject in an event, and nowhere earlier in it.
_LABELS = {kind: f',"{kind}":'.encode() for kind in (JobDescriptor.kind, Workflow.kind)}

#: What follows the subject in an event, by the state before.
_ENDS: dict[str | None, bytes] = {state: f',"previous":{{"state":"{state}"}}}}'.encode() for state in STATES}
_ENDS[None] = b',"previous":null}'


def number_all(epoch: str, last_seq: int, changes: Changes[AnyRecord]) -> Generator[None, None, list[Event]]:
    """
    Give all changes their numbers, and their records the histories that follow. Pauses every few dozen.

    :param last_seq: the number of the event before.
    :return: the events.
    """
    events: list[Event] = []
    records = changes.records
    for seq, change in enumerate(changes.changes, last_seq + 1):
        event = number(epoch, seq, change)
        events.append(event)
        _, name = change.subject.key
        record = records.get(name)
        if record is not None:
            records[name] = record.told(event)
        if seq % 64 == 0:
            yield
    return events


def event_from_bytes(data: bytes) -> Event:
    """Return an event from what `number` made of it."""
    fields = json.loads(data)
    kind, previous = fields["type"], fields["previous"]
    subject = _SUBJECT_FROM_FIELDS[kind](fields[kind])
    return Event(fields["seq"], from_time(fields["at"]), subject, previous["state"] if previous is not None else None, data)


def record_bytes(record: AnyRecord, event: Event | None = None) -> bytes:
    """
    Return a record for the journal; a workflow's without its members.

    :param event: its last event, if that is at hand (see `subject_bytes`).
    """
    subject = record.subject
    steps = [
        f'[{seq},{at!r},"{state}",{attempt},"{confidence.value}"]'
        for seq, at, state, attempt, confidence in unpacked(record.steps)
    ]
    return b"".join(
        (
            f'{{"{subject.kind}":'.encode(),
            subject_bytes(subject, event),
            _detail_bytes(record.detail),
            f',"updated_at":{record.updated_at!r},"last_seq":{record.last_seq},"history":[{",".join(steps)}]}}'.encode(),
        )
    )


def _detail_bytes(detail: object) -> bytes:
    """Return the fields of a record that only its kind has, with a comma before each."""
    if isinstance(detail, Membership):
        return b',"edges":' + dumps([["/".join(begin), "/".join(end)] for begin, end in detail.edges])
    assert isinstance(detail, Sighting)
    if not detail.unsettled and detail.range_row is None:
        return b',"absent_since":null,"unsettled_since":null,"range_row":null'
    times = f',"absent_since":{to_json(detail.absent_since)},"unsettled_since":{to_json(detail.unsettled_since)},"range_row":'
    return times.encode() + (job_bytes(detail.range_row) if detail.range_row is not None else b"null")


def job_record_from_bytes(data: bytes) -> JobRecord:
    """Return a job's record from `record_bytes`. Its row is left open: after a restart every job is compared once."""
    fields = json.loads(data)
    absent_since, unsettled_since, row = fields["absent_since"], fields["unsettled_since"], fields["range_row"]
    range_row = job_from_fields(row) if row is not None else None
    job = job_from_fields(fields["job"])
    return Record(job, sighting(job, None, absent_since, unsettled_since, range_row), *_past(fields))


def workflow_record_from_bytes(data: bytes, members: dict[JobKey, WorkflowMember]) -> WorkflowRecord:
    """Return a workflow's record from `record_bytes`, with its members."""
    fields = json.loads(data)
    edges = tuple((key_of(begin), key_of(end)) for begin, end in fields["edges"])
    return Record(workflow_from_fields(fields["workflow"]), Membership(members, edges), *_past(fields))


def _past(fields: JsonFields) -> tuple[float, int, bytes]:
    """Return when a record was updated, the number of its last event, and its steps."""
    history = (HistoryEntry(seq, at, state, attempt, Confidence(c)) for seq, at, state, attempt, c in fields["history"])
    return fields["updated_at"], fields["last_seq"], packed(history)


_SUBJECT_FROM_FIELDS: Mapping[str, Callable[[JsonFields], Subject]] = {
    JobDescriptor.kind: job_from_fields,
    Workflow.kind: workflow_from_fields,
}
