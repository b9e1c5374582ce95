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

from jobpush.core.model import JobDescriptor, Outcomes, QueueFacts, Snapshot


class QueueError(Exception):
    """
    The scheduler could not be asked, or its answer as a whole is not valid.

    It says nothing about any job: what is known is kept, and the queue becomes stale. The text is for people and has no line
    breaks.
    """


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
    """What a queue may use of Twisted's reactor: its clock, its processes, its descriptors and its threads; for annotations."""


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

        Called at the start, now and then, and before a job without a row is taken for one that left. Fires with `QueueFacts`;
        fails with `QueueError` if that cannot be found out at present.
        """

    def snapshot() -> Deferred[Snapshot]:
        """
        Ask once for all jobs of all users.

        Fires with a `Snapshot` when the scheduler has answered in full. Fails with `QueueError` if it could not be asked in
        time or its answer is not valid. A row that is not understood is counted in ``Snapshot.rejected`` and fails nothing. A
        job whose row is the same as last time should be the same object again: it is then not compared. At most one call is in
        progress at a time. Cancelling ends the commands that run.
        """

    def outcomes(jobs: Sequence[JobDescriptor]) -> Deferred[Outcomes]:
        """
        Ask accounting how these jobs, which left the queue, have ended.

        Fires with `Outcomes`; never fails for a job that accounting does not know. A record must belong to the same submission
        of the id. An adapter without accounting fires with ``Outcomes(answered=False)``.
        """

    def canonical_id(text: str) -> str:
        """
        Return the canonical form of a job id that a client wrote.

        Pure: nothing is run. The result is safe as an argument of the scheduler's commands.

        :raise InvalidJobId: if the text is no job id of this scheduler.
        """

    def task_of(job_id: str) -> tuple[str, int] | None:
        """Return the array's id and the index, if this canonical id is an array task's; else None."""

    def task_id(array: str, index: int) -> str:
        """Return the canonical id of that task: the inverse of ``task_of``."""


class INamedJobsQueue(IBatchQueueService):
    """A queue that can be asked for a few jobs at less than the cost of asking for all."""

    most_named: int = Attribute("The most jobs in one call of ``named``.")

    def named(jobs: Sequence[str]) -> Deferred[Snapshot]:
        """
        Ask for these jobs (canonical ids) alone.

        Fires and fails as ``snapshot`` does. A job that the scheduler does not list is left out, which says nothing of it: all
        jobs are then asked for. Never called while ``snapshot`` is in progress.
        """


class IWatchfulQueue(IBatchQueueService):
    """A queue that finds out when to look: it follows the scheduler's log, or asks something cheaper than a query."""

    echo: Sequence[float] = Attribute(
        "Seconds from each look at a job that a hook has named, and whose change is not listed yet, to the next look: how soon "
        "this scheduler's list shows what its hooks announce."
    )

    def watch(nudge: Callable[[Sequence[str]], None]) -> Callable[[], Deferred[None] | None]:
        """
        Begin to watch.

        :param nudge: to be called on the reactor's thread when a job may have changed, with the canonical ids of the jobs if
            they are known. It costs little and may be called often.
        :return: a function that ends it; its Deferred, if any, fires when nothing runs any more.
        """


class IBatchQueueFactory(Interface):
    """A plugin that makes queues of one type. Cheap to import: it loads the adapter when it makes a queue."""

    queue_type: str = Attribute("The word in ``--queue TYPE``: ``[a-z][a-z0-9_-]*``.")
    queue_help: str = Attribute("One line on what it is for.")
    arg_string_format: str = Attribute("The options that it takes, one ``key=VALUE: meaning`` a line.")

    def generate_queue(reactor: object, options: Mapping[str, object]) -> IBatchQueueService:
        """
        Make a queue. Uses no network, no file and no process.

        :param options: the ``key=value`` pairs of ``--queue`` (strings) or the table of a configuration file (TOML's types).
        :raise BadQueueOption: if an option is unknown, missing or malformed.
        """

    def detect() -> str | None:
        """Return evidence that this scheduler is on this host (``/usr/bin/squeue``), or None. Runs nothing."""
