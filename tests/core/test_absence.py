"""Jobs that are not listed any more."""

from __future__ import annotations

import attrs
from twisted.trial.unittest import SynchronousTestCase

from jobpush.core.absence import is_mass_disappearance, newly_absent, wants_outcome
from jobpush.core.model import Confidence, Outcomes, Snapshot
from tests.core.world import World, job


class AbsentTests(SynchronousTestCase):
    """Jobs that are not listed any more."""

    def test_running_without_accounting(self) -> None:
        """FINISHING, then UNKNOWN, then LOST; never success."""
        world = World()
        world.look(job("1", "RUNNING"))
        self.assertEqual(world.look(), [("1", "FINISHING", "RUNNING")])
        self.assertEqual(world.job("1").confidence, Confidence.INFERRED)
        self.assertEqual(world.look(after=5.0), [])
        self.assertEqual(world.look(after=6.0), [("1", "UNKNOWN", "FINISHING")])
        self.assertEqual(world.look(after=10.0), [("1", "LOST", "UNKNOWN")])
        self.assertTrue(world.job("1").terminal)
        self.assertEqual(world.look(after=100.0), [])

    def test_queued_without_accounting(self) -> None:
        """It keeps its state for the grace, then it is LOST."""
        world = World()
        world.look(job("1", "QUEUED"))
        self.assertEqual(world.look(), [])
        self.assertEqual(world.look(after=11.0), [("1", "LOST", "QUEUED")])

    def test_queued_with_accounting_that_has_no_record(self) -> None:
        """CANCELLED, inferred, once accounting has had its time."""
        world = World(accounting=True)
        world.look(job("1", "HELD"))
        self.assertEqual(world.look(outcomes=Outcomes(True)), [])
        self.assertEqual(world.look(outcomes=Outcomes(True), after=11.0), [("1", "CANCELLED", "HELD")])
        self.assertEqual(world.job("1").confidence, Confidence.INFERRED)

    def test_accounting_that_does_not_answer(self) -> None:
        """As long as it does not, nothing ends."""
        world = World(accounting=True)
        world.look(job("1", "RUNNING"), job("2", "QUEUED"))
        for _ in range(20):
            world.look(after=10.0)
        self.assertEqual((world.job("1").state, world.job("2").state), ("UNKNOWN", "QUEUED"))

    def test_accounting_knows(self) -> None:
        """The outcome, with what accounting says, and the run that nobody saw."""
        world = World(accounting=True)
        world.look(job("1", "QUEUED"))
        record = job("1", "FAILED", exit_code=3, started_at=900.0, ended_at=950.0, confidence=Confidence.ACCOUNTING)
        told = world.look(outcomes=Outcomes(True, {"1": record}))
        self.assertEqual(told, [("1", "RUNNING", "QUEUED"), ("1", "FAILED", "RUNNING")])
        self.assertEqual((world.job("1").exit_code, world.job("1").confidence), (3, Confidence.ACCOUNTING))

    def test_it_comes_back(self) -> None:
        """A job that was missing and is listed again goes on as if nothing had been."""
        world = World()
        running = job("1", "RUNNING")
        world.look(running)
        world.look()
        self.assertEqual(world.look(running), [("1", "RUNNING", "FINISHING")])
        self.assertEqual(world.job("1").attempt, 0)
        self.assertIsNone(world.known.records["1"].absent_since)

    def test_ended_jobs_may_leave(self) -> None:
        """A settled job that is not listed any more is no news."""
        world = World()
        world.look(job("1", "COMPLETED"))
        self.assertEqual(world.look(after=1000.0), [])

    def test_a_row_that_is_not_understood_is_not_absent(self) -> None:
        """Its job stays what it was."""
        world = World()
        world.look(job("1", "RUNNING"))
        self.assertEqual(world.look(rejected={"1"}, after=100.0), [])

    def test_mass_disappearance(self) -> None:
        """More than twenty and more than half."""
        for live, gone, doubted in ((30, 21, True), (30, 20, False), (50, 25, False), (50, 26, True), (20, 20, False)):
            world = World()
            jobs = [job(str(n), "RUNNING") for n in range(live)]
            world.look(*jobs)
            snapshot = Snapshot({j.id: j for j in jobs[gone:]}, 0.0, 0.0)
            absent = newly_absent(world.known, snapshot)
            self.assertEqual((len(absent), is_mass_disappearance(world.known, len(absent))), (gone, doubted))

    def test_whom_accounting_is_asked_about(self) -> None:
        """Those that are neither listed nor settled."""
        world = World()
        world.look(job("1", "RUNNING"), job("2", "QUEUED"), job("3", "COMPLETED"), job("4", "RUNNING"))
        snapshot = Snapshot({"4": job("4", "RUNNING")}, 0.0, 0.0)
        self.assertEqual([j.id for j in wants_outcome(world.known, snapshot)], ["1", "2"])

    def test_forgetting(self) -> None:
        """What ended long ago and is not listed any more is dropped; an array as a whole."""
        world = World()
        world.look(job("1", "COMPLETED"), job("2", "COMPLETED"), job("3", "RUNNING"), job("7_1", "COMPLETED"))
        world.policy = attrs.evolve(world.policy, keep_ended=50.0)
        world.look(job("2", "COMPLETED"), job("3", "RUNNING"), after=100.0)
        self.assertEqual(sorted(world.known.records), ["2", "3"])
