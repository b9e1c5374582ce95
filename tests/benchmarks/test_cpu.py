"""The CPU time of a process, and how tables have it."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time

from twisted.trial.unittest import SynchronousTestCase

from benchmarks.cpu import CpuTime, OtherLoad, children_time, cpu_time, user_share
from benchmarks.tables import middle, parts


def spend(seconds: float) -> None:
    """Use so much CPU in this thread."""
    until = time.thread_time() + seconds
    while time.thread_time() < until:
        pass


class CpuTests(SynchronousTestCase):
    """What the kernel says."""

    def test_threads_that_have_ended(self) -> None:
        """The time of all threads counts, after they have ended too."""
        before = cpu_time(os.getpid())
        thread = threading.Thread(target=spend, args=(0.1,))
        thread.start()
        thread.join()
        spend(0.1)
        spent = cpu_time(os.getpid()) - before
        self.assertGreaterEqual(spent.total, 0.2)
        self.assertLess(abs(spent.user + spent.system - spent.total), 0.05)
        self.assertLess(abs(cpu_time(os.getpid()).total - time.process_time()), 0.05)

    def test_children(self) -> None:
        """Children count apart, when they have been waited for."""
        before, own = children_time(os.getpid()), cpu_time(os.getpid())
        code = "import time\nwhile time.process_time() < 0.3: pass"
        subprocess.run([sys.executable, "-c", code], check=True)
        self.assertGreaterEqual((children_time(os.getpid()) - before).total, 0.25)
        self.assertLess((cpu_time(os.getpid()) - own).total, 0.2)

    def test_no_such_process(self) -> None:
        """There is an error for a process that does not exist."""
        with subprocess.Popen([sys.executable, "-c", ""]) as process:
            process.wait()
        self.assertRaises(OSError, cpu_time, process.pid)


class OtherLoadTests(SynchronousTestCase):
    """What other processes take of the cores of one."""

    def test_share(self) -> None:
        """A busy child is somebody else; the process itself is not."""
        cores = os.sched_getaffinity(0)
        with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as child:
            try:
                seen_by_child, seen_by_us = OtherLoad(cores, child.pid), OtherLoad(cores, os.getpid())
                time.sleep(1)
                without_child, with_child = seen_by_child.share(), seen_by_us.share()
            finally:
                child.kill()
        self.assertGreater(with_child, 0)
        self.assertLess(without_child, with_child)


class TableTests(SynchronousTestCase):
    """How numbers are written."""

    def test_parts(self) -> None:
        """The median of the exact sums is divided in the proportion of all samples."""
        times = [CpuTime(0.1, 0.0, 0.1), CpuTime(0.2, 0.2, 0.0), CpuTime(0.4, 0.1, 0.4)]
        self.assertAlmostEqual(user_share(times), 0.375)
        self.assertEqual(parts(times, 3), "0.075 + 0.125")
        self.assertEqual(parts(times, 0, 1000), "75 + 125")
        self.assertEqual(parts([], 3), "-")

    def test_no_sample(self) -> None:
        """Where no sample fell into the time it is not known how it is divided."""
        self.assertEqual(parts([CpuTime(0.001, 0.0, 0.0)], 3), "-")

    def test_middle(self) -> None:
        """The median, with the least and the most if they differ."""
        self.assertEqual([middle([3.0, 1.0, 2.0]), middle([2.0, 2.01], 1), middle([])], ["2 (1-3)", "2.0", "-"])
