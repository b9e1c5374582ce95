"""
What became of the Grid Engine jobs that left the queue, or that it never listed: by the accounting and reporting files, or by
``qacct`` where these cannot be read. Tests: tests/adapters/sge/test_queue.py.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from jobpush.adapter.command import CommandResult
from jobpush.adapter.interfaces import QueueError
from jobpush.adapter.work import Work
from jobpush.core.absence import concluded
from jobpush.core.model import WAITING_PHASES, JobDescriptor, Outcomes, PastAttempt, Phase
from jobpush_adapters.sge.accounting import AccountingRecord, deleted_descriptor, descriptor, parse_qacct
from jobpush_adapters.sge.ended import LATE_S, MOST, EndedJobs, Looked, suspected, wanted
from jobpush_adapters.sge.states import ERROR_STATE, NOT_DELETED
from jobpush_adapters.sge.submissions import last_submission, of_submission
from jobpush_adapters.sge.xml import complaint

#: The most jobs that ``qacct`` is asked for at once if jobpush cannot read the accounting file: each call reads all of it.
QACCT_AT_ONCE = 20


class LeftJobs:
    """
    :param run: runs a command of Grid Engine's: the name, then the arguments.
    :ivar ended: follows the files; None where they cannot be read.
    :ivar flush_s: seconds after which accounting records are written at the latest.
    """

    def __init__(
        self,
        reactor: IReactorTime,
        wall: Callable[[], float],
        cluster: str,
        work: Work,
        run: Callable[..., Deferred[CommandResult]],
    ) -> None:
        self.ended: EndedJobs | None = None
        self.flush_s = 15.0
        self.asks_qacct = False
        self._reactor = reactor
        self._wall = wall
        self._cluster = cluster
        self._work = work
        self._run = run
        self._looked_back: dict[str, Looked] = {}
        self._gaps = 0
        #: When each job was asked about first: the date, and the reactor's time.
        self._gone_at: dict[str, tuple[float, float]] = {}
        self._asked_at: dict[str, float] = {}

    def use(self, accounting: str | None, reporting: str | None, flush_s: float, asks_qacct: bool) -> None:
        """
        Use these files from now on.

        :param accounting: the path; None where it cannot be read.
        :param reporting: the path; None where it cannot be read, or does not tell of jobs.
        :param asks_qacct: whether ``qacct`` is asked where there is no file.
        """
        self.flush_s, self.asks_qacct = flush_s, asks_qacct
        if accounting is None:
            self.ended = None
        elif self.ended is None or (self.ended.accounting, self.ended.reporting) != (accounting, reporting):
            self.ended = EndedJobs(self._cluster, accounting, reporting)
            self._looked_back.clear()
        if self.ended is not None:
            self.ended.flush_s = flush_s

    async def outcomes(self, jobs: Sequence[JobDescriptor]) -> Outcomes:
        """See `jobpush.adapter.interfaces.IBatchQueueService`."""
        if not jobs:
            return Outcomes()
        now = self._wall(), self._reactor.seconds()
        self._gone_at = {job.uid: self._gone_at.get(job.uid, now) for job in jobs}
        if self.ended is None:
            return await self._ask_qacct(jobs) if self.asks_qacct else Outcomes()
        return await self._look_back(self.ended, jobs)

    async def _look_back(self, ended: EndedJobs, jobs: Sequence[JobDescriptor]) -> Outcomes:
        """
        Look for what ended before the files were followed, once for each job: what ended since is in the snapshots.

        That there is no record means something only where the files reach back to when the job was last seen, and have caught
        up with what happened since.
        """
        if ended.gaps != self._gaps or len(self._looked_back) > MOST:
            self._gaps = ended.gaps
            self._looked_back.clear()
        asked = [job for job in jobs if job.uid not in self._looked_back]
        if asked:
            told = await self._work.reading(ended.look_back, asked, min(job.observed_at for job in asked))
            self._looked_back.update((job.uid, told[job.id]) for job in asked)
        now = self._wall()
        found: dict[str, JobDescriptor] = {}
        missing: list[JobDescriptor] = []
        for job in jobs:
            looked = self._looked_back.get(job.uid, Looked())
            if self._awaits_deletion(ended, job, looked):
                continue
            end = self._end_of(ended, job, looked, now)
            if end is not None:
                found[job.id] = end
            elif not (looked.reached or ended.followed(job)) or not self._caught_up(ended, job):
                continue
            elif job.phase in WAITING_PHASES and (looked.sent or looked.records or ended.was_sent(job)):
                # It began to run, so that it was not deleted while it waited.
                found[job.id] = concluded(attrs.evolve(job, pending_tasks=None), Phase.FINISHING, None, False)
            else:
                missing.append(job)
        return Outcomes(found, no_record=frozenset(job.id for job in missing))

    def _caught_up(self, ended: EndedJobs, job: JobDescriptor) -> bool:
        return ended.caught_up(self._gone_at[job.uid][0], self._gone_for(job))

    def _awaits_deletion(self, ended: EndedJobs, job: JobDescriptor, looked: Looked) -> bool:
        """
        Return whether the line may be missing yet that says who deleted a job: out of the error state, which its record says it
        was put into, nothing else leads but what a person does.
        """
        in_error = bool(looked.records) and looked.records[-1].failed in ERROR_STATE
        followed = ended.reporting is not None and looked.deletion is None
        return in_error and followed and self._gone_for(job) <= ended.flush_s + LATE_S

    def _end_of(self, ended: EndedJobs, job: JobDescriptor, looked: Looked, now: float) -> JobDescriptor | None:
        """Return how a job ended by what the files have on it; None if they do not say."""
        deletion = looked.deletion
        end: JobDescriptor | None = None
        if looked.records:
            known = attrs.evolve(job, pending_tasks=None)
            end = descriptor(self._cluster, looked.records, ended.deletion(deletion, job), known, now, "accounting")
        if end is None and deletion is not None and (deletion.waited or looked.records):
            end = deleted_descriptor(self._cluster, deletion, job, now)
        return end

    async def _ask_qacct(self, jobs: Sequence[JobDescriptor]) -> Outcomes:
        """Ask ``qacct`` for some of these jobs, those first that were asked for the longest ago."""
        found: dict[str, JobDescriptor] = {}
        unclear: set[str] = set()
        now, seconds = self._wall(), self._reactor.seconds()
        numbers = dict.fromkeys(job.id.partition(".")[0] for job in jobs)
        self._asked_at = {number: self._asked_at.get(number, 0.0) for number in numbers}
        for number in sorted(numbers, key=lambda number: self._asked_at[number])[:QACCT_AT_ONCE]:
            records = await self._qacct(number)
            self._asked_at[number] = seconds
            for job in jobs:
                own = of_submission(job, records)
                if not own:
                    continue
                if not self._late(job) and any(record.slave is None for record in own):
                    unclear.add(job.id)
                    continue
                whole = [record for record in own if record.slave is None]
                if len({(record.failed, record.exit_status) for record in whole}) > 1:
                    unclear.add(job.id)
                    continue
                ended = descriptor(self._cluster, own, suspected(job), job, now, "qacct")
                if ended is not None:
                    found[job.id] = ended
        # No record means something only where each of them was asked about, and where it would have been written by now.
        missing = [job.id for job in jobs if job.id not in found and job.id not in unclear and self._late(job)]
        return Outcomes(found, no_record=frozenset(missing if all(self._asked_at.values()) else ()))

    def _gone_for(self, job: JobDescriptor) -> float:
        """Return for how many seconds a job is gone."""
        return self._reactor.seconds() - self._gone_at[job.uid][1]

    def _late(self, job: JobDescriptor) -> bool:
        """Return whether a job that is gone would have a record by now."""
        return self._gone_for(job) > self.flush_s + LATE_S

    async def _qacct(self, number: str) -> list[AccountingRecord]:
        """Return the accounting records of a job and its tasks."""
        result = await self._run("qacct", "-j", number)
        if result.status == 0:
            return list(parse_qacct(result.stdout))
        if b"not found" in result.stderr or b"no jobs running since startup" in result.stdout:
            return []
        raise QueueError(f"qacct ended with status {result.status}: {complaint(result)}")

    async def past_attempts(self, jobs: Sequence[JobDescriptor]) -> Mapping[str, PastAttempt]:
        """See `jobpush.adapter.interfaces.IPastAttemptsQueue`."""
        ended = self.ended
        if ended is not None:
            since = min((job.submitted_at or job.observed_at for job in jobs), default=0.0)
            told = await self._work.reading(ended.look_back, jobs, since)
            records = {job.id: told[job.id].records for job in jobs}
        else:
            some = jobs[-QACCT_AT_ONCE:] if self.asks_qacct else ()
            records = {job.id: of_submission(job, await self._qacct(job.id.partition(".")[0])) for job in some}
        moves = {job.id: [record for record in records.get(job.id, ()) if record.goes_on] for job in jobs}
        # With fewer of them than attempts, that of the last one is not there yet.
        return {job.id: moves[job.id][-1].past(job.attempt - 1) for job in jobs if len(moves[job.id]) >= job.attempt > 0}

    async def recorded(self, jobs: Sequence[str]) -> Mapping[str, JobDescriptor]:
        """See `jobpush.adapter.interfaces.IRecordedJobsQueue`."""
        now = self._wall()
        if self.ended is not None:
            return await self._work.reading(self.ended.recorded, jobs, now)
        found: dict[str, JobDescriptor] = {}
        numbers = list(dict.fromkeys(job_id.partition(".")[0] for job_id in jobs)) if self.asks_qacct else []
        for number in numbers[:QACCT_AT_ONCE]:
            records = [record for record in await self._qacct(number) if record.slave is False]
            for job_id in dict.fromkeys(record.job_id for record in records):
                own, _ = last_submission([record for record in records if record.job_id == job_id], ())
                job = descriptor(self._cluster, own, NOT_DELETED, None, now, "qacct") if own else None
                if job is not None and wanted(job_id, jobs):
                    found[job_id] = job
        return found
