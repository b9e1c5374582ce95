"""
What a job did, what its scheduler recorded and what jobpush told, compared: functions from values to values.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from enum import Enum
from itertools import pairwise
from typing import Any

import attrs

from benchmarks.endings.permitted import PERMITTED, Permitted
from benchmarks.endings.plans import ANY, End

#: What jobpush tells of a job whose end it does not know.
UNKNOWN_STATES = frozenset({None, "LOST", "UNKNOWN"})


class Verdict(str, Enum):
    """Of one job."""

    RIGHT = "right"
    UNKNOWN = "unknown"
    PERMITTED = "permitted"
    WRONG = "WRONG"


@attrs.frozen
class Record:
    """What the scheduler's own records say of a job's last attempt; ``text`` is how they say it."""

    text: str
    state: str
    exit_code: int | None = None
    signal: int | None = None


@attrs.frozen
class Difference:
    """
    :ivar what: ``state``, ``exit_code``, ``signal``; ``ran`` (whether RUNNING was told), ``attempt``, ``previous``
        (``previous_attempt``), ``revised`` (the end that was told first, of several), ``identities`` (how many jobs it was told
        as), ``completed`` (COMPLETED anywhere in its history).
    """

    what: str
    is_so: object
    told: object

    def __str__(self) -> str:
        return f"{self.what}: {self.told} instead of {self.is_so}"


def off_plan(end: End, lines: Sequence[str]) -> str | None:
    """Return how the lines that a job wrote itself differ from what it was to do; None if they do not."""
    starts = sum(line.startswith("start") for line in lines)
    if starts != (end.attempts if end.ran else 0):
        return f"started {starts} times"
    last = lines[-1].rpartition(" ")[0] if lines and not lines[-1].startswith("start") else ""
    return None if last == end.writes else f"wrote {last!r} instead of {end.writes!r}"


def differences(end: End, job: Mapping[str, Any] | None, events: Sequence[Mapping[str, Any]]) -> list[Difference]:
    """
    Return in what jobpush's last answer, and the history that it told, differ from what the job did.

    :param job: the descriptor, None if jobpush does not know the job.
    :param events: all events of this id.
    """
    if job is None:
        return [Difference("state", end.state, None)]
    found = []
    for what in ("state", "exit_code", "signal"):
        is_so = getattr(end, what)
        if is_so != ANY and job[what] != is_so:
            found.append(Difference(what, is_so, job[what]))
    told = [event["job"] for event in events]
    ran = job["started_at"] is not None or any(one["phase"] in ("RUNNING", "SUSPENDED") for one in told)
    if ran != end.ran:
        found.append(Difference("ran", end.ran, ran))
    if end.ran and job["attempt"] != end.attempts - 1:
        found.append(Difference("attempt", end.attempts - 1, job["attempt"]))
    if end.attempts > 1 and job["previous_attempt"] is None:
        found.append(Difference("previous", "an attempt", None))
    ends = [one for one in told if one["settled"]]
    for before, after in pairwise(ends):
        if before["attempt"] == after["attempt"] and before["state"] != after["state"]:
            by = "" if before["source"] == "absence" else f" by {before['source']}"
            found.append(Difference("revised", after["state"], before["state"] + by))
    identities = {one["uid"] for one in told}
    if len(identities) > 1:
        found.append(Difference("identities", 1, len(identities)))
    if end.state != "COMPLETED" and any(one["state"] == "COMPLETED" for one in [job, *told]):
        found.append(Difference("completed", end.state, "COMPLETED"))
    return found


def judge(
    scheduler: str, kind: str, found: Sequence[Difference], record: Record | None, permitted: Iterable[Permitted] = PERMITTED
) -> Verdict:
    """
    Return what the differences amount to.

    COMPLETED of what did not succeed is wrong whatever is permitted. A job told as unknown or lost is wrong if the scheduler
    has a record of its end.
    """
    if not found:
        return Verdict.RIGHT
    if any(difference.what == "completed" for difference in found):
        return Verdict.WRONG
    if any(difference.what == "state" and difference.told in UNKNOWN_STATES for difference in found):
        return Verdict.UNKNOWN if record is None else Verdict.WRONG
    allowed = [one for one in permitted if scheduler in one.schedulers and (not one.kinds or kind in one.kinds)]
    if all(any(one.what == d.what and d.told in one.told for one in allowed) for d in found):
        return Verdict.PERMITTED
    return Verdict.WRONG


def record_agrees(end: End, record: Record | None) -> bool:
    """Return whether the scheduler's own record says what the job did."""
    if record is None or record.state != end.state:
        return False
    return (end.exit_code in (ANY, record.exit_code)) and (end.signal in (ANY, record.signal))
