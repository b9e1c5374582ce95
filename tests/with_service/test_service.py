"""jobpush as its own process on a jobs file: power cuts, thousands of held requests, its end."""

from __future__ import annotations

import json
import os
import random
import resource
import signal
import socket
import threading
import time
from http.client import HTTPException
from pathlib import Path

import pytest
import pytest_twisted
import treq
from twisted.internet import reactor
from twisted.internet.defer import gatherResults
from twisted.internet.task import deferLater

from benchmarks.load import Load, why_not
from tests.service_process import ServiceProcess, write_jobs
from tests.slurm_cluster import wait_until

pytestmark = [pytest.mark.service, pytest.mark.timeout(240)]

#: 2026-11-22T06:00:00Z
NOW = 1795327200


class Story:
    """
    Jobs that each go through their life once, as a file: at any moment what a scheduler would list.

    Each has its times, so that what falls between two looks can be told all the same.
    """

    def __init__(self, path: Path, jobs: int) -> None:
        self.path = path
        self.states = {str(n): 0 for n in range(1, jobs + 1)}
        self.running = True

    def step(self, draw: random.Random) -> bool:
        """Some jobs go on; False when all have ended."""
        unfinished = [job for job, stage in self.states.items() if stage < 3]
        for job in draw.sample(unfinished, min(3, len(unfinished))):
            self.states[job] += 1
        self.write()
        return len(unfinished) > 0

    def write(self) -> None:
        lines = []
        for job, stage in self.states.items():
            if stage:
                fields = {"id": job, "state": ("QUEUED", "RUNNING", "COMPLETED")[stage - 1], "submitted_at": "2026-11-22T06:00:00Z"}
                if stage > 1:
                    fields["started_at"] = "2026-11-22T06:00:01Z"
                if stage > 2:
                    fields["ended_at"] = "2026-11-22T06:00:02Z"
                lines.append(json.dumps(fields))
        write_jobs(self.path, "\n".join(lines) + "\n")


def test_kill_nine_fifty_times(tmp_path: Path) -> None:
    """Killed with ``kill -9`` at fifty random moments while jobs change: by cursor no transition is missed, none invented."""
    draw = random.Random(20261122)
    story = Story(tmp_path / "jobs", jobs=300)
    story.write()
    service = ServiceProcess(
        tmp_path, "--queue", f"mock:file={story.path}:interval=0.05", "--state", str(tmp_path / "state"), "--keep-events", "100000"
    )
    service.start()
    cursor = service.get("/v1/changes?since=0&wait=0").json["oldest_cursor"]
    told: list[tuple[int, str, str]] = []
    done = threading.Event()

    def change() -> None:
        while not done.is_set():
            story.step(draw)
            time.sleep(0.05)

    def follow() -> None:
        nonlocal cursor
        while not done.is_set():
            try:
                answer = service.get(f"/v1/changes?since={cursor}&wait=2&limit=7", timeout=10)
            except (OSError, HTTPException):
                time.sleep(0.01)
                continue
            assert answer.status == 200, answer.body
            told.extend((e["seq"], e["job"]["id"], e["job"]["state"]) for e in answer.json["events"])
            cursor = answer.json["cursor"]

    threads = [threading.Thread(target=change), threading.Thread(target=follow)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(50):
            time.sleep(draw.uniform(0.0, 0.35))
            service.kill()
            service.start()
        wait_until(lambda: min(story.states.values()) == 3, 90)
        wait_until(lambda: len(told) >= 3 * len(story.states), 30)
        time.sleep(1)
    finally:
        done.set()
        for thread in threads:
            thread.join(20)
        service.stop()
    assert [seq for seq, _, _ in told] == list(range(1, len(told) + 1)), "each number once, none left out"
    for job in story.states:
        assert [state for _, i, state in told if i == job] == ["QUEUED", "RUNNING", "COMPLETED"], job


@pytest.mark.load
def test_ten_thousand_held_requests(tmp_path: Path) -> None:
    """10,700 requests held on one job are all answered when it changes; the soft limit of open files is raised for them."""
    count = 10_700
    if (why := why_not()) is not None:
        pytest.skip(why)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < count + 500:
        pytest.skip(f"the hard limit of open files here is {hard}")
    jobs = tmp_path / "jobs"
    write_jobs(jobs, '{"id": "1", "state": "RUNNING"}\n')
    service = ServiceProcess(tmp_path, "--queue", f"mock:file={jobs}:interval=0.2", "--access-log", str(tmp_path / "access.log"))
    load = Load()
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (1024, hard))
    try:
        service.start()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    try:
        cursor = service.job("mock", "1", wait=5)["cursor"]
        load.do("open", port=service.port, count=count, path=f"/v1/jobs/mock/1?since={cursor}&wait=150")
        wait_until(lambda: service.get("/readyz").json["held"] == count, 60)
        assert service.job("mock", "1")["job"]["state"] == "RUNNING", "short requests go on"
        load.begin("collect", seconds=100)
        write_jobs(jobs, '{"id": "1", "state": "COMPLETED", "exit_code": 0}\n')
        report = load.end()
        assert (report["answered"], report["errors"], report["statuses"]) == (count, 0, {"200": count})
        assert service.get("/readyz").json["held"] == 0
        service.stop()
        lines = (tmp_path / "access.log").read_text().splitlines()
        held = [line for line in lines if "wait=150" in line]
        assert len(held) == count
        assert all(float(line.rpartition(" ")[2]) > 0 for line in held), "the access log tells for how long each was held"
    finally:
        load.stop()
        service.stop()


def test_near_the_cap(tmp_path: Path) -> None:
    """Near the cap the log says so once; at the cap new ones get 503."""
    jobs = tmp_path / "jobs"
    write_jobs(jobs, '{"id": "1", "state": "RUNNING"}\n')
    service = ServiceProcess(tmp_path, "--queue", f"mock:file={jobs}:interval=0.2", "--max-held", "20")
    service.start()
    try:
        service.ready()
        clients = []
        for _ in range(20):
            client = socket.create_connection(("127.0.0.1", service.port))
            client.sendall(b"GET /v1/changes?since=now&wait=60 HTTP/1.1\r\nHost: localhost\r\n\r\n")
            clients.append(client)
        wait_until(lambda: service.get("/readyz").json["held"] == 20, 10)
        refused = service.get("/v1/changes?since=now&wait=60")
        assert (refused.status, refused.headers["content-type"]) == (503, "application/problem+json")
        assert 2 <= int(refused.headers["retry-after"]) <= 10
        assert service.log.count("requests are held; from 20 on") == 1
        for client in clients:
            client.close()
        wait_until(lambda: service.get("/readyz").json["held"] == 0, 10)
    finally:
        service.stop()


@pytest_twisted.ensureDeferred
async def test_end_of_the_service(tmp_path: Path) -> None:
    """SIGTERM: every held request is answered, told to come back, and the process ends soon."""
    jobs = tmp_path / "jobs"
    write_jobs(jobs, '{"id": "1", "state": "RUNNING"}\n')
    service = ServiceProcess(tmp_path, "--queue", f"mock:file={jobs}:interval=0.2")
    service.start()
    try:
        service.ready()
        base = f"http://127.0.0.1:{service.port}"
        held = [treq.get(f"{base}/v1/changes?since=now&wait=60", persistent=False) for _ in range(200)]
        while service.get("/readyz").json["held"] < 200:
            await deferLater(reactor, 0.05)
        assert service.process is not None
        service.process.send_signal(signal.SIGTERM)
        began = time.monotonic()
        answers = await gatherResults(held)
        for answer in answers:
            assert answer.code == 200
            assert (await answer.json())["timed_out"] is True
            assert 1 <= int(answer.headers.getRawHeaders("retry-after")[0]) <= 5
        while service.process.poll() is None:
            await deferLater(reactor, 0.05)
        assert time.monotonic() - began < 7
    finally:
        service.stop()


def test_end_of_a_busy_service_says_close(tmp_path: Path) -> None:
    """The answers at the end carry ``Connection: close``, and the connection is closed."""
    jobs = tmp_path / "jobs"
    write_jobs(jobs, '{"id": "1", "state": "RUNNING"}\n')
    service = ServiceProcess(tmp_path, "--queue", f"mock:file={jobs}:interval=0.2")
    service.start()
    try:
        service.ready()
        with socket.create_connection(("127.0.0.1", service.port), timeout=20) as client:
            client.sendall(b"GET /v1/jobs/mock/1?since=now&wait=60 HTTP/1.1\r\nHost: localhost\r\n\r\n")
            wait_until(lambda: service.get("/readyz").json["held"] == 1, 10)
            assert service.process is not None
            service.process.send_signal(signal.SIGTERM)
            received = b""
            while more := client.recv(65536):
                received += more
        head, _, body = received.partition(b"\r\n\r\n")
        assert b"connection: close" in head.lower()
        assert json.loads(body)["timed_out"] is True
    finally:
        service.stop()


def test_unix_socket_and_static_files(tmp_path: Path) -> None:
    """A unix socket needs no leave; a site's own page is served beside the API."""
    pages = tmp_path / "pages"
    pages.mkdir()
    (pages / "index.html").write_text("<title>our jobs</title>")
    (pages / "app.js").write_text("1")
    service = ServiceProcess(tmp_path, "--queue", "mock", "--static", str(pages))
    service.start()
    try:
        assert "our jobs" in service.get("/").body.decode()
        assert service.get("/app.js").body == b"1"
        assert service.get("/v1/jobs").headers["content-type"] == "application/json"
        for path in ("/nothing.css", "/../../etc/passwd", "/v1/nothing"):
            reply = service.get(path)
            assert (reply.status, reply.headers["content-type"]) == (404, "application/problem+json"), path
        assert service.request("POST", "/app.js").status == 405
    finally:
        service.stop()
    path = Path(f"/tmp/jp{os.getpid()}.sock")
    arguments = ["--port", f"unix:{path}:mode=660", "--queue", "mock"]
    from tests.service_process import start_twistd

    process = start_twistd(arguments, tmp_path, tmp_path / "unix.log")
    try:
        wait_until(path.exists, 20)
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))
            client.sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
            assert b'"status":"ok"' in client.makefile("rb").read()
    finally:
        process.terminate()
        process.wait(20)
    assert not path.exists()


def test_mock_is_said_loudly(tmp_path: Path) -> None:
    """With no scheduler on this host: in the log and in ``/readyz``; and the demonstration is alive."""
    service = ServiceProcess(tmp_path, environment={"PATH": "/nonexistent"})
    service.start()
    try:
        assert "NO SCHEDULER WAS FOUND" in service.log
        assert "journal is in memory" in service.log
        service.ready()
        assert any("mock" in line for line in service.get("/readyz").json["queues"]["mock"]["missing"])
        changed = service.get("/v1/changes?since=now&wait=30").json
        assert changed["events"], "something happens within half a minute"
    finally:
        service.stop()
