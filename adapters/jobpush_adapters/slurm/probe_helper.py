"""
The process that asks slurmctld, through libslurm, whether anything has changed: ``probe_helper.py LIBRARY [any]``.

`jobpush_adapters.slurm.probe` starts it and exchanges lines with it over its standard streams. It is a process of its own
because a library that is called through ctypes may crash or hang. It imports nothing of jobpush.

It writes ``library VERSION`` first. To each line with a time (seconds since the epoch, by the controller's clock) it answers:

- ``same``: no job has changed in that second or later;
- ``changed TIME``: some have; TIME is the controller's time of that answer;
- ``error NUMBER``: the number of libslurm, as in ``slurm_errno.h``.

Facts are from ``slurm.h`` of Slurm 22.05 and from measuring it: the controller keeps the time of the last change of a job, in
whole seconds, and answers ``SLURM_NO_CHANGE_IN_DATA`` if that was before the time in the question.
"""

from __future__ import annotations

import ctypes
import signal
import sys
import time

#: SLURM_NO_CHANGE_IN_DATA (slurm_errno.h), SHOW_ALL (slurm.h), PR_SET_PDEATHSIG (prctl(2)).
NO_CHANGE = 1900
SHOW_ALL = 1
PARENT_DEATH_SIGNAL = 1

#: The major numbers of the versions of libslurm's interface that were tested: their ``job_info_msg_t`` begins like `Head`.
TESTED = {38: "22.05"}

#: Seconds. The clocks of a cluster's hosts differ by less, or munge refuses them: what differs by more is not understood.
DAY_S = 86400


class Head(ctypes.Structure):
    """The beginning of ``job_info_msg_t``; nothing after it is read."""

    _fields_ = [("last_backfill", ctypes.c_long), ("last_update", ctypes.c_long), ("record_count", ctypes.c_uint32)]


def say(text: str) -> None:
    """Write one line for jobpush."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def ask(slurm: ctypes.CDLL, since: int) -> str:
    """Ask the controller once; return the answer's line. Blocks."""
    answer = ctypes.POINTER(Head)()
    if slurm.slurm_load_jobs(ctypes.c_long(since), ctypes.byref(answer), ctypes.c_uint16(SHOW_ALL)) != 0:
        number = slurm.slurm_get_errno()
        return "same" if number == NO_CHANGE else f"error {number}"
    moment = answer.contents.last_update
    slurm.slurm_free_job_info_msg(answer)
    if abs(moment - time.time()) > DAY_S:
        raise SystemExit(f"this libslurm's answer is not understood: {moment} is no time of now")
    return f"changed {moment}"


def main(arguments: list[str]) -> None:
    """Answer until standard input ends."""
    ctypes.CDLL(None).prctl(PARENT_DEATH_SIGNAL, signal.SIGKILL, 0, 0, 0)
    slurm = ctypes.CDLL(arguments[0], mode=ctypes.RTLD_GLOBAL)  # its plugins need its symbols
    slurm.slurm_api_version.restype = ctypes.c_long
    major = slurm.slurm_api_version() >> 16 & 0xFF
    if major not in TESTED and arguments[1:] != ["any"]:
        known = ", ".join(f"{number} of Slurm {version}" for number, version in TESTED.items())
        raise SystemExit(f"libslurm {major} has not been tested (but {known}); probe=yes takes it all the same")
    slurm.slurm_init(None)
    say(f"library {major}")
    for line in sys.stdin:
        say(ask(slurm, int(line)))


if __name__ == "__main__":
    main(sys.argv[1:])
