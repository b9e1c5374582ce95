"""What a client gets."""

from __future__ import annotations

import datetime

from twisted.trial.unittest import SynchronousTestCase

from jobpush_client import ApiError, ChangeEvent, Job, Met, Step, WaitTimeout, WorkflowStatus
from tests.client.cli.jobs import job

AT = datetime.datetime(2026, 11, 22, 6, 0, 0, 250000, tzinfo=datetime.timezone.utc)
TEXT = "2026-11-22T06:00:00.250Z"


class ValueTests(SynchronousTestCase):
    """The fields of the protocol by their names here."""

    def test_job(self) -> None:
        """Of one of which all is known, and of one of which little is."""
        full = Job({
            "cluster": "slurm", "id": "4711", "state": "FAILED", "phase": "DONE", "outcome": "FAILED", "settled": True, "exit_code": 3, "signal": 9, "name": "n",
            "user": "kim", "reason": "why", "submitted_at": TEXT, "started_at": TEXT, "ended_at": TEXT, "new": 1,
        })  # fmt: skip
        self.assertEqual((full.cluster, full.id, full.key, full.state, full.phase, full.outcome, full.terminal, full.succeeded),
                         ("slurm", "4711", "slurm/4711", "FAILED", "DONE", "FAILED", True, False))  # fmt: skip
        self.assertEqual((full.exit_code, full.signal, full.name, full.user, full.reason), (3, 9, "n", "kim", "why"))
        self.assertEqual((full.submitted_at, full.started_at, full.ended_at), (AT, AT, AT))
        self.assertEqual((full["new"], full.get("new"), full.get("old"), full.get("old", 5)), (1, 1, None, 5))
        self.assertRaises(KeyError, lambda: full["old"])
        self.assertEqual(repr(full), "<Job slurm/4711 FAILED>")
        bare = Job({"cluster": "c", "id": "1", "state": "RUNNING", "phase": "RUNNING"})
        self.assertEqual((bare.outcome, bare.exit_code, bare.signal, bare.name, bare.user, bare.reason, bare.submitted_at, bare.started_at, bare.ended_at), (None,) * 9)
        self.assertFalse(bare.terminal)

    def test_ends(self) -> None:
        """An end counts when it is confirmed, and is good when it is COMPLETED."""
        self.assertTrue(job("COMPLETED").terminal and job("COMPLETED").succeeded)
        self.assertFalse(job("COMPLETED", settled=False).terminal)
        self.assertFalse(job("RUNNING", phase="RUNNING", settled=True).terminal)

    def test_met(self) -> None:
        """A job or a workflow."""
        met = Met({"job": "slurm/1", "state": "FAILED", "exit_code": 3, "signal": 9, "reason": "why"})
        self.assertEqual((met.key, met.exit_code, met.signal, met.reason, repr(met)), ("slurm/1", 3, 9, "why", "<Met slurm/1 FAILED>"))
        self.assertEqual(Met({"workflow": "w", "state": "COMPLETED"}).key, "w")
        bare = Met({"job": "slurm/1", "state": "RUNNING"})
        self.assertEqual((bare.exit_code, bare.signal, bare.reason), (None, None, None))

    def test_workflow(self) -> None:
        """How far it is, and what went wrong first."""
        fields = {"name": "w", "state": "RUNNING", "phase": "RUNNING", "settled": False, "progress": 1, "counts": {"RUNNING": 1}, "first_failure": {"job": "x"}}
        workflow = WorkflowStatus(fields)
        self.assertEqual((workflow.name, workflow.progress, workflow.counts, workflow.first_failure), ("w", 1.0, {"RUNNING": 1}, {"job": "x"}))
        self.assertEqual(repr(workflow), "<WorkflowStatus w RUNNING 100%>")
        self.assertEqual([WorkflowStatus({**fields, "phase": phase, "settled": settled}).terminal for phase, settled in (("DONE", True), ("DONE", False), ("RUNNING", True))],
                         [True, False, False])  # fmt: skip
        self.assertIsNone(WorkflowStatus({"name": "w", "state": "RUNNING"}).first_failure)

    def test_events_and_steps(self) -> None:
        """What happened, when, and to what."""
        event = ChangeEvent({"type": "job", "cursor": "e-1", "at": TEXT, "job": job().fields, "previous": {"state": "QUEUED"}})
        self.assertEqual((event.kind, event.cursor, event.at, event.previous, event.workflow), ("job", "e-1", AT, "QUEUED", None))
        self.assertEqual(repr(event), "<ChangeEvent e-1 <Job slurm/1 RUNNING>>")
        other = ChangeEvent({"type": "workflow", "cursor": "e-2", "at": TEXT, "workflow": {"name": "w", "state": "RUNNING", "progress": 0.5}, "previous": None})
        self.assertEqual((other.kind, other.job, other.previous, repr(other)), ("workflow", None, None, "<ChangeEvent e-2 <WorkflowStatus w RUNNING 50%>>"))
        step = Step({"state": "RUNNING", "at": TEXT})
        self.assertEqual((step.state, step.at, repr(step)), ("RUNNING", AT, f"<Step RUNNING {TEXT}>"))

    def test_errors(self) -> None:
        """What the server said, and what was known when the time was up."""
        error = ApiError(404, "there is no job", {"parameter": "id"})
        self.assertEqual((str(error), error.status, error.parameter, error.fields), ("there is no job", 404, "id", {"parameter": "id"}))
        self.assertIsNone(ApiError(500, "x", {}).parameter)
        late = WaitTimeout("the time is up", None)
        self.assertEqual((str(late), late.last), ("the time is up", None))
