"""The life of the process as its service manager hears of it."""

from __future__ import annotations

from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from jobpush.runtime.supervision import STATUS_S, Supervision
from tests.support import ManualClock


class SupervisionTests(SynchronousTestCase):
    """`Supervision`."""

    def setUp(self) -> None:
        self.clock = ManualClock()
        self.told: list[dict[str, str | int]] = []
        self.status = "serves"
        self.stuck: str | None = None

    def supervise(self, watchdog_s: float | None = None) -> Supervision:
        """Started, in the reactor's next turn."""
        supervision = Supervision(
            self.clock, lambda **fields: self.told.append(fields), lambda: self.status, lambda: self.stuck, watchdog_s
        )
        supervision.start()
        self.assertEqual(self.told, [])
        self.clock.advance(0)
        return supervision

    @property
    def fed(self) -> int:
        """How often the watchdog was fed."""
        return sum("WATCHDOG" in fields for fields in self.told)

    def test_ready(self) -> None:
        """It is ready when the reactor turns; its status is told again when it has changed."""
        supervision = self.supervise()
        self.assertEqual(self.told, [{"READY": 1, "STATUS": "serves"}])
        self.clock.advance(STATUS_S)
        self.assertEqual(len(self.told), 1)
        self.status = "serves two"
        self.clock.advance(STATUS_S)
        self.assertEqual(self.told[1:], [{"STATUS": "serves two"}])
        supervision.stop()
        supervision.end()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_reload(self) -> None:
        """It says that it reloads, and when, and that it is ready again."""
        supervision = self.supervise()
        supervision.reloading()
        self.status = "serves other queues"
        supervision.reloaded()
        reloading, ready = self.told[1:]
        self.assertEqual((reloading["RELOADING"], isinstance(reloading["MONOTONIC_USEC"], int)), (1, True))
        self.assertEqual(ready, {"READY": 1, "STATUS": "serves other queues"})

    def test_watchdog(self) -> None:
        """It is fed three times in its interval, also while the process ends; without an interval never."""
        supervision = self.supervise(watchdog_s=3.0)
        self.clock.run(3.0, step=0.5)
        self.assertEqual(self.fed, 4)
        supervision.stop()
        self.assertEqual(self.told[-1]["STOPPING"], 1)
        self.clock.run(1.0, step=0.5)
        self.assertEqual(self.fed, 5)
        supervision.end()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.told.clear()
        self.supervise().end()
        self.assertEqual(self.fed, 0)

    def test_stuck(self) -> None:
        """While the work does not go on the watchdog is not fed, and the log says once why."""
        self.supervise(watchdog_s=3.0)
        self.stuck = "alpha is not looked at any more"
        with capturedLogs() as logged:
            self.clock.run(5.0, step=0.5)
        self.assertEqual(self.fed, 1)
        self.assertEqual([formatEvent(event) for event in logged], [f"the watchdog is not fed: {self.stuck}"])
        self.stuck = None
        self.clock.run(1.0, step=0.5)
        self.assertEqual(self.fed, 2)

    def test_the_end_at_once(self) -> None:
        """A process that ends before it was ready never says that it is."""
        supervision = Supervision(self.clock, lambda **fields: self.told.append(fields), lambda: "", lambda: None, 1.0)
        supervision.start()
        supervision.stop()
        supervision.end()
        self.clock.advance(10)
        self.assertEqual([list(fields) for fields in self.told], [["STOPPING", "STATUS"]])
