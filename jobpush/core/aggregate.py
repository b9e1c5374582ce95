"""An array or heterogeneous job as the sum of its parts. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from jobpush.core.frozen import evolve
from jobpush.core.model import WAITING_PHASES, Confidence, JobDescriptor, Outcome, Phase

#: The flag of an array of which parts may have ended before anybody looked.
PARTS_UNKNOWN = "parts_unknown"


def without_proof(whole: JobDescriptor, accounting: bool) -> JobDescriptor:
    """
    Return a whole of which not all parts are known, as far as what is known of it proves anything: that of the known parts none
    failed says nothing of the others.

    :param accounting: whether there is accounting that may tell of them yet.
    """
    flags = (PARTS_UNKNOWN,)
    if whole.outcome is not Outcome.COMPLETED:
        return evolve(whole, flags=flags)
    return evolve(
        whole,
        phase=Phase.UNKNOWN if accounting else Phase.DONE,
        outcome=None if accounting else Outcome.LOST,
        settled=not accounting,
        exit_code=None,
        reason="parts of it that nobody has a record of may have ended before it was seen first",
        flags=flags,
        ended_at=None,
        confidence=Confidence.INFERRED,
    )


def aggregate(
    parent: str, parts: Sequence[JobDescriptor], range_row: JobDescriptor | None, last: JobDescriptor | None
) -> JobDescriptor:
    """
    The descriptor of an array or heterogeneous job as the sum of its parts.

    :param parent: its id.
    :param parts: the parts that have a row of their own.
    :param range_row: the row of the tasks that have none yet, if there is one.
    :param last: the aggregate as it was before, for what no part tells any more.
    """
    counts: dict[str, int] = {}
    for part in parts:
        counts[part.state] = counts.get(part.state, 0) + 1
    pending = range_row.pending_tasks if range_row is not None else None
    members: list[JobDescriptor] = list(parts)
    if range_row is not None and pending:
        # A task that had a row of its own, and waits in the range again, is one of the parts.
        own = sum(1 for part in parts if part.task_index is not None and part.task_index in pending)
        if len(pending) > own:
            counts[range_row.state] = counts.get(range_row.state, 0) + len(pending) - own
        members.append(range_row)
    if not members:
        assert last is not None, "an array without tasks and without a past"
        return last
    phases = {member.phase for member in members}
    begun = any(member.started_at is not None and member.phase is not Phase.STARTING for member in members)
    phase = whole_phase(phases, begun)
    waits = next((m for m in members if m.phase is phase), members[0])
    model = range_row or last or members[0]
    done = phase is Phase.DONE
    outcome = worst(m.outcome for m in members if m.outcome is not None) if done else None
    # How those ended that decide: a TIMEOUT has no exit code, whatever code the others ended with.
    deciding = [m for m in members if m.outcome is outcome] if done else []
    codes = [m.exit_code for m in deciding if m.exit_code is not None]
    signals = [m.signal for m in deciding if m.signal is not None]
    starts = [m.started_at for m in members if m.started_at is not None]
    ends = [m.ended_at for m in members if m.ended_at is not None]
    submits = [m.submitted_at for m in (*members, *([last] if last else [])) if m.submitted_at is not None]
    return evolve(
        model,
        id=parent,
        uid=last.uid if last is not None else f"{model.cluster}/{parent}@{int(min(submits, default=0))}",
        aliases=(),
        parent=None,
        task_index=None,
        phase=phase,
        outcome=outcome,
        settled=done and all(m.settled for m in members),
        attempt=0,
        exit_code=max(codes, default=None),
        signal=max(signals, default=None),
        reason=waits.reason if not done else None,
        reason_code=waits.reason_code if phase in WAITING_PHASES else None,
        flags=(),
        native={"state": "+".join(sorted({m.native.get("state", m.state) for m in members}))},
        submitted_at=min(submits, default=None),
        started_at=min(starts, default=None),
        ended_at=max(ends, default=None) if done else None,
        nodes=None,
        observed_at=max(m.observed_at for m in members),
        source=waits.source,
        confidence=Confidence.INFERRED if any(m.confidence is Confidence.INFERRED for m in members) else waits.confidence,
        previous_attempt=None,
        moved_to=None,
        pending_tasks=pending if pending else None,
        counts=dict(sorted(counts.items())),
    )


#: The phase of a whole is the first of these that any part is in.
_PARENT_PRECEDENCE = (
    Phase.RUNNING,
    Phase.FINISHING,
    Phase.STARTING,
    Phase.SUSPENDED,
    Phase.QUEUED,
    Phase.HELD,
    Phase.UNKNOWN,
    Phase.DONE,
)

#: The outcome of a whole is the first of these that any part has.
_WORST_FIRST = (
    Outcome.LOST,
    Outcome.NODE_FAIL,
    Outcome.LAUNCH_FAIL,
    Outcome.OUT_OF_MEMORY,
    Outcome.FAILED,
    Outcome.TIMEOUT,
    Outcome.DEADLINE,
    Outcome.PREEMPTED,
    Outcome.CANCELLED,
    Outcome.MOVED,
    Outcome.COMPLETED,
)


def worst(outcomes: Iterable[Outcome]) -> Outcome:
    """The outcome of a whole whose parts have these."""
    return min(outcomes, key=_WORST_FIRST.index)


def whole_phase(phases: Collection[Phase], begun: bool) -> Phase:
    """
    The phase of a whole whose parts are in these.

    :param begun: whether any part has begun to run, and may have ended since.
    """
    phase = next(phase for phase in _PARENT_PRECEDENCE if phase in phases)
    unfinished = phase is Phase.FINISHING and not set(phases) <= {Phase.FINISHING, Phase.DONE}
    if (phase in (Phase.QUEUED, Phase.STARTING) and begun) or unfinished:
        return Phase.RUNNING  # between the end of one part and the start of the next the whole does not go back
    return phase
