"""From a request to its response, by the ordinary way: at once, held, found out later, and where that fails."""

from __future__ import annotations

from typing import Any

from jobpush.web.answering import Routes
from jobpush.web.held.questions import Question, Ready
from jobpush.web.params import VALUE_BYTES
from jobpush.web.problems import Problem
from jobpush.web.responses import Response
from jobpush.web.site import JobpushSite
from tests.support import Lab, LabCase


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
        received = speak(site, b"GET /v1/jobs/memory/1 HTTP/1.1\r\nHost: localhost\r\n\r\n")
        self.assertIn(b"500 Internal Server Error", received)
        self.assertIn(b"application/problem+json", received)
        self.assertNotIn(b"Traceback", received)
        self.assertEqual(len(self.flushLoggedErrors(AttributeError)), 1)


class RoutesTests(LabCase):
    """`Routes`."""

    def ask(self, route: Any) -> Response:
        """What a route's outcome renders."""
        outcome = Routes({"r": route}).ask(Question("r", ("a",), {"x": ["1"]}, 5.0))
        assert isinstance(outcome, Ready)
        response = outcome.render()
        assert isinstance(response, Response)
        return response

    def test_asked(self) -> None:
        """The route is given the whole question."""
        asked: list[Question] = []

        def route(question: Question) -> Ready:
            asked.append(question)
            return Ready(lambda: Response(200, (), b"x"))

        self.assertEqual(self.ask(route).body, b"x")
        self.assertEqual((asked[0].arguments, asked[0].parameters, asked[0].came_at), (("a",), {"x": ["1"]}, 5.0))

    def test_a_problem(self) -> None:
        """What is wrong with a question is its response, the same for each time that it is rendered."""

        def route(question: Question) -> Ready:
            raise Problem(410, "gone", "since")

        self.assertEqual(self.ask(route).body, Problem(410, "gone", "since").body())

    def test_a_fault(self) -> None:
        """A fault is logged, and is 500 without a word of what it was."""
        response = self.ask(lambda question: {}["secret"])
        self.assertEqual(len(self.flushLoggedErrors(KeyError)), 1)
        self.assertEqual(response.status, 500)
        self.assertNotIn(b"secret", response.body)


class AnsweringTests(LabCase):
    """`Answering`."""

    def make_lab(self) -> Lab:
        return Lab(tail=2, max_held=2)

    def test_later(self) -> None:
        """What must be read from the journal first is answered when it has been read; what comes meanwhile is not lost."""
        for state in ("RUNNING", "SUSPENDED") * 4:
            self.lab.set("1", state)
        self.lab.threads.hold("write")  # a journal in memory is read on the writer's thread
        answer = self.lab.get("/v1/changes?since=0&wait=60")
        self.assertTrue(answer.held)
        self.assertTrue(self.lab.service.busy)
        self.lab.threads.release()
        self.assertEqual([event["seq"] for event in answer.json()["events"]], list(range(1, 10)))
        self.assertFalse(self.lab.service.busy)

    def test_later_and_then_held(self) -> None:
        """What was read may be no answer yet: then it is held, up to the time that was asked for."""
        cursor = self.lab.cursor
        for state in ("RUNNING", "SUSPENDED") * 4:
            self.lab.set("1", state)
        answer = self.lab.get(f"/v1/jobs/memory/1?since={cursor}&until=terminal&wait=60")
        self.assertEqual((answer.held, self.lab.registry.held), (True, 1))
        self.lab.set("1", "COMPLETED")
        self.assertEqual(len(answer.json()["events"]), 9)

    def test_the_end(self) -> None:
        """Once the service ends nobody is held: the answer says so at once, and when to come back."""
        self.lab.service.announce_end()
        for path in ("/v1/changes?since=now&wait=60", "/v1/jobs/memory/1?until=terminal&wait=60", "/v1/wait?job=1&wait=60"):
            answer = self.lab.get(path)
            self.assertFalse(answer.held, path)
            self.assertEqual((answer.status, answer.json()["timed_out"]), (200, True), path)
            self.assertIn(answer.header("retry-after"), tuple("12345"))
        self.assertEqual(self.lab.registry.held, 0)

    def test_the_end_and_what_was_gathered(self) -> None:
        """Events that would have been a part of the answer are told then."""
        cursor = self.lab.cursor
        self.lab.set("1", "RUNNING")
        self.lab.service.announce_end()
        answer = self.lab.get(f"/v1/jobs/memory/1?since={cursor}&until=terminal&wait=60")
        self.assertEqual([event["job"]["state"] for event in answer.json()["events"]], ["RUNNING"])

    def test_the_limit(self) -> None:
        """One more than may be held is 503; what need not be held is answered."""
        for _ in range(2):
            self.assertTrue(self.lab.get("/v1/changes?since=now&wait=60").held)
        self.assertEqual(self.lab.get("/v1/changes?since=now&wait=60").status, 503)
        self.assertEqual(self.lab.get("/v1/changes?since=now&wait=0").status, 200)

    def test_deadlines_begin_with_the_question(self) -> None:
        """The time for which it is held begins when it came, also where something had to be found out first."""
        for state in ("RUNNING", "SUSPENDED") * 4:
            self.lab.set("1", state)
        cursor = f"{self.lab.service.feed.epochs.current}-1"
        self.lab.threads.hold("write")
        answer = self.lab.get(f"/v1/jobs/memory/1?since={cursor}&until=terminal&wait=10")
        self.lab.clock.advance(8)
        self.lab.threads.release()
        self.assertTrue(answer.held)
        self.lab.clock.advance(2)
        self.assertTrue(answer.json()["timed_out"])

    def test_size(self) -> None:
        """What a held question takes up is its values, with the objects that they become."""
        self.lab.get("/v1/changes?since=now&wait=60")
        size = self.lab.registry.size()
        self.lab.get("/v1/changes?since=now&wait=60&user=" + "k" * 100)
        self.assertEqual(self.lab.registry.size() - size, size + VALUE_BYTES + 100)
