"""The ledger of the soak: which requests are counted as not answered as they must be."""

from __future__ import annotations

import json

import attrs
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from benchmarks.soak.__main__ import violated
from benchmarks.soak.clients import again, job_poll
from benchmarks.soak.http import Answer
from benchmarks.soak.ledger import GIVE_UP_S, Asked, Ledger, Question, Tally
from tests.service_process import ROOT

CAP, GRACE = 2, 5.0

TIMED_OUT = {"timed_out": True, "events": []}
CHANGED = {"timed_out": False, "events": [{"type": "job"}]}


def answer(fields: object, status: int = 200, **headers: str) -> Answer:
    return Answer(status, {name.replace("_", "-"): value for name, value in headers.items()}, json.dumps(fields).encode())


class LedgerTests(SynchronousTestCase):
    """A ledger with a clock that is stepped."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1000)
        self.ledger = Ledger(CAP, GRACE, self.clock.seconds)
        self.closed: list[str] = []

    def ask(self, job: str = "1", wait: float = 10.0, kind: str = "poll") -> Asked:
        return self.ledger.sent(job_poll(kind, job, "now", wait), lambda: self.closed.append(job))

    def tally(self, kind: str = "poll") -> dict[str, float]:
        """What is not 0."""
        return {name: value for name, value in attrs.asdict(self.ledger.tallies[kind]).items() if value}

    def answered(self, asked: Asked, given: Answer) -> None:
        self.ledger.unanswered.discard(asked)
        self.ledger.judge(asked, given)

    def test_time_out(self) -> None:
        """An answer at the end of its time is right; one with nothing before 15/16 of it is early."""
        right, early = self.ask(), self.ask()
        self.clock.advance(9.3)
        self.answered(early, answer(TIMED_OUT))
        self.clock.advance(0.2)
        self.answered(right, answer(TIMED_OUT))
        self.assertEqual(self.tally(), {"asked": 2, "timed_out": 2, "early": 1})
        self.assertIn("poll, early", self.ledger.first)

    def test_change(self) -> None:
        """A change of its job is answered before the end of its time."""
        asked = self.ask()
        self.clock.advance(3)
        self.ledger.happened({"1": "SUSPENDED"})
        self.clock.advance(0.25)
        self.answered(asked, answer(CHANGED))
        self.assertEqual(self.tally(), {"asked": 1, "answered": 1, "most_s": 0.25})

    def test_late(self) -> None:
        """What is not answered when the grace is over is late, once, and then it is given up and its connection closed."""
        asked = self.ask()
        self.clock.advance(10 + GRACE)
        self.ledger.look()
        self.assertEqual(self.tally(), {"asked": 1})
        for _ in range(2):
            self.clock.advance(0.25)
            self.ledger.look()
        self.assertEqual((self.tally(), self.closed), ({"asked": 1, "late": 1}, []))
        self.clock.advance(GIVE_UP_S)
        self.ledger.look()
        self.assertEqual((self.tally(), self.closed), ({"asked": 1, "late": 1, "never": 1}, ["1"]))
        self.ledger.cut(asked)
        self.assertEqual((self.ledger.faults, self.ledger.unanswered), (1, set()), "its end is no fault of its own")

    def test_late_after_a_change(self) -> None:
        """After a change of its job an answer is due at once, after one of another job it is not."""
        self.ask("1", 600), self.ask("2", 600)
        self.clock.advance(3)
        self.ledger.happened({"1": "SUSPENDED", "3": "RUNNING"})
        self.clock.advance(GRACE + 0.1)
        self.ledger.look()
        self.assertEqual(self.tally(), {"asked": 2, "late": 1})

    def test_any_change(self) -> None:
        """Who waits for any job is answered at each change."""
        self.ledger.sent(Question("changes", "/v1/changes", 60, None), lambda: None)
        self.ledger.happened({"7": "SUSPENDED"})
        self.clock.advance(GRACE + 0.1)
        self.ledger.look()
        self.assertEqual(self.tally("changes"), {"asked": 1, "late": 1})

    def test_refused(self) -> None:
        """503 is right when as many requests were unanswered in the last seconds as may be held, and wrong otherwise."""
        self.answered(self.ask(), answer({}, 503, retry_after="2"))
        self.assertEqual(self.tally(), {"asked": 1, "wrong": 1})
        some = [self.ask() for _ in range(CAP + 1)]
        for asked in some[:-1]:
            self.answered(asked, answer(CHANGED))
        self.clock.advance(2)
        self.answered(some[-1], answer({}, 503, retry_after="2"))
        self.assertEqual(self.tally(), {"asked": 4, "answered": 2, "refused": 1, "wrong": 1})
        self.clock.advance(10)
        self.answered(self.ask(), answer({}, 503, retry_after="2"))
        self.assertEqual(self.ledger.faults, 2)

    def test_errors(self) -> None:
        """An error, an answer without an event and a connection that is closed are wrong."""
        self.answered(self.ask(), answer({}, 500))
        self.answered(self.ask(), answer({"timed_out": False, "events": []}))
        self.ledger.cut(self.ask())
        self.assertEqual(self.ledger.faults, 3)
        self.assertEqual(list(self.ledger.first), ["poll, wrong"])

    def test_jobstatus(self) -> None:
        """The call of 2010 says in a header that its time is up."""
        asked = self.ask(wait=4, kind="jobstatus")
        self.clock.advance(4)
        self.answered(asked, answer(None, jobpush_timed_out="1"))
        self.answered(self.ask(kind="jobstatus"), answer({"id": "1"}))
        self.assertEqual(self.tally("jobstatus"), {"asked": 2, "timed_out": 1, "answered": 1})

    def test_streams(self) -> None:
        """An open stream brings each change in time; what it does not bring is late."""
        stream = self.ledger.sent(Question("stream", "/v1/events", 0.0, None), lambda: None)
        stream.due = None
        self.ledger.happened({"1": "SUSPENDED", "2": "RUNNING"})
        self.clock.advance(0.5)
        self.ledger.told(stream, "1", "SUSPENDED")
        self.ledger.told(stream, "9", "RUNNING")
        self.clock.advance(GRACE)
        self.ledger.look()
        self.assertEqual(self.tally("stream"), {"asked": 1, "answered": 1, "late": 1, "never": 1, "most_s": 0.5})
        self.assertIn("2 RUNNING was not told", self.ledger.first["stream, late"])

    def test_no_faults(self) -> None:
        """Nothing is counted as a fault but what is late, early or wrong."""
        self.assertEqual(Tally(asked=9, answered=4, timed_out=2, refused=1, left=2, most_s=1.0).faults, 0)
        self.assertEqual(Tally(late=1, never=1, early=1, wrong=1).faults, 3)


class QuestionTests(SynchronousTestCase):
    """What clients ask."""

    def test_again(self) -> None:
        """The same question from another cursor on."""
        self.assertEqual(again("/v1/jobs/mock/1?since=now&wait=5", "e-7"), "/v1/jobs/mock/1?since=e-7&wait=5")
        self.assertEqual(again("/jobstatus?jobId=1&since=e-7&timeout=5", "e-9"), "/jobstatus?jobId=1&since=e-9&timeout=5")


class InvariantTests(SynchronousTestCase):
    """What the service's log tells of itself."""

    def test_violations(self) -> None:
        """Each line that tells of a violated invariant, as the service words it, is a fault; no other line is."""
        source = (ROOT / "jobpush" / "web" / "__init__.py").read_text()
        words = "an invariant of held requests is violated"
        self.assertIn(f'"{words}: {{violation}}"', source)
        log = f"2026-11-26 [web] GET /\n2026-11-26 [error] {words}: 2 requests are held, 3 are in groups\n"
        self.assertEqual(violated(log), [log.splitlines()[1]])
        self.assertEqual(violated("all is well\n"), [])
