"""The client for scripts and notebooks: plain calls that block, with the standard library alone."""

from __future__ import annotations

import http.client
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import TypeVar
from urllib.parse import urlsplit

from jobpush_client.credentials import default_url, headers_for
from jobpush_client.exchange import HOLD_S, Exchange, G, Give, NoReply, Pause, Reply, Request, RetryPolicy, Session, Stream
from jobpush_client.values import (
    BarrierResult,
    ChangeEvent,
    ClientError,
    Fields,
    Job,
    JobList,
    Met,
    Reset,
    Step,
    WorkflowStatus,
)

T = TypeVar("T")


#: Seconds that an answer may take longer than its request may be held.
SLACK_S = 30.0


class Client:
    """
    A jobpush server. Not to be shared by threads: give each its own.

    :param url: ``http://host:port``, ``https://…``, or ``unix:/path/of/a/socket``; by default what JOBPUSH_URL in the
        environment says, else ``unix:/run/jobpush/jobpush.sock`` where that is, else ``http://localhost:8080``.
    :param headers: to be sent with each request, such as a proxy's ``Authorization``; that goes before a token.
    :param retry_policy: for how long it tries again while the server cannot be reached.
    :param hold: seconds for which one request is held; make it less than the time-outs of proxies on the way.

    Every call raises `ClientError`: `Unreachable` when the retry policy allows no further try, `ApiError` where the server
    refuses, `Unknown` for a job that no scheduler knows, `WaitTimeout` when the time is up.
    """

    def __init__(
        self,
        url: str | None = None,
        headers: Mapping[str, str] | None = None,
        retry_policy: RetryPolicy = RetryPolicy(),  # noqa: B008
        hold: float = HOLD_S,
    ) -> None:
        url = url or default_url()
        self._connect = connector(url)
        self._headers = headers_for(url, headers or {})
        self._session = Session(time.monotonic, retry_policy, hold)
        self._connection: http.client.HTTPConnection | None = None

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection, if there is one."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    # -- what can be asked

    def job(self, job: str) -> Job:
        """One job as it is now: ``cluster/id``, or its id alone where one cluster is served."""
        return self._run(self._session.job(job))

    def history(self, job: str) -> list[Step]:
        """The steps of a job's life, oldest first, as far as the server keeps them."""
        return self._run(self._session.history(job))

    def jobs(self, **filters: str | Sequence[str] | None) -> Iterator[Job]:
        """
        All jobs that are known now and match: ``cluster``, ``user``, ``account``, ``state``, ``name``, ``comment``, ``queue``,
        ``workflow``; each a text, or several of which one must fit.
        """
        return self._iterate(self._session.jobs(filters))

    def snapshot(self, jobs: Sequence[str] = (), **filters: str | Sequence[str] | None) -> JobList:
        """All jobs that match, with the cursor from which ``events`` go on."""
        return self._run(self._session.snapshot(filters, jobs))

    def wait_for(self, job: str, until: str = "terminal", timeout: float | None = None) -> Job:
        """
        Wait until a job has ended (``terminal``) or begun (``started``), and return it.

        :param timeout: seconds; None waits as long as it takes.
        """
        return self._run(self._session.wait_for(job, until, timeout))

    def wait(
        self,
        jobs: Iterable[str] = (),
        workflows: Iterable[str] = (),
        mode: str | int = "all",
        until: str = "terminal",
        timeout: float | None = None,
    ) -> BarrierResult:
        """
        Wait for ``"all"`` of these, ``"any"``, or so many. Returns early, not done, when nothing is left but jobs that no
        scheduler knows.
        """
        return self._run(self._session.wait(jobs, workflows, mode, until, timeout))

    def as_completed(self, jobs: Iterable[str], until: str = "terminal", timeout: float | None = None) -> Iterator[Met]:
        """Each of these jobs when it has ended, in the order in which they end."""
        return self._iterate(self._session.as_completed(jobs, until, timeout))

    def events(
        self, jobs: Sequence[str] = (), since: str | None = None, **filters: str | Sequence[str] | None
    ) -> Iterator[ChangeEvent | Reset]:
        """
        Each change that matches, for ever, over restarts of the server.

        :param jobs: only of these jobs, and of arrays' tasks.
        :param since: the ``cursor`` of the last event that was taken care of; "0" begins with the oldest that is kept; None
            with now.
        """
        return self._iterate(self._session.events(filters, jobs, since))

    def workflow(self, name: str) -> WorkflowStatus:
        """A workflow as it is now. ``NAME`` is one's own, ``OWNER/NAME`` another's, ``-/NAME`` nobody's, in all calls."""
        return self._run(self._session.workflow(name))

    def put_workflow(self, name: str, jobs: Iterable[str], edges: Iterable[tuple[str, str]] = ()) -> WorkflowStatus:
        """Say which jobs a workflow has, and which of them follow which; the same once more changes nothing."""
        return self._run(self._session.put_workflow(name, jobs, edges))

    def delete_workflow(self, name: str) -> None:
        """Forget a workflow. Its jobs are not touched."""
        self._run(self._session.delete_workflow(name))

    def wait_for_workflow(self, name: str, until: str = "terminal", timeout: float | None = None) -> WorkflowStatus:
        """Wait until all jobs of a workflow have ended, or the first has begun."""
        return self._run(self._session.wait_for_workflow(name, until, timeout))

    def make_token(self, scopes: Sequence[str] = (), hours: float | None = None, label: str = "") -> Fields:
        """
        Make a token for whoever asks: its ``token`` is in the answer and nowhere else, with ``id``, ``user``, ``expires_at``.

        :param scopes: of ``read``, ``watch``, ``nudge``, ``workflow``, ``metrics``; by default all.
        :param hours: for how long it is good; by default 12.
        """
        return self._run(self._session.make_token(scopes, hours, label))

    def tokens(self) -> list[Fields]:
        """What is known of one's own tokens; not what they are made of."""
        return self._run(self._session.tokens())

    def revoke_token(self, token_id: str) -> None:
        """Let one of one's own tokens, by its id, be good no more; with ``all`` each of them."""
        self._run(self._session.revoke_token(token_id))

    def ready(self) -> Fields:
        """How the server and its queues are doing. Not tried again."""
        return self._run(self._session.ready())

    # -- how it is asked

    def _run(self, exchange: Exchange[T]) -> T:
        try:
            step = next(exchange)
            while True:
                try:
                    sent = self._do(step)
                except NoReply as error:
                    step = exchange.throw(error)
                else:
                    step = exchange.send(sent)
        except StopIteration as end:
            value: T = end.value
            return value

    def _iterate(self, exchange: Stream[G]) -> Iterator[G]:
        try:
            step = next(exchange)
            while True:
                if isinstance(step, Give):
                    yield step.value
                    step = exchange.send(None)
                    continue
                try:
                    sent = self._do(step)
                except NoReply as error:
                    step = exchange.throw(error)
                else:
                    step = exchange.send(sent)
        except StopIteration:
            return
        finally:
            exchange.close()

    def _do(self, step: Request | Pause) -> Reply | None:
        """
        :raise NoReply: where the connection fails.
        """
        if isinstance(step, Pause):
            time.sleep(step.seconds)
            return None
        return self._request(step)

    def _request(self, request: Request) -> Reply:
        """Send a request, on the connection of the last one if that is still open."""
        kept, self._connection = self._connection, None
        if kept is not None:
            try:
                return self._send(kept, request)
            except (http.client.RemoteDisconnected, BrokenPipeError, ConnectionResetError):
                kept.close()  # it was closed while nothing was asked
            except (OSError, http.client.HTTPException) as error:
                kept.close()
                raise NoReply(_why(error)) from None
            except BaseException:
                kept.close()
                raise
        fresh = self._connect(request.hold + SLACK_S)
        try:
            return self._send(fresh, request)
        except (OSError, http.client.HTTPException) as error:
            fresh.close()
            raise NoReply(_why(error)) from None
        except BaseException:  # an answer that nobody reads must not be taken for the next one's
            fresh.close()
            raise

    def _send(self, connection: http.client.HTTPConnection, request: Request) -> Reply:
        if connection.sock is not None:
            connection.sock.settimeout(request.hold + SLACK_S)
        headers = {**self._headers, "Content-Type": "application/json"} if request.body is not None else self._headers
        connection.request(request.method, request.path, body=request.body, headers=headers)
        response = connection.getresponse()
        body = response.read()
        reply = Reply(response.status, {name.lower(): value for name, value in response.getheaders()}, body)
        if response.will_close:
            connection.close()
        else:
            self._connection = connection
        return reply


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def connector(url: str) -> Callable[[float], http.client.HTTPConnection]:
    """
    What makes a connection to a server, given a time-out in seconds.

    :raise ClientError: if the address is none.
    """
    if url.startswith("unix:"):
        path = url[5:].removeprefix("//")
        return lambda timeout: _UnixConnection(path, timeout)
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise ClientError(f"{url!r} is no address: {error}") from None
    if parts.scheme not in ("http", "https") or not host:
        raise ClientError(f"{url!r} is no address; expected http://HOST:PORT, https://HOST or unix:/PATH")
    if parts.path not in ("", "/") or parts.query:
        raise ClientError(f"{url!r}: a server has an address without a path")
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    return lambda timeout: kind(host, port, timeout=timeout)


def _why(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "the server does not answer in time"
    if isinstance(error, http.client.HTTPException):
        return f"the answer was no HTTP ({type(error).__name__})" if not str(error) else str(error)
    return str(getattr(error, "strerror", None) or error)

