"""Whether the reactor is on time."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from jobpush.events.instruments import Measures
from jobpush.runtime.heartbeat import Heartbeat
from tests.support import ManualClock


class HeartbeatTests(SynchronousTestCase):
    """`Heartbeat`."""

    def test_heartbeat(self) -> None:
        """How late the reactor was; nothing is left when it has ended."""
        clock, measures = ManualClock(), Measures()
        heartbeat = Heartbeat(clock, measures.stall_s)
        heartbeat.start()
        clock.run(1.0)
        self.assertApproximates(measures.stall_s.most, 0.0, 0.051)
        clock.advance(1.1)
        self.assertApproximates(measures.stall_s.most, 1.0, 0.1)
        heartbeat.stop()
        self.assertEqual(clock.getDelayedCalls(), [])
