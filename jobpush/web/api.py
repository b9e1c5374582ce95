"""
The routes of the protocol: read the parameters, ask or wait, write the answer.
"""

from __future__ import annotations

import base64
import binascii
import heapq
import json
import random
from collections.abc import Callable, Iterator
from typing import Any

import attrs
from klein import Klein
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import deferLater
from twisted.web.server import NOT_DONE_YET
from werkzeug.exceptions import HTTPException, MethodNotAllowed, NotFound
from werkzeug.routing import BaseConverter, RequestRedirect

from jobpush import __version__, wire
from jobpush.feed import Page
from jobpush.interfaces import CursorGone
from jobpush.model import JobDescriptor, JobKey, JobRecord, JobStatusEvent
from jobpush.selection import Selection
from jobpush.service import JobPush
from jobpush.web import health
from jobpush.web.access import Access
from jobpush.web.holds import Holds
from jobpush.web.params import (
    DEFAULT_WAIT_S,
    FILTERS,
    Params,
    canonical_key,
    check_cluster,
    gone,
    jittered,
    only_cluster,
    preference,
    resolve,
)
from jobpush.web.problems import Problem, nothing_at
from jobpush.web.static import Static
from jobpush.web.streams import Streams

_SELECTION = frozenset({*FILTERS, "workflow", "job"})
_CHANGES = _SELECTION | {"since", "wait", "limit"}

#: Jobs looked at, or written, before other work gets its turn.
_SLICE = 500

#: Events of one job that one answer may hold.
_JOB_EVENTS = 10_000


class _Id(BaseConverter):
    """A job id as the client wrote it, with slashes and line breaks if need be: the adapter says what is none."""

    regex = "(?s:.+)"
    part_isolating = False


class Api:
    """
    :param static: a directory to serve beside the API; None for none.
    """

    app = Klein()
    app.url_map.converters["id"] = _Id

    def __init__(self, service: JobPush, holds: Holds, access: Access, static: str | None = None) -> None:
        self.service = service
        self.holds = holds
        self.access = access
        self.streams = Streams(service)
        self._static = Static(static) if static is not None else None

    # -- jobs

    @app.route("/v1/jobs", methods=["GET"])
    async def jobs(self, request: Any) -> bytes:
        """Jobs now, a page at a time. Every page carries the first page's cursor."""
        params = Params.of_query(self.service, request, _SELECTION | {"limit", "after"})
        selection, limit = params.selection(), params.limit(highest=2000)
        cursor, begin = self._page_token(params.text("after"))
        found: list[tuple[JobKey, JobDescriptor]] = []
        for count, job in enumerate(self._every_job(selection.clusters)):
            if count % _SLICE == _SLICE - 1:
                await deferLater(self.service.reactor, 0)
            if (begin is None or job.key > begin) and selection.matches(job):
                found.append((job.key, job))
        page = heapq.nsmallest(limit, found, key=lambda item: item[0])
        fields: dict[str, object] = {"cursor": cursor, "jobs": []}
        if len(found) > limit:
            token = json.dumps({"c": cursor, "k": page[-1][0]})
            fields["after"] = base64.urlsafe_b64encode(token.encode()).decode().rstrip("=")
        fields["clusters"] = health.clusters(self.service)
        listed = []
        for count, (_, job) in enumerate(page):
            listed.append(wire.job_fields(job))
            if count % 100 == 99:
                await deferLater(self.service.reactor, 0)
        return self._answer(request, wire.dumps({**fields, "jobs": listed}), cursor)

    def _every_job(self, clusters: frozenset[str]) -> Iterator[JobDescriptor]:
        for name in self.service.monitors:
            if not clusters or name in clusters:
                jobs = self.service.table.cluster(name)
                for job_id in list(jobs.records):
                    record = jobs.get(job_id)
                    if record is not None:
                        yield record.job

    def _page_token(self, after: str | None) -> tuple[str, JobKey | None]:
        if after is None:
            return self.service.feed.cursor(), None
        try:
            token = json.loads(base64.urlsafe_b64decode(after + "=" * (-len(after) % 4)))
            cursor, (cluster, job_id) = token["c"], token["k"]
            if not all(isinstance(text, str) for text in (cursor, cluster, job_id)):
                raise ValueError
        except (ValueError, KeyError, TypeError, binascii.Error, RecursionError):
            raise Problem(400, "after: expected what an earlier page gave", "after") from None
        resolve(self.service, cursor, "after")
        return cursor, (cluster, job_id)

    @app.route("/v1/jobs/<cluster>/<id:job_id>", methods=["GET"])
    async def job(self, request: Any, cluster: str, job_id: str) -> bytes:
        """One job: at once, or when it changes."""
        params = Params.of_query(self.service, request, frozenset({"since", "wait", "until"}))
        check_cluster(self.service, cluster, "cluster", status=404)
        since, until = params.since(), params.until()
        wanted = preference(request) if since is None and until is None else None
        asked = params.wait(None)
        if asked is None and wanted is not None:
            asked = wanted.wait
        if asked is None and (since is not None or until is not None):
            asked = DEFAULT_WAIT_S
        wait = jittered(asked) if asked is not None else 0.0
        deadline = self.service.reactor.seconds() + wait
        key = canonical_key(self.service, cluster, job_id, "id")
        began_at = self.service.feed.head
        found, proven = await self._find(key, wait)
        if found is None:
            return self._unknown(request, cluster, job_id, proven)
        job, record = found
        key = job.key
        if wanted is not None and _etag(self.service, record) in wanted.etags:
            return await self._not_modified(request, key, record, deadline if wanted.wait is not None else None, asked)
        enough = _enough(until, key)
        if since is None and (until is None or until == "change" or enough is None or enough(job)):
            return self._job_answer(request, key, found, Page((), self.service.feed.head))
        if since is None:
            since = began_at
        left = 0.0 if enough is not None and enough(job) else max(0.0, deadline - self.service.reactor.seconds())
        page = await self._next(Selection(keys=frozenset({key})), since, left, _JOB_EVENTS, enough)
        if wait > 0 and left == 0 and not page.events and (enough is None or not enough(job)):
            page = Page((), page.seq, timed_out=True)
        return self._job_answer(request, key, self._known(key) or found, page)

    async def _find(self, key: JobKey, wait: float) -> tuple[tuple[JobDescriptor, JobRecord] | None, bool]:
        """
        A job of the table, or one that only the journal remembers. One that neither knows may have been submitted after the
        last snapshot: wait, as long as is allowed, for a query that begins now.

        :return: the job, if there is one; and whether all that was asked for was done to find it.
        """
        found = self._known(key)
        if found is None:
            last = await self.service.journal.last_of(key)
            found = self._known(key)
            if found is None and last is not None:
                return (last.job, _from_event(last)), True
        if found is not None or wait <= 0:
            return found, True
        with self.holds.holding():
            proven = await self._fresh(key[0], wait)
        cluster = self.service.table.cluster(key[0])
        return self._known((key[0], cluster.canonical(key[1]))), proven

    async def _fresh(self, cluster: str, wait: float) -> bool:
        """Wait until a query that begins after now is published; was it in time?"""
        fresh = self.service.monitors[cluster].fresh()
        timer = self.service.reactor.callLater(wait, fresh.cancel)
        gave_up: list[bool] = []
        # The route's own cancellation must reach the caller; the timer's and the end's must not.
        ready: Deferred[bool] = Deferred(lambda _: gave_up.append(True) or fresh.cancel())  # type: ignore[func-returns-value]
        fresh.addCallbacks(lambda _: ready.callback(True), lambda _: None if gave_up else ready.callback(False))
        try:
            return await ready
        finally:
            if timer.active():
                timer.cancel()

    def _known(self, key: JobKey) -> tuple[JobDescriptor, JobRecord] | None:
        return self.service.table.find(*key, self.service.monitors[key[0]].queue.task_of)

    def _unknown(self, request: Any, cluster: str, job_id: str, proven: bool) -> bytes:
        """Unknown to a query that began after the request, or not known because there was none in time: not the same."""
        monitor = self.service.monitors[cluster]
        if not proven:
            fields: dict[str, object] = {
                "job": None, "history": [], "events": [], "cursor": self.service.feed.cursor(), "timed_out": True,
                "stale_s": health.rounded(monitor.stale_s), "health": monitor.status.health,
            }  # fmt: skip
            return self._answer(request, wire.dumps(fields), closing=self.service.closing)
        raise Problem(
            404,
            f"{cluster} lists no job {job_id}",
            "id",
            stale_s=health.rounded(monitor.stale_s),
            health=monitor.status.health,
        )

    async def _not_modified(
        self, request: Any, key: JobKey, record: JobRecord, deadline: float | None, asked: float | None
    ) -> bytes:
        """The client has this version: 304 at once, or, with ``Prefer: wait``, 200 when there is another."""
        page = Page((), self.service.feed.head)
        if deadline is not None:
            request.setHeader(b"preference-applied", f"wait={asked:g}".encode())
            left = max(0.0, deadline - self.service.reactor.seconds())
            page = await self._next(Selection(keys=frozenset({key})), record.last_seq, left, _JOB_EVENTS, None)
        if page.events:
            found = self._known(key)
            assert found is not None, "a job with a new event is in the table"
            return self._job_answer(request, key, found, page)
        request.setResponseCode(304)
        request.setHeader(b"etag", _etag(self.service, record).encode())
        request.setHeader(b"jobpush-cursor", self.service.feed.cursor(page.seq).encode())
        self._closing(request, page.closing)
        return b""

    def _job_answer(
        self, request: Any, key: JobKey, found: tuple[JobDescriptor, JobRecord], page: Page
    ) -> bytes:
        job, record = found
        feed = self.service.feed
        cursor = feed.cursor(page.seq)
        if record.last_seq > page.seq:
            # It has changed again since this answer was claimed: the state must not run ahead of the cursor.
            told = [event for event in page.events if event.job.key == job.key]
            if told:
                history = tuple(entry for entry in record.history if entry.seq <= page.seq)
                job, record = told[-1].job, attrs.evolve(record, last_seq=told[-1].seq, history=history)
        request.setHeader(b"etag", _etag(self.service, record).encode())
        monitor = self.service.monitors[key[0]]
        fields: dict[str, object] = {
            "job": wire.job_fields(job),
            "history": wire.history_fields(feed.epoch, record.history),
            "cursor": cursor,
            "timed_out": page.timed_out,
            "stale_s": health.rounded(monitor.stale_s),
            "health": monitor.status.health,
        }
        if page.more:
            fields["more"] = True
        if request.args.get(b"since") == [b"0"]:
            fields["oldest_cursor"] = feed.cursor(feed.oldest)
        return self._answer(request, wire.envelope(fields, page.events), cursor, page.closing)

    # -- changes

    @app.route("/v1/changes", methods=["GET"])
    async def changes(self, request: Any) -> bytes:
        """Every matching event after a cursor, now or when it comes."""
        return await self._changes(request, Params.of_query(self.service, request, _CHANGES))

    @app.route("/v1/changes", methods=["POST"])
    async def changes_posted(self, request: Any) -> bytes:
        """The same, with the parameters in a body."""
        return await self._changes(request, Params.of_body(self.service, request, _CHANGES))

    async def _changes(self, request: Any, params: Params) -> bytes:
        selection, limit = params.selection(), params.limit()
        wait = params.wait(DEFAULT_WAIT_S)
        since = params.since()
        if since is None:
            page = Page((), self.service.feed.head)
        else:
            page = await self._next(selection, since, jittered(wait or 0.0), limit, None)
        cursor = self.service.feed.cursor(page.seq)
        fields: dict[str, object] = {
            "cursor": cursor,
            "more": page.more,
            "timed_out": page.timed_out,
            "clusters": health.clusters(self.service, selection.clusters),
        }
        if params.text("since") == "0":
            fields["oldest_cursor"] = self.service.feed.cursor(since)
        return self._answer(request, wire.envelope(fields, page.events), cursor, page.closing)

    async def _next(
        self,
        selection: Selection,
        since: int,
        wait: float,
        limit: int,
        enough: Callable[[JobDescriptor], bool] | None,
    ) -> Page:
        """Events after ``since``; counted as held while it waits."""
        try:
            if wait <= 0:
                return await self.service.feed.next(selection, since, 0, limit, enough)
            with self.holds.holding():
                self.service.awaited(selection.clusters)
                return await self.service.feed.next(selection, since, wait, limit, enough)
        except CursorGone:
            raise gone(self.service) from None

    # -- streams

    @app.route("/v1/events", methods=["GET"])
    async def events(self, request: Any) -> Any:
        """Server-sent events."""
        params = Params.of_query(self.service, request, _SELECTION | {"since", "last_event_id"})
        selection = params.selection()
        header = request.getHeader(b"last-event-id")
        text = header.decode("latin-1") if header else params.text("last_event_id") or params.text("since")
        since: int | None = self.service.feed.head
        if text is not None:
            try:
                since = resolve(self.service, text, "Last-Event-ID")
            except Problem as problem:
                if problem.status != 410:
                    raise
                since = None
        if request.method == b"HEAD":
            self.streams.headers(request)
            return b""
        with self.holds.holding():
            self.service.awaited(selection.clusters)
            await self.streams.run(request, selection, since)
        return NOT_DONE_YET

    # -- the call of 2010

    @app.route("/jobstatus", methods=["GET"])
    async def jobstatus(self, request: Any) -> bytes:
        """The bare descriptor of a job: at once, or with ``since`` at its next change."""
        params = Params.of_query(self.service, request, frozenset({"jobId", "timeout", "since", "cluster"}))
        job_id = params.text("jobId")
        if not job_id:
            raise Problem(400, "jobId is missing: which job is asked for?", "jobId")
        cluster = params.text("cluster") or only_cluster(self.service, "cluster")
        check_cluster(self.service, cluster, "cluster")
        wait = jittered(params.wait(DEFAULT_WAIT_S, "timeout") or 0.0)
        since = params.since()
        deadline = self.service.reactor.seconds() + wait
        key = canonical_key(self.service, cluster, job_id, "jobId")
        found, proven = await self._find(key, wait)
        if found is None and proven:
            raise Problem(404, f"{cluster} lists no job {job_id}", "jobId")
        page = Page((), self.service.feed.head)
        if found is not None:
            key = found[0].key
            if since is not None and not found[0].terminal:
                left = max(0.0, deadline - self.service.reactor.seconds())
                page = await self._next(Selection(keys=frozenset({key})), since, left, _JOB_EVENTS, None)
                found = self._known(key) or found
        cursor = self.service.feed.cursor(page.seq)
        if found is None or (since is not None and not page.events and not found[0].terminal):
            request.setHeader(b"jobpush-timed-out", b"1")
            return self._answer(request, b"null", cursor, page.closing)
        return self._answer(request, wire.dumps(wire.job_fields(found[0])), cursor, page.closing)

    # -- operations

    @app.route("/healthz", methods=["GET"])
    def healthz(self, request: Any) -> bytes:
        """The process answers."""
        return self._answer(request, wire.dumps({"status": "ok", "version": __version__}))

    @app.route("/readyz", methods=["GET"])
    def readyz(self, request: Any) -> bytes:
        """Can it do its work, and what is missing?"""
        ready, fields = health.readiness(self.service, self.holds.held)
        if not ready:
            request.setResponseCode(503)
        return self._answer(request, wire.dumps(fields))

    @app.route("/", methods=["GET"])
    def root(self, request: Any) -> Any:
        """The site's own page, if there is one; else what is here."""
        if self._static is not None:
            return self._static
        links = ["/v1/jobs", "/v1/changes", "/v1/events", "/jobstatus", "/healthz", "/readyz"]
        return self._answer(request, wire.dumps({"service": "jobpush", "version": __version__, "links": links}))

    @app.route("/", methods=["GET"], branch=True)
    def static(self, request: Any) -> Any:
        """The site's own files."""
        if self._static is None:
            raise NotFound()
        return self._static

    # -- answers

    def _answer(self, request: Any, body: bytes, cursor: str | None = None, closing: bool = False) -> bytes:
        request.setHeader(b"content-type", b"application/json")
        request.setHeader(b"cache-control", b"no-cache")
        request.setHeader(b"jobpush-cursor", (cursor or self.service.feed.cursor()).encode())
        request.setHeader(b"content-length", str(len(body)).encode())
        self._closing(request, closing)
        return body

    def _closing(self, request: Any, closing: bool) -> None:
        """The server is about to end: the client comes back a little later, on another connection."""
        if closing:
            request.setHeader(b"retry-after", str(random.randint(1, 5)).encode())
            request.setHeader(b"connection", b"close")
            if getattr(request.channel, "persistent", False):
                request.channel.persistent = False

    @app.handle_errors(Problem)
    def problem(self, request: Any, failure: Any) -> bytes:
        """An error of ours."""
        answer: bytes = failure.value.answer(request)
        return answer

    @app.handle_errors(MethodNotAllowed)
    def wrong_method(self, request: Any, failure: Any) -> bytes:
        """405."""
        allowed = ", ".join(sorted(failure.value.valid_methods or ()))
        method = request.method.decode("latin-1")[:20]
        problem = Problem(405, f"{method} is not for this address; allowed are {allowed}", headers={"Allow": allowed})
        return problem.answer(request)

    @app.handle_errors(NotFound, RequestRedirect)
    def not_found(self, request: Any, failure: Any) -> bytes:
        """404."""
        return nothing_at(request).answer(request)

    @app.handle_errors(HTTPException)
    def other_error(self, request: Any, failure: Any) -> bytes:
        """What the router has more to say."""
        return Problem(failure.value.code or 500, failure.value.description or "bad request").answer(request)

    @app.handle_errors(CancelledError)
    def disconnected(self, request: Any, failure: Any) -> None:
        """The client left while it was held: there is nobody to answer."""


def _enough(until: str | None, key: JobKey) -> Callable[[JobDescriptor], bool] | None:
    if until == "started":
        return lambda job: job.key == key and job.started
    if until == "terminal":
        return lambda job: job.key == key and job.terminal
    return None


def _etag(service: JobPush, record: JobRecord) -> str:
    return f'W/"{service.feed.cursor(record.last_seq)}"'


def _from_event(event: JobStatusEvent) -> JobRecord:
    """A job that only the journal remembers."""
    return JobRecord(job=event.job, last_seq=event.seq, history=(event.step,))


