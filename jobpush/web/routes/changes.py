"""
The route on what happens: the change feed.
"""

from __future__ import annotations

from jobpush.core import wire
from jobpush.core.filters import Selection
from jobpush.events.reader import READING_S, Page
from jobpush.service import JobPush
from jobpush.web import health
from jobpush.web.held.questions import Later, Outcome, Question, Ready
from jobpush.web.params import DEFAULT_WAIT_S, Params, jittered
from jobpush.web.responses import Response, json_response
from jobpush.web.routes.common import SELECTION, Poll, Polls

_CHANGES = SELECTION | {"since", "wait", "limit"}

#: Jobs that a filter may name and be read at once; a longer one is read in turns.
_READ_AT_ONCE = 500


class ChangeRoutes:
    """``/v1/changes``."""

    def __init__(self, service: JobPush, polls: Polls) -> None:
        self._service = service
        self._polls = polls

    def changes(self, question: Question) -> Outcome:
        """Every matching event after a cursor, now or when it comes."""
        params = Params(self._service, question.parameters, _CHANGES, question.visibility)
        if len(params.values("job")) > _READ_AT_ONCE:
            return Later(lambda: self._read_long(question, params))
        return self._changes(question, params, params.selection())

    async def _read_long(self, question: Question, params: Params) -> Outcome:
        selection = await self._service.cooperator.run(params.selection_steps())
        return self._changes(question, params, selection)

    def _changes(self, question: Question, params: Params, selection: Selection) -> Outcome:
        limit, wait, since = params.limit(), params.wait(DEFAULT_WAIT_S), params.since()
        zero = params.text("since") == "0"

        def answer(page: Page) -> Response:
            cursor = self._service.feed.cursor(page.seq)
            fields: dict[str, object] = {
                "cursor": cursor,
                "more": page.more,
                "timed_out": page.timed_out,
                "clusters": health.clusters(self._service, selection.clusters),
            }
            if zero and since is not None:
                fields["oldest_cursor"] = self._service.feed.cursor(since)
            return json_response(wire.envelope(fields, page.events), cursor, closing=page.closing)

        if since is None:
            return Ready(lambda: answer(Page((), self._service.feed.head)))
        deadline = question.came_at + jittered(wait or 0.0)
        poll = Poll(
            key=("changes", selection, limit, since if zero else None),
            selection=selection,
            limit=limit,
            enough=None,
            answer=answer,
            deadline=deadline,
            asked=bool(wait),
            wait=wait,
            ends=max(deadline, question.came_at + READING_S),
        )
        return self._polls.after(poll, since)
