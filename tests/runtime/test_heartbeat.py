"""Whether the reactor is on time."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from jobpush.events.instruments import Instruments
from jobpush.runtime.heartbeat import Heartbeat
from tests.support import ManualClock


class HeartbeatTests(SynchronousTestCase):
    """`Heartbeat`."""

    def test_heartbeat(self) -> None:
        """How late the reactor was; nothing is left when it has ended."""
        clock, instruments = ManualClock(), Instruments()
        heartbeat = Heartbeat(clock, instruments.stall_s)
        heartbeat.start()
        clock.run(1.0)
        self.assertApproximates(instruments.stall_s.most, 0.0, 0.051)
        clock.advance(1.1)
        self.assertApproximates(instruments.stall_s.most, 1.0, 0.1)
        heartbeat.stop()
        self.assertEqual(clock.getDelayedCalls(), [])

    def test_each_beat(self) -> None:
        """Ten times a second, from when it begins; it may be ended before, and twice."""
        clock, instruments = ManualClock(), Instruments()
        heartbeat = Heartbeat(clock, instruments.stall_s)
        heartbeat.stop()
        heartbeat.start()
        clock.advance(0.09)
        self.assertEqual(sum(instruments.stall_s.counts), 0)
        for number in range(1, 4):
            clock.advance(0.1)
            self.assertEqual(sum(instruments.stall_s.counts), number)
        heartbeat.stop()
        heartbeat.stop()
        clock.advance(1)
        self.assertEqual(sum(instruments.stall_s.counts), 3)
        self.assertGreaterEqual(instruments.stall_s.sum, 0)
