"""
Table 1 of the report of 2010, replayed: ``python -m benchmarks.mixed``.

10,000 users hold a poll of up to 10 s each, on a connection of its own, and ask again when it is answered: 1,000 polls a
second. Beside them come 4,000 short requests a second (a job's state at once) on further connections, whether or not earlier
ones are answered. The latency of a short request counts from when it was due. If errors come, or the 99th percentile is over a
quarter of a second, it is tried again at a lower rate. jobpush runs in its default configuration; the users are a process of
their own, in Python. Loopback only; ends by itself.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import random
import re
import resource
import select
import socket
import subprocess
import sys
import tempfile
import time
from collections import deque
from pathlib import Path
from typing import Any

from benchmarks.load import CORES, ROOT
from benchmarks.servers import JobpushServer, LoggingServer, leave_the_servers_core, resident_kb
from benchmarks.tables import header, machine_line, parts, row

USERS, SHORT_PER_S, POLL_S, SECONDS = 10_000, 4000.0, 10.0, 60.0

#: Connections for short requests: with the polls as many as the report's table has in flight.
SHORT_CONNECTIONS = 700

#: Jobs that are polled and asked for.
JOBS = 1000

LIMIT_MS = 250.0

_LENGTH = re.compile(rb"\r\ncontent-length: *([0-9]+)", re.IGNORECASE)


def percentile(values: list[float], share: float) -> float:
    """Of a sorted list."""
    return values[min(len(values) - 1, int(share * len(values)))] if values else float("nan")


def length_of(answer: bytes) -> int | None:
    """Return how many bytes the first answer in these has, which gives its length; None if it is not whole yet."""
    head = answer.find(b"\r\n\r\n")
    found = _LENGTH.search(answer, 0, head + 2) if head >= 0 else None
    if found is None:
        return None
    whole = head + 4 + int(found[1])
    return whole if len(answer) >= whole else None


class Users:
    """The load, in a process of its own."""

    def __init__(self, port: int, users: int, short_per_s: float, poll_s: float, cursor: str) -> None:
        self._port, self._rate, self._poll_s = port, short_per_s, poll_s
        self._poll = select.epoll()
        self._sockets: dict[int, socket.socket] = {}
        self._pollers: set[int] = set()
        self._free: deque[int] = deque()
        self._due: dict[int, float] = {}
        self._got: dict[int, bytes] = {}
        self._cursor = cursor
        self._head = f" HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUser-Agent: users\r\nAccept: application/json\r\n\r\n"
        self.short: list[float] = []
        self.polls: list[float] = []
        self.errors: dict[str, int] = {}
        self.waiting_most = 0
        for _ in range(users):
            self._pollers.add(self._connect())
        for _ in range(SHORT_CONNECTIONS):
            self._free.append(self._connect())

    def _connect(self) -> int:
        sock = socket.create_connection(("127.0.0.1", self._port), timeout=60)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setblocking(False)
        self._sockets[sock.fileno()] = sock
        self._poll.register(sock.fileno(), select.EPOLLIN)
        return sock.fileno()

    def _send(self, descriptor: int, path: str, due: float) -> None:
        self._due[descriptor] = due
        self._sockets[descriptor].send(f"GET {path}{self._head}".encode())

    def _ask(self, descriptor: int, now: float) -> None:
        job = 1 + descriptor % JOBS
        self._send(descriptor, f"/v1/jobs/mock/{job}?since={self._cursor}&wait={self._poll_s:g}", now)

    def run(self, seconds: float) -> dict[str, Any]:
        """Begin the polls over the time of one, then measure for so long."""
        now = time.monotonic()
        starts = deque(sorted((now + random.uniform(0, self._poll_s), d) for d in self._pollers))
        began = now + 1.2 * self._poll_s
        end = began + seconds
        backlog: deque[float] = deque()
        next_short = now
        gc.disable()
        while now < end:
            while starts and starts[0][0] <= now:
                self._ask(starts.popleft()[1], now)
            while next_short <= now:
                backlog.append(next_short)
                next_short += 1.0 / self._rate
            while backlog and self._free:
                due = backlog.popleft()
                self._send(self._free.popleft(), f"/v1/jobs/mock/{random.randint(1, JOBS)}", due)
            self.waiting_most = max(self.waiting_most, len(backlog))
            for descriptor, _ in self._poll.poll(max(0.0, min(next_short - now, 0.005)), 512):
                self._readable(descriptor, began)
            now = time.monotonic()
        gc.enable()
        self.short.sort()
        self.polls.sort()
        return {
            "short": len(self.short),
            "p50_ms": 1000 * percentile(self.short, 0.5),
            "p99_ms": 1000 * percentile(self.short, 0.99),
            "most_ms": 1000 * percentile(self.short, 1.0),
            "polls": len(self.polls),
            "poll_p99_s": percentile(self.polls, 0.99),
            "in_flight": len(self._due),
            "errors": self.errors,
            "waiting_most": self.waiting_most,
        }

    def _readable(self, descriptor: int, began: float) -> None:
        try:
            data = os.read(descriptor, 65536)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        now = time.monotonic()
        if not data:
            self._error("closed")
            self._poll.unregister(descriptor)
            self._sockets.pop(descriptor).close()
            return
        got = self._got.pop(descriptor, b"") + data
        if length_of(got) is None:
            self._got[descriptor] = got
            return
        if not got.startswith(b"HTTP/1.1 200 "):
            self._error(got[9:12].decode("ascii", "replace"))
        due = self._due.pop(descriptor)
        if descriptor in self._pollers:
            if now >= began:
                self.polls.append(now - due)
            self._ask(descriptor, now)
        else:
            if now >= began:
                self.short.append(now - due)
            self._free.append(descriptor)

    def _error(self, kind: str) -> None:
        self.errors[kind] = self.errors.get(kind, 0) + 1


def play(kind: type[JobpushServer], scale: float, seconds: float) -> dict[str, Any]:
    """At so much of the report's load."""
    with tempfile.TemporaryDirectory(prefix="jobpush-bench-") as directory:
        server = kind(Path(directory))
        server.known_jobs = JOBS
        server.start()
        try:
            cursor = server.get("/v1/changes")["cursor"]
            users, rate = int(USERS * scale), SHORT_PER_S * scale
            arguments = [str(server.port), str(users), str(rate), str(POLL_S), cursor, str(seconds)]
            load = subprocess.Popen(
                [sys.executable, "-m", "benchmarks.mixed", "users", *arguments], cwd=ROOT, stdout=subprocess.PIPE
            )
            time.sleep(2 + 1.2 * POLL_S)
            cpu, began = server.cpu(), time.monotonic()
            output, _ = load.communicate(timeout=seconds + 180)
            cpu = (server.cpu() - cpu) * (1 / (time.monotonic() - began))
            report: dict[str, Any] = json.loads(output)
            return {**report, "users": users, "rate": rate, "cpu": cpu, "rss_mb": resident_kb(server.pid()) / 1024}
        finally:
            server.stop()


def main() -> None:
    """The command line."""
    if sys.argv[1:2] == ["users"]:
        port, users, rate, poll_s, cursor, seconds = sys.argv[2:]
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        print(json.dumps(Users(int(port), int(users), float(rate), float(poll_s), cursor).run(float(seconds))))
        return
    parser = argparse.ArgumentParser(prog="python -m benchmarks.mixed", description=__doc__)
    parser.add_argument("--seconds", type=float, default=SECONDS, help="1 to 300")
    parser.add_argument("--scale", type=float, nargs="+", default=[1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4], help="0.01 to 1.5")
    parser.add_argument("--access-log", action="store_true", help="write the access log to a file, not to the service's log")
    given = parser.parse_args()
    if not 1 <= given.seconds <= 300 or not all(0.01 <= scale <= 1.5 for scale in given.scale):
        parser.error("out of range")
    kind = LoggingServer if given.access_log else JobpushServer
    leave_the_servers_core()
    print(f"{machine_line([], CORES)}; {kind.options}\n")
    columns = [
        "users", "short/s", "polls/s", "in flight", "p50 ms", "p99 ms", "most ms", "errors", "server CPU, %",
        "of it user + system", "MB", "",
    ]  # fmt: skip
    print("\n".join(header(columns)))
    for scale in given.scale:
        r = play(kind, scale, given.seconds)
        good = not r["errors"] and r["p99_ms"] < LIMIT_MS and r["short"] >= 0.98 * r["rate"] * given.seconds
        errors = ", ".join(f"{count} x {kind}" for kind, count in r["errors"].items()) or "0"
        cells = [
            r["users"], f"{r['short'] / given.seconds:.0f} of {r['rate']:.0f}", f"{r['polls'] / given.seconds:.0f}",
            r["in_flight"], f"{r['p50_ms']:.1f}", f"{r['p99_ms']:.0f}", f"{r['most_ms']:.0f}", errors,
            f"{100 * r['cpu'].total:.0f}", parts([r["cpu"]], 0, 100), f"{r['rss_mb']:.0f}", "held" if good else "not held",
        ]  # fmt: skip
        print(row(cells), flush=True)
        if good:
            return


if __name__ == "__main__":
    main()
