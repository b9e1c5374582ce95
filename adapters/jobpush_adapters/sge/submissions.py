"""
Which submission of a job's number a record of accounting, or a deletion in the reporting file, belongs to. Pure.

Numbers recur, and a rescheduled job has a later time of submission in its next records. Tested in
tests/adapters/sge/test_ended.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import attrs

from jobpush.core.model import JobDescriptor
from jobpush_adapters.common.records import is_same_user
from jobpush_adapters.sge.accounting import AccountingRecord, Deletion

#: Seconds by which the clocks of the qmaster and of this host may differ.
SKEW_S = 120.0

#: What ``native`` calls the time of submission that a rescheduled job has now; its first one is ``submitted_at``.
RESUBMITTED = "submission_time"


def submissions_of(job: JobDescriptor) -> set[int]:
    """Return the times of submission that a job is known to have had, in whole seconds."""
    again = job.native.get(RESUBMITTED, "")
    times = {int(job.submitted_at)} if job.submitted_at is not None else set()
    return times | {int(again)} if again.isdigit() else times


def of_submission(job: JobDescriptor, records: Iterable[AccountingRecord]) -> list[AccountingRecord]:
    """
    Return those of the records, which are in their order, that are proved to be of this submission of its number: of the same
    user, and submitted when the job was, or after a record of the job that says that it starts again. A rescheduled job has a
    later time of submission, and so have the tasks of its array that start afterwards.
    """
    own, times, moved = [], submissions_of(job), None
    number = job.id.partition(".")[0]
    for record in records:
        if record.number != number or not is_same_user(job, record.user):
            continue
        at = record.submitted_at
        if times:
            if at > 0 and int(at) not in times and (moved is None or at < moved - 1.0):
                continue
            if at > 0:
                times.add(int(at))
        elif record.ended_at and record.ended_at < job.observed_at - SKEW_S:
            continue
        if record.job_id == job.id:
            own.append(record)
            moved = None
        if record.goes_on:
            moved = record.ended_at or max(times, default=0)
    return own


def deletion_of(job: JobDescriptor, deletions: Iterable[Deletion], records: Iterable[AccountingRecord]) -> Deletion | None:
    """Return the last deletion of this submission of a job, or of the array whose pending tasks it stands for; else None."""
    times = submissions_of(job)
    moves = [record for record in records if record.goes_on and record.number == job.id.partition(".")[0]]
    found: Deletion | None = None
    for deletion in deletions:
        at = deletion.submitted_at
        if job.id not in (deletion.job_id, deletion.number) or not is_same_user(job, deletion.user):
            continue
        moved = any(at >= (record.ended_at or max(times, default=0)) - 1.0 for record in moves)
        if not times or at <= 0 or int(at) in times or moved:
            # The line of a forced deletion comes beside that of the person.
            forced = deletion.forced or (found is not None and found.forced)
            found = attrs.evolve(deletion, forced=forced)
    return found


def last_submission(
    records: Sequence[AccountingRecord], deletions: Sequence[Deletion]
) -> tuple[Sequence[AccountingRecord], Deletion | None]:
    """Return, of what is told of a job that was never seen, what is of the last submission of its number."""
    own: list[AccountingRecord] = []
    for record in records:
        latest = max((one.submitted_at for one in own), default=0.0)
        if own and 0 < record.submitted_at < latest:
            continue
        # After a record that ended it, what has another time of submission is another job.
        if own and not own[-1].goes_on and record.submitted_at > 0 and record.submitted_at != own[-1].submitted_at:
            own = []
        if own and own[-1].user != record.user:
            own = []
        own.append(record)
    latest = max((one.submitted_at for one in own), default=0.0)
    mine = [one for one in deletions if one.submitted_at <= 0 or one.submitted_at >= int(latest)]
    if not mine:
        return own, None
    if own and mine[-1].submitted_at > latest > 0 and not own[-1].goes_on:
        own = []
    return own, attrs.evolve(mine[-1], forced=any(one.forced for one in mine))
