"""
The route on barriers: wait until any, some or all of many jobs, arrays and workflows, of any cluster, have started or ended.
"""

from __future__ import annotations

from typing import Any

import attrs
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import deferLater
from twisted.logger import Logger

from jobpush.core import wire
from jobpush.core.filters import Targets
from jobpush.core.model import JobDescriptor, JobKey, split_state
from jobpush.core.record import HistoryEntry, JobStatusEvent, Subject
from jobpush.core.workflow import Workflow, workflow_key
from jobpush.events.barrier import BarrierWaiter
from jobpush.events.tracker import Wake
from jobpush.web.params import DEFAULT_WAIT_S, MOST_IDS, Params, check_workflow, jittered
from jobpush.web.problems import Problem
from jobpush.web.routes.common import Routes, app

_WAIT = frozenset({"job", "workflow", "mode", "until", "wait", "since"})

#: Jobs looked up, or written, before other work gets its turn.
_SLICE = 500


@attrs.frozen
class _Asked:
    """
    What a client waits for.

    :ivar targets: as the client wrote them, by key.
    :ivar since: the number after which something must have become so to be told; None: whenever it did.
    """

    targets: dict[JobKey, str]
    need: int | None
    until: str
    since: int | None

    def is_enough(self, subject: Subject) -> bool:
        """Is it as far as is wished?"""
        return subject.started if self.until == "started" else subject.terminal

    def was_earlier(self, history: tuple[HistoryEntry, ...], last_seq: int) -> bool:
        """Something that is as far as is wished: was it so before the client's cursor?"""
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


class BarrierRoutes(Routes):
    """``/v1/wait``."""

    log = Logger()

    @app.route("/v1/wait", methods=["GET"])
    async def wait(self, request: Any) -> bytes:
        """A barrier."""
        return await self._wait(request, Params.of_query(self.service, request, _WAIT))

    @app.route("/v1/wait", methods=["POST"])
    async def wait_posted(self, request: Any) -> bytes:
        """The same, with the parameters in a body."""
        return await self._wait(request, Params.of_body(self.service, request, _WAIT))

    async def _wait(self, request: Any, params: Params) -> bytes:
        seconds = params.wait(DEFAULT_WAIT_S)
        wait = jittered(seconds or 0.0)
        deadline = self.service.reactor.seconds() + wait
        asked = await self._asked(params)
        barrier = await self._barrier(asked)
        wake = Wake((), self.service.feed.head)
        if not barrier.over and wait > 0:
            wake = await self._hold(asked, barrier, max(0.0, deadline - self.service.reactor.seconds()))
        return await self._barrier_answer(request, asked, barrier, wake)

    async def _asked(self, params: Params) -> _Asked:
        """The parameters, checked."""
        jobs, names = params.values("job"), params.values("workflow")
        if not jobs and not names:
            raise Problem(400, "job: which jobs, or which workflows, are waited for?", "job")
        if len(jobs) + len(names) > MOST_IDS:
            raise Problem(413, f"jobs: {len(jobs) + len(names)} jobs and workflows; at most {MOST_IDS} in one request", "jobs")
        targets: dict[JobKey, str] = {}
        for count, job in enumerate(jobs):
            targets[params.job(job, "job")] = job
            if count % _SLICE == _SLICE - 1:
                await deferLater(self.service.reactor, 0)
        for name in names:
            check_workflow(name, "workflow")
            targets[workflow_key(name)] = name
        until = params.until() or "terminal"
        if until == "change":
            raise Problem(400, "until: expected started or terminal", "until")
        return _Asked(targets, _need(params.one("mode"), len(targets)), until, params.since())

    async def _barrier(self, asked: _Asked) -> BarrierWaiter:
        """How things stand, from the table or, for jobs that it has forgotten, from the journal."""
        absent = [key for key in asked.targets if key[0] and self._known(key) is None]
        remembered = await self.service.journal.last_of(absent) if absent else {}
        # From here to where the barrier is held, all in one turn: nothing falls between.
        barrier = BarrierWaiter(asked.targets, self.service.feed.head, asked.is_enough, asked.need)
        for key in asked.targets:
            if key[0]:
                self._put_job(asked, barrier, key, remembered.get(key))
            else:
                self._put_workflow(asked, barrier, key)
        return barrier

    def _put_job(self, asked: _Asked, barrier: BarrierWaiter, key: JobKey, remembered: JobStatusEvent | None) -> None:
        found = self._known(key)
        if found is not None:
            job, record = found
            enough = asked.is_enough(job)
            barrier.put(key, job, earlier=enough and asked.was_earlier(record.history, record.last_seq))
        elif remembered is not None:
            barrier.put(key, remembered.job, earlier=asked.since is not None and remembered.seq <= asked.since)
        else:
            barrier.put(key, None)

    def _put_workflow(self, asked: _Asked, barrier: BarrierWaiter, key: JobKey) -> None:
        record = self.service.workflows.records.get(key[1])
        if record is not None:
            enough = asked.is_enough(record.subject)
            barrier.put(key, record.subject, earlier=enough and asked.was_earlier(record.history, record.last_seq))
        else:
            barrier.put(key, None)

    async def _hold(self, asked: _Asked, barrier: BarrierWaiter, left: float) -> Wake:
        """Wait until it is over; meanwhile find out whether what is not known exists."""
        with self.holds.holding():
            clusters = frozenset(cluster for cluster, _ in (*barrier.open, *barrier.unseen) if cluster)
            self.service.awaited(clusters)
            waiting = self.service.tracker.hold(barrier, left)
            proofs = self._prove(asked, barrier, left)
            try:
                return await waiting
            finally:
                for proof in proofs:
                    proof.cancel()

    def _prove(self, asked: _Asked, barrier: BarrierWaiter, left: float) -> list[Deferred[None]]:
        """
        Whoever is not known to a query that begins now is unknown; a workflow that is not found in tags, at once.
        """
        by_clusters: dict[tuple[str, ...], list[JobKey]] = {}
        tagging = tuple(sorted(self.service.workflows.tagging))
        for key in barrier.unseen:
            clusters = (key[0],) if key[0] else tagging if "@" in key[1] else ()
            by_clusters.setdefault(clusters, []).append(key)
        proofs = []
        for clusters, keys in by_clusters.items():
            proof = Deferred.fromCoroutine(self._prove_in(asked, barrier, clusters, keys, left))
            proof.addErrback(self._not_proven)
            proofs.append(proof)
        return proofs

    def _not_proven(self, failure: Any) -> None:
        if not failure.check(CancelledError):
            self.log.failure("whether jobs are unknown could not be found out", failure)

    async def _prove_in(
        self, asked: _Asked, barrier: BarrierWaiter, clusters: tuple[str, ...], keys: list[JobKey], left: float
    ) -> None:
        if not await self._all_fresh(clusters, left):
            return
        tracker = self.service.tracker
        for key in [key for key in keys if key in barrier.unseen and key[0]]:
            # What was no id of a known job may be an alias of one by now.
            found = self._known((key[0], self.service.table.cluster(key[0]).canonical(key[1])))
            if found is not None:
                barrier.unseen.pop(key)
                asked.targets[found[0].key] = asked.targets.pop(key)
                barrier.put(found[0].key, found[0])
        tracker.select(barrier, Targets(frozenset(asked.targets)))
        barrier.give_up(keys, tracker)

    async def _barrier_answer(self, request: Any, asked: _Asked, barrier: BarrierWaiter, wake: Wake) -> bytes:
        met: list[dict[str, object]] = []
        for count, (key, subject) in enumerate(barrier.met.items()):
            met.append(_met(subject, asked.targets[key]))
            if count % _SLICE == _SLICE - 1:
                await deferLater(self.service.reactor, 0)
        cursor = self.service.feed.cursor(wake.head)
        fields = {
            "done": barrier.done,
            "cursor": cursor,
            "timed_out": wake.timed_out,
            "met": met,
            "open": [_name(key) for key in (*barrier.open, *barrier.unseen)],
            "unknown": [_name(key) for key in barrier.unknown],
        }
        return self._answer(request, wire.dumps(fields), cursor, wake.closing)


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


def _name(key: JobKey) -> str:
    """A job as CLUSTER/ID; a workflow by its name, in which there is no slash."""
    return f"{key[0]}/{key[1]}" if key[0] else key[1]


def _met(subject: Subject, asked: str) -> dict[str, object]:
    """Who is done, and how."""
    if isinstance(subject, Workflow):
        fields = wire.workflow_fields(subject)
        del fields["found"]
        return {"workflow": fields.pop("name"), **fields}
    assert isinstance(subject, JobDescriptor)
    return _met_job(subject, asked)


def _met_job(job: JobDescriptor, asked: str) -> dict[str, object]:
    name = _name(job.key)
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
    if asked not in (name, job.id):
        fields["asked"] = asked
    if job.counts is not None:
        fields["counts"] = dict(job.counts)
    return fields
