"""What a client says and how long it tries again, without sockets; and the asynchronous client against the real resource."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit

from twisted.trial.unittest import SynchronousTestCase

from jobpush_client import (
    ApiError,
    ClientError,
    CursorExpired,
    Job,
    Reset,
    Unknown,
    Unreachable,
    WaitTimeout,
)
from jobpush_client.exchange import Exchange, Give, NoReply, Pause, Reply, Request, RetryPolicy, Session, TokenBucket


def job_fields(job_id: str = "1", state: str = "RUNNING", **fields: Any) -> dict[str, Any]:
    """A job as the server says it."""
    phase = state if state in ("QUEUED", "RUNNING", "HELD", "FINISHING") else "DONE"
    return {
        "cluster": "slurm", "id": job_id, "state": state, "phase": phase, "outcome": state if phase == "DONE" else None,
        "settled": phase == "DONE", "exit_code": None, "signal": None, "reason": None, **fields,
    }  # fmt: skip


def answer(job: dict[str, Any] | None, timed_out: bool = False) -> Reply:
    return reply({"job": job, "history": [], "events": [], "cursor": "e-1", "timed_out": timed_out})


def reply(fields: Any, status: int = 200, headers: dict[str, str] | None = None) -> Reply:
    return Reply(status, headers or {}, json.dumps(fields).encode())


def problem(status: int, detail: str = "no", headers: dict[str, str] | None = None, **fields: Any) -> Reply:
    return reply({"status": status, "detail": detail, **fields}, status, headers)


class World:
    """
    The world of a session: a clock, and a server that answers as the test has written down.

    :ivar asked: the requests, with the time of each.
    :ivar paused: the pauses.
    """

    def __init__(self, *answers: Reply | Exception | Callable[[Request], Reply], retry_policy: RetryPolicy = RetryPolicy()) -> None:  # noqa: B008
        self.now = 1000.0
        self.answers = list(answers)
        self.asked: list[Request] = []
        self.paused: list[float] = []
        self.given: list[Any] = []
        self.session = Session(lambda: self.now, retry_policy)

    def run(self, exchange: Exchange[Any], give: int = 1_000_000) -> Any:
        """To its end, or until it has given so much."""
        sent: Any = None
        error: Exception | None = None
        while True:
            try:
                step = exchange.throw(error) if error is not None else exchange.send(sent)
            except StopIteration as end:
                return end.value
            sent = error = None
            if isinstance(step, Pause):
                self.paused.append(step.seconds)
                self.now += step.seconds
            elif isinstance(step, Give):
                self.given.append(step.value)
                if len(self.given) >= give:
                    exchange.close()
                    return None
            else:
                self.asked.append(step)
                found = self.answers.pop(0)
                if isinstance(found, Exception):
                    error = found
                else:
                    sent = found if isinstance(found, Reply) else found(step)
                    if step.hold and b'"timed_out": true' in sent.body:
                        self.now += step.hold

    def query(self, place: int = -1) -> dict[str, list[str]]:
        """The parameters of a request."""
        return parse_qs(urlsplit(self.asked[place].path).query)


class SessionTests(SynchronousTestCase):
    """Each operation, as the server sees it."""

    def test_wait_for(self) -> None:
        """One request is held at a time, and asked again when its time is up; the end is the answer."""
        world = World(answer(job_fields(), timed_out=True), answer(job_fields(), timed_out=True), answer(job_fields(state="FAILED", exit_code=3)))
        job = world.run(world.session.wait_for("slurm/1"))
        self.assertEqual((job.state, job.exit_code, job.terminal, job.succeeded), ("FAILED", 3, True, False))
        self.assertEqual(len(world.asked), 3)
        self.assertEqual(world.query(0), {"until": ["terminal"], "wait": ["55.0"]})

    def test_timeout(self) -> None:
        """The last request is held no longer than there is time; then it fails, with what is known."""
        world = World(answer(job_fields(), timed_out=True), answer(job_fields(), timed_out=True))
        with self.assertRaises(WaitTimeout) as caught:
            world.run(world.session.wait_for("slurm/1", timeout=60.0))
        self.assertEqual([request.hold for request in world.asked], [55.0, 5.0])
        assert isinstance(caught.exception.last, Job)
        self.assertEqual(caught.exception.last.state, "RUNNING")

    def test_ids_are_quoted(self) -> None:
        """What an id holds is no part of the address."""
        world = World(answer(job_fields("123[4].s", "COMPLETED")))
        world.run(world.session.wait_for("pbs/123[4].s+1/2"))
        self.assertTrue(world.asked[0].path.startswith("/v1/jobs/pbs/123%5B4%5D.s%2B1%2F2?"))

    def test_bare_ids(self) -> None:
        """The one cluster that is served is asked for once; several are an error that names them."""
        one = reply({"cursor": "e-1", "events": [], "clusters": {"alpha": {}}})
        world = World(one, answer(job_fields()), answer(job_fields()))
        world.run(world.session.job("7"))
        world.run(world.session.job("8"))
        self.assertEqual([urlsplit(request.path).path for request in world.asked], ["/v1/changes", "/v1/jobs/alpha/7", "/v1/jobs/alpha/8"])
        several = World(reply({"cursor": "e-1", "events": [], "clusters": {"beta": {}, "alpha": {}}}))
        with self.assertRaisesRegex(ClientError, "alpha, beta"):
            several.run(several.session.job("7"))

    def test_restart(self) -> None:
        """A server that goes away, is closing, or is busy is asked again, with jitter, and as late as it says."""
        busy = problem(503, headers={"retry-after": "7"})
        world = World(NoReply("refused"), NoReply("refused"), busy, answer(job_fields(state="COMPLETED", exit_code=0)))
        self.assertTrue(world.run(world.session.wait_for("slurm/1")).succeeded)
        self.assertEqual(len(world.paused), 3)
        self.assertLessEqual(world.paused[0], 0.5)
        self.assertLessEqual(world.paused[1], 1.0)
        self.assertGreaterEqual(world.paused[2], 7.0)

    def test_retry_policy(self) -> None:
        """It comes to an end, and says what was wrong; none is for ever."""
        world = World(*[NoReply("connection refused")] * 1000, retry_policy=RetryPolicy(seconds=60.0))
        with self.assertRaisesRegex(Unreachable, "connection refused"):
            world.run(world.session.wait_for("slurm/1"))
        self.assertTrue(1059.9 <= world.now <= 1061.0, world.now)
        patient = World(*[NoReply("refused")] * 400, answer(job_fields(state="COMPLETED")), retry_policy=RetryPolicy(seconds=None))
        patient.run(patient.session.wait_for("slurm/1"))
        self.assertGreater(patient.now, 3000.0)
        self.assertLessEqual(max(patient.paused), 30.0)

    def test_refusals(self) -> None:
        """What is wrong with a request stays so: it is not sent again."""
        for status, kind in ((400, ApiError), (403, ApiError), (410, CursorExpired)):
            world = World(problem(status, "since: wrong", parameter="since"))
            with self.assertRaises(kind) as caught:
                world.run(world.session.job("slurm/1"))
            self.assertEqual((caught.exception.status, caught.exception.parameter), (status, "since"))
            self.assertIn("since: wrong", str(caught.exception))
        unknown = World(problem(404, "slurm lists no job 1", parameter="id"))
        with self.assertRaises(Unknown):
            unknown.run(unknown.session.job("slurm/1"))
        elsewhere = World(Reply(404, {}, b"<html>nothing here</html>"))
        with self.assertRaises(ApiError) as other:
            elsewhere.run(elsewhere.session.job("slurm/1"))
        self.assertNotIsInstance(other.exception, Unknown)
        page = World(Reply(200, {}, b"<html>"))
        with self.assertRaisesRegex(ApiError, "is this address a jobpush"):
            page.run(page.session.job("slurm/1"))

    def test_job_that_cannot_be_looked_up(self) -> None:
        """While the scheduler does not answer nobody says that there is no such job."""
        world = World(answer(None, timed_out=True), answer(None, timed_out=True), answer(job_fields(state="COMPLETED")))
        self.assertTrue(world.run(world.session.wait_for("slurm/1")).succeeded)
        with self.assertRaises(WaitTimeout):
            world = World(answer(None, timed_out=True))
            world.run(world.session.job("slurm/1"))

    def test_events(self) -> None:
        """From now on, each after the cursor of the answer before; none twice, over an outage too."""
        def event(number: int) -> dict[str, Any]:
            return {"seq": number, "cursor": f"e-{number}", "type": "job", "at": "2026-11-22T06:29:21.104Z", "job": job_fields(), "previous": {"state": "QUEUED"}}

        def page(cursor: str, *events: dict[str, Any]) -> Reply:
            return reply({"cursor": cursor, "events": list(events), "more": False, "timed_out": not events, "clusters": {}})

        world = World(page("e-5"), page("e-7", event(6), event(7)), page("e-9"), NoReply("gone"), page("e-10", event(10)))
        world.run(world.session.events({"user": "kim", "state": ["FAILED", "TIMEOUT"], "queue": None}, (), None), give=3)
        self.assertEqual([event.cursor for event in world.given], ["e-6", "e-7", "e-10"])
        first = world.given[0]
        self.assertEqual((first.kind, first.previous, first.job.key, first.workflow), ("job", "QUEUED", "slurm/1", None))
        self.assertEqual([world.query(n).get("since") for n in range(1, 5)], [["e-5"], ["e-7"], ["e-9"], ["e-9"]])
        self.assertEqual(world.query(1)["state"], ["FAILED", "TIMEOUT"])
        self.assertEqual(world.query(1)["user"], ["kim"])

    def test_lost_cursor(self) -> None:
        """Is said, with what is now; events go on from there."""
        pages = [reply({"cursor": "f-3", "jobs": [job_fields(str(n))], **after}) for n, after in ((1, {"after": "x"}), (2, {}))]
        world = World(problem(410), *pages, reply({"cursor": "f-4", "events": [], "more": False}), NoReply(""))
        exchange = world.session.events({}, (), "e-1")
        with self.assertRaises(IndexError):
            world.run(exchange)
        (reset,) = world.given
        self.assertIsInstance(reset, Reset)
        self.assertEqual((reset.cursor, [job.id for job in reset.jobs]), ("f-3", ["1", "2"]))
        self.assertEqual(world.query(3)["since"], ["f-3"])

    def test_many_jobs_go_into_a_body(self) -> None:
        """An address has a limit."""
        world = World(reply({"cursor": "e-2", "events": [], "more": False}))
        with self.assertRaises(IndexError):
            world.run(world.session.events({"user": "kim"}, [f"slurm/{n}" for n in range(1000)], "e-1"))
        request = world.asked[0]
        self.assertEqual((request.method, request.path), ("POST", "/v1/changes"))
        assert request.body is not None
        body = json.loads(request.body)
        self.assertEqual((len(body["jobs"]), body["since"], body["user"]), (1000, "e-1", "kim"))

    def test_barrier(self) -> None:
        """Is asked again until it is done; what nobody knows ends it too."""
        def barrier(done: bool, met: list[str], open_: list[str], unknown: list[str]) -> Reply:
            fields = [{"job": job, "state": "COMPLETED", "exit_code": 0, "signal": None, "reason": None, "started_at": None, "ended_at": None} for job in met]
            return reply({"done": done, "cursor": "e-1", "timed_out": not done, "met": fields, "open": open_, "unknown": unknown})

        world = World(barrier(False, ["slurm/1"], ["slurm/2"], []), barrier(True, ["slurm/1", "slurm/2"], [], []))
        result = world.run(world.session.wait(["slurm/1", "slurm/2"], ["w7"], "all", "terminal", None))
        self.assertTrue(result.done)
        assert world.asked[0].body is not None
        self.assertEqual(json.loads(world.asked[0].body), {"jobs": ["slurm/1", "slurm/2"], "workflows": ["w7"], "mode": "all", "until": "terminal", "wait": 55.0})
        lost = World(barrier(False, ["slurm/1"], [], ["slurm/9"]))
        result = lost.run(lost.session.wait(["slurm/1", "slurm/9"], (), "all", "terminal", None))
        self.assertEqual((result.done, list(result.unknown)), (False, ["slurm/9"]))

        one = World(barrier(True, ["slurm/2"], ["slurm/1"], []), barrier(True, ["slurm/1"], [], []))
        one.run(one.session.as_completed(["1", "slurm/2"], "terminal", None))
        self.assertEqual([met.key for met in one.given], ["slurm/2", "slurm/1"])
        assert one.asked[1].body is not None
        self.assertEqual(json.loads(one.asked[1].body)["jobs"], ["1"])
        gone = World(barrier(True, ["slurm/2"], [], []), barrier(False, [], [], ["slurm/9"]))
        with self.assertRaisesRegex(Unknown, "slurm/9"):
            gone.run(gone.session.as_completed(["slurm/2", "slurm/9"], "terminal", None))

    def test_token_bucket(self) -> None:
        """A server that answers everything at once is not asked in a storm."""
        world = World(*[answer(job_fields(), timed_out=False)] * 100)
        for _ in range(100):
            world.run(world.session.job("slurm/1"))
        self.assertGreaterEqual(world.now, 1000.0 + (100 - 20) / 10 - 0.2)
        now = [0.0]
        bucket = TokenBucket(lambda: now[0], rate=2.0, burst=3.0)
        self.assertEqual([bucket.take() for _ in range(4)], [0.0, 0.0, 0.0, 0.5])
        now[0] = 100.0
        self.assertEqual([bucket.take() for _ in range(4)], [0.0, 0.0, 0.0, 0.5])
