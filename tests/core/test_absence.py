"""Jobs that are not listed any more."""

from __future__ import annotations

from typing import Any

import attrs
from twisted.trial.unittest import SynchronousTestCase

from jobpush.core.absence import (
    NOTHING_ASKED,
    DiffPolicy,
    conclude,
    guesses,
    newly_absent,
    unlisted,
    wants_outcome,
)
from jobpush.core.model import Confidence, JobDescriptor, Outcome, Outcomes, Phase, ReasonCode, Snapshot
from jobpush.core.record import HistoryEntry, packed
from jobpush.core.tasks import TaskSet
from tests.core.world import World, job, no_record

NO_RECORD = no_record("1", "7", "7_0", "7_1", "7_2", "7_3", "7_5")


class AbsentTests(SynchronousTestCase):
    """Jobs that are not listed any more."""

    def test_running_without_accounting(self) -> None:
        """FINISHING, then UNKNOWN, then LOST; never success."""
        world = World()
        world.look(job("1", "RUNNING"))
        self.assertEqual((world.look(), world.look()), ([], [("1", "FINISHING", "RUNNING")]))
        self.assertEqual(world.job("1").confidence, Confidence.INFERRED)
        self.assertEqual(world.look(after=4.0), [])
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
        self.assertEqual(world.look(outcomes=NO_RECORD), [])
        self.assertEqual(world.look(outcomes=NO_RECORD, after=11.0), [("1", "CANCELLED", "HELD")])
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
        told = world.look(outcomes=Outcomes({"1": record}))
        self.assertEqual(told, [("1", "RUNNING", "QUEUED"), ("1", "FAILED", "RUNNING")])
        self.assertEqual((world.job("1").exit_code, world.job("1").confidence), (3, Confidence.ACCOUNTING))

    def test_it_comes_back(self) -> None:
        """A job that was missing and is listed again goes on as if nothing had been."""
        world = World()
        running = job("1", "RUNNING")
        world.look(running)
        world.look()
        world.look()
        self.assertEqual(world.look(running), [("1", "RUNNING", "FINISHING")])
        self.assertEqual(world.job("1").attempt, 0)
        self.assertIsNone(world.known.records["1"].detail.absent_since)

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


def pending(tasks: str, state: str = "QUEUED", **fields: Any) -> JobDescriptor:
    """The row of an array's pending range."""
    return job("7", state, pending_tasks=TaskSet.parse(tasks), **fields)


def snapshot(*jobs: JobDescriptor, rejected: tuple[str, ...] = ()) -> Snapshot:
    """What a query says."""
    return Snapshot({j.id: j for j in jobs}, 0.0, 0.0, rejected_ids=frozenset(rejected))


class ConfirmTests(SynchronousTestCase):
    """One look that misses a job proves nothing: its answer may have been cut off, or another cluster's."""

    def test_two_looks(self) -> None:
        """They must agree, an interval apart at least, and what may be seen must have been asked between them."""
        for confirm, after, checked, told in (
            (5.0, 5.0, True, [("1", "FINISHING", "RUNNING")]),
            (5.0, 4.9, True, []),
            (5.0, 60.0, False, []),
        ):
            world = World(confirm=confirm)
            world.look(job("1", "RUNNING"))
            self.assertEqual(world.look(), [])
            if not checked:
                world.policy = attrs.evolve(world.policy, checked_at=world.now - 0.1)
            self.assertEqual(world.look(after=after), told, (confirm, after, checked))

    def test_accounting_needs_no_second_look(self) -> None:
        """It is another source."""
        world = World(accounting=True)
        world.look(job("1", "RUNNING"))
        ended = job("1", "FAILED", exit_code=1, confidence=Confidence.ACCOUNTING, source="sacct")
        self.assertEqual(world.look(outcomes=Outcomes({"1": ended})), [("1", "FAILED", "RUNNING")])

    def test_back_in_time(self) -> None:
        """A job that one look missed was never gone, and the next miss is a first one."""
        world = World()
        for listed in ([job("1", "RUNNING")], [], [job("1", "RUNNING")], [], [job("1", "RUNNING")]):
            world.look(*listed, after=5.0)
        self.assertEqual(world.told, [("1", "QUEUED", None), ("1", "RUNNING", "QUEUED")])


class OpenTests(SynchronousTestCase):
    """Accounting has a record without an end: the job has not ended, however long it is not listed."""

    OPEN = Outcomes(still_open=frozenset({"1", "2", "7_0"}))

    def test_nothing_ends(self) -> None:
        """Neither one that ran nor one that waited; and when they are listed again nothing has happened to them."""
        world = World(accounting=True)
        jobs = [job("1", "RUNNING"), job("2", "QUEUED"), job("7_0", "RUNNING")]
        world.look(*jobs)
        for _ in range(20):
            self.assertEqual(world.look(outcomes=self.OPEN, after=10.0), [])
        self.assertEqual(world.look(*jobs), [])
        self.assertEqual([world.job(j.id).attempt for j in jobs], [0, 0, 0])


class GuessTests(SynchronousTestCase):
    """LOST, and an inferred CANCELLED, are guesses: what comes later replaces them."""

    def guessed(self, state: str) -> World:
        """Job 1, which was in that state, and of which neither the queue nor accounting told any more."""
        world = World(accounting=True)
        world.look(job("1", state))
        for after in (1.0, 11.0, 11.0):
            world.look(outcomes=NO_RECORD, after=after)
        self.assertTrue(world.job("1").is_guess)
        self.assertEqual([j.id for j in guesses(world.known, snapshot())], ["1"])
        self.assertEqual(wants_outcome(world.known, snapshot()), [], "it is asked about seldom")
        return world

    def test_a_record_comes(self) -> None:
        """It replaces the guess, as a new event, with the run that nobody saw."""
        for before, guess, told in (
            ("RUNNING", "LOST", [("1", "COMPLETED", "LOST")]),
            ("QUEUED", "CANCELLED", [("1", "COMPLETED", "CANCELLED")]),
        ):
            world = self.guessed(before)
            self.assertEqual(world.job("1").state, guess)
            record = job("1", "COMPLETED", exit_code=0, confidence=Confidence.ACCOUNTING, source="sacct")
            self.assertEqual(world.look(outcomes=Outcomes({"1": record})), told)
            self.assertEqual((world.job("1").confidence, world.job("1").is_guess), (Confidence.ACCOUNTING, False))
            self.assertEqual((guesses(world.known, snapshot()), world.look(after=100.0)), ([], []))

    def test_it_has_not_ended(self) -> None:
        """An open record disproves the guess; what became of the job is unknown then."""
        world = self.guessed("RUNNING")
        self.assertEqual(world.look(outcomes=Outcomes(still_open=frozenset({"1"}))), [("1", "UNKNOWN", "LOST")])
        self.assertEqual((world.job("1").terminal, [j.id for j in wants_outcome(world.known, snapshot())]), (False, ["1"]))

    def test_it_is_listed_again(self) -> None:
        """Then it was never gone: no new attempt has begun."""
        for before, told in (("RUNNING", "LOST"), ("QUEUED", "CANCELLED")):
            world = self.guessed(before)
            self.assertEqual(world.look(job("1", before)), [("1", before, told)])
            self.assertEqual((world.job("1").attempt, world.known.guessed), (0, {}))

    def test_a_task_is_back_in_its_range(self) -> None:
        """The range that holds it lists it."""
        world = World(accounting=True)
        world.look(pending("0-3"))
        for after in (1.0, 11.0):
            world.look(pending("0-2"), outcomes=NO_RECORD, after=after)
        self.assertEqual(world.job("7_3").state, "CANCELLED")
        world.look(pending("0-3"))
        self.assertEqual((world.job("7_3").state, world.job("7_3").attempt, world.job("7").counts), ("QUEUED", 0, {"QUEUED": 4}))


class ConcludeTests(SynchronousTestCase):
    """`conclude`: what a job without a record is called, and not a moment before its time."""

    def conclude(self, state: str, absent_for: float, answered: bool = True, accounting: bool = True, **fields: Any) -> JobDescriptor:
        policy = DiffPolicy(task_id=lambda array, index: f"{array}_{index}", accounting=accounting, grace=10.0)
        return conclude(job("1", state, **fields), 0.0, absent_for, policy, no_record("1") if answered else NOTHING_ASKED)

    def test_states(self) -> None:
        """By its phase, how long it is absent, whether there is accounting, and whether that has answered."""
        for state, accounting, answered, steps in [
            ("RUNNING", True, True, [(0.0, "FINISHING"), (9.99, "FINISHING"), (10.0, "UNKNOWN"), (19.99, "UNKNOWN"), (20.0, "LOST")]),
            ("RUNNING", False, False, [(0.0, "FINISHING"), (9.99, "FINISHING"), (10.0, "UNKNOWN"), (19.99, "UNKNOWN"), (20.0, "LOST")]),
            ("RUNNING", True, False, [(9.99, "FINISHING"), (10.0, "UNKNOWN"), (20.0, "UNKNOWN"), (1e6, "UNKNOWN")]),
            ("STARTING", True, True, [(0.0, "FINISHING"), (20.0, "LOST")]),
            ("QUEUED", True, True, [(0.0, "QUEUED"), (9.99, "QUEUED"), (10.0, "CANCELLED")]),
            ("HELD", True, True, [(9.99, "HELD"), (10.0, "CANCELLED")]),
            ("QUEUED", False, False, [(9.99, "QUEUED"), (10.0, "LOST")]),
            ("QUEUED", True, False, [(9.99, "QUEUED"), (10.0, "QUEUED"), (1e6, "QUEUED")]),
        ]:  # fmt: skip
            for absent_for, expected in steps:
                told = self.conclude(state, absent_for, answered, accounting)
                self.assertEqual((told.state, told.settled), (expected, told.done), (state, accounting, answered, absent_for))

    def test_what_is_concluded(self) -> None:
        """All that a row said of the state goes; what the job is stays. Nobody has seen it: it is inferred, and has no end time."""
        before = job(
            "1", "RUNNING", reason_code=ReasonCode.OTHER, flags=("x",), started_at=5.0, ended_at=6.0, name="n", nodes="n1",
            source="squeue", observed_at=3.0, exit_code=None,
        )  # fmt: skip
        policy = DiffPolicy(task_id=lambda array, index: "", grace=10.0)
        for absent_for, phase, outcome in ((1.0, Phase.FINISHING, None), (11.0, Phase.UNKNOWN, None), (21.0, Phase.DONE, Outcome.LOST)):
            told = conclude(before, 0.0, absent_for, policy, NOTHING_ASKED)
            expected = attrs.evolve(
                before, phase=phase, outcome=outcome, settled=outcome is not None, reason_code=None, flags=(), ended_at=None,
                source="absence", confidence=Confidence.INFERRED,
            )  # fmt: skip
            self.assertTrue(told.says_the_same(expected), told)

    def test_nothing_new(self) -> None:
        """A job that is called so already is the same object: that is no change."""
        policy = DiffPolicy(task_id=lambda array, index: "", grace=10.0)
        finishing, unknown, queued = job("1", "FINISHING"), job("1", "UNKNOWN"), job("1", "QUEUED")
        self.assertIs(conclude(finishing, 0.0, 5.0, policy, NOTHING_ASKED), finishing)
        self.assertIs(conclude(unknown, 0.0, 15.0, policy, NOTHING_ASKED), unknown)
        self.assertIs(conclude(queued, 0.0, 5.0, policy, NOTHING_ASKED), queued)

    def test_provisional_end(self) -> None:
        """One that is done without confirmation is settled when its grace is over, with the outcome that it had."""
        for accounting, answered in ((True, True), (True, False), (False, False)):
            before = self.conclude("FAILED", 9.99, answered, accounting, settled=False, exit_code=3)
            after = self.conclude("FAILED", 10.0, answered, accounting, settled=False, exit_code=3)
            self.assertEqual((before.state, before.settled), ("FAILED", False))
            self.assertEqual((after.state, after.settled, after.exit_code), ("FAILED", True, 3))


class MissingTests(SynchronousTestCase):
    """Which jobs are missing, and which of them are news."""

    def test_each_is_new_once(self) -> None:
        """A job that was absent before, or has ended without confirmation, is missing, and not newly so."""
        world = World()
        world.look(job("1", "RUNNING"), job("2", "RUNNING"), job("3", "FAILED", settled=False))
        world.look(job("2", "RUNNING"), job("3", "FAILED", settled=False))
        self.assertEqual([record.job.id for record in newly_absent(world.known, snapshot())], ["2"])
        self.assertEqual(unlisted(world.known, snapshot()), ["1", "2", "3"])

    def test_ranges(self) -> None:
        """An array is missing with its range, unless it or one of its tasks is listed, or it was missing before."""
        world = World(accounting=True)
        world.look(pending("0-2"), job("7_9", "COMPLETED"))
        for listed, expected in (
            ([], ["7"]), ([pending("0-2")], []), ([job("7_9", "COMPLETED")], []), ([pending("0-1")], []), ([job("8", "RUNNING")], ["7"]),
        ):  # fmt: skip
            self.assertEqual([record.job.id for record in newly_absent(world.known, snapshot(*listed))], expected)
        world.look()
        self.assertEqual(newly_absent(world.known, snapshot()), [])

    def test_tasks_in_a_range(self) -> None:
        """A task without a row is there as long as its array's listed range holds it."""
        world = World()
        world.look(pending("0-2"), job("7_3", "HELD"))
        self.assertEqual(unlisted(world.known, snapshot(pending("0-3"))), [])
        for listed in ([pending("0-2")], [pending("4-5")], [job("7", "RUNNING")], [pending("0-3", "CANCELLED")], []):
            self.assertEqual(unlisted(world.known, snapshot(*listed)), ["7_3"], listed)

    def test_rows_that_are_not_understood(self) -> None:
        """Neither their job nor, for an array's, its tasks are missing; nobody asks accounting about them."""
        world = World()
        world.look(pending("0-2"), job("7_3", "HELD"), job("1", "RUNNING"))
        self.assertEqual(unlisted(world.known, snapshot(rejected=("1", "7"))), [])
        self.assertEqual(unlisted(world.known, snapshot(rejected=("7_3",))), ["1"])
        self.assertEqual([j.id for j in wants_outcome(world.known, snapshot(rejected=("1", "7")))], [])

    def test_whom_accounting_is_asked_about(self) -> None:
        """An array of which tasks have no row yet is asked about as a whole, unless it is listed."""
        world = World()
        rest = pending("0-2")
        world.look(rest, job("7_9", "RUNNING"))
        asked = wants_outcome(world.known, snapshot(job("7_9", "RUNNING")))
        self.assertEqual([(j.id, j.pending_tasks) for j in asked], [("7", rest.pending_tasks)])
        self.assertEqual(wants_outcome(world.known, snapshot(rest, job("7_9", "RUNNING"))), [])
        self.assertEqual([j.id for j in wants_outcome(world.known, snapshot())], ["7_9", "7"])



class VanishedArrayTests(SynchronousTestCase):
    """An array that is not listed any more, with its pending tasks."""

    def test_not_at_once(self) -> None:
        """Before its grace is over nothing is said; then each task has an end that is settled and inferred."""
        world = World()
        world.look(pending("0-1"))
        self.assertEqual((world.look(), world.look(after=9.9)), ([], []))
        told = world.look(after=0.2)
        self.assertEqual(told, [("7_0", "LOST", "QUEUED"), ("7_1", "LOST", "QUEUED"), ("7", "LOST", "QUEUED")])
        for job_id in ("7_0", "7_1", "7"):
            self.assertEqual((world.job(job_id).terminal, world.job(job_id).confidence), (True, Confidence.INFERRED), job_id)

    def test_it_comes_back(self) -> None:
        """Then it goes on as if nothing had been, and its grace begins anew."""
        world = World()
        world.look(pending("0-1"))
        world.look(after=5.0)
        self.assertEqual(world.look(pending("0-1"), after=1.0), [])
        self.assertEqual((world.look(after=6.0), world.look(after=6.0)), ([], []))

    def test_accounting_has_no_record(self) -> None:
        """Each of its tasks is asked about by itself then, for its own grace, before it is called cancelled."""
        world = World(accounting=True)
        world.look(pending("0-1"))
        self.assertEqual(world.look(outcomes=NO_RECORD), [])
        self.assertEqual([j.id for j in wants_outcome(world.known, snapshot())], ["7_0", "7_1"])
        self.assertEqual(world.look(outcomes=NO_RECORD, after=9.9), [])
        told = world.look(outcomes=NO_RECORD, after=0.2)
        self.assertEqual(told, [("7_0", "CANCELLED", "QUEUED"), ("7_1", "CANCELLED", "QUEUED"), ("7", "CANCELLED", "QUEUED")])

    def test_accounting_does_not_answer(self) -> None:
        """Nothing is concluded, however long."""
        world = World(accounting=True)
        world.look(pending("0-1"))
        for _ in range(10):
            self.assertEqual(world.look(after=100.0), [])

    def test_accounting_says_that_it_goes_on(self) -> None:
        """A record of an array that has not ended ends nothing."""
        world = World(accounting=True)
        world.look(pending("0-1"))
        record = job("7", "QUEUED", pending_tasks=TaskSet.parse("0-1"), confidence=Confidence.ACCOUNTING)
        world.look(outcomes=Outcomes({"7": record}))
        self.assertFalse(any(state in ("CANCELLED", "LOST") for _, state, _ in world.told))

    def test_the_id_comes_round_again(self) -> None:
        """Another array by the id of one that has ended is an array of its own: its counts and its parts are new."""
        world = World()
        world.look(pending("0-1"))
        world.look(pending("0-1", "CANCELLED"))
        world.look()
        world.known.put(attrs.evolve(world.known.records["7"], steps=packed((HistoryEntry(1, 5.0, "CANCELLED", 0, Confidence.OBSERVED),))))
        told = world.look(pending("0-4", submitted_at=900.0))
        self.assertEqual(told, [("7", "QUEUED", None)])
        self.assertEqual((world.job("7").counts, world.job("7").uid, world.job("7").attempt), ({"QUEUED": 5}, "c/7@900", 0))
        self.assertEqual(world.known.records["7"].steps, b"")
        told = world.look(pending("1-4", submitted_at=900.0), job("7_0", "RUNNING", submitted_at=900.0))
        self.assertEqual(world.job("7").counts, {"QUEUED": 4, "RUNNING": 1})
