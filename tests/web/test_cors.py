"""Pages of other origins that were listed, over real sockets: on the fast path and without it."""

from __future__ import annotations

import re
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from jobpush.adapter.kinds import Origin
from jobpush.core.model import QueueFacts
from tests.web.held.test_connections import House, bodies
from tests.web.held.test_fast_path import Watch
from tests.web.test_admission import AdmissionStage, statuses

GATEWAY = "https://gateway.example.org"
HEAD = ("Host: localhost", f"Origin: {GATEWAY}")
ASKS = ("Access-Control-Request-Method: POST", "Access-Control-Request-Headers: authorization,content-type")


def heads(data: bytes) -> list[dict[str, str]]:
    """The headers of each answer, by name in lower case."""
    found = re.findall(rb"HTTP/1\.1 \d{3} [^\r]*\r\n(.*?)\r\n\r\n", data, re.DOTALL)
    return [{k.lower(): v for k, _, v in (line.partition(": ") for line in head.decode().split("\r\n"))} for head in found]


class ListedTests(AdmissionStage):
    """A page of a listed origin."""

    async def got(self, house: House, lines: tuple[str, ...], path: str, method: str = "GET", times: int = 3) -> bytes:
        """All that comes to so many requests on one connection."""
        client = house.client()
        for count in range(times):
            client.send("\r\n".join((f"{method} {path} HTTP/1.1", *lines, "", "")).encode())
            await client.until(lambda count=count: len(heads(client.got)) > count)
        return client.got

    async def test_is_answered(self) -> None:
        """Each time, whatever the answer is, with the headers by which the browser hands it to the page, once each."""

        async def scene(house: House) -> Any:
            for path, status in (
                ("/v1/jobs/memory/1", 200), ("/v1/changes?since=0", 200), ("/v1/jobs/memory/99", 404), ("/v1/changes?wait=x", 400),
                ("/healthz", 200), ("/openapi.json", 200), ("/no", 404),
            ):  # fmt: skip
                data = await self.got(house, HEAD, path)
                self.assertEqual(statuses(data), [status] * 3, path)
                for head in heads(data):
                    self.assertEqual((head["access-control-allow-origin"], head["vary"]), (GATEWAY, "Origin"))
                    self.assertIn("Jobpush-Cursor", head["access-control-expose-headers"])
                    self.assertNotIn("access-control-allow-credentials", head)
                self.assertEqual(data.lower().count(b"access-control-allow-origin"), 3)

        await self.both(scene, without=False, cors=[GATEWAY])

    async def test_waits_beside_others(self) -> None:
        """Who waits for the same without a page is answered alike, but for these headers; the page's next request has them too."""

        async def scene(house: House) -> Any:
            page, program = house.client(), house.client()
            for round_ in range(3):
                for client in (page, program):
                    await house.hold(client, *([f"Origin: {GATEWAY}"] if client is page else []))
                house.lab.set("1", "SUSPENDED" if round_ % 2 == 0 else "RUNNING")
                for client in (page, program):
                    await client.until(lambda client=client, round_=round_: len(bodies(client.got)) > round_)
            self.assertEqual(bodies(page.got), bodies(program.got))
            self.assertEqual([head.get("access-control-allow-origin") for head in heads(page.got)], [GATEWAY] * 3)
            self.assertNotIn(b"access-control", program.got.lower())

        await self.both(scene, cors=[GATEWAY])

    async def test_preflight(self) -> None:
        """Is answered for each address, before it is known who asks: it has no credentials."""

        async def scene(house: House) -> Any:
            for path in ("/v1/changes", "/v1/tickets", "/v1/jobs/memory/1", "/v1/workflows/w"):
                data = await self.got(house, (*HEAD, *ASKS), path, "OPTIONS")
                self.assertEqual(statuses(data), [204] * 3, path)
                for head in heads(data):
                    self.assertEqual(head["access-control-allow-origin"], GATEWAY)
                    for name in ("Authorization", "Content-Type", "Last-Event-ID"):
                        self.assertIn(name, head["access-control-allow-headers"].split(", "))
                    for method in ("GET", "POST", "PUT", "DELETE"):
                        self.assertIn(method, head["access-control-allow-methods"].split(", "))
            self.assertEqual(statuses(await self.got(house, HEAD, "/v1/jobs/memory/1", "OPTIONS")), [405] * 3)

        await self.both(scene, without=False, cors=[GATEWAY])

    async def test_without_credentials(self) -> None:
        """The page can read that it is to say who asks."""

        async def scene(house: House) -> Any:
            house.lab.queue.facts = QueueFacts(sees_all=True, hides_jobs=True, evidence="PrivateData=jobs")
            house.lab.set("2", "RUNNING")
            del house.lab.queue.jobs["2"]
            house.lab.tick()
            data = await self.got(house, HEAD, "/v1/jobs/memory/1", times=1)
            self.assertEqual((statuses(data), heads(data)[0]["access-control-allow-origin"]), ([401], GATEWAY))

        await self.both(scene, without=False, cors=[GATEWAY])

    async def test_no_headers_are_kept_of_it(self) -> None:
        """On a connection that a page shares with others, each request is looked at for itself."""

        async def scene(house: House) -> Any:
            watch, client = Watch(house), house.client()
            for lines in (HEAD, HEAD, HEAD[:1], HEAD[:1], HEAD, HEAD[:1]):
                count = len(heads(client.got))
                client.send("\r\n".join(("GET /v1/jobs/memory/1 HTTP/1.1", *lines, "", "")).encode())
                await client.until(lambda count=count: len(heads(client.got)) > count)
            allowed = ["access-control-allow-origin" in head for head in heads(client.got)]
            self.assertEqual(allowed, [True, True, False, False, True, False])
            self.assertEqual(len(watch.taken), 1 * house.without_channels)

        await self.both(scene, without=False, cors=[GATEWAY])


class OtherTests(AdmissionStage):
    """A page of an origin that is not listed."""

    async def test_others(self) -> None:
        """Nothing has changed for them: a port, a scheme, a name below or beside it is another origin."""
        for origin in (
            f"{GATEWAY}:8443", "http://gateway.example.org", "https://x.gateway.example.org", "https://gateway.example.org.evil.example",
            f"{GATEWAY}/", "null", "*",
        ):  # fmt: skip
            await self.refused(403, "Origin", "Host: localhost", f"Origin: {origin}", cors=[GATEWAY])
            await self.refused(
                403, "Origin", "Host: localhost", f"Origin: {origin}", *ASKS, path="/v1/changes", method="OPTIONS", cors=[GATEWAY]
            )
        await self.refused(403, "Origin", *HEAD, HEAD[1], cors=[GATEWAY])
        await self.refused(403, "Origin", *HEAD, *ASKS, path="/v1/changes", method="OPTIONS")
        await self.refused(421, "Host", "Host: evil.example", HEAD[1], cors=[GATEWAY])

    async def test_without_an_origin(self) -> None:
        """What a page sends without asking, and without its origin, is refused as before."""
        cross = ("Host: localhost", "Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: no-cors")
        await self.refused(403, "Sec-Fetch-Site", *cross, cors=[GATEWAY])

        async def scene(house: House) -> Any:
            self.assertEqual(await self.ask(house, (*HEAD, "Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: cors")), [200] * 3)

        await self.both(scene, without=False, cors=[GATEWAY])
        await self.refused(
            415, "Content-Type", *HEAD, "Content-Type: text/plain", path="/v1/nudge", method="POST", body=b"{}", cors=[GATEWAY]
        )

    async def test_taken_away(self) -> None:
        """An origin that is listed no more is refused at once, on open connections too."""

        async def scene(house: House) -> Any:
            client = house.client()
            for count in range(4):
                if count == 2:
                    self.assertTrue(house.resource.admission.cors.give([]))
                client.send("\r\n".join(("GET /v1/jobs/memory/1 HTTP/1.1", *HEAD, "", "")).encode())
                await client.until(lambda count=count: len(heads(client.got)) > count)
            self.assertEqual(statuses(client.got), [200, 200, 403, 403])
            self.assertNotIn("access-control-allow-origin", heads(client.got)[-1])

        await self.both(scene, without=False, cors=[GATEWAY])


class OriginTests(SynchronousTestCase):
    """How an origin is written."""

    def test_read(self) -> None:
        """As a browser sends it, however it was written."""
        for given, wanted in (
            (GATEWAY, GATEWAY), ("HTTPS://Gateway.Example.org/", GATEWAY), (f"{GATEWAY}:443", GATEWAY), ("http://a:80", "http://a"),
            ("http://a:08080", "http://a:8080"), ("https://[2001:db8::1]:8443", "https://[2001:db8::1]:8443"),
        ):  # fmt: skip
            self.assertEqual(Origin().read(given), wanted)

    def test_none(self) -> None:
        """What is no origin is refused; all of them cannot be listed."""
        for given in ("*", "null", "gateway.example.org", "https://", "ftp://a", "https://a/b", "https://*.a", "https://a:0", "https://a:65536", "https://u@a", "", 5):
            with self.assertRaisesRegex(ValueError, "such as https://gateway.example.org"):
                Origin().read(given)
