"""
Held requests of a running service, in its default configuration, without faults: clients on kept-alive connections ask, are
answered, ask again, leave and come back, in any order, while jobs change. A model knows who is held for what and until when.

It runs for half a minute; JOBPUSH_HELD_SECONDS makes it longer.
"""

from __future__ import annotations

import json
import os
import random
import re
import selectors
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest

from tests.service_process import ServiceProcess, write_jobs
from tests.slurm_cluster import wait_until

SECONDS = float(os.environ.get("JOBPUSH_HELD_SECONDS", "30"))

JOBS = 4
CONNECTIONS = 80

#: Seconds by which an answer may be late on a machine that does other work too.
LATE = 3.0

#: Requests that wait: what they ask, by the job and the wait; and whether a change of the job answers them.
POLLS = (
    ("/v1/jobs/mock/{job}?since={cursor}&wait={wait}", True),
    ("/v1/changes?job=mock/{job}&since={cursor}&wait={wait}", True),
    ("/jobstatus?jobId={job}&since={cursor}&timeout={wait}", True),
    ("/v1/jobs/mock/{job}?until=terminal&wait={wait}", False),
    ("/v1/wait?job=mock/{job}&wait={wait}", False),
    ("/v1/wait?job=mock/{job}&job=mock/nobody{job}&wait={wait}", False),
    ("/v1/jobs/mock/nobody{job}?wait={wait}", False),
)


@attrs.define(eq=False)
class Held:
    """
    A request that waits for its answer.

    :ivar answers_change: the job's next change answers it.
    """

    path: str
    job: int
    wait: float
    sent_at: float
    answers_change: bool
    changed_at: float | None = None


class Connection:
    """A kept-alive connection, on which one request follows another; or a stream."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setblocking(False)
        self.data = b""
        self.held: Held | None = None
        self.asks: tuple[int, str, bool] | None = None
        self.stream = False

    def send(self, path: str) -> None:
        self.socket.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nUser-Agent: model\r\n\r\n".encode())

    def answers(self) -> Iterator[tuple[int, bytes]]:
        """The whole answers that have come."""
        try:
            while data := self.socket.recv(1 << 16):
                self.data += data
            raise AssertionError(f"the service has closed a connection: {self.data[-300:]!r}")
        except BlockingIOError:
            pass
        while not self.stream and b"\r\n\r\n" in self.data:
            head, _, rest = self.data.partition(b"\r\n\r\n")
            length = re.search(rb"(?i)content-length: (\d+)", head)
            assert length is not None, head
            if len(rest) < int(length[1]):
                return
            self.data = rest[int(length[1]) :]
            yield int(head[9:12]), rest[: int(length[1])]


class Model:
    """The clients, and what they must see."""

    def __init__(self, service: ServiceProcess, jobs: Path, seed: int) -> None:
        self.service = service
        self.jobs_path = jobs
        self.random = random.Random(seed)
        self.states = dict.fromkeys(range(1, JOBS + 1), "RUNNING")
        self.selector = selectors.DefaultSelector()
        self.connections: list[Connection] = []
        self.answered = 0
        self.kinds: dict[str, int] = {}
        self.cursor = service.get("/v1/changes").json["cursor"]
        for _ in range(CONNECTIONS):
            self.connect()

    def connect(self) -> None:
        connection = Connection(self.service.port)
        self.connections.append(connection)
        self.selector.register(connection.socket, selectors.EVENT_READ, connection)

    def disconnect(self, connection: Connection) -> None:
        self.selector.unregister(connection.socket)
        connection.socket.close()
        self.connections.remove(connection)

    def change(self) -> None:
        """Some jobs change, and the service is told to look."""
        for job in self.random.sample(sorted(self.states), self.random.randint(1, 3)):
            self.states[job] = "SUSPENDED" if self.states[job] == "RUNNING" else "RUNNING"
            now = time.monotonic()
            for connection in self.connections:
                held = connection.held
                if held is not None and held.job == job and held.answers_change and held.changed_at is None:
                    held.changed_at = now
        self.write()

    def write(self) -> None:
        lines = "".join(json.dumps({"id": str(job), "state": state}) + "\n" for job, state in self.states.items())
        write_jobs(self.jobs_path, lines)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as hook:
            hook.sendto(b"{}", str(self.service.directory / "state" / "nudge"))

    def ask(self, connection: Connection) -> None:
        """A request on a connection that waits for one: most clients ask the same again and again, as most clients do."""
        if connection.asks is None or self.random.random() < 0.1:
            connection.asks = self.random.choice(sorted(self.states)), *self.random.choice(POLLS)
        job, template, answers_change = connection.asks
        wait = self.random.choice((0.3, 0.5, 1.0, 2.0, 3.0))
        path = template.format(job=job, cursor=self.cursor, wait=wait)
        connection.held = Held(path, job, wait, time.monotonic(), answers_change)
        connection.send(path)

    def read(self, seconds: float) -> None:
        for key, _ in self.selector.select(seconds):
            connection: Connection = key.data
            for status, body in connection.answers():
                self.check(connection, status, body)

    def check(self, connection: Connection, status: int, body: bytes) -> None:
        """An answer has come: it was asked for, it is in time, and it says why."""
        held, connection.held = connection.held, None
        assert held is not None, f"an answer that was not asked for: {body[:200]!r}"
        took = time.monotonic() - held.sent_at
        self.answered += 1
        self.kinds[held.path.split("?")[0].rstrip("0123456789")] = self.kinds.get(held.path, 0) + 1
        assert took < held.wait + LATE, f"{held.path} was answered after {took:.1f} s"
        unknown = "/v1/jobs/mock/nobody" in held.path
        if unknown:
            assert status in (200, 404), (held.path, status)
            return
        assert status == 200, (held.path, status, body)
        answer = json.loads(body)
        if "cursor" in (answer or ()):
            self.cursor = max(self.cursor, answer["cursor"], key=lambda cursor: int(cursor.rpartition("-")[2]))
        timed_out = answer is None or bool(answer.get("timed_out"))
        if timed_out:
            assert took >= held.wait * 15 / 16 - 0.01, f"{held.path} timed out after {took:.2f} s already"

    def overdue(self) -> None:
        """No request waits for longer than it asked to, nor for long after what it waits for."""
        now = time.monotonic()
        for connection in self.connections:
            held = connection.held
            if held is None:
                continue
            assert now < held.sent_at + held.wait + LATE, f"not answered in {now - held.sent_at:.1f} s: {held.path}"
            if held.changed_at is not None:
                assert now < held.changed_at + LATE, f"a change was not told in {now - held.changed_at:.1f} s: {held.path}"

    def step(self) -> None:
        """One of the things that clients and jobs do."""
        idle = [connection for connection in self.connections if connection.held is None and not connection.stream]
        choice = self.random.random()
        if choice < 0.70 and idle:
            for connection in self.random.sample(idle, min(len(idle), self.random.randint(1, 10))):
                self.ask(connection)
        elif choice < 0.85:
            self.change()
        elif choice < 0.93:
            self.disconnect(self.random.choice(self.connections))
            self.connect()
        elif idle and sum(connection.stream for connection in self.connections) < 8:
            idle[0].send("/v1/events")
            idle[0].stream = True
        self.read(self.random.choice((0.0, 0.01, 0.05)))
        self.overdue()

    def quiet(self) -> None:
        """Nobody asks any more: everybody is answered, and what the service holds is what is open."""
        until = time.monotonic() + 3.0 + LATE
        while any(connection.held is not None for connection in self.connections):
            self.read(0.05)
            self.overdue()
            assert time.monotonic() < until
        streams = sum(connection.stream for connection in self.connections)
        wait_until(lambda: self.service.get("/readyz").json["held"] == streams, 5)


@pytest.mark.service
def test_model(tmp_path: Path) -> None:
    """Every request is answered in its time, what is held is who waits, and the end is quick."""
    jobs = tmp_path / "jobs"
    write_jobs(jobs, "".join(json.dumps({"id": str(job), "state": "RUNNING"}) + "\n" for job in range(1, JOBS + 1)))
    service = ServiceProcess(
        tmp_path / "service", "--queue", f"mock:file={jobs}", "--state", str(tmp_path / "service" / "state"), "--debug-invariants"
    )
    service.start()
    try:
        service.ready()
        seed = int(os.environ.get("JOBPUSH_HELD_SEED", random.randrange(10**6)))
        print(f"JOBPUSH_HELD_SEED={seed}")
        model = Model(service, jobs, seed)
        until = time.monotonic() + SECONDS
        while time.monotonic() < until:
            turn = time.monotonic() + 10
            while time.monotonic() < min(turn, until):
                model.step()
            model.quiet()
        for connection in list(model.connections):
            model.disconnect(connection)
        wait_until(lambda: service.get("/readyz").json["held"] == 0, 5)
        assert service.process is not None
        began = time.monotonic()
        service.process.send_signal(signal.SIGTERM)
        service.process.wait(20)
        took = time.monotonic() - began
    finally:
        service.stop()
    assert "invariant" not in service.log, service.log
    assert "Traceback" not in service.log, service.log
    assert took < 1.0 + LATE / 2, f"SIGTERM with nobody connected took {took:.1f} s"
    assert model.answered > 20 * SECONDS, model.answered
