"""
What held requests cost, beside other servers: ``python -m benchmarks.held`` (``make bench`` installs the peers first).

Each server is started in a directory of its own, holds requests on one job (or channel), answers all of them after one event,
and holds them again on the same connections, some rounds long. That is done for one server after another, several passes long,
so that what else the machine does hits all of them. Measured are resident memory, CPU and times; written are one Markdown table
and one picture. Loopback only; bounded in count and time; ends by itself.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

import attrs

from benchmarks.load import MOST_CONNECTIONS, Load
from benchmarks.picture import line_picture
from benchmarks.servers import MOST_ROUNDS, SERVERS, Server

#: What the report of 2010 that jobpush comes from held.
REPORT_COUNT = 10_700

#: The numbers of held requests of the picture.
PICTURE_COUNTS = (1000, 2000, 5000, 10_700, 19_000)


@attrs.frozen
class Pass:
    """
    One server once: its first round, and the rounds after it.

    :ivar idle_mb: resident memory before the first connection.
    :ivar first_kb: growth for each held request at the first hold; ``last_kb`` after the last round.
    :ivar most_mb: the most resident memory at any time when it was looked at.
    :ivar hold_us: CPU to take each request on its kept connection, in microseconds; a round each.
    :ivar answer_s: CPU to answer all, until the server is quiet again; a round each.
    :ivar spread_ms: from the first client's answer to the last one's; a round each.
    :ivar delay_ms: from the event (its cause, outside of the server) to the first answer; a round each.
    """

    server: str
    version: str
    count: int
    stream: bool
    idle_mb: float
    first_kb: float
    last_kb: float
    most_mb: float
    hold_us: list[float]
    answer_s: list[float]
    spread_ms: list[float]
    delay_ms: list[float]
    bytes_each: float


def measure(kind: type[Server], count: int, rounds: int, stream: bool = False) -> Pass:
    """One server, so many rounds after the first."""
    with tempfile.TemporaryDirectory(prefix="jobpush-bench-") as directory:
        server, load = kind(Path(directory)), Load()
        try:
            server.start()
            server.quiet()
            idle = server.rss_kb()
            held: list[int] = []
            hold, answer, spread, delay, size = [], [], [], [], 0.0
            for number in range(rounds + 1):
                cpu = server.cpu()
                if stream and number == 0:
                    load.do("open", port=server.port, count=count, path=server.stream_path, accept="text/event-stream")
                elif number == 0:
                    load.do("open", port=server.port, count=count, path=server.hold_path())
                elif not stream:
                    load.do("send", path=server.hold_path())
                server.quiet()
                held.append(server.rss_kb())
                if number and not stream:
                    hold.append((server.cpu() - cpu) / count * 1e6)
                mark = {"mark": "data:"} if stream else {}
                load.begin("collect", seconds=120, **mark)
                time.sleep(0.2)
                cpu, fired = server.cpu(), time.monotonic()
                server.fire()
                report = load.end()
                if report["answered"] != count:
                    raise SystemExit(f"{server.name}: only {report['answered']} of {count} were answered: {report}")
                server.quiet()
                held.append(server.rss_kb())
                size = report["bytes"] / count
                if number:
                    answer.append(server.cpu() - cpu)
                    spread.append((report["last"] - report["first"]) * 1000)
                    delay.append((report["first"] - fired) * 1000)
            return Pass(
                server.name, server.version(), count, stream, idle / 1024, (held[0] - idle) / count, (held[-2] - idle) / count,
                max(held) / 1024, hold, answer, spread, delay, size,
            )  # fmt: skip
        finally:
            load.stop()
            server.stop()


def middle(values: Iterable[float], digits: int = 0) -> str:
    """The median, with the least and the most."""
    found = sorted(values)
    if not found:
        return "-"
    low, mid, high = (f"{value:.{digits}f}" for value in (found[0], statistics.median(found), found[-1]))
    return mid if low == high else f"{mid} ({low}-{high})"


def table(passes: Sequence[Pass]) -> str:
    """One row for each server and number of requests."""
    lines = [
        "| server | held | kB each, first hold | after the last round | whole process, MB | CPU to answer all, s "
        "| first to last answer, ms | CPU to hold again, µs each |",
        "|---|---|---|---|---|---|---|---|",
    ]
    groups: dict[tuple[str, int, bool], list[Pass]] = {}
    for one in passes:
        groups.setdefault((one.server, one.count, one.stream), []).append(one)
    for (name, count, stream), group in groups.items():
        cells = [
            name + (", streams" if stream else ""),
            str(count),
            middle((p.first_kb for p in group), 1),
            middle((p.last_kb for p in group), 1),
            middle(p.most_mb for p in group),
            middle((value for p in group for value in p.answer_s), 3),
            middle(value for p in group for value in p.spread_ms),
            middle(value for p in group for value in p.hold_us),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def machine_line(versions: Iterable[str]) -> str:
    """Where and what was measured."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    return (
        f"{model or platform.machine()}, {os.cpu_count()} cores, {platform.system()} {platform.release()}, Python "
        f"{'; '.join([platform.python_version(), *dict.fromkeys(versions)])}"
    )


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.held", description=__doc__)
    parser.add_argument("servers", nargs="*", default=list(SERVERS), help=f"of {', '.join(SERVERS)} (default: all)")
    parser.add_argument("--count", type=int, nargs="+", default=[REPORT_COUNT])
    parser.add_argument("--rounds", type=int, default=10, help="after the first one")
    parser.add_argument("--passes", type=int, default=3)
    parser.add_argument("--streams", action="store_true", help="server-sent events, for servers that have them")
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
    passes: list[Pass] = []
    if given.results and given.results.exists():
        passes = [Pass(**fields) for fields in json.loads(given.results.read_text())]
    for count in given.count:
        for _ in range(given.passes):
            for name in given.servers:
                if given.streams and SERVERS[name].stream_path is None:
                    continue
                passes.append(measure(SERVERS[name], count, given.rounds, given.streams))
                print(table(passes[-1:]).splitlines()[-1], flush=True)
                if given.results:
                    given.results.write_text(json.dumps([attrs.asdict(one) for one in passes]))
    print()
    print(machine_line(one.version for one in passes))
    print()
    print(table(passes))
    if given.picture:
        given.picture.write_text(pictures(passes))
    if given.page:
        at_report = [one for one in passes if one.count == REPORT_COUNT]
        versions = (one.version for one in at_report)
        put_between(given.page, "held", f"{table(at_report)}\n\n{machine_line(versions)}; {rounds_of(at_report)}.")


def rounds_of(passes: Sequence[Pass]) -> str:
    """How many times was measured what the table has the median of."""
    rounds: dict[str, int] = {}
    for one in passes:
        rounds[one.server] = rounds.get(one.server, 0) + len(one.answer_s)
    return "rounds after the first: " + ", ".join(f"{name} {count}" for name, count in rounds.items())


def put_between(page: Path, mark: str, text: str) -> None:
    """Put this between two marks of a page, in the place of what stands there."""
    begin, end = f"<!-- {mark} -->\n", f"<!-- /{mark} -->"
    before, found, rest = page.read_text().partition(begin)
    _, ended, after = rest.partition(end)
    if not found or not ended:
        raise SystemExit(f"{page} has no {begin.strip()} … {end}")
    page.write_text(f"{before}{begin}{text}\n{end}{after}")


def pictures(passes: Sequence[Pass]) -> str:
    """Memory over held requests, and the time to answer all over held requests."""
    memory: dict[str, dict[float, float]] = {}
    times: dict[str, dict[float, float]] = {}
    for one in passes:
        if not one.stream:
            memory.setdefault(one.server, {})[one.count] = one.most_mb
            times.setdefault(one.server, {})[one.count] = statistics.median(one.delay_ms) + statistics.median(one.spread_ms)
    return line_picture(
        [("resident memory, MB", memory), ("from the event to the last answer, ms", times)], "held requests"
    )


if __name__ == "__main__":
    main()
