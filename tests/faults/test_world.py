"""What is excused, and for how long."""

from __future__ import annotations

import os
import time

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests.faults.world import Window, World, waited_for_processor


class ExcusedTests(SynchronousTestCase):
    """`World`."""

    def setUp(self) -> None:
        self.now = time.monotonic() - 100
        self.world = World(0)

    def window(self, begin: float, end: float) -> Window:
        """A span of time."""
        return Window(self.now + begin, self.now + end)

    def test_cut(self) -> None:
        """A connection may end while the service is away, and within a second; not whenever its request overlaps that."""
        self.world.down = [self.window(0, 2)]
        ends = [-0.1, 0.1, 2.9, 3.1]
        self.assertEqual([self.world.may_be_cut(self.now + end) for end in ends], [False, True, True, False])
        self.assertEqual(self.world.may_be_cut(self.now + 7.9, 5.0), True)

    def test_fails(self) -> None:
        """503 may come while the journal fails, and no connection may end for that."""
        self.world.failing = [self.window(0, 2)]
        self.assertEqual((self.world.may_fail(self.now + 1), self.world.may_be_cut(self.now + 1)), (True, False))
        self.assertEqual(self.world.may_fail(self.now + 3.1), False)

    def test_unknown(self) -> None:
        """503 may come while a scheduler has not answered since the start, and such an answer takes longer; not once it has."""
        self.world.down = [self.window(-50, -40), self.window(0, 1)]
        self.assertFalse(self.world.may_fail(self.now + 3))
        self.world.silent = [self.window(-45, -44), self.window(0.5, 4), self.window(9, 12), self.window(30, 31)]
        at = {3: True, 9.5: True, 17.9: True, 18.1: False, 30.5: False, -39: True}
        self.assertEqual({each: self.world.may_fail(self.now + each) for each in at}, at)
        self.assertAlmostEqual(self.world.late(self.now + 3, self.now + 12, 1.0), 0.0)
        # One that came while the service was down has the same patience.
        self.assertAlmostEqual(self.world.late(self.now + 0.5, self.now + 10, 1.0), 0.0)
        self.assertAlmostEqual(self.world.late(self.now + 20, self.now + 24, 1.0), 0.0)
        self.world.silent = [Window(self.now + 0.5)]
        self.assertTrue(self.world.may_fail(self.now + 90))

    def test_late(self) -> None:
        """Only the time for which the service was away or stopped is given, not all of the request's."""
        self.world.down, self.world.stopped = [self.window(0, 2)], [self.window(5, 6)]
        self.assertAlmostEqual(self.world.late(self.now - 1, self.now + 9, 4.0), 0.0)
        self.assertAlmostEqual(self.world.late(self.now - 1, self.now + 10, 4.0), 1.0)

    def test_asked_again(self) -> None:
        """What a proxy repeats begins anew when the service is back; not for what was over before."""
        self.assertEqual(self.world.asked_again(self.now - 9, self.now), self.now - 9)
        self.world.down.append(Window(self.now - 5, self.now - 4))
        self.assertEqual(self.world.asked_again(self.now - 9, self.now), self.now - 4)
        self.assertEqual(self.world.asked_again(self.now - 1, self.now), self.now - 1)
        self.world.down.append(Window(self.now - 2))
        self.assertEqual(self.world.asked_again(self.now - 9, self.now), self.now)


class ProcessorTests(SynchronousTestCase):
    """`waited_for_processor`."""

    def test_waited(self) -> None:
        """It is a number of seconds that does not go back; None of a process that is not there."""
        before = waited_for_processor(os.getpid())
        if before is None:
            raise SkipTest("this kernel does not say it")
        os.sched_yield()
        after = waited_for_processor(os.getpid())
        assert after is not None
        self.assertTrue(0 <= before <= after <= time.monotonic(), (before, after))
        self.assertIsNone(waited_for_processor(2**22 + 1))
