"""
JobStatusMonitor: looks at one queue again and again.

A LoopingCall whose interval follows the cost of the query, the interest of clients and the health of the scheduler: when a
query fails the queue counts as stale, and the monitor backs off. A nudge (`jobpush.polling.nudges`) says only that it is time
to look; what a look does, and what it makes of the answer, is in `jobpush.polling.look`.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Collection

from twisted.internet.defer import CancelledError, Deferred, TimeoutError
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from jobpush.adapter.interfaces import IBatchQueueService, IWatchfulQueue, QueueError
from jobpush.core.model import PASSING_PHASES, QueueFacts
from jobpush.events.instruments import Instruments
from jobpush.events.interfaces import JournalError
from jobpush.events.publisher import Publisher
from jobpush.polling.look import Look
from jobpush.polling.lookups import Lookups
from jobpush.polling.schedule import DEFAULT_INTERVAL_S, ECHO_S, IDLE_INTERVAL_S, Foresight, RefreshQueue, ScheduleOptions

#: Seconds to which the pause after failed queries grows.
LONGEST_BACKOFF_S = 30.0

#: Seconds until a query that somebody asked for while another one ran.
SOON_S = 0.05

#: A query is not brought forward by less than so many seconds: each nudge of a burst would search the timers for that.
SOONER_S = 0.001


class JobStatusMonitor:
    """
    :param reactor: its ``seconds()`` is the time since the epoch, as with all of Twisted's reactors.
    :param interested: returns whether anybody waits for something right now.
    :param keep_ended: seconds for which jobs that ended stay in the table.
    :param checked: told what the account may see, each time that this was asked.
    :param schedule: how often it may ask, and how seldom it may while nudges announce the changes.
    """

    log = Logger()

    def __init__(
        self,
        reactor: IReactorTime,
        queue: IBatchQueueService,
        publisher: Publisher,
        interested: Callable[[], bool] = lambda: True,
        keep_ended: float = 86400.0,
        checked: Callable[[QueueFacts], None] = lambda facts: None,
        schedule: ScheduleOptions = ScheduleOptions(),  # noqa: B008
        instruments: Instruments | None = None,
    ) -> None:
        self.queue = queue
        self._look = Look(reactor, queue, publisher, keep_ended, checked, instruments or Instruments())
        self.status = self._look.status
        self._reactor = reactor
        self._publisher = publisher
        self._interested = interested
        self._schedule = schedule
        self.lookups = Lookups(reactor, queue, publisher, self._look.policy)
        self._refreshes = RefreshQueue(queue.echo if IWatchfulQueue.providedBy(queue) else ECHO_S)
        self._foresight = Foresight()
        self._began_at = 0.0
        self._loop = LoopingCall(self._tick)
        self._loop.clock = reactor
        self._running: Deferred[None] | None = None
        self._failed_in_row = 0
        self._again = False
        self._fresh: list[Deferred[None]] = []
        self._next_fresh: list[Deferred[None]] = []
        #: How many looks at all jobs have begun: what is asked for now comes with a later one.
        self.looks_begun = 0

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
        self.lookups.give_up()

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
        if not self._loop.running or self._failed_in_row:
            return
        if self._running is not None:
            self._again = True
        elif self.queue.interval is None:
            now = self._reactor.seconds()
            self._bring_forward(now, self._soonest(now))

    def nudge(self, jobs: Collection[str] = (), early: bool = True) -> None:
        """
        The scheduler's hook or log says that something has changed, perhaps these jobs (canonical ids): ask as soon as the
        floor between queries and the limit on load allow it; once more, if a query runs. While queries fail it does not shorten
        the pause.

        :param early: whether it may not be visible yet. Then what has not changed is looked at again a little later.
        """
        if not self._loop.running:
            return
        self._refreshes.add(jobs, early)
        if self._running is None and not self._failed_in_row:
            now = self._reactor.seconds()
            self._bring_forward(now, self._soonest(now))

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
        return max(0.0, self._began_at + self._schedule.floor - now, self._look.bucket.wait(now))

    def awaited(self) -> None:
        """Somebody begins to wait: after an idle time, do not sleep on for longer than while somebody waits."""
        if self.queue.interval is not None or self._failed_in_row or self._running is not None:
            return
        now = self._reactor.seconds()
        self._bring_forward(now, max((self._loop.starttime or 0.0) + DEFAULT_INTERVAL_S - now, self._soonest(now)))

    def _bring_forward(self, now: float, wait: float) -> None:
        """The next query is to begin in so many seconds, if it was to begin later."""
        call = self._loop.call
        if call is not None and now + wait < call.getTime() - SOONER_S:
            call.reset(wait)

    def _unwanted(self, waiting: Deferred[None]) -> None:
        for waiters in (self._fresh, self._next_fresh):
            if waiting in waiters:
                waiters.remove(waiting)

    # -- one tick

    def _tick(self) -> Deferred[None]:
        self._again = False
        self._began_at = self._reactor.seconds()
        self._running = Deferred.fromCoroutine(self._turn())

        def over(_: object) -> None:
            self._running = None
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
            self.log.warn("{cluster}: {error}; keeping what is known", cluster=self.queue.cluster, error=error)
        status.health, status.error = "stale", error
        status.failures += 1
        self._failed_in_row += 1

    def _pause(self) -> float:
        """Seconds until the next query."""
        if self._failed_in_row:
            return self._back_off()
        wanted = self.queue.interval if self.queue.interval is not None else self._adapted()
        if self._foresight.good:
            wanted = max(wanted, self._rarely(self._schedule.reconcile))
        if self._look.unconfirmed:
            wanted = min(wanted, self._look.confirm)
        echo = self._refreshes.echo()
        return max(wanted if echo is None else min(wanted, echo), self._soonest(self._reactor.seconds()))

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
        return min(wanted, max(LONGEST_BACKOFF_S, least)) * jitter

    def _adapted(self) -> float:
        """Where the user has not said: often while somebody waits or something changes, seldom otherwise."""
        if self._again:
            return SOON_S
        if self._interested() or self._look.changed:
            return DEFAULT_INTERVAL_S
        return min(self._rarely(IDLE_INTERVAL_S), max(DEFAULT_INTERVAL_S, self.status.interval_s * 1.5))

    async def _turn(self) -> None:
        """One look, at named jobs only where that is enough and cheaper. Raises where it failed."""
        names, seen_seq, first = self._refreshes.names, self._publisher.tail.head, self.status.seen_at is None
        self.status.nudged += self._refreshes.fresh
        taken = self._refreshes.take()
        try:
            if names is None or not await self._look.at(names):
                await self._look_at_all()
        except BaseException:
            self._refreshes.give_back(taken)
            raise
        self._failed_in_row = 0
        if self._look.changed and not first:
            self._foresight.found(bool(taken) or self._refreshes.fresh)
        self._refreshes.looked(taken, lambda name, early: self._is_settled(name, early, seen_seq))

    async def _look_at_all(self) -> None:
        """A look at all jobs. Who waits for a fresh answer has it then; or goes on waiting, where it failed."""
        self.looks_begun += 1
        fresh, self._next_fresh = self._next_fresh, []
        self._fresh = fresh
        try:
            await self._look.at_all()
        except BaseException:
            self._next_fresh[:0] = self._fresh
            raise
        finally:
            fresh, self._fresh = self._fresh, []
        for waiting in fresh:
            if waiting not in self._next_fresh:
                waiting.callback(None)

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
