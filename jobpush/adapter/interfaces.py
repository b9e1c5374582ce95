"""
The contracts of jobpush: what an adapter, a listener and a journal promise.

A queue adapter is written against `IBatchQueueService` and `IBatchQueueFactory`, proved with
`jobpush.adapter.testing.makeQueueServiceTests`, and found through Twisted's plugin system.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from twisted.internet.defer import Deferred
from zope.interface import Attribute, Interface

from jobpush.core.model import JobDescriptor, JobRecord, JobStatusEvent, Outcomes, QueueFacts, Snapshot
from jobpush.core.workflow import Event, Member, WorkflowRecord


class QueueError(Exception):
    """
    The scheduler could not be asked, or its answer as a whole cannot be believed.

    It says nothing about any job: what is known stays, and the queue counts as stale. The text is for people and holds no
    line breaks.
    """


class InvalidJobId(ValueError):
    """The text is not a job id of this scheduler. Says what was expected."""


class BadQueueOption(ValueError):
    """An option of a queue or listener is unknown, missing or malformed. Names it and what was expected."""


class IBatchQueueService(Interface):
    """One batch scheduler, asked with one query for all of its jobs."""

    cluster: str = Attribute("The name under which its jobs are served, ``[A-Za-z0-9][A-Za-z0-9_.-]*``.")
    queue_type: str = Attribute("The adapter's type, as in ``--queue TYPE``.")
    interval: float | None = Attribute("Seconds between queries that the user asked for; None leaves it to the monitor.")
    timeout: float = Attribute("Seconds after which a query has failed; the adapter ends its own commands by then.")
    grace: float = Attribute("Seconds for which a job that left the queue may lack a record in accounting.")

    def check() -> Deferred[QueueFacts]:
        """
        Find out what this account may see, and what the scheduler remembers.

        Asked at the start, now and then, and before a missing row is believed. Fires with `QueueFacts`; fails with
        `QueueError` if that cannot be told at present.
        """

    def snapshot() -> Deferred[Snapshot]:
        """
        Ask once for all jobs of all users.

        Fires with a `Snapshot` when the scheduler has answered in full. Fails with `QueueError` if it could not be asked
        in time or its answer cannot be believed. A row that cannot be understood is counted in
        ``Snapshot.rejected`` and fails nothing. A job whose row is the same as last time should be the same object again: it
        is then not compared. At most one call is in progress at a time. Cancelling ends what runs.
        """

    def outcomes(jobs: Sequence[JobDescriptor]) -> Deferred[Outcomes]:
        """
        Ask accounting how these jobs, which left the queue, have ended.

        Fires with `Outcomes`; never fails for a job that it does not know. A record must belong to that very submission of
        the id. An adapter without accounting answers ``Outcomes(answered=False)``.
        """

    def canonical_id(text: str) -> str:
        """
        The canonical form of a job id that a client wrote.

        Pure: nothing is run. What it returns is safe as an argument of the scheduler's commands.

        :raise InvalidJobId: if the text is not within the scheduler's grammar.
        """

    def task_of(job_id: str) -> tuple[str, int] | None:
        """The array's id and the index, if this canonical id is an array task's; else None."""

    def task_id(array: str, index: int) -> str:
        """The canonical id of that task: the inverse of ``task_of``."""


class INamedJobsQueue(IBatchQueueService):
    """A queue that can be asked for a few jobs at less than the cost of asking for all."""

    most_named: int = Attribute("How many jobs one such question may name.")

    def named(jobs: Sequence[str]) -> Deferred[Snapshot]:
        """
        Ask for these jobs (canonical ids) alone.

        Fires and fails as ``snapshot`` does. What the scheduler does not list is left out and says nothing: all jobs are then
        asked for. Never at the same time as ``snapshot``.
        """


class IWatchfulQueue(IBatchQueueService):
    """A queue that learns by itself when to look: it follows the scheduler's log, or asks it something cheaper than a query."""

    echo: Sequence[float] = Attribute(
        "Seconds from each look at a job that a hook has named, and that is on its way still, to the next: how soon this "
        "scheduler's list shows what its hooks announce."
    )

    def watch(nudge: Callable[[Sequence[str]], None]) -> Callable[[], Deferred[None] | None]:
        """
        Begin to watch.

        :param nudge: to be called, in the reactor's thread, when something may have changed, with the canonical ids of the
            jobs if they are known. It costs little and may be called often.
        :return: what ends it; its Deferred, if any, fires when nothing runs any more.
        """


class IBatchQueueFactory(Interface):
    """A plugin that makes queues of one type. Cheap to import: it loads the adapter when it is asked to make one."""

    queue_type: str = Attribute("The word in ``--queue TYPE``: ``[a-z][a-z0-9_-]*``.")
    queue_help: str = Attribute("One line on what it is for.")
    arg_string_format: str = Attribute("The options that it takes, one ``key=VALUE: meaning`` a line.")

    def generate_queue(reactor: object, options: Mapping[str, object]) -> IBatchQueueService:
        """
        Make a queue. Touches no network, no file and no process.

        :param options: the ``key=value`` pairs of ``--queue`` (strings) or the table of a configuration file (TOML's types).
        :raise BadQueueOption: if an option is unknown, missing or malformed.
        """

    def detect() -> str | None:
        """Evidence that this scheduler is on this host (``/usr/bin/squeue``), or None. Runs nothing."""


class IJobStatusListener(Interface):
    """Something inside the service that is told every event, in order, at least once."""

    name: str = Attribute("The name under which its place in the journal is kept; unique in a service.")

    def job_changed(event: JobStatusEvent) -> Deferred[None] | None:
        """
        Take note of an event. The next comes when the Deferred, if any, has fired; if it fails, or this raises, the same event
        comes again after a pause. Other listeners and clients do not wait.
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
    """The journal cannot be opened or written. One line, for people."""


class CursorGone(Exception):
    """The journal no longer holds (or never held) what follows a cursor. Carries the oldest cursor's number."""

    def __init__(self, oldest_seq: int) -> None:
        super().__init__(oldest_seq)
        self.oldest_seq = oldest_seq


class IJournal(Interface):
    """
    The numbered, durable sequence of events, with the last known jobs.

    One writer. What ``commit`` has fired for survives the process and, for a journal in a file, the machine.
    """

    epoch: str = Attribute("Names this sequence of numbers; a cursor of another epoch is gone. Holds no ``-``.")
    last_seq: int = Attribute("The number of the last event that was committed, whether or not it is published yet.")
    trimmed_seq: int = Attribute("The number of the last event that was removed; 0 if none was.")

    def open() -> Mapping[str, Mapping[str, JobRecord]]:
        """
        Open it and read the last known jobs, by cluster and id. Blocks.

        :raise JournalError: if it cannot be used, with a line that says why.
        """

    def workflows() -> Iterable[WorkflowRecord]:
        """The known workflows, as read by ``open``; to be asked for once."""

    def commit(
        events: Sequence[Event],
        records: Sequence[JobRecord],
        forgotten: Sequence[tuple[str, str]],
        workflows: Sequence[tuple[WorkflowRecord, Mapping[tuple[str, str], Member]]] = (),
        dropped: Sequence[str] = (),
    ) -> Deferred[None]:
        """
        Append events, whose numbers follow ``last_seq``, and update the known jobs and workflows, all of it or none.

        :param workflows: each with the members that are new or changed; of a record that has no members yet, these are all.
        :param dropped: the names of workflows to forget.

        Fires when it is durable. Fails with `JournalError` if nothing was written.
        """

    def read(
        since: int, upto: int, limit: int, matches: Callable[[Event], bool], keys: Sequence[tuple[str, str]] | None
    ) -> Deferred[list[Event]]:
        """
        The first ``limit`` matching events with ``since < seq <= upto``, oldest first.

        :param matches: pure; called on another thread.
        :param keys: if not None, only events of these jobs and workflows (and of the parts of these) can match.

        Fails with `CursorGone` if events after ``since`` have been removed.
        """

    def last_of(keys: Sequence[tuple[str, str]]) -> Deferred[dict[tuple[str, str], JobStatusEvent]]:
        """The last event of each of these jobs, as far as the journal holds one."""

    def save_cursor(listener: str, seq: int) -> Deferred[None]:
        """Keep a listener's place."""

    def cursors() -> Mapping[str, int]:
        """The places of all listeners, as read by ``open``."""

    def size() -> int:
        """Bytes that its files take up; 0 for one in memory."""

    def close() -> Deferred[None]:
        """Finish what was begun and close. Fires when the file is closed."""
