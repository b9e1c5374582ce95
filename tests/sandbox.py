"""
Runs a command as ``etc/jobpush.service`` would have systemd run it: ``python -m tests.sandbox UNIT -- COMMAND…``.

Of the unit it takes what the kernel enforces on a process and its children: the system calls, the address families, no memory
that is written and then run, no namespaces, no realtime scheduling, no set-user-ID files, no capabilities, no new privileges and
the umask. What makes another view of the file system (``Protect…``, ``Private…``) needs systemd itself and is not tried here.
"""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import stat
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pyseccomp

#: From linux/prctl.h, linux/sched.h and sys/mman.h.
PR_CAPBSET_DROP = 24
PR_SET_NO_NEW_PRIVS = 38
CLONE_NAMESPACES = (0x00020000, 0x02000000, 0x04000000, 0x08000000, 0x10000000, 0x20000000, 0x40000000, 0x00000080)
PROT_WRITE, PROT_EXEC = 2, 4
SCHED_REALTIME = (1, 2, 6)

#: So many capabilities may there be; who has fewer says so.
CAPABILITIES = 64


def directives(unit: Path) -> dict[str, list[str]]:
    """Return the values of each directive of the unit, in their order."""
    values: dict[str, list[str]] = {}
    for line in unit.read_text().splitlines():
        name, equals, value = line.strip().partition("=")
        if equals and not line.startswith(("#", ";", "[")):
            values.setdefault(name, []).append(value)
    return values


def system_calls(name: str) -> set[str]:
    """Return the system calls of a set of systemd's, and of those that it names."""
    if not name.startswith("@"):
        return {name}
    listed = subprocess.run(["systemd-analyze", "syscall-filter", name], capture_output=True, text=True, check=True, timeout=30)
    names = [line.split("#")[0].strip() for line in listed.stdout.splitlines()[1:]]
    return set().union(*(system_calls(each) for each in names if each))


def allowed(filters: Sequence[str]) -> set[str]:
    """Return the system calls that the lines of ``SystemCallFilter=`` leave; those that systemd always allows are in them."""
    calls = system_calls("@default")
    for line in filters:
        named = set().union(*(system_calls(name) for name in line.removeprefix("~").split()))
        calls = calls - named if line.startswith("~") else calls | named
    return calls | system_calls("@default")


def restrict(unit: dict[str, list[str]]) -> None:
    """Restrict this process and its children for ever."""
    libc = ctypes.CDLL(None, use_errno=True)
    if unit["CapabilityBoundingSet"] == [""]:
        for number in range(CAPABILITIES):
            libc.prctl(PR_CAPBSET_DROP, number, 0, 0, 0)
    assert unit["NoNewPrivileges"] == ["yes"]
    assert libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
    os.umask(int(unit["UMask"][-1], 8))
    refuse = pyseccomp.ERRNO(getattr(errno, unit["SystemCallErrorNumber"][-1]))
    calls = pyseccomp.SyscallFilter(refuse)
    argument = pyseccomp.Arg
    special = {"socket", "clone", "unshare", "setns", "clone3", "mmap", "mprotect", "pkey_mprotect", "shmat", "sched_setscheduler"}
    special |= {"chmod", "fchmod", "fchmodat"}
    for name in allowed(unit["SystemCallFilter"]) - special:
        _add(calls, pyseccomp.ALLOW, name)
    for family in unit["RestrictAddressFamilies"][-1].split():
        _add(calls, pyseccomp.ALLOW, "socket", argument(0, pyseccomp.EQ, int(getattr(socket, family))))
    assert unit["RestrictNamespaces"] == unit["MemoryDenyWriteExecute"] == unit["RestrictSUIDSGID"] == ["yes"]
    namespaces = 0
    for flag in CLONE_NAMESPACES[1:]:  # that of time, 0x80, is the signal of clone() too
        namespaces |= flag
    _add(calls, pyseccomp.ALLOW, "clone", argument(0, pyseccomp.MASKED_EQ, namespaces, 0))
    _add(calls, pyseccomp.ERRNO(errno.ENOSYS), "clone3")  # as systemd does: its flags are in memory
    for name, of_mode in (("mprotect", 2), ("pkey_mprotect", 2)):
        _add(calls, pyseccomp.ALLOW, name, argument(of_mode, pyseccomp.MASKED_EQ, PROT_EXEC, 0))
    for protection in (0, PROT_WRITE, PROT_EXEC):
        _add(calls, pyseccomp.ALLOW, "mmap", argument(2, pyseccomp.MASKED_EQ, PROT_WRITE | PROT_EXEC, protection))
    _add(calls, pyseccomp.ALLOW, "shmat", argument(2, pyseccomp.MASKED_EQ, 0o100000, 0))
    for name, of_mode in (("chmod", 1), ("fchmod", 1), ("fchmodat", 2)):
        _add(calls, pyseccomp.ALLOW, name, argument(of_mode, pyseccomp.MASKED_EQ, stat.S_ISUID | stat.S_ISGID, 0))
    calls.load()


def _add(calls: pyseccomp.SyscallFilter, action: int, name: str, *arguments: pyseccomp.Arg) -> None:
    try:
        number = pyseccomp.resolve_syscall(pyseccomp.system_arch(), name)
    except ValueError:
        return
    if number >= 0:  # else this architecture has no such call
        calls.add_rule(action, name, *arguments)


if __name__ == "__main__":
    restrict(directives(Path(sys.argv[1])))
    assert sys.argv[2] == "--"
    os.execvp(sys.argv[3], sys.argv[3:])
