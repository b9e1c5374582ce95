"""
Where the service listens: the kinds of options that say so, and the sockets that it opens itself.

Clients' ports are endpoints of Twisted's. The socket for health checks is not: it is read by a thread of its own
(`jobpush.web.health_socket`), so that it answers whatever the reactor does. (Tests: tests/test_listen_addresses.py.)
"""

from __future__ import annotations

import errno
import ipaddress
import os
import re
import socket
import stat
from collections.abc import Callable
from typing import Any

import attrs

from jobpush.adapter.kinds import Kind

#: The name of the socket for health checks in the runtime directory, or in the state directory; and of that for this host's
#: users, in the runtime directory.
HEALTH_SOCKET = "health.sock"
USERS_SOCKET = "jobpush.sock"

#: Connections that may wait on it to be accepted.
HEALTH_BACKLOG = 128

#: Seconds in which a process that listens on a unix socket takes a connection, at most, while it is tried.
_TRIED_S = 1.0


class InUse(Exception):
    """Another process listens there; one line."""


@attrs.frozen
class Port(Kind[str]):
    """Where to listen: the digits of a port, or an endpoint string of Twisted."""

    types = (str, int)
    placeholder = "PORT"
    expected = "a port from 0 to 65535, or an endpoint string such as tcp:8080:interface=0.0.0.0"

    def read(self, value: object, directory: str = "") -> str:
        text = str(value)
        if not text or (is_digits(text) and (len(text) > 5 or int(text) > 65535)):
            raise self.unexpected()
        return text

    def toml(self, value: object) -> str:
        return str(value) if is_digits(str(value)) else super().toml(value)


def is_digits(port: str) -> bool:
    """Return whether a port is given by its number."""
    return port.isascii() and port.isdigit()


@attrs.frozen
class Nowhere:
    """Nobody listens."""

    def __str__(self) -> str:
        return "none"


@attrs.frozen
class UnixSocket:
    """``unix:PATH[:mode=660]``: who may connect is a matter of its mode, and of its directory's."""

    path: str
    mode: int = 0o660

    def open(self, backlog: int = HEALTH_BACKLOG) -> tuple[socket.socket, Callable[[], None]]:
        """
        Listen, in place of a socket that an earlier process has left.

        :param backlog: connections that may wait to be accepted.
        :return: the socket, and what closes it and removes its file, if that is still the same.
        :raise InUse: if a process listens there.
        :raise OSError: if the file cannot be made, or what is there is no socket.
        """
        self._clear()
        made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            made.bind(self.path)
            os.chmod(self.path, self.mode)  # before it listens: until then nobody can connect
            made.listen(backlog)
            ours = os.lstat(self.path)
        except BaseException:
            made.close()
            raise

        def close() -> None:
            made.close()
            try:
                found = os.lstat(self.path)
                if (found.st_dev, found.st_ino) == (ours.st_dev, ours.st_ino):
                    os.unlink(self.path)
            except OSError:
                pass  # the next start removes it

        return made, close

    def _clear(self) -> None:
        """Remove the socket of a process that is gone, if there is one."""
        try:
            if not stat.S_ISSOCK(os.lstat(self.path).st_mode):
                raise FileExistsError(errno.EEXIST, f"{self.path} is there, and is no socket")
        except FileNotFoundError:
            return
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as tried:
            tried.settimeout(_TRIED_S)
            try:
                tried.connect(self.path)
            except ConnectionRefusedError:
                os.unlink(self.path)
                return
            except (BlockingIOError, TimeoutError):
                pass  # its queue is full
        raise InUse(f"another process listens on {self.path}")

    def __str__(self) -> str:
        return f"unix:{self.path}"


@attrs.frozen
class TcpPort:
    """``PORT``, on loopback, or ``tcp:PORT:interface=ADDRESS``."""

    port: int
    host: str = "127.0.0.1"

    def open(self) -> tuple[socket.socket, Callable[[], None]]:
        """
        Listen.

        :return: the socket, and what closes it.
        :raise InUse: if a process listens there.
        :raise OSError: if that is not possible.
        """
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        try:
            made = socket.create_server((self.host, self.port), family=family, backlog=HEALTH_BACKLOG)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise InUse(f"another process listens on {self}") from None
            raise
        return made, made.close

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"tcp:{self.port}:interface={host}"


HealthAddress = UnixSocket | TcpPort | Nowhere


@attrs.frozen
class UnixSocketKind(Kind[UnixSocket | Nowhere]):
    """
    The kind of an option that says where a unix socket is.

    :ivar mode: where none is given.
    """

    mode: int = 0o660

    placeholder = "unix:PATH"
    expected = "unix:PATH, unix:PATH:mode=660, or none"

    def read(self, value: object, directory: str = "") -> UnixSocket | Nowhere:
        if value == "none":
            return Nowhere()
        if not isinstance(value, str) or not value.startswith("unix:"):
            raise self.unexpected()
        return _unix_socket(self, value, directory, self.mode)


def _unix_socket(kind: Kind[Any], text: str, directory: str, mode: int) -> UnixSocket:
    """Return the socket that ``unix:PATH[:mode=660]`` tells of."""
    path, equals, digits = text.removeprefix("unix:").partition(":mode=")
    absolute = os.path.abspath(os.path.join(directory, path))
    if not path or "\0" in path or absolute == "/":
        raise kind.unexpected()
    if not equals:
        return UnixSocket(absolute, mode)
    if not re.fullmatch(r"0?[0-7]{3}", digits):
        raise kind.unexpected("a mode has three octal digits, such as 660")
    return UnixSocket(absolute, int(digits, 8))


@attrs.frozen
class HealthAddressKind(Kind[HealthAddress]):
    """The kind of the option that says where health checks are answered."""

    types = (str, int)
    placeholder = "ENDPOINT"
    expected = "unix:PATH, unix:PATH:mode=666, a port of loopback, tcp:PORT:interface=ADDRESS, or none"

    def read(self, value: object, directory: str = "") -> HealthAddress:
        text = str(value)
        if text == "none":
            return Nowhere()
        kind, _, rest = text.partition(":")
        if kind == "unix":
            return _unix_socket(self, text, directory, 0o660)
        if is_digits(text):
            return self._tcp(text)
        if kind == "tcp":
            port, _, interface = rest.partition(":")
            name, _, host = interface.partition("=")
            if name != "interface":
                raise self.unexpected("interface= says who can reach it")
            return self._tcp(port, host.replace("\\", "").strip("[]"))
        raise self.unexpected()

    def _tcp(self, port: str, host: str = "127.0.0.1") -> TcpPort:
        if not is_digits(port) or not 0 < int(port[:6]) < 65536:
            raise self.unexpected("a port is a number from 1 to 65535")
        try:
            ipaddress.ip_address(host)
        except ValueError:
            raise self.unexpected(f"{host!r} is no address of this host") from None
        return TcpPort(int(port), host)


def default_health_address(runtime_directory: str | None, state: str | None) -> HealthAddress:
    """
    Return where health checks are answered if nobody has said where.

    :param runtime_directory: systemd's ``RUNTIME_DIRECTORY``: paths with colons between them, the first of which is used.
    :param state: the state directory.
    """
    directory = _first(runtime_directory) or state
    return UnixSocket(os.path.join(directory, HEALTH_SOCKET)) if directory else Nowhere()


def default_users_address(runtime_directory: str | None) -> UnixSocket | Nowhere:
    """
    Return where this host's users are known by their processes, if nobody has said where: in the runtime directory, for all.

    :param runtime_directory: as for `default_health_address`.
    """
    directory = _first(runtime_directory)
    return UnixSocket(os.path.join(directory, USERS_SOCKET), 0o666) if directory else Nowhere()


def _first(directories: str | None) -> str | None:
    first = (directories or "").partition(":")[0]
    return first if os.path.isabs(first) else None
