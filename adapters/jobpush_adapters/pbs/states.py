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


#: Exit statuses that PBS itself sets (``pbs_error.h``, ``job.h``): the outcome, and the reason.
PBS_EXITS: Mapping[int, tuple[Outcome, str]] = {
    -1: (Outcome.LAUNCH_FAIL, "could not be started, before its files were"),
    -2: (Outcome.LAUNCH_FAIL, "could not be started, after its files were"),
    -3: (Outcome.LAUNCH_FAIL, "could not be started; it may be tried again"),
    -4: (Outcome.NODE_FAIL, "the execution daemon restarted"),
    -19: (Outcome.CANCELLED, "deleted by a hook"),
    -24: (Outcome.TIMEOUT, "ncpus exceeded (burst)"),
    -25: (Outcome.TIMEOUT, "ncpus exceeded (sum)"),
    -26: (Outcome.OUT_OF_MEMORY, "vmem exceeded"),
    -27: (Outcome.OUT_OF_MEMORY, "mem exceeded"),
    -28: (Outcome.TIMEOUT, "cput exceeded"),
    -29: (Outcome.TIMEOUT, "walltime exceeded"),
}

#: Those of Torque.
TORQUE_EXITS: Mapping[int, tuple[Outcome, str]] = {
    -1: (Outcome.LAUNCH_FAIL, "could not be started, before its files were"),
    -2: (Outcome.LAUNCH_FAIL, "could not be started, after its files were"),
    -3: (Outcome.LAUNCH_FAIL, "could not be started; it may be tried again"),
    -4: (Outcome.NODE_FAIL, "the execution daemon restarted"),
    -10: (Outcome.OUT_OF_MEMORY, "mem exceeded"),
    -11: (Outcome.TIMEOUT, "walltime exceeded"),
    -12: (Outcome.TIMEOUT, "cput exceeded"),
}

#: PBS's exit status of a job that is being rerun: it has not ended.
RERUN = -11


def exit_of(status: int | None, exits: Mapping[int, tuple[Outcome, str]] = PBS_EXITS) -> State:
    """Return how a job that was not deleted ended, by its exit status."""
    if status is None:
        return State(Phase.DONE, Outcome.CANCELLED, settled=True)
    if status in exits:
        outcome, reason = exits[status]
        code = ReasonCode.ERROR if outcome is Outcome.LAUNCH_FAIL else None
        return State(Phase.DONE, outcome, reason=reason, reason_code=code, settled=True)
    if status == RERUN:
        return State(Phase.DONE, Outcome.FAILED, reason="being rerun")
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


def pbs_state(letter: str, substate: int | None, status: int | None, holds: str, depends: bool) -> State:
    """
    Return the state of a job of PBS Pro or OpenPBS.

    :param status: Exit_status, if there is one.
    :param holds: Hold_Types, some of ``u o s p``, or ``n``.
    :param depends: whether it has a dependency.
    """
    if letter in ("F", "X"):
        return _ended(substate, status, depends)
    if letter == "M":
        return State(Phase.DONE, Outcome.MOVED, settled=True)
    waits_for_another = substate == 22 or (depends and set(holds) <= {"s", "n"} and letter == "H")
    if letter == "H" and not (waits_for_another and set(holds) <= {"s", "n"}):
        return State(Phase.HELD, reason_code=held_by(holds))
    if waits_for_another:
        return State(Phase.QUEUED, reason_code=ReasonCode.DEPENDENCY)
    return _LISTED.get(letter, _by_substate(letter, substate))


def _by_substate(letter: str, substate: int | None) -> State:
    if letter == "R":
        if substate in (None, 42):
            return State(Phase.RUNNING)
        return State(Phase.STARTING, flags=("stage_in",) if substate in (13, 14, 15) else ())
    return State(Phase.UNKNOWN)


def _ended(substate: int | None, status: int | None, depends: bool) -> State:
    if substate == 94:
        return State(Phase.DONE, Outcome.MOVED, settled=True)
    end = exit_of(status)
    if substate == 91 and status != -4:
        # Deleted, whatever its exit status is; none if it never ran.
        return attrs.evolve(end, outcome=Outcome.CANCELLED, reason=None, reason_code=None, settled=True)
    if substate == 92 and status is None:
        code = ReasonCode.DEPENDENCY if depends else None
        return State(Phase.DONE, Outcome.CANCELLED, reason_code=code, settled=True)
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


def torque_state(letter: str, status: int | None, holds: str, depends: bool) -> State:
    """Return the state of a Torque job: it has no substate, and C is completed."""
    if letter == "C":
        return exit_of(status, TORQUE_EXITS)
    if letter == "H":
        return pbs_state("H", 22 if depends and set(holds) <= {"s", "n"} else None, None, holds, depends)
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
