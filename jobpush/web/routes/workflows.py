"""
The routes on workflows: which there are, one of them at once or when it changes, and those that clients put.
"""

from __future__ import annotations

from collections.abc import Collection, Generator, Mapping

from jobpush.core import wire
from jobpush.core.filters import OfSubject
from jobpush.core.model import JobDescriptor, JobKey
from jobpush.core.record import Subject
from jobpush.core.workflow import WorkflowRecord, kept_name, owner_of, workflow_key
from jobpush.core.workflow_quotas import NoRoom
from jobpush.core.workflows import may_have
from jobpush.events.reader import Enough, Page
from jobpush.runtime.cooperate import finish
from jobpush.service import JobPush
from jobpush.web.held.questions import Hold, LookRequest, Outcome, Question, Ready
from jobpush.web.params import DEFAULT_WAIT_S, Params, body_of, check_workflow, decoded, jittered
from jobpush.web.problems import Problem, not_yet_known
from jobpush.web.requests import ClientRequest
from jobpush.web.responses import Rendering, Response, json_response
from jobpush.web.routes.common import JOB_EVENTS, Poll, Polls

_LIST = frozenset({"state", "user", "limit", "after"})
_ONE = frozenset({"since", "wait", "until"})
_PUT = frozenset({"job", "edges"})

#: How many edges a workflow may have.
MOST_EDGES = 100_000

#: When to come back for a place: workflows that nobody waits for, and of which no job is left, are forgotten in time.
_LATER = {"Retry-After": "60"}

#: Members written before other work gets its turn; with no more than these there is no pause at all.
_SLICE = 500


class WorkflowRoutes:
    """
    ``/v1/workflows``.

    :param owned: whether clients can say who they are: then each has workflows of its own, and who does not say it has only
        those that are nobody's. Else all are everybody's.
    """

    def __init__(self, service: JobPush, polls: Polls, owned: bool = False) -> None:
        self._service = service
        self._polls = polls
        self._owned = owned

    def list(self, request: ClientRequest) -> Response:
        """Workflows now, without their jobs, a page at a time, by name."""
        params = Params(self._service, decoded(request.args), _LIST, request.visibility)
        selection, limit, after = params.selection(), params.limit(highest=2000), params.text("after") or ""
        records = self._service.workflows.records
        names = sorted(name for name, r in records.items() if name > after and selection.takes(r.subject))
        page = [wire.workflow_fields(records[name].subject) for name in names[:limit]]
        fields: dict[str, object] = {"cursor": self._service.feed.cursor(), "workflows": page}
        if len(names) > limit:
            fields["after"] = names[limit - 1]
        return json_response(wire.dumps(fields), self._service.feed.cursor())

    # -- one workflow

    def workflow(self, question: Question) -> Outcome:
        """One workflow: at once, or when it changes."""
        (name,) = question.arguments
        check_workflow(name, "name")
        params = Params(self._service, question.parameters, _ONE)
        since, until, wait = params.since(), params.until(), params.wait(None)
        if wait is None and (since is not None or until is not None):
            wait = DEFAULT_WAIT_S
        deadline = question.came_at + jittered(wait) if wait is not None else question.came_at
        tagging = tuple(sorted(self._service.workflows.tagging))
        record = self._visible(question, name)
        if record is not None:
            return self._of_workflow(question, record, since, until, wait, deadline)
        if "@" not in name or deadline <= self._service.reactor.seconds() or not tagging:
            raise self._no_workflow(name)

        def seen() -> Outcome:
            record = self._visible(question, name)
            if record is None:
                return Ready(lambda: self._no_workflow(name).response())
            return self._of_workflow(question, record, since, until, wait, deadline)

        begun = tuple(self._service.monitors[cluster].looks_begun for cluster in tagging)
        return Hold(
            key=("workflow", name, since, until, question.visibility, self._service.feed.head, begun),
            since=self._service.feed.head,
            watch=None,
            render=lambda wake: self._no_workflow(name).response(),
            deadline=deadline,
            clusters=frozenset(tagging),
            looks=(LookRequest(tagging, seen),),
        )

    def _visible(self, question: Question, name: str) -> WorkflowRecord | None:
        """The workflow of that name, if there is one that the client may see."""
        record = self._service.workflows.records.get(name)
        if record is not None and question.visibility.shows(record.subject.user):
            return record
        if not question.visibility.settled and owner_of(name) != question.visibility.user:
            raise not_yet_known(self._service.hiding.unknown())
        return None

    def _of_workflow(
        self,
        question: Question,
        record: WorkflowRecord,
        since: int | None,
        until: str | None,
        wait: float | None,
        deadline: float,
    ) -> Outcome:
        name = record.subject.key[1]
        enough = _enough(until)
        met = enough is not None and _is_enough(until, record.subject)
        head = self._service.feed.head
        if since is None and (enough is None or met):
            return Ready(lambda: self._render(name, record, Page((), head)))
        poll = Poll(
            key=("workflow", name, until, question.visibility),
            selection=OfSubject(workflow_key(name), question.visibility),
            limit=JOB_EVENTS,
            enough=enough,
            answer=lambda page: self._render(name, record, page),
            deadline=0.0 if met else deadline,
            asked=wait is not None and wait > 0 and not met,
            wait=wait,
        )
        return self._polls.after(poll, since if since is not None else head)

    def _render(self, name: str, before: WorkflowRecord, page: Page) -> Rendering:
        """
        :param before: the workflow when the question came, for one that was deleted since.
        """
        record = self._service.workflows.records.get(name, before)
        steps = self._response(record, page)
        return finish(steps) if len(record.detail.members) <= _SLICE else steps

    def _response(self, record: WorkflowRecord, page: Page) -> Generator[None, None, Response]:
        cursor = self._service.feed.cursor(page.seq)
        members, edges = record.detail.members, record.detail.edges
        if page.events and record.last_seq != page.events[-1].seq:
            # It has changed again since this response was claimed, or is gone: the state must not run ahead of the cursor.
            record = record.as_of(page.events[-1])
        jobs: list[dict[str, object]] = []
        fields: dict[str, object] = {
            **wire.workflow_fields(record.subject),
            "cursor": cursor,
            "timed_out": page.timed_out,
            "history": wire.history_fields(self._service.feed.epochs, record.history),
            "edges": [["/".join(begin), "/".join(end)] for begin, end in edges],
            "jobs": jobs,
        }
        for count, (key, member) in enumerate(list(members.items()), 1):
            jobs.append(wire.member_fields(key, member))
            if count % _SLICE == 0:
                yield
        if page.more:
            fields["more"] = True
        return json_response(wire.envelope(fields, page.events), cursor, closing=page.closing)

    # -- those that clients put

    async def put(self, request: ClientRequest, name: str, owner: str | None = None) -> Response:
        """Say which jobs a workflow has, and which follow which. The same once more changes nothing."""
        name = self._own(request, owner, name, found=False)
        params = Params(self._service, body_of(request), _PUT, request.visibility)
        members = await self._service.cooperator.run(self._members(params))
        edges = _edges(params, members)
        workflows = self._service.workflows
        new = name not in workflows.records

        def of_table(key: JobKey) -> JobDescriptor | None:
            found = self._polls.known(key)
            return found[0] if found is not None and may_have(name, found[0]) else None

        # A job that it may not have takes the same way as one that is not known.
        remembered = await self._service.feed.last_of(
            [key for key in members if of_table(key) is None], request.visibility.user
        )

        def known(key: JobKey) -> JobDescriptor | None:
            return of_table(key) or (remembered[key].job if key in remembered else None)

        now = self._service.clocks.wall()
        try:
            await self._service.publisher.apply_to_workflows(lambda w: w.define(name, members, edges, known, now))
        except NoRoom as error:
            raise Problem(429 if error.whose == "owner" else 503, f"no room: {error}", headers=_LATER) from None
        page = Page((), self._service.feed.head)
        response = await self._service.cooperator.run(self._response(workflows.records[name], page))
        response.status = 201 if new else 200
        return response

    async def delete(self, request: ClientRequest, name: str, owner: str | None = None) -> Response:
        """Forget a workflow; its jobs stay what they are. One that was found comes back with its next job."""
        name = self._own(request, owner, name)
        if name not in self._service.workflows.records:
            raise self._no_workflow(name)
        now = self._service.clocks.wall()
        await self._service.publisher.apply_to_workflows(lambda w: w.delete([name], now))
        return Response(204, ((b"jobpush-cursor", self._service.feed.cursor().encode()),), b"")

    def _own(self, request: ClientRequest, owner: str | None, text: str, found: bool = True) -> str:
        """
        Return the name, as it is kept, of a workflow that the client may put and delete: it is its owner, or an operator.

        :param owner: if it is named in the path.
        :param found: whether ``NAME@OWNER`` is taken too.
        :raise Problem: 400, if it is no name; 404, as for one that is unknown, if it is another's.
        """
        principal = request.principal
        if not found:
            check_workflow(text, "name", found=False)
        name = check_workflow(kept_name(text if owner is None else f"{owner}/{text}", principal.name), "name")
        if self._owned and not principal.sees_all and owner_of(name) != principal.name:
            raise self._no_workflow(name)
        return name

    def _no_workflow(self, name: str) -> Problem:
        return Problem(404, f"there is no workflow {self._service.workflows.told_name(name)}", "name")

    def _members(self, params: Params) -> Generator[None, None, dict[JobKey, str]]:
        """The jobs of a workflow by key, as the client wrote them. A task counts once if its array is one of them."""
        jobs = params.values("job")
        if not jobs:
            raise Problem(400, "jobs: expected the jobs that it has, a list of texts such as \"slurm/4711\"", "jobs")
        members = yield from params.jobs("jobs", jobs)
        for key in list(members):
            task = self._service.monitor_of(key[0]).queue.task_of(key[1])
            if task is not None and (key[0], task[0]) in members:
                del members[key]
        return members


def _is_enough(until: str | None, workflow: Subject) -> bool:
    return workflow.started if until == "started" else workflow.terminal


def _enough(until: str | None) -> Enough | None:
    if until not in ("started", "terminal"):
        return None
    return lambda event: event.subject.deleted or _is_enough(until, event.subject)


def _edges(params: Params, members: Collection[JobKey]) -> tuple[tuple[JobKey, JobKey], ...]:
    """The edges, each between two members, and no way round in a circle."""
    values = params.values("edges")
    if len(values) > MOST_EDGES:
        raise Problem(413, f"edges: {len(values)} edges; at most {MOST_EDGES}", "edges")
    edges: dict[tuple[JobKey, JobKey], None] = {}
    for value in values:
        if not isinstance(value, list) or len(value) != 2:
            raise Problem(400, 'edges: expected pairs of jobs such as ["slurm/4711", "slurm/4712"]', "edges")
        begin, end = (params.job(job, "edges") for job in value)
        for key in (begin, end):
            if key not in members:
                raise Problem(400, f"edges: {key[0]}/{key[1]} is none of the workflow's jobs", "edges")
        edges[begin, end] = None
    circle = _in_a_circle(members, edges)
    if circle is not None:
        raise Problem(400, f"edges: {circle[0]}/{circle[1]} would have to follow itself", "edges")
    return tuple(edges)


def _in_a_circle(members: Collection[JobKey], edges: Mapping[tuple[JobKey, JobKey], None]) -> JobKey | None:
    """A job on a circle, if there is one: what is left when all that follows nothing has been taken away, again and again."""
    before = dict.fromkeys(members, 0)
    after: dict[JobKey, list[JobKey]] = {}
    for begin, end in edges:
        before[end] += 1
        after.setdefault(begin, []).append(end)
    free = [key for key, count in before.items() if not count]
    while free:
        key = free.pop()
        del before[key]
        for end in after.get(key, ()):
            before[end] -= 1
            if not before[end]:
                free.append(end)
    # What is left may also only hang behind a circle: go back until a job comes twice.
    seen: dict[JobKey, None] = {}
    back = {end: begin for begin, end in edges if begin in before and end in before}
    key_or_none = next(iter(before), None)
    while key_or_none is not None and key_or_none not in seen:
        seen[key_or_none] = None
        key_or_none = back.get(key_or_none)
    return key_or_none
