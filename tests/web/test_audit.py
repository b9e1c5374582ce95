"""The lines on refusals of identity."""

from __future__ import annotations

import os
import socket
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from jobpush.web import audit
from jobpush.web.access import Policy
from jobpush.web.identity import Refused
from jobpush.web.problems import Problem, try_later
from tests.support import USER_HEADER, LabCase, Says


class Lines:
    """What is logged there while a test runs."""

    def __init__(self, case: SynchronousTestCase) -> None:
        self.events: list[Any] = []
        globalLogPublisher.addObserver(self._take)
        case.addCleanup(globalLogPublisher.removeObserver, self._take)

    def _take(self, event: Any) -> None:
        if event.get("log_namespace") == "jobpush.audit":
            self.events.append(event["log_format"].format(**event))


class LineTests(SynchronousTestCase):
    """`audit.refused`."""

    def line(self, problem: Problem, transport: Any, path: bytes = b"/v1/jobs") -> list[str]:
        lines = Lines(self)
        channel = type("Channel", (), {"transport": transport})
        request: Any = type("Request", (), {"channel": channel, "method": b"GET", "path": path})
        audit.refused(request, problem)
        return lines.events

    def test_who_where_why(self) -> None:
        """On one line, whatever a client says."""
        transport = type("Transport", (), {"getPeer": lambda self: IPv4Address("TCP", "192.0.2.1", 5)})()
        self.assertEqual(
            self.line(Refused(401, "no", who='ki\nm', why="it has expired"), transport),
            ["refused: ki\\nm from 192.0.2.1, GET /v1/jobs: 401 it has expired"],
        )
        (line,) = self.line(Refused(400, "two\r\n" + "x" * 1000), transport, b"/\n")
        self.assertLess(len(line), 400)
        self.assertIn("refused: nobody known from 192.0.2.1, GET /\\n: 400 two\\r\\nx", line)
        self.assertEqual(self.line(try_later("later"), transport), [])

    def test_on_a_socket(self) -> None:
        """The uid of the process."""
        ends = socket.socketpair()
        for end in ends:
            self.addCleanup(end.close)
        transport = type("Transport", (), {"socket": ends[0]})()
        self.assertIn(f"from uid {os.getuid()} on a unix socket, ", self.line(Refused(401, "no"), transport)[0])


class RequestTests(LabCase):
    """Refused requests."""

    def test_each(self) -> None:
        """Each refusal is a line; the credential is in none. What is answered is in none."""
        self.lab.serve(100, Policy(private=True), [Says()])
        lines = Lines(self)
        secret = "jp_0123456789abcdef"
        for headers, status in (({"authorization": f"Bearer {secret}"}, 401), ({}, 401), ({USER_HEADER: "wrong"}, 401), ({USER_HEADER: "kim"}, 200)):
            self.assertEqual(self.lab.request("GET", "/v1/jobs", headers=headers).status, status, headers)
        self.assertEqual(len(lines.events), 3, lines.events)
        self.assertNotIn(secret, "".join(lines.events))
        self.assertIn("nothing here reads this bearer token", lines.events[0])
