"""What comes of a question that is answered with events: an answer, a hold, or a look into the journal."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred

from jobpush.core.filters import ALL, EVERYTHING, OfSubject, Visibility
from jobpush.events.journal import Retention
from jobpush.events.reader import Page
from jobpush.events.tracker import Wake
from jobpush.web.held.questions import Hold, Later, Outcome, Ready
from jobpush.web.problems import Problem
from jobpush.web.responses import Response
from jobpush.web.routes.common import Poll, Polls
from tests.support import Lab, LabCase


class PollCase(LabCase):
    """A lab whose memory holds a few events, and whose journal holds eight."""

    def make_lab(self) -> Lab:
        return Lab(tail=3, retention=Retention(events=8))

    def setUp(self) -> None:
        super().setUp()
        self.polls = Polls(self.lab.service)
        for state in ("RUNNING", "SUSPENDED", "RUNNING"):
            self.lab.set("1", state)
        self.head = self.lab.service.feed.head

    def ask(self, since: int, wait: float = 60.0, **more: Any) -> Outcome:
        """What comes of a question on all events after that number."""
        fields: dict[str, Any] = {
            "key": ("all",), "selection": EVERYTHING, "limit": 100, "enough": None, "asked": wait > 0, "wait": wait,
            "answer": self.answer, "deadline": self.lab.clock.seconds() + wait, **more,
        }  # fmt: skip
        return self.polls.after(Poll(**fields), since)

    @staticmethod
    def answer(page: Page) -> Response:
        """An answer that tells what is in it."""
        return Response(200, (), repr(([event.seq for event in page.events], page.seq, page.more, page.timed_out)).encode())

    def made(self, outcome: Outcome) -> Any:
        """What an outcome that is ready says."""
        assert isinstance(outcome, Ready), outcome
        response = outcome.render()
        assert isinstance(response, Response)
        return eval(response.body.decode(), {})

    def found(self, outcome: Outcome) -> Any:
        """What is found of one that must be looked for."""
        assert isinstance(outcome, Later), outcome
        return Deferred.fromCoroutine(outcome.find())


class AfterTests(PollCase):
    """`Polls.after`."""

    def test_news(self) -> None:
        """What has happened since is answered at once, up to the limit."""
        self.assertEqual(self.made(self.ask(self.head - 2)), ([self.head - 1, self.head], self.head, False, False))
        self.assertEqual(self.made(self.ask(self.head - 2, limit=1)), ([self.head - 1], self.head - 1, True, False))

    def test_none(self) -> None:
        """Where nothing has happened, who will not wait is answered at once, and is not told that time was up."""
        self.assertEqual(self.made(self.ask(self.head, wait=0)), ([], self.head, False, False))
        late = self.ask(self.head, deadline=self.lab.clock.seconds(), asked=True)
        self.assertEqual(self.made(late), ([], self.head, False, True))

    def test_held(self) -> None:
        """Else it is held, from the head on, for what it asked, and up to its deadline."""
        hold = self.ask(self.head, wait=30.0)
        assert isinstance(hold, Hold)
        self.assertEqual((hold.since, hold.deadline - self.lab.clock.seconds(), hold.wait), (self.head, 30.0, 30.0))
        assert hold.watch is not None
        self.assertIs(hold.watch.selection, EVERYTHING)
        timed_out = hold.render(Wake((), self.head + 5, timed_out=True))
        assert isinstance(timed_out, Response)
        self.assertEqual(timed_out.body, repr(([], self.head + 5, False, True)).encode())

    def test_alike(self) -> None:
        """
        Those that wait for what comes after the head wait for the same, wherever it is; those that gather do so from where they
        began, and what was asked at another moment is not the same.
        """
        first, again = self.ask(self.head), self.ask(self.head)
        gathers = self.ask(self.head, enough=lambda event: False)
        self.lab.set("2", "RUNNING")
        later, gathers_later = self.ask(self.lab.service.feed.head), self.ask(self.lab.service.feed.head, enough=lambda event: False)
        holds = [first, again, later, gathers, gathers_later]
        assert all(isinstance(hold, Hold) for hold in holds)
        keys = [hold.key for hold in holds if isinstance(hold, Hold)]
        self.assertEqual((keys[0], keys[0]), (keys[1], keys[2]))
        self.assertEqual(len({keys[0], keys[3], keys[4]}), 3)

    def test_enough(self) -> None:
        """What was seen before is a part of the answer, but it is held until one event is enough."""
        hold = self.ask(self.head - 2, enough=lambda event: event.seq > self.head)
        assert isinstance(hold, Hold)
        assert hold.watch is not None
        self.assertEqual([event.seq for event in hold.watch.gathered], [self.head - 1, self.head])
        self.assertIsNone(hold.wait, "it is not the same question at the same moment")
        self.lab.set("1", "COMPLETED")
        news = self.lab.service.feed.recent(EVERYTHING, self.head, 10, None)
        assert isinstance(news, Page)
        self.assertTrue(hold.watch.take(news.events))
        self.assertEqual([event.seq for event in hold.watch.gathered], [self.head - 1, self.head, self.head + 1])
        self.assertEqual(self.made(self.ask(self.head - 1, enough=lambda event: event.seq == self.head))[0], [self.head, self.head + 1])

    def test_older(self) -> None:
        """What memory has no more is read from the journal."""
        for state in ("SUSPENDED", "RUNNING") * 2:
            self.lab.set("1", state)
        outcome = self.successResultOf(self.found(self.ask(0)))
        self.assertEqual(self.made(outcome), (list(range(1, 9)), 8, False, False))

    def test_gone(self) -> None:
        """What the journal has no more is 410, with where to begin anew."""
        for state in ("SUSPENDED", "RUNNING") * 4:
            self.lab.set("1", state)
        outcome = self.ask(1)
        problem = self.failureResultOf(self.found(outcome), Problem).value
        self.assertEqual((problem.status, problem.fields["snapshot_url"]), (410, "/v1/jobs"))

    def test_others(self) -> None:
        """Events that do not concern it move its place and are not told."""
        key = OfSubject(("memory", "2"))
        self.assertEqual(self.made(self.ask(self.head - 2, wait=0, selection=key)), ([], self.head, False, False))


class JobsTests(PollCase):
    """Finding jobs."""

    def test_known(self) -> None:
        """A job of the table, with its record; None for one that nobody has seen."""
        found = self.polls.known(("memory", "1"))
        assert found is not None
        self.assertEqual((found[0].state, found[1].job), ("RUNNING", found[0]))
        self.assertIsNone(self.polls.known(("memory", "77")))

    def test_remembered(self) -> None:
        """A job that only the journal knows is as its last event told it."""
        self.lab.service.table.cluster("memory").forget("1")
        self.assertIsNone(self.polls.known(("memory", "1")))
        found = self.successResultOf(Deferred.fromCoroutine(self.polls.remembered(("memory", "1"), ALL)))
        assert found is not None
        self.assertEqual((found[0].state, found[1].last_seq, [step.state for step in found[1].history]), ("RUNNING", self.head, ["RUNNING"]))
        self.assertIsNone(self.successResultOf(Deferred.fromCoroutine(self.polls.remembered(("memory", "77"), ALL))))
        other = Deferred.fromCoroutine(self.polls.remembered(("memory", "1"), Visibility("somebody")))
        self.assertIsNone(self.successResultOf(other))
