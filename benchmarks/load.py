"""
A load generator for held requests: one process, raw sockets, epoll; it keeps its connections from one round to the next.

It is told what to do by lines of JSON on standard input, and answers each with one (`Load` does that for a benchmark):

    {"do": "open", "port": 8080, "count": 10700, "path": "/wait"}      connects, and sends a GET on each connection
    {"do": "send", "path": "/wait"}                    sends another one on each; answers when all are sent
    {"do": "collect", "seconds": 60}                   waits for all answers; {"answered", "first", "last", "errors", …}
    {"do": "collect", "mark": "COMPLETED", …}          the same on streams: an answer is what brings these bytes
    {"do": "close"}

Times are on the clock of `time.monotonic`, which all processes of a host share. It speaks to loopback only, opens no more than
60,000 connections, waits no longer than 15 minutes, and ends with its standard input.
"""

from __future__ import annotations

import gc
import json
import os
import re
import resource
import select
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent

#: No run holds more connections, or lasts longer, than this.
MOST_CONNECTIONS = 60_000
MOST_SECONDS = 900.0

#: Seconds between two looks for answers. Between two of them nobody waits for the sockets: with a client on the same host, to
#: wake it for each answer would cost a server more than to send it.
LOOK_S = 0.001

#: Bytes by which answers to one event may differ in length: each tells how old it is.
VARIES = 64

_LENGTH = re.compile(rb"\r\ncontent-length: *([0-9]+)", re.IGNORECASE)


class Load:
    """The load generator as a process of its own, for a benchmark."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.load"], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def do(self, what: str, **fields: object) -> dict[str, Any]:
        """One thing, to its end."""
        self.begin(what, **fields)
        return self.end()

    def begin(self, what: str, **fields: object) -> None:
        """Have it begin with something."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"do": what, **fields}) + "\n")
        self._process.stdin.flush()

    def end(self) -> dict[str, Any]:
        """What came of it."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit("the load generator has ended")
        answer: dict[str, Any] = json.loads(line)
        if "wrong" in answer:
            raise SystemExit(f"the load generator: {answer['wrong']}")
        return answer

    def stop(self) -> None:
        """End it."""
        assert self._process.stdin is not None
        with self._process:
            self._process.stdin.close()
            self._process.wait(30)


def length_of(answer: bytes) -> int | None:
    """How many bytes the first whole answer in these has; None if it is not whole yet."""
    head = answer.find(b"\r\n\r\n")
    if head < 0:
        return None
    found = _LENGTH.search(answer, 0, head + 2)
    if found is None:  # 304, and what comes in chunks
        if b" 304 " in answer[: answer.find(b"\r\n")]:
            return head + 4
        end = answer.find(b"\r\n0\r\n\r\n", head)
        return end + 7 if end >= 0 else None
    whole = head + 4 + int(found[1])
    return whole if len(answer) >= whole else None


class Generator:
    """The connections, and what is done with them."""

    def __init__(self) -> None:
        self._poll = select.epoll()
        self._port = 0
        self._sockets: dict[int, socket.socket] = {}

    def open(self, port: int, count: int, path: str | None = None, accept: str = "*/*") -> dict[str, object]:
        """So many more connections, and a GET on each, if a path is given."""
        if not 1 <= count + len(self._sockets) <= MOST_CONNECTIONS:
            raise ValueError(f"at most {MOST_CONNECTIONS} connections")
        self._port = port
        for _ in range(count):
            sock = socket.create_connection(("127.0.0.1", port), timeout=60)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setblocking(False)
            if path is not None:
                sock.send(self._request(path, accept))
            self._sockets[sock.fileno()] = sock
            self._poll.register(sock.fileno(), select.EPOLLIN)
        return {"open": len(self._sockets)}

    def send(self, path: str, accept: str = "*/*") -> dict[str, object]:
        """A GET on each connection."""
        request = self._request(path, accept)
        began = time.monotonic()
        for sock in self._sockets.values():
            sock.send(request)
        return {"sent": len(self._sockets), "seconds": time.monotonic() - began}

    def _request(self, path: str, accept: str) -> bytes:
        head = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{self._port}\r\nAccept: {accept}\r\nUser-Agent: load\r\n\r\n"
        return head.encode()

    def collect(self, seconds: float, mark: str | None = None) -> dict[str, object]:
        """
        Wait for an answer on each connection.

        What costs time is done first or last: between an answer and the next there is a read, and a look at the clock.
        """
        until = time.monotonic() + min(seconds, MOST_SECONDS)
        marked = mark.encode() if mark is not None else None
        got: dict[int, bytes] = {}
        left = set(self._sockets)
        lost = 0
        times: list[float] = []
        expected = 1
        read, now = os.read, time.monotonic
        gc.disable()
        while left and now() < until:
            time.sleep(LOOK_S)
            for descriptor, _ in self._poll.poll(0.5, 65536):
                try:
                    data = read(descriptor, 65536)
                except BlockingIOError:
                    continue
                except OSError:
                    data = b""
                if not data:
                    lost += 1
                    left.discard(descriptor)
                    self._drop(descriptor)
                    continue
                before = got.get(descriptor)
                if before is not None:
                    data = before + data
                got[descriptor] = data
                if marked is not None:
                    whole = marked in data
                elif len(data) + VARIES < expected:
                    continue
                else:
                    length = length_of(data)
                    whole = length is not None
                    expected = length or expected
                if whole:
                    times.append(now())
                    left.discard(descriptor)
        gc.enable()
        statuses: dict[str, int] = {}
        if marked is None:
            for descriptor, data in got.items():
                if descriptor not in left and descriptor in self._sockets:
                    status = data[9:12].decode("ascii", "replace")
                    statuses[status] = statuses.get(status, 0) + 1
        return {
            "answered": len(times),
            "errors": lost + len(left),
            "first": min(times, default=None),
            "last": max(times, default=None),
            "statuses": statuses,
            "bytes": sum(map(len, got.values())),
            "sample": next(iter(got.values()), b"")[:4000].decode("utf-8", "replace"),
        }

    def close(self) -> dict[str, object]:
        """All of them."""
        for descriptor in list(self._sockets):
            self._drop(descriptor)
        return {"open": 0}

    def _drop(self, descriptor: int) -> None:
        sock = self._sockets.pop(descriptor, None)
        if sock is not None:
            self._poll.unregister(descriptor)
            sock.close()


def main() -> None:
    """Until standard input ends."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    generator = Generator()
    can = {"open": generator.open, "send": generator.send, "collect": generator.collect, "close": generator.close}
    for line in sys.stdin:
        fields = json.loads(line)
        try:
            answer = can[fields.pop("do")](**fields)
        except (OSError, ValueError, KeyError, TypeError) as error:
            answer = {"wrong": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
