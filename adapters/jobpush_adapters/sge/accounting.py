"""
Parses Grid Engine's ``accounting`` and ``reporting`` files, and what ``qacct`` prints of the former. Pure.

From ``accounting(5)``, ``reporting(5)`` and from measuring Son of Grid Engine 8.1.9. Fields are separated by ``:``, which no
name, account or project can hold; the category can. Open Cluster Scheduler 9 writes a JSON object a line instead
(``sge_accounting(5)``). The slaves of a parallel job have records too, unless its environment has ``accounting_summary TRUE``:
they are of processes, and no record of a job.
"""

from __future__ import annotations

import calendar
import json
import re
import time
from collections.abc import Iterator, Sequence
from datetime import datetime, timezone

import attrs

from jobpush.core.model import JobDescriptor, Outcome, PastAttempt, Phase
from jobpush_adapters.common.records import ended_by_record
from jobpush_adapters.sge.states import GOES_ON, NEVER_BEGAN, NOT_DELETED, Deleted, End, end_of, limit_hit, size

#: Seconds from start to end from which a job that used nothing at all is one whose execution daemon did not report.
UNUSED_S = 2.0

#: The exit status by which a job asks to be started again.
RESCHEDULES = 99

#: What the ``pe_taskid`` of a slave looks like: a number and a host.
_SLAVE = re.compile(r"[0-9]+\.[^:]*[A-Za-z][^:]*")


@attrs.frozen
class AccountingRecord:
    """
    One line of the accounting file: one attempt of one job or task. Times are 0 where the record has none.

    :ivar task: 0 if it is no task of an array.
    :ivar memory: the most virtual memory that it used, in bytes.
    :ivar used: whether the record has any usage: one that the qmaster writes for an execution daemon has none.
    :ivar slave: False; None if it may be of a slave, because qacct does not print what would tell (Son of Grid Engine 8.1.9).
    """

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
    memory: float = 0.0
    slots: int = 1
    used: bool = True
    slave: bool | None = False

    @property
    def job_id(self) -> str:
        """The id of the job or task."""
        return task_id(self.number, self.task)

    @property
    def goes_on(self) -> bool:
        """Whether the job starts again."""
        return self.failed in GOES_ON

    def past(self, attempt: int) -> PastAttempt:
        """Return how an attempt ended after which the job starts again: with exit status 99, or the record does not say how."""
        outcome, code = (Outcome.FAILED, RESCHEDULES) if self.exit_status == RESCHEDULES else (None, None)
        return PastAttempt(attempt, outcome, code, None, None, self.started_at or None, self.ended_at or None)

    def end(self, deleted: Deleted = NOT_DELETED) -> End:
        """Return how the attempt ended."""
        wallclock = self.ended_at - self.started_at
        limit = limit_hit(self.category, wallclock, self.cpu, self.memory, self.slots)
        # Measured: the qmaster's own record of a job whose deletion was forced has no usage, and exit status 0.
        return end_of(self.failed, self.exit_status, deleted, limit, reported=self.used or wallclock < UNUSED_S)


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
    forced: bool = False

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
    """
    Return the record of a line of the accounting file, or of an ``acct`` line of the reporting file; None if it is no record of
    a job or task (a comment, a part of a line, a slave of a parallel job).
    """
    if line.startswith(b"{"):
        return _parse_json(line)
    fields = line.decode("utf-8", "replace").split(":")
    if fields[1:2] == ["acct"]:
        fields = fields[2:]
    if len(fields) < 45 or _is_slave(fields):
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
            memory=_number(fields[-3]),
            slots=max(int(_number(fields[34])), 1),
            used=any(_number(fields[place]) != 0 for place in (13, 14, 15, 16, 21, 36)),
        )
    except ValueError:
        return None


def _number(text: str) -> float:
    """Return a number; 0 for what is none."""
    try:
        return float(text)
    except ValueError:
        return 0.0


def _is_slave(fields: Sequence[str]) -> bool:
    """Return whether a line is of a slave of a parallel job. A category with colons, and new fields, move its ``pe_taskid``."""
    if fields[33] in ("", "NONE"):
        return False
    if len(fields) == 45:
        return fields[41] not in ("", "NONE")
    return any(_SLAVE.fullmatch(fields[place]) for place in (41, -4))


def _parse_json(line: bytes) -> AccountingRecord | None:
    """Return the record of a line as Open Cluster Scheduler 9 writes it."""
    try:
        fields = json.loads(line)
        if fields.get("type", "acct") != "acct" or fields.get("pe_taskid") not in (None, "", "NONE"):
            return None
        both = fields.get("usage") or {}
        usage = both.get("usage") or {}
        rusage = both.get("rusage") or {}
        project = fields.get("project")
        return AccountingRecord(
            number=str(int(fields["job_number"])),
            task=int(fields.get("task_number") or 0),
            name=str(fields.get("job_name", "")),
            user=str(fields["owner"]),
            account=str(project if project not in (None, "", "NONE") else fields.get("account", "")),
            queue=str(fields.get("qname", "")),
            host=str(fields.get("hostname", "")),
            submitted_at=_moment(fields.get("submission_time")),
            started_at=_moment(fields.get("start_time")),
            ended_at=_moment(fields.get("end_time")),
            failed=int(fields["failed"]),
            exit_status=int(fields["exit_status"]),
            cpu=float(usage.get("cpu") or 0),
            category=str(fields.get("category") or ""),
            memory=float(usage.get("maxvmem") or 0),
            slots=max(int(fields.get("slots") or 1), 1),
            used=not rusage or any(float(rusage.get(name) or 0) != 0 for name in _USED) or bool(usage.get("cpu")),
        )
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError):
        return None


#: The usage that every process has some of.
_USED = ("ru_wallclock", "ru_utime", "ru_stime", "ru_maxrss", "ru_minflt")


def line_time(line: bytes) -> float:
    """Return the end of the job or slave of a line of the accounting file, in epoch seconds; 0 if it does not say."""
    if line.startswith(b"{"):
        found = re.search(rb'"end_time": *"?([^",}]*)', line)
        return _time_or_none(found[1]) if found is not None else 0.0
    fields = line.split(b":", 11)
    return _time_or_none(fields[10]) if len(fields) == 12 else 0.0


def reported_at(line: bytes) -> float:
    """Return when a line of the reporting file was written, in epoch seconds; 0 if it does not say."""
    if line.startswith(b"{"):
        found = re.search(rb'"time": *"?([^",}]*)', line)
        return _time_or_none(found[1]) if found is not None else 0.0
    return _time_or_none(line.split(b":", 1)[0])


def _time_or_none(text: bytes) -> float:
    try:
        return _moment(text.decode("ascii", "replace"))
    except ValueError:
        return 0.0


#: Who deletes jobs that nobody has asked it to delete: the daemons clear up after every end.
_DAEMONS = frozenset({"", "scheduler", "master", "execution daemon"})

#: What a deletion says; and the qmaster, in the name of its scheduler, when a person's deletion was forced.
_DELETED, _FORCED = "job deleted", "job deleted by forced deletion request"


def parse_deletion(line: bytes) -> Deletion | None:
    """Return the deletion by a person of a line of the reporting file; None for every other line."""
    if line.startswith(b"{"):
        return _parse_json_deletion(line)
    if b":job_log:" not in line or b":deleted:" not in line:
        return None
    fields = line.decode("utf-8", "replace").split(":")
    # Not "job removed" (by the execution daemon) or "job deleted by scheduler": those follow every end.
    if len(fields) < 20 or fields[1] != "job_log" or fields[3] != "deleted":
        return None
    said = fields[-1].strip()
    if said != _FORCED and (said != _DELETED or fields[8] in _DAEMONS):
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
            forced=said == _FORCED,
        )
    except ValueError:
        return None


def _parse_json_deletion(line: bytes) -> Deletion | None:
    """Return the deletion of a line as Open Cluster Scheduler 9 writes it."""
    try:
        fields = json.loads(line)
        said = str(fields.get("message", "")).strip()
        if fields.get("type") != "job_log" or fields.get("event") != "deleted":
            return None
        if said != _FORCED and (said != _DELETED or fields.get("initiator", "") in _DAEMONS):
            return None
        return Deletion(
            number=str(int(fields["job_number"])),
            task=max(int(fields.get("task_number") or 0), 0),
            name=str(fields.get("job_name", "")),
            user=str(fields.get("owner", "")),
            submitted_at=_moment(fields.get("submission_time")),
            state=str(fields.get("state", "")),
            at=_moment(fields.get("event_time") or fields.get("time")),
            forced=said == _FORCED,
        )
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError):
        return None


def is_about_job(line: bytes) -> bool:
    """Return whether a line of the accounting or reporting file is about a job, not about a host or a queue."""
    if line.startswith(b"{"):
        return b'"job_number"' in line
    found = line.split(b":", 2)
    return len(found) == 3 and (found[1] in (b"job_log", b"new_job", b"acct") or line.count(b":") >= 44)


def is_about_end(line: bytes) -> bool:
    """Return whether a line of either file is about the end of a job."""
    if line.startswith(b"{"):
        return b'"exit_status"' in line or b'"deleted"' in line or b'"finished"' in line
    found = line.split(b":", 4)
    return is_about_job(line) and (found[1] != b"job_log" or found[3] in (b"deleted", b"finished")) and found[1] != b"new_job"


def finished_id(line: bytes) -> str | None:
    """Return the job's id of a ``finished`` line of the reporting file, which follows that of a deletion; else None."""
    return _logged_id(line, b"finished")


def sent_id(line: bytes) -> str | None:
    """Return the job's id of a ``sent`` line of the reporting file: it was given to an execution daemon; else None."""
    return _logged_id(line, b"sent")


def _logged_id(line: bytes, event: bytes) -> str | None:
    if line.startswith(b"{"):
        if b'"job_log"' not in line or b'"%s"' % event not in line:
            return None
        try:
            fields = json.loads(line)
            if fields.get("type") != "job_log" or fields.get("event") != event.decode("ascii"):
                return None
            return task_id(str(int(fields["job_number"])), int(fields.get("task_number") or 0))
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError):
            return None
    found = line.split(b":", 6)
    if len(found) < 7 or found[1] != b"job_log" or found[3] != event:
        return None
    try:
        return task_id(str(int(found[4])), int(found[5]))
    except ValueError:
        return None


def parse_qacct(output: bytes) -> Iterator[AccountingRecord]:
    """Yield the records that ``qacct -j`` prints (with TZ=UTC), in their order."""
    for block in output.decode("utf-8", "replace").split("=" * 62)[1:]:
        fields = {}
        for line in block.split("\n"):
            key, _, value = line.partition(" ")
            fields[key] = value.strip()
        if fields.get("pe_taskid", "") not in ("", "NONE", "undefined"):
            continue
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
                memory=size(fields.get("maxvmem", "0").removesuffix("B")) or 0.0,
                slots=max(int(_number(fields.get("slots", "1"))), 1),
                used=any(re.search("[1-9]", fields.get(name, "1")) for name in (*_USED, "cpu")),
                slave=False if fields.get("granted_pe", "NONE") in ("", "NONE") or "pe_taskid" in fields else None,
            )
        except (KeyError, ValueError):
            continue


def descriptor(
    cluster: str, records: Sequence[AccountingRecord], deleted: Deleted, known: JobDescriptor | None, now: float, source: str
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
    before = [record for record in records[:-1] if record.goes_on]
    attempt = max(len(before), known.attempt if known is not None else 0)
    submits = [record.submitted_at for record in records if record.submitted_at > 0]
    if any(record.goes_on and record.submitted_at <= 0 for record in records[:1]):
        submits = []  # qmod -rj leaves a record without times: when the job was submitted first is not known
    job = ended_by_record(
        known if known is not None else _bare(cluster, last, min(submits, default=None)),
        end,
        attempt=attempt,
        started_at=None if last.failed in NEVER_BEGAN else last.started_at or None,
        ended_at=last.ended_at or None,
        queue=last.queue,
        nodes=last.host,
        native={"failed": str(last.failed), "exit_status": str(last.exit_status)},
        observed_at=now,
        source=source,
    )
    if before:
        past = before[-1].past(attempt - 1)
        seen = job.previous_attempt if known is not None and known.attempt == attempt else None
        job = attrs.evolve(job, previous_attempt=past if seen is None else seen.or_else(past))
    return attrs.evolve(job, flags=end.flags) if end.flags else job


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
    """Return epoch seconds, of milliseconds and microseconds too, which later versions write."""
    value = float(int(text))
    return value / (1e6 if value > 1e14 else 1e3 if value > 1e11 else 1)


def _moment(value: object) -> float:
    """
    Return epoch seconds of a number, or of an ISO date and time (UTC if it names no zone); 0 for None and what is empty.

    :raise ValueError: if it is neither.
    """
    text = str(value).strip() if value is not None else ""
    if not text or text in ("0", "-/-", "NONE", "undefined"):
        return 0.0
    if re.fullmatch(r"[0-9]{1,19}", text):
        return _seconds(text)
    found = re.fullmatch(r"([0-9-]{10}[T ][0-9:]{8})(\.[0-9]+)?(Z|[+-][0-9]{2}:?[0-9]{2})?", text)
    if found is None:
        raise ValueError(f"{text!r} is no time")
    zone = (found[3] or "Z").replace("Z", "+0000").replace(":", "")
    at = datetime.strptime(found[1].replace(" ", "T") + zone, "%Y-%m-%dT%H:%M:%S%z")
    return at.astimezone(timezone.utc).timestamp() + float(found[2] or 0)


def _date(text: str) -> float:
    """Return epoch seconds of qacct's dates, which it prints in the time zone TZ; 0 for ``-/-``."""
    text = re.sub(r" +", " ", text).strip()
    for form in ("%a %b %d %H:%M:%S %Y", "%m/%d/%Y %H:%M:%S"):
        try:
            return float(calendar.timegm(time.strptime(text.partition(".")[0], form)))
        except ValueError:
            continue
    return 0.0
