"""
A line on the terminal that follows one job while something else waits for its end. Needs rich.

Seen beside a server in tests/with_service/test_cli.py.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console

from jobpush_client import ChangeEvent, Client, ClientError
from jobpush_client.cli.codes import printable


@contextmanager
def following(url: str | None, job: str) -> Iterator[None]:
    """While this lasts, standard error shows the job's state and for how long it has been in it."""
    console = Console(stderr=True)
    over = threading.Event()
    with console.status(f"{job}: submitted") as status:

        def follow() -> None:
            try:
                with Client(url) as client:
                    status.update(f"{job}: {client.job(job).state}")
                    for event in client.events(jobs=[job], since=None):
                        if over.is_set():
                            return
                        if isinstance(event, ChangeEvent) and event.job is not None:
                            reason = f" ({printable(event.job.reason)})" if event.job.reason else ""
                            status.update(f"{job}: {event.job.state}{reason}")
            except ClientError:
                pass  # whoever waits says what is wrong

        threading.Thread(target=follow, daemon=True).start()
        try:
            yield
        finally:
            over.set()
