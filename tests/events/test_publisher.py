"""
The races that the design names: a scripted clock, and a journal whose commits can be held up.

In each, two things happen in the order that would lose or repeat an event if publishing were more than one turn.
"""

from __future__ import annotations

from tests.support import LabCase


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
