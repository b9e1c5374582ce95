"""Barriers: what counts, when it is over, and what can still change. The route on them is in tests/web/routes/test_barriers.py."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from jobpush.core.model import JobKey, Phase
from jobpush.core.record import Change
from jobpush.core.wire import number
from jobpush.core.workflow import Workflow
from jobpush.events.barrier import Barrier
from tests.core.world import job


def key(name: str) -> JobKey:
    """The key of a job, or of a workflow whose name begins with ``w``."""
    return ("", name) if name.startswith("w") else ("c", name)


class BarrierTests(SynchronousTestCase):
    """`Barrier`: what holds it is tested in tests/web/held/test_registry.py."""

    def setUp(self) -> None:
        self.seq = 0

    def barrier(self, need: int | None = None, **states: str | None) -> Barrier:
        """One over these jobs and workflows, as they are; None: nothing is known."""
        barrier = Barrier([key(name.lstrip("_")) for name in states], lambda subject: subject.terminal, need)
        for name, state in states.items():
            name = name.lstrip("_")
            subject: Any = None if state is None else Workflow(name, Phase(state)) if name.startswith("w") else job(name, state)
            barrier.put(key(name), subject)
        return barrier

    def tell(self, barrier: Barrier, *events: Any) -> bool:
        """These become so, in one batch: ``("1", "FAILED")``, or a workflow. Whether the barrier is over now."""
        batch: list[Any] = []
        for event in events:
            self.seq += 1
            batch.append(number("e", self.seq, Change(event if isinstance(event, Workflow) else job(*event), None, 0.0)))
        return barrier.take([event for event in batch if barrier.selection.matches(event)])

    def shown(self, barrier: Barrier) -> dict[str, list[str]]:
        """What is where."""
        places = ("met", "earlier", "open", "unseen", "unknown")
        return {place: [name for _, name in getattr(barrier, place)] for place in places if getattr(barrier, place)}

    def test_all(self) -> None:
        """Over when the last one is met."""
        barrier = self.barrier(_1="RUNNING", _2="QUEUED", _3="COMPLETED")
        self.assertEqual((self.shown(barrier), barrier.done, barrier.over), ({"met": ["3"], "open": ["1", "2"]}, False, False))
        self.assertFalse(self.tell(barrier, ("1", "FAILED")))
        self.tell(barrier, ("2", "COMPLETED"), ("9", "COMPLETED"))
        self.assertEqual((barrier.done, barrier.over), (True, True))
        self.assertEqual(self.shown(barrier), {"met": ["3", "1", "2"]})
        self.assertEqual({name: subject.state for (_, name), subject in barrier.met.items()}, {"1": "FAILED", "2": "COMPLETED", "3": "COMPLETED"})

    def test_so_many(self) -> None:
        """Over with the last that is needed; what else is met in that batch is told."""
        barrier = self.barrier(2, _1="RUNNING", _2="RUNNING", _3="RUNNING", _4="RUNNING")
        self.assertFalse(self.tell(barrier, ("1", "FAILED")))
        self.assertTrue(self.tell(barrier, ("2", "FAILED"), ("3", "FAILED")))
        self.assertEqual(self.shown(barrier), {"met": ["1", "2", "3"], "open": ["4"]})

    def test_taken_back(self) -> None:
        """What is requeued counts no more; the last state in a batch counts."""
        barrier = self.barrier(_1="RUNNING", _2="RUNNING")
        self.tell(barrier, ("1", "FAILED"))
        self.tell(barrier, ("1", "QUEUED"))
        self.assertFalse(self.tell(barrier, ("2", "FAILED")))
        self.assertEqual(self.shown(barrier), {"met": ["2"], "open": ["1"]})
        self.assertTrue(self.tell(barrier, ("1", "RUNNING"), ("1", "COMPLETED")))

    def test_earlier(self) -> None:
        """What was so before the client's cursor counts where all must be, and is not told; not where so many are to be met anew."""
        for need, done in ((None, True), (1, False)):
            barrier = Barrier([key("1")], lambda subject: subject.terminal, need)
            barrier.put(key("1"), job("1", "FAILED"), earlier=True)
            self.assertEqual((self.shown(barrier), barrier.done, barrier.over), ({"earlier": ["1"]}, done, True))
        barrier = Barrier([key("1"), key("2")], lambda subject: subject.terminal, None)
        barrier.put(key("1"), job("1", "FAILED"), earlier=True)
        barrier.put(key("2"), job("2", "RUNNING"), earlier=True)
        self.assertEqual(self.shown(barrier), {"earlier": ["1"], "open": ["2"]}, "what is not so yet was not so earlier")
        self.tell(barrier, ("1", "FAILED"))
        self.assertEqual(self.shown(barrier), {"earlier": ["1"], "open": ["2"]}, "it was so before, and is")
        self.tell(barrier, ("1", "RUNNING"))
        self.assertTrue(self.tell(barrier, ("1", "COMPLETED"), ("2", "COMPLETED")))
        self.assertEqual(self.shown(barrier), {"met": ["1", "2"]}, "this end is news")

    def test_nobody_knows(self) -> None:
        """While a query could still tell, it is waited for; when it has not, the rest is."""
        barrier = self.barrier(_1="RUNNING", _98=None, _99=None)
        self.assertEqual(self.shown(barrier), {"open": ["1"], "unseen": ["98", "99"]})
        barrier.give_up([key("98"), key("1")])
        self.assertEqual(self.shown(barrier), {"open": ["1"], "unseen": ["99"], "unknown": ["98"]}, "1 is known")
        self.assertFalse(self.tell(barrier, ("1", "FAILED")))
        barrier.give_up([key("99")])
        self.assertTrue(barrier.over)
        self.assertEqual((self.shown(barrier), barrier.done, barrier.over), ({"met": ["1"], "unknown": ["98", "99"]}, False, True))

    def test_one_that_appears(self) -> None:
        """Joins, also after it was called unknown."""
        barrier = self.barrier(_1="RUNNING", _98=None, _99=None)
        barrier.give_up([key("98")])
        self.tell(barrier, ("98", "RUNNING"), ("99", "RUNNING"))
        self.assertEqual(self.shown(barrier), {"open": ["1", "98", "99"]})
        self.assertTrue(self.tell(barrier, ("1", "FAILED"), ("98", "FAILED"), ("99", "FAILED")))
        self.assertTrue(barrier.done)

    def test_a_deleted_workflow(self) -> None:
        """Is nothing that can be met any more: it is unknown, and does not hold up the rest."""
        barrier = self.barrier(_1="RUNNING", w1="RUNNING")
        self.tell(barrier, Workflow("w1", Phase.RUNNING, deleted=True))
        self.assertEqual(self.shown(barrier), {"open": ["1"], "unknown": ["w1"]})
        self.assertFalse(barrier.over)
        self.assertTrue(self.tell(barrier, ("1", "FAILED")))
        self.assertEqual((self.shown(barrier), barrier.done), ({"met": ["1"], "unknown": ["w1"]}, False))
        alone = self.barrier(w1="RUNNING")
        self.assertTrue(self.tell(alone, Workflow("w1", Phase.RUNNING, deleted=True)))
        self.assertFalse(alone.done)

    def test_an_alias(self) -> None:
        """A key that was unseen becomes the job whose alias it is: its events count, those of the alias do not."""
        barrier = self.barrier(_1="RUNNING", _98=None)
        barrier.rename(key("98"), key("2"))
        barrier.put(key("2"), job("2", "RUNNING"))
        self.assertEqual(self.shown(barrier), {"open": ["1", "2"]})
        self.tell(barrier, ("98", "FAILED"))
        self.assertFalse(self.tell(barrier, ("1", "FAILED")))
        self.assertTrue(self.tell(barrier, ("2", "FAILED")))

    def test_tasks_that_are_not_named(self) -> None:
        """An array's tasks are not the array."""
        barrier = self.barrier(_7="RUNNING")
        self.assertFalse(self.tell(barrier, ("7_1", "FAILED")))
        self.assertEqual(self.shown(barrier), {"open": ["7"]})
