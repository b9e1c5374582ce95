"""`jobpush.web.resource`: what can be asked of it."""

from __future__ import annotations

from treq.testing import StubTreq
from twisted.logger import LogLevel, capturedLogs, formatEvent

from jobpush.web import CHECK_S, resource
from tests.support import LabCase


class ResourceTests(LabCase):
    """Its options."""

    def test_limit(self) -> None:
        """As many requests may be held as was asked for; else as many as the limit of open files leaves room for."""
        self.lab.serve(max_held=1)
        self.assertTrue(self.lab.get("/v1/changes?since=now&wait=60").held)
        self.assertEqual(self.lab.get("/v1/changes?since=now&wait=60").status, 503)
        self.assertGreaterEqual(resource(self.lab.service).registry.limit, 16)

    def test_invariants(self) -> None:
        """Where that is asked for, what is violated is logged as an error each second, and only then."""
        api = resource(self.lab.service, max_held=10, debug_invariants=True)
        self.lab.treq = StubTreq(api)
        self.assertTrue(self.lab.get("/v1/changes?since=now&wait=600").held)
        with capturedLogs() as logged:
            self.lab.clock.pump([CHECK_S / 2] * 8)
        self.assertEqual([event for event in logged if event["log_level"] >= LogLevel.warn], [])
        (member,) = api.registry.of("")
        api.registry.wheel.clear(member)
        with capturedLogs() as logged:
            self.lab.clock.pump([CHECK_S / 2] * 4)
        texts = [formatEvent(event) for event in logged if event["log_level"] is LogLevel.error]
        self.assertEqual(texts, ["an invariant of held requests is violated: a held request has no deadline"] * 2)

    def test_two(self) -> None:
        """A service may have several: it is busy as long as one of them is, and its end answers the requests of all."""
        other = StubTreq(resource(self.lab.service, max_held=10))
        first = self.lab.get("/v1/changes?since=now&wait=60")
        self.lab.treq = other
        second = self.lab.get("/v1/changes?since=now&wait=60")
        self.lab.service.announce_end()
        self.assertEqual((second.json()["timed_out"], second.status), (True, 200))
        self.assertTrue(first.deferred.called or not first.held)
