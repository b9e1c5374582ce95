"""
The routes on workflows: which there are, one of them at once or when it changes, and those that clients put.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from twisted.internet.task import deferLater

from jobpush.core import wire
from jobpush.core.filters import Selection
from jobpush.core.model import JobDescriptor, JobKey
from jobpush.core.record import Subject
from jobpush.core.workflow import WorkflowRecord, workflow_key
from jobpush.events.interfaces import JournalError
from jobpush.events.reader import Enough, Page
from jobpush.web.params import DEFAULT_WAIT_S, MOST_IDS, Params, check_workflow, jittered
from jobpush.web.problems import Problem
from jobpush.web.routes.common import JOB_EVENTS, Routes, app

#: How many workflows clients may put, and how many edges one may have.
MOST_WORKFLOWS = 10_000
MOST_EDGES = 100_000

#: Members looked up, or written, before other work gets its turn.
_SLICE = 500


class WorkflowRoutes(Routes):
    """``/v1/workflows``."""

    @app.route("/v1/workflows", methods=["GET"])
    def workflow_list(self, request: Any) -> bytes:
        """Workflows now, without their jobs, a page at a time, by name."""
        params = Params.of_query(self.service, request, frozenset({"state", "user", "limit", "after"}))
        selection, limit, after = params.selection(), params.limit(highest=2000), params.text("after") or ""
        records = self.service.workflows.records
        names = sorted(name for name, r in records.items() if name > after and selection.takes(r.subject))
        page = [wire.workflow_fields(records[name].subject) for name in names[:limit]]
        fields: dict[str, object] = {"cursor": self.service.feed.cursor(), "workflows": page}
        if len(names) > limit:
            fields["after"] = names[limit - 1]
        return self._answer(request, wire.dumps(fields))

    @app.route("/v1/workflows/<name>", methods=["GET"])
    async def workflow(self, request: Any, name: str) -> bytes:
        """One workflow: at once, or when it changes."""
        check_workflow(name, "name")
        params = Params.of_query(self.service, request, frozenset({"since", "wait", "until"}))
        since, until, asked = params.since(), params.until(), params.wait(None)
        if asked is None and (since is not None or until is not None):
            asked = DEFAULT_WAIT_S
        wait = jittered(asked) if asked is not None else 0.0
        deadline = self.service.reactor.seconds() + wait
        record = await self._found_workflow(name, wait)
        enough = _enough(until)
        met = enough is not None and _is_enough(until, record.subject)
        page = Page((), self.service.feed.head)
        if since is not None or (enough is not None and not met):
            left = 0.0 if met else max(0.0, deadline - self.service.reactor.seconds())
            begin = since if since is not None else self.service.feed.head
            page = await self._wait_for(Selection(keys=frozenset({workflow_key(name)})), begin, left, JOB_EVENTS, enough)
            if wait > 0 and left == 0 and not page.events and not met:
                page = Page((), page.seq, timed_out=True)
        return await self._workflow_answer(request, self.service.workflows.records.get(name), record, page)

    @app.route("/v1/workflows/<name>", methods=["PUT"])
    async def put_workflow(self, request: Any, name: str) -> bytes:
        """Say which jobs a workflow has, and which follow which. The same once more changes nothing."""
        check_workflow(name, "name", found=False)
        params = Params.of_body(self.service, request, frozenset({"job", "edges"}))
        members = await self._members(params)
        edges = _edges(params, members)
        workflows = self.service.workflows
        if name not in workflows.records and len(workflows.records) >= MOST_WORKFLOWS:
            raise Problem(429, f"{MOST_WORKFLOWS} workflows are known, as many as may be", headers={"Retry-After": "60"})
        new = name not in workflows.records
        remembered = await self.service.journal.last_of([key for key in members if self._known(key) is None])

        def known(key: JobKey) -> JobDescriptor | None:
            found = self._known(key)
            if found is not None:
                return found[0]
            return remembered[key].job if key in remembered else None

        now = self.service.reactor.seconds()
        await self._change(lambda w: w.define(name, members, edges, known, now))
        if new:
            request.setResponseCode(201)
        record = workflows.records[name]
        return await self._workflow_answer(request, record, record, Page((), self.service.feed.head))

    @app.route("/v1/workflows/<name>", methods=["DELETE"])
    async def delete_workflow(self, request: Any, name: str) -> bytes:
        """Forget a workflow; its jobs stay what they are. One that was found comes back with its next job."""
        check_workflow(name, "name")
        if name not in self.service.workflows.records:
            raise _no_workflow(name)
        now = self.service.reactor.seconds()
        await self._change(lambda w: w.delete([name], now))
        request.setResponseCode(204)
        request.setHeader(b"jobpush-cursor", self.service.feed.cursor().encode())
        return b""

    async def _change(self, change: Any) -> None:
        try:
            await self.service.publisher.apply_to_workflows(change)
        except JournalError as error:
            raise Problem(503, str(error), headers={"Retry-After": "5"}) from None

    async def _found_workflow(self, name: str, wait: float) -> WorkflowRecord:
        """A workflow that is known, or that a query that begins now finds in the tags of jobs."""
        records = self.service.workflows.records
        if name not in records and "@" in name and wait > 0:
            with self.holds.holding():
                await self._all_fresh(self.service.workflows.tagging, wait)
        if name not in records:
            raise _no_workflow(name)
        return records[name]

    async def _members(self, params: Params) -> dict[JobKey, str]:
        """The jobs of a workflow by key, as the client wrote them. A task counts once if its array is one of them."""
        jobs = params.values("job")
        if not jobs:
            raise Problem(400, "jobs: which jobs does it have? Expected a list of texts such as \"slurm/4711\"", "jobs")
        if len(jobs) > MOST_IDS:
            raise Problem(413, f"jobs: {len(jobs)} jobs; at most {MOST_IDS} in one workflow", "jobs")
        members: dict[JobKey, str] = {}
        for count, job in enumerate(jobs):
            members[params.job(job, "jobs")] = job
            if count % _SLICE == _SLICE - 1:
                await deferLater(self.service.reactor, 0)
        for key in list(members):
            task = self.service.monitors[key[0]].queue.task_of(key[1])
            if task is not None and (key[0], task[0]) in members:
                del members[key]
        return members

    async def _workflow_answer(
        self, request: Any, record: WorkflowRecord | None, before: WorkflowRecord, page: Page
    ) -> bytes:
        """
        :param record: the workflow now; None if it was deleted while the request was held.
        :param before: the workflow when the request came.
        """
        cursor = self.service.feed.cursor(page.seq)
        record = record or before
        members, edges = record.detail.members, record.detail.edges
        if page.events and record.last_seq != page.events[-1].seq:
            # It has changed again since this answer was claimed, or is gone: the state must not run ahead of the cursor.
            record = record.as_of(page.events[-1])
        jobs = []
        for count, (key, member) in enumerate(list(members.items())):
            jobs.append(wire.member_fields(key, member))
            if count % _SLICE == _SLICE - 1:
                await deferLater(self.service.reactor, 0)
        fields: dict[str, object] = {
            **wire.workflow_fields(record.subject),
            "cursor": cursor,
            "timed_out": page.timed_out,
            "history": wire.history_fields(self.service.feed.epoch, record.history),
            "edges": [["/".join(begin), "/".join(end)] for begin, end in edges],
            "jobs": jobs,
        }
        if page.more:
            fields["more"] = True
        return self._answer(request, wire.envelope(fields, page.events), cursor, page.closing)


def _no_workflow(name: str) -> Problem:
    return Problem(404, f"there is no workflow {name}", "name")


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
