"""
The routes on single jobs and lists of them: jobs now, one job now or when it changes, and the call of the 2010 report.
"""

from __future__ import annotations

import base64
import binascii
import heapq
import json
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from twisted.internet.task import deferLater

from jobpush.core import wire
from jobpush.core.filters import of_job
from jobpush.core.model import JobDescriptor, JobKey
from jobpush.core.record import JobRecord
from jobpush.events.reader import Enough, Page
from jobpush.service import JobPush
from jobpush.web import health
from jobpush.web.held.bays import Ask
from jobpush.web.params import (
    DEFAULT_WAIT_S,
    Params,
    canonical_key,
    check_cluster,
    jittered,
    only_cluster,
    preference,
    resolve,
)
from jobpush.web.problems import Problem
from jobpush.web.routes.common import JOB_EVENTS, SELECTION, Routes, app

_JOB = frozenset({"since", "wait", "until"})
_JOBSTATUS = frozenset({"jobId", "timeout", "since", "cluster"})

#: Jobs looked at, or written, before other work gets its turn.
_SLICE = 500


#: Jobs whose part of an answer is kept, as it was written last.
SHOWN = 2000


class JobRoutes(Routes):
    """``/v1/jobs`` and ``/jobstatus``."""

    @app.route("/v1/jobs", methods=["GET"])
    async def jobs(self, request: Any) -> bytes:
        """Jobs now, a page at a time. Every page carries the first page's cursor."""
        params = Params.of_query(self.service, request, SELECTION | {"limit", "after"})
        selection, limit = params.selection(), params.limit(highest=2000)
        cursor, begin = self._page_token(params.text("after"))
        found: list[tuple[JobKey, JobDescriptor]] = []
        for count, job in enumerate(self._every_job(selection.clusters)):
            if count % _SLICE == _SLICE - 1:
                await deferLater(self.service.reactor, 0)
            if (begin is None or job.key > begin) and selection.takes(job):
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
    async def job(self, request: Any, cluster: str, job_id: str) -> Any:
        """One job: at once, or when it changes."""
        params = Params.of_query(self.service, request, _JOB)
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
        met = enough is not None and _is_enough(until, job)
        zero = params.text("since") == "0"

        def answer(request: Any, page: Page) -> bytes:
            return self._job_answer(request, key, self._known(key) or found, page, zero)

        if since is None and (enough is None or met):
            return answer(request, Page((), self.service.feed.head))
        if since is None:
            since = began_at
        left = 0.0 if met else max(0.0, deadline - self.service.reactor.seconds())
        same = ("job", key, until, zero, None if enough is None else since)
        ask = Ask(same, of_job(key), JOB_EVENTS, enough, answer, asked)
        return await self._answer_when(request, ask, since, left, late=wait > 0 and left == 0 and not met)

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
    ) -> Any:
        """The client has this version: 304 at once, or, with ``Prefer: wait``, 200 when there is another."""

        def answer(request: Any, page: Page) -> bytes:
            if deadline is not None:
                request.setHeader(b"preference-applied", f"wait={asked:g}".encode())
            if page.events:
                found = self._known(key)
                assert found is not None, "a job with a new event is in the table"
                return self._job_answer(request, key, found, page, False)
            request.setResponseCode(304)
            request.setHeader(b"etag", _etag(self.service, record).encode())
            request.setHeader(b"jobpush-cursor", self.service.feed.cursor(page.seq).encode())
            self._closing(request, page.closing)
            return b""

        if deadline is None:
            return answer(request, Page((), self.service.feed.head))
        ask = Ask(("etag", key, record.last_seq, asked), of_job(key), JOB_EVENTS, None, answer)
        return await self._answer_when(request, ask, record.last_seq, max(0.0, deadline - self.service.reactor.seconds()))

    def _job_answer(
        self, request: Any, key: JobKey, found: tuple[JobDescriptor, JobRecord], page: Page, zero: bool
    ) -> bytes:
        job, record = found
        feed = self.service.feed
        cursor = feed.cursor(page.seq)
        served = record.job is job and record.last_seq <= page.seq
        if record.last_seq > page.seq:
            # It has changed again since this answer was claimed: the state must not run ahead of the cursor.
            told = [event for event in page.events if event.key == job.key]
            if told:
                record = record.as_of(told[-1])
                job = record.job
        request.setHeader(b"etag", _etag(self.service, record).encode())
        monitor = self.service.monitors[key[0]]
        fields: dict[str, object] = {
            "cursor": cursor,
            "timed_out": page.timed_out,
            "stale_s": health.rounded(monitor.stale_s),
            "health": monitor.status.health,
        }
        if page.more:
            fields["more"] = True
        if zero:
            fields["oldest_cursor"] = feed.cursor(feed.oldest)
        last = page.events[-1] if page.events else None
        if served and (last is None or last.subject is not job):
            shown = _shown(feed.epoch, record)
        else:
            shown = wire.shown_bytes(feed.epoch, job, record.history, last)
        return self._answer(request, wire.joined(shown, wire.envelope(fields, page.events)), cursor, page.closing)

    # -- the call of 2010

    @app.route("/jobstatus", methods=["GET"])
    async def jobstatus(self, request: Any) -> Any:
        """The bare descriptor of a job: at once, or with ``since`` at its next change."""
        params = Params.of_query(self.service, request, _JOBSTATUS)
        job_id = params.text("jobId")
        if not job_id:
            raise Problem(400, "jobId is missing: which job is asked for?", "jobId")
        cluster = params.text("cluster") or only_cluster(self.service, "cluster")
        check_cluster(self.service, cluster, "cluster")
        asked = params.wait(DEFAULT_WAIT_S, "timeout") or 0.0
        wait = jittered(asked)
        since = params.since()
        deadline = self.service.reactor.seconds() + wait
        key = canonical_key(self.service, cluster, job_id, "jobId")
        found, proven = await self._find(key, wait)
        if found is None and proven:
            raise Problem(404, f"{cluster} lists no job {job_id}", "jobId")

        def answer(request: Any, page: Page) -> bytes:
            now = found and (self._known(found[0].key) or found)
            cursor = self.service.feed.cursor(page.seq)
            if now is None or (since is not None and not page.events and not now[0].terminal):
                request.setHeader(b"jobpush-timed-out", b"1")
                return self._answer(request, b"null", cursor, page.closing)
            return self._answer(request, wire.dumps(wire.job_fields(now[0])), cursor, page.closing)

        if found is None or since is None or found[0].terminal:
            return answer(request, Page((), self.service.feed.head))
        key = found[0].key
        ask = Ask(("jobstatus", key), of_job(key), JOB_EVENTS, None, answer, asked)
        return await self._answer_when(request, ask, since, max(0.0, deadline - self.service.reactor.seconds()))


@lru_cache(SHOWN)
def _shown(epoch: str, record: JobRecord) -> bytes:
    """A job that many ask for is written down once for all of them."""
    return wire.shown_bytes(epoch, record.job, record.history)


def _is_enough(until: str | None, job: JobDescriptor) -> bool:
    return job.started if until == "started" else job.terminal


def _enough(until: str | None, key: JobKey) -> Enough | None:
    if until not in ("started", "terminal"):
        return None
    return lambda event: event.key == key and _is_enough(until, event.job)


def _etag(service: JobPush, record: JobRecord) -> str:
    return f'W/"{service.feed.cursor(record.last_seq)}"'
