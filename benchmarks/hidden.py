"""
Whether the time of a 404 tells another's job from one that does not exist: ``python -m benchmarks.hidden``.

jobpush runs with ``--private yes`` on a mock file with jobs of this user's and of another's. On one kept connection to its
unix socket jobs of the other user and jobs that do not exist are asked for, in a random order: on the fast path, and with a
header that keeps a request off it. Written is one Markdown table: the times' tenths, medians and nine tenths, and the ratio of
the medians. Loopback only; ends by itself.
"""

from __future__ import annotations

import argparse
import getpass
import json
import random
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from http.client import HTTPConnection
from pathlib import Path

from benchmarks.tables import header, machine_line, row

#: Jobs of the other user, and as many ids of none.
JOBS = 500

#: Addresses that are asked for, and how often each time.
PATHS = {
    "/v1/jobs/mock/ID": 4000,
    "/v1/changes?since=0&job=ID&wait=0": 4000,
    "/v1/wait?job=ID&wait=0": 4000,
    "/jobstatus?jobId=ID&timeout=0": 4000,
    "/v1/jobs/mock/ID?wait=1": 200,
}

Times = dict[str, list[float]]


def compare(ask: Callable[[str], int], path: str, ids: Mapping[str, Sequence[str]], count: int) -> Times:
    """
    Ask so often in all, and return the seconds that it took, for each kind of id.

    :param ask: sends a request for that path, and returns its answer's status.
    :raise RuntimeError: if the statuses of the kinds differ.
    """
    times: Times = {kind: [] for kind in ids}
    statuses: dict[str, set[int]] = {kind: set() for kind in ids}
    for _ in range(count):
        kind = random.choice(list(ids))
        address = path.replace("ID", random.choice(ids[kind]))
        begun = time.perf_counter()
        statuses[kind].add(ask(address))
        times[kind].append(time.perf_counter() - begun)
    if len(set(map(frozenset, statuses.values()))) > 1:
        raise RuntimeError(f"{path}: the statuses differ: {statuses}")
    return times


def report(path: str, way: str, times: Times) -> str:
    """A row of the table."""
    cells: list[str] = []
    for each in times.values():
        tenths = statistics.quantiles(each, n=10)
        cells.append(" / ".join(f"{1000 * tenths[place]:.3f}" for place in (0, 4, 8)))
    hidden, unknown = map(statistics.median, times.values())
    return row((f"`{path}`", way, *cells, f"{hidden / unknown:.3f}"))


class UnixConnection(HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=30)
        self.path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(self.path)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run it."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.hidden", description=__doc__.partition("\n\n")[0])
    parser.add_argument("--share", type=float, default=1.0, help="of the requests, 0.01 to 1 (default: 1)")
    share = parser.parse_args(arguments).share
    if not 0.01 <= share <= 1:
        parser.error("--share: expected 0.01 to 1")
    with tempfile.TemporaryDirectory(prefix="jobpush-hidden-") as directory:
        jobs, address = Path(directory, "jobs"), f"{directory}/users.sock"
        rows = [{"id": "1", "state": "RUNNING", "user": getpass.getuser()}]
        rows += [{"id": str(1000 + number), "state": "RUNNING", "user": "somebody.else"} for number in range(JOBS)]
        jobs.write_text("".join(json.dumps(each) + "\n" for each in rows), encoding="utf-8")
        command = [
            Path(sys.executable).with_name("twistd"), "--nodaemon", "--pidfile=", f"--logfile={directory}/log",
            "jobpush", "--port", "0",
            "--private", "yes", "--socket", f"unix:{address}", "--queue", f"mock:file={jobs}:interval=0.2",
            "--state", f"{directory}/state",
        ]  # fmt: skip
        with subprocess.Popen(command) as process:
            try:
                print("\n".join(_measured(address, share)))
            finally:
                process.send_signal(signal.SIGTERM)


def _measured(address: str, share: float) -> list[str]:
    until = time.monotonic() + 30
    connection = UnixConnection(address)

    def ask(path: str, **headers: str) -> int:
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        answer.read()
        return answer.status

    while True:
        try:
            if ask("/v1/jobs/mock/1") == 200:
                break
        except OSError:
            connection.close()
        if time.monotonic() > until:
            raise TimeoutError("jobpush has not begun to serve in 30 s")
        time.sleep(0.1)
    ids = {kind: [str(first + number) for number in range(JOBS)] for kind, first in (("another's", 1000), ("none", 5000))}
    lines = header(("address", "path", "another's job, ms", "no job, ms", "ratio of the medians"))
    for path, count in PATHS.items():
        for way, headers in (("fast", {}), ("ordinary", {"X-Unknown-To-The-Fast-Path": "1"})):
            times = compare(lambda at, headers=headers: ask(at, **headers), path, ids, max(40, int(count * share)))
            lines.append(report(path, way, times))
    return [*lines, "", machine_line(())]


if __name__ == "__main__":
    main()
