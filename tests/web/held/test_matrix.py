"""
Who sees what: each route, asked by nobody, by a job's owner, by another user and by an operator, with the very same bytes; three times
on one connection, so that the first request is read by the ordinary way and those after it, where they can be, by the fast one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

from wsproto import ConnectionType, WSConnection
from wsproto.events import CloseConnection, Request, TextMessage

from tests.web.held.test_connections import Client, House, bodies
from tests.web.held.test_judging import HIDES, JudgingStage, statuses

#: What is found in whatever shows a job or a workflow of kim's, or of lee's.
MARKS = {"kim": b"alpha-of-kim", "lee": b"beta-of-lee"}

#: Requests that show all that one may see: method, address, fields of the body.
ALL: tuple[tuple[str, str, dict[str, Any] | None], ...] = (
    ("GET", "/v1/jobs", None),
    ("GET", "/v1/jobs?state=SUSPENDED&limit=5000", None),
    ("GET", "/v1/changes?since=0&wait=0", None),
    ("GET", "/v1/changes?since=0&wait=0&name=*of*", None),
    ("POST", "/v1/changes", {"since": "0", "wait": 0}),
)

#: Those that ask for lee's job, workflow or both by name; LEES stands for the job's id.
NAMED: tuple[tuple[str, str, dict[str, Any] | None], ...] = (
    ("GET", "/v1/jobs/memory/LEES", None),
    ("GET", "/v1/jobs/memory/LEES?since=0&wait=0", None),
    ("GET", "/v1/jobs?job=LEES", None),
    ("GET", "/v1/changes?since=0&wait=0&job=LEES", None),
    ("POST", "/v1/changes", {"since": "0", "wait": 0, "jobs": ["memory/LEES"]}),
    ("GET", "/jobstatus?jobId=LEES", None),
    ("GET", "/jobstatus?jobId=LEES&since=0&timeout=0", None),
    ("GET", "/v1/wait?job=LEES&wait=0", None),
    ("POST", "/v1/wait", {"jobs": ["memory/LEES"], "wait": 0}),
    ("GET", "/v1/jobs/memory/LEES?until=started&wait=0", None),
    ("DELETE", "/v1/jobs/memory/LEES", None),
    ("HEAD", "/v1/jobs/memory/LEES", None),
    ("GET", "/v1/jobs?user=lee&job=LEES", None),
)

WORKFLOWS: tuple[tuple[str, str, dict[str, Any] | None], ...] = (
    ("GET", "/v1/workflows/lee/OF_LEE", None),
    ("GET", "/v1/workflows/lee/OF_LEE?since=0&wait=0", None),
    ("GET", "/v1/wait?workflow=lee/OF_LEE&wait=0", None),
    ("GET", "/v1/changes?since=0&wait=0&workflow=lee/OF_LEE", None),
    ("GET", "/v1/jobs?workflow=lee/OF_LEE", None),
    ("PUT", "/v1/workflows/lee/OF_LEE", {"jobs": ["memory/1"]}),
    ("DELETE", "/v1/workflows/lee/OF_LEE", None),
)

ASKERS = ("", "kim", "lee", "pat operator")


class MatrixStage(JudgingStage):
    """Requests of each method, and something to ask for."""

    async def ask(self, client: Client, method: str, address: str, fields: dict[str, Any] | None) -> bytes:
        """One request, and its answer: head and body."""
        body = json.dumps(fields).encode() if fields is not None else b""
        head = f"{method} {address} HTTP/1.1\r\nHost: localhost\r\n"
        if fields is not None:
            head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        before = len(client.got)
        client.send(f"{head}\r\n".encode() + body)

        def whole() -> bool:
            got = client.got[before:]
            found = re.search(rb"\r\n[Cc]ontent-[Ll]ength: (\d+)", got)
            end = got.find(b"\r\n\r\n")
            return end >= 0 and (method == "HEAD" or found is None or len(got) >= end + 4 + int(found[1]))

        await client.until(lambda: whole() or (client.house.lab.tick(), whole())[1])
        return client.got[before:]

    async def prepare(self, house: House, client: Any) -> None:
        """A job of kim's and one of lee's, and a workflow of each."""
        for job_id, user in (("1", "kim"), ("2", "lee")):
            house.lab.queue.set(job_id, "SUSPENDED", user=user, name=MARKS[user].decode())
        house.lab.tick()
        self.says(house, HIDES)
        for job_id, user in (("1", "kim"), ("2", "lee")):
            made = await self.ask(client(user), "PUT", f"/v1/workflows/of-{user}", {"jobs": [f"memory/{job_id}"]})
            self.assertIn(b"HTTP/1.1 201 ", made)


class MatrixTests(MatrixStage):
    """Every route."""

    async def asked_by_each(self, house: House, client: Any, method: str, address: str, fields: Any) -> dict[str, list[bytes]]:
        """What each asker is answered, three times, or once where the connection ends."""
        found: dict[str, list[bytes]] = {}
        for who in ASKERS:
            made = client(*who.split()) if who else client("")
            found[who] = []
            for _ in range(3):
                if not made.closed:
                    found[who].append(await self.ask(made, method, address, fields))
                    await made.until(lambda made=made, who=who: made.closed or b"Connection: close" not in found[who][-1])
        return found

    async def test_all(self) -> None:
        """What lists jobs: each user's own, an operator all, nobody nothing."""

        async def scene(house: House, client: Any) -> Any:
            await self.prepare(house, client)
            for method, address, fields in ALL:
                answers = await self.asked_by_each(house, client, method, address, fields)
                for who, seen in (("", ()), ("kim", ("kim",)), ("lee", ("lee",)), ("pat operator", ("kim", "lee"))):
                    for answer in answers[who]:
                        shown = tuple(user for user, mark in MARKS.items() if mark in answer)
                        self.assertEqual((shown, b"HTTP/1.1 401 " in answer), (seen, who == ""), (who, method, address))
                    self.assertEqual(len(answers[who]), 1 if who == "" else 3)

        await self.scene_of(scene, without=False)

    async def test_named(self) -> None:
        """One by its id: its owner and an operator see it; to another user it is byte for byte one that does not exist."""

        async def scene(house: House, client: Any) -> Any:
            await self.prepare(house, client)
            for method, address, fields in NAMED:
                answers: dict[str, dict[str, list[bytes]]] = {}
                for job_id in ("2", "7"):
                    body = json.loads(json.dumps(fields).replace("LEES", job_id))
                    answers[job_id] = await self.asked_by_each(house, client, method, address.replace("LEES", job_id), body)
                for who in ("", "kim"):
                    there, absent = ([self.plain(each, job_id) for each in answers[job_id][who]] for job_id in ("2", "7"))
                    self.assertEqual(there, absent, (who, method, address))
                    self.assertFalse(any(MARKS["lee"] in each for each in answers["2"][who]))
                if method == "GET" and "since" not in address:
                    for who in ("lee", "pat operator"):
                        shown = [MARKS["lee"] in each or b'"open":["memory/2"]' in each for each in answers["2"][who]]
                        self.assertEqual(shown, [True] * 3, (who, address))

        await self.scene_of(scene)

    async def test_workflows(self) -> None:
        """Another's is one that does not exist, to read, to put and to delete; its owner's is untouched."""

        async def scene(house: House, client: Any) -> Any:
            await self.prepare(house, client)
            for method, address, fields in WORKFLOWS:
                kim: dict[str, list[bytes]] = {}
                for name in ("of-lee", "not-there"):
                    made = client("kim")
                    kim[name] = [await self.ask(made, method, address.replace("OF_LEE", name), fields) for _ in range(3)]
                there, absent = ([self.plain(each, name) for each in kim[name]] for name in ("of-lee", "not-there"))
                self.assertEqual(there, absent, (method, address))
                self.assertFalse(any(MARKS["lee"] in each or b"memory/2" in each for each in kim["of-lee"]), (method, address))
                nobody = await self.ask(client(""), method, address.replace("OF_LEE", "of-lee"), fields)
                self.assertIn(b"HTTP/1.1 401 ", nobody)
            for who in ("lee", "pat operator"):
                own = await self.ask(client(*who.split()), "GET", "/v1/workflows/lee/of-lee", None)
                self.assertIn(b"memory/2", own)
                self.assertEqual(len(json.loads(bodies(own)[0])["jobs"]), 1)

        await self.scene_of(scene, without=False)

    def plain(self, answer: bytes, name: str) -> bytes:
        """An answer without what differs between two requests for the same: the date, ages, and what was asked for."""
        answer = re.sub(rb'Date: [^\r]*|"stale_s":[0-9.]+|[Rr]etry-[Aa]fter: \d+|[Cc]ontent-[Ll]ength: \d+', b"", answer)
        return answer.replace(name.encode() if len(name) > 1 else b"memory/" + name.encode(), b"ID").replace(
            b"lists no job " + name.encode(), b"lists no job ID"
        )


class HeldTests(MatrixStage):
    """Each kind of request that is held, of a user whose token is revoked, and of one whose token ends."""

    HELD = (
        "/v1/changes?since=now&wait=500", "/v1/jobs/memory/1?since=now&wait=500", "/v1/jobs/memory/1?until=terminal&wait=500",
        "/jobstatus?jobId=1&since=now&timeout=500", "/v1/wait?job=1&wait=500", "/v1/wait?job=1&job=2&mode=any&wait=500",
        "/v1/changes?since=now&wait=500&user=kim", "/v1/workflows/kim/of-kim?since=now&wait=500",
        "/v1/workflows/kim/of-kim?until=terminal&wait=500", "/v1/wait?workflow=kim/of-kim&wait=500",
    )  # fmt: skip

    async def test_revoked_and_expired(self) -> None:
        """401 at once, and the connection ends; the same request of somebody else is held on."""

        async def scene(house: House, client: Any) -> Any:
            await self.prepare(house, client)
            for path in self.HELD:
                count = house.registry.held
                revoked, expires, stays = client("kim"), client("kim", None, house.lab.clock.seconds() + 20), client("pat", "operator")
                for number, each in enumerate((revoked, expires, stays), 1):
                    each.get(path)
                    await house.held(count + number)
                house.resource.identity.revoke(lambda principal: principal.name == "kim" and principal.expires_at is None)
                await revoked.until(lambda revoked=revoked: revoked.closed)
                await house.held(count + 2)
                house.lab.clock.advance(21)
                await expires.until(lambda expires=expires: expires.closed)
                await house.held(count + 1)
                self.assertEqual((statuses(revoked), statuses(expires), stays.got), ([401], [401], b""), path)
                stays.socket.close()
                await house.held(count)

        await self.scene_of(scene)


class Following:
    """A client that follows over a WebSocket."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self._protocol = WSConnection(ConnectionType.CLIENT)
        client.send(self._protocol.send(Request(host="localhost", target="/v1/socket")))
        self._read = 0
        self.messages: list[dict[str, Any]] = []
        self.closed: int | None = None

    async def until(self, condition: Callable[[], object]) -> None:
        """Read until that is so."""

        def read() -> object:
            if len(self.client.got) > self._read:
                self._protocol.receive_data(self.client.got[self._read :])
                self._read = len(self.client.got)
            for event in self._protocol.events():
                if isinstance(event, TextMessage):
                    self.messages.append(json.loads(event.data))
                elif isinstance(event, CloseConnection) and self.closed is None:
                    self.closed = event.code
                    self.client.send(self._protocol.send(event.response()))
            return condition()

        await self.client.until(read)

    def jobs(self) -> set[str]:
        """The ids of the jobs that were told of."""
        return {message["job"]["id"] for message in self.messages if "job" in message}


class SocketTests(MatrixStage):
    """WebSockets."""

    async def test_own_jobs(self) -> None:
        """Each is told of the own ones, with the same bytes, whatever was selected; an operator of all; nobody opens one."""

        async def scene(house: House, client: Any) -> Any:
            await self.prepare(house, client)
            following = {who: Following(client(*who.split())) for who in ("kim", "lee", "pat operator")}
            for each in following.values():
                await each.until(lambda each=each: each.messages)
            for state in ("RUNNING", "SUSPENDED", "RUNNING"):
                for job_id, user in (("2", "lee"), ("1", "kim")):
                    house.lab.set(job_id, state, user=user)
            for who, told in (("kim", {"1"}), ("lee", {"2"}), ("pat operator", {"1", "2"})):
                each = following[who]
                await each.until(lambda each=each, told=told: len([m for m in each.messages if "job" in m]) == 3 * len(told))
                self.assertEqual(each.jobs(), told)
                each.client.socket.close()
            nobody = client("")
            nobody.send(WSConnection(ConnectionType.CLIENT).send(Request(host="localhost", target="/v1/socket")))
            await nobody.until(lambda: b"\r\n\r\n" in nobody.got)
            self.assertTrue(nobody.got.startswith(b"HTTP/1.1 401 "), nobody.got)
            await house.held(0)

        await self.scene_of(scene, without=False)

    async def test_revoked_and_expired(self) -> None:
        """Closed with 4401; another goes on."""

        async def scene(house: House, client: Any) -> Any:
            made = client("kim"), client("kim", None, house.lab.clock.seconds() + 20), client("pat", "operator")
            revoked, expires, stays = (Following(each) for each in made)
            for each in (revoked, expires, stays):
                await each.until(lambda each=each: each.messages)
            house.resource.identity.revoke(lambda principal: principal.name == "kim" and principal.expires_at is None)
            await revoked.until(lambda: revoked.closed)
            house.lab.clock.advance(15)
            self.assertIsNone(expires.closed)
            house.lab.clock.advance(6)
            await expires.until(lambda: expires.closed)
            house.lab.set("1", "SUSPENDED", user="kim")
            await stays.until(stays.jobs)
            self.assertEqual((revoked.closed, expires.closed, stays.closed), (4401, 4401, None))
            stays.client.socket.close()
            await house.held(0)

        await self.scene_of(scene, without=False)

    async def test_it_begins_to_hide(self) -> None:
        """One goes on after ``reset`` with one's own; nobody's is closed with 4401."""

        async def scene(house: House, client: Any) -> Any:
            kim, nobody = Following(client("kim")), Following(client(""))
            for each in (kim, nobody):
                await each.until(lambda each=each: each.messages)
            self.says(house, HIDES)
            await nobody.until(lambda: nobody.closed)
            await kim.until(lambda: any(message["type"] == "reset" for message in kim.messages))
            house.lab.set("2", "SUSPENDED", user="lee")
            house.lab.set("1", "SUSPENDED", user="kim")
            await kim.until(kim.jobs)
            self.assertEqual((nobody.closed, kim.jobs(), nobody.jobs()), (4401, {"1"}, set()))
            kim.client.socket.close()
            await house.held(0)

        await self.scene_of(scene, without=False)
