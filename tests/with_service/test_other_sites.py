"""Pages of other sites in a real browser that reaches jobpush: what they try is refused, and the dashboard goes on."""

from __future__ import annotations

import json
import re
import socket
import socketserver
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests import browser
from tests.browser import Visit
from tests.service_process import ServiceProcess, write_jobs
from tests.slurm_cluster import wait_until

pytestmark = [pytest.mark.service, pytest.mark.browser, pytest.mark.timeout(300)]

#: The name of a site that its owner lets point to this host.
EVIL = "evil.example"


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    why = browser.why_not()
    if why is not None:
        pytest.skip(why)
    # New Chromiums ask before a page from elsewhere may reach loopback at all; others do not, nor Chromiums where that was allowed.
    asks = "LocalNetworkAccessChecks,LocalNetworkAccessChecksWebSockets,BlockInsecurePrivateNetworkRequests"
    with browser.running(f"--host-resolver-rules=MAP {EVIL} 127.0.0.1", f"--disable-features={asks}") as running:
        yield running


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    directory: Path = tmp_path_factory.mktemp("sites")
    jobs = directory / "jobs"
    write_jobs(jobs, json.dumps({"id": "1", "state": "RUNNING", "name": "confidential"}) + "\n")
    service = ServiceProcess(
        directory / "service", "--queue", f"mock:file={jobs}:interval=0.1", "--access-log", str(directory / "access.log")
    )
    service.start()
    service.ready()
    yield service
    service.stop()


@pytest.fixture
def visit(chromium: Any, service: ServiceProcess) -> Iterator[Visit]:
    visit = Visit(chromium, f"http://localhost:{service.port}")
    yield visit
    visit.close()


def log_of(service: ServiceProcess) -> str:
    """The access log."""
    return (service.directory.parent / "access.log").read_text()


def answers(service: ServiceProcess, seen: int) -> list[tuple[str, str, int]]:
    """Method, path and status of what the access log has after so many characters."""
    found = re.findall(r'"([A-Z]+) (\S+) HTTP/1\.1" (\d{3}) ', log_of(service)[seen:])
    return [(method, path, int(status)) for method, path, status in found]


def page_of(visit: Visit, origin: str) -> Any:
    """A page of that origin, which comes from its owner, whatever its name points to from then on."""
    address = f"{origin}/its-own-page"
    visit.page.route(address, lambda route: route.fulfill(content_type="text/html", body="<!doctype html><title>theirs</title>"))
    visit.page.goto(address)
    visit.page.unroute(address)  # while addresses are routed, the browser asks no server before it sends what is no plain request
    return visit.page


READS = """async (address) => {
    try {
        const answer = await fetch(address);
        return [answer.status, await answer.text()];
    } catch (error) {
        return [0, String(error)];
    }
}"""


def test_rebinding(visit: Visit, service: ServiceProcess) -> None:
    """For the browser a page of another name is of the same origin as jobpush. It reads nothing, however often it asks."""
    page = page_of(visit, f"http://{EVIL}:{service.port}")
    for path in ("/v1/jobs", "/v1/jobs/mock/1", "/v1/changes?since=0", "/dashboard", "/metrics"):
        for _ in range(3):
            status, text = page.evaluate(READS, path)
            assert (status, "confidential" in text) == (421, False), (path, text)
    assert page.evaluate(READS, "/healthz")[0] == 200
    assert page.evaluate(READS, "/v1/jobs")[0] == 421
    assert page.goto(f"http://{EVIL}:{service.port}/").status == 421


def test_other_origins(visit: Visit, service: ServiceProcess) -> None:
    """A page of another site, or of another port of the same host, sends what a browser sends without asking: all is refused."""
    for origin in (f"http://{EVIL}:8000", "http://localhost:8000"):
        page = page_of(visit, origin)
        seen = len(log_of(service))
        sent = []
        for path in ("/v1/nudge", "/v1/changes", "/v1/wait"):
            for kind in ("text/plain", "application/x-www-form-urlencoded"):
                page.evaluate(
                    """([address, kind]) => fetch(address, {
                        method: "POST", mode: "no-cors", headers: {"Content-Type": kind}, body: '{"jobs": ["mock/1"]}',
                    })""",
                    [visit.address + path, kind],
                )
                sent.append(("POST", path, 403))
        # What a browser asks first for, as that is no plain request, is not allowed; the request itself is never sent.
        asked = """(address) => fetch(address, {
            method: "POST", headers: {"Content-Type": "application/json"}, body: "{}",
        }).then(() => "sent", () => "refused")"""
        assert page.evaluate(asked, visit.address + "/v1/nudge") == "refused"
        status, text = page.evaluate(READS, visit.address + "/v1/jobs")
        assert (status, "confidential" in text) == (0, False)
        page.evaluate("""(address) => new Promise((done) => { new EventSource(address).onerror = done; })""", visit.address + "/v1/events")
        wait_until(lambda seen=seen: ("GET", "/v1/events", 403) in answers(service, seen), 10)
        found = answers(service, seen)
        assert [each for each in found if each[0] == "POST"] == sent
        assert {status for _, _, status in found} == {403}, found


def test_web_socket(visit: Visit, service: ServiceProcess) -> None:
    """Another site's page, which a browser lets open a WebSocket anywhere, is not told a thing; a page of this host's is."""
    opens = """(address) => new Promise((done) => {
        const socket = new WebSocket(address);
        socket.onmessage = (message) => done(message.data);
        socket.onclose = () => done("closed");
    })"""
    address = f"ws://localhost:{service.port}/v1/socket"
    for origin in (f"http://{EVIL}:8000", "http://localhost:8000"):
        page = page_of(visit, origin)
        assert [page.evaluate(opens, address) for _ in range(3)] == ["closed"] * 3
    page = page_of(visit, visit.address)
    assert "selected" in page.evaluate(opens, address)


def test_forms(visit: Visit, service: ServiceProcess) -> None:
    """A form can send text that is JSON to any address."""
    page = page_of(visit, f"http://{EVIL}:8000")
    page.set_content(
        f"""<form id="form" method="post" enctype="text/plain" action="{visit.address}/v1/nudge">
        <input name='{{"jobs": [], "a' value='": 1}}'></form>"""
    )
    with page.expect_navigation() as navigation:
        page.evaluate("document.getElementById('form').submit()")
    assert navigation.value.status == 403


def test_a_link(visit: Visit) -> None:
    """A link on another site's page to the dashboard may be followed."""
    page = page_of(visit, f"http://{EVIL}:8000")
    page.set_content(f'<a href="{visit.address}/">jobs</a>')
    with page.expect_navigation():
        page.click("a")
    visit.live()
    visit.state_of("mock/1", "running")
    assert visit.wrong == []


class Tunnel:
    """What ``ssh -L PORT:localhost:PORT`` does: a port of its own that leads to the service's."""

    def __init__(self, to: int) -> None:
        self._sockets: list[socket.socket] = []
        tunnel = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                with socket.create_connection(("127.0.0.1", to)) as far:
                    tunnel._sockets += [self.request, far]
                    back = threading.Thread(target=copy, args=(far, self.request))
                    back.start()
                    copy(self.request, far)
                    back.join()

        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    def close(self) -> None:
        """End it, and every connection through it."""
        self._server.shutdown()
        for each in self._sockets:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        self._server.server_close()
        self._thread.join(10)


def copy(source: socket.socket, target: socket.socket) -> None:
    """Send on what comes, to its end."""
    with suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)


def test_through_a_tunnel(chromium: Any, service: ServiceProcess) -> None:
    """The dashboard works at another port, by each name of this host."""
    tunnel = Tunnel(service.port)
    try:
        for host in ("localhost", "127.0.0.1"):
            visit = Visit(chromium, f"http://{host}:{tunnel.port}")
            visit.open()
            visit.state_of("mock/1", "running")
            assert visit.wrong == []
            visit.close()
    finally:
        tunnel.close()
