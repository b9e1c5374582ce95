"""
For how long the reactor does nothing else: ``python -m benchmarks.stalls``.

jobpush runs with a heartbeat inside (``heartbeat.py``) and holds 10,700 requests on one job, beside 30 and beside 100,000 known
jobs. Measured is the longest time between two beats: while all are answered, while all come back, while a tick finds nothing
and while it finds 100 changes, and while a command is started (a stand-in for PBS). Loopback only; ends by itself.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.held import REPORT_COUNT
from benchmarks.load import CORES, MOST_CONNECTIONS, Load
from benchmarks.servers import MOST_ROUNDS, JobpushServer, LoggingServer, leave_the_servers_core
from benchmarks.tables import header, machine_line
from benchmarks.tables import row as table_row

#: Jobs that change in a tick.
CHANGES = 100


class BeatingServer(JobpushServer):
    """jobpush with a heartbeat."""

    queue: str | None = None

    def command(self) -> list[str]:
        self.notes_path = self.directory / "notes"
        command = super().command()
        if self.queue is not None:
            command[command.index("--queue") + 1] = self.queue
        return [sys.executable, "-m", "benchmarks.heartbeat", str(self.notes_path), *command[3:]]

    def notes(self) -> dict[str, Any]:
        """What was noted since the last time."""
        self.notes_path.unlink(missing_ok=True)
        os.kill(self.pid(), signal.SIGUSR1)
        until = time.monotonic() + 30
        while not self.notes_path.exists():
            if time.monotonic() > until:
                raise SystemExit("the heartbeat has not answered")
            time.sleep(0.01)
        notes: dict[str, Any] = json.loads(self.notes_path.read_text())
        return notes

    def change(self, first: int, count: int) -> None:
        """So many jobs change, none of which anybody waits for."""
        lines = self.jobs.read_text().splitlines()
        for number in range(first, first + count):
            lines[number] = json.dumps({"id": str(number + 1), "state": "COMPLETED"})
        fresh = self.jobs.with_suffix(".new")
        fresh.write_text("\n".join(lines) + "\n")
        os.replace(fresh, self.jobs)


def row(name: str, notes: list[dict[str, Any]], cpu: float | None = None) -> str:
    """Of some rounds."""
    most = sorted(note["most"] for note in notes)
    collections = max(note["collection"] for note in notes)
    cells = [
        name, len(notes), f"{statistics.median(most):.1f}", f"{most[-1]:.1f}", f"{collections:.1f}",
        "" if cpu is None else f"{cpu * 1000:.0f}",
    ]  # fmt: skip
    return table_row(cells)


def measure(jobs: int, count: int, rounds: int, arguments: tuple[str, ...]) -> None:
    """With so many known jobs, and further arguments."""
    with tempfile.TemporaryDirectory(prefix="jobpush-bench-") as directory:
        server, load = BeatingServer(Path(directory)), Load()
        server.known_jobs, server.arguments = jobs, arguments
        try:
            server.start()
            server.quiet()
            load.do("open", port=server.port, count=count, path=server.hold_path())
            server.quiet()
            answered, came_back, idle, busy = [], [], [], []
            idle_cpu, busy_cpu = [], []
            for number in range(rounds):
                server.notes()
                load.begin("collect", seconds=120)
                time.sleep(0.2)
                server.fire()
                load.end()
                answered.append(server.notes())
                load.do("send", path=server.hold_path())
                server.quiet()
                came_back.append(server.notes())
                cpu = server.cpu().total
                server.nudge()
                server.quiet()
                idle.append(server.notes())
                idle_cpu.append(server.cpu().total - cpu)
                if jobs > 10 * CHANGES:
                    server.change(jobs - CHANGES * (number + 1), CHANGES)
                    cpu = server.cpu().total
                    server.nudge()
                    server.quiet()
                    busy.append(server.notes())
                    busy_cpu.append(server.cpu().total - cpu)
            at = f"{count} held, {jobs} jobs: "
            print(row(at + "one event answers all", answered))
            print(row(at + "all come back at once", came_back))
            print(row(at + "a tick, nothing changed", idle, statistics.median(idle_cpu)))
            if busy:
                print(row(at + f"a tick, {CHANGES} changed", busy, statistics.median(busy_cpu)))
        finally:
            load.stop()
            server.stop()


def spawning(count: int, seconds: float) -> None:
    """How long it takes to start a command while so many descriptors are open."""
    from benchmarks.ticks import pbs

    with tempfile.TemporaryDirectory(prefix="jobpush-bench-") as directory, pbs(Path(directory), 100) as scheduler:
        server, load = BeatingServer(Path(directory)), Load()
        server.queue = scheduler.argument
        try:
            server.start()
            server.quiet(0.5)
            cursor = server.get("/v1/changes")["cursor"]
            for open_now in (0, count):
                if open_now:
                    load.do("open", port=server.port, count=open_now, path=f"/v1/changes?since={cursor}&wait=600")
                    time.sleep(3)
                server.notes()
                time.sleep(seconds)
                notes = server.notes()
                spawns = sorted(notes["spawns"])
                print(
                    f"{open_now} held: {len(spawns)} commands started, {statistics.median(spawns):.1f} ms each at the median, "
                    f"{spawns[-1]:.1f} ms at most; longest stall {notes['most']:.1f} ms"
                )
        finally:
            load.stop()
            server.stop()


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.stalls", description=__doc__)
    parser.add_argument("--count", type=int, default=REPORT_COUNT)
    parser.add_argument("--jobs", type=int, nargs="+", default=[30, 100_000])
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--access-log", action="store_true", help="write the access log to a file, not to the service's log")
    given = parser.parse_args()
    bounded = 1 <= given.count <= MOST_CONNECTIONS and all(30 <= jobs <= 200_000 for jobs in given.jobs)
    if not bounded or not 1 <= given.rounds <= MOST_ROUNDS:
        parser.error(f"at most {MOST_CONNECTIONS} requests, 30 to 200000 jobs, {MOST_ROUNDS} rounds")
    kind = LoggingServer if given.access_log else JobpushServer
    leave_the_servers_core()
    print(f"{machine_line([], CORES)}; {kind.options}\n")
    print("\n".join(header(["", "rounds", "longest stall, ms, median", "most", "garbage collection, most, ms", "CPU, ms"])))
    for jobs in given.jobs:
        measure(jobs, given.count, given.rounds, kind.arguments)
    print()
    spawning(given.count, 15.0)


if __name__ == "__main__":
    main()
