"""``jobpush submit -- sbatch …``: the scheduler's own command, and then a wait for the job that it has submitted."""

from __future__ import annotations

import argparse
import re
import subprocess
import sys

from jobpush_client import Client, ClientError, Met
from jobpush_client.cli.codes import client
from jobpush_client.cli.wait import wait

#: What the commands say: sbatch(1), with and without --parsable; Grid Engine's and PBS's qsub.
SAID = (
    re.compile(r"^Submitted batch job (\d+)(?: on cluster (\S+))?$", re.MULTILINE),
    re.compile(r"^Your job(?:-array)? (\d+)(?:\.\S+)? \(.*\) has been submitted$", re.MULTILINE),
    re.compile(r"^(\d+(?:\[\])?\.[A-Za-z0-9._-]+)$", re.MULTILINE),
    re.compile(r"^(\d+)(?:;(\S+))?$", re.MULTILINE),
)


def run(options: argparse.Namespace) -> int:
    """Submit, and wait."""
    words = options.words[1:] if options.words[:1] == ["--"] else options.words
    if not words:
        raise ClientError("which command submits the job? jobpush submit -- sbatch job.sh")
    try:
        command = subprocess.run(words, stdout=subprocess.PIPE, text=True, errors="replace", check=False)
    except OSError as error:
        raise ClientError(f"{words[0]}: {error.strerror}") from None
    print(command.stdout, end="", file=sys.stderr, flush=True)
    if command.returncode != 0:
        return command.returncode
    job_id = submitted(command.stdout)
    if job_id is None:
        raise ClientError(f"{words[0]} printed no job id; expected a line such as 'Submitted batch job 4711'")
    job = f"{options.cluster}/{job_id}" if options.cluster else job_id
    with client(options.url, options.patience) as server:
        if options.quiet or options.json or not sys.stderr.isatty():
            return wait(server, [job], 1, options)
        return _with_progress(server, job, options)


def submitted(said: str) -> str | None:
    """The id of the job in what a scheduler's command has said."""
    for pattern in SAID:
        found = pattern.search(said)
        if found is not None:
            return found[1]
    return None


def _with_progress(server: Client, job: str, options: argparse.Namespace) -> int:
    """The same, with a line on the terminal that says how it stands."""
    try:
        from jobpush_client.cli.progress import following
    except ImportError:  # without the extra [cli]
        return wait(server, [job], 1, options)
    with following(options.url, job):
        return wait(server, [job], 1, options)


__all__ = ["Met", "run", "submitted"]
