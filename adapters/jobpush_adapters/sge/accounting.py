"""
Parses Grid Engine's ``accounting`` and ``reporting`` files, and what ``qacct`` prints of the former. Pure.

From ``accounting(5)``, ``reporting(5)`` and from measuring Son of Grid Engine 8.1.9. Fields are separated by ``:``, which no
name, account or project can hold; the category, which can, comes after all that is read here.
"""

from __future__ import annotations

import calendar
import re
import time
from collections.abc import Iterator, Sequence

import attrs

from jobpush.core.model import JobDescriptor, Outcome, Phase
from jobpush_adapters.common.records import ended_by_record
from jobpush_adapters.sge.states import End, end_of, limits_hit


@attrs.frozen
class AccountingRecord:
    """One line of the accounting file: one attempt of one job or task. ``task`` is 0 if it is no task of an array."""

    number: str
    task: int
    name: str
    user: str
    account: str
    queue: str
    host: str
    submitted_at: float
    started_at: float
    ended_at: float
    failed: int
    exit_status: int
    cpu: float
    category: str

    @property
    def job_id(self) -> str:
        """The id of the job or task."""
        return task_id(self.number, self.task)

    def end(self, deleted: bool) -> End:
        """Return how the attempt ended."""
        limits = limits_hit(self.category, self.ended_at - self.started_at, self.cpu)
        return end_of(self.failed, self.exit_status, deleted, limits)


@attrs.frozen
class Deletion:
    """A line of the reporting file: somebody deleted a job or task, which was in ``state``; that is empty if it waited."""

    number: str
    task: int
    name: str
    user: str
    submitted_at: float
    state: str
    at: float

    @property
    def job_id(self) -> str:
        """The id of the job or task."""
        return task_id(self.number, self.task)

    @property
    def waited(self) -> bool:
        """Whether it waited when it was deleted. Then there will be no accounting record."""
        return not set(self.state) & set("rtsST")


def task_id(number: str, task: int) -> str:
    """Return the id of a job, or of a task of an array."""
    return f"{number}.{task}" if task > 0 else number


def parse_accounting(line: bytes) -> AccountingRecord | None:
    """Return the record of a line of the accounting file; None if it is no record (a comment, or a part of a line)."""
    fields = line.decode("utf-8", "replace").split(":")
    if len(fields) < 45:
        return None
    try:
        return AccountingRecord(
            number=str(int(fields[5])),
            task=int(fields[35]),
            name=fields[4],
            user=fields[3],
            account=fields[31] if fields[31] not in ("", "NONE") else fields[6],
            queue=fields[0],
            host=fields[1],
            submitted_at=_seconds(fields[8]),
            started_at=_seconds(fields[9]),
            ended_at=_seconds(fields[10]),
            failed=int(fields[11]),
            exit_status=int(fields[12]),
            cpu=float(fields[36]),
            category=":".join(fields[39:-5]),
        )
    except ValueError:
        return None


def parse_deletion(line: bytes) -> Deletion | None:
    """Return the deletion by a person of a line of the reporting file; None for every other line."""
    if b":job_log:" not in line or b":deleted:" not in line:
        return None
    fields = line.decode("utf-8", "replace").split(":")
    # Not "job removed" (by the execution daemon) or "job deleted by scheduler": those follow every end.
    if len(fields) < 20 or fields[1] != "job_log" or fields[3] != "deleted" or fields[-1].strip() != "job deleted":
        return None
    try:
        return Deletion(
            number=str(int(fields[4])),
            task=max(int(fields[5]), 0),
            name=fields[13],
            user=fields[14],
            submitted_at=_seconds(fields[12]),
            state=fields[7],
            at=_seconds(fields[2]),
        )
    except ValueError:
        return None


def is_about_job(line: bytes) -> bool:
    """Return whether a line of the accounting or reporting file is about a job, not about a host or a queue."""
    found = line.split(b":", 2)
    return len(found) == 3 and (found[1] in (b"job_log", b"new_job", b"acct") or line.count(b":") >= 44)


def is_about_end(line: bytes) -> bool:
    """Return whether a line of either file is about the end of a job."""
    found = line.split(b":", 4)
    return is_about_job(line) and (found[1] != b"job_log" or found[3] in (b"deleted", b"finished")) and found[1] != b"new_job"


def finished_id(line: bytes) -> str | None:
    """Return the job's id of a ``finished`` line of the reporting file, which follows that of a deletion; else None."""
    fields = line.split(b":", 6)
    if len(fields) < 7 or fields[1] != b"job_log" or fields[3] != b"finished":
        return None
    try:
        return task_id(str(int(fields[4])), int(fields[5]))
    except ValueError:
        return None


def parse_qacct(output: bytes) -> Iterator[AccountingRecord]:
    """Yield the records that ``qacct -j`` prints (with TZ=UTC), in their order."""
    for block in output.decode("utf-8", "replace").split("=" * 62)[1:]:
        fields = {}
        for line in block.split("\n"):
            key, _, value = line.partition(" ")
            fields[key] = value.strip()
        try:
            yield AccountingRecord(
                number=str(int(fields["jobnumber"])),
                task=int(fields["taskid"]) if fields["taskid"].isdigit() else 0,
                name=fields["jobname"],
                user=fields["owner"],
                account=fields["project"] if fields["project"] not in ("", "NONE") else fields["account"],
                queue=fields["qname"],
                host=fields["hostname"],
                submitted_at=_date(fields["qsub_time"]),
                started_at=_date(fields["start_time"]),
                ended_at=_date(fields["end_time"]),
                failed=int(fields["failed"].split(" ")[0]),
                exit_status=int(fields["exit_status"].split(" ")[0]),
                cpu=float(fields["cpu"].rstrip("s")),
                category=fields.get("category", ""),
            )
        except (KeyError, ValueError):
            continue


def descriptor(
    cluster: str, records: Sequence[AccountingRecord], deleted: bool, known: JobDescriptor | None, now: float, source: str
) -> JobDescriptor | None:
    """
    Return a job as ended, by its accounting records (all of one id and submission, in order); None if it starts again by the
    last one.

    :param known: the job as it was last seen.
    """
    last = records[-1]
    end = last.end(deleted)
    if end.outcome is None:
        return None
    attempts = sum(record.end(deleted).outcome is None for record in records)
    submits = [record.submitted_at for record in records if record.submitted_at > 0]
    return ended_by_record(
        known if known is not None else _bare(cluster, last, min(submits, default=None)),
        end,
        attempt=max(attempts, known.attempt if known is not None else 0),
        started_at=last.started_at or None,
        ended_at=last.ended_at or None,
        queue=last.queue,
        nodes=last.host,
        native={"failed": str(last.failed), "exit_status": str(last.exit_status)},
        observed_at=now,
        source=source,
    )


def deleted_descriptor(cluster: str, deletion: Deletion, known: JobDescriptor | None, now: float) -> JobDescriptor:
    """Return a job as deleted while it waited: it has no accounting record."""
    return ended_by_record(
        known if known is not None else _bare(cluster, deletion, deletion.submitted_at or None),
        End(Outcome.CANCELLED),
        attempt=known.attempt if known is not None else 0,
        started_at=None,
        ended_at=deletion.at or None,
        native={"state": "deleted"},
        observed_at=now,
        source="reporting",
    )


def _bare(cluster: str, line: AccountingRecord | Deletion, submitted_at: float | None) -> JobDescriptor:
    """Return a job that was never seen in the queue."""
    return JobDescriptor(
        cluster=cluster,
        id=line.job_id,
        phase=Phase.UNKNOWN,
        name=line.name,
        user=line.user or None,
        account=line.account if isinstance(line, AccountingRecord) else None,
        submitted_at=submitted_at,
        parent=line.number if line.task > 0 else None,
        task_index=line.task if line.task > 0 else None,
    )


def _seconds(text: str) -> float:
    """Return epoch seconds, of milliseconds too, which later versions write."""
    value = float(int(text))
    return value / 1000 if value > 1e11 else value


def _date(text: str) -> float:
    """Return epoch seconds of qacct's dates, which it prints in the time zone TZ; 0 for ``-/-``."""
    text = re.sub(r" +", " ", text).strip()
    for form in ("%a %b %d %H:%M:%S %Y", "%m/%d/%Y %H:%M:%S"):
        try:
            return float(calendar.timegm(time.strptime(text.partition(".")[0], form)))
        except ValueError:
            continue
    return 0.0
