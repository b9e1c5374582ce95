"""
What ``squeue`` is asked, and what its rows say. Pure. Tests: tests/adapters/slurm/test_queue.py.

What users may write (names, comments, work directories, accounts) is not trusted: fields and rows end with a token that is made
for each call, so that no job that was submitted before contains it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from jobpush.adapter.command import CommandResult
from jobpush.adapter.interfaces import QueueError
from jobpush.core.model import JobDescriptor, Phase
from jobpush.core.tasks import TaskSet
from jobpush_adapters.common.commands import succeeded
from jobpush_adapters.common.incremental_rows import parts
from jobpush_adapters.slurm.accounting import seconds
from jobpush_adapters.slurm.states import with_state

#: The fields that contain no ``|``, which separates them; ``exit_code`` is a wait status.
PLAIN_FIELDS = (
    "JobID", "JobArrayID", "State", "exit_code", "Partition", "NodeList", "SubmitTime", "StartTime", "EndTime", "TimeLimit",
    "RestartCnt", "UserName",
)  # fmt: skip

#: The fields that may contain anything, as users, or programs that they run, write them: each ends with a token.
FREE_FIELDS = ("Reason", "Account", "WorkDir", "Comment", "Name")

PLAIN = re.compile(r"[1-9][0-9]{0,9}")
TASK = re.compile(r"([1-9][0-9]{0,9})_(0|[1-9][0-9]{0,6})")
HET = re.compile(r"([1-9][0-9]{0,9})\+(0|[1-9][0-9]{0,3})")

#: How the row begins of what has no job's number.
_NO_JOB = b"4294967294|"

#: Characters of a token.
TOKEN_SIZE = 11

#: What replaces the token, with what the format has after it.
_FIELD_END = re.compile(rb"\0+f")
_FILLER = b"\0" * TOKEN_SIZE
ROW_END = _FILLER + b"r\n"

_RANGE = re.compile(r"([1-9][0-9]{0,9})_\[([0-9,:%-]+)\]")
_COUNT = re.compile(r"[0-9]{1,10}")
_LIMIT = re.compile(r"(?:([0-9]+)-)?(?:([0-9]+):)?([0-9]+):([0-9]+)")


def squeue_arguments(token: str, clusters: str | None = None) -> list[str]:
    """
    Return the arguments of the one query: the jobs of all users in all partitions, hidden ones too, in all states, in the order
    of their ids, without those of a federation's other clusters. Fields that contain no ``|`` are followed by one; the last of
    them and the others by ``token`` and ``f``, the last of all by ``token`` and ``r``.
    """
    ends = ["|"] * (len(PLAIN_FIELDS) - 1) + [f"{token}f"] * len(FREE_FIELDS) + [f"{token}r"]
    fields = ",".join(f"{field}:{end}" for field, end in zip(PLAIN_FIELDS + FREE_FIELDS, ends, strict=True))
    return ["--all", *where(clusters), "-h", "-t", "all", "-S", "i", "-O", fields]


def where(clusters: str | None) -> list[str]:
    """Return the option that leaves out a federation's other clusters, or names one."""
    return [f"--clusters={clusters}"] if clusters else ["--local"]


def answer_of(result: CommandResult, token: str) -> bytes:
    """
    Return the output of squeue.

    :raise QueueError: if it is no whole answer: another exit status than 0, a message about a field, a row without its end.
    """
    succeeded("squeue", result)
    if b"Invalid job format" in result.stderr:
        raise QueueError(f"squeue does not know a field: {result.complaint}")
    if b"\0" in result.stdout:
        raise QueueError("squeue printed a NUL")
    if result.stdout and not result.stdout.endswith(f"{token}r\n".encode()):
        raise QueueError("squeue: the answer is cut off, or is none of squeue's")
    if not result.stdout and result.stderr.strip():
        raise QueueError(f"squeue listed nothing and complained: {result.complaint}")
    return _without_placeholders(result.stdout, f"{token}r\n".encode())


def _without_placeholders(answer: bytes, end: bytes) -> bytes:
    """
    Return an answer without the rows that stand for no job: a controller keeps what another one of its federation has started
    for a moment under an id of its own, the number that Slurm has for "none" (measured on 22.05).
    """
    if not answer.startswith(_NO_JOB) and end + _NO_JOB not in answer:
        return answer
    return end.join(row for row in answer.split(end) if not row.startswith(_NO_JOB))


def texts_of(answer: bytes, token: str) -> Iterator[bytes]:
    """
    Return an answer in parts that end with a row. NULs, which squeue does not print, replace the token, so that a row that has
    not changed has the same bytes whatever the token was. (There are as many of them: a replacement of the same length moves
    nothing in memory.)
    """
    name = token.encode()
    return (part.replace(name, _FILLER) for part in parts(answer, name + b"r\n"))


def framed(row: bytes) -> bytes:
    """Return a row with one NUL between two of its parts."""
    return _FIELD_END.sub(b"\0", row)


def id_of(row: bytes) -> str:
    """Return the id of the job of a row that `parse_row` understands: of ``33_[2-9]`` the part before the range."""
    return row.split(b"|", 2)[1].partition(b"_[")[0].decode("ascii")


def ids_of(row: bytes) -> set[str]:
    """Return the ids that a row which is not understood may stand for."""
    texts = (field.decode("ascii", "replace") for field in row.partition(b"\0")[0].split(b"|", 2)[:2])
    return {text for text in texts if PLAIN.fullmatch(text) or TASK.fullmatch(text) or HET.fullmatch(text)}


def parse_row(cluster: str, row: bytes, now: float) -> JobDescriptor:
    """
    Return the job of a row of ``squeue``.

    :raise ValueError: if the row does not have the fields that were asked for, or a needed one is not as it should be.
    """
    plain, *free = (part.decode("utf-8", "replace") for part in row.split(b"\0"))
    fields = [*plain.split("|"), *free]
    if len(fields) != len(PLAIN_FIELDS) + len(FREE_FIELDS):
        raise ValueError(f"{len(fields)} fields instead of {len(PLAIN_FIELDS) + len(FREE_FIELDS)}")
    raw, shown, state, status, partition, nodes, submit, start, end, limit, restarts, user = fields[: len(PLAIN_FIELDS)]
    reason, account, workdir, comment, name = fields[len(PLAIN_FIELDS) :]
    if not PLAIN.fullmatch(raw):
        raise ValueError("the job id is none")
    job_id, parent, index, pending = raw, None, None, None
    if shown == raw:
        pass
    elif task := TASK.fullmatch(shown):
        job_id, parent, index = shown, task[1], int(task[2])
    elif het := HET.fullmatch(shown):
        job_id, parent = shown, het[1]
    elif rest := _RANGE.fullmatch(shown):
        job_id, pending = rest[1], TaskSet.parse(rest[2])
    else:
        raise ValueError("the job id is none")
    submitted_at, started_at, ended_at = (seconds(text) for text in (submit, start, end))
    if not _COUNT.fullmatch(status) or not _COUNT.fullmatch(restarts):
        raise ValueError("the exit code or the number of restarts is no number")
    attempt = int(restarts)
    if state in ("COMPLETING", "CG") and ended_at is None:
        # It is being put back into the queue (measured on 22.05): the restart is counted, the time of submission not yet moved,
        # and the start is an estimate of the next one. What is ending there is the attempt before.
        attempt, started_at = max(0, attempt - 1), None
    job = JobDescriptor(
        cluster=cluster,
        id=job_id,
        phase=Phase.UNKNOWN,
        attempt=attempt,
        native={"state": state, "exit_status": status, "reason": reason},
        aliases=(raw,) if raw not in (job_id, parent) else (),
        name=name,
        user=user or None,
        account=_text(account),
        submitted_at=submitted_at,
        queue=partition or None,
        nodes=_text(nodes),
        workdir=_text(workdir),
        comment=_text(comment),
        time_limit_s=parse_time_limit(limit),
        observed_at=now,
        source="squeue",
        parent=parent,
        task_index=index,
        pending_tasks=pending,
    )
    return with_state(job, state, int(status), reason, started_at, ended_at)


def parse_time_limit(text: str) -> int | None:
    """Return the seconds of ``[days-][[hours:]minutes:]seconds``; None for UNLIMITED and the like."""
    found = _LIMIT.fullmatch(text)
    if found is None:
        return None
    days, hours, minutes, seconds = (int(part or 0) for part in found.groups())
    return ((days * 24 + hours) * 60 + minutes) * 60 + seconds


def _text(text: str) -> str | None:
    return None if text in ("", "(null)", "N/A") else text
