"""The last events of jobs that are in no table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from jobpush.core.model import JobKey
from jobpush.events import last_events
from jobpush.events.interfaces import JournalError
from jobpush.events.last_events import LastEvents
from jobpush.runtime.cooperate import Cooperator

ONE: list[JobKey] = [("a", "1")]
TWO: list[JobKey] = [("a", "1"), ("a", "2")]


class Journal:
    """Answers when the test says."""

    def __init__(self) -> None:
        self.asked: list[tuple[list[JobKey], int]] = []
        self.users: list[str | None] = []
        self.answers: list[Deferred[Any]] = []
        self.at_once: Any = None

    def last_of(self, keys: Sequence[JobKey], upto: int, user: str | None) -> Deferred[Any]:
        self.asked.append((list(keys), upto))
        self.users.append(user)
        self.answers.append(Deferred() if self.at_once is None else succeed(self.at_once))
        return self.answers[-1]


class LastEventsTests(SynchronousTestCase):
    """`LastEvents`."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.journal = Journal()
        self.events = LastEvents(Cooperator(self.clock), self.journal)  # type: ignore[arg-type]

    def ask(self, keys: Sequence[JobKey] = ONE, head: int = 7, user: str | None = None) -> Deferred[Any]:
        """What is asked for."""
        return Deferred.fromCoroutine(self.events.of(keys, head, user))

    def test_shared(self) -> None:
        """Who asks alike shares the reading; the first is answered at once, the others in turns."""
        asking = [self.ask() for _ in range(5)]
        self.assertEqual(self.journal.asked, [(ONE, 7)])
        self.journal.answers[0].callback({})
        self.assertEqual(self.successResultOf(asking[0]), {})
        self.assertNoResult(asking[1])
        self.clock.advance(0)
        self.assertEqual([self.successResultOf(each) for each in asking[1:]], [{}] * 4)

    def test_kept(self) -> None:
        """What was found of one job is told again until there is another event; of so many jobs."""
        self.journal.at_once = {}
        for _ in range(3):
            self.assertEqual(self.successResultOf(self.ask()), {})
        self.assertEqual(self.journal.asked, [(ONE, 7)])
        self.successResultOf(self.ask(head=8))
        self.assertEqual(self.journal.asked, [(ONE, 7), (ONE, 8)])
        self.patch(last_events, "MOST_KEPT", 2)
        for number in (2, 3, 3, 1):
            self.successResultOf(self.ask([("a", str(number))], 8))
        self.assertEqual([keys[0][1] for keys, _ in self.journal.asked[2:]], ["2", "3", "1"])

    def test_users(self) -> None:
        """What one may see says nothing of what another may."""
        asking = [self.ask(user=user) for user in ("kim", "lee", None, "kim")]
        self.assertEqual(self.journal.users, ["kim", "lee", None])
        for answer, found in zip(self.journal.answers, ("of kim", "of lee", "of all"), strict=True):
            answer.callback({ONE[0]: found})
        self.clock.advance(0)
        self.assertEqual([self.successResultOf(each)[ONE[0]] for each in asking], ["of kim", "of lee", "of all", "of kim"])
        self.assertEqual(self.successResultOf(self.ask(user="lee"))[ONE[0]], "of lee")

    def test_several(self) -> None:
        """What was found of several jobs is not kept."""
        self.journal.at_once = {}
        for _ in range(2):
            self.successResultOf(self.ask(TWO))
        self.assertEqual(len(self.journal.asked), 2)

    def test_other_head(self) -> None:
        """Who asks after another event does not get what was asked before it."""
        before, after = self.ask(), self.ask(head=8)
        self.assertEqual(self.journal.asked, [(ONE, 7), (ONE, 8)])
        self.journal.answers[0].callback({ONE[0]: "old"})
        self.assertEqual(self.successResultOf(before), {ONE[0]: "old"})
        self.assertNoResult(after)
        self.journal.answers[1].callback({ONE[0]: "new"})
        self.assertEqual(self.successResultOf(after), {ONE[0]: "new"})
        self.assertEqual(self.successResultOf(self.ask(head=8)), {ONE[0]: "new"})

    def test_cancelled(self) -> None:
        """Who leaves, the first too, takes nothing from the others; also while they are being answered."""
        asking = [self.ask() for _ in range(4)]
        for each in (asking[0], asking[2]):
            each.cancel()
            self.failureResultOf(each, CancelledError)
        self.journal.answers[0].callback({})
        asking[3].cancel()
        self.failureResultOf(asking[3], CancelledError)
        self.clock.advance(0)
        self.assertEqual(self.successResultOf(asking[1]), {})

    def test_fails(self) -> None:
        """All who have asked are told; the next one asks again."""
        asking = [self.ask() for _ in range(3)]
        self.journal.answers[0].errback(JournalError("damaged"))
        self.clock.advance(0)
        for each in asking:
            self.failureResultOf(each, JournalError)
        self.ask()
        self.assertEqual(len(self.journal.asked), 2)
