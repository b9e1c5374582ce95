"""Health checks on a socket of their own, of the service as a process."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import stat
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from tests.service_manager import ManagedProcess, listening, queue
from tests.service_process import ROOT, ServiceProcess, run_twistd
from tests.slurm_cluster import wait_until

pytestmark = [pytest.mark.service, pytest.mark.timeout(120)]


class _OnSocket(http.client.HTTPConnection):
    """A connection to a unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=10)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(10)
        os.chdir(self._path.parent)  # a path from here may be longer than a socket's may be
        self.sock.connect(self._path.name)


def ask(path: Path, what: str) -> tuple[int, Any]:
    """Status and body of a health check."""
    connection = _OnSocket(path)
    connection.request("GET", what)
    response = connection.getresponse()
    return response.status, json.loads(response.read())


@pytest.fixture(autouse=True)
def here() -> Any:
    """The working directory is as it was."""
    before = os.getcwd()
    yield
    os.chdir(before)


def service_of(directory: Path, *arguments: str, state: bool = True, **environment: str) -> ServiceProcess:
    """A service with a mock queue."""
    kept = ("--state", "state") if state else ()
    return ServiceProcess(directory, "--queue", queue(directory, j1="RUNNING"), *kept, *arguments, environment=environment)


class TestHealth:
    """``--health``."""

    def test_in_the_state_directory(self, tmp_path: Path) -> None:
        """Where nobody says where: for the service's user and group, from the first start on; it is removed at the end."""
        service = service_of(tmp_path)
        service.start()
        service.ready()
        path = tmp_path / "state" / "health.sock"
        wait_until(lambda: ask(path, "/readyz")[0] == 200, 10)
        status, fields = ask(path, "/healthz")
        assert (status, fields["status"], fields["age_s"] < 5) == (200, "ok", True)
        assert set(ask(path, "/readyz")[1]) - {"age_s"} == set(service.get("/readyz").json)
        assert ask(path, "/metrics")[0] == 404
        assert stat.S_IMODE(path.stat().st_mode) == 0o660
        assert service.stop() == -signal.SIGTERM
        assert not path.exists()
        assert "Traceback" not in service.log
        assert "health checks are answered at unix:" in service.log

    def test_killed(self, tmp_path: Path) -> None:
        """What a process that was killed has left is replaced."""
        service = service_of(tmp_path)
        service.start()
        path = tmp_path / "state" / "health.sock"
        assert ask(path, "/healthz")[0] == 200
        service.kill()
        assert path.exists()
        service.start()
        assert ask(path, "/healthz")[0] == 200
        service.stop()
        assert not path.exists()

    def test_in_use(self, tmp_path: Path) -> None:
        """Where another process answers, a service that was told to answer there does not start, and says so in one line."""
        service = service_of(tmp_path)
        service.start()
        result = run_twistd(
            "--nodaemon", "--pidfile=", "--logfile=log", "jobpush", "--queue", "mock", "--port", "0", "--health", "unix:state/health.sock",
            cwd=tmp_path,
        )  # fmt: skip
        lines = [line for line in result.stderr.splitlines() if line.startswith("jobpush: ")]
        assert (result.returncode, len(lines)) == (1, 1)
        assert lines[0].startswith("jobpush: --health unix:state/health.sock: cannot answer health checks at unix:")
        assert lines[0].endswith("another process listens on " + str(tmp_path / "state" / "health.sock"))
        assert ask(tmp_path / "state" / "health.sock", "/healthz")[0] == 200
        service.stop()

    def test_runtime_directory(self, tmp_path: Path) -> None:
        """systemd's goes before the state directory; ``none`` goes before both; sockets that were handed over change nothing."""
        run = tmp_path / "r"
        run.mkdir()
        with listening() as ours:
            service = ManagedProcess(
                tmp_path / "m", "--queue", queue(tmp_path, j1="RUNNING"), "--state", str(tmp_path / "s"), sockets=[ours],
                environment={"RUNTIME_DIRECTORY": str(run)},
            )  # fmt: skip
            service.start()
            assert ask(run / "health.sock", "/healthz")[0] == 200
            assert not (tmp_path / "s" / "health.sock").exists()
            service.stop()
        assert list(run.iterdir()) == []
        silent = service_of(tmp_path, "--health", "none", "--socket", "none", RUNTIME_DIRECTORY=str(run))
        silent.start()
        assert (list(run.iterdir()), (tmp_path / "state" / "health.sock").exists()) == ([], False)
        silent.stop()

    def test_a_port(self, tmp_path: Path) -> None:
        """With a port of loopback, without a state directory."""
        with socket.create_server(("127.0.0.1", 0)) as found:
            port = found.getsockname()[1]
        service = service_of(tmp_path, "--health", f"tcp:{port}:interface=127.0.0.1", state=False)
        service.start()
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        connection.request("GET", "/healthz")
        assert connection.getresponse().status == 200
        service.stop()
        assert "Traceback" not in service.log

    def test_held_requests_and_the_end(self, tmp_path: Path) -> None:
        """It answers until the last answer has left: then it says that the service is closing."""
        service = service_of(tmp_path)
        service.start()
        service.ready()
        path = tmp_path / "state" / "health.sock"
        slow = socket.create_connection(("127.0.0.1", service.port))
        slow.sendall(b"GET /v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n")
        slow.recv(100)
        assert service.process is not None
        service.process.send_signal(signal.SIGTERM)
        seen: list[Any] = []
        while service.process.poll() is None:
            try:
                seen.append(ask(path, "/readyz"))
            except (OSError, http.client.HTTPException):
                break
            time.sleep(0.01)
        service.process.wait(20)
        slow.close()
        assert any(status == 503 and "closing" in fields["causes"] for status, fields in seen), seen
        assert not path.exists()

    def test_a_path_that_is_too_long(self, tmp_path: Path) -> None:
        """Where nobody has asked for it, the service goes on without, and says so."""
        directory = tmp_path / ("x" * 120)
        service = service_of(tmp_path, "--state", str(directory), state=False)
        service.start()
        assert "cannot answer health checks at unix:" in service.log
        service.stop()

    def test_the_sample(self, tmp_path: Path) -> None:
        """``etc/jobpush-health`` prints one line, and its exit status says how it is."""

        def check(*arguments: str) -> tuple[int, str]:
            program = [str(ROOT / "etc" / "jobpush-health"), "state/health.sock", *arguments]
            found = subprocess.run(program, cwd=tmp_path, capture_output=True, text=True, timeout=30, check=False)
            assert (found.stderr, found.stdout.count("\n")) == ("", 1)
            return found.returncode, found.stdout

        assert check()[0] == 2
        service = service_of(tmp_path, "--queue", "mock:cluster=other:file=nowhere")
        service.start()
        assert check("/healthz") == (0, "OK: jobpush answers 200 to /healthz\n")
        status, line = check()
        assert (status, line.startswith("WARNING: jobpush answers 503 to /readyz: {")) == (1, True), line
        assert "never seen: other" in line
        service.stop()
        status, line = check("/healthz")
        assert (status, line.startswith("CRITICAL: nobody answers on state/health.sock: curl: (7)")) == (2, True), line

    def test_curl(self, tmp_path: Path) -> None:
        """As the documentation asks."""
        service = service_of(tmp_path)
        service.start()
        service.ready()
        curl = ["curl", "-sf", "--unix-socket", "state/health.sock", "http://localhost/healthz"]
        found = subprocess.run(curl, cwd=tmp_path, capture_output=True, text=True, timeout=20, check=False)
        assert (found.returncode, '"ok"' in found.stdout) == (0, True)
        service.stop()
