"""The end of the process: everybody is answered, in whatever form, and it is over soon."""

from __future__ import annotations

import http.client
import json
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from tests import browser
from tests.service_manager import Waiting, queue
from tests.service_process import ServiceProcess, twistd_environment
from tests.slurm_cluster import wait_until

pytestmark = [pytest.mark.service, pytest.mark.timeout(240)]


class TestEnd:
    """SIGTERM."""

    @pytest.fixture
    def service(self, tmp_path: Path) -> Iterator[ServiceProcess]:
        made = ServiceProcess(tmp_path / "run", "--queue", queue(tmp_path, j1="RUNNING"), "--state", str(tmp_path / "state"))
        made.start()
        made.ready()
        yield made
        made.stop()

    def end(self, service: ServiceProcess) -> float:
        """End it; the seconds that it takes."""
        assert service.process is not None
        began = time.monotonic()
        service.process.send_signal(signal.SIGTERM)
        service.process.wait(20)
        return time.monotonic() - began

    def test_everybody_is_answered(self, service: ServiceProcess) -> None:
        """Each in its own form: polls with when to come back, streams with ``retry``, a WebSocket with 1001; all within a second."""
        polls = [Waiting(service, path) for path in ("/v1/jobs/mock/1?until=terminal&wait=60", "/v1/changes?since=now&wait=60")]
        stream = socket.create_connection(("127.0.0.1", service.port), timeout=10)
        stream.sendall(b"GET /v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n")
        kept = http.client.HTTPConnection("127.0.0.1", service.port, timeout=10)
        kept.request("GET", "/healthz")
        kept.getresponse().read()
        with connect(f"ws://127.0.0.1:{service.port}/v1/socket") as follower:
            follower.recv(timeout=5)
            wait_until(lambda: service.get("/readyz").json["held"] == 4, 10)
            took = self.end(service)
            with pytest.raises(ConnectionClosed) as closed:
                follower.recv(timeout=5)
        assert took < 1.0
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1001
        for poll in polls:
            reply = poll.answer()
            assert (reply.json["timed_out"], reply.headers["connection"]) == (True, "close")
            assert 1 <= int(reply.headers["retry-after"]) <= 5
        with stream, stream.makefile("rb") as told:
            assert re.search(rb"\r\nretry: [1-5]\d\d\d\n\n\r\n0\r\n\r\n\Z", told.read())
        with closing(kept), pytest.raises((http.client.RemoteDisconnected, ConnectionError)):
            kept.request("GET", "/healthz")
            kept.getresponse()
        assert "Traceback" not in service.log

    def test_a_socket_that_does_not_answer(self, service: ServiceProcess) -> None:
        """It is waited for a moment."""
        with socket.create_connection(("127.0.0.1", service.port), timeout=10) as silent:
            silent.sendall(
                b"GET /v1/socket HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
            )
            wait_until(lambda: service.get("/readyz").json["held"] == 1, 10)
            assert 0.9 < self.end(service) < 2.0
            with silent.makefile("rb") as told:
                assert b"\x88" in told.read()[-60:]

    def test_who_reads_slowly(self, tmp_path: Path) -> None:
        """What the kernel has not taken of an answer leaves too: it is whole. Who reads nothing is waited for five seconds."""
        jobs = "".join(json.dumps({"id": str(number), "state": "RUNNING", "name": "n" * 1500}) + "\n" for number in range(5000))
        (tmp_path / "mock").write_text(jobs)
        service = ServiceProcess(tmp_path / "run", "--queue", f"mock:file={tmp_path}/mock")
        for reads in (True, False):
            service.start()
            service.ready()
            with socket.socket() as client:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
                client.connect(("127.0.0.1", service.port))
                client.sendall(b"GET /v1/changes?since=0&limit=5000&wait=0 HTTP/1.1\r\nHost: localhost\r\n\r\n")
                head, _, body = client.recv(65536).partition(b"\r\n\r\n")
                time.sleep(0.5)
                assert service.process is not None
                began = time.monotonic()
                service.process.send_signal(signal.SIGTERM)
                got = len(body)
                while reads and (data := client.recv(65536)):
                    got += len(data)
                    time.sleep(0.01)
                service.process.wait(20)
                took = time.monotonic() - began
            if reads:
                assert got == int(re.search(rb"Content-Length: (\d+)", head)[1])  # type: ignore[index]
            else:
                assert 4.5 < took < 7

    def test_a_browser(self, service: ServiceProcess) -> None:
        """It sees 1001 and a clean end, and EventSource comes back by itself."""
        why = browser.why_not()
        if why is not None:
            pytest.skip(why)
        with browser.running() as chromium:
            page = chromium.new_page(bypass_csp=True)  # the page is ours; no page of the service's has a script in it
            page.goto(f"http://127.0.0.1:{service.port}/healthz")
            page.evaluate(
                """() => {
                    window.ends = [];
                    window.opens = 0;
                    window.socket = new WebSocket(`ws://${location.host}/v1/socket`);
                    socket.onclose = event => ends.push([event.code, event.wasClean]);
                    window.source = new EventSource('/v1/events');
                    source.onopen = () => { opens += 1; };
                }"""
            )
            wait_until(lambda: service.get("/readyz").json["held"] == 2, 10)
            assert self.end(service) < 1.5
            page.wait_for_function("ends.length > 0", timeout=5000)
            assert page.evaluate("ends") == [[1001, True]]
            service.start()
            page.wait_for_function("opens === 2", timeout=20_000)

    def test_a_file_server_that_is_gone(self, tmp_path: Path) -> None:
        """A thread that waits for it does not keep the process."""
        program = (
            "import time; from twisted.internet import reactor; from twisted.scripts.twistd import run;"
            "reactor.callWhenRunning(reactor.callInThread, time.sleep, 60); run()"
        )
        service = ServiceProcess(tmp_path / "run")
        service.directory.mkdir()
        with open(service.log_path, "ab") as log:
            service.process = subprocess.Popen(
                [sys.executable, "-c", program, "--nodaemon", "--pidfile=", "jobpush", "--port", str(service.port),
                 "--queue", queue(tmp_path)],
                cwd=service.directory, env=twistd_environment(None), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip
        wait_until(service._answers, 20)
        assert self.end(service) < 1.5
        assert "something still runs on a thread" in service.log
