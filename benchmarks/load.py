"""
A load generator for held requests: one process, raw sockets, epoll; counts bytes and times.

    python -m benchmarks.load hold --port 8080 --connections 10700 --path '/v1/jobs/mock/1?since=now&wait=60'

opens that many connections, sends the request on each, waits for the answers, and prints how many came, from the first to
the last, and what went wrong. It speaks to loopback only, and stops by itself.
"""

from __future__ import annotations

import argparse
import ipaddress
import json
import resource
import select
import socket
import sys
import time
from dataclasses import dataclass, field

#: No run holds more connections, or lasts longer, than this.
MOST_CONNECTIONS = 60_000
MOST_SECONDS = 900.0


@dataclass
class Report:
    """What a run of `hold` saw; times in seconds since its begin."""

    connections: int = 0
    connected: int = 0
    connected_at: float = 0.0
    answered: int = 0
    errors: int = 0
    statuses: dict[int, int] = field(default_factory=dict)
    bytes: int = 0
    first_at: float | None = None
    last_at: float | None = None
    sample: str = ""

    @property
    def spread_ms(self) -> float | None:
        """From the first answer to the last, in milliseconds."""
        if self.first_at is None or self.last_at is None:
            return None
        return (self.last_at - self.first_at) * 1000


class Connection:
    """One connection and what it has received."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.received = b""

    def complete(self) -> bool:
        """Is a whole answer here? Only answers with a Content-Length are understood."""
        head, blank, body = self.received.partition(b"\r\n\r\n")
        if not blank:
            return False
        for line in head.split(b"\r\n")[1:]:
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                return len(body) >= int(value)
        return b" 304 " in head.split(b"\r\n")[0]


def hold(
    host: str, port: int, path: str, connections: int, seconds: float, ready: str | None = None, batch: int = 200
) -> Report:
    """
    Hold that many requests until all are answered or the time is up.

    :param ready: a file to create when all requests are sent.
    :param batch: how many connections are opened before answers are looked for.
    """
    if not ipaddress.ip_address(host).is_loopback:
        raise SystemExit(f"{host} is not a loopback address: this tool only speaks to loopback")
    if not 1 <= connections <= MOST_CONNECTIONS or not 0 < seconds <= MOST_SECONDS:
        raise SystemExit(f"at most {MOST_CONNECTIONS} connections and {MOST_SECONDS:g} seconds")
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    request = f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n".encode()
    report = Report(connections=connections)
    began = time.monotonic()
    poll = select.epoll()
    open_: dict[int, Connection] = {}

    def collect(timeout: float) -> None:
        for descriptor, _ in poll.poll(timeout):
            connection = open_[descriptor]
            try:
                data = connection.sock.recv(65536)
            except BlockingIOError:
                continue
            except OSError:
                data = b""
            now = time.monotonic() - began
            connection.received += data
            report.bytes += len(data)
            if connection.complete():
                status = int(connection.received[9:12])
                report.statuses[status] = report.statuses.get(status, 0) + 1
                report.answered += status == 200
                report.errors += status != 200
                report.first_at = now if report.first_at is None else report.first_at
                report.last_at = now
                report.sample = report.sample or connection.received.decode(errors="replace")[:2000]
            elif data:
                continue
            else:
                report.errors += 1
            poll.unregister(descriptor)
            connection.sock.close()
            del open_[descriptor]

    try:
        for count in range(connections):
            sock = socket.create_connection((host, port), timeout=30)
            sock.sendall(request)
            sock.setblocking(False)
            open_[sock.fileno()] = Connection(sock)
            poll.register(sock.fileno(), select.EPOLLIN)
            report.connected += 1
            if count % batch == batch - 1:
                collect(0)
        report.connected_at = time.monotonic() - began
        if ready is not None:
            with open(ready, "w") as file:
                file.write(f"{report.connected}\n")
        while open_ and time.monotonic() - began < seconds:
            collect(0.2)
        report.errors += len(open_)
    finally:
        for connection in open_.values():
            connection.sock.close()
        poll.close()
    return report


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.load", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    holding = commands.add_parser("hold", help="hold requests until they are answered")
    holding.add_argument("--host", default="127.0.0.1")
    holding.add_argument("--port", type=int, required=True)
    holding.add_argument("--path", required=True)
    holding.add_argument("--connections", type=int, required=True)
    holding.add_argument("--seconds", type=float, default=120.0)
    holding.add_argument("--ready", help="a file to create when all requests are sent")
    holding.add_argument("--json", action="store_true")
    given = parser.parse_args()
    report = hold(given.host, given.port, given.path, given.connections, given.seconds, given.ready)
    if given.json:
        print(json.dumps(vars(report)))
    else:
        spread = f"{report.spread_ms:.0f} ms" if report.spread_ms is not None else "-"
        print(f"{report.answered} of {report.connections} answered, {report.errors} errors, statuses {report.statuses}")
        print(f"sent within {report.connected_at:.2f} s; first to last answer {spread}; {report.bytes} bytes received")
    sys.exit(0 if report.errors == 0 else 1)


if __name__ == "__main__":
    main()
