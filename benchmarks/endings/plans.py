"""
The kinds of jobs, and how each is to end: functions from a random number generator to plans. Nothing here runs anything.

A job's script writes its start, its exit code or signal, and its end into a file of its own before they happen; the plan says
what must stand there.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping

import attrs

#: An exit code or signal that the job does not decide: what the scheduler sent when it ended the job.
ANY = -1

#: The part of a plan that is the whole job: a plain one, or an array itself.
WHOLE = 0


@attrs.frozen
class End:
    """
    How a job is to end.

    :ivar state: what jobpush should tell.
    :ivar exit_code: None if a signal ended it or it never ran; `ANY` if that is not the job's to say.
    :ivar ran: whether its script starts at all.
    :ivar attempts: how often its script starts.
    :ivar writes: the last line of its file, without the time; empty if it is ended before it can write one.
    """

    state: str
    exit_code: int | None = None
    signal: int | None = None
    ran: bool = True
    attempts: int = 1
    writes: str = ""


@attrs.frozen
class Act:
    """
    What is done to a job.

    :ivar command: ``{job}`` in it is the job's id, ``{3}`` that of its third task.
    :ivar after_s: seconds after its submission; after the start of its script, if ``started``.
    :ivar part: which task must have started.
    """

    command: tuple[str, ...]
    after_s: float
    started: bool = False
    part: int = WHOLE


@attrs.frozen
class Plan:
    """
    One job to submit.

    :ivar options: of the scheduler's command; ``{before}`` in them is the id of the job ``before``.
    :ivar body: shell commands; ``fin N`` ends the script with that code, ``die N`` by that signal.
    :ivar ends: the end of each part: `WHOLE`, and an array's tasks by their numbers.
    """

    kind: str
    body: str
    ends: Mapping[int, End]
    options: tuple[str, ...] = ()
    acts: tuple[Act, ...] = ()
    before: Plan | None = None


def exited(code: int, **more: int) -> End:
    return End("COMPLETED" if code == 0 else "FAILED", code, writes=f"end {code}", **more)


def killed(number: int) -> End:
    return End("FAILED", None, number, writes=f"signal {number}")


def ended(state: str) -> End:
    """While it ran, by the scheduler."""
    return End(state, None, ANY)


NEVER_RAN = End("CANCELLED", None, None, ran=False)

Make = Callable[[random.Random], Plan]

#: A job that ends only if it is ended.
FOREVER = "exec sleep 300"


def _seconds(r: random.Random) -> str:
    return f"sleep {r.uniform(0.5, 7):.1f}"


def _plain(kind: str, codes: tuple[int, ...]) -> Make:
    def make(r: random.Random) -> Plan:
        code = r.choice(codes)
        return Plan(kind, f"{_seconds(r)}; fin {code}", {WHOLE: exited(code)})

    return make


def _at_once(r: random.Random) -> Plan:
    code = r.choice((0, 2, 140))
    return Plan("at once", f"fin {code}", {WHOLE: exited(code)})


def _signal(numbers: tuple[int, ...]) -> Make:
    def make(r: random.Random) -> Plan:
        number = r.choice(numbers)
        return Plan("signal", f"sleep {r.uniform(2, 6):.1f}; die {number}", {WHOLE: killed(number)})

    return make


def _treated(kind: str, body: str, end: End, *acts: Act, options: tuple[str, ...] = ()) -> Make:
    def make(r: random.Random) -> Plan:
        later = tuple(attrs.evolve(act, after_s=act.after_s + r.uniform(0, 3)) for act in acts)
        return Plan(kind, body, {WHOLE: end}, options, later)

    return make


def _released(options: tuple[str, ...], command: tuple[str, ...]) -> Make:
    def make(r: random.Random) -> Plan:
        code = r.choice((0, 6))
        act = Act(command, r.uniform(2, 8))
        return Plan("held, released", f"{_seconds(r)}; fin {code}", {WHOLE: exited(code)}, options, (act,))

    return make


def _after(kind: str, option: tuple[str, ...], first_codes: tuple[int, ...], runs: bool) -> Make:
    def make(r: random.Random) -> Plan:
        first, code = r.choice(first_codes), r.choice((0, 8))
        before = Plan("dependency, the first", f"sleep {r.uniform(2, 6):.1f}; fin {first}", {WHOLE: exited(first)})
        return Plan(kind, f"fin {code}", {WHOLE: exited(code) if runs else NEVER_RAN}, option, before=before)

    return make


def _array(options: tuple[str, ...]) -> Make:
    def make(r: random.Random) -> Plan:
        codes = {1: 0, 2: r.choice((7, 1)), 3: r.choice((200, 128)), 4: 0}
        cases = " ".join(f"{task}) fin {code};;" for task, code in codes.items())
        ends = {WHOLE: End("FAILED", ANY, ANY), **{task: exited(code) for task, code in codes.items()}}
        return Plan("array, two fail", f"{_seconds(r)}; case $TASK in {cases} esac", ends, options)

    return make


def _array_success(options: tuple[str, ...]) -> Make:
    def make(r: random.Random) -> Plan:
        return Plan("array, all succeed", f"{_seconds(r)}; fin 0", {part: exited(0) for part in range(4)}, options)

    return make


def _array_task_deleted(options: tuple[str, ...], command: tuple[str, ...]) -> Make:
    def make(r: random.Random) -> Plan:
        ends = {WHOLE: End("CANCELLED", ANY, ANY), 1: exited(0), 2: exited(0), 3: NEVER_RAN}
        act = Act(command, r.uniform(0.5, 2), started=True, part=1)
        # The third waits for the other two.
        return Plan("array, a waiting task is deleted", f"sleep {r.uniform(4, 6):.1f}; fin 0", ends, options, (act,))

    return make


def _array_deleted(options: tuple[str, ...], command: tuple[str, ...]) -> Make:
    def make(r: random.Random) -> Plan:
        ends = {WHOLE: End("CANCELLED", ANY, ANY), 1: ended("CANCELLED"), 2: NEVER_RAN, 3: NEVER_RAN}
        return Plan("array, deleted", FOREVER, ends, options, (Act(command, r.uniform(1, 3), started=True, part=1),))

    return make


def _requeued(options: tuple[str, ...], body: str, *acts: Act) -> Make:
    def make(r: random.Random) -> Plan:
        code = r.choice((0, 0, 9))
        kind = "requeued, held, released" if len(acts) > 1 else "requeued"
        return Plan(kind, f"{body}; {_seconds(r)}; fin {code}", {WHOLE: exited(code, attempts=2)}, options, acts)

    return make


def _parallel(r: random.Random) -> Plan:
    """Its tasks on the node write accounting records of their own, which say other than the job's."""
    code, slave = r.choice(((5, 0), (0, 1), (0, 0), (200, 0)))
    start = f'"$QRSH" -inherit "$(hostname)" /bin/sh -c "exit {slave}" >/dev/null 2>&1'
    body = f"for task in 1 2; do {start}; done; sleep 2; fin {code}"
    return Plan("parallel environment", body, {WHOLE: exited(code)}, ("-pe", "endings", "2"))


_CODES = (1, 2, 3, 42, 77, 98, 101, 126, 127)
_HIGH_CODES = (128, 129, 130, 137, 139, 143, 192, 255)
_FIRST_TIME = '[ "$(grep -c start "$FILE")" -gt 1 ] ||'
_SCANCEL = ("scancel", "{job}")
_QDEL = ("qdel", "{job}")
_NOWHERE = "/nonexistent/endings"

#: Kind, how often it comes among 100 jobs, and whether a run of a minute has time for it.
SLURM: tuple[tuple[Make, int, bool], ...] = (
    (_plain("success", (0,)), 12, True),
    (_plain("exit 1 to 127", _CODES), 8, True),
    (_plain("exit 128 to 255", _HIGH_CODES), 8, True),
    (_at_once, 6, True),
    (_signal((11, 9, 15, 6, 53)), 6, True),
    (_treated("deleted, held", "fin 0", NEVER_RAN, Act(_SCANCEL, 2), options=("--hold",)), 5, True),
    (_treated("deleted, queued", "fin 0", NEVER_RAN, Act(_SCANCEL, 2), options=("--begin=now+1hour",)), 5, True),
    (_treated("deleted, running", FOREVER, ended("CANCELLED"), Act(_SCANCEL, 2, True)), 6, True),
    (
        _treated(
            "deleted, caught", 'trap "fin 0" TERM; while :; do sleep 0.3; done', End("CANCELLED", ANY, ANY, writes="end 0"),
            Act(("scancel", "--full", "{job}"), 2, True),
        ), 3, True,
    ),
    (
        _treated(
            "signalled", FOREVER, End("FAILED", None, 10), Act(("scancel", "--signal=USR1", "--batch", "{job}"), 2, True)
        ), 3, True,
    ),
    (_treated("time limit", FOREVER, ended("TIMEOUT"), options=("-t", "0:05")), 4, False),
    (_released(("--hold",), ("scontrol", "release", "{job}")), 5, True),
    (
        _treated(
            "suspended, resumed", "for i in 1 2 3 4 5 6; do sleep 1; done; fin 3", exited(3),
            Act(("scontrol", "suspend", "{job}"), 1, True), Act(("scontrol", "resume", "{job}"), 4.5, True),
        ), 3, True,
    ),
    (_after("dependency, runs", ("-d", "afterany:{before}"), (0, 5), True), 3, True),
    (_after("dependency, never satisfied", ("-d", "afterok:{before}"), (5, 137), False), 3, True),
    (_requeued(("--requeue",), f"{_FIRST_TIME} {FOREVER}", Act(("scontrol", "requeue", "{job}"), 2, True)), 4, False),
    (
        _requeued(
            ("--requeue",), f"{_FIRST_TIME} {FOREVER}",
            Act(("scontrol", "requeuehold", "{job}"), 2, True), Act(("scontrol", "release", "{job}"), 9, True),
        ), 3, False,
    ),
    (_array(("--array=1-4",)), 3, True),
    (_array_success(("--array=1-3",)), 2, False),
    (_array_task_deleted(("--array=1-3%1",), ("scancel", "{3}")), 2, True),
    (_array_deleted(("--array=1-3%1",), _SCANCEL), 2, True),
    (_treated("bad output path", "fin 0", End("LAUNCH_FAIL", ran=False), options=("-o", f"{_NOWHERE}/x")), 3, True),
    (_treated("bad work directory", "sleep 1; fin 4", exited(4), options=("-D", _NOWHERE)), 3, True),
)  # fmt: skip

SGE: tuple[tuple[Make, int, bool], ...] = (
    (_plain("success", (0,)), 12, True),
    (_plain("exit 1 to 127", _CODES), 8, True),
    (_plain("exit 128 to 255", _HIGH_CODES), 8, True),
    (_at_once, 6, True),
    (_signal((11, 9, 15, 6)), 6, True),
    (_treated("deleted, held", "fin 0", NEVER_RAN, Act(_QDEL, 2), options=("-h",)), 5, True),
    (_treated("deleted, queued", "fin 0", NEVER_RAN, Act(_QDEL, 2), options=("-a", "203001010000")), 5, True),
    (_treated("deleted, running", FOREVER, ended("CANCELLED"), Act(_QDEL, 2, True)), 6, True),
    (
        _treated(
            "deleted, caught", 'trap "fin 3" USR2; while :; do sleep 0.3; done', exited(3), Act(_QDEL, 2, True),
            options=("-notify",),
        ), 3, True,
    ),
    (_treated("time limit", FOREVER, ended("TIMEOUT"), options=("-l", "h_rt=4")), 4, True),
    (_treated("soft time limit", FOREVER, End("FAILED", None, 10), options=("-l", "s_rt=3")), 3, True),
    (_released(("-h",), ("qrls", "{job}")), 5, True),
    (
        _treated(
            "suspended, resumed", "for i in 1 2 3 4 5 6; do sleep 1; done; fin 3", exited(3),
            Act(("qmod", "-sj", "{job}"), 1, True), Act(("qmod", "-usj", "{job}"), 4.5, True),
        ), 3, True,
    ),
    (_after("dependency, runs", ("-hold_jid", "{before}"), (0, 5, 137), True), 5, True),
    (_requeued((), f'{_FIRST_TIME} {{ sleep 2; fin 99; }}'), 5, True),
    (_array(("-t", "1-4")), 3, True),
    (_array_success(("-t", "1-3")), 2, False),
    (_array_task_deleted(("-t", "1-3", "-tc", "1"), ("qdel", "{3}")), 2, True),
    (_array_deleted(("-t", "1-3", "-tc", "1"), _QDEL), 2, True),
    (_treated("bad output path", "fin 0", NEVER_RAN, Act(_QDEL, 9), options=("-o", f"{_NOWHERE}/x")), 3, True),
    (_treated("bad work directory", "fin 0", NEVER_RAN, Act(_QDEL, 9), options=("-wd", _NOWHERE)), 3, True),
    (_treated("exit 100", "sleep 1; fin 100", End("CANCELLED", ANY, ANY, writes="end 100"), Act(_QDEL, 8, True)), 3, True),
    (_parallel, 6, True),
    (_treated("parallel, deleted", FOREVER, ended("CANCELLED"), Act(_QDEL, 2, True), options=("-pe", "endings", "2")), 2, True),
)  # fmt: skip

PBS: tuple[tuple[Make, int, bool], ...] = (
    (_plain("success", (0,)), 12, True),
    (_plain("exit 1 to 127", _CODES), 8, True),
    (_plain("exit 128 to 255", _HIGH_CODES), 8, True),
    (_at_once, 6, True),
    (_signal((11, 9, 15, 6)), 6, True),
    (_treated("deleted, held", "fin 0", NEVER_RAN, Act(_QDEL, 2), options=("-h",)), 5, True),
    (_treated("deleted, queued", "fin 0", NEVER_RAN, Act(_QDEL, 2), options=("-a", "203001010000")), 5, True),
    (_treated("deleted, running", FOREVER, ended("CANCELLED"), Act(_QDEL, 2, True)), 6, True),
    (
        _treated(
            "deleted, caught", 'trap "fin 3" TERM; while :; do sleep 0.3; done', End("CANCELLED", ANY, ANY, writes="end 3"),
            Act(_QDEL, 2, True),
        ), 3, True,
    ),
    (_treated("signalled", FOREVER, End("FAILED", None, 10), Act(("qsig", "-s", "SIGUSR1", "{job}"), 2, True)), 3, True),
    (_treated("time limit", FOREVER, ended("TIMEOUT"), options=("-l", "walltime=4")), 4, True),
    (_released(("-h",), ("qrls", "{job}")), 5, True),
    (
        _treated(
            "suspended, resumed", "for i in 1 2 3 4 5 6; do sleep 1; done; fin 3", exited(3),
            Act(("qsig", "-s", "suspend", "{job}"), 1, True), Act(("qsig", "-s", "resume", "{job}"), 4.5, True),
        ), 3, True,
    ),
    (_after("dependency, runs", ("-W", "depend=afterany:{before}"), (0, 5, 137), True), 4, True),
    (_after("dependency, never satisfied", ("-W", "depend=afterok:{before}"), (5, 137), False), 3, True),
    (_requeued((), f"{_FIRST_TIME} {FOREVER}", Act(("qrerun", "{job}"), 2, True)), 5, True),
    (_array(("-J", "1-4")), 3, True),
    (_array_success(("-J", "1-3")), 2, False),
    (_array_task_deleted(("-J", "1-3%1"), ("qdel", "{3}")), 2, True),
    (_array_deleted(("-J", "1-3%1"), _QDEL), 2, True),
    (_treated("bad output path", "sleep 1; fin 0", exited(0), options=("-o", f"{_NOWHERE}/x")), 3, True),
)  # fmt: skip

SCHEDULERS = {"slurm": SLURM, "sge": SGE, "pbs": PBS}


def plans(scheduler: str, jobs: int, seed: int, short: bool) -> list[Plan]:
    """Return so many plans in random order, each kind among them; those of the jobs that others depend on come besides."""
    r = random.Random(seed)
    makers = [(make, weight) for make, weight, quick in SCHEDULERS[scheduler] if quick or not short]
    chosen = [make for make, _ in makers][:jobs]
    chosen += r.choices([make for make, _ in makers], [weight for _, weight in makers], k=jobs - len(chosen))
    r.shuffle(chosen)
    return [make(r) for make in chosen]
