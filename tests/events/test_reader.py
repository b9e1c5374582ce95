"""Reading what was published: the tail, the journal, and what moves meanwhile."""

from __future__ import annotations

from jobpush.events.journal import Retention
from tests.support import Lab, LabCase


class TailTests(LabCase):
    """A cursor older than the tail, while the tail moves."""

    def make_lab(self) -> Lab:
        lab = Lab(retention=Retention(events=1000))
        lab.service.tail._capacity = 4
        return lab

    def test_the_tail_moves_while_the_journal_is_read(self) -> None:
        """Events that come while older ones are read from the journal are told once, in order, none is left out."""
        for number in range(30):
            self.lab.set("1", "RUNNING" if number % 2 == 0 else "SUSPENDED")
        self.assertFalse(self.lab.service.tail.covers(3))
        self.lab.threads.hold("write")  # a journal in memory is read on the writer's thread
        held = self.lab.get(f"/v1/changes?since={self.lab.journal.epoch}-3&limit=10000&wait=60")
        self.assertTrue(held.held)
        self.lab.threads.release()
        cursor, seen = held.json()["cursor"], [e["seq"] for e in held.json()["events"]]
        self.assertEqual(seen, list(range(4, 32)))
        self.assertTrue(cursor.endswith("-31"))

    def test_nothing_matched_in_the_journal(self) -> None:
        """The reader comes to the tail, which has moved meanwhile, and waits there without a gap."""
        for number in range(30):
            self.lab.set("1", "RUNNING" if number % 2 == 0 else "SUSPENDED")
        self.lab.queue.set("2", "QUEUED")
        self.lab.threads.hold("write")
        held = self.lab.get(f"/v1/jobs/memory/2?since={self.lab.journal.epoch}-3&wait=60")
        queue, self.lab.threads.held = self.lab.threads.held, []
        for work in queue or ():
            work()
        self.lab.threads.held = None
        self.lab.tick()
        self.assertEqual([e["job"]["id"] for e in held.json()["events"]], ["2"])

    def test_trimmed_while_it_is_read(self) -> None:
        """What is removed while it is being read is 410, not a gap."""
        for number in range(30):
            self.lab.set("1", "RUNNING" if number % 2 == 0 else "SUSPENDED")
        self.lab.threads.hold("write")
        held = self.lab.get(f"/v1/changes?since={self.lab.journal.epoch}-3&wait=60")
        reads, self.lab.threads.held = self.lab.threads.held, None
        self.lab.journal._retention = Retention(events=5)
        self.lab.set("1", "HELD")
        for work in reads or ():
            work()
        self.assertEqual(held.status, 410)
