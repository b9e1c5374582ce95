"""
OpenPBS and PBS Pro: a cheap list of all jobs each tick, and the attributes of those that changed.

``qstat -f`` of ten thousand jobs costs a second each time, the plain list a tenth of that, and the attributes of a hundred
jobs by their ids a fortieth. So a tick asks for the list (``qstat -t -w``), for the ids of jobs that were modified since the
last tick (``qselect -tm.ge``), and for the attributes of these, of jobs whose row is new, and of jobs that left, which only the
server's history still has. Measured on OpenPBS 23.06.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress

import attrs
from twisted.logger import Logger

from jobpush.adapter.command import CommandResult, printable
from jobpush.adapter.interfaces import IQueueReactor, QueueChanged, QueueError
from jobpush.adapter.work import Work
from jobpush.core.aggregate import aggregate
from jobpush.core.model import WAITING_PHASES, JobDescriptor, Outcomes, Phase, QueueFacts, Snapshot
from jobpush.core.tasks import TaskSet
from jobpush_adapters.common.commands import Commands, succeeded
from jobpush_adapters.common.records import is_same_user
from jobpush_adapters.pbs import accounting as pbs_accounting
from jobpush_adapters.pbs.facts import ServerName, keeps_history, pbs_facts
from jobpush_adapters.pbs.ifl import Questions
from jobpush_adapters.pbs.parse import ID, Attributes, describe, parent_of, parse_jobs, parse_list, parse_server

LOG = Logger(namespace="jobpush_adapters.pbs.openpbs")

#: The most jobs whose attributes one ``qstat`` is asked for.
IDS_AT_ONCE = 500

#: Seconds by which the next query for modified jobs overlaps the last one: PBS counts whole seconds.
OVERLAP_S = 2.0

#: Seconds for which a job that has ended is listed.
REMEMBER_S = 300.0

#: The most arrays that one question about recorded jobs is about, and seconds for which the accounting log is read for one.
MOST_ARRAYS = 20
LOOK_BACK_S = 7 * 86400.0

#: Letters of jobs whose attributes are asked for in each tick: PBS does not count their next change as a modification.
_PASSING = "ET"


@attrs.define(eq=False)
class _Known:
    """A job of the list, and what was made of its attributes."""

    row: bytes
    job: JobDescriptor | None


@attrs.define(eq=False)
class _Tick:
    """
    The answers of one tick, and what is made of them.

    :ivar now: when it began, the date.
    :ivar seconds: the same by the reactor's time.
    :ivar pending: the indices of the waiting subjobs of each array; ``waiting`` are their ids.
    :ivar failed: the ids of jobs whose attributes were not understood.
    """

    now: float
    seconds: float
    rows: Mapping[str, tuple[str, bytes]]
    rejected: list[str]
    pending: dict[str, list[int]] = attrs.field(factory=dict)
    waiting: set[str] = attrs.field(factory=set)
    attributes: Mapping[str, Attributes] = attrs.field(factory=dict)
    jobs: dict[str, JobDescriptor] = attrs.field(factory=dict)
    known: dict[str, _Known] = attrs.field(factory=dict)
    failed: set[str] = attrs.field(factory=set)


class OpenPbs:
    """
    :param home: PBS_HOME, for the accounting log of a server without history.
    :ivar questions: how it is asked.
    """

    def __init__(
        self, reactor: IQueueReactor, commands: Commands, cluster: str, home: str, wall: Callable[[], float]
    ) -> None:
        self._server = ServerName()
        self._reactor = reactor
        self._wall = wall
        self._commands = commands
        self._cluster = cluster
        self._log = os.path.join(home, "server_priv", "accounting")
        self._history = False
        self._log_readable = False
        #: Follows the accounting log where the server keeps no history.
        self._following: pbs_accounting.AccountingLog | None = None
        #: The jobs that have ended by the log, and until when each is waited for to leave the list.
        self._logged: dict[str, tuple[JobDescriptor, float]] = {}
        #: Up to where the log had been read when each job was first asked about.
        self._asked: dict[str, tuple[str, int]] = {}
        #: Why what `check` has found is not so any more.
        self._changed: str | None = None
        self._skew = 0.0
        self._known: dict[str, _Known] = {}
        #: The jobs that have ended lately, and until when each of them is listed.
        self._ended: dict[str, tuple[JobDescriptor, float]] = {}
        #: When the last tick began: the date, and the reactor's time; and how far these were apart when `check` asked.
        self._looked_at: float | None = None
        self._last_look = 0.0
        self._difference = 0.0
        self._selects = True
        self._work = Work(reactor)
        self.questions = Questions(reactor, commands)

    # -- the server

    @property
    def server(self) -> str | None:
        """The server's name, as in the ids of its jobs."""
        return self._server.name

    async def check(self) -> QueueFacts:
        began = self._wall()
        self._difference = began - self._reactor.seconds()
        server, a = parse_server(await self._commands.run("qstat", "-B", "-f", "-F", "json"))
        self._server.answers(server)
        self.questions.use(a.get("pbs_version", ""))
        # A difference that is not longer than a command may take is not one of the clocks.
        skew = float(a["timestamp"]) - began if a.get("timestamp", "").isdigit() else 0.0
        self._skew = skew if abs(skew) > 2.0 else 0.0
        self._history, self._changed = keeps_history(a), None
        self._log_readable = not self._commands.remote and pbs_accounting.readable(self._log)
        if self._history or not self._log_readable:
            self._following = None
        elif self._following is None:
            self._following = pbs_accounting.AccountingLog(self._log)
            await self._work.reading(self._following.ended)
        facts = pbs_facts(a, await self._commands.account(), self._log if self._log_readable else None)
        return attrs.evolve(facts, answers_as=server)

    # -- a tick

    async def snapshot(self) -> Snapshot:
        """Return all jobs: those of the list, and those that have ended lately."""
        if self.server is None:
            await self.check()
        self._server.believe()
        if self._changed is not None:
            raise QueueChanged(self._changed)
        began, seconds = self._wall(), self._reactor.seconds()
        if abs(began - seconds - self._difference) > OVERLAP_S / 2:
            await self.check()  # the clock was set: by how much it differs from the server's is another matter now
            began, seconds = self._wall(), self._reactor.seconds()
        rows, rejected = parse_list(await self.questions.listed())
        if rejected and not rows:
            raise QueueError(f"qstat: no row could be understood: {rejected[0]}")
        tick = _Tick(began, seconds, rows, rejected)
        modified = await self._modified(began, seconds - self._last_look)
        wanted = self._sort(tick, modified)
        left = [job_id for job_id in self._known if job_id not in rows] if self._history else []
        tick.attributes = await self._attributes([*wanted, *left], left)
        if self._following is not None:
            self._take(await self._work.reading(self._following.ended), tick)
        await self._work.sliced(self._describe(tick))
        self._known = tick.known
        self._looked_at, self._last_look = began, seconds
        return Snapshot(
            jobs=tick.jobs,
            began_at=began,
            ended_at=self._wall(),
            rejected=tuple(rejected[:10]),
            rejected_count=len(rejected),
            rejected_ids=frozenset(tick.failed),
        )

    async def named(self, jobs: Sequence[str]) -> Snapshot:
        """Return plain jobs by their attributes; arrays and subjobs are left out, as their state is in the list."""
        began = self._wall()
        wanted = [job_id for job_id in jobs if "[" not in job_id]
        tick = _Tick(began, self._reactor.seconds(), {}, [], attributes=await self._attributes(wanted, []) if wanted else {})
        told = ((job_id, self._read(tick, job_id)) for job_id in tick.attributes)
        found = {job_id: job for job_id, job in told if job is not None}
        return Snapshot(jobs=found, began_at=began, ended_at=self._wall())

    async def _modified(self, began: float, passed: float) -> set[str]:
        """
        Return the ids of jobs that were modified since the last tick, with those that have ended.

        :param began: when this one began, the date.
        :param passed: seconds since the last one began.
        """
        if self._looked_at is None or not self._selects:
            return set()
        # The clock may have been set meanwhile, back or forward, and the server's with it.
        since = min(self._looked_at, began - passed) - OVERLAP_S + self._skew
        stamp = time.strftime("%Y%m%d%H%M.%S", time.gmtime(since))
        result = await self._commands.run("qselect", *(["-x"] if self._history else []), "-T", f"-tm.ge.{stamp}")
        if self._history and not result.stdout:
            self._still_has_history(result)
        if result.status == 2:
            # A usage error: this version cannot be asked so. The list still shows the changes of letters.
            self._selects = False
            LOG.warn(
                "{c}: qselect -tm.ge: {why}; changes that no letter shows come late", c=self._cluster, why=result.complaint
            )
            return set()
        return set(succeeded("qselect", result).stdout.decode("ascii", "replace").split())

    def _sort(self, tick: _Tick, modified: set[str]) -> list[str]:
        """Assign the waiting subjobs to their arrays; return the ids of jobs whose attributes are needed."""
        wanted: list[str] = []
        for job_id, (letter, row) in tick.rows.items():
            array = parent_of(job_id)
            if array != job_id and letter in "QHW" and array in tick.rows:
                tick.pending.setdefault(array, []).append(int(job_id.partition("[")[2].partition("]")[0]))
                tick.waiting.add(job_id)
                continue
            known = self._known.get(job_id)
            if known is None or known.row != row or letter in _PASSING or job_id in modified or _starts(known.job):
                wanted.append(job_id)
        # A job that came and went between two ticks is only among the modified ones.
        gone = (job_id for job_id in modified if job_id not in tick.rows and job_id not in self._ended)
        wanted.extend(sorted(job_id for job_id in gone if "[]" not in job_id))
        return wanted

    async def _attributes(self, ids: Sequence[str], left: Sequence[str]) -> dict[str, Attributes]:
        """Return the attributes of these jobs, and of all subjobs of arrays that left."""
        found: dict[str, Attributes] = {}
        history = ["-x"] if self._history else []
        distinct = list(dict.fromkeys(ids))
        for begin in range(0, len(distinct), IDS_AT_ONCE):
            some = distinct[begin : begin + IDS_AT_ONCE]
            found.update(self._parsed(await self.questions.attributes(some, self._history)))
        for array in (job_id for job_id in left if "[]" in job_id):
            result = await self._commands.run("qstat", *history, "-t", "-f", "-F", "json", array)
            found.update(self._parsed(result))
        return found

    def _parsed(self, result: CommandResult) -> dict[str, Attributes]:
        jobs = parse_jobs(result)
        if self._history and not jobs:
            self._still_has_history(result)
        return jobs

    def _still_has_history(self, result: CommandResult) -> None:
        """
        Make sure that a server which was asked for its history, and had nothing to tell, still keeps one.

        :raise QueueChanged: if it does not: it says so on standard error alone, with status 0.
        """
        if result.status == 0 and result.stderr.strip():
            self._changed = f"the server keeps no history any more (job_history_enable): {result.complaint}"
            raise QueueChanged(self._changed)

    def _take(self, ended: Sequence[tuple[str, pbs_accounting.LoggedJob]], tick: _Tick) -> None:
        """Keep the jobs that have ended by the log until the list does not have them any more."""
        for job_id, entry in ended:
            if "[]" in job_id or ID.fullmatch(job_id) is None:
                continue  # what is true of an array is not true of each of its subjobs
            known = self._known.get(job_id)
            seen = known.job if known is not None else None
            if seen is not None and pbs_accounting.of_job(seen, [entry]) is not None:
                job = pbs_accounting.ended(seen, entry, tick.now)
            else:
                job = pbs_accounting.described(self._cluster, job_id, entry, tick.now)
            if seen is not None and job is not None and job.submitted_at == seen.submitted_at and job.user != seen.user:
                continue
            if job is not None and job.done:
                self._logged[job_id] = (job, tick.seconds + REMEMBER_S)
        for job_id, (job, until) in list(self._logged.items()):
            known = self._known.get(job_id)
            told = known is not None and known.job is not None and known.job.terminal
            if job_id not in tick.rows and not told:
                self._ended[job_id] = (job, tick.seconds + REMEMBER_S)
            if job_id not in tick.rows or tick.seconds > until:
                del self._logged[job_id]

    def _describe(self, tick: _Tick) -> Iterator[None]:
        """Make the jobs, of what is known and what was asked for; pauses now and then."""
        for count, (job_id, (_, row)) in enumerate(tick.rows.items()):
            if count % 256 == 255:
                yield
            if job_id not in tick.waiting:
                self._listed(tick, job_id, row)
        for job_id in tick.attributes.keys() - tick.rows.keys():
            job = self._read(tick, job_id)
            if job is not None and job.done and "[]" not in job_id:
                self._ended[job_id] = (job, tick.seconds + REMEMBER_S)
        for job_id, (job, until) in list(self._ended.items()):
            if job_id in tick.rows or tick.seconds > until:
                del self._ended[job_id]
            else:
                tick.jobs[job_id] = job

    def _listed(self, tick: _Tick, job_id: str, row: bytes) -> None:
        """Make the job of one row of the list."""
        before = self._known.get(job_id)
        if before is not None and before.job is not None and job_id not in tick.attributes and "[" not in job_id:
            tick.known[job_id] = before
            tick.jobs[job_id] = before.job
            return
        if job_id in tick.attributes:
            job = self._read(tick, job_id)
        else:
            job = before.job if before is not None else None
        # A job that left before its attributes were asked for has none: in the next tick it is one that left.
        if job is not None and "[]" in job_id:
            tasks = TaskSet.of(tick.pending.get(job_id, ()))
            if job.pending_tasks != tasks:
                # The tasks that wait are queued, also once the array has begun; they are held as the array is.
                phase = job.phase if job.phase in WAITING_PHASES else Phase.QUEUED
                job = attrs.evolve(job, phase=phase, started_at=None, pending_tasks=tasks)
        if job is not None and before is not None and before.job is not None and job.says_the_same(before.job):
            job = before.job  # nothing that is published was modified, but the time used, say
        tick.known[job_id] = _Known(row, job)
        if job is not None and (job.pending_tasks is None or len(job.pending_tasks)):
            tick.jobs[job_id] = job

    def _read(self, tick: _Tick, job_id: str) -> JobDescriptor | None:
        """Return a job by its attributes; None, and note the reason, if they are not understood."""
        try:
            return describe(self._cluster, job_id, tick.attributes[job_id], tick.now)
        except ValueError as error:
            tick.rejected.append(printable(str(error)))
            tick.failed.add(job_id)
            return None

    # -- what became of jobs that left

    async def outcomes(self, jobs: Sequence[JobDescriptor]) -> Outcomes:
        """Return what became of jobs by the history, or else by the accounting log."""
        if not self._history:
            return await self._from_log(jobs)
        # What is true of an array is not true of each of its subjobs.
        attributes = await self._attributes([job.id for job in jobs if "[]" not in job.id], [])
        now = self._wall()
        found = {}
        for job in jobs:
            if job.id in attributes:
                ended = describe(self._cluster, job.id, attributes[job.id], now)
                same = None in (ended.submitted_at, job.submitted_at) or ended.submitted_at == job.submitted_at
                if ended.done and same and is_same_user(job, ended.user):
                    found[job.id] = ended
        return Outcomes(found, no_record=frozenset(job.id for job in jobs if "[]" not in job.id) - attributes.keys())

    async def recorded(self, jobs: Sequence[str]) -> dict[str, JobDescriptor]:
        """Return what the history, or else the accounting log, has on jobs by their ids alone: an array with its subjobs."""
        now = self._wall()
        if not self._history:
            return await self._logged_jobs(jobs, now) if self._log_readable else {}
        arrays = [job_id for job_id in jobs if "[]" in job_id][:MOST_ARRAYS]
        attributes = await self._attributes([job_id for job_id in jobs if "[]" not in job_id], arrays)
        found = {}
        for job_id in attributes:
            with suppress(ValueError):
                job = describe(self._cluster, job_id, attributes[job_id], now)
                if job.done:
                    found[job_id] = job
        for array in arrays:
            parts = [job for job in found.values() if job.parent == array]
            if attributes.get(array, {}).get("job_state") == "F" and parts:
                found[array] = aggregate(array, parts, None, None)
        return found

    async def _logged_jobs(self, jobs: Sequence[str], now: float) -> dict[str, JobDescriptor]:
        wanted = {job_id for job_id in jobs if "[]" not in job_id}
        log = await self._work.reading(pbs_accounting.find, self._log, wanted, now - LOOK_BACK_S, now)
        found = {}
        for job_id, entries in log.jobs.items():
            job = pbs_accounting.described(self._cluster, job_id, entries[-1], now)
            if job is not None:
                found[job_id] = job
        return found

    async def _from_log(self, jobs: Iterable[JobDescriptor]) -> Outcomes:
        if not self._log_readable:
            return Outcomes()
        # An array's own record says nothing of each of its subjobs.
        wanted = {job.id: job for job in jobs if "[]" not in job.id}
        if not wanted:
            return Outcomes()
        now = self._wall()
        since = min(job.observed_at for job in wanted.values())
        log = await self._work.reading(pbs_accounting.find, self._log, set(wanted), since, now)
        first = {job_id: self._asked.get(job_id, log.until) for job_id in wanted}
        self._asked = first
        found, still_open, no_record = {}, set(), set()
        for job_id, job in wanted.items():
            entry = pbs_accounting.of_job(job, log.jobs.get(job_id, ()))
            if entry is None:
                # With a line that is later than the first question the log has caught up.
                if log.until > first[job_id] and log.reaches_back_to(job.observed_at, now):
                    no_record.add(job_id)
            elif (ended := pbs_accounting.ended(job, entry, now)) is not None:
                found[job_id] = ended
            elif entry.end in ("", "D"):
                still_open.add(job_id)
        return Outcomes(found, frozenset(still_open), frozenset(no_record))


def _starts(job: JobDescriptor | None) -> bool:
    """Return whether its next change may leave its row the same."""
    return job is None or job.phase is Phase.STARTING
