"""
The mock queue: jobs that need no scheduler.

``mock`` alone is a demonstration with invented jobs; ``mock:file=PATH`` reads its jobs from a JSON-lines file at every query,
so that clients are told when somebody edits the file.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypedDict

from twisted.internet.defer import Deferred, succeed
from zope.interface import implementer

from jobpush.adapter.command import printable
from jobpush.adapter.interfaces import IBatchQueueService, InvalidJobId, IQueueReactor, QueueError
from jobpush.adapter.work import Work
from jobpush.core.frozen import evolve
from jobpush.core.model import JobDescriptor, Outcomes, QueueFacts, Snapshot
from jobpush.core.wire import job_from_fields
from jobpush_adapters.common.incremental_rows import IncrementalRows, parts
from jobpush_adapters.mock.demo import Demo

if TYPE_CHECKING:
    from typing_extensions import Unpack

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+\[\]-]{0,127}")
_TASK = re.compile(r"([A-Za-z0-9][A-Za-z0-9.+-]{0,100})_(0|[1-9][0-9]{0,6})")

#: The largest jobs file, in bytes.
FILE_LIMIT = 64 * 1024 * 1024


class MockArguments(TypedDict, total=False):
    """The arguments that both kinds take by keyword."""

    cluster: str
    interval: float | None
    timeout: float
    grace: float
    wall: Callable[[], float]


@implementer(IBatchQueueService)
class MockQueue:
    """The base of both kinds: there is no accounting, and all jobs are visible."""

    queue_type = "mock"

    def __init__(
        self,
        reactor: IQueueReactor,
        cluster: str = "mock",
        interval: float | None = None,
        timeout: float = 5.0,
        grace: float = 5.0,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.cluster = cluster
        self.interval = interval
        self.timeout = timeout
        self.grace = grace
        self._reactor = reactor
        self._wall = wall

    def check(self) -> Deferred[QueueFacts]:
        return succeed(QueueFacts(sees_all=True, evidence="the mock queue hides nothing", whole_arrays=True))

    def snapshot(self) -> Deferred[Snapshot]:
        return Deferred.fromCoroutine(self._look())

    async def _look(self) -> Snapshot:
        raise NotImplementedError

    def outcomes(self, jobs: Sequence[JobDescriptor]) -> Deferred[Outcomes]:
        return succeed(Outcomes())

    def canonical_id(self, text: str) -> str:
        if _ID.fullmatch(text) is None:
            raise InvalidJobId("expected 1 to 128 letters, digits and '_.+-[]', such as 12 or 12_3")
        return text

    def task_of(self, job_id: str) -> tuple[str, int] | None:
        found = _TASK.fullmatch(job_id)
        return (found[1], int(found[2])) if found is not None else None

    def task_id(self, array: str, index: int) -> str:
        return f"{array}_{index}"


class FileQueue(MockQueue):
    """
    Jobs from a file.

    :param path: a file of JSON objects, one a line: a job by the protocol's names, at least ``id`` and ``state``. Empty
        lines and lines that begin with ``#`` are skipped.
    """

    def __init__(self, reactor: IQueueReactor, path: str, **options: Unpack[MockArguments]) -> None:
        super().__init__(reactor, **options)
        self._path = path
        self._reader = IncrementalRows(self._read, _id_of, _ids_in, skip=_is_comment)
        self._began = 0.0
        self._work = Work(reactor)

    async def _look(self) -> Snapshot:
        began = self._wall()
        try:
            with open(self._path, "rb") as file:
                content = file.read(FILE_LIMIT + 1)
        except OSError as error:
            raise QueueError(f"the jobs file {self._path} cannot be read: {error.strerror}") from None
        if len(content) > FILE_LIMIT:
            raise QueueError(f"the jobs file {self._path} is larger than {FILE_LIMIT} bytes")
        reader = self._reader
        self._began = began
        await self._work.sliced(reader.answer(parts(content, b"\n")))
        return reader.snapshot(began, self._wall(), lambda number, why: f"{self._path}, line {number}: {why}")

    def _read(self, line: bytes) -> JobDescriptor | str:
        try:
            fields = json.loads(line)
            if not isinstance(fields, dict):
                raise ValueError("not a JSON object")
            job = job_from_fields(fields, self.cluster)
            self.canonical_id(job.id)
        except (ValueError, RecursionError) as error:
            return printable(str(error))
        return evolve(job, observed_at=self._began, source=job.source or "mock")


class DemoQueue(MockQueue):
    """
    The invented jobs of a small cluster.

    :param seed: two demonstrations with the same seed that begin at the same time have the same jobs.
    """

    def __init__(self, reactor: IQueueReactor, seed: int = 1, **options: Unpack[MockArguments]) -> None:
        super().__init__(reactor, **options)
        self._seed = seed
        self._demo: Demo | None = None
        self._difference = 0.0

    async def _look(self) -> Snapshot:
        now, seconds = self._wall(), self._reactor.seconds()
        if self._demo is None:
            self._demo, self._difference = Demo(self._seed, self.cluster, now), now - seconds
        # What is invented goes on whatever the clock is set to.
        return Snapshot(jobs=self._demo.jobs(self._difference + seconds), began_at=now, ended_at=now)


def _id_of(line: bytes) -> str:
    """Return the id of the job of a line that was understood."""
    return str(json.loads(line)["id"])


def _ids_in(line: bytes) -> list[str]:
    """Return the id that a rejected line seems to be about, so that its job is not taken for absent."""
    found = re.search(rb'"id"\s*:\s*"([^"\\]+)"', line)
    return [found[1].decode("utf-8", "replace")] if found is not None else []


def _is_comment(line: bytes) -> bool:
    """Return whether a line is empty or a comment."""
    text = line.strip()
    return not text or text.startswith(b"#")
