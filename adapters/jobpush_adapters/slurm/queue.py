"""
Slurm: one ``squeue`` for all jobs, ``sacct`` for those that left, ``scontrol show config`` for what may be believed.

Facts here are from ``squeue(1)``, ``sacct(1)``, ``slurm.conf(5)`` and from measuring Slurm 22.05.
"""

from __future__ import annotations

import os
import re
import secrets
import string
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, NoReturn

import attrs
from twisted.internet.defer import Deferred, gatherResults, maybeDeferred
from twisted.logger import Logger
from zope.interface import implementer

from jobpush.adapter.command import printable
from jobpush.adapter.interfaces import (
    INamedJobsQueue,
    InvalidJobId,
    IPastAttemptsQueue,
    IQueueReactor,
    IRecordedJobsQueue,
    IWatchfulQueue,
    QueueError,
)
from jobpush.adapter.work import Work
from jobpush.core.job_table import pending_task
from jobpush.core.model import (
    Confidence,
    JobDescriptor,
    Outcomes,
    PastAttempt,
    Phase,
    QueueFacts,
    Snapshot,
)
from jobpush_adapters.common.base import CommandQueue, Common, CommonArguments
from jobpush_adapters.common.commands import first_failure, succeeded
from jobpush_adapters.common.incremental_rows import IncrementalRows
from jobpush_adapters.common.watch import Watching
from jobpush_adapters.slurm import accounting
from jobpush_adapters.slurm.merged import MergedRanges
from jobpush_adapters.slurm.probe import SlurmProbe, find_library
from jobpush_adapters.slurm.squeue import (
    HET,
    PLAIN,
    ROW_END,
    TASK,
    TOKEN_SIZE,
    answer_of,
    framed,
    id_of,
    ids_of,
    parse_row,
    squeue_arguments,
    texts_of,
    where,
)

if TYPE_CHECKING:
    from typing_extensions import Unpack

#: Tasks of an array that ended before they ran, of which accounting has one record, and that are told one by one.
MOST_NEVER_RUN = 20_000

#: What the commands find in their environment, besides what jobpush sets, if it is in jobpush's own: where the configuration
#: is, and a token where Slurm authenticates by tokens.
INHERITED = ("SLURM_CONF", "SLURM_CONF_SERVER", "SLURM_JWT")

#: Seconds within which accounting is to answer a check whether it does, and in which one such check is made.
ANSWERS_S = 3.0
ASK_EVERY_S = 55.0

#: Seconds for which records have waited to be sent to accounting before that is said.
BEHIND_S = 10.0

#: The most ids in one call of ``sacct`` (100 cost what one costs).
SACCT_IDS = 500

#: The highest job id that Slurm assigns, federated ids included (``MAX_FED_JOBID`` is below ``NO_VAL``).
HIGHEST_ID = 0xFFFFFFFD

_LETTERS = string.ascii_letters + string.digits

#: A job in a line of slurmctld's log, or of a jobcomp file.
_LOGGED = re.compile(rb"\bJobI[dD]=([1-9][0-9]{0,9}(?:_[0-9]{1,7})?)\b")


@implementer(INamedJobsQueue, IPastAttemptsQueue, IRecordedJobsQueue, IWatchfulQueue)
class SlurmQueue(Watching, CommandQueue):
    """
    :param follow: logs of the controller: slurmctld's own, or what ``jobcomp/filetxt`` writes.
    :param conf: the path of ``slurm.conf``; by default that of the environment's SLURM_CONF, or what Slurm finds.
    :param conf_server: where there is no such file, the hosts of slurmctld, ``host[:port]`` separated by commas; by default
        those of the environment's SLURM_CONF_SERVER.
    :param clusters: the name of another cluster that the same accounting database knows.
    :param probe: whether to ask the controller several times a second if anything has changed. None: if its commands run on
        this host, its libslurm has been tested, and no log is followed.
    :param common: as in `Common`.
    """

    log = Logger()
    queue_type = "slurm"

    #: The controller looks one id up, but sends all jobs if asked for several: so each is asked for alone, and only a few are.
    most_named = 4

    def __init__(
        self,
        reactor: IQueueReactor,
        cluster: str = "slurm",
        conf: str | None = None,
        conf_server: str | None = None,
        clusters: str | None = None,
        follow: Sequence[str] = (),
        probe: bool | None = None,
        **common: Unpack[CommonArguments],
    ) -> None:
        self._clusters = clusters
        given = {"SLURM_CONF": conf, "SLURM_CONF_SERVER": conf_server}
        here = {} if common.get("prefix") else os.environ
        inherited = [name for name in INHERITED if name in here and (name not in given or not (conf or conf_server))]
        environment = {
            "SLURM_TIME_FORMAT": "%s",
            "SLURM_BITSTR_LEN": "0",
            **{name: value for name, value in given.items() if value},
            **{name: here[name] for name in inherited},
        }
        Watching.__init__(self)
        CommandQueue.__init__(self, reactor, Common(cluster=cluster, **common), environment)
        self._reader = IncrementalRows(self._read, id_of, ids_of, end=ROW_END)
        self._began = 0.0
        self._work = Work(reactor)
        self._follow_logs(follow)
        on_this_host = not (clusters or self._commands.remote or (follow and probe is None))
        self._library = find_library(self._commands.directory) if probe is not False and on_this_host else None
        self._probe_wanted = bool(probe)
        self._whole_codes = False
        # When accounting was asked last, and why it did not answer.
        self._accounting_asked: float | None = None
        self._accounting_error: str | None = None
        # Since when records wait to be sent to it, as far as that was asked.
        self._behind_since: float | None = None
        # The job that accounting is asked about first the next time, where it was not asked about all.
        self._asked_next: str | None = None
        self._merged = MergedRanges(reactor, self._tasks_of)

    def watch(self, nudge: Callable[[Sequence[str]], None]) -> Callable[[], Deferred[None] | None]:
        """See `jobpush.adapter.interfaces.IWatchfulQueue`."""
        end_watch = Watching.watch(self, nudge)
        if self._library is None:
            if self._probe_wanted:
                self.log.warn("no probe of slurmctld: there is no libslurmfull.so beside squeue")
            return end_watch
        environment, wanted = self._commands.environment, self._probe_wanted
        probe = self._probe = SlurmProbe(self._reactor, self._library, environment, lambda: nudge(()), wanted)
        probe.start()
        return lambda: gatherResults([maybeDeferred(end_watch), probe.stop()])  # type: ignore[arg-type, return-value]

    # -- IBatchQueueService

    def canonical_id(self, text: str) -> str:
        for grammar in (PLAIN, TASK, HET):
            found = grammar.fullmatch(text)
            if found is not None and int(text.partition("_")[0].partition("+")[0]) <= HIGHEST_ID:
                return text
        raise InvalidJobId("expected a Slurm job id such as 4711, 4711_3 (array task) or 4711+1 (het component)")

    def task_of(self, job_id: str) -> tuple[str, int] | None:
        found = TASK.fullmatch(job_id)
        return (found[1], int(found[2])) if found is not None else None

    def task_id(self, array: str, index: int) -> str:
        return f"{array}_{index}"

    # -- squeue

    async def _snapshot(self) -> Snapshot:
        token = new_token()
        began = self._wall()
        result = await self._commands.run("squeue", *squeue_arguments(token, self._clusters))
        answer, reader = answer_of(result, token), self._reader
        self._began = began
        await self._work.sliced(reader.answer(texts_of(answer, token)))
        if answer and not reader.jobs and not reader.ids:
            raise QueueError(f"squeue: no row could be understood: {reader.rejected[0][1]}")
        return await self._merged.apart(reader.snapshot(began, self._wall()))

    async def _tasks_of(self, array: str) -> Iterable[JobDescriptor]:
        """Return the jobs of one array, a row for each task that waits."""
        token = new_token()
        result = await self._commands.run("squeue", "-r", "-j", array, *squeue_arguments(token, self._clusters))
        if result.status == 1 and b"Invalid job id" in result.stderr:
            return ()
        reader = IncrementalRows(self._read, id_of, ids_of, end=ROW_END)
        await self._work.sliced(reader.answer(texts_of(answer_of(result, token), token)))
        return reader.jobs.values()

    def _read(self, row: bytes) -> JobDescriptor | str:
        try:
            return parse_row(self.cluster, framed(row), self._began)
        except ValueError as error:
            return f"{printable(error.args[0])}: {printable(row.decode('utf-8', 'replace'), 120)}"

    def named(self, jobs: Sequence[str]) -> Deferred[Snapshot]:
        """See `jobpush.adapter.interfaces.INamedJobsQueue`."""
        return Deferred.fromCoroutine(self._named(jobs))

    async def _named(self, jobs: Sequence[str]) -> Snapshot:
        token = new_token()
        began = self._wall()
        arguments = squeue_arguments(token, self._clusters)
        results = await gatherResults(
            [self._commands.run("squeue", *arguments, "-j", job) for job in jobs], consumeErrors=True
        ).addErrback(first_failure)
        reader = IncrementalRows(self._read, id_of, ids_of, end=ROW_END)
        self._began = began
        listed = (r for r in results if r.status != 1 or b"Invalid job id" not in r.stderr)
        for _ in reader.answer(text for result in listed for text in texts_of(answer_of(result, token), token)):
            pass
        return Snapshot(jobs=reader.jobs, began_at=began, ended_at=self._wall())

    def _jobs_in(self, lines: Sequence[bytes]) -> Sequence[str] | None:
        found = [match[1].decode() for match in map(_LOGGED.search, lines) if match is not None]
        return list(dict.fromkeys(found)) or None

    # -- scontrol, sacctmgr

    async def _check(self) -> QueueFacts:
        which = ["-M", self._clusters] if self._clusters else []
        result = await self._commands.run("scontrol", *which, "show", "config")
        config = parse_config(succeeded("scontrol", result).stdout)
        self._whole_codes = version_of(config) >= accounting.WHOLE_CODES
        hides = bool({"jobs", "all"} & set(config.get("PrivateData", "none").lower().split(",")))
        has_accounting = config.get("AccountingStorageType", "").endswith("slurmdbd")
        account = await self._commands.account()
        sees_all, evidence = True, f"PrivateData={config.get('PrivateData', 'none')}"
        if hides:
            slurm_user = config.get("SlurmUser", "").partition("(")[0]
            if account in ("root", slurm_user):
                evidence += f", and {account} is Slurm's own user"
            else:
                level = await self._admin_level(account) if has_accounting else "not known without accounting"
                sees_all = level in ("Operator", "Administrator")
                evidence += f", and the AdminLevel of {account} is {level}"
        problems = []
        if not sees_all:
            problems.append(
                f"{evidence}: other users' jobs cannot be seen; give {account} AdminLevel=Operator, or leave 'jobs' out of "
                "PrivateData"
            )
        if not has_accounting:
            problems.append(
                "there is no accounting (AccountingStorageType): a job that ends while jobpush does not look, and is "
                "forgotten (MinJobAge), is told as LOST"
            )
        elif (waiting := await self._waiting_records()) and self._is_behind():
            problems.append(
                f"accounting is behind: slurmctld has {waiting} records that slurmdbd has not taken (sdiag); until it has, how "
                "jobs ended that slurmctld has forgotten is not known"
            )
        elif (why := await self._no_accounting()) is not None:
            problems.append(f"accounting does not answer: {why}; how jobs ended that slurmctld has forgotten is not known")
        age = re.match(r"[0-9]+", config.get("MinJobAge", ""))
        return QueueFacts(
            sees_all=sees_all,
            hides_jobs=hides,
            accounting=has_accounting,
            remembers_s=float(age[0]) if age is not None else None,
            remembers_by="MinJobAge",
            evidence=evidence,
            problems=tuple(problems),
            answers_as=config.get("ClusterName"),
        )

    async def _admin_level(self, account: str) -> str:
        try:
            result = await self._commands.run("sacctmgr", "-n", "-P", "show", "user", account, "format=AdminLevel")
            return succeeded("sacctmgr", result).stdout.decode("ascii", "replace").strip() or "None"
        except QueueError as error:
            return f"not known ({error})"

    # -- sacct

    async def _outcomes(self, jobs: Sequence[JobDescriptor]) -> Outcomes:
        ended: dict[str, JobDescriptor] = {}
        still_open: set[str] = set()
        missing: set[str] = set()
        jobs = self._from_the_next(jobs)
        began = self._reactor.seconds()
        for begin in range(0, len(jobs), SACCT_IDS):
            self._asked_next = jobs[begin].id
            if begin and self._reactor.seconds() - began >= self.timeout / 2:
                return Outcomes(ended, frozenset(still_open), frozenset(missing), whole=False)
            some = {job.id: job for job in jobs[begin : begin + SACCT_IDS]}
            try:
                caught_up = await self._waiting_records() == 0
                stdout = await self._sacct(list(some))
            except QueueError as error:
                if not begin:
                    raise
                self.log.warn("{cluster}: accounting: {error}", cluster=self.cluster, error=str(error))
                return Outcomes(ended, frozenset(still_open), frozenset(missing), whole=False)
            told = accounting.outcomes(stdout, some, self._wall(), self._whole_codes, caught_up)
            ended.update(told.jobs)
            still_open |= told.still_open
            missing |= told.no_record
        self._asked_next = None
        return Outcomes(ended, frozenset(still_open), frozenset(missing))

    def _from_the_next(self, jobs: Sequence[JobDescriptor]) -> Sequence[JobDescriptor]:
        """Return the jobs, beginning with the one that there was no time for when accounting was asked last."""
        place = next((place for place, job in enumerate(jobs) if job.id == self._asked_next), 0)
        return [*jobs[place:], *jobs[:place]]

    async def _waiting_records(self) -> int | None:
        """
        Return how many records slurmctld has not sent to accounting yet, which it keeps while slurmdbd is down; None if sdiag
        does not say.
        """
        which = ["-M", self._clusters] if self._clusters else []
        try:
            result = succeeded("sdiag", await self._commands.run("sdiag", *which))
        except QueueError:
            return None
        waiting = accounting.waiting_records(result.stdout)
        if not waiting:
            self._behind_since = None
        elif self._behind_since is None:
            self._behind_since = self._reactor.seconds()
        return waiting

    def _is_behind(self) -> bool:
        """
        Return whether records wait to be sent, and did whenever that was asked in the last `BEHIND_S`: a few do for a moment
        whenever jobs come and go.
        """
        return self._behind_since is not None and self._reactor.seconds() - self._behind_since >= BEHIND_S

    async def _no_accounting(self) -> str | None:
        """
        Return why accounting does not say, within `ANSWERS_S`, what it has of one job; None if it does. It is asked only if it
        has not been for `ASK_EVERY_S`.
        """
        now = self._reactor.seconds()
        if self._accounting_asked is not None and now - self._accounting_asked < ASK_EVERY_S:
            return self._accounting_error
        self._accounting_asked, self._accounting_error = now, None
        late = QueueError(f"sacct: no answer within {ANSWERS_S:g} s")
        try:
            asked = self._commands.run("sacct", *sacct_arguments(["1"], self._clusters))
            succeeded("sacct", await asked.addTimeout(ANSWERS_S, self._reactor, lambda _, __: _raise(late)))
        except QueueError as error:
            self._accounting_error = str(error)
        return self._accounting_error

    async def _sacct(self, jobs: Sequence[str]) -> bytes:
        """Return what sacct prints of these jobs."""
        result = await self._commands.run("sacct", *sacct_arguments(jobs, self._clusters))
        stdout = succeeded("sacct", result).stdout
        self._accounting_asked, self._accounting_error = self._reactor.seconds(), None
        return stdout

    def past_attempts(self, jobs: Sequence[JobDescriptor]) -> Deferred[Mapping[str, PastAttempt]]:
        """See `jobpush.adapter.interfaces.IPastAttemptsQueue`."""
        return Deferred.fromCoroutine(self._past_attempts(jobs))

    async def _past_attempts(self, jobs: Sequence[JobDescriptor]) -> Mapping[str, PastAttempt]:
        return accounting.past_attempts(await self._sacct([job.id for job in jobs]), jobs, self._whole_codes)

    def recorded(self, jobs: Sequence[str]) -> Deferred[Mapping[str, JobDescriptor]]:
        """See `jobpush.adapter.interfaces.IRecordedJobsQueue`."""
        return Deferred.fromCoroutine(self._recorded(jobs))

    async def _recorded(self, jobs: Sequence[str]) -> Mapping[str, JobDescriptor]:
        stdout = await self._sacct(jobs)
        now = self._wall()
        # sacct prints all parts of an array, or of a heterogeneous job, that is asked for.
        ids = dict.fromkeys([*jobs, *(record.job_id for record in accounting.records(stdout))])
        asked = {job_id: self._unseen(job_id) for job_id in ids}
        told = accounting.outcomes(stdout, asked, now, self._whole_codes, caught_up=False)
        still_open = {job_id: attrs.evolve(asked[job_id], source="sacct", observed_at=now) for job_id in told.still_open}
        found: dict[str, JobDescriptor] = {}
        for job_id, job in {**told.jobs, **still_open}.items():
            if job.pending_tasks is None:
                found[job_id] = job
            elif job.done and len(job.pending_tasks) <= MOST_NEVER_RUN:
                never_ran = ((self.task_id(job_id, index), index) for index in job.pending_tasks)
                found.update((task, pending_task(job, task, index)) for task, index in never_ran)
        return found

    def _unseen(self, job_id: str) -> JobDescriptor:
        het = HET.fullmatch(job_id)
        array, index = self.task_of(job_id) or (het[1] if het is not None else None, None)
        return JobDescriptor(
            cluster=self.cluster,
            id=job_id,
            phase=Phase.UNKNOWN,
            parent=array,
            task_index=index,
            confidence=Confidence.ACCOUNTING,
        )


def _raise(error: QueueError) -> NoReturn:
    raise error


def new_token() -> str:
    """
    Return a token of 59 random bits. It begins with a letter: digits after the colon of ``-O Field:…`` would be a width.
    It is as short as is safe: every row contains it several times.
    """
    return "T" + "".join(secrets.choice(_LETTERS) for _ in range(TOKEN_SIZE - 1))


def parse_config(stdout: bytes) -> dict[str, str]:
    """Return what ``scontrol show config`` prints as a table."""
    pairs = (line.partition("=") for line in stdout.decode("utf-8", "replace").split("\n"))
    return {key.strip(): value.strip() for key, equals, value in pairs if equals}


def version_of(config: Mapping[str, str]) -> tuple[int, ...]:
    """Return the version of Slurm by ``scontrol show config``; (0, 0) if that does not say it."""
    found = re.match(r"([0-9]+)\.([0-9]+)", config.get("SLURM_VERSION", ""))
    return (int(found[1]), int(found[2])) if found is not None else (0, 0)


def sacct_arguments(ids: Sequence[str], clusters: str | None = None) -> list[str]:
    """Return the arguments for all records of these jobs, without their steps; with ``-j`` sacct searches all its records."""
    return ["-n", "-P", "-X", "-D", *where(clusters), "-o", ",".join(accounting.FIELDS), "-j", ",".join(ids)]
