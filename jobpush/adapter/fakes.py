"""
Stand-ins for the tests of adapters: a queue in memory, and programs in place of a scheduler's commands.

Public as names of `jobpush.adapter.testing`.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IReactorTime
from zope.interface import implementer

from jobpush.adapter.interfaces import InvalidJobId, IPastAttemptsQueue, IRecordedJobsQueue
from jobpush.core.model import JobDescriptor, Outcomes, PastAttempt, QueueFacts, Snapshot, split_state


@implementer(IPastAttemptsQueue, IRecordedJobsQueue)
class MemoryQueue:
    """
    A queue whose jobs a test sets: ``queue.set("1", "RUNNING")``.

    :param wall: the clock that dates are of; by default the reactor's, which is a test's own.
    :ivar facts: what ``check`` answers; an exception fails it.
    :ivar failure: if set, what ``snapshot`` fails with.
    :ivar records: what accounting knows, by id.
    :ivar pending: if a list, ``snapshot`` answers only when the test fires the Deferreds that it finds there.
    :ivar queries: how often it was asked.
    :ivar past: what accounting knows of the attempts before, by the id of the job; an exception fails the question.
    :ivar past_for: the ids of each question about these.
    :ivar recorded_for: the ids of each question to accounting about jobs that no query listed.
    """

    queue_type = "memory"

    def __init__(
        self,
        reactor: IReactorTime,
        cluster: str = "memory",
        interval: float | None = 1.0,
        timeout: float = 10.0,
        grace: float = 5.0,
        wall: Callable[[], float] | None = None,
    ) -> None:
        self.cluster = cluster
        self.interval = interval
        self.timeout = timeout
        self.grace = grace
        self.jobs: dict[str, JobDescriptor] = {}
        self.facts: QueueFacts | Exception = QueueFacts(
            sees_all=True, evidence="memory hides nothing", whole_arrays=True
        )
        self.failure: Exception | None = None
        self.records: dict[str, JobDescriptor] = {}
        self.pending: list[Deferred[None]] | None = None
        self.queries = 0
        self.past: dict[str, PastAttempt] | Exception = {}
        self.past_for: list[tuple[str, ...]] = []
        self.recorded_for: list[tuple[str, ...]] = []
        self._reactor = reactor
        self._wall = wall

    def _now(self) -> float:
        return self._wall() if self._wall is not None else self._reactor.seconds()

    def set(self, job_id: str, state: str, **fields: Any) -> JobDescriptor:
        """The job with that id is now in that flat state."""
        phase, outcome = split_state(state)
        fields.setdefault("settled", outcome is not None)
        fields.setdefault("submitted_at", 1.0)
        fields.setdefault("native", {"state": state})
        task = self.task_of(job_id)
        if task is not None and "parent" not in fields:
            fields.update(parent=task[0], task_index=task[1])
        job = JobDescriptor(
            cluster=self.cluster, id=job_id, phase=phase, outcome=outcome, observed_at=self._now(), **fields
        )
        self.jobs[job_id] = job
        return job

    def check(self) -> Deferred[QueueFacts]:
        return fail(self.facts) if isinstance(self.facts, Exception) else succeed(self.facts)

    def snapshot(self) -> Deferred[Snapshot]:
        self.queries += 1
        if self.failure is not None:
            return fail(self.failure)
        snapshot = Snapshot(jobs=dict(self.jobs), began_at=self._now(), ended_at=self._now())
        if self.pending is None:
            return succeed(snapshot)
        answer: Deferred[None] = Deferred()
        self.pending.append(answer)
        return answer.addCallback(lambda _: snapshot)

    def outcomes(self, jobs: Sequence[JobDescriptor]) -> Deferred[Outcomes]:
        if not isinstance(self.facts, QueueFacts) or not self.facts.accounting:
            return succeed(Outcomes())
        known = {job.id: record for job in jobs if (record := self.records.get(job.id)) is not None and _of_one(job, record)}
        ended = {job_id: record for job_id, record in known.items() if record.done}
        return succeed(Outcomes(ended, frozenset(known.keys() - ended), frozenset(job.id for job in jobs) - known.keys()))

    def recorded(self, jobs: Sequence[str]) -> Deferred[Mapping[str, JobDescriptor]]:
        self.recorded_for.append(tuple(jobs))
        if isinstance(self.facts, Exception):
            return fail(self.facts)
        found = {job_id: job for job_id, job in self.records.items() if job_id in jobs or job.parent in jobs}
        return succeed(found if self.facts.accounting else {})

    def past_attempts(self, jobs: Sequence[JobDescriptor]) -> Deferred[Mapping[str, PastAttempt]]:
        self.past_for.append(tuple(job.id for job in jobs))
        if isinstance(self.past, Exception):
            return fail(self.past)
        return succeed({job.id: self.past[job.id] for job in jobs if job.id in self.past})

    def canonical_id(self, text: str) -> str:
        if not (text.isascii() and text.replace("_", "").isalnum() and len(text) <= 64):
            raise InvalidJobId("expected up to 64 letters, digits and '_'")
        return text

    def task_of(self, job_id: str) -> tuple[str, int] | None:
        array, _, index = job_id.partition("_")
        return (array, int(index)) if index.isdigit() else None

    def task_id(self, array: str, index: int) -> str:
        return f"{array}_{index}"


def _of_one(job: JobDescriptor, record: JobDescriptor) -> bool:
    """Return whether a record is of this very submission."""
    return job.is_same_submission(record) and (None in (job.user, record.user) or job.user == record.user)


class FakeCommands:
    """
    Programs in a directory, in place of a scheduler's commands; a test makes them slow, or cuts off what they print.

    :param directory: for the programs; it is made if it does not exist. The files in it whose names begin with ``.fake-`` are
        this object's own.
    """

    def __init__(self, directory: str) -> None:
        self.directory = os.path.abspath(directory)
        os.makedirs(self.directory, exist_ok=True)
        self._outputs: dict[str, dict[str, str]] = {}

    def write(self, name: str, script: str) -> None:
        """
        Make a program, or make it anew.

        :param name: of the command, such as ``squeue``.
        :param script: the whole text of the program, with its ``#!`` line.
        """
        self._write_program(f".fake-{name}", script)
        self._write_program(name, _WRAPPER.format(directory=shlex.quote(self.directory), name=shlex.quote(name)))

    def wrap(self, name: str) -> None:
        """Do the same with a program that is in the directory already."""
        with open(self._path(name), encoding="utf-8") as file:
            self.write(name, file.read())

    def prints(self, name: str, output: str, *arguments: str) -> None:
        """Make a program that prints this if it is called with these arguments, and what it was given before for others."""
        outputs = self._outputs.setdefault(name, {})
        path = self._path(f".fake-{name}.{len(outputs)}")
        shown = outputs.setdefault(" ".join(arguments), path)
        self._put(os.path.basename(shown), output)
        cases = "".join(f"{shlex.quote(words)}) exec cat {shlex.quote(file)};;\n" for words, file in outputs.items())
        self.write(name, f'#!/bin/sh\ncase "$*" in\n{cases}esac\necho "unexpected arguments: $*" >&2\nexit 2\n')

    def fails(self, name: str, message: str = "cannot connect", status: int = 1) -> None:
        """Make a program that prints only this message, on standard error, and ends with that status, until `prints`."""
        self.write(name, f"#!/bin/sh\necho {shlex.quote(message)} >&2\nexit {status}\n")

    def slow(self, seconds: float) -> None:
        """From now on each program takes this long before it does anything; 0 ends that."""
        self._put(".fake-delay", f"{seconds:g}" if seconds else "")

    def cut(self, missing: int) -> None:
        """From now on each program prints all but the last ``missing`` bytes, with the same status; 0 ends that."""
        self._put(".fake-cut", str(missing) if missing else "")

    def _path(self, name: str) -> str:
        return os.path.join(self.directory, name)

    def _put(self, name: str, text: str) -> None:
        with open(self._path(name), "w", encoding="utf-8") as file:
            file.write(text)

    def _write_program(self, name: str, text: str) -> None:
        self._put(name, text)
        os.chmod(self._path(name), 0o755)


#: What stands between an adapter and a program of `FakeCommands`.
_WRAPPER = """\
#!/bin/sh
PATH=$PATH:/usr/bin:/bin
directory={directory} name={name}
if [ -s "$directory/.fake-delay" ]; then
    sleep "$(cat "$directory/.fake-delay")" >/dev/null 2>&1 &
    trap 'kill $!; exit 143' TERM
    wait
    trap - TERM
fi
[ -s "$directory/.fake-cut" ] || exec "$directory/.fake-$name" "$@"
answer=$directory/.fake-answer.$$
"$directory/.fake-$name" "$@" >"$answer"
status=$?
kept=$(($(wc -c <"$answer") - $(cat "$directory/.fake-cut")))
[ "$kept" -le 0 ] || head -c "$kept" "$answer"
rm "$answer"
exit $status
"""
