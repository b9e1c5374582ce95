"""Jobs that another cluster took over: who waits for one waits for the job that it has become. jobpush.core.job_table finds that."""

from __future__ import annotations

from typing import Any

from tests.support import Lab, LabCase


class MovedCase(LabCase):
    """Job ``8`` waits in two clusters; ``second`` is to take it."""

    def make_lab(self) -> Lab:
        return Lab(queues=2)

    def setUp(self) -> None:
        super().setUp()
        self.here, self.there = self.lab.queues
        for queue in (self.here, self.there):
            queue.set("8", "QUEUED", user="kim", submitted_at=100.0)
        self.lab.tick(3)

    def taken(self, **fields: Any) -> None:
        """The second cluster starts it, and the first one says that it does not have it any more."""
        self.there.set("8", "RUNNING", started_at=150.0, user="kim", submitted_at=100.0)
        self.lab.tick(3)
        self.here.set("8", "MOVED", user="kim", submitted_at=100.0, **fields)
        self.lab.tick(3)

    def ended(self, state: str = "FAILED", exit_code: int = 3) -> None:
        """It ends there."""
        self.there.set("8", state, exit_code=exit_code, started_at=150.0, ended_at=200.0, user="kim", submitted_at=100.0)
        self.lab.tick(3)

    def job(self, cluster: str = "memory", query: str = "") -> Any:
        """What is served of it."""
        return self.lab.get(f"/v1/jobs/{cluster}/8{query}").json()["job"]


class JobTests(MovedCase):
    """``GET /v1/jobs/{cluster}/{id}``."""

    def test_moved(self) -> None:
        """It says where to, with the same step."""
        self.taken()
        job = self.job()
        self.assertEqual((job["state"], job["moved_to"], job["settled"]), ("MOVED", "second/8", True))
        self.assertIsNone(self.job("second")["moved_to"])
        self.assertEqual([e["job"]["state"] for e in self.lab.events(query="&job=memory/8")], ["QUEUED", "MOVED"])

    def test_held_before(self) -> None:
        """A request that is held when it is moved goes on to be held, for the job that it has become."""
        held = {until: self.lab.get(f"/v1/jobs/memory/8?until={until}&wait=600") for until in ("started", "terminal")}
        changed = self.lab.get("/v1/jobs/memory/8?since=now&wait=600")
        self.taken()
        self.assertEqual(changed.json()["job"]["state"], "MOVED")
        self.assertEqual(held["started"].json()["job"]["cluster"], "second")
        self.assertTrue(held["terminal"].held)
        self.ended()
        answer = held["terminal"].json()
        self.assertEqual((answer["job"]["cluster"], answer["job"]["state"], answer["timed_out"]), ("second", "FAILED", False))
        self.assertEqual([event["job"]["state"] for event in answer["events"]], ["RUNNING", "FAILED"])

    def test_asked_after(self) -> None:
        """A request that comes when it has been moved is one for the job that it has become."""
        self.taken()
        held = self.lab.get("/v1/jobs/memory/8?until=terminal&wait=600")
        self.assertTrue(held.held)
        self.ended()
        self.assertEqual(held.json()["job"]["state"], "FAILED")
        self.assertEqual(self.job(query="?until=terminal")["exit_code"], 3)
        self.assertEqual(self.job()["state"], "MOVED")

    def test_time_is_up(self) -> None:
        """Held further, it is still answered in the time that was asked for."""
        held = self.lab.get("/v1/jobs/memory/8?until=terminal&wait=20")
        self.taken()
        self.lab.tick(15)
        self.assertTrue(held.json()["timed_out"])

    def test_seen_here_first(self) -> None:
        """As long as no look has shown that it runs there it is not settled; who waits for its end waits on."""
        held = self.lab.get("/v1/jobs/memory/8?until=terminal&wait=600")
        self.here.set("8", "MOVED", user="kim", submitted_at=100.0)
        self.lab.tick(2)
        self.assertEqual((self.job()["state"], self.job()["settled"], self.job()["moved_to"], held.held), ("MOVED", False, None, True))
        self.taken()
        self.assertEqual((self.job()["settled"], self.job()["moved_to"]), (True, "second/8"))
        self.ended()
        self.assertEqual(held.json()["job"]["state"], "FAILED")

    def test_nobody_has_it(self) -> None:
        """Where no cluster that is known has it, that it was moved is the end."""
        held = self.lab.get("/v1/jobs/memory/8?until=terminal&wait=600")
        self.here.set("8", "MOVED", user="kim", submitted_at=100.0)
        self.lab.tick(8)
        self.assertEqual((held.json()["job"]["state"], held.json()["job"]["moved_to"]), ("MOVED", None))

    def test_another_job_by_that_id(self) -> None:
        """One of another user, or of another time of submission, is not what it has become."""
        for fields in ({"user": "lee", "submitted_at": 100.0}, {"user": "kim", "submitted_at": 9000.0}):
            lab = Lab(queues=2).start()
            self.addCleanup(lab.stop)
            here, there = lab.queues
            here.set("8", "MOVED", user="kim", submitted_at=100.0)
            there.set("8", "RUNNING", started_at=150.0, **fields)
            lab.tick(10)
            self.assertIsNone(lab.get("/v1/jobs/memory/8").json()["job"]["moved_to"], fields)

    def test_back(self) -> None:
        """Requeued where it came from, it is followed no more."""
        self.taken()
        self.there.set("8", "MOVED", user="kim", submitted_at=100.0)
        self.here.set("8", "RUNNING", attempt=1, started_at=190.0, user="kim", submitted_at=100.0)
        held = self.lab.get("/v1/jobs/second/8?until=terminal&wait=600")
        self.lab.tick(3)
        self.assertEqual((self.job()["state"], self.job()["moved_to"]), ("RUNNING", None))
        self.assertEqual(self.job("second")["moved_to"], "memory/8")
        self.here.set("8", "COMPLETED", attempt=1, exit_code=0, started_at=190.0, user="kim", submitted_at=100.0)
        self.lab.tick(3)
        self.assertEqual((held.json()["job"]["cluster"], held.json()["job"]["state"]), ("memory", "COMPLETED"))


class BarrierTests(MovedCase):
    """``/v1/wait``."""

    def test_held_before(self) -> None:
        """A barrier holds on, for the job that it has become; the answer has both ids."""
        held = self.lab.get("/v1/wait?job=memory/8&wait=600")
        both = self.lab.get("/v1/wait?job=memory/8&job=second/8&wait=600")
        self.taken()
        self.assertTrue(held.held)
        self.ended()
        (met,) = held.json()["met"]
        self.assertEqual((met["job"], met["moved_to"], met["state"], met["exit_code"]), ("memory/8", "second/8", "FAILED", 3))
        self.assertEqual({met["job"]: met.get("moved_to") for met in both.json()["met"]}, {"memory/8": "second/8", "second/8": None})

    def test_asked_after(self) -> None:
        """As one that is asked when it has been moved."""
        self.taken()
        held = self.lab.get("/v1/wait?job=memory/8&wait=600")
        started = self.lab.get("/v1/wait?job=memory/8&until=started&wait=600").json()
        self.assertEqual([met["state"] for met in started["met"]], ["RUNNING"])
        self.assertTrue(held.held)
        self.ended("COMPLETED", 0)
        self.assertEqual([met["state"] for met in held.json()["met"]], ["COMPLETED"])
        self.assertTrue(self.lab.get("/v1/wait?job=memory/8").json()["done"])

    def test_back(self) -> None:
        """Requeued where it came from, it is waited for there again."""
        held = self.lab.get("/v1/wait?job=memory/8&wait=600")
        self.taken()
        self.there.set("8", "CANCELLED", user="kim", submitted_at=100.0, settled=False)
        self.here.set("8", "RUNNING", attempt=1, started_at=190.0, user="kim", submitted_at=100.0)
        self.lab.tick(3)
        self.ended("CANCELLED")
        self.assertTrue(held.held)
        self.here.set("8", "COMPLETED", attempt=1, exit_code=0, started_at=190.0, user="kim", submitted_at=100.0)
        self.lab.tick(3)
        self.assertEqual([(met["job"], met["state"]) for met in held.json()["met"]], [("memory/8", "COMPLETED")])


    def test_forgotten_here(self) -> None:
        """Where the table has forgotten the job that was moved, the journal still says where to."""
        self.taken()
        self.here.jobs.clear()
        self.lab.tick(5)
        self.lab.service.table.cluster("memory").forget("8")
        held = self.lab.get("/v1/wait?job=memory/8&wait=600")
        single = self.lab.get("/v1/jobs/memory/8?until=terminal&wait=600")
        self.assertTrue(held.held)
        self.assertTrue(single.held)
        self.ended()
        self.assertEqual([(met["job"], met["state"]) for met in held.json()["met"]], [("memory/8", "FAILED")])
        self.assertEqual(single.json()["job"]["cluster"], "second")


class WorkflowTests(MovedCase):
    """Workflows of which such a job is a member."""

    def workflow(self) -> Any:
        """What is served of it."""
        return self.lab.get("/v1/workflows/w").json()

    def test_followed(self) -> None:
        """It ends when the job has ended that its member has become, and as that one does; also after a restart of its record."""
        self.lab.put("/v1/workflows/w", {"jobs": ["memory/8"]})
        held = self.lab.get("/v1/wait?workflow=w&wait=600")
        self.taken()
        self.assertEqual((self.workflow()["state"], held.held), ("RUNNING", True))
        self.ended()
        self.assertEqual((self.workflow()["state"], self.workflow()["settled"], self.workflow()["counts"]), ("FAILED", True, {"FAILED": 1}))
        self.assertEqual(self.workflow()["first_failure"]["exit_code"], 3)
        self.assertEqual(held.json()["met"][0]["state"], "FAILED")

    def test_put_after(self) -> None:
        """One that is put when the job has been moved knows as much; an event of the job counts as one of the workflow."""
        self.taken()
        self.lab.put("/v1/workflows/w", {"jobs": ["memory/8"]})
        self.assertEqual(self.workflow()["state"], "RUNNING")
        cursor = self.lab.cursor
        self.ended("COMPLETED", 0)
        self.assertEqual(self.workflow()["state"], "COMPLETED")
        told = self.lab.events(cursor, "&workflow=w")
        self.assertEqual([event.get("job", event.get("workflow"))["state"] for event in told], ["COMPLETED", "COMPLETED"])

    def test_not_known_where(self) -> None:
        """A member that was moved to where nobody looks has ended, and not well as far as anybody can tell."""
        self.lab.put("/v1/workflows/w", {"jobs": ["memory/8"]})
        self.here.set("8", "MOVED", user="kim", submitted_at=100.0)
        self.lab.tick(8)
        self.assertEqual(self.workflow()["state"], "MOVED")

    def test_deleted(self) -> None:
        """A workflow that is deleted follows nothing."""
        self.taken()
        self.lab.put("/v1/workflows/w", {"jobs": ["memory/8"]})
        self.lab.request("DELETE", "/v1/workflows/w").body  # noqa: B018
        cursor = self.lab.cursor
        self.ended()
        self.assertEqual([event["type"] for event in self.lab.events(cursor)], ["job"])
