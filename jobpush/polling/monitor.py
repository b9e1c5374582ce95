"""
JobStatusMonitor: looks at one queue again and again.

A LoopingCall whose interval follows the cost of the query, the interest of clients and the health of the scheduler: when a
query fails the monitor backs off. No pause is longer than `jobpush.polling.schedule.latest_begin` says. A nudge
(`jobpush.polling.nudges`) says only that it is time to look; what a look does, and what it makes of the answer, is in
`jobpush.polling.look`.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Iterable

from twisted.internet.defer import CancelledError, Deferred, TimeoutError
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from jobpush.adapter.interfaces import IBatchQueueService, INamedJobsQueue, IWatchfulQueue, OtherCluster, QueueError
from jobpush.core.model import PASSING_PHASES, JobDescriptor, QueueFacts
from jobpush.events.instruments import Instruments
from jobpush.events.interfaces import JournalError
from jobpush.events.publisher import Publisher
from jobpush.polling.look import Look
from jobpush.polling.lookups import Lookups
from jobpush.polling.past_attempts import PastAttempts
from jobpush.polling.schedule import (
    DEFAULT_INTERVAL_S,
    ECHO_S,
    IDLE_INTERVAL_S,
    NUDGE_ANSWERED_S,
    Foresight,
    RefreshQueue,
    ScheduleOptions,
    breath,
    latest_begin,
    longest_pause,
)
from jobpush.polling.unknown_jobs import UnknownJobs
from jobpush.runtime.clocks import Clocks, ClockSteps

#: Seconds until a query that somebody asked for while another one ran.
SOON_S = 0.05

#: Of a look that has found more changes, so many are compared with what nudges have announced.
MOST_CHANGES = 1000

#: A query is not brought forward by less than so many seconds: each nudge of a burst would search the timers for that.
SOONER_S = 0.001


class JobStatusMonitor:
    """
    :param reactor: its time is for intervals and deadlines only, never for dates.
    :param interested: returns whether anybody waits for something right now.
    :param keep_ended: seconds for which jobs that ended stay in the table.
    :param checked: told what the account may see, each time that this was asked.
    :param schedule: how often it may ask, and how seldom it may while nudges announce the changes.
    :param steps: as in `Look`.
    :param is_ours: as in `Look`.
    """

    log = Logger()

    def __init__(
        self,
        reactor: IReactorTime,
        queue: IBatchQueueService,
        publisher: Publisher,
        clocks: Clocks,
        steps: ClockSteps,
        interested: Callable[[], bool] = lambda: True,
        keep_ended: float = 86400.0,
        checked: Callable[[QueueFacts], None] = lambda facts: None,
        schedule: ScheduleOptions = ScheduleOptions(),  # noqa: B008
        instruments: Instruments | None = None,
        is_ours: Callable[[QueueFacts], None] = lambda facts: None,
    ) -> None:
        self.queue = queue
        instruments = instruments or Instruments()
        self._look = Look(reactor, queue, publisher, keep_ended, is_ours, checked, instruments, clocks, steps)
        self.status = self._look.status
        self._reactor = reactor
        self._publisher = publisher
        self._interested = interested
        self._schedule = schedule
        self.lookups = Lookups(reactor, clocks.wall, queue, publisher, self._look.policy, self._proves_parts)
        self._past_attempts = PastAttempts(reactor, clocks.wall, queue, publisher, lambda: self._look.policy().accounting)
        self._refreshes = RefreshQueue(queue.echo if IWatchfulQueue.providedBy(queue) else ECHO_S)
        self._foresight = Foresight()
        self._unknown_jobs = UnknownJobs()
        self._began_at = self._ended_at = 0.0
        # Of looks at all jobs: when the last one began and ended, and when the next one is due.
        self._all_began_at = self._all_ended_at = self._all_due = 0.0
        self._nudged_at: float | None = None
        self._loop = LoopingCall(self._tick)
        self._loop.clock = reactor
        self._running: Deferred[None] | None = None
        self._failed_in_row = 0
        self._unpublished = False
        self._again = False
        self._lapse: IDelayedCall | None = None
        self._elapsed = clocks.elapsed
        #: Whether it is to look again and again, and when its present look has begun, by `elapsed`.
        self._watching = False
        self._turned_at = 0.0
        # Who waits for a fresh answer, and the jobs that are looked for; none, if that is something else.
        self._fresh: dict[Deferred[None], frozenset[str]] = {}
        self._next_fresh: dict[Deferred[None], frozenset[str]] = {}
        #: How many looks have begun: what is asked for now comes with a later one.
        self.looks_begun = 0

    # -- what others ask

    @property
    def stale_s(self) -> float | None:
        """Seconds since the query began whose answer is served; None before the first."""
        return self.status.stale_s

    @property
    def probes(self) -> int:
        """The questions that the adapter has asked to learn when to look."""
        return getattr(self.queue, "probes", 0)

    @property
    def cost_share(self) -> float:
        """The share of the time that queries for all jobs take at the interval, when all is well; 0 before it is known."""
        cost = self._look.usual.proved(self.status.rows) or 0.0
        return cost / (cost + (self.queue.interval or DEFAULT_INTERVAL_S))

    @property
    def stuck(self) -> str | None:
        """
        Why it does not look again, a sentence; None while it does. That the scheduler does not answer is no reason: each
        question to it fails within its limit, and the next look comes after it.
        """
        if self._running is not None:
            took, longest = self._elapsed() - self._turned_at, self._look.longest
            if took > longest:
                return f"a look at {self.queue.cluster} has taken {took:.0f} s and must have ended within {longest:g} s"
        elif self._watching and (not self._loop.running or self._loop.call is None):
            return f"{self.queue.cluster} is not looked at any more"
        return None

    def start(self) -> None:
        """Ask now, and go on asking."""
        self._watching = True
        self._loop.start(self.status.interval_s, now=True).addErrback(
            lambda failure: self.log.failure("the monitor of {cluster} ended", failure, cluster=self.queue.cluster)
        )

    def stop(self) -> Deferred[None]:
        """Fires when nothing runs any more. A query that runs is ended."""
        self._watching = False
        if self._loop.running:
            self._loop.stop()
        self.give_up()
        if self._lapse is not None and self._lapse.active():
            self._lapse.cancel()
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
        self.lookups.give_up()
        self._past_attempts.give_up()

    def fresh(self, jobs: Iterable[str] = (), client: str | None = None) -> Deferred[None]:
        """
        Ask soon; not so soon if there were many such questions, or a look has just not shown these jobs.

        :param jobs: canonical ids of jobs that are looked for: if a query for these alone shows them, that is enough.
        :param client: the name of who asks.
        :return: fires when a query that began after this call has been published; never, while the scheduler cannot be asked.
            Cancelling is allowed.
        """
        waiting: Deferred[None] = Deferred(self._unwanted)
        wanted = self._next_fresh[waiting] = frozenset(jobs)
        if self._unknown_jobs.hurries(wanted, client, self._reactor.seconds()):
            self.look_now(wanted)
        return waiting

    def look_now(self, jobs: Collection[str] = ()) -> None:
        """
        Something may have changed: ask as soon as the interval that was set and the limit on load allow it.

        :param jobs: canonical ids; of these alone, if there is nothing else to look for and that is cheaper.
        """
        if not self._loop.running or self._failed_in_row:
            return
        if self._running is not None:
            self._again = True
        elif self.queue.interval is None:
            now = self._reactor.seconds()
            wait = self._soonest(now)
            if not jobs:
                self._all_due = min(self._all_due, now + wait)
            self._bring_forward(now, wait)

    def nudge(self, jobs: Collection[str] = (), early: bool = True) -> None:
        """
        The scheduler's hook or log says that something has changed, perhaps these jobs (canonical ids): ask as soon as the
        floor between queries and the limit on load allow it, and within `NUDGE_ANSWERED_S`; once more, if a query runs. While
        queries fail it does not shorten the pause.

        :param early: whether it may not be visible yet. Then what has not changed is looked at again a little later.
        """
        if not self._loop.running:
            return
        now = self._reactor.seconds()
        self._refreshes.add(jobs, early)
        self._foresight.nudged(jobs, now)
        if self._nudged_at is None:
            self._nudged_at = now
        if self._running is None and not self._failed_in_row:
            self._bring_forward(now, self._soonest(now))

    def journal_well(self) -> None:
        """The journal can be written again: if the last query could not be published, do not sleep out the pause for that."""
        if self._failed_in_row and self._unpublished:
            self._bring_forward(now := self._reactor.seconds(), self._soonest(now))

    @property
    def unconfirmed(self) -> bool:
        """Did the last look miss jobs, which another one is to confirm?"""
        return self._look.unconfirmed

    @property
    def announced(self) -> bool:
        """Whether changes are announced by nudges, so that the poll has become a reconciler."""
        return self._foresight.good

    def _soonest(self, now: float) -> float:
        """Seconds until a query that somebody wants may begin."""
        return max(0.0, self._began_at + self._schedule.floor - now, min(self._look.bucket.wait(now), self._latest() - now))

    def _latest(self) -> float:
        """The time at which the next query begins, whatever the load; not later than `latest_begin`."""
        interval, cost = self.queue.interval, self._look.cost
        latest = latest_begin(interval, self._interested(), cost, self._all_began_at, self._all_ended_at)
        if self._nudged_at is None:
            return latest
        return min(latest, max(self._nudged_at + NUDGE_ANSWERED_S, self._ended_at + breath(interval, cost)))

    def awaited(self) -> None:
        """Somebody begins to wait: after an idle time, do not sleep on for longer than while somebody waits."""
        now, call, started = self._reactor.seconds(), self._loop.call, self._loop.starttime or 0.0
        if self._running is not None or call is None or call.getTime() <= max(started + DEFAULT_INTERVAL_S, now) + SOONER_S:
            return
        if self._failed_in_row:
            self._bring_forward(now, max(0.0, self._ended_at + max(longest_pause(True), self.queue.interval or 0.0) - now))
        elif self.queue.interval is None:
            wait = max(started + DEFAULT_INTERVAL_S - now, self._soonest(now))
            self._all_due = min(self._all_due, now + wait)
            self._bring_forward(now, wait)

    def _bring_forward(self, now: float, wait: float) -> None:
        """The next query is to begin in so many seconds, if it was to begin later."""
        call = self._loop.call
        if call is not None and now + wait < call.getTime() - SOONER_S:
            call.reset(wait)

    def _unwanted(self, waiting: Deferred[None]) -> None:
        for waiters in (self._fresh, self._next_fresh):
            waiters.pop(waiting, None)

    # -- one tick

    def _tick(self) -> Deferred[None]:
        self._again = False
        self._began_at = self._reactor.seconds()
        self._turned_at = self._elapsed()
        self._running = Deferred.fromCoroutine(self._turn())

        def over(_: object) -> None:
            self._running = None
            self._ended_at = self._reactor.seconds()
            self._watch_freshness()
            # LoopingCall counts its interval from its start time: begin anew, so that the pause is a whole one.
            self._loop.interval = self.status.interval_s = self._pause()
            self._loop.starttime = self._reactor.seconds()

        return self._running.addErrback(self._failed).addBoth(over)

    def _failed(self, failure: Failure) -> None:
        if not self._loop.running:
            return  # it was stopped, and its query with it
        kind = type(failure.value).__name__
        if failure.check(QueueError, JournalError, TimeoutError, CancelledError):
            error = str(failure.value) or kind
        else:
            self.log.failure("querying {cluster} failed unexpectedly", failure, cluster=self.queue.cluster)
            error = f"unexpected {kind}"
        status = self.status
        if status.error != error:
            self._look.complained = True
            self.log.warn("{cluster}: {error}; keeping what is known", cluster=self.queue.cluster, error=error)
        status.error = error
        status.other = status.other or failure.check(OtherCluster) is not None
        status.failures += 1
        self._failed_in_row += 1
        self._unpublished = failure.check(JournalError) is not None

    def _watch_freshness(self) -> None:
        """Let the log say when the answer that is served is not fresh any more."""
        stale_s = self.status.stale_s
        if stale_s is None or not self._loop.running or (self._lapse is not None and self._lapse.active()):
            return
        if stale_s < self.status.fresh_s:
            self._lapse = self._reactor.callLater(self.status.fresh_s - stale_s, self._lapsed)

    def _lapsed(self) -> None:
        if self.status.health == "ok":
            self._watch_freshness()
        elif (self.queue.interval or 0.0) < self.status.fresh_s and not self._look.complained:
            self._look.complained = True
            self.log.warn(
                "{cluster}: no answer for {s:g} s; keeping what is known", cluster=self.queue.cluster, s=self.status.fresh_s
            )

    def _pause(self) -> float:
        """Seconds until the next query."""
        if self._failed_in_row:
            return self._back_off()
        now = self._ended_at
        wanted = self.queue.interval if self.queue.interval is not None else self._adapted()
        if self._foresight.good and not self._can_be_missed(now):
            wanted = max(wanted, self._rarely(self._schedule.reconcile))
        if self._look.unconfirmed:
            wanted = min(wanted, self._look.confirm)
        soonest = self._soonest(now)
        self._all_due = min(self._all_due, now + max(soonest, min(wanted, self._latest() - now)))
        echo = self._refreshes.echo()
        return max(soonest, self._all_due - now if echo is None else min(self._all_due - now, echo))

    def _can_be_missed(self, now: float) -> bool:
        """Return whether there are jobs to which something can happen that nudges did not announce."""
        states = self._foresight.polled_for(now)
        if not states or None in states:
            return bool(states)
        jobs = self._publisher.table.cluster(self.queue.cluster)
        subjects = (jobs.records[job_id].subject for job_id in (*jobs.open, *jobs.ranges) if job_id in jobs.records)
        return any(subject.state in states or any(state in states for state in subject.counts or ()) for subject in subjects)

    def _rarely(self, longest: float) -> float:
        """As long a pause, but under half of the time for which the scheduler remembers finished jobs."""
        facts = self.status.facts
        if facts is not None and facts.remembers_s:
            longest = min(longest, max(DEFAULT_INTERVAL_S, facts.remembers_s / 2))
        return longest

    def _back_off(self) -> float:
        """After failures: twice as long each time, a little less than that so that many services drift apart."""
        least = self.queue.interval or DEFAULT_INTERVAL_S
        wanted = least * 2.0 ** min(self._failed_in_row - 1, 10)
        jitter = random.uniform(0.75, 1.0) if self._failed_in_row > 1 else 1.0
        return min(wanted, max(longest_pause(self._interested()), least)) * jitter

    def _adapted(self) -> float:
        """Where the user has not said: often while somebody waits or something changes, seldom otherwise."""
        if self._again:
            return SOON_S
        if self._interested() or self._look.changed:
            return DEFAULT_INTERVAL_S
        return min(self._rarely(IDLE_INTERVAL_S), max(DEFAULT_INTERVAL_S, self.status.interval_s * 1.5))

    async def _turn(self) -> None:
        """One look, at named jobs only where that is enough and cheaper. Raises where it failed."""
        seen_seq, first, nudged_at = self._publisher.tail.head, self.status.seen_at is None, self._nudged_at
        names, self._nudged_at = self._named(), None
        self.status.nudged += self._refreshes.fresh
        taken = self._refreshes.take()
        self._fresh, self._next_fresh = self._next_fresh, {}
        self.looks_begun += 1
        try:
            named = bool(names) and await self._look.at(names)
            if not named:
                await self._look_at_all()
        except BaseException:
            self._refreshes.give_back(taken)
            self._next_fresh = {**self._fresh, **self._next_fresh}
            self._fresh = {}
            self._nudged_at = nudged_at if nudged_at is not None else self._nudged_at
            raise
        self._failed_in_row = 0
        if self._look.changed and not first:
            self._foresight.found(bool(taken) or self._refreshes.fresh)
            self._note_changes({*taken, *self._refreshes.waiting})
        self._refreshes.looked(taken, lambda name, early: self._is_settled(name, early, seen_seq))
        self._tell_fresh(names if named else None)

    def _named(self) -> tuple[str, ...]:
        """The jobs that it is enough to look at now; none, if all are to be looked at."""
        names = self._refreshes.names or ()
        all_wanted = not (self._refreshes.empty or names) or not all(self._next_fresh.values())
        if all_wanted or self._reactor.seconds() >= self._all_due - SOONER_S or not INamedJobsQueue.providedBy(self.queue):
            return ()
        return tuple(dict.fromkeys([*names, *(name for wanted in self._next_fresh.values() for name in sorted(wanted))]))

    def _proves_parts(self) -> bool:
        facts = self.status.facts
        return facts is not None and facts.records_waiting

    async def _look_at_all(self) -> None:
        """A look at all jobs, for all who have asked by now."""
        self._fresh.update(self._next_fresh)
        self._next_fresh = {}
        self.looks_begun += 1
        began_at = self._reactor.seconds()
        await self._look.at_all()
        self._all_began_at, self._all_ended_at, self._all_due = began_at, self._reactor.seconds(), float("inf")
        self.lookups.find_parts()
        self._past_attempts.ask()

    def _tell_fresh(self, names: Collection[str] | None) -> None:
        """
        Tell who waits for a fresh answer that it has been published.

        :param names: the jobs that were looked at; None for all.
        """
        jobs = self._publisher.table.cluster(self.queue.cluster)
        for waiting in tuple(self._fresh):
            wanted = self._fresh.pop(waiting, None)
            if wanted is None:
                continue  # it has been cancelled meanwhile
            if names is not None and not (wanted and wanted.issubset(names)):
                self._next_fresh[waiting] = wanted
                continue
            unknown = (name for name in wanted if jobs.get(jobs.canonical(name)) is None)
            self._unknown_jobs.missed(unknown, self._reactor.seconds())
            waiting.callback(None)

    def _note_changes(self, names: Collection[str | None]) -> None:
        """
        Take note of which of the changes that the last look has found were announced.

        :param names: the jobs that nudges have named (canonical ids); None among them stands for any.
        """
        now, jobs, queue = self._reactor.seconds(), self._publisher.table.cluster(self.queue.cluster), self.queue
        named = {jobs.canonical(name) for name in names if name is not None}
        arrays = {task[0] for task in map(queue.task_of, named) if task is not None}
        for event in self._look.events[:MOST_CHANGES]:
            job = event.subject
            if isinstance(job, JobDescriptor):
                by = (job.id, *job.aliases, *((job.parent,) if job.parent is not None else ()))
                announced = None in names or job.id in arrays or not named.isdisjoint(by)
                self._foresight.changed((event.previous, job.state), by, announced, now)

    def _is_settled(self, name: str | None, early: bool, seen_seq: int) -> bool:
        """Return whether this job has changed since, if that was announced early, and is in a state that it can stay in."""
        if name is None:
            return self._look.changed or not early
        jobs = self._publisher.table.cluster(self.queue.cluster)
        record = jobs.get(jobs.canonical(name))
        if record is None or record.last_seq <= seen_seq:
            if early:
                return False
            if record is None:
                return True
        return record.subject.phase not in PASSING_PHASES and record.subject.done == record.subject.terminal
