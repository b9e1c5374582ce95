"""
What held requests cost, beside other servers: ``python -m benchmarks.held`` (``make bench`` installs the peers first).

Each server is started in a directory of its own, holds requests on one job (or channel), answers all of them after one event,
and holds them again on the same connections, some rounds long. That is done for one server after another, several passes long,
so that what else the machine does hits all of them. Measured are resident memory, CPU (user and system) and times; written are
one Markdown table and one picture. With ``--different`` each request is held on a job of its own, and all jobs change at once.
Loopback only; bounded in count and time; ends by itself.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from benchmarks import different
from benchmarks.cpu import CLOCK_NOTE, CpuTime, OtherLoad
from benchmarks.load import CORES, MOST_CONNECTIONS, Load
from benchmarks.picture import line_picture
from benchmarks.servers import MOST_ROUNDS, SERVERS, Server, leave_the_servers_core
from benchmarks.tables import header, machine_line, middle, others_note, parts, put_between, row

#: What the report of 2010 that jobpush comes from held.
REPORT_COUNT = 10_700


def _times(values: Sequence[CpuTime | Mapping[str, Any]]) -> list[CpuTime]:
    """CPU times, which a results file has as objects."""
    return [value if isinstance(value, CpuTime) else CpuTime(**value) for value in values]


@attrs.frozen
class Pass:
    """
    One server once: its first round, and the rounds after it.

    :ivar idle_mb: resident memory before the first connection.
    :ivar first_kb: growth for each held request at the first hold; ``last_kb`` after the last round.
    :ivar most_mb: the most resident memory at any time when it was looked at.
    :ivar hold: CPU time to take all requests on their kept connections; a round each.
    :ivar answer: CPU time to answer all, until the server is quiet again; a round each.
    :ivar spread_ms: from the first client's answer to the last one's; a round each.
    :ivar delay_ms: from the event (its cause, outside of the server) to the first answer; a round each.
    :ivar others: the share of the server's cores that other processes took.
    """

    server: str
    options: str
    version: str
    count: int
    stream: bool
    idle_mb: float
    first_kb: float
    last_kb: float
    most_mb: float
    hold: list[CpuTime] = attrs.field(converter=_times)
    answer: list[CpuTime] = attrs.field(converter=_times)
    spread_ms: list[float]
    delay_ms: list[float]
    bytes_each: float
    others: float


def measure(kind: type[Server], count: int, rounds: int, stream: bool = False) -> Pass:
    """Run one server, so many rounds after the first."""
    with tempfile.TemporaryDirectory(prefix="jobpush-bench-") as directory:
        server, load = kind(Path(directory)), Load()
        try:
            server.start()
            others = OtherLoad(CORES.server, server.pid())
            server.quiet()
            idle = server.rss_kb()
            held: list[int] = []
            hold, answer, spread, delay, size = [], [], [], [], 0.0
            for number in range(rounds + 1):
                path = server.stream_path if stream else server.hold_path()
                cpu = server.cpu()
                if number == 0:
                    accept = {"accept": "text/event-stream"} if stream else {}
                    load.do("open", port=server.port, count=count, path=path, **accept)
                elif not stream:
                    load.do("send", path=path)
                server.quiet()
                held.append(server.rss_kb())
                if number and not stream:
                    hold.append(server.cpu() - cpu)
                mark = {"mark": "data:"} if stream else {}
                load.begin("collect", seconds=120, **mark)
                time.sleep(0.2)
                cpu, fired = server.cpu(), time.monotonic()
                server.fire()
                report = load.end()
                if report["answered"] != count or report["statuses"] not in ({}, {"200": count}):
                    raise SystemExit(f"{server.name}: only {report['answered']} of {count} were answered well: {report}")
                server.quiet()
                held.append(server.rss_kb())
                size = report["bytes"] / count
                if number:
                    answer.append(server.cpu() - cpu)
                    spread.append((report["last"] - report["first"]) * 1000)
                    delay.append((report["first"] - fired) * 1000)
            return Pass(
                server.name, server.options, server.version(), count, stream, idle / 1024, (held[0] - idle) / count,
                (held[-2] - idle) / count, max(held) / 1024, hold, answer, spread, delay, size,
                others.share(),
            )  # fmt: skip
        finally:
            load.stop()
            server.stop()


def table(passes: Sequence[Pass]) -> str:
    """Return one row for each server and number of requests."""
    columns = [
        "server", "options", "held", "kB each, first hold", "after the last round", "whole process, MB", "CPU to answer all, s",
        "of it user + system", "first to last answer, ms", "CPU to hold again, µs each", "of it user + system",
    ]  # fmt: skip
    lines = header(columns)
    groups: dict[tuple[str, int, bool], list[Pass]] = {}
    for one in passes:
        groups.setdefault((one.server, one.count, one.stream), []).append(one)
    for (name, count, stream), group in groups.items():
        answer, hold = [time for one in group for time in one.answer], [time for one in group for time in one.hold]
        cells = [
            name + (", streams" if stream else ""),
            f"`{group[0].options}`",
            count,
            middle((one.first_kb for one in group), 1),
            middle((one.last_kb for one in group), 1),
            middle(one.most_mb for one in group),
            middle((time.total for time in answer), 3),
            parts(answer, 3),
            middle(value for one in group for value in one.spread_ms),
            middle(1e6 * time.total / count for time in hold),
            parts(hold, 1, 1e6 / count),
        ]
        lines.append(row(cells))
    return "\n".join(lines)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.held", description=__doc__)
    parser.add_argument("servers", nargs="*", default=list(SERVERS), help=f"of {', '.join(SERVERS)} (default: all)")
    parser.add_argument("--count", type=int, nargs="+", default=[REPORT_COUNT])
    parser.add_argument("--rounds", type=int, default=10, help="after the first one")
    parser.add_argument("--passes", type=int, default=3)
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--streams", action="store_true", help="server-sent events, for servers that have them")
    what.add_argument("--different", action="store_true", help="each request on a job of its own, for servers that can do that")
    parser.add_argument("--results", type=Path, help="a JSON file that passes are added to")
    parser.add_argument("--picture", type=Path, help="an SVG file, drawn from all results")
    parser.add_argument("--page", type=Path, help="a Markdown file with the marks <!-- held --> and <!-- /held -->")
    given = parser.parse_args()
    unknown = set(given.servers) - set(SERVERS)
    if unknown:
        parser.error(f"no server {unknown.pop()!r}; expected {', '.join(SERVERS)}")
    bounded = all(1 <= count <= MOST_CONNECTIONS for count in given.count)
    if not bounded or not 1 <= given.rounds <= MOST_ROUNDS or not 1 <= given.passes <= 20:
        parser.error(f"at most {MOST_CONNECTIONS} requests, {MOST_ROUNDS} rounds and 20 passes")
    if given.different and (given.results or given.picture or given.page):
        parser.error("--different only prints its table")
    leave_the_servers_core()
    servers = [SERVERS[name] for name in given.servers]
    if given.different:
        different.play([server for server in servers if server.different], given.count, given.rounds, given.passes)
        return
    passes: list[Pass] = []
    if given.results and given.results.exists():
        passes = [Pass(**fields) for fields in json.loads(given.results.read_text())]
    for count in given.count:
        for _ in range(given.passes):
            for server in servers:
                if given.streams and server.stream_path is None:
                    continue
                passes.append(measure(server, count, given.rounds, given.streams))
                print(table(passes[-1:]).splitlines()[-1], flush=True)
                if given.results:
                    given.results.write_text(json.dumps([attrs.asdict(one) for one in passes]))
    where, disturbed = machine_line((one.version for one in passes), CORES), others_note(one.others for one in passes)
    print(f"\n{where}\n\n{table(passes)}\n\n{CLOCK_NOTE}. {disturbed}.")
    if given.picture:
        given.picture.write_text(pictures(passes))
    if given.page:
        at_report = [one for one in passes if one.count == REPORT_COUNT]
        where = machine_line((one.version for one in at_report), CORES)
        disturbed = others_note(one.others for one in at_report)
        text = f"{table(at_report)}\n\n{where}; {rounds_of(at_report)}. {CLOCK_NOTE}. {disturbed}."
        put_between(given.page, "held", text)


def rounds_of(passes: Sequence[Pass]) -> str:
    """Return of how many rounds the table has the medians."""
    rounds: dict[str, int] = {}
    for one in passes:
        rounds[one.server] = rounds.get(one.server, 0) + len(one.answer)
    return "rounds after the first: " + ", ".join(f"{name} {count}" for name, count in rounds.items())


def pictures(passes: Sequence[Pass]) -> str:
    """Draw memory, and the time to answer all, over the number of held requests: servers with more than one number."""
    memory: dict[str, dict[float, float]] = {}
    times: dict[str, dict[float, float]] = {}
    for one in passes:
        if not one.stream:
            memory.setdefault(one.server, {})[one.count] = one.most_mb
            times.setdefault(one.server, {})[one.count] = statistics.median(one.delay_ms) + statistics.median(one.spread_ms)
    memory, times = ({name: line for name, line in lines.items() if len(line) > 1} for lines in (memory, times))
    return line_picture(
        [("resident memory, MB", memory), ("from the event to the last answer, ms", times)], "held requests"
    )


if __name__ == "__main__":
    main()
