"""
Held requests that differ (``python -m benchmarks.held --different``): each on a job, or channel, of its own.

All jobs change in one tick of jobpush; to a server of channels as many messages are published, one after another. Measured
are the memory of a held request without its job's record, that of a job's record, and the whole tick: from the jobs' change
until the server is quiet, journal and access log included.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import attrs

from benchmarks.cpu import CLOCK_NOTE, CpuTime, OtherLoad
from benchmarks.load import CORES, Load
from benchmarks.servers import JobpushServer, Server
from benchmarks.tables import header, machine_line, middle, others_note, parts, row


@attrs.frozen
class DifferentPass:
    """
    One server once.

    :ivar record_kb: resident memory for each known job; None for a server that knows no jobs.
    :ivar first_kb: growth for each held request at the first hold, all jobs being known; ``last_kb`` after the last round.
    :ivar most_mb: the most resident memory at any time when it was looked at.
    :ivar hold: CPU time to take all requests on their kept connections; a round each, but for the first.
    :ivar tick: CPU time of the whole tick; a round each.
    :ivar spread_ms: from the first client's answer to the last one's; a round each.
    :ivar whole_ms: from the change (outside of the server) to the last answer; a round each.
    :ivar others: the share of the server's cores that other processes took.
    """

    server: str
    options: str
    version: str
    count: int
    record_kb: float | None
    first_kb: float
    last_kb: float
    most_mb: float
    hold: list[CpuTime]
    tick: list[CpuTime]
    spread_ms: list[float]
    whole_ms: list[float]
    others: float


def idle_kb(kind: type[Server], jobs: int) -> int:
    """Return the resident memory of a server that knows so many jobs, with nobody connected."""
    with tempfile.TemporaryDirectory(prefix="jobpush-bench-") as directory:
        server = new(kind, directory, jobs)
        try:
            server.start()
            server.quiet()
            return server.rss_kb()
        finally:
            server.stop()


def new(kind: type[Server], directory: str, jobs: int) -> Server:
    """Return a server, not yet started, with so many jobs if it has any."""
    server = kind(Path(directory))
    if isinstance(server, JobpushServer):
        server.known_jobs = jobs
    return server


def measure(kind: type[Server], count: int, rounds: int) -> DifferentPass:
    """Run one server, so many rounds after the first."""
    knows_jobs = issubclass(kind, JobpushServer)
    without = idle_kb(kind, 0) if knows_jobs else 0
    with tempfile.TemporaryDirectory(prefix="jobpush-bench-") as directory:
        server, load = new(kind, directory, count), Load()
        try:
            server.start()
            others = OtherLoad(CORES.server, server.pid())
            server.quiet()
            idle = server.rss_kb()
            held: list[int] = []
            hold, tick, spread, whole = [], [], [], []
            for number in range(rounds + 1):
                path = server.different_path()
                cpu = server.cpu()
                if number == 0:
                    load.do("open", port=server.port, count=count, path=path)
                else:
                    load.do("send", path=path)
                server.quiet()
                held.append(server.rss_kb())
                if number:
                    hold.append(server.cpu() - cpu)
                load.begin("collect", seconds=120)
                time.sleep(0.2)
                cpu, changed = server.cpu(), time.monotonic()
                server.fire_all(count)
                report = load.end()
                if report["answered"] != count or report["statuses"] != {"200": count}:
                    raise SystemExit(f"{server.name}: only {report['answered']} of {count} were answered well: {report}")
                server.quiet()
                tick.append(server.cpu() - cpu)
                held.append(server.rss_kb())
                spread.append((report["last"] - report["first"]) * 1000)
                whole.append((report["last"] - changed) * 1000)
            return DifferentPass(
                server.name, server.options, server.version(), count, (idle - without) / count if knows_jobs else None,
                (held[0] - idle) / count, (held[-2] - idle) / count, max(held) / 1024, hold, tick, spread, whole,
                others.share(),
            )  # fmt: skip
        finally:
            load.stop()
            server.stop()


def table(passes: Sequence[DifferentPass]) -> str:
    """Return one row for each server and number of requests."""
    columns = [
        "server", "options", "held, each on its own job", "kB each, first hold", "after the last round", "kB per job record",
        "whole process, MB", "CPU of the tick, s", "of it user + system", "first to last answer, ms",
        "change to last answer, ms", "CPU to hold again, µs each", "of it user + system",
    ]  # fmt: skip
    lines = header(columns)
    groups: dict[tuple[str, int], list[DifferentPass]] = {}
    for one in passes:
        groups.setdefault((one.server, one.count), []).append(one)
    for (name, count), group in groups.items():
        tick, hold = [time for one in group for time in one.tick], [time for one in group for time in one.hold]
        cells = [
            name,
            f"`{group[0].options}`",
            count,
            middle((one.first_kb for one in group), 1),
            middle((one.last_kb for one in group), 1),
            middle((one.record_kb for one in group if one.record_kb is not None), 1),
            middle(one.most_mb for one in group),
            middle((time.total for time in tick), 2),
            parts(tick, 2),
            middle(value for one in group for value in one.spread_ms),
            middle(value for one in group for value in one.whole_ms),
            middle(1e6 * time.total / count for time in hold),
            parts(hold, 0, 1e6 / count),
        ]
        lines.append(row(cells))
    return "\n".join(lines)


def play(servers: Sequence[type[Server]], counts: Sequence[int], rounds: int, passes: int) -> None:
    """Measure the servers in turn, and print one table."""
    found: list[DifferentPass] = []
    for count in counts:
        for _ in range(passes):
            for server in servers:
                found.append(measure(server, count, rounds))
                print(table(found[-1:]).splitlines()[-1], flush=True)
    where, disturbed = machine_line((one.version for one in found), CORES), others_note(one.others for one in found)
    print(f"\n{where}\n\n{table(found)}\n\n{CLOCK_NOTE}. {disturbed}.")
