"""Memory that was freed is given back."""

from __future__ import annotations

import platform

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from jobpush.runtime.gc_pauses import GIVE_BACK_S, LOOK_S, GcPausesService
from jobpush.runtime.heap import give_back

#: Larger than what Python's own allocator keeps, smaller than what the C library takes from the system by itself.
SIZE = 2000


def resident() -> int:
    """How many bytes of the process are in memory."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096


class GiveBackTests(SynchronousTestCase):
    """`give_back`, and who calls it."""

    def setUp(self) -> None:
        if platform.libc_ver()[0] != "glibc":
            self.skipTest("the C library is not glibc")
        give_back()

    def holes(self) -> list[bytes]:
        """Free 40 MB between blocks that are kept."""
        return [bytes(SIZE) for _ in range(20_000)][::100]

    def test_given_back(self) -> None:
        """Also what is free below something that is in use."""
        kept = self.holes()
        before = resident()
        give_back()
        self.assertGreater(before - resident(), 20_000_000)
        del kept

    def test_once_a_minute(self) -> None:
        """The service that collects garbage does it."""
        clock = Clock()
        service = GcPausesService(clock)
        service.startService()
        self.addCleanup(service.stopService)
        clock.advance(GIVE_BACK_S)
        kept = self.holes()
        before = resident()
        clock.pump([LOOK_S] * 9)
        self.assertLess(before - resident(), 20_000_000)
        clock.advance(GIVE_BACK_S)
        self.assertGreater(before - resident(), 20_000_000)
        del kept
