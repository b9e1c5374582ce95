"""Jobs as JSON and back; the table of their fields, and who follows from it."""

from __future__ import annotations

import json
import typing
from datetime import datetime
from typing import Any
from unittest.mock import patch

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from jobpush.core import wire
from jobpush.core.fields import Kind
from jobpush.core.model import JOB_FIELDS, Confidence, JobDescriptor, Outcome, Phase, ReasonCode
from jobpush.core.record import Change, Record, Sighting
from jobpush.core.tasks import TaskSet
from jobpush.core.wire import _job
from jobpush.core.workflow import Membership, Workflow
from jobpush_client import Job

try:
    import orjson
except ImportError:
    orjson = None  # type: ignore[assignment]

#: Anything that an adapter may have read, lone surrogates and control characters included.
TEXTS = st.text(st.characters(exclude_categories=()), max_size=12)
TIMES = st.none() | st.floats(0, 4e9) | st.integers(0, 4_000_000_000).map(float)
NUMBERS = st.none() | st.integers(-(2**70), 2**70) | st.integers(0, 300)


@st.composite
def jobs(draw: Any, texts: st.SearchStrategy[str] = TEXTS) -> JobDescriptor:
    """Any job."""
    phase = draw(st.sampled_from(Phase))
    outcome = draw(st.sampled_from(Outcome)) if phase is Phase.DONE else None
    values: dict[str, Any] = {
        "cluster": texts, "id": texts.filter(bool), "aliases": st.lists(texts, max_size=2).map(tuple), "uid": texts,
        "settled": st.booleans() if outcome is not None else st.just(False), "attempt": st.integers(0, 2**70),
        "reason_code": st.none() | st.sampled_from(ReasonCode), "flags": st.lists(texts, max_size=2).map(tuple),
        "native": st.dictionaries(texts, texts, min_size=1, max_size=3), "observed_at": st.floats(0, 4e9), "source": texts,
        "confidence": st.sampled_from(Confidence),
        "pending_tasks": st.none() | st.sets(st.integers(0, 99), min_size=1).map(TaskSet.of),
        "counts": st.none() | st.dictionaries(st.sampled_from([phase.value for phase in Phase if phase is not Phase.DONE]), st.integers(0, 9)),
    }  # fmt: skip
    for field in JOB_FIELDS:
        if field.name not in values and field.name not in ("state", "phase", "outcome"):
            kinds = {Kind.TEXT: st.none() | texts, Kind.NUMBER: NUMBERS, Kind.TIME: TIMES}
            values[field.name] = kinds[field.kind]
    return JobDescriptor(phase=phase, outcome=outcome, **{name: draw(value) for name, value in values.items()})


def as_the_json_module_has_it(job: JobDescriptor) -> bytes:
    """The protocol's encoding, slowly."""
    written: dict[str, Any] = {}
    for field in JOB_FIELDS:
        value = getattr(job, field.name)
        if value is None and field.optional:
            continue
        if value is not None and field.kind is Kind.TIME:
            value = wire.to_time(value)
        elif value is not None and field.kind is Kind.TASKS:
            value = str(value)
        written[field.name] = getattr(value, "value", value)
    text = json.dumps(written, ensure_ascii=False, separators=(",", ":"))
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").encode()


class EncodingTests(SynchronousTestCase):
    """A job as bytes."""

    @settings(max_examples=60, deadline=None)
    @given(jobs())
    def test_plain(self, job: JobDescriptor) -> None:
        """Without orjson: what the json module makes of the fields."""
        with patch.object(_job, "fast_dumps", None):
            self.assertEqual(wire.job_bytes(job), as_the_json_module_has_it(job))

    @settings(max_examples=60, deadline=None)
    @given(jobs())
    def test_fast(self, job: JobDescriptor) -> None:
        """With orjson: the same bytes."""
        if orjson is None:
            self.skipTest("orjson is not installed")
        with patch.object(_job, "fast_dumps", orjson.dumps):
            self.assertEqual(wire.job_bytes(job), as_the_json_module_has_it(job))

    def test_native_values_that_are_no_texts(self) -> None:
        """An adapter that breaks the contract here does not keep its jobs from being told."""
        job = JobDescriptor("c", "1", Phase.RUNNING, native={"slots": 4})  # type: ignore[dict-item]
        for dumps in (None, getattr(orjson, "dumps", None)):
            with patch.object(_job, "fast_dumps", dumps):
                self.assertIn(b'"native":{"slots":4}', wire.job_bytes(job))

    @settings(max_examples=60, deadline=None)
    @given(jobs(), st.none() | st.sampled_from(["QUEUED", "COMPLETED"]), st.integers(1, 2**60))
    def test_encoded_once(self, job: JobDescriptor, previous: str | None, seq: int) -> None:
        """What is taken from the bytes of a job's event is what would be made anew."""
        event = wire.number("e", seq, Change(job, previous, 1795327200.5))
        record = Record(job, Sighting(None, 1.5, None, job), 3.25).told(event)
        self.assertEqual(wire.record_bytes(record, event), wire.record_bytes(record))
        self.assertEqual(wire.shown_bytes("e", job, record.history, event), wire.shown_bytes("e", job, record.history))
        self.assertEqual(json.loads(event.data)["job"], json.loads(wire.job_bytes(job)))

    def test_encoded_once_of_a_workflow(self) -> None:
        """The same for workflows; the bytes of an event of something else are not taken."""
        workflow, other = Workflow('"job":', Phase.RUNNING), Workflow("w", Phase.HELD)
        event = wire.number("e", 7, Change(workflow, None, 0.0))
        record = Record(workflow, Membership(edges=((("c", "1"), ("c", "2")),)))
        self.assertEqual(wire.record_bytes(record, event), wire.record_bytes(record))
        self.assertIn(b'"name":"w"', wire.record_bytes(Record(other, Membership()), event))


class ReadingTests(SynchronousTestCase):
    """A job from the protocol's fields."""

    @settings(max_examples=60, deadline=None)
    @given(jobs(st.text(max_size=12)))
    def test_round_trip(self, job: JobDescriptor) -> None:
        """What was written reads back as the same job, times to a millisecond."""
        read = wire.job_from_fields(json.loads(wire.job_bytes(job)))
        for field in JOB_FIELDS:
            one, other = getattr(read, field.name), getattr(job, field.name)
            if field.kind is Kind.TIME and other is not None:
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
             "flags"},
        )  # fmt: skip

    def test_what_may_be_left_out(self) -> None:
        """The other fields are always there, null where nothing is known."""
        self.assertEqual([f.name for f in JOB_FIELDS if f.optional], ["parent", "task_index", "pending_tasks", "counts"])
        job = JobDescriptor("c", "1", Phase.QUEUED)
        self.assertEqual(list(json.loads(wire.job_bytes(job))), [f.name for f in JOB_FIELDS if not f.optional])

    def test_client(self) -> None:
        """The client's jobs, which come with a distribution of its own, have fields of the table, and of their types."""
        types = {Kind.TEXT: str, Kind.WORD: str, Kind.NUMBER: int, Kind.BOOLEAN: bool, Kind.TIME: datetime}
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
