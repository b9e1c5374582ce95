"""Barriers: what counts, when it is over, and what can still change. The route on them is in tests/web/routes/test_barriers.py."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from jobpush.core.model import Change, JobKey, Phase
from jobpush.core.wire import number, number_workflow
from jobpush.core.workflow import Workflow, WorkflowChange
from jobpush.events.barrier import Barrier
from jobpush.events.tracker import JobStatusTracker, Wake
from tests.core.world import job
from tests.support import ManualClock


def key(name: str) -> JobKey:
    """The key of a job, or of a workflow whose name begins with ``w``."""
    return ("", name) if name.startswith("w") else ("c", name)


class BarrierTests(SynchronousTestCase):
    """`Barrier`, held by a tracker."""

    def setUp(self) -> None:
        self.clock = ManualClock()
        self.tracker = JobStatusTracker(self.clock)
        self.seq = 0

    def barrier(self, need: int | None = None, **states: str | None) -> Barrier:
        """One over these jobs and workflows, as they are; None: nothing is known."""
        barrier = Barrier([key(name.lstrip("_")) for name in states], self.seq, lambda subject: subject.terminal, need)
        for name, state in states.items():
            name = name.lstrip("_")
            subject: Any = None if state is None else Workflow(name, Phase(state)) if name.startswith("w") else job(name, state)
            barrier.put(key(name), subject)
        return barrier

    def hold(self, barrier: Barrier) -> Deferred[Wake]:
        return self.tracker.hold(barrier, 60.0)

    def tell(self, *events: Any) -> None:
        """These become so, in one batch: ``("1", "FAILED")``, or a workflow."""
        batch: list[Any] = []
        for event in events:
            self.seq += 1
            if isinstance(event, Workflow):
                batch.append(number_workflow("e", self.seq, WorkflowChange(event, None, 0.0)))
            else:
                batch.append(number("e", self.seq, Change(job(*event), None, 0.0)))
        self.tracker.publish(batch, self.seq)
        self.clock.advance(0)

    def shown(self, barrier: Barrier) -> dict[str, list[str]]:
        """What is where."""
        places = ("met", "earlier", "open", "unseen", "unknown")
        return {place: [name for _, name in getattr(barrier, place)] for place in places if getattr(barrier, place)}

    def test_all(self) -> None:
        """Over when the last one is met."""
        barrier = self.barrier(_1="RUNNING", _2="QUEUED", _3="COMPLETED")
        self.assertEqual((self.shown(barrier), barrier.done, barrier.over), ({"met": ["3"], "open": ["1", "2"]}, False, False))
        held = self.hold(barrier)
        self.tell(("1", "FAILED"))
        self.assertNoResult(held)
        self.tell(("2", "COMPLETED"), ("9", "COMPLETED"))
        wake = self.successResultOf(held)
        self.assertEqual((wake.head, wake.timed_out, barrier.done), (3, False, True))
        self.assertEqual(self.shown(barrier), {"met": ["3", "1", "2"]})
        self.assertEqual({name: subject.state for (_, name), subject in barrier.met.items()}, {"1": "FAILED", "2": "COMPLETED", "3": "COMPLETED"})
        self.assertTrue(self.tracker.idle)

    def test_so_many(self) -> None:
        """Over with the last that is needed; what else is met in that batch is told, what comes later is not."""
        barrier = self.barrier(2, _1="RUNNING", _2="RUNNING", _3="RUNNING", _4="RUNNING")
        held = self.hold(barrier)
        self.tell(("1", "FAILED"))
        self.assertNoResult(held)
        self.tell(("2", "FAILED"), ("3", "FAILED"))
        self.successResultOf(held)
        self.tell(("4", "FAILED"))
        self.assertEqual(self.shown(barrier), {"met": ["1", "2", "3"], "open": ["4"]})

    def test_taken_back(self) -> None:
        """What is requeued counts no more; the last state in a batch counts."""
        barrier = self.barrier(_1="RUNNING", _2="RUNNING")
        held = self.hold(barrier)
        self.tell(("1", "FAILED"))
        self.tell(("1", "QUEUED"))
        self.tell(("2", "FAILED"))
        self.assertNoResult(held)
        self.assertEqual(self.shown(barrier), {"met": ["2"], "open": ["1"]})
        self.tell(("1", "RUNNING"), ("1", "COMPLETED"))
        self.successResultOf(held)

    def test_earlier(self) -> None:
        """What was so before the client's cursor counts where all must be, and is not told; not where so many are to be met anew."""
        for need, done in ((None, True), (1, False)):
            barrier = Barrier([key("1")], 0, lambda subject: subject.terminal, need)
            barrier.put(key("1"), job("1", "FAILED"), earlier=True)
            self.assertEqual((self.shown(barrier), barrier.done, barrier.over), ({"earlier": ["1"]}, done, True))
        barrier = Barrier([key("1"), key("2")], 0, lambda subject: subject.terminal, None)
        barrier.put(key("1"), job("1", "FAILED"), earlier=True)
        barrier.put(key("2"), job("2", "RUNNING"), earlier=True)
        self.assertEqual(self.shown(barrier), {"earlier": ["1"], "open": ["2"]}, "what is not so yet was not so earlier")
        held = self.hold(barrier)
        self.tell(("1", "FAILED"))
        self.assertEqual(self.shown(barrier), {"earlier": ["1"], "open": ["2"]}, "it was so before, and is")
        self.tell(("1", "RUNNING"))
        self.tell(("1", "COMPLETED"), ("2", "COMPLETED"))
        self.successResultOf(held)
        self.assertEqual(self.shown(barrier), {"met": ["1", "2"]}, "this end is news")

    def test_nobody_knows(self) -> None:
        """While a query could still tell, it is waited for; when it has not, the rest is."""
        barrier = self.barrier(_1="RUNNING", _98=None, _99=None)
        self.assertEqual(self.shown(barrier), {"open": ["1"], "unseen": ["98", "99"]})
        held = self.hold(barrier)
        barrier.give_up([key("98"), key("1")], self.tracker)
        self.assertEqual(self.shown(barrier), {"open": ["1"], "unseen": ["99"], "unknown": ["98"]}, "1 is known")
        self.tell(("1", "FAILED"))
        self.assertNoResult(held)
        barrier.give_up([key("99")], self.tracker)
        self.clock.advance(0)
        self.successResultOf(held)
        self.assertEqual((self.shown(barrier), barrier.done, barrier.over), ({"met": ["1"], "unknown": ["98", "99"]}, False, True))

    def test_one_that_appears(self) -> None:
        """Joins, also after it was called unknown."""
        barrier = self.barrier(_1="RUNNING", _98=None, _99=None)
        held = self.hold(barrier)
        barrier.give_up([key("98")], self.tracker)
        self.tell(("98", "RUNNING"), ("99", "RUNNING"))
        self.assertEqual(self.shown(barrier), {"open": ["1", "98", "99"]})
        self.tell(("1", "FAILED"), ("98", "FAILED"), ("99", "FAILED"))
        self.successResultOf(held)
        self.assertTrue(barrier.done)

    def test_a_deleted_workflow(self) -> None:
        """Is nothing that can be met any more: it is unknown, and does not hold up the rest."""
        barrier = self.barrier(_1="RUNNING", w1="RUNNING")
        held = self.hold(barrier)
        self.tell(Workflow("w1", Phase.RUNNING, deleted=True))
        self.assertEqual(self.shown(barrier), {"open": ["1"], "unknown": ["w1"]})
        self.assertNoResult(held)
        self.tell(("1", "FAILED"))
        self.successResultOf(held)
        self.assertEqual((self.shown(barrier), barrier.done), ({"met": ["1"], "unknown": ["w1"]}, False))
        alone = self.barrier(w1="RUNNING")
        held = self.hold(alone)
        self.tell(Workflow("w1", Phase.RUNNING, deleted=True))
        self.assertEqual((self.successResultOf(held).timed_out, alone.done), (False, False))

    def test_a_claimed_one(self) -> None:
        """Is answered with what it was claimed for, though more is proven meanwhile."""
        barrier = self.barrier(1, _1="RUNNING", _99=None)
        held = self.hold(barrier)
        self.seq += 1
        self.tracker.publish([number("e", 1, Change(job("1", "FAILED"), None, 0.0))], 1)
        self.assertNoResult(held)
        barrier.give_up([key("99")], self.tracker)
        self.clock.advance(0)
        self.assertEqual(self.successResultOf(held).head, 1)

    def test_time_is_up(self) -> None:
        """Then it says what is met so far."""
        barrier = self.barrier(_1="RUNNING", _2="RUNNING")
        held = self.hold(barrier)
        self.tell(("1", "FAILED"))
        self.clock.advance(59)
        self.assertNoResult(held)
        self.clock.advance(3)
        self.assertTrue(self.successResultOf(held).timed_out)
        self.assertEqual(self.shown(barrier), {"met": ["1"], "open": ["2"]})

    def test_tasks_that_are_not_named(self) -> None:
        """An array's tasks are not the array."""
        barrier = self.barrier(_7="RUNNING")
        held = self.hold(barrier)
        self.tell(("7_1", "FAILED"))
        self.assertNoResult(held)
        self.assertEqual(self.shown(barrier), {"open": ["7"]})
