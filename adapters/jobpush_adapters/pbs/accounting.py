"""
Reads PBS's accounting log, for a server that keeps no history: which of its jobs ended, and how.

One file a day in ``server_priv/accounting``, readable by root alone as a rule. From the PBS Administrator's Guide
(Accounting): ``date;E;id;key=value …`` at the end of a job that ran, ``D`` if somebody deleted it. It blocks: called
on a thread.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping
from datetime import datetime, timedelta, timezone

import attrs

from jobpush.core.model import JobDescriptor, Outcome
from jobpush_adapters.common.records import ended_by_record, is_same_user
from jobpush_adapters.pbs.parse import moment, nodes, number
from jobpush_adapters.pbs.states import exit_of

#: The most days whose files are read.
MOST_DAYS = 400


@attrs.frozen
class LoggedEnd:
    """The records of the end of a job: the fields of its last E record, and whether somebody deleted it."""

    fields: Mapping[str, str] | None = None
    deleted: bool = False


def find(directory: str, ids: Collection[str], since: float, now: float) -> dict[str, LoggedEnd]:
    """
    Return the ends of the jobs with these full ids, in the files from the day of ``since`` on.

    :raise OSError: if the directory or a file cannot be read.
    """
    names = set(os.listdir(directory))
    found: dict[str, LoggedEnd] = {}
    for day in _days(since, now):
        if day not in names:
            continue
        with open(os.path.join(directory, day), "rb") as file:
            for line in file:
                # Most lines are not of interest: no text is made of them.
                kind = line[19:22]
                if kind not in (b";E;", b";D;"):
                    continue
                job_id = line[22:300].split(b";", 1)[0].decode("ascii", "replace")
                if job_id in ids:
                    found[job_id] = _with(found.get(job_id, LoggedEnd()), kind, line)
    return found


def _with(entry: LoggedEnd, kind: bytes, line: bytes) -> LoggedEnd:
    if kind == b";D;":
        return attrs.evolve(entry, deleted=True)
    text = line.decode("utf-8", "replace").rstrip("\n").split(";", 3)[3]
    # An account may hold spaces and what looks like another key; those that are read come after it, the last counts.
    return attrs.evolve(entry, fields=dict(word.partition("=")[::2] for word in text.split(" ")))


def _days(since: float, now: float) -> Iterator[str]:
    """Yield the names of the files. They are dates in the server's time zone, so there is a day more on both sides."""
    first = datetime.fromtimestamp(max(since, now - MOST_DAYS * 86400), timezone.utc) - timedelta(days=1)
    last = datetime.fromtimestamp(now, timezone.utc) + timedelta(days=1)
    while first <= last:
        yield first.strftime("%Y%m%d")
        first += timedelta(days=1)


def ended(job: JobDescriptor, entry: LoggedEnd, now: float) -> JobDescriptor | None:
    """Return the job as ended by the log; None if the log has no end of this submission."""
    fields = entry.fields or {}
    ctime = moment(fields.get("ctime"))
    if ctime is not None and job.submitted_at is not None and ctime != int(job.submitted_at):
        return None
    if not is_same_user(job, fields.get("user")):
        return None
    status = number(fields.get("Exit_status"))
    if status is None and not entry.deleted:
        return None
    end = exit_of(status)
    if entry.deleted:
        end = attrs.evolve(end, outcome=Outcome.CANCELLED, reason=None, reason_code=None)
    return ended_by_record(
        job,
        end,
        native={"exit_status": fields["Exit_status"]} if "Exit_status" in fields else {"record": "D"},
        started_at=moment(fields.get("start")) or job.started_at,
        ended_at=moment(fields.get("end")),
        nodes=nodes(fields.get("exec_host")) or job.nodes,
        observed_at=now,
        source="accounting",
    )


def readable(directory: str) -> bool:
    """Return whether the log can be read."""
    try:
        names = sorted(name for name in os.listdir(directory) if name.isdigit())
        return not names or os.access(os.path.join(directory, names[-1]), os.R_OK)
    except OSError:
        return False
