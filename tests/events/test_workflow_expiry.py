"""What time does to workflows: see also tests/core/test_workflows.py."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from jobpush.core.wire.values import from_time
from jobpush.core.workflows import QUIET_S
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
