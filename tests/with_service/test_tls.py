"""jobpush with TLS of its own, as a site binds it to its network: everybody says who he is, and certificates are renewed meanwhile."""

from __future__ import annotations

import base64
import http.client
import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.certificates import Authority, Pair
from tests.service_process import Reply, ServiceProcess, run_twistd, start_twistd, twistd_environment, write_jobs
from tests.slurm_cluster import wait_until

pytestmark = pytest.mark.service


class TlsService(ServiceProcess):
    """Reached over TLS, as a client that knows the site's authority."""

    def __init__(self, directory: Path, authority: Authority, pair: Pair, *arguments: str, more: str = "") -> None:
        super().__init__(directory, *arguments)
        self.authority = authority
        self.endpoint = f"jobpush-tls:{self.port}:cert={pair.cert}:key={pair.key}:interface=127.0.0.1{more}"
        self.url = f"https://localhost:{self.port}"

    def start(self, seconds: float = 30.0) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        self.process = start_twistd(["--port", self.endpoint, *self.arguments], self.directory, self.log_path)
        wait_until(self._answers, seconds)

    def request(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None, timeout: float = 90.0
    ) -> Reply:
        connection = self.connect(timeout)
        try:
            connection.request(method, path, body=body, headers=dict(headers or {}))
            return reply(connection)
        finally:
            connection.close()

    def connect(self, timeout: float = 90.0) -> http.client.HTTPSConnection:
        """A connection, which is made already."""
        context = ssl.create_default_context(cafile=str(self.authority.cert))
        connection = http.client.HTTPSConnection("localhost", self.port, timeout=timeout, context=context)
        connection.connect()
        return connection

    def serial(self) -> int:
        """Of the certificate that a new connection is shown."""
        connection = self.connect()
        try:
            shown: Any = connection.sock.getpeercert()
            return int(shown["serialNumber"], 16)
        finally:
            connection.close()


def reply(connection: http.client.HTTPConnection) -> Reply:
    """The next answer on it."""
    response = connection.getresponse()
    return Reply(response.status, {name.lower(): value for name, value in response.getheaders()}, response.read())


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
def service(tmp_path: Path, authority: Authority) -> Iterator[TlsService]:
    """Where each user sees his own jobs."""
    write_jobs(tmp_path / "jobs", '{"id": "1", "user": "root", "state": "RUNNING"}\n{"id": "2", "user": "kim", "state": "RUNNING"}\n')
    started = TlsService(
        tmp_path / "run", authority, authority.pair("first"), "--queue", f"mock:file={tmp_path}/jobs:interval=0.1",
        "--state", str(tmp_path / "state"), "--private", "yes", "--socket", f"unix:{tmp_path}/jobpush.sock",
    )  # fmt: skip
    started.start()
    yield started
    started.stop()


def test_passwords(tmp_path: Path, authority: Authority) -> None:
    """They are taken over TLS."""
    write_jobs(tmp_path / "jobs", '{"id": "1", "user": "root", "state": "RUNNING"}\n{"id": "2", "user": "kim", "state": "RUNNING"}\n')
    subprocess.run(
        [sys.executable, "-m", "jobpush_client.cli", "users", "add", "kim", "--file", str(tmp_path / "users"), "--stdin"],
        input="correct horse\n", text=True, check=True, env=twistd_environment({}),
    )  # fmt: skip
    service = TlsService(
        tmp_path / "run", authority, authority.pair("first"), "--queue", f"mock:file={tmp_path}/jobs:interval=0.1", "--private", "yes",
        "--auth", f"users:file={tmp_path}/users",
    )  # fmt: skip
    service.start()
    try:
        service.ready()
        for password, expected in (("correct horse", 200), ("wrong horse", 401)):
            said = base64.b64encode(f"kim:{password}".encode()).decode()
            answer = service.get("/v1/jobs", headers={"Authorization": f"Basic {said}"})
            assert answer.status == expected
            if expected == 200:
                assert [job["id"] for job in answer.json["jobs"]] == ["2"]
    finally:
        service.stop()


def test_renewed_while_held(service: TlsService, tmp_path: Path, authority: Authority) -> None:
    """SIGHUP: what is held is answered on its connection, who comes sees the new certificate; a half renewed one is not taken."""
    token = log_in(service, tmp_path)
    bearer = {"Authorization": f"Bearer {token}"}
    before = service.serial()
    held = service.connect()
    held.request("GET", "/v1/jobs/mock/1?since=now&wait=60", headers=bearer)
    new = authority.pair("new")
    os.replace(new.cert, tmp_path / "first.crt")
    hangup(service)
    wait_until(lambda: f"{tmp_path}/first.key: that is not the key of {tmp_path}/first.crt" in service.log, 20)
    assert service.serial() == before
    os.replace(new.key, tmp_path / "first.key")
    hangup(service)
    wait_until(lambda: f"{tmp_path}/first.crt is another one" in service.log, 20)
    assert service.serial() == new.serial != before
    write_jobs(tmp_path / "jobs", '{"id": "1", "user": "root", "state": "SUSPENDED"}\n{"id": "2", "user": "kim", "state": "RUNNING"}\n')
    answer = reply(held)
    assert (answer.status, answer.json["job"]["state"]) == (200, "SUSPENDED")
    held.request("GET", "/v1/jobs/mock/1", headers=bearer)  # the connection goes on
    assert reply(held).json["job"]["state"] == "SUSPENDED"
    held.close()


def hangup(service: TlsService) -> None:
    """As systemd's reload does."""
    assert service.process is not None
    service.process.send_signal(signal.SIGHUP)


def log_in(service: TlsService, tmp_path: Path) -> str:
    """A token for this user, made by the command on the socket of this host."""
    result = command(service, tmp_path, "login", "--server", service.url, url=f"unix:{tmp_path}/jobpush.sock")
    assert result.returncode == 0, result
    return str(json.loads((tmp_path / ".config" / "jobpush" / "tokens.json").read_text())[service.url])


def command(service: TlsService, tmp_path: Path, *words: str, url: str = "") -> subprocess.CompletedProcess[str]:
    """The command, which knows the site's authority."""
    environment = {
        **twistd_environment({}), "HOME": str(tmp_path), "JOBPUSH_URL": url or service.url, "SSL_CERT_FILE": str(service.authority.cert),
    }  # fmt: skip
    return subprocess.run(
        [sys.executable, "-m", "jobpush_client.cli", *words], env=environment, capture_output=True, text=True, timeout=60, check=False
    )


def test_everybody_says_who_he_is(service: TlsService, tmp_path: Path) -> None:
    """Nobody is answered without a token; the command uses the one that it has got; another's job is not shown."""
    for _ in range(3):
        assert service.get("/v1/jobs").status == 401
    token = log_in(service, tmp_path)
    shown = service.get("/v1/jobs", headers={"Authorization": f"Bearer {token}"}).json["jobs"]
    assert [job["id"] for job in shown] == ["1"]
    assert command(service, tmp_path, "show", "1").returncode == 0
    assert command(service, tmp_path, "show", "2", "--patience", "1").returncode == 240


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl on PATH")
def test_curl(service: TlsService) -> None:
    """Another TLS library; an old version of TLS and plain HTTP get no answer."""
    curl = ["curl", "-sS", "--max-time", "10", "--cacert", str(service.authority.cert)]
    shown = subprocess.run([*curl, f"{service.url}/healthz"], capture_output=True, text=True, timeout=30, check=False)
    assert '"ok"' in shown.stdout, shown
    for more in (("--tls-max", "1.1", f"{service.url}/healthz"), (f"http://localhost:{service.port}/healthz",)):
        refused = subprocess.run([*curl, *more], capture_output=True, text=True, timeout=30, check=False)
        assert (refused.returncode != 0, refused.stdout) == (True, ""), refused


def test_no_handshake(service: TlsService, tmp_path: Path) -> None:
    """Connections that never begin, or break off, keep nobody else waiting."""
    silent = [socket.create_connection(("127.0.0.1", service.port)) for _ in range(50)]
    for number, each in enumerate(silent):
        if number % 2:
            each.sendall(b"\x16\x03\x01\x02\x00\x01")
    answers: list[int] = []
    threads = [threading.Thread(target=lambda: answers.append(service.get("/healthz", timeout=10).status)) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [200] * 10
    for each in silent:
        each.close()
    assert "Traceback" not in service.log


def test_where_it_may_listen(tmp_path: Path, authority: Authority) -> None:
    """On the network, if everybody must say who he is, and nobody can overhear it; else not without a word."""
    pair = authority.pair("first")
    public = f"jobpush-tls:0:cert={pair.cert}:key={pair.key}"
    for port, more, word in (
        (public, (), "--private yes"),
        ("tcp:0:interface=0.0.0.0", ("--private", "yes"), "jobpush-tls:8443:cert=FILE:key=FILE"),
        (f"{public}x", ("--private", "yes"), f"{pair.key}x: No such file or directory"),
    ):
        refused = run_twistd("jobpush", "--queue", "mock", "--port", port, *more, cwd=tmp_path)
        assert refused.returncode == 1
        assert word in refused.stderr + refused.stdout, refused
        assert "Traceback" not in refused.stderr
    more = ("--private", "yes", "--socket", f"unix:{tmp_path}/jobpush.sock")
    started = TlsService(tmp_path / "run", authority, pair, "--queue", "mock", *more)
    started.endpoint = f"jobpush-tls:{started.port}:cert={pair.cert}:key={pair.key}"
    started.start()
    assert started.get("/v1/jobs").status == 401
    started.stop()


def test_certified_clients(tmp_path: Path, authority: Authority) -> None:
    """With clientCAs= only those are spoken with that an authority of the site has certified."""
    theirs = Authority(tmp_path, "clients")
    service = TlsService(
        tmp_path / "run", authority, authority.pair("first"), "--queue", "mock", more=f":clientCAs={theirs.cert}"
    )
    proxy = theirs.pair("proxy")
    context = ssl.create_default_context(cafile=str(authority.cert))
    context.load_cert_chain(proxy.cert, proxy.key)

    def answers() -> bool:
        connection = http.client.HTTPSConnection("localhost", service.port, timeout=10, context=context)
        try:
            connection.request("GET", "/healthz")
            return reply(connection).status == 200
        except ConnectionRefusedError:
            return False
        finally:
            connection.close()

    service._answers = answers  # type: ignore[method-assign]
    service.start()
    with pytest.raises((ssl.SSLError, ConnectionError, http.client.BadStatusLine)):
        service.get("/healthz", timeout=10)
    service.stop()


def test_a_certified_proxy(tmp_path: Path, authority: Authority) -> None:
    """
    A proxy on another host shows a certificate of the name that is listed, and says who asks, one user after the other on one
    connection; another client that the same authority has certified is refused, and without the header it is nobody.
    """
    theirs = Authority(tmp_path, "clients")
    write_jobs(tmp_path / "jobs", '{"id": "1", "state": "RUNNING", "user": "kim"}\n{"id": "2", "state": "RUNNING", "user": "lee"}\n')
    service = TlsService(
        tmp_path / "run", authority, authority.pair("first"), "--queue", f"mock:file={tmp_path / 'jobs'}", "--private", "yes",
        "--auth", "proxy:header=X-Remote-User:certificate=other.example,portal.example", more=f":clientCAs={theirs.cert}",
    )  # fmt: skip

    def asked_by(name: str, *users: str | None) -> list[tuple[int, list[str]]]:
        """What a client of that name is answered, for these users."""
        pair = theirs.pair(name)
        context = ssl.create_default_context(cafile=str(authority.cert))
        context.load_cert_chain(pair.cert, pair.key)
        connection = http.client.HTTPSConnection("localhost", service.port, timeout=10, context=context)
        found = []
        try:
            for user in users:
                connection.request("GET", "/v1/jobs", headers={"X-Remote-User": user} if user is not None else {})
                answer = reply(connection)
                found.append((answer.status, [job["id"] for job in answer.json.get("jobs", [])]))
        finally:
            connection.close()
        return found

    def answers() -> bool:
        try:
            return asked_by("portal.example", "kim")[0][0] == 200
        except ConnectionRefusedError:
            return False

    service._answers = answers  # type: ignore[method-assign]
    service.start()
    wait_until(lambda: asked_by("portal.example", "kim") == [(200, ["1"])], 10)
    assert asked_by("portal.example", "kim", "lee", "kim") == [(200, ["1"]), (200, ["2"]), (200, ["1"])]
    assert asked_by("portal.example", None) == [(401, [])]
    for other in ("user.example", "portal.example.org", "xportal.example"):
        assert [asked_by(other, "kim") for _ in range(3)] == [[(403, [])]] * 3
    service.stop()
