"""``jobpush status``: one word, for workflow engines that ask for it."""

from __future__ import annotations

import argparse

from jobpush_client import Job
from jobpush_client.cli.codes import client


def run(options: argparse.Namespace) -> int:
    """Print the word."""
    with client(options.url, options.patience) as server:
        print(word(server.job(options.id), options.format))
    return 0


def word(job: Job, form: str) -> str:
    """The state, as that engine calls it."""
    if form == "snakemake":  # success, running, failed: the executor plugin cluster-generic
        # A provisional end may yet become another one; what is unknown is no failure yet.
        if not job.terminal:
            return "running"
        return "success" if job.succeeded else "failed"
    if form == "nextflow":  # the words of its grid executors' queue status
        if job.terminal:
            return "DONE" if job.succeeded else "ERROR"
        return {"QUEUED": "PENDING", "HELD": "HOLD", "SUSPENDED": "HOLD", "UNKNOWN": "UNKNOWN"}.get(job.state, "RUNNING")
    return job.state
