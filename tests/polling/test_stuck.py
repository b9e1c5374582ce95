"""Whether a monitor goes on looking: what the watchdog is fed by."""

from __future__ import annotations

from twisted.internet.defer import Deferred

from jobpush.adapter.interfaces import QueueError
from jobpush.polling.look import MOST_QUESTIONS, PUBLISHED_S
from jobpush.polling.monitor import JobStatusMonitor
from tests.support import Lab, LabCase


class StuckTests(LabCase):
    """`JobStatusMonitor.stuck`."""

    @property
    def monitor(self) -> JobStatusMonitor:
        return self.lab.service.monitors["memory"]

    def run_and_collect(self, seconds: float) -> set[str | None]:
        """What it says while that time passes."""
        found = set()
        for _ in range(int(seconds)):
            self.lab.clock.advance(1.0)
            found.add(self.monitor.stuck)
        return found

    def test_before_the_start(self) -> None:
        """What was not started is not stuck."""
        self.assertIsNone(Lab().service.stuck)

    def test_all_is_well(self) -> None:
        """Not between looks, however long the interval is."""
        self.assertEqual(self.run_and_collect(20), {None})
        self.lab.queue.interval = 3600.0
        self.assertEqual(self.run_and_collect(4000), {None})

    def test_a_scheduler_that_is_down(self) -> None:
        """Looks that fail are looks."""
        self.lab.queue.failure = QueueError("down")
        self.assertEqual(self.run_and_collect(600), {None})

    def test_a_scheduler_that_does_not_answer(self) -> None:
        """A look that is given up when its time is up has ended."""
        self.lab.queue.pending = []
        self.assertEqual(self.run_and_collect(600), {None})
        self.assertGreater(len(self.lab.queue.pending), 2)

    def test_a_look_without_an_end(self) -> None:
        """One that has taken longer than all of its questions and the disk may take, a journal that hangs, say."""
        self.lab.threads.hold("write")
        self.lab.set("1", "RUNNING")
        longest = MOST_QUESTIONS * (2 * self.lab.queue.timeout + 5.0) + PUBLISHED_S
        self.assertEqual(self.run_and_collect(longest - 2), {None})
        self.lab.clock.advance(10)
        self.assertIn("a look at memory has taken", self.monitor.stuck or "")
        self.assertEqual(self.lab.service.stuck, self.monitor.stuck)
        self.lab.threads.release()
        self.lab.tick()
        self.assertIsNone(self.lab.service.stuck)

    def test_a_clock_that_was_set(self) -> None:
        """What the clock is set to makes no look longer."""
        self.lab.queue.pending = []
        self.lab.clock.advance(1.0)
        self.lab.set_forward = 7200.0
        self.assertIsNone(self.monitor.stuck)

    def test_a_loop_that_has_ended(self) -> None:
        """By a fault of ours: nobody looks any more."""
        self.monitor._loop.stop()
        self.assertEqual(self.monitor.stuck, "memory is not looked at any more")
        self.monitor._loop.start(1.0)

    def test_the_end(self) -> None:
        """Nor is what was ended."""
        ended: Deferred[None] = self.monitor.stop()
        self.successResultOf(ended)
        self.assertIsNone(self.monitor.stuck)
