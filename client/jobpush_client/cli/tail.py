"""``jobpush tail``: each change as a line."""

from __future__ import annotations

import argparse
import json
import sys

from jobpush_client import ChangeEvent, Reset
from jobpush_client.cli import FILTERS
from jobpush_client.cli.codes import client, local, printable, summary


def run(options: argparse.Namespace) -> int:
    """Until it is interrupted."""
    filters = {name: getattr(options, name) for name in FILTERS}
    with client(options.url, options.patience) as server:
        for event in server.events(jobs=options.job or (), since=options.since, **filters):
            if isinstance(event, Reset):
                print("jobpush: the server no longer has what came next; changes may be missing here", file=sys.stderr)
            elif options.json:
                print(json.dumps(dict(event.fields)), flush=True)
            else:
                print(line(event), flush=True)
    return 0


def line(event: ChangeEvent) -> str:
    """What people read."""
    if event.job is not None:
        who = f"  {printable(event.job.user or '-')}  {printable(event.job.name or '-')}"
        return f"{local(event.at)}  {summary(event.job)}{who}"
    workflow = event.workflow
    assert workflow is not None
    return f"{local(event.at)}  workflow {workflow.name} {workflow.state} {workflow.progress:.0%}"
