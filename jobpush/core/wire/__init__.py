"""
Values to bytes and back: jobs, workflows and events as JSON, the envelopes of the HTTP protocol, server-sent events.

Pure. An event is encoded once, when it gets its number; journal, long polls and streams share those bytes.
"""

from jobpush.core.wire.answers import envelope, history_fields, joined, shown_bytes, sse, sse_event
from jobpush.core.wire.events import (
    event_from_bytes,
    job_record_from_bytes,
    number,
    number_all,
    record_bytes,
    workflow_record_from_bytes,
)
from jobpush.core.wire.jobs import job_bytes, job_fields, job_from_fields
from jobpush.core.wire.values import dumps, from_time, to_time, utf8
from jobpush.core.wire.workflows import key_of, member_bytes, member_fields, member_from_bytes, workflow_fields

__all__ = [
    "dumps",
    "envelope",
    "event_from_bytes",
    "from_time",
    "history_fields",
    "job_bytes",
    "job_fields",
    "job_from_fields",
    "job_record_from_bytes",
    "joined",
    "key_of",
    "member_bytes",
    "member_fields",
    "member_from_bytes",
    "number",
    "number_all",
    "record_bytes",
    "shown_bytes",
    "sse",
    "sse_event",
    "to_time",
    "utf8",
    "workflow_fields",
    "workflow_record_from_bytes",
]
