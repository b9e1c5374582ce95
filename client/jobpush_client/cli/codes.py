"""Jobs as exit codes, and as lines that people read."""

from __future__ import annotations

import datetime
from collections.abc import Iterable

from jobpush_client import Client, Job, Met
from jobpush_client.exchange import RetryPolicy

#: The exit codes of outcomes that have none of their own.
OUTCOME_CODES = {
    "COMPLETED": 0,
    "CANCELLED": 220,
    "TIMEOUT": 221,
    "OUT_OF_MEMORY": 222,
    "NODE_FAIL": 223,
    "LAUNCH_FAIL": 224,
    "DEADLINE": 225,
    "PREEMPTED": 226,
    "MOVED": 227,
    "LOST": 228,
}

#: FAILED, without a word on how.
FAILED = 229


def exit_code(job: Job | Met) -> int:
    """The exit code that says how a job has ended; 0 while it has not."""
    state = job.state
    if state in OUTCOME_CODES:
        return OUTCOME_CODES[state]
    if state != "FAILED":
        return 0
    if job.signal is not None:
        return min(128 + job.signal, 219)
    code = job.exit_code
    return code if code else FAILED


def worst(codes: Iterable[int]) -> int:
    """Of several jobs: the highest."""
    return max(codes, default=0)


def summary(job: Job | Met) -> str:
    """``slurm/4711 FAILED exit 3 after 5 s``."""
    words = [job.key, job.state]
    if job.moved_to is not None:
        words.insert(1, f"(now {job.moved_to})")
    if job.signal is not None:
        words.append(f"signal {job.signal}")
    elif job.exit_code is not None:
        words.append(f"exit {job.exit_code}")
    if job.started_at is not None and job.ended_at is not None:
        words.append("after " + duration((job.ended_at - job.started_at).total_seconds()))
    if job.reason and job.state not in ("COMPLETED", "RUNNING"):
        words.append(f"({printable(job.reason)})")
    return " ".join(words)


def duration(seconds: float) -> str:
    """``5 s``, ``3 min 20 s``, ``2 h 5 min``, ``3 d 4 h``."""
    left = max(0, round(seconds))
    units = (("d", 86400), ("h", 3600), ("min", 60), ("s", 1))
    for place, (name, size) in enumerate(units):
        if left >= size or size == 1:
            text = f"{left // size} {name}"
            if size > 1:
                smaller, smaller_size = units[place + 1]
                rest = left % size // smaller_size
                text += f" {rest} {smaller}" if rest else ""
            return text
    return "0 s"


def local(moment: datetime.datetime | None) -> str:
    """A time as this host's clock on the wall shows it."""
    return moment.astimezone().strftime("%Y-%m-%d %H:%M:%S") if moment is not None else "-"


def printable(text: str) -> str:
    """What strangers have named, without what a terminal would obey."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def client(url: str | None, patience: float) -> Client:
    """The server that is asked."""
    return Client(url, retry_policy=RetryPolicy(seconds=None if patience == float("inf") else patience))
