"""
PBS: OpenPBS, PBS Pro and Torque. Finds out which of them the server is, and asks each in its own way.

Both have the same notation of job ids, the same names of commands, and a server attribute for what may be seen.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

from twisted.internet.defer import Deferred, gatherResults, maybeDeferred
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
from jobpush.core.model import JobDescriptor, Outcomes, PastAttempt, QueueFacts, Snapshot
from jobpush_adapters.common.base import CommandQueue, Common, CommonArguments
from jobpush_adapters.common.commands import Commands
from jobpush_adapters.common.watch import Watching
from jobpush_adapters.pbs import accounting
from jobpush_adapters.pbs.openpbs import OpenPbs
from jobpush_adapters.pbs.parse import ID
from jobpush_adapters.pbs.torque import Torque

if TYPE_CHECKING:
    from typing_extensions import Unpack

#: Variables of this process's environment by which PBS's commands find the server.
_VARIABLES = ("PBS_CONF_FILE", "PBS_SERVER", "PBS_DEFAULT", "PBS_EXEC", "PBS_HOME")


#: A job in a line of the server's log (``time;event;server;Job;id;text``) or of the accounting log (``time;type;id;text``).
_LOGGED = re.compile(rb"[0-9/]+ [0-9:.]+;(?:[0-9a-fA-F]+;[^;]*;Job;|[A-Za-z];)([^;\s]{1,300});")


#: PBS_HOME where nothing says otherwise.
DEFAULT_HOME = "/var/spool/pbs"


class Dialect(Protocol):
    """How one kind of PBS is asked; `PbsQueue` has the rest."""

    @property
    def server(self) -> str | None:
        """The server's name, as in the ids of its jobs."""

    async def check(self) -> QueueFacts:
        """Return what the account may see, and what the server remembers."""

    async def snapshot(self) -> Snapshot:
        """Return all jobs."""

    async def outcomes(self, jobs: Sequence[JobDescriptor]) -> Outcomes:
        """Return what became of jobs that left."""

    async def recorded(self, jobs: Sequence[str]) -> dict[str, JobDescriptor]:
        """Return the jobs with these ids that a record tells of."""


@implementer(INamedJobsQueue, IPastAttemptsQueue, IRecordedJobsQueue, IWatchfulQueue)
class PbsQueue(Watching, CommandQueue):
    """
    :param follow: logs of the server; by default its own, and else the accounting log, where they can be read.
    :param server: PBS_SERVER (Torque: PBS_DEFAULT); by default that of the environment, or of pbs.conf.
    :param home: PBS_HOME, where the logs are; by default that of the environment, or of pbs.conf.
    :param common: as in `Common`.
    """

    queue_type = "pbs"

    def __init__(
        self,
        reactor: IQueueReactor,
        cluster: str = "pbs",
        server: str | None = None,
        home: str | None = None,
        follow: Sequence[str] = (),
        **common: Unpack[CommonArguments],
    ) -> None:
        here = {} if common.get("prefix") else os.environ
        environment = {key: here[key] for key in _VARIABLES if key in here}
        if server is not None:
            environment.update(PBS_SERVER=server, PBS_DEFAULT=server)
        self._home = home or here.get("PBS_HOME") or (configured_home(here) if here else DEFAULT_HOME)
        Watching.__init__(self)
        CommandQueue.__init__(self, reactor, Common(cluster=cluster, **common), environment)
        self._dialect: Dialect | None = None
        self._follow_logs(follow or ([] if self._commands.remote else readable_logs(self._home)))

    # -- IBatchQueueService

    def canonical_id(self, text: str) -> str:
        found = ID.fullmatch(text)
        if found is None:
            raise InvalidJobId(
                "expected a PBS job id such as 4711.server or 4711, 4711[].server (array), 4711[3].server (subjob)"
            )
        server = self._dialect.server if self._dialect is not None else None
        # The short form is this server's own job; a job of another server keeps that one's name.
        return text if found[3] is not None or server is None else f"{text}.{server}"

    def task_of(self, job_id: str) -> tuple[str, int] | None:
        found = re.fullmatch(r"([0-9]+)\[([0-9]+)\](.*)", job_id)
        return (f"{found[1]}[]{found[3]}", int(found[2])) if found is not None else None

    def task_id(self, array: str, index: int) -> str:
        return array.replace("[]", f"[{index}]", 1)

    def watch(self, nudge: Callable[[Sequence[str]], None]) -> Callable[[], Deferred[None] | None]:
        """See `jobpush.adapter.interfaces.IWatchfulQueue`. What ends it ends the helper process, too."""
        stop = super().watch(nudge)

        def end() -> Deferred[None]:
            helper = self._dialect.questions.stop() if isinstance(self._dialect, OpenPbs) else None
            return gatherResults([maybeDeferred(stop), maybeDeferred(lambda: helper)]).addCallback(lambda _: None)

        return end

    # -- as the kind of server is asked

    async def _asked(self) -> Dialect:
        if self._dialect is None:
            result = await self._commands.run("qstat", "--version")
            said = (result.stdout + result.stderr).decode("utf-8", "replace").strip()
            make: Callable[[IQueueReactor, Commands, str, str, Callable[[], float]], Dialect]
            if "pbs_version" in said or re.search(r"\bPBS Pro|OpenPBS|PBSPro", said):
                make = OpenPbs
            elif re.match(r"[Vv]ersion:", said):
                make = Torque
            else:
                raise QueueError(f"qstat --version: neither PBS nor Torque: {printable(said, 80) or 'no answer'}")
            self._dialect = make(self._reactor, self._commands, self.cluster, self._home, self._wall)
        assert self._dialect is not None
        return self._dialect

    async def _check(self) -> QueueFacts:
        return await (await self._asked()).check()

    async def _snapshot(self) -> Snapshot:
        return await (await self._asked()).snapshot()

    def named(self, jobs: Sequence[str]) -> Deferred[Snapshot]:
        """See `jobpush.adapter.interfaces.INamedJobsQueue`."""
        assert isinstance(self._dialect, OpenPbs)
        return Deferred.fromCoroutine(self._dialect.named(jobs))

    def recorded(self, jobs: Sequence[str]) -> Deferred[Mapping[str, JobDescriptor]]:
        """See `jobpush.adapter.interfaces.IRecordedJobsQueue`."""
        return Deferred.fromCoroutine(self._recorded(jobs))

    async def _recorded(self, jobs: Sequence[str]) -> Mapping[str, JobDescriptor]:
        return await (await self._asked()).recorded(jobs)

    def past_attempts(self, jobs: Sequence[JobDescriptor]) -> Deferred[Mapping[str, PastAttempt]]:
        """See `jobpush.adapter.interfaces.IPastAttemptsQueue`: by the accounting log, where it can be read."""
        return Deferred.fromCoroutine(self._past_attempts(jobs))

    async def _past_attempts(self, jobs: Sequence[JobDescriptor]) -> Mapping[str, PastAttempt]:
        log = os.path.join(self._home, "server_priv", "accounting")
        if self._commands.remote or not accounting.readable(log):
            return {}
        since, now = min(job.submitted_at or job.observed_at for job in jobs), self._wall()
        told = await Work(self._reactor).reading(accounting.find, log, {job.id for job in jobs}, since, now)
        entries = {job: accounting.of_job(job, told.jobs.get(job.id, ())) for job in jobs}
        found = {job.id: accounting.past_attempt(job, entry) for job, entry in entries.items() if entry is not None}
        return {job_id: past for job_id, past in found.items() if past is not None}

    @property
    def most_named(self) -> int:
        """The most jobs in one call of `named`; 0 for Torque, which cannot be asked so."""
        return 100 if isinstance(self._dialect, OpenPbs) else 0

    def _jobs_in(self, lines: Sequence[bytes]) -> Sequence[str] | None:
        found = [match[1].decode() for match in map(_LOGGED.match, lines) if match is not None]
        jobs = list(dict.fromkeys(found))
        return [self.canonical_id(job) for job in jobs if ID.fullmatch(job)] or None

    async def _outcomes(self, jobs: Sequence[JobDescriptor]) -> Outcomes:
        if not jobs:
            return Outcomes()
        return await (await self._asked()).outcomes(jobs)


def configured_home(environment: Mapping[str, str]) -> str:
    """Return PBS_HOME of PBS's configuration file (pbs.conf), or its usual place."""
    try:
        with open(environment.get("PBS_CONF_FILE") or "/etc/pbs.conf", encoding="utf-8", errors="replace") as file:
            found = re.findall(r"^\s*PBS_HOME\s*=\s*(\S.*?)\s*$", file.read(), re.MULTILINE)
    except OSError:
        found = []
    return found[-1] if found else DEFAULT_HOME


def readable_logs(home: str) -> list[str]:
    """Return the server's log, which everybody may read, or else the accounting log; nothing if neither is on this host."""
    for path in (os.path.join(home, "server_logs"), os.path.join(home, "server_priv", "accounting")):
        if os.access(path, os.R_OK | os.X_OK):
            return [path]
    return []
