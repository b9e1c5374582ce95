"""The dashboard in a real browser where the service asks who is there: a pasted token, tickets for its streams, and what stays."""

from __future__ import annotations

import json
import os
import pwd
import re
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import browser
from tests.browser import Visit
from tests.service_process import ServiceProcess, write_jobs
from tests.slurm_cluster import wait_until

pytestmark = [pytest.mark.service, pytest.mark.browser, pytest.mark.timeout(300)]

ME = pwd.getpwuid(os.getuid()).pw_name


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    why = browser.why_not()
    if why is not None:
        pytest.skip(why)
    with browser.running() as running:
        yield running


class Site:
    """jobpush with private jobs: two of this user's, one of lee's."""

    def __init__(self, directory: Path, *options: str) -> None:
        self.jobs, self.log = directory / "jobs", directory / "access.log"
        self.rows = {number: {"id": number, "state": "RUNNING", "user": user} for number, user in (("1", ME), ("2", "lee"), ("3", ME))}
        self.write()
        self.runtime = tempfile.TemporaryDirectory(prefix="jobpush-")
        self.socket = f"{self.runtime.name}/users.sock"
        self.service = ServiceProcess(
            directory / "service", "--queue", f"mock:file={self.jobs}:interval=0.1", "--private", "yes",
            "--socket", f"unix:{self.socket}", "--access-log", str(self.log), "--state", str(directory / "state"), *options,
        )  # fmt: skip
        self.service.start()
        self.service.ready()

    def write(self) -> None:
        write_jobs(self.jobs, "".join(json.dumps(row) + "\n" for row in self.rows.values()))

    def set(self, number: str, state: str) -> None:
        """A job in another state."""
        self.rows[number]["state"] = state
        self.write()

    def ask(self, request: str) -> bytes:
        """An answer on the users' socket, to its end."""
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(20)
            client.connect(self.socket)
            client.sendall(f"{request} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 0\r\n\r\n".encode())
            got = b""
            while data := client.recv(65536):
                got += data
        return got

    def token(self) -> str:
        """A new token."""
        found = re.search(rb'"token":"(jp_[^"]+)"', self.ask("POST /v1/tokens"))
        assert found is not None
        return found[1].decode()

    def close(self) -> None:
        self.service.stop()
        self.runtime.cleanup()


@pytest.fixture
def site(tmp_path: Path, chromium: Any) -> Iterator[Site]:
    site = Site(tmp_path)
    yield site
    site.close()


def rows(visit: Visit) -> int:
    return int(visit.page.evaluate("document.querySelectorAll('.body .row').length"))


def test_sign_in(site: Site, chromium: Any) -> None:
    """
    It asks for a token, refuses a wrong one, opens on one's own jobs, follows them with a ticket for each stream, and keeps the
    token in this tab alone; no ticket or token is in an address, in the log, or in a cookie. Revoked, it asks again.
    """
    visit = Visit(chromium, f"http://127.0.0.1:{site.service.port}")
    page = visit.page
    sent: list[str] = []
    page.on("request", lambda request: sent.append(request.url))
    page.goto(visit.address + "/")
    visit.until("!document.getElementById('sign-in').hidden")
    assert rows(visit) == 0
    assert visit.barriers() == []
    page.fill("#token", "jp_" + "x" * 43)
    page.press("#token", "Enter")
    visit.until("document.getElementById('sign-in-why').textContent.includes('refused')")
    token = site.token()
    page.fill("#token", token)
    page.press("#token", "Enter")
    visit.live()
    visit.until("document.querySelectorAll('.body .row').length === 2")
    assert page.input_value("#filter-user") == ME
    assert f"user={ME}" in page.url
    assert page.input_value("#token") == ""
    site.set("1", "FAILED")
    visit.state_of("mock/1", "failed")
    # The tab keeps it over a reload; another tab of the same browser does not have it.
    page.reload()
    visit.live()
    visit.until("document.querySelectorAll('.body .row').length === 2")
    other = visit.context.new_page()
    other.goto(visit.address + "/")
    other.wait_for_selector("#sign-in:not([hidden])")
    assert page.evaluate("[localStorage.getItem('jobpush.token'), document.cookie]") == [None, ""]
    assert visit.context.cookies() == []
    opened = [url for url in sent if "/v1/events" in url]
    tickets = re.findall(r"ticket=(jt_[\w-]+)", " ".join(opened))
    assert len(tickets) == len(set(tickets)) == len(opened) >= 2
    assert not any(token in url for url in sent)
    # A ticket that was used opens nothing more.
    status = page.evaluate("(address) => fetch(address).then((answer) => answer.status)", opened[-1])
    assert status == 401
    site.ask("DELETE /v1/tokens/all")
    visit.until("!document.getElementById('sign-in').hidden")
    assert rows(visit) == 0
    assert page.evaluate("sessionStorage.getItem('jobpush.token')") is None
    wait_until(lambda: "ticket=-" in site.log.read_text(), 10)
    assert "jt_" not in site.log.read_text() + site.service.log
    assert token not in site.log.read_text() + site.service.log
    assert visit.wrong == []
    visit.close()


def test_sign_out(site: Site, chromium: Any) -> None:
    """After signing out nothing is there, and the page asks again."""
    visit = Visit(chromium, f"http://127.0.0.1:{site.service.port}")
    visit.page.goto(visit.address + "/?user=lee")
    visit.page.fill("#token", site.token())
    visit.page.press("#token", "Enter")
    visit.live()
    assert (visit.page.input_value("#filter-user"), rows(visit)) == ("lee", 0)
    visit.page.click("#sign-out")
    visit.until("!document.getElementById('sign-in').hidden")
    assert visit.page.evaluate("sessionStorage.length") == 0
    assert visit.wrong == []
    visit.close()


def test_web_socket(site: Site, chromium: Any) -> None:
    """A page opens a WebSocket with a ticket, once; what the owner does not own is not told."""
    visit = Visit(chromium, f"http://127.0.0.1:{site.service.port}")
    page = visit.page
    page.goto(visit.address + "/")
    opens = """async ([token, times]) => {
        const answer = await fetch("/v1/tickets", { method: "POST", headers: { authorization: `Bearer ${token}` } });
        const { ticket } = await answer.json();
        const results = [];
        for (let time = 0; time < times; time += 1) {
            results.push(await new Promise((resolve) => {
                const socket = new WebSocket(`ws://${location.host}/v1/socket?ticket=${ticket}`);
                socket.onopen = () => resolve("open");
                socket.onerror = () => resolve("refused");
            }));
        }
        return results;
    }"""
    assert page.evaluate(opens, [site.token(), 3]) == ["open", "refused", "refused"]
    visit.close()
