"""From a request to its response, by the ordinary way: at once, held, found out later, and where that fails."""

from __future__ import annotations

from jobpush.web.site import JobpushSite
from tests.support import LabCase


def speak(site: JobpushSite, data: bytes) -> bytes:
    """What a site answers on one connection without a network."""
    from twisted.internet.testing import StringTransport

    site.startFactory()
    transport = StringTransport()
    channel = site.buildProtocol(None)
    assert channel is not None
    channel.makeConnection(transport)
    channel.dataReceived(data)
    from twisted.internet.error import ConnectionDone
    from twisted.python.failure import Failure

    value = transport.value()
    channel.connectionLost(Failure(ConnectionDone()))
    site.stopFactory()
    return value


class FaultTests(LabCase):
    """Faults of the service's own."""

    def test_fault_of_ours(self) -> None:
        """500 as a problem; the traceback is in the log, not in the answer."""
        self.lab.service.monitors["memory"].queue = None  # type: ignore[assignment]
        self.addCleanup(setattr, self.lab.service.monitors["memory"], "queue", self.lab.queue)
        site = JobpushSite(self.lab.resource, self.lab.clock)
        received = speak(site, b"GET /v1/jobs/memory/1 HTTP/1.1\r\nHost: x\r\n\r\n")
        self.assertIn(b"500 Internal Server Error", received)
        self.assertIn(b"application/problem+json", received)
        self.assertNotIn(b"Traceback", received)
        self.assertEqual(len(self.flushLoggedErrors(AttributeError)), 1)
