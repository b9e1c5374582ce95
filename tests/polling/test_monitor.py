"""The monitor: one query at a time, back-off, staleness, doubt."""

from __future__ import annotations

import itertools
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from jobpush.adapter.interfaces import QueueError
from jobpush.core.model import QueueFacts, Snapshot
from tests.support import NOW, Lab, LabCase, step_until


class QueryTests(LabCase):
    """When it asks."""

    @property
    def monitor(self):  # type: ignore[no-untyped-def]
        return self.lab.service.monitors["memory"]

    def test_interval(self) -> None:
        """As often as the user has said."""
        begin = self.lab.queue.queries
        self.lab.clock.run(10)
        self.assertIn(self.lab.queue.queries - begin, (9, 10))

    def test_one_at_a_time(self) -> None:
        """However long a query takes, the next one waits for it."""
        self.lab.queue.pending = []
        self.lab.clock.run(20)
        self.assertEqual(len(self.lab.queue.pending), 1)

    def test_a_queue_that_never_answers(self) -> None:
        """It is given up, even where the adapter does not keep its own deadline; then asked again."""
        self.lab.queue.pending = []
        self.lab.clock.run(30, step=0.5)
        self.assertEqual(self.monitor.status.health, "stale")
        self.assertIn("no answer", self.monitor.status.error or "")
        self.lab.clock.run(5, step=0.5)
        self.assertEqual(len(self.lab.queue.pending), 2)

    def test_back_off(self) -> None:
        """Failures are followed by longer and longer pauses, up to half a minute; success ends that."""
        self.lab.queue.failure = QueueError("down")
        begin = self.lab.queue.queries
        self.lab.clock.run(120, step=0.25)
        failed = self.lab.queue.queries - begin
        self.assertTrue(6 <= failed <= 14, failed)
        self.lab.queue.failure = None
        self.lab.clock.run(31, step=0.25)
        begin = self.lab.queue.queries
        self.lab.clock.run(5, step=0.25)
        self.assertEqual((self.lab.queue.queries - begin >= 4, self.monitor.status.health), (True, "ok"))

    def test_duty_limit(self) -> None:
        """
        Queries that take long are asked less often, once what was saved up is spent; but not so seldom that the pauses alone
        would make what is served stale.
        """
        self.lab.queue.pending = []
        pauses = []
        for _ in range(4):  # of 2 s each; 3 s were saved up
            pause = 0.5 * step_until(lambda: self.lab.queue.pending, lambda: self.lab.clock.advance(0.5))
            self.lab.clock.advance(2.0)
            self.lab.queue.pending.pop().callback(None)
            pauses.append(pause)
        self.assertLessEqual(max(pauses[:2]), 1.5)  # the interval
        for pause in pauses[2:]:
            self.assertApproximates(pause, 2.0, 0.5)

    def test_the_first_look_may_take_long(self) -> None:
        """Everything is new to it: the second one follows at the interval, and the limit holds from there on."""
        lab = Lab()
        lab.queue.pending = []
        lab.start()
        lab.clock.run(5, step=0.5)
        lab.queue.pending.pop().callback(None)
        lab.clock.run(2, step=0.5)
        self.assertEqual(len(lab.queue.pending), 1)
        lab.clock.run(4, step=0.5)
        lab.queue.pending.pop().callback(None)
        lab.clock.run(3, step=0.5)
        self.assertEqual(lab.queue.pending, [])
        lab.clock.run(2.5, step=0.5)
        self.assertEqual(len(lab.queue.pending), 1, "as long a pause as the query took")
        lab.stop()

    def test_unexpected_errors_end_nothing(self) -> None:
        """A fault in an adapter is logged with its traceback, and the monitor goes on."""
        self.lab.queue.failure = ZeroDivisionError("oops")
        self.lab.tick()
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertIn("ZeroDivisionError", self.monitor.status.error)
        self.lab.queue.failure = None
        self.lab.tick(3)
        self.assertEqual(self.monitor.status.health, "ok")

    def test_stale_changes_no_job(self) -> None:
        """A failed query is not an absence."""
        self.lab.queue.failure = QueueError("down")
        self.lab.clock.run(300, step=1.0)
        self.assertEqual(self.lab.steps("1"), ["QUEUED"])
        self.assertGreater(self.monitor.stale_s or 0, 290)


class AdaptiveTests(SynchronousTestCase):
    """An interval that the user has not set."""

    def setUp(self) -> None:
        self.lab = Lab()
        self.lab.queue.interval = None
        self.lab.queue.set("1", "RUNNING")
        self.lab.start()
        self.addCleanup(self.lab.stop)

    def queries(self, seconds: float) -> int:
        begin = self.lab.queue.queries
        self.lab.clock.run(seconds, step=0.25)
        return self.lab.queue.queries - begin

    def test_idle_and_busy(self) -> None:
        """While nobody waits and nothing changes it asks seldom; as soon as somebody waits, every two seconds."""
        self.queries(60)
        self.assertTrue(11 <= self.queries(60) <= 13)
        held = self.lab.get("/v1/changes?since=now&wait=600")
        self.queries(12)
        self.assertTrue(28 <= self.queries(60) <= 31)
        held.cancel()

    def test_first_to_wait(self) -> None:
        """Who begins to wait after an idle time is not made to wait for the end of a long pause."""
        for path in ("/v1/changes?since=now&wait=60", "/v1/jobs/memory/1?since=now&wait=60"):
            self.queries(61)
            self.lab.queue.set("1", "RUNNING" if "jobs" in path else "SUSPENDED")
            held = self.lab.get(path)
            self.lab.clock.run(2.2)
            self.assertFalse(held.held, path)

    def test_half_of_what_the_scheduler_remembers(self) -> None:
        """It never waits longer than half of that."""
        self.lab.queue.facts = QueueFacts(sees_all=True, remembers_s=8.0, remembers_by="MinJobAge", evidence="test")
        self.queries(400)
        self.assertGreaterEqual(self.queries(60), 14)

    def test_somebody_asks_for_an_unknown_job(self) -> None:
        """It looks at once: the job was perhaps just submitted."""
        self.queries(61)
        self.lab.queue.set("99", "RUNNING")
        begin = self.lab.clock.seconds()
        asked = self.lab.get("/v1/jobs/memory/99?wait=60")
        self.lab.clock.run(0.5)
        self.assertLess(self.lab.clock.seconds() - begin, 1.0)
        self.assertEqual(asked.json()["job"]["state"], "RUNNING")


class TimelineCase(SynchronousTestCase):
    """A lab whose queries are timed: ``times`` are seconds since its start."""

    interval: float | None = None

    def setUp(self) -> None:
        self.lab = Lab()
        self.queue = self.lab.queue
        self.queue.interval = self.interval
        self.queue.set("1", "RUNNING")
        self.times: list[float] = []
        snapshot = self.queue.snapshot

        def timed() -> Deferred[Snapshot]:
            self.times.append(round(self.lab.clock.seconds() - NOW, 3))
            return snapshot()

        self.queue.snapshot = timed  # type: ignore[method-assign]
        self.lab.start()
        self.addCleanup(lambda: self.lab.threads.stopped or self.lab.stop())
        self.monitor = self.lab.service.monitors["memory"]

    def run_to(self, second: float) -> None:
        """Let time pass up to that second since the start, from one call that is due to the next."""
        clock, end = self.lab.clock, NOW + second

        def due() -> float:
            return min(call.getTime() for call in clock.getDelayedCalls())

        # The service's own calls are ten a second and more; a thousand for each second are a loop.
        step_until(lambda: due() > end, lambda: clock.advance(max(1e-6, due() - clock.seconds())), most=2000 + 1000 * max(0, round(second)))
        clock.advance(max(0.0, end - clock.seconds()))

    def pauses(self) -> list[float]:
        """The times from one query to the next."""
        return [round(after - before, 2) for before, after in itertools.pairwise(self.times)]


class IdleTests(TimelineCase):
    """An interval that the user has not set, query by query."""

    def test_growing_pauses(self) -> None:
        """While nobody waits and nothing changes a pause is half as long again as the one before, up to five seconds."""
        self.run_to(60)
        for pause, expected in zip(self.pauses()[1:], (3.0, 4.5, 5.0, 5.0, 5.0, 5.0), strict=False):
            self.assertApproximates(pause, expected, 0.06)
        self.assertApproximates(self.pauses()[0], 2.0, 0.06)

    def test_a_change_ends_them(self) -> None:
        """What has changed may change again."""
        self.run_to(60)
        self.queue.set("1", "SUSPENDED")
        self.times = []
        self.run_to(81)
        for pause, expected in zip(self.pauses(), (2.0, 3.0, 4.5), strict=False):
            self.assertApproximates(pause, expected, 0.06)

    def test_who_begins_to_wait(self) -> None:
        """Waits no longer than while somebody waits: two seconds from the last query, not at once, and not two seconds from now."""
        for late in (0.5, 1.5, 4.0):
            self.run_to(self.lab.clock.seconds() - NOW + 60)
            last = self.times[-1]
            step_until(lambda last=last: self.times[-1] != last, lambda: self.run_to(self.lab.clock.seconds() - NOW + 0.05))
            last = self.times[-1]
            self.run_to(last + late)
            held = self.lab.get("/v1/jobs/memory/1?since=now&wait=60")
            self.run_to(last + 4.9)
            after = next(at for at in self.times if at > last)
            self.assertApproximates(after - last, max(2.0, late), 0.06)
            held.cancel()

    def test_a_request_during_a_query(self) -> None:
        """That query may have begun too early to see what is asked for: another one follows at once, and then none."""
        self.run_to(60)
        self.queue.pending = []
        step_until(lambda: self.queue.pending, lambda: self.run_to(self.lab.clock.seconds() - NOW + 0.05))
        begun = len(self.times)
        asked = self.lab.get("/v1/jobs/memory/99?wait=60")
        self.queue.set("99", "RUNNING")
        pending, self.queue.pending = self.queue.pending, None
        self.run_to(self.lab.clock.seconds() - NOW + 0.4)
        self.assertEqual(len(self.times), begun, "one at a time")
        pending.pop().callback(None)
        ended = self.lab.clock.seconds() - NOW
        self.assertTrue(asked.held)
        self.run_to(ended + 0.2)
        self.assertEqual(len(self.times), begun + 1)
        self.assertApproximates(self.times[-1] - ended, 0.05, 0.051)
        self.assertEqual(asked.json()["job"]["state"], "RUNNING")
        self.run_to(ended + 1.5)
        self.assertEqual(len(self.times), begun + 1)

    def test_within_half_of_what_is_remembered(self) -> None:
        """But never more often than it asks while somebody waits."""
        for remembers, pause in ((8.0, 4.0), (30.0, 5.0), (3.0, 2.0), (0.0, 5.0)):
            self.queue.facts = QueueFacts(sees_all=True, remembers_s=remembers, remembers_by="MinJobAge")
            self.run_to(self.lab.clock.seconds() - NOW + 400)
            self.times = []
            self.run_to(self.lab.clock.seconds() - NOW + 60)
            self.assertApproximates(max(self.pauses()), pause, 0.06)
            self.assertApproximates(min(self.pauses()), pause, 0.06)


class IntervalTests(TimelineCase):
    """An interval that the user has set."""

    interval = 20.0

    def test_nobody_makes_it_shorter(self) -> None:
        """Neither who waits nor who asks for a job that is not known; only a nudge does."""
        self.run_to(5)
        held = self.lab.get("/v1/jobs/memory/1?since=now&wait=60")
        asked = self.lab.get("/v1/jobs/memory/99?wait=60")
        self.run_to(19.8)
        self.assertEqual(self.times, [0.0])
        self.assertEqual((held.held, asked.held), (True, True))
        self.run_to(20.2)
        self.assertEqual((len(self.times), asked.status), (2, 404))
        self.monitor.nudge(early=False)
        self.run_to(20.4)
        self.assertEqual(len(self.times), 3)
        held.cancel()

    def test_nobody_makes_it_longer(self) -> None:
        """It is asked as often as that though nobody waits and nothing changes."""
        self.run_to(101)
        self.assertEqual(self.times, [0.0, 20.0, 40.0, 60.0, 80.0, 100.0])


class BackOffTests(TimelineCase):
    """Queries that fail."""

    interval = 1.0

    def fail_for(self, seconds: float) -> list[float]:
        """The pauses while they do."""
        self.run_to(0.5)
        self.queue.failure = QueueError("down")
        self.times = []
        self.run_to(seconds)
        return self.pauses()

    def test_pauses(self) -> None:
        """Twice as long each time, less up to a quarter by chance, but for the first; up to half a minute."""
        pauses = self.fail_for(300)
        for pause, most in zip(pauses, (1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0), strict=False):
            least = most if most == 1.0 else 0.75 * most
            self.assertTrue(least - 0.06 <= pause <= most + 0.06, pauses)
        self.assertGreater(len({round(pause / most, 2) for pause, most in zip(pauses[1:5], (2.0, 4.0, 8.0, 16.0), strict=True)}), 1)
        self.assertEqual(self.monitor.status.failures, len(self.times))

    def test_one_success(self) -> None:
        """Ends it: the next pause is the interval, and the next failure is the first one again."""
        self.fail_for(60)
        self.queue.failure = None
        self.run_to(120)
        self.assertEqual(self.pauses()[-20:], [1.0] * 20)
        self.queue.failure = QueueError("down")
        self.times = []
        self.run_to(123.4)
        self.assertApproximates(self.pauses()[0], 1.0, 0.06)

    def test_a_long_interval(self) -> None:
        """Is never cut by failures."""
        self.queue.interval = 50.0
        self.run_to(2)
        self.assertTrue(all(30.0 < pause <= 50.06 for pause in self.fail_for(600)[1:]), self.pauses())

    def test_who_waits_shortens_it(self) -> None:
        """To ten seconds, whoever begins to wait or asks for a job; a nudge does nothing."""
        self.queue.interval = None
        self.fail_for(40)
        self.monitor.nudge()
        last = self.times[-1]
        self.run_to(last + 0.75 * 30 - 0.1)
        self.assertEqual(self.times[-1], last)
        step_until(lambda: self.times[-1] != last, lambda: self.run_to(self.lab.clock.seconds() - NOW + 0.05))
        before = len(self.times)
        asked, held = self.lab.get("/v1/jobs/memory/99?wait=60"), self.lab.get("/v1/jobs/memory/1?since=now&wait=60")
        self.monitor.nudge(["1"])
        last = self.times[-1]
        self.run_to(last + 9.9)
        self.assertEqual((len(self.times), asked.held, held.held), (before, True, True))
        self.run_to(last + 40.5)
        self.assertTrue(all(7.4 <= pause <= 10.1 for pause in self.pauses()[-4:]), self.pauses())
        self.queue.failure = None
        self.run_to(last + 51)
        self.assertFalse(asked.held)
        held.cancel()
        asked.cancel()

    def test_said_once(self) -> None:
        """The same reason is logged once, another one again."""
        said: list[str] = []
        observer = lambda event: said.append(formatEvent(event))  # noqa: E731
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)
        self.fail_for(60)
        self.queue.failure = QueueError("another")
        self.run_to(120)
        self.assertEqual([line for line in said if "keeping what is known" in line], [
            "memory: down; keeping what is known", "memory: another; keeping what is known",
        ])  # fmt: skip


class FreshTests(TimelineCase):
    """Who wants an answer that is newer than the question."""

    interval = 1.0

    def begin(self) -> Deferred[None]:
        """A query that is asked now, and is not answered yet."""
        self.queue.pending = []
        self.run_to(self.lab.clock.seconds() - NOW + 1.1)
        self.assertEqual(len(self.queue.pending), 1)
        return self.queue.pending[0]

    def test_the_next_query(self) -> None:
        """A query that runs already does not count; the one after it does."""
        query = self.begin()
        fresh = self.monitor.fresh()
        query.callback(None)
        self.lab.clock.advance(0)
        self.assertNoResult(fresh)
        self.run_to(self.lab.clock.seconds() - NOW + 1.1)
        self.assertNoResult(fresh)
        assert self.queue.pending is not None
        self.queue.pending[1].callback(None)
        self.lab.clock.advance(0)
        self.successResultOf(fresh)

    def test_when_it_is_published(self) -> None:
        """Not before what it found is durable."""
        fresh = self.monitor.fresh()
        self.lab.threads.hold("write")
        self.queue.set("1", "SUSPENDED")
        self.run_to(self.lab.clock.seconds() - NOW + 1.1)
        self.assertNoResult(fresh)
        self.lab.threads.release()
        self.lab.clock.advance(0)
        self.successResultOf(fresh)
        self.assertEqual(self.lab.states()["1"], "SUSPENDED")

    def test_failures(self) -> None:
        """It waits over them."""
        fresh, later = self.monitor.fresh(), None
        self.queue.failure = QueueError("down")
        self.run_to(20)
        self.assertNoResult(fresh)
        later = self.monitor.fresh()
        self.queue.failure = None
        self.run_to(60)
        self.successResultOf(fresh)
        self.successResultOf(later)

    def test_cancelled(self) -> None:
        """Who leaves, before its query or during it, is not told; others are."""
        leaves, stays = self.monitor.fresh(), self.monitor.fresh()
        leaves.cancel()
        self.failureResultOf(leaves, CancelledError)
        query = self.begin()
        late, during = self.monitor.fresh(), self.monitor.fresh()
        during.cancel()
        self.failureResultOf(during, CancelledError)
        query.callback(None)
        self.lab.clock.advance(0)
        self.successResultOf(stays)
        self.assertNoResult(late)
        self.queue.pending = None
        self.run_to(self.lab.clock.seconds() - NOW + 1.1)
        self.successResultOf(late)

    def test_given_up(self) -> None:
        """At the end all are cancelled, whether their query runs or not."""
        waiting = [self.monitor.fresh()]
        query = self.begin()
        waiting.append(self.monitor.fresh())
        self.monitor.give_up()
        for each in waiting:
            self.failureResultOf(each, CancelledError)
        query.callback(None)
        self.queue.pending = None


class StopTests(TimelineCase):
    """The end of a monitor."""

    interval = 1.0

    def test_a_query_that_runs(self) -> None:
        """It is ended, changes nothing, is no failure; and no other follows, whoever asks."""
        cancelled: list[Any] = []
        snapshot, self.queue.snapshot = self.queue.snapshot, lambda: Deferred(cancelled.append)  # type: ignore[method-assign]
        self.queue.set("1", "SUSPENDED")
        self.run_to(1.1)
        stopped = self.monitor.stop()
        self.lab.clock.advance(0)
        self.successResultOf(stopped)
        self.assertEqual(len(cancelled), 1)
        self.queue.snapshot = snapshot  # type: ignore[method-assign]
        self.monitor.nudge()
        self.monitor.look_now()
        self.run_to(30)
        self.assertEqual((self.times, self.lab.states()["1"], self.monitor.status.failures), ([0.0], "RUNNING", 0))
        self.assertEqual((self.monitor.status.health, self.monitor.status.error), ("stale", None))

    def test_between_two(self) -> None:
        """Then it is over at once."""
        self.run_to(0.5)
        self.successResultOf(self.monitor.stop())
        self.run_to(30)
        self.assertEqual(self.times, [0.0])
