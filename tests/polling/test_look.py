"""One look: what the account may see, what is missing, and accounting."""

from __future__ import annotations

import attrs
from twisted.internet.defer import Deferred, fail

from jobpush.adapter.interfaces import QueueError
from jobpush.core.model import Outcomes, QueueFacts
from tests.polling.paced import NudgedCase
from tests.support import Lab, LabCase


class VisibilityTests(LabCase):
    """What the account may see decides what absence means."""

    BLIND = QueueFacts(sees_all=False, hides_jobs=False, evidence="PrivateData=jobs")

    def fill(self, count: int) -> None:
        for number in range(count):
            self.lab.queue.set(f"1{number:03}", "RUNNING")
        self.lab.tick()

    def test_permission_lost(self) -> None:
        """An empty answer where the account may not see: no job ends, the queue is blind, what is seen is told."""
        self.lab.set("2", "RUNNING")
        del self.lab.queue.jobs["1"]
        self.lab.queue.facts = self.BLIND
        self.lab.set("2", "FAILED", exit_code=1)
        self.lab.clock.run(300, step=1.0)
        self.assertEqual(self.lab.states(), {"1": "QUEUED", "2": "FAILED"})
        status = self.lab.service.monitors["memory"].status
        self.assertEqual(status.health, "blind")
        self.assertIn("PrivateData", status.error or "")
        ready = self.lab.get("/readyz")
        self.assertEqual(ready.status, 503)
        self.lab.queue.facts = attrs.evolve(self.BLIND, sees_all=True)
        self.lab.set("1", "RUNNING")
        self.assertEqual((self.lab.states()["1"], status.health), ("RUNNING", "ok"))

    def test_visibility_that_cannot_be_checked(self) -> None:
        """Then the query has failed."""
        self.lab.queue.jobs.clear()
        self.lab.queue.facts = QueueError("scontrol: down")
        self.lab.clock.run(60, step=1.0)
        self.assertEqual(self.lab.states(), {"1": "QUEUED"})
        self.assertEqual(self.lab.service.monitors["memory"].status.health, "stale")

    def test_mass_disappearance(self) -> None:
        """Most jobs gone at once: doubted; believed when a second query says the same."""
        self.fill(40)
        self.lab.queue.jobs.clear()
        self.lab.tick()
        self.assertEqual(set(self.lab.states().values()) - {"QUEUED"}, {"RUNNING"})
        self.assertIn("vanished", self.lab.service.monitors["memory"].status.error or "")
        self.lab.tick(2)
        self.assertIn("FINISHING", self.lab.states().values())

    def test_mass_disappearance_that_was_none(self) -> None:
        """They are back: nothing was told."""
        self.fill(40)
        head = self.lab.cursor
        jobs = dict(self.lab.queue.jobs)
        self.lab.queue.jobs.clear()
        self.lab.tick()
        self.lab.queue.jobs.update(jobs)
        self.lab.tick(5)
        self.assertEqual(self.lab.events(head), [])

    def test_forgetful_scheduler(self) -> None:
        """A warning at the start, with the setting's name, and a word in ``/readyz``."""
        lab = Lab()
        lab.queue.facts = QueueFacts(sees_all=True, remembers_s=1.5, remembers_by="MinJobAge", evidence="test")
        lab.start()
        self.addCleanup(lab.stop)
        missing = lab.get("/readyz").json()["queues"]["memory"]["missing"]
        self.assertTrue(any("MinJobAge" in line for line in missing), missing)


class AccountingTests(LabCase):
    """Jobs that left the queue."""

    def setUp(self) -> None:
        super().setUp()
        self.lab.queue.facts = QueueFacts(sees_all=True, accounting=True, evidence="test")

    def test_outcome_from_accounting(self) -> None:
        """Asked for what is absent; its answer ends the job."""
        self.lab.set("1", "RUNNING", started_at=2.0)
        record = self.lab.queue.set("1", "FAILED", exit_code=3, started_at=2.0, ended_at=9.0)
        del self.lab.queue.jobs["1"]
        self.lab.tick()
        self.assertEqual(self.lab.states()["1"], "FINISHING")
        self.lab.queue.records["1"] = record
        self.lab.clock.run(8)
        self.assertEqual(self.lab.states()["1"], "FAILED")
        self.assertEqual(self.lab.get("/v1/jobs/memory/1").json()["job"]["exit_code"], 3)

    def test_accounting_that_fails(self) -> None:
        """It fails nothing else, and ends no job, however long."""
        self.lab.set("1", "RUNNING")
        self.lab.set("2", "QUEUED")
        asked = []

        def broken(jobs: object) -> Deferred[Outcomes]:
            asked.append(jobs)
            return fail(QueueError("slurmdbd is down"))

        self.lab.queue.outcomes = broken  # type: ignore[method-assign,assignment]
        self.lab.queue.jobs.clear()
        self.lab.set("3", "RUNNING")
        self.lab.clock.run(300, step=1.0)
        self.assertEqual(self.lab.states(), {"1": "UNKNOWN", "2": "QUEUED", "3": "RUNNING"})
        self.assertTrue(8 <= len(asked) <= 40, "and it is asked less and less often")


class NamedTests(NudgedCase):
    """Only what is needed."""

    def setUp(self) -> None:
        super().setUp()
        self.monitor.status.query_s = 1.0  # asking for all is expensive here

    def test_named_jobs_are_asked_for_alone(self) -> None:
        """The others are neither compared nor absent."""
        self.queue.set("2", "QUEUED")
        self.queue.set("1", "RUNNING")
        self.monitor.nudge(["1"])
        self.lab.clock.advance(0)
        self.assertEqual((self.queue.named_for, self.queries), ([("1",)], 0))
        self.assertEqual(self.lab.states(), {"1": "RUNNING"})
        self.assertEqual(self.lab.get("/readyz").json()["queues"]["memory"]["queries_named"], 1)

    def test_absence_says_nothing_there(self) -> None:
        """A named job that is not listed makes jobpush ask for all."""
        del self.queue.jobs["1"]
        self.monitor.nudge(["1"])
        self.lab.clock.advance(0)
        self.assertEqual((len(self.queue.named_for), self.queries), (1, 1))
        record = self.lab.service.table.cluster("memory").get("1")
        assert record is not None
        self.assertIsNotNone(record.absent_since)

    def test_where_all_must_be_asked_for(self) -> None:
        """Too many names, an array's task, a nudge without names, a small queue."""
        for jobs in (["1", "2", "3", "4"], ["7_1"], []):
            begin = self.queue.queries
            self.monitor.status.query_s = 1.0
            self.monitor.nudge(jobs)
            self.lab.clock.run(10)
            self.assertEqual(self.queue.named_for, [], jobs)
            self.assertGreater(self.queue.queries, begin)
        self.monitor.nudge(["1"])  # the queries above took no time at all
        self.lab.clock.run(10)
        self.assertEqual(self.queue.named_for, [])

    def test_an_array_is_compared_as_a_whole(self) -> None:
        """What turns out to be an array's row makes jobpush ask for all."""
        self.queue.set("9_1", "RUNNING")
        self.queue.jobs["9"] = self.queue.jobs["9_1"]
        self.monitor.nudge(["9"])
        self.lab.clock.advance(0)
        self.assertEqual((len(self.queue.named_for), self.queries), (1, 1))
        del self.queue.jobs["9"]
