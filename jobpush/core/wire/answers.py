"""What answers and streams are made of: histories, envelopes, server-sent events."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping

from jobpush.core.cursors import Epochs
from jobpush.core.model import JobDescriptor
from jobpush.core.record import Event, HistoryEntry
from jobpush.core.wire.events import subject_bytes
from jobpush.core.wire.values import dumps, quoted_time


def history_fields(epochs: Epochs, history: Iterable[HistoryEntry]) -> list[dict[str, object]]:
    """Return a history as the protocol shows it, oldest first."""
    fields: list[dict[str, object]] = json.loads(_history_text(epochs, history))
    return fields


def _history_text(epochs: Epochs, history: Iterable[HistoryEntry]) -> str:
    steps = [
        f'{{"cursor":"{epochs.cursor(step.seq)}","at":{quoted_time(step.at)},"state":"{step.state}","attempt":{step.attempt},'
        f'"confidence":"{step.confidence.value}"}}'
        for step in history
    ]
    return f"[{','.join(steps)}]"


def shown_bytes(epochs: Epochs, job: JobDescriptor, history: Iterable[HistoryEntry], event: Event | None = None) -> bytes:
    """
    Return what an answer says of a job, the beginning of a JSON object: it is the same until the job changes.

    :param event: the last event of the job, if that is at hand: its bytes are not made twice.
    """
    return b"".join((b'{"job":', subject_bytes(job, event), b',"history":', _history_text(epochs, history).encode()))


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


def sse_event(epochs: Epochs, event: Event) -> bytes:
    """Return an event of the journal as a server-sent event."""
    return sse(event.kind, event.data, epochs.cursor(event.seq))
