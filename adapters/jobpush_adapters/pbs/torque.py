"""
Torque: one ``qstat -x`` (XML, epoch times) for all jobs, in which completed ones stay for ``keep_completed`` seconds.

From Torque's documentation and source; it has no JSON, no substates, and exit codes of its own.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence

import attrs

from jobpush.adapter.command import CommandResult, printable
from jobpush.adapter.interfaces import IQueueReactor, QueueError
from jobpush.adapter.work import Work
from jobpush.core.model import JobDescriptor, Outcomes, QueueFacts, Snapshot
from jobpush_adapters.common.commands import Commands, succeeded
from jobpush_adapters.common.incremental_rows import IncrementalRows, parts
from jobpush_adapters.pbs.facts import ServerName, torque_facts
from jobpush_adapters.pbs.parse import ID, Attributes, from_state, number, was_started
from jobpush_adapters.pbs.states import torque_state
from jobpush_adapters.sge.xml import plain

_TAG = re.compile(rb"<(/?)([A-Za-z_][A-Za-z_.]{0,60})>")

#: A job begins so, after which its id stands; so the one before it ends there.
_ROW_END = b"<Job><Job_Id>"
_VARIABLE = re.compile(r"(?:^|,)(PBS_O_WORKDIR|workflow)=([^,]*)")


class Torque:
    """A Torque server."""

    def __init__(
        self, reactor: IQueueReactor, commands: Commands, cluster: str, home: str, wall: Callable[[], float]
    ) -> None:
        self._server = ServerName()
        self._wall = wall
        self._commands = commands
        self._cluster = cluster
        # An array's own row does not say how its subjobs ended, which have rows of their own (-t).
        self._reader = IncrementalRows(self._read, _id_of, _ids_of, skip=_is_array, end=_ROW_END)
        self._began = 0.0
        self._work = Work(reactor)

    @property
    def server(self) -> str | None:
        """The server's name, as in the ids of its jobs."""
        return self._server.name

    async def check(self) -> QueueFacts:
        """Return what the account may see, and how long the server remembers."""
        result = succeeded("qstat -B", await self._commands.run("qstat", "-B", "-f"))
        name, a = parse_server_text(result.stdout)
        self._server.answers(name)
        return attrs.evolve(torque_facts(a, await self._commands.account()), answers_as=name)

    async def snapshot(self) -> Snapshot:
        """Return all jobs."""
        self._server.believe()
        began = self._wall()
        answer, reader = jobs_text(await self._commands.run("qstat", "-t", "-x")), self._reader
        self._began = began
        await self._work.sliced(reader.answer(parts(answer, _ROW_END)))
        if reader.rejected and not reader.jobs and not reader.ids:
            raise QueueError(f"qstat: no job could be understood: {reader.rejected[0][1]}")
        return reader.snapshot(began, self._wall())

    def _read(self, row: bytes) -> JobDescriptor | str:
        try:
            return parse_job(self._cluster, row.rpartition(b"</Job>")[0], self._began)
        except ValueError as error:
            return printable(str(error))

    async def outcomes(self, jobs: Sequence[JobDescriptor]) -> Outcomes:
        """Return that nothing is known: Torque has no accounting that can be asked."""
        return Outcomes()

    async def recorded(self, jobs: Sequence[str]) -> dict[str, JobDescriptor]:
        """Return nothing, as `outcomes`."""
        return {}


def jobs_text(result: CommandResult) -> bytes:
    """
    Return the jobs of ``qstat -x``, each from its id on, with what begins the next one (`_ROW_END`) between them.

    :raise QueueError: if it is not a whole answer.
    """
    succeeded("qstat", result)
    output = result.stdout.strip()
    if not output:
        # Without jobs Torque prints nothing at all.
        if result.stderr.strip():
            raise QueueError(f"qstat printed nothing: {result.complaint}")
        return b""
    if b"<Data>" not in output[:200]:
        raise QueueError(f"qstat: the answer is none of Torque's: {printable(output[:80].decode('utf-8', 'replace'))}")
    if not output.endswith(b"</Data>"):
        raise QueueError("qstat: the answer is cut off")
    return output.partition(_ROW_END)[2].removesuffix(b"</Data>")


def _id_of(row: bytes) -> str:
    """Return the id of a job."""
    return row.partition(b"<")[0].decode("utf-8", "replace")


def _is_array(row: bytes) -> bool:
    """Return whether it is the row of an array as a whole."""
    return b"[]" in row.partition(b"<")[0]


def _ids_of(row: bytes) -> list[str]:
    """Return the id that a row which is not understood may stand for."""
    found = re.match(rb"[0-9A-Za-z_.\[\]-]{1,300}(?=<)", row)
    return [found[0].decode("ascii")] if found is not None else []


def parse_job(cluster: str, row: bytes, now: float) -> JobDescriptor:
    """
    Return a job.

    :raise ValueError: if its id or its state is not as it should be.
    """
    fields = dict(_fields(row))
    job_id = _id_of(row)
    letter = fields.get("job_state", "")
    if not ID.fullmatch(job_id) or not re.fullmatch(r"[A-Z]", letter):
        raise ValueError(f"the id or the state of a job makes no sense: {job_id[:80]}")
    depends = "after" in fields.get("depend", "")
    holds, status = fields.get("Hold_Types", "n"), number(fields.get("exit_status"))
    state = torque_state(letter, status, holds, depends, was_started(fields))
    native = {"state": letter, **({"exit_status": fields["exit_status"]} if "exit_status" in fields else {})}
    attributes: Attributes = {
        **fields,
        **{f"Variable_List.{name}": value for name, value in _VARIABLE.findall(fields.get("Variable_List", ""))},
    }
    return from_state(cluster, job_id, state, native, attributes, now)


def _fields(row: bytes) -> Iterator[tuple[str, str]]:
    """Yield the fields of a job, of two with one name the first; those within another one as ``Resource_List.walltime``."""
    seen: set[str] = set()
    within: list[bytes] = []
    begin, deepest = 0, 0
    for tag in _TAG.finditer(row):
        if not tag[1]:
            within.append(tag[2])
            begin, deepest = tag.end(), len(within)
        elif within and within[-1] == tag[2]:
            name = b".".join(within).decode("ascii")
            if len(within) == deepest and name not in seen:
                seen.add(name)
                yield name, plain(row[begin : tag.start()])
            within.pop()


def parse_server_text(stdout: bytes) -> tuple[str | None, dict[str, str]]:
    """Return the server's name and its attributes, of ``qstat -B -f``: ``Server: name``, then ``    key = value``."""
    text = stdout.decode("utf-8", "replace").replace("\n\t", "")
    name = re.search(r"^Server:? +(\S+)", text, re.MULTILINE)
    return name[1] if name is not None else None, dict(re.findall(r"^ +([A-Za-z_.]+) = (.*)$", text, re.MULTILINE))
