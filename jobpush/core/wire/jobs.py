"""
A job as JSON, and back.

Both follow from `jobpush.core.model.JOB_FIELDS`. What encodes is compiled from it when this module is imported: each event of
each job goes through it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from jobpush.core.fields import Field, FieldKind
from jobpush.core.model import ATTEMPT_FIELDS, JOB_FIELDS, STATES, JobDescriptor, PastAttempt, split_state
from jobpush.core.tasks import TaskSet
from jobpush.core.wire.values import (
    Json,
    JsonFields,
    from_time,
    quoted,
    quoted_counts,
    quoted_list,
    quoted_table,
    quoted_time,
    to_json,
    to_time,
    utf8,
)

try:
    from orjson import dumps as fast_dumps
except ImportError:  # it comes with the extra [fast]
    fast_dumps = None  # type: ignore[assignment]

#: How a value is written as JSON: an expression that can stand in an f-string in single quotes. ``V`` is the value.
_WRITTEN = {
    FieldKind.TEXT: "quoted(V)",
    FieldKind.NUMBER: "V",
    FieldKind.BOOLEAN: '"true" if V else "false"',
    FieldKind.TIME: "quoted_time(V)",
    FieldKind.WORD: "quoted(V)",
    FieldKind.TEXTS: "quoted_list(V)",
    FieldKind.TABLE: "quoted_table(V)",
    FieldKind.COUNTS: "quoted_counts(V)",
    FieldKind.TASKS: "quoted(str(V))",
    FieldKind.ATTEMPT: "to_json(attempt_fields(V))",
}

#: How a value stands in a dict that is to become JSON, where not as it is.
_PLAIN = {
    FieldKind.TIME: "to_time(V)",
    FieldKind.TASKS: "str(V)",
    FieldKind.ATTEMPT: "(None if V is None else attempt_fields(V))",
}



def attempt_fields(attempt: PastAttempt) -> dict[str, object]:
    """Make a dict of how an attempt ended, with the fields of the protocol."""
    fields = {field.name: getattr(attempt, field.name) for field in ATTEMPT_FIELDS}
    return {**fields, "started_at": to_time(attempt.started_at), "ended_at": to_time(attempt.ended_at)}


#: What the expressions name.
_NAMES: Mapping[str, object] = {
    "quoted": quoted, "quoted_counts": quoted_counts, "quoted_list": quoted_list, "quoted_table": quoted_table,
    "quoted_time": quoted_time, "to_time": to_time, "to_json": to_json,
    "attempt_fields": attempt_fields, "LABELS": {field.name: f',"{field.name}":' for field in JOB_FIELDS},
}  # fmt: skip


def _compiled(source: str) -> Callable[[JobDescriptor], Any]:
    """Return the function of a job that has this body."""
    names: dict[str, Any] = dict(_NAMES)
    exec(compile(f"def function(job):\n{source}", f"<{__name__}>", "exec"), names)
    function: Callable[[JobDescriptor], Any] = names["function"]
    return function


def _text_source() -> str:
    """
    Return the body of the function that writes a job as text: one f-string, which has a part for each field.

    That of a text that can be null is ``,"name":{"null" if (v := job.name) is None else quoted(v)}``.
    """
    parts: list[str] = []
    for field in JOB_FIELDS:
        label, place = f'{"," if parts else ""}"{field.name}":', f"job.{field.name}"
        if field.optional:
            written = _WRITTEN[field.kind].replace("V", place)
            parts.append(f'{{"" if {place} is None else LABELS["{field.name}"]}}{{"" if {place} is None else {written}}}')
        elif field.nullable:
            written = _WRITTEN[field.kind].replace("V", "v")
            parts.append(f'{label}{{"null" if (v := {place}) is None else {written}}}')
        else:
            parts.append(f"{label}{{{_WRITTEN[field.kind].replace('V', place)}}}")
    return f"    return f'{{{{{''.join(parts)}}}}}'"


def _fields_source() -> str:
    """Return the body of the function that makes a dict of a job: what is always there, then what may be."""
    always, sometimes = [], []
    for field in JOB_FIELDS:
        place = f"job.{field.name}"
        value = _PLAIN.get(field.kind, "V").replace("V", place)
        if field.optional:
            sometimes.append(f'    if {place} is not None:\n        fields["{field.name}"] = {value}\n')
        else:
            always.append(f'"{field.name}": {value}')
    return f"    fields = {{{', '.join(always)}}}\n{''.join(sometimes)}    return fields"


#: Write a job as the protocol has it: a JSON object, as text.
job_text: Callable[[JobDescriptor], str] = _compiled(_text_source())

#: Make a dict of a job, with the fields of the protocol, for an object that they are a part of.
job_fields: Callable[[JobDescriptor], dict[str, object]] = _compiled(_fields_source())


def job_bytes(job: JobDescriptor) -> bytes:
    """Return a job as the protocol has it: a JSON object."""
    if fast_dumps is not None:
        try:
            return fast_dumps(job_fields(job))
        except TypeError:
            pass  # a lone surrogate, or a number of more than 64 bits
    return utf8(job_text(job))


def job_from_fields(fields: JsonFields, cluster: str | None = None) -> JobDescriptor:
    """
    Return a job from the protocol's fields; only ``id`` and ``state`` must be there.

    :param cluster: overrides the field of that name.
    :raise ValueError: naming the field that is wrong, and what was expected.
    """
    unknown = fields.keys() - _KNOWN
    if unknown:
        raise ValueError(f"unknown field {min(unknown)!r}")
    for name in ("id", "state"):
        if not isinstance(fields.get(name), str) or not fields[name]:
            raise ValueError(f"{name!r} is missing or not a text")
    phase, outcome = split_state(fields["state"])
    values: dict[str, Json] = {}
    for name, read in _READ:
        value = fields.get(name)
        if value is not None:
            values[name] = read(name, value)
    values["settled"] = values.get("settled", True) and outcome is not None
    values["native"] = values.get("native") or {"state": fields["state"]}
    if cluster is not None or "cluster" not in values:
        values["cluster"] = cluster or ""
    return JobDescriptor(phase=phase, outcome=outcome, **values)


def _text(name: str, value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{name!r} is not a text")
    return value


def _number(name: str, value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError(f"{name!r} is not a whole number")
    return value


def _boolean(name: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"{name!r} is neither true nor false")
    return value


def _time(name: str, value: object) -> float:
    if not isinstance(value, str):
        raise ValueError(f"{name!r} is not a time; expected RFC 3339, such as 2026-11-22T06:29:21Z")
    try:
        return from_time(value)
    except (ValueError, OverflowError):
        raise ValueError(f"{name!r}: {value!r} is not a time; expected RFC 3339, such as 2026-11-22T06:29:21Z") from None


def _texts(name: str, value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise ValueError(f"{name!r} is not a list of texts")
    return tuple(value)


def _table(name: str, value: object) -> Mapping[str, str]:
    if not isinstance(value, dict) or not all(isinstance(text, str) for text in value.values()):
        raise ValueError(f"{name!r} is not a table of texts")
    return value


def _counts(name: str, value: object) -> Mapping[str, int]:
    if not isinstance(value, dict) or not value.keys() <= STATES or not all(type(n) is int for n in value.values()):
        raise ValueError(f"{name!r} is not a table of numbers by state")
    return value


def _tasks(name: str, value: object) -> TaskSet:
    if not isinstance(value, str):
        raise ValueError(f"{name!r} is not a text such as '0-9'")
    return TaskSet.parse(value)


def _word(field: Field) -> Callable[[str, object], object]:
    words = field.words

    def read(name: str, value: object) -> object:
        if not isinstance(value, str) or value not in words:
            raise ValueError(f"{name!r} is none of {', '.join(sorted(words))}")
        return words[value]

    return read


def _attempt(name: str, value: object) -> PastAttempt:
    if not isinstance(value, dict) or "attempt" not in value or value.keys() - {field.name for field in ATTEMPT_FIELDS}:
        raise ValueError(f"{name!r} does not say how an attempt ended")
    fields = {}
    for field in ATTEMPT_FIELDS:
        if value.get(field.name) is not None:
            read = _word(field) if field.kind is FieldKind.WORD else _READERS[field.kind]
            fields[field.name] = read(f"{name}.{field.name}", value[field.name])
    return PastAttempt(**fields)  # type: ignore[arg-type]


_READERS: Mapping[FieldKind, Callable[[str, Any], object]] = {
    FieldKind.TEXT: _text, FieldKind.NUMBER: _number, FieldKind.BOOLEAN: _boolean, FieldKind.TIME: _time,
    FieldKind.TEXTS: _texts, FieldKind.TABLE: _table,
    FieldKind.COUNTS: _counts, FieldKind.TASKS: _tasks, FieldKind.ATTEMPT: _attempt,
}  # fmt: skip

#: What reads each field; phase and outcome follow from the state.
_READ = tuple(
    (field.name, _word(field) if field.kind is FieldKind.WORD else _READERS[field.kind])
    for field in JOB_FIELDS
    if field.name not in ("state", "phase", "outcome")
)

_KNOWN = frozenset(field.name for field in JOB_FIELDS)
