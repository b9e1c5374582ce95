"""How the attempt before ended of jobs that were put back into the queue, where the scheduler's list does not say it."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import CancelledError, TimeoutError
from twisted.logger import capturedLogs
from twisted.python.failure import Failure

from jobpush.adapter.interfaces import QueueError
from jobpush.core.model import Outcome, PastAttempt, QueueFacts
from jobpush.polling.past_attempts import EVERY_S, LONGEST_S, PastAttempts
from tests.support import LabCase

PREEMPTED = PastAttempt(0, Outcome.PREEMPTED, None, 15, None, 100.0, 160.0)


class PastAttemptsTests(LabCase):
    """`PastAttempts`, as the monitor asks them."""

    def setUp(self) -> None:
        super().setUp()
        self.lab.queue.facts = QueueFacts(sees_all=True, accounting=True, evidence="test")
        self.lab.tick(61)

    def put_back(self, job_id: str = "5", **fields: Any) -> None:
        """A job runs, and then it waits again."""
        self.lab.set(job_id, "RUNNING", started_at=100.0)
        self.lab.set(job_id, "QUEUED", attempt=1, **fields)

    def previous(self, job_id: str = "5") -> Any:
        """What is served of its attempt before."""
        return self.lab.get(f"/v1/jobs/memory/{job_id}").json()["job"]["previous_attempt"]

    @property
    def times_asked(self) -> int:
        return len(self.lab.queue.past_for)

    def test_found(self) -> None:
        """It is told with the next event, and before that to who asks; then nobody asks again."""
        self.put_back()
        self.assertEqual((self.previous()["outcome"], self.previous()["started_at"]), (None, "1970-01-01T00:01:40.000Z"))
        events = len(self.lab.events())
        self.lab.queue.past = {"5": PREEMPTED}
        self.lab.tick(5)
        told = self.previous()
        self.assertEqual((told["attempt"], told["outcome"], told["signal"], told["ended_at"]), (0, "PREEMPTED", 15, "1970-01-01T00:02:40.000Z"))
        self.assertEqual(len(self.lab.events()), events, "it is no event")
        self.lab.set("5", "RUNNING", attempt=1, started_at=200.0)
        self.assertEqual(self.lab.events()[-1]["job"]["previous_attempt"], told)
        asked = self.times_asked
        self.lab.tick(200)
        self.assertEqual(self.times_asked, asked)
        self.assertEqual(set(self.lab.queue.past_for), {("5",)})

    def test_kept(self) -> None:
        """It survives a restart, and what was seen goes before what accounting says."""
        self.put_back()
        self.lab.queue.past = {"5": PastAttempt(0, Outcome.FAILED, None, None, "r", 99.0, 160.0)}
        self.lab.tick(5)
        self.assertEqual((self.previous()["outcome"], self.previous()["started_at"]), ("FAILED", "1970-01-01T00:01:40.000Z"))
        self.lab.tick(5)
        self.assertEqual(self.previous()["reason"], "r")

    def test_clock_that_is_set(self) -> None:
        """By an hour, it is asked about all the same: for ten minutes that have passed."""
        self.put_back()
        self.lab.set_forward = 3600.0
        asked = self.times_asked
        self.lab.tick(120)
        self.assertGreater(self.times_asked, asked)

    def test_another_attempt(self) -> None:
        """What is told of another attempt than the one before is left."""
        self.put_back()
        self.lab.queue.past = {"5": PastAttempt(3, Outcome.FAILED, 1, None, None, 1.0, 2.0), "6": PREEMPTED}
        self.lab.tick(10)
        self.assertIsNone(self.previous()["outcome"])

    def test_less_and_less_often(self) -> None:
        """While nothing is known the pause grows; after a while nobody asks any more; another job begins anew."""
        self.put_back()
        self.lab.tick(60)
        soon = self.times_asked
        self.assertTrue(3 <= soon <= 6, soon)
        self.lab.tick(int(LONGEST_S - 60))
        self.assertLessEqual(self.times_asked, soon + (LONGEST_S - 60) / EVERY_S + 2)
        asked = self.times_asked
        self.lab.tick(200)
        self.assertEqual(self.times_asked, asked)
        self.put_back("6")
        self.lab.tick(5)
        self.assertEqual(self.lab.queue.past_for[asked:], [("6",)])

    def test_failure(self) -> None:
        """It is logged, and asked again; what the queue says is told as ever."""
        self.lab.queue.past = QueueError("sacct: no")
        self.put_back()
        self.lab.tick(5)
        self.lab.queue.past = {"5": PREEMPTED}
        self.lab.tick(20)
        self.assertEqual(self.previous()["outcome"], "PREEMPTED")

    def test_no_answer(self) -> None:
        """One that is given up, as at the end of the service, is no fault of jobpush, nor is one that does not come."""
        none: Any = None
        past = PastAttempts(self.lab.clock, self.lab.clock.seconds, self.lab.queue, none, lambda: True)
        for error, logged in ((CancelledError(), []), (TimeoutError(10.0, "Deferred"), ["warn"])):
            with capturedLogs() as events:
                past._failed(Failure(error))
            self.assertEqual([event["log_level"].name for event in events], logged)

    def test_fault(self) -> None:
        """What is no `QueueError` is a fault of ours, and logged as one."""
        self.lab.queue.past = ZeroDivisionError()
        self.put_back()
        self.lab.tick(5)
        self.assertTrue(self.flushLoggedErrors(ZeroDivisionError))

    def test_no_accounting(self) -> None:
        """Where there is none nobody is asked."""
        self.lab.queue.facts = QueueFacts(sees_all=True, evidence="test")
        self.lab.tick(61)
        self.put_back()
        self.lab.tick(30)
        self.assertEqual(self.times_asked, 0)

    def test_first_attempts(self) -> None:
        """Jobs that were never put back are not asked about."""
        self.lab.set("7", "RUNNING", started_at=100.0)
        self.lab.set("7", "FAILED", started_at=100.0, exit_code=1)
        self.lab.tick(30)
        self.assertEqual(self.times_asked, 0)
