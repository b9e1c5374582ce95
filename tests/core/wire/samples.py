"""Jobs to be written and read: any, one of which everything is said, one of which nothing is."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import strategies as st

from jobpush.core import wire
from jobpush.core.cursors import Epochs
from jobpush.core.fields import FieldKind
from jobpush.core.model import JOB_FIELDS, Confidence, JobDescriptor, Outcome, PastAttempt, Phase, ReasonCode
from jobpush.core.record import HistoryEntry
from jobpush.core.tasks import TaskSet

#: A job of which every field is said.
FULL = JobDescriptor(
    cluster="c", id="7_1", phase=Phase.DONE, outcome=Outcome.FAILED, settled=True, attempt=2, exit_code=3, signal=9, reason="r",
    reason_code=ReasonCode.ERROR, flags=("x", "y"), native={"state": "F", "a": "b"}, aliases=("71",), uid="c/7_1@5", name="naïve 🚀\n", user="kim",
    account="bio", submitted_at=5.0, started_at=6.25, ended_at=7.5, queue="q", nodes="n[1-2]", workdir="/w", comment="c", time_limit_s=60, observed_at=8.125,
    source="squeue", confidence=Confidence.ACCOUNTING, parent="7", task_index=1, pending_tasks=TaskSet.parse("2-3"), counts={"FAILED": 1},
    previous_attempt=PastAttempt(1, Outcome.PREEMPTED, 15, 0, "r", 1.5, 2.0), moved_to="d/7_1",
)  # fmt: skip

#: One of which nothing is said that need not be.
BARE = JobDescriptor(cluster="c", id="1", phase=Phase.QUEUED, native={"state": "QUEUED"})

#: Of the samples' numbers.
EPOCHS = Epochs([("e", 1)])

HISTORY = (HistoryEntry(3, 1.5, "QUEUED", 0, Confidence.OBSERVED), HistoryEntry(4, 2.5, "RUNNING", 1, Confidence.INFERRED))

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
            outcomes = st.none() | st.sampled_from(Outcome)
            times = st.none() | st.integers(0, 4_000_000_000).map(float)
            attempt = st.builds(PastAttempt, st.integers(0, 2**70), outcomes, NUMBERS, NUMBERS, st.none() | texts, times, times)
            kinds = {FieldKind.TEXT: st.none() | texts, FieldKind.NUMBER: NUMBERS, FieldKind.TIME: TIMES, FieldKind.ATTEMPT: st.none() | attempt}
            values[field.name] = kinds[field.kind]
    return JobDescriptor(phase=phase, outcome=outcome, **{name: draw(value) for name, value in values.items()})


def as_the_json_module_has_it(job: JobDescriptor) -> bytes:
    """The protocol's encoding, slowly."""
    written: dict[str, Any] = {}
    for field in JOB_FIELDS:
        value = getattr(job, field.name)
        if value is None and field.optional:
            continue
        if value is not None and field.kind is FieldKind.TIME:
            value = wire.to_time(value)
        elif value is not None and field.kind is FieldKind.TASKS:
            value = str(value)
        elif value is not None and field.kind is FieldKind.ATTEMPT:
            value = {
                "attempt": value.attempt, "outcome": value.outcome and value.outcome.value, "exit_code": value.exit_code,
                "signal": value.signal, "reason": value.reason, "started_at": wire.to_time(value.started_at),
                "ended_at": wire.to_time(value.ended_at),
            }  # fmt: skip
        written[field.name] = getattr(value, "value", value)
    text = json.dumps(written, ensure_ascii=False, separators=(",", ":"))
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").encode()
