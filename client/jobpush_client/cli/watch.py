"""``jobpush watch``: a table on the terminal that follows jobs. Needs rich, of the extra ``[cli]``."""

from __future__ import annotations

import argparse
import datetime
import threading
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from jobpush_client import ChangeEvent, Client, ClientError, Job, Reset
from jobpush_client.cli import FILTERS
from jobpush_client.cli.codes import client, duration, printable

if TYPE_CHECKING:
    from rich.table import Table

#: Rows that are shown at most: the rest is counted.
MOST_ROWS = 200

COLOURS = {
    "RUNNING": "green", "COMPLETED": "blue", "QUEUED": "yellow", "HELD": "magenta", "STARTING": "cyan", "FINISHING": "cyan",
    "SUSPENDED": "magenta", "UNKNOWN": "dim",
}  # fmt: skip


class Board:
    """
    The jobs as they are known.

    :param ended: seconds for which those that ended are kept.
    """

    def __init__(self, jobs: Iterable[Job], ended: float) -> None:
        self._ended = datetime.timedelta(seconds=ended)
        self._jobs = {job.key: job for job in jobs}

    def put(self, job: Job) -> None:
        """It is like this now."""
        self._jobs[job.key] = job

    def replace(self, jobs: Iterable[Job]) -> None:
        """These, and no others."""
        self._jobs = {job.key: job for job in jobs}

    def shown(self, now: datetime.datetime) -> list[Job]:
        """Those that have not ended, then those that have lately."""
        jobs = list(self._jobs.values())  # another thread puts more
        kept = []
        for job in jobs:
            if job.ended_at is not None and now - job.ended_at > self._ended:
                self._jobs.pop(job.key, None)
            else:
                kept.append(job)
        return sorted(kept, key=lambda job: (job.phase == "DONE", _ORDER.get(job.phase, 9), job.key))


_ORDER = {"RUNNING": 0, "FINISHING": 0, "STARTING": 1, "SUSPENDED": 2, "QUEUED": 3, "HELD": 4}


def run(options: argparse.Namespace) -> int:
    """Until it is interrupted."""
    try:
        from rich.live import Live
    except ImportError:
        raise ClientError("watch needs the extra: pip install 'jobpush[cli]'") from None
    filters = {name: getattr(options, name) for name in FILTERS}
    with client(options.url, options.patience) as server:
        first = server.snapshot(options.job or (), **filters)
        board = Board(first.jobs, options.ended)
        failed: list[BaseException] = []
        over = threading.Event()

        def follow() -> None:
            try:
                _follow(server, board, options.job or (), first.cursor, filters)
            except BaseException as error:
                failed.append(error)
                over.set()

        threading.Thread(target=follow, daemon=True).start()
        with Live(get_renderable=lambda: table(board), refresh_per_second=2, screen=False):
            over.wait()
        raise failed[0]


def _follow(server: Client, board: Board, jobs: Sequence[str], cursor: str, filters: dict[str, list[str] | None]) -> None:
    for event in server.events(jobs, cursor, **filters):
        if isinstance(event, Reset):
            board.replace(event.jobs)
        elif isinstance(event, ChangeEvent) and event.job is not None:
            board.put(event.job)


def table(board: Board) -> Table:
    """The table as it is drawn."""
    from rich.table import Table
    from rich.text import Text

    now = datetime.datetime.now(datetime.timezone.utc)
    jobs = board.shown(now)
    counts: dict[str, int] = {}
    for job in jobs:
        counts[job.state] = counts.get(job.state, 0) + 1
    strip = "  ".join(f"{count} {state}" for state, count in sorted(counts.items())) or "no jobs"
    drawn = Table(title=strip, title_justify="left", expand=True)
    for name in ("job", "state", "for", "name", "user", "queue", "nodes", "reason"):
        drawn.add_column(name, no_wrap=True, overflow="ellipsis")
    for job in jobs[:MOST_ROWS]:
        since = job.ended_at or job.started_at or job.submitted_at
        took = duration((now - since).total_seconds()) if since is not None else ""
        cells = [job.name, job.user, job.get("queue"), job.get("nodes"), job.reason if job.phase != "RUNNING" else None]
        state = Text(job.state, style=COLOURS.get(job.state, "red"))
        drawn.add_row(Text(job.key), state, took, *(Text(printable(str(cell or ""))) for cell in cells))
    if len(jobs) > MOST_ROWS:
        drawn.caption = f"and {len(jobs) - MOST_ROWS} more"
    return drawn
