"""
What many clients do to a server by accident: ``python -m benchmarks.crowd``.

    connects    3,300 connections a second for ten seconds, each with one short request
    again       10,700 clients that are connected already ask in one instant
    unknown     10,700 clients ask at once for one job that nobody knows
    unread      150 clients ask one after the other for the same 5,000 events, and do not read the answers; then each for others
                of its own

Beside the scenes themselves, ``/healthz`` is asked for ten times a second, on the clients' port and on the socket for health
checks. Loopback only; ends by itself.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

import attrs

from benchmarks.herd import RestartedServer, health_of
from benchmarks.load import CORES, Load
from benchmarks.servers import leave_the_servers_core
from benchmarks.tables import header, machine_line, row

#: Events in the journal, one after the other of so many jobs.
EVENTS, JOBS = 50_000, 10_700

#: Seconds for which answers are not read.
UNREAD_S = 5.0

#: How many clients do not read, and for how many events each asks.
READERS, PAGE = 150, 5_000


@attrs.frozen
class Found:
    """What a scene has found: in seconds, megabytes, and words for the rest."""

    scene: str
    what: str
    took: float
    cpu: float
    port: str
    own: str
    answers: str
    least_mb: float
    most_mb: float


class Server(RestartedServer):
    """jobpush on a journal that was there before."""

    clients, events = JOBS, EVENTS

    def peak_mb(self) -> float:
        """The most memory that it had."""
        status = Path(f"/proc/{self.pid()}/status").read_text()
        return int(status.split("VmHWM:")[1].split()[0]) / 1024


def connects(server: Server, load: Load, rate: int) -> tuple[str, str]:
    """So many connections a second."""
    report = load.do("storm", port=server.port, rate=rate, seconds=10, path="/v1/jobs/mock/1")
    what = f"{report['connected']} connections in {report['seconds']:.1f} s"
    return what, f"{json.dumps(report['statuses'])}, lost {report['lost']}, late {report['late']}"


def connect(server: Server, load: Load, clients: int) -> None:
    """So many clients are connected, and have had an answer."""
    load.do("open", port=server.port, count=clients, path="/v1/jobs/mock/{}")
    load.do("collect", seconds=120)


def again(server: Server, load: Load, clients: int) -> tuple[str, str]:
    """All of them ask again."""
    load.do("send", path="/v1/jobs/mock/{}")
    report = load.do("collect", seconds=120)
    return f"{clients} clients", f"{json.dumps(report['statuses'])}, lost {report['lost']}, late {report['late']}"


def unknown(server: Server, load: Load, clients: int) -> tuple[str, str]:
    """So many ask for one job that nobody knows."""
    load.do("open", port=server.port, count=clients, path="/v1/jobs/mock/99999")
    report = load.do("collect", seconds=120)
    return f"{clients} clients", f"{json.dumps(report['statuses'])}, lost {report['lost']}, late {report['late']}"


def unread(server: Server, load: Load, clients: int, alike: bool) -> tuple[str, str]:
    """So many ask for many events, one after the other, and do not read them, for a while."""
    epoch = server.get("/v1/changes?since=0&limit=1&wait=0")["oldest_cursor"].partition("-")[0]
    with ExitStack() as stack:
        statuses = []
        for number in range(clients):
            client = stack.enter_context(socket.socket())
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.settimeout(60)
            client.connect(("127.0.0.1", server.port))
            since = 100 if alike else 100 + number
            client.sendall(f"GET /v1/changes?since={epoch}-{since}&limit={PAGE}&wait=0 HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            statuses.append(client.recv(12, socket.MSG_PEEK)[9:12].decode())
        time.sleep(UNREAD_S)
    counts = {status: statuses.count(status) for status in sorted(set(statuses))}
    return f"{clients} clients, {'the same' if alike else 'different'} {PAGE} events", json.dumps(counts)


@attrs.frozen
class Scene:
    """What is measured, and what goes before it."""

    do: Callable[[Server, Load], tuple[str, str]]
    before: Callable[[Server, Load], None] = lambda server, load: None


def measure(name: str, scene: Scene, checkout: Path | None) -> Found:
    """Measure a scene on a server of its own."""
    with tempfile.TemporaryDirectory(prefix="jobpush-bench-") as directory:
        server = Server(Path(directory))
        server.checkout = checkout or server.checkout
        load = Load()
        try:
            server.start()
            scene.before(server, load)
            server.quiet()
            before, cpu = server.rss_kb() / 1024, server.cpu()
            with health_of(server) as (port, own):
                began = time.monotonic()
                what, answers = scene.do(server, load)
                took = time.monotonic() - began
            used = (server.cpu() - cpu).total
            return Found(name, what, took, used, port.shown(), own.shown(), answers, before, server.peak_mb())
        finally:
            load.stop()
            server.stop()


def table(found: Sequence[Found]) -> str:
    """Return one row for each."""
    lines = header(
        ["scene", "what", "s", "CPU of the server, s", "/healthz on the port, ms: p50, p99, most", "on its own socket",
         "answers", "memory before, MB", "most, MB"]
    )  # fmt: skip
    for one in found:
        cells = [
            one.scene, one.what, f"{one.took:.2f}", f"{one.cpu:.2f}", one.port, one.own, one.answers,
            f"{one.least_mb:.0f}", f"{one.most_mb:.0f}",
        ]  # fmt: skip
        lines.append(row(cells))
    return "\n".join(lines)


def main() -> None:
    """Measure what the command line says, and print a table."""
    names = ["connects", "again", "unknown", "unread"]
    about = "What many clients do to a server by accident."
    parser = argparse.ArgumentParser(prog="python -m benchmarks.crowd", description=about)
    parser.add_argument("scenes", nargs="*", default=names, help=f"of {', '.join(names)} (default: all)")
    parser.add_argument("--rate", type=int, default=3300, metavar="N", help="connections a second (default: 3300)")
    parser.add_argument("--clients", type=int, default=10_700, metavar="N", help="who ask at once (default: 10700)")
    parser.add_argument("--checkout", type=Path, metavar="DIR", help="whose jobpush is measured (default: this checkout's)")
    options = parser.parse_args()
    clients = options.clients
    scenes = {
        "connects": [Scene(lambda server, load: connects(server, load, options.rate))],
        "again": [
            Scene(lambda server, load: again(server, load, clients), lambda server, load: connect(server, load, clients))
        ],
        "unknown": [Scene(lambda server, load: unknown(server, load, clients))],
        "unread": [
            Scene(lambda server, load: unread(server, load, READERS, alike=True)),
            Scene(lambda server, load: unread(server, load, READERS, alike=False)),
        ],
    }
    wrong = set(options.scenes) - set(scenes)
    if wrong:
        parser.error(f"no scene {', '.join(sorted(wrong))}; expected {', '.join(scenes)}")
    leave_the_servers_core()
    os.environ.setdefault("PYTHONHASHSEED", "0")
    found = []
    for name in options.scenes:
        for scene in scenes[name]:
            found.append(measure(name, scene, options.checkout))
            print(table(found[-1:]).splitlines()[-1], flush=True)
    print(f"\n{machine_line([], CORES)}\n\n{table(found)}")


if __name__ == "__main__":
    main()
