"""Clients of each kind, which go on from their cursors whatever happens."""

from __future__ import annotations

import asyncio
import json
import random
import socket
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TypeVar
from urllib.parse import quote

import attrs
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidStatus, WebSocketException

from tests.faults.history import NEXT, USERS, History
from tests.faults.http import Answer, Connection, Ended
from tests.faults.world import Barrier, Json, State, Stretch, World, moment, number

T = TypeVar("T")

#: Seconds within which a stream gives a sign of life.
SIGN_OF_LIFE_S = 15.0


#: Seconds for which a proxy tries to reach a service that is away.
PROXY_S = 5.0

#: Seconds for which an answer that is late already is waited for.
GIVE_UP_S = 1.0


class Quiet(Exception):
    """No answer came, and that was noted."""


@attrs.frozen
class Filter:
    """Which events a client wants: as a query, as a function, and as the fields of a body."""

    query: str
    matches: Callable[[Json], bool]
    fields: Json = attrs.field(factory=dict)


def filters(draw: random.Random, history: History) -> Filter:
    """Return a filter, or none at all."""
    kind = draw.choice(["", "", "user", "account", "state", "name", "jobs"])
    if kind == "user":
        user = draw.choice(USERS)[0]
        return Filter(f"user={user}", lambda event: bool(event["job"]["user"] == user), {"user": user})
    if kind == "account":
        account = draw.choice(USERS)[1]
        return Filter(f"account={account}", lambda event: bool(event["job"]["account"] == account), {"account": account})
    if kind == "state":
        state = draw.choice(["RUNNING", "COMPLETED", "QUEUED"])
        return Filter(f"state={state}", lambda event: bool(event["job"]["state"] == state), {"state": state})
    if kind == "name":
        return Filter("name=align-*", lambda event: str(event["job"]["name"]).startswith("align-"), {"name": "align-*"})
    if kind == "jobs":
        jobs = draw.sample(sorted(history.rows), min(5, len(history.rows)))
        return Filter("&".join(f"job={job}" for job in jobs), lambda event: event["job"]["id"] in jobs, {"jobs": jobs})
    return Filter("", lambda event: True)


class Client:
    """
    One client.

    :param name: of it, for reports.
    """

    kind = "changes"

    #: How many events it wants at once.
    limits = (1, 3, 50, 500)

    def __init__(self, name: str, world: World, history: History, draw: random.Random) -> None:
        self.name = name
        self.world = world
        self.history = history
        self.draw = draw
        self.keeps = draw.random() < 0.6
        self.filter = self.choose()
        self.port = world.port
        self.cuts_s: float | None = None  # after how many quiet seconds a proxy gives up, if it asks through one
        self.connection = Connection(world.port)
        self.stretch: Stretch | None = None
        self.branch = world.branch  # of the journal, when the last request was made
        self.began = 0.0  # when the last request was made that was answered

    def through(self, name: str, port: int, cuts_s: float) -> None:
        """It asks through a proxy from now on."""
        self.name, self.port, self.cuts_s = f"{self.name} by {name}", port, cuts_s
        self.connection = Connection(port)

    def choose(self) -> Filter:
        """Return what it wants."""
        return filters(self.draw, self.history)

    async def run(self) -> None:
        """Ask until it is time to end."""
        while not self.world.ending.is_set():
            try:
                await (self.hang_up() if self.draw.random() < 0.05 else self.once())
            except (Ended, Quiet):
                await asyncio.sleep(self.draw.uniform(0.05, 0.4))
            if self.draw.random() < 0.1:
                self.connection.close()
        self.connection.close()

    async def once(self) -> None:
        """Ask once, and note what was told."""
        stretch = self.stretch or await self.begin()
        wait = self.wait()
        limit = self.draw.choice(self.limits)
        if self.draw.random() < 0.2:
            fields = {"since": stretch.end, "wait": round(wait, 2), "limit": limit, **self.filter.fields}
            answer = await self.ask("/v1/changes", wait, json.dumps(fields))
        else:
            path = f"/v1/changes?since={stretch.end}&wait={wait:.2f}&limit={limit}&{self.filter.query}"
            answer = await self.ask(path, wait)
        if answer is not None:
            self.take(answer)

    async def hang_up(self) -> None:
        """Ask, and go away while the request is held."""
        if self.stretch is not None:
            path = f"/v1/changes?since={self.stretch.end}&wait=20&{self.filter.query}"
            with suppress(asyncio.TimeoutError, TimeoutError), self.world.under_way("poll"):
                await asyncio.wait_for(self.connection.get(path), self.draw.uniform(0.01, 1.0))
            self.connection.close()
            self.world.hung_up += 1

    def wait(self) -> float:
        """Return for how long a request is to be held."""
        return self.draw.choice([0.0, self.draw.uniform(0.3, 2.0), self.draw.uniform(2.0, self.longest)])

    @property
    def longest(self) -> float:
        """For how many seconds a request of it is held at most; longer than a proxy has patience."""
        return self.world.longest if self.cuts_s is None else max(self.world.longest, self.cuts_s * 1.3)

    async def begin(self) -> Stretch:
        """Return a new stretch, from now on."""
        answer = await self.ask("/v1/changes", 0.0)
        if answer is None:
            raise Ended("no cursor")
        return self.begin_at(answer.json["cursor"])

    def begin_at(self, cursor: str) -> Stretch:
        """Return a new stretch, from a cursor that was just told."""
        self.stretch = Stretch(self.name, cursor, self.filter.matches, self.branch)
        self.world.stretches.append(self.stretch)
        return self.stretch

    async def ask(self, path: str, wait: float, body: str | None = None) -> Answer | None:
        """
        One request, and whether its answer came in its time. None if it was refused as it may be.

        :param body: of a POST; a GET if there is none.
        :raise Ended: if the connection has ended because of a fault.
        """
        world, began = self.world, time.monotonic()
        self.branch = branch = world.branch
        world.requests[self.kind] += 1
        try:
            with world.under_way("poll"):
                answer = await self.patiently(self.connection.get(path, self.keeps, body), began, wait, path)
        except Ended as error:
            self.was_cut(began, f"{path}: {error}")
            raise
        now = time.monotonic()
        if (late := self.late(began, now, wait)) > 0:
            world.violation("late", f"{self.name}: {path} was answered {late + 3:.1f} s after its time")
        if answer.status == 200:
            self.check_time_out(answer, now - began, wait, world.may_be_cut(now), path)
            if world.branch != branch:
                raise Ended("the journal was replaced while the answer came")
            self.began = began
            return answer
        if not self.proxy_said(answer.status, began, now, wait):
            self.refused(answer, began, now, path)
        if answer.status >= 500:
            raise Quiet
        return None

    def proxy_said(self, status: int, began: float, now: float, wait: float) -> bool:
        """Return whether this is an answer of the proxy's, that it may give: its patience is over, or the service away."""
        if self.cuts_s is None:
            return False
        if status == 504 and now - began >= self.cuts_s - 0.5 and self.late(began, now, wait) <= 0:
            self.world.cut_by_proxies += 1
            return True
        return status in (502, 503, 504) and self.world.may_fail(now, PROXY_S)

    async def patiently(self, coming: Awaitable[T], began: float, wait: float, what: str) -> T:
        """
        Return what comes, in its time or not much later.

        :raise Ended: if nothing comes.
        """
        task = asyncio.ensure_future(coming)
        while not (await asyncio.wait({task}, timeout=0.5))[0]:
            now = time.monotonic()
            if self.late(began, now, wait) > GIVE_UP_S:
                task.cancel()
                await asyncio.wait({task})
                self.world.violation("no answer", f"{self.name}: {what}, in {now - began:.1f} s")
                raise Quiet
        return task.result()

    def late(self, began: float, now: float, wait: float) -> float:
        """Return by how many seconds an answer was late. A proxy asks again, for the whole time, when the service is back."""
        return self.world.late(began if self.cuts_s is None else self.world.asked_again(began, now), now, wait)

    def check_time_out(self, answer: Answer, took: float, wait: float, down: bool, path: str) -> None:
        """A time-out does not come early."""
        timed_out = b'"timed_out":true' in answer.body or "jobpush-timed-out" in answer.headers
        if timed_out and took < wait * 15 / 16 - 0.1 and not down:
            self.world.violation("early", f"{self.name}: {path} timed out after {took:.2f} s")

    def was_cut(self, began: float, what: str) -> None:
        """The connection has ended: because of a fault?"""
        self.world.ended[self.kind] += 1
        now = time.monotonic()
        if self.cuts_s is not None and now - max(began, self.connection.read_at) >= self.cuts_s - 0.5:
            self.world.cut_by_proxies += 1
        elif not self.world.may_be_cut(now, 0.0 if self.cuts_s is None else PROXY_S):
            self.world.violation("cut", f"{self.name}: {what}")

    def refused(self, answer: Answer, began: float, now: float, path: str) -> None:
        """An answer that is not 200: is it right?"""
        if answer.status == 410:
            self.lost(path)
        elif answer.status == 404 and isinstance(self, OneJob):
            self.world.unknown += 1
            self.world.unknowns.append((self.name, self.job, time.time() - (now - began), self.branch))
            self.filter, self.stretch = self.choose(), None
        elif not (answer.status == 503 and self.world.may_fail(now)):
            self.world.violation("status", f"{self.name}: {path}: {answer.status} {answer.body[:200]!r}")
            self.stretch = None

    def lost(self, what: str) -> None:
        """Its cursor is said to be lost: only if the journal was replaced since it was told; by a proxy that may be late."""
        self.world.resets[self.kind] += 1
        if self.cuts_s is not None:
            self.branch = self.world.branch  # it tries again to reach a service that is away
        if self.stretch is not None and self.stretch.branch == self.branch:
            self.world.violation("cursor lost", f"{self.name}: {what}")
        self.stretch = None

    def take(self, answer: Answer) -> None:
        """Note the events of an answer, and its cursor."""
        body = answer.json
        self.note(body["events"], body["cursor"])
        if answer.headers.get("jobpush-cursor") != body["cursor"]:
            self.world.violation("cursor", f"{self.name}: {answer.headers.get('jobpush-cursor')} and {body['cursor']}")
        if body.get("more") and number(body["cursor"]) < number(self.stretch.end if self.stretch else "-0"):
            self.world.violation("cursor", f"{self.name}: more, and the cursor {body['cursor']} goes back")

    def note(self, events: list[Json], cursor: str, ahead: bool = True) -> None:
        """Note events, which are after its cursor, in order, and up to the new one."""
        stretch = self.stretch
        assert stretch is not None
        last = number(stretch.end)
        for event in events:
            self.check_prompt(event)
            if event["seq"] <= last or event["seq"] > number(cursor) or number(event["cursor"]) != event["seq"]:
                self.world.violation("twice or out of order", f"{self.name}: {event['cursor']} after {last}, cursor {cursor}")
            last = max(last, event["seq"])
            stretch.told.append(event["cursor"])
        if number(cursor) < number(stretch.end) and self.branch == stretch.branch:
            self.world.violation("cursor", f"{self.name}: {cursor} after {stretch.end}")
        self.world.deliveries[self.kind] += len(events)
        stretch.end, stretch.branch = cursor, self.branch

    def check_prompt(self, event: Json) -> None:
        """Who waited for an event was told soon."""
        now, wall = time.monotonic(), time.time()
        first = self.world.heard.setdefault(event["cursor"], wall)
        age = wall - (min(first, moment(event)) if self.world.dates_are_of_looks else first)
        failed = sum(max(0.0, window.overlap(now - age, now)) for window in self.world.failing)  # nothing is told meanwhile
        if now - age > self.began and self.world.late(now - age, now, failed) > 0:
            self.world.violation("told late", f"{self.name}: {event['cursor']} after {age:.1f} s")

    async def finish(self) -> None:
        """Read what is left, up to the head: by polls, of whatever kind it is."""
        while self.stretch is not None:
            path = f"/v1/changes?since={self.stretch.end}&wait=0&limit=1000&{self.filter.query}"
            answer = await self.ask(path, 0.0)
            if answer is not None:
                self.take(answer)
                if not answer.json["more"]:
                    break
        self.connection.close()


class OneJob(Client):
    """Follows one job by ``/v1/jobs/CLUSTER/ID``; another, when that has ended."""

    kind = "one job"

    def choose(self) -> Filter:
        live = [row.id for row in self.history.rows.values() if row.state in NEXT] or ["101"]
        self.job = job = self.draw.choice(live)
        return Filter(f"job={job}", lambda event: bool(event["job"]["id"] == job))

    async def once(self) -> None:
        stretch = self.stretch or await self.begin()
        wait = self.wait()
        answer = await self.ask(f"/v1/jobs/{self.history.cluster}/{quote(self.job)}?since={stretch.end}&wait={wait:.2f}", wait)
        if answer is not None and self.stretch is stretch:
            if answer.json["job"] is None:  # a job that is not known yet, and no look was there in time
                return
            self.take(answer)
            if answer.json["job"]["state"] not in NEXT and self.draw.random() < 0.3:
                await self.finish()
                self.filter, self.stretch = self.choose(), None


class JobStatus(OneJob):
    """The call of 2010."""

    kind = "jobstatus"

    async def once(self) -> None:
        stretch = self.stretch or await self.begin()
        wait = self.wait()
        answer = await self.ask(f"/jobstatus?jobId={quote(self.job)}&since={stretch.end}&timeout={wait:.2f}", wait)
        if answer is None or self.stretch is not stretch:
            return
        cursor, job = answer.headers["jobpush-cursor"], answer.json
        if number(cursor) < number(stretch.end) and self.branch == stretch.branch:
            self.world.violation("cursor", f"{self.name}: {cursor} after {stretch.end}")
        state = None if job is None else job["state"]
        self.world.states.append(State(self.name, self.job, number(stretch.end), cursor, state, self.world.branch))
        self.world.deliveries[self.kind] += job is not None
        self.begin_at(cursor)
        if state is not None and state not in NEXT:
            self.filter, self.stretch = self.choose(), None
            await asyncio.sleep(0.05)

    async def finish(self) -> None:
        self.connection.close()


class Barriers(Client):
    """Waits for some jobs to have ended."""

    kind = "barrier"

    async def once(self) -> None:
        live = [row.id for row in self.history.rows.values() if row.state in NEXT] or ["101"]
        jobs, wait = self.draw.sample(live, min(len(live), self.draw.randint(1, 4))), self.wait()
        mode = self.draw.choice(["all", "any"])
        answer = await self.ask(f"/v1/wait?{'&'.join(f'job={self.history.cluster}/{job}' for job in jobs)}&mode={mode}&wait={wait:.2f}", wait)
        if answer is not None:
            body = answer.json
            met = [found["job"].partition("/")[2] for found in body["met"]]
            done = body["done"] or bool(body["unknown"])
            self.world.barriers.append(Barrier(self.name, jobs, body["cursor"], met, done, self.world.branch))
            self.world.deliveries[self.kind] += len(met)
            await asyncio.sleep(0.05)


class Stream(Client):
    """Follows by server-sent events."""

    kind = "SSE"
    counted_as = "stream"

    async def once(self) -> None:
        stretch = self.stretch or await self.begin()
        began = time.monotonic()
        self.branch = branch = self.world.branch
        self.world.requests[self.kind] += 1
        self.began = began
        until = began + self.draw.uniform(1.0, 2 * self.world.longest)
        try:
            with self.world.under_way(self.counted_as):
                await self.read(stretch.end, until, branch)
        except (OSError, EOFError, Ended, WebSocketException) as error:
            refused = isinstance(error, InvalidStatus) and error.response.status_code == 503
            if not (refused and self.world.may_fail(time.monotonic())):
                self.was_cut(began, repr(error))
            raise Ended(str(error)) from None
        finally:
            self.connection.close()

    async def read(self, since: str, until: float, branch: int) -> None:
        """Read a stream until that time, or until it is time to end."""
        self.connection.close()
        began = time.monotonic()
        path = f"/v1/events?last_event_id={since}&{self.filter.query}"
        status, _ = await self.patiently(self.connection.begin(path), began, 0.0, path)
        if status != 200:
            if self.proxy_said(status, began, time.monotonic(), 0.0):
                raise Ended(f"{status} of a proxy")
            if not (status == 503 and self.world.may_fail(time.monotonic())):
                self.world.violation("status", f"{self.name}: {status}")
            return
        lines, fields = self.connection.lines(), dict[str, str]()
        while time.monotonic() < until and not self.world.ending.is_set() and self.world.branch == branch:
            line = await self.in_time(lines.__anext__(), SIGN_OF_LIFE_S, until)
            if line is None:
                return
            if line:
                name, _, value = line.partition(":")
                fields[name] = value.strip()
            else:
                self.told(fields.get("event", ""), fields.get("id", ""), fields.get("data", "{}"))
                fields = {}

    async def in_time(self, coming: Awaitable[T], wait: float, until: float) -> T | None:
        """
        Return what comes; None if the client had enough of it before.

        :param wait: seconds within which something must come.
        """
        began = time.monotonic()
        task, ending = asyncio.ensure_future(coming), asyncio.ensure_future(self.world.ending.wait())
        try:
            await asyncio.wait({task, ending}, timeout=max(0.05, until - began), return_when=asyncio.FIRST_COMPLETED)
            now = time.monotonic()
            if self.late(began, now, wait) > 0:
                self.world.violation("late", f"{self.name}: nothing came for {now - began:.1f} s")
            return task.result() if task.done() else None
        finally:
            ending.cancel()
            task.cancel()
            await asyncio.wait({task})

    def told(self, kind: str, cursor: str, data: str) -> None:
        """Note what a stream has told."""
        if kind == "reset":
            self.lost("reset")
            self.begin_at(cursor)
        elif kind == "job":
            event = json.loads(data)
            if event["cursor"] != cursor:
                self.world.violation("cursor", f"{self.name}: {cursor} and {event['cursor']}")
            self.note([event], cursor)
        elif kind == "bookmark":
            self.note([], cursor)


async def opened(url: str) -> ClientConnection:
    """Return a WebSocket to there."""
    return await connect(url, open_timeout=40, close_timeout=1, proxy=None)


class Socket(Stream):
    """Follows by a WebSocket."""

    kind = "WebSocket"
    counted_as = "socket"

    async def read(self, since: str, until: float, branch: int) -> None:
        url = f"ws://127.0.0.1:{self.port}/v1/socket?since={since}&{self.filter.query}"
        socket_ = await self.patiently(opened(url), time.monotonic(), 0.0, url)
        try:
            while time.monotonic() < until and not self.world.ending.is_set() and self.world.branch == branch:
                text = await self.in_time(socket_.recv(decode=True), 600.0, until)
                if text is None:
                    return
                self.connection.read_at = time.monotonic()
                message = json.loads(text)
                if message["type"] == "error":
                    self.world.violation("status", f"{self.name}: {message}")
                self.told("bookmark" if message["type"] == "selected" else message["type"], message.get("cursor", ""), text)
        finally:
            socket_.transport.abort()


class Witness(Client):
    """Is told everything, always, and so knows when each event was told by this host's clock."""

    kind = "witness"
    limits = (1000,)

    def choose(self) -> Filter:
        return Filter("", lambda event: True)

    def wait(self) -> float:
        return self.world.longest

    async def hang_up(self) -> None:
        await self.once()

    async def begin(self) -> Stretch:
        answer = await self.ask("/v1/changes?since=0&limit=1", 0.0)
        if answer is None:
            raise Ended("no cursor")
        cursor = answer.json["cursor"] if not answer.json["events"] else answer.json["events"][0]["cursor"]
        for event in answer.json["events"]:
            self.world.heard.setdefault(event["cursor"], time.time())
        return self.begin_at(cursor)


class NeverReads:
    """Opens a stream of everything, and reads nothing of it."""

    def __init__(self, port: int, since: str = "0") -> None:
        self.socket = socket.socket()
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        self.socket.settimeout(1.0)
        with suppress(OSError):
            self.socket.connect(("127.0.0.1", port))
            self.socket.sendall(f"GET /v1/events?last_event_id={since} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())

    def close(self) -> None:
        """Hang up."""
        self.socket.close()


KINDS: tuple[type[Client], ...] = (Client, OneJob, JobStatus, Barriers, Stream, Socket)
