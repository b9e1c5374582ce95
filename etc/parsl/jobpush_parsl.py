"""
Parsl on Slurm, with the states of its blocks from jobpush: put this file beside your program, and write `JobpushSlurmProvider`
where it has `SlurmProvider`. Both take the same options.

`SlurmProvider` asks sacct or squeue every minute, and takes a block that has left the queue for one that has completed. This
one asks jobpush every five seconds (`JOBPUSH_URL`, by default http://localhost:8080), and Slurm not at all. It needs only what
Parsl offers to providers: `status` and `status_polling_interval`.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from parsl.jobs.states import JobState, JobStatus
from parsl.providers import SlurmProvider

from jobpush_client import Client, ClientError, Job, RetryPolicy

logger = logging.getLogger(__name__)

STATES = {
    "QUEUED": JobState.PENDING, "STARTING": JobState.PENDING, "HELD": JobState.HELD, "SUSPENDED": JobState.HELD,
    "RUNNING": JobState.RUNNING, "FINISHING": JobState.RUNNING,
    "COMPLETED": JobState.COMPLETED, "CANCELLED": JobState.CANCELLED,
    "TIMEOUT": JobState.TIMEOUT, "PREEMPTED": JobState.TIMEOUT,
}  # fmt: skip


class JobpushSlurmProvider(SlurmProvider):
    """
    Subclass it to set these two.

    :cvar cluster: the name that the cluster has in jobpush.
    :cvar status_polling_interval: seconds from one look at the blocks to the next.
    """

    cluster = "slurm"
    status_polling_interval = 5

    def status(self, job_ids: Sequence[str]) -> list[JobStatus]:
        """The blocks as they are. One that jobpush has not seen yet waits; while jobpush cannot be reached nothing changes."""
        known: dict[str, JobStatus] = self.__dict__.setdefault("_known", {})
        if job_ids:
            try:
                with Client(retry_policy=RetryPolicy(seconds=0)) as server:
                    found = server.snapshot([f"{self.cluster}/{job}" for job in job_ids]).jobs
            except ClientError as error:
                logger.warning("jobpush: %s; the blocks are taken to be as they were", error)
                found = []
            known.update((job.id, self._status_of(job)) for job in found)
        return [known.get(job, JobStatus(JobState.PENDING)) for job in job_ids]

    def _status_of(self, job: Job) -> JobStatus:
        paths: dict[str, Any] = self.resources.get(job.id, {})
        if job.outcome is not None and not job.terminal:
            state = JobState.RUNNING  # its end is not confirmed yet
        else:
            state = STATES.get(job.state, JobState.FAILED if job.terminal else JobState.UNKNOWN)
        return JobStatus(
            state, message=job.state if job.reason is None else f"{job.state}: {job.reason}", exit_code=job.exit_code,
            stdout_path=paths.get("job_stdout_path"), stderr_path=paths.get("job_stderr_path"),
        )  # fmt: skip
