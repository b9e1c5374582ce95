"""
What ``sacct`` says of jobs. Pure.

From ``sacct(1)`` and from measuring Slurm 22.05: a requeue is a new record with the same id and a later time of submission; so
is another job, where ids are given anew because slurmctld has lost its state. A record's Reason is why the job waited, not why
it ended. Up to and with 25.05 an exit code of 128 and above is printed less 128.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

import attrs

from jobpush.core.model import Confidence, JobDescriptor, Outcome, Outcomes, PastAttempt
from jobpush.core.tasks import TaskSet
from jobpush_adapters.common.records import is_same_user
from jobpush_adapters.slurm.states import STATES, with_state

#: What is asked of accounting: nothing that users write, so that ``|`` is a safe separator.
FIELDS = ("JobID", "State", "ExitCode", "Submit", "Start", "End", "Partition", "NodeList", "Reason", "User")

#: The first version whose ``sacct`` prints exit codes as they are.
WHOLE_CODES = (25, 11)

#: The flag of a job whose exit code is known modulo 128 only.
MODULO_128 = "exit_code_mod_128"

#: How an attempt ends that Slurm follows by another.
_REQUEUED = frozenset({"REQUEUED", "PREEMPTED", "NODE_FAIL", "REQUEUE_HOLD", "SPECIAL_EXIT", "RESV_DEL_HOLD"})

_RANGE = re.compile(r"([1-9][0-9]{0,9})_\[([0-9,:%-]+)\]")
_CODE = re.compile(r"([0-9]+):([0-9]+)")
_SECONDS = re.compile(r"[1-9][0-9]{0,10}")
_QUEUE_SIZE = re.compile(rb"^DBD Agent queue size:\s*([0-9]+)\s*$", re.MULTILINE)


@attrs.frozen
class Record:
    """
    One record of a job.

    :ivar job_id: of the job, or of the array of which those tasks have one record that never ran.
    :ivar tasks: these tasks.
    :ivar word: its state, without what follows it.
    :ivar code: what stands before the colon of its exit code, and what behind; None if that is no code.
    """

    job_id: str
    tasks: TaskSet | None
    state: str
    word: str
    exit_code: str
    code: tuple[int, int] | None
    submitted_at: float
    started_at: float | None
    ended_at: float | None
    partition: str
    nodes: str
    reason: str
    user: str

    def is_followed_by(self, later: Record) -> bool:
        """Return whether a later record of the same id and user is that of the job's next attempt."""
        ended = self.ended_at is None or self.ended_at <= later.submitted_at
        return self.word in _REQUEUED and ended and later.submitted_at > self.submitted_at

    @property
    def outcome(self) -> Outcome | None:
        """How it ended; None if it has not, or does not say so."""
        return STATES.get(self.word, (None, None))[1] if self.code is not None else None


def records(stdout: bytes) -> Iterator[Record]:
    """Yield the records of an answer. A line that is none is passed over."""
    for line in stdout.decode("utf-8", "replace").split("\n"):
        fields = line.split("|")
        if len(fields) != len(FIELDS):
            continue
        shown, state, code, submit, start, end, partition, nodes, reason, user = fields
        submitted_at = seconds(submit)
        if submitted_at is None:
            continue
        rest = _RANGE.fullmatch(shown)  # what never ran of an array has one record: 33_[2-9]
        found = _CODE.fullmatch(code)
        yield Record(
            job_id=rest[1] if rest is not None else shown,
            tasks=TaskSet.parse(rest[2]) if rest is not None else None,
            state=state,
            word=state.partition(" ")[0],  # "CANCELLED by 1000"
            exit_code=code,
            code=(int(found[1]), int(found[2])) if found is not None else None,
            submitted_at=submitted_at,
            started_at=seconds(start),
            ended_at=seconds(end),
            partition=partition,
            nodes=nodes,
            reason=reason,
            user=user,
        )


def attempts_of(job: JobDescriptor, found: Sequence[Record]) -> list[Record]:
    """
    Return the records of a job's attempts, oldest first; of a job whose time of submission is not known, those of the last job
    of its id. They are empty if none is proved to be its own.

    A record belongs to the same job as the one before it only if that ended as attempts do that Slurm puts back into the queue,
    before the later one was submitted, and the user is the same: what has another job's record is not told.

    :param found: records of its id.
    """
    jobs: list[list[Record]] = []
    of_user = (record for record in found if is_same_user(job, record.user))
    for record in sorted(of_user, key=lambda record: record.submitted_at):
        last = jobs[-1][-1] if jobs else None
        if last is not None and record.submitted_at == last.submitted_at:
            jobs[-1][-1] = record
        elif last is not None and last.is_followed_by(record):
            jobs[-1].append(record)
        else:
            jobs.append([record])
    if job.submitted_at is None:
        return jobs[-1] if jobs else []
    return next((own for own in jobs if any(record.submitted_at == job.submitted_at for record in own)), [])


def past(record: Record, attempt: int, whole_codes: bool) -> PastAttempt:
    """Return how an attempt ended that was followed by another, as its record tells it. Why it had waited is no reason."""
    code, signal = record.code or (0, 0)
    outcome = record.outcome
    if outcome is None and (code or signal):
        outcome = Outcome.FAILED  # RequeueExit
    return PastAttempt(
        attempt=attempt,
        outcome=outcome,
        exit_code=code if code and not signal and whole_codes else None,
        signal=signal or None,
        started_at=record.started_at,
        ended_at=record.ended_at,
    )


def told_by(record: Record, job: JobDescriptor, now: float, whole_codes: bool) -> JobDescriptor:
    """
    Return the job as its record, which has an end, says that it ended.

    :param whole_codes: whether exit codes are printed as they are, and not modulo 128.
    """
    assert record.code is not None
    status = (record.code[0] & 0xFF) << 8 | (record.code[1] & 0x7F)
    told = attrs.evolve(
        job,
        nodes=None if record.nodes in ("", "None assigned") else record.nodes,
        queue=record.partition or job.queue,
        native={"state": record.state, "exit_status": record.exit_code, "reason": record.reason},
        submitted_at=record.submitted_at,
        user=job.user or record.user or None,
        observed_at=now,
        source="sacct",
        confidence=Confidence.ACCOUNTING,
        pending_tasks=record.tasks if record.tasks is not None else job.pending_tasks,
    )
    told = with_state(told, record.word, status, "", record.started_at, record.ended_at)
    if whole_codes or told.exit_code is None or told.outcome is Outcome.COMPLETED:
        return told
    native = {**told.native, MODULO_128: str(record.code[0])}
    return attrs.evolve(told, exit_code=None, native=native, flags=(*told.flags, MODULO_128))


def _after(before: Sequence[Record], told: JobDescriptor, whole_codes: bool) -> JobDescriptor:
    """Return a job with the number of its last attempt, and how the one before it ended, by the records of those before."""
    if not before:
        return told
    attempt = max(told.attempt, len(before))
    previous = past(before[-1], attempt - 1, whole_codes)
    if told.attempt == attempt and told.previous_attempt is not None:
        previous = told.previous_attempt.or_else(previous)
    return attrs.evolve(told, attempt=attempt, previous_attempt=previous)


def past_attempts(stdout: bytes, jobs: Sequence[JobDescriptor], whole_codes: bool) -> dict[str, PastAttempt]:
    """Return what an answer says of the attempts before the present ones of these jobs, by the id of the job."""
    by_id = _by_id(stdout)
    found: dict[str, PastAttempt] = {}
    for job in jobs:
        attempts = attempts_of(job, by_id.get(job.id, []))
        now = next((number for number, record in enumerate(attempts) if record.submitted_at == job.submitted_at), 0)
        if now > 0:
            found[job.id] = past(attempts[now - 1], job.attempt - 1, whole_codes)
    return found


def _by_id(stdout: bytes) -> dict[str, list[Record]]:
    by_id: dict[str, list[Record]] = {}
    for record in records(stdout):
        by_id.setdefault(record.job_id, []).append(record)
    return by_id


def outcomes(
    stdout: bytes, jobs: Mapping[str, JobDescriptor], now: float, whole_codes: bool, caught_up: bool
) -> Outcomes:
    """
    Return what an answer says of these jobs.

    :param caught_up: whether nothing waited to be written to accounting before it was asked.
    """
    by_id = _by_id(stdout)
    # slurmctld sends its records in order: one that ended later than a job was seen says that the job's own would be there.
    latest = max((record.ended_at or 0.0 for those in by_id.values() for record in those), default=0.0)
    ended: dict[str, JobDescriptor] = {}
    still_open, missing = set(), set()
    for job_id, job in jobs.items():
        found = by_id.get(job_id, [])
        attempts = attempts_of(job, found)
        last = attempts[-1] if attempts else None
        if last is not None and last.outcome is not None:
            ended[job_id] = _after(attempts[:-1], told_by(last, job, now, whole_codes), whole_codes)
        elif last is not None:
            still_open.add(job_id)
        elif not found and (caught_up or latest > job.observed_at):
            missing.add(job_id)
    return Outcomes(ended, frozenset(still_open), frozenset(missing))


def waiting_records(stdout: bytes) -> int | None:
    """Return how many records slurmctld has not sent to accounting yet, from ``sdiag``; None if that does not say so."""
    found = _QUEUE_SIZE.search(stdout)
    return int(found[1]) if found is not None else None


def seconds(text: str) -> float | None:
    """Return epoch seconds, as SLURM_TIME_FORMAT=%s prints them; None for N/A, NONE, Unknown."""
    return float(text) if _SECONDS.fullmatch(text) else None
