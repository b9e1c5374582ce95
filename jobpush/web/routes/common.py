"""
What the routes have in common: the application that they belong to, finding a job, waiting for events, answering.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from typing import Any

from klein import Klein
from twisted.internet.defer import CancelledError, Deferred
from twisted.web.server import NOT_DONE_YET
from werkzeug.exceptions import HTTPException, MethodNotAllowed, NotFound
from werkzeug.routing import BaseConverter, RequestRedirect

from jobpush.core.filters import Selection
from jobpush.core.model import JobDescriptor, JobKey
from jobpush.core.record import UNSEEN, JobRecord, JobStatusEvent, Record, packed
from jobpush.events.interfaces import CursorGone
from jobpush.events.reader import Enough, Page, Pending
from jobpush.service import JobPush
from jobpush.web.held.bays import Ask
from jobpush.web.held.holds import Holds
from jobpush.web.held.parking import ParkingLot
from jobpush.web.params import FILTERS, gone
from jobpush.web.problems import Problem, nothing_at

#: The parameters by which a client says which jobs it asks for.
SELECTION = frozenset({*FILTERS, "job"})

#: Events of one job that one answer may hold.
JOB_EVENTS = 10_000


class _Id(BaseConverter):
    """A job id as the client wrote it, with slashes and line breaks if need be: the adapter says what is none."""

    regex = "(?s:.+)"
    part_isolating = False


app = Klein()
app.url_map.converters["id"] = _Id


class Routes:
    """
    What each group of routes is built on; they are put together in `jobpush.web.app`.
    """

    def __init__(self, service: JobPush, holds: Holds, parking: ParkingLot) -> None:
        self.service = service
        self.holds = holds
        self.parking = parking

    # -- jobs

    async def _find(self, key: JobKey, wait: float) -> tuple[tuple[JobDescriptor, JobRecord] | None, bool]:
        """
        A job of the table, or one that only the journal remembers. One that neither knows may have been submitted after the
        last snapshot: wait, as long as is allowed, for a query that begins now.

        :return: the job, if there is one; and whether all that was asked for was done to find it.
        """
        found = self._known(key)
        if found is None:
            last = (await self.service.journal.last_of([key])).get(key)
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

    async def _all_fresh(self, clusters: Iterable[str], wait: float) -> bool:
        """The same for several clusters."""
        waits = [Deferred.fromCoroutine(self._fresh(cluster, wait)) for cluster in clusters]
        try:
            return all([await each for each in waits])
        finally:
            for each in waits:
                each.addErrback(lambda _: False)
                each.cancel()

    def _known(self, key: JobKey) -> tuple[JobDescriptor, JobRecord] | None:
        return self.service.table.find(*key, self.service.monitors[key[0]].queue.task_of)

    # -- events

    async def _next(self, selection: Selection, since: int, limit: int, enough: Enough | None) -> Page | Pending:
        """Events after ``since``, if there is an answer now."""
        try:
            return await self.service.feed.ready(selection, since, limit, enough)
        except CursorGone:
            raise gone(self.service) from None

    async def _wait_for(self, selection: Selection, since: int, wait: float, limit: int, enough: Enough | None) -> Page:
        """Events after ``since``, now or when they come; counted as held while it waits."""
        deadline = self.service.reactor.seconds() + wait
        page = await self._next(selection, since, limit, enough)
        if isinstance(page, Pending):
            page = await self._held(page, selection, deadline - self.service.reactor.seconds(), limit, enough, wait > 0)
        return page

    async def _answer_when(self, request: Any, ask: Ask, since: int, wait: float, late: bool = False) -> Any:
        """
        The answer with the events after ``since``, now or when they come; nothing of the request is left meanwhile, where its
        connection can be parked.

        :param wait: seconds for which it may be held.
        :param late: was there a wait, which is over already?
        """
        deadline = self.service.reactor.seconds() + wait
        page = await self._next(ask.selection, since, ask.limit, ask.enough)
        if isinstance(page, Pending):
            left = deadline - self.service.reactor.seconds()
            if left > 0 and self.parking.takes(request):
                self.parking.park(request, ask, page, left)
                self.service.awaited(ask.selection.clusters)
                return NOT_DONE_YET
            page = await self._held(page, ask.selection, left, ask.limit, ask.enough, late or wait > 0)
        return ask.answer(request, page)

    async def _held(
        self, pending: Pending, selection: Selection, left: float, limit: int, enough: Enough | None, late: bool
    ) -> Page:
        """Wait for so many seconds more, if there are any."""
        if left <= 0:
            return self.service.feed.nothing(pending, timed_out=late)
        with self.holds.holding():
            self.service.awaited(selection.clusters)
            wake = await self.service.tracker.wait(selection, pending.since, left, enough)
        return self.service.feed.page(pending.gathered, pending.since, wake, limit)

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


def _from_event(event: JobStatusEvent) -> JobRecord:
    """A job that only the journal remembers."""
    return Record(event.job, UNSEEN, last_seq=event.seq, steps=packed((event.step,)))


