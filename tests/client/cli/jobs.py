"""Jobs as a server says them."""

from __future__ import annotations

from typing import Any

from jobpush.core.model import Outcome
from jobpush_client import Job


def job(state: str = "RUNNING", settled: bool = True, **fields: Any) -> Job:
    """A job in that state."""
    done = state in Outcome.__members__
    return Job({
        "cluster": "slurm", "id": "1", "state": state, "phase": "DONE" if done else state, "settled": done and settled,
        "outcome": state if done else None, "exit_code": None, "signal": None, "reason": None, **fields,
    })  # fmt: skip
