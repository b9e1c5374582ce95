"""
Tells apart the waiting tasks of an array that ``squeue`` merges into one row.

Measured on Slurm 22.05: tasks that wait on their own (one that is held alone, one that was put back into the queue) stand in
their array's pending range, whose reason is then those of all of them, joined by commas: ``2_[1-4]`` with
``BeginTime,JobHeldAdmin``. Which task waits for what, only ``squeue -r -j 2`` says.
"""

from __future__ import annotations

import math
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping

import attrs
from twisted.internet.interfaces import IReactorTime

from jobpush.core.model import WAITING_PHASES, JobDescriptor, Phase, Snapshot
from jobpush.core.tasks import TaskSet
from jobpush_adapters.common.overlay import OverlayMapping

#: Seconds after which an array is asked for again whose row has not changed: another of its tasks may have been held meanwhile.
AGAIN_S = 10.0

#: The most arrays that are asked for in one look.
MOST_AT_ONCE = 4

#: The join of two reasons; what Slurm writes after a comma of its own begins with a blank.
_JOINED = re.compile(r",(?! )")


def is_merged(job: JobDescriptor) -> bool:
    """Return whether a row is a pending range of tasks that wait for different reasons."""
    return job.pending_tasks is not None and not job.done and _JOINED.search(job.reason or "") is not None


@attrs.frozen(eq=False)
class _Answer:
    """
    What is known of a merged range.

    :ivar row: the row for which it was asked.
    :ivar at: when that began, by the reactor's time.
    :ivar most: a task that waits as most do; None if there was none.
    :ivar apart: the tasks that wait otherwise, by id.
    """

    row: JobDescriptor
    at: float
    most: JobDescriptor | None
    apart: Mapping[str, JobDescriptor]


class MergedRanges:
    """
    The arrays of one Slurm whose pending ranges are merged.

    :param ask: fires with the jobs of one array, a row for each waiting task; fails with `QueueError`.
    """

    def __init__(self, reactor: IReactorTime, ask: Callable[[str], Awaitable[Iterable[JobDescriptor]]]) -> None:
        self._reactor = reactor
        self._ask = ask
        self._rows: dict[str, JobDescriptor] = {}
        self._answers: dict[str, _Answer] = {}
        self._shown: dict[str, tuple[JobDescriptor, _Answer | None, Mapping[str, JobDescriptor]]] = {}

    async def apart(self, snapshot: Snapshot) -> Snapshot:
        """
        Return the snapshot with the tasks of its merged ranges told apart: those that wait as most do are the range, the others
        have a row each. A range that has not been asked for yet does not say why its tasks wait.
        """
        self._follow(snapshot)
        if not self._rows:
            return snapshot
        due = sorted(filter(self._is_due, self._rows.values()), key=self._asked_at)
        asked = due[:MOST_AT_ONCE]
        at = self._reactor.seconds()
        for row in asked:
            self._answers[row.id] = _answer(row, at, await self._ask(row.id), self._answers.get(row.id))
        changed: dict[str, JobDescriptor] = {}
        for array, row in self._rows.items():
            shown, answer = self._shown.get(array), self._answers.get(array)
            if shown is None or shown[0] is not row or shown[1] is not answer:
                shown = self._shown[array] = row, answer, _told_apart(row, answer)
            changed.update((job_id, job) for job_id, job in shown[2].items() if job_id == array or job_id not in snapshot.jobs)
        gone = {array for array in self._rows if array not in changed}
        listed = snapshot.jobs
        assert isinstance(listed, (dict, OverlayMapping))
        jobs = OverlayMapping.of(listed, changed, gone)
        return attrs.evolve(snapshot, jobs=jobs, base=None, fresh=None, gone=(), queries=1 + len(asked))

    def _follow(self, snapshot: Snapshot) -> None:
        """Take note of the merged rows of a snapshot."""
        if snapshot.fresh is None:
            self._rows = {job.id: job for job in snapshot.jobs.values() if is_merged(job)}
        else:
            for job_id in (*snapshot.gone, *snapshot.fresh):
                self._rows.pop(job_id, None)
            self._rows.update((job_id, snapshot.jobs[job_id]) for job_id in snapshot.fresh if is_merged(snapshot.jobs[job_id]))
        for array in self._answers.keys() - self._rows.keys():
            del self._answers[array]
        for array in self._shown.keys() - self._rows.keys():
            del self._shown[array]

    def _is_due(self, row: JobDescriptor) -> bool:
        answer = self._answers.get(row.id)
        return answer is None or answer.row is not row or self._reactor.seconds() - answer.at >= AGAIN_S

    def _asked_at(self, row: JobDescriptor) -> float:
        answer = self._answers.get(row.id)
        return -math.inf if answer is None else answer.at


def _answer(row: JobDescriptor, at: float, jobs: Iterable[JobDescriptor], before: _Answer | None) -> _Answer:
    """
    Return what the rows of an array say of its range.

    :param before: what was known; a task of which the same is said is the same object then.
    """
    groups: dict[tuple[object, ...], list[JobDescriptor]] = {}
    for job in jobs:
        if job.phase in WAITING_PHASES and job.parent == row.id and job.task_index in (row.pending_tasks or ()):
            groups.setdefault(_waits(job), []).append(job)
    last = _waits(before.most) if before is not None and before.most is not None else None
    most = max(groups.values(), key=lambda group: (len(group), _waits(group[0]) == last), default=None)
    apart = {job.id: job for group in groups.values() if group is not most for job in group}
    known = before.apart if before is not None else {}
    same = {job_id: known[job_id] for job_id, job in apart.items() if job_id in known and known[job_id].says_the_same(job)}
    return _Answer(row, at, most[0] if most else None, {**apart, **same})


def _waits(job: JobDescriptor) -> tuple[object, ...]:
    """Return how a task waits: those of which that is the same can be one range."""
    return job.phase, job.reason, job.attempt


def _told_apart(row: JobDescriptor, answer: _Answer | None) -> Mapping[str, JobDescriptor]:
    """Return the jobs that stand for a merged row: the range of those that wait as most do, and the others."""
    assert row.pending_tasks is not None
    if answer is None or answer.most is None:
        return {row.id: attrs.evolve(row, phase=Phase.QUEUED, reason_code=None)}
    apart = {job_id: job for job_id, job in answer.apart.items() if job.task_index in row.pending_tasks}
    rest = row.pending_tasks.minus(TaskSet.of(job.task_index for job in apart.values() if job.task_index is not None))
    most = answer.most
    told = attrs.evolve(
        row,
        phase=most.phase,
        reason=most.reason,
        reason_code=most.reason_code,
        attempt=most.attempt,
        native=most.native,
        pending_tasks=rest,
    )
    return {row.id: told, **apart} if len(rest) else apart
