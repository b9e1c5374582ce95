"""Values: states and cursors."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from jobpush.core.model import (
    STATES,
    Cursor,
    JobDescriptor,
    Outcome,
    Phase,
    split_state,
)


class StateTests(SynchronousTestCase):
    """Flat states, phases, outcomes."""

    def test_flat_states(self) -> None:
        """Each stands for a phase, or for DONE and an outcome, and back."""
        for state in STATES:
            phase, outcome = split_state(state)
            job = JobDescriptor(cluster="c", id="1", phase=phase, outcome=outcome)
            self.assertEqual(job.state, state)
            self.assertEqual(job.done, outcome is not None)
        self.assertNotIn("DONE", STATES)
        self.assertRaises(ValueError, split_state, "DONE")

    def test_no_outcome_before_the_end(self) -> None:
        """A job has an outcome exactly if it is done."""
        for phase, outcome in ((Phase.RUNNING, Outcome.COMPLETED), (Phase.DONE, None)):
            self.assertRaises(ValueError, JobDescriptor, cluster="c", id="1", phase=phase, outcome=outcome)

    def test_uid(self) -> None:
        """Ids recur; with the time of submission they do not."""
        job = JobDescriptor(cluster="c", id="1", phase=Phase.QUEUED, submitted_at=1795328900.4)
        self.assertEqual(job.uid, "c/1@1795328900")


class CursorTests(SynchronousTestCase):
    """`Cursor`."""

    @given(st.from_regex(r"[0-9a-f]{1,16}", fullmatch=True), st.integers(0, 10**17))
    def test_round_trip(self, epoch: str, seq: int) -> None:
        """Its text reads back as itself."""
        self.assertEqual(Cursor.parse(str(Cursor(epoch, seq))), Cursor(epoch, seq))

    @given(st.text())
    def test_anything(self, text: str) -> None:
        """Other texts are refused with a ValueError, and nothing else."""
        try:
            self.assertEqual(str(Cursor.parse(text)).partition("-")[0], text.partition("-")[0])
        except ValueError:
            pass
