"""
A burst of nudges: ``python -m benchmarks.burst [--rate 5000] [--seconds 10] [--clients 200]``.

Starts jobpush on a jobs file with so many clients that hold a request for one job, which changes three times a second with one
nudge for each change; then the same with a burst of other nudges beside it. Says how long after a change the clients have their
answers, how often the queue was asked, and what memory it took. Loopback only; ends by itself.
"""

from __future__ import annotations

import argparse
import json
import os
import selectors
import socket
import tempfile
import threading
import time
from contextlib import suppress
from multiprocessing import Process, Queue
from pathlib import Path

import attrs

from tests.service_process import ServiceProcess, write_jobs

#: Seconds from one change to the next.
EVERY_S = 0.33

FLOOR_S = 0.1


class Clients(threading.Thread):
    """Clients that each hold a request for the next change, again and again, and note when they are told of which."""

    def __init__(self, port: int, count: int) -> None:
        super().__init__(daemon=True)
        self._port = port
        self.told: dict[int, list[float]] = {}
        self._selector = selectors.DefaultSelector()
        self._buffers: dict[socket.socket, bytes] = {}
        for _ in range(count):
            sock = socket.create_connection(("127.0.0.1", port))
            self._buffers[sock] = b""
            self._selector.register(sock, selectors.EVENT_READ)
            self._ask(sock, "now")

    def _ask(self, sock: socket.socket, since: str) -> None:
        sock.sendall(f"GET /v1/changes?job=mock/1&since={since}&wait=60 HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())

    def run(self) -> None:
        while True:
            for key, _ in self._selector.select():
                sock = key.fileobj
                assert isinstance(sock, socket.socket)
                data = self._buffers[sock] + sock.recv(65536)
                head, end, body = data.partition(b"\r\n\r\n")
                length = next((int(h[15:]) for h in head.split(b"\r\n") if h.lower().startswith(b"content-length:")), None)
                if not end or length is None or len(body) < length:
                    self._buffers[sock] = data
                    continue
                now = time.monotonic()
                answer = json.loads(body)
                for event in answer["events"]:
                    self.told.setdefault(int(event["job"]["exit_code"] or 0), []).append(now)
                self._buffers[sock] = b""
                self._ask(sock, answer["cursor"])


@attrs.frozen
class Round:
    """Seconds from each change to each client; queries; memory in kB before and at most; nudges that were sent."""

    late: list[float]
    queries: int
    seconds: float
    before_kb: int
    most_kb: int
    sent: int
    refused: int


def memory_kb(pid: int) -> int:
    """Resident memory."""
    with open(f"/proc/{pid}/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") // 1024


def burst(path: str, rate: int, seconds: float, counts: Queue[tuple[int, int]]) -> None:
    """Nudges at a rate, from a process of its own: (taken by the socket, not taken)."""
    sender = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    sender.setblocking(False)
    began = time.monotonic()
    sent = refused = 0
    while (passed := time.monotonic() - began) < seconds:
        while sent + refused < passed * rate:
            try:
                sender.sendto(b'{"cluster":"mock","jobs":["%d"]}' % ((sent + refused) % 5000), path)
                sent += 1
            except BlockingIOError:  # the socket's buffer is full: a hook would go on, as this does
                refused += 1
        time.sleep(0.001)
    counts.put((sent, refused))


def play(root: Path, clients: int, seconds: float, rate: int) -> Round:
    """One round."""
    jobs, nudge = root / "jobs", root / "nudge"
    changes: dict[int, float] = {}

    def change(number: int) -> None:
        state = "RUNNING" if number % 2 else "SUSPENDED"
        write_jobs(jobs, f'{{"id":"1","state":"{state}","exit_code":{number}}}\n')
        changes[number] = time.monotonic()
        with suppress(BlockingIOError):
            teller.sendto(b'{"cluster":"mock","jobs":["1"]}', str(nudge))

    teller = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    teller.setblocking(False)
    write_jobs(jobs, '{"id":"1","state":"RUNNING"}\n')
    service = ServiceProcess(
        root / "service", "--queue", f"mock:file={jobs}:interval=60:floor={FLOOR_S}", "--nudge", f"unix:{nudge}"
    )
    service.start()
    try:
        service.ready()
        assert service.process is not None
        held = Clients(service.port, clients)
        held.start()
        time.sleep(2)
        before = memory_kb(service.process.pid)
        most = before
        queries = service.get("/readyz").json["queues"]["mock"]["queries"]
        counts: Queue[tuple[int, int]] = Queue()
        beside = Process(target=burst, args=(str(nudge), rate, seconds, counts))
        beside.start()
        began = time.monotonic()
        number = 1
        while time.monotonic() - began < seconds:
            change(number)
            number += 1
            time.sleep(EVERY_S)
            most = max(most, memory_kb(service.process.pid))
        asked = service.get("/readyz").json["queues"]["mock"]["queries"] - queries
        took = time.monotonic() - began
        time.sleep(1)
        late = [at - changes[n] for n, times in held.told.items() if n in changes for at in times]
        expected = clients * len(changes)
        if len(late) != expected:
            print(f"{len(late)} answers of {expected}: changes that fell into one look are told as one")
        return Round(late, asked, took, before, most, *counts.get())
    finally:
        service.stop()


def main() -> None:
    parser = argparse.ArgumentParser(description="A burst of nudges, and what held clients feel of it.")
    parser.add_argument("--rate", type=int, default=5000, help="nudges a second, 1 to 50000")
    parser.add_argument("--seconds", type=float, default=10.0, help="1 to 60")
    parser.add_argument("--clients", type=int, default=200, help="1 to 5000")
    options = parser.parse_args()
    if not (1 <= options.rate <= 50000 and 1 <= options.seconds <= 60 and 1 <= options.clients <= 5000):
        parser.error("out of range")
    columns = "nudges/s beside", "sent", "not taken", "p50 ms", "p99 ms", "queries", "at most", "MB before", "MB at most"
    print(f"| {' | '.join(columns)} |\n{'|---' * len(columns)}|")
    for rate in (0, options.rate, 0, options.rate):
        with tempfile.TemporaryDirectory(prefix="jobpush-") as root:
            r = play(Path(root), options.clients, options.seconds, rate)
        late = sorted(r.late)
        p50, p99 = (1000 * late[int(share * len(late))] for share in (0.5, 0.99))
        print(
            f"| {rate} | {r.sent} | {r.refused} | {p50:.0f} | {p99:.0f} | {r.queries} | {r.seconds / FLOOR_S + 1:.0f} | "
            f"{r.before_kb / 1024:.1f} | {r.most_kb / 1024:.1f} |", flush=True,
        )  # fmt: skip


if __name__ == "__main__":
    main()
