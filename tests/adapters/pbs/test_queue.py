"""The PBS adapter on recorded and hostile output; ``with_service/test_pbs.py`` runs against a real OpenPBS where one is."""

from __future__ import annotations

import os
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface.verify import verifyObject

from jobpush.adapter.interfaces import IBatchQueueService, InvalidJobId
from jobpush.adapter.testing import QueueUnderTest, makeQueueServiceTests
from jobpush_adapters.pbs.queue import PbsQueue
from tests.adapters.pbs.captures import Recorded
from tests.adapters.watching import WatchingCase
from tests.support import ManualClock


def recorded(case: TestCase) -> QueueUnderTest:
    fake = Recorded(case.mktemp())
    ids = ("1.pbslab", "4711.pbslab", "9.other-server", "33[4].pbslab")
    return QueueUnderTest(fake.queue, fake.show, fake.fail, ids=ids, task=("33[4].pbslab", "33[].pbslab", 4))


class PbsContractTests(makeQueueServiceTests(recorded)):  # type: ignore[misc]
    """The public contract."""


class IdTests(SynchronousTestCase):
    """PBS's grammar."""

    def test_canonical(self) -> None:
        """One job, array or subjob; not a queue's name, not a server, not a list."""
        queue = PbsQueue(None)
        verifyObject(IBatchQueueService, queue)
        for good in ("1", "4711.server", "4711[].server.example.org", "4711[3].server", "4711[]"):
            self.assertEqual(queue.canonical_id(good), good)
        for bad in ("workq", "@server", "1@server", "1[2-3].s", "1[x]", "1.", "1.-s", "1..s", "[1]", "12abc", "1 2", "1;id", "-1", "1.s\n"):
            self.assertRaises(InvalidJobId, queue.canonical_id, bad)


class LineTests(WatchingCase):
    """Which lines of its logs are about which jobs."""

    def test_logs(self) -> None:
        """The server's log and the accounting log; each job once, by its canonical id."""
        queue = PbsQueue(ManualClock(), follow=("/var/spool/pbs/server_logs",))
        self.watch(queue)
        self.assertEqual((self.watches[-1].paths, self.watches[-1].spools), (("/var/spool/pbs/server_logs",), ()))
        self.assertIsNone(self.said(b"11/23/2026 03:00:00.000000;0100;Server@pbs1;Req;;Type 19 request received"))
        self.assertEqual(
            self.said(
                b"11/23/2026 03:00:00.000000;0008;Server@pbs1;Job;12.pbs1;Updated job state to 82 and substate to 41",
                b"11/23/2026 03:00:00;E;13[2].pbs1;user=kim;Exit_status=0",
                b"11/23/2026 03:00:00;L;license;floating license hour:0",
                b"11/23/2026 03:00:00;S;12.pbs1;user=kim",
                b"x 11/23/2026 03:00:00;S;14.pbs1;user=kim",
            ),
            ["12.pbs1", "13[2].pbs1"],
        )

    def test_which_logs(self) -> None:
        """Those that are named; else the server's, else the accounting log, where they can be read; none of another host."""
        home = Path(self.mktemp()).resolve()
        accounting, server = home / "server_priv" / "accounting", home / "server_logs"
        for make, expected in ((None, None), (accounting, accounting), (server, server)):
            if make is not None:
                make.mkdir(parents=True)
            self.watches.clear()
            self.watch(PbsQueue(ManualClock(), home=str(home)))
            self.assertEqual([watch.paths for watch in self.watches], [] if expected is None else [(str(expected),)])
        self.watches.clear()
        self.watch(PbsQueue(ManualClock(), home=str(home), prefix=("ssh", "x")))
        self.assertEqual(self.watches, [])
        self.watch(PbsQueue(ManualClock(), home=str(home), follow=("/else",)))
        self.assertEqual(self.watches[0].paths, ("/else",))
        self.patch(os, "environ", {**os.environ, "PBS_HOME": str(home)})
        self.watch(PbsQueue(ManualClock()))
        self.assertEqual(self.watches[1].paths, (str(server),))
