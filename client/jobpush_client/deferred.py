"""The client for Twisted: the same names as `jobpush_client.sync`, awaited. Needs treq (``pip install 'jobpush[client]'``)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from typing import Protocol, TypeVar, cast

import treq
from twisted.internet.defer import CancelledError, Deferred, TimeoutError
from twisted.internet.endpoints import UNIXClientEndpoint
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.web.client import URI, Agent, HTTPConnectionPool
from twisted.web.iweb import IAgent, IAgentEndpointFactory, IResponse
from zope.interface import implementer

from jobpush_client.credentials import default_url, headers_for
from jobpush_client.exchange import HOLD_S, Exchange, G, Give, NoReply, Pause, Reply, Request, RetryPolicy, Session, Stream
from jobpush_client.sync import SLACK_S, connector
from jobpush_client.values import BarrierResult, ChangeEvent, Fields, Job, JobList, Met, Reset, Step, WorkflowStatus

T = TypeVar("T")


class HttpClient(Protocol):
    """What speaks HTTP, as treq does."""

    def request(self, method: str, url: str, *, data: bytes | None, headers: Mapping[str, str]) -> Deferred[IResponse]:
        """Send a request; fires with the response when its headers are there."""


class AsyncClient:
    """
    A jobpush server.

    Every call is a coroutine, or an asynchronous iterator; `Deferred.fromCoroutine` makes a Deferred of it. Cancelling ends the
    request that is held. They fail as those of `jobpush_client.Client` do.

    :param reactor: by default Twisted's own.
    :param url: as of `jobpush_client.Client`.
    :param http: what speaks HTTP: a `treq.client.HTTPClient`, or a stand-in in tests; by default one with a pool of its own.
    """

    def __init__(
        self,
        url: str | None = None,
        reactor: IReactorTime | None = None,
        headers: Mapping[str, str] | None = None,
        retry_policy: RetryPolicy = RetryPolicy(),  # noqa: B008
        hold: float = HOLD_S,
        http: HttpClient | None = None,
    ) -> None:
        if reactor is None:
            from twisted.internet import reactor as installed

            reactor = cast(IReactorTime, installed)
        url = url or default_url()
        connector(url)  # says what is wrong with an address
        self._reactor = reactor
        self._pool: HTTPConnectionPool | None = None
        if http is None:
            self._pool = HTTPConnectionPool(reactor)
            self._pool.retryAutomatically = False
        self._http = http or cast(HttpClient, treq.client.HTTPClient(_agent(reactor, url, self._pool)))
        self._url = "http://localhost" if url.startswith("unix:") else url.rstrip("/")
        self._headers = headers_for(url, headers or {})
        self._session = Session(reactor.seconds, retry_policy, hold)

    async def close(self) -> None:
        """Close the connections that are kept."""
        if self._pool is not None:
            await self._pool.closeCachedConnections()

    # -- what can be asked

    async def job(self, job: str) -> Job:
        """One job as it is now: ``cluster/id``, or its id alone where one cluster is served."""
        return await self._run(self._session.job(job))

    async def history(self, job: str) -> list[Step]:
        """The steps of a job's life, oldest first, as far as the server keeps them."""
        return await self._run(self._session.history(job))

    def jobs(self, **filters: str | Sequence[str] | None) -> AsyncIterator[Job]:
        """All jobs that are known now and match."""
        return self._iterate(self._session.jobs(filters))

    async def snapshot(self, jobs: Sequence[str] = (), **filters: str | Sequence[str] | None) -> JobList:
        """All jobs that match, with the cursor from which ``events`` go on."""
        return await self._run(self._session.snapshot(filters, jobs))

    async def wait_for(self, job: str, until: str = "terminal", timeout: float | None = None) -> Job:
        """Wait until a job has ended (``terminal``) or begun (``started``), and return it."""
        return await self._run(self._session.wait_for(job, until, timeout))

    async def wait(
        self,
        jobs: Iterable[str] = (),
        workflows: Iterable[str] = (),
        mode: str | int = "all",
        until: str = "terminal",
        timeout: float | None = None,
    ) -> BarrierResult:
        """Wait for ``"all"`` of these, ``"any"``, or so many."""
        return await self._run(self._session.wait(jobs, workflows, mode, until, timeout))

    def as_completed(self, jobs: Iterable[str], until: str = "terminal", timeout: float | None = None) -> AsyncIterator[Met]:
        """Each of these jobs when it has ended, in the order in which they end."""
        return self._iterate(self._session.as_completed(jobs, until, timeout))

    def events(
        self, jobs: Sequence[str] = (), since: str | None = None, **filters: str | Sequence[str] | None
    ) -> AsyncIterator[ChangeEvent | Reset]:
        """Each change that matches, for ever, over restarts of the server."""
        return self._iterate(self._session.events(filters, jobs, since))

    async def workflow(self, name: str) -> WorkflowStatus:
        """A workflow as it is now. ``NAME`` is one's own, ``OWNER/NAME`` another's, ``-/NAME`` nobody's, in all calls."""
        return await self._run(self._session.workflow(name))

    async def put_workflow(self, name: str, jobs: Iterable[str], edges: Iterable[tuple[str, str]] = ()) -> WorkflowStatus:
        """Say which jobs a workflow has, and which of them follow which."""
        return await self._run(self._session.put_workflow(name, jobs, edges))

    async def delete_workflow(self, name: str) -> None:
        """Forget a workflow. Its jobs are not touched."""
        await self._run(self._session.delete_workflow(name))

    async def wait_for_workflow(self, name: str, until: str = "terminal", timeout: float | None = None) -> WorkflowStatus:
        """Wait until all jobs of a workflow have ended, or the first has begun."""
        return await self._run(self._session.wait_for_workflow(name, until, timeout))

    async def make_token(self, scopes: Sequence[str] = (), hours: float | None = None, label: str = "") -> Fields:
        """
        Make a token for whoever asks: its ``token`` is in the answer and nowhere else, with ``id``, ``user``, ``expires_at``.

        :param scopes: of ``read``, ``watch``, ``nudge``, ``workflow``, ``metrics``; by default all.
        :param hours: for how long it is good; by default 12.
        """
        return await self._run(self._session.make_token(scopes, hours, label))

    async def tokens(self) -> list[Fields]:
        """What is known of one's own tokens; not what they are made of."""
        return await self._run(self._session.tokens())

    async def revoke_token(self, token_id: str) -> None:
        """Let one of one's own tokens, by its id, be good no more; with ``all`` each of them."""
        await self._run(self._session.revoke_token(token_id))

    async def ready(self) -> Fields:
        """How the server and its queues are doing. Not tried again."""
        return await self._run(self._session.ready())

    # -- how it is asked

    async def _run(self, exchange: Exchange[T]) -> T:
        try:
            step = next(exchange)
            while True:
                try:
                    sent = await self._do(step)
                except NoReply as error:
                    step = exchange.throw(error)
                else:
                    step = exchange.send(sent)
        except StopIteration as end:
            value: T = end.value
            return value

    async def _iterate(self, exchange: Stream[G]) -> AsyncIterator[G]:
        try:
            step = next(exchange)
            while True:
                if isinstance(step, Give):
                    yield step.value
                    step = exchange.send(None)
                    continue
                try:
                    sent = await self._do(step)
                except NoReply as error:
                    step = exchange.throw(error)
                else:
                    step = exchange.send(sent)
        except StopIteration:
            return

    async def _do(self, step: Request | Pause) -> Reply | None:
        """
        :raise NoReply: where the connection fails.
        """
        if isinstance(step, Pause):
            await deferLater(self._reactor, step.seconds)
            return None
        return await self._request(step)

    async def _request(self, request: Request) -> Reply:
        headers = {**self._headers, "Content-Type": "application/json"} if request.body is not None else self._headers
        asked: Deferred[Reply] = Deferred.fromCoroutine(self._send(request, headers))
        asked.addTimeout(request.hold + SLACK_S, self._reactor)
        cancelled: list[bool] = []
        # Who cancels must not be told of a connection that failed, which would be tried again.
        replied: Deferred[Reply] = Deferred(lambda _: cancelled.append(True) or asked.cancel())  # type: ignore[func-returns-value]
        asked.chainDeferred(replied)
        try:
            return await replied
        except TimeoutError:
            raise NoReply("the server does not answer in time") from None
        except Exception as error:  # what a connection can die of has no common name in Twisted
            if cancelled:
                raise CancelledError from None
            raise NoReply(_why(error)) from None

    async def _send(self, request: Request, headers: Mapping[str, str]) -> Reply:
        response = await self._http.request(request.method, self._url + request.path, data=request.body, headers=headers)
        body = await treq.content(response)
        return Reply(
            response.code,
            {
                name.decode("latin-1").lower(): values[-1].decode("latin-1")
                for name, values in response.headers.getAllRawHeaders()
            },
            body,
        )


@implementer(IAgentEndpointFactory)
class _UnixEndpoints:
    """All addresses lead to one unix socket."""

    def __init__(self, reactor: IReactorTime, path: str) -> None:
        self._endpoint = UNIXClientEndpoint(reactor, path)

    def endpointForURI(self, uri: URI) -> UNIXClientEndpoint:
        """As `IAgentEndpointFactory`."""
        return self._endpoint


def _agent(reactor: IReactorTime, url: str, pool: HTTPConnectionPool | None) -> IAgent:
    if url.startswith("unix:"):
        agent: IAgent = Agent.usingEndpointFactory(reactor, _UnixEndpoints(reactor, url[5:].removeprefix("//")), pool)
        return agent
    return Agent(reactor, pool=pool, connectTimeout=SLACK_S)


def _why(error: Exception) -> str:
    reasons = getattr(error, "reasons", None)  # twisted.web's ResponseFailed wraps what happened
    if reasons:
        return str(reasons[-1].value)
    return str(error) or type(error).__name__
