"""
Everyone comes back at once: ``python -m benchmarks.herd``.

jobpush starts on a journal with many events (as after a restart), and 10,700 clients come back at once, each with a cursor
20,000 events old and a filter of its own: a job, an array, a user, a workflow, or a pattern of names. Measured is the time
until the last of them has its answer, and meanwhile how long ``/healthz`` takes, on the clients' port and on the socket for
health checks.
nchan is measured beside it, as far as it can do the same (`KeepingNchan`). Loopback only; ends by itself.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import attrs
from twisted.internet.defer import Deferred, succeed

from benchmarks.cpu import CpuTime
from benchmarks.load import CORES, Load
from benchmarks.servers import JobpushServer, NchanPeer, Server, leave_the_servers_core
from benchmarks.tables import header, machine_line, row
from jobpush.core import wire
from jobpush.core.model import JobDescriptor, Phase
from jobpush.core.record import UNSEEN, Change, Event, Record
from jobpush.events.journal import SQLiteJournal

T = TypeVar("T")

#: What each client asks for; {} stands for its number.
FILTERS = {
    "job": "job=mock/{}",
    "array": "job=mock/{}",
    "user": "user=user{}",
    "name": "name=name{}-*",
    "workflow": "workflow=w{}@user{}",
}

#: Events in one batch of the journal that is made.
BATCH = 5000


class _AtOnce:
    """What a journal's threads do, done at once."""

    def run(self, name: str, work: Callable[[], T]) -> Deferred[T]:
        """Do it."""
        return succeed(work())

    def stop(self) -> None:
        """There is nothing to stop."""


def jobs(clients: int, arrays: bool) -> Iterator[JobDescriptor]:
    """Yield a job for each client, or a task of an array of its own."""
    for number in range(1, clients + 1):
        job_id, parent = (f"{number}_1", str(number)) if arrays else (str(number), None)
        yield JobDescriptor(
            cluster="mock", id=job_id, parent=parent, task_index=1 if arrays else None, phase=Phase.RUNNING,
            name=f"name{number}-x", user=f"user{number}", account="account", queue="batch",
            comment=f"workflow=w{number}", workdir=f"/home/user{number}/project/run{number}",
            submitted_at=1795328000.0, started_at=1795328900.0,
        )  # fmt: skip


def fill(directory: Path, clients: int, count: int, arrays: bool) -> None:
    """Make a journal with so many events, of one client's job after the other's."""
    journal = SQLiteJournal(_AtOnce(), str(directory))  # type: ignore[arg-type]
    journal.open()
    all_jobs = list(jobs(clients, arrays))
    now, epoch = time.time(), journal.epochs.current
    while journal.last_seq < count:
        events: list[Event] = []
        for seq in range(journal.last_seq + 1, min(count, journal.last_seq + BATCH) + 1):
            job = attrs.evolve(all_jobs[seq % clients], phase=Phase.SUSPENDED if seq // clients % 2 else Phase.RUNNING)
            events.append(wire.number(epoch, seq, Change(job, "RUNNING", now)))
        records = {event.key: Record(event.subject, UNSEEN, now, event.seq) for event in events}
        journal.commit(events, list(records.values()), [])
    journal.close()


class RestartedServer(JobpushServer):
    """jobpush on a journal that was there before."""

    events = 0
    clients = 0
    arrays = False

    def command(self) -> list[str]:
        fill(self.directory / "state", self.clients, self.events, self.arrays)
        return super().command()

    def _write(self) -> None:
        """All jobs are as they were."""
        last: dict[int, int] = {seq % self.clients: seq for seq in range(max(1, self.events - self.clients), self.events + 1)}
        states = ["SUSPENDED" if last.get(place, 0) // self.clients % 2 else "RUNNING" for place in range(self.clients)]
        listed = zip(jobs(self.clients, self.arrays), states, strict=True)
        self.write_jobs({**wire.job_fields(job), "state": state} for job, state in listed)


class Health(threading.Thread):
    """
    Asks for the health ten times a second, over a connection of its own each time.

    :param family: of the socket.
    :param address: where to.
    :ivar times: the seconds from the connection to the whole answer, of each.
    :ivar statuses: how many answers had which status; 0 where there was none.
    """

    def __init__(self, family: int, address: Any) -> None:
        super().__init__(daemon=True)
        self._family = family
        self._address = address
        self._ended = threading.Event()
        self.times: list[float] = []
        self.statuses: Counter[int] = Counter()

    def run(self) -> None:
        """Until `end`."""
        while not self._ended.is_set():
            began = time.monotonic()
            self.statuses[self._ask()] += 1
            self.times.append(time.monotonic() - began)
            self._ended.wait(0.1)

    def _ask(self) -> int:
        try:
            with socket.socket(self._family) as connection:
                connection.settimeout(60)
                connection.connect(self._address)
                connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                answer = b"".join(iter(lambda: connection.recv(65536), b""))
        except OSError:
            return 0
        return int(answer[9:12] or b"0")

    def end(self) -> None:
        """Return when the last answer has come."""
        self._ended.set()
        self.join()

    def shown(self) -> str:
        """Return the times in milliseconds, and what was not 200."""
        if not self.times:
            return "-"
        times = sorted(1000 * value for value in self.times)
        shown = ", ".join(f"{times[min(len(times) - 1, int(share * len(times)))]:.0f}" for share in (0.5, 0.99, 1.0))
        others = {status: count for status, count in self.statuses.items() if status != 200}
        return f"{shown} {others}" if others else shown


@contextmanager
def health_of(server: Server) -> Iterator[tuple[Health, Health]]:
    """Ask meanwhile for the health on the main port and on the socket for health checks."""
    port = Health(socket.AF_INET, ("127.0.0.1", server.port))
    own = Health(socket.AF_UNIX, str(server.directory / "state" / "health.sock"))
    asking = [port, own] if isinstance(server, JobpushServer) else [port]
    for each in asking:
        each.start()
    try:
        yield port, own
    finally:
        for each in asking:
            each.end()


@attrs.frozen
class Return:
    """
    What it was like to come back.

    :ivar start_s: from the start of the process until it is ready.
    :ivar all_s: from the first connection to the last answer.
    :ivar cpu: of the server meanwhile.
    :ivar port_health: ``/healthz`` on the clients' port meanwhile.
    :ivar own_health: the same on the socket for health checks; nothing was asked where there is none.
    :ivar answer_bytes: of an answer, with its head.
    """

    filter: str
    events: int
    behind: int
    clients: int
    start_s: float
    all_s: float
    cpu: CpuTime
    port_health: Health
    own_health: Health
    statuses: dict[str, int]
    memory_mb: float
    answer_bytes: float


class KeepingNchan(NchanPeer):
    """
    nchan with messages that it keeps, as many for each subscriber as jobpush has events. They are in its memory: it was not
    started again. Each subscriber has a channel of its own: it has no filters.
    """

    publish_path = "/publish-kept"


def come_back(name: str, clients: int, events: int, behind: int, wait: int) -> Return:
    """Measure it once."""
    with tempfile.TemporaryDirectory(prefix="jobpush-bench-") as directory:
        server = RestartedServer(Path(directory))
        server.clients, server.events, server.arrays = clients, events, name == "array"
        began = time.monotonic()
        try:
            server.start()
            started = time.monotonic() - began
            server.quiet()
            # A cursor of before the restart. (Arrays as a whole are told by the first look: those events come on top.)
            epoch = server.get("/v1/changes?since=0&limit=1&wait=0")["oldest_cursor"].partition("-")[0]
            path = f"/v1/changes?since={epoch}-{events - behind}&wait={wait}&{FILTERS[name]}"
            return measure(name, server, path, clients, events, behind, started)
        finally:
            server.stop()


def come_back_to_nchan(clients: int, behind: int) -> Return:
    """Measure the same with nchan, as far as it can do the same."""
    with tempfile.TemporaryDirectory(prefix="jobpush-bench-") as directory:
        server = KeepingNchan(Path(directory))
        began = time.monotonic()
        try:
            server.start()
            started = time.monotonic() - began
            after = int(time.time()) - 1
            messages = max(1, round(behind / clients))
            for _ in range(messages):
                server.fire_all(clients)
            server.quiet()
            path = f"/wait-after?after={after}:0&job={{}}"
            return measure("nchan, a channel each", server, path, clients, messages * clients, behind, started)
        finally:
            server.stop()


def measure(
    name: str, server: Server, path: str, clients: int, events: int, behind: int, started: float
) -> Return:
    """Have all clients ask, and wait for the last answer."""
    load = Load()
    try:
        with health_of(server) as (port, own):
            cpu, first = server.cpu(), time.monotonic()
            load.do("open", port=server.port, count=clients, path=path)
            report = load.do("collect", seconds=120)
        if report["answered"] != clients:
            raise SystemExit(f"only {report['answered']} of {clients} were answered: {report}")
        return Return(
            name, events, behind, clients, started, report["last"] - first, server.cpu() - cpu, port, own, report["statuses"],
            server.rss_kb() / 1024, report["bytes"] / clients,
        )  # fmt: skip
    finally:
        load.stop()


def table(found: Sequence[Return]) -> str:
    """Return one row for each."""
    lines = header(
        ["each client's filter", "clients", "events in the journal", "events behind", "first connection to last answer, s",
         "CPU of the server, s", "/healthz on the port, ms: p50, p99, most", "on its own socket", "answers",
         "bytes an answer", "resident memory, MB"]
    )  # fmt: skip
    for one in found:
        cells = [
            one.filter, one.clients, one.events, one.behind, f"{one.all_s:.2f}", f"{one.cpu.total:.2f}",
            one.port_health.shown(), one.own_health.shown(), json.dumps(one.statuses), f"{one.answer_bytes:.0f}",
            f"{one.memory_mb:.0f}",
        ]  # fmt: skip
        lines.append(row(cells))
    return "\n".join(lines)


def main() -> None:
    """Measure what the command line says, and print a table."""
    names = [*FILTERS, "nchan"]
    parser = argparse.ArgumentParser(prog="python -m benchmarks.herd", description=__doc__.split("\n\n")[1])
    parser.add_argument("filters", nargs="*", default=names, help=f"of {', '.join(names)} (default: all)")
    parser.add_argument("--clients", type=int, default=10_700, metavar="N", help="how many come back (default: 10700)")
    parser.add_argument("--events", type=int, default=50_000, metavar="N", help="events in the journal (default: 50000)")
    parser.add_argument("--behind", type=int, default=20_000, metavar="N", help="events since their cursors (default: 20000)")
    parser.add_argument("--wait", type=int, default=60, metavar="SECONDS", help="what they wait for (default: 60)")
    options = parser.parse_args()
    unknown = set(options.filters) - set(names)
    if unknown:
        parser.error(f"no filter {', '.join(sorted(unknown))}; expected {', '.join(names)}")
    leave_the_servers_core()
    os.environ.setdefault("PYTHONHASHSEED", "0")
    found = []
    for name in options.filters:
        if name == "nchan":
            found.append(come_back_to_nchan(options.clients, options.behind))
        else:
            found.append(come_back(name, options.clients, options.events, options.behind, options.wait))
        print(table(found[-1:]).splitlines()[-1], flush=True)
    print(f"\n{machine_line([], CORES)}\n\n{table(found)}")


if __name__ == "__main__":
    main()
