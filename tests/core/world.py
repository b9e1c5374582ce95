"""A cluster's known jobs, and looks at it: what the tests of the diff and of absence build on."""

from __future__ import annotations

from typing import Any

import attrs

from jobpush.core.absence import NOTHING_ASKED, DiffPolicy
from jobpush.core.diff import diff
from jobpush.core.job_table import ClusterJobs
from jobpush.core.model import JobDescriptor, Outcomes, Snapshot, split_state
from jobpush.core.record import Changes


def job(job_id: str, state: str, **fields: Any) -> JobDescriptor:
    """A job in that state."""
    phase, outcome = split_state(state)
    fields.setdefault("settled", outcome is not None)
    fields.setdefault("submitted_at", 100.0)
    array, _, index = job_id.partition("_")
    if index:
        fields.update(parent=array, task_index=int(index))
    return JobDescriptor(cluster="c", id=job_id, phase=phase, outcome=outcome, **fields)


def no_record(*ids: str) -> Outcomes:
    """Accounting has caught up, and has no record of these."""
    return Outcomes(no_record=frozenset(ids))


class World:
    """A cluster's known jobs, and looks at it; between two looks what may be seen is checked."""

    def __init__(self, **policy: Any) -> None:
        self.known = ClusterJobs()
        policy = {"grace": 10.0, "confirm": 1.0, **policy}
        self.policy = DiffPolicy(task_id=lambda array, index: f"{array}_{index}", **policy)
        self.now = 1000.0
        self.told: list[tuple[str, str, str | None]] = []
        self.last = Changes()

    def look(self, *jobs: JobDescriptor, outcomes: Outcomes = NOTHING_ASKED, after: float = 1.0, rejected: Any = (), **fields: Any) -> Any:
        """Compare with these; the changes as (id, state, state before)."""
        self.now += after
        snapshot = Snapshot({j.id: j for j in jobs}, self.now, self.now, rejected_ids=frozenset(rejected), **fields)
        steps = diff(self.known, snapshot, outcomes, self.policy, self.now)
        while True:
            try:
                next(steps)
            except StopIteration as end:
                self.last = end.value
                break
        for record in (*self.last.records.values(), *self.last.refreshed.values()):
            self.known.put(record)
        for _, job_id in self.last.forgotten:
            self.known.forget(job_id)
        told = [(c.subject.key[1], c.subject.state, c.previous) for c in self.last.changes]
        self.told.extend(told)
        self.policy = attrs.evolve(self.policy, first=False, checked_at=self.now)
        return told

    def job(self, job_id: str) -> JobDescriptor:
        """A known job."""
        return self.known.records[job_id].job
