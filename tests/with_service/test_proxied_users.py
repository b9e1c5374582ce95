"""
A proxy that says who asks, nginx and HAProxy by their samples: what a client sends to be somebody else, in headers of its own or
in a second request that is hidden in the first, shows it nobody else's jobs.
"""

from __future__ import annotations

import json
import os
import re
import socket
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from tests import browser
from tests.browser import Visit
from tests.proxies import KINDS, Proxy, missing
from tests.service_process import ServiceProcess, write_jobs

pytestmark = [pytest.mark.service, pytest.mark.timeout(180)]

#: What is found in whatever shows a job of kim's, for whom the proxy asks, and of lee's.
KIMS, LEES = b"alpha-of-kim", b"beta-of-lee"

HEAD = "GET /v1/jobs HTTP/1.1\r\nHost: localhost\r\n"
LEE = "X-Remote-User: lee\r\n"
HIDDEN = f"{HEAD}{LEE}\r\n"
POST = "POST /v1/changes HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
BODY = '{"since":"0","wait":0}'

#: Headers of the client's own, and bodies that have another request in them for whoever reads their length otherwise.
ATTACKS = {
    "its own header": HEAD + LEE,
    "in other letters": HEAD + "x-REMOTE-user: lee\r\n",
    "with underscores": HEAD + "X_Remote_User: lee\r\n",
    "twice": HEAD + LEE + LEE,
    "a blank before the colon": HEAD + "X-Remote-User : lee\r\n",
    "a tab after its name": HEAD + "X-Remote-User\t: lee\r\n",
    "a continued line": HEAD + "X-A: b\r\n X-Remote-User: lee\r\n",
    "bare line feed": HEAD + "X-A: b\n" + LEE,
    "bare carriage return": HEAD + "X-A: b\rX-Remote-User: lee\r\n",
    "taken for hop by hop": HEAD + "Connection: close, X-Remote-User\r\n" + LEE,
    "and kept": HEAD + "Connection: keep-alive, X-Remote-User\r\n" + LEE,
    "in a trailer": f"{POST}Transfer-Encoding: chunked\r\nTrailer: X-Remote-User\r\n\r\n{len(BODY):x}\r\n{BODY}\r\n0\r\n{LEE}\r\n",
    "length and chunks": f"{POST}Content-Length: {len(BODY) + 0}\r\nTransfer-Encoding: chunked\r\n\r\n{len(BODY):x}\r\n{BODY}\r\n0\r\n\r\n{HIDDEN}",
    "chunks and length": f"{POST}Transfer-Encoding: chunked\r\nContent-Length: 6\r\n\r\n0\r\n\r\n{HIDDEN}",
    "two lengths": f"{POST}Content-Length: {len(BODY)}\r\nContent-Length: {len(BODY) + len(HIDDEN)}\r\n\r\n{BODY}{HIDDEN}",
    "a length with a sign": f"{POST}Content-Length: +{len(BODY)}\r\n\r\n{BODY}{HIDDEN}",
    "a length of two": f"{POST}Content-Length: {len(BODY)}, {len(BODY) + len(HIDDEN)}\r\n\r\n{BODY}{HIDDEN}",
    "an encoding nobody knows": f"{POST}Transfer-Encoding: xchunked\r\nContent-Length: {len(BODY) + len(HIDDEN)}\r\n\r\n{BODY}{HIDDEN}",
    "an encoding twice": f"{POST}Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n{HIDDEN}",
    "an encoding after a tab": f"{POST}Transfer-Encoding:\tchunked\r\nContent-Length: {len(BODY)}\r\n\r\n0\r\n\r\n{HIDDEN}",
    "a hidden encoding": f"{POST}X: x\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n{HIDDEN}",
    "a chunk with an extension": f"{POST}Transfer-Encoding: chunked\r\n\r\n{len(BODY):x};a\n{HIDDEN}\r\n0\r\n\r\n",
    "a chunk that is longer": f"{POST}Transfer-Encoding: chunked\r\n\r\n{len(BODY):x}\r\n{BODY}AA0\r\n\r\n{HIDDEN}",
    "a body of a GET": f"{HEAD}Content-Length: {len(HIDDEN)}\r\nContent-Type: application/json\r\n\r\n{HIDDEN}",
    "an upgrade": f"{HEAD}Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 777\r\n\r\n{HIDDEN}",
    "an old version": f"GET /v1/jobs HTTP/1.0\r\nHost: localhost\r\nConnection: keep-alive\r\n{LEE}\r\n{HIDDEN}",
    "an absolute address": f"GET http://localhost/v1/jobs HTTP/1.1\r\nHost: localhost\r\n{LEE}",
}


@pytest.fixture
def service(tmp_path: Path) -> Iterator[tuple[ServiceProcess, str]]:
    """A service that believes a proxy that runs as this user, and its socket."""
    rows = [{"id": number, "state": "RUNNING", "user": user, "name": mark.decode()} for number, user, mark in (("1", "kim", KIMS), ("2", "lee", LEES))]
    write_jobs(tmp_path / "jobs", "".join(json.dumps(row) + "\n" for row in rows))
    with tempfile.TemporaryDirectory(prefix="jp-") as short:
        users = f"{short}/users"
        service = ServiceProcess(
            tmp_path, "--queue", f"mock:file={tmp_path / 'jobs'}:interval=0.2", "--private", "yes", "--socket", f"unix:{users}",
            "--auth", f"proxy:header=X-Remote-User:peer={os.geteuid()}",
        )  # fmt: skip
        service.start()
        service.ready()
        yield service, users
        service.stop()


@pytest.fixture(params=sorted(KINDS))
def proxy(request: pytest.FixtureRequest, service: tuple[ServiceProcess, str], tmp_path: Path) -> Iterator[Proxy]:
    """A proxy in front of it."""
    if request.param in missing():
        pytest.skip(f"{request.param} is not installed")
    proxy = KINDS[request.param](tmp_path / "proxy", service[0].port, users=service[1])
    proxy.start()
    yield proxy
    proxy.stop()


def exchanged(port: int, sent: str) -> bytes:
    """All that comes back for that, until nothing has come for a while."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
        client.sendall(sent.encode("latin-1"))
        got, until = b"", time.monotonic() + 0.6
        client.settimeout(0.05)
        while time.monotonic() < until:
            with suppress(TimeoutError):
                data = client.recv(65536)
                if not data:
                    break
                got, until = got + data, time.monotonic() + 0.3
        return got


def test_attacks(service: tuple[ServiceProcess, str], proxy: Proxy) -> None:
    """Nothing of lee's is shown, on that connection, or to who comes after it on the proxy's connections to the service."""
    plain = f"{HEAD}\r\n"
    assert KIMS in exchanged(proxy.port, plain)

    def attack(name: str) -> None:
        """Twice, each time followed by an honest request on the same connection; and then by one on another."""
        sent = ATTACKS[name]
        whole = sent if "\r\n\r\n" in sent else f"{sent}\r\n"
        for _ in range(2):
            got = exchanged(proxy.port, whole + plain)
            assert LEES not in got, (name, got)
            assert not re.search(rb"HTTP/1\.[01] 500 ", got), (name, got)
        after = exchanged(proxy.port, plain)
        assert (KIMS in after, LEES in after) == (True, False), (name, after)

    with ThreadPoolExecutor(8) as several:
        list(several.map(attack, ATTACKS))
    assert "Traceback" not in service[0].log


@pytest.mark.browser
def test_the_page_opens_on_my_jobs(service: tuple[ServiceProcess, str], proxy: Proxy) -> None:
    """Nobody signs in: the proxy says who that is, and the page shows his jobs first; another address shows what it says."""
    why = browser.why_not()
    if why is not None:
        pytest.skip(why)
    with browser.running() as chromium:
        visit = Visit(chromium, f"http://127.0.0.1:{proxy.port}")
        visit.page.goto(visit.address + "/")
        visit.live()
        visit.state_of("mock/1", "running")
        assert visit.page.input_value("#filter-user") == "kim"
        assert "user=kim" in visit.page.url
        visit.page.goto(visit.address + "/?user=lee")
        visit.live()
        assert visit.page.input_value("#filter-user") == "lee"
        assert visit.page.evaluate("document.querySelectorAll('.body .row').length") == 0
        assert visit.wrong == []
        visit.close()
