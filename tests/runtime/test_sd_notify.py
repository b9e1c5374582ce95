"""What the service manager is told, and what it says of its watchdog."""

from __future__ import annotations

import os
import socket
import time

from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from jobpush.runtime.sd_notify import monotonic_usec, no_manager, notify_of, watchdog_seconds
from tests.support import short_path


class NotifyTests(SynchronousTestCase):
    """`notify_of`."""

    def receive(self, address: str, bound: str) -> list[bytes]:
        """The messages that come to that socket, of two."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
            manager.bind(bound)
            manager.settimeout(5)
            notify = notify_of({"NOTIFY_SOCKET": address})
            notify(READY=1, STATUS="all\nis well")
            notify(WATCHDOG=1)
            return [manager.recv(4096), manager.recv(4096)]

    def test_path(self) -> None:
        """A message is one datagram, a line for each field; a text of several lines becomes one."""
        path = short_path(self)
        self.assertEqual(self.receive(path, path), [b"READY=1\nSTATUS=all is well", b"WATCHDOG=1"])

    def test_abstract(self) -> None:
        """A name that begins with ``@`` is that of an abstract socket."""
        name = f"jobpush-test-{os.getpid()}"
        self.assertEqual(len(self.receive(f"@{name}", f"\0{name}")), 2)

    def test_no_manager(self) -> None:
        """Without one, and with one of another kind, nobody is told anything."""
        for environment in ({}, {"NOTIFY_SOCKET": ""}, {"NOTIFY_SOCKET": "@"}, {"NOTIFY_SOCKET": "vsock:2:1234"}):
            self.assertIs(notify_of(environment), no_manager)
        no_manager(READY=1)

    def test_a_manager_that_is_gone(self) -> None:
        """The log says it; nothing fails."""
        with capturedLogs() as logged:
            notify_of({"NOTIFY_SOCKET": "/nonexistent/notify"})(READY=1)
        self.assertIn("cannot be told READY: ", formatEvent(logged[0]))

    def test_a_manager_that_does_not_read(self) -> None:
        """It is waited for a moment only."""
        path = short_path(self)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager, capturedLogs() as logged:
            manager.bind(path)
            notify = notify_of({"NOTIFY_SOCKET": path})
            began = time.monotonic()
            for _ in range(2000):
                notify(STATUS="x" * 1000)
                if logged:
                    break
        self.assertEqual(len(logged), 1)
        self.assertLess(time.monotonic() - began, 10)

    def test_time(self) -> None:
        """The time of a reload is that of CLOCK_MONOTONIC, in microseconds."""
        before = time.clock_gettime(time.CLOCK_MONOTONIC)
        self.assertTrue(before * 1e6 - 1 <= monotonic_usec() <= time.clock_gettime(time.CLOCK_MONOTONIC) * 1e6 + 1)


class WatchdogSecondsTests(SynchronousTestCase):
    """`watchdog_seconds`."""

    def test_seconds(self) -> None:
        """Microseconds become seconds; a watchdog of another process, or of none, is none."""
        for environment, expected in (
            ({"WATCHDOG_USEC": "30000000"}, 30.0), ({"WATCHDOG_USEC": "500000", "WATCHDOG_PID": "7"}, 0.5),
            ({"WATCHDOG_USEC": "500000", "WATCHDOG_PID": "8"}, None), ({}, None), ({"WATCHDOG_USEC": "0"}, None),
            ({"WATCHDOG_USEC": "soon"}, None), ({"WATCHDOG_PID": "7"}, None),
        ):  # fmt: skip
            self.assertEqual(watchdog_seconds(environment, pid=7), expected, environment)
        self.assertEqual(watchdog_seconds({"WATCHDOG_USEC": "1000000", "WATCHDOG_PID": str(os.getpid())}), 1.0)
