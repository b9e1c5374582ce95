"""The tracker: who is claimed, answered, disconnected; and that answers go out in slices."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import CancelledError
from twisted.trial.unittest import SynchronousTestCase

from jobpush.core.filters import EVERYTHING, OfSubject, Selection
from jobpush.core.model import Phase
from jobpush.core.record import Change
from jobpush.core.wire import number
from jobpush.core.workflow import Workflow
from jobpush.events.instruments import Instruments
from jobpush.events.tracker import JobStatusTracker
from jobpush.runtime.cooperate import Cooperator
from jobpush.web.held import response_group
from tests.core.world import job
from tests.support import NOW, LabCase, ManualClock


class Turns:
    """In place of the cooperator: keeps what is to be done later for the test to do."""

    def __init__(self) -> None:
        self.work: list[Any] = []

    def soon(self, work: Any) -> None:
        self.work.append(work)


class ClaimTests(LabCase):
    """Between a waiter's claim and its answer."""

    def setUp(self) -> None:
        super().setUp()
        self.patch(response_group, "AT_ONCE", 1)
        self.held = [self.lab.get("/v1/jobs/memory/1?since=now&wait=30") for _ in range(3)]
        self.turns = Turns()
        self.lab.service.tracker.cooperator = self.lab.registry.cooperator = self.turns  # type: ignore[assignment]
        self.lab.queue.set("1", "RUNNING")
        self.lab.tick()
        assert self.turns.work, "the waiters are claimed"
        assert self.answered() == 0

    def answered(self) -> int:
        return sum(bool(held._answers) for held in self.held)

    def turn(self) -> None:
        """One turn of answers."""
        self.turns.work.pop(0)()
        self.lab.treq.flush()

    def settle(self) -> None:
        while self.turns.work:
            self.turn()

    def test_in_slices(self) -> None:
        """One answer a turn here; other work runs between."""
        counts = []
        while self.turns.work:
            self.turn()
            counts.append(self.answered())
        self.assertEqual(counts, [1, 2, 3])

    def test_a_claimed_waiter_does_not_time_out(self) -> None:
        """Its time is up before its answer goes out: it is answered with what it was claimed for."""
        self.lab.clock.advance(31)
        self.settle()
        for held in self.held:
            self.assertFalse(held.json()["timed_out"])
            self.assertEqual([e["seq"] for e in held.json()["events"]], [2])

    def test_disconnect(self) -> None:
        """A client that leaves then leaves nothing behind; the others are answered."""
        self.held[2].cancel()
        self.settle()
        self.assertEqual([bool(held._answers) for held in self.held], [True, True, False])
        self.assertEqual(self.lab.registry.held, 0)
        self.assertTrue(self.lab.service.tracker.idle)

    def test_shutdown(self) -> None:
        """The service's end answers it with what it was claimed for."""
        self.lab.service.announce_end()
        self.settle()
        for held in self.held:
            self.assertEqual([e["seq"] for e in held.json()["events"]], [2])
            self.assertFalse(held.json()["timed_out"])

    def test_more_events_meanwhile(self) -> None:
        """What comes after the claim is not in the answer, and not lost: it is after the answer's cursor."""
        self.lab.queue.set("1", "SUSPENDED")
        self.lab.tick()
        self.settle()
        for held in self.held:
            self.assertEqual(held.json()["cursor"].rpartition("-")[2], "2")
            self.assertEqual(held.json()["job"]["state"], "RUNNING", "the state does not run ahead of the cursor")
            self.assertEqual([h["state"] for h in held.json()["history"]], ["QUEUED", "RUNNING"])
            self.assertEqual(held.header("etag"), f'W/"{held.json()["cursor"]}"')
            later = self.lab.get(f"/v1/jobs/memory/1?since={held.json()['cursor']}&wait=0").json()
            self.assertEqual([e["seq"] for e in later["events"]], [3])


class WaitingTests(SynchronousTestCase):
    """`JobStatusTracker`, by itself: who hears of which event."""

    def setUp(self) -> None:
        self.clock = ManualClock()
        self.instruments = Instruments()
        self.of: dict[str, tuple[str, ...]] = {}
        self.seq = 0
        self.tracker = JobStatusTracker(
            self.clock, Cooperator(self.clock), lambda: self.seq, lambda subject: self.of.get(subject.key[1], (subject.key[1],)), self.instruments
        )

    def event(self, job_id: str, state: str = "RUNNING", **fields: Any) -> Any:
        """The next event, of a job; or of a workflow, if that is given instead of an id."""
        self.seq += 1
        if job_id.startswith("w"):
            return number("e", self.seq, Change(Workflow(job_id, Phase(state), found=True), None, NOW))
        return number("e", self.seq, Change(job(job_id, state, **fields), None, NOW))

    def publish(self, *events: Any) -> None:
        self.tracker.publish(events)

    def tell(self, *events: Any) -> None:
        self.publish(*events)
        self.clock.advance(0)

    def heard(self, selection: Selection, *events: Any) -> list[int]:
        """The numbers of those of these events that a waiter with that selection gets, each once."""
        found = self.tracker.wait(selection, 0, 60.0, enough=lambda event: False)
        self.publish(*events)
        told: list[Any] = []
        found.addCallback(told.append)
        self.tracker.publish([])
        self.clock.advance(61)
        self.clock.advance(2)
        (wake,) = told
        return [event.seq for event in wake.events]

    def test_by_key(self) -> None:
        """Jobs that are named, and the tasks of arrays that are; not their neighbours. A task that is named beside its array comes once."""
        names = lambda *ids: Selection(keys=frozenset(("c", job_id) for job_id in ids))  # noqa: E731
        for selection, expected in ((names("1"), ["1"]), (names("7"), ["7", "7_1", "7_2"]), (names("7_1"), ["7_1"]), (names("7", "7_1"), ["7", "7_1", "7_2"])):
            events = [self.event(job_id) for job_id in ("1", "2", "7", "7_1", "7_2", "71", "w1@kim")]
            numbers = {event.seq: event.key[1] for event in events}
            self.assertEqual([numbers[seq] for seq in self.heard(selection, *events)], expected)
        self.assertEqual(self.heard(Selection(keys=frozenset()), self.event("1")), [], "nothing is named")
        self.assertTrue(self.tracker.idle)

    def test_by_workflow(self) -> None:
        """The workflow's own events and its jobs', each once, of however many workflows they are."""
        self.of = {"1": ("w1@kim",), "2": ("w1@kim", "w2@kim"), "3": ("w3@kim",)}
        for names, expected in ((("w1@kim",), ["1", "2", "w1@kim"]), (("w1@kim", "w2@kim"), ["1", "2", "w1@kim", "w2@kim"]), (("w9@kim",), [])):
            selection = Selection(workflows=frozenset(names), workflows_of=lambda subject: self.of.get(subject.key[1], (subject.key[1],)))
            events = [self.event(job_id) for job_id in ("1", "2", "3", "4", "w1@kim", "w2@kim")]
            numbers = {event.seq: event.key[1] for event in events}
            self.assertEqual([numbers[seq] for seq in self.heard(selection, *events)], expected)
        self.assertTrue(self.tracker.idle)

    def test_by_user(self) -> None:
        """The users' jobs and workflows, and not those of nobody."""
        for users, expected in ((("kim",), ["1", "w1@kim"]), (("kim", "lee"), ["1", "2", "w1@kim"]), (("ada",), [])):
            events = [self.event("1", user="kim"), self.event("2", user="lee"), self.event("3"), self.event("w1@kim"), self.event("w2")]
            numbers = {event.seq: event.key[1] for event in events}
            self.assertEqual([numbers[seq] for seq in self.heard(Selection(users=frozenset(users)), *events)], expected)
        self.assertTrue(self.tracker.idle)

    def test_by_something_else(self) -> None:
        """What no index knows is asked of each event."""
        for selection, expected in ((EVERYTHING, ["1", "2", "w1@kim"]), (Selection(states=frozenset({"RUNNING"})), ["2", "w1@kim"]), (Selection(clusters=frozenset({"d"})), [])):
            events = [self.event("1", "QUEUED"), self.event("2"), self.event("w1@kim")]
            numbers = {event.seq: event.key[1] for event in events}
            self.assertEqual([numbers[seq] for seq in self.heard(selection, *events)], expected)
        self.assertTrue(self.tracker.idle)

    def test_news(self) -> None:
        """Only what comes after the waiter's number."""
        self.seq = 5
        old = self.event("1")
        waiting = self.tracker.wait(EVERYTHING, 6, 60.0)
        self.tell(old)
        self.assertNoResult(waiting)
        self.tell(self.event("1"))
        wake = self.successResultOf(waiting)
        self.assertEqual(([event.seq for event in wake.events], wake.head, wake.timed_out, wake.closing), ([7], 7, False, False))
        self.assertEqual((self.tracker.waiting, self.tracker.idle), (0, True))

    def test_enough(self) -> None:
        """Events are gathered until one of a batch is enough, wherever in it; all of the batch is told."""
        waiting = self.tracker.wait(EVERYTHING, 0, 60.0, enough=lambda event: event.job.terminal)
        self.tell(self.event("1"))
        self.tell(self.event("1", "SUSPENDED"))
        self.assertNoResult(waiting)
        self.assertEqual(self.tracker.waiting, 1)
        self.tell(self.event("1", "FAILED"), self.event("2"))
        self.assertEqual([event.seq for event in self.successResultOf(waiting).events], [1, 2, 3, 4])
        first = self.tracker.wait(EVERYTHING, 4, 60.0, enough=lambda event: event.job.terminal)
        self.tell(self.event("3", "QUEUED"), self.event("3", "FAILED"))
        self.assertEqual(len(self.successResultOf(first).events), 2)

    def test_time_is_up(self) -> None:
        """With what was gathered, and the head; not before."""
        waiting = self.tracker.wait(EVERYTHING, 0, 60.0, enough=lambda event: False)
        self.tell(self.event("1"))
        self.clock.advance(59.9)
        self.assertNoResult(waiting)
        self.clock.advance(2.0)
        wake = self.successResultOf(waiting)
        self.assertEqual(([event.seq for event in wake.events], wake.head, wake.timed_out, wake.closing), ([1], 1, True, False))
        self.assertEqual((self.tracker.waiting, self.tracker.idle, self.clock.getDelayedCalls()), (0, True, []))
        self.tell(self.event("1"))

    def test_cancelled(self) -> None:
        """Nothing is left of it, and nothing is told."""
        for selection in (EVERYTHING, OfSubject(("c", "1")), Selection(users=frozenset({"kim"})), Selection(workflows=frozenset({"w"}))):
            waiting = self.tracker.wait(selection, 0, 60.0)
            self.assertEqual((self.tracker.waiting, self.tracker.idle), (1, False))
            waiting.cancel()
            self.failureResultOf(waiting, CancelledError)
            self.assertEqual((self.tracker.waiting, self.tracker.idle, self.clock.getDelayedCalls()), (0, True, []))
        self.tell(self.event("1", user="kim"))

    def test_the_end(self) -> None:
        """Everybody is answered, and who comes then at once."""
        waiting = self.tracker.wait(EVERYTHING, 0, 60.0, enough=lambda event: False)
        claimed = self.tracker.wait(OfSubject(("c", "1")), 0, 60.0)
        self.publish(self.event("1"))
        self.tracker.close()
        late = self.tracker.wait(EVERYTHING, 0, 60.0)
        self.clock.advance(0)
        wakes = [self.successResultOf(each) for each in (waiting, claimed, late)]
        self.assertEqual([[event.seq for event in wake.events] for wake in wakes], [[1], [1], []])
        self.assertEqual([(wake.timed_out, wake.closing, wake.head) for wake in wakes], [(True, True, 1), (False, False, 1), (True, True, 1)])
        self.assertEqual((self.tracker.waiting, self.tracker.idle), (0, True))

    def test_measured(self) -> None:
        """How long after the batch so many were answered."""
        waiting = [self.tracker.wait(EVERYTHING, 0, 60.0) for _ in range(3)]
        self.instruments.committed(NOW, NOW)
        self.publish(self.event("1"))
        self.clock.advance(0.25)
        self.assertTrue(all(each.called for each in waiting))
        self.tracker.woke("poll", 3)
        self.assertEqual((sum(self.instruments.wake_s["poll"].counts), self.instruments.wake_s["poll"].most), (3, 0.25))

    def test_a_fault_of_one(self) -> None:
        """A batch reaches the others also where one of those that wait cannot take it."""

        def fault(event: object) -> bool:
            raise ZeroDivisionError

        broken = self.tracker.wait(EVERYTHING, 0, 60.0, enough=fault)
        waiting = self.tracker.wait(EVERYTHING, 0, 60.0)
        self.tell(self.event("1"))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertTrue(self.successResultOf(waiting).events)
        self.assertNoResult(broken)
        broken.cancel()
        self.failureResultOf(broken, CancelledError)


class SubscriptionTests(SynchronousTestCase):
    """Who follows."""

    def setUp(self) -> None:
        self.clock = ManualClock()
        self.head = 0
        self.tracker = JobStatusTracker(self.clock, Cooperator(self.clock), lambda: self.head)
        self.told: list[tuple[list[int], int]] = []

    def follow(self, since: int = 0) -> Any:
        return self.tracker.subscribe(EVERYTHING, since, lambda events, head: self.told.append(([event.seq for event in events], head)))

    def publish(self, *numbers: int) -> None:
        self.head = numbers[-1]
        self.tracker.publish([number("e", seq, Change(job("1", "RUNNING"), None, NOW)) for seq in numbers])

    def test_delivered(self) -> None:
        """After the turn that publishes: what several batches have brought till then, in one go, with the number of the last."""
        self.follow()
        self.publish(1, 2)
        self.publish(3)
        self.assertEqual(self.told, [])
        self.clock.advance(0)
        self.assertEqual(self.told, [([1, 2, 3], 3)])
        self.publish(4)
        self.clock.advance(0)
        self.assertEqual(self.told, [([1, 2, 3], 3), ([4], 4)])
        self.assertFalse(self.tracker.idle)

    def test_since(self) -> None:
        """What it has, or has had, is no news."""
        self.follow(2)
        self.publish(1, 2, 3)
        self.clock.advance(0)
        self.publish(3, 4)
        self.clock.advance(0)
        self.assertEqual(self.told, [([3], 3), ([4], 4)])

    def test_cancelled(self) -> None:
        """Nothing more is delivered, what waits for it neither; nothing is left."""
        following = self.follow()
        self.publish(1)
        following.cancel()
        following.cancel()
        self.clock.advance(0)
        self.publish(2)
        self.clock.advance(0)
        self.assertEqual((self.told, self.tracker.idle), ([], True))
