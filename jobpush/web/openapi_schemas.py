"""
What the answers of the HTTP interface look like, as JSON Schemas of the OpenAPI document (`jobpush.web.openapi`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import Enum
from typing import Any

from jobpush.core.fields import Field, FieldKind
from jobpush.core.model import ATTEMPT_FIELDS, JOB_FIELDS, STATES, Confidence, Outcome, Phase
from jobpush.web.principal import Scope

Schema = dict[str, Any]

TEXT: Schema = {"type": "string"}
NUMBER: Schema = {"type": "number"}
INTEGER: Schema = {"type": "integer"}
BOOLEAN: Schema = {"type": "boolean"}
TIME: Schema = {"type": "string", "format": "date-time"}


def or_null(schema: Schema, **more: object) -> Schema:
    """The same, or null."""
    kind = schema["type"]
    return {**schema, "type": [kind, "null"], **more}


def list_of(items: Schema) -> Schema:
    """A list of these."""
    return {"type": "array", "items": items}


def ref(name: str) -> Schema:
    """One of `SCHEMAS`."""
    return {"$ref": f"#/components/schemas/{name}"}


def object_of(properties: Mapping[str, Schema], optional: tuple[str, ...] = (), **more: object) -> Schema:
    """An object with these properties, all of which are there but the optional ones."""
    required = [name for name in properties if name not in optional]
    return {"type": "object", "properties": dict(properties), "required": required, **more}


def enum_of(values: Iterable[Enum | str], **more: object) -> Schema:
    """One of these texts, or of the members of an enumeration."""
    return {"type": "string", "enum": sorted(value.value if isinstance(value, Enum) else value for value in values), **more}


def _nullable_enum(values: Iterable[Enum]) -> Schema:
    found = sorted(value.value for value in values)
    return {"type": ["string", "null"], "enum": [*found, None]}


_COUNTS: Schema = {"type": "object", "additionalProperties": INTEGER, "description": "How many are in each state."}

#: What a field of each kind looks like; a word is one of an enumeration.
_KINDS: Mapping[FieldKind, Schema] = {
    FieldKind.TEXT: TEXT,
    FieldKind.NUMBER: INTEGER,
    FieldKind.BOOLEAN: BOOLEAN,
    FieldKind.TIME: TIME,
    FieldKind.TEXTS: list_of(TEXT),
    FieldKind.TABLE: {"type": "object", "additionalProperties": TEXT},
    FieldKind.COUNTS: {"type": "object", "additionalProperties": INTEGER},
    FieldKind.TASKS: TEXT,
}


def schema_of(field: Field) -> Schema:
    """Return the schema of a field that a value declares (`jobpush.core.fields`)."""
    if field.kind is FieldKind.WORD:
        schema = enum_of(field.words)
    elif field.kind is FieldKind.ATTEMPT:
        schema = object_of({part.name: schema_of(part) for part in ATTEMPT_FIELDS})
    else:
        schema = _KINDS[field.kind]
    if field.nullable:
        schema = or_null(schema)
        if field.kind is FieldKind.WORD:
            schema["enum"] = [*schema["enum"], None]
    return {**schema, "description": field.description} if field.description else schema


_JOB = object_of(
    {field.name: schema_of(field) for field in JOB_FIELDS},
    optional=tuple(field.name for field in JOB_FIELDS if field.optional),
)

_STEP = object_of(
    {"cursor": TEXT, "at": TIME, "state": enum_of(STATES), "attempt": INTEGER, "confidence": enum_of(Confidence)},
)

_PREVIOUS: Schema = {"type": ["object", "null"], "properties": {"state": TEXT}, "required": ["state"]}

_EVENT = object_of(
    {
        "seq": INTEGER,
        "cursor": {**TEXT, "description": "What comes after this event can be asked for with it."},
        "type": {"type": "string", "enum": ["job", "workflow"]},
        "at": {**TIME, "description": "When it happened; the scheduler's own time where that is known."},
        "job": ref("Job"),
        "workflow": ref("Workflow"),
        "previous": _PREVIOUS,
    },
    optional=("job", "workflow"),
)

_FAILURE = {
    "type": ["object", "null"],
    "properties": {
        "job": TEXT, "member": TEXT, "state": TEXT, "exit_code": or_null(INTEGER), "signal": or_null(INTEGER),
        "reason": or_null(TEXT), "at": TIME,
    },
    "required": ["job", "member", "state", "at"],
}  # fmt: skip

_WORKFLOW = object_of(
    {
        "name": TEXT,
        "state": enum_of(STATES),
        "phase": enum_of(Phase),
        "outcome": _nullable_enum(Outcome),
        "settled": BOOLEAN,
        "progress": {**NUMBER, "minimum": 0, "maximum": 1, "description": "The share of its jobs and tasks that has ended."},
        "counts": _COUNTS,
        "first_failure": _FAILURE,
        "started_at": or_null(TIME),
        "ended_at": or_null(TIME),
        "found": {**BOOLEAN, "description": "Was it found in jobs' tags, rather than put by a client?"},
        "deleted": BOOLEAN,
    },
    optional=("deleted",),
)

_MEMBER = object_of(
    {
        "job": TEXT, "name": or_null(TEXT), "state": TEXT, "exit_code": or_null(INTEGER), "submitted_at": or_null(TIME),
        "started_at": or_null(TIME), "ended_at": or_null(TIME), "counts": _COUNTS,
    },
    optional=("counts",),
)  # fmt: skip

_MET = object_of(
    {
        "job": TEXT, "workflow": TEXT, "asked": TEXT, "moved_to": TEXT, "state": TEXT, "exit_code": or_null(INTEGER),
        "signal": or_null(INTEGER), "reason": or_null(TEXT), "started_at": or_null(TIME), "ended_at": or_null(TIME),
        "confidence": enum_of(Confidence), "counts": _COUNTS,
    },
    optional=("job", "workflow", "asked", "moved_to", "exit_code", "signal", "reason", "confidence", "counts"),
)  # fmt: skip

_HEALTH = object_of(
    {"stale_s": or_null(NUMBER, description="Seconds since the query began that this is from."), "health": TEXT},
)
_CLUSTERS: Schema = {"type": "object", "additionalProperties": _HEALTH}

_PROBLEM = object_of(
    {
        "type": TEXT,
        "title": TEXT,
        "status": INTEGER,
        "detail": {**TEXT, "description": "What is wrong, and what was expected."},
        "parameter": {**TEXT, "description": "The parameter, field, header or path part that is at fault."},
        "oldest_cursor": TEXT,
        "snapshot_url": TEXT,
        "stale_s": or_null(NUMBER),
        "health": TEXT,
    },
    optional=("parameter", "oldest_cursor", "snapshot_url", "stale_s", "health"),
)

_TOKEN: Schema = {
    "id": {**TEXT, "description": "Its name, which is no secret."},
    "user": TEXT,
    "label": {**TEXT, "description": "What its owner calls it."},
    "scopes": list_of(enum_of(Scope)),
    "made_at": TIME,
    "expires_at": TIME,
}

SCHEMAS: dict[str, Schema] = {
    "Job": _JOB,
    "Step": _STEP,
    "Event": _EVENT,
    "Workflow": _WORKFLOW,
    "Problem": _PROBLEM,
    "JobAnswer": object_of(
        {
            "job": {"anyOf": [ref("Job"), {"type": "null"}]},
            "history": list_of(ref("Step")),
            "events": list_of(ref("Event")),
            "cursor": TEXT,
            "timed_out": BOOLEAN,
            "stale_s": or_null(NUMBER),
            "health": TEXT,
            "more": BOOLEAN,
            "oldest_cursor": TEXT,
        },
        optional=("more", "oldest_cursor"),
    ),
    "Jobs": object_of(
        {
            "cursor": {**TEXT, "description": "Of the first page: follow changes from here."},
            "jobs": list_of(ref("Job")),
            "after": {**TEXT, "description": "Ask for the next page with it; absent on the last."},
            "clusters": _CLUSTERS,
        },
        optional=("after",),
    ),
    "Changes": object_of(
        {
            "cursor": {**TEXT, "description": "Ask for what comes next with it."},
            "more": {**BOOLEAN, "description": "Was it cut at limit? Then ask again at once."},
            "timed_out": BOOLEAN,
            "events": list_of(ref("Event")),
            "clusters": _CLUSTERS,
            "oldest_cursor": TEXT,
        },
        optional=("oldest_cursor",),
    ),
    "Barrier": object_of(
        {
            "done": BOOLEAN,
            "cursor": TEXT,
            "timed_out": BOOLEAN,
            "met": list_of(_MET),
            "open": list_of(TEXT),
            "unknown": {**list_of(TEXT), "description": "What no scheduler knows. Never called done."},
        }
    ),
    "Workflows": object_of(
        {"cursor": TEXT, "workflows": list_of(ref("Workflow")), "after": TEXT}, optional=("after",)
    ),
    "WorkflowAnswer": {
        "allOf": [
            ref("Workflow"),
            object_of(
                {
                    "cursor": TEXT, "timed_out": BOOLEAN, "history": list_of(ref("Step")), "events": list_of(ref("Event")),
                    "edges": list_of({"type": "array", "items": TEXT, "minItems": 2, "maxItems": 2}), "jobs": list_of(_MEMBER),
                    "more": BOOLEAN,
                },
                optional=("more", "events"),
            ),
        ]
    },
    "Token": object_of(_TOKEN),
    "NewToken": object_of({"token": {**TEXT, "description": "It is in this answer and nowhere else."}, **_TOKEN}),
    "NewTicket": object_of({"ticket": TEXT, "user": TEXT, "expires_in_s": NUMBER}),
    "Tokens": object_of({"tokens": list_of(ref("Token"))}),
    "Nudged": object_of({"clusters": list_of(TEXT), "jobs": list_of(TEXT)}),
    "Health": object_of({"status": TEXT}),
    "Readiness": object_of(
        {
            "status": enum_of(["ready", "not ready"]),
            "causes": {**list_of(TEXT), "description": "Why it is not ready; none if it is."},
            "version": {**TEXT, "description": "That of the software, with --show-version."},
            "held": {**INTEGER, "description": "How many requests are held."},
            "journal": object_of({"events": INTEGER, "bytes": INTEGER, "missing": list_of(TEXT)}),
            "queues": {"type": "object", "additionalProperties": {"type": "object"}},
            "nudges": {"type": "object", "additionalProperties": {"type": "object"}},
        },
        ("causes", "version", "held", "journal", "queues", "nudges"),
    ),
}  # fmt: skip
