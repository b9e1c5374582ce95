"""
What the service manager is told by the process that it has started: the protocol of sd_notify(3), and what it says in turn of
its watchdog (sd_watchdog_enabled(3)).
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping
from typing import Protocol

from twisted.logger import Logger

#: Seconds that a message may wait for a service manager that does not read. The reactor waits with it.
SEND_S = 0.5

LOG = Logger(namespace="jobpush.supervision")


class Notify(Protocol):
    """Tells the service manager something."""

    def __call__(self, **fields: str | int) -> None:
        """Tell it these, as one message: ``READY=1``, ``STATUS="…"``. What cannot be told is logged, and never fails."""


class NotifySocket:
    """
    :param address: as in ``NOTIFY_SOCKET``: a path, or ``@`` and the name of an abstract socket.
    """

    def __init__(self, address: str) -> None:
        self._address = "\0" + address[1:] if address.startswith("@") else address

    def __call__(self, **fields: str | int) -> None:
        """See `Notify`."""
        lines = [f"{name}={' '.join(str(value).split())}" for name, value in fields.items()]
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
                sender.settimeout(SEND_S)
                sender.sendto("\n".join(lines).encode(), self._address)
        except OSError as error:
            LOG.warn("the service manager cannot be told {what}: {error}", what=", ".join(fields), error=error)


def no_manager(**fields: str | int) -> None:
    """Tell nobody: no service manager wants to hear of this process."""


def notify_of(environment: Mapping[str, str] = os.environ) -> Notify:
    """Return what tells the service manager that has started this process; one of another kind is told nothing."""
    address = environment.get("NOTIFY_SOCKET", "")
    return NotifySocket(address) if address[:1] in ("/", "@") and len(address) > 1 else no_manager


def watchdog_seconds(environment: Mapping[str, str] = os.environ, pid: int | None = None) -> float | None:
    """
    Return the seconds within which the service manager wants to hear of this process each time; None if it does not.

    :param pid: of this process, by default; ``WATCHDOG_PID`` may name another one.
    """
    text, whose = environment.get("WATCHDOG_USEC", ""), environment.get("WATCHDOG_PID")
    if whose is not None and whose != str(os.getpid() if pid is None else pid):
        return None
    return int(text) / 1e6 if text.isascii() and text.isdigit() and int(text) > 0 else None


def monotonic_usec() -> int:
    """Return the time as ``MONOTONIC_USEC`` has it: microseconds of CLOCK_MONOTONIC."""
    return time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
