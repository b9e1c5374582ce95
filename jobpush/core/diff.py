"""
The difference between what was known of a cluster's jobs and what a snapshot says: changes.

Pure: no clock, no scheduler, no I/O. Written as a generator that pauses every few hundred jobs, so that the caller
can share its thread; its result is a `Changes`. The rules are those of the state model: absence is never success, a
transition between two queries is not lost, one event for each visible change.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Iterable, Mapping

from jobpush.core.absence import DiffPolicy, conclude, concluded, range_of, unlisted, without_row
from jobpush.core.aggregate import PARTS_UNKNOWN, aggregate, without_proof
from jobpush.core.frozen import evolve
from jobpush.core.identity import adopt, at_begin, is_another
from jobpush.core.job_table import ClusterJobs, pending_task
from jobpush.core.model import HELD, WAITING_PHASES, JobDescriptor, Outcome, Outcomes, Phase, Snapshot
from jobpush.core.record import AS_LISTED, Change, Changes, JobRecord, Record, row_of, sighting
from jobpush.core.tasks import TaskSet

#: After how many jobs the generator pauses.
PAUSE_EVERY = 256


def diff(
    known: ClusterJobs, snapshot: Snapshot, outcomes: Outcomes, policy: DiffPolicy, now: float
) -> Generator[None, None, Changes[JobRecord]]:
    """
    Compare a snapshot with the known jobs. Each subject of the result is a `JobDescriptor`, each record a `JobRecord`.

    :param outcomes: what accounting said of the jobs of `wants_outcome`.
    :param now: the time of this look, in seconds since the epoch.
    """
    return (yield from _Diff(known, snapshot, outcomes, policy, now).run())


class _Diff:
    """One comparison. ``result.records`` shadows the known records while it runs."""

    def __init__(
        self, known: ClusterJobs, snapshot: Snapshot, outcomes: Outcomes, policy: DiffPolicy, now: float
    ) -> None:
        self.known = known
        self.snapshot = snapshot
        self.outcomes = outcomes
        self.policy = policy
        self.now = now
        self.result = Changes[JobRecord]()
        self.touched: dict[str, None] = {}
        self.new_parts: dict[str, dict[str, None]] = {}
        self.families: set[str] = set()
        #: When the last change of each job is told to have been.
        self.told_at: dict[str, float] = {}

    def run(self) -> Generator[None, None, Changes[JobRecord]]:
        records, listed = self.known.records, self.snapshot.jobs
        ranges: dict[str, JobDescriptor] = {}
        changed = 0
        for count, (job_id, row) in enumerate(self.rows()):
            if count % (8 * PAUSE_EVERY) == 0:
                yield
            if row.parent is not None:
                self.families.add(row.parent)
            if row.pending_tasks is not None:
                ranges[job_id] = row
                continue
            record = records.get(job_id)
            if record is not None:
                seen = record.detail
                # Of one that was absent no row was kept.
                as_listed = record.subject is row if seen is AS_LISTED else (seen.row is row and seen.unsettled_since is None)
                if as_listed and job_id not in self.known.moved:
                    continue
            self.present(row, record)
            changed += 1
            if changed % PAUSE_EVERY == 0:
                yield
        yield
        if self.snapshot.partial:
            for parent in sorted(self.touched.keys() | self.snapshot.whole | self.snapshot.recorded):
                record = self.known.get(parent)
                self.whole(parent, record.detail.range_row if record is not None else None)
            return self.result
        ranges |= {array: listed[array] for array in self.known.ranges if array in listed}
        if ranges:
            yield from self.back_in_range()
            yield from self.put_back_into_range(ranges)
        yield from self.absent()
        yield from self.arrays(ranges)
        for count, parent in enumerate(self.touched):
            if count % 16 == 0:
                yield
            own = listed.get(parent)
            self.whole(parent, own if own is not None and own.pending_tasks is not None else None)
        if self.policy.keep_ended is not None:
            yield from self.forget_old(self.now - self.policy.keep_ended)
        return self.result

    def rows(self) -> Iterable[tuple[str, JobDescriptor]]:
        """Return the rows that must be looked at: all, or those that are not as they were, and those that time changes."""
        listed = self.snapshot.jobs
        if self.snapshot.partial or not self.known.follows(self.snapshot):
            return listed.items()
        assert self.snapshot.fresh is not None
        ids = dict.fromkeys(self.snapshot.fresh) | self.known.unsettled | self.known.moved
        return [(job_id, listed[job_id]) for job_id in ids if job_id in listed]

    # -- jobs that are listed

    def present(self, row: JobDescriptor, record: JobRecord | None) -> None:
        if record is None:
            virtual, linked = self.from_range(row), self.policy.linked(row)
            if virtual is not None:
                self.step(virtual, linked)
            else:
                self.arrive(linked)
            self.keep(linked, row)
            return
        job, seen = record.subject, record.detail
        if is_another(job, row):
            if not job.terminal:
                self.emit(concluded(job, Phase.DONE, Outcome.LOST, True), job.state)
            self.arrive(row)
            self.keep(row, row)
            return
        adopted = self.policy.linked(adopt(row, job), job)
        unsettled_since = seen.unsettled_since
        if adopted.done and not adopted.settled:
            again = unsettled_since is not None and job.done and job.attempt == adopted.attempt
            unsettled_since = unsettled_since if unsettled_since is not None and again else self.now
            # What is preempted is put back into the queue at once, or not at all.
            settles = self.policy.confirm if adopted.outcome is Outcome.PREEMPTED else self.policy.grace
            if self.now - unsettled_since >= min(settles, self.policy.grace):
                adopted = evolve(adopted, settled=True)
                unsettled_since = None
        else:
            unsettled_since = None
        told = self.step(job, adopted)
        self.keep(adopted, row, record, unsettled_since=unsettled_since)
        as_before = seen.absent_since is None and seen.unsettled_since == unsettled_since
        if not told and as_before and adopted.says_the_same(job):
            self.result.refreshed[row.id] = self.result.records.pop(row.id)

    def from_range(self, row: JobDescriptor) -> JobDescriptor | None:
        """Return a task as it was while it was part of its array's pending range; None if it was not."""
        if row.parent is None or row.task_index is None:
            return None
        parent = self.known.get(row.parent)
        pending = parent.detail.range_row if parent is not None else None
        if pending is None or pending.pending_tasks is None or row.task_index not in pending.pending_tasks:
            return None
        return pending_task(pending, row.id, row.task_index)

    def arrive(self, job: JobDescriptor) -> None:
        """Tell a job that is new: with the steps that it took unseen, unless this is the first look at all."""
        previous = None if self.policy.first else self.infer(job, None)
        self.emit(job, previous)

    def step(self, before: JobDescriptor, job: JobDescriptor) -> bool:
        """Tell that a job went from one state to the next, if that is a visible change; return whether it is."""
        if before.visible() == job.visible():
            return False
        previous = before.state
        waited = before.phase in WAITING_PHASES or before.phase is Phase.STARTING
        if job.attempt > before.attempt and not before.done:
            if job.phase not in WAITING_PHASES:
                previous = self.infer(job, previous) or previous
        elif waited or (before.done and (before.started_at is None or job.attempt > before.attempt)):
            previous = self.infer_running(job, previous) or previous
        self.emit(job, previous)
        return True

    def infer(self, job: JobDescriptor, previous: str | None) -> str | None:
        """Emit QUEUED and RUNNING where the job must have gone through them; return the state that it was in last."""
        if job.phase not in WAITING_PHASES and job.submitted_at is not None:
            queued = evolve(
                at_begin(job),
                phase=Phase.HELD if HELD in job.flags else Phase.QUEUED,
                started_at=None,
                nodes=None,
            )
            self.emit(queued, previous, job.submitted_at)
            previous = queued.state
        return self.infer_running(job, previous) or previous

    def infer_running(self, job: JobDescriptor, previous: str | None) -> str | None:
        """Emit RUNNING if the job ran and has gone on from there; return its state then."""
        if job.started_at is None or job.phase not in (Phase.DONE, Phase.FINISHING, Phase.SUSPENDED):
            return None
        if job.done and job.outcome is not Outcome.COMPLETED and not job.nodes and job.started_at == job.ended_at:
            return None  # ended while it waited: a scheduler then gives its end as its start too
        running = evolve(at_begin(job), phase=Phase.RUNNING)
        self.emit(running, previous, job.started_at)
        return running.state

    def back_in_range(self) -> Generator[None, None, None]:
        """Look at tasks that had a row and are now part of their array's pending range: released, or to start again."""
        for count, job_id in enumerate((*without_row(self.known, self.snapshot), *self.known.guessed)):
            if count % PAUSE_EVERY == 0:
                yield
            record = self.known.records[job_id]
            job = record.subject
            row = range_of(job, self.snapshot)
            if row is not None and job.task_index is not None:
                self.present(pending_task(row, job_id, job.task_index), record)

    def put_back_into_range(self, ranges: Mapping[str, JobDescriptor]) -> Generator[None, None, None]:
        """Look at tasks that had ended and are now part of their array's pending range: they are to start again."""
        for array, row in ranges.items():
            before = self.known.get(array)
            if row.done or (before is not None and row_of(before) is row):
                continue
            for count, job_id in enumerate(self.known.parts(array)):
                if count % PAUSE_EVERY == 0:
                    yield
                record = self.known.records[job_id]
                job, index = record.subject, record.subject.task_index
                if not job.terminal or job.is_guess or index is None or index not in (row.pending_tasks or ()):
                    continue
                task = pending_task(row, job_id, index)
                # What accounting told after this look had begun is newer, and an id that comes round is another array's.
                newer = job_id in self.snapshot.jobs or job.observed_at >= self.snapshot.began_at
                if not newer and not is_another(job, task):
                    self.present(task, record)

    # -- jobs that are not listed

    def absent(self) -> Generator[None, None, None]:
        for count, job_id in enumerate(unlisted(self.known, self.snapshot)):
            if count % PAUSE_EVERY == 0:
                yield
            self.missing(self.known.records[job_id])
        for job_id in self.known.guessed:
            if job_id in self.outcomes.jobs or job_id in self.outcomes.still_open:
                self.revise(self.known.records[job_id])
        for job_id in self.known.moved if self.policy.moved_to is not None else ():
            record = self.known.records[job_id]
            linked = self.policy.linked(record.subject, record.subject)
            if job_id not in self.snapshot.jobs and self.step(record.subject, linked):
                self.keep(linked, None, record)

    def revise(self, record: JobRecord) -> None:
        """Accounting tells of a job whose end was a guess."""
        job = record.subject
        if job.id in self.snapshot.jobs:
            return
        told = self.outcomes.jobs.get(job.id)
        if told is not None:
            self.told(job, told, record, None)
        else:
            unknown = evolve(concluded(job, Phase.UNKNOWN, None, False), ended_at=None)
            self.step(job, unknown)
            self.keep(unknown, None, record, absent_since=self.snapshot.began_at)

    def missing(self, record: JobRecord) -> None:
        job, absent_since = record.subject, record.detail.absent_since
        since = absent_since if absent_since is not None else self.snapshot.began_at
        told = self.outcomes.jobs.get(job.id)
        if told is not None:
            self.told(job, told, record, since)
            return
        if not self.policy.confirms(absent_since, self.snapshot.began_at):
            if absent_since is None:
                self.keep(job, None, record, absent_since=since)
            return
        now = conclude(job, since, self.now, self.policy, self.outcomes)
        if now is not job:
            self.step(job, now)
            self.keep(now, None, record, absent_since=since)

    def told(self, job: JobDescriptor, told: JobDescriptor, record: JobRecord, since: float | None) -> None:
        """Accounting tells how a job has ended that is not listed."""
        told = evolve(
            told,
            uid=job.uid,
            attempt=max(told.attempt, job.attempt),
            aliases=job.aliases or told.aliases,
            parent=job.parent,
            task_index=job.task_index,
        )
        told = self.policy.linked(told, job)
        if told.done and not told.settled and since is not None and self.now - since >= self.policy.grace:
            told = evolve(told, settled=True)
        self.step(job, told)
        self.keep(told, None, record, absent_since=since)

    # -- arrays and heterogeneous jobs

    def arrays(self, ranges: Mapping[str, JobDescriptor]) -> Generator[None, None, None]:
        """Look at tasks that left a pending range without a row of their own, and at ranges that ended as a whole."""
        for array, row in ranges.items():
            record = self.known.get(array)
            if record is not None and row_of(record) is row:
                continue
            self.touched[array] = None
            before = record.detail.range_row if record is not None else None
            if before is not None:
                assert before.pending_tasks is not None
                assert row.pending_tasks is not None
                yield from self.dissolve(before, before.pending_tasks.minus(row.pending_tasks), self.snapshot.began_at)
            if row.done:
                assert row.pending_tasks is not None
                yield from self.ended_range(row, row.pending_tasks)
        for array in self.known.ranges:
            record = self.known.records[array]
            rest = record.detail.range_row
            if rest is None or array in ranges:
                continue
            assert rest.pending_tasks is not None
            if array in self.snapshot.rejected_ids:
                continue
            if self.has_row(array) or not self.policy.lists_ended:
                yield from self.dissolve(rest, rest.pending_tasks, self.snapshot.began_at)
                self.touched[array] = None
            else:
                yield from self.missing_range(record, rest)

    def has_row(self, array: str) -> bool:
        """Return whether one of its tasks has a row."""
        return array in self.families or any(part in self.snapshot.jobs for part in self.known.parts(array))

    def ended_range(self, row: JobDescriptor, tasks: TaskSet) -> Generator[None, None, None]:
        """Tell that each task of a range ended, which did before they started."""
        for count, index in enumerate(tasks):
            if count % PAUSE_EVERY == 0:
                yield
            job_id = self.policy.task_id(row.id, index)
            if not self.has_record(job_id):
                task = pending_task(row, job_id, index)
                self.emit(task, None if self.policy.first else Phase.QUEUED.value)
                self.keep(task, None)

    def has_record(self, job_id: str) -> bool:
        return job_id in self.known.records or job_id in self.result.records

    def missing_range(self, record: JobRecord, row: JobDescriptor) -> Generator[None, None, None]:
        """Look at an array that is absent with its pending tasks. Some of them may have run."""
        assert row.pending_tasks is not None
        absent_since = record.detail.absent_since
        since = absent_since if absent_since is not None else self.snapshot.began_at
        told = self.outcomes.jobs.get(row.id)
        if told is not None and told.done:
            # Accounting's record of those that never ran; of the others it has records of their own.
            tasks = told.pending_tasks or row.pending_tasks
            ended = evolve(told, uid=row.uid, aliases=row.aliases, pending_tasks=tasks)
            yield from self.ended_range(ended, tasks)
            yield from self.dissolve(row, row.pending_tasks.minus(tasks), since)
        elif row.id in self.outcomes.no_record:
            yield from self.dissolve(row, row.pending_tasks, since)
        elif not self.policy.confirms(absent_since, self.snapshot.began_at):
            if absent_since is None:
                self.keep(record.subject, None, record, absent_since=since)
            return
        else:
            concluded_row = conclude(row, since, self.now, self.policy, self.outcomes)
            if concluded_row is row:
                return
            yield from self.ended_range(concluded_row, row.pending_tasks)
        self.touched[row.id] = None

    def dissolve(self, row: JobDescriptor, tasks: TaskSet, since: float) -> Generator[None, None, None]:
        """Make records of tasks that are gone and may have run: what became of each is for accounting to say."""
        for count, index in enumerate(tasks):
            if count % PAUSE_EVERY == 0:
                yield
            job_id = self.policy.task_id(row.id, index)
            if not self.has_record(job_id) and job_id not in self.snapshot.rejected_ids:
                self.keep(pending_task(row, job_id, index), None, absent_since=since)

    def whole(self, parent: str, row: JobDescriptor | None) -> None:
        """Sum a parent up from its parts and its range."""
        record = self.known.get(parent)
        # The tasks of a range that has ended have records of their own by now.
        range_row = row if row is not None and not row.done else None
        last = record.subject if record is not None and record.subject.counts is not None else None
        new = self.new_parts.get(parent, {})
        if last is not None and last.terminal and row is not None and row.submitted_at != last.submitted_at and not row.done:
            # The id came round again: only what is new belongs to it.
            self.result.forgotten.extend((last.cluster, part) for part in self.known.parts(parent) if part not in new)
            last = None
        ids = dict.fromkeys(self.known.parts(parent)) if last is not None or record is None else {}
        ids.update(new)
        parts = [self.record(i).subject for i in ids]
        if not parts and range_row is None:
            return
        job = aggregate(parent, parts, range_row, last)
        if not self.has_all_parts(job, last):
            told = job.id in self.snapshot.recorded or (last is not None and last.done)
            job = without_proof(job, self.policy.finds_parts and not told)
        if last is not None:
            if last.done and not job.done:
                job = evolve(job, attempt=last.attempt + 1)
            elif job.attempt < last.attempt:
                job = evolve(job, attempt=last.attempt)
            self.step(last, job)
        else:
            self.arrive(job)
        self.result.records[parent] = Record(
            job,
            sighting(job, row, range_row=range_row),
            self.now,
            record.last_seq if record is not None else 0,
            record.steps if record is not None and last is not None else b"",
        )

    def has_all_parts(self, job: JobDescriptor, last: JobDescriptor | None) -> bool:
        """Return whether all parts of a whole are known that ever were."""
        if job.id in self.snapshot.whole:
            return True
        if last is not None:
            return PARTS_UNKNOWN not in last.flags
        return (-math.inf if job.submitted_at is None else job.submitted_at) >= self.policy.all_since

    # -- bookkeeping

    def record(self, job_id: str) -> JobRecord:
        """Return the record of a job that has one: the new one, if there is one."""
        record: JobRecord = self.result.records.get(job_id) or self.known.records[job_id]
        return record

    def emit(self, job: JobDescriptor, previous: str | None, at: float | None = None) -> None:
        at = self.now if at is None else at
        last = self.told_at.get(job.id)
        if last is None and (record := self.known.get(job.id)) is not None:
            last = record.last_at
        if last is not None and at < last:
            at = last  # the scheduler's clock is another one, and its times come in no order
        self.told_at[job.id] = at
        self.result.changes.append(Change(job, previous, at))
        if job.parent is not None:
            self.touched[job.parent] = None

    def keep(
        self,
        job: JobDescriptor,
        row: JobDescriptor | None,
        record: JobRecord | None = None,
        absent_since: float | None = None,
        unsettled_since: float | None = None,
    ) -> None:
        """
        Put a job's new record into the result.

        :param row: the row that shows it; None where there is none.
        :param record: the record before, of the same submission.
        """
        if job.done and not job.settled and unsettled_since is None:
            unsettled_since = self.now
        if job.parent is not None:
            self.new_parts.setdefault(job.parent, {})[job.id] = None
        if record is None:
            kept = Record(job, sighting(job, row, absent_since, unsettled_since), self.now)
        else:
            seen = sighting(job, row, absent_since, unsettled_since, record.detail.range_row)
            kept = Record(job, seen, self.now, record.last_seq, record.steps)
        self.result.records[job.id] = kept

    def forget_old(self, before: float) -> Generator[None, None, None]:
        """Drop what ended before that time and is no longer listed; an array only as a whole."""
        for count, (job_id, record) in enumerate(list(self.known.records.items())):
            if count % (4 * PAUSE_EVERY) == 0:
                yield
            if record.updated_at >= before or not record.subject.terminal or record.subject.parent is not None:
                continue
            family = [job_id, *self.known.parts(job_id)]
            if not any(i in self.snapshot.jobs or i in self.result.records for i in family):
                self.result.forgotten.extend((record.subject.cluster, member) for member in family)
