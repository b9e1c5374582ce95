"""
What a client says, without a socket: each operation is a generator (an `Exchange`) that yields what is to be done (a `Request`,
a `Pause`) and is sent what came of it. `jobpush_client.sync` does it by blocking, `jobpush_client.deferred` by waiting for
Deferreds.

Here stands all that makes a client well-behaved: one held request instead of many short ones, cursors, retries with full jitter
(AWS Architecture Blog, "Exponential Backoff and Jitter"), the server's Retry-After, and a bucket of tokens that no error of
anybody's makes overflow.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from typing import Generic, TypeVar
from urllib.parse import quote, urlencode

import attrs

from jobpush_client.values import (
    ApiError,
    BarrierResult,
    ChangeEvent,
    ClientError,
    CursorExpired,
    Fields,
    Job,
    JobList,
    Met,
    Reset,
    Step,
    Unknown,
    Unreachable,
    WaitTimeout,
    WorkflowStatus,
)

T = TypeVar("T")
G = TypeVar("G", covariant=True)

#: Seconds for which a request is held by default: under the minute after which many proxies give up.
HOLD_S = 55.0

#: A query string longer than this, in bytes, becomes a body.
LONGEST_QUERY = 2000

#: Statuses after which the same may succeed later.
PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})

Filters = Mapping[str, "str | Sequence[str] | None"]


@attrs.frozen
class Request:
    """
    A request to be sent.

    :ivar hold: seconds for which the server may hold it.
    """

    method: str
    path: str
    body: bytes | None = None
    hold: float = 0.0


@attrs.frozen
class Pause:
    """Wait for so many seconds."""

    seconds: float


@attrs.frozen
class Give(Generic[G]):
    """A value for whoever iterates."""

    value: G


@attrs.frozen
class Reply:
    """
    An answer.

    :ivar headers: names in lower case.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes


class NoReply(Exception):
    """The connection failed before there was a whole answer. The text says how."""


#: An operation that returns something: what it asks for, what it is sent, and what it returns.
Exchange = Generator["Request | Pause", "Reply | None", T]

#: An operation that gives one value after another.
Stream = Generator["Request | Pause | Give[G]", "Reply | None", None]


@attrs.frozen
class RetryPolicy:
    """
    How long a client tries again.

    :ivar seconds: after so many seconds without any answer it gives up; None never does.
    :ivar first: the pause after the first failure is up to so many seconds; after each further one up to twice as many.
    :ivar longest: but not more than this.
    """

    seconds: float | None = 300.0
    first: float = 0.5
    longest: float = 30.0

    def pause(self, failures: int) -> float:
        """Full jitter: anything from nothing to the exponential limit."""
        return random.uniform(0.0, min(self.longest, self.first * 2.0 ** min(failures - 1, 20)))


class TokenBucket:
    """At most ``burst`` requests at once, and ``rate`` a second in the long run."""

    def __init__(self, clock: Callable[[], float], rate: float = 10.0, burst: float = 20.0) -> None:
        self._clock = clock
        self._rate, self._burst = rate, burst
        self._tokens, self._at = burst, clock()

    def take(self) -> float:
        """Take one; seconds until it may be used."""
        now = self._clock()
        self._tokens = min(self._burst, self._tokens + (now - self._at) * self._rate) - 1.0
        self._at = now
        return max(0.0, -self._tokens / self._rate)


class Session:
    """
    The operations of a client on one server, and the rate at which it may send requests.

    :param clock: seconds, of any origin.
    """

    def __init__(self, clock: Callable[[], float], retry_policy: RetryPolicy, hold: float = HOLD_S) -> None:
        self._clock = clock
        self._retry_policy = retry_policy
        self._hold = hold
        self._bucket = TokenBucket(clock)
        self._cluster: str | None = None

    # -- one request

    def ask(self, request: Request, deadline: float | None = None) -> Exchange[Fields]:
        """
        The JSON of the answer; tried again while the server is away or busy.

        :param deadline: on the clock; not tried again after it.
        :raise ApiError: if it is refused.
        :raise Unreachable: when the retry policy allows no further try.
        """
        failures, began = 0, self._clock()
        while True:
            wait = self._bucket.take()
            if wait:
                yield Pause(wait)
            pause = 0.0
            try:
                reply = yield request
                assert reply is not None
                problem = _problem(reply)
                if problem is None:
                    return _json(reply)
                if reply.status not in PASSING:
                    raise problem
                why = str(problem)
                pause = _retry_after(reply)
            except NoReply as error:
                why = str(error)
            failures += 1
            pause = max(pause, self._retry_policy.pause(failures))
            left = None if self._retry_policy.seconds is None else began + self._retry_policy.seconds - self._clock()
            if deadline is not None:
                left = min(deadline - self._clock(), left) if left is not None else deadline - self._clock()
            if left is not None and left <= 0:
                raise Unreachable(why)
            yield Pause(pause if left is None else min(pause, left))

    # -- jobs

    def job(self, job: str) -> Exchange[Job]:
        """One job as it is now."""
        answer = yield from self._job(job, {"wait": self._hold}, None)
        if answer["job"] is None:
            raise WaitTimeout(f"whether there is a job {job} could not be found out: the scheduler does not answer", None)
        return Job(answer["job"])

    def history(self, job: str) -> Exchange[list[Step]]:
        """The steps of a job's life, as far as they are kept."""
        answer = yield from self._job(job, {"wait": self._hold}, None)
        return [Step(step) for step in answer["history"]]

    def wait_for(self, job: str, until: str = "terminal", timeout: float | None = None) -> Exchange[Job]:
        """Until it has started or ended."""
        deadline = None if timeout is None else self._clock() + timeout
        last: Job | None = None
        while True:
            hold = self._held(deadline)
            try:
                answer = yield from self._job(job, {"until": until, "wait": hold}, deadline)
            except Unreachable:
                if deadline is not None and self._clock() >= deadline:
                    raise WaitTimeout(f"{job} was not {until} in time, and the server cannot be reached", last) from None
                raise
            last = Job(answer["job"]) if answer["job"] is not None else last
            if not answer["timed_out"] and last is not None:
                return last
            if deadline is not None and self._clock() >= deadline:
                raise WaitTimeout(f"{job} was not {until} in time", last)

    def _job(self, job: str, parameters: Mapping[str, str | float], deadline: float | None) -> Exchange[Fields]:
        cluster, slash, job_id = job.partition("/")
        if not slash:
            cluster, job_id = (yield from self._only_cluster(deadline)), job
        path = f"/v1/jobs/{quote(cluster, safe='')}/{quote(job_id, safe='')}?{urlencode(parameters)}"
        return (yield from self.ask(Request("GET", path, hold=float(parameters["wait"])), deadline))

    def _only_cluster(self, deadline: float | None) -> Exchange[str]:
        """The name of the one cluster that is served, for ids without one."""
        if self._cluster is None:
            answer = yield from self.ask(Request("GET", "/v1/changes?limit=1"), deadline)
            clusters = sorted(answer["clusters"])
            if len(clusters) != 1:
                raise ClientError(f"several clusters are served; write CLUSTER/ID with one of {', '.join(clusters)}")
            self._cluster = clusters[0]
        return self._cluster

    def jobs(self, filters: Filters) -> Stream[Job]:
        """Give all jobs that match, a page at a time."""
        after: str | None = None
        while True:
            page = yield from self._page(filters, (), after)
            for fields in page["jobs"]:
                yield Give(Job(fields))
            after = page.get("after")
            if after is None:
                return

    def snapshot(self, filters: Filters, jobs: Sequence[str]) -> Exchange[JobList]:
        """All jobs that match, and the cursor from which to follow them."""
        found: list[Job] = []
        after: str | None = None
        while True:
            try:
                page = yield from self._page(filters, jobs, after)
            except CursorExpired:  # it took too long: begin anew
                found, after = [], None
                continue
            found.extend(Job(fields) for fields in page["jobs"])
            after = page.get("after")
            if after is None:
                return JobList(page["cursor"], found)

    def _page(self, filters: Filters, jobs: Sequence[str], after: str | None) -> Exchange[Fields]:
        pairs = [*_pairs(filters), *(("job", job) for job in jobs), ("limit", "2000"), *([("after", after)] if after else [])]
        return (yield from self.ask(Request("GET", "/v1/jobs?" + urlencode(pairs))))

    # -- events

    def events(self, filters: Filters, jobs: Sequence[str], since: str | None) -> Stream[ChangeEvent | Reset]:
        """Give each matching event, for ever."""
        cursor = since or "now"
        if since is None:
            cursor = (yield from self.ask(Request("GET", "/v1/changes?limit=1")))["cursor"]
        while True:
            try:
                answer = yield from self.ask(self._changes(filters, jobs, cursor))
            except CursorExpired:
                now = yield from self.snapshot(filters, jobs)
                cursor = now.cursor
                yield Give(Reset(cursor, now.jobs))
                continue
            for fields in answer["events"]:
                yield Give(ChangeEvent(fields))
            cursor = answer["cursor"]

    def _changes(self, filters: Filters, jobs: Sequence[str], cursor: str) -> Request:
        pairs = [*_pairs(filters), *(("job", job) for job in jobs), ("since", cursor), ("wait", str(self._hold))]
        query = urlencode(pairs)
        if len(query) <= LONGEST_QUERY:
            return Request("GET", "/v1/changes?" + query, hold=self._hold)
        fields = {name: value for name, value in filters.items() if value is not None}
        body = {**fields, "since": cursor, "wait": self._hold, **({"jobs": list(jobs)} if jobs else {})}
        return Request("POST", "/v1/changes", json.dumps(body).encode(), self._hold)

    # -- barriers

    def wait(
        self, jobs: Iterable[str], workflows: Iterable[str], mode: str | int, until: str, timeout: float | None
    ) -> Exchange[BarrierResult]:
        """Until any, all or so many of them have started or ended, or nothing is left but what nobody knows."""
        fields = {"jobs": list(jobs), "workflows": list(workflows), "mode": mode, "until": until}
        deadline = None if timeout is None else self._clock() + timeout
        barrier: BarrierResult | None = None
        while True:
            hold = self._held(deadline)
            request = Request("POST", "/v1/wait", json.dumps({**fields, "wait": hold}).encode(), hold)
            try:
                answer = yield from self.ask(request, deadline)
            except Unreachable:
                if deadline is not None and self._clock() >= deadline:
                    raise WaitTimeout("not in time, and the server cannot be reached", barrier) from None
                raise
            barrier = _barrier(answer)
            if barrier.done or not barrier.open:
                return barrier
            if deadline is not None and self._clock() >= deadline:
                raise WaitTimeout(f"{len(barrier.open)} of {len(barrier.open) + len(barrier.met)} are not {until} yet", barrier)

    def as_completed(self, jobs: Iterable[str], until: str, timeout: float | None) -> Stream[Met]:
        """Give each job as it ends. A job that nobody knows is an error when all others have ended."""
        left = list(dict.fromkeys(jobs))
        deadline = None if timeout is None else self._clock() + timeout
        while left:
            rest = None if deadline is None else max(0.0, deadline - self._clock())
            barrier = yield from self.wait(left, (), "any", until, rest)
            for met in barrier.met:
                yield Give(met)
            known = {met.key for met in barrier.met} | {str(met.get("asked")) for met in barrier.met}
            left = [job for job in left if job not in known and not any(key.partition("/")[2] == job for key in known)]
            if not barrier.done:
                raise Unknown(404, f"no scheduler knows {', '.join(barrier.unknown)}", {})
            if left:
                yield Pause(min(2.0, len(left) / 2000))  # the longer the list, the more ends are one answer

    # -- workflows

    def workflow(self, name: str) -> Exchange[WorkflowStatus]:
        """A workflow as it is now. ``NAME`` is one's own, ``OWNER/NAME`` another's, ``-/NAME`` nobody's, in all calls."""
        return WorkflowStatus((yield from self.ask(Request("GET", f"/v1/workflows/{quote(name, safe='/')}"))))

    def put_workflow(self, name: str, jobs: Iterable[str], edges: Iterable[tuple[str, str]]) -> Exchange[WorkflowStatus]:
        """Say which jobs a workflow has."""
        body = json.dumps({"jobs": list(jobs), "edges": [list(edge) for edge in edges]}).encode()
        return WorkflowStatus((yield from self.ask(Request("PUT", f"/v1/workflows/{quote(name, safe='/')}", body))))

    def delete_workflow(self, name: str) -> Exchange[None]:
        """Forget a workflow; its jobs are not touched."""
        yield from self.ask(Request("DELETE", f"/v1/workflows/{quote(name, safe='/')}"))

    def wait_for_workflow(self, name: str, until: str, timeout: float | None) -> Exchange[WorkflowStatus]:
        """Until it has started or ended."""
        deadline = None if timeout is None else self._clock() + timeout
        while True:
            hold = self._held(deadline)
            path = f"/v1/workflows/{quote(name, safe='/')}?{urlencode({'until': until, 'wait': hold})}"
            answer = yield from self.ask(Request("GET", path, hold=hold), deadline)
            if not answer["timed_out"]:
                return WorkflowStatus(answer)
            if deadline is not None and self._clock() >= deadline:
                raise WaitTimeout(f"{name} was not {until} in time", WorkflowStatus(answer))

    # -- tokens

    def make_token(self, scopes: Sequence[str], hours: float | None, label: str) -> Exchange[Fields]:
        """A new token, which is in this answer and nowhere else."""
        fields: dict[str, object] = {"label": label}
        if scopes:
            fields["scopes"] = list(scopes)
        if hours is not None:
            fields["hours"] = hours
        return (yield from self.ask(Request("POST", "/v1/tokens", json.dumps(fields).encode())))

    def tokens(self) -> Exchange[list[Fields]]:
        """What is known of one's own."""
        return list((yield from self.ask(Request("GET", "/v1/tokens")))["tokens"])

    def revoke_token(self, token_id: str) -> Exchange[None]:
        """One of them, or ``all``, is good no more."""
        yield from self.ask(Request("DELETE", f"/v1/tokens/{quote(token_id, safe='')}"))

    # -- operations

    def ready(self) -> Exchange[Fields]:
        """What ``/readyz`` says, ready or not."""
        wait = self._bucket.take()
        if wait:
            yield Pause(wait)
        try:
            reply = yield Request("GET", "/readyz")
        except NoReply as error:
            raise Unreachable(str(error)) from None
        assert reply is not None
        return _json(reply)

    def _held(self, deadline: float | None) -> float:
        """Seconds for which the next request may be held."""
        return self._hold if deadline is None else round(max(0.0, min(self._hold, deadline - self._clock())), 3)


def _pairs(filters: Filters) -> list[tuple[str, str]]:
    pairs: list[tuple[str, str]] = []
    for name, value in filters.items():
        if value is not None:
            pairs.extend((name, text) for text in ([value] if isinstance(value, str) else value))
    return pairs


def _json(reply: Reply) -> Fields:
    if not reply.body:
        return {}
    try:
        fields = json.loads(reply.body)
    except ValueError:
        fields = None
    if not isinstance(fields, dict):
        raise ApiError(reply.status, "the answer is no JSON object: is this address a jobpush?", {})
    return fields


def _problem(reply: Reply) -> ApiError | None:
    """What is wrong, if the answer says that something is."""
    if reply.status < 400:
        return None
    try:
        fields = json.loads(reply.body)
    except ValueError:
        fields = None
    if not isinstance(fields, dict):
        fields = {}
    detail = str(fields.get("detail") or f"HTTP status {reply.status}")
    kind = ApiError
    if reply.status == 404 and "parameter" in fields:  # an address that is none has no parameter
        kind = Unknown
    elif reply.status == 410:
        kind = CursorExpired
    return kind(reply.status, detail, fields)


def _retry_after(reply: Reply) -> float:
    text = reply.headers.get("retry-after", "")
    return min(60.0, float(text)) if text.isascii() and text.isdigit() else 0.0


def _barrier(answer: Fields) -> BarrierResult:
    met = [Met(fields) for fields in answer["met"]]
    return BarrierResult(answer["done"], answer["cursor"], met, answer["open"], answer["unknown"])
