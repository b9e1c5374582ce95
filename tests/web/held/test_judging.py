"""What becomes of held requests when it changes what may be shown to whom. The same with channels and without them."""

from __future__ import annotations

import json
from typing import Any

from twisted.internet import reactor as real_reactor
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import deferLater
from zope.interface import implementer

from jobpush.core.model import QueueFacts
from jobpush.web.access import Policy
from jobpush.web.identity import IAuthenticator, Identity
from jobpush.web.principal import Principal, Role
from jobpush.web.requests import ClientRequest
from tests.support import Says
from tests.web.held.test_connections import Client, House, Stage, bodies, stream_of

reactor: Any = real_reactor

OPEN = QueueFacts(sees_all=True)
HIDES = QueueFacts(sees_all=True, hides_jobs=True, evidence="a test")


@implementer(IAuthenticator)
class ByConnection:
    """Who asks is known by the connection: clients of different users send the very same bytes."""

    how = "connect"
    explicit = False

    def __init__(self) -> None:
        self.principals: dict[int, Principal] = {}

    def principal(self, request: ClientRequest) -> Deferred[Principal | None]:
        return succeed(self.principals.get(request.channel.transport.client[1]))  # type: ignore[call-overload]


class JudgingStage(Stage):
    """A service with job 1, which is kim's, and job 2, which is lee's."""

    async def scene_of(self, scene: Any, says: Says | None = None, without: bool = True, **policy: Any) -> Any:
        """Play it, with who asks known by the connection, or by a header."""
        by = ByConnection()

        async def played(house: House) -> Any:
            house.lab.queue.set("1", "RUNNING", user="kim")
            house.lab.queue.set("2", "RUNNING", user="lee")
            house.lab.tick()

            def client(name: str, role: str | None = None, expires_at: float | None = None) -> Client:
                made = house.client()
                roles = frozenset({Role(role)} if role is not None else ())
                if name:
                    by.principals[made.socket.getsockname()[1]] = Principal(name, expires_at, roles, credential=name)
                return made

            return await scene(house, client)

        return await self.both(played, without, policy=Policy(**policy), identity=Identity([says or by]))

    @staticmethod
    def says(house: House, facts: QueueFacts | None) -> None:
        """The scheduler says that."""
        house.lab.queue.facts = facts if facts is not None else OPEN
        house.lab.service.monitors["memory"].status.facts = facts
        house.lab.service.hiding.checked()


def statuses(client: Client) -> list[int]:
    """Those of all answers."""
    return [int(head.split(b" ")[1]) for head in client.got.split(b"HTTP/1.1")[1:] for head in [b"x" + head]]


class PollTests(JudgingStage):
    """Long polls and barriers."""

    async def test_same_bytes(self) -> None:
        """Two users and an operator who send the same bytes, again and again, get what each may see: held, at once, after events."""

        async def scene(house: House, client: Any) -> Any:
            self.says(house, HIDES)
            clients = [client("kim"), client("lee"), client("pat", "operator"), client("kim")]
            for round_ in range(3):
                for path in ("/v1/jobs/memory/1", "/v1/jobs", "/v1/changes?since=0&wait=0"):
                    for each in clients:
                        before = len(bodies(each.got))
                        each.get(path)
                        await each.until(lambda each=each, before=before: house.lab.tick() or len(bodies(each.got)) > before)
                before = [len(bodies(each.got)) for each in clients]
                held = house.registry.held
                for each in clients:
                    each.get("/v1/changes?since=now&wait=600")
                await house.held(held + 4)
                house.lab.set("1", ("SUSPENDED", "RUNNING")[round_ % 2], user="kim")
                await clients[0].answers(before[0] + 1)
                await clients[2].answers(before[2] + 1)
                house.lab.set("2", ("SUSPENDED", "RUNNING")[round_ % 2], user="lee")
                await clients[1].answers(before[1] + 1)
            self.assertEqual(house.registry.held, 0)
            found = []
            for each in clients:
                users = set()
                for body in bodies(each.got):
                    fields = json.loads(body)
                    jobs = [*fields.get("jobs", ()), *(e["job"] for e in fields.get("events", ())), *([fields["job"]] if fields.get("job") else [])]
                    users |= {job["user"] for job in jobs}
                found.append(sorted(user for user in users if user))
            return found

        self.assertEqual(await self.scene_of(scene), [["kim"], ["lee"], ["kim", "lee"], ["kim"]])

    async def test_what_is_open_leaves_nothing(self) -> None:
        """After what is answered whoever asks, the same headers are looked at: what they say may be wrong."""

        async def scene(house: House, client: Any) -> Any:
            given = []
            for path in ("/dashboard/main.js", "/healthz", "/docs"):
                each = client("")
                each.get(path, "Authorization: wrong")
                await each.until(lambda each=each: b"HTTP/1.1 200" in each.got)
                await deferLater(reactor, 0.1)  # the whole of it
                each.get("/v1/jobs/memory/1", "Authorization: wrong")
                await each.until(lambda each=each: each.got.count(b"HTTP/1.1 ") == 2)
                given.append(each.got.rpartition(b"HTTP/1.1 ")[2][:3])
            return given

        self.assertEqual(await self.scene_of(scene, says=Says("authorization"), without=False), [b"401"] * 3)

    async def test_it_begins_to_hide(self) -> None:
        """One's own goes on; another's is as one that does not exist; nobody is told 401; an operator sees nothing of it."""

        async def scene(house: House, client: Any) -> Any:
            paths = {
                "own": ("kim", "/v1/jobs/memory/1?until=terminal&wait=500"),
                "another's": ("kim", "/v1/jobs/memory/2?until=terminal&wait=500"),
                "all changes": ("kim", "/v1/changes?since=now&wait=500"),
                "own barrier": ("kim", "/v1/wait?job=1&wait=500"),
                "barrier": ("kim", "/v1/wait?job=1&job=2&wait=500"),
                "2010": ("kim", "/jobstatus?jobId=2&since=now&timeout=500"),
                "nobody": ("", "/v1/jobs/memory/1?until=terminal&wait=500"),
                "operator": ("pat operator", "/v1/changes?since=now&wait=500&user=lee"),
            }
            clients = {}
            for name, (who, path) in paths.items():
                clients[name] = client(*who.split())  if who else client("")
                clients[name].get(path)
                await house.held(len(clients))
            self.says(house, HIDES)
            for _ in range(3):
                house.lab.tick()
            await clients["nobody"].until(lambda: clients["nobody"].closed)
            for name in ("another's", "2010"):
                await clients[name].answers(1)
            await house.held(5)
            house.lab.set("2", "COMPLETED", user="lee")
            await clients["operator"].answers(1)
            await house.held(4)
            house.lab.set("1", "COMPLETED", user="kim")
            for name in ("own", "all changes", "own barrier", "barrier"):
                await clients[name].answers(1)
            return {name: house.plain(each.got) for name, each in clients.items()}

        given = await self.scene_of(scene)
        told = {name: json.loads(bodies(got)[0]) for name, got in given.items()}
        self.assertEqual({name: int(got.split(b" ")[1]) for name, got in given.items()}, {
            "own": 200, "another's": 404, "all changes": 200, "own barrier": 200, "barrier": 200, "2010": 404, "nobody": 401, "operator": 200,
        })  # fmt: skip
        self.assertEqual(told["own"]["job"]["state"], "COMPLETED")
        self.assertEqual([event["job"]["id"] for event in told["all changes"]["events"]], ["1"])
        self.assertEqual((told["barrier"]["unknown"], [met["job"] for met in told["barrier"]["met"]]), (["memory/2"], ["memory/1"]))
        self.assertEqual([met["job"] for met in told["own barrier"]["met"]], ["memory/1"])

    async def test_it_is_not_known(self) -> None:
        """While it is not known, what is held stays as it was."""

        async def scene(house: House, client: Any) -> Any:
            clients = [client("kim"), client("")]
            for each in clients:
                each.get("/v1/changes?since=now&wait=500")
            await house.held(2)
            self.says(house, None)
            await house.held(2)
            self.says(house, OPEN)
            house.lab.set("2", "SUSPENDED", user="lee")
            return [await each.answers(1) for each in clients]

        for got in await self.scene_of(scene):
            self.assertEqual([event["job"]["id"] for event in json.loads(bodies(got)[0])["events"]], ["2"])

    async def test_it_hides_no_more(self) -> None:
        """Who has waited for what was hidden is told of it from then on."""

        async def scene(house: House, client: Any) -> Any:
            self.says(house, HIDES)
            each = client("kim")
            each.get("/v1/changes?since=now&wait=500")
            await house.held(1)
            house.lab.set("2", "SUSPENDED", user="lee")
            self.says(house, OPEN)
            house.lab.set("2", "RUNNING", user="lee")
            return await each.answers(1)

        events = json.loads(bodies(await self.scene_of(scene))[0])["events"]
        self.assertEqual([(event["job"]["id"], event["job"]["state"]) for event in events], [("2", "RUNNING")])

    async def test_revoked_and_expired(self) -> None:
        """Held for a credential that is revoked, or has expired: 401, and the next request is read anew; others are held on."""

        async def scene(house: House, client: Any) -> Any:
            now = house.lab.clock.seconds()
            revoked, expires, stays = client("kim"), client("lee", None, now + 20), client("pat")
            for count, each in enumerate((revoked, expires, stays), 1):
                each.get("/v1/changes?since=now&wait=500")
                await house.held(count)
            house.resource.identity.revoke(lambda principal: principal.credential == "kim")
            await revoked.until(lambda: revoked.closed)
            await house.held(2)
            house.lab.clock.advance(21)
            await expires.until(lambda: expires.closed)
            await house.held(1)
            house.lab.set("1", "SUSPENDED", user="kim")
            return [house.plain(revoked.got), house.plain(expires.got), await stays.answers(1)]

        given = await self.scene_of(scene)
        self.assertEqual([int(got.split(b" ")[1]) for got in given], [401, 401, 200])


class StreamTests(JudgingStage):
    """Server-sent events."""

    async def test_it_begins_to_hide(self) -> None:
        """A stream goes on, after ``reset``, with one's own jobs; nobody's ends with it; an operator's goes on as if nothing were."""

        async def scene(house: House, client: Any) -> Any:
            clients = [client("kim"), client(""), client("pat", "operator")]
            for count, each in enumerate(clients, 1):
                each.get("/v1/events")
                await house.held(count)
            house.lab.set("2", "SUSPENDED", user="lee")
            for each in clients:
                await each.until(lambda each=each: b"SUSPENDED" in each.got)
            self.says(house, HIDES)
            await clients[1].until(lambda: b"event: reset" in clients[1].got and clients[1].got.endswith(b"0\r\n\r\n"))
            house.lab.set("2", "RUNNING", user="lee")
            house.lab.set("1", "SUSPENDED", user="kim")
            await clients[2].until(lambda: clients[2].got.count(b"event: job") == 3)
            await clients[0].until(lambda: b'"id":"1"' in clients[0].got)
            for each in (clients[0], clients[2]):
                each.socket.close()
            await house.held(0)
            return [stream_of(house.plain(each.got)) for each in clients]

        kim, nobody, pat = await self.scene_of(scene)
        self.assertEqual([got.count(b"event: reset") for got in (kim, nobody, pat)], [1, 1, 0])
        after = kim.partition(b"event: reset")[2]
        self.assertIn(b'"id":"1"', after)
        for got in (after, nobody.partition(b"event: reset")[2]):
            self.assertNotIn(b'"id":"2"', got)
        self.assertEqual(pat.count(b"event: job"), 3)

    async def test_revoked_and_expired(self) -> None:
        """It ends with ``reset``."""

        async def scene(house: House, client: Any) -> Any:
            clients = [client("kim"), client("lee", None, house.lab.clock.seconds() + 20)]
            for count, each in enumerate(clients, 1):
                each.get("/v1/events")
                await house.held(count)
            house.resource.identity.revoke(lambda principal: principal.credential == "kim")
            await house.held(1)
            house.lab.clock.advance(21)
            await house.held(0)
            for each in clients:
                await each.until(lambda each=each: each.got.endswith(b"0\r\n\r\n"))
            return [stream_of(house.plain(each.got)) for each in clients]

        for got in await self.scene_of(scene):
            self.assertEqual(got.count(b"event: reset"), 1)
