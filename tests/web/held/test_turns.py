"""
Held requests over real sockets where each request waits for a turn: as `tests.web.held.test_connections`, under load.
"""

from __future__ import annotations

import json
from typing import Any

from twisted.internet.task import deferLater

from jobpush.runtime import turns
from tests.web.held import test_connections
from tests.web.held.test_connections import House, Stage, bodies, reactor


class _Busy:
    """No request is looked at when it comes."""

    def setUp(self) -> None:
        super().setUp()  # type: ignore[misc]
        self.patch(turns, "TURN_S", 0.0)  # type: ignore[attr-defined]


class HeldInTurns(_Busy, test_connections.HeldRequests):
    """Long polls."""


class StreamsInTurns(_Busy, test_connections.OpenStreams):
    """Streams."""


class WithoutChannelsInTurns(_Busy, test_connections.WithoutChannelsTests):
    """What can only be seen where there is no channel."""


class WaitingForATurn(_Busy, Stage):
    """While a request waits."""

    async def test_health_checks(self) -> None:
        """Are answered before all that wait, on a connection without a channel, on one with a channel, and on a new one."""

        async def scene(house: House) -> Any:
            known = [house.client() for _ in range(3)]
            for client in known:
                client.get("/v1/jobs/memory/1")
                await client.answers(1)
            waiting, new, *checks = *known[:1], *(house.client() for _ in range(2)), *known[1:]
            for client in (waiting, new):
                client.get("/v1/jobs/memory/1")
            for client, path in zip(checks, ("/healthz", "/readyz", "/healthz"), strict=True):
                client.get(path)
            turned = house.lab.clock.seconds()
            for _ in range(100):
                await deferLater(reactor, 0.01)
                for client in checks:
                    client.read()
                if len(bodies(checks[-1].got)) == 2 and b'"ok"' in checks[0].got:
                    break
            self.assertEqual((house.lab.clock.seconds(), len(house.resource.turns) > 0), (turned, True))
            self.assertEqual((len(bodies(waiting.got)), len(bodies(new.got))), (1, 0))
            await waiting.answers(2)
            await new.answers(1)
            return [bodies(client.got)[-1][:20] for client in (*checks, waiting, new)]

        given = await self.both(scene, without=False)
        self.assertIn(b"ok", given[0])

    async def test_pieces(self) -> None:
        """What comes of a request while its beginning waits is read after it, on a known connection and on a new one."""

        async def scene(house: House) -> Any:
            known, new = house.client(), house.client()
            known.get("/v1/jobs/memory/1")
            await known.answers(1)
            for piece in (b"GET /v1/jobs/memory/1 HTTP/1.1\r\n", b"Host: localhost\r\n", b"\r\n"):
                for client in (known, new):
                    client.send(piece)
                await deferLater(reactor, 0.02)  # the service's own clock stands still: nothing is looked at
            await new.answers(1)
            await known.answers(2)
            return [[b'"RUNNING"' in body for body in bodies(client.got)] for client in (known, new)]

        self.assertEqual(await self.both(scene, without=False), [[True, True], [True]])

    async def test_left(self) -> None:
        """Who leaves meanwhile is forgotten, and the service may end: nothing is held, and nobody waits."""

        async def scene(house: House) -> Any:
            client, other = house.client(), house.client()
            for each in (client, other):
                each.get("/v1/jobs/memory/1")
                await each.answers(1)
            for each in (client, other):
                each.get(f"/v1/jobs/memory/1?since={house.lab.cursor}&wait=60")
            client.socket.close()
            await house.held(1)
            house.lab.set("1", "COMPLETED", exit_code=0)
            await other.answers(2)
            self.assertFalse(house.resource.turns)
            return json.loads(bodies(other.got)[1])["job"]["state"]

        self.assertEqual(await self.both(scene), "COMPLETED")
