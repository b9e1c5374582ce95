"""The monitor: one query at a time, back-off, staleness, doubt."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from jobpush.adapter.interfaces import QueueError
from jobpush.adapter.load import DUTY
from jobpush.core.model import QueueFacts
from tests.support import Lab, LabCase


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
        """Queries that take long are asked seldom, once what was saved up is spent: they get a twentieth of the time."""
        self.lab.queue.pending = []
        pauses = []
        for _ in range(4):  # of 2 s each; 3 s were saved up
            pause = 0.0
            while not self.lab.queue.pending:
                self.lab.clock.advance(0.5)
                pause += 0.5
            self.lab.clock.advance(2.0)
            self.lab.queue.pending.pop().callback(None)
            pauses.append(pause)
        self.assertLessEqual(max(pauses[:2]), 1.5)  # the interval
        for pause in pauses[2:]:
            self.assertTrue(15 <= pause <= 40, pauses)
        self.assertAlmostEqual(pauses[3], 2.0 / DUTY - 2.0, delta=0.5)

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
        lab.clock.run(15, step=0.5)
        self.assertEqual(lab.queue.pending, [])
        lab.stop()

    def test_unexpected_errors_end_nothing(self) -> None:
        """A fault in an adapter is logged with its traceback, and the monitor goes on."""
        self.lab.queue.failure = ZeroDivisionError("oops")
        self.lab.tick()
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(self.monitor.status.health, "stale")
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
        self.assertTrue(5 <= self.queries(60) <= 7)
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
