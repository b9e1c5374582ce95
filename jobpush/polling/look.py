"""
One look at a queue: the query, the doubt about what is missing, accounting, and what comes of it published.

A query that fails changes no job. Before a missing row is believed, it is made sure that the account still may see it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Sequence
from typing import NoReturn, TypeVar

import attrs
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from jobpush.adapter.interfaces import IBatchQueueService, INamedJobsQueue, IRecordedJobsQueue, QueueChanged, QueueError
from jobpush.adapter.load import LoadBudget, UsualCost
from jobpush.core.absence import (
    CONFIRM_S,
    NOTHING_ASKED,
    DiffPolicy,
    newly_absent,
    shows_others,
    unchecked,
    wants_outcome,
)
from jobpush.core.diff import diff
from jobpush.core.job_table import ClusterJobs
from jobpush.core.model import Outcomes, QueueFacts, Snapshot
from jobpush.core.record import Changes, Event, JobRecord
from jobpush.events.instruments import Instruments
from jobpush.events.publisher import Publisher
from jobpush.polling.guesses import Guesses
from jobpush.polling.schedule import DEFAULT_INTERVAL_S, fresh_for
from jobpush.runtime.clocks import Clocks, ClockSteps

T = TypeVar("T")

#: Seconds after which what the account may see is checked again, and after which old jobs are looked for.
CHECK_EVERY_S = 60.0
CHECK_BLIND_EVERY_S = 30.0
FORGET_EVERY_S = 60.0

#: Seconds that a query for one named job is taken to last until it was tried.
NAMED_S = 0.03

#: A query for named jobs only must promise to be so much cheaper than one for all.
NAMED_WORTH = 2.0

#: Seconds from now at which an adapter cannot have begun: what it tells is no date then, but the reactor's time.
NO_DATE_S = 86400.0
#: The most questions that one look asks (named jobs; what may be seen and all jobs, both twice; accounting), and the
#: seconds in which what it has found is published. The disk may be slow; one that takes longer hangs.
MOST_QUESTIONS = 6
PUBLISHED_S = 120.0

#: Seconds to which the pause between questions to accounting grows, while it has no answer.
LONGEST_ACCOUNTING_PAUSE_S = 30.0


@attrs.define(eq=False)
class QueueStatus:
    """
    How a queue is doing.

    :ivar queue: the queue.
    :ivar elapsed: the clock that ages are measured with.
    :ivar blind: whether jobs that were there are not shown to the account any more.
    :ivar seen_at: when the last query that was believed began, by that clock.
    :ivar other: whether another cluster has answered since.
    :ivar error: why the last query failed.
    :ivar accounting_error: why the last question to accounting failed.
    :ivar named: how many of the queries were for named jobs only.
    :ivar nudged: how many of the queries a nudge asked for.
    """

    queue: IBatchQueueService
    elapsed: Callable[[], float]
    blind: bool = False
    seen_at: float | None = None
    other: bool = False
    error: str | None = None
    accounting_error: str | None = None
    facts: QueueFacts | None = None
    queries: int = 0
    named: int = 0
    nudged: int = 0
    failures: int = 0
    rows: int = 0
    rejected: int = 0
    interval_s: float = DEFAULT_INTERVAL_S

    @property
    def stale_s(self) -> float | None:
        """Seconds since the query began whose answer is served; None before the first."""
        return None if self.seen_at is None else self.elapsed() - self.seen_at

    @property
    def fresh_s(self) -> float:
        """Seconds after the begin of a query for which its answer is fresh."""
        return fresh_for(self.queue.interval)

    @property
    def health(self) -> str:
        """
        ``blind``; ``starting`` before the first answer, ``stale`` if that failed; ``ok`` while the answer that is served is
        fresh and no other cluster has answered since, else ``stale``.
        """
        if self.blind:
            return "blind"
        stale_s = self.stale_s
        if stale_s is None:
            return "starting" if self.error is None else "stale"
        return "ok" if stale_s < self.fresh_s and not self.other else "stale"


class Look:
    """
    :param keep_ended: seconds for which jobs that ended stay in the table.
    :param is_ours: given what a scheduler says of itself; raises `OtherCluster` if that is not the queue's.
    :param checked: told what the account may see, each time that this was asked.
    :param steps: says by how much the wall clock was set.
    :ivar usual: what queries for all jobs cost, by the number of rows.
    :ivar cost: the seconds that one costs when all is well; 0 before it is known.
    :ivar events: what the last look has found.
    :ivar complained: whether the log says that the queue does not answer, and does not say yet that it answers again.
    :ivar unconfirmed: did the last look miss jobs that the one before it listed? Another one is to confirm that.
    """

    log = Logger()

    def __init__(
        self,
        reactor: IReactorTime,
        queue: IBatchQueueService,
        publisher: Publisher,
        keep_ended: float,
        is_ours: Callable[[QueueFacts], None],
        checked: Callable[[QueueFacts], None],
        instruments: Instruments,
        clocks: Clocks,
        steps: ClockSteps,
    ) -> None:
        self.queue = queue
        self.status = QueueStatus(queue, clocks.elapsed, interval_s=queue.interval or DEFAULT_INTERVAL_S)
        self.bucket = LoadBudget()
        self.events: Sequence[Event] = ()
        self.complained = False
        self.usual = UsualCost()
        self.cost = 0.0
        self._usual_named = UsualCost()
        self._reactor = reactor
        self._clocks = clocks
        self._steps = steps
        self._followed = steps.total()
        self._publisher = publisher
        self._keep_ended = keep_ended
        self._is_ours = is_ours
        self._on_check = checked
        self._instruments = instruments
        #: When it was checked what the account may see: a date, and by the reactor's time.
        self._checked_at: float | None = None
        self._last_check = 0.0
        self._forgot_at = -math.inf
        self._guesses = Guesses()
        self._unbroken_since: float | None = None
        self._all_since = -math.inf
        self.unconfirmed = False
        self._accounting_due = 0.0
        self._accounting_pause = 1.0
        self._warned: set[str] = set()

    @property
    def changed(self) -> bool:
        """Whether the last look found anything."""
        return bool(self.events)

    async def at(self, names: Sequence[str]) -> bool:
        """
        Ask for these jobs (canonical ids) alone, if that is enough and cheaper than asking for all.

        :return: False where it is not, or where the answer is not enough: then all must be asked for.
        """
        queue, began = self.queue, self._reactor.seconds()
        if not INamedJobsQueue.providedBy(queue) or not self._worth_naming(names, queue.most_named):
            return False
        self.status.named += 1
        self.status.queries += 1
        snapshot = await self._in_time(lambda: queue.named(names))
        now = self._reactor.seconds()
        self.bucket.spend(self._usual_named.charge(len(names), now - began), now)
        at, rows = self._clocks.wall(), snapshot.jobs
        if any(name not in rows for name in names) or any(
            row.parent is not None or row.pending_tasks is not None for row in rows.values()
        ):
            return False
        partial, policy = attrs.evolve(snapshot, partial=True), self.policy(None)
        jobs = self._publisher.table.cluster(self.queue.cluster)
        if shows_others(jobs, partial):
            return False
        jobs.applied = None
        events = await self._publisher.apply(self.queue.cluster, lambda jobs: diff(jobs, partial, NOTHING_ASKED, policy, at))
        self.events = events
        return True

    def _worth_naming(self, names: Sequence[str], most: int) -> bool:
        """Return whether it is enough to ask for these jobs, and cheaper than asking for all."""
        jobs = self._publisher.table.cluster(self.queue.cluster)
        for name in names:
            record = jobs.get(jobs.canonical(name))
            if self.queue.task_of(name) is not None or (record is not None and _in_family(record)):
                return False  # an array's range, its tasks and their sum are compared as a whole
        named_s = self._usual_named.usual(len(names))
        seconds = NAMED_S * len(names) if named_s is None else named_s
        return NAMED_WORTH * seconds < self.cost and self.status.health == "ok" and len(names) <= most

    async def at_all(self) -> None:
        """One query for all jobs, whatever comes of it published. Raises where it failed."""
        self._follow_the_clock()
        facts = self.status.facts
        every = CHECK_EVERY_S if facts is not None and facts.sees_all else CHECK_BLIND_EVERY_S
        due = self._checked_at is None or self._reactor.seconds() - self._last_check >= every
        if due:
            await self._check()
        began, set_before = self._clocks.elapsed(), self._steps.total()
        snapshot = await self._query()
        jobs = self._publisher.table.cluster(self.queue.cluster)
        if not due and shows_others(jobs, snapshot):  # who says now who he is may not be who has answered: ask in between
            await self._check()
            snapshot = await self._query()
        blind = await self._hidden(jobs, snapshot)
        if blind:
            snapshot = attrs.evolve(snapshot, rejected_ids=snapshot.rejected_ids | blind)
        outcomes = await self._outcomes(jobs, snapshot)
        self._follow_the_clock()
        if moved := self._steps.total() - set_before:
            snapshot = attrs.evolve(snapshot, began_at=snapshot.began_at + moved, ended_at=snapshot.ended_at + moved)
        await self._publish(snapshot, outcomes, bool(blind), began)

    async def _check(self) -> QueueFacts:
        """Ask what the account may see; its answer is in the status."""
        facts = await self._in_time(self.queue.check)
        self._is_ours(facts)
        self._follow_the_clock()
        self._checked_at, self._last_check = self._clocks.wall(), self._reactor.seconds()
        before, self.status.facts = self.status.facts, facts
        self._on_check(facts)
        if before is None or before.problems != facts.problems:
            for problem in facts.problems:
                self.log.warn("{cluster}: {problem}", cluster=self.queue.cluster, problem=problem)
            interval = self.queue.interval or DEFAULT_INTERVAL_S
            if facts.remembers_s is not None and facts.remembers_s < 2 * interval and "remembers" not in self._warned:
                self._warned.add("remembers")
                self.log.warn(
                    "{cluster}: finished jobs are listed for {s:g} s only ({setting}), less than twice the interval of "
                    "{interval:g} s: endings will be missed",
                    cluster=self.queue.cluster,
                    s=facts.remembers_s,
                    setting=facts.remembers_by,
                    interval=interval,
                )
        return facts

    async def _query(self) -> Snapshot:
        began = self._reactor.seconds()
        self.status.queries += 1
        snapshot = await self._in_time(self.queue.snapshot)
        now = self._reactor.seconds()
        if abs(snapshot.began_at - self._clocks.wall()) > NO_DATE_S:
            raise QueueError(f"the adapter says that the query began at {snapshot.began_at:.0f}, which is no date of now")
        self._instruments.queried(self.queue.cluster, now - began)
        self.status.rows = len(snapshot.jobs)
        self.status.queries += snapshot.queries - 1
        charged = snapshot.queries * self.usual.charge(self.status.rows, (now - began) / snapshot.queries)
        self.cost = self.usual.usual(self.status.rows) or 0.0
        if self.status.seen_at is not None:  # to the first one everything is new
            self.bucket.spend(charged, now)
        self.status.rejected += snapshot.rejected_count
        for why in snapshot.rejected:
            if why not in self._warned:
                if len(self._warned) < 1000:
                    self._warned.add(why)
                self.log.warn("{cluster}: a row is passed over: {why}", cluster=self.queue.cluster, why=why)
        return snapshot

    async def _hidden(self, jobs: ClusterJobs, snapshot: Snapshot) -> frozenset[str]:
        """
        The jobs whose absence from this snapshot says nothing, because the account may not see all jobs.

        What it may see is asked whenever live jobs are missing: a later look that misses them too is believed only then. So is
        which cluster answers, also where other jobs stand in the place of those that are known.
        """
        self.unconfirmed = bool(newly_absent(jobs, snapshot)) or unchecked(jobs, self._checked_at)
        doubtful = self.unconfirmed or shows_others(jobs, snapshot)
        facts = await self._check() if doubtful else self.status.facts
        if facts is not None and not facts.sees_all:
            return frozenset(job_id for job_id in (*jobs.open, *jobs.ranges) if job_id not in snapshot.jobs)
        return frozenset()

    async def _outcomes(self, jobs: ClusterJobs, snapshot: Snapshot) -> Outcomes:
        """Ask accounting about the jobs that left, less often the longer it has no answer."""
        facts = self.status.facts
        accounting = facts is not None and facts.accounting
        wanted = wants_outcome(jobs, snapshot) if accounting else []
        now = self._reactor.seconds()
        if not wanted:
            self._accounting_pause, self._accounting_due = 1.0, 0.0
        if now < self._accounting_due:
            return NOTHING_ASKED
        if accounting:
            wanted += self._guesses.to_ask(jobs, snapshot, now)
        if not wanted:
            return NOTHING_ASKED
        try:
            outcomes = await self._in_time(lambda: self.queue.outcomes(wanted))
        except QueueError as error:
            self.log.warn("{cluster}: accounting: {error}", cluster=self.queue.cluster, error=str(error))
            self.status.accounting_error = str(error)
            outcomes = NOTHING_ASKED
        else:
            self.status.accounting_error = None
        progress = outcomes.jobs or not outcomes.whole
        self._accounting_pause = 1.0 if progress else min(LONGEST_ACCOUNTING_PAUSE_S, 2 * self._accounting_pause)
        self._accounting_due = self._reactor.seconds() + self._accounting_pause
        return outcomes

    def policy(self, keep_ended: float | None = None, first: bool = False) -> DiffPolicy:
        """Return what a comparison needs to know of the cluster, as things stand now."""
        facts = self.status.facts
        return DiffPolicy(
            task_id=self.queue.task_id,
            accounting=facts is not None and facts.accounting,
            grace=self.queue.grace,
            keep_ended=keep_ended,
            lists_ended=facts is None or facts.lists_ended,
            first=first,
            confirm=self.confirm,
            checked_at=self._checked_at,
            unbroken_since=self._unbroken_since,
            all_since=self._all_since,
            finds_parts=facts is not None and facts.accounting and IRecordedJobsQueue.providedBy(self.queue),
            moved_to=self._publisher.table.moved_to if len(self._publisher.table.clusters) > 1 else None,
        )

    @property
    def confirm(self) -> float:
        """Seconds from a look that misses a job to one that confirms it."""
        return max(CONFIRM_S, self.queue.interval or DEFAULT_INTERVAL_S)

    def _follow_the_clock(self) -> None:
        """Move the dates that ages are measured from by as much as the clock was set since this was done last."""
        total = self._steps.total()
        step, self._followed = total - self._followed, total
        if step:
            self._publisher.table.cluster(self.queue.cluster).clock_was_set(step)
            self._unbroken_since = None
            if self._checked_at is not None:
                self._checked_at += step

    async def _publish(self, snapshot: Snapshot, outcomes: Outcomes, blind: bool, began: float) -> None:
        """
        Publish what a snapshot tells.

        :param began: when its query began, by the elapsed clock.
        """
        forget = self._reactor.seconds() - self._forgot_at >= FORGET_EVERY_S
        if forget:
            self._forgot_at = self._reactor.seconds()
        keep_ended = self._keep_ended + self._steps.excess() if forget else None
        now = self._clocks.wall()
        facts, before = self.status.facts, self.status.seen_at
        remembers = facts.remembers_s if facts is not None else None
        if not remembers:
            self._unbroken_since = None
        elif self._unbroken_since is None or before is None or self._clocks.elapsed() - before >= remembers:
            self._unbroken_since = snapshot.began_at
        self._all_since = self._arrays_are_whole_since(snapshot)

        def compare(jobs: ClusterJobs) -> Generator[None, None, Changes[JobRecord]]:
            policy = self.policy(keep_ended, first=self.status.seen_at is None and not len(jobs))
            return diff(jobs, snapshot, outcomes, policy, now)

        events = await self._publisher.apply(self.queue.cluster, compare, lambda: self._seen(began, blind))
        # What was rejected, or is hidden, is neither listed nor absent: next time all is to be looked at.
        self._publisher.table.cluster(self.queue.cluster).applied = None if snapshot.rejected_ids else snapshot.jobs
        self.events = events

    def _arrays_are_whole_since(self, snapshot: Snapshot) -> float:
        """Return since when an array that this snapshot shows first must have been submitted, if all its parts are known."""
        facts, before = self.status.facts, self.status.seen_at
        remembers = facts.remembers_s if facts is not None else None
        if facts is not None and (facts.whole_arrays or not facts.lists_ended):
            return -math.inf if facts.whole_arrays else math.inf
        if before is not None and remembers is None:
            return -math.inf
        if self._unbroken_since is not None and self._unbroken_since < snapshot.began_at:
            return -math.inf
        return snapshot.began_at - max(0.0, remembers - CONFIRM_S) if remembers else math.inf

    def _seen(self, began: float, blind: bool) -> None:
        """The snapshot whose query began then is what is served from now on."""
        status = self.status
        was_blind, status.blind, status.error = status.blind, blind, None
        if blind:
            assert status.facts is not None
            status.error = f"jobs that were there are not shown to this account ({status.facts.evidence})"
            if not was_blind:
                self.complained = True
                self.log.warn("{cluster}: {error}; keeping what is known", cluster=self.queue.cluster, error=status.error)
            return
        status.seen_at, status.other = began, False
        if self.complained and status.health == "ok":
            self.complained = False
            self.log.info("{cluster}: answers again", cluster=self.queue.cluster)

    @property
    def _limit(self) -> float:
        """Seconds within which the adapter has answered one question, or has failed to."""
        return 2 * self.queue.timeout + 5.0

    @property
    def longest(self) -> float:
        """Seconds within which a look has ended, whatever the scheduler does: each of its questions has a limit."""
        return MOST_QUESTIONS * self._limit + PUBLISHED_S

    def _in_time(self, ask: Callable[[], Deferred[T]]) -> Deferred[T]:
        """Ask the adapter, which must answer in time even where it does not keep its own promise."""
        answer = maybeDeferred(ask).addTimeout(
            self._limit, self._reactor, lambda _, s: _raise(QueueError(f"no answer within {s:g} s"))
        )
        return answer.addErrback(self._check_again)

    def _check_again(self, failure: Failure) -> NoReturn:
        if failure.check(QueueChanged):
            self._checked_at = None
        failure.raiseException()


def _in_family(record: JobRecord) -> bool:
    """Return whether a job is a part of a whole, or a whole of parts."""
    job = record.subject
    return job.parent is not None or job.counts is not None or record.detail.range_row is not None


def _raise(error: Exception) -> NoReturn:
    raise error
