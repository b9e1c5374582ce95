"""
The races that the design names: a scripted clock, and a journal whose commits can be held up.

In each, two things happen in the order that would lose or repeat an event if publishing were more than one turn.
"""

from __future__ import annotations

from typing import Any

from jobpush.events.journal import Retention
from jobpush.web.held import response_group
from tests.support import Lab, LabCase


class CommitTests(LabCase):
    """Between an event's commit and its publication."""

    def begin_commit(self, state: str = "RUNNING") -> None:
        """Job 1 changes; the change is being written."""
        self.lab.threads.hold("write")
        self.lab.queue.set("1", state)
        self.lab.tick()
        assert self.lab.threads.held, "nothing is being written"

    def end_commit(self) -> None:
        self.lab.threads.release()
        self.lab.clock.advance(0)

    def test_durable_before_visible(self) -> None:
        """Nobody hears of an event, and no state or cursor tells of it, before it is durable."""
        held = self.lab.get("/v1/jobs/memory/1?since=now&wait=60")
        cursor = self.lab.cursor
        self.begin_commit()
        self.assertTrue(held.held)
        answer = self.lab.get("/v1/jobs/memory/1").json()
        self.assertEqual((answer["job"]["state"], answer["cursor"]), ("QUEUED", cursor))
        self.assertEqual(self.lab.events(), self.lab.events())
        self.end_commit()
        self.assertEqual(held.json()["job"]["state"], "RUNNING")

    def test_registering_between_commit_and_publish(self) -> None:
        """Who comes while the event is being written waits for it, and gets it once."""
        cursor = self.lab.cursor
        self.begin_commit()
        for since in (cursor, "now"):
            held = self.lab.get(f"/v1/jobs/memory/1?since={since}&wait=60")
            self.assertTrue(held.held)
        self.end_commit()
        self.assertEqual([e["seq"] for e in held.json()["events"]], [2])

    def test_snapshot_is_not_ahead_of_its_cursor(self) -> None:
        """A snapshot taken meanwhile, then its cursor: the event comes exactly once."""
        self.begin_commit()
        snapshot = self.lab.get("/v1/jobs/memory/1").json()
        self.end_commit()
        answer = self.lab.get(f"/v1/jobs/memory/1?since={snapshot['cursor']}&wait=60").json()
        self.assertEqual((snapshot["job"]["state"], [e["seq"] for e in answer["events"]]), ("QUEUED", [2]))

    def test_timing_out_while_it_is_written(self) -> None:
        """The time-out's cursor is what is published, so that the event is not skipped."""
        held = self.lab.get("/v1/jobs/memory/1?since=now&wait=5")
        self.begin_commit()
        self.lab.clock.advance(5)
        self.assertTrue(held.json()["timed_out"])
        self.end_commit()
        answer = self.lab.get(f"/v1/jobs/memory/1?since={held.json()['cursor']}&wait=60").json()
        self.assertEqual([e["seq"] for e in answer["events"]], [2])

    def test_commit_that_fails(self) -> None:
        """Nothing becomes visible; the change is told when it can be written."""
        held = self.lab.get("/v1/jobs/memory/1?since=now&wait=60")
        self.lab.journal._writer.execute("CREATE TRIGGER full BEFORE INSERT ON event BEGIN SELECT RAISE(ABORT, 'disk full'); END")
        self.lab.set("1", "RUNNING")
        self.assertTrue(held.held)
        self.assertEqual(self.lab.states(), {"1": "QUEUED"})
        self.assertIn("disk full", self.lab.get("/readyz").json()["queues"]["memory"]["missing"][0])
        self.lab.journal._writer.execute("DROP TRIGGER full")
        self.lab.tick(2)
        self.assertEqual([e["seq"] for e in held.json()["events"]], [2])


class Turns:
    """In place of the cooperator: keeps what is to be done later for the test to do."""

    def __init__(self) -> None:
        self.work: list[Any] = []

    def soon(self, work: Any) -> None:
        self.work.append(work)


class ClaimTests(LabCase):
    """Between a waiter's claim and its answer."""

    def setUp(self) -> None:
        super().setUp()
        self.patch(response_group, "AT_ONCE", 1)
        self.held = [self.lab.get("/v1/jobs/memory/1?since=now&wait=30") for _ in range(3)]
        self.turns = Turns()
        self.lab.service.tracker.cooperator = self.lab.registry.cooperator = self.turns  # type: ignore[assignment]
        self.lab.queue.set("1", "RUNNING")
        self.lab.tick()
        assert self.turns.work, "the waiters are claimed"
        assert self.answered() == 0

    def answered(self) -> int:
        return sum(bool(held._answers) for held in self.held)

    def turn(self) -> None:
        """One turn of answers."""
        self.turns.work.pop(0)()
        self.lab.treq.flush()

    def settle(self) -> None:
        while self.turns.work:
            self.turn()

    def test_in_slices(self) -> None:
        """One answer a turn here; other work runs between."""
        counts = []
        while self.turns.work:
            self.turn()
            counts.append(self.answered())
        self.assertEqual(counts, [1, 2, 3])

    def test_a_claimed_waiter_does_not_time_out(self) -> None:
        """Its time is up before its answer goes out: it is answered with what it was claimed for."""
        self.lab.clock.advance(31)
        self.settle()
        for held in self.held:
            self.assertFalse(held.json()["timed_out"])
            self.assertEqual([e["seq"] for e in held.json()["events"]], [2])

    def test_disconnect(self) -> None:
        """A client that leaves then leaves nothing behind; the others are answered."""
        self.held[2].cancel()
        self.settle()
        self.assertEqual([bool(held._answers) for held in self.held], [True, True, False])
        self.assertEqual(self.lab.registry.held, 0)
        self.assertTrue(self.lab.service.tracker.idle)

    def test_shutdown(self) -> None:
        """The service's end answers it with what it was claimed for."""
        self.lab.service.announce_end()
        self.settle()
        for held in self.held:
            self.assertEqual([e["seq"] for e in held.json()["events"]], [2])
            self.assertFalse(held.json()["timed_out"])

    def test_more_events_meanwhile(self) -> None:
        """What comes after the claim is not in the answer, and not lost: it is after the answer's cursor."""
        self.lab.queue.set("1", "SUSPENDED")
        self.lab.tick()
        self.settle()
        for held in self.held:
            self.assertEqual(held.json()["cursor"].rpartition("-")[2], "2")
            self.assertEqual(held.json()["job"]["state"], "RUNNING", "the state does not run ahead of the cursor")
            self.assertEqual([h["state"] for h in held.json()["history"]], ["QUEUED", "RUNNING"])
            self.assertEqual(held.header("etag"), f'W/"{held.json()["cursor"]}"')
            later = self.lab.get(f"/v1/jobs/memory/1?since={held.json()['cursor']}&wait=0").json()
            self.assertEqual([e["seq"] for e in later["events"]], [3])


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
