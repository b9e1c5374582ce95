"""Whose sockets of this host are, by the kernel."""

from __future__ import annotations

import os
import socket
import struct
import subprocess
import sys
from unittest import mock

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from jobpush.runtime import sock_diag

#: Connects as another user, and says from which port.
OTHER = """
import os, socket, sys
"localhost".encode("idna")
os.setgroups([]), os.setgid(65534), os.setuid(65534)
made = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
print(made.getsockname()[1], flush=True)
sys.stdin.read()
"""


class SockDiagTests(SynchronousTestCase):
    """With the kernel that there is."""

    def listen(self, family: int = socket.AF_INET, host: str = "127.0.0.1") -> socket.socket:
        """A socket that takes connections."""
        made = socket.socket(family)
        self.addCleanup(made.close)
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        made.bind((host, 0))
        made.listen(1000)
        return made

    def connect(self, host: str, port: int, family: int = socket.AF_INET) -> tuple[str, int]:
        """A connection, and the address and port from which it comes."""
        made = socket.socket(family)
        self.addCleanup(made.close)
        made.connect((host, port))
        name = made.getsockname()
        return str(name[0]), int(name[1])

    def test_mine(self) -> None:
        """All that are connected to a port, and each of them; nothing of others."""
        port = self.listen().getsockname()[1]
        self.assertEqual(sock_diag.owners(port), {})
        places = [self.connect("127.0.0.1", port) for _ in range(300)]
        other = self.connect("127.0.0.1", self.listen().getsockname()[1])
        self.assertEqual(sock_diag.owners(port), dict.fromkeys(places, os.geteuid()))
        self.assertEqual(sock_diag.owner(places[7], port, "127.0.0.1"), os.geteuid())
        self.assertIsNone(sock_diag.owner(other, port, "127.0.0.1"))
        self.assertIsNone(sock_diag.owner(("192.0.2.1", 5), port, "192.0.2.2"))

    def test_another_users(self) -> None:
        """It is whose the process is that made it."""
        if os.geteuid():
            raise SkipTest("only root can be another user")
        port = self.listen().getsockname()[1]
        with subprocess.Popen([sys.executable, "-c", OTHER, str(port)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
            assert other.stdin is not None
            assert other.stdout is not None
            place = ("127.0.0.1", int(other.stdout.readline()))
            self.assertEqual(sock_diag.owners(port), {place: 65534})
            self.assertEqual(sock_diag.owner(place, port, "127.0.0.1"), 65534)
            other.stdin.close()

    def test_both_families(self) -> None:
        """An IPv4 address is one, however it is written."""
        try:
            port = self.listen(socket.AF_INET6, "::").getsockname()[1]
        except OSError as error:
            raise SkipTest(f"this host has no IPv6: {error}") from None
        six = self.connect("::1", port, socket.AF_INET6)
        mapped = self.connect("::ffff:127.0.0.1", port, socket.AF_INET6)
        four = self.connect("127.0.0.1", port)
        places = [six, ("127.0.0.1", mapped[1]), four]
        self.assertEqual(sock_diag.owners(port), dict.fromkeys(places, os.geteuid()))
        for place, address in zip(places, ("::1", "127.0.0.1", "127.0.0.1"), strict=True):
            self.assertEqual(sock_diag.owner(place, port, address), os.geteuid(), place)

    def test_refused(self) -> None:
        """A kernel that does not say so is an error, with its reason."""
        answer = struct.pack("=IHHIIi", 36, 2, 0, 1, 0, -1) + bytes(16)
        asked = mock.Mock(**{"recv.return_value": answer})
        with mock.patch.object(socket, "socket", return_value=asked), self.assertRaisesRegex(OSError, "sock_diag: EPERM"):
            sock_diag.owners(8080)
        asked.close.assert_called_once_with()
