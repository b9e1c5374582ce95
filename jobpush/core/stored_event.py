"""
Events as they are kept: their bytes, and what they are found by. The rest is decoded when somebody asks for it.

Of fifty thousand events that are kept in memory, or of a thousand that were read to find one, nearly all are never shown to
anybody. Tests: tests/events/test_recent_events.py.
"""

from __future__ import annotations

import json
from sys import intern
from typing import NamedTuple

from jobpush.core import wire
from jobpush.core.model import JobDescriptor, JobKey
from jobpush.core.record import Event, Subject


class Facts(NamedTuple):
    """What filters look at, of the job or the workflow of an event; see `JobDescriptor`."""

    kind: str
    user: str | None
    state: str
    cluster: str = ""
    account: str | None = None
    queue: str | None = None
    name: str | None = None
    comment: str | None = None


class StoredEvent:
    """
    An event, by its bytes.

    :ivar seq: its number.
    :ivar key: of its job or workflow.
    :ivar parent: the id of the array that its job is a part of.
    :ivar user: whose it is.
    :ivar data: as `Event.data`.
    """

    __slots__ = ("_event", "_facts", "data", "key", "parent", "seq", "user")

    def __init__(self, seq: int, key: JobKey, parent: str | None, user: str | None, data: bytes) -> None:
        self.seq = seq
        self.key = key
        self.parent = parent
        self.user = user
        self.data = data
        self._event: Event | None = None
        self._facts: Facts | None = None

    @classmethod
    def of(cls, event: Event) -> StoredEvent:
        """Return what is kept of an event; it is at hand until `forget_event`."""
        subject = event.subject
        stored = cls(event.seq, subject.key, subject.parent, subject.user, event.data)
        stored._event = event
        return stored

    def forget_event(self) -> None:
        """Keep its bytes alone: whoever wants the event decodes them."""
        self._event = None

    @property
    def event(self) -> Event:
        """
        The event.

        :raise ValueError, KeyError, TypeError: if the bytes are damaged.
        """
        return self._event if self._event is not None else wire.event_from_bytes(self.data)

    @property
    def facts(self) -> Facts:
        """
        What filters look at. It is kept: who looks through many events is seldom alone.

        :raise ValueError, KeyError, TypeError: if the bytes are damaged.
        """
        facts = self._facts
        if facts is None:
            facts = self._facts = facts_of(self._event.subject) if self._event is not None else _decoded(self.data)
        return facts


def facts_of(subject: Subject) -> Facts:
    """Return what filters look at of a job or workflow."""
    if not isinstance(subject, JobDescriptor):
        return Facts(subject.kind, subject.user, subject.state)
    job = subject
    return Facts("job", job.user, job.state, job.cluster, job.account, job.queue, job.name, job.comment)


def _decoded(data: bytes) -> Facts:
    fields = json.loads(data)
    if fields["type"] != "job":
        return facts_of(wire.event_from_bytes(data).subject)
    job = fields["job"]
    user, account, queue = (intern(text) if text is not None else None for text in (job["user"], job["account"], job["queue"]))
    return Facts("job", user, intern(job["state"]), intern(job["cluster"]), account, queue, job["name"], job["comment"])
