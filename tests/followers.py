"""
Many clients that follow jobs by cursor and lose their connections at random: a process of its own, for the tests.

    python -m tests.followers PORT CLIENTS SECONDS SEED < jobs.json

reads a list of job ids (``cluster/id``), lets each client follow a few of them, and prints what each has seen as JSON.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
from typing import Any
from urllib.parse import quote


class Follower:
    """One client: asks for changes since its cursor, again and again."""

    def __init__(self, port: int, jobs: list[str], cursor: str, draw: random.Random) -> None:
        self.port = port
        self.jobs = jobs
        self.cursor = cursor
        self.begin = cursor
        self.draw = draw
        self.seen: list[str] = []
        self.disconnects = 0
        self.requests = 0

    async def follow(self, until: float) -> None:
        """Until that time of the loop's clock."""
        clock = asyncio.get_running_loop().time
        while clock() < until:
            hangs_up_after = self.draw.uniform(0.05, 3.0) if self.draw.random() < 0.3 else None
            await self.ask(wait=min(20.0, max(0.1, until - clock())), hangs_up_after=hangs_up_after)

    async def ask(self, wait: float, hangs_up_after: float | None = None) -> bool:
        """One request; True if its answer said that there is more, or the client hung up after so many seconds."""
        query = "&".join(f"job={quote(job, safe='')}" for job in self.jobs)
        path = f"/v1/changes?since={self.cursor}&wait={wait:.2f}&limit=3&{query}"
        self.requests += 1
        try:
            answer = await asyncio.wait_for(get(self.port, path), hangs_up_after if hangs_up_after is not None else wait + 30)
        except (TimeoutError, asyncio.TimeoutError):
            if hangs_up_after is None:
                raise
            self.disconnects += 1
            return True
        self.seen.extend(event["cursor"] for event in answer["events"])
        self.cursor = answer["cursor"]
        return bool(answer["more"])


async def get(port: int, path: str) -> Any:
    """The JSON of a GET on a connection of its own; cancelling closes the connection at once."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".encode())
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
        status = int(head.split(b" ")[1])
        if status != 200:
            raise AssertionError(f"{path}: {status} {body[:300]!r}")
        return json.loads(body)
    finally:
        writer.transport.abort()


async def main(port: int, clients: int, seconds: float, seed: int, jobs: list[str]) -> list[dict[str, Any]]:
    """What each has seen."""
    draw = random.Random(seed)
    cursor = (await get(port, "/v1/changes"))["cursor"]
    followers = [
        Follower(port, draw.sample(jobs, draw.randint(1, 3)), cursor, random.Random(draw.random())) for _ in range(clients)
    ]
    until = asyncio.get_running_loop().time() + seconds
    await asyncio.gather(*(follower.follow(until) for follower in followers))
    for follower in followers:
        while await follower.ask(wait=0):
            pass
    return [
        {"jobs": f.jobs, "seen": f.seen, "begin": f.begin, "end": f.cursor, "disconnects": f.disconnects, "requests": f.requests}
        for f in followers
    ]


if __name__ == "__main__":
    port_, clients_, seconds_, seed_ = sys.argv[1:]
    print(json.dumps(asyncio.run(main(int(port_), int(clients_), float(seconds_), int(seed_), json.load(sys.stdin)))))
