"""Who may ask: everybody, as long as the scheduler hides nobody's jobs from others."""

from __future__ import annotations

from typing import Any

from treq.testing import StubTreq
from twisted.trial.unittest import SynchronousTestCase

from jobpush.core.model import QueueFacts
from jobpush.web import resource
from tests.support import Lab

HIDES = QueueFacts(sees_all=True, hides_jobs=True, evidence="PrivateData=jobs")


class AccessTests(SynchronousTestCase):
    """`Access`, as clients see it."""

    def lab(self, *facts: Any) -> Lab:
        """A service with a queue for each of these."""
        lab = Lab(queues=len(facts))
        for queue, its in zip(lab.queues, facts, strict=True):
            queue.facts = its
            queue.set("1", "RUNNING")
        self.addCleanup(lab.stop)
        return lab.start()

    def test_nothing_is_hidden(self) -> None:
        """Every job is shown to everybody."""
        self.assertEqual(self.lab(QueueFacts(sees_all=True)).get("/v1/jobs/memory/1").status, 200)

    def test_not_known_yet(self) -> None:
        """A scheduler that has not said what may be seen has shown no job either: the service answers."""
        lab = self.lab(ValueError("no answer"))
        self.flushLoggedErrors()
        self.assertEqual(lab.get("/v1/jobs").status, 200)

    def test_hidden(self) -> None:
        """Each route that may show a job is refused with 403, which says which scheduler hides what, and what can be done."""
        lab = self.lab(HIDES)
        for path in ("/v1/jobs", "/v1/jobs/memory/1", "/v1/changes", "/v1/wait?job=1", "/v1/events", "/v1/workflows", "/jobstatus?jobId=1"):
            answer = lab.get(path)
            self.assertEqual(answer.status, 403, path)
            for part in ("memory", "PrivateData=jobs", "--allow-anonymous"):
                self.assertIn(part, answer.json()["detail"])

    def test_open_to_all(self) -> None:
        """Health, readiness and metrics show no job, and are answered all the same."""
        lab = self.lab(HIDES)
        self.assertEqual([lab.get(path).status for path in ("/healthz", "/readyz", "/metrics")], [200, 200, 200])

    def test_one_of_two(self) -> None:
        """One scheduler that hides jobs is enough, whichever it is."""
        self.assertEqual(self.lab(QueueFacts(sees_all=True), HIDES).get("/v1/jobs/memory/1").status, 403)

    def test_allowed(self) -> None:
        """``--allow-anonymous`` shows all jobs to everybody, whatever the scheduler hides."""
        lab = self.lab(HIDES)
        lab.treq = StubTreq(resource(lab.service, allow_anonymous=True, max_held=10))
        self.assertEqual(lab.get("/v1/jobs/memory/1").json()["job"]["id"], "1")

    def test_no_longer_hidden(self) -> None:
        """When the scheduler hides jobs no more, requests are answered again."""
        lab = self.lab(HIDES)
        lab.set("2", "RUNNING")
        self.assertEqual(lab.get("/v1/jobs/memory/1").status, 403)
        lab.queue.facts = QueueFacts(sees_all=True)
        del lab.queue.jobs["2"]  # what may be seen is asked again when a job is missing
        lab.tick()
        self.assertEqual(lab.get("/v1/jobs/memory/1").status, 200)
