"""
The routes on single jobs and lists of them: jobs now, one job now or when it changes, and the call of the 2010 report.
"""

from __future__ import annotations

import base64
import binascii
import heapq
import json
from collections.abc import Generator, Iterator, Sequence
from functools import lru_cache, partial

import attrs

from jobpush.core import wire
from jobpush.core.cursors import Epochs
from jobpush.core.filters import OfSubject, Selection, Visibility
from jobpush.core.model import JobDescriptor, JobKey
from jobpush.core.record import Event, JobRecord
from jobpush.events.reader import Enough, Page
from jobpush.service import JobPush
from jobpush.web import health
from jobpush.web.held.questions import Hold, Later, LookRequest, Outcome, Question, Ready
from jobpush.web.params import (
    DEFAULT_WAIT_S,
    Params,
    Preference,
    canonical_key,
    check_cluster,
    jittered,
    only_cluster,
    resolve,
)
from jobpush.web.problems import Problem, not_yet_known
from jobpush.web.responses import Response, json_response
from jobpush.web.routes.common import JOB_EVENTS, SELECTION, Found, Poll, Polls

_LIST = SELECTION | {"limit", "after"}
_JOB = frozenset({"since", "wait", "until"})
_JOBSTATUS = frozenset({"jobId", "timeout", "since", "cluster"})

#: Jobs looked at, and jobs written, before other work gets its turn.
_LOOKED_AT, _WRITTEN = 500, 100

#: Seconds for which a request that may not be held waits for what accounting says of its job.
LOOK_UP_S = 1.0

#: Jobs whose part of a response is kept, as it was written last.
_KEPT = 256


@attrs.frozen
class _JobQuery:
    """
    What a client asks of one job. Equal values get the same response at the same moment.

    :ivar key: of the job, as far as its aliases are known.
    :ivar since: the number after which events are asked for; None for the state as it is.
    :ivar began_at: the head when the question came.
    :ivar wait: seconds that the client asked for; None if it asked for none.
    """

    route: str
    key: JobKey
    visibility: Visibility
    since: int | None
    until: str | None
    zero: bool
    condition: Preference | None
    began_at: int
    wait: float | None


@attrs.frozen(eq=False)
class _OfJob:
    """Makes the response to a question on one job."""

    routes: JobRoutes
    key: JobKey
    found: Found
    zero: bool

    def __call__(self, page: Page) -> Response:
        return self.routes.response(self.key, self.found, page, self.zero)


class JobRoutes:
    """``/v1/jobs`` and ``/jobstatus``."""

    def __init__(self, service: JobPush, polls: Polls) -> None:
        self._service = service
        self._polls = polls

    # -- lists

    def list(self, question: Question) -> Outcome:
        """Jobs now, a page at a time. Every page carries the first page's cursor."""
        params = Params(self._service, question.parameters, _LIST, question.visibility)
        selection, limit = params.selection(), params.limit(highest=2000)
        cursor, begin = self._page_token(params.text("after"))
        return Ready(lambda: self._page(selection, limit, cursor, begin))

    def _page(
        self, selection: Selection, limit: int, cursor: str, begin: JobKey | None
    ) -> Generator[None, None, Response]:
        found: list[tuple[JobKey, JobDescriptor]] = []
        for count, job in enumerate(self._every_job(selection.clusters)):
            if count % _LOOKED_AT == _LOOKED_AT - 1:
                yield
            if (begin is None or job.key > begin) and selection.takes(job):
                found.append((job.key, job))
        page = heapq.nsmallest(limit, found, key=lambda item: item[0])
        fields: dict[str, object] = {"cursor": cursor, "jobs": []}
        if len(found) > limit:
            token = json.dumps({"c": cursor, "k": page[-1][0]})
            fields["after"] = base64.urlsafe_b64encode(token.encode()).decode().rstrip("=")
        fields["clusters"] = health.clusters(self._service)
        listed = []
        for count, (_, job) in enumerate(page):
            listed.append(wire.job_fields(job))
            if count % _WRITTEN == _WRITTEN - 1:
                yield
        return json_response(wire.dumps({**fields, "jobs": listed}), cursor)

    def _every_job(self, clusters: frozenset[str]) -> Iterator[JobDescriptor]:
        for name in list(self._service.monitors):
            if not clusters or name in clusters:
                jobs = self._service.table.cluster(name)
                for job_id in list(jobs.records):
                    record = jobs.get(job_id)
                    if record is not None:
                        yield record.job

    def _page_token(self, after: str | None) -> tuple[str, JobKey | None]:
        if after is None:
            return self._service.feed.cursor(), None
        try:
            token = json.loads(base64.urlsafe_b64decode(after + "=" * (-len(after) % 4)))
            cursor, (cluster, job_id) = token["c"], token["k"]
            if not all(isinstance(text, str) for text in (cursor, cluster, job_id)):
                raise ValueError
        except (ValueError, KeyError, TypeError, binascii.Error, RecursionError):
            raise Problem(400, "after: expected what an earlier page gave", "after") from None
        resolve(self._service, cursor, "after")
        return cursor, (cluster, job_id)

    # -- one job

    def job(self, question: Question) -> Outcome:
        """One job: at once, or when it changes."""
        cluster, job_id = question.arguments
        params = Params(self._service, question.parameters, _JOB)
        check_cluster(self._service, cluster, "cluster", status=404)
        since, until = params.since(), params.until()
        condition = question.condition if since is None and until is None else None
        wait = params.wait(None)
        if wait is None and condition is not None:
            wait = condition.wait
        if wait is None and (since is not None or until is not None):
            wait = DEFAULT_WAIT_S
        key = canonical_key(self._service, cluster, job_id, "id", question.visibility)
        zero = params.text("since") == "0"
        asked = _JobQuery(
            "job", key, question.visibility, since, until, zero, condition, self._service.feed.head, wait
        )
        return self._find(asked, self._deadline(question, wait))

    # -- the call of 2010

    def jobstatus(self, question: Question) -> Outcome:
        """The bare descriptor of a job: at once, or with ``since`` at its next change."""
        params = Params(self._service, question.parameters, _JOBSTATUS)
        job_id = params.text("jobId")
        if not job_id:
            raise Problem(400, "jobId is missing: which job is asked for?", "jobId")
        cluster = params.text("cluster") or only_cluster(self._service, "cluster")
        check_cluster(self._service, cluster, "cluster")
        wait = params.wait(DEFAULT_WAIT_S, "timeout") or 0.0
        since = params.since()
        key = canonical_key(self._service, cluster, job_id, "jobId", question.visibility)
        asked = _JobQuery(
            "jobstatus", key, question.visibility, since, None, False, None, self._service.feed.head, wait
        )
        return self._find(asked, self._deadline(question, wait))

    @staticmethod
    def _deadline(question: Question, wait: float | None) -> float:
        return question.came_at + jittered(wait) if wait is not None else question.came_at

    # -- finding a job

    def _find(self, asked: _JobQuery, deadline: float) -> Outcome:
        """
        A job of the table, or one that only the journal remembers. One that neither knows may have been submitted after the
        last look: wait, as long as is allowed, for a look that begins now.
        """
        found = self._known(asked)
        if found is None:
            return Later(lambda: self._find_older(asked, deadline))
        return self._of_job(asked, deadline, found)

    async def _find_older(self, asked: _JobQuery, deadline: float) -> Outcome:
        remembered = await self._polls.remembered(asked.key, asked.visibility)
        found = self._known(asked) or remembered
        if found is not None:
            return self._of_job(asked, deadline, found)
        self._check_settled(asked)
        if deadline <= self._service.reactor.seconds():
            looking = self._service.look_up([asked.key], asked.visibility)
            await looking.addTimeout(LOOK_UP_S, self._service.reactor).addErrback(lambda _: None)
            found = self._known(asked)
            if found is not None:
                return self._of_job(asked, deadline, found)
            return Ready(lambda: self._unknown(asked, proven=asked.wait is None or asked.wait <= 0, closing=False))
        cluster = asked.key[0]
        return Hold(
            key=(asked, self._service.monitor_of(cluster).looks_begun),
            since=asked.began_at,
            watch=None,
            render=lambda wake: self._unknown(asked, proven=False, closing=wake.closing),
            deadline=deadline,
            clusters=frozenset((cluster,)),
            looks=(LookRequest((cluster,), lambda: self._after_look(asked, deadline), (asked.key,), asked.visibility),),
        )

    def _after_look(self, asked: _JobQuery, deadline: float) -> Outcome:
        """A look that began after the question has been published."""
        # What was no id of a known job may be an alias of one by now.
        asked = attrs.evolve(asked, key=self._polls.canonical(asked.key, asked.visibility))
        found = self._known(asked)
        if found is None:
            return Ready(lambda: self._unknown(asked, proven=True, closing=False))
        return self._of_job(asked, deadline, found)

    def _known(self, asked: _JobQuery) -> Found | None:
        return self._visible(asked, self._polls.known(asked.key))

    @staticmethod
    def _visible(asked: _JobQuery, found: Found | None) -> Found | None:
        return found if found is not None and asked.visibility.shows(found[0].user) else None

    def _check_settled(self, asked: _JobQuery) -> None:
        """
        A job is not shown. Whether there is one is not told before it is known whose jobs may be.

        :raise Problem: 503, while that is not known.
        """
        if not asked.visibility.settled:
            raise not_yet_known(self._service.hiding.unknown())

    def _unknown(self, asked: _JobQuery, proven: bool, closing: bool) -> Response:
        """Unknown to a look that began after the request, or not known because there was none in time: not the same."""
        cluster, job_id = asked.key
        monitor = self._service.monitor_of(cluster)
        simple = asked.route == "jobstatus"
        if proven:
            text = f"{cluster} lists no job {job_id}"
            if simple:
                return Problem(404, text, "jobId").response()
            stale_s, state = health.rounded(monitor.stale_s), monitor.status.health
            return Problem(404, text, "id", stale_s=stale_s, health=state).response()
        # A look that is not over may have found it: the cursor must not be ahead of its events, which are not told here.
        found = self._known(attrs.evolve(asked, key=self._polls.canonical(asked.key, asked.visibility)))
        began_at = asked.began_at if asked.since is None else asked.since
        cursor = self._service.feed.cursor(None if found is None else began_at)
        if simple:
            return json_response(b"null", cursor, [(b"jobpush-timed-out", b"1")], closing=closing)
        body = wire.dumps(
            {
                "job": None, "history": [], "events": [], "cursor": cursor, "timed_out": True,
                "stale_s": health.rounded(monitor.stale_s), "health": monitor.status.health,
            }
        )  # fmt: skip
        return json_response(body, cursor, closing=closing)

    # -- what comes of it

    def _of_job(self, asked: _JobQuery, deadline: float, found: Found) -> Outcome:
        """The outcome of a question on a job that is found."""
        if asked.route == "jobstatus":
            return self._jobstatus_of(asked, deadline, found)
        job, record = found
        key = job.key
        if asked.condition is not None and asked.condition.has(_etag(self._service, record)):
            return self._unless_modified(asked, deadline, found)
        enough = _enough(asked.until, key)
        if enough is not None and (there := self._polls.followed(found))[0] is not job:
            return self._of_job(attrs.evolve(asked, key=there[0].key), deadline, there)
        met = enough is not None and _is_enough(asked.until, job)
        answer = _OfJob(self, key, found, asked.zero)
        if asked.since is None and (enough is None or met):
            return Ready(partial(answer, Page((), self._service.feed.head)))
        since = asked.began_at if asked.since is None else asked.since
        poll = Poll(
            key=("job", key, asked.until, asked.zero, asked.visibility),
            selection=OfSubject(key, asked.visibility),
            limit=JOB_EVENTS,
            enough=enough,
            answer=answer,
            deadline=0.0 if met else deadline,
            asked=asked.wait is not None and asked.wait > 0 and not met,
            wait=asked.wait,
            instead=partial(self._if_moved, asked, deadline) if enough is not None and self._may_move else None,
        )
        return self._polls.after(poll, since)

    @property
    def _may_move(self) -> bool:
        """Whether a job can become one of another cluster. (Thousands are held: elsewhere that is to cost no memory.)"""
        return len(self._service.monitors) > 1

    def _if_moved(self, asked: _JobQuery, deadline: float, events: Sequence[Event]) -> Outcome | None:
        """What is waited for has been moved to another cluster: then the job that it is there."""
        if all(event.key != asked.key or event.job.moved_key is None for event in events):
            return None
        found = self._known(asked)
        return self._of_job(asked, deadline, found) if found is not None else None

    def _unless_modified(self, asked: _JobQuery, deadline: float, found: Found) -> Outcome:
        """The client has this version: 304 at once, or, with ``Prefer: wait``, 200 when there is another."""
        assert asked.condition is not None
        job, record = found
        key = job.key
        waits = asked.condition.wait is not None
        applied = [(b"preference-applied", f"wait={asked.wait:g}".encode())] if waits else []

        def answer(page: Page) -> Response:
            if page.events:
                response = self.response(key, found, page, False)
                return attrs.evolve(response, headers=(*applied, *response.headers))
            cursor = self._service.feed.cursor(page.seq)
            response = json_response(b"", cursor, closing=page.closing)
            kept = [header for header in response.headers if header[0] in (b"jobpush-cursor", b"retry-after")]
            etag = (b"etag", _etag(self._service, record).encode())
            return attrs.evolve(response, status=304, headers=(*applied, etag, *kept))

        if not waits:
            return Ready(lambda: answer(Page((), self._service.feed.head)))
        poll = Poll(
            key=("etag", key, record.last_seq, asked.wait, asked.visibility),
            selection=OfSubject(key, asked.visibility),
            limit=JOB_EVENTS,
            enough=None,
            answer=answer,
            deadline=deadline,
            asked=True,
        )
        return self._polls.after(poll, record.last_seq)

    def response(self, key: JobKey, found: Found, page: Page, zero: bool) -> Response:
        """
        The job as it is now, with the events of a page.

        :param found: the job as it was when it was found, for one that the table has forgotten since.
        :param zero: everything that is kept was asked for.
        """
        job, record = self._polls.known(key) or found
        feed = self._service.feed
        cursor = feed.cursor(page.seq)
        served = record.job is job and record.last_seq <= page.seq
        if record.last_seq > page.seq:
            # It has changed again since this response was claimed: the state must not run ahead of the cursor.
            told = [event for event in page.events if event.key == job.key]
            if told:
                record = record.as_of(told[-1])
                job = record.job
        monitor = self._service.monitor_of(key[0])
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
            shown = _shown(feed.epochs, record)
        else:
            shown = wire.shown_bytes(feed.epochs, job, record.history, last)
        body = wire.joined(shown, wire.envelope(fields, page.events))
        return json_response(body, cursor, [(b"etag", _etag(self._service, record).encode())], closing=page.closing)

    def _jobstatus_of(self, asked: _JobQuery, deadline: float, found: Found) -> Outcome:
        def answer(page: Page) -> Response:
            job, _ = self._polls.known(found[0].key) or found
            cursor = self._service.feed.cursor(page.seq)
            if asked.since is not None and not page.events and not job.terminal:
                return json_response(b"null", cursor, [(b"jobpush-timed-out", b"1")], closing=page.closing)
            return json_response(wire.dumps(wire.job_fields(job)), cursor, closing=page.closing)

        if asked.since is None or found[0].terminal:
            return Ready(lambda: answer(Page((), self._service.feed.head)))
        key = found[0].key
        poll = Poll(
            key=("jobstatus", key, asked.visibility),
            selection=OfSubject(key, asked.visibility),
            limit=JOB_EVENTS,
            enough=None,
            answer=answer,
            deadline=deadline,
            asked=True,
            wait=asked.wait,
        )
        return self._polls.after(poll, asked.since)


@lru_cache(_KEPT)
def _shown(epochs: Epochs, record: JobRecord) -> bytes:
    """A job that many ask for is written down once for all of them."""
    return wire.shown_bytes(epochs, record.job, record.history)


def _is_enough(until: str | None, job: JobDescriptor) -> bool:
    return job.started if until == "started" else job.terminal


def _enough(until: str | None, key: JobKey) -> Enough | None:
    if until not in ("started", "terminal"):
        return None
    return lambda event: event.key == key and _is_enough(until, event.job)


def _etag(service: JobPush, record: JobRecord) -> str:
    return f'W/"{service.feed.cursor(record.last_seq)}"'
