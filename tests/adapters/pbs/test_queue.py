"""The PBS adapter on recorded and hostile output; ``with_service/test_pbs.py`` runs against a real OpenPBS where one is."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface.verify import verifyObject

from jobpush.adapter.interfaces import IBatchQueueService, InvalidJobId
from jobpush.adapter.testing import QueueUnderTest, makeQueueServiceTests
from jobpush_adapters.pbs import parse as parse
from jobpush_adapters.pbs import states as states
from jobpush_adapters.pbs.queue import PbsQueue
from tests.adapters.pbs.captures import Recorded


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
