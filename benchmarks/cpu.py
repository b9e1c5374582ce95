"""
The CPU time of a process, user and system apart.

The sum is read from the process's CPU clock, in nanoseconds: all its threads, those that have ended too, and not its children.
How much of it was user and how much system time is known less exactly: the kernel samples it at each of its timer interrupts
(every 4 ms at CONFIG_HZ=250), and tells it in /proc/PID/stat in units of 10 ms. So the two are sums over many rounds,
and `user_share` is the proportion in which a table divides the exact sum.
"""

from __future__ import annotations

import ctypes
import os
import time
from collections.abc import Collection, Sequence
from pathlib import Path

import attrs

#: What a table says below itself.
CLOCK_NOTE = (
    "CPU: the process's CPU clock (nanoseconds, all threads), divided into user and system time in the proportion of "
    "/proc/PID/stat over all rounds (10 ms, sampled by the kernel)"
)

_TICKS = os.sysconf("SC_CLK_TCK")
_LIBC = ctypes.CDLL(None)


@attrs.frozen
class CpuTime:
    """
    Seconds of CPU time.

    :ivar total: user and system, with the precision of the CPU clock.
    :ivar user: in user mode, as sampled; ``system`` in the kernel.
    """

    total: float
    user: float
    system: float

    def __sub__(self, earlier: CpuTime) -> CpuTime:
        return CpuTime(self.total - earlier.total, self.user - earlier.user, self.system - earlier.system)

    def __add__(self, other: CpuTime) -> CpuTime:
        return CpuTime(self.total + other.total, self.user + other.user, self.system + other.system)

    def __mul__(self, factor: float) -> CpuTime:
        return CpuTime(self.total * factor, self.user * factor, self.system * factor)


def cpu_time(pid: int) -> CpuTime:
    """
    Return the CPU time that a process has taken so far.

    :raise OSError: there is no such process.
    """
    clock = ctypes.c_int()
    error = _LIBC.clock_getcpuclockid(pid, ctypes.byref(clock))
    if error:
        raise OSError(error, os.strerror(error))
    user, system = stat_fields(pid)[11:13]
    return CpuTime(time.clock_gettime(clock.value), int(user) / _TICKS, int(system) / _TICKS)


def children_time(pid: int) -> CpuTime:
    """Return the CPU time of a process's children that have ended and been waited for, in units of 10 ms."""
    user, system = (int(field) / _TICKS for field in stat_fields(pid)[13:15])
    return CpuTime(user + system, user, system)


class OtherLoad:
    """
    What other processes take of some cores while one is measured, from now on.

    :param cores: those that the process runs on.
    """

    def __init__(self, cores: Collection[int], pid: int) -> None:
        self._cores = cores
        self._pid = pid
        self._began, self._busy, self._own = self._now()

    def _now(self) -> tuple[float, float, float]:
        return time.monotonic(), cores_busy_s(self._cores), cpu_time(self._pid).total

    def share(self) -> float:
        """Return the share of the cores' time that others have taken since the beginning, 0 to 1."""
        now, busy, own = self._now()
        others = (busy - self._busy) - (own - self._own)
        return max(0.0, others / ((now - self._began) * len(self._cores)))


def cores_busy_s(cores: Collection[int]) -> float:
    """Return the seconds in which these cores were not idle, all together (proc(5): /proc/stat)."""
    busy = 0
    for line in Path("/proc/stat").read_text().splitlines():
        name, *fields = line.split()
        if name.startswith("cpu") and name[3:].isdigit() and int(name[3:]) in cores:
            user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, fields[:8])
            busy += user + nice + system + irq + softirq + steal
    return busy / _TICKS


def stat_fields(pid: int) -> Sequence[str]:
    """Return the fields of /proc/PID/stat from the third on (proc(5): the state): the second may hold spaces."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def user_share(times: Sequence[CpuTime]) -> float | None:
    """Return which share of these times was user time, 0 to 1; None if no sample fell into them."""
    user, system = sum(one.user for one in times), sum(one.system for one in times)
    return user / (user + system) if user + system else None
