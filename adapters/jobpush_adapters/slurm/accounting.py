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

from jobpush.core.model import Confidence, JobDescriptor, Outcome, Outcomes
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


def last_of_submission(job: JobDescriptor, found: Sequence[Record]) -> Record | None:
    """
    Return the last record of a job, whose attempts have one each.

    The first is that of the known submission. Each later one belongs to the job only if the one before it ended as attempts do
    that Slurm puts back into the queue, before the later one was submitted, and the user is the same: what has another job's
    record is not told.

    :param found: records of its id.
    :return: None if there is none of which that is known.
    """
    of_user = sorted((record for record in found if is_same_user(job, record.user)), key=lambda record: record.submitted_at)
    if job.submitted_at is None:
        return of_user[-1] if of_user else None
    last: Record | None = None
    for record in of_user:
        if record.submitted_at == job.submitted_at:
            last = record
        elif last is not None and record.submitted_at > last.submitted_at:
            if last.word not in _REQUEUED or (last.ended_at is not None and last.ended_at > record.submitted_at):
                return last
            last = record
    return last


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


def outcomes(
    stdout: bytes, jobs: Mapping[str, JobDescriptor], now: float, whole_codes: bool, caught_up: bool
) -> Outcomes:
    """
    Return what an answer says of these jobs.

    :param caught_up: whether nothing waited to be written to accounting before it was asked.
    """
    by_id: dict[str, list[Record]] = {}
    for record in records(stdout):
        by_id.setdefault(record.job_id, []).append(record)
    # slurmctld sends its records in order: one that ended later than a job was seen says that the job's own would be there.
    latest = max((record.ended_at or 0.0 for those in by_id.values() for record in those), default=0.0)
    ended: dict[str, JobDescriptor] = {}
    still_open, missing = set(), set()
    for job_id, job in jobs.items():
        found = by_id.get(job_id, [])
        last = last_of_submission(job, found)
        if last is not None and last.outcome is not None:
            ended[job_id] = told_by(last, job, now, whole_codes)
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
