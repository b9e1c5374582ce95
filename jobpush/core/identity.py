"""Whether a row shows the job that is known, and what of a job outlives its row. Pure."""

from __future__ import annotations

from jobpush.core.frozen import evolve
from jobpush.core.model import STARTED_PHASES, WAITING_PHASES, Confidence, JobDescriptor, Outcome, PastAttempt, Phase

#: Phases from which going back to the queue is a new attempt.
_RAN = STARTED_PHASES - {Phase.DONE}


def is_another(job: JobDescriptor, row: JobDescriptor) -> bool:
    """
    Return whether the row shows another job by the same id. Another time of submission says so, unless it is a requeue, which
    is a new submission to Slurm; a time that is not known says nothing.
    """
    if job.submitted_at is None or row.submitted_at is None or job.submitted_at == row.submitted_at:
        return False
    if job.user is not None and row.user is not None and job.user != row.user:
        return True  # ids are given anew when a scheduler has lost its state; a requeue keeps the user
    if row.attempt == job.attempt > 0:
        return False  # a requeue whose attempt was concluded from its states, before Slurm moved its time of submission
    return not job.is_same_submission(row) and row.attempt <= job.attempt


def adopt(row: JobDescriptor, job: JobDescriptor) -> JobDescriptor:
    """Return the row with what outlives a row: the uid over a requeue, the attempt and its start, a confirmation once given."""
    attempt = max(row.attempt, job.attempt)
    if row.attempt <= job.attempt and (
        (job.done and not row.done and not job.is_guess) or (job.phase in _RAN and row.phase in WAITING_PHASES)
    ):
        attempt = job.attempt + 1
    settled = row.settled or (job.settled and row.done and job.outcome is row.outcome and attempt == job.attempt)
    lacks = {name: value for name in _lacking(row, attempt == job.attempt) if (value := getattr(job, name)) is not None}
    if row.outcome is Outcome.MOVED is job.outcome and job.moved_to is not None and attempt == job.attempt:
        lacks["moved_to"] = job.moved_to
    if row.previous_attempt is None:
        previous = job.previous_attempt if attempt == job.attempt else past(job)
        if previous is not None:
            lacks["previous_attempt"] = previous
    if not lacks and row.attempt == attempt and row.settled == settled and row.is_same_submission(job):
        return row
    return evolve(row, uid=job.uid, attempt=attempt, settled=settled, **lacks)


def past(job: JobDescriptor) -> PastAttempt:
    """Return how a job's attempt ended that is followed by another, as far as what was seen of it last says so."""
    ended = job.done and not job.is_guess
    return PastAttempt(
        attempt=job.attempt,
        outcome=job.outcome if ended else None,
        exit_code=job.exit_code if ended else None,
        signal=job.signal if ended else None,
        reason=job.reason if ended else None,
        started_at=job.started_at,
        ended_at=job.ended_at if ended else None,
    )


#: What an accounting record may lack of a job that was seen in the queue.
_DESCRIBES = ("submitted_at", "workdir", "comment", "time_limit_s", "name", "user", "account")


def _lacking(row: JobDescriptor, same_attempt: bool) -> list[str]:
    """
    Return what is to be kept of a job because its row does not say it: a time of submission never goes away, nor does a start
    while what was started ends.
    """
    names = _DESCRIBES if row.confidence is Confidence.ACCOUNTING else _DESCRIBES[:1]
    if same_attempt and row.phase is Phase.FINISHING:
        names = (*names, "started_at")
    return [name for name in names if getattr(row, name) is None]


def at_begin(job: JobDescriptor) -> JobDescriptor:
    """Return a job as it must have been before it ended; its phase is the caller's to set."""
    return evolve(
        job,
        phase=Phase.QUEUED,
        outcome=None,
        settled=False,
        exit_code=None,
        signal=None,
        reason=None,
        reason_code=None,
        flags=(),
        native={},
        ended_at=None,
        confidence=Confidence.INFERRED,
        moved_to=None,
        counts=None,
        pending_tasks=None,
    )
