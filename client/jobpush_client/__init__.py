"""
A client of jobpush's HTTP protocol that comes back by itself and loses no change.

`Client` is for scripts and notebooks: plain calls that block, without Twisted. `AsyncClient` is for Twisted (it needs treq:
``pip install 'jobpush[client]'``): the same names, awaited. Both go on after a restart of the server, an outage of the network
or a time-out, and hold one request at a time instead of asking in a loop::

    from jobpush_client import Client

    with Client("http://localhost:8080") as jobs:
        job = jobs.wait_for("slurm/4711")
        print(job.state, job.exit_code)

What is said on the wire is in `jobpush_client.exchange`, which knows no socket; `jobpush_client.values` has what comes back.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from jobpush_client.exchange import RetryPolicy
from jobpush_client.sync import Client
from jobpush_client.values import (
    ApiError,
    BarrierResult,
    ChangeEvent,
    ClientError,
    CursorExpired,
    Job,
    JobList,
    Met,
    Reset,
    Step,
    Unknown,
    Unreachable,
    WaitTimeout,
    WorkflowStatus,
)

if TYPE_CHECKING:
    from jobpush_client.deferred import AsyncClient

__version__ = "0.1.0"

__all__ = [
    "ApiError",
    "AsyncClient",
    "BarrierResult",
    "ChangeEvent",
    "Client",
    "ClientError",
    "CursorExpired",
    "Job",
    "JobList",
    "Met",
    "Reset",
    "RetryPolicy",
    "Step",
    "Unknown",
    "Unreachable",
    "WaitTimeout",
    "WorkflowStatus",
]


def __getattr__(name: str) -> object:
    # Twisted is loaded when it is wanted: scripts and notebooks need none of it.
    if name == "AsyncClient":
        from jobpush_client.deferred import AsyncClient

        return AsyncClient
    raise AttributeError(name)
