"""Jobs as JSON and back; the table of their fields, and who follows from it."""

from __future__ import annotations

import json
import typing
from datetime import datetime
from typing import Any
from unittest.mock import patch

import attrs
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from jobpush.core import wire
from jobpush.core.fields import FieldKind
from jobpush.core.model import JOB_FIELDS, JobDescriptor, Outcome, Phase
from jobpush.core.wire import jobs as jobs_json
from jobpush_client import Job
from tests.core.wire.samples import BARE, FULL, as_the_json_module_has_it, jobs

try:
    import orjson
except ImportError:
    orjson = None  # type: ignore[assignment]


class EncodingTests(SynchronousTestCase):
    """A job as bytes."""

    @settings(max_examples=60, deadline=None)
    @given(jobs())
    def test_plain(self, job: JobDescriptor) -> None:
        """Without orjson: what the json module makes of the fields."""
        with patch.object(jobs_json, "fast_dumps", None):
            self.assertEqual(wire.job_bytes(job), as_the_json_module_has_it(job))

    @settings(max_examples=60, deadline=None)
    @given(jobs())
    def test_fast(self, job: JobDescriptor) -> None:
        """With orjson: the same bytes."""
        if orjson is None:
            self.skipTest("orjson is not installed")
        with patch.object(jobs_json, "fast_dumps", orjson.dumps):
            self.assertEqual(wire.job_bytes(job), as_the_json_module_has_it(job))

    def test_native_values_that_are_no_texts(self) -> None:
        """An adapter that breaks the contract here does not keep its jobs from being told."""
        job = JobDescriptor("c", "1", Phase.RUNNING, native={"slots": 4})  # type: ignore[dict-item]
        for dumps in (None, getattr(orjson, "dumps", None)):
            with patch.object(jobs_json, "fast_dumps", dumps):
                self.assertIn(b'"native":{"slots":4}', wire.job_bytes(job))


class ReadingTests(SynchronousTestCase):
    """A job from the protocol's fields."""

    @settings(max_examples=60, deadline=None)
    @given(jobs(st.text(max_size=12)))
    def test_round_trip(self, job: JobDescriptor) -> None:
        """What was written reads back as the same job, times to a millisecond."""
        read = wire.job_from_fields(json.loads(wire.job_bytes(job)))
        for field in JOB_FIELDS:
            one, other = getattr(read, field.name), getattr(job, field.name)
            if field.kind is FieldKind.TIME and other is not None:
                self.assertLess(abs(one - other), 0.001, field.name)
            elif field.name != "uid" or other:
                self.assertEqual(one, other, field.name)

    def test_least(self) -> None:
        """An id and a state are enough."""
        job = wire.job_from_fields({"id": "1", "state": "FAILED"}, "c")
        self.assertEqual((job.key, job.phase, job.outcome, job.settled), (("c", "1"), Phase.DONE, Outcome.FAILED, True))
        self.assertEqual(job.native, {"state": "FAILED"})

    def test_refused(self) -> None:
        """What is wrong is named, with what was expected."""
        cases: list[tuple[str, Any, str]] = [
            ("nonsense", 1, "unknown field 'nonsense'"), ("id", 4, "'id' is missing or not a text"), ("name", 4, "'name' is not a text"),
            ("exit_code", True, "'exit_code' is not a whole number"), ("attempt", 1.5, "'attempt' is not a whole number"),
            ("started_at", 5, "'started_at' is not a time"), ("ended_at", "today", "'ended_at': 'today' is not a time"),
            ("settled", "yes", "'settled' is neither true nor false"), ("flags", "x", "'flags' is not a list of texts"),
            ("aliases", [1], "'aliases' is not a list of texts"), ("native", {"a": 1}, "'native' is not a table of texts"),
            ("counts", {"DONE": 1}, "'counts' is not a table"), ("counts", {"RUNNING": "1"}, "'counts' is not a table"),
            ("pending_tasks", "x", "'x' is not a range"), ("pending_tasks", 4, "'pending_tasks' is not a text"),
            ("confidence", "sure", "'confidence' is none of accounting, inferred, observed"), ("reason_code", [], "'reason_code' is none of"),
            ("state", "DONE", "'DONE' is not a state"),
        ]  # fmt: skip
        for name, value, expected in cases:
            error = self.assertRaises(ValueError, wire.job_from_fields, {"id": "1", "state": "RUNNING", name: value})
            self.assertIn(expected, str(error), name)


class TableTests(SynchronousTestCase):
    """The table of a job's fields."""

    def test_what_makes_an_event(self) -> None:
        """As the protocol lists it."""
        self.assertEqual(
            {field.name for field in JOB_FIELDS if field.event},
            {"phase", "outcome", "settled", "attempt", "exit_code", "signal", "reason_code", "queue", "nodes", "started_at", "ended_at",
             "flags", "moved_to"},
        )  # fmt: skip

    def test_what_may_be_left_out(self) -> None:
        """The other fields are always there, null where nothing is known."""
        self.assertEqual([f.name for f in JOB_FIELDS if f.optional], ["parent", "task_index", "pending_tasks", "counts"])
        job = JobDescriptor("c", "1", Phase.QUEUED)
        self.assertEqual(list(json.loads(wire.job_bytes(job))), [f.name for f in JOB_FIELDS if not f.optional])

    def test_client(self) -> None:
        """The client's jobs, which come with a distribution of its own, have fields of the table, and of their types."""
        types = {FieldKind.TEXT: str, FieldKind.WORD: str, FieldKind.NUMBER: int, FieldKind.BOOLEAN: bool, FieldKind.TIME: datetime}
        table = {field.name: field for field in JOB_FIELDS}
        derived = {"key", "terminal", "succeeded"}
        found = {name: found for name in dir(Job) if isinstance(found := getattr(Job, name), property)}
        self.assertEqual({name for name in found if name not in table}, derived)
        for name in found.keys() - derived:
            field = table[name]
            expected = types[field.kind] | None if field.nullable else types[field.kind]
            self.assertEqual(typing.get_type_hints(found[name].fget)["return"], expected, name)

    def test_client_values(self) -> None:
        """What the client says of a job is what the service says."""
        job = JobDescriptor(
            "c", "7_1", Phase.DONE, outcome=Outcome.FAILED, settled=True, exit_code=3, signal=9, name="align", user="kim", reason="why",
            submitted_at=100.5, started_at=200.25, ended_at=300.0,
        )  # fmt: skip
        client: Any = Job(json.loads(wire.job_bytes(job)))
        self.assertEqual((client.key, client.terminal, client.succeeded), ("c/7_1", job.terminal, False))
        for name in ("cluster", "id", "state", "phase", "outcome", "exit_code", "signal", "name", "user", "reason"):
            self.assertEqual(getattr(client, name), getattr(job, name), name)
        for name in ("submitted_at", "started_at", "ended_at"):
            self.assertEqual(getattr(client, name).timestamp(), getattr(job, name), name)


class JobTests(SynchronousTestCase):
    """Jobs as the protocol names them."""

    def test_fields(self) -> None:
        """Every field by its name; what is not known is null, and what only arrays have is left out elsewhere."""
        self.assertEqual(json.loads(wire.dumps(wire.job_fields(FULL))), {
            "cluster": "c", "id": "7_1", "aliases": ["71"], "uid": "c/7_1@5", "name": "naïve 🚀\n", "user": "kim", "account": "bio", "state": "FAILED",
            "phase": "DONE", "outcome": "FAILED", "settled": True, "attempt": 2, "exit_code": 3, "signal": 9, "reason": "r", "reason_code": "ERROR",
            "flags": ["x", "y"], "native": {"state": "F", "a": "b"}, "submitted_at": "1970-01-01T00:00:05.000Z", "started_at": "1970-01-01T00:00:06.250Z",
            "ended_at": "1970-01-01T00:00:07.500Z", "queue": "q", "nodes": "n[1-2]", "workdir": "/w", "comment": "c", "time_limit_s": 60,
            "observed_at": "1970-01-01T00:00:08.125Z", "source": "squeue", "confidence": "accounting",
            "previous_attempt": {
                "attempt": 1, "outcome": "PREEMPTED", "exit_code": 15, "signal": 0, "reason": "r",
                "started_at": "1970-01-01T00:00:01.500Z", "ended_at": "1970-01-01T00:00:02.000Z",
            },
            "moved_to": "d/7_1",
            "parent": "7", "task_index": 1,
            "pending_tasks": "2-3", "counts": {"FAILED": 1},
        })  # fmt: skip
        self.assertEqual(json.loads(wire.dumps(wire.job_fields(BARE))), {
            "cluster": "c", "id": "1", "aliases": [], "uid": "c/1@0", "name": None, "user": None, "account": None, "state": "QUEUED", "phase": "QUEUED",
            "outcome": None, "settled": False, "attempt": 0, "exit_code": None, "signal": None, "reason": None, "reason_code": None, "flags": [],
            "native": {"state": "QUEUED"}, "submitted_at": None, "started_at": None, "ended_at": None, "queue": None, "nodes": None, "workdir": None,
            "comment": None, "time_limit_s": None, "observed_at": "1970-01-01T00:00:00.000Z", "source": "", "confidence": "observed",
            "previous_attempt": None, "moved_to": None,
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
            "submitted_at": [3, "yesterday", "2026-11-22T06:29:21"], "observed_at": [3, "x"], "settled": ["yes", 1], "aliases": ["x", [3], {"a": 1}],
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
