"""What most tests build on: a service with a scripted clock, a queue in memory, and a journal whose commits can be held up."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable
from typing import Any, TypeVar
from urllib.parse import quote

from treq.testing import StubTreq
from twisted.internet.defer import Deferred, fail, maybeDeferred, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from jobpush.adapter.testing import MemoryQueue
from jobpush.core.model import JobDescriptor, split_state
from jobpush.events.journal import MIGRATIONS, Retention, SQLiteJournal
from jobpush.runtime.clocks import Clocks
from jobpush.service import JobPush
from jobpush.web import resource
from jobpush.web.access import Policy
from jobpush.web.identity import IAuthenticator, Identity
from jobpush.web.principal import Principal, Role
from jobpush.web.problems import Problem
from jobpush.web.requests import ClientRequest

T = TypeVar("T")

#: The header in which `Says` reads who asks.
USER_HEADER = "x-test-user"

#: 2026-11-22T06:00:00Z
NOW = 1795327200.0


def step_until(condition: Callable[[], object], step: Callable[[], object], most: int = 1000) -> int:
    """Step until that is so; how many steps it took. Where it does not come, a test fails at once, instead of hanging."""
    for count in range(most):
        if condition():
            return count
        step()
    raise AssertionError(f"not within {most} steps")


def one_turn(clock: Clock) -> None:
    """
    Make the calls that are due, and none that those ask for: so does a reactor in one turn, where a `Clock` makes them all.
    """
    due = [call for call in clock.getDelayedCalls() if call.getTime() <= clock.seconds()]
    for call in due:
        function, arguments, keywords = call.func, call.args, call.kw  # type: ignore[attr-defined]
        call.cancel()
        function(*arguments, **keywords)


class StepThreads:
    """
    Threads that run in the caller's: at once, or, after ``hold``, only when the test says so.
    """

    def __init__(self) -> None:
        self.held: list[Callable[[], None]] | None = None
        self.only: str | None = None
        self.stopped = False

    def hold(self, only: str | None = None) -> None:
        """From now on keep the work (of that thread) back."""
        self.held = []
        self.only = only

    def release(self) -> None:
        """Do what was kept back, and all later work at once again."""
        held, self.held = self.held, None
        for work in held or ():
            work()

    def run(self, name: str, work: Callable[[], T]) -> Deferred[T]:
        if self.held is None or self.only not in (None, name):
            return maybeDeferred(work)
        result: Deferred[T] = Deferred()
        self.held.append(lambda: maybeDeferred(work).chainDeferred(result))  # type: ignore[arg-type,func-returns-value]
        return result

    def stop(self) -> None:
        self.stopped = True


class ManualClock(Clock):
    """A clock that begins at a real date."""

    def __init__(self) -> None:
        super().__init__()
        self.rightNow = NOW

    def run(self, seconds: float, step: float = 0.05) -> None:
        """Let time pass, in steps."""
        self.pump([step] * round(seconds / step))


@implementer(IAuthenticator)
class Says:
    """
    Who asks is whoever a header names, and has the roles after it: ``kim``, ``root+operator``.

    :param explicit: as in `IAuthenticator`.
    :ivar waits: if not None, answers are kept back here.
    """

    how = "name yourself"

    def __init__(self, header: str = USER_HEADER, explicit: bool = True, expires_at: float | None = None) -> None:
        self.header = header.encode()
        self.explicit = explicit
        self.expires_at = expires_at
        self.waits: list[Deferred[Principal | None]] | None = None

    def principal(self, request: ClientRequest) -> Deferred[Principal | None]:
        text = request.getHeader(self.header)
        if text is None:
            return succeed(None)
        name, *roles = text.decode().split("+")
        if name == "wrong":
            return fail(Problem(401, "that is not so", close=True))
        found = Principal(name, self.expires_at, frozenset(map(Role, roles)), credential=self.header.decode())
        if self.waits is None:
            return succeed(found)
        waiting: Deferred[Principal | None] = Deferred()
        self.waits.append(waiting)
        return waiting.addCallback(lambda _: found)


class Lab:
    """
    A running service.

    :param tail: how many events are kept in memory; older ones are read from the journal.
    :param keep_ended: seconds for which jobs that ended stay in the table.
    :ivar queue: the queue that it watches; `tick` makes it look.
    """

    def __init__(
        self,
        directory: str | None = None,
        queues: int = 1,
        max_held: int = 1000,
        retention: Retention = Retention(),  # noqa: B008
        listeners: Any = (),
        grace: float = 5.0,
        migrations: Any = MIGRATIONS,
        tail: int | None = None,
        keep_ended: float = 86400.0,
    ) -> None:
        self.clock = ManualClock()
        self.threads = StepThreads()
        names = ["memory", "second", "third"][:queues]
        #: Seconds by which the wall clock has been set forward; the reactor's does not follow it.
        self.set_forward = 0.0
        self.clocks = Clocks(wall=lambda: self.clock.seconds() + self.set_forward, elapsed=self.clock.seconds)
        self.queues = [MemoryQueue(self.clock, cluster=name, grace=grace, wall=self.clocks.wall) for name in names]
        self.queue = self.queues[0]
        self.journal = SQLiteJournal(
            self.threads, directory, retention, clock=self.clocks.wall, migrations=migrations  # type: ignore[arg-type]
        )
        self.service = JobPush(self.clock, self.queues, self.journal, listeners, keep_ended=keep_ended, clocks=self.clocks)
        if tail is not None:
            self.keep_in_memory(tail)
        self.serve(max_held)

    def serve(self, max_held: int = 1000, policy: Policy = Policy(), authenticators: Any = (), **how: Any) -> None:  # noqa: B008
        """Put the service's resource where requests go."""
        self.resource = resource(self.service, policy, Identity(authenticators), max_held=max_held, **how)
        self.registry = self.resource.registry
        self.treq = StubTreq(self.resource)

    def keep_in_memory(self, count: int) -> None:
        """Let so many of the newest events be kept in memory; older ones are read from the journal."""
        service = self.service
        service.tail.__init__(0, count)  # type: ignore[misc]
        if service.running:
            service.tail.fill(service.journal.newest, service.journal.last_seq)

    def start(self) -> Lab:
        """Start, and take the first look."""
        self.service.startService()
        self.clock.advance(0)
        return self

    def stop(self) -> None:
        """End."""
        done = self.service.stopService()
        for _ in range(400):
            if done.called:
                break
            self.clock.advance(0.02)
        assert done.called, "the service did not end"

    def tick(self, count: int = 1) -> None:
        """Let the queue be queried, and what comes of it be published and answered."""
        for _ in range(count):
            self.clock.advance(1.0)
            for _ in range(5):
                self.clock.advance(0)

    def set(self, job_id: str, state: str, **fields: Any) -> None:
        """A job in that state, seen."""
        self.queue.set(job_id, state, **fields)
        self.tick()

    @property
    def cursor(self) -> str:
        """The head."""
        return self.service.feed.cursor()

    def request(self, method: str, path: str, **kwargs: Any) -> Pending:
        """Begin a request."""
        headers = dict(kwargs.pop("headers", {}))
        if "data" in kwargs and not any(name.lower() == "content-type" for name in headers):
            headers["Content-Type"] = "application/json"
        return Pending(self, self.treq.request(method, "http://localhost" + path, headers=headers, **kwargs))

    def get(self, path: str, **kwargs: Any) -> Pending:
        """Begin a GET."""
        return self.request("GET", path, **kwargs)

    def post(self, path: str, body: Any, **kwargs: Any) -> Pending:
        """Begin a POST of JSON, or of these bytes."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.request("POST", path, data=data, **kwargs)

    def put(self, path: str, body: Any) -> Any:
        """A PUT of JSON, to its end."""
        return self.request("PUT", path, data=json.dumps(body).encode()).json()

    def states(self) -> dict[str, str]:
        """What is served."""
        return {key: record.job.state for key, record in self.service.table.cluster("memory").records.items()}

    def events(self, since: str = "0", query: str = "") -> list[Any]:
        """All events after a cursor."""
        found: list[Any] = self.get(f"/v1/changes?since={since}&wait=0&limit=10000{query}").json()["events"]
        return found

    def steps(self, job_id: str) -> list[str]:
        """The states that the events of a job tell."""
        return [e["job"]["state"] for e in self.events() if e["job"]["id"] == job_id]


def a_job(job_id: str, state: str = "RUNNING", cluster: str = "memory", **fields: Any) -> JobDescriptor:
    """A job in that flat state."""
    phase, outcome = split_state(state)
    return JobDescriptor(cluster=cluster, id=job_id, phase=phase, outcome=outcome, **fields)


class Pending:
    """A request that was begun."""

    def __init__(self, lab: Lab, answer: Deferred[Any]) -> None:
        self._lab = lab
        self._answers: list[Any] = []
        self._failures: list[Any] = []
        self.deferred = answer
        answer.addCallbacks(self._answers.append, self._failures.append)
        self._settle()

    def _settle(self) -> None:
        for _ in range(6):
            self._lab.clock.advance(0)
            self._lab.treq.flush()

    @property
    def held(self) -> bool:
        """Whether it is still without an answer."""
        self._settle()
        return not self._answers and not self._failures

    @property
    def response(self) -> Any:
        """The answer's head."""
        assert not self.held, "the request is still held"
        assert self._answers, self._failures
        return self._answers[0]

    @property
    def status(self) -> int:
        """The answer's status."""
        status: int = self.response.code
        return status

    def header(self, name: str) -> str | None:
        """A header of the answer."""
        values = self.response.headers.getRawHeaders(name)
        return values[0] if values else None

    def body(self) -> bytes:
        """The answer's body."""
        case = SynchronousTestCase()
        content = self.response.content()
        self._settle()
        result: bytes = case.successResultOf(content)
        return result

    def json(self) -> Any:
        """The answer's body, read as JSON."""
        return json.loads(self.body())

    def cancel(self) -> None:
        """The client leaves."""
        self.deferred.cancel()
        self._settle()


def quoted(text: str) -> str:
    """For use in a path or a query."""
    return quote(text, safe="")


class LabCase(SynchronousTestCase):
    """A test case with a `Lab` that has a job ``1``, queued."""

    def setUp(self) -> None:
        self.lab = self.make_lab()
        self.lab.queue.set("1", "QUEUED", name="align", user="kim", account="bio", queue="batch")
        self.lab.start()
        self.addCleanup(self.lab.stop)

    def make_lab(self) -> Lab:
        """The lab."""
        return Lab()


def short_path(case: SynchronousTestCase) -> str:
    """Return a path that may be a unix socket's, which has no more than 107 bytes. What is there is removed with the test."""
    directory = tempfile.mkdtemp(prefix="jobpush-")
    case.addCleanup(shutil.rmtree, directory)
    return f"{directory}/socket"
