"""Bad input, routes that are none, faults of ours: always a problem that names what is wrong."""

from __future__ import annotations

import json
import socket
from typing import Any

from twisted.internet import reactor
from twisted.internet.task import deferLater
from twisted.internet.tcp import Server
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SynchronousTestCase, TestCase

from jobpush.web.problems import Problem
from jobpush.web.site import BODY_LIMIT, JobpushSite
from tests.support import Lab, LabCase, quoted


class BadInputTests(LabCase):
    """Parameters."""

    def problem(self, path: str, status: int = 400, **kwargs: Any) -> Any:
        """The problem that a GET is answered with."""
        answer = self.lab.get(path, **kwargs)
        self.assertEqual((answer.status, answer.header("content-type")), (status, "application/problem+json"), path)
        self.assertEqual(answer.json()["status"], status)
        self.assertTrue(answer.json()["detail"])
        return answer.json()

    def test_each_names_its_parameter(self) -> None:
        """400, with the name of the parameter and what was expected."""
        for query, name in {
            "wait=-1": "wait", "wait=abc": "wait", "wait=nan": "wait", "wait=inf": "wait", "wait=": "wait", "wait=1&wait=2": "wait",
            "since=xyz": "since", "since=-1": "since", "since=1-2-3": "since", "since=": "since", "since=%00": "since",
            "since=" + "a" * 200 + "-1": "since", "limit=0": "limit", "limit=-5": "limit", "limit=ten": "limit", "limit=1.5": "limit",
            "limit=99999999999": "limit", "state=DEAD": "state", "cluster=nowhere": "cluster", "sinec=now": "sinec",
            "job=nowhere/1": "job", "job=memory/--help": "job", f"job={quoted('memory/1;rm -rf /')}": "job",
            "user=%ff%fe": "user", "%ff=1": "\ufffd", "workflow=a%20b": "workflow",
        }.items():  # fmt: skip
            problem = self.problem(f"/v1/changes?{query}")
            self.assertEqual(problem["parameter"], name, query)
        self.assertEqual(self.problem("/v1/jobs/memory/1?until=never")["parameter"], "until")
        self.assertEqual(self.problem("/jobstatus?jobId=1&timeout=x")["parameter"], "timeout")
        self.assertEqual(self.problem("/jobstatus?jobId=%24%28id%29")["parameter"], "jobId")

    def test_over_long_waits_are_clamped(self) -> None:
        """Ten minutes at most."""
        answer = self.lab.get("/v1/changes?since=now&wait=1e9")
        self.lab.clock.advance(599)
        self.lab.clock.advance(1.1)
        self.assertTrue(answer.json()["timed_out"])

    def test_ids(self) -> None:
        """What is no id of the scheduler is refused before anything runs; a cluster that is none is not found."""
        queries = self.lab.queue.queries
        for job_id in ("--help", "1;rm -rf /", "$(id)", "`id`", "1\n2", "a" * 5000, "-1", "%", "1/2"):
            self.assertEqual(self.problem(f"/v1/jobs/memory/{quoted(job_id)}?wait=9")["parameter"], "id", job_id)
        self.assertEqual(self.problem("/v1/jobs/nowhere/1", 404)["parameter"], "cluster")
        self.assertEqual(self.lab.queue.queries, queries)

    def test_gone_names_since(self) -> None:
        """410."""
        self.assertEqual(self.problem("/v1/changes?since=abcdef-1", 410)["parameter"], "since")

    def test_bodies(self) -> None:
        """Bodies that are not JSON, not an object, or hold what they should not."""
        for body, status, name in [
            (b"", 400, "body"), (b"{", 400, "body"), (b"[1]", 400, "body"), (b"\xff\xfe", 400, "body"), (b"[" * 100000, 400, "body"),
            (json.dumps({"jobs": "memory/1"}).encode(), 400, "jobs"), (json.dumps({"jobs": [1]}).encode(), 400, "job"),
            (json.dumps({"wait": True}).encode(), 400, "wait"), (b'{"wait":1' + b"0" * 400 + b"}", 400, "wait"), (json.dumps({"wait": "soon"}).encode(), 400, "wait"),
            (json.dumps({"limit": True}).encode(), 400, "limit"), (json.dumps({"since": 5}).encode(), 400, "since"),
            (json.dumps({"user": 5}).encode(), 400, "user"), (json.dumps({"users": ["kim"]}).encode(), 400, "users"),
            (json.dumps({"jobs": [f"memory/{n}" for n in range(100_000)]}).encode(), 413, "jobs"),
        ]:  # fmt: skip
            answer = self.lab.post("/v1/changes", body)
            self.assertEqual((answer.status, answer.header("content-type")), (status, "application/problem+json"), body[:60])
            self.assertEqual(answer.json()["parameter"], name, body[:60])

    def test_ten_thousand_jobs_in_one_request(self) -> None:
        """That many are fine."""
        answer = self.lab.post("/v1/changes", {"since": "now", "jobs": [f"memory/{n}" for n in range(10_000)]})
        self.assertTrue(answer.held)
        self.lab.set("9999", "RUNNING")
        self.assertEqual({e["job"]["id"] for e in answer.json()["events"]}, {"9999"})
        self.assertFalse(self.lab.service.tracker._by_key)

    def test_prefer(self) -> None:
        """A preference is a parameter too."""
        headers = {"If-None-Match": f'W/"{self.lab.cursor}"', "Prefer": "wait=x"}
        self.assertEqual(self.problem("/v1/jobs/memory/1", headers=headers)["parameter"], "Prefer")

    def test_body_and_query(self) -> None:
        """A POST with a query string: which of the two is meant cannot be told."""
        self.assertEqual(self.lab.post("/v1/changes?wait=1", {}).json()["parameter"], "wait")


class RouteTests(LabCase):
    """What Twisted and Klein would answer by themselves."""

    def test_unknown_route(self) -> None:
        """404."""
        for path in ("/v1", "/v1/nothing", "/v1/jobs/", "/v1/jobs/memory", "/%00", "/favicon.ico"):
            answer = self.lab.get(path)
            self.assertEqual((answer.status, answer.header("content-type")), (404, "application/problem+json"), path)

    def test_wrong_method(self) -> None:
        """405, with the methods that are allowed."""
        for method, path in (("DELETE", "/v1/jobs"), ("PUT", "/v1/changes"), ("POST", "/v1/jobs/memory/1"), ("BREW", "/healthz")):
            answer = self.lab.request(method, path)
            self.assertEqual((answer.status, answer.header("content-type")), (405, "application/problem+json"), path)
            self.assertIn("GET", answer.header("allow") or "")

    def test_path_that_is_not_utf8(self) -> None:
        """400."""
        answer = self.lab.get("/v1/jobs/memory/%ff")
        self.assertEqual((answer.status, answer.json()["parameter"]), (400, "path"))

    def test_fault_of_ours(self) -> None:
        """500 as a problem; the traceback is in the log, not in the answer."""
        self.lab.service.monitors["memory"].queue = None  # type: ignore[assignment]
        self.addCleanup(setattr, self.lab.service.monitors["memory"], "queue", self.lab.queue)
        site = JobpushSite(self.lab.resource, self.lab.clock)
        received = speak(site, b"GET /v1/jobs/memory/1 HTTP/1.1\r\nHost: x\r\n\r\n")
        self.assertIn(b"500 Internal Server Error", received)
        self.assertIn(b"application/problem+json", received)
        self.assertNotIn(b"Traceback", received)
        self.assertEqual(len(self.flushLoggedErrors(AttributeError)), 1)

    def test_operations(self) -> None:
        """Health and readiness."""
        self.assertEqual(self.lab.get("/healthz").json()["status"], "ok")
        ready = self.lab.get("/readyz").json()
        self.assertEqual((ready["status"], ready["queues"]["memory"]["missing"]), ("ready", []))


def speak(site: JobpushSite, data: bytes) -> bytes:
    """What a site answers on one connection without a network."""
    from twisted.internet.testing import StringTransport

    site.startFactory()
    transport = StringTransport()
    channel = site.buildProtocol(None)
    assert channel is not None
    channel.makeConnection(transport)
    channel.dataReceived(data)
    from twisted.internet.error import ConnectionDone
    from twisted.python.failure import Failure

    value = transport.value()
    channel.connectionLost(Failure(ConnectionDone()))
    site.stopFactory()
    return value


class LimitTests(TestCase):
    """What is refused while it arrives, over a real socket."""

    def setUp(self) -> None:
        self.lab = Lab().start()
        self.addCleanup(self.lab.stop)
        site = JobpushSite(self.lab.resource, reactor)
        port = reactor.listenTCP(0, site, interface="127.0.0.1")  # type: ignore[attr-defined]
        self.addCleanup(port.stopListening)
        self.port = port.getHost().port
        self.addCleanup(self.connections_are_gone)

    async def connections_are_gone(self) -> None:
        """The server has noticed that its clients left."""
        while any(isinstance(reader, Server) for reader in reactor.getReaders()):  # type: ignore[attr-defined]
            await deferLater(reactor, 0.01)

    async def exchange(self, data: bytes) -> bytes:
        """Send that, and read to the end."""

        def exchange() -> bytes:
            with socket.create_connection(("127.0.0.1", self.port), timeout=10) as sock:
                received = b""
                try:
                    sock.sendall(data)
                    while more := sock.recv(65536):
                        received += more
                except (ConnectionResetError, BrokenPipeError):
                    pass
                return received

        return await deferToThread(exchange)

    async def refused(self, data: bytes, status: int, parameter: str) -> None:
        """It is answered with that problem, and the connection is closed."""
        received = await self.exchange(data)
        head, _, body = received.partition(b"\r\n\r\n")
        self.assertIn(f" {status} ".encode(), head.split(b"\r\n")[0], received[:200])
        self.assertIn(b"application/problem+json", head)
        self.assertEqual(json.loads(body)["parameter"], parameter)

    async def test_query_of_a_megabyte(self) -> None:
        """414, and the client can read it."""
        await self.refused(b"GET /v1/jobs?user=" + b"a" * 1_000_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 414, "request line")

    async def test_headers_too_long(self) -> None:
        """431."""
        lines = b"".join(b"X-%d: %s\r\n" % (n, b"a" * 1000) for n in range(40))
        await self.refused(b"GET / HTTP/1.1\r\nHost: x\r\n" + lines + b"\r\n", 431, "header")
        await self.refused(b"GET / HTTP/1.1\r\nX: " + b"a" * 100_000 + b"\r\n\r\n", 431, "header")

    async def test_not_http(self) -> None:
        """400."""
        await self.refused(b"HELLO\r\n\r\n", 400, "request")
        await self.refused(b"GET / HTTP/1.1\r\nno colon here\r\n\r\n", 400, "request")
        await self.refused(b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400, "request")

    async def test_hosts(self) -> None:
        """A Host header that no host can have."""
        for host in (b"a" * 100, b"..", b"a..b", b"\xff\xfe"):
            received = await self.exchange(b"GET /healthz HTTP/1.1\r\nHost: " + host + b"\r\nConnection: close\r\n\r\n")
            self.assertIn(b"400 Bad Request", received)
            self.assertIn(b"problem+json", received)
        await self.refused(b"GET * HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 400, "path")

    async def test_body_too_long(self) -> None:
        """413, as soon as its length is known, or is reached."""
        length = str(BODY_LIMIT + 1).encode()
        await self.refused(b"POST /v1/changes HTTP/1.1\r\nHost: x\r\nContent-Length: " + length + b"\r\n\r\n{", 413, "body")
        head = b"POST /v1/changes HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: "
        self.assertNotIn(b"100 Continue", await self.exchange(head + length + b"\r\n\r\n"))
        chunk = b"10000\r\n" + b" " * 65536 + b"\r\n"
        chunks = chunk * (BODY_LIMIT // 65536 + 2)
        await self.refused(b"POST /v1/changes HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks, 413, "body")

    async def test_pipelined_requests(self) -> None:
        """A second request behind a held one waits for its turn and is answered."""
        first = b"GET /v1/changes?since=now&wait=0 HTTP/1.1\r\nHost: x\r\n\r\n"
        second = b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        received = await self.exchange(first + second)
        self.assertEqual(received.count(b"HTTP/1.1 200 OK"), 2)
        self.assertLess(received.index(b'"events"'), received.index(b'"version"'))

    async def test_http_1_0(self) -> None:
        """An old client gets its answer, and the connection is closed."""
        received = await self.exchange(b"GET /healthz HTTP/1.0\r\n\r\n")
        self.assertIn(b'"status":"ok"', received)

    async def test_keep_alive(self) -> None:
        """One connection, several requests."""

        def exchange() -> list[int]:
            import http.client

            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
            statuses = []
            for path in ("/healthz", "/v1/nothing", "/v1/changes?since=now&wait=0", "/v1/jobs/memory/9"):
                connection.request("GET", path)
                response = connection.getresponse()
                response.read()
                statuses.append(response.status)
            connection.close()
            return statuses

        self.assertEqual(await deferToThread(exchange), [200, 404, 200, 404])


class ProblemTests(SynchronousTestCase):
    """`Problem`."""

    def test_body(self) -> None:
        """RFC 9457's members, and ours."""
        body = json.loads(Problem(410, "gone", "since", oldest_cursor="e-1").body())
        self.assertEqual(
            body,
            {
                "type": "about:blank", "title": "Gone", "status": 410, "detail": "gone", "parameter": "since",
                "oldest_cursor": "e-1",
            },
        )  # fmt: skip
