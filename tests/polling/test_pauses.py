"""No pause between two queries makes what is served stale: slow answers, failures, nudges, and what `health` says meanwhile."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.logger import formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from jobpush.adapter.interfaces import QueueError
from jobpush.core.model import Snapshot
from jobpush.polling.queue_options import PollingOptions
from jobpush.polling.schedule import FEWEST_LOOKS, FORGIVEN_AFTER, LATE_NUDGE_S, latest_begin
from jobpush.polling.unknown_jobs import CLIENT_BURST, EVERY_S, UNKNOWN_S
from jobpush.service import JobPush
from tests.polling.seldom_asked import NamingQueue
from tests.support import NOW, Lab, Pending, step_until


class TimedQueue(NamingQueue):
    """
    A queue whose answers take time.

    :ivar takes: returns the seconds that the query takes that begins now.
    :ivar times: begin and end of each query for all jobs, in seconds since the start.
    """

    def __init__(self, reactor: Any, **options: Any) -> None:
        super().__init__(reactor, **options)
        self.takes: Callable[[], float] = lambda: 0.1
        self.times: list[tuple[float, float]] = []

    def snapshot(self) -> Deferred[Snapshot]:
        return self.in_time(self.takes(), super().snapshot, self.times)

    def named(self, jobs: Sequence[str]) -> Deferred[Snapshot]:
        self.named_for.append(jobs)
        self.queries -= 1

        def some(snapshot: Snapshot) -> Snapshot:
            return Snapshot({name: snapshot.jobs[name] for name in jobs if name in snapshot.jobs}, NOW, NOW)

        return self.in_time(0.01, super().snapshot, []).addCallback(some)

    def in_time(self, seconds: float, ask: Any, times: list[tuple[float, float]]) -> Any:
        """Ask now, and fire with the answer in so many seconds."""
        began = self._reactor.seconds()
        asked = ask()

        def answer() -> Any:
            times.append((began - NOW, self._reactor.seconds() - NOW))
            return asked

        return deferLater(self._reactor, seconds, answer)


class PauseCase(SynchronousTestCase):
    """A service with a `TimedQueue`, and its log."""

    interval: float | None = None

    def setUp(self) -> None:
        self.begin()

    def begin(self) -> None:
        """Start the service."""
        self.lab = Lab()
        self.queue = TimedQueue(self.lab.clock)
        self.queue.interval = self.interval
        self.lab.queue = self.queue
        self.lab.service = JobPush(
            self.lab.clock, [self.queue], self.lab.journal, options={"memory": PollingOptions()}, clocks=self.lab.clocks
        )
        self.lab.serve()
        self.queue.set("1", "RUNNING")
        self.said: list[str] = []
        observer = lambda event: self.said.append(formatEvent(event))  # noqa: E731
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)
        self.lab.start()
        self.addCleanup(lambda: self.lab.threads.stopped or self.lab.stop())
        self.monitor = self.lab.service.monitors["memory"]
        self.run_for(1)

    @property
    def now(self) -> float:
        """Seconds since the start."""
        return self.lab.clock.seconds() - NOW

    def run_for(self, seconds: float, step: float = 0.05, each: Callable[[], None] = lambda: None) -> None:
        """Let time pass, with something to be done after each step."""
        for _ in range(round(seconds / step)):
            self.lab.clock.advance(step)
            each()

    def hold(self) -> Pending:
        """Begin to wait."""
        held = self.lab.get("/v1/changes?since=now&wait=600")
        self.addCleanup(held.cancel)
        return held

    def pauses(self, since: float = 0.0) -> list[float]:
        """The seconds from the end of each query to the begin of the next."""
        times = [each for each in self.queue.times if each[1] >= since]
        return [round(after[0] - before[1], 2) for before, after in itertools.pairwise(times)]

    def begun(self) -> None:
        """Let time pass until a query has begun."""
        queries = self.queue.queries
        step_until(lambda: self.queue.queries > queries, lambda: self.lab.clock.advance(0.05))

    def readyz(self) -> Any:
        """What is said of the queue."""
        return self.lab.get("/readyz").json()["queues"]["memory"]

    def about_health(self) -> list[str]:
        """What the log says of it."""
        return [line for line in self.said if "keeping what is known" in line or "answers again" in line]


class SlowAnswerTests(PauseCase):
    """One answer that is waited for."""

    def slow_answer(self, seconds: float) -> None:
        """A query that takes so long; the ones after it are quick again."""
        self.queue.takes = lambda: seconds
        self.begun()
        self.queue.takes = lambda: 0.1

    def test_a_controller_that_restarts(self) -> None:
        """
        Eight seconds: stale meanwhile, and still when the answer has come, which is as old as that; the next look comes at the
        interval, and that is what it was.
        """
        self.hold()
        self.run_for(60)
        self.slow_answer(8.0)
        self.run_for(3.5)
        self.assertEqual(self.readyz()["health"], "ok")
        self.run_for(0.6)
        self.assertEqual(self.readyz()["health"], "stale")
        self.run_for(4.0)
        self.assertEqual((self.readyz()["health"], self.readyz()["stale_s"] > 8), ("stale", True))
        ended = self.queue.times[-1][1]
        self.run_for(20)
        self.assertEqual(self.readyz()["health"], "ok")
        self.assertTrue(all(pause <= 2.1 for pause in self.pauses(since=ended)), self.pauses(since=ended))
        self.assertEqual(self.about_health(), ["memory: no answer for 6 s; keeping what is known", "memory: answers again"])

    def test_ten_thousand_jobs_are_deleted(self) -> None:
        """Fifteen seconds for an answer with other rows than before, nobody waiting: the pauses are what they were."""
        for number in range(1000):
            self.queue.set(f"1{number:04}", "RUNNING")
        self.run_for(60)
        for number in range(900):
            del self.queue.jobs[f"1{number:04}"]
        self.slow_answer(15.0)
        self.run_for(15.1)
        ended = self.queue.times[-1][1]
        self.run_for(30)
        self.assertTrue(all(pause <= 5.0 for pause in self.pauses(since=ended)), self.pauses(since=ended))
        self.assertEqual(self.readyz()["health"], "ok")

    def test_slow_answers_are_not_load(self) -> None:
        """Nor are several in a row: what they cost is what the quick ones cost."""
        self.hold()
        self.run_for(60)
        for _ in range(5):
            self.slow_answer(6.0)
            self.run_for(6.1)
        self.assertTrue(all(pause <= 2.1 for pause in self.pauses()), self.pauses())
        self.assertLess(self.readyz()["cost_share"], 0.05)

    def test_a_controller_that_is_stopped(self) -> None:
        """For half a minute: two queries end by their time limit. Who waits has the next look within ten seconds of its return."""
        self.hold()
        self.run_for(60)
        self.queue.failure = QueueError("squeue did not answer within 10 s")
        self.queue.takes = lambda: 10.0
        self.run_for(30)
        self.queue.failure, self.queue.takes = None, lambda: 0.1
        back = self.now
        self.run_for(60)
        after = [began for began, _ in self.queue.times if began > back]
        self.assertLessEqual(after[0] - back, 20.0, "a query that had begun already, and a pause of ten seconds")
        self.assertTrue(all(pause <= 2.1 for pause in self.pauses(since=after[0])), self.pauses(since=after[0]))
        self.assertTrue(all(pause <= 10.0 for pause in self.pauses()), self.pauses())
        self.assertEqual(self.readyz()["health"], "ok")
        self.assertEqual(self.about_health(), [
            "memory: no answer for 6 s; keeping what is known",
            "memory: squeue did not answer within 10 s; keeping what is known",
            "memory: answers again",
        ])  # fmt: skip


class HonestLoadTests(PauseCase):
    """Queries that cost what they take."""

    def test_over_the_budget(self) -> None:
        """Half a second of two and a half: asked less often, and never so seldom that it becomes stale; both numbers are said."""
        self.queue.takes = lambda: 0.5
        states: set[str] = set()
        self.hold()
        self.run_for(30)
        self.run_for(120, each=lambda: states.add(self.monitor.status.health))
        self.assertEqual(states, {"ok"})
        self.assertTrue(all(4.0 <= pause <= 4.6 for pause in self.pauses(since=60)), self.pauses(since=60))
        said = self.readyz()
        self.assertApproximates(said["cost_share"], 0.2, 0.02)
        self.assertEqual(said["cost_budget"], 0.05)
        self.assertEqual(len(said["missing"]), 1)
        self.assertIn("load: queries at the interval of 2 s take 22% of the time, more than the 5%", said["missing"][0])

    def test_it_ends(self) -> None:
        """Many minutes of that leaves no debt: the interval is what it was as soon as queries are cheap."""
        self.queue.takes = lambda: 0.5
        self.hold()
        self.run_for(1200, step=0.5)
        self.queue.takes = lambda: 0.01
        self.hold()
        self.run_for(90, step=0.1)
        self.assertTrue(all(pause <= 2.1 for pause in self.pauses(since=self.now - 30)), self.pauses(since=self.now - 30))

    def test_a_nudge(self) -> None:
        """Is answered within two seconds, though the budget is spent."""
        self.queue.takes = lambda: 0.5
        self.hold()
        self.run_for(60)
        late: list[float] = []
        for _ in range(20):
            begun = self.queue.queries
            self.monitor.nudge(early=False)
            late.append(0.05 * step_until(lambda begun=begun: self.queue.queries > begun, lambda: self.lab.clock.advance(0.05)))
            self.run_for(0.7)
        self.assertLessEqual(max(late), 2.06)
        self.assertGreater(max(late), 1.0, "the budget was spent")


class FreshnessTests(PauseCase):
    """With quick answers, `health` never lapses."""

    def states(self, seconds: float, each: Callable[[], None] = lambda: None) -> set[str]:
        """What it is meanwhile."""
        states: set[str] = set()

        def step() -> None:
            each()
            states.add(self.monitor.status.health)

        self.run_for(seconds, each=step)
        return states

    def test_idle(self) -> None:
        """While nobody waits and nothing changes."""
        self.queue.takes = lambda: 0.9
        self.assertEqual(self.states(300) - {"starting"}, {"ok"})

    def test_nudges_that_announce_all(self) -> None:
        """Though the poll need find nothing."""
        for number in range(2 * FEWEST_LOOKS):
            self.queue.set("1", "RUNNING" if number % 2 else "SUSPENDED")
            self.monitor.nudge(["1"], early=False)
            self.run_for(3)
        self.assertTrue(self.monitor.announced)
        self.assertEqual(self.states(300), {"ok"})
        self.assertTrue(all(pause <= 5.0 for pause in self.pauses()), self.pauses())
        self.assertGreater(max(self.pauses(since=self.now - 200)), 4.0)

    def test_nudges_that_name_jobs(self) -> None:
        """Each of them is answered by a query for one job; all jobs are asked for as often as without."""
        self.queue.takes = lambda: 0.14
        self.run_for(30)
        step = 0

        def nudge() -> None:
            nonlocal step
            step += 1
            if step % 10 == 0:
                self.queue.set("1", "RUNNING" if step % 20 else "SUSPENDED")
                self.monitor.nudge(["1"], early=False)

        self.assertEqual(self.states(120, each=nudge), {"ok"})
        self.assertGreater(len(self.queue.named_for), 30)

    def test_starting(self) -> None:
        """Before the first answer nothing is served; if that fails, it is stale."""
        lab = Lab()
        status = lab.service.monitors["memory"].status
        self.assertEqual((status.health, status.stale_s), ("starting", None))
        lab.queue.failure = QueueError("down")
        lab.start()
        self.addCleanup(lab.stop)
        self.assertEqual((status.health, status.stale_s), ("stale", None))

    def test_by_the_clock(self) -> None:
        """It follows from the clock alone, whoever asks when."""
        self.run_for(1)
        self.monitor.stop()
        status = self.monitor.status
        began = status.seen_at or 0.0
        self.lab.clock.rightNow = began + 5.99
        self.assertEqual(status.health, "ok")
        self.lab.clock.rightNow = began + 6.0
        self.assertEqual((status.health, status.stale_s), ("stale", 6.0))
        for interval, fresh_s in ((1.0, 6.0), (4.0, 12.0), (9.0, 27.0), (60.0, 30.0)):
            self.queue.interval = interval
            self.assertEqual(status.fresh_s, fresh_s)
        self.lab.clock.rightNow = began - 5.0
        self.assertEqual(status.stale_s, -5.0, "it is never made to look fresh")

    def test_said_once(self) -> None:
        """However long it lasts; and once that it is over."""
        self.run_for(10)
        self.queue.failure = QueueError("down")
        self.run_for(120)
        self.queue.failure = None
        self.run_for(60)
        self.assertEqual(self.about_health(), ["memory: down; keeping what is known", "memory: answers again"])


class LongIntervalTests(PauseCase):
    """An interval that is longer than an answer is fresh."""

    interval = 60.0

    def test_it_is_kept(self) -> None:
        """It is the user's; the answer is stale in between, which ``/readyz`` explains, and the log does not repeat."""
        self.hold()
        self.run_for(400, step=0.1)
        self.assertTrue(all(59.9 <= pause <= 60.2 for pause in self.pauses()), self.pauses())
        self.assertEqual(self.about_health(), [])
        self.assertIn("interval: 60 s is longer", " ".join(self.readyz()["missing"]))


class KindsTests(PauseCase):
    """Nudges that announce some kinds of changes only."""

    def change(self, job_id: str, state: str, nudge: bool) -> None:
        self.queue.set(job_id, state)
        if nudge:
            self.monitor.nudge([job_id], early=False)
        self.run_for(6)

    def trusted(self) -> None:
        """Let nudges have announced what a job does."""
        for number in range(30):
            self.change("1", "RUNNING" if number % 2 else "SUSPENDED", nudge=True)
        self.assertTrue(self.monitor.announced)

    def longest(self) -> float:
        """The longest pause of half a minute while somebody waits."""
        since = self.now
        held = self.lab.get("/v1/changes?since=now&wait=600")
        self.run_for(30)
        held.cancel()
        return max(self.pauses(since=since))

    def test_a_kind_that_only_the_poll_has_found(self) -> None:
        """Is polled for as if there were no nudges, as long as there is a job that it can happen to."""
        self.queue.set("2", "HELD")
        self.monitor.nudge(["2"], early=False)
        self.trusted()
        self.assertGreater(self.longest(), 4.0)
        self.change("2", "CANCELLED", nudge=False)
        self.assertTrue(self.monitor.announced)
        self.assertGreater(self.longest(), 4.0, "no job is held")
        self.queue.set("3", "HELD")
        self.monitor.nudge(["3"], early=False)
        self.run_for(10)
        self.assertLessEqual(self.longest(), 2.1)
        self.queue.set("4", "RUNNING")
        self.change("3", "QUEUED", nudge=True)
        self.assertTrue(self.monitor.announced)

    def test_a_nudge_that_comes_late(self) -> None:
        """After a look that happened to begin just before it: the kind counts as announced."""
        self.trusted()
        self.queue.set("1", "SUSPENDED")
        step_until(lambda: self.lab.states()["1"] == "SUSPENDED", lambda: self.lab.clock.advance(0.05))
        self.lab.clock.advance(LATE_NUDGE_S / 2)
        self.monitor.nudge(["1"], early=False)
        self.run_for(10)
        self.assertGreater(self.longest(), 4.0)

    def test_another_jobs_nudge(self) -> None:
        """Announces nothing of this one."""
        self.queue.set("2", "HELD")
        self.monitor.nudge(["2"], early=False)
        self.trusted()
        self.queue.set("1", "SUSPENDED")
        self.queue.set("2", "QUEUED")
        self.monitor.nudge(["1"], early=False)
        self.run_for(6)
        self.queue.set("3", "HELD")
        self.monitor.nudge(["3"], early=False)
        self.run_for(6)
        self.assertLessEqual(self.longest(), 2.1)

    def test_it_is_announced_again(self) -> None:
        """Often enough in a row, and it is relied upon again."""
        self.trusted()
        self.change("1", "SUSPENDED", nudge=True)
        self.change("1", "RUNNING", nudge=False)
        self.run_for(3)
        self.change("1", "SUSPENDED", nudge=True)
        self.assertLessEqual(self.longest(), 2.1)
        for _ in range(FORGIVEN_AFTER + 1):
            self.change("1", "RUNNING", nudge=True)
            self.change("1", "SUSPENDED", nudge=True)
        self.assertGreater(self.longest(), 4.0)


class UnknownJobTests(PauseCase):
    """Questions about jobs that no look has shown."""

    def test_three_clients_one_a_second(self) -> None:
        """Little more than the poll would be: 78 s of them are no 230 queries."""
        self.run_for(30)
        begun, number = self.queue.queries, 0
        held: list[Pending] = []
        for _ in range(78):
            for _ in range(3):
                number += 1
                held.append(self.lab.get(f"/v1/jobs/memory/{90000 + number}?wait=60"))
            self.run_for(1.0, step=0.1)
        self.run_for(3.0, step=0.1)
        self.assertEqual({each.status for each in held}, {404})
        self.assertLessEqual(self.queue.queries - begun, 78 / EVERY_S + CLIENT_BURST + 5)

    def expensive(self) -> None:
        """A query for all jobs costs much more than one for a few; the last one was half a second ago."""
        self.queue.takes = lambda: 0.2
        self.run_for(60)
        queries = len(self.queue.times)
        step_until(lambda: len(self.queue.times) > queries, lambda: self.lab.clock.advance(0.05))
        self.run_for(0.5)

    def test_one_that_was_just_submitted(self) -> None:
        """Is found at once; and by name, where that is cheaper."""
        self.expensive()
        self.queue.set("99", "RUNNING")
        queries = len(self.queue.times)
        asked = self.lab.get("/v1/jobs/memory/99?wait=60")
        self.run_for(0.3)
        self.assertEqual(asked.json()["job"]["state"], "RUNNING")
        self.assertEqual((self.queue.named_for, len(self.queue.times)), ([("99",)], queries))

    def test_one_that_is_not_there(self) -> None:
        """What the query by name does not show, all are asked for; only that proves it."""
        self.expensive()
        asked = self.lab.get("/v1/jobs/memory/99?wait=60")
        self.run_for(0.1)
        self.assertTrue(asked.held)
        self.run_for(0.5)
        self.assertEqual((asked.status, self.queue.named_for), (404, [("99",)]))

    def test_asked_during_a_query_by_name(self) -> None:
        """That began too early to prove anything to who asks now."""
        self.expensive()
        first = self.lab.get("/v1/jobs/memory/99?wait=60")
        self.queue.set("99", "RUNNING")
        self.lab.clock.advance(0)
        del self.queue.jobs["99"]
        self.assertEqual(len(self.queue.named_for), 1)
        fresh = self.monitor.fresh(["98"])
        self.lab.clock.advance(0.02)
        self.assertNoResult(fresh)
        self.run_for(8)
        self.successResultOf(fresh)
        first.cancel()

    def test_many_are_one(self) -> None:
        """One look answers all that asked before it began."""
        self.run_for(60)
        begun = self.queue.queries
        held = [self.lab.get(f"/v1/jobs/memory/{number}?wait=60") for number in range(5000, 5100)]
        self.run_for(0.5)
        self.assertEqual(({each.status for each in held}, self.queue.queries - begun <= 2), ({404}, True))

    def test_known_to_be_unknown(self) -> None:
        """For a moment the same id brings no look forward; its answer waits for the next one all the same, and is true."""
        self.run_for(60)
        self.assertEqual(self.asked("99").status, 404)
        begun = self.queue.queries
        asked = self.lab.get("/v1/jobs/memory/99?wait=60")
        self.run_for(0.5)
        self.assertEqual((asked.held, self.queue.queries), (True, begun))
        self.queue.set("99", "RUNNING")
        self.run_for(2)
        self.assertEqual(asked.json()["job"]["state"], "RUNNING")
        self.asked("98")
        self.run_for(UNKNOWN_S + 1)
        self.assertEqual(self.asked("98").status, 404)

    def asked(self, job_id: str) -> Pending:
        """A question, and half a second later."""
        asked = self.lab.get(f"/v1/jobs/memory/{job_id}?wait=60")
        self.run_for(0.5)
        return asked


class AnyPauseTests(PauseCase):
    """Whatever comes."""

    def setUp(self) -> None:
        pass

    @settings(max_examples=25, deadline=None)
    @given(
        st.sampled_from((None, 1.0, 8.0)),
        st.booleans(),
        st.lists(st.tuples(st.sampled_from((0.0, 0.1, 0.9, 2.0, 8.0, 20.0)), st.integers(0, 30), st.booleans()), max_size=15),
    )
    def test_no_pause_is_longer(self, interval: float | None, waits: bool, steps: list[tuple[float, int, bool]]) -> None:
        """Whatever queries cost, whenever nudges come: what `latest_begin` says, five seconds and at most ten."""
        self.interval = interval
        self.begin()
        if waits:
            self.hold()
        for cost, tenths, named in steps:
            self.queue.takes = lambda cost=cost: cost
            self.monitor.nudge(["1"] if named else [], early=named)
            self.run_for(tenths / 10, step=0.1)
            if tenths % 3 == 0:
                self.run_for(15, step=0.1)
        self.run_for(40, step=0.1)
        longest = {None: 5.0, 1.0: 5.0, 8.0: 10.0 if waits else 20.0}[interval]
        self.assertTrue(all(pause <= longest + 0.3 for pause in self.pauses()), self.pauses())
        self.lab.stop()

    @given(
        st.one_of(st.none(), st.floats(0.1, 1000)), st.booleans(), st.floats(0, 1000), st.floats(0, 1000)
    )
    def test_latest_begin(self, interval: float | None, awaited: bool, cost: float, took: float) -> None:
        """Is never before the end of the last query, and within 10 or 30 s after it, or the interval."""
        ended = NOW + took
        pause = latest_begin(interval, awaited, cost, NOW, ended) - ended
        self.assertLessEqual(pause, max(interval or 0.0, 10.0 if awaited else 30.0) + 1e-3)
        self.assertGreaterEqual(pause, min(cost, 5.0, interval or 2.0) - 1e-3)
