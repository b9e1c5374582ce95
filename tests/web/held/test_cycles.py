"""
A connection that ends leaves no cycle: what it took is freed at once, and not when the garbage collector comes round.

Every kind of request, over real sockets, and every way in which a connection ends. Left to the collector is what Werkzeug's
router leaves of each match: a function that calls itself, and refers to nothing of the request.
"""

from __future__ import annotations

import gc
import json
import socket
import struct
from collections import Counter

from twisted.internet import reactor
from twisted.internet.task import deferLater
from twisted.internet.tcp import Server
from twisted.trial.unittest import TestCase

from jobpush.web.site import JobpushSite
from tests.support import Lab

#: What the router leaves of each match: its function, what that closes over, and the set of methods in it.
ROUTER = {"function": 1, "tuple": 1, "set": 1, "cell": 5}


def get(path: str, *headers: str, version: str = "1.1") -> bytes:
    return "\r\n".join([f"GET {path} HTTP/{version}", "Host: localhost", *headers, "", ""]).encode()


def post(path: str, fields: object, method: str = "POST") -> bytes:
    body = json.dumps(fields).encode()
    head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


UPGRADE = ("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==")

KINDS = {
    "a job": get("/v1/jobs/memory/1"),
    "jobs": get("/v1/jobs"),
    "health": get("/readyz"),
    "the dashboard": get("/"),
    "no such path": get("/nothing"),
    "no such job": get("/v1/jobs/memory/none"),
    "wrong method": post("/v1/jobs", {}, "DELETE"),
    "a wrong parameter": get("/v1/changes?since=nowhere"),
    "a wrong body": post("/v1/changes", []),
    "no HTTP": b"no request\r\n\r\n",
    "a long address": b"GET /" + b"x" * 20_000,
    "a body too long": b"POST /v1/changes HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999\r\n\r\n",
    "half a request line": b"GET /v1/jo",
    "half a body": b"POST /v1/changes HTTP/1.1\r\nHost: localhost\r\nContent-Length: 50\r\n\r\n{",
    "nothing": b"",
    "a poll": get("/v1/changes?since=now&wait=60"),
    "a poll of a job": get("/v1/jobs/memory/1?since=now&wait=60"),
    "a poll of an unknown job": get("/v1/jobs/memory/unknown?wait=60"),
    "a poll by POST": post("/v1/changes", {"since": "now", "wait": 60, "user": "kim"}),
    "a poll that keeps its channel": get("/v1/changes?since=now&wait=60", "Connection: close"),
    "a poll of HTTP/1.0": get("/v1/changes?since=now&wait=60", version="1.0"),
    "a barrier": get("/v1/wait?job=memory/1&wait=60"),
    "a barrier with an unknown job": post("/v1/wait", {"jobs": ["memory/1", "memory/unknown"], "wait": 60}),
    "the call of 2010": get("/jobstatus?jobId=1&since=now&timeout=60"),
    "a workflow is put": post("/v1/workflows/w", {"jobs": ["memory/1"]}, "PUT"),
    "a poll of a workflow": get("/v1/workflows/w?since=now&wait=60"),
    "a nudge": post("/v1/nudge", {}),
    "a stream": get("/v1/events"),
    "a stream that catches up": get("/v1/events?since=0"),
    "a WebSocket": get("/v1/socket", *UPGRADE),
    "a WebSocket that catches up": get("/v1/socket?since=0", *UPGRADE),
    "a WebSocket of an old version": get("/v1/socket", *UPGRADE[:2]),
}

ENDS = ("closes", "aborts", "asks again", "waits for the time-out", "waits for a change")

#: Connections of each kind.
COUNT = 3


class CycleTests(TestCase):
    """What the garbage collector finds."""

    timeout = 60

    def setUp(self) -> None:
        self.addCleanup(self.forget)
        self.lab = Lab().start()
        self.lab.set("1", "QUEUED", user="kim")
        self.lab.put("/v1/workflows/w", {"jobs": ["memory/1"]})
        self.addCleanup(lambda: self.lab.stop())
        site = JobpushSite(self.lab.resource, self.lab.clock)
        port = reactor.listenTCP(0, site, 512, "127.0.0.1")  # type: ignore[attr-defined]
        self.addCleanup(port.stopListening)
        self.port = port.getHost().port
        self.addCleanup(gc.enable)
        self.addCleanup(gc.set_debug, 0)
        self.addCleanup(gc.garbage.clear)

    def forget(self) -> None:
        """Let the next test find nothing of this one."""
        del self.lab
        gc.collect()

    async def turns(self, count: int = 12) -> None:
        for _ in range(count):
            self.lab.clock.advance(0)
            await deferLater(reactor, 0.001)

    async def connections(self, end: str) -> None:
        """Connections of each kind, until they are gone."""
        clients = {}
        for request in [*KINDS.values()] * COUNT:
            client = socket.create_connection(("127.0.0.1", self.port))
            client.sendall(request)
            clients[client] = request
        await self.turns()
        if end == "waits for the time-out":
            for seconds in (61, 100, 100):
                self.lab.clock.advance(seconds)
                await self.turns()
        elif end == "waits for a change":
            for state in ("RUNNING", "QUEUED"):
                self.lab.set("1", state, user="kim")
                await self.turns()
        elif end == "asks again":
            for client, request in clients.items():
                try:
                    client.sendall(request)
                except OSError:
                    pass  # it was refused
            await self.turns()
        for client in clients:
            if end == "aborts":
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.close()
        for _ in range(200):
            await self.turns(2)
            if not any(isinstance(reader, Server) for reader in reactor.getReaders()):  # type: ignore[attr-defined]
                break
            self.lab.clock.advance(1)
        else:
            self.fail("a connection is still there")
        await self.turns()

    async def check(self, end: str) -> None:
        await self.connections(end)  # what is made once is there then
        gc.collect()
        gc.freeze()  # what was there before is no concern of this test
        self.addCleanup(gc.unfreeze)
        gc.disable()
        gc.set_debug(gc.DEBUG_SAVEALL)
        await self.connections(end)
        gc.collect()
        gc.set_debug(0)
        gc.enable()
        found = Counter(type(thing).__name__ for thing in gc.garbage)
        matches = sum(getattr(thing, "__qualname__", "") == "StateMachineMatcher.match.<locals>._match" for thing in gc.garbage)
        gc.garbage.clear()
        found.subtract({name: matches * count for name, count in ROUTER.items()})
        self.assertEqual(+found, {}, f"left to the collector when a client {end}")


def _add(end: str) -> None:
    async def test(self: CycleTests) -> None:
        await self.check(end)

    test.__doc__ = f"The client {end}: nothing is left to the collector."
    setattr(CycleTests, f"test_client_{end.replace(' ', '_').replace('-', '_')}", test)


for _end in ENDS:
    _add(_end)
