"""A science gateway's own page in a real browser, on another origin than jobpush: listed with ``--cors``, and not listed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests import browser
from tests.browser import Visit
from tests.slurm_cluster import wait_until
from tests.with_service.test_other_sites import page_of
from tests.with_service.test_sign_in import Site

pytestmark = [pytest.mark.service, pytest.mark.browser, pytest.mark.timeout(300)]

#: A gateway's origin, and another that its owner has not.
GATEWAY, OTHER = "http://gateway.example:8000", "http://other.example:8000"


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    why = browser.why_not()
    if why is not None:
        pytest.skip(why)
    asks = "LocalNetworkAccessChecks,LocalNetworkAccessChecksWebSockets,BlockInsecurePrivateNetworkRequests"
    with browser.running("--host-resolver-rules=MAP *.example 127.0.0.1", f"--disable-features={asks}") as running:
        yield running


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    site = Site(tmp_path_factory.mktemp("gateway"), "--cors", GATEWAY)
    yield site
    site.close()


@pytest.fixture
def visit(chromium: Any, site: Site) -> Iterator[Visit]:
    visit = Visit(chromium, f"http://localhost:{site.service.port}")
    yield visit
    visit.close()


#: How a gateway's page asks with a token: whether it may is asked first, by the browser.
ASKS = """async ([address, token, body]) => {
    const headers = {Authorization: "Bearer " + token};
    if (body) headers["Content-Type"] = "application/json";
    try {
        const answer = await fetch(address, {method: body ? "POST" : "GET", headers, body});
        return [answer.status, answer.headers.get("Jobpush-Cursor"), await answer.json()];
    } catch (error) {
        return [0, null, String(error)];
    }
}"""


def test_a_listed_page(visit: Visit, site: Site) -> None:
    """Asks with its user's token, waits, and goes on from the cursor; another's job is not there; a wrong token is said to be."""
    page, token = page_of(visit, GATEWAY), site.token()
    for _ in range(3):
        status, cursor, found = page.evaluate(ASKS, [f"{visit.address}/v1/jobs/mock/1", token, None])
        assert (status, found["job"]["id"]) == (200, "1")
    assert page.evaluate(ASKS, [f"{visit.address}/v1/jobs/mock/2", token, None])[0] == 404
    assert page.evaluate(ASKS, [f"{visit.address}/v1/jobs/mock/1", "jp_wrong", None])[0] == 401
    page.evaluate(
        "([asks, ...how]) => { window.told = eval(asks)(how); }",
        [ASKS, f"{visit.address}/v1/changes", token, json.dumps({"since": cursor, "wait": 30})],
    )
    site.set("1", "SUSPENDED")
    status, later, found = page.evaluate("window.told")
    assert (status, [each["job"]["state"] for each in found["events"]]) == (200, ["SUSPENDED"])
    assert later != cursor


STREAMS = """async ([address, token]) => {
    const ticket = async () => {
        const how = {method: "POST", headers: {Authorization: "Bearer " + token}};
        return (await (await fetch(address + "/v1/tickets", how)).json()).ticket;
    };
    window.events = [];
    window.messages = [];
    const source = new EventSource(address + "/v1/events?ticket=" + await ticket());
    source.addEventListener("job", (event) => window.events.push(event.data));
    await new Promise((done) => source.onopen = done);
    const socket = new WebSocket(address.replace("http", "ws") + "/v1/socket?ticket=" + await ticket());
    socket.onmessage = (message) => window.messages.push(message.data);
    await new Promise((done) => socket.onopen = done);
}"""


def test_its_streams(visit: Visit, site: Site) -> None:
    """With a ticket each."""
    page = page_of(visit, GATEWAY)
    page.evaluate(STREAMS, [visit.address, site.token()])
    site.set("3", "SUSPENDED")
    for name in ("events", "messages"):
        wait_until(lambda name=name: any("SUSPENDED" in each for each in page.evaluate(f"window.{name}")), 10)


def test_a_page_that_is_not_listed(visit: Visit, site: Site) -> None:
    """Is told nothing, though it has a token; nor does it send what only a page that may ask can send."""
    page, token = page_of(visit, OTHER), site.token()
    for path in ("/v1/jobs/mock/1", "/healthz"):
        assert page.evaluate(ASKS, [visit.address + path, token, None])[0] == 0
    assert page.evaluate(ASKS, [f"{visit.address}/v1/changes", token, "{}"])[0] == 0
    assert page.evaluate("(address) => fetch(address).then(() => 'told', () => 'refused')", f"{visit.address}/healthz") == "refused"
