"""The clients: each keeps its connection, asks again and again in its own way, and sometimes leaves or changes its way."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import AsyncIterator, Mapping, Sequence

import attrs

from benchmarks.soak.http import Answer, CutAnswer, events, pieces, read_answer, read_head
from benchmarks.soak.jobs import Jobs, group_jobs
from benchmarks.soak.ledger import KINDS, Asked, Ledger, Question

#: How many of ten clients ask in which way, in the order of ``KINDS``.
WEIGHTS = (4, 2, 1, 1, 1, 1)

#: Seconds of a long poll.
LONG_S = 60.0

#: How often a client leaves in the middle of a request, and turns to another question.
LEAVES, TURNS = 0.03, 0.1

#: Seconds for which a client may pause before its next request, and for which a stream is followed.
PAUSE_S, FOLLOWS_S = 2.0, (5.0, 60.0)

#: Seconds after which all ask without a pause for a while, and for how long.
RUSH_EVERY_S, RUSH_S = 60.0, 10.0

#: Whose next request has the same headers is served in another way than one with others.
AGENTS = ("curl/8.5.0", "python-requests/2.31", "Mozilla/5.0 (X11; Linux x86_64)")


class Clients:
    """
    :param port: of jobpush, on loopback.
    :ivar over: set when the clients are to ask no more; those that have an answer still to come wait for it.
    """

    def __init__(self, port: int, jobs: Jobs, ledger: Ledger) -> None:
        self.over = False
        self._port = port
        self._jobs = jobs
        self._ledger = ledger
        self._began = time.monotonic()

    async def run_one(self) -> None:
        """Be one client, with a connection after another, until it is over."""
        while not self.over:
            reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
            try:
                await self._converse(reader, writer)
            except CutAnswer:
                pass  # the ledger knows
            finally:
                if random.random() < 0.5:
                    writer.transport.abort()
                writer.close()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Ask on one connection, until the client leaves or a stream has been followed for long enough."""
        agent, kind, cursor = random.choice(AGENTS), draw_kind(), "now"
        question: Question | None = None
        while not self.over:
            if random.random() < TURNS:
                kind, question = draw_kind(), None
            if kind == "stream":
                await come_back(await self._follow(reader, writer, agent))
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
            if not self._rushing:
                await asyncio.sleep(random.uniform(0.0, PAUSE_S))

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
            self._ledger.left(asked)
            raise
        except CutAnswer:
            self._ledger.cut(asked)
            raise
        finally:
            self._ledger.unanswered.discard(asked)
        self._ledger.judge(asked, answer)
        return answer

    def _send(self, writer: asyncio.StreamWriter, question: Question, agent: str) -> Asked:
        accept = "text/event-stream" if question.kind == "stream" else "application/json"
        head = f"Host: 127.0.0.1:{self._port}\r\nUser-Agent: {agent}\r\nAccept: {accept}\r\n\r\n"
        writer.write(f"GET {question.path} HTTP/1.1\r\n{head}".encode())
        return self._ledger.sent(question, writer.transport.abort)

    async def _follow(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, agent: str) -> Mapping[str, str]:
        """
        Follow a stream for a while, or until it is over; return the headers of its answer.

        :raise CutAnswer: the connection was closed; the ledger knows that.
        """
        asked = self._send(writer, Question("stream", "/v1/events?cluster=mock", 0.0, None), agent)
        until = time.monotonic() + random.uniform(*FOLLOWS_S)
        try:
            status, headers = await read_head(reader)
            if status != 200:
                body = b"".join([piece async for piece in pieces(reader, headers)])
                self._ledger.judge(asked, Answer(status, headers, body))
                return headers
            asked.due = None
            reading = asyncio.ensure_future(self._read_stream(asked, pieces(reader, headers)))
            while time.monotonic() < until and not self.over and not reading.done():
                await asyncio.sleep(0.2)
            if reading.done():
                await reading  # the connection was closed, or the stream was ended
                self._ledger.wrong(asked.question, "the stream has ended")
            else:
                reading.cancel()
                self._ledger.left(asked)
            return headers
        except CutAnswer:
            self._ledger.cut(asked)
            raise
        finally:
            self._ledger.unanswered.discard(asked)

    async def _read_stream(self, asked: Asked, body: AsyncIterator[bytes]) -> None:
        async for name, data in events(body):
            if name == b"job":
                job = json.loads(data)["job"]
                self._ledger.told(asked, job["id"], job["state"])


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
