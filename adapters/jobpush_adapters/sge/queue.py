"""
Grid Engine: one ``qstat -xml`` for all jobs, ``qstat -j`` for those that changed, and its own files for those that ended.

Facts here are from ``qstat(1)``, ``accounting(5)``, ``sge_conf(5)`` and from measuring Son of Grid Engine 8.1.9: a finished
job leaves ``qstat`` at once, only ``qstat`` has the state letters, and only ``qstat -j`` has a running job's time of
submission and what a pending one waits for.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import attrs
from twisted.internet.defer import Deferred
from zope.interface import implementer

from jobpush.adapter.command import CommandResult
from jobpush.adapter.interfaces import (
    InvalidJobId,
    IPastAttemptsQueue,
    IQueueReactor,
    IRecordedJobsQueue,
    IWatchfulQueue,
    QueueError,
)
from jobpush.adapter.work import Work
from jobpush.core.model import JobDescriptor, Outcomes, PastAttempt, Phase, QueueFacts, ReasonCode, Snapshot
from jobpush.core.tasks import TaskSet
from jobpush_adapters.common.base import CommandQueue, Common, CommonArguments
from jobpush_adapters.common.watch import Watching
from jobpush_adapters.sge.accounting import (
    is_about_end,
    is_about_job,
    task_id,
)
from jobpush_adapters.sge.ended import (
    REMEMBER_S,
)
from jobpush_adapters.sge.facts import Files, ReportingParams, facts, with_programs
from jobpush_adapters.sge.left import LeftJobs
from jobpush_adapters.sge.lost_hosts import LostHosts
from jobpush_adapters.sge.rows import ListedRow, QstatRows
from jobpush_adapters.sge.states import flags_of, phase_of
from jobpush_adapters.sge.submissions import RESUBMITTED
from jobpush_adapters.sge.xml import (
    Details,
    Row,
    complaint,
    parse_details,
    parse_row,
    split_rows,
)

if TYPE_CHECKING:
    from typing_extensions import Unpack

#: The most jobs in one call of ``qstat -j`` (100 cost little more than one).
DETAILS_AT_ONCE = 500

#: Seconds after which the kinds of holds are asked for again, while a job is held: its row does not have them.
HOLDS_EVERY_S = 15.0

#: The kinds of holds that ``qstat -s`` has, the most specific first.
HOLDS = (("hs", ReasonCode.HELD_BY_ADMIN), ("ho", ReasonCode.HELD_BY_ADMIN), ("hu", ReasonCode.HELD_BY_USER))

_ID = re.compile(r"[1-9][0-9]{0,9}")
_TASK = re.compile(r"([1-9][0-9]{0,9})\.([1-9][0-9]{0,9})")
_NOTHING = Details()


@implementer(IPastAttemptsQueue, IRecordedJobsQueue, IWatchfulQueue)
class GridEngineQueue(Watching, CommandQueue):
    """
    :param root: SGE_ROOT; by default that of the environment.
    :param cell: SGE_CELL.
    :param qmaster_port: SGE_QMASTER_PORT.
    :param watch: whether to look as soon as one of the files grows or the qmaster writes to its database.
    :param common: as in `Common`. Without a directory the commands of SGE_ROOT/bin are taken; with a prefix the files are not
        followed, and ``qacct`` is asked.
    """

    queue_type = "sge"

    #: Measured: qstat shows an end 0.47 s after it, and a start at once or a second after it (docs/freshness.md).
    echo = (0.52, 0.5, 0.6, 0.9)

    def __init__(
        self,
        reactor: IQueueReactor,
        cluster: str = "sge",
        root: str | None = None,
        cell: str | None = None,
        qmaster_port: int | None = None,
        watch: bool = True,
        **common: Unpack[CommonArguments],
    ) -> None:
        self._watches = watch
        here = {} if common.get("prefix") else os.environ
        self._root = root or here.get("SGE_ROOT")
        self._cell = cell or here.get("SGE_CELL") or "default"
        environment = {key: here[key] for key in ("SGE_ARCH", "SGE_EXECD_PORT", "SGE_QMASTER_PORT") if key in here}
        environment.update({"SGE_ROOT": self._root} if self._root else {}, SGE_CELL=self._cell)
        if qmaster_port is not None:
            environment["SGE_QMASTER_PORT"] = str(qmaster_port)
            environment.setdefault("SGE_EXECD_PORT", str(qmaster_port + 1))
        Watching.__init__(self)
        CommandQueue.__init__(self, reactor, Common(cluster=cluster, **common), environment)
        self._work = Work(reactor)
        self._left = LeftJobs(reactor, self._wall, cluster, self._work, self._run)
        self._lost_hosts = LostHosts(self._run)
        self._checked = False
        self._cache: dict[bytes, ListedRow | str] = {}
        self._details: dict[str, Details] = {}
        self._submitted: dict[str, float] = {}
        self._holds: dict[str, tuple[TaskSet | None, ReasonCode]] = {}
        self._holds_at = -math.inf
        self._seen: dict[str, JobDescriptor] = {}

    # -- IBatchQueueService

    def canonical_id(self, text: str) -> str:
        if _ID.fullmatch(text) or _TASK.fullmatch(text):
            return text
        raise InvalidJobId("expected a Grid Engine job id such as 4711, or 4711.3 (array task)")

    def task_of(self, job_id: str) -> tuple[str, int] | None:
        found = _TASK.fullmatch(job_id)
        return (found[1], int(found[2])) if found is not None else None

    def task_id(self, array: str, index: int) -> str:
        return f"{array}.{index}"

    # -- qstat

    async def _snapshot(self) -> Snapshot:
        if not self._checked:
            await self._check()
        began = self._wall()
        rows = split_rows(await self._run("qstat", "-u", "*", "-s", "prs", "-xml"))
        reader = QstatRows(self._cache)
        await self._work.sliced(reader.read(rows))
        # One row that makes no sense, of a job that is known by its number, is no reason to disbelieve the answer.
        if rows and not reader.entries and (len(rows) > 1 or not reader.numbers):
            raise QueueError(f"qstat: no row could be understood: {reader.rejected[0]}")
        listed = {entry.row.number for entry in reader.entries}
        changed = await self._learn(reader, listed)
        await self._learn_holds(reader)
        jobs: dict[str, JobDescriptor] = {}
        await self._work.sliced(self._describe(reader, changed, jobs, began))
        self._cache = reader.cache
        self._seen.update(jobs)
        await self._add_ended(jobs, reader.numbers, began)
        # What the queue does not list any more is kept for as long as its record may be late.
        for job_id in self._seen.keys() - jobs.keys():
            if began - self._seen[job_id].observed_at > 2 * REMEMBER_S:
                del self._seen[job_id]
        return Snapshot(
            jobs=jobs,
            began_at=began,
            ended_at=self._wall(),
            rejected=tuple(reader.rejected[:10]),
            rejected_count=len(reader.rejected),
            rejected_ids=frozenset(reader.numbers),
            whole=self._left.ended.whole(jobs.values()) if self._left.ended is not None else frozenset(),
        )

    async def _learn(self, reader: QstatRows, listed: set[str]) -> set[str]:
        """Ask for the details of jobs whose rows are new; return the numbers of the jobs that were asked for."""
        wanted: dict[str, None] = {}
        for entry in reader.new:
            row = entry.row
            # The details of a job change while it waits. Those of a big array are long: not again for each task that starts.
            if row.number not in self._details or "E" in row.letters or (row.tasks is None and row.waits):
                wanted[row.number] = None
        numbers = list(wanted)
        for begin in range(0, len(numbers), DETAILS_AT_ONCE):
            some = numbers[begin : begin + DETAILS_AT_ONCE]
            self._details.update(parse_details(await self._run("qstat", "-xml", "-j", ",".join(some))))
            await self._work.sliced(iter([None]))
        for number in self._details.keys() - listed:
            del self._details[number]
        for number in self._submitted.keys() - listed:
            del self._submitted[number]
        rescheduled = {entry.row.number for entry in reader.entries if "R" in entry.row.letters}
        for entry in reader.new:
            row, details = entry.row, self._details.get(entry.row.number, _NOTHING)
            # Rescheduling a job, or one task of an array, gives it a new time of submission; it stays the same job.
            if row.number not in rescheduled:
                submitted_at = details.submitted_at or (row.time if row.waits else None)
                if submitted_at is not None:
                    self._submitted.setdefault(row.number, submitted_at)
        return set(wanted)

    async def _learn_holds(self, reader: QstatRows) -> None:
        """Ask for the kinds of holds of the jobs that are held: all kinds have one letter."""
        held = [entry for entry in reader.entries if "h" in entry.row.letters and phase_of(entry.row.letters) is Phase.HELD]
        if not held:
            return
        now = self._reactor.seconds()
        if now - self._holds_at < HOLDS_EVERY_S and not any("h" in entry.row.letters for entry in reader.new):
            return
        holds: dict[str, tuple[TaskSet | None, ReasonCode]] = {}
        for kind, code in reversed(HOLDS):
            for raw in split_rows(await self._run("qstat", "-u", "*", "-s", kind, "-xml")):
                try:
                    row = parse_row(raw)
                except ValueError:
                    continue
                holds[row.number] = (row.tasks, code)
        for entry in reader.entries:
            if self._holds.get(entry.row.number) != holds.get(entry.row.number):
                entry.jobs = None
        self._holds, self._holds_at = holds, now

    def _describe(self, reader: QstatRows, changed: set[str], jobs: dict[str, JobDescriptor], now: float) -> Iterator[None]:
        """Make jobs of the rows. The pending tasks of an array are a range, as far as they are in one state."""
        ranges: dict[str, list[ListedRow]] = {}
        doubled: set[str] = set()

        def put(entry: ListedRow) -> None:
            for job in entry.jobs or ():
                if job.id in jobs:
                    doubled.add(job.id)
                jobs[job.id] = job

        for count, entry in enumerate(reader.entries):
            if count % 64 == 63:
                yield
            row = entry.row
            if row.tasks is not None and row.waits:
                ranges.setdefault(row.number, []).append(entry)
                continue
            if entry.jobs is None or row.number in changed or self._due(entry, now):
                task = next(iter(row.tasks)) if row.tasks is not None else 0
                entry.jobs = (self._job(row, task, now),)
            put(entry)
        for number, entries in ranges.items():
            yield
            # A range is one row; tasks that wait in another state than most have rows of their own.
            entries.sort(key=lambda entry: -len(entry.row.tasks or ()))
            for place, entry in enumerate(entries):
                if entry.jobs is None or number in changed or self._due(entry, now) or entry.place != place:
                    entry.place = place
                    tasks = entry.row.tasks or TaskSet()
                    if place == 0:
                        entry.jobs = (attrs.evolve(self._job(entry.row, 0, now), pending_tasks=tasks),)
                    else:
                        entry.jobs = tuple(self._job(entry.row, task, now) for task in tasks)
                put(entry)
        for job_id in doubled:
            del jobs[job_id]
            reader.numbers.add(job_id)
            reader.rejected.append(f"two rows have the id {job_id}")

    def _due(self, entry: ListedRow, now: float) -> bool:
        """Return whether the start time of a waiting job has come; its row does not change then."""
        if not entry.jobs or entry.jobs[0].reason_code is not ReasonCode.BEGIN_TIME:
            return False
        begin_at = self._details.get(entry.row.number, _NOTHING).begin_at
        return begin_at is None or begin_at <= now

    def _job(self, row: Row, task: int, now: float) -> JobDescriptor:
        details = self._details.get(row.number, _NOTHING)
        reason: str | None = None
        code: ReasonCode | None = None
        phase = phase_of(row.letters)
        if phase is Phase.HELD and "E" in row.letters:
            # A range of tasks has the error of its first task; a job that is no array has one task.
            reason, code = details.errors.get(task or next(iter(row.tasks or (1,)))), ReasonCode.ERROR
        elif phase is Phase.HELD:
            tasks, holder = self._holds.get(row.number, (None, None))
            if holder is not None and (tasks is None or task == 0 or task in tasks):
                code = holder
            elif details.depends:
                phase, code = Phase.QUEUED, ReasonCode.DEPENDENCY
            else:
                code = ReasonCode.OTHER
        elif phase is Phase.QUEUED and details.begin_at is not None and details.begin_at > now:
            code = ReasonCode.BEGIN_TIME
        queue, _, host = row.queue.partition("@")
        native = {"state": row.letters}
        if "R" in row.letters:
            again = details.submitted_at if not row.waits or row.time is None else row.time
            if again is not None and again != self._submitted.get(row.number):
                native[RESUBMITTED] = str(int(again))  # its record will have this time: kept to prove whose that is
        return JobDescriptor(
            cluster=self.cluster,
            id=task_id(row.number, task),
            phase=phase,
            attempt=1 if "R" in row.letters else 0,
            reason=reason,
            reason_code=code,
            flags=flags_of(row.letters),
            native=native,
            name=row.name,
            user=row.user or None,
            account=details.account,
            submitted_at=self._submitted.get(row.number),
            started_at=row.time if not row.waits else None,
            queue=queue or None,
            nodes=host or None,
            workdir=details.workdir,
            comment=details.comment,
            time_limit_s=details.time_limit_s,
            observed_at=now,
            source="qstat",
            parent=row.number if task > 0 else None,
            task_index=task if task > 0 else None,
        )

    async def _add_ended(self, jobs: dict[str, JobDescriptor], rejected: set[str], now: float) -> None:
        """Add the jobs that have ended lately by the scheduler's files."""
        ended = self._left.ended
        if ended is None:
            return
        found = await self._work.reading(ended.read, now, self._seen)
        ended.take(found, self._reactor.seconds())

        def waiting(job_id: str) -> bool:
            task = self.task_of(job_id)
            row = jobs.get(task[0]) if task is not None else None
            return row is not None and task is not None and row.pending_tasks is not None and task[1] in row.pending_tasks

        for job_id, job in (await self._lost_hosts.told(ended.ended(jobs, waiting, self._seen, now))).items():
            if job_id not in rejected and job_id.partition(".")[0] not in rejected:
                jobs[job_id] = job
                self._seen.pop(job_id, None)

    # -- qconf

    async def _check(self) -> QueueFacts:
        self._commands = with_programs(self._commands, self._root)
        result = await self._run("qconf", "-sconf")
        if result.status != 0:
            raise QueueError(f"qconf ended with status {result.status}: {complaint(result)}")
        settings = ReportingParams.parse(result.stdout)
        root = self._root or ("/var/lib/gridengine" if os.path.isdir("/var/lib/gridengine") else None)
        files = Files.find(root, self._cell, settings, self._commands.remote)
        self._left.use(files.accounting, files.reporting, settings.flush_s, files.asks_qacct)
        if self._watches:
            logs = (path for path in (files.accounting, files.reporting) if path is not None)
            self._follow_logs(logs, () if files.spool is None else (files.spool,))
        self._checked = True
        return facts(settings, files, self._cell, self.grace)

    def _jobs_in(self, lines: Sequence[bytes]) -> Sequence[str] | None:
        # The reporting file tells of hosts and queues too. The query is for all jobs anyway, so which they are is no matter.
        # Where the database has told of each change already, only how a job has ended is news.
        news = is_about_end if self._spools else is_about_job
        return [] if any(news(line) for line in lines) else None

    # -- what became of jobs that left

    async def _outcomes(self, jobs: Sequence[JobDescriptor]) -> Outcomes:
        told = await self._left.outcomes(jobs)
        return attrs.evolve(told, jobs=await self._lost_hosts.told(told.jobs))

    def past_attempts(self, jobs: Sequence[JobDescriptor]) -> Deferred[Mapping[str, PastAttempt]]:
        """See `jobpush.adapter.interfaces.IPastAttemptsQueue`."""
        return Deferred.fromCoroutine(self._left.past_attempts(jobs))

    def recorded(self, jobs: Sequence[str]) -> Deferred[Mapping[str, JobDescriptor]]:
        """See `jobpush.adapter.interfaces.IRecordedJobsQueue`."""
        return Deferred.fromCoroutine(self._recorded(jobs))

    async def _recorded(self, jobs: Sequence[str]) -> Mapping[str, JobDescriptor]:
        return await self._lost_hosts.told(await self._left.recorded(jobs))

    # -- helpers

    def _run(self, name: str, *arguments: str) -> Deferred[CommandResult]:
        return self._commands.run(name, *arguments)
