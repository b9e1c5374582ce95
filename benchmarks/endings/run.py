"""One run: jobs are submitted and treated while the scheduler and jobpush are disturbed, then each is compared."""

from __future__ import annotations

import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from benchmarks.endings.clusters import Scheduler
from benchmarks.endings.plans import Act, End, Plan, plans
from benchmarks.endings.verdict import Difference, Record, Verdict, differences, judge, off_plan, record_agrees
from benchmarks.tables import header, row
from tests.service_process import ServiceProcess

#: Seconds for which a command that fails is tried again.
TRY_S = 20.0

#: What each script begins with. ``$$`` is the shell that runs it.
PROLOGUE = """\
{names}
FILE={path}${{TASK:+.$TASK}}
note() {{ echo "$* $(date +%s.%N)" >>"$FILE"; }}
fin() {{ note end $1; exit $1; }}
die() {{ note signal $1; kill -$1 $$; sleep 9; }}
note start
{body}
"""


@attrs.define
class Submitted:
    """A job that was submitted: where it writes, and what is still to be done to it."""

    plan: Plan
    job: str
    path: Path
    at: float
    acts: list[Act]
    started_at: dict[int, float] = attrs.field(factory=dict)
    failed_since: float | None = None

    def lines(self, part: int) -> list[str]:
        path = self.path if not part else self.path.with_name(f"{self.path.name}.{part}")
        return path.read_text().splitlines() if path.exists() else []


@attrs.frozen
class Compared:
    """One job, or one task of an array, at the end."""

    kind: str
    id: str
    end: End
    written: tuple[str, ...]
    off_plan: str | None
    record: Record | None
    differences: tuple[Difference, ...]
    verdict: Verdict
    told: str

    def __str__(self) -> str:
        what = self.off_plan or "; ".join(map(str, self.differences))
        written = ", ".join(line.rpartition(" ")[0] for line in self.written) or "nothing"
        record = self.record.text if self.record else "none"
        return f"{self.verdict.value}: {self.kind}, {self.id}: {what}. It wrote: {written}. Record: {record}. Told: {self.told}"


class Run:
    """
    :param directory: an empty one that all users may enter.
    :param seconds: in which the jobs are submitted and the disturbances come; what is open then has as long again to end.
    :param say: told what happens, for people.
    """

    def __init__(
        self, scheduler: Scheduler, directory: Path, jobs: int, seconds: float, seed: int, *, short: bool, grace_s: int,
        say: Callable[[str], None],
    ) -> None:  # fmt: skip
        self.scheduler = scheduler
        self.directory = directory
        self.seconds = seconds
        self.say = say
        self.grace_s = grace_s
        self.submitted: list[Submitted] = []
        self.problems: list[str] = []
        self._files = directory / "written"
        self._begun = 0.0
        span = seconds * 0.8
        chosen = plans(scheduler.name, jobs, seed, short)
        # Random moments in all of the time, some of them in bursts.
        moments = sorted(random.Random(seed + 1).uniform(0, span) for _ in chosen)
        self._plans = list(zip(moments, chosen, strict=True))
        self.service = ServiceProcess(
            directory / "service", "--queue", scheduler.queue(grace_s), "--state", str(directory / "service" / "state")
        )
        self._disturbances = self._timetable(short)

    def _timetable(self, short: bool) -> list[tuple[float, str, Callable[[], object]]]:
        s, service, scheduler = self.seconds, self.service, self.scheduler
        table: list[tuple[float, str, Callable[[], object]]] = [
            (0.20 * s, "jobpush is killed (SIGKILL)", service.kill),
            (0.20 * s + 4, "jobpush starts", self._start_service),
            (0.45 * s, "the scheduler is stopped for 4 s", self._restart_scheduler),
            (0.55 * s, "the files of records are rotated", scheduler.rotate),
        ]
        if not short:
            table += [
                (0.30 * s, "jobpush is stopped (SIGTERM)", service.stop),
                (0.30 * s + 10, "the files of records are rotated", scheduler.rotate),
                (0.30 * s + 20, "jobpush starts", self._start_service),
                (0.60 * s, "jobpush is paused (SIGSTOP)", lambda: self._signal(signal.SIGSTOP)),
                (0.60 * s + 20, "jobpush goes on (SIGCONT)", lambda: self._signal(signal.SIGCONT)),
                (0.75 * s, "jobpush is killed (SIGKILL)", service.kill),
                (0.75 * s + 1, "the scheduler is stopped for 4 s", self._restart_scheduler),
                (0.75 * s + 15, "jobpush starts", self._start_service),
            ]
        return sorted(table, key=lambda entry: entry[0])

    def _start_service(self) -> None:
        """Start jobpush; another's connection may have its port for a while, as it is one of the ephemeral ones."""
        for _ in range(10):
            try:
                self.service.start()
            except AssertionError as error:
                if "already in use" not in str(error).splitlines()[-1]:
                    raise
                self.say("        its port is in use")
                time.sleep(2)
            else:
                return
        raise AssertionError("the port of jobpush stays in use")

    def _signal(self, number: signal.Signals) -> None:
        assert self.service.process is not None
        self.service.process.send_signal(number)

    def _restart_scheduler(self) -> None:
        self.scheduler.stop()
        time.sleep(4)
        self.scheduler.start()

    def run(self) -> list[Compared]:
        """Run all of it; returns what was compared, and leaves nothing of its own running."""
        self._files.mkdir(parents=True)
        self._files.chmod(0o1777)
        self.scheduler.prepare()
        self.service.start()
        try:
            self.service.ready()
            self._begun = time.monotonic()
            while self._step():
                time.sleep(0.05)
            self._await_idle()
            return self._compare()
        finally:
            if self.service.process is not None:
                self._signal(signal.SIGCONT)
                self.service.stop()

    # -- submitting and treating

    def _step(self) -> bool:
        """Do what is due; return whether anything is left to do."""
        passed = time.monotonic() - self._begun
        while self._disturbances and self._disturbances[0][0] <= passed:
            _, text, act = self._disturbances.pop(0)
            self.say(f"{passed:6.1f} s: {text}")
            act()
        for _ in range(5):
            if self._plans and self._plans[0][0] <= passed:
                self._submit(self._plans.pop(0)[1])
        for one in self.submitted:
            if one.acts:
                self._treat(one)
        left = self._plans or self._disturbances or any(one.acts for one in self.submitted)
        return bool(left) and passed < 2 * self.seconds

    def _submit(self, plan: Plan) -> str:
        before = self._submit(plan.before) if plan.before is not None else ""
        options = [option.replace("{before}", before) for option in plan.options]
        path = self._files / f"{len(self.submitted)}"
        script = PROLOGUE.format(names=self.scheduler.script, path=path, body=plan.body)
        job = self.scheduler.cluster.submit(*options, script=script)
        self.submitted.append(Submitted(plan, job, path, time.monotonic(), list(plan.acts)))
        return job

    def _treat(self, one: Submitted) -> None:
        act, now = one.acts[0], time.monotonic()
        if act.started and act.part not in one.started_at:
            if one.lines(act.part):
                one.started_at[act.part] = now
            return
        if now < (one.started_at[act.part] if act.started else one.at) + act.after_s:
            return
        if one.failed_since is not None and now < one.failed_since + 1:
            return
        third = self.scheduler.part(one.job, 3)
        done = self.scheduler.cluster.run(*(word.replace("{job}", one.job).replace("{3}", third) for word in act.command))
        if done.returncode == 0:
            one.acts.pop(0)
        elif one.failed_since is not None and now > one.at + TRY_S + act.after_s:
            self.problems.append(f"{one.plan.kind}, {one.job}: {act.command[0]}: {(done.stderr or done.stdout).strip()}")
            one.acts.pop(0)
        else:
            one.failed_since = now

    def _await_idle(self) -> None:
        until = self._begun + 2 * self.seconds + 20
        while (left := self.scheduler.open_jobs()) and time.monotonic() < until:
            time.sleep(1)
        self.problems += [f"not ended: {line.strip()}" for line in left]
        self.say(f"{time.monotonic() - self._begun:6.1f} s: all jobs have left the scheduler")

    # -- comparing

    def _compare(self) -> list[Compared]:
        name, deadline = self.scheduler.name, time.monotonic() + 2 * self.grace_s + 20
        answers: dict[str, Any] = {}
        detail: dict[str, str] = {}
        for one in self.submitted:
            for part in one.plan.ends:
                job = self.scheduler.part(one.job, part)
                wait = round(max(1.0, min(deadline - time.monotonic(), 60.0)), 1)
                answer = self.service.job(name, job, until="terminal", wait=wait)
                answers[job] = answer.get("job")
                if answers[job] is None:
                    detail[job] = f"nothing ({answer.get('detail', 'timed out')}, wait {wait})"
        events: dict[str, list[Any]] = {}
        for event in self.service.events():
            if event["type"] == "job":
                events.setdefault(event["job"]["id"], []).append(event)
        records = self.scheduler.records()
        found = []
        for one in self.submitted:
            for part, end in one.plan.ends.items():
                job = self.scheduler.part(one.job, part)
                whole_of_parts = len(one.plan.ends) > 1 and part == 0
                lines = [] if whole_of_parts else one.lines(part)
                kind = f"{one.plan.kind}{', whole' if whole_of_parts else ''}"
                other = None if whole_of_parts else off_plan(end, lines)
                differ = tuple(differences(end, answers[job], events.get(job, [])))
                record = records.get(job)
                verdict = judge(name, one.plan.kind, differ, record)
                told = ", ".join(map(_step, events.get(job, []))) or detail.get(job, "nothing")
                found.append(Compared(kind, job, end, tuple(lines), other, record, differ, verdict, told))
        return found


def _step(event: Mapping[str, Any]) -> str:
    job = event["job"]
    return f"{job['state']}{'' if job['settled'] or job['phase'] != 'DONE' else ' not settled'} ({job['source']})"


def table(scheduler: str, found: Sequence[Compared]) -> list[str]:
    """Return the rows of the table by kind."""
    columns = [Verdict.RIGHT, Verdict.UNKNOWN, Verdict.PERMITTED, Verdict.WRONG]
    names = ("told right", "unknown or lost", "permitted difference", "WRONG", "record differs", "no record")
    lines = header([scheduler, "jobs", *names])
    for kind in [*sorted({one.kind for one in found}), "all"]:
        of_kind = [one for one in found if kind in (one.kind, "all")]
        count = Counter(one.verdict for one in of_kind)
        parts = [one for one in of_kind if not one.kind.endswith(", whole")]
        differ = sum(one.record is not None and not record_agrees(one.end, one.record) for one in parts)
        without = sum(one.record is None for one in parts)
        lines.append(row([kind, len(of_kind), *(count[column] for column in columns), differ, without]))
    return lines


def failures(found: Sequence[Compared], problems: Sequence[str]) -> list[str]:
    """Return what makes the run fail."""
    return [*problems, *(str(one) for one in found if one.verdict is Verdict.WRONG or one.off_plan is not None)]
