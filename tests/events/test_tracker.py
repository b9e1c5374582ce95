"""The tracker: who is claimed, answered, disconnected; and that answers go out in slices."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from jobpush.events.tracker import SLICE_S, JobStatusTracker
from tests.support import LabCase, ManualClock


class SlowClock:
    """A clock by which every look at it takes a second, and which keeps calls without delay for the test to make."""

    def __init__(self, clock: Any) -> None:
        self._clock = clock
        self._looks = 0
        self.turns: list[Any] = []

    def seconds(self) -> float:
        self._looks += 1
        return float(self._clock.seconds() + self._looks)

    def callLater(self, delay: float, function: Any, *args: Any) -> Any:
        if delay:
            return self._clock.callLater(delay, function, *args)
        self.turns.append(lambda: function(*args))
        return object()


class ClaimTests(LabCase):
    """Between a waiter's claim and its answer: many are to be answered, and a slice's time is up."""

    def setUp(self) -> None:
        super().setUp()
        self.held = [self.lab.get("/v1/jobs/memory/1?since=now&wait=30") for _ in range(3)]
        self.slow = SlowClock(self.lab.clock)
        self.lab.service.tracker._reactor = self.slow
        self.lab.queue.set("1", "RUNNING")
        self.lab.tick()
        assert self.slow.turns, "the waiters are claimed"
        assert self.answered() == 0

    def answered(self) -> int:
        return sum(bool(held._answers) for held in self.held)

    def turn(self) -> None:
        """One slice of answers."""
        self.slow.turns.pop(0)()
        self.lab.treq.flush()

    def settle(self) -> None:
        while self.slow.turns:
            self.turn()

    def test_in_slices(self) -> None:
        """One answer a slice here; other work runs between."""
        counts = []
        while self.slow.turns:
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
        self.assertEqual(self.lab.holds.held, 0)
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


class SliceTests(SynchronousTestCase):
    """Other work runs between the slices in which answers go out."""

    def test_one_slice_a_turn(self) -> None:
        """However long it goes on, and though answers ask for more of themselves, one slice waits for its turn, never more."""
        clock = ManualClock()
        tracker = JobStatusTracker(clock)
        left, waiting = [40], []

        def answer() -> None:
            clock.rightNow += 2 * SLICE_S
            left[0] -= 1
            if left[0]:
                tracker.later(answer)
            waiting.append(len(clock.getDelayedCalls()))

        tracker.later(answer)
        clock.advance(0)
        self.assertEqual((left[0], len(waiting)), (0, 40))
        self.assertLessEqual(max(waiting), 1)

    def test_one_that_fails(self) -> None:
        """An answer that fails is logged; those after it go out."""
        clock = ManualClock()
        tracker = JobStatusTracker(clock)
        done: list[int] = []

        def broken() -> None:
            raise ValueError("broken")

        tracker.later(broken)
        tracker.later(lambda: done.append(1))
        clock.advance(0)
        self.assertEqual((done, len(self.flushLoggedErrors(ValueError))), ([1], 1))
