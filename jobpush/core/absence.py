"""
What it means that a job is not listed any more. Pure.

Absence is never success. It counts only where the account may see all jobs (the monitor makes sure of that), and it is
given time: accounting is asked, and has a grace, before a job is called lost.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import filterfalse

import attrs

from jobpush.core.frozen import evolve
from jobpush.core.identity import is_another
from jobpush.core.job_table import ClusterJobs
from jobpush.core.model import ABSENCE, WAITING_PHASES, Confidence, JobDescriptor, Outcome, Outcomes, Phase, Snapshot
from jobpush.core.record import JobRecord

#: What stands for accounting where there is none, or where it was not asked this time.
NOTHING_ASKED = Outcomes()

#: Seconds after which, at the earliest, a second look may confirm that a job is absent.
CONFIRM_S = 2.0


@attrs.frozen
class DiffPolicy:
    """
    :ivar accounting: whether there is accounting that could know how a job ended.
    :ivar grace: seconds for which a job may be absent without a record before that means something.
    :ivar keep_ended: seconds for which a job that has ended, and is no longer listed, stays in the table; None: do not look
        for such jobs this time.
    :ivar task_id: (array, index) to the id of that task.
    :ivar lists_ended: as in `QueueFacts`.
    :ivar first: whether this is the first look at this cluster ever; then nothing is concluded about what came before.
    :ivar confirm: seconds from a look that misses a job to one that confirms it.
    :ivar checked_at: when it was last made sure that the scheduler is the right one, and shows this account all jobs: that must
        have been asked between the look that misses a job and the one that confirms it.
    :ivar unbroken_since: when the first of the looks began of which none was so late that a job can have been listed as ended,
        and be gone again, between it and the one before. None if it is not known how long ended jobs are listed.
    :ivar all_since: an array that this look shows first is known with all of its parts if it was submitted since then. Minus
        infinity if each is, infinity if none is: parts of it may have ended before anybody looked.
    :ivar finds_parts: whether there is accounting that can be asked for all parts of an array.
    :ivar moved_to: (job) to CLUSTER/ID of the job of another cluster that it has become, if that is known; None if there is no
        other cluster.
    """

    task_id: Callable[[str, int], str]
    accounting: bool = False
    grace: float = 30.0
    keep_ended: float | None = None
    lists_ended: bool = True
    first: bool = False
    confirm: float = CONFIRM_S
    checked_at: float | None = None
    unbroken_since: float | None = None
    all_since: float = -math.inf
    finds_parts: bool = False
    moved_to: Callable[[JobDescriptor], str | None] | None = None

    def confirms(self, absent_since: float | None, look_at: float) -> bool:
        """
        Return whether a look agrees with an earlier one that a job is absent, so that both are believed.

        :param absent_since: when the earlier one began; None if there was none.
        :param look_at: when this one began.
        """
        if absent_since is None or self.checked_at is None:
            return False
        return absent_since <= self.checked_at and look_at - absent_since >= self.confirm

    def linked(self, job: JobDescriptor, before: JobDescriptor | None = None) -> JobDescriptor:
        """
        Return a job with the name of the one that it has become, if it was moved. Until that is known it is not settled: the
        look that shows the one may come before that which shows the other.

        :param before: as it was told last.
        """
        if job.outcome is not Outcome.MOVED or job.moved_to is not None or self.moved_to is None:
            return job
        there = self.moved_to(job)
        if there is not None:
            return evolve(job, moved_to=there, settled=True)
        return evolve(job, settled=before is not None and before.terminal and before.outcome is job.outcome)


def unlisted(known: ClusterJobs, snapshot: Snapshot) -> list[str]:
    """
    Return the ids of jobs that are not terminal and that the snapshot neither lists nor failed to understand. A task that its
    array's pending range holds is listed.
    """
    jobs = ((job_id, known.records[job_id].subject) for job_id in without_row(known, snapshot))
    doubtful = snapshot.rejected_ids
    return [
        job_id
        for job_id, job in jobs
        if job_id not in doubtful and job.parent not in doubtful and range_of(job, snapshot) is None
    ]


def without_row(known: ClusterJobs, snapshot: Snapshot) -> list[str]:
    """Return the ids of jobs that are not terminal and have no row in the snapshot, in order."""
    if known.follows(snapshot):
        open_ids, listed = known.open, snapshot.jobs
        ids = {*snapshot.gone, *known.unsettled}
        # A task that has no row is there as long as its array's pending range holds it.
        ids.update(part for array in (*snapshot.gone, *(snapshot.fresh or ())) for part in known.parts(array))
        return sorted(i for i in ids if i in open_ids and i not in listed)
    # Without a loop in Python: a hundred thousand jobs, of which few are missing, take a few milliseconds.
    return sorted(filterfalse(snapshot.jobs.__contains__, known.open))


def range_of(job: JobDescriptor, snapshot: Snapshot) -> JobDescriptor | None:
    """Return the listed row of the pending range that holds this array task; None where there is none."""
    row = snapshot.jobs.get(job.parent) if job.parent is not None else None
    if row is None or row.pending_tasks is None or row.done:
        return None
    return row if job.task_index in row.pending_tasks else None


def newly_absent(known: ClusterJobs, snapshot: Snapshot) -> list[JobRecord]:
    """Return the live jobs that the snapshot before this one listed, and this one does not."""
    listed = snapshot.jobs
    missing = (known.records[job_id] for job_id in unlisted(known, snapshot))
    absent = [record for record in missing if record.detail.absent_since is None and not record.subject.done]
    for array in known.ranges:
        record = known.records[array]
        gone = array not in listed and not any(part in listed for part in known.parts(array))
        if gone and record.detail.absent_since is None:
            absent.append(record)
    return absent


def shows_others(known: ClusterJobs, snapshot: Snapshot) -> bool:
    """
    Return whether a snapshot may be another cluster's: it shows another job by the id of a live one, or jobs that are not known
    and none of the live ones.
    """
    rows = snapshot.jobs
    changed = snapshot.fresh if known.follows(snapshot) and snapshot.fresh is not None else rows
    asked = snapshot.partial  # for named jobs: what it shows of others says nothing
    for job_id in changed:
        record = known.records.get(job_id)
        if record is None:
            shown = snapshot.rejected_ids
            if not asked and not any(live in rows or live in shown for live in (*known.open, *known.ranges)):
                return True
            asked = True
        elif record.subject is not rows[job_id] and not record.subject.terminal and is_another(record.subject, rows[job_id]):
            return True
    return False


def unchecked(known: ClusterJobs, checked_at: float | None) -> bool:
    """
    Return whether a job is absent since a look after which it has not been made sure that all jobs are shown.

    :param checked_at: when that was made sure of last.
    """
    since = (known.records[job_id].detail.absent_since for job_id in known.unsettled)
    return any(absent is not None and (checked_at is None or absent > checked_at) for absent in since)


def wants_outcome(known: ClusterJobs, snapshot: Snapshot) -> list[JobDescriptor]:
    """
    Return the jobs that accounting is to be asked about: not listed any more, and not settled. An array of which some tasks
    never had a row is asked about as a whole.
    """
    missing = [known.records[job_id].subject for job_id in unlisted(known, snapshot)]
    for array in known.ranges:
        row = known.records[array].detail.range_row
        if row is not None and array not in snapshot.jobs and array not in snapshot.rejected_ids:
            missing.append(row)
    return missing


def guesses(known: ClusterJobs, snapshot: Snapshot) -> list[JobDescriptor]:
    """Return the jobs whose end is a guess that a record of accounting would replace."""
    return [known.records[job_id].subject for job_id in known.guessed if job_id not in snapshot.jobs]


def conclude(job: JobDescriptor, absent_since: float, now: float, policy: DiffPolicy, outcomes: Outcomes) -> JobDescriptor:
    """
    Return what a job without a record of its end in accounting is called.

    :param absent_since: the time from which it is absent, which two looks agree on.
    """
    grace, absent_for = policy.grace, now - absent_since
    if job.id in outcomes.still_open:
        return job
    if job.done:
        return evolve(job, settled=True) if absent_for >= grace else job
    no_record = not policy.accounting or job.id in outcomes.no_record
    if job.phase in WAITING_PHASES:
        if not policy.accounting and never_ran(job, absent_since, policy):
            return concluded(job, Phase.DONE, Outcome.CANCELLED, True)
        if absent_for < grace or not no_record:
            return job
        return concluded(job, Phase.DONE, Outcome.CANCELLED if policy.accounting else Outcome.LOST, True)
    if absent_for < grace:
        phase = Phase.FINISHING
    elif absent_for < 2 * grace or not no_record:
        phase = Phase.UNKNOWN
    else:
        return concluded(job, Phase.DONE, Outcome.LOST, True)
    return job if job.phase is phase else concluded(job, phase, None, False)


def never_ran(job: JobDescriptor, absent_since: float, policy: DiffPolicy) -> bool:
    """
    Return whether an array's task that left its pending range cannot have run: the scheduler lists tasks that have ended, and
    no look was so late that it can have missed that.
    """
    unbroken = policy.unbroken_since is not None and policy.unbroken_since < absent_since
    return job.parent is not None and policy.lists_ended and unbroken


def concluded(
    job: JobDescriptor, phase: Phase, outcome: Outcome | None, settled: bool, ended_at: float | None = None
) -> JobDescriptor:
    """Return a job of which no row tells any more. When it ended is not known, unless given."""
    return evolve(
        job,
        phase=phase,
        outcome=outcome,
        settled=settled,
        reason_code=None,
        flags=(),
        ended_at=ended_at,
        source=ABSENCE,
        confidence=Confidence.INFERRED,
    )
