"""Values to bytes and back."""

from __future__ import annotations

import json
from typing import Any

import attrs
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from jobpush.core import wire
from jobpush.core.model import (
    Change,
    Confidence,
    HistoryEntry,
    JobDescriptor,
    JobRecord,
    JobStatusEvent,
    Outcome,
    Phase,
    ReasonCode,
)
from jobpush.core.tasks import TaskSet
from jobpush.core.workflow import FirstFailure, Member, Workflow, WorkflowChange, WorkflowEvent, WorkflowRecord

#: A job of which every field is said.
FULL = JobDescriptor(
    cluster="c", id="7_1", phase=Phase.DONE, outcome=Outcome.FAILED, settled=True, attempt=2, exit_code=3, signal=9, reason="r",
    reason_code=ReasonCode.ERROR, flags=("x", "y"), native={"state": "F", "a": "b"}, aliases=("71",), uid="c/7_1@5", name="naïve 🚀\n", user="kim",
    account="bio", submitted_at=5.0, started_at=6.25, ended_at=7.5, queue="q", nodes="n[1-2]", workdir="/w", comment="c", time_limit_s=60, observed_at=8.125,
    source="squeue", confidence=Confidence.ACCOUNTING, parent="7", task_index=1, pending_tasks=TaskSet.parse("2-3"), counts={"FAILED": 1},
)  # fmt: skip

#: One of which nothing is said that need not be.
BARE = JobDescriptor(cluster="c", id="1", phase=Phase.QUEUED, native={"state": "QUEUED"})

HISTORY = (HistoryEntry(3, 1.5, "QUEUED", 0, Confidence.OBSERVED), HistoryEntry(4, 2.5, "RUNNING", 1, Confidence.INFERRED))


class TimeTests(SynchronousTestCase):
    """RFC 3339 in UTC."""

    def test_times(self) -> None:
        """Milliseconds, rounded; zones are reckoned in; a text without one is none."""
        for seconds, text in [
            (1795328961.104, "2026-11-22T06:29:21.104Z"), (0.0, "1970-01-01T00:00:00.000Z"), (0.0004, "1970-01-01T00:00:00.000Z"),
            (0.9996, "1970-01-01T00:00:01.000Z"),
        ]:  # fmt: skip
            self.assertEqual(wire.to_time(seconds), text)
        self.assertIsNone(wire.to_time(None))
        for text in ("2026-11-22T06:29:21.104Z", "2026-11-22T06:29:21.104z", "2026-11-22T07:29:21.104+01:00", "2026-11-21T22:29:21.104-08:00"):
            self.assertEqual(wire.from_time(text), 1795328961.104)
        for bad in ("2026-11-22T06:29:21", "yesterday", "", "2026-13-01T00:00:00Z"):
            self.assertRaises(ValueError, wire.from_time, bad)

    @given(st.integers(0, 4_000_000_000_000))
    def test_round_trip(self, millis: int) -> None:
        """A time reads back as itself."""
        text = wire.to_time(millis / 1000)
        assert text is not None
        self.assertEqual(wire.from_time(text), millis / 1000)


class JobTests(SynchronousTestCase):
    """Jobs as the protocol names them."""

    def test_fields(self) -> None:
        """Every field by its name; what is not known is null, and what only arrays have is left out elsewhere."""
        self.assertEqual(wire.job_fields(FULL), {
            "cluster": "c", "id": "7_1", "aliases": ["71"], "uid": "c/7_1@5", "name": "naïve 🚀\n", "user": "kim", "account": "bio", "state": "FAILED",
            "phase": "DONE", "outcome": "FAILED", "settled": True, "attempt": 2, "exit_code": 3, "signal": 9, "reason": "r", "reason_code": "ERROR",
            "flags": ["x", "y"], "native": {"state": "F", "a": "b"}, "submitted_at": "1970-01-01T00:00:05.000Z", "started_at": "1970-01-01T00:00:06.250Z",
            "ended_at": "1970-01-01T00:00:07.500Z", "queue": "q", "nodes": "n[1-2]", "workdir": "/w", "comment": "c", "time_limit_s": 60,
            "observed_at": "1970-01-01T00:00:08.125Z", "source": "squeue", "confidence": "accounting", "parent": "7", "task_index": 1,
            "pending_tasks": "2-3", "counts": {"FAILED": 1},
        })  # fmt: skip
        self.assertEqual(wire.job_fields(BARE), {
            "cluster": "c", "id": "1", "aliases": [], "uid": "c/1@0", "name": None, "user": None, "account": None, "state": "QUEUED", "phase": "QUEUED",
            "outcome": None, "settled": False, "attempt": 0, "exit_code": None, "signal": None, "reason": None, "reason_code": None, "flags": [],
            "native": {"state": "QUEUED"}, "submitted_at": None, "started_at": None, "ended_at": None, "queue": None, "nodes": None, "workdir": None,
            "comment": None, "time_limit_s": None, "observed_at": "1970-01-01T00:00:00.000Z", "source": "", "confidence": "observed",
        })  # fmt: skip

    def test_back(self) -> None:
        """A job reads back as itself, in all of its fields."""
        for job in (FULL, BARE, attrs.evolve(FULL, task_index=0, exit_code=0, signal=0, time_limit_s=0, counts={}, settled=False)):
            again = wire.job_from_fields(json.loads(wire.dumps(wire.job_fields(job))))
            self.assertTrue(again.says_the_same(job), again)
            self.assertEqual(again.observed_at, job.observed_at)

    def test_least(self) -> None:
        """An id and a state are enough: an end is confirmed unless it says otherwise, and only an end is."""
        for fields, settled in (
            ({"state": "FAILED"}, True), ({"state": "FAILED", "settled": False}, False), ({"state": "RUNNING"}, False), ({"state": "RUNNING", "settled": True}, False),
        ):  # fmt: skip
            job = wire.job_from_fields({"id": "1", **fields}, "mine")
            self.assertEqual((job.cluster, job.id, job.state, job.settled, job.native), ("mine", "1", fields["state"], settled, {"state": fields["state"]}))
        self.assertEqual(wire.job_from_fields({"id": "1", "state": "RUNNING", "cluster": "x"}).cluster, "x")
        self.assertEqual(wire.job_from_fields({"id": "1", "state": "RUNNING", "cluster": "x"}, "mine").cluster, "mine")
        least = JobDescriptor("", "1", Phase.RUNNING, native={"state": "RUNNING"})
        self.assertEqual(attrs.asdict(wire.job_from_fields({"id": "1", "state": "RUNNING"})), attrs.asdict(least))

    def test_errors(self) -> None:
        """Each names the field, and nothing but a ValueError is raised."""
        good = {"id": "1", "state": "RUNNING"}
        for name, values in {
            "id": [None, "", 3, ["1"]], "state": [None, "", 3, "DEAD", "DONE"], "name": [3, ["x"]], "user": [3], "uid": [3], "source": [3], "parent": [3],
            "reason": [True], "exit_code": ["3", 1.5, True, [3]], "signal": ["9"], "time_limit_s": [1.5], "task_index": ["x"], "attempt": ["1", False],
            "submitted_at": [3, "yesterday", "2026-11-22T06:29:21"], "observed_at": [3, "x"], "settled": ["yes", 1, None], "aliases": ["x", [3], {"a": 1}],
            "flags": ["x", ["a", 3]], "native": [["x"], "x", {"a": 3}], "pending_tasks": [3, ["1"]], "counts": [3, ["x"], {"DEAD": 1}],
        }.items():  # fmt: skip
            for value in values:
                error = self.assertRaises(ValueError, wire.job_from_fields, {**good, name: value})
                if value != "DEAD":
                    self.assertIn(name if value not in ("DEAD", "DONE") else value, str(error), (name, value))
        for fields in ({"reason_code": "X"}, {"confidence": "X"}, {"pending_tasks": "x"}, {"colour": "red"}):
            self.assertRaises(ValueError, wire.job_from_fields, {**good, **fields})
        self.assertRaises(ValueError, wire.job_from_fields, {"state": "RUNNING"})
        self.assertRaises(ValueError, wire.job_from_fields, {"id": "1"})


class EventTests(SynchronousTestCase):
    """Events, in their one encoding."""

    def test_job(self) -> None:
        """With number, cursor, kind, time, the job and its state before; and back."""
        for previous, shown in ((None, None), ("RUNNING", {"state": "RUNNING"})):
            event = wire.number("e", 5, Change(FULL, previous, 9.5))
            self.assertEqual(json.loads(event.data), {
                "seq": 5, "cursor": "e-5", "type": "job", "at": "1970-01-01T00:00:09.500Z", "job": wire.job_fields(FULL), "previous": shown,
            })  # fmt: skip
            self.assertEqual((event.seq, event.at, event.previous, event.key, event.parent, event.kind), (5, 9.5, previous, ("c", "7_1"), "7", "job"))
            again = wire.event_from_bytes(event.data)
            assert isinstance(again, JobStatusEvent)
            self.assertEqual((again.seq, again.at, again.previous, again.data), (5, 9.5, previous, event.data))
            self.assertTrue(again.job.says_the_same(FULL))

    def test_workflow(self) -> None:
        """The same for a workflow."""
        failure = FirstFailure(("c", "7_1"), ("c", "7"), "FAILED", 8.5, 3, 9, "r")
        workflow = Workflow("w", Phase.DONE, Outcome.FAILED, True, {"COMPLETED": 2, "FAILED": 1}, failure, 5.0, 9.0, found=True, deleted=True)
        for each in (workflow, Workflow("w", Phase.RUNNING, counts={"RUNNING": 1}), attrs.evolve(workflow, settled=False, deleted=False, found=False)):
            for previous in (None, "RUNNING"):
                event = wire.number_workflow("e", 5, WorkflowChange(each, previous, 9.5))
                shown = json.loads(event.data)
                self.assertEqual((shown["seq"], shown["cursor"], shown["type"], shown["at"]), (5, "e-5", "workflow", "1970-01-01T00:00:09.500Z"))
                self.assertEqual((shown["workflow"], shown["previous"]), (wire.workflow_fields(each), previous and {"state": previous}))
                again = wire.event_from_bytes(event.data)
                assert isinstance(again, WorkflowEvent)
                self.assertEqual((again.seq, again.at, again.previous, again.data, again.key), (5, 9.5, previous, event.data, ("", "w")))
                self.assertEqual(attrs.asdict(again.workflow), attrs.asdict(each))
        self.assertEqual(wire.workflow_fields(workflow), {
            "name": "w", "state": "FAILED", "phase": "DONE", "outcome": "FAILED", "settled": True, "progress": 1.0, "counts": {"COMPLETED": 2, "FAILED": 1},
            "first_failure": {"job": "c/7_1", "member": "c/7", "state": "FAILED", "exit_code": 3, "signal": 9, "reason": "r", "at": "1970-01-01T00:00:08.500Z"},
            "started_at": "1970-01-01T00:00:05.000Z", "ended_at": "1970-01-01T00:00:09.000Z", "found": True, "deleted": True,
        })  # fmt: skip
        self.assertEqual(wire.workflow_fields(Workflow("w", counts={"RUNNING": 2, "COMPLETED": 1})), {
            "name": "w", "state": "UNKNOWN", "phase": "UNKNOWN", "outcome": None, "settled": False, "progress": 0.3333, "counts": {"RUNNING": 2, "COMPLETED": 1},
            "first_failure": None, "started_at": None, "ended_at": None, "found": False,
        })  # fmt: skip

    def test_streams(self) -> None:
        """A server-sent event has its cursor, its kind and its bytes on one line; what is no event has no cursor."""
        event = wire.number("e", 5, Change(FULL, None, 9.5))
        self.assertEqual(wire.sse_event("e", event), b"id: e-5\nevent: job\ndata: " + event.data + b"\n\n")
        self.assertNotIn(b"\n", event.data)
        self.assertEqual(wire.sse("bookmark", b"{}"), b"event: bookmark\ndata: {}\n\n")
        self.assertEqual(wire.sse("bookmark", b"{}", "e-7"), b"id: e-7\nevent: bookmark\ndata: {}\n\n")

    def test_envelopes(self) -> None:
        """Events are put in as the bytes that they are."""
        events = [wire.number("e", n, Change(BARE, None, 9.5)) for n in (1, 2)]
        self.assertEqual(wire.envelope({"a": 1}), b'{"a":1}')
        self.assertEqual(wire.envelope({"a": 1}, []), b'{"a":1,"events":[]}')
        self.assertEqual(wire.envelope({}, events), b'{"events":[' + events[0].data + b"," + events[1].data + b"]}")
        shown = wire.joined(wire.shown_bytes("e", FULL, HISTORY), wire.envelope({"cursor": "e-5"}, events))
        self.assertEqual(json.loads(shown), {
            "job": wire.job_fields(FULL), "history": wire.history_fields("e", HISTORY), "cursor": "e-5", "events": [json.loads(e.data) for e in events],
        })  # fmt: skip
        self.assertEqual(wire.history_fields("e", HISTORY), [
            {"cursor": "e-3", "at": "1970-01-01T00:00:01.500Z", "state": "QUEUED", "attempt": 0, "confidence": "observed"},
            {"cursor": "e-4", "at": "1970-01-01T00:00:02.500Z", "state": "RUNNING", "attempt": 1, "confidence": "inferred"},
        ])  # fmt: skip

    def test_bytes_that_are_no_text(self) -> None:
        """What a scheduler says that is not UTF-8 is replaced, and what is text stays."""
        self.assertEqual(wire.dumps({"a": "x\udcff🚀"}).decode(), '{"a":"x\ufffd🚀"}')


class StoredTests(SynchronousTestCase):
    """What the journal keeps."""

    def test_records(self) -> None:
        """A known job reads back as itself, but for its row: after a restart every job is compared once."""
        full = JobRecord(FULL, FULL, 1.5, 2.5, attrs.evolve(FULL, id="7"), 3.5, 9, HISTORY)
        for record in (full, JobRecord(BARE), JobRecord(BARE, absent_since=0.0, unsettled_since=0.0)):
            again = wire.record_from_bytes(wire.record_bytes(record))
            self.assertIsNone(again.seen)
            self.assertTrue(again.job.says_the_same(record.job))
            self.assertEqual((again.absent_since, again.unsettled_since), (record.absent_since, record.unsettled_since))
            self.assertEqual((again.updated_at, again.last_seq, shown(again.history)), (record.updated_at, record.last_seq, shown(record.history)))
            if record.range_row is None:
                self.assertIsNone(again.range_row)
            else:
                assert again.range_row is not None
                self.assertTrue(again.range_row.says_the_same(record.range_row))

    def test_workflows(self) -> None:
        """A workflow's record and its members read back as themselves."""
        members = {("c", "1"): Member.of(FULL), ("c", "2"): Member(), ("d", "x/y"): Member.of(BARE)}
        for member in members.values():
            self.assertEqual(wire.member_from_bytes(wire.member_bytes(member)), member)
        record = WorkflowRecord(Workflow("w", Phase.RUNNING, counts={"RUNNING": 1}), {}, ((("c", "1"), ("d", "x/y")),), 3.5, 9, HISTORY)
        again = wire.workflow_record_from_bytes(wire.workflow_record_bytes(record), members)
        self.assertEqual((again.members, again.edges, again.updated_at, again.last_seq), (members, record.edges, 3.5, 9))
        self.assertEqual((attrs.asdict(again.workflow), shown(again.history)), (attrs.asdict(record.workflow), shown(HISTORY)))

    def test_members(self) -> None:
        """As the protocol shows them; only an array has counts."""
        times = {"submitted_at": "1970-01-01T00:00:05.000Z", "started_at": "1970-01-01T00:00:06.250Z", "ended_at": "1970-01-01T00:00:07.500Z"}
        self.assertEqual(
            wire.member_fields(("c", "7_1"), Member.of(FULL)),
            {"job": "c/7_1", "name": "naïve 🚀\n", "state": "FAILED", "exit_code": 3, **times, "counts": {"FAILED": 1}},
        )
        self.assertEqual(
            wire.member_fields(("c", "1"), Member()),
            {"job": "c/1", "name": None, "state": "UNKNOWN", "exit_code": None, **dict.fromkeys(times)},
        )

    def test_keys(self) -> None:
        """The cluster stands before the first slash."""
        self.assertEqual([wire.key_of(text) for text in ("c/1", "c/x/y", "w")], [("c", "1"), ("c", "x/y"), ("w", "")])


def shown(history: Any) -> list[tuple[Any, ...]]:
    """Steps as tuples, to be compared."""
    return [attrs.astuple(step) for step in history]
