"""The samples for nginx and HAProxy: each in front of a service. See `tests.proxies`."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path

import pytest
from websockets.sync.client import connect

from tests.proxies import KINDS, Proxy, missing
from tests.service_process import ServiceProcess, write_jobs
from tests.slurm_cluster import wait_until

pytestmark = [pytest.mark.service, pytest.mark.timeout(120)]


@pytest.fixture
def service(tmp_path: Path) -> Iterator[ServiceProcess]:
    """A service with one job."""
    write_jobs(tmp_path / "jobs", '{"id": "1", "state": "RUNNING"}\n')
    service = ServiceProcess(tmp_path, "--queue", f"mock:file={tmp_path / 'jobs'}:interval=0.2", "--state", str(tmp_path / "state"))
    service.start()
    service.ready()
    yield service
    service.stop()


@pytest.fixture(params=sorted(KINDS))
def proxy(request: pytest.FixtureRequest, service: ServiceProcess, tmp_path: Path) -> Iterator[Proxy]:
    """A proxy in front of it, by its sample."""
    if request.param in missing():
        pytest.skip(f"{request.param} is not installed")
    proxy = KINDS[request.param](tmp_path / "proxy", service.port)
    proxy.start()
    yield proxy
    proxy.stop()


def held(service: ServiceProcess) -> int:
    """How many requests the service holds."""
    return int(service.get("/readyz").json["held"])


def asked(proxy: Proxy, path: str) -> socket.socket:
    """A connection to the proxy on which that was asked for."""
    client = socket.create_connection(("127.0.0.1", proxy.port), timeout=10)
    client.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{proxy.port}\r\n\r\n".encode())
    return client


def test_held(service: ServiceProcess, proxy: Proxy) -> None:
    """A held request is answered when its time is up, and a client that is gone is not held any more."""
    cursor = service.get("/v1/changes").json["cursor"]
    with closing(HTTPConnection("127.0.0.1", proxy.port, timeout=20)) as client:
        began = time.monotonic()
        client.request("GET", f"/v1/changes?since={cursor}&wait=2")
        answer = json.loads(client.getresponse().read())
        assert answer["timed_out"]
        assert time.monotonic() - began > 1.8
    gone = asked(proxy, f"/v1/changes?since={cursor}&wait=60")
    wait_until(lambda: held(service) == 1, 5)
    gone.close()
    wait_until(lambda: held(service) == 0, 5)


def test_streams(service: ServiceProcess, proxy: Proxy, tmp_path: Path) -> None:
    """What happens is told at once by a stream and by a WebSocket, and both are ended when their clients are gone."""
    stream = asked(proxy, "/v1/events")
    with connect(f"ws://127.0.0.1:{proxy.port}/v1/socket", proxy=None) as web_socket:
        assert json.loads(web_socket.recv(timeout=5))["type"] == "selected"
        wait_until(lambda: held(service) == 2, 5)
        write_jobs(tmp_path / "jobs", '{"id": "1", "state": "FAILED"}\n')
        assert json.loads(web_socket.recv(timeout=3))["job"]["state"] == "FAILED"
        told, until = b"", time.monotonic() + 3
        while b"FAILED" not in told:
            assert time.monotonic() < until, told
            told += stream.recv(65536)
    stream.close()
    wait_until(lambda: held(service) == 0, 5)
