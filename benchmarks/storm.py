"""
What stays of a storm: ``python -m benchmarks.storm``.

50,000 jobs appear at once in the file of a mock queue, are followed by some clients (streams, WebSockets, the change feed from
the beginning), change, and vanish; three times. Resident memory is printed at each step, and each half minute after the last.
Loopback only; bounded in count and time.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.load import CORES
from benchmarks.servers import JobpushServer, leave_the_servers_core
from benchmarks.soak.sockets import handshake
from benchmarks.tables import header, machine_line, row

#: Seconds in which a step must be over.
STEP_S = 180.0


def last_event(server: JobpushServer) -> int:
    """Return the number of the last event."""
    return int(server.cursor().rpartition("-")[2])


async def settled(server: JobpushServer, least: int) -> int:
    """Return the number of the last event, when there are so many and none has come for some seconds."""
    last, since, began = -1, time.monotonic(), time.monotonic()
    while (last < least or time.monotonic() < since + 8) and time.monotonic() < began + STEP_S:
        await asyncio.sleep(1)
        now = await asyncio.to_thread(last_event, server)
        if now != last:
            last, since = now, time.monotonic()
    return last


async def follow(port: int, number: int) -> None:
    """Be a client that reads all that it is told."""
    host = f"127.0.0.1:{port}"
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        if number % 3 == 0:
            writer.write(handshake("/v1/socket", host, "storm"))
        else:
            path = "/v1/events" if number % 3 == 1 else "/v1/changes?since=0&wait=60&limit=10000"
            writer.write(f"GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        while await reader.read(1 << 20):
            pass
    finally:
        writer.close()


async def play(server: JobpushServer, count: int, clients: int, minutes: float) -> None:
    """Three storms, and the calm after them."""
    print("\n".join(header(["step", "events", "MB", "seconds"])))
    began = time.monotonic()

    def say(step: str, events: int) -> None:
        print(row([step, events, f"{server.rss_kb() / 1024:.0f}", f"{time.monotonic() - began:.0f}"]), flush=True)

    say("before", 0)
    last = 0
    for storm in (1, 2, 3):
        following = [asyncio.ensure_future(follow(server.port, number)) for number in range(clients)]
        steps = {f"{count} jobs appear": "QUEUED", "they run": "RUNNING", "they end": "COMPLETED", "they vanish": ""}
        for step, state in steps.items():
            server.write_jobs({"id": f"{storm}{job:06}", "state": state} for job in range(count if state else 0))
            server.nudge()
            last = await settled(server, last + (count if state else 0))
            say(f"storm {storm}: {step}", last)
        for client in following:
            client.cancel()
        await asyncio.gather(*following, return_exceptions=True)
    for _ in range(round(2 * minutes)):
        await asyncio.sleep(30)
        say("calm", await asyncio.to_thread(last_event, server))


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.storm", description=__doc__)
    parser.add_argument("--jobs", type=int, default=50_000, help="10 to 100000 (default: 50000)")
    parser.add_argument("--clients", type=int, default=60, help="0 to 1000 (default: 60)")
    parser.add_argument("--minutes", type=float, default=3.0, help="of calm after the last, 0 to 60 (default: 3)")
    given = parser.parse_args(arguments)
    if not (10 <= given.jobs <= 100_000 and 0 <= given.clients <= 1000 and 0 <= given.minutes <= 60):
        parser.error("out of range")
    leave_the_servers_core()
    with tempfile.TemporaryDirectory(prefix="jobpush-bench-") as directory:
        server = JobpushServer(Path(directory))
        server.start()
        try:
            print(f"{machine_line([], CORES)}; {given.jobs} jobs; {given.clients} clients; {server.options}\n")
            asyncio.run(play(server, given.jobs, given.clients, given.minutes))
        finally:
            server.stop()


if __name__ == "__main__":
    main()
