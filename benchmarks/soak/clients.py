"""
The clients: each asks again and again in its own way, on a connection that it keeps or on fresh ones, and sometimes leaves,
does something useless, or changes its way.
"""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import AsyncIterator, Awaitable, Mapping, Sequence

import attrs

from benchmarks.soak.http import Answer, CutAnswer, events, pieces, read_answer, read_head
from benchmarks.soak.jobs import Jobs, group_jobs
from benchmarks.soak.ledger import KINDS, Asked, Ledger, Question
from benchmarks.soak.sockets import CLOSE, TEXT, frame, handshake, read_message

#: How many of ten clients ask in which way, in the order of ``KINDS``.
WEIGHTS = (8, 4, 2, 2, 2, 1, 2, 2)

#: Seconds of a long poll.
LONG_S = 60.0

#: How often a client leaves in the middle of a request, and turns to another question.
LEAVES, TURNS = 0.03, 0.1

#: How often a connection is for one request only, and how often something comes on it that is no whole request, or is refused.
FRESH, USELESS = 0.3, 0.05

#: What is refused: no such job, no such cursor, no such path, no HTTP.
REFUSED = (
    b"GET /v1/jobs/mock/none HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    b"GET /v1/changes?since=nowhere HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    b"GET /nothing HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    b"no request\r\n\r\n",
)

#: Seconds for which a client may pause before its next request, and for which a stream is followed.
PAUSE_S, FOLLOWS_S = 2.0, (5.0, 60.0)

#: Seconds after which all ask without a pause for a while, and for how long.
RUSH_EVERY_S, RUSH_S = 60.0, 10.0

#: Whose next request has the same headers is served in another way than one with others.
AGENTS = ("curl/8.5.0", "python-requests/2.31", "Mozilla/5.0 (X11; Linux x86_64)")


class Clients:
    """
    :param port: of jobpush, on loopback.
    :ivar ledger: what became of each request.
    :ivar over: set when the clients are to ask no more; those that have an answer still to come wait for it.
    """

    def __init__(self, port: int, jobs: Jobs, ledger: Ledger) -> None:
        self.over = False
        self._port = port
        self._jobs = jobs
        self.ledger = ledger
        self._began = time.monotonic()
        self._workflows = 0

    async def run_one(self) -> None:
        """Be one client, with a connection after another, until it is over."""
        while not self.over:
            reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
            try:
                if random.random() < USELESS:
                    await be_useless(reader, writer)
                else:
                    await self._converse(reader, writer)
            except CutAnswer:
                pass  # the ledger knows
            finally:
                if random.random() < 0.5:
                    writer.transport.abort()
                writer.close()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Ask on one connection, until the client leaves or a stream has been followed for long enough."""
        agent, kind, cursor, fresh = random.choice(AGENTS), draw_kind(), "now", random.random() < FRESH
        question: Question | None = None
        while not self.over:
            if random.random() < TURNS:
                kind, question = draw_kind(), None
            if kind in ("stream", "socket"):
                await come_back(await self._follow(kind, reader, writer, agent))
                return
            if kind == "workflow":
                await self._keep_workflow(reader, writer, agent)
                return
            if question is None or kind == "barrier":
                question = self._question(kind, cursor)
            else:  # the same once more, from where it is now
                question = attrs.evolve(question, path=again(question.path, cursor))
            asking = asyncio.ensure_future(self.ask(reader, writer, question, agent))
            if random.random() < LEAVES:
                await asyncio.wait([asking], timeout=random.uniform(0, question.wait))
                if not asking.done():
                    asking.cancel()
                    return
            answer = await asking
            cursor = answer.headers.get("jobpush-cursor", cursor)
            await come_back(answer.headers)
            if fresh:
                return
            if not self._rushing:
                await asyncio.sleep(random.uniform(0.0, PAUSE_S))

    async def _keep_workflow(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, agent: str) -> None:
        """Put a workflow of the jobs that run, wait for its end, and delete it, unless the client leaves before."""
        self._workflows += 1
        path, jobs = f"/v1/workflows/soak-{self._workflows}", group_jobs(self._jobs.running)
        put = await self._at_once(reader, writer, "PUT", path, {"jobs": [f"mock/{job}" for job in jobs]})
        wait = random.choice((3.0, LONG_S))
        cursor = put.headers.get("jobpush-cursor", "now")
        question = Question("workflow", f"{path}?since={cursor}&until=terminal&wait={wait:g}", wait, frozenset(jobs))
        if put.status != 201:
            self.ledger.wrong(question, f"{put.status} {put.body[:300]!r}")
            return
        if self.over:
            return
        asking = asyncio.ensure_future(self.ask(reader, writer, question, agent))
        if random.random() < LEAVES:
            await asyncio.wait([asking], timeout=random.uniform(0, wait))
            if not asking.done():
                asking.cancel()
                return
        await asking
        gone = await self._at_once(reader, writer, "DELETE", path)
        if gone.status != 204:
            self.ledger.wrong(question, f"DELETE: {gone.status} {gone.body[:300]!r}")

    async def _at_once(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, method: str, path: str, fields: object = None
    ) -> Answer:
        """Ask what is answered at once; `CutAnswer` if it is not answered."""
        body = json.dumps(fields).encode() if fields is not None else b""
        of_body = f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n" if body else ""
        writer.write(f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{self._port}\r\n{of_body}\r\n".encode() + body)
        return await read_answer(reader)

    @property
    def _rushing(self) -> bool:
        return (time.monotonic() - self._began) % RUSH_EVERY_S > RUSH_EVERY_S - RUSH_S

    def _question(self, kind: str, cursor: str) -> Question:
        """Draw a question of a kind, but for streams."""
        job, short = self._jobs.draw(), random.randint(1, 5)
        if kind == "poll":
            return job_poll(kind, job, cursor, short)
        if kind == "long poll":
            return job_poll(kind, job, cursor, LONG_S)
        if kind == "jobstatus":
            return Question(kind, f"/jobstatus?jobId={job}&since={cursor}&timeout={short}", short, frozenset([job]))
        if kind == "changes":
            return changes_of(self._some_jobs(), cursor, short)
        return barrier(group_jobs(self._jobs.running), random.choice((short, LONG_S)))

    def _some_jobs(self) -> frozenset[str] | None:
        return frozenset(self._jobs.draw() for _ in range(3)) if random.random() < 0.7 else None

    async def ask(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, question: Question, agent: str = AGENTS[0]
    ) -> Answer:
        """
        Send a request, and return its answer when it is whole and the ledger knows it.

        :raise CutAnswer: the connection was closed; the ledger knows that too.
        """
        asked = self._send(writer, question, agent)
        try:
            answer = await read_answer(reader)
        except asyncio.CancelledError:
            self.ledger.left(asked)
            raise
        except CutAnswer:
            self.ledger.cut(asked)
            raise
        finally:
            self.ledger.unanswered.discard(asked)
        self.ledger.judge(asked, answer)
        return answer

    def _send(self, writer: asyncio.StreamWriter, question: Question, agent: str) -> Asked:
        accept = "text/event-stream" if question.kind == "stream" else "application/json"
        head = f"Host: 127.0.0.1:{self._port}\r\nUser-Agent: {agent}\r\nAccept: {accept}\r\n\r\n"
        asked = self.ledger.sent(question, writer.transport.abort)  # before: this process may have to wait for its turn
        writer.write(f"GET {question.path} HTTP/1.1\r\n{head}".encode())
        return asked

    async def _follow(
        self, kind: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, agent: str
    ) -> Mapping[str, str]:
        """
        Follow a stream or a WebSocket for a while, or until it is over; return the headers of its answer.

        :raise CutAnswer: the connection was closed; the ledger knows that.
        """
        path = "/v1/events?cluster=mock" if kind == "stream" else "/v1/socket?cluster=mock"
        question = Question(kind, path, 0.0, None)
        if kind == "stream":
            asked = self._send(writer, question, agent)
        else:
            asked = self.ledger.sent(question, writer.transport.abort)
            writer.write(handshake(path, f"127.0.0.1:{self._port}", agent))
        until = time.monotonic() + random.uniform(*FOLLOWS_S)
        try:
            status, headers = await read_head(reader)
            if status not in (101, 200):
                body = b"".join([piece async for piece in pieces(reader, headers)])
                self.ledger.judge(asked, Answer(status, headers, body))
                return headers
            told: Awaitable[None]
            if kind == "stream":
                asked.due = None
                told = self._read_stream(asked, pieces(reader, headers))
            else:
                told = self._read_socket(asked, reader, writer)
            await self._until(asked, told, until)
            if kind == "socket" and random.random() < 0.5:
                writer.write(frame(CLOSE, (1000).to_bytes(2, "big")))
            return headers
        except CutAnswer:
            self.ledger.cut(asked)
            raise
        finally:
            self.ledger.unanswered.discard(asked)

    async def _until(self, asked: Asked, told: Awaitable[None], until: float) -> None:
        """Read what is told until that time; a stream that ends before is wrong."""
        reading = asyncio.ensure_future(told)
        while time.monotonic() < until and not self.over and not reading.done():
            await asyncio.sleep(0.2)
        if reading.done():
            await reading  # the connection was closed, or the stream was ended
            self.ledger.wrong(asked.question, "the stream has ended")
        else:
            reading.cancel()
            self.ledger.left(asked)

    async def _read_stream(self, asked: Asked, body: AsyncIterator[bytes]) -> None:
        async for name, data in events(body):
            if name == b"job":
                job = json.loads(data)["job"]
                self.ledger.told(asked, job["id"], job["state"])

    async def _read_socket(self, asked: Asked, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Read a WebSocket; now and then select the same once more."""
        while True:
            message = await read_message(reader, writer)
            if message["type"] == "selected":
                asked.due = None
            elif message["type"] == "job":
                self.ledger.told(asked, message["job"]["id"], message["job"]["state"])
                if random.random() < 0.02:
                    writer.write(frame(TEXT, b'{"select": {"cluster": "mock"}}'))


async def be_useless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Send what is refused and read why, or a part of a request, or nothing; and leave."""
    draw = random.random()
    if draw < 0.5:
        writer.write(random.choice(REFUSED))
        await asyncio.wait([asyncio.ensure_future(reader.read(65536))], timeout=5)
    elif draw < 0.9:
        writer.write(b"POST /v1/changes HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 50\r\n\r\n{"[: random.randint(1, 70)])
    await asyncio.sleep(random.uniform(0.0, 3.0))


def job_poll(kind: str, job: str, cursor: str, wait: float) -> Question:
    """Return the question for the next change of a job."""
    return Question(kind, f"/v1/jobs/mock/{job}?since={cursor}&wait={wait:g}", wait, frozenset([job]))


def changes_of(jobs: frozenset[str] | None, cursor: str, wait: float) -> Question:
    """Return the question for the next event of some jobs, or of all."""
    query = "".join(f"&job=mock/{job}" for job in sorted(jobs or ()))
    return Question("changes", f"/v1/changes?since={cursor}&wait={wait:g}{query}", wait, jobs)


def barrier(jobs: Sequence[str], wait: float) -> Question:
    """Return the question for the end of all or of any of some jobs."""
    query, mode = "&".join(f"job=mock/{job}" for job in jobs), random.choice(("all", "any"))
    return Question("barrier", f"/v1/wait?{query}&mode={mode}&wait={wait:g}", wait, frozenset(jobs))


def draw_kind() -> str:
    """Return in which way a client asks from now on."""
    return random.choices(KINDS, WEIGHTS)[0]


def again(path: str, cursor: str) -> str:
    """Return the same question from another cursor on."""
    before, _, rest = path.partition("since=")
    return f"{before}since={cursor}&{rest.partition('&')[2]}"


async def come_back(headers: Mapping[str, str]) -> None:
    """Wait as the ``Retry-After`` of an answer says, if it has one; 10 s at most."""
    await asyncio.sleep(min(10.0, float(headers.get("retry-after", "0"))))
