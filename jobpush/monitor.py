"""
JobStatusMonitor: asks one queue again and again, and hands what it says to the publisher.

A LoopingCall whose interval follows the cost of the query, the interest of clients and the health of the scheduler. A
query that fails changes no job: the queue counts as stale, and the monitor backs off. Before a missing row is believed,
the monitor makes sure that the account still may see it.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Generator
from typing import Any

import attrs
from twisted.internet.defer import CancelledError, Deferred, TimeoutError, maybeDeferred
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from jobpush.absence import NOTHING_ASKED, DiffPolicy, is_mass_disappearance, newly_absent, wants_outcome
from jobpush.diff import Changes, diff
from jobpush.interfaces import IBatchQueueService, JournalError, QueueError
from jobpush.model import JobRecord, Outcomes, QueueFacts, Snapshot
from jobpush.publisher import Publisher
from jobpush.table import ClusterJobs

#: Seconds between queries where the user has not said; when nobody waits and nothing changes it grows to the second.
DEFAULT_INTERVAL_S = 2.0
IDLE_INTERVAL_S = 10.0

#: A query may take this share of the time.
DUTY = 0.05

#: Seconds to which the pause after failed queries grows.
LONGEST_BACKOFF_S = 30.0

#: Seconds until a query that somebody asked for while another one ran.
SOON_S = 0.05

#: Seconds after which what the account may see is checked again, and after which old jobs are looked for.
CHECK_EVERY_S = 300.0
CHECK_BLIND_EVERY_S = 30.0
FORGET_EVERY_S = 60.0

#: Seconds to which the pause between questions to accounting grows, while it has no answer.
LONGEST_ACCOUNTING_PAUSE_S = 30.0


@attrs.define(eq=False)
class QueueStatus:
    """
    How a queue is doing.

    :ivar health: ``starting`` before the first answer, ``ok``, ``stale`` after a failed query, ``blind`` when jobs that were
        there are not shown to the account any more.
    :ivar seen_at: when the last query that was believed began, in seconds since the epoch.
    :ivar error: why the last query failed.
    """

    health: str = "starting"
    seen_at: float | None = None
    error: str | None = None
    facts: QueueFacts | None = None
    queries: int = 0
    failures: int = 0
    rows: int = 0
    rejected: int = 0
    query_s: float = 0.0
    interval_s: float = DEFAULT_INTERVAL_S


class JobStatusMonitor:
    """
    :param reactor: its ``seconds()`` is the time since the epoch, as with all of Twisted's reactors.
    :param interested: does anybody wait for something right now?
    :param keep_ended: seconds for which jobs that ended stay in the table.
    :param checked: told what the account may see, each time that this was asked.
    """

    log = Logger()

    def __init__(
        self,
        reactor: Any,
        queue: IBatchQueueService,
        publisher: Publisher,
        interested: Callable[[], bool] = lambda: True,
        keep_ended: float = 86400.0,
        checked: Callable[[QueueFacts], None] = lambda facts: None,
    ) -> None:
        self.queue = queue
        self.status = QueueStatus(interval_s=queue.interval or DEFAULT_INTERVAL_S)
        self._reactor = reactor
        self._publisher = publisher
        self._interested = interested
        self._keep_ended = keep_ended
        self._on_check = checked
        self._loop = LoopingCall(self._tick)
        self._loop.clock = reactor
        self._running: Deferred[None] | None = None
        self._stopping = False
        self._failed_in_row = 0
        self._first = True
        self._again = False
        self._changed = False
        self._fresh: list[Deferred[None]] = []
        self._next_fresh: list[Deferred[None]] = []
        self._checked_at: float | None = None
        self._forgot_at: float = 0.0
        self._doubted: Snapshot | None = None
        self._accounting_due = 0.0
        self._accounting_pause = 1.0
        self._warned: set[str] = set()

    # -- what others ask

    @property
    def stale_s(self) -> float | None:
        """Seconds since the query began whose answer is served; None before the first."""
        return None if self.status.seen_at is None else max(0.0, self._reactor.seconds() - self.status.seen_at)

    def start(self) -> None:
        """Ask now, and go on asking."""
        self._loop.start(self.status.interval_s, now=True).addErrback(
            lambda failure: self.log.failure("the monitor of {cluster} ended", failure, cluster=self.queue.cluster)
        )

    def stop(self) -> Deferred[None]:
        """Fires when nothing runs any more. A query that runs is ended."""
        self._stopping = True
        if self._loop.running:
            self._loop.stop()
        self.give_up()
        done: Deferred[None] = Deferred()
        if self._running is None:
            done.callback(None)
            return done
        self._running.addBoth(lambda _: done.callback(None))
        self._running.cancel()
        return done

    def give_up(self) -> None:
        """Cancel all that wait for a fresh answer."""
        for waiting in (*self._fresh, *self._next_fresh):
            waiting.cancel()

    def fresh(self) -> Deferred[None]:
        """
        Fires when a query that began after this call has been published; never, while the scheduler cannot be asked.
        Asks soon. Cancelling is allowed.
        """
        waiting: Deferred[None] = Deferred(self._unwanted)
        self._next_fresh.append(waiting)
        self.look_now()
        return waiting

    def look_now(self) -> None:
        """Something may have changed: ask as soon as the interval that was set and the limit on load allow it."""
        if self._stopping or self._failed_in_row:
            return
        if self._running is not None:
            self._again = True
        elif self._loop.running and self._loop.call is not None and self.queue.interval is None:
            due_in = self._loop.call.getTime() - self._reactor.seconds()
            soonest = self.status.query_s / DUTY - (self._reactor.seconds() - (self.status.seen_at or 0.0))
            if soonest < due_in:
                self._loop.call.reset(max(0.0, soonest))

    def awaited(self) -> None:
        """Somebody begins to wait: after an idle time, do not sleep on for longer than while somebody waits."""
        call = self._loop.call
        if self.queue.interval is not None or self._failed_in_row or self._running is not None or call is None:
            return
        due = (self._loop.starttime or 0.0) + max(DEFAULT_INTERVAL_S, self.status.query_s / DUTY)
        if due < call.getTime():
            call.reset(max(0.0, due - self._reactor.seconds()))

    def _unwanted(self, waiting: Deferred[None]) -> None:
        for waiters in (self._fresh, self._next_fresh):
            if waiting in waiters:
                waiters.remove(waiting)

    # -- one tick

    def _tick(self) -> Deferred[None]:
        self._again = False
        self._running = Deferred.fromCoroutine(self._look())

        def over(_: object) -> None:
            self._running = None
            # LoopingCall counts its interval from its start time: begin anew, so that the pause is a whole one.
            self._loop.interval = self.status.interval_s = self._pause()
            self._loop.starttime = self._reactor.seconds()

        return self._running.addErrback(self._failed).addBoth(over)

    def _failed(self, failure: Any) -> None:
        if self._stopping:
            return
        if failure.check(QueueError, JournalError, TimeoutError, CancelledError):
            error = str(failure.value) or failure.type.__name__
        else:
            self.log.failure("querying {cluster} failed unexpectedly", failure, cluster=self.queue.cluster)
            error = f"unexpected {failure.type.__name__}"
        status = self.status
        if status.error != error:
            self.log.warn("{cluster}: {error}; keeping what is known", cluster=self.queue.cluster, error=error)
        status.health, status.error = "stale", error
        status.failures += 1
        self._failed_in_row += 1

    def _pause(self) -> float:
        """Seconds until the next query."""
        if self._failed_in_row:
            return self._back_off()
        wanted = self.queue.interval if self.queue.interval is not None else self._adapted()
        if self._first:
            # What the first look costs, when everything is new, says nothing of the next ones.
            self._first = self.status.seen_at is None
            return wanted
        return max(wanted, self.status.query_s / DUTY)

    def _back_off(self) -> float:
        """After failures: twice as long each time, a little less than that so that many services drift apart."""
        least = self.queue.interval or DEFAULT_INTERVAL_S
        wanted = least * 2.0 ** min(self._failed_in_row - 1, 10)
        jitter = random.uniform(0.75, 1.0) if self._failed_in_row > 1 else 1.0
        return min(wanted, max(LONGEST_BACKOFF_S, least)) * jitter

    def _adapted(self) -> float:
        """Where the user has not said: often while somebody waits or something changes, seldom otherwise."""
        if self._again:
            return SOON_S
        if self._interested() or self._changed:
            return DEFAULT_INTERVAL_S
        facts = self.status.facts
        longest = IDLE_INTERVAL_S
        if facts is not None and facts.remembers_s:
            longest = min(longest, max(DEFAULT_INTERVAL_S, facts.remembers_s / 2))
        return min(longest, max(DEFAULT_INTERVAL_S, self.status.interval_s * 1.5))

    async def _look(self) -> None:
        """One query, whatever comes of it published. Raises where it failed."""
        facts = self.status.facts
        every = CHECK_EVERY_S if facts is not None and facts.sees_all else CHECK_BLIND_EVERY_S
        if self._checked_at is None or self._reactor.seconds() - self._checked_at >= every:
            await self._check()
        fresh, self._next_fresh = self._next_fresh, []
        self._fresh = fresh
        try:
            snapshot = await self._query()
            jobs = self._publisher.table.cluster(self.queue.cluster)
            blind = await self._doubt(jobs, snapshot)
            if blind:
                snapshot = attrs.evolve(snapshot, rejected_ids=snapshot.rejected_ids | blind)
            outcomes = await self._outcomes(jobs, snapshot)
            await self._publish(snapshot, outcomes, bool(blind))
        except BaseException:
            # Who waits for a fresh answer goes on waiting for one.
            self._next_fresh[:0] = self._fresh
            raise
        finally:
            fresh, self._fresh = self._fresh, []
        for waiting in fresh:
            if waiting not in self._next_fresh:
                waiting.callback(None)

    async def _check(self) -> QueueFacts:
        """Ask what the account may see; its answer is in the status."""
        facts: QueueFacts = await self._in_time(self.queue.check)
        self._checked_at = self._reactor.seconds()
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
        snapshot: Snapshot = await self._in_time(self.queue.snapshot)
        self.status.query_s = self._reactor.seconds() - began
        self.status.rows = len(snapshot.jobs)
        self.status.rejected += snapshot.rejected_count
        for why in snapshot.rejected:
            if why not in self._warned:
                if len(self._warned) < 1000:
                    self._warned.add(why)
                self.log.warn("{cluster}: a row is passed over: {why}", cluster=self.queue.cluster, why=why)
        return snapshot

    async def _doubt(self, jobs: ClusterJobs, snapshot: Snapshot) -> frozenset[str]:
        """
        The jobs whose absence from this snapshot says nothing, because the account may not see all jobs.

        Asked whenever live jobs are missing. Raises `QueueError` where most of them are, unless a second query says the same.
        """
        absent: list[JobRecord] = newly_absent(jobs, snapshot)
        doubted, self._doubted = self._doubted, None
        facts = await self._check() if absent else self.status.facts
        if facts is not None and not facts.sees_all:
            return frozenset(job_id for job_id in (*jobs.open, *jobs.ranges) if job_id not in snapshot.jobs)
        if is_mass_disappearance(jobs, len(absent)) and (
            doubted is None or any(record.job.id in doubted.jobs for record in absent)
        ):
            self._doubted = snapshot
            raise QueueError(f"{len(absent)} jobs, most of all, vanished in one query; asking again")
        return frozenset()

    async def _outcomes(self, jobs: ClusterJobs, snapshot: Snapshot) -> Outcomes:
        """Ask accounting about the jobs that left, less often the longer it has no answer."""
        facts = self.status.facts
        accounting = facts is not None and facts.accounting
        wanted = wants_outcome(jobs, snapshot) if accounting else []
        now = self._reactor.seconds()
        if not wanted:
            self._accounting_pause = 1.0
            return NOTHING_ASKED
        if now < self._accounting_due:
            return NOTHING_ASKED
        try:
            outcomes: Outcomes = await self._in_time(lambda: self.queue.outcomes(wanted))
        except QueueError as error:
            self.log.warn("{cluster}: accounting: {error}", cluster=self.queue.cluster, error=str(error))
            outcomes = NOTHING_ASKED
        self._accounting_pause = 1.0 if outcomes.jobs else min(LONGEST_ACCOUNTING_PAUSE_S, 2 * self._accounting_pause)
        self._accounting_due = self._reactor.seconds() + self._accounting_pause
        return outcomes

    async def _publish(self, snapshot: Snapshot, outcomes: Outcomes, blind: bool) -> None:
        facts = self.status.facts
        forget = self._reactor.seconds() - self._forgot_at >= FORGET_EVERY_S
        if forget:
            self._forgot_at = self._reactor.seconds()
        now = self._reactor.seconds()

        def compare(jobs: ClusterJobs) -> Generator[None, None, Changes]:
            policy = DiffPolicy(
                task_id=self.queue.task_id,
                accounting=facts is not None and facts.accounting,
                grace=self.queue.grace,
                keep_ended=self._keep_ended if forget else None,
                lists_ended=facts is None or facts.lists_ended,
                first=self.status.seen_at is None and not len(jobs),
            )
            return diff(jobs, snapshot, outcomes, policy, now)

        events = await self._publisher.apply(self.queue.cluster, compare)
        self._failed_in_row = 0
        self._changed = bool(events)
        status = self.status
        before, status.error = status.health, None
        if blind:
            assert facts is not None
            status.health = "blind"
            status.error = f"jobs that were there are not shown to this account ({facts.evidence})"
            if before != "blind":
                self.log.warn("{cluster}: {error}; keeping what is known", cluster=self.queue.cluster, error=status.error)
            return
        status.health, status.seen_at = "ok", snapshot.began_at
        if before in ("stale", "blind"):
            self.log.info("{cluster}: answers again", cluster=self.queue.cluster)

    def _in_time(self, ask: Callable[[], Deferred[Any]]) -> Deferred[Any]:
        """A question to the adapter, which must answer in time even where it does not keep its own promise."""
        limit = 2 * self.queue.timeout + 5.0
        return maybeDeferred(ask).addTimeout(
            limit, self._reactor, lambda _, s: _raise(QueueError(f"no answer within {s:g} s"))
        )


def _raise(error: Exception) -> Any:
    raise error
