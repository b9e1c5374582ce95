"""What time does to workflows: see also tests/core/test_workflows.py."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from jobpush.core.wire.values import from_time
from jobpush.core.workflows import QUIET_S, UNSEEN_S
from jobpush.events.workflow_expiry import EVERY_S
from tests.support import Lab


class WorkflowExpiryTests(SynchronousTestCase):
    """`WorkflowExpiry`."""

    def test_a_journal_that_cannot_be_written(self) -> None:
        """What could not be done is done when it can be; the log says why, in one line, without a traceback."""
        lab = Lab().start()
        self.addCleanup(lab.stop)
        lab.set("1", "COMPLETED", user="kim", comment="workflow=align")
        lab.journal._writer.execute("PRAGMA query_only=1")
        lab.clock.run(70.0, step=1.0)
        self.assertFalse(lab.get("/v1/workflows/align@kim").json()["settled"])
        self.assertEqual(self.flushLoggedErrors(), [])
        lab.journal._writer.execute("PRAGMA query_only=0")
        lab.clock.run(EVERY_S + 1, step=1.0)
        self.assertTrue(lab.get("/v1/workflows/align@kim").json()["settled"])

    def test_tags_are_looked_for_once(self) -> None:
        """At the start; a workflow that was deleted is not found again in the tags of jobs that nothing happens to."""
        lab = Lab().start()
        self.addCleanup(lab.stop)
        lab.set("1", "RUNNING", user="kim", comment="workflow=align")
        self.assertEqual(lab.request("DELETE", "/v1/workflows/align@kim").status, 204)
        lab.clock.run(10 * EVERY_S, step=1.0)
        self.assertEqual(lab.get("/v1/workflows/align@kim").status, 404)

    def test_clock_that_is_set(self) -> None:
        """A workflow is complete, and is dropped, after time that has passed; what is told of it has the date."""
        for step in (3600.0, -3600.0):
            lab = Lab().start()
            self.addCleanup(lab.stop)
            lab.set("1", "RUNNING", user="kim", comment="workflow=align")
            lab.set_forward = step
            lab.set("1", "COMPLETED", user="kim", comment="workflow=align")
            lab.clock.run(QUIET_S - 10.0, step=1.0)
            self.assertFalse(lab.get("/v1/workflows/align@kim").json()["settled"], step)
            lab.clock.run(20.0, step=1.0)
            self.assertTrue(lab.get("/v1/workflows/align@kim").json()["settled"], step)
            settled = [event for event in lab.events() if event["type"] == "workflow"][-1]
            self.assertLess(abs(from_time(settled["at"]) - lab.clocks.wall()), 20.0)

    def test_jobs_that_nobody_knows(self) -> None:
        """
        A workflow of jobs that do not exist is forgotten a day later, unless somebody waits for it; one with a job that is there
        is kept.
        """
        lab = Lab().start()
        self.addCleanup(lab.stop)
        lab.set("1", "RUNNING", user="kim")
        lab.set("2", "COMPLETED", user="kim")
        for name, jobs in (("unknown", ["8"]), ("awaited", ["9"]), ("followed", ["9"]), ("lives", ["1", "9"]), ("half", ["2", "9"])):
            lab.put(f"/v1/workflows/{name}", {"jobs": [f"memory/{job}" for job in jobs]})
        lab.get("/v1/events?workflow=followed")

        def names() -> list[str]:
            return [each["name"] for each in lab.get("/v1/workflows").json()["workflows"]]

        lab.clock.run(UNSEEN_S - 100, step=50.0)
        self.assertEqual(names(), ["awaited", "followed", "half", "lives", "unknown"])
        lab.get("/v1/workflows/awaited?until=terminal&wait=600")
        lab.clock.run(200, step=5.0)
        self.assertEqual(names(), ["awaited", "followed", "lives"])
        lab.clock.run(700, step=5.0)
        self.assertEqual(names(), ["followed", "lives"], "nobody waits any more")

    def test_the_end(self) -> None:
        """It looks no more, and what it has begun is waited for."""
        lab = Lab().start()
        lab.set("1", "COMPLETED", user="kim", comment="workflow=align")
        lab.threads.hold("write")
        lab.clock.run(70.0, step=1.0)
        self.assertTrue(lab.threads.held, "it is being written that the workflow is complete")
        ended = lab.service.stopService()
        lab.clock.run(1.0)
        self.assertFalse(ended.called)
        lab.threads.release()
        lab.clock.run(1.0)
        self.assertTrue(ended.called)
        self.assertEqual(lab.clock.getDelayedCalls(), [])
