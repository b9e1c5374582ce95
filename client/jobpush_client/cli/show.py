"""``jobpush show``: a job and its history."""

from __future__ import annotations

import argparse
import json
from itertools import zip_longest

from jobpush_client import Job, Step
from jobpush_client.cli.codes import client, duration, local, printable, summary


def run(options: argparse.Namespace) -> int:
    """Print it."""
    with client(options.url, options.patience) as server:
        job = server.job(options.id)
        steps = server.history(job.key)
    if options.json:
        print(json.dumps({"job": dict(job.fields), "history": [dict(step.fields) for step in steps]}, indent=2))
    else:
        print("\n".join([*describe(job), *history(steps)]))
    return 0


def describe(job: Job) -> list[str]:
    """What is known of it, a line each."""
    lines = [summary(job)]
    for name in ("name", "user", "account", "queue", "nodes", "workdir", "comment", "reason"):
        value = job.get(name)
        if value:
            lines.append(f"  {name:<10} {printable(str(value))}")
    for name, moment in (("submitted", job.submitted_at), ("started", job.started_at), ("ended", job.ended_at)):
        if moment is not None:
            lines.append(f"  {name:<10} {local(moment)}")
    if job.get("time_limit_s") is not None:
        lines.append(f"  {'limit':<10} {duration(job['time_limit_s'])}")
    if job.get("counts"):
        counts = ", ".join(f"{count} {state}" for state, count in job["counts"].items())
        lines.append(f"  {'tasks':<10} {counts}")
    if job["confidence"] != "observed":
        lines.append(f"  {'known by':<10} {job['confidence']}")
    return lines


def history(steps: list[Step]) -> list[str]:
    """How it came to that."""
    lines = ["history"]
    for step, following in zip_longest(steps, steps[1:]):
        took = f"  for {duration((following.at - step.at).total_seconds())}" if following is not None else ""
        mark = "" if step["confidence"] == "observed" else f"  ({step['confidence']})"
        lines.append(f"  {local(step.at)}  {step.state:<12}{took}{mark}")
    return lines
