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
    """
    The end of a job by an accounting record.

    :ivar outcome: None if the job starts again (rescheduled).
    :ivar flags: ``deleted`` if somebody deleted the job and it ended in another way; ``deleting`` if it may have been deleted.
    """

    outcome: Outcome | None
    exit_code: int | None = None
    signal: int | None = None
    reason: str | None = None
    reason_code: ReasonCode | None = None
    flags: tuple[str, ...] = ()


@attrs.frozen
class Deleted:
    """
    What is known of a deletion of the job.

    :ivar proved: whether the reporting file names who deleted it.
    :ivar forced: whether it was forced: then its record was not written by the daemon that ran it.
    :ivar suspected: whether the letter ``d`` was seen, where the reporting file cannot be read. The letter alone proves
        nothing: the teardown after a limit sets it too.
    """

    proved: bool = False
    forced: bool = False
    suspected: bool = False


#: Nothing says that the job was deleted.
NOT_DELETED = Deleted()

#: The ``failed`` codes of ``sge_status(5)``.
FAILED = {
    1: "assumedly before job", 3: "before writing config", 4: "before writing PID", 5: "reading config file",
    6: "setting processor set", 7: "before prolog", 8: "in prolog", 9: "before pestart", 10: "in pestart", 11: "before job",
    12: "before pestop", 13: "in pestop", 14: "before epilog", 15: "in epilog", 16: "releasing processor set",
    17: "through signal", 18: "shepherd returned error", 19: "before writing exit_status", 20: "found unexpected error file",
    21: "in recognizing job", 26: "opening input/output file", 27: "searching requested shell",
    28: "changing to working directory", 29: "AFS setup", 30: "application error returned (exit 100)",
    31: "accessing sgepasswd file", 32: "entry is missing in password file", 33: "wrong password",
    34: "communicating with Grid Engine helper service", 35: "before job in Grid Engine helper service",
    36: "checking configured daemons", 37: "qmaster enforced h_rt, h_cpu, or h_vmem limit", 38: "adding supplementary group",
    100: "assumedly after job",
}  # fmt: skip

#: ``failed`` codes after which the job starts again.
GOES_ON = frozenset({24, 25})

#: ``failed`` codes of jobs that never began; of those that ran before something failed; of those that a signal ended; and of
#: those that are put into the error state.
NEVER_BEGAN = frozenset({1, *range(3, 12)})
RAN = frozenset(range(12, 17))
BY_SIGNAL = frozenset({17, 100})
ERROR_STATE = frozenset({*range(26, 37), 38})

#: The failure that is a limit, and how a job ended of which it is proved which limit that was.
LIMIT = 37
LIMITS = {"h_rt": Outcome.TIMEOUT, "h_cpu": Outcome.TIMEOUT, "h_vmem": Outcome.OUT_OF_MEMORY}


def end_of(failed: int, exit_status: int, deleted: Deleted = NOT_DELETED, limit: str = "", reported: bool = True) -> End:
    """
    Return how a job ended by its accounting record.

    :param limit: the limit that is proved to be the cause of failure 37: ``h_rt``, ``h_cpu`` or ``h_vmem``; else empty.
    :param reported: whether the record is of the daemon that ran the job; that of the qmaster says nothing of how it ended.
    """
    if failed in GOES_ON:
        return End(None)
    signal = exit_status - 128 if 128 < exit_status < 193 else None
    flags = ("deleted",) if deleted.proved else ("deleting",) if deleted.suspected else ()
    what = f"failed {failed}: {FAILED[failed]}" if failed in FAILED else f"failed {failed}"
    if failed in (0, *RAN):
        reason = what if failed else None
        if deleted.forced or not reported:
            if deleted.proved:
                return End(Outcome.CANCELLED, reason=reason)
            return End(Outcome.FAILED, reason="its execution daemon did not report how it ended", flags=flags)
        if failed and deleted.proved and signal is not None:
            return End(Outcome.CANCELLED, signal=signal, reason=what)
        outcome = Outcome.COMPLETED if exit_status == 0 else Outcome.FAILED
        return End(outcome, exit_code=exit_status, reason=reason, flags=flags)
    if failed == LIMIT:
        outcome = LIMITS.get(limit, Outcome.FAILED)
        return End(outcome, signal=signal, reason=f"killed for a limit ({limit})" if limit else what, flags=flags)
    if failed in BY_SIGNAL:
        if deleted.proved:
            return End(Outcome.CANCELLED, signal=signal)
        own = exit_status if signal is None and exit_status != 0 else None
        return End(Outcome.FAILED, exit_code=own, signal=signal, reason=None if signal is not None else what, flags=flags)
    if deleted.proved:
        return End(Outcome.CANCELLED, reason=what)
    if failed in NEVER_BEGAN or failed in ERROR_STATE:
        return End(Outcome.LAUNCH_FAIL, reason=what, reason_code=ReasonCode.ERROR, flags=flags)
    return End(Outcome.FAILED, reason=what, flags=flags)


def limit_hit(category: str, wallclock: float, cpu: float, memory: float, slots: int) -> str:
    """
    Return which of the requested limits (``-l h_rt=3,h_vmem=1G`` in a record's category) a job that was killed for one
    is proved to have reached; empty if none is. The limits of a queue are not in its record.

    :param wallclock: seconds from its start to its end.
    :param cpu: seconds of CPU.
    :param memory: the most virtual memory that it used, in bytes.
    :param slots: its slots; the limits of CPU time and of memory are for each.
    """
    requested = dict(re.findall(r"(?:^|[ ,])(h_rt|h_cpu|h_vmem)=([^, ]+)", category))
    if "h_rt" in requested and wallclock >= (seconds(requested["h_rt"]) or float("inf")):
        return "h_rt"
    if "h_cpu" in requested and cpu >= (seconds(requested["h_cpu"]) or float("inf")) * slots:
        return "h_cpu"
    if "h_vmem" in requested and memory >= (size(requested["h_vmem"]) or float("inf")) * slots:
        return "h_vmem"
    return ""


def size(text: str) -> float | None:
    """Return the bytes of Grid Engine's MEMORY (``sge_types(1)``), ``60M`` or ``1000k``; None for what is none."""
    found = re.fullmatch(r"([0-9]{1,15}(?:\.[0-9]{1,9})?)([kKmMgGtT]?)", text)
    if found is None:
        return None
    power = " kmgt".index(found[2].lower() or " ")
    return float(found[1]) * float((1024 if found[2].isupper() else 1000) ** power)


def seconds(text: str) -> int | None:
    """Return the seconds of Grid Engine's TIME, ``3600`` or ``1:00:00``; None for INFINITY and what is no time."""
    if re.fullmatch(r"[0-9]{1,12}(\.0+)?", text):
        return int(float(text))
    found = re.fullmatch(r"([0-9]{0,9}):([0-9]{1,2}):([0-9]{1,2})", text)
    return int(found[1] or 0) * 3600 + int(found[2]) * 60 + int(found[3]) if found else None
