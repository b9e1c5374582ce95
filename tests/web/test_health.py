"""What ``/readyz`` says, and how fresh answers say that they are."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from jobpush.adapter.interfaces import OtherCluster, QueueError
from jobpush.core.model import QueueFacts
from jobpush.web import health
from tests.polling.seldom_asked import SeldomAskedLab
from tests.support import Lab


class ReadinessTests(SynchronousTestCase):
    """`readiness`."""

    def lab(self, facts: Any = None, queues: int = 1) -> Lab:
        """A service whose scheduler says that."""
        lab = Lab(queues=queues)
        lab.queue.facts = facts if facts is not None else lab.queue.facts
        lab.queue.set("1", "RUNNING")
        self.addCleanup(lab.stop)
        return lab

    def ready(self, lab: Lab) -> tuple[bool, Any]:
        """Whether it is ready, and what it says of the first queue."""
        ready, fields = health.readiness(lab.service, held=0)
        self.assertEqual(fields["status"], "ready" if ready else "not ready")
        return ready, fields["queues"]["memory"]  # type: ignore[index]

    def test_whole(self) -> None:
        """Everything that an operator wants to know of the service and of a queue."""
        lab = self.lab(QueueFacts(sees_all=True, evidence="all is seen")).start()
        lab.clock.advance(0.25)
        lab.service.nudges.refuse("udp")
        ready, fields = health.readiness(lab.service, held=3)
        self.assertEqual((ready, fields["held"]), (True, 3))
        self.assertEqual(fields["nudges"], {"udp": {"taken": 0, "refused": 1, "unread": 0}})
        self.assertEqual(fields["queues"], {"memory": {
            "type": "memory", "health": "ok", "stale_s": 0.25, "interval_s": 1.0, "jobs": 1, "queries": 1, "queries_nudged": 0,
            "queries_named": 0, "nudges_announce_changes": False, "failures": 0, "rejected_rows": 0, "evidence": "all is seen",
            "queries_probing": 0, "cost_share": 0.0, "cost_budget": 0.05, "missing": [],
        }})  # fmt: skip

    def test_journal(self) -> None:
        """Nothing can be committed: it is not ready, and says why, until a look finds that it can, whether or not a job has changed."""
        lab = self.lab().start()
        journal = health.readiness(lab.service, held=0)[1]["journal"]
        self.assertEqual(journal, {"events": 1, "bytes": 0, "missing": []})
        lab.journal._writer.execute("PRAGMA query_only=1")
        lab.set("2", "RUNNING")
        for _ in range(2):
            ready, fields = health.readiness(lab.service, held=0)
            self.assertEqual((ready, fields["status"]), (False, "not ready"))
            self.assertIn("cannot be written", fields["journal"]["missing"][0])  # type: ignore[index]
            lab.queue.jobs.pop("2", None)
            lab.tick(3)
        lab.journal._writer.execute("PRAGMA query_only=0")
        lab.tick(3)
        self.assertEqual((self.ready(lab)[0], list(lab.states())), (True, ["1"]))

    def test_probes(self) -> None:
        """What an adapter asks to learn when to look counts as queries."""
        lab = SeldomAskedLab().start()
        self.addCleanup(lab.stop)
        lab.queue.probes = 7
        queue = self.ready(lab)[1]
        self.assertEqual((queue["queries"], queue["queries_probing"]), (lab.queue.queries + 7, 7))

    def test_before_the_first_answer(self) -> None:
        """It is not ready before each queue has answered once."""
        lab = self.lab(queues=2)
        lab.queues[1].failure = QueueError("down")
        ready, queue = self.ready(lab)
        self.assertEqual((ready, queue["stale_s"], queue["evidence"]), (False, None, None))
        lab.start()
        self.assertFalse(self.ready(lab)[0], "the second queue has not answered")
        lab.queues[1].failure = None
        lab.tick(5)
        self.assertTrue(self.ready(lab)[0])

    def test_down(self) -> None:
        """A scheduler that is down for now leaves it ready: what is known is served, with its age; what is wrong is said."""
        lab = self.lab().start()
        lab.queue.failure = QueueError("cannot reach the controller")
        lab.tick()
        ready, queue = self.ready(lab)
        self.assertEqual((ready, queue["failures"]), (True, 1))
        self.assertIn("cannot reach the controller", queue["missing"][0])
        self.assertEqual(queue["stale_s"], 1.0)

    def test_jobs_that_are_not_shown(self) -> None:
        """An account that may not see all jobs makes it unready, and its problems are said."""
        ready, queue = self.ready(self.lab(QueueFacts(sees_all=False, problems=("give it the role",))).start())
        self.assertEqual((ready, queue["missing"]), (False, ["give it the role"]))

    def test_retention(self) -> None:
        """Finished jobs must be listed for two intervals at least; the scheduler's setting is named."""
        for remembers_s, said in ((1.5, True), (2.0, False), (0.0, True), (None, False)):
            facts = QueueFacts(sees_all=True, remembers_s=remembers_s, remembers_by="MinJobAge")
            ready, queue = self.ready(self.lab(facts).start())
            self.assertTrue(ready)
            self.assertEqual(["MinJobAge" in text for text in queue["missing"]], [True] * said, remembers_s)

    def test_the_mock(self) -> None:
        """The mock queue is said to be one."""
        lab = self.lab().start()
        lab.queue.queue_type = "mock"
        self.assertIn("mock", self.ready(lab)[1]["missing"][0])

    def test_the_end(self) -> None:
        """A service that ends is not ready: a balancer sends nobody there any more."""
        lab = self.lab().start()
        lab.service.announce_end()
        self.assertFalse(self.ready(lab)[0])


class CausesTests(SynchronousTestCase):
    """`causes`: why it is not ready. Each of them makes it so, and nothing else does."""

    def lab(self, queues: int = 1) -> Lab:
        lab = Lab(self.mktemp(), queues=queues)
        lab.queue.set("1", "RUNNING")
        self.addCleanup(lab.stop)
        return lab.start()

    def causes(self, lab: Lab) -> list[str]:
        """What ``/readyz`` says, and its status as it follows."""
        answer = lab.get("/readyz")
        found: list[str] = answer.json()["causes"]
        self.assertEqual((answer.status, answer.json()["status"]), (503, "not ready") if found else (200, "ready"))
        return found

    def test_starting(self) -> None:
        """Before it was started; and each queue that was never seen, whether it has failed or has not answered yet."""
        lab = Lab(queues=2)
        self.assertEqual(health.causes(lab.service), ["starting", "never seen: memory", "never seen: second"])
        lab.queue.failure = QueueError("down")
        lab.queues[1].pending = []
        lab.start()
        self.addCleanup(lab.stop)
        self.assertEqual(self.causes(lab), ["never seen: memory", "never seen: second"])

    def test_closing(self) -> None:
        """It answers those who wait, and takes no others."""
        lab = self.lab()
        self.assertEqual(self.causes(lab), [])
        lab.service.announce_end()
        self.assertEqual(self.causes(lab), ["closing"])

    def test_journal(self) -> None:
        """Nothing can be committed, until something can."""
        lab = self.lab()
        lab.journal._writer.execute("PRAGMA query_only=1")
        lab.set("2", "RUNNING")
        self.assertEqual(self.causes(lab), ["journal"])

    def test_damage(self) -> None:
        """A page of the journal's file that is none any more is found when it is read, and is not forgotten."""
        lab = Lab(self.mktemp(), tail=1)
        self.addCleanup(lab.stop)
        lab.start()
        for number in range(400):
            lab.queue.set(str(number), "RUNNING", name="x" * 500)
        lab.tick()
        lab.journal._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        with open(f"{lab.journal.directory}/journal.sqlite", "r+b") as file:
            file.seek(4096 * 20)
            file.write(b"\xff" * 4096 * 20)
        self.assertEqual(lab.get("/v1/changes?since=0&limit=1000").status, 503)
        self.assertIn("damage", self.causes(lab))
        self.assertIn("damaged", lab.get("/readyz").json()["journal"]["missing"][-1])

    def test_visibility(self) -> None:
        """No queue is known to show all of its jobs. One of several that does not is told of under ``missing``."""
        lab = self.lab(queues=2)
        hides = QueueFacts(sees_all=False, evidence="PrivateData")
        lab.queue.facts = hides
        lab.tick(70)
        self.assertEqual(self.causes(lab), [])
        missing = lab.get("/readyz").json()["queues"]["memory"]["missing"]
        self.assertEqual(missing, ["visibility: the account does not see all jobs (PrivateData)"])
        lab.queues[1].facts = hides
        lab.tick(70)
        self.assertEqual(self.causes(lab), ["visibility"])

    def test_blind(self) -> None:
        """Jobs that were there are not shown any more."""
        lab = self.lab()
        lab.queue.facts = QueueFacts(sees_all=False, evidence="PrivateData")
        lab.queue.jobs.clear()
        lab.tick(3)
        self.assertEqual(lab.service.monitors["memory"].status.health, "blind")
        self.assertEqual(self.causes(lab), ["visibility"])

    def test_another_cluster(self) -> None:
        """What is served is this one's, but nobody knows for how long that is so."""
        lab = self.lab(queues=2)
        lab.queue.failure = OtherCluster("the answer is of beta")
        lab.tick(2)
        self.assertEqual(self.causes(lab), ["another cluster: memory"])
        lab.queue.failure = None
        lab.tick(10)
        self.assertEqual(self.causes(lab), [])

    def test_stale_alone(self) -> None:
        """A scheduler that is down, or takes long, leaves it ready; the reason is under ``missing``."""
        lab = self.lab()
        lab.queue.failure = QueueError("cannot reach the controller")
        lab.tick(30)
        queue = lab.get("/readyz").json()["queues"]["memory"]
        self.assertEqual((self.causes(lab), queue["health"], queue["missing"]), ([], "stale", ["cannot reach the controller"]))
        lab.queue.failure = None
        lab.tick(40)
        lab.queue.pending = []
        lab.tick(20)
        queue = lab.get("/readyz").json()["queues"]["memory"]
        self.assertEqual((self.causes(lab), queue["health"]), ([], "stale"))
        self.assertRegex(queue["missing"][0], r"\Ano answer for \d+ s; what is known is served\Z")


class ClustersTests(SynchronousTestCase):
    """`clusters`."""

    def test_fresh(self) -> None:
        """The age of what is served, in seconds to a millisecond, of all clusters or of those that are wanted."""
        lab = Lab(queues=2)
        self.assertEqual(health.clusters(lab.service)["memory"]["stale_s"], None)
        lab.start()
        self.addCleanup(lab.stop)
        lab.clock.advance(0.12345678)
        self.assertEqual(health.clusters(lab.service), {name: {"stale_s": 0.123, "health": "ok"} for name in ("memory", "second")})
        self.assertEqual(list(health.clusters(lab.service, frozenset({"second"}))), ["second"])
