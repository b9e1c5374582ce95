"""
Parses what PBS's ``qstat`` prints: the list of jobs, and their attributes as JSON. Pure.

The JSON is read line by line, one attribute a line, as every version prints it. All versions escape line breaks, but some print
invalid JSON for a value that a user chose (a bare ``nan`` or ``007``, a raw control character), and some print values that look
like numbers as numbers. Read so, one job's environment cannot change what is read of another job.
"""

from __future__ import annotations

import calendar
import json
import re
from collections.abc import Iterator, Mapping

from jobpush.adapter.command import CommandResult, printable
from jobpush.adapter.interfaces import QueueError
from jobpush.core.model import JobDescriptor, Phase
from jobpush_adapters.common.commands import succeeded
from jobpush_adapters.pbs.states import State, duration, pbs_state, waiting_code

#: A job's attributes, all as text; those of a nested list as ``Resource_List.walltime``.
Attributes = Mapping[str, str]

#: Exit statuses of ``qstat`` for a job that is unknown, and for one that has finished if ``-x`` is not given.
UNKNOWN_JOB, FINISHED_JOB = 153, 35

#: An id: the number, the index or ``[]``, and the server.
ID = re.compile(r"([0-9]{1,12})(\[[0-9]{0,7}\])?(?:\.([A-Za-z0-9][A-Za-z0-9_.-]{0,253}))?")

_TOP = frozenset(
    {
        "Job_Name", "Job_Owner", "job_state", "queue", "substate", "Exit_status", "Hold_Types", "depend", "comment",
        "project", "Account_Name", "exec_host", "run_count", "ctime", "stime", "obittime", "mtime", "history_timestamp",
        "init_work_dir",
    }
)  # fmt: skip

#: The attributes that are read, by the list in which they are nested.
_WANTED: Mapping[str, frozenset[str]] = {
    "": _TOP,
    "Resource_List": frozenset({"walltime"}),
    "Variable_List": frozenset({"PBS_O_WORKDIR", "workflow"}),
}

_DATE = re.compile(r"[A-Z][a-z]{2} ([A-Z][a-z]{2}) +([0-9]{1,2}) ([0-9]{2}):([0-9]{2}):([0-9]{2}) ([0-9]{4})")
_MONTHS = {name: number for number, name in enumerate(calendar.month_abbr) if number}


def parse_list(result: CommandResult) -> tuple[dict[str, tuple[str, bytes]], list[str]]:
    """
    Return the letter and the row by full id, of ``qstat -t -w``, and why other rows were not understood.

    :raise QueueError: if qstat failed, or its output is not PBS's or cut off.
    """
    succeeded("qstat", result)
    if not result.stdout.strip():
        if result.stderr.strip():
            raise QueueError(f"qstat printed nothing: {result.complaint}")
        return {}, []
    if not result.stdout.endswith(b"\n"):
        raise QueueError("qstat: the answer is cut off")
    lines = result.stdout.split(b"\n")[:-1]
    if not lines[0].startswith(b"Job id") or len(lines) < 2 or not lines[1].startswith(b"---"):
        raise QueueError(f"qstat: the answer is none of PBS's: {printable(lines[0].decode('utf-8', 'replace'), 80)}")
    jobs: dict[str, tuple[str, bytes]] = {}
    rejected = []
    for line in lines[2:]:
        # Whatever the name contains, the id is first, and the letter and the queue are last.
        fields = line.split()
        job_id = fields[0].decode("utf-8", "replace") if len(fields) > 5 else ""
        letter = fields[-2] if job_id else b""
        if len(letter) != 1 or not letter.isupper() or not ID.fullmatch(job_id):
            rejected.append(f"the row makes no sense: {printable(line.decode('utf-8', 'replace'), 120)}")
        else:
            # The time used changes all the time, and the widths of columns change with other jobs: they are left out.
            jobs[job_id] = (letter.decode("ascii"), letter + fields[-1])
    return jobs, rejected


def parse_jobs(result: CommandResult) -> dict[str, Attributes]:
    """
    Return the attributes by full id, of ``qstat -f -F json``. Unknown jobs are left out.

    :raise QueueError: if qstat failed for another reason than an unknown job, or the output is cut off.
    """
    if result.status not in (0, UNKNOWN_JOB, FINISHED_JOB):
        raise QueueError(f"qstat ended with status {result.status}: {result.complaint}")
    text = result.stdout.decode("utf-8", "surrogateescape").strip()
    if not text.startswith("{"):
        raise QueueError(f"qstat: the answer is none of PBS's: {printable(text[:80]) or result.complaint}")
    if not text.endswith("\n}"):
        raise QueueError("qstat: the answer is cut off")
    return dict(_jobs(text.split("\n")))


def _jobs(lines: list[str]) -> Iterator[tuple[str, Attributes]]:
    """Yield ids and attributes. Depth 1 is the document, 2 a job, 3 its attributes, 4 what is nested in one of them."""
    unit = len(lines[1]) - len(lines[1].lstrip()) if len(lines) > 1 else 0
    job_id, nested, within = None, "", False
    attributes: dict[str, str] = {}
    for line in lines:
        text = line.lstrip()
        depth = (len(line) - len(text)) // unit if unit else 0
        if depth > 3 and (not nested or nested not in _WANTED):
            continue
        key, _, value = text.removeprefix('"').partition('":')
        value = value.strip().removesuffix(",")
        if depth == 1:
            within = key == "Jobs"
        elif depth == 2 and within:
            if job_id is not None:
                yield job_id, attributes
            job_id, attributes = (key if value == "{" and ID.fullmatch(key) else None), {}
        elif depth == 3:
            nested = key if value == "{" else ""
            if key in _WANTED[""]:
                attributes[key] = _value(value)
        elif depth == 4 and key in _WANTED[nested]:
            attributes[f"{nested}.{key}"] = _value(value)
    if job_id is not None:
        yield job_id, attributes


def _value(text: str) -> str:
    """Return a value as text: a string without escapes, everything else as it is written."""
    if not text.startswith('"'):
        return text
    try:
        value = json.loads(text, strict=False)
    except ValueError:
        value = text.strip('"')
    return str(value).encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def parse_server(result: CommandResult) -> tuple[str, Attributes]:
    """
    Return the server's name and its attributes, of ``qstat -B -f -F json``.

    :raise QueueError: if qstat failed, or its output is not PBS's.
    """
    succeeded("qstat -B", result)
    try:
        document = json.loads(result.stdout.decode("utf-8", "surrogateescape"), strict=False, parse_int=str, parse_float=str)
        name, attributes = next(iter(document["Server"].items()))
        return name, {"timestamp": str(document.get("timestamp", "")), **{str(k): str(v) for k, v in attributes.items()}}
    except (ValueError, KeyError, TypeError, AttributeError, StopIteration):
        raise QueueError(
            f"qstat -B: the answer is none of PBS's: {printable(result.stdout[:80].decode('utf-8', 'replace'))}"
        ) from None


def describe(cluster: str, job_id: str, a: Attributes, now: float) -> JobDescriptor:
    """
    Return a job by its attributes.

    :raise ValueError: if its state is missing or is none.
    """
    letter = a.get("job_state", "")
    if not re.fullmatch(r"[A-Z]", letter):
        raise ValueError(f"job {job_id} has no state")
    substate, status = number(a.get("substate")), number(a.get("Exit_status"))
    depends = "after" in a.get("depend", "")
    if "[]" in job_id and letter in "FX":
        # How its subjobs ended is not in its row: a subjob that was deleted while it waited counts as one that succeeded.
        state = State(Phase.UNKNOWN)
    else:
        state = pbs_state(
            letter, substate, status, a.get("Hold_Types", "n"), depends, started=was_started(a), subjob="[" in job_id,
            deleted=" and terminated by " in a.get("comment", ""),
        )  # fmt: skip
    native = {"state": letter} | {
        key: a[name] for key, name in (("substate", "substate"), ("exit_status", "Exit_status")) if name in a
    }
    return from_state(cluster, job_id, state, native, a, now)


def from_state(cluster: str, job_id: str, state: State, native: Mapping[str, str], a: Attributes, now: float) -> JobDescriptor:
    """Return a job in that state."""
    comment = a.get("comment") or None
    code = state.reason_code
    if state.phase is Phase.QUEUED and code is None and comment is not None:
        code = waiting_code(comment)
    waiting = state.phase in (Phase.QUEUED, Phase.HELD)
    found = ID.fullmatch(job_id)
    assert found is not None
    task = found[2][1:-1] if found[2] else ""
    started_at = moment(a.get("stime") or a.get("start_time"))
    ended_at = moment(a.get("obittime") or a.get("comp_time")) if state.phase is Phase.DONE else None
    if state.phase is Phase.DONE and (ended_at is None or (started_at or 0) > ended_at):
        ended_at = moment(a.get("history_timestamp")) or moment(a.get("mtime"))
    if task and not was_started(a):
        started_at = ended_at = None  # they are its array's
        comment = comment if waiting else None
    project = a.get("project")
    workflow = a.get("Variable_List.workflow")  # the comment is the server's: a user's tag is a variable, qsub -v workflow=NAME
    return JobDescriptor(
        cluster=cluster,
        id=job_id,
        phase=state.phase,
        outcome=state.outcome,
        settled=state.settled,
        attempt=max(0, (number(a.get("run_count") or a.get("start_count")) or 1) - 1),
        exit_code=state.exit_code,
        signal=state.signal,
        reason=comment or state.reason if state.outcome is None else state.reason or comment,
        reason_code=code,
        flags=state.flags,
        native=native,
        aliases=(job_id.partition(".")[0],) if "." in job_id else (),
        name=a.get("Job_Name"),
        user=a.get("Job_Owner", "").partition("@")[0] or None,
        account=a.get("Account_Name") or (project if project not in (None, "", "_pbs_project_default") else None),
        submitted_at=moment(a.get("ctime")),
        started_at=None if waiting else started_at,
        ended_at=ended_at,
        queue=a.get("queue"),
        nodes=nodes(a.get("exec_host")),
        workdir=a.get("Variable_List.PBS_O_WORKDIR") or a.get("init_work_dir"),
        comment=f"workflow={workflow}" if workflow else None,
        time_limit_s=duration(a.get("Resource_List.walltime", "")),
        observed_at=now,
        source="qstat",
        parent=parent_of(job_id) if task else None,
        task_index=int(task) if task else None,
    )


def was_started(a: Attributes) -> bool:
    """
    Return whether the attributes say that this very job was started. A subjob has those of its array besides, which is started
    with its first subjob: the start, the exit status, the comment.
    """
    return any(a.get(name) for name in ("run_count", "start_count", "exec_host"))


def parent_of(job_id: str) -> str:
    """Return the id of a subjob's array, or of another job itself."""
    return job_id if "[" not in job_id else re.sub(r"\[[0-9]+\]", "[]", job_id, count=1)


def nodes(exec_host: str | None) -> str | None:
    """Return the hosts of ``n1/0*2+n2/1``, each once."""
    if not exec_host:
        return None
    return ",".join(dict.fromkeys(part.partition("/")[0].partition(":")[0] for part in exec_host.split("+")))


def number(text: str | None) -> int | None:
    """Return a whole number; None if the text is none."""
    return int(text) if text is not None and re.fullmatch(r"-?[0-9]{1,10}", text) else None


def moment(text: str | None) -> float | None:
    """Return epoch seconds of ``Sun Nov 22 07:42:29 2026`` (qstat runs with TZ=UTC) or of digits; None if it is no time."""
    if not text:
        return None
    if re.fullmatch(r"[1-9][0-9]{0,11}", text):
        return float(text)
    found = _DATE.fullmatch(text)
    if found is None or found[1] not in _MONTHS:
        return None
    day, hours, minutes, seconds, year = (int(found[n]) for n in (2, 3, 4, 5, 6))
    return float(calendar.timegm((year, _MONTHS[found[1]], day, hours, minutes, seconds)))
