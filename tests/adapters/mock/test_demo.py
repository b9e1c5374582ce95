"""The demonstration."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from jobpush.core.model import JobDescriptor
from jobpush_adapters.mock.queue import DemoQueue
from tests.support import ManualClock


class DemoTests(SynchronousTestCase):
    """``mock`` alone."""

    def run_demo(self, seed: int, seconds: int) -> list[dict[str, JobDescriptor]]:
        clock = ManualClock()
        queue = DemoQueue(clock, seed)
        looks = []
        for _ in range(seconds):
            looks.append(dict(self.successResultOf(queue.snapshot()).jobs))
            clock.advance(1.0)
        return looks

    def test_lively(self) -> None:
        """Within ten minutes everything happens that a scheduler does."""
        looks = self.run_demo(1, 600)
        states = {job.state for look in looks for job in look.values()}
        self.assertLessEqual(
            {"QUEUED", "HELD", "STARTING", "RUNNING", "SUSPENDED", "COMPLETED", "FAILED", "TIMEOUT", "CANCELLED"}, states
        )
        self.assertTrue(any(job.parent for look in looks for job in look.values()), "arrays")
        self.assertTrue(any((job.comment or "").startswith("workflow=") for look in looks for job in look.values()))
        self.assertLess(max(map(len, looks)), 200)

    def test_seeded(self) -> None:
        """The same seed, the same story; another seed, another."""
        tell = lambda looks: [{i: j.state for i, j in look.items()} for look in looks]  # noqa: E731
        self.assertEqual(tell(self.run_demo(5, 60)), tell(self.run_demo(5, 60)))
        self.assertNotEqual(tell(self.run_demo(5, 60)), tell(self.run_demo(6, 60)))
