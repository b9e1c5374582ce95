"""
The meaning of PBS's states, substates and exit statuses. Pure.

From the PBS Reference Guide (job states, job substates, exit codes), from measuring OpenPBS 23.06, and for Torque from its
documentation. The substate decides before the letter, and the letter before Exit_status, which means nothing before a job has
ended, nor for an array.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import attrs

from jobpush.core.model import Outcome, Phase, ReasonCode


@attrs.frozen
class State:
    """The state of a job in jobpush's vocabulary."""

    phase: Phase
    outcome: Outcome | None = None
    exit_code: int | None = None
    signal: int | None = None
    reason_code: ReasonCode | None = None
    flags: tuple[str, ...] = ()
    settled: bool = False
    reason: str | None = None


#: Exit statuses that PBS itself sets (``job.h``): the outcome, and the reason.
PBS_EXITS: Mapping[int, tuple[Outcome, str]] = {
    -1: (Outcome.LAUNCH_FAIL, "could not be started, before its files were"),
    -2: (Outcome.LAUNCH_FAIL, "could not be started, after its files were"),
    -3: (Outcome.LAUNCH_FAIL, "could not be started; it may be tried again"),
    -4: (Outcome.NODE_FAIL, "the execution daemon restarted"),
    -5: (Outcome.NODE_FAIL, "the execution daemon restarted; it was checkpointed"),
    -6: (Outcome.NODE_FAIL, "the execution daemon restarted; it was checkpointed and can be moved"),
    -7: (Outcome.NODE_FAIL, "could not be restarted from its checkpoint"),
    -10: (Outcome.LAUNCH_FAIL, "its user or group is not valid on the host"),
    -11: (Outcome.FAILED, "being rerun"),
    -12: (Outcome.FAILED, "checkpointed and killed"),
    -13: (Outcome.LAUNCH_FAIL, "bad password"),
    -14: (Outcome.FAILED, "being rerun: a host of it failed"),
    -15: (Outcome.FAILED, "being requeued for a restart from its checkpoint"),
    -16: (Outcome.FAILED, "being requeued: a hook rejected it"),
    -17: (Outcome.CANCELLED, "deleted: a hook rejected it"),
    -18: (Outcome.FAILED, "being requeued by a hook"),
    -19: (Outcome.CANCELLED, "deleted by a hook"),
    -20: (Outcome.NODE_FAIL, "being rerun: no connection to its first host"),
    -21: (Outcome.LAUNCH_FAIL, "security breach in the directory of PBS"),
    -22: (Outcome.LAUNCH_FAIL, "a hook failed"),
    -23: (Outcome.LAUNCH_FAIL, "no Kerberos credentials"),
    -24: (Outcome.FAILED, "ncpus exceeded (burst)"),
    -25: (Outcome.FAILED, "ncpus exceeded (sum)"),
    -26: (Outcome.OUT_OF_MEMORY, "vmem exceeded"),
    -27: (Outcome.OUT_OF_MEMORY, "mem exceeded"),
    -28: (Outcome.TIMEOUT, "cput exceeded"),
    -29: (Outcome.TIMEOUT, "walltime exceeded"),
}

#: Those after which PBS runs the job again: the job has not ended, unless this stays.
PBS_NOT_FINAL = frozenset({-11, -14, -15, -16, -18, -20})

#: Those of Torque (``job.h``, and the Administrator's Guide, Job exit status).
TORQUE_EXITS: Mapping[int, tuple[Outcome, str]] = {
    **{status: PBS_EXITS[status] for status in (-1, -2, -3, -4, -5, -6, -7)},
    -8: (Outcome.LAUNCH_FAIL, "its command could not be executed"),
    -9: (Outcome.LAUNCH_FAIL, "its output files could not be created"),
    -10: (Outcome.OUT_OF_MEMORY, "mem exceeded"),
    -11: (Outcome.TIMEOUT, "walltime exceeded"),
    -12: (Outcome.TIMEOUT, "cput exceeded"),
    -13: (Outcome.LAUNCH_FAIL, "its cgroups could not be created"),
    -14: (Outcome.LAUNCH_FAIL, "its prologue failed"),
}

#: The exit status of a job that SIGTERM killed, as ``qdel`` sends it.
TERMINATED = 256 + 15


def exit_of(status: int | None, exits: Mapping[int, tuple[Outcome, str]] = PBS_EXITS) -> State:
    """Return how a job that was not deleted ended, by its exit status; None is that of a job that did not run."""
    if status is None:
        return State(Phase.DONE, Outcome.CANCELLED, settled=True)
    if status in exits:
        outcome, reason = exits[status]
        code = ReasonCode.ERROR if outcome is Outcome.LAUNCH_FAIL else None
        settled = exits is not PBS_EXITS or status not in PBS_NOT_FINAL
        return State(Phase.DONE, outcome, reason=reason, reason_code=code, settled=settled)
    if status < 0:
        return State(Phase.DONE, Outcome.FAILED, reason=f"exit status {status}", settled=True)
    if status == 0:
        return State(Phase.DONE, Outcome.COMPLETED, exit_code=0, settled=True)
    if status == 254 and exits is PBS_EXITS:
        return State(
            Phase.DONE, Outcome.LAUNCH_FAIL, exit_code=254, reason="its shell or program is missing",
            reason_code=ReasonCode.ERROR, settled=True,
        )  # fmt: skip
    if status > 256:
        return State(Phase.DONE, Outcome.FAILED, signal=status - 256, settled=True)
    # 128 + N is a signal within the script, reported by its shell, or a code of its own: it cannot be told.
    return State(Phase.DONE, Outcome.FAILED, exit_code=status, settled=True)


def cancelled(end: State) -> State:
    """Return the end of a job that was deleted: with the exit code or the signal that it had, if it ran."""
    return attrs.evolve(end, outcome=Outcome.CANCELLED, reason=None, reason_code=None, settled=True)


def pbs_state(
    letter: str,
    substate: int | None,
    status: int | None,
    holds: str,
    depends: bool,
    started: bool = True,
    subjob: bool = False,
    deleted: bool = False,
) -> State:
    """
    Return the state of a job of PBS Pro or OpenPBS that is no array.

    :param status: Exit_status, if there is one.
    :param holds: Hold_Types, some of ``u o s p``, or ``n``.
    :param depends: whether it has a dependency.
    :param started: whether something says that this very job was started. A subjob that was not has its array's exit status.
    :param deleted: whether the server says that somebody deleted it.
    """
    if letter in ("F", "X"):
        if not started and (subjob or status is None) and substate not in (93, 94):
            # Of one that depends the dependency was not satisfied; the others were deleted while they waited.
            failed = substate == 92 and status is None and (depends or not subjob)
            return State(
                Phase.DONE, Outcome.CANCELLED, reason_code=ReasonCode.DEPENDENCY if failed else None, settled=True
            )  # fmt: skip
        return _ended(substate, status, deleted)
    if letter == "M" or substate == 94:
        return State(Phase.DONE, Outcome.MOVED, settled=True)
    # Dependencies are a hold of the system's: where there is a substate it tells that one from others.
    waits_for_another = substate == 22 or (substate is None and depends and letter == "H")
    if waits_for_another and set(holds) <= {"s", "n"}:
        return State(Phase.QUEUED, reason_code=ReasonCode.DEPENDENCY)
    if letter == "H":
        return State(Phase.HELD, reason_code=held_by(holds))
    return _LISTED.get(letter, _by_substate(letter, substate))


def _by_substate(letter: str, substate: int | None) -> State:
    if letter == "R":
        if substate in (None, 42):
            return State(Phase.RUNNING)
        return State(Phase.STARTING, flags=("stage_in",) if substate in (13, 14, 15) else ())
    return State(Phase.UNKNOWN)


def _ended(substate: int | None, status: int | None, deleted: bool) -> State:
    if substate == 94:
        return State(Phase.DONE, Outcome.MOVED, settled=True)
    end = exit_of(status)
    if (substate == 91 and status != -4) or (deleted and status == TERMINATED):
        return cancelled(end)
    if substate == 93 and status is None:
        return State(Phase.DONE, Outcome.FAILED, settled=True)
    if substate not in (91, 92, 93, None):
        # A later version's substate: the job has ended, but how is not known.
        return attrs.evolve(end, settled=False)
    return end


#: The states of letters that need no substate.
_LISTED = {
    "Q": State(Phase.QUEUED),
    "W": State(Phase.QUEUED, reason_code=ReasonCode.BEGIN_TIME),
    "T": State(Phase.QUEUED, flags=("transit",)),
    "B": State(Phase.RUNNING),
    "S": State(Phase.SUSPENDED),
    "U": State(Phase.SUSPENDED, flags=("user_busy",)),
    "E": State(Phase.FINISHING),
}


def torque_state(letter: str, status: int | None, holds: str, depends: bool, started: bool = False) -> State:
    """
    Return the state of a Torque job that is no array: it has no substate, and C is completed.

    :param started: whether something says that it was started.
    """
    if letter == "C":
        if status is None and started:
            return State(Phase.DONE, Outcome.LOST, reason="it has no exit status", settled=True)
        return exit_of(status, TORQUE_EXITS)
    if letter == "H":
        return pbs_state("H", None, None, holds, depends)
    return _LISTED.get(letter, State(Phase.RUNNING) if letter == "R" else State(Phase.UNKNOWN))


def held_by(holds: str) -> ReasonCode:
    """Return who holds a job: ``o`` and ``s`` are holds of an operator and the system, ``p`` of a bad password."""
    if set(holds) & set("os"):
        return ReasonCode.HELD_BY_ADMIN
    if "u" in holds:
        return ReasonCode.HELD_BY_USER
    return ReasonCode.ERROR if "p" in holds else ReasonCode.OTHER


def waiting_code(comment: str) -> ReasonCode | None:
    """Return why a queued job waits, by the scheduler's comment (``Not Running: …``)."""
    if re.search(r"[Ll]imit|maximum", comment):
        return ReasonCode.LIMIT
    if re.search(r"[Ii]nsufficient|[Nn]ot enough", comment):
        return ReasonCode.RESOURCES
    if re.search(r"[Nn]ode.* (down|offline)|[Nn]o available", comment):
        return ReasonCode.NODE_DOWN
    return ReasonCode.OTHER if comment.startswith(("Not Running", "Can Never Run")) else None


def duration(text: str) -> int | None:
    """Return the seconds of ``[[hours:]minutes:]seconds``; None if it is no duration."""
    found = re.fullmatch(r"(?:(?:([0-9]{1,9}):)?([0-9]{1,9}):)?([0-9]{1,12})(?:\.[0-9]+)?", text)
    return int(found[1] or 0) * 3600 + int(found[2] or 0) * 60 + int(found[3]) if found else None
