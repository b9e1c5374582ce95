"""
The fast path: the next request on a connection, over real sockets, by it and without it: the same bytes either way.
"""

from __future__ import annotations

import gc
import json
import re
import tracemalloc
from typing import Any
from unittest import mock

import attrs
from twisted.internet import reactor as real_reactor
from twisted.internet.task import deferLater
from twisted.trial.unittest import SynchronousTestCase, TestCase

from jobpush.core.filters import Visibility
from jobpush.core.model import QueueFacts
from jobpush.web import Each
from jobpush.web.access import Policy
from jobpush.web.held import fast_path, summary
from jobpush.web.held.fast_path import PLAIN
from jobpush.web.held.questions import Question
from jobpush.web.identity import Identity
from jobpush.web.params import Preference
from jobpush.web.routes.jobs import JobRoutes
from jobpush.web.signed_tokens import keys_of
from jobpush.web.slurm_tokens import SlurmTokens
from tests.service_process import ROOT
from tests.signed import claims, jwks, rs256
from tests.support import NOW, Says
from tests.web.held.test_connections import Client, House, Stage, bodies

reactor: Any = real_reactor


class Watch:
    """What the fast path of a house took, and what it left."""

    def __init__(self, house: House) -> None:
        self.taken: list[bytes] = []
        self.left: list[bytes] = []
        connections = house.resource.connections
        take = connections._take_fast

        def watched(connection: Any, data: bytes) -> bool:
            found = take(connection, data)
            (self.taken if found else self.left).append(data.split(b"\r\n")[0])
            return found

        connections._take_fast = watched  # type: ignore[method-assign]


async def ask(client: Client, *paths: str, headers: tuple[str, ...] = (), **how: Any) -> bytes:
    """One request after another on this connection; all answers so far."""
    for path in paths:
        count = len(bodies(client.got))
        client.get(path, *headers, **how)
        await client.answers(count + 1)
    return client.house.plain(client.got)


class FastPathTests(Stage):
    """Each scene with the fast path, and with channels kept, and so without it."""

    async def test_answers_at_once(self) -> None:
        """Jobs, changes, the call of 2010, errors of each kind: as by the long way."""

        async def scene(house: House) -> Any:
            house.lab.queue.set("2", "RUNNING", name="ü", user="kim")
            house.lab.tick()
            watch, client = Watch(house), house.client()
            paths = [
                "/v1/jobs/memory/1", "/v1/jobs/memory/2", "/v1/jobs/memory/1?since=0", "/v1/jobs/memory/1?until=started&wait=5",
                "/v1/changes", "/v1/changes?since=0", "/v1/changes?since=0&limit=1&user=kim", "/v1/changes?since=now&wait=0",
                "/jobstatus?jobId=1", "/jobstatus", "/v1/jobs/memory/1?since=nonsense", "/v1/jobs/memory/1?wait=-1",
                "/v1/jobs/memory/1?since=zzz-1", "/v1/jobs/nowhere/1", "/v1/jobs/memory/!", "/v1/jobs/memory/1?frobnicate=1",
                "/v1/jobs/memory/1?_=7", "/v1/changes?user=%C3%BC", "/v1/changes?user=%FF", "/v1/changes?name=a%20b+c",
                "/v1/changes?state=RUNNING;state=FAILED", "/v1/jobs/memory/1?since=0&since=0",
            ]  # fmt: skip
            given = await ask(client, *paths)
            self.assertEqual(len(watch.taken), (len(paths) - 3) * house.without_channels, watch.left)
            self.assertEqual(house.free_connections, house.without_channels)
            return given

        given = bodies(await self.both(scene, without=False))
        self.assertEqual(json.loads(given[0])["job"]["id"], "1")
        self.assertEqual([json.loads(body)["status"] for body in given[9:16]], [400, 400, 400, 410, 404, 400, 400])

    async def test_held(self) -> None:
        """Asked again and again: held, answered, held again, by changes and by time."""

        async def scene(house: House) -> Any:
            watch, clients = Watch(house), [house.client() for _ in range(20)]
            for state in ("SUSPENDED", "RUNNING", "SUSPENDED"):
                for client in clients:
                    await house.hold(client)
                house.lab.set("1", state)
                for client in clients:
                    await client.until(lambda client=client, state=state: state.encode() in client.got.split(b"\r\n\r\n")[-1])
            for client in clients:
                await house.hold(client, query="&until=terminal")
            house.lab.clock.advance(61)
            given = [await client.answers(4) for client in clients]
            self.assertEqual(len(watch.taken), 60 * house.without_channels)
            return given

        given = await self.both(scene)
        self.assertEqual([json.loads(body)["timed_out"] for body in bodies(given[0])], [False, False, False, True])

    async def test_alike(self) -> None:
        """Who asks what another one asks, while nothing has happened, joins him; an event, or a job that is dropped, ends that."""

        async def scene(house: House) -> Any:
            connections = house.resource.connections
            joined: list[bool] = []
            joins = connections._hold_again
            connections._hold_again = lambda *asked: (joined.append(joins(*asked)), joined[-1])[1]  # type: ignore[method-assign]
            clients = [house.client() for _ in range(6)]
            for client in clients:
                await ask(client, "/v1/jobs/memory/1")
            path = f"/v1/jobs/memory/1?since={house.lab.cursor}&wait=60"
            joined.clear()

            async def hold(client: Client) -> None:
                before = house.registry.held
                client.get(path)
                await house.held(before + 1)

            await hold(clients[0])
            await hold(clients[1])
            house.lab.service.table.forgotten += 1
            await hold(clients[2])
            house.lab.set("2", "RUNNING")  # nothing to them
            await hold(clients[3])
            await hold(clients[4])
            house.lab.set("1", "SUSPENDED")
            given = [await client.answers(2) for client in clients[:5]]
            given.append(await ask(clients[5], path))  # it has happened
            if house.without_channels:
                self.assertEqual(joined, [False, True, False, False, True, False])
            return given

        given = await self.both(scene)
        self.assertEqual(len(set(given)), 1)

    async def test_the_long_way(self) -> None:
        """What is out of the ordinary is not for the fast path, and right all the same; the next one may be."""

        async def scene(house: House) -> Any:
            watch, client = Watch(house), house.client()
            await ask(client, "/v1/jobs/memory/1")
            etag = f'W/"{house.lab.cursor}"'
            await ask(client, "/v1/jobs/memory/%31", "/v1/jobs/memory//1", "/v1/jobs/memory/1/", "/nothing", "/healthz", "/v1/jobs")
            await ask(client, "/v1/jobs/memory/1", headers=("X-Odd: 1",))
            await ask(client, "/v1/jobs/memory/1", headers=(f"If-None-Match: {etag}",))
            await ask(client, "/v1/changes", method="POST", body=b'{"since": "0"}')
            await ask(client, "/v1/jobs/memory/1", headers=("Cookie: a=b",))
            self.assertEqual(watch.taken, [])
            await ask(client, "/v1/jobs/memory/1", "/v1/jobs/memory/1")
            self.assertEqual(len(watch.taken), int(house.without_channels))
            return house.plain(client.got)

        given = await self.both(scene, without=False)
        self.assertIn(b"HTTP/1.1 304 Not Modified\r\n", given)

    async def test_in_pieces(self) -> None:
        """A request that comes in pieces, or two in one, or one with more behind it."""

        async def scene(house: House) -> Any:
            client = house.client()
            await ask(client, "/v1/jobs/memory/1")
            whole = b"GET /v1/jobs/memory/1?since=0 HTTP/1.1\r\nHost: localhost\r\n\r\n"
            for cut in (1, 3, 20, len(whole) - 2):
                client.send(whole[:cut])
                await deferLater(reactor, 0.01)
                client.send(whole[cut:])
                await client.answers(len(bodies(client.got)) + 1)
            client.send(whole + whole)
            await client.answers(7)
            client.send(whole + whole[:10])
            await client.answers(8)
            client.send(whole[10:])
            await client.answers(9)
            client.send(b"\r\n" + whole)  # an empty line before a request is passed over (RFC 9112, 2.2)
            await client.answers(10)
            client.send(b"GET /v1/jobs/memory/1?since=0  HTTP/1.1\r\nHost: localhost\r\n\r\n")
            await client.until(lambda: client.closed)
            return house.plain(client.got)

        given = await self.both(scene, without=False)
        self.assertIn(b"HTTP/1.1 400 ", given)

    async def test_an_empty_line_before_the_first_request(self) -> None:
        """The headers of a request begin after its request line, not after an empty line that was passed over."""

        async def scene(house: House) -> Any:
            watch, client = Watch(house), house.client()
            first = b"\r\nGET /v1/jobs/memory/1 HTTP/1.1\r\nHost: localhost\r\n\r\n"
            client.send(first)
            await client.answers(1)
            client.send(b"GET /v1/changes HTTP/1.1" + first)  # two request lines
            await client.until(lambda: client.closed)
            self.assertEqual(watch.taken, [])
            return house.plain(client.got)

        given = await self.both(scene, without=False)
        self.assertEqual(re.findall(rb"HTTP/1.1 (\d+)", given), [b"200", b"400"])

    async def test_other_methods_and_versions(self) -> None:
        """Another method, or HTTP/1.0, with the headers of the request before is answered as what it is."""

        async def scene(house: House) -> Any:
            given = []
            for line in (b"PUT /v1/jobs/memory/1 HTTP/1.1", b"HEAD /v1/jobs/memory/1 HTTP/1.1", b"GET /v1/jobs/memory/1 HTTP/1.0"):
                client = house.client()
                await ask(client, "/v1/jobs/memory/1")
                before = len(client.got)
                client.send(line + b"\r\nHost: localhost\r\n\r\n")
                await client.until(lambda client=client, before=before: b"\r\n\r\n" in client.got[before:])
                if line.endswith(b"1.0"):
                    await client.until(lambda client=client: client.closed)
                given.append(house.plain(client.got[before:]))
            return given

        put, head, old = await self.both(scene, without=False)
        self.assertTrue(put.startswith(b"HTTP/1.1 405 "))
        self.assertTrue(head.endswith(b"\r\n\r\n"))
        self.assertIn(b'"job":', old)

    async def test_a_blank_line_before_a_request(self) -> None:
        """Such a request leaves no header block: a later one with two request lines is refused as it is the ordinary way."""

        async def scene(house: House) -> Any:
            client = house.client()
            request = b"GET /v1/jobs/memory/1 HTTP/1.1\r\nHost: localhost\r\n\r\n"
            client.send(b"\r\n" + request)
            await client.answers(1)
            await house.until(lambda: house.free_connections == house.without_channels)
            client.send(b"GET /v1/changes HTTP/1.1\r\n" + request)
            await client.until(lambda: client.closed)
            return re.findall(rb"HTTP/1.1 (\d+)", client.got)

        self.assertEqual(await self.both(scene, without=False), [b"200", b"400"])

    async def test_barriers_and_workflows(self) -> None:
        """Barriers and workflows are asked for on the fast path too, held and answered as by the ordinary way."""

        async def scene(house: House) -> Any:
            house.lab.put("/v1/workflows/w", {"jobs": ["memory/1"]})
            watch, client = Watch(house), house.client()
            await ask(client, "/v1/workflows/w", "/v1/wait?job=memory/1&until=started", "/v1/workflows/nothing")
            for path in ("/v1/wait?job=memory/1&workflow=w&wait=60", "/v1/workflows/w?since=CURSOR&wait=60"):
                client.get(path.replace("CURSOR", house.lab.cursor))
                await house.held(1)
                state = "SUSPENDED" if house.lab.states()["1"] == "RUNNING" else "COMPLETED"
                house.lab.set("1", state)
                if "wait?" in path:
                    house.lab.clock.advance(61)
                await house.held(0)
            given = await client.answers(5)
            self.assertEqual(len(watch.taken), 4 * house.without_channels, watch.left)
            return given

        given = bodies(await self.both(scene))
        self.assertEqual([json.loads(body).get("status") for body in given], [None, None, 404, None, None])

    async def test_needs_the_disk(self) -> None:
        """An answer that only the journal has is fetched the long way."""

        async def scene(house: House) -> Any:
            for number in range(30):
                house.lab.set("1", "SUSPENDED" if number % 2 else "QUEUED")
            house.lab.service.tail._events = house.lab.service.tail._events[-3:]
            watch, client = Watch(house), house.client()
            await ask(client, "/v1/jobs/memory/1")
            house.lab.threads.hold()
            client.get("/v1/changes?since=0")
            await house.until(lambda: house.lab.threads.held)
            house.lab.threads.release()
            self.assertEqual(watch.taken, [])
            return await client.answers(2)

        given = bodies(await self.both(scene, without=False))
        self.assertEqual(len(json.loads(given[1])["events"]), 31)

    async def test_unknown_jobs(self) -> None:
        """An id that is not known is looked for in a query that begins after the request."""

        async def scene(house: House) -> Any:
            client = house.client()
            await ask(client, "/v1/jobs/memory/1")
            client.get("/v1/jobs/memory/9?wait=60")
            await house.held(1)
            house.lab.queue.set("9", "RUNNING")
            await house.until(lambda: (house.lab.clock.advance(0.1), client.read(), len(bodies(client.got)) == 2)[2])
            return [json.loads(body)["job"]["state"] for body in bodies(client.got)]

        self.assertEqual(await self.both(scene), ["RUNNING", "RUNNING"])

    async def test_hidden_jobs(self) -> None:
        """Where the scheduler begins to hide jobs, each request on a connection is refused, and refusals leave nothing behind."""

        async def scene(house: House) -> Any:
            client = house.client()
            house.lab.set("2", "RUNNING")
            await ask(client, "/v1/jobs/memory/1", "/v1/jobs/memory/1")
            house.lab.queue.facts = QueueFacts(sees_all=True, hides_jobs=True, evidence="a test")
            del house.lab.queue.jobs["2"]  # what may be seen is asked again, when a job is missing
            house.lab.tick()
            client.get("/v1/jobs/memory/1")
            await client.until(lambda: client.closed)
            given = [client.got]
            for _ in range(2):
                again = house.client()
                again.get("/v1/jobs/memory/1")
                again.get("/v1/jobs/memory/1")
                await again.until(lambda again=again: again.closed)
                given.append(again.got)
            return [house.plain(got) for got in given]

        given = await self.both(scene, without=False)
        self.assertEqual([re.findall(rb"HTTP/1.1 (\d+)", got) for got in given], [[b"200", b"200", b"401"], [b"401"], [b"401"]])

    async def test_refusals(self) -> None:
        """What is refused for who asks is refused the first time, the second and the third, and ends the connection."""

        async def scene(house: House) -> Any:
            given = []
            for request in (b"GET /v1/jobs/\xff HTTP/1.1\r\nHost: localhost\r\n\r\n", b"GET /v1/jobs HTTP/1.1\r\nHost: \xff\r\n\r\n"):
                for _ in range(3):
                    client = house.client()
                    for _ in range(3):
                        client.send(request)
                    await client.until(lambda client=client: client.closed)
                    given.append(re.findall(rb"HTTP/1.1 (\d+)", client.got))
            return given

        for statuses in await self.both(scene, without=False):
            self.assertEqual(statuses, [b"400"])

    async def test_who_has_expired(self) -> None:
        """A request of a principal that has expired meanwhile is read anew."""

        async def scene(house: House) -> Any:
            watch, client, headers = Watch(house), house.client(), ("Authorization: kim",)
            await ask(client, "/v1/jobs/memory/1", "/v1/jobs/memory/1", headers=headers)
            house.lab.clock.advance(31)
            await ask(client, "/v1/jobs/memory/1", headers=headers)
            self.assertEqual((len(watch.taken), len(watch.left)), (house.without_channels, house.without_channels))

        identity = Identity([Says("authorization", expires_at=NOW + 30)])
        await self.both(scene, without=False, identity=identity)

    async def test_tokens_of_slurm(self) -> None:
        """Who sends one keeps the fast path, until it ends; another one on the same connection is read as what it is."""

        async def scene(house: House) -> Any:
            lab = house.lab
            house.resource.identity.add(SlurmTokens(lab.clock, lambda: keys_of(jwks(0)), lab.clocks.wall))
            lab.queue.set("2", "RUNNING", user="kim")
            lab.tick()
            watch, client = Watch(house), house.client()
            kim, lee = (rs256(claims(lab.clocks.wall(), sun=user, exp=lab.clocks.wall() + 10)) for user in ("kim", "lee"))
            first = (f"X-SLURM-USER-TOKEN: {kim}", "X-SLURM-USER-NAME: kim")
            given = []
            for headers in (first, first, (f"Authorization: Bearer {lee}",), (f"X-SLURM-USER-TOKEN: {lee}",), (f"X-SLURM-USER-TOKEN: {lee}",), first):
                await ask(client, "/v1/changes?since=0&wait=0", headers=headers)
                given.append(b"kim" in bodies(client.got)[-1])
            self.assertEqual((given, len(watch.taken)), ([True, True, False, False, False, True], 2 * house.without_channels))
            lab.clock.advance(21)
            await ask(client, "/v1/jobs/memory/2", headers=first)
            self.assertEqual(len(watch.taken), 2 * house.without_channels)
            return re.findall(rb"HTTP/1.1 (\d+)", client.got)[-1]

        self.assertEqual(await self.both(scene, without=False, policy=Policy(private=True)), b"401")

    async def test_too_many(self) -> None:
        """The cap holds on the fast path too."""

        async def scene(house: House) -> Any:
            one, two = house.client(), house.client()
            await ask(two, "/v1/jobs/memory/1")
            await house.hold(one)
            two.get(f"/v1/jobs/memory/1?since={house.lab.cursor}&wait=60")
            given = await two.answers(2)
            one.socket.close()
            await house.held(0)
            return given

        self.assertIn(b"HTTP/1.1 503 ", await self.both(scene, max_held=1))

    async def test_the_access_log(self) -> None:
        """The same lines."""

        async def scene(house: House) -> Any:
            client = house.client()
            await ask(client, "/v1/jobs/memory/1", "/v1/jobs/memory/7", headers=("User-Agent: a\"b", "Referer: r"))
            return [line.split("]")[1].rpartition(" ")[0] for line in house.access_log()]

        self.assertEqual(len(await self.both(scene, without=False)), 2)

    async def test_the_end_of_the_service(self) -> None:
        """Who is held is told to come back on another connection; who asks after that is not held."""

        async def scene(house: House) -> Any:
            one, two = house.client(), house.client()
            await ask(one, "/v1/jobs/memory/1")
            await ask(two, "/v1/jobs/memory/1")
            await house.hold(one)
            house.lab.service.announce_end()
            await one.until(lambda: one.closed)
            two.get(f"/v1/jobs/memory/1?since={house.lab.cursor}&wait=60")
            await two.until(lambda: two.closed)
            return [house.plain(client.got) for client in (one, two)]

        for given in await self.both(scene):
            self.assertIn(b"Connection: close", given)

    async def test_a_fault_in_a_response(self) -> None:
        """A response that cannot be made is a 500, too."""

        async def scene(house: House) -> Any:
            client = house.client()
            await ask(client, "/v1/jobs/memory/1")
            with mock.patch.object(JobRoutes, "response", None):
                given = await ask(client, "/v1/jobs/memory/1")
            self.assertEqual(len(self.flushLoggedErrors(TypeError)), 1)
            return re.findall(rb"HTTP/1.1 (\d+)", given)

        await self.both(scene, without=False)


class KeptTests(TestCase):
    """What is kept for the fast path, and how much of it."""

    timeout = 60

    async def test_bounded(self) -> None:
        """Clients with headers and addresses of their own fill no memory."""
        most = 50
        self.patch(summary, "MOST_BLOCKS", most)
        self.patch(summary, "MOST_SUMMARIES", most)

        def kept() -> int:
            gc.collect()
            return sum(isinstance(thing, summary.HeaderBlock | summary.Summary) for thing in gc.get_objects())

        before = kept()
        house = House(self, True)
        client = house.client()
        for number in range(3 * most):
            count = len(bodies(client.got))
            client.get("/v1/jobs/memory/1", f"User-Agent: {number}")
            client.get(f"/v1/jobs/memory/1?_={number}", f"User-Agent: {number}")
            await client.answers(count + 2)
            client.got = b""
        self.assertLessEqual(kept() - before, 2 * most + 4)
        await house.stop()

    async def test_idle_connections_have_no_channel(self) -> None:
        """Also those on which nothing was held; they end when nothing comes for the usual time."""
        house = House(self, True)
        client = house.client()
        await ask(client, "/healthz")
        self.assertEqual(house.free_connections, 1)
        house.lab.clock.advance(78)
        await client.until(lambda: client.closed)
        await house.stop()

    async def test_a_fault(self) -> None:
        """A route that fails is a 500 that says nothing of why, and a traceback in the log."""
        house = House(self, True)
        client = house.client()
        await ask(client, "/v1/jobs/memory/1")
        house.lab.service.table.find = None  # type: ignore[assignment,method-assign]
        await ask(client, "/v1/jobs/memory/1")
        self.assertIn(b"HTTP/1.1 500 Internal Server Error", client.got)
        self.assertNotIn(b"Traceback", client.got)
        self.assertEqual(len(self.flushLoggedErrors(TypeError)), 1)
        self.assertEqual(house.free_connections, 1)
        await house.stop()

    async def test_routes_look_at_no_plain_header(self) -> None:
        """
        What the fast path passes over is nothing that an answer depends on, but who asks: that is kept with the very bytes in
        which it was said.
        """
        source = "".join(path.read_text() for path in (ROOT / "jobpush" / "web").rglob("*.py"))
        for name in ("if-none-match", "prefer", "last-event-id", "upgrade", "connection", "cookie", "range", "expect"):
            self.assertNotIn(name.encode(), PLAIN)
            self.assertFalse(name.startswith(("accept", "sec-", "x-forwarded-")))
        for text in ('getHeader(b"accept', 'getHeader(b"x-forwarded', 'getHeader(b"cache-control', 'getHeader(b"user'):
            self.assertEqual(source.count(text), 1 if "user" in text else 0, text)


class LimitTests(Stage):
    """As many as may be held."""

    async def test_held_already(self) -> None:
        """Who asks what another one is held for is told 503 where no more may be held, and its connection goes on."""

        async def scene(house: House) -> Any:
            first, second = house.client(), house.client()
            for client in (first, second):
                await ask(client, "/v1/jobs/memory/1")
            path = f"/v1/jobs/memory/1?since={house.lab.cursor}&wait=60"
            first.get(path)
            await house.held(1)
            await ask(second, path, path)
            house.lab.set("1", "SUSPENDED")
            await first.answers(2)
            return [await ask(client, "/v1/jobs/memory/1") for client in (first, second)]

        given = await self.both(scene, max_held=1)
        self.assertEqual([re.findall(rb"HTTP/1.1 (\d+)", got) for got in given], [[b"200"] * 3, [b"200", b"503", b"503", b"200"]])

    async def test_each(self) -> None:
        """Whose share is taken is told 429, the others are held; where nothing has happened since, too."""

        async def scene(house: House) -> Any:
            clients = [house.client() for _ in range(3)]
            users = [f"Authorization: {name}" for name in ("kim", "kim", "lee")]
            for client, user in zip(clients, users, strict=True):
                await ask(client, "/v1/jobs/memory/1", headers=(user,))
            path = f"/v1/jobs/memory/1?since={house.lab.cursor}&wait=60"
            clients[0].get(path, users[0])
            await house.held(1)
            await ask(clients[1], path, path, headers=(users[1],))
            clients[2].get(path, users[2])
            await house.held(2)
            house.lab.set("1", "SUSPENDED")
            for client in (clients[0], clients[2]):
                await client.answers(2)
            self.assertEqual(house.violations(), [])
            self.assertEqual(house.registry.shares.refused, {("held", "one"): 2})
            return [house.plain(client.got) for client in clients]

        given = await self.both(scene, identity=Identity([Says("authorization")]), each=Each(held=1))
        statuses = [re.findall(rb"HTTP/1.1 (\d+)", got) for got in given]
        self.assertEqual(statuses, [[b"200"] * 2, [b"200", b"429", b"429"], [b"200"] * 2])

    async def test_requests_a_second(self) -> None:
        """They are counted on both paths, each once."""

        async def scene(house: House) -> Any:
            client = house.client()
            given = await ask(client, *["/v1/jobs/memory/1"] * 6)
            house.lab.clock.advance(1.0)
            return [given, await ask(client, *["/v1/jobs/memory/1"] * 4)]

        given = await self.both(scene, without=False, each=Each(held=3, requests=3))
        statuses = [re.findall(rb"HTTP/1.1 (\d+)", got) for got in given]
        self.assertEqual(statuses[0], [b"200"] * 3 + [b"429"] * 3)
        self.assertEqual(statuses[1][6:] or statuses[1], [b"200"] * 3 + [b"429"])


class BlockTests(SynchronousTestCase):
    """`header_block` and `target_in`: what is kept of a request, and what is taken for one like it."""

    HEADERS = ((b"Host", [b"x"]), (b"User-Agent", [b"a"]))
    RAW = b"\r\nHost: x\r\nUser-Agent: a\r\n\r\n"

    def block(self, piece: bytes, method: bytes = b"GET", version: bytes = b"HTTP/1.1", *more: tuple[bytes, list[bytes]]) -> bytes:
        """What is kept of a request."""
        return fast_path.header_block(piece, method, version, (*self.HEADERS, *more))

    def test_kept(self) -> None:
        """All that followed the request line of one whole request."""
        self.assertEqual(self.block(b"GET / HTTP/1.1" + self.RAW), self.RAW)
        keep_alive = (b"Connection", [b"Keep-Alive"])
        self.assertEqual(self.block(b"GET / HTTP/1.1" + self.RAW, b"GET", b"HTTP/1.1", keep_alive), self.RAW)

    def test_not_kept(self) -> None:
        """Of another method or version, of pieces, of more than one request, of one that is too long, and of other headers: nothing."""
        whole = b"GET / HTTP/1.1" + self.RAW
        self.assertEqual(self.block(whole, b"POST"), b"")
        self.assertEqual(self.block(whole, b"GET", b"HTTP/1.0"), b"")
        for piece in (b"", whole[:-2], whole + b"x", whole + whole, whole + b"\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n", b"GET / HTTP/1.1"):
            self.assertEqual(self.block(piece), b"", piece)
        self.assertEqual(self.block(b"GET / HTTP/1.1\r\nHost: " + b"x" * fast_path.LONGEST + b"\r\n\r\n"), b"")
        for header in ((b"Connection", [b"close"]), (b"connection", [b"keep-alive", b"close"]), (b"If-None-Match", [b"x"]), (b"Cookie", [b"x"])):
            self.assertEqual(self.block(whole, b"GET", b"HTTP/1.1", header), b"", header)
        self.assertEqual(fast_path.header_block(whole, b"GET", b"HTTP/1.1", [(b"User-Agent", [b"a"])]), b"")

    def test_like_it(self) -> None:
        """A whole GET with the same bytes behind its request line."""
        self.assertEqual(fast_path.target_in(b"GET /v1/jobs HTTP/1.1" + self.RAW, self.RAW), b"/v1/jobs")
        for data in (
            b"PUT /v1/jobs HTTP/1.1" + self.RAW, b"GET /v1/jobs HTTP/1.0" + self.RAW, b"GET http://x/ HTTP/1.1" + self.RAW,
            b"GET /v1/jobs HTTP/1.1\r\nX: y" + self.RAW, b"GET /v1/jobs HTTP/1.1" + self.RAW + b"x", b"GET /v1/jobs HTTP/1.1" + self.RAW[:-2],
            self.RAW, b"GET /", b"",
        ):  # fmt: skip
            self.assertIsNone(fast_path.target_in(data, self.RAW), data)

    def test_what_is_kept(self) -> None:
        """The addresses that were asked for last, so many and of so many bytes: ten thousand different long ones fill no memory."""
        targets = fast_path.targets()
        long = b"/v1/changes?since=0&" + b"&".join(b"user=%d" % number for number in range(200))
        first = targets.get(b"/v1/changes?since=0")
        gc.collect()
        tracemalloc.start()
        self.addCleanup(tracemalloc.stop)
        for number in range(3_000):
            self.assertIsNotNone(targets.get(b"%b&user=x%d" % (long, number)))
            self.assertIs(targets.get(b"/v1/changes?since=0"), first, "it was asked for lately")
        self.assertLessEqual(targets.size, fast_path.MOST_TARGET_BYTES)
        self.assertLess(tracemalloc.get_traced_memory()[0], 1.2 * fast_path.MOST_TARGET_BYTES)
        for number in range(2 * fast_path.MOST_TARGETS):
            targets.get(b"/nothing/%d" % number)
        self.assertLess(targets.size, 600 * fast_path.MOST_TARGETS)

    def test_addresses(self) -> None:
        """Addresses of which a router would make nothing else; all others are for the ordinary way."""
        target = fast_path.read_target(b"/v1/jobs/memory/1?since=0&wait=5")
        assert target is not None
        self.assertEqual((target.route, target.arguments, target.parameters), ("job", ("memory", "1"), {"since": ["0"], "wait": ["5"]}))
        target = fast_path.read_target(b"/v1/workflows/w@kim")
        assert target is not None
        self.assertEqual((target.route, target.arguments), ("workflow", ("w@kim",)))
        for uri in (
            b"/v1/changes?user=a b", b"/v1/changes?user=\xc3\xbc", b"/v1/changes?user=a\tb", b"/v1/changes?user=%ff", b"/v1/jobs/memory/1%2F2",
            b"/v1/jobs/memory/1/2", b"/v1/jobs/memory/", b"/v1/jobs/memory", b"/v1/jobs//1", b"/v1/workflows/", b"/v1/workflows/a/b/c", b"/v1/workflows/a/", b"/v1/workflows//a", b"/healthz", b"/",
        ):  # fmt: skip
            self.assertIsNone(fast_path.read_target(uri), uri)

    def test_what_is_kept_of_a_question(self) -> None:
        """The address, where that is all of it: a held question takes up a tenth, and is the same when it is asked again."""
        uri = b"/v1/jobs/memory/1?since=0&wait=5"
        target = fast_path.read_target(uri)
        assert target is not None
        question = fast_path.question_of(target, Visibility("kim"), 7.0, "kim")
        asked = fast_path.kept(question, b"GET", uri, "kim")
        assert isinstance(asked, fast_path.Address)
        self.assertEqual((asked.visibility, asked.size), (question.visibility, question.size))
        self.assertGreater(asked.size, 0)
        again = asked.seen_by(Visibility("lee")).again(9.0)
        self.assertEqual(
            attrs.astuple(again, recurse=False), attrs.astuple(attrs.evolve(question, visibility=Visibility("lee"), came_at=9.0), recurse=False)
        )
        self.assertEqual(asked.again(8.0).visibility, Visibility("kim"))

    def test_of_what_all_is_kept(self) -> None:
        """What a body or a condition says is in no address, nor is what another application in front has taken off the path."""
        uri = b"/v1/jobs/memory/1"
        question = Question("job", ("memory", "1"), {}, 7.0, size=3)
        conditional = attrs.evolve(question, condition=Preference(("x",), 5.0))
        self.assertIsInstance(fast_path.kept(question, b"GET", uri, "kim"), fast_path.Address)
        self.assertIs(fast_path.kept(question, b"POST", uri, "kim"), question)
        self.assertIs(fast_path.kept(conditional, b"GET", uri, "kim"), conditional)
        for other in (b"/api/v1/jobs/memory/1", b"/v1/jobs/memory/2", b"/v1/changes", uri + b"?since=" + b"0" * fast_path.LONGEST):
            self.assertIs(fast_path.kept(question, b"GET", other, "kim"), question, other)
        again = conditional.seen_by(Visibility("lee")).again(9.0)
        self.assertEqual((again.visibility, again.came_at, again.condition), (Visibility("lee"), 9.0, conditional.condition))
