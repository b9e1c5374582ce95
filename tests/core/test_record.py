"""One change, one event, one record, whatever the subject."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from jobpush.core.model import STATES, Confidence, JobDescriptor, Phase
from jobpush.core.record import (
    HISTORY_LENGTH,
    UNSEEN,
    Change,
    Event,
    HistoryEntry,
    JobRecord,
    JobStatusEvent,
    Record,
    Subject,
    packed,
    row_of,
    sighting,
)
from jobpush.core.wire import event_from_bytes, number
from jobpush.core.workflow import Membership, Workflow


def event(seq: int, subject: Subject, previous: str | None = None) -> Event:
    """An event of that subject."""
    return number("e", seq, Change(subject, previous, 10.0 + seq))


def job(phase: Phase, uid: str = "") -> JobDescriptor:
    """A job in that phase."""
    return JobDescriptor(cluster="c", id="1", phase=phase, uid=uid)


class EventTests(SynchronousTestCase):
    """`Event`."""

    def test_of_a_job(self) -> None:
        """It has the job, for listeners, under the name that their interface gives the class."""
        running = job(Phase.RUNNING)
        told = event(1, running)
        self.assertIsInstance(told, JobStatusEvent)
        self.assertEqual((told.job, told.kind, told.key), (running, "job", ("c", "1")))

    def test_of_a_workflow(self) -> None:
        """It has no job."""
        told = event(1, Workflow("w", Phase.RUNNING))
        self.assertEqual((told.kind, told.key, told.parent), ("workflow", ("", "w"), None))
        self.assertFalse(hasattr(told, "job"))

    def test_read_back(self) -> None:
        """Either kind is what it was when it is read from its bytes."""
        for subject in (job(Phase.HELD), Workflow("w", Phase.HELD, counts={"HELD": 2})):
            told = event(7, subject, "QUEUED")
            found = event_from_bytes(told.data)
            self.assertEqual((found.seq, found.at, found.previous, found.data), (7, 17.0, "QUEUED", told.data))
            self.assertEqual((type(found.subject), found.key, found.subject.visible()), (type(subject), told.key, subject.visible()))


class RecordTests(SynchronousTestCase):
    """`Record`."""

    def record(self) -> JobRecord:
        """A job's record without a history."""
        return Record(job(Phase.RUNNING), UNSEEN)

    def test_each_event_of_a_job_is_a_step(self) -> None:
        """Two events with one state are two steps."""
        record = self.record().told(event(1, job(Phase.RUNNING))).told(event(4, job(Phase.RUNNING)))
        self.assertEqual([(step.seq, step.at, step.state) for step in record.history], [(1, 11.0, "RUNNING"), (4, 14.0, "RUNNING")])
        self.assertEqual(record.last_seq, 4)

    def test_each_state_of_a_workflow_is_a_step(self) -> None:
        """Two events with one state are one step; the record has the number of the last."""
        workflow = Workflow("w", Phase.RUNNING)
        record = Record(workflow, Membership()).told(event(1, workflow)).told(event(4, workflow))
        self.assertEqual([step.seq for step in record.history], [1])
        self.assertEqual(record.last_seq, 4)

    def test_another_job_by_the_same_id(self) -> None:
        """The event that ended the job before is no step of this one."""
        record = self.record().told(event(1, job(Phase.RUNNING, uid="another")))
        self.assertEqual((record.history, record.last_seq), ((), 1))

    def test_length(self) -> None:
        """The oldest steps are dropped."""
        record = self.record()
        for seq in range(1, HISTORY_LENGTH + 3):
            record = record.told(event(seq, job(Phase.RUNNING)))
        self.assertEqual([step.seq for step in record.history], list(range(3, HISTORY_LENGTH + 3)))

    def test_as_of(self) -> None:
        """What came after an event is not in the record as of that event."""
        queued = event(1, job(Phase.QUEUED))
        record = self.record().told(queued).told(event(2, job(Phase.RUNNING)))
        before = record.as_of(queued)
        self.assertEqual((before.subject.state, before.last_seq, [step.state for step in before.history]), ("QUEUED", 1, ["QUEUED"]))


class HistoryTests(SynchronousTestCase):
    """Histories are kept packed."""

    @given(
        st.lists(
            st.builds(
                HistoryEntry, st.integers(0, 2**62), st.floats(0, 4e9), st.sampled_from(sorted(STATES)), st.integers(0, 2**62),
                st.sampled_from(Confidence),
            ),
            max_size=5,
        )
    )  # fmt: skip
    def test_unpacked(self, history: list[HistoryEntry]) -> None:
        """What was packed comes back as it was."""
        self.assertEqual(Record(job(Phase.HELD), UNSEEN, steps=packed(history)).history, tuple(history))

    def test_an_attempt_beyond_all_bounds(self) -> None:
        """A number that no scheduler counts to does not keep the job from being told."""
        entry = HistoryEntry(1, 0.0, "HELD", 2**80, Confidence.OBSERVED)
        self.assertEqual(Record(job(Phase.HELD), UNSEEN, steps=packed([entry])).history[0].attempt, 2**63 - 1)


class SightingTests(SynchronousTestCase):
    """How a job is seen."""

    def test_nothing_to_remember(self) -> None:
        """A job that is as its row says, and one that was not compared yet, share one value."""
        running, other = job(Phase.RUNNING), job(Phase.RUNNING)
        self.assertIs(sighting(running, running), sighting(other, other))
        self.assertIs(sighting(running, None), UNSEEN)
        self.assertEqual([row_of(Record(running, sighting(running, row))) for row in (running, other, None)], [running, other, None])

    def test_something_to_remember(self) -> None:
        """It is unsettled by what time can change."""
        running = job(Phase.RUNNING)
        for fields, unsettled in (((5.0, None), True), ((None, 5.0), True), ((None, None, running), False)):
            seen = sighting(running, running, *fields)
            self.assertEqual((seen.row, seen.unsettled), (running, unsettled))
