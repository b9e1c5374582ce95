"""
Reads PBS's accounting log, for a server that keeps no history: which of its jobs ended, and how.

One file a day in ``server_priv/accounting``, readable by root alone as a rule. From the PBS Administrator's Guide
(Accounting), a line is ``date;type;id;key=value …``: Q when a job is submitted, S when it is started, R when it is put back, E
at the end of one that ran, D when somebody deletes one (one that runs ends later, with an E), A when the server deletes one, M
when it is moved to another server. It blocks: called on a thread.
"""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import datetime, timedelta, timezone

import attrs

from jobpush.core.model import STARTED_PHASES, Confidence, JobDescriptor, Outcome, PastAttempt, Phase, ReasonCode
from jobpush_adapters.common.logs import LogFollower
from jobpush_adapters.common.records import ended_by_record, is_same_user
from jobpush_adapters.pbs.parse import from_state, moment, nodes, number
from jobpush_adapters.pbs.states import State, cancelled, exit_of

#: The most days whose files are read.
MOST_DAYS = 400

#: The most jobs whose records are kept while the log is followed; the oldest are forgotten first.
MOST_FOLLOWED = 50_000

#: The types of records that are read.
_KINDS = frozenset(b"QSTRzrEDAM")


@attrs.frozen
class LoggedJob:
    """
    What the log has on one submission of an id.

    :ivar fields: those of all its records.
    :ivar end: the type of the record that ended it; empty if it has not ended.
    :ivar started: whether the last of its records that says so has it started.
    :ivar deleted: whether somebody deleted it.
    :ivar text: what the record that ended it says, if that is no list of fields.
    :ivar put_back: the fields of the last record that it was put back into the queue; empty if there is none.
    """

    fields: Mapping[str, str] = attrs.field(factory=dict)
    end: str = ""
    started: bool = False
    deleted: bool = False
    text: str = ""
    put_back: Mapping[str, str] = attrs.field(factory=dict)

    def after(self, kind: str, text: str) -> LoggedJob:
        """Return it after one more record."""
        if kind in "QSTRE":
            known = attrs.evolve(self, fields={**self.fields, **_fields(text)})
            if kind == "E":
                return attrs.evolve(known, end="E")
            if kind == "R":
                known = attrs.evolve(known, put_back=_fields(text))
            return attrs.evolve(known, end="", started=kind in "ST", deleted=False)
        if kind == "D":
            return attrs.evolve(self, deleted=True, end=self.end or ("" if self.started else "D"))
        if kind in "AM":
            return attrs.evolve(self, end=kind, text=text)
        return attrs.evolve(self, started=True)  # suspended or resumed


@attrs.frozen
class Found:
    """
    What was found in the log.

    :ivar jobs: by id, what it has on each submission of it, in order.
    :ivar oldest: the name of its first file; empty if it has none.
    :ivar until: up to where it was read: the name of its last file, and bytes of that.
    """

    jobs: Mapping[str, list[LoggedJob]]
    oldest: str = ""
    until: tuple[str, int] = ("", 0)

    def reaches_back_to(self, at: float, now: float) -> bool:
        """Return whether it has what happened at that time, and since then."""
        day = time.strftime("%Y%m%d", time.localtime(at))
        return "" < self.oldest <= day and now - at < MOST_DAYS * 86400


def find(directory: str, ids: Collection[str], since: float, now: float) -> Found:
    """
    Return what the files from the day of ``since`` on have on the jobs with these full ids.

    :raise OSError: if the directory or a file cannot be read.
    """
    names = sorted(name for name in os.listdir(directory) if len(name) == 8 and name.isdigit())
    wanted = set(_days(since, now))
    found: dict[str, list[LoggedJob]] = {}
    until = ("", 0)
    for day in names:
        if day not in wanted:
            continue
        size = 0
        with open(os.path.join(directory, day), "rb") as file:
            for line in file:
                if not line.endswith(b"\n"):
                    break  # it is being written
                size += len(line)
                record = _parse(line, ids)
                if record is not None:
                    _add(found.setdefault(record[0], []), *record[1:])
        until = (day, size)
    return Found(found, names[0] if names else "", until)


class AccountingLog:
    """Follows the log from its present end on."""

    def __init__(self, directory: str) -> None:
        self._directory = directory
        self._day = ""
        self._follower: LogFollower | None = None
        self._jobs: dict[str, LoggedJob] = {}

    def ended(self) -> list[tuple[str, LoggedJob]]:
        """
        Return the ids and records of the jobs that have ended since the last call; none the first time. Blocks.

        :raise OSError: if the log cannot be read.
        """
        found: list[tuple[str, LoggedJob]] = []
        for line in self._lines():
            record = _parse(line, None)
            if record is None:
                continue
            job_id, kind, text = record
            entries = [self._jobs.pop(job_id)] if job_id in self._jobs else []
            _add(entries, kind, text)
            if entries[-1].end:
                found.append((job_id, entries[-1]))
            if entries[-1].end in ("", "D"):  # one that runs is deleted first, and ends then
                self._jobs[job_id] = entries[-1]
        while len(self._jobs) > MOST_FOLLOWED:
            del self._jobs[next(iter(self._jobs))]
        return found

    def _lines(self) -> Iterator[bytes]:
        days = sorted(name for name in os.listdir(self._directory) if len(name) == 8 and name.isdigit())
        if self._follower is None:
            self._day = days[-1] if days else ""
            self._follower = LogFollower(os.path.join(self._directory, self._day or "none"))
            self._follower.skip()
        yield from self._follower.lines()
        for day in days:
            if day > self._day:
                self._day, self._follower = day, LogFollower(os.path.join(self._directory, day))
                yield from self._follower.lines()


def _parse(line: bytes, ids: Collection[str] | None) -> tuple[str, str, str] | None:
    """Return the id, the type and the text of a record of one of these jobs, or of any; None for others."""
    # Most lines are not of interest: no text is made of them.
    if line[19:20] != b";" or line[21:22] != b";" or line[20] not in _KINDS:
        return None
    job_id, _, text = line[22:].rstrip(b"\n").partition(b";")
    name = job_id[:300].decode("ascii", "replace")
    if ids is not None and name not in ids:
        return None
    return name, chr(line[20]), text.decode("utf-8", "replace")


def _add(entries: list[LoggedJob], kind: str, text: str) -> None:
    """Add a record to the submissions of its id: to the last one, unless it has another time of submission."""
    last = entries[-1] if entries else LoggedJob()
    ctime = _fields(text).get("ctime") if kind in "QSTRE" else None
    if ctime is not None and last.fields.get("ctime", ctime) != ctime:
        last = LoggedJob()
        entries.append(last)
    entries[-1:] = [last.after(kind, text)]


def _fields(text: str) -> dict[str, str]:
    """
    Return the fields of a record. An account may hold spaces and what looks like another field: of those that are read the
    user is the first, and the others come after the account, so of two with one name the last counts.
    """
    words = [word.partition("=")[::2] for word in text.split(" ")]
    fields = dict(words)
    if words[0][0] == "user":
        fields["user"] = words[0][1]
    return fields


def _days(since: float, now: float) -> Iterator[str]:
    """Yield the names of the files. They are dates in the server's time zone, so there is a day more on both sides."""
    first = datetime.fromtimestamp(max(since, now - MOST_DAYS * 86400), timezone.utc) - timedelta(days=1)
    last = datetime.fromtimestamp(now, timezone.utc) + timedelta(days=1)
    while first <= last:
        yield first.strftime("%Y%m%d")
        first += timedelta(days=1)


def of_job(job: JobDescriptor, entries: Iterable[LoggedJob]) -> LoggedJob | None:
    """Return what the log has on this submission: of the same user and time of submission, where both are known."""
    found = None
    for entry in entries:
        ctime = moment(entry.fields.get("ctime"))
        same = None in (ctime, job.submitted_at) or ctime == int(job.submitted_at or 0)
        if same and is_same_user(job, entry.fields.get("user")):
            found = entry
    return found


def ended(job: JobDescriptor, entry: LoggedJob, now: float) -> JobDescriptor | None:
    """
    Return the job as ended by the log; None if it has not ended by that.

    :param entry: that of this submission.
    """
    if not entry.end or (entry.end == "D" and (job.phase is Phase.STARTING or job.phase in STARTED_PHASES)):
        return None  # somebody deleted it while it ran: an E comes
    end, fields = _end(job.id, entry), entry.fields
    if end is None:
        return None
    ran = entry.end == "E" and _ran(job.id, fields)
    return ended_by_record(
        job,
        end,
        native={"exit_status": fields["Exit_status"]} if entry.end == "E" else {"record": entry.end},
        started_at=(moment(fields.get("start")) if ran else None) or job.started_at,
        ended_at=moment(fields.get("end")) if ran else None,
        nodes=nodes(fields.get("exec_host")) or job.nodes,
        observed_at=now,
        source="accounting",
    )


def past_attempt(job: JobDescriptor, entry: LoggedJob) -> PastAttempt | None:
    """
    Return how the attempt ended before the present one of a job, by the record that it was put back; None if the log does not
    have that record yet. Its exit status is that of being put back (-11), or of a node that failed (-4).

    :param entry: that of this submission.
    """
    fields = entry.put_back
    if not fields or number(fields.get("run_count")) not in (None, job.attempt):
        return None
    outcome = Outcome.NODE_FAIL if number(fields.get("Exit_status")) == -4 else None
    return PastAttempt(
        job.attempt - 1, outcome, started_at=moment(fields.get("start")), ended_at=moment(fields.get("end"))
    )


#: The attributes of a job that a record has, by the names of its fields.
_NAMES = {
    "jobname": "Job_Name", "user": "Job_Owner", "queue": "queue", "account": "Account_Name", "project": "project",
    "ctime": "ctime", "Resource_List.walltime": "Resource_List.walltime", "run_count": "run_count",
}  # fmt: skip


def described(cluster: str, job_id: str, entry: LoggedJob, now: float) -> JobDescriptor | None:
    """
    Return a job that nothing but the log tells of: as ended by that, or UNKNOWN if it has not ended.

    :return: None if the log does not say whose it is, and when it was submitted.
    """
    known = {name: entry.fields[field] for field, name in _NAMES.items() if field in entry.fields}
    if moment(known.get("ctime")) is None or not known.get("Job_Owner"):
        return None
    submitted = from_state(cluster, job_id, State(Phase.QUEUED), {}, known, now)
    unknown = attrs.evolve(submitted, phase=Phase.UNKNOWN, confidence=Confidence.ACCOUNTING, source="accounting")
    return ended(submitted, entry, now) or unknown


def _end(job_id: str, entry: LoggedJob) -> State | None:
    """Return how a job ended that has an end; None if it is not said."""
    if entry.end == "M":
        return State(Phase.DONE, Outcome.MOVED, settled=True)
    if entry.end == "A":
        code = ReasonCode.DEPENDENCY if "dependency" in entry.text else None
        outcome = Outcome.FAILED if entry.started else Outcome.CANCELLED
        return State(Phase.DONE, outcome, reason=entry.text or None, reason_code=code, settled=True)
    if entry.end == "D":
        return exit_of(None)
    status = number(entry.fields.get("Exit_status"))
    if status is None:
        return None
    if not _ran(job_id, entry.fields):
        return exit_of(None)
    end = exit_of(status)
    return cancelled(end) if entry.deleted and status != -4 else end


def _ran(job_id: str, fields: Mapping[str, str]) -> bool:
    """Return whether a job with an E record ran: a subjob has some of the fields of its array."""
    return "[" not in job_id or bool(fields.get("exec_host"))


def readable(directory: str) -> bool:
    """Return whether the log can be read."""
    try:
        names = sorted(name for name in os.listdir(directory) if name.isdigit())
        return not names or os.access(os.path.join(directory, names[-1]), os.R_OK)
    except OSError:
        return False
