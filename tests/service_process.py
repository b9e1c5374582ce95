"""jobpush as its own process, as an administrator would start it, and a client that speaks plain HTTP."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import attrs

from tests.slurm_cluster import free_ports, wait_until

ROOT = Path(__file__).resolve().parent.parent


@attrs.frozen
class Reply:
    """An HTTP answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body, read as JSON."""
        return json.loads(self.body)


class ServiceProcess:
    """
    ``twistd --nodaemon jobpush``, in a directory of its own.

    :param arguments: of ``twistd jobpush``.
    :param files: how many files it may open, if that is not as many as this process.
    :param unit: a systemd unit, whose restrictions it gets (`tests.sandbox`).
    """

    def __init__(
        self, directory: Path, *arguments: str, environment: Mapping[str, str] | None = None,
        twistd_options: Sequence[str] = (), files: int | None = None, unit: Path | None = None,
    ) -> None:
        self.directory = directory
        self.port = free_ports(1)[0]
        self.arguments = arguments
        self.log_path = directory / "jobpush.log"
        self.process: subprocess.Popen[bytes] | None = None
        self._environment = environment or {}
        self._twistd_options = twistd_options
        self._before: tuple[str, ...] = ("prlimit", f"--nofile={files}:{files}") if files is not None else ()
        if unit is not None:
            self._before += (sys.executable, "-m", "tests.sandbox", str(unit), "--")

    def start(self, seconds: float = 30.0) -> None:
        """Start it; returns when it answers."""
        self.directory.mkdir(parents=True, exist_ok=True)
        self.process = start_twistd(
            ["--port", str(self.port), *self.arguments], self.directory, self.log_path, self._environment,
            self._twistd_options, self._before,
        )  # fmt: skip
        wait_until(self._answers, seconds, every=0.02)

    def _answers(self) -> bool:
        assert self.process is not None
        if self.process.poll() is not None:
            raise AssertionError(f"jobpush ended with {self.process.returncode}:\n{self.log}")
        try:
            return self.get("/healthz", timeout=5).status == 200
        except OSError:
            return False

    def ready(self, seconds: float = 30.0) -> None:
        """Returns when every queue has answered: what is held before that may be answered by the first look."""
        wait_until(lambda: self.get("/readyz").status == 200, seconds)

    @property
    def log(self) -> str:
        """What it has logged."""
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def get(self, path: str, timeout: float = 90.0, headers: Mapping[str, str] | None = None) -> Reply:
        """One GET on a connection of its own."""
        return self.request("GET", path, headers=headers, timeout=timeout)

    def request(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float = 90.0,
    ) -> Reply:
        """One request on a connection of its own."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            kind = {"Content-Type": "application/json"} if body else {}
            connection.request(method, path, body=body, headers={**kind, **(headers or {})})
            response = connection.getresponse()
            return Reply(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())
        finally:
            connection.close()

    def job(self, cluster: str, job_id: str, **parameters: object) -> Any:
        """One job's answer."""
        query = "&".join(f"{name}={quote(str(value), safe='')}" for name, value in parameters.items())
        return self.get(f"/v1/jobs/{cluster}/{quote(job_id, safe='')}?{query}").json

    def events(self, since: str = "0", **filters: str) -> list[Any]:
        """All events after a cursor that match."""
        found: list[Any] = []
        while True:
            query = "&".join(f"{name}={quote(value, safe='')}" for name, value in filters.items())
            answer = self.get(f"/v1/changes?since={since}&wait=0&limit=1000&{query}").json
            found.extend(answer["events"])
            since = answer["cursor"]
            if not answer["more"]:
                return found

    def stop(self, seconds: float = 20.0) -> int:
        """End it in order; its exit status."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(seconds)
            except subprocess.TimeoutExpired:
                self.kill()
        return self.process.returncode

    def kill(self) -> None:
        """End it as a power cut would."""
        assert self.process is not None
        self.process.kill()
        self.process.wait(20)


def start_twistd(
    arguments: list[str],
    directory: Path,
    log_path: Path,
    environment: Mapping[str, str] | None = None,
    twistd_options: Sequence[str] = (),
    before: Sequence[str] = (),
) -> subprocess.Popen[bytes]:
    """``twistd --nodaemon jobpush …`` from this checkout, its output in a file."""
    with open(log_path, "ab") as log:
        return subprocess.Popen(
            [*before, *TWISTD, "--nodaemon", "--pidfile=", *twistd_options, "jobpush", *arguments],
            cwd=directory, env=twistd_environment(environment), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
        )  # fmt: skip


def run_twistd(*arguments: str, cwd: Path, timeout: float = 30.0) -> subprocess.CompletedProcess[str]:
    """``twistd …`` to its end."""
    return subprocess.run(
        [*TWISTD, *arguments], cwd=cwd, env=twistd_environment(None), capture_output=True, text=True, timeout=timeout,
        stdin=subprocess.DEVNULL, check=False,
    )  # fmt: skip


TWISTD = (sys.executable, "-c", "from twisted.scripts.twistd import run; run()")


def twistd_environment(environment: Mapping[str, str] | None) -> dict[str, str]:
    """This checkout's modules before installed ones, and nothing of Slurm's from outside."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("SLURM", "SQUEUE", "SACCT"))}
    path = os.pathsep.join([str(ROOT), str(ROOT / "adapters"), str(ROOT / "client")])
    return {**inherited, "PYTHONPATH": path, **(environment or {})}


def write_jobs(path: Path, lines: str) -> None:
    """Replace a jobs file in one step, so that no reader sees half of it."""
    fresh = path.with_suffix(f".new{time.monotonic_ns()}")
    fresh.write_text(lines)
    os.replace(fresh, path)
