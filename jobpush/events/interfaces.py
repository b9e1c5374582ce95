"""
The contracts of what stands behind events: the journal that keeps them, and the listeners that are told them.

Who provides them is held to them in tests/events/test_journal.py and tests/events/test_listeners.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import attrs
from twisted.internet.defer import Deferred
from zope.interface import Attribute, Interface

from jobpush.core.cursors import Epochs
from jobpush.core.filters import Scope
from jobpush.core.model import JobKey
from jobpush.core.record import AnyRecord, Event, JobStatusEvent, Record
from jobpush.core.stored_event import StoredEvent
from jobpush.core.workflow import WorkflowMember


class IJobStatusListener(Interface):
    """Something inside the service that is told every event of a job, in order, at least once."""

    name: str = Attribute("The name under which its place in the journal is kept; unique in a service.")

    def job_changed(event: JobStatusEvent) -> Deferred[None] | None:
        """
        Take note of an event; ``event.job`` is the job. The next comes when the Deferred, if any, has fired; if it fails, or
        this raises, the same event comes again after a pause. Other listeners and clients do not wait.
        """


class IJobStatusListenerFactory(Interface):
    """A plugin that makes listeners of one type, for ``--listener TYPE:key=value``."""

    listener_type: str = Attribute("The word in ``--listener TYPE``.")
    listener_help: str = Attribute("One line on what it is for.")
    arg_string_format: str = Attribute("The options that it takes, one a line.")

    def generate_listener(reactor: object, options: Mapping[str, object]) -> IJobStatusListener:
        """
        :raise BadQueueOption: if an option is unknown, missing or malformed.
        """


class JournalError(Exception):
    """The journal cannot be opened, read or written. One line, for people."""


class CursorGone(Exception):
    """The journal no longer holds (or never held) what follows a cursor. Carries the oldest cursor's number."""

    def __init__(self, oldest_seq: int) -> None:
        super().__init__(oldest_seq)
        self.oldest_seq = oldest_seq


#: The last known jobs, by cluster and id, and the known workflows, by ``""`` and name.
KnownRecords = Mapping[str, Mapping[str, Record[Any, Any]]]


@attrs.frozen(eq=False)
class Found:
    """
    Events that were read.

    :ivar seq: the number up to which everything was looked at; beyond the one after which was read.
    """

    events: Sequence[StoredEvent]
    seq: int


class IJournal(Interface):
    """
    The numbered, durable sequence of events, with the last known jobs.

    One writer. What ``commit`` has fired for survives the process and, for a journal in a file, the machine.
    """

    epochs: Epochs = Attribute("The epochs of the numbers, the newest begun when it was opened. Their names hold no ``-``.")
    last_seq: int = Attribute("The number of the last event that was committed, whether or not it is published yet.")
    problem: str | None = Attribute("Why the last batch could not be committed, in one line; None while batches can be.")
    damage: str | None = Attribute("What was found to be damaged since it was opened, in one line; None if nothing was.")
    trimmed_seq: int = Attribute("The number of the last event that was removed; 0 if none was.")

    def open() -> KnownRecords:
        """
        Open it and read the last known jobs, by cluster and id, and the known workflows, which have the cluster ``""``. Blocks.

        :raise JournalError: if it cannot be used, with a line that says why.
        """

    def newest(count: int, size: int) -> Sequence[StoredEvent]:
        """
        Return the last events, oldest first; fewer, if one cannot be read. Blocks; after ``open``.

        :param count: at most so many.
        :param size: of at most so many bytes in all.
        """

    def commit(
        events: Sequence[Event],
        records: Sequence[AnyRecord],
        forgotten: Sequence[JobKey],
        members: Mapping[str, Mapping[JobKey, WorkflowMember]] = {},
    ) -> Deferred[None]:
        """
        Append events, whose numbers follow ``last_seq``, and update the known jobs and workflows, all of it or none.

        :param records: of jobs and workflows.
        :param forgotten: the keys of jobs and workflows to forget.
        :param members: the members that are new or changed, by the name of their workflow; of a record that has no members yet,
            these are all.

        After a failure it takes an empty batch too: it says whether it can write again.

        Fires when it is durable, whether or not events that are too old could be removed. Fails with `JournalError` if nothing
        was written.
        """

    def read(since: int, upto: int, scope: Scope, limit: int) -> Deferred[Found]:
        """
        Read events with ``since < seq <= upto``, oldest first: all that are of a scope, or the first of them; others may be
        among them. What one call reads is bounded: it does not keep others waiting.

        :param limit: about how many are wanted.

        Fails with `CursorGone` if events after ``since`` have been removed, with `JournalError` if it cannot be read.
        """

    def last_of(keys: Sequence[JobKey], upto: int, user: str | None = None) -> Deferred[dict[JobKey, Event]]:
        """
        Read the last event of each of these jobs and workflows up to that number, as far as the journal holds one.

        :param user: if that is one of this user's; by default whosever it is. Of another's nothing is decoded.
        :param upto: what is published: a later event is on the disk, and nobody may hear of it yet.

        Fails with `JournalError` if it cannot be read.
        """

    def look_at_files() -> None:
        """Take note in ``damage`` of files that were removed, replaced or cut since it was opened. Does not block for long."""

    def check_events(since: int, upto: int) -> Deferred[int]:
        """
        Read some events with ``since < seq <= upto`` and compare them with what was written. Damage is noted in ``damage``.

        Fires with the number up to which this was done. Fails with `CursorGone` if events after ``since`` have been removed,
        with `JournalError` if they are damaged or cannot be read.
        """

    def keep(name: str, value: str | None) -> Deferred[None]:
        """
        Keep a text: ``kept`` returns it when this has fired. None forgets it, at once.

        Fails with `JournalError` if that was not written.
        """

    def kept() -> Mapping[str, str]:
        """Return the texts that are kept, by their names, as read by ``open``: another mapping when one of them has changed."""

    def save_cursor(listener: str, seq: int) -> Deferred[None]:
        """Keep a listener's place."""

    def cursors() -> Mapping[str, int]:
        """Return the places of all listeners, as read by ``open``."""

    def size() -> int:
        """Return the bytes that its files take up; 0 for one in memory."""

    def close() -> Deferred[None]:
        """Finish what was begun and close. Fires when the file is closed."""
