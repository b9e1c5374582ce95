"""
The contracts of an adapter.

A queue adapter is written against `IBatchQueueService` and `IBatchQueueFactory`, proved with
`jobpush.adapter.testing.makeQueueServiceTests`, and found through Twisted's plugin system.

That those tests notice a broken adapter is proved in tests/adapter/test_testing.py.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorFDSet, IReactorProcess, IReactorThreads, IReactorTime
from zope.interface import Attribute, Interface

from jobpush.core.model import JobDescriptor, Outcomes, PastAttempt, QueueFacts, Snapshot


class QueueError(Exception):
    """
    The scheduler could not be asked, or its answer as a whole cannot be believed.

    It says nothing about any job: what is known stays, and the queue counts as stale. The text is for people and holds no
    line breaks.
    """


class QueueChanged(QueueError):
    """What `IBatchQueueService.check` told is not so any more: it is asked again before the next query."""


class OtherCluster(QueueError):
    """The answer is another cluster's. What is served counts as stale from then on, until a query is believed again."""


class InvalidJobId(ValueError):
    """The text is not a job id of this scheduler. Says what was expected."""


class BadQueueOption(ValueError):
    """
    An option of a queue or listener is unknown, missing or malformed. Names it and what was expected.

    :ivar unknown: the name of the option, if the queue or listener has none of that name.
    """

    def __init__(self, text: str, unknown: str | None = None) -> None:
        super().__init__(text)
        self.unknown = unknown


class IQueueReactor(IReactorTime, IReactorProcess, IReactorFDSet, IReactorThreads):
    """
    What a queue may use of Twisted's reactor: its processes, its descriptors and its threads, and its time, for intervals and
    deadlines; for annotations. Its ``seconds()`` is no date: in ``twistd jobpush`` it is the time since the host was started.
    """


class IBatchQueueService(Interface):
    """
    One batch scheduler, asked with one query for all of its jobs.

    Each method that returns a Deferred returns it at once and raises nothing; the Deferred fires or fails within ``timeout``
    seconds. Nothing blocks the reactor: commands are run with `jobpush.adapter.command.run_command`.
    """

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

        Fires with a `Snapshot` when the scheduler has answered in full. Its times, and those of its jobs, are dates by the
        clock of the host (``time.time()``), not by the reactor's. Fails with `QueueError` if it could not be asked in time or
        its answer cannot be believed, because it was cut off, say. A row that cannot be understood, or lacks its
        end, is counted in ``Snapshot.rejected_count``, its id is in ``rejected_ids`` as far as it can be read, and it fails
        nothing. A task of an array has its ``parent`` and ``task_index``, as ``task_of`` has them.

        A job whose row is the same as last time should be the same object again: it is then not compared. The jobs of a
        snapshot do not change later. At most one call is in progress at a time. Cancelling ends what runs.
        """

    def outcomes(jobs: Sequence[JobDescriptor]) -> Deferred[Outcomes]:
        """
        Ask accounting how these jobs, which left the queue, have ended.

        Fires with `Outcomes`; never fails for a job that it does not know. A record must belong to that very submission of
        the id: its user and its time of submission are the job's. An adapter without accounting answers
        ``Outcomes()``.
        """

    def canonical_id(text: str) -> str:
        """
        The canonical form of a job id that a client wrote.

        Pure: nothing is run. What it returns is safe as an argument of the scheduler's commands.

        :raise InvalidJobId: if the text is not within the scheduler's grammar.
        """

    def task_of(job_id: str) -> tuple[str, int] | None:
        """
        The array's id and the index, if this canonical id is an array task's; else None.

        The descriptor of that task has them as ``parent`` and ``task_index``.
        """

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


class IRecordedJobsQueue(IBatchQueueService):
    """A queue whose accounting can be asked for jobs by their ids alone."""

    def recorded(jobs: Sequence[str]) -> Deferred[Mapping[str, JobDescriptor]]:
        """
        Ask accounting for the last submission of each of these ids (canonical), which no query has listed; of an array (or
        another whole of parts) for that of each part that it has a record of.

        Fires with the jobs that it has a record of, by id, with all that the record says: how they ended (settled), or the
        phase UNKNOWN for one whose record has no end. Fails with `QueueError` if it could not be asked. It may be asked while a
        query runs.
        """


class IPastAttemptsQueue(IBatchQueueService):
    """A queue whose accounting has records of the attempts of jobs that were put back into the queue."""

    def past_attempts(jobs: Sequence[JobDescriptor]) -> Deferred[Mapping[str, PastAttempt]]:
        """
        Ask how the attempt ended that came before the present one of each of these jobs.

        Fires with those that it has a record of, by the id of the job; each ``attempt`` is one less than the job's. Fails with
        `QueueError` if it could not be asked. It may be asked while a query runs.
        """


class IWatchfulQueue(IBatchQueueService):
    """A queue that learns by itself when to look: it follows the scheduler's log, or asks it something cheaper than a query."""

    echo: Sequence[float] = Attribute(
        "Seconds from each look at a job that a hook has named, and that is on its way still, to the next: how soon this "
        "scheduler's list shows what its hooks announce."
    )

    probes: int = Attribute("How many questions it has asked the scheduler to learn that. They count as queries.")

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
