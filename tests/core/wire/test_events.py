"""Events and records as JSON, and back."""

from __future__ import annotations

import json

import attrs
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from jobpush.core import wire
from jobpush.core.model import JobDescriptor, Outcome, Phase
from jobpush.core.record import AS_LISTED, UNSEEN, Change, Record, Sighting, packed, row_of
from jobpush.core.workflow import FirstFailure, Membership, Workflow, WorkflowMember
from tests.core.wire.samples import BARE, EPOCHS, FULL, HISTORY, jobs


class EventTests(SynchronousTestCase):
    """Events, in their one encoding."""

    def test_job(self) -> None:
        """With number, cursor, kind, time, the job and its state before; and back."""
        for previous, shown in ((None, None), ("RUNNING", {"state": "RUNNING"})):
            event = wire.number("e", 5, Change(FULL, previous, 9.5))
            self.assertEqual(json.loads(event.data), {
                "seq": 5, "cursor": "e-5", "type": "job", "at": "1970-01-01T00:00:09.500Z", "job": json.loads(wire.job_bytes(FULL)), "previous": shown,
            })  # fmt: skip
            self.assertEqual((event.seq, event.at, event.previous, event.key, event.parent, event.kind), (5, 9.5, previous, ("c", "7_1"), "7", "job"))
            again = wire.event_from_bytes(event.data)
            self.assertEqual((again.seq, again.at, again.previous, again.data), (5, 9.5, previous, event.data))
            self.assertTrue(again.job.says_the_same(FULL))

    def test_workflow(self) -> None:
        """The same for a workflow."""
        failure = FirstFailure(("c", "7_1"), ("c", "7"), "FAILED", 8.5, 3, 9, "r")
        workflow = Workflow("w", Phase.DONE, Outcome.FAILED, True, {"COMPLETED": 2, "FAILED": 1}, failure, 5.0, 9.0, found=True, deleted=True)
        for each in (workflow, Workflow("w", Phase.RUNNING, counts={"RUNNING": 1}), attrs.evolve(workflow, settled=False, deleted=False, found=False)):
            for previous in (None, "RUNNING"):
                event = wire.number("e", 5, Change(each, previous, 9.5))
                shown = json.loads(event.data)
                self.assertEqual((shown["seq"], shown["cursor"], shown["type"], shown["at"]), (5, "e-5", "workflow", "1970-01-01T00:00:09.500Z"))
                self.assertEqual((shown["workflow"], shown["previous"]), (wire.workflow_fields(each), previous and {"state": previous}))
                again = wire.event_from_bytes(event.data)
                self.assertEqual((again.seq, again.at, again.previous, again.data, again.key), (5, 9.5, previous, event.data, ("", "w")))
                self.assertEqual(attrs.asdict(again.subject), attrs.asdict(each))
        self.assertEqual(wire.workflow_fields(workflow), {
            "name": "w", "state": "FAILED", "phase": "DONE", "outcome": "FAILED", "settled": True, "progress": 1.0, "counts": {"COMPLETED": 2, "FAILED": 1},
            "first_failure": {"job": "c/7_1", "member": "c/7", "state": "FAILED", "exit_code": 3, "signal": 9, "reason": "r", "at": "1970-01-01T00:00:08.500Z"},
            "started_at": "1970-01-01T00:00:05.000Z", "ended_at": "1970-01-01T00:00:09.000Z", "found": True, "deleted": True,
        })  # fmt: skip
        self.assertEqual(wire.workflow_fields(Workflow("w", counts={"RUNNING": 2, "COMPLETED": 1})), {
            "name": "w", "state": "UNKNOWN", "phase": "UNKNOWN", "outcome": None, "settled": False, "progress": 0.3333, "counts": {"RUNNING": 2, "COMPLETED": 1},
            "first_failure": None, "started_at": None, "ended_at": None, "found": False,
        })  # fmt: skip

    @settings(max_examples=60, deadline=None)
    @given(jobs(), st.none() | st.sampled_from(["QUEUED", "COMPLETED"]), st.integers(1, 2**60))
    def test_encoded_once(self, job: JobDescriptor, previous: str | None, seq: int) -> None:
        """What is taken from the bytes of a job's event is what would be made anew."""
        event = wire.number("e", seq, Change(job, previous, 1795327200.5))
        record = Record(job, Sighting(None, 1.5, None, job), 3.25).told(event)
        self.assertEqual(wire.record_bytes(record, event), wire.record_bytes(record))
        self.assertEqual(wire.shown_bytes(EPOCHS, job, record.history, event), wire.shown_bytes(EPOCHS, job, record.history))
        self.assertEqual(json.loads(event.data)["job"], json.loads(wire.job_bytes(job)))

    def test_encoded_once_of_a_workflow(self) -> None:
        """The same for workflows; the bytes of an event of something else are not taken."""
        workflow, other = Workflow('"job":', Phase.RUNNING), Workflow("w", Phase.HELD)
        event = wire.number("e", 7, Change(workflow, None, 0.0))
        record = Record(workflow, Membership(edges=((("c", "1"), ("c", "2")),)))
        self.assertEqual(wire.record_bytes(record, event), wire.record_bytes(record))
        self.assertIn(b'"name":"w"', wire.record_bytes(Record(other, Membership()), event))


class RecordTests(SynchronousTestCase):
    """What the journal keeps."""

    def test_records(self) -> None:
        """A known job reads back as itself, but for its row: after a restart every job is compared once."""
        full = Record(FULL, Sighting(FULL, 1.5, 2.5, attrs.evolve(FULL, id="7")), 3.5, 9, packed(HISTORY))
        for record in (full, Record(BARE, UNSEEN), Record(BARE, AS_LISTED), Record(BARE, Sighting(absent_since=0.0, unsettled_since=0.0))):
            again = wire.job_record_from_bytes(wire.record_bytes(record))
            self.assertIsNone(row_of(again))
            self.assertTrue(again.job.says_the_same(record.job))
            seen, before = again.detail, record.detail
            self.assertEqual((seen.absent_since, seen.unsettled_since), (before.absent_since, before.unsettled_since))
            self.assertEqual((again.updated_at, again.last_seq, again.history), (record.updated_at, record.last_seq, record.history))
            if before.range_row is None:
                self.assertIsNone(seen.range_row)
            else:
                assert seen.range_row is not None
                self.assertTrue(seen.range_row.says_the_same(before.range_row))

    def test_workflows(self) -> None:
        """A workflow's record and its members read back as themselves."""
        members = {("c", "1"): WorkflowMember.of(FULL), ("c", "2"): WorkflowMember(), ("d", "x/y"): WorkflowMember.of(BARE)}
        for member in members.values():
            self.assertEqual(wire.member_from_bytes(wire.member_bytes(member)), member)
        workflow = Workflow("w", Phase.RUNNING, counts={"RUNNING": 1})
        record = Record(workflow, Membership({}, ((("c", "1"), ("d", "x/y")),)), 3.5, 9, packed(HISTORY))
        again = wire.workflow_record_from_bytes(wire.record_bytes(record), members)
        self.assertEqual((again.detail.members, again.detail.edges), (members, record.detail.edges))
        self.assertEqual((again.updated_at, again.last_seq, again.history), (3.5, 9, HISTORY))
        self.assertEqual(attrs.asdict(again.subject), attrs.asdict(workflow))
