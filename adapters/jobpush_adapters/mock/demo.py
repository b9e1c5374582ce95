"""
Invents the jobs of a demonstration: who submits what, when it starts, and how it ends.

Pure but for its random numbers, which have a seed: the times and the end of a job are chosen when it is submitted, and its
descriptor at any time follows from them.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

import attrs

from jobpush.core.model import JobDescriptor, Outcome, Phase, ReasonCode

#: Seconds for which a job that has ended is listed.
REMEMBERS_S = 120.0

_USERS = (("kim", "bio"), ("ada", "cfd"), ("lee", "ml"), ("ines", "climate"))
_NAMES = ("align", "assemble", "train", "solve", "render", "fold", "mesh", "regrid")
_ENDINGS = (
    (Outcome.COMPLETED, 0, None, 72),
    (Outcome.FAILED, 3, None, 10),
    (Outcome.FAILED, None, 11, 4),
    (Outcome.TIMEOUT, None, None, 6),
    (Outcome.OUT_OF_MEMORY, None, None, 3),
    (Outcome.CANCELLED, None, 15, 5),
)


@attrs.frozen(eq=False)
class Life:
    """The times of the changes of a job (seconds since the epoch), and its end."""

    job: JobDescriptor
    waits_for: ReasonCode | None
    held_until: float
    starts_at: float
    suspended: tuple[float, float] | None
    ends_at: float
    outcome: Outcome
    exit_code: int | None
    signal: int | None

    def at(self, now: float) -> JobDescriptor:
        """Return the job as it is at that time."""
        if now < self.held_until:
            return self._in(Phase.HELD, "QUEUED_HELD", reason_code=ReasonCode.HELD_BY_USER)
        if now < self.starts_at:
            return self._in(Phase.QUEUED, "QUEUED", reason_code=self.waits_for)
        if now < self.starts_at + 1.0:
            return self._in(Phase.STARTING, "STARTING", started_at=self.starts_at)
        if now < self.ends_at:
            if self.suspended is not None and self.suspended[0] <= now < self.suspended[1]:
                return self._in(Phase.SUSPENDED, "SUSPENDED", started_at=self.starts_at)
            return self._in(Phase.RUNNING, "RUNNING", started_at=self.starts_at)
        return self._in(
            Phase.DONE,
            self.outcome.value,
            outcome=self.outcome,
            settled=True,
            exit_code=self.exit_code,
            signal=self.signal,
            started_at=self.starts_at,
            ended_at=self.ends_at,
        )

    def _in(self, phase: Phase, native: str, **fields: object) -> JobDescriptor:
        nodes = self.job.nodes if fields.get("started_at") is not None else None
        values = {"phase": phase, "native": {"state": native}, "nodes": nodes, **fields}
        return attrs.evolve(self.job, **values)  # type: ignore[arg-type]


class Demo:
    """
    :param now: when it begins (seconds since the epoch); some jobs were submitted before.
    """

    def __init__(self, seed: int, cluster: str, now: float) -> None:
        self._random = random.Random(seed)
        self._cluster = cluster
        self._next_id = 101
        self._next_at = now - 90.0
        self._lives: list[Life] = []
        self._shown: dict[str, JobDescriptor] = {}

    def jobs(self, now: float) -> dict[str, JobDescriptor]:
        """Return all jobs that are listed at that time; one that has not changed is the same object as before."""
        while self._next_at <= now:
            self._lives.extend(self._submit(self._next_at))
            self._next_at += self._random.uniform(2.0, 7.0)
        self._lives = [life for life in self._lives if now < life.ends_at + REMEMBERS_S]
        shown = {}
        for life in self._lives:
            job = life.at(now)
            before = self._shown.get(job.id)
            shown[job.id] = before if before is not None and before.visible() == job.visible() else job
        self._shown = shown
        return shown

    def _submit(self, at: float) -> Iterator[Life]:
        chance = self._random.random()
        if chance < 0.08:
            yield from self._array(at)
        elif chance < 0.14:
            yield from self._workflow(at)
        else:
            name = f"{self._random.choice(_NAMES)}-{self._random.randint(1, 40)}"
            yield self._life(self._take_id(), name, at, at + self._random.uniform(1.0, 20.0))

    def _array(self, at: float) -> Iterator[Life]:
        array, name = self._take_id(), f"{self._random.choice(_NAMES)}-sweep"
        user = self._random.choice(_USERS)
        for index in range(self._random.randint(4, 8)):
            starts_at = at + 3.0 + 6.0 * (index // 2)
            yield self._life(f"{array}_{index}", name, at, starts_at, parent=array, index=index, user=user)

    def _workflow(self, at: float) -> Iterator[Life]:
        first = self._take_id()
        user = self._random.choice(_USERS)
        before = at
        for number, step in enumerate(("fetch", "clean", "model", "report")):
            job_id = first if number == 0 else self._take_id()
            life = self._life(
                job_id, step, at, before + 2.0, user=user, comment=f"workflow=w{first}", good=True,
                waits_for=ReasonCode.DEPENDENCY if number else ReasonCode.PRIORITY,
            )  # fmt: skip
            before = life.ends_at
            yield life

    def _life(
        self,
        job_id: str,
        name: str,
        at: float,
        starts_at: float,
        parent: str | None = None,
        index: int | None = None,
        user: tuple[str, str] | None = None,
        comment: str | None = None,
        waits_for: ReasonCode = ReasonCode.PRIORITY,
        good: bool = False,
    ) -> Life:
        draw = self._random
        user = user or draw.choice(_USERS)
        ending = _ENDINGS[0] if good else draw.choices(_ENDINGS, [e[3] for e in _ENDINGS])[0]
        runs_s = draw.uniform(5.0, 60.0)
        held = not good and parent is None and draw.random() < 0.06
        suspended = not good and draw.random() < 0.08
        starts_at += 8.0 if held else 0.0
        return Life(
            job=JobDescriptor(
                cluster=self._cluster,
                id=job_id,
                phase=Phase.QUEUED,
                name=name,
                user=user[0],
                account=user[1],
                submitted_at=round(at, 3),
                queue="batch",
                nodes=f"n{draw.randint(1, 16)}",
                workdir=f"/home/{user[0]}/{name}",
                comment=comment,
                time_limit_s=3600,
                observed_at=at,
                source="mock",
                parent=parent,
                task_index=index,
            ),
            waits_for=waits_for,
            held_until=at + 8.0 if held else at,
            starts_at=round(starts_at, 3),
            suspended=(starts_at + 0.3 * runs_s, starts_at + 0.6 * runs_s) if suspended else None,
            ends_at=round(starts_at + runs_s, 3),
            outcome=ending[0],
            exit_code=ending[1],
            signal=ending[2],
        )

    def _take_id(self) -> str:
        self._next_id += 1
        return str(self._next_id)
