"""
The meaning of Grid Engine's state letters and accounting codes. Pure.

From ``qstat(1)``, ``sge_status(5)``, ``accounting(5)`` and from measuring Son of Grid Engine 8.1.9. A state is a set of
letters in no order to rely on (``hqw``, ``Eqw``, ``dr``, ``Rr``): whole strings are never compared.
"""

from __future__ import annotations

import re

import attrs

from jobpush.core.model import Outcome, Phase, ReasonCode

#: Phases by letters: the first of these letters that a state has decides.
PRECEDENCE = (
    ("sST", Phase.SUSPENDED),
    ("t", Phase.STARTING),
    ("r", Phase.RUNNING),
    ("E", Phase.HELD),
    ("h", Phase.HELD),
    ("qw", Phase.QUEUED),
    ("x", Phase.FINISHING),
)

#: Letters that become flags.
FLAGS = {
    "d": "deleting", "R": "rescheduled", "S": "queue_suspended", "T": "threshold_suspended",
}  # fmt: skip


def phase_of(letters: str) -> Phase:
    """Return the phase of a state; UNKNOWN if no letter is known (``z``, of a finished job, says nothing of its end)."""
    return next((phase for some, phase in PRECEDENCE if set(some) & set(letters)), Phase.UNKNOWN)


def flags_of(letters: str) -> tuple[str, ...]:
    """Return the flags of a state."""
    return tuple(flag for letter, flag in FLAGS.items() if letter in letters)


@attrs.frozen
class End:
    """The end of a job by an accounting record; ``outcome`` is None if the job starts again (rescheduled)."""

    outcome: Outcome | None
    exit_code: int | None = None
    signal: int | None = None
    reason: str | None = None
    reason_code: ReasonCode | None = None


#: ``failed`` codes (``sge_status(5)``) of jobs that never began, or that are put into the error state.
_LAUNCH = {
    1: "assumedly before job", 3: "before writing config", 4: "before writing PID", 5: "reading config file",
    6: "setting processor set", 7: "before prolog", 8: "in prolog", 9: "before pestart", 10: "in pestart", 11: "before job",
    12: "before pestop", 13: "in pestop", 14: "before epilog", 15: "in epilog", 16: "releasing processor set",
    17: "through signal", 18: "shepherd returned error", 19: "before writing exit_status", 20: "found unexpected error file",
    21: "in recognizing job", 26: "opening input/output file", 27: "searching requested shell",
    28: "changing to working directory", 29: "AFS setup", 30: "application error returned (exit 100)",
    31: "accessing sgepasswd file", 32: "entry is missing in password file", 33: "wrong password",
    34: "communicating with Grid Engine helper service", 35: "before job in Grid Engine helper service",
    36: "checking configured daemons",
}  # fmt: skip

#: ``failed`` codes after which the job starts again.
GOES_ON = frozenset({24, 25})


def end_of(failed: int, exit_status: int, deleted: bool, limits: str = "") -> End:
    """
    Return how a job ended by its accounting record.

    :param deleted: whether somebody was seen to delete it: in accounting alone a deletion looks like a signal.
    :param limits: the limits that it may have reached, for the reason.
    """
    if failed in GOES_ON:
        return End(None)
    if failed == 0:
        return End(Outcome.COMPLETED if exit_status == 0 else Outcome.FAILED, exit_code=exit_status)
    signal = exit_status - 128 if 128 < exit_status < 193 else None
    if failed == 37:
        return End(Outcome.TIMEOUT, signal=signal, reason=f"killed for a limit ({limits or 'h_rt, h_cpu or h_vmem'})")
    if failed == 100:
        if deleted:
            return End(Outcome.CANCELLED, signal=signal)
        return End(Outcome.FAILED, exit_code=exit_status if signal is None else None, signal=signal)
    what = f"failed {failed}: {_LAUNCH[failed]}" if failed in _LAUNCH else f"failed {failed}"
    if deleted:
        return End(Outcome.CANCELLED, reason=what)
    if failed <= 36:
        return End(Outcome.LAUNCH_FAIL, reason=what, reason_code=ReasonCode.ERROR)
    return End(Outcome.FAILED, exit_code=exit_status if signal is None else None, signal=signal, reason=what)


def limits_hit(category: str, wallclock: float, cpu: float) -> str:
    """
    Return which of the requested limits (``-l h_rt=3,h_vmem=1G`` in a record's category) a job that was killed for one
    reached; empty if that is not known.

    :param wallclock: seconds from its start to its end.
    :param cpu: seconds of CPU.
    """
    requested = dict(re.findall(r"(?:^|[ ,])(h_rt|h_cpu|h_vmem)=([^, ]+)", category))
    if "h_rt" in requested and wallclock >= (seconds(requested["h_rt"]) or float("inf")):
        return "h_rt"
    if "h_cpu" in requested and cpu >= (seconds(requested["h_cpu"]) or float("inf")):
        return "h_cpu"
    return "h_vmem" if set(requested) == {"h_vmem"} else ""


def seconds(text: str) -> int | None:
    """Return the seconds of Grid Engine's TIME, ``3600`` or ``1:00:00``; None for INFINITY and what is no time."""
    if re.fullmatch(r"[0-9]{1,12}(\.0+)?", text):
        return int(float(text))
    found = re.fullmatch(r"([0-9]{0,9}):([0-9]{1,2}):([0-9]{1,2})", text)
    return int(found[1] or 0) * 3600 + int(found[2]) * 60 + int(found[3]) if found else None
