"""Health, readiness, and nudges over HTTP. (What readiness says is in tests/web/test_health.py, what nudges do in tests/polling.)"""

from __future__ import annotations

from typing import Any

from twisted.internet.testing import StringTransportWithDisconnection

from jobpush.polling.nudges import READ_PER_S
from jobpush.web.site import JobpushSite
from tests.support import Lab, LabCase


class HealthTests(LabCase):
    """``/healthz`` and ``/readyz``."""

    def test_operations(self) -> None:
        """Health and readiness."""
        answer = self.lab.get("/healthz")
        self.assertEqual((answer.status, answer.json()), (200, {"status": "ok"}))
        ready = self.lab.get("/readyz")
        self.assertEqual((ready.status, ready.json()["status"], ready.json()["queues"]["memory"]["missing"]), (200, "ready", []))
        self.assertEqual(ready.header("jobpush-cursor"), self.lab.cursor)

    def test_held(self) -> None:
        """Readiness counts the requests that are held."""
        for _ in range(3):
            self.lab.get("/v1/changes?since=now&wait=60")
        self.assertEqual(self.lab.get("/readyz").json()["held"], 3)

    def test_not_ready(self) -> None:
        """A service that is not ready says so with 503, and is alive all the same."""
        self.lab.service.announce_end()
        self.assertEqual((self.lab.get("/readyz").status, self.lab.get("/healthz").status), (503, 200))


    def test_at_the_end(self) -> None:
        """What is answered while the service ends is the last on its connection."""
        site = JobpushSite(self.lab.resource, self.lab.clock)
        site.startFactory()
        self.addCleanup(site.stopFactory)
        transport = StringTransportWithDisconnection()
        channel: Any = site.buildProtocol(None)
        transport.protocol = channel
        channel.makeConnection(transport)
        channel.dataReceived(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        self.lab.clock.advance(0)
        self.assertEqual((b"Connection: close" in transport.value(), transport.connected), (False, True))
        transport.clear()
        self.lab.service.announce_end()
        channel.dataReceived(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        self.lab.clock.advance(0)
        self.assertEqual((b"Connection: close" in transport.value(), transport.connected), (True, False))


class NudgeTests(LabCase):
    """``POST /v1/nudge``."""

    def make_lab(self) -> Lab:
        return Lab(queues=2)

    def test_taken(self) -> None:
        """202, with whose scheduler is looked at, and at which jobs; without a body all of them are."""
        answer = self.lab.post("/v1/nudge", {"cluster": "memory", "jobs": ["1", "2"]})
        self.assertEqual((answer.status, answer.json()), (202, {"clusters": ["memory"], "jobs": ["1", "2"]}))
        self.assertEqual(self.lab.post("/v1/nudge", b"").json(), {"clusters": ["memory", "second"], "jobs": []})
        self.assertEqual(self.lab.service.nudges.counts["http"].taken, 2)

    def test_it_is_looked_at(self) -> None:
        """The scheduler that is named is asked before its interval is over; the other is not."""
        self.lab.clock.advance(0.5)
        before = [queue.queries for queue in self.lab.queues]
        self.lab.post("/v1/nudge", {"cluster": "second"})
        self.lab.clock.run(0.2)
        self.assertEqual(self.lab.queues[0].queries, before[0])
        self.assertGreater(self.lab.queues[1].queries, before[1])

    def test_refused(self) -> None:
        """400, says what is wrong with the body, and is counted."""
        for body, field in (
            (b"{", "body"), (b"[]", "body"), (b'{"cluster": "none"}', "cluster"), (b'{"jobs": ["1"]}', "cluster"),
            (b'{"cluster": "memory", "jobs": ["--help"]}', "jobs"), (b'{"x": 1}', "x"),
        ):  # fmt: skip
            answer = self.lab.post("/v1/nudge", body)
            self.assertEqual((answer.status, answer.json()["parameter"]), (400, field), body)
            self.assertIn(field, answer.json()["detail"], body)
        counts = self.lab.service.nudges.counts["http"]
        self.assertEqual((counts.refused, counts.taken), (6, 0))

    def test_too_many(self) -> None:
        """More than are read in a second are 429, with when to come back, and everything is looked at."""
        for _ in range(READ_PER_S):
            self.lab.service.nudges.readable("http")
        answer = self.lab.post("/v1/nudge", {"cluster": "memory"})
        self.assertEqual((answer.status, answer.header("retry-after")), (429, "1"))
        self.assertEqual(self.lab.service.nudges.counts["http"].unread, 1)
