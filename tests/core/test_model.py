"""Values: states and cursors."""

from __future__ import annotations

import attrs
from twisted.trial.unittest import SynchronousTestCase

from jobpush.core.model import (
    STATES,
    Confidence,
    JobDescriptor,
    Outcome,
    PastAttempt,
    Phase,
    ReasonCode,
    split_state,
)
from jobpush.core.tasks import TaskSet
from tests.core.world import job


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


    def test_uid_of_nothing(self) -> None:
        """Where no time of submission is known the uid says 0; one that is given stays."""
        self.assertEqual(JobDescriptor(cluster="c", id="1", phase=Phase.QUEUED).uid, "c/1@0")
        self.assertEqual(JobDescriptor(cluster="c", id="1", phase=Phase.QUEUED, uid="mine", submitted_at=5.0).uid, "mine")

    def test_questions(self) -> None:
        """Ended, ended for sure, begun."""
        for state, settled, done, terminal, started in [
            ("QUEUED", False, False, False, False), ("HELD", False, False, False, False), ("STARTING", False, False, False, False),
            ("UNKNOWN", False, False, False, False), ("RUNNING", False, False, False, True), ("SUSPENDED", False, False, False, True),
            ("FINISHING", True, False, False, True), ("FAILED", False, True, False, True), ("FAILED", True, True, True, True),
        ]:  # fmt: skip
            phase, outcome = split_state(state)
            job = JobDescriptor(cluster="c", id="1", phase=phase, outcome=outcome, settled=settled)
            self.assertEqual((job.done, job.terminal, job.started), (done, terminal, started), (state, settled))

    def test_moved(self) -> None:
        """By what the job is found that one has become in another cluster."""
        self.assertEqual(job("8", "MOVED", moved_to="second/8[3].x").moved_key, ("second", "8[3].x"))
        self.assertIsNone(job("8", "MOVED").moved_key)

    def test_the_same(self) -> None:
        """Two descriptors say the same if all of their fields do, but for when they were observed."""
        job = JobDescriptor(cluster="c", id="1", phase=Phase.QUEUED)
        self.assertTrue(job.says_the_same(attrs.evolve(job, observed_at=5.0)))
        others = {
            "cluster": "d", "id": "2", "phase": Phase.HELD, "settled": True, "attempt": 1, "exit_code": 0, "signal": 9, "reason": "r",
            "reason_code": ReasonCode.OTHER, "flags": ("x",), "native": {"a": "b"}, "aliases": ("9",), "uid": "u", "name": "n", "user": "u",
            "account": "a", "submitted_at": 0.0, "started_at": 0.0, "ended_at": 0.0, "queue": "q", "nodes": "n", "workdir": "/", "comment": "c",
            "time_limit_s": 0, "source": "s", "confidence": Confidence.INFERRED, "parent": "7", "task_index": 0, "pending_tasks": TaskSet(), "counts": {},
            "previous_attempt": PastAttempt(0), "moved_to": "d/1",
        }  # fmt: skip
        self.assertEqual({*others, "outcome", "observed_at"}, {field.name.lstrip("_") for field in attrs.fields(JobDescriptor)})
        visible = set()
        for name, value in others.items():
            other = attrs.evolve(job, **{name: value})
            self.assertFalse(job.says_the_same(other), name)
            if other.visible() != job.visible():
                visible.add(name)
        self.assertEqual(visible, {
            "phase", "settled", "attempt", "exit_code", "signal", "reason_code", "queue", "nodes", "started_at", "ended_at", "flags", "moved_to",
        }, "what makes an event")  # fmt: skip
        ended = attrs.evolve(job, phase=Phase.DONE, outcome=Outcome.FAILED)
        self.assertNotEqual(ended.visible(), attrs.evolve(ended, outcome=Outcome.TIMEOUT).visible())
