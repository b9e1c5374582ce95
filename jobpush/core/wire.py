"""
Values to bytes and back: jobs and events as JSON, the envelopes of the HTTP protocol, server-sent events.

Pure. An event is encoded once, when it gets its number; journal, long polls and streams share those bytes.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Callable, Generator, Iterable, Mapping
from typing import Any

import attrs

from jobpush.core.model import STATES, Confidence, Cursor, JobDescriptor, JobKey, ReasonCode, split_state
from jobpush.core.record import UNSEEN, AnyRecord, Change, Changes, Event, HistoryEntry, JobRecord, Record, Sighting, Subject
from jobpush.core.tasks import TaskSet
from jobpush.core.workflow import FirstFailure, Member, Membership, Workflow, WorkflowRecord


def to_time(seconds: float | None) -> str | None:
    """Return RFC 3339 in UTC with milliseconds, from seconds since the epoch."""
    if seconds is None:
        return None
    millis = round(seconds * 1000)
    moment = _NAIVE_EPOCH + datetime.timedelta(milliseconds=millis)
    return moment.isoformat(timespec="milliseconds") + "Z"


def from_time(text: str) -> float:
    """
    Return seconds since the epoch, from RFC 3339.

    :raise ValueError: if it is something else, or has no zone.
    """
    moment = datetime.datetime.fromisoformat(text.replace("Z", "+00:00").replace("z", "+00:00"))
    if moment.tzinfo is None:
        raise ValueError(f"{text!r} has no time zone; expected RFC 3339, such as 2026-11-22T06:29:21Z")
    return round((moment - _EPOCH).total_seconds(), 3)


_NAIVE_EPOCH = datetime.datetime(1970, 1, 1)
_EPOCH = _NAIVE_EPOCH.replace(tzinfo=datetime.timezone.utc)

_TIMES = ("submitted_at", "started_at", "ended_at")
_TEXTS = ("reason", "name", "user", "account", "queue", "nodes", "workdir", "comment")
_NUMBERS = ("exit_code", "signal", "time_limit_s", "task_index")


def job_fields(job: JobDescriptor) -> dict[str, object]:
    """Return a job as the protocol names it."""
    fields: dict[str, object] = {
        "cluster": job.cluster,
        "id": job.id,
        "aliases": list(job.aliases),
        "uid": job.uid,
        "name": job.name,
        "user": job.user,
        "account": job.account,
        "state": job.state,
        "phase": job.phase.value,
        "outcome": job.outcome.value if job.outcome is not None else None,
        "settled": job.settled,
        "attempt": job.attempt,
        "exit_code": job.exit_code,
        "signal": job.signal,
        "reason": job.reason,
        "reason_code": job.reason_code.value if job.reason_code is not None else None,
        "flags": list(job.flags),
        "native": dict(job.native),
        "submitted_at": to_time(job.submitted_at),
        "started_at": to_time(job.started_at),
        "ended_at": to_time(job.ended_at),
        "queue": job.queue,
        "nodes": job.nodes,
        "workdir": job.workdir,
        "comment": job.comment,
        "time_limit_s": job.time_limit_s,
        "observed_at": to_time(job.observed_at),
        "source": job.source,
        "confidence": job.confidence.value,
    }
    if job.parent is not None:
        fields["parent"] = job.parent
    if job.task_index is not None:
        fields["task_index"] = job.task_index
    if job.pending_tasks is not None:
        fields["pending_tasks"] = str(job.pending_tasks)
    if job.counts is not None:
        fields["counts"] = dict(job.counts)
    return fields


def job_from_fields(fields: Mapping[str, Any], cluster: str | None = None) -> JobDescriptor:
    """
    Return a job from the protocol's names; only ``id`` and ``state`` must be there.

    :param cluster: overrides the field of that name.
    :raise ValueError: naming the field that is wrong, and what was expected.
    """
    unknown = sorted(set(fields) - _KNOWN_FIELDS)
    if unknown:
        raise ValueError(f"unknown field {unknown[0]!r}")
    values: dict[str, Any] = {}
    for name in ("id", "state"):
        if not isinstance(fields.get(name), str) or not fields[name]:
            raise ValueError(f"{name!r} is missing or not a text")
    phase, outcome = split_state(fields["state"])
    for name in (*_TEXTS, "uid", "source", "parent"):
        value = fields.get(name)
        if value is not None and not isinstance(value, str):
            raise ValueError(f"{name!r} is not a text")
        values[name] = value
    values["uid"] = values["uid"] or ""
    values["source"] = values["source"] or ""
    for name in (*_NUMBERS, "attempt"):
        value = fields.get(name)
        if value is not None and (not isinstance(value, int) or isinstance(value, bool)):
            raise ValueError(f"{name!r} is not a whole number")
        values[name] = value
    values["attempt"] = values["attempt"] or 0
    for name in (*_TIMES, "observed_at"):
        value = fields.get(name)
        if value is not None and not isinstance(value, str):
            raise ValueError(f"{name!r} is not a time; expected RFC 3339, such as 2026-11-22T06:29:21Z")
        try:
            values[name] = from_time(value) if value is not None else None
        except (ValueError, OverflowError):
            raise ValueError(f"{name!r}: {value!r} is not a time; expected RFC 3339, such as 2026-11-22T06:29:21Z") from None
    values["observed_at"] = values["observed_at"] or 0.0
    settled = fields.get("settled", outcome is not None)
    if not isinstance(settled, bool):
        raise ValueError("'settled' is neither true nor false")
    for name in ("aliases", "flags"):
        value = fields.get(name) or []
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise ValueError(f"{name!r} is not a list of texts")
        values[name] = tuple(value)
    native = fields.get("native") or {"state": fields["state"]}
    if not isinstance(native, dict) or not all(isinstance(v, str) for v in native.values()):
        raise ValueError("'native' is not a table of texts")
    reason_code = fields.get("reason_code")
    confidence = fields.get("confidence") or Confidence.OBSERVED.value
    pending = fields.get("pending_tasks")
    if pending is not None and not isinstance(pending, str):
        raise ValueError("'pending_tasks' is not a text such as '0-9'")
    counts = fields.get("counts")
    if counts is not None and (not isinstance(counts, dict) or not set(counts) <= STATES):
        raise ValueError("'counts' is not a table of states")
    return JobDescriptor(
        cluster=cluster if cluster is not None else str(fields.get("cluster", "")),
        id=fields["id"],
        phase=phase,
        outcome=outcome,
        settled=settled and outcome is not None,
        native=native,
        reason_code=ReasonCode(reason_code) if reason_code is not None else None,
        confidence=Confidence(confidence),
        pending_tasks=TaskSet.parse(pending) if pending else None,
        counts=counts,
        **values,
    )


def number(epoch: str, seq: int, change: Change) -> Event:
    """Return the event of a change, with that number, and with its bytes: the one encoding of an event."""
    subject = change.subject
    data = dumps(
        {
            "seq": seq,
            "cursor": str(Cursor(epoch, seq)),
            "type": subject.kind,
            "at": to_time(change.at),
            subject.kind: subject_fields(subject),
            "previous": {"state": change.previous} if change.previous is not None else None,
        }
    )
    return Event(seq, change.at, subject, change.previous, data)


def number_all(epoch: str, last_seq: int, changes: Changes) -> Generator[None, None, list[Event]]:
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
        record = records.get(event.key[1])
        if record is not None:
            records[event.key[1]] = record.told(event)
        if seq % 64 == 0:
            yield
    return events


def event_from_bytes(data: bytes) -> Event:
    """Return an event from what `number` made of it."""
    fields = json.loads(data)
    kind, previous = fields["type"], fields["previous"]
    subject = _SUBJECT_FROM_FIELDS[kind](fields[kind])
    return Event(fields["seq"], from_time(fields["at"]), subject, previous["state"] if previous is not None else None, data)


def record_bytes(record: AnyRecord) -> bytes:
    """Return a record for the journal; a workflow's without its members."""
    return dumps(
        {
            record.subject.kind: subject_fields(record.subject),
            **_detail_fields(record.detail),
            "updated_at": record.updated_at,
            "last_seq": record.last_seq,
            "history": [[h.seq, h.at, h.state, h.attempt, h.confidence.value] for h in record.history],
        }
    )


def _detail_fields(detail: object) -> dict[str, object]:
    if isinstance(detail, Membership):
        return {"edges": [["/".join(begin), "/".join(end)] for begin, end in detail.edges]}
    assert isinstance(detail, Sighting)
    return {
        "absent_since": detail.absent_since,
        "unsettled_since": detail.unsettled_since,
        "range_row": job_fields(detail.range_row) if detail.range_row is not None else None,
    }


def job_record_from_bytes(data: bytes) -> JobRecord:
    """Return a job's record from `record_bytes`. Its row is left open: after a restart every job is compared once."""
    fields = json.loads(data)
    absent_since, unsettled_since, row = fields["absent_since"], fields["unsettled_since"], fields["range_row"]
    range_row = job_from_fields(row) if row is not None else None
    plain = absent_since is None and unsettled_since is None and row is None
    sighting = UNSEEN if plain else Sighting(None, absent_since, unsettled_since, range_row)
    return Record(job_from_fields(fields["job"]), sighting, *_past(fields))


def workflow_record_from_bytes(data: bytes, members: dict[JobKey, Member]) -> WorkflowRecord:
    """Return a workflow's record from `record_bytes`, with its members."""
    fields = json.loads(data)
    edges = tuple((key_of(begin), key_of(end)) for begin, end in fields["edges"])
    return Record(workflow_from_fields(fields["workflow"]), Membership(members, edges), *_past(fields))


def _past(fields: Mapping[str, Any]) -> tuple[float, int, tuple[HistoryEntry, ...]]:
    """When a record was updated, the number of its last event, and its history."""
    history = (HistoryEntry(seq, at, state, attempt, Confidence(c)) for seq, at, state, attempt, c in fields["history"])
    return fields["updated_at"], fields["last_seq"], tuple(history)


def subject_fields(subject: Subject) -> dict[str, object]:
    """Return a job or a workflow as the protocol names it."""
    if isinstance(subject, JobDescriptor):
        return job_fields(subject)
    assert isinstance(subject, Workflow)
    return workflow_fields(subject)


def workflow_fields(workflow: Workflow) -> dict[str, object]:
    """Return a workflow as the protocol names it."""
    failure = workflow.first_failure
    fields: dict[str, object] = {
        "name": workflow.name,
        "state": workflow.state,
        "phase": workflow.phase.value,
        "outcome": workflow.outcome.value if workflow.outcome is not None else None,
        "settled": workflow.settled,
        "progress": round(workflow.progress, 4),
        "counts": dict(workflow.counts),
        "first_failure": None,
        "started_at": to_time(workflow.started_at),
        "ended_at": to_time(workflow.ended_at),
        "found": workflow.found,
    }
    if failure is not None:
        fields["first_failure"] = {
            "job": "/".join(failure.job),
            "member": "/".join(failure.member),
            "state": failure.state,
            "exit_code": failure.exit_code,
            "signal": failure.signal,
            "reason": failure.reason,
            "at": to_time(failure.at),
        }
    if workflow.deleted:
        fields["deleted"] = True
    return fields


def workflow_from_fields(fields: Mapping[str, Any]) -> Workflow:
    """Return a workflow from `workflow_fields`, for what the journal has stored."""
    phase, outcome = split_state(fields["state"])
    failure = fields["first_failure"]
    return Workflow(
        name=fields["name"], phase=phase, outcome=outcome, settled=fields["settled"], counts=fields["counts"],
        first_failure=FirstFailure(
            key_of(failure["job"]), key_of(failure["member"]), failure["state"], from_time(failure["at"]),
            failure["exit_code"], failure["signal"], failure["reason"],
        ) if failure is not None else None,
        started_at=_time_or_none(fields["started_at"]), ended_at=_time_or_none(fields["ended_at"]),
        found=fields["found"], deleted=fields.get("deleted", False),
    )  # fmt: skip


_SUBJECT_FROM_FIELDS: Mapping[str, Callable[[Mapping[str, Any]], Subject]] = {
    JobDescriptor.kind: job_from_fields,
    Workflow.kind: workflow_from_fields,
}


def member_fields(key: JobKey, member: Member) -> dict[str, object]:
    """Return a workflow's job as the protocol shows it."""
    fields: dict[str, object] = {
        "job": "/".join(key),
        "name": member.name,
        "state": member.state,
        "exit_code": member.exit_code,
        "submitted_at": to_time(member.submitted_at),
        "started_at": to_time(member.started_at),
        "ended_at": to_time(member.ended_at),
    }
    if member.counts is not None:
        fields["counts"] = dict(member.counts)
    return fields


def member_bytes(member: Member) -> bytes:
    """Return a workflow's member for the journal."""
    return dumps(attrs.asdict(member, recurse=False))


def member_from_bytes(data: bytes) -> Member:
    """Return a member from `member_bytes`."""
    return Member(**json.loads(data))


def key_of(text: str) -> JobKey:
    """Return the key that ``CLUSTER/ID`` stands for."""
    cluster, _, job_id = text.partition("/")
    return (cluster, job_id)


def _time_or_none(text: str | None) -> float | None:
    return from_time(text) if text is not None else None


def history_fields(epoch: str, history: Iterable[HistoryEntry]) -> list[dict[str, object]]:
    """Return a history as the protocol shows it, oldest first."""
    return [
        {
            "cursor": str(Cursor(epoch, entry.seq)),
            "at": to_time(entry.at),
            "state": entry.state,
            "attempt": entry.attempt,
            "confidence": entry.confidence.value,
        }
        for entry in history
    ]


def shown_bytes(epoch: str, job: JobDescriptor, history: Iterable[HistoryEntry]) -> bytes:
    """Return what an answer says of a job, the beginning of a JSON object: it is the same until the job changes."""
    return dumps({"job": job_fields(job), "history": history_fields(epoch, history)})[:-1]


def joined(begin: bytes, rest: bytes) -> bytes:
    """Return a JSON object of such a beginning and the fields of another object."""
    return begin + b"," + rest[1:]


def envelope(fields: Mapping[str, object], events: Iterable[Event] | None = None) -> bytes:
    """Return a JSON object of these fields; ``events`` are put in as the bytes that they already are."""
    body = dumps(fields)
    if events is None:
        return body
    listed = b'"events":[' + b",".join(event.data for event in events) + b"]"
    return body[:-1] + (b"," if len(body) > 2 else b"") + listed + b"}"


def sse(name: str, data: bytes, cursor: str | None = None) -> bytes:
    """Return one server-sent event. ``data`` is JSON on one line."""
    head = f"id: {cursor}\n" if cursor is not None else ""
    return f"{head}event: {name}\ndata: ".encode() + data + b"\n\n"


def sse_event(epoch: str, event: Event) -> bytes:
    """Return an event of the journal as a server-sent event."""
    return sse(event.kind, event.data, f"{epoch}-{event.seq}")


def dumps(fields: Mapping[str, object]) -> bytes:
    """Return compact JSON in UTF-8. Lone surrogates (a scheduler's bytes that are not UTF-8) become U+FFFD."""
    text = _ENCODER.encode(fields)
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").encode("utf-8")


_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))

_KNOWN_FIELDS = (
    {field.name for field in attrs.fields(JobDescriptor)} | {"state"}
)
