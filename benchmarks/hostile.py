"""
What others feel while one client is hostile: ``python -m benchmarks.hostile``.

jobpush runs as where users of a host see their own jobs (``--private yes``, a unix socket, a port on loopback). Another client
asks for its job a hundred times a second over the unix socket, and once a second on a fresh connection; its times are written
for each scene, beside what becomes of the hostile one:

    nothing     nobody else is there
    slow        a thousand connections that send a byte of a request each second
    unread      three hundred connections that ask for the page and read nothing
    refused     requests without a credential on the port, as fast as they are refused
    flood       requests on the unix socket, as fast as they are answered, from eight connections
    connects    connections to the port, opened and closed as fast as that goes

Loopback only; each scene is bounded; ends by itself.
"""

from __future__ import annotations

import argparse
import getpass
import json
import multiprocessing
import os
import pwd
import selectors
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from benchmarks.hidden import UnixConnection
from benchmarks.tables import header, machine_line, row

#: Jobs in the file, each of which has an event; and connections of the hostile client.
JOBS, SLOW, UNREAD, FLOOD = 10_000, 1000, 300, 8

#: As whom it runs where this is run by root; else as the same user, who then has one share of requests with it.
OTHER = "daemon"

REQUEST = b"GET %b HTTP/1.1\r\nHost: localhost\r\n\r\n"

Counts = Counter[str]


def _connect(address: str | int) -> socket.socket:
    """A connection to a port, or to a unix socket."""
    made = socket.socket(socket.AF_INET if isinstance(address, int) else socket.AF_UNIX)
    made.settimeout(5)
    until = time.monotonic() + 5
    while True:
        try:
            made.connect(("127.0.0.1", address) if isinstance(address, int) else address)
        except BlockingIOError:  # so many wait to be accepted at a unix socket
            if time.monotonic() > until:
                raise
            time.sleep(0.01)
        else:
            return made


def slow(port: int, users: str, until: float, counts: Counts) -> None:
    """Half a request on each of many connections, a byte each second."""
    made = []
    text = REQUEST % b"/v1/jobs"
    for place in range(len(text) - 1):
        while len(made) < SLOW and time.monotonic() < until:
            try:
                made.append(_connect(port))
            except OSError:
                counts["not connected"] += 1
                break
        for each in list(made):
            try:
                each.sendall(text[place : place + 1])
            except OSError:
                counts["ended"] += 1
                made.remove(each)
        time.sleep(max(0.0, min(1.0, until - time.monotonic())))
        if time.monotonic() >= until:
            return


def unread(port: int, users: str, until: float, counts: Counts) -> None:
    """Large answers that are not read."""
    made = []
    for _ in range(UNREAD):
        each = _connect(port)
        each.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        for path in (b"/openapi.json", b"/dashboard/main.js", b"/docs", b"/openapi.json"):
            each.sendall(REQUEST % path)
        made.append(each)
        counts["asked"] += 1
    time.sleep(max(0.0, until - time.monotonic()))


def refused(port: int, users: str, until: float, counts: Counts) -> None:
    """Requests that say nothing of who asks: each ends its connection."""
    while time.monotonic() < until:
        with suppress(OSError), _connect(port) as one:
            one.sendall(REQUEST % b"/v1/jobs")
            counts[one.recv(65536)[9:12].decode() or "closed"] += 1


def flood(port: int, users: str, until: float, counts: Counts) -> None:
    """Requests as fast as they are answered."""
    chosen = selectors.DefaultSelector()
    for _ in range(FLOOD):
        one = _connect(users)
        one.sendall(REQUEST % b"/v1/jobs/mock/2")
        chosen.register(one, selectors.EVENT_READ)
    while time.monotonic() < until:
        for key, _ in chosen.select(0.1):
            one = key.fileobj  # type: ignore[assignment]
            with suppress(OSError):
                got = one.recv(65536)
                counts[got[9:12].decode() or "closed"] += 1
                if not got:
                    chosen.unregister(one)
                    continue
                one.sendall(REQUEST % b"/v1/jobs/mock/2")


def connects(port: int, users: str, until: float, counts: Counts) -> None:
    """Connections on which nothing is asked."""
    while time.monotonic() < until:
        try:
            _connect(port).close()
            counts["connected"] += 1
        except OSError:
            counts["not connected"] += 1


def nothing(port: int, users: str, until: float, counts: Counts) -> None:
    """Nobody else is there."""


SCENES: tuple[Callable[[int, str, float, Counts], None], ...] = (nothing, slow, unread, refused, flood, connects)


def _hostile(scene: Any, port: int, users: str, seconds: float, said: Any) -> None:
    """The hostile client, in a process of its own."""
    counts: Counts = Counter()
    if not os.geteuid():  # another user, whose share is another one
        account = pwd.getpwnam(OTHER)
        os.setgroups([])
        os.setgid(account.pw_gid)
        os.setuid(account.pw_uid)
    try:
        scene(port, users, time.monotonic() + seconds, counts)
    finally:
        said.put(dict(counts))


def _asked(users: str, until: float) -> tuple[list[float], list[float], int]:
    """The seconds that the other client's requests take, on a kept connection and on fresh ones; and how many failed."""
    kept, times, fresh, failed = UnixConnection(users), [], [], 0
    following = time.monotonic()

    def ask(connection: UnixConnection, found: list[float]) -> int:
        begun = time.monotonic()
        try:
            connection.request("GET", "/v1/jobs/mock/1")
            answer = connection.getresponse()
            answer.read()
        except OSError:
            connection.close()
            return 1
        found.append(time.monotonic() - begun)
        return int(answer.status != 200)

    count = 0
    while following < until:
        failed += ask(kept, times)
        if count % 100 == 0:
            once = UnixConnection(users)
            failed += ask(once, fresh)
            once.close()
        count += 1
        following += 0.01
        time.sleep(max(0.0, following - time.monotonic()))
    kept.close()
    return times, fresh, failed


def main(arguments: Sequence[str] | None = None) -> None:
    """Run it."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.hostile", description=__doc__.partition("\n\n")[0])
    parser.add_argument("--seconds", type=float, default=20.0, help="of each scene, 2 to 120 (default: 20)")
    seconds = parser.parse_args(arguments).seconds
    if not 2 <= seconds <= 120:
        parser.error("--seconds: expected 2 to 120")
    with tempfile.TemporaryDirectory(prefix="jobpush-hostile-") as directory:
        os.chmod(directory, 0o755)
        jobs, users = Path(directory, "jobs"), f"{directory}/users"
        rows = [{"id": str(number), "state": "RUNNING", "user": getpass.getuser()} for number in range(1, JOBS + 1)]
        jobs.write_text("".join(json.dumps(each) + "\n" for each in rows), encoding="utf-8")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        command = [
            Path(sys.executable).with_name("twistd"), "--nodaemon", "--pidfile=", f"--logfile={directory}/log",
            "jobpush", "--port", str(port), "--private", "yes", "--socket", f"unix:{users}", "--queue", f"mock:file={jobs}",
            "--state", f"{directory}/state",
        ]  # fmt: skip
        with subprocess.Popen(command) as process:
            try:
                print("\n".join(_scenes(process.pid, port, users, seconds)))
            finally:
                process.send_signal(signal.SIGTERM)


def _scenes(pid: int, port: int, users: str, seconds: float) -> list[str]:
    until = time.monotonic() + 60
    while time.monotonic() < until:
        with suppress(OSError):
            if not _asked(users, time.monotonic() + 0.05)[2]:
                break
        time.sleep(0.2)
    times_of_it = ("median, ms", "p99, ms", "most, ms", "fresh connection, most, ms")
    lines = header(("scene", "requests", "failed", *times_of_it, "memory, MB", "the hostile client"))
    forked = multiprocessing.get_context("fork")
    for scene in SCENES:
        said: Any = forked.SimpleQueue()
        other = forked.Process(target=_hostile, args=(scene, port, users, seconds, said))
        other.start()
        times, fresh, failed = _asked(users, time.monotonic() + seconds)
        counts = said.get()
        other.join(30)
        memory = int(Path(f"/proc/{pid}/status").read_text().split("VmRSS:")[1].split()[0]) / 1024
        found = sorted(times)
        what = ", ".join(f"{name}: {count}" for name, count in sorted(counts.items())) or "-"
        lines.append(
            row(
                (
                    scene.__name__, len(times) + len(fresh), failed, f"{1000 * statistics.median(found):.2f}",
                    f"{1000 * found[int(0.99 * (len(found) - 1))]:.1f}", f"{1000 * found[-1]:.0f}", f"{1000 * max(fresh):.0f}",
                    f"{memory:.0f}", what,
                )
            )
        )  # fmt: skip
        time.sleep(2)
    return [*lines, "", machine_line(())]


if __name__ == "__main__":
    main()
