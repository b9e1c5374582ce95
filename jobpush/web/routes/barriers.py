"""
The route on barriers: wait until any, some or all of many jobs, arrays and workflows, of any cluster, have started or ended.
"""

from __future__ import annotations

from collections.abc import Generator
from functools import partial

import attrs

from jobpush.core import wire
from jobpush.core.filters import Visibility
from jobpush.core.model import JobDescriptor, JobKey, split_state
from jobpush.core.record import HistoryEntry, JobStatusEvent, Subject
from jobpush.core.workflow import Workflow, owner_of, workflow_key
from jobpush.events.barrier import Barrier
from jobpush.events.tracker import Wake
from jobpush.runtime.cooperate import finish
from jobpush.service import JobPush
from jobpush.web.held.questions import Hold, Later, LookRequest, Outcome, Question, Ready
from jobpush.web.params import DEFAULT_WAIT_S, MOST_IDS, Params, check_workflow, jittered
from jobpush.web.problems import Problem, not_yet_known
from jobpush.web.responses import Rendering, Response, json_response
from jobpush.web.routes.common import Found, Polls

_WAIT = frozenset({"job", "workflow", "mode", "until", "wait", "since"})

#: Jobs looked up, or written, before other work gets its turn; with no more than these there is no pause at all.
_SLICE = 500


@attrs.frozen
class _BarrierQuery:
    """
    What a client waits for.

    :ivar targets: as the client wrote them, by key.
    :ivar need: how many must be far enough; None for all.
    :ivar since: the number after which something must have become so to be told; None: whenever it did.
    """

    targets: dict[JobKey, str]
    need: int | None
    until: str
    since: int | None
    visibility: Visibility

    def is_enough(self, subject: Subject) -> bool:
        """Return whether it is far enough."""
        return subject.started if self.until == "started" else subject.terminal

    def was_earlier(self, history: tuple[HistoryEntry, ...], last_seq: int) -> bool:
        """Return whether something that is far enough was so before the client's cursor."""
        if self.since is None:
            return False
        if self.until != "started":
            return last_seq <= self.since
        begun = last_seq
        for entry in reversed(history):
            if split_state(entry.state)[1] is None and entry.state not in ("RUNNING", "SUSPENDED", "FINISHING"):
                break
            begun = entry.seq
        return begun <= self.since


class BarrierRoutes:
    """``/v1/wait``."""

    def __init__(self, service: JobPush, polls: Polls) -> None:
        self._service = service
        self._polls = polls

    def wait(self, question: Question) -> Outcome:
        """A barrier."""
        params = Params(self._service, question.parameters, _WAIT, question.visibility)
        jobs, names = params.values("job"), params.values("workflow")
        if not jobs and not names:
            raise Problem(400, "job: expected the jobs, or the workflows, that are waited for", "job")
        if len(jobs) + len(names) > MOST_IDS:
            raise Problem(413, f"jobs: {len(jobs) + len(names)} jobs and workflows; at most {MOST_IDS} in one request", "jobs")
        wait = params.wait(DEFAULT_WAIT_S) or 0.0
        held = _Held(question.came_at + jittered(wait), wait)
        if len(jobs) > _SLICE:
            return Later(lambda: self._read_many(params, question.visibility, held))
        return self._begin(finish(self._read(params, question.visibility)), held)

    async def _read_many(self, params: Params, visibility: Visibility, held: _Held) -> Outcome:
        return self._begin(await self._service.cooperator.run(self._read(params, visibility)), held)

    @staticmethod
    def _read(params: Params, visibility: Visibility) -> Generator[None, None, _BarrierQuery]:
        """The parameters, checked. Pauses now and then."""
        targets = yield from params.jobs("job", params.values("job"))
        for name in params.values("workflow"):
            workflow = check_workflow(name, "workflow")
            targets[workflow_key(workflow)] = workflow
        until = params.until() or "terminal"
        if until == "change":
            raise Problem(400, "until: expected started or terminal", "until")
        return _BarrierQuery(targets, _need(params.one("mode"), len(targets)), until, params.since(), visibility)

    def _begin(self, asked: _BarrierQuery, held: _Held) -> Outcome:
        absent = [key for key in asked.targets if key[0] and self._known(asked, key) is None]
        if absent:
            return Later(lambda: self._remember(asked, held, absent))
        return self._outcome(asked, held, {})

    async def _remember(self, asked: _BarrierQuery, held: _Held, absent: list[JobKey]) -> Outcome:
        return self._outcome(asked, held, await self._service.feed.last_of(absent, asked.visibility.user))

    def _outcome(self, asked: _BarrierQuery, held: _Held, remembered: dict[JobKey, JobStatusEvent]) -> Outcome:
        """
        How things stand.

        :param remembered: the last events of jobs that the table has forgotten.
        """
        # From here to where the barrier is held, all in one turn: nothing falls between.
        barrier = Barrier(asked.targets, asked.is_enough, asked.need, asked.visibility, self._follow)
        for key in asked.targets:
            if key[0]:
                self._put_job(asked, barrier, key, remembered.get(key))
            else:
                self._put_workflow(asked, barrier, key)
        head = self._service.feed.head
        if barrier.over or held.deadline <= self._service.reactor.seconds():
            wake = Wake((), head, timed_out=held.wait > 0 and not barrier.over)
            return Ready(lambda: self._render(asked, barrier, wake))
        looks = self._looks(asked, barrier)
        begun = tuple(self._service.monitor_of(cluster).looks_begun for look in looks for cluster in look.clusters)
        return Hold(
            key=("wait", frozenset(asked.targets.items()), asked.need, asked.until, asked.since, asked.visibility, begun),
            since=head,
            watch=barrier,
            render=lambda wake: self._render(asked, barrier, wake),
            deadline=held.deadline,
            clusters=frozenset(cluster for cluster, _ in (*barrier.open, *barrier.unseen) if cluster),
            looks=looks,
            wait=None if barrier.unseen else held.wait,
        )

    def _known(self, asked: _BarrierQuery, key: JobKey) -> Found | None:
        found = self._polls.known(key)
        return found if found is not None and asked.visibility.shows(found[0].user) else None

    def _follow(self, key: JobKey) -> Subject | None:
        record = self._service.table.follow(key)
        return record.subject if record is not None else None

    def _put_job(self, asked: _BarrierQuery, barrier: Barrier, key: JobKey, remembered: JobStatusEvent | None) -> None:
        found = self._known(asked, key)
        if found is not None:
            job, record = found[0], self._polls.followed(found)[1]
            enough = asked.is_enough(record.subject)
            barrier.put(key, job, earlier=enough and asked.was_earlier(record.history, record.last_seq))
        elif remembered is not None:
            barrier.put(key, remembered.job, earlier=asked.since is not None and remembered.seq <= asked.since)
        else:
            self._put_nothing(asked, barrier, key)

    def _put_workflow(self, asked: _BarrierQuery, barrier: Barrier, key: JobKey) -> None:
        record = self._service.workflows.records.get(key[1])
        if record is not None and asked.visibility.shows(record.subject.user):
            enough = asked.is_enough(record.subject)
            barrier.put(key, record.subject, earlier=enough and asked.was_earlier(record.history, record.last_seq))
        else:
            self._put_nothing(asked, barrier, key)

    def _put_nothing(self, asked: _BarrierQuery, barrier: Barrier, key: JobKey) -> None:
        """There is no such job or workflow, or it is not shown: which of them, is not told."""
        if not asked.visibility.settled and (key[0] or owner_of(key[1]) != asked.visibility.user):
            raise not_yet_known(self._service.hiding.unknown())
        barrier.put(key, None)

    def _looks(self, asked: _BarrierQuery, barrier: Barrier) -> tuple[LookRequest, ...]:
        """What is not known to a look that begins now is unknown; a workflow that is not found in tags, at once."""
        by_clusters: dict[tuple[str, ...], list[JobKey]] = {}
        tagging = tuple(sorted(self._service.workflows.tagging))
        for key in barrier.unseen:
            clusters = (key[0],) if key[0] else tagging if "@" in key[1] else ()
            by_clusters.setdefault(clusters, []).append(key)
        return tuple(
            LookRequest(
                clusters,
                partial(self._after_look, asked, barrier, keys),
                tuple(key for key in keys if key[0]),
                asked.visibility,
            )
            for clusters, keys in by_clusters.items()
        )

    def _after_look(self, asked: _BarrierQuery, barrier: Barrier, keys: list[JobKey]) -> None:
        for key in [key for key in keys if key in barrier.unseen and key[0]]:
            # What was no id of a known job may be an alias of one by now.
            found = self._known(asked, self._polls.canonical(key, asked.visibility))
            if found is not None:
                job, _ = found
                asked.targets[job.key] = asked.targets.pop(key)
                barrier.rename(key, job.key)
                barrier.put(job.key, job)
        barrier.give_up(keys)

    def _name(self, key: JobKey) -> str:
        """A job as CLUSTER/ID; a workflow by its name as it is told."""
        return "/".join(key) if key[0] else self._service.workflows.told_name(key[1])

    def _render(self, asked: _BarrierQuery, barrier: Barrier, wake: Wake) -> Rendering:
        steps = self._response(asked, barrier, wake)
        return finish(steps) if len(barrier.met) <= _SLICE else steps

    def _response(self, asked: _BarrierQuery, barrier: Barrier, wake: Wake) -> Generator[None, None, Response]:
        cursor = self._service.feed.cursor(wake.head)
        met: list[dict[str, object]] = []
        fields = {
            "done": barrier.done,
            "cursor": cursor,
            "timed_out": wake.timed_out,
            "met": met,
            "open": [self._name(key) for key in (*barrier.open, *barrier.unseen)],
            "unknown": [self._name(key) for key in barrier.unknown],
        }
        for count, (key, subject) in enumerate(list(barrier.met.items()), 1):
            met.append(_met(key, subject, asked.targets[key]))
            if count % _SLICE == 0:
                yield
        return json_response(wire.dumps(fields), cursor, closing=wake.closing)


@attrs.frozen
class _Held:
    """
    For how long a barrier may be held.

    :ivar deadline: the reactor's time.
    :ivar wait: the seconds that the client asked for.
    """

    deadline: float
    wait: float


def _need(mode: object, targets: int) -> int | None:
    """How many of the targets must be met; None for all."""
    if mode in (None, "all"):
        return None
    if mode == "any":
        return 1
    text = str(mode)
    if isinstance(mode, bool) or not text.isascii() or not text.isdigit() or len(text) > 9 or not 1 <= int(text) <= targets:
        raise Problem(400, f"mode: expected any, all, or a whole number from 1 to {targets}, the number of jobs", "mode")
    return int(text)


def _met(key: JobKey, subject: Subject, asked: str) -> dict[str, object]:
    """What is far enough, and how."""
    if isinstance(subject, Workflow):
        fields = wire.workflow_fields(subject)
        del fields["found"]
        return {"workflow": fields.pop("name"), **fields}
    assert isinstance(subject, JobDescriptor)
    return _met_job(key, subject, asked)


def _met_job(key: JobKey, job: JobDescriptor, asked: str) -> dict[str, object]:
    name = "/".join(key)
    fields: dict[str, object] = {
        "job": name,
        "state": job.state,
        "exit_code": job.exit_code,
        "signal": job.signal,
        "reason": job.reason,
        "started_at": wire.to_time(job.started_at),
        "ended_at": wire.to_time(job.ended_at),
        "confidence": job.confidence.value,
    }
    if asked not in (name, key[1]):
        fields["asked"] = asked
    if job.key != key:
        fields["moved_to"] = "/".join(job.key)
    if job.counts is not None:
        fields["counts"] = dict(job.counts)
    return fields
