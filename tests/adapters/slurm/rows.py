"""Rows as squeue prints them."""

from __future__ import annotations

from typing import Any

from jobpush.core.model import JobDescriptor
from jobpush_adapters.slurm import squeue
from tests.support import NOW


def row(job_id: str = "1", state: str = "RUNNING", **fields: str) -> bytes:
    """One row as ``squeue`` gives it, split by NUL."""
    values = {
        "JobID": job_id.partition("_")[0].partition("+")[0], "JobArrayID": job_id, "State": state, "exit_code": "0",
        "Reason": "None", "Partition": "main", "NodeList": "n1", "SubmitTime": "1795327000", "StartTime": "1795327100",
        "EndTime": "1795327200", "TimeLimit": "1:00:00", "RestartCnt": "0", "UserName": "kim", "Account": "(null)",
        "WorkDir": "/home/kim", "Comment": "(null)", "Name": "align", **fields,
    }  # fmt: skip
    plain = "|".join(values[field] for field in squeue.PLAIN_FIELDS)
    return "\0".join([plain, *(values[field] for field in squeue.FREE_FIELDS)]).encode()


def parse(*args: Any, **fields: Any) -> JobDescriptor:
    """The job of that row."""
    return squeue.parse_row("slurm", row(*args, **fields), NOW)
