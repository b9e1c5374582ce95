"""Where the service listens."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Callable

from twisted.trial.unittest import SynchronousTestCase

from jobpush.listen_addresses import (
    HEALTH_BACKLOG,
    HealthAddressKind,
    InUse,
    Nowhere,
    Port,
    TcpPort,
    UnixSocket,
    default_health_address,
)
from tests.support import short_path


class PortTests(SynchronousTestCase):
    """`Port`."""

    def test_read(self) -> None:
        """The digits of a port, or any other text, which Twisted reads; in a TOML file a number too."""
        for value, expected in {80: "80", "65535": "65535", "unix:/run/x": "unix:/run/x"}.items():
            self.assertEqual(Port().read(value), expected)
        for value in ("", "65536", 100000):
            self.assertRaises(ValueError, Port().read, value)


class KindTests(SynchronousTestCase):
    """`HealthAddressKind`."""

    def test_read(self) -> None:
        """A unix socket with or without a mode, a port of loopback, a port of an interface, or none."""
        for text, expected, shown in [
            ("none", Nowhere(), "none"),
            ("unix:/run/x", UnixSocket("/run/x", 0o660), "unix:/run/x"),
            ("unix:x:mode=666", UnixSocket("/dir/x", 0o666), "unix:/dir/x"),
            ("unix:/a:b:mode=0600", UnixSocket("/a:b", 0o600), "unix:/a:b"),
            ("8081", TcpPort(8081, "127.0.0.1"), "tcp:8081:interface=127.0.0.1"),
            ("tcp:8081:interface=0.0.0.0", TcpPort(8081, "0.0.0.0"), "tcp:8081:interface=0.0.0.0"),
            (r"tcp:8081:interface=\:\:1", TcpPort(8081, "::1"), "tcp:8081:interface=[::1]"),
            ("tcp:8081:interface=[::1]", TcpPort(8081, "::1"), "tcp:8081:interface=[::1]"),
        ]:
            read = HealthAddressKind().read(text, "/dir")
            self.assertEqual((read, str(read)), (expected, shown), text)

    def test_refused(self) -> None:
        """Anything else, with what was expected and why."""
        for text, why in {
            "": "none", "health.sock": "none", "NONE": "none", "unix:": "none", "unix::mode=660": "none", "True": "none",
            "unix:/x:mode=8": "three octal digits", "unix:/x:mode=999": "three octal digits", "0": "1 to 65535", "65536": "1 to 65535",
            "tcp:8081": "interface= says who", "tcp:8081:backlog=5": "interface= says who", "tcp:x:interface=::": "1 to 65535",
            "tcp:1:interface=localhost": "'localhost' is no address", "udp:1.2.3.4:5": "none", "unix:/a\0b": "none",
        }.items():  # fmt: skip
            error = self.assertRaises(ValueError, HealthAddressKind().read, text)
            self.assertTrue(str(error).startswith("expected unix:PATH, unix:PATH:mode=666,"), error)
            self.assertIn(why, str(error), text)

    def test_default(self) -> None:
        """In the first runtime directory of systemd's, else in the state directory, else nowhere."""
        for runtime, state, expected in [
            ("/run/jobpush", "/state", UnixSocket("/run/jobpush/health.sock")),
            ("/run/a:/run/b", None, UnixSocket("/run/a/health.sock")),
            (None, "/state", UnixSocket("/state/health.sock")),
            ("", "/state", UnixSocket("/state/health.sock")),
            ("relative", "/state", UnixSocket("/state/health.sock")),
            (None, None, Nowhere()),
        ]:
            self.assertEqual(default_health_address(runtime, state), expected)


class OpenTests(SynchronousTestCase):
    """What listens."""

    def open(self, address: UnixSocket | TcpPort) -> Callable[[], None]:
        """Listen until the end of the test; return what closes it."""
        listening, close = address.open()
        self.addCleanup(listening.close)
        return close

    def test_unix(self) -> None:
        """It has its mode, takes connections, and its file is removed with it."""
        path = short_path(self)
        close = self.open(UnixSocket(path, 0o606))
        self.assertEqual(stat.S_IMODE(os.lstat(path).st_mode), 0o606)
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(path)
        close()
        self.assertFalse(os.path.lexists(path))

    def test_left_by_a_process_that_was_killed(self) -> None:
        """Is replaced."""
        path = short_path(self)
        with socket.socket(socket.AF_UNIX) as left:
            left.bind(path)
            left.listen()
        before = os.lstat(path).st_ctime_ns
        self.open(UnixSocket(path))
        self.assertNotEqual(os.lstat(path).st_ctime_ns, before)
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(path)

    def test_in_use(self) -> None:
        """Another process listens there, whether it takes connections at present or not: it is not disturbed."""
        path = short_path(self)
        other = self.open(UnixSocket(path))
        error = self.assertRaises(InUse, UnixSocket(path).open)
        self.assertEqual(str(error), f"another process listens on {path}")
        clients = [socket.socket(socket.AF_UNIX) for _ in range(HEALTH_BACKLOG + 2)]
        for client in clients:
            self.addCleanup(client.close)
            client.setblocking(False)
            client.connect_ex(path)
        self.assertRaises(InUse, UnixSocket(path).open)
        self.assertTrue(os.path.exists(path))
        other()

    def test_no_socket(self) -> None:
        """A file of another kind stays."""
        path = short_path(self)
        with open(path, "w"):
            pass
        self.assertRaises(FileExistsError, UnixSocket(path).open)
        self.assertTrue(os.path.isfile(path))

    def test_not_ours_any_more(self) -> None:
        """A file that another process has put in its place is not removed."""
        path = short_path(self)
        first = self.open(UnixSocket(path))
        os.rename(path, f"{path}.old")
        self.open(UnixSocket(path))
        first()
        self.assertTrue(os.path.exists(path))

    def test_too_long(self) -> None:
        """A path that no socket can have."""
        self.assertRaises(OSError, UnixSocket(f"/tmp/{'x' * 200}").open)

    def test_tcp(self) -> None:
        """A port takes connections; one that is taken is refused."""
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
            error = self.assertRaises(InUse, TcpPort(port).open)
            self.assertEqual(str(error), f"another process listens on tcp:{port}:interface=127.0.0.1")
        close = self.open(TcpPort(port))
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
        close()
        self.assertRaises(OSError, socket.create_connection, ("127.0.0.1", port), 5)
