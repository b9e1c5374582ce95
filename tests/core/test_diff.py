"""What was known and what a snapshot says, compared."""

from __future__ import annotations

import math
from typing import Any

import attrs
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from jobpush.core.absence import NOTHING_ASKED, wants_outcome
from jobpush.core.diff import diff
from jobpush.core.model import (
    STATES,
    Confidence,
    JobDescriptor,
    Outcome,
    Outcomes,
    Phase,
    ReasonCode,
    Snapshot,
)
from jobpush.core.record import HistoryEntry, packed, row_of
from jobpush.core.tasks import TaskSet
from tests.core.world import World, job, no_record

NO_RECORD = no_record("1", "7", "7_0", "7_1", "7_2", "7_3", "7_5")


class PresentTests(SynchronousTestCase):
    """Jobs that are listed."""

    def test_first_look(self) -> None:
        """The first look ever tells each job as it is, and concludes nothing about before."""
        world = World(first=True)
        self.assertEqual(world.look(job("1", "RUNNING"), job("2", "COMPLETED", started_at=120.0)), [
            ("1", "RUNNING", None), ("2", "COMPLETED", None),
        ])  # fmt: skip

    def test_no_change_no_event(self) -> None:
        """The same object, or one that says the same, is no news; nothing is written down."""
        world = World()
        seen = job("1", "RUNNING")
        world.look(seen)
        self.assertEqual((world.look(seen), world.look(job("1", "RUNNING"))), ([], []))
        self.assertFalse(world.last.records)

    def test_wording_alone_is_no_event(self) -> None:
        """A change of ``reason`` or ``comment`` is kept, not told."""
        world = World()
        world.look(job("1", "QUEUED", reason="a"))
        self.assertEqual(world.look(job("1", "QUEUED", reason="b")), [])
        self.assertEqual(world.job("1").reason, "b")
        self.assertIn("1", world.last.records)

    def test_what_makes_an_event(self) -> None:
        """Each of the fields that the protocol lists."""
        for change in (
            {"reason_code": ReasonCode.PRIORITY}, {"queue": "long"}, {"nodes": "n1"}, {"started_at": 5.0}, {"flags": ("x",)},
        ):  # fmt: skip
            world = World()
            world.look(job("1", "RUNNING"))
            self.assertEqual(world.look(job("1", "RUNNING", **change)), [("1", "RUNNING", "RUNNING")], change)

    def test_between_two_queries(self) -> None:
        """First pending, next completed: it ran, and that is told first, inferred, with the scheduler's time."""
        world = World()
        world.look(job("1", "QUEUED"))
        told = world.look(job("1", "COMPLETED", started_at=900.0, ended_at=901.0, nodes="n1", exit_code=0))
        self.assertEqual(told, [("1", "RUNNING", "QUEUED"), ("1", "COMPLETED", "RUNNING")])
        running = world.last.changes[0]
        self.assertEqual((running.at, running.subject.confidence, running.subject.exit_code), (900.0, Confidence.INFERRED, None))

    def test_all_of_it_between_two_queries(self) -> None:
        """A job that came and went unseen was queued and ran."""
        world = World()
        world.look()
        told = world.look(job("1", "FAILED", started_at=900.0, ended_at=901.0, exit_code=3))
        self.assertEqual([state for _, state, _ in told], ["QUEUED", "RUNNING", "FAILED"])
        self.assertEqual(world.last.changes[0].at, 100.0)

    def test_cancelled_while_pending_did_not_run(self) -> None:
        """A scheduler gives such a job's end as its start: that is no run."""
        world = World()
        world.look(job("1", "QUEUED"))
        self.assertEqual(world.look(job("1", "CANCELLED", started_at=900.0, ended_at=900.0)), [("1", "CANCELLED", "QUEUED")])

    def test_cancelled_while_it_was_held(self) -> None:
        """It was held before, not queued."""
        world = World()
        world.look()
        self.assertEqual(world.look(job("1", "CANCELLED", flags=("held",))), [("1", "HELD", None), ("1", "CANCELLED", "HELD")])

    def test_requeue(self) -> None:
        """The next attempt of the same job, though Slurm gives it another time of submission."""
        world = World()
        world.look(job("1", "RUNNING"))
        world.look(job("1", "QUEUED", attempt=1, submitted_at=500.0))
        self.assertEqual((world.job("1").uid, world.job("1").attempt), ("c/1@100", 1))
        self.assertEqual(world.look(job("1", "QUEUED", attempt=1, submitted_at=500.0)), [])

    def test_requeue_seen_from_its_edges(self) -> None:
        """Where the scheduler does not count, going back to the queue is another attempt; so is coming back from the end."""
        world = World()
        world.look(job("1", "RUNNING"))
        world.look(job("1", "QUEUED"))
        self.assertEqual(world.job("1").attempt, 1)
        world.look(job("1", "RUNNING"))
        self.assertEqual(world.job("1").attempt, 1)
        world.look(job("1", "COMPLETED"))
        world.look(job("1", "RUNNING"))
        self.assertEqual(world.job("1").attempt, 2)

    def test_unseen_requeue(self) -> None:
        """Running before, running now, and a later attempt: it was queued in between."""
        world = World()
        world.look(job("1", "RUNNING"))
        told = world.look(job("1", "RUNNING", attempt=1, submitted_at=500.0, started_at=510.0))
        self.assertEqual([state for _, state, _ in told], ["QUEUED", "RUNNING"])

    def test_another_job_by_that_id(self) -> None:
        """Ids recur: with another time of submission it is another job, and the old one is lost."""
        world = World()
        world.look(job("1", "RUNNING"))
        told = world.look(job("1", "QUEUED", submitted_at=900.0))
        self.assertEqual(told, [("1", "LOST", "RUNNING"), ("1", "QUEUED", None)])
        self.assertEqual((world.job("1").uid, world.job("1").attempt), ("c/1@900", 0))

    def test_requeue_of_a_job_that_is_slow_to_leave(self) -> None:
        """It finishes first; its start is not forgotten meanwhile."""
        world = World()
        world.look(job("1", "RUNNING", started_at=200.0))
        world.look(job("1", "FINISHING"))
        self.assertEqual(world.job("1").started_at, 200.0)
        world.look(job("1", "QUEUED", attempt=1, submitted_at=500.0))
        self.assertEqual((world.job("1").attempt, world.job("1").started_at), (1, None))
        self.assertEqual([state for _, state, _ in world.told], ["QUEUED", "RUNNING", "FINISHING", "QUEUED"])

    def test_a_requeue_whose_time_of_submission_moves_late(self) -> None:
        """Seen between the steps of which a requeue is made: it is the same job all the while."""
        world = World()
        world.look(job("1", "RUNNING"))
        told = world.look(job("1", "QUEUED")) + world.look(job("1", "RUNNING", attempt=1))
        told += world.look(job("1", "RUNNING", attempt=1, submitted_at=900.0))
        self.assertEqual([state for _, state, _ in told], ["QUEUED", "RUNNING"])
        self.assertEqual((world.job("1").uid, world.job("1").attempt), ("c/1@100", 1))

    def test_a_time_of_submission_that_becomes_known(self) -> None:
        """Is no other job's."""
        world = World()
        world.look(job("1", "QUEUED", submitted_at=None))
        self.assertEqual(world.look(job("1", "RUNNING")), [("1", "RUNNING", "QUEUED")])
        self.assertEqual(world.look(job("1", "RUNNING", submitted_at=None)), [])

    def test_what_an_accounting_record_lacks(self) -> None:
        """What the queue said of the job is kept; a time of submission never goes away."""
        world = World()
        world.look(job("1", "RUNNING", workdir="/w", comment="c"))
        world.look(job("1", "COMPLETED", exit_code=0, confidence=Confidence.ACCOUNTING, submitted_at=None))
        self.assertEqual((world.job("1").workdir, world.job("1").comment, world.job("1").submitted_at), ("/w", "c", 100.0))
        world = World()
        world.look(job("1", "RUNNING", comment="c"))
        world.look(job("1", "SUSPENDED", comment=None))
        self.assertIsNone(world.job("1").comment, "the queue itself may take a comment away")

    def test_provisional_outcome_settles(self) -> None:
        """What is done without confirmation is settled when its grace is over, by an event."""
        world = World()
        failed = job("1", "FAILED", settled=False)
        world.look(failed)
        self.assertFalse(world.job("1").terminal)
        self.assertEqual(world.look(failed, after=5.0), [])
        self.assertEqual(world.look(failed, after=6.0), [("1", "FAILED", "FAILED")])
        self.assertTrue(world.job("1").terminal)
        self.assertEqual(world.look(failed, after=100.0), [])

    def test_preempted(self) -> None:
        """It is settled by the next look that shows it so: what is put back into the queue is so at once."""
        for grace, after in ((10.0, 1.0), (0.5, 0.5)):
            world = World(grace=grace)
            world.look(job("1", "PREEMPTED", settled=False))
            self.assertEqual(world.look(job("1", "PREEMPTED", settled=False), after=after / 2), [])
            self.assertEqual(world.look(job("1", "PREEMPTED", settled=False), after=after / 2), [("1", "PREEMPTED", "PREEMPTED")])
            self.assertTrue(world.job("1").terminal)

    def test_preempted_twice(self) -> None:
        """It has ended if a later look shows the same attempt so; what ran once is told to have run once."""
        world = World()
        times = {"started_at": 1001.0, "ended_at": 1002.0}
        world.look(job("1", "RUNNING", started_at=1001.0))
        world.look(job("1", "PREEMPTED", settled=False, **times))
        self.assertFalse(world.job("1").terminal)
        told = world.look(job("1", "PREEMPTED", settled=False, attempt=1, started_at=1002.0, ended_at=1003.0))
        self.assertEqual(told, [("1", "RUNNING", "PREEMPTED"), ("1", "PREEMPTED", "RUNNING")])
        self.assertFalse(world.job("1").terminal)
        told = world.look(job("1", "PREEMPTED", settled=False, attempt=1, started_at=1002.0, ended_at=1003.0))
        self.assertEqual(told, [("1", "PREEMPTED", "PREEMPTED")])
        self.assertTrue(world.job("1").terminal)

    def test_preempted_by_its_record(self) -> None:
        """Accounting's record of it may be followed by another: it has ended if there is none when the grace is over."""
        world = World(accounting=True)
        world.look(job("1", "RUNNING"))
        record = Outcomes({"1": job("1", "PREEMPTED", settled=False)})
        self.assertEqual(world.look(outcomes=record), [("1", "PREEMPTED", "RUNNING")])
        self.assertEqual((world.look(outcomes=record, after=9.5), world.job("1").terminal), ([], False))
        self.assertEqual(world.look(outcomes=record, after=0.5), [("1", "PREEMPTED", "PREEMPTED")])
        self.assertTrue(world.job("1").terminal)

    def test_preempted_and_requeued(self) -> None:
        """It was no end."""
        world = World()
        world.look(job("1", "PREEMPTED", settled=False))
        world.look(job("1", "QUEUED", attempt=1, submitted_at=500.0))
        self.assertEqual((world.job("1").state, world.job("1").attempt), ("QUEUED", 1))


class ArrayTests(SynchronousTestCase):
    """Arrays and their pending ranges."""

    def pending(self, tasks: str, state: str = "QUEUED") -> JobDescriptor:
        return job("7", state, pending_tasks=TaskSet.parse(tasks))

    def test_tasks_split_off(self) -> None:
        """A task that gets a row was queued before; the array runs."""
        world = World()
        self.assertEqual(world.look(self.pending("0-3")), [("7", "QUEUED", None)])
        told = world.look(self.pending("1-3"), job("7_0", "RUNNING"))
        self.assertEqual(told, [("7_0", "RUNNING", "QUEUED"), ("7", "RUNNING", "QUEUED")])
        self.assertEqual(world.job("7").counts, {"QUEUED": 3, "RUNNING": 1})

    def test_to_the_end(self) -> None:
        """When the last task ends the array does, with the worst outcome."""
        world = World()
        world.look(self.pending("0-1"))
        world.look(job("7_0", "RUNNING"), job("7_1", "RUNNING"))
        world.look(job("7_0", "COMPLETED", exit_code=0), job("7_1", "RUNNING"))
        told = world.look(job("7_0", "COMPLETED", exit_code=0), job("7_1", "FAILED", exit_code=2))
        self.assertEqual(told, [("7_1", "FAILED", "RUNNING"), ("7", "FAILED", "RUNNING")])
        self.assertEqual((world.job("7").exit_code, world.job("7").counts), (2, {"COMPLETED": 1, "FAILED": 1}))

    def test_parts_that_nobody_has_seen(self) -> None:
        """An array that may have had tasks before it was seen first is not told as completed by those that were seen."""
        for accounting, state in ((True, "UNKNOWN"), (False, "LOST")):
            world = World(all_since=200.0, finds_parts=accounting)
            world.look(job("7_1", "RUNNING"), job("7_2", "RUNNING"))
            self.assertEqual((world.job("7").state, world.job("7").flags), ("RUNNING", ("parts_unknown",)))
            world.look(job("7_1", "COMPLETED", exit_code=0), job("7_2", "COMPLETED", exit_code=0))
            whole = world.job("7")
            self.assertEqual((whole.state, whole.terminal, whole.exit_code, whole.confidence), (state, not accounting, None, Confidence.INFERRED))
            self.assertEqual((whole.counts, list(world.known.parts_unknown)), ({"COMPLETED": 2}, ["7"] if accounting else []))

    def test_parts_of_which_nobody_has_a_record(self) -> None:
        """When accounting has told all that it knows, the array is lost, and stays so; a task that runs again makes it run again."""
        world = World(all_since=200.0, finds_parts=True)
        first = job("7_1", "COMPLETED", exit_code=0)
        world.look(first)
        told = world.look(job("7_2", "COMPLETED", exit_code=0), partial=True, recorded=frozenset({"7"}))
        self.assertEqual((told[-1], world.job("7").terminal, world.job("7").flags), (("7", "LOST", "UNKNOWN"), True, ("parts_unknown",)))
        for _ in range(3):
            self.assertEqual(world.look(attrs.evolve(first, nodes="n2"))[1:], [])
        world.look(job("7_1", "RUNNING", attempt=1))
        self.assertEqual(world.job("7").state, "RUNNING")
        world.look(job("7_1", "COMPLETED", exit_code=0, attempt=1))
        self.assertEqual(world.job("7").state, "UNKNOWN")

    def test_parts_that_nobody_has_seen_and_one_that_failed(self) -> None:
        """That it failed is proved all the same."""
        world = World(all_since=200.0, finds_parts=True)
        world.look(job("7_1", "FAILED", exit_code=3), job("7_2", "COMPLETED", exit_code=0))
        self.assertEqual((world.job("7").state, world.job("7").exit_code, world.job("7").terminal), ("FAILED", 3, True))
        self.assertEqual(list(world.known.parts_unknown), [])

    def test_submitted_since_nothing_can_have_been_missed(self) -> None:
        """All of its tasks were seen, or will be."""
        for all_since in (100.0, -math.inf):
            world = World(all_since=all_since)
            world.look(job("7_1", "COMPLETED", exit_code=0))
            self.assertEqual((world.job("7").state, world.job("7").flags), ("COMPLETED", ()))

    def test_accounting_tells_of_the_parts(self) -> None:
        """Then the array ends as all of its tasks did; one that is known without them is forgotten with them."""
        for exit_code, state in ((0, "COMPLETED"), (5, "FAILED")):
            world = World(all_since=200.0, finds_parts=True)
            world.look(job("7_1", "COMPLETED", exit_code=0))
            told = world.look(job("7_0", "FAILED" if exit_code else "COMPLETED", exit_code=exit_code), partial=True, whole=frozenset({"7"}))
            self.assertEqual(told[-1], ("7", state, "UNKNOWN"))
            self.assertEqual((world.job("7").flags, list(world.known.parts_unknown)), ((), []))
            self.assertEqual(sum((world.job("7").counts or {}).values()), 2)

    def test_left_the_range_without_a_row(self) -> None:
        """Not at once. Cancelled, inferred, if no look was missed in which it can have been listed as ended; else it is lost."""
        for unbroken_since, state, pauses in ((1000.0, "CANCELLED", (1.0, 0.9)), (1002.0, "LOST", (1.0, 9.0)), (None, "LOST", (1.0, 9.0))):
            world = World(unbroken_since=unbroken_since)
            world.look(self.pending("0-5"), job("7_9", "RUNNING"))
            for after in pauses:
                self.assertEqual(world.look(self.pending("0-2,5"), job("7_9", "RUNNING"), after=after), [])
            told = world.look(self.pending("0-2,5"), job("7_9", "RUNNING"))
            self.assertEqual(told[:2], [("7_3", state, "QUEUED"), ("7_4", state, "QUEUED")])
            self.assertEqual((world.job("7_3").confidence, world.job("7_3").terminal), (Confidence.INFERRED, True))

    def test_left_the_range_where_ended_tasks_are_not_listed(self) -> None:
        """It may have run and ended: accounting says so, or, after its grace, that it was cancelled."""
        world = World(accounting=True, lists_ended=False)
        world.look(self.pending("0-5"), job("7_9", "RUNNING"))
        self.assertEqual(world.look(self.pending("0-2,5"), job("7_9", "RUNNING")), [])
        told = world.look(self.pending("0-2,5"), job("7_9", "RUNNING"), job("7_3", "FAILED", exit_code=4, started_at=1.0, ended_at=2.0))
        self.assertEqual(told[:2], [("7_3", "RUNNING", "QUEUED"), ("7_3", "FAILED", "RUNNING")])
        told = world.look(self.pending("0-2,5"), job("7_9", "RUNNING"), outcomes=no_record("7_4"), after=11.0)
        self.assertEqual(told, [("7_4", "CANCELLED", "QUEUED")])

    def test_the_whole_array_vanishes_where_ended_tasks_are_not_listed(self) -> None:
        """Each of its tasks is asked about by itself: what is true of one is not true of all."""
        world = World(accounting=True, lists_ended=False)
        world.look(self.pending("0-1"))
        self.assertEqual(world.look(), [])
        wanted = {j.id for j in wants_outcome(world.known, Snapshot({}, 0.0, 0.0))}
        self.assertEqual(wanted, {"7_0", "7_1"})
        told = world.look(outcomes=Outcomes({"7_0": job("7_0", "COMPLETED", exit_code=0)}))
        self.assertEqual([(i, s) for i, s, _ in told], [("7_0", "COMPLETED")])
        told = world.look(outcomes=NO_RECORD, after=11.0)
        self.assertEqual([(i, s) for i, s, _ in told], [("7_1", "CANCELLED"), ("7", "CANCELLED")])

    def test_back_in_the_range(self) -> None:
        """A task that was held by itself, or ran, and waits again: the range that holds it lists it."""
        world = World(accounting=True)
        world.look(self.pending("0-2,5"), job("7_3", "HELD"), job("7_4", "RUNNING"))
        told = world.look(self.pending("0-5"))
        self.assertEqual(told[:2], [("7_3", "QUEUED", "HELD"), ("7_4", "QUEUED", "RUNNING")])
        self.assertEqual((world.job("7_3").attempt, world.job("7_4").attempt), (0, 1))
        self.assertEqual(world.look(self.pending("0-5"), after=100.0), [])
        self.assertEqual(world.look(self.pending("0-2,4-5"), job("7_3", "RUNNING"))[0], ("7_3", "RUNNING", "QUEUED"))

    def test_put_back_into_the_range(self) -> None:
        """A task that had ended, and waits again, is another attempt; not one of which accounting told after the look had begun."""
        world = World(accounting=True)
        world.look(self.pending("2-5"), job("7_0", "COMPLETED", exit_code=0, observed_at=1000.0), job("7_1", "FAILED", observed_at=1002.5))
        told = world.look(self.pending("0-5"))
        self.assertEqual([(i, s) for i, s, _ in told], [("7_0", "QUEUED")])
        self.assertEqual((world.job("7_0").attempt, world.job("7_0").exit_code, world.job("7_0").settled), (1, None, False))
        past = world.job("7_0").previous_attempt
        assert past is not None
        self.assertEqual((past.attempt, past.outcome, past.exit_code), (0, Outcome.COMPLETED, 0))
        self.assertEqual(world.job("7").counts, {"FAILED": 1, "QUEUED": 5})
        self.assertEqual(world.look(self.pending("0-5"), after=1.0), [("7_1", "QUEUED", "FAILED")], "a look that began later")
        self.assertEqual(world.look(self.pending("0-5"), after=100.0), [])

    def test_an_array_whose_row_is_not_understood(self) -> None:
        """Its tasks are not absent."""
        world = World()
        world.look(self.pending("0-2"), job("7_3", "RUNNING"))
        self.assertEqual(world.look(rejected=["7"], after=100.0), [])

    def test_the_last_range_row_goes(self) -> None:
        """The rest of the range is cancelled while another task is still listed."""
        world = World(unbroken_since=0.0)
        world.look(self.pending("0-1"), job("7_9", "RUNNING"))
        self.assertEqual(world.look(job("7_9", "RUNNING")), [])
        told = world.look(job("7_9", "RUNNING"), after=10.0)
        self.assertEqual([(i, s) for i, s, _ in told], [("7_0", "CANCELLED"), ("7_1", "CANCELLED")])

    def test_the_range_ends_as_a_whole(self) -> None:
        """Every task of it ended."""
        world = World()
        world.look(self.pending("0-2"))
        ended = self.pending("0-2", "CANCELLED")
        told = world.look(ended)
        self.assertEqual([(i, s) for i, s, _ in told], [(f"7_{n}", "CANCELLED") for n in range(3)] + [("7", "CANCELLED")])
        self.assertEqual((world.look(ended), world.look()), ([], []))

    def test_the_whole_array_vanishes(self) -> None:
        """Absence is no success for a range either."""
        world = World()
        world.look(self.pending("0-2"))
        self.assertEqual(world.look(), [])
        told = world.look(after=11.0)
        self.assertEqual([(i, s) for i, s, _ in told], [(f"7_{n}", "LOST") for n in range(3)] + [("7", "LOST")])
        self.assertEqual(world.look(after=100.0), [])

    def test_the_whole_array_vanishes_and_accounting_knows(self) -> None:
        """What accounting says of the rest of an array holds for each of its tasks."""
        world = World(accounting=True)
        world.look(self.pending("0-1"))
        record = job("7", "CANCELLED", ended_at=950.0, confidence=Confidence.ACCOUNTING)
        told = world.look(outcomes=Outcomes({"7": record}))
        self.assertEqual([(i, s) for i, s, _ in told], [("7_0", "CANCELLED"), ("7_1", "CANCELLED"), ("7", "CANCELLED")])
        self.assertEqual(world.job("7_1").confidence, Confidence.ACCOUNTING)

    def test_some_of_a_vanished_array_have_run(self) -> None:
        """Accounting's record of those that never ran does not speak for the others."""
        world = World(accounting=True)
        world.look(self.pending("0-3"))
        rest = job("7", "CANCELLED", pending_tasks=TaskSet.parse("2-3"), confidence=Confidence.ACCOUNTING)
        told = world.look(outcomes=Outcomes({"7": rest}))
        self.assertEqual([(i, s) for i, s, _ in told if i != "7"], [("7_2", "CANCELLED"), ("7_3", "CANCELLED")])
        told = world.look(outcomes=Outcomes({"7_0": job("7_0", "COMPLETED", exit_code=0), "7_1": job("7_1", "FAILED", exit_code=1)}))
        self.assertEqual([(i, s) for i, s, _ in told], [("7_0", "COMPLETED"), ("7_1", "FAILED"), ("7", "FAILED")])

    def test_a_held_range(self) -> None:
        """Hold and release are the array's events, not each task's."""
        world = World()
        world.look(self.pending("0-9999"))
        self.assertEqual(world.look(self.pending("0-9999", "HELD")), [("7", "HELD", "QUEUED")])


class PropertyTests(SynchronousTestCase):
    """Whatever the scheduler says."""

    @given(
        st.lists(
            st.dictionaries(st.sampled_from(["1", "2", "7_0", "7_1"]), st.tuples(st.sampled_from(sorted(STATES)), st.integers(0, 2))),
            max_size=12,
        )
    )
    def test_each_event_begins_where_the_last_one_ended(self, looks: Any) -> None:
        """For every job, ``previous`` is the state of its last event; and the table holds what was told last."""
        world = World(first=True)
        for look in looks:
            world.look(*(job(i, state, attempt=attempt) for i, (state, attempt) in look.items()), after=4.0)
        last: dict[str, str] = {}
        for job_id, state, previous in world.told:
            self.assertEqual(previous, last.get(job_id))
            last[job_id] = state
        self.assertEqual({i: r.job.state for i, r in world.known.records.items()}, last)

    @given(st.lists(st.sampled_from(["there", "gone"]), min_size=1, max_size=12))
    def test_absence_is_never_success(self, looks: list[str]) -> None:
        """However a running job comes and goes, it is never COMPLETED unless the scheduler said so."""
        world = World()
        world.look(job("1", "RUNNING"))
        for look in looks:
            world.look(*([job("1", "RUNNING")] if look == "there" else []), after=7.0)
        self.assertNotIn("COMPLETED", [state for _, state, _ in world.told])


class BackTests(SynchronousTestCase):
    """What was gone for a while and is back as it was."""

    def test_a_job(self) -> None:
        """The very same row: its absence is over, and the next one begins anew."""
        world, row = World(), job("1", "RUNNING")
        world.look(row)
        self.assertEqual([world.look(after=after) for after in (6.0, 1.0)], [[], [("1", "FINISHING", "RUNNING")]])
        self.assertEqual(world.look(row, after=1.0), [("1", "RUNNING", "FINISHING")])
        self.assertIsNone(world.known.records["1"].detail.absent_since)
        self.assertEqual([world.look(after=after) for after in (5.0, 1.0, 6.0)], [[], [("1", "FINISHING", "RUNNING")], []])
        self.assertEqual(world.look(after=5.0), [("1", "UNKNOWN", "FINISHING")])

    def test_a_range(self) -> None:
        """So it is of an array whose tasks all wait."""
        world, row = World(), job("7", "QUEUED", pending_tasks=TaskSet.parse("0-1"))
        world.look(row)
        world.look(after=6.0)
        self.assertEqual(world.look(row, after=1.0), [])
        self.assertEqual([world.look(after=after) for after in (5.0, 6.0)], [[], []])
        self.assertIn(("7", "LOST", "QUEUED"), world.look(after=5.0))


class TimeTests(SynchronousTestCase):
    """When changes are told to have been."""

    def test_never_back(self) -> None:
        """Whatever the scheduler's clock says: a start in the future, an end before the start, a submission after it."""
        world = World()
        world.look(job("1", "QUEUED", submitted_at=5000.0))
        times = [change.at for change in world.last.changes]
        for row in (
            job("1", "RUNNING", submitted_at=5000.0, started_at=3000.0),
            job("1", "SUSPENDED", submitted_at=5000.0, started_at=3000.0),
            job("1", "COMPLETED", submitted_at=5000.0, started_at=1000.0, ended_at=900.0, nodes="n1"),
        ):
            world.look(row)
            times += [change.at for change in world.last.changes]
        self.assertEqual(times, sorted(times))
        world = World()
        world.look(job("2", "COMPLETED", submitted_at=900.0, started_at=800.0, ended_at=850.0, nodes="n1"))
        self.assertEqual([change.at for change in world.last.changes], [900.0, 900.0, 1001.0])


class ForgettingTests(SynchronousTestCase):
    """Jobs that ended are kept for as long as the administrator says, and not a moment less."""

    def test_what_has_not_ended(self) -> None:
        """However short the time is: a job that is gone is kept until it is known how it ended."""
        world = World(keep_ended=3.0)
        world.look(job("1", "RUNNING"))
        self.assertEqual([world.look(after=after) for after in (5.0, 1.0, 4.0)], [[], [("1", "FINISHING", "RUNNING")], []])
        self.assertEqual(list(world.known.records), ["1"])
        self.assertEqual(world.look(after=6.0), [("1", "UNKNOWN", "FINISHING")])

    def known_after(self, seconds: float, *listed: JobDescriptor, keep_ended: float | None = 50.0) -> list[str]:
        """What is known so many seconds after the first look, with these listed still."""
        world = World()
        world.look(
            job("1", "COMPLETED"), job("2", "RUNNING"), job("3", "PREEMPTED", settled=False), job("7_1", "COMPLETED"), job("7_2", "FAILED")
        )
        world.policy = attrs.evolve(world.policy, keep_ended=keep_ended, grace=1e9)
        world.look(*listed, after=seconds)
        return sorted(world.known.records)

    def test_when(self) -> None:
        """At the end of that time; those that have not ended for sure, never."""
        everything = ["1", "2", "3", "7", "7_1", "7_2"]
        self.assertEqual(self.known_after(0.0), everything)
        self.assertEqual(self.known_after(50.0), everything)
        self.assertEqual(self.known_after(50.1), ["2", "3"])
        self.assertEqual(self.known_after(1e6), ["2", "3"])
        self.assertEqual(self.known_after(1e6, keep_ended=None), everything)

    def test_what_is_listed_stays(self) -> None:
        """However long ago it ended; an array as long as one of its tasks is."""
        self.assertEqual(self.known_after(60.0, job("1", "COMPLETED")), ["1", "2", "3"])
        self.assertEqual(self.known_after(60.0, job("7_2", "FAILED")), ["2", "3", "7", "7_1", "7_2"])

    def test_not_twice(self) -> None:
        """What is dropped is named once, and a job that was dropped is new when it is listed again."""
        world = World()
        world.look(job("1", "COMPLETED"), job("7_1", "COMPLETED"))
        world.policy = attrs.evolve(world.policy, keep_ended=50.0)
        world.look(after=60.0)
        self.assertEqual(sorted(world.last.forgotten), [("c", "1"), ("c", "7"), ("c", "7_1")])
        world.look(after=60.0)
        self.assertEqual(world.last.forgotten, [])
        self.assertEqual(world.look(job("1", "COMPLETED"))[-1], ("1", "COMPLETED", "QUEUED"))

    def test_that_alone_is_written_down(self) -> None:
        """Nothing but what is forgotten is enough to be made durable."""
        world = World()
        seen = job("1", "COMPLETED")
        world.look(seen)
        world.look(seen)
        self.assertFalse(world.last)
        world.policy = attrs.evolve(world.policy, keep_ended=50.0)
        world.look(after=60.0)
        self.assertEqual((world.last.changes, world.last.records, bool(world.last)), ([], {}, True))


class InferredTests(SynchronousTestCase):
    """Steps that nobody saw."""

    def test_as_it_was(self) -> None:
        """A step that is inferred has nothing of what came later, and all that a job is from its begin on."""
        world = World()
        world.look()
        seen = job(
            "1", "FAILED", exit_code=3, signal=9, reason="r", reason_code=ReasonCode.ERROR, flags=("x",), native={"state": "F"},
            started_at=900.0, ended_at=950.0, nodes="n1", queue="q", name="n", user="kim", account="a", workdir="/w", comment="c",
            time_limit_s=60, source="squeue", observed_at=5.0, aliases=("9",),
        )  # fmt: skip
        world.look(seen)
        queued, running, failed = world.last.changes
        nothing = {
            "outcome": None, "settled": False, "exit_code": None, "signal": None, "reason": None, "reason_code": None, "flags": (),
            "native": {}, "ended_at": None, "confidence": Confidence.INFERRED,
        }  # fmt: skip
        self.assertTrue(running.subject.says_the_same(attrs.evolve(seen, phase=Phase.RUNNING, **nothing)))  # type: ignore[arg-type]
        nothing |= {"started_at": None, "nodes": None}
        self.assertTrue(queued.subject.says_the_same(attrs.evolve(seen, phase=Phase.QUEUED, **nothing)))  # type: ignore[arg-type]
        self.assertEqual([change.at for change in (queued, running, failed)], [100.0, 900.0, world.now])

    def test_what_is_inferred(self) -> None:
        """By the state before and the state now."""
        started = {"started_at": 900.0, "ended_at": 950.0, "nodes": "n1"}
        for before, now, fields, states in [
            (None, "QUEUED", {}, ["QUEUED"]), (None, "HELD", {}, ["HELD"]), (None, "STARTING", {}, ["QUEUED", "STARTING"]),
            (None, "RUNNING", {"submitted_at": None}, ["RUNNING"]), (None, "SUSPENDED", {"started_at": 900.0}, ["QUEUED", "RUNNING", "SUSPENDED"]),
            (None, "FINISHING", {"started_at": 900.0}, ["QUEUED", "RUNNING", "FINISHING"]), (None, "FAILED", {}, ["QUEUED", "FAILED"]),
            ("HELD", "COMPLETED", started, ["RUNNING", "COMPLETED"]), ("STARTING", "FAILED", started, ["RUNNING", "FAILED"]),
            ("QUEUED", "SUSPENDED", {"started_at": 900.0}, ["RUNNING", "SUSPENDED"]), ("QUEUED", "FAILED", {}, ["FAILED"]),
            ("RUNNING", "FAILED", started, ["FAILED"]), ("SUSPENDED", "FAILED", started, ["FAILED"]), ("FINISHING", "FAILED", started, ["FAILED"]),
            ("FAILED", "COMPLETED", {**started, "attempt": 1}, ["RUNNING", "COMPLETED"]), ("FAILED", "QUEUED", {"attempt": 1}, ["QUEUED"]),
            ("RUNNING", "COMPLETED", {**started, "attempt": 1}, ["QUEUED", "RUNNING", "COMPLETED"]), ("RUNNING", "QUEUED", {"attempt": 1}, ["QUEUED"]),
            ("QUEUED", "COMPLETED", {"started_at": 900.0, "ended_at": 900.0}, ["RUNNING", "COMPLETED"]),
            ("QUEUED", "FAILED", {"started_at": 900.0, "ended_at": 900.0, "nodes": "n1"}, ["RUNNING", "FAILED"]),
            ("QUEUED", "FAILED", {"started_at": 900.0, "ended_at": 900.0}, ["FAILED"]),
        ]:  # fmt: skip
            world = World()
            world.look(*([job("1", before)] if before else []))
            told = world.look(job("1", now, **fields))
            self.assertEqual([state for _, state, _ in told], states, (before, now, fields))
            self.assertEqual([previous for *_, previous in told], [before, *states[:-1]])


class RecordTests(SynchronousTestCase):
    """What is kept beside what is told."""

    def test_values_pass_through(self) -> None:
        """A row becomes the job as it is, in all of its fields, and so does the next row of the same job."""
        world = World()
        for number, state in enumerate(("QUEUED", "RUNNING", "FAILED")):
            seen = job(
                "1", state, exit_code=number, signal=None, reason=f"r{number}", reason_code=ReasonCode.OTHER, flags=(f"f{number}",),
                native={"state": state}, aliases=("9",), name=f"n{number}", user="kim", account=f"a{number}", started_at=900.0 + number,
                ended_at=None, queue=f"q{number}", nodes=f"n{number}", workdir=f"/w{number}", comment=f"c{number}", time_limit_s=number,
                source="squeue", observed_at=float(number),
            )  # fmt: skip
            world.look(seen)
            self.assertTrue(world.last.changes[-1].subject.says_the_same(seen))
            self.assertTrue(world.job("1").says_the_same(seen))
            self.assertEqual(world.job("1").observed_at, number)

    def test_accounting_passes_through(self) -> None:
        """What accounting says is told as it is, but for what the job is: its uid, its array, its attempt, its aliases."""
        world = World(accounting=True)
        world.look(job("7_1", "RUNNING", attempt=2, aliases=("99",)))
        record = job(
            "7_1", "FAILED", exit_code=3, started_at=900.0, ended_at=950.0, nodes="n1", queue="q", name="n", user="kim", account="a",
            reason="r", native={"state": "F"}, submitted_at=800.0, source="sacct", confidence=Confidence.ACCOUNTING, attempt=1,
        )  # fmt: skip
        record = attrs.evolve(record, parent=None, task_index=None)
        world.look(outcomes=Outcomes({"7_1": record}))
        expected = attrs.evolve(record, uid="c/7_1@100", attempt=2, aliases=("99",), parent="7", task_index=1)
        self.assertTrue(world.job("7_1").says_the_same(expected), world.job("7_1"))
        again = attrs.evolve(record, attempt=5, aliases=("98",))
        world = World(accounting=True)
        world.look(job("7_1", "RUNNING"))
        world.look(outcomes=Outcomes({"7_1": again}))
        self.assertEqual((world.job("7_1").attempt, world.job("7_1").aliases), (5, ("98",)))

    def test_history_and_number(self) -> None:
        """They outlive a look, and a requeue; those of another job by that id are none of its own."""
        step = HistoryEntry(5, 900.0, "QUEUED", 0, Confidence.OBSERVED)
        for row, kept in (
            (job("1", "RUNNING"), True), (job("1", "QUEUED", attempt=1, submitted_at=500.0), True), (job("1", "QUEUED", submitted_at=500.0), False),
        ):  # fmt: skip
            world = World()
            world.look(job("1", "QUEUED"))
            world.known.put(attrs.evolve(world.known.records["1"], last_seq=5, steps=packed((step,))))
            world.look(row)
            record = world.known.records["1"]
            self.assertEqual((record.history, record.last_seq), ((step,), 5) if kept else ((), 0), row)
            world.look()
            self.assertEqual(world.known.records["1"].history, record.history)

    def test_updated(self) -> None:
        """A record says when it was looked at last with something to say."""
        world = World()
        world.look(job("1", "RUNNING"))
        self.assertEqual(world.known.records["1"].updated_at, world.now)
        world.look(job("1", "RUNNING", reason="x"), after=7.0)
        self.assertEqual(world.known.records["1"].updated_at, world.now)

    def test_absent_and_back(self) -> None:
        """Since when a job is missing is kept from the first look without it, and forgotten when it is back, though its row is the same."""
        world = World()
        row = job("1", "RUNNING")
        world.look(row)
        world.look()
        first = world.now
        world.look(after=3.0)
        self.assertEqual(world.known.records["1"].detail.absent_since, first)
        world.look(row)
        self.assertEqual((world.known.records["1"].detail.absent_since, row_of(world.known.records["1"])), (None, row))
        world.look(after=3.0)
        self.assertEqual(world.known.records["1"].detail.absent_since, world.now)

    def test_unsettled(self) -> None:
        """Since when a job stands as done without confirmation: from the look that showed it so, anew when it was requeued."""
        world = World()
        world.look(job("1", "RUNNING"))
        world.look(job("1", "FAILED", settled=False))
        first = world.now
        world.look(job("1", "FAILED", settled=False), after=9.5)
        self.assertEqual((world.known.records["1"].detail.unsettled_since, world.job("1").settled), (first, False))
        world.look(job("1", "QUEUED", attempt=1), after=0.5)
        self.assertIsNone(world.known.records["1"].detail.unsettled_since)
        world.look(job("1", "FAILED", settled=False, attempt=1), after=5.0)
        self.assertEqual(world.known.records["1"].detail.unsettled_since, world.now)
        world.look(job("1", "FAILED", settled=False, attempt=1), after=10.0)
        self.assertEqual((world.known.records["1"].detail.unsettled_since, world.job("1").settled), (None, True))

    def test_settled_by_the_scheduler(self) -> None:
        """A confirmation is told when it comes, before the grace is over."""
        world = World()
        world.look(job("1", "PREEMPTED", settled=False))
        self.assertEqual(world.look(job("1", "PREEMPTED")), [("1", "PREEMPTED", "PREEMPTED")])
        self.assertTrue(world.job("1").terminal)

    def test_partial(self) -> None:
        """Of jobs that were asked for by name the others are not missing, and no sum is made."""
        world = World()
        world.look(job("1", "RUNNING"), job("2", "RUNNING"), job("7_1", "RUNNING"))
        named = Snapshot({"1": job("1", "FAILED", exit_code=3)}, 0.0, 0.0, partial=True)
        steps = diff(world.known, named, NOTHING_ASKED, attrs.evolve(world.policy, keep_ended=0.0), 5000.0)
        changes = result_of(steps)
        self.assertEqual([(c.subject.key[1], c.subject.state) for c in changes.changes], [("1", "FAILED")])
        self.assertEqual((list(changes.records), changes.forgotten), (["1"], []))


class RangeTests(SynchronousTestCase):
    """Pending ranges: what their tasks are, and what becomes of those that leave."""

    def pending(self, tasks: str, state: str = "QUEUED", **fields: Any) -> JobDescriptor:
        return job("7", state, pending_tasks=TaskSet.parse(tasks), **fields)

    def test_a_task_that_began(self) -> None:
        """It has left the range, and stays what its row says, also where tasks that left may have run and ended unseen."""
        for lists_ended in (True, False):
            world = World(lists_ended=lists_ended)
            world.look(self.pending("0-3"))
            told = world.look(self.pending("0,2-3"), job("7_1", "RUNNING"))
            self.assertEqual(told, [("7_1", "RUNNING", "QUEUED"), ("7", "RUNNING", "QUEUED")])
            self.assertEqual((world.known.records["7_1"].job.state, world.known.records["7_1"].detail.absent_since), ("RUNNING", None))

    def test_submitted_anew_while_it_runs(self) -> None:
        """Only of an array that has ended another time of submission means another array."""
        world = World()
        world.look(self.pending("0-3"))
        world.look(self.pending("1-3"), job("7_0", "RUNNING"))
        self.assertEqual(world.look(self.pending("2-3", submitted_at=200.0), job("7_0", "RUNNING"), job("7_1", "RUNNING")), [("7_1", "RUNNING", "QUEUED")])
        self.assertEqual(world.known.records["7"].job.counts, {"QUEUED": 2, "RUNNING": 2})

    def test_a_task_of_a_range(self) -> None:
        """It is what its range is, by an id and an index of its own."""
        row = self.pending("0-3", name="sweep", user="kim", reason="Priority", reason_code=ReasonCode.PRIORITY, aliases=("99",), counts={})
        world = World(unbroken_since=0.0)
        world.look(row)
        for after in (1.0, 10.0):
            world.look(self.pending("0-2", name="sweep", user="kim"), after=after)
        (cancelled,) = (change for change in world.last.changes if change.subject.key[1] == "7_3")
        expected = attrs.evolve(
            row, id="7_3", uid="c/7_3@100", aliases=(), parent="7", task_index=3, pending_tasks=None, counts=None, phase=Phase.DONE,
            outcome=Outcome.CANCELLED, settled=True, reason_code=None, source="absence", confidence=Confidence.INFERRED,
        )  # fmt: skip
        self.assertTrue(cancelled.subject.says_the_same(expected), cancelled.subject)
        self.assertEqual((cancelled.at, cancelled.previous), (world.now, "QUEUED"))

    def test_rows_that_are_not_understood(self) -> None:
        """A task whose own row is not understood has not left its range for good."""
        for lists_ended in (True, False):
            world = World(accounting=True, lists_ended=lists_ended)
            world.look(self.pending("0-3"), job("7_9", "RUNNING"))
            self.assertEqual(world.look(self.pending("1-3"), job("7_9", "RUNNING"), rejected=["7_0"]), [])
            self.assertNotIn("7_0", world.known.records)
            self.assertEqual(world.look(job("7_9", "RUNNING"), rejected=["7"]), [])

    def test_a_range_that_was_missing(self) -> None:
        """Its row is looked at again when it is back, though it is the same row."""
        world = World()
        row = self.pending("0-1")
        world.look(row)
        world.look()
        world.look(row)
        self.assertIsNone(world.known.records["7"].detail.absent_since)

    def test_tasks_that_leave_one_by_one(self) -> None:
        """Each is told once, whatever it became; at the end the array is what its tasks were."""
        world = World()
        world.look(self.pending("0-3"))
        for rest, task, state in (("1-3", "7_0", "RUNNING"), ("2-3", "7_1", "RUNNING"), ("3", "7_2", "RUNNING"), (None, "7_3", "RUNNING")):
            rows = [job(f"7_{n}", "RUNNING") for n in range(int(task[2:]) + 1)]
            told = world.look(*([self.pending(rest)] if rest else []), *rows)
            self.assertEqual(told[0], (task, state, "QUEUED"))
        self.assertEqual((world.job("7").counts, world.job("7").pending_tasks), ({"RUNNING": 4}, None))
        self.assertIsNone(world.known.records["7"].detail.range_row)
        told = world.look(*(job(f"7_{n}", "COMPLETED", exit_code=0) for n in range(4)))
        self.assertEqual(told[-1], ("7", "COMPLETED", "RUNNING"))

    def test_an_array_begins_again(self) -> None:
        """When a task of an array that has ended is requeued, that is another attempt of the array, and stays one."""
        world = World()
        world.look(job("7_0", "FAILED", exit_code=1), job("7_1", "COMPLETED", exit_code=0))
        self.assertEqual((world.job("7").attempt, world.job("7").exit_code), (0, 1))
        world.look(job("7_0", "RUNNING", attempt=1), job("7_1", "COMPLETED", exit_code=0))
        self.assertEqual((world.job("7").state, world.job("7").attempt, world.job("7").exit_code), ("RUNNING", 1, None))
        world.look(job("7_0", "COMPLETED", attempt=1, exit_code=0), job("7_1", "COMPLETED", exit_code=0))
        self.assertEqual((world.job("7").state, world.job("7").attempt), ("COMPLETED", 1))

    def test_ended_at_the_first_look(self) -> None:
        """A range that has ended before jobpush first looked is told as it is, without a past."""
        world = World(first=True)
        told = world.look(self.pending("0-1", "CANCELLED"))
        self.assertEqual(told, [("7_0", "CANCELLED", None), ("7_1", "CANCELLED", None), ("7", "CANCELLED", None)])
        world = World()
        world.look()
        told = world.look(self.pending("0-1", "CANCELLED"))
        self.assertEqual(told[:2], [("7_0", "CANCELLED", "QUEUED"), ("7_1", "CANCELLED", "QUEUED")])


def result_of(steps: Any) -> Any:
    """What a generator returns."""
    try:
        while True:
            next(steps)
    except StopIteration as end:
        return end.value


class MovedTests(SynchronousTestCase):
    """Jobs that another cluster of the federation took: what is waited for then is in tests/web/routes/test_moved.py."""

    def world(self, **there: str) -> World:
        """One of which some jobs are known to be elsewhere by now."""
        return World(moved_to=lambda job: there.get(f"_{job.id}"))

    def test_known(self) -> None:
        """Moved, and where to, in one step; it stays so, listed or not, and nothing more is told."""
        world = self.world(_1="d/1")
        world.look(job("1", "QUEUED"))
        self.assertEqual(world.look(job("1", "MOVED")), [("1", "MOVED", "QUEUED")])
        self.assertEqual((world.job("1").moved_to, world.job("1").terminal), ("d/1", True))
        self.assertEqual(world.look(job("1", "MOVED", reason="again")) + world.look() + world.look(), [])
        self.assertEqual(world.job("1").moved_to, "d/1")

    def test_new(self) -> None:
        """A job that is moved when it is seen first."""
        world = self.world(_1="d/1")
        self.assertEqual(world.look(job("1", "MOVED")), [("1", "QUEUED", None), ("1", "MOVED", "QUEUED")])
        self.assertEqual(world.job("1").moved_to, "d/1")

    def test_known_later(self) -> None:
        """As long as it is not known it is not settled; found later, while its row is unchanged, or when it has none any more."""
        for listed in (True, False):
            there: dict[str, str] = {}
            world = World(moved_to=lambda job, there=there: there.get(job.id))
            row = job("1", "MOVED")
            world.look(job("1", "QUEUED"))
            self.assertEqual(world.look(row), [("1", "MOVED", "QUEUED")])
            self.assertFalse(world.job("1").settled)
            rows = [row] if listed else []
            self.assertEqual(world.look(*rows), [])
            there["1"] = "d/1"
            self.assertEqual(world.look(*rows), [("1", "MOVED", "MOVED")], listed)
            self.assertEqual((world.job("1").moved_to, world.job("1").settled), ("d/1", True))

    def test_never_known(self) -> None:
        """Once the grace is over it is settled without, and stays so; what is found even later is still told."""
        there: dict[str, str] = {}
        world = World(moved_to=lambda job: there.get(job.id))
        row = job("1", "MOVED")
        world.look(job("1", "QUEUED"))
        world.look(row)
        self.assertEqual(world.look(row, after=11.0), [("1", "MOVED", "MOVED")])
        self.assertEqual((world.job("1").settled, world.look(row), world.look(), world.job("1").terminal), (True, [], [], True))
        there["1"] = "d/1"
        self.assertEqual(world.look(), [("1", "MOVED", "MOVED")])
        self.assertEqual(world.job("1").moved_to, "d/1")

    def test_record(self) -> None:
        """One that is not listed any more, of which accounting says that it was moved."""
        world = self.world(_1="d/1")
        world.look(job("1", "QUEUED"))
        moved = Outcomes({"1": job("1", "MOVED", confidence=Confidence.ACCOUNTING)})
        self.assertEqual(world.look(outcomes=moved), [("1", "MOVED", "QUEUED")])
        self.assertEqual((world.job("1").moved_to, world.job("1").terminal), ("d/1", True))

    def test_one_cluster(self) -> None:
        """Where no other cluster is watched, that it was moved is settled at once."""
        world = World()
        world.look(job("1", "MOVED"))
        self.assertTrue(world.job("1").terminal)
