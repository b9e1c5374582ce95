"""
The served job table: the last published state of every known job, with the ways to find one.

Only the publisher changes it, in the reactor turn in which the events that led to it become visible.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

import attrs

from jobpush.core.aggregate import PARTS_UNKNOWN
from jobpush.core.frozen import evolve
from jobpush.core.model import STARTED_PHASES, JobDescriptor, JobKey, Outcome, Phase, Snapshot
from jobpush.core.record import UNSEEN, JobRecord, Record

#: The seconds that may lie between two clusters' times of submission of one job: two clocks, and a cluster that could not be
#: reached when it was submitted. The same id within that time is the same job: a federation numbers its jobs in one row.
SUBMITTED_TOGETHER_S = 3600.0


class ClusterJobs:
    """The known jobs of one cluster."""

    def __init__(self, records: Mapping[str, JobRecord] | None = None) -> None:
        self.records: dict[str, JobRecord] = {}
        #: The ids of jobs that are not terminal (arrays' parents apart): those whose absence means something.
        self.open: dict[str, None] = {}
        #: The ids of arrays of which some tasks have no row of their own yet.
        self.ranges: dict[str, None] = {}
        #: The ids of jobs that were not listed last time, or stand as done without confirmation: time changes them.
        self.unsettled: dict[str, None] = {}
        #: The ids of jobs whose end was concluded from their absence: a record of accounting replaces it.
        self.guessed: dict[str, None] = {}
        #: The ids of arrays whose end is unknown because parts of them may have ended before they were seen first.
        self.parts_unknown: dict[str, None] = {}
        #: The ids of jobs that were put back into the queue, of which it is not known how the attempt before ended.
        self.put_back: dict[str, None] = {}
        #: The ids of jobs that were moved to another cluster, and are not known there yet.
        self.moved: dict[str, None] = {}
        #: The jobs of the snapshot that this is the state of, if nothing else has changed since.
        self.applied: Mapping[str, JobDescriptor] | None = None
        self._parts: dict[str, dict[str, None]] = {}
        self._aliases: dict[str, str] = {}
        for record in (records or {}).values():
            self.put(record)

    def __len__(self) -> int:
        return len(self.records)

    def get(self, job_id: str) -> JobRecord | None:
        """Return the record of a canonical id."""
        return self.records.get(job_id)

    def parts(self, parent: str) -> Iterable[str]:
        """Return the ids of the array tasks or het components of this parent that have a record."""
        return self._parts.get(parent, ())

    def canonical(self, job_id: str) -> str:
        """Return the canonical id, where the given one is an alias and no job's own id."""
        return job_id if job_id in self.records else self._aliases.get(job_id, job_id)

    def put(self, record: JobRecord) -> None:
        """Set a job's record."""
        job, sighting = record.subject, record.detail
        self.records[job.id] = record
        for alias in job.aliases:
            self._aliases[alias] = job.id
        if job.parent is not None:
            self._parts.setdefault(job.parent, {})[job.id] = None
        if sighting.range_row is not None:
            self.ranges[job.id] = None
        else:
            self.ranges.pop(job.id, None)
        if sighting.unsettled:
            self.unsettled[job.id] = None
        else:
            self.unsettled.pop(job.id, None)
        if job.is_guess and job.counts is None:
            self.guessed[job.id] = None
        else:
            self.guessed.pop(job.id, None)
        if job.attempt and job.counts is None and (job.previous_attempt is None or job.previous_attempt.ended_at is None):
            self.put_back[job.id] = None
        else:
            self.put_back.pop(job.id, None)
        if job.outcome is Outcome.MOVED and job.moved_to is None and job.counts is None:
            self.moved[job.id] = None
        else:
            self.moved.pop(job.id, None)
        if job.phase is Phase.UNKNOWN and PARTS_UNKNOWN in job.flags:
            self.parts_unknown[job.id] = None
        else:
            self.parts_unknown.pop(job.id, None)
        if job.terminal or job.counts is not None:
            self.open.pop(job.id, None)
        else:
            self.open[job.id] = None

    def forget(self, job_id: str) -> None:
        """Drop a job."""
        record = self.records.pop(job_id, None)
        if record is None:
            return
        self.open.pop(job_id, None)
        self.ranges.pop(job_id, None)
        self.unsettled.pop(job_id, None)
        self.guessed.pop(job_id, None)
        self.parts_unknown.pop(job_id, None)
        self.moved.pop(job_id, None)
        self.put_back.pop(job_id, None)
        for alias in record.subject.aliases:
            if self._aliases.get(alias) == job_id:
                del self._aliases[alias]
        parent = record.subject.parent
        if parent is not None and parent in self._parts:
            self._parts[parent].pop(job_id, None)
            if not self._parts[parent]:
                del self._parts[parent]

    def follows(self, snapshot: Snapshot) -> bool:
        """Return whether this snapshot tells what is different from the one that this is the state of."""
        return snapshot.fresh is not None and self.applied is not None and self.applied is snapshot.base

    def clock_was_set(self, seconds: float) -> None:
        """
        Move the times since which jobs are absent, stand as done without confirmation, or are put back into the queue.

        :param seconds: by which the clock was set forward.
        """
        for job_id in self.unsettled:
            record = self.records[job_id]
            since = {
                name: value + seconds
                for name in ("absent_since", "unsettled_since")
                if (value := getattr(record.detail, name)) is not None
            }
            self.records[job_id] = attrs.evolve(record, detail=attrs.evolve(record.detail, **since))
        for job_id in self.put_back:
            record = self.records[job_id]
            self.records[job_id] = attrs.evolve(record, updated_at=record.updated_at + seconds)

    def live(self) -> Iterator[JobRecord]:
        """Yield the records of jobs that have not ended."""
        for job_id in self.open:
            record = self.records[job_id]
            if not record.subject.done:
                yield record


class JobTable:
    """
    The known jobs of all clusters.

    :ivar forgotten: how many were dropped, which is no event.
    """

    def __init__(self) -> None:
        self.clusters: dict[str, ClusterJobs] = {}
        self.forgotten = 0

    def cluster(self, name: str) -> ClusterJobs:
        """Return the jobs of that cluster; an empty table for a new one."""
        jobs = self.clusters.get(name)
        if jobs is None:
            jobs = self.clusters[name] = ClusterJobs()
        return jobs

    def load(self, known: Mapping[str, Mapping[str, JobRecord]]) -> None:
        """Begin with what a journal has kept."""
        for name, records in known.items():
            self.clusters[name] = ClusterJobs(records)

    def moved_to(self, job: JobDescriptor) -> str | None:
        """
        Return CLUSTER/ID of the job of another cluster that this one has become when it was moved there: it has begun to run
        there, and has the same id and user, and about the same time of submission: each cluster notes its own when the job
        reaches it (seen on Slurm: a second later in every other pair). None if no cluster that is known has it.
        """
        for name, jobs in self.clusters.items():
            record = jobs.records.get(job.id) if name != job.cluster else None
            there = record.subject if record is not None else None
            if (
                there is not None
                and there.outcome is not Outcome.MOVED
                and (there.started_at is not None or there.phase in STARTED_PHASES)
                and there.user == job.user
                and _submitted_together(there, job)
            ):
                return f"{name}/{job.id}"
        return None

    def follow(self, key: JobKey) -> JobRecord | None:
        """Return the record of the job that the one with that key has become, over all clusters that it was moved through."""
        seen: dict[JobKey, JobRecord] = {}
        at: JobKey | None = key
        while at is not None and at not in seen:
            record = self.cluster(at[0]).get(at[1])
            if record is None:
                break
            seen[at] = record
            at = record.subject.moved_key
        return list(seen.values())[-1] if seen else None

    def find(
        self, cluster: str, job_id: str, task_of: Callable[[str], tuple[str, int] | None]
    ) -> tuple[JobDescriptor, JobRecord] | None:
        """
        Return the job with that id or alias, and its record; for an array's task that has no row of its own yet, the task as
        its array's pending range describes it, with a record that has the number of the array's last event, and no history:
        the array's is not its own.
        """
        jobs = self.cluster(cluster)
        record = jobs.get(jobs.canonical(job_id))
        if record is not None:
            return record.subject, record
        task = task_of(job_id)
        if task is None:
            return None
        array = jobs.get(task[0])
        row = array.detail.range_row if array is not None else None
        if array is None or row is None or row.pending_tasks is None or task[1] not in row.pending_tasks:
            return None
        waiting = pending_task(row, job_id, task[1])
        return waiting, Record(waiting, UNSEEN, array.updated_at, array.last_seq)


def pending_task(range_row: JobDescriptor, job_id: str, index: int) -> JobDescriptor:
    """Return one task of an array's pending range, as a job."""
    return evolve(
        range_row,
        id=job_id,
        uid="",
        aliases=(),
        parent=range_row.id,
        task_index=index,
        pending_tasks=None,
        counts=None,
    )


def _submitted_together(one: JobDescriptor, other: JobDescriptor) -> bool:
    if one.submitted_at is None or other.submitted_at is None:
        return False
    return abs(one.submitted_at - other.submitted_at) <= SUBMITTED_TOGETHER_S
