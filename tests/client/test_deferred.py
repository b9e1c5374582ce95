"""The asynchronous client against the real resource."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred

from jobpush_client import (
    AsyncClient,
    ChangeEvent,
    Unknown,
)
from tests.support import LabCase


class AsyncClientTests(LabCase):
    """The asynchronous client, and what it says, against the real resource."""

    def setUp(self) -> None:
        super().setUp()
        self.client = AsyncClient("http://localhost", self.lab.clock, http=self.lab.treq)

    def begin(self, coroutine: Any) -> list[Any]:
        """What comes of it, when it has come."""
        got: list[Any] = []
        Deferred.fromCoroutine(coroutine).addBoth(got.append)
        self.settle()
        return got

    def settle(self) -> None:
        for _ in range(6):
            self.lab.clock.advance(0)
            self.lab.treq.flush()

    def test_wait_for(self) -> None:
        """Fires when the job has ended."""
        got = self.begin(self.client.wait_for("memory/1"))
        self.lab.set("1", "RUNNING")
        self.settle()
        self.assertEqual(got, [])
        self.lab.set("1", "FAILED", exit_code=3)
        self.settle()
        self.assertEqual((got[0].state, got[0].exit_code), ("FAILED", 3))

    def test_bare_id_and_history(self) -> None:
        """An id alone is enough where there is one cluster."""
        self.lab.set("1", "RUNNING", name="align", user="kim")
        (job,) = self.begin(self.client.job("1"))
        self.assertEqual((job.key, job.name, job.user), ("memory/1", "align", "kim"))
        (steps,) = self.begin(self.client.history("1"))
        self.assertEqual([step.state for step in steps], ["QUEUED", "RUNNING"])

    def test_unknown(self) -> None:
        """A job that no scheduler knows is an error of its own."""
        got = self.begin(self.client.job("memory/99"))
        self.lab.tick(3)
        self.settle()
        self.assertIsInstance(got[0].value, Unknown)

    def test_jobs_and_events(self) -> None:
        """A list, and each change after it."""
        async def follow() -> list[Any]:
            jobs = [job async for job in self.client.jobs(user="kim")]
            found: list[Any] = [job.key for job in jobs]
            async for event in self.client.events(since="now"):
                assert isinstance(event, ChangeEvent)
                assert event.job is not None
                found.append(event.job.state)
                if event.job.terminal:
                    break
            return found

        got = self.begin(follow())
        for state in ("RUNNING", "COMPLETED"):
            self.lab.set("1", state)
            self.settle()
        self.assertEqual(got, [["memory/1", "RUNNING", "COMPLETED"]])

    def test_workflow_and_barrier(self) -> None:
        """Put, waited for, forgotten."""
        (workflow,) = self.begin(self.client.put_workflow("w7", ["memory/1"]))
        self.assertEqual((workflow.name, workflow.state, workflow.terminal), ("w7", "QUEUED", False))
        barrier = self.begin(self.client.wait(["memory/1"], ["w7"], mode="all"))
        waiting = self.begin(self.client.wait_for_workflow("w7"))
        self.lab.set("1", "COMPLETED")
        self.settle()
        self.assertEqual(sorted(met.key for met in barrier[0].met), ["memory/1", "w7"])
        self.assertEqual((waiting[0].state, waiting[0].progress), ("COMPLETED", 1.0))
        self.assertEqual(self.begin(self.client.delete_workflow("w7")), [None])
        (failure,) = self.begin(self.client.workflow("w7"))
        self.assertIsInstance(failure.value, Unknown)

    def test_cancel(self) -> None:
        """Cancelling lets go of the request that is held."""
        waiting = Deferred.fromCoroutine(self.client.wait_for("memory/1"))
        self.settle()
        self.assertEqual(self.lab.registry.held, 1)
        waiting.cancel()
        self.settle()
        self.failureResultOf(waiting)
        self.assertEqual(self.lab.registry.held, 0)

    def test_ready(self) -> None:
        """Says how the queues are doing."""
        (ready,) = self.begin(self.client.ready())
        self.assertEqual((ready["status"], list(ready["queues"])), ("ready", ["memory"]))
