"""
What must hold for every request, over real sockets: on the fast path and without it. Every refusal is tried three times on one
connection, behind a request that has passed there.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from treq.testing import StubTreq
from twisted.trial.unittest import SynchronousTestCase

from jobpush.core.model import QueueFacts
from jobpush.web import resource
from tests.support import Lab
from tests.web.held.test_connections import House, Stage, bodies
from tests.web.held.test_fast_path import Watch, ask

JSON = "Content-Type: application/json"


def statuses(data: bytes) -> list[int]:
    """The status of each answer, none of which has such a line in its body."""
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3}) ", data)]


class AdmissionStage(Stage):
    """What is refused, and what is not."""

    async def ask(self, house: House, lines: Sequence[str], path: str = "/v1/jobs/memory/1", method: str = "GET", body: bytes = b"") -> list[int]:
        """
        The statuses of a request that passes, and then of three with these header lines on the same connection; of fewer if it was
        closed.
        """
        client = house.client()
        await ask(client, "/v1/jobs/memory/1", "/v1/jobs/memory/1")
        client.got = b""
        for count in range(3):
            if client.closed:
                break
            head = [f"{method} {path} HTTP/1.1", *lines, *([f"Content-Length: {len(body)}"] if body else []), "", ""]
            client.send("\r\n".join(head).encode("latin-1") + body)
            await client.until(lambda count=count: len(bodies(client.got)) > count)
            await client.until(lambda count=count: client.closed or b"Connection: close" not in client.got)
        self.last = bodies(client.got)[-1]
        return statuses(client.got)

    async def refused(
        self, status: int, parameter: str, *lines: str, times: int = 3, path: str = "/v1/jobs/memory/1", method: str = "GET", body: bytes = b"",
        without: bool = False, **how: Any,
    ) -> str:  # fmt: skip
        """It is refused so each time, on both ways; the detail."""
        details: list[str] = []

        async def scene(house: House) -> Any:
            got = await self.ask(house, lines, path, method, body)
            self.assertEqual(got, [status] * times, (lines, path))
            problem = json.loads(self.last)
            self.assertEqual((problem["status"], problem["parameter"]), (status, parameter))
            details.append(problem["detail"])

        await self.both(scene, without=without, **how)
        return details[0]

    async def taken(self, *lines: str, status: int = 200, **how: Any) -> None:
        """It is taken each time, on both ways."""

        async def scene(house: House) -> Any:
            self.assertEqual(await self.ask(house, lines, **how), [status] * 3, lines)

        await self.both(scene, without=False)


class HostTests(AdmissionStage):
    """``Host``."""

    async def test_known(self) -> None:
        """Loopback by any name, whatever the port; case, and a dot at the end, say nothing."""
        for host in ("localhost", "LOCALHOST.:9999", "127.0.0.1:1", "127.3.2.1", "[::1]:8080", "jobs.localhost"):
            await self.taken(f"Host: {host}")

    async def test_unknown(self) -> None:
        """421 on each address but those of health checks, and what is expected is said, and which option helps."""
        for path in ("/v1/jobs/memory/1", "/v1/changes?since=now&wait=5", "/v1/events", "/v1/socket", "/metrics", "/", "/openapi.json", "/no"):
            detail = await self.refused(421, "Host", "Host: evil.example:8080", path=path)
            for part in ("evil.example", "localhost", "--host NAME"):
                self.assertIn(part, detail)
        await self.refused(421, "Host", "Host: evil.example", JSON, path="/v1/nudge", method="POST", body=b"{}")
        await self.refused(421, "Host", "Host: 192.0.2.99")

    async def test_none_or_two_or_an_odd_one(self) -> None:
        """400, and the connection ends: whoever sends that is no client that works (RFC 9112, 3.2). So at health checks."""
        for path in ("/v1/jobs/memory/1", "/healthz"):
            await self.refused(400, "Host", times=1, path=path)
            await self.refused(400, "Host", "Host: localhost", "Host: localhost", times=1, path=path)
            for host in ("", "a b", "u@localhost", "localhost/x", "localhost:80:80", "[::1", "localhost, evil.example", "\xe4"):
                await self.refused(400, "Host", f"Host: {host}", times=1, path=path)

    async def test_health_checks(self) -> None:
        """Are answered whatever the Host is, and in HTTP/1.0 without one; what is asked next with the same headers is not."""
        for path in ("/healthz", "/readyz"):
            await self.taken("Host: evil.example", path=path)

        async def scene(house: House) -> Any:
            client = house.client()
            for path in ("/healthz", "/v1/jobs/memory/1", "/readyz", "/v1/jobs/memory/1", "/v1/changes"):
                client.send(f"GET {path} HTTP/1.1\r\nHost: evil.example\r\n\r\n".encode())
                count = len(bodies(client.got))
                await client.until(lambda count=count: len(bodies(client.got)) > count)
            self.assertEqual(statuses(client.got), [200, 421, 200, 421, 421])
            old = house.client()
            old.send(b"GET /healthz HTTP/1.0\r\n\r\n")
            await old.until(lambda: old.closed)
            self.assertTrue(old.got.startswith(b"HTTP/1.0 200 "), old.got)
            old = house.client()
            old.send(b"GET /v1/jobs HTTP/1.0\r\n\r\n")
            await old.until(lambda: old.closed)
            self.assertTrue(old.got.startswith(b"HTTP/1.0 400 "), old.got)

        await self.both(scene, without=False)

    async def test_unix_sockets(self) -> None:
        """Any Host, or none: no name has led a page of another site there. Two are none."""

        async def scene(house: House) -> Any:
            for lines in ((), ("Host: whatever.example",), ("Host: /run/jobpush.sock",)):
                wanted = [400] if "/" in "".join(lines) else [200] * 3
                self.assertEqual(await self.ask(house, lines), wanted, lines)
            self.assertEqual(await self.ask(house, ("Host: a", "Host: b")), [400])

        await self.both(scene, without=False, path="socket")

    async def test_absolute_form(self) -> None:
        """A target may say the host, and then the header does not; nor does it for the next request (RFC 9112, 3.2.2)."""
        await self.taken("Host: evil.example", path="http://localhost:80/v1/jobs/memory/1")
        await self.taken("Host: localhost", path="HTTP://127.0.0.1/v1/changes?since=now&wait=0")
        await self.taken("Host: localhost", path="http://localhost", status=200)
        await self.taken("Host: localhost", path="http://localhost?a", status=200)
        await self.refused(421, "Host", "Host: localhost", path="http://evil.example/v1/jobs/memory/1")
        await self.refused(400, "Host", "Host: localhost", path="http://u@localhost/v1/jobs", times=1)
        await self.refused(400, "Host", path="http://localhost/v1/jobs", times=1)

        async def scene(house: House) -> Any:
            client = house.client()
            for target in ("http://localhost/v1/jobs/memory/1", "/v1/jobs/memory/1", "/v1/jobs/memory/1"):
                client.send(f"GET {target} HTTP/1.1\r\nHost: evil.example\r\n\r\n".encode())
                count = len(bodies(client.got))
                await client.until(lambda count=count: len(bodies(client.got)) > count)
            self.assertEqual(statuses(client.got), [200, 421, 421])

        await self.both(scene, without=False)

    async def test_given_names(self) -> None:
        """``--host`` adds names; names that are taken away are refused at once, on open connections too."""

        async def scene(house: House) -> Any:
            hosts = house.resource.admission.hosts
            hosts.give(["*.example"])
            client = house.client()
            watch = Watch(house)

            async def one() -> int:
                count = len(bodies(client.got))
                client.send(b"GET /v1/jobs/memory/1 HTTP/1.1\r\nHost: jobs.example\r\n\r\n")
                await client.until(lambda: len(bodies(client.got)) > count)
                return statuses(client.got)[-1]

            self.assertEqual([await one() for _ in range(3)], [200] * 3)
            self.assertEqual(len(watch.taken), 2 * house.without_channels)
            hosts.give([])
            house.resource.connections.forget_header_blocks()
            self.assertEqual([await one() for _ in range(3)], [421] * 3)

        await self.both(scene, without=False)


class CrossSiteTests(AdmissionStage):
    """``Origin``, ``Sec-Fetch-Site``, ``Content-Type``."""

    async def test_own_origin(self) -> None:
        """A page of this host may ask, also through a proxy that takes the TLS away."""
        for host, origin in (
            ("localhost:8080", "http://localhost:8080"), ("LOCALHOST:8080", "https://localhost:8080"), ("localhost", "http://localhost"),
            ("localhost", "https://localhost:443"), ("localhost:443", "https://localhost"), ("[::1]:80", "http://[::1]"),
        ):  # fmt: skip
            await self.taken(f"Host: {host}", f"Origin: {origin}")
            await self.taken(f"Host: {host}", f"Origin: {origin}", JSON, path="/v1/nudge", method="POST", body=b"{}", status=202)

    async def test_other_origins(self) -> None:
        """403, whatever is asked: a name, a port (another user's on a shared host), no origin, two of them."""
        for origin in (
            "https://evil.example", "http://localhost:8081", "http://localhost.evil.example:8080", "null", "", "file://", "localhost:8080",
            "http://u@localhost:8080", "ftp://localhost:8080", "http://[", "http://localhost:8080:8080",
        ):  # fmt: skip
            await self.refused(403, "Origin", "Host: localhost:8080", f"Origin: {origin}")
            await self.refused(
                403, "Origin", "Host: localhost:8080", f"Origin: {origin}", JSON, path="/v1/nudge", method="POST", body=b"{}"
            )
        same = "Origin: http://localhost:8080"
        await self.refused(403, "Origin", "Host: localhost:8080", same, same)
        for path, method in (("/v1/socket", "GET"), ("/v1/events", "GET"), ("/v1/workflows/w", "DELETE"), ("/v1/nudge", "POST")):
            await self.refused(403, "Origin", "Host: localhost:8080", "Origin: https://evil.example", path=path, method=method)

    async def test_fetch_metadata(self) -> None:
        """What a browser says is of another site is refused; a link may be followed from anywhere."""
        cross = "Sec-Fetch-Site: cross-site"
        for mode in ("no-cors", "cors", "websocket"):
            await self.refused(403, "Sec-Fetch-Site", "Host: localhost", cross, f"Sec-Fetch-Mode: {mode}")
        await self.refused(403, "Sec-Fetch-Site", "Host: localhost", cross)
        for path, method in (("/v1/nudge", "POST"), ("/v1/workflows/w", "DELETE")):
            await self.refused(403, "Sec-Fetch-Site", "Host: localhost", cross, "Sec-Fetch-Mode: navigate", path=path, method=method)
        await self.taken("Host: localhost", cross, "Sec-Fetch-Mode: navigate", path="/dashboard")
        for site in ("same-origin", "none"):
            await self.taken("Host: localhost", f"Sec-Fetch-Site: {site}", "Sec-Fetch-Mode: cors")

    async def test_bodies(self) -> None:
        """A body is JSON and says so, on each route: a page's form, or its plain request, cannot (415)."""
        for lines in ((), ("Content-Type: text/plain",), ("Content-Type: application/x-www-form-urlencoded",), (JSON, JSON), ("Content-Type: application/jsonp",)):
            for path, method in (
                ("/v1/nudge", "POST"), ("/v1/changes", "POST"), ("/v1/wait", "POST"), ("/v1/workflows/w", "PUT"), ("/v1/workflows/w", "DELETE"),
                ("/v1/jobs", "GET"),
            ):  # fmt: skip
                detail = await self.refused(415, "Content-Type", "Host: localhost", *lines, path=path, method=method, body=b"{}")
                self.assertIn("expected Content-Type: application/json", detail)
        for kind in ("application/json; charset=utf-8", "Application/JSON", "application/json;charset=UTF-8"):
            await self.taken("Host: localhost", f"Content-Type: {kind}", path="/v1/nudge", method="POST", body=b"{}", status=202)
        await self.taken("Host: localhost", path="/v1/nudge", method="POST", status=202)

    async def test_chunked_bodies(self) -> None:
        """A body without a length is one too."""

        async def scene(house: House) -> Any:
            for kind, wanted in (("text/plain", 415), ("application/json", 202)):
                client = house.client()
                for count in range(3):
                    client.send(
                        f"POST /v1/nudge HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\nTransfer-Encoding: chunked\r\n\r\n"
                        "2\r\n{}\r\n0\r\n\r\n".encode()
                    )
                    await client.until(lambda client=client, count=count: len(bodies(client.got)) > count)
                self.assertEqual(statuses(client.got), [wanted] * 3)

        await self.both(scene, without=False)


class StrictTests(AdmissionStage):
    """HTTP as RFC 9112 has it."""

    async def test_methods(self) -> None:
        """Methods are in upper case: 501 for others, and the connection ends. What no route takes is 405, whatever it is."""
        for method in ("get", "Get", "post", "pOST"):
            await self.refused(501, "method", "Host: localhost", method=method, times=1)
        for method in ("BREW", "QUERY", "CONNECT", "TRACE"):
            await self.taken("Host: localhost", method=method, status=405)

    async def test_transfer_encoding(self) -> None:
        """Chunked, once, and nothing else: what another server takes for another length is a way to smuggle a request in."""
        chunked, identity = "Transfer-Encoding: chunked", "Transfer-Encoding: identity"
        for lines in ((chunked, identity), (identity, chunked), (identity,), (chunked, chunked), ("Transfer-Encoding: gzip, chunked",),
                      (chunked, "Content-Length: 5"), ("Content-Length: 5", chunked), ("Content-Length: 5", "Content-Length: 5"),
                      ("Content-Length: +5",), ("Transfer-Encoding:",)):  # fmt: skip
            await self.refused(400, "request", "Host: localhost", JSON, *lines, path="/v1/nudge", method="POST", times=1)

    async def test_slashes(self) -> None:
        """Two slashes are not one."""
        for path, method in (("//v1/nudge", "POST"), ("/v1//nudge", "POST"), ("//v1/changes", "GET"), ("//healthz", "GET")):
            await self.taken("Host: localhost", path=path, method=method, status=404)

    async def test_upgrade(self) -> None:
        """426 says what it wants, by its reason phrase and by its header."""

        async def scene(house: House) -> Any:
            client = house.client()
            await ask(client, "/v1/socket", "/v1/socket", "/v1/socket")
            self.assertEqual(client.got.count(b"HTTP/1.1 426 Upgrade Required\r\n"), 3)
            self.assertEqual(client.got.count(b"Upgrade: websocket\r\n"), 3)

        await self.both(scene, without=False)

    async def test_odd_addresses(self) -> None:
        """NUL, what is not UTF-8, and what is given twice: refused, each time, with the parameter's name."""
        await self.refused(400, "path", "Host: localhost", path="/v1/jobs/memory/%ff", times=1)
        await self.refused(400, "id", "Host: localhost", path="/v1/jobs/memory/1%00")
        await self.refused(400, "user", "Host: localhost", path="/v1/changes?user=%ff")
        for name in ("since", "wait", "limit"):
            await self.refused(400, name, "Host: localhost", path=f"/v1/changes?{name}=0&{name}=0")
        await self.refused(400, "until", "Host: localhost", path="/v1/jobs/memory/1?until=change&until=change")
        await self.refused(400, "jobId", "Host: localhost", path="/jobstatus?jobId=1&jobId=1")
        await self.refused(400, "mode", "Host: localhost", path="/v1/wait?job=1&mode=any&mode=any")
        await self.taken("Host: localhost", path="/v1/" + "x" * 3000, status=404)


class HiddenTests(Stage):
    """What passes at one address leaves nothing for another."""

    async def test_hidden_jobs(self) -> None:
        """Where jobs are hidden, health, readiness and metrics are answered; the next address on the connection is not."""

        async def scene(house: House) -> Any:
            house.lab.queue.facts = QueueFacts(sees_all=True, hides_jobs=True, evidence="PrivateData=jobs")
            house.lab.set("2", "RUNNING")
            del house.lab.queue.jobs["2"]
            house.lab.tick()
            got = []
            for path in ("/healthz", "/readyz", "/metrics"):
                client = house.client()
                await ask(client, path, path, "/v1/jobs/memory/1")
                got.append(statuses(client.got))
            self.assertEqual(got, [[200, 200, 401]] * 3)

        await self.both(scene, without=False)


class EmbeddedTests(SynchronousTestCase):
    """`resource` in another program."""

    def test_hosts(self) -> None:
        """The program says what its site is called."""
        lab = Lab().start()
        self.addCleanup(lab.stop)
        lab.treq = StubTreq(resource(lab.service, max_held=10, hosts=["localhost.example"]))
        headers = {"Host": "localhost.example"}
        self.assertEqual(lab.get("/v1/jobs", headers=headers).status, 200)
        lab.treq = StubTreq(resource(lab.service, max_held=10))
        self.assertEqual(lab.get("/v1/jobs", headers=headers).status, 421)
