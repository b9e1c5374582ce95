"""What was known and what a snapshot says, compared."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from jobpush.core.absence import wants_outcome
from jobpush.core.model import STATES, Confidence, JobDescriptor, Outcomes, Snapshot
from jobpush.core.tasks import TaskSet
from tests.core.world import World, job


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
        from jobpush.core.model import ReasonCode

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
        self.assertEqual((running.at, running.job.confidence, running.job.exit_code), (900.0, Confidence.INFERRED, None))

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
        preempted = job("1", "PREEMPTED", settled=False)
        world.look(preempted)
        self.assertFalse(world.job("1").terminal)
        self.assertEqual(world.look(preempted, after=5.0), [])
        self.assertEqual(world.look(preempted, after=6.0), [("1", "PREEMPTED", "PREEMPTED")])
        self.assertTrue(world.job("1").terminal)
        self.assertEqual(world.look(preempted, after=100.0), [])

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

    def test_left_the_range_without_a_row(self) -> None:
        """Cancelled, inferred."""
        world = World()
        world.look(self.pending("0-5"), job("7_9", "RUNNING"))
        told = world.look(self.pending("0-2,5"), job("7_9", "RUNNING"))
        self.assertEqual(told, [("7_3", "CANCELLED", "QUEUED"), ("7_4", "CANCELLED", "QUEUED")])
        self.assertEqual(world.job("7_3").confidence, Confidence.INFERRED)

    def test_left_the_range_where_ended_tasks_are_not_listed(self) -> None:
        """It may have run and ended: accounting says so, or, after its grace, that it was cancelled."""
        world = World(accounting=True, lists_ended=False)
        world.look(self.pending("0-5"), job("7_9", "RUNNING"))
        self.assertEqual(world.look(self.pending("0-2,5"), job("7_9", "RUNNING")), [])
        told = world.look(self.pending("0-2,5"), job("7_9", "RUNNING"), job("7_3", "FAILED", exit_code=4, started_at=1.0, ended_at=2.0))
        self.assertEqual(told[:2], [("7_3", "RUNNING", "QUEUED"), ("7_3", "FAILED", "RUNNING")])
        told = world.look(self.pending("0-2,5"), job("7_9", "RUNNING"), outcomes=Outcomes(True), after=11.0)
        self.assertEqual(told, [("7_4", "CANCELLED", "QUEUED")])

    def test_the_whole_array_vanishes_where_ended_tasks_are_not_listed(self) -> None:
        """Each of its tasks is asked about by itself: what is true of one is not true of all."""
        world = World(accounting=True, lists_ended=False)
        world.look(self.pending("0-1"))
        self.assertEqual(world.look(), [])
        wanted = {j.id for j in wants_outcome(world.known, Snapshot({}, 0.0, 0.0))}
        self.assertEqual(wanted, {"7_0", "7_1"})
        told = world.look(outcomes=Outcomes(True, {"7_0": job("7_0", "COMPLETED", exit_code=0)}))
        self.assertEqual([(i, s) for i, s, _ in told], [("7_0", "COMPLETED")])
        told = world.look(outcomes=Outcomes(True), after=11.0)
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

    def test_an_array_whose_row_is_not_understood(self) -> None:
        """Its tasks are not absent."""
        world = World()
        world.look(self.pending("0-2"), job("7_3", "RUNNING"))
        self.assertEqual(world.look(rejected=["7"], after=100.0), [])

    def test_the_last_range_row_goes(self) -> None:
        """The rest of the range is cancelled while another task is still listed."""
        world = World()
        world.look(self.pending("0-1"), job("7_9", "RUNNING"))
        told = world.look(job("7_9", "RUNNING"))
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
        told = world.look(outcomes=Outcomes(True, {"7": record}))
        self.assertEqual([(i, s) for i, s, _ in told], [("7_0", "CANCELLED"), ("7_1", "CANCELLED"), ("7", "CANCELLED")])
        self.assertEqual(world.job("7_1").confidence, Confidence.ACCOUNTING)

    def test_some_of_a_vanished_array_have_run(self) -> None:
        """Accounting's record of those that never ran does not speak for the others."""
        world = World(accounting=True)
        world.look(self.pending("0-3"))
        rest = job("7", "CANCELLED", pending_tasks=TaskSet.parse("2-3"), confidence=Confidence.ACCOUNTING)
        told = world.look(outcomes=Outcomes(True, {"7": rest}))
        self.assertEqual([(i, s) for i, s, _ in told if i != "7"], [("7_2", "CANCELLED"), ("7_3", "CANCELLED")])
        told = world.look(outcomes=Outcomes(True, {"7_0": job("7_0", "COMPLETED", exit_code=0), "7_1": job("7_1", "FAILED", exit_code=1)}))
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
