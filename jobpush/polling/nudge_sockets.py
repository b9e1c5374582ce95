"""
Where nudges come in as datagrams: a unix socket on this host, UDP from other hosts. A sender is never answered and never
waits.
"""

from __future__ import annotations

import ipaddress
import os
import re
import stat
import time
from collections.abc import Callable

import attrs
from twisted.application.service import Service
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort, IReactorTime, IReactorUDP, IReactorUNIXDatagram
from twisted.internet.protocol import DatagramProtocol
from twisted.logger import Logger

from jobpush.adapter.interfaces import BadQueueOption
from jobpush.adapter.kinds import Kind
from jobpush.polling.nudges import BadNudge, Nudges, unsigned

#: The name of the socket in the state directory.
SOCKET_NAME = "nudge"

#: A secret that is shorter, in bytes, is refused.
SHORTEST_SECRET = 16

#: The longest datagram, in bytes: about five thousand job ids.
LONGEST = 65507


class IDatagramReactor(IReactorTime, IReactorUDP, IReactorUNIXDatagram):
    """What is needed of a reactor to take datagrams."""


class NudgeSocketError(Exception):
    """The socket cannot be opened; one line that says why."""


@attrs.frozen
class UnixAddress:
    """``unix:PATH[:mode=660]``: who may write to the socket is a matter of its mode, and of its directory's."""

    path: str
    mode: int = 0o660

    def listen(self, reactor: IReactorUNIXDatagram, protocol: DatagramProtocol) -> IListeningPort:
        """Bind it, in place of a socket that an earlier process has left."""
        try:
            if not stat.S_ISSOCK(os.lstat(self.path).st_mode):
                raise FileExistsError(f"{self.path} is there, and is no socket")
            os.unlink(self.path)
        except FileNotFoundError:
            pass
        return reactor.listenUNIXDatagram(self.path, protocol, maxPacketSize=LONGEST, mode=self.mode)

    def __str__(self) -> str:
        return f"unix:{self.path}"


@attrs.frozen
class UdpAddress:
    """``udp:HOST:PORT``, HOST an address of this host."""

    host: str
    port: int

    def listen(self, reactor: IReactorUDP, protocol: DatagramProtocol) -> IListeningPort:
        """Bind it."""
        return reactor.listenUDP(self.port, protocol, interface=self.host, maxPacketSize=LONGEST)

    def __str__(self) -> str:
        return f"udp:{self.host}:{self.port}"


@attrs.frozen
class AddressKind(Kind["UnixAddress | UdpAddress"]):
    """The kind of an option that says where datagrams come in."""

    placeholder = "ADDRESS"
    expected = "unix:PATH, unix:PATH:mode=666 or udp:HOST:PORT"

    def read(self, value: object, directory: str = "") -> UnixAddress | UdpAddress:
        return parse_address(str(value), directory)


def parse_address(text: str, directory: str = "") -> UnixAddress | UdpAddress:
    """
    Return the address that a text such as ``unix:/run/jobpush/nudge:mode=666`` stands for.

    :param directory: what a relative path is relative to; the working directory if it is empty.
    :raise BadQueueOption: with what was expected.
    """
    kind, _, rest = text.partition(":")
    if kind == "unix" and rest:
        path, _, mode = rest.partition(":mode=")
        absolute = os.path.abspath(os.path.join(directory, path))
        if path == rest:
            return UnixAddress(absolute)
        if re.fullmatch(r"0?[0-7]{3}", mode):
            return UnixAddress(absolute, int(mode, 8))
        raise BadQueueOption("mode: expected three octal digits such as 660")
    if kind == "udp":
        host, _, port = rest.rpartition(":")
        host = host.strip("[]")
        try:
            ipaddress.ip_address(host)
        except ValueError:
            raise BadQueueOption(f"{host!r}: expected an IP address of this host, or 0.0.0.0") from None
        if port.isascii() and port.isdigit() and 0 < int(port[:6]) < 65536:
            return UdpAddress(host, int(port))
    raise BadQueueOption(f"expected {AddressKind.expected}")


def read_secret(path: str) -> bytes:
    """
    Return the secret that UDP nudges are signed with: a file's content without white space around it.

    :raise BadQueueOption: if it cannot be read, others may read it, or it is too short. Does not name the file.
    """
    try:
        with open(path, "rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            secret = file.read(4096).strip()
    except OSError as error:
        raise BadQueueOption(f"cannot be read: {error.strerror}") from None
    if mode & 0o007:
        raise BadQueueOption(f"everybody may read or write it; take that away with chmod o= {path}")
    if len(secret) < SHORTEST_SECRET:
        raise BadQueueOption(f"expected at least {SHORTEST_SECRET} bytes, such as of openssl rand -hex 32")
    return secret


class _Protocol(DatagramProtocol):
    """
    :param secret: if given, datagrams must be signed with it.
    :param wall: the clock that the dates of signatures are compared with.
    """

    def __init__(self, nudges: Nudges, source: str, secret: bytes | None, wall: Callable[[], float]) -> None:
        self._nudges = nudges
        self._source = source
        self._secret = secret
        self._wall = wall

    def datagramReceived(self, data: bytes, address: object) -> None:
        if self._secret is None:
            self._nudges.datagram(self._source, data)
            return
        try:
            self._nudges.datagram(self._source, unsigned(self._secret, self._wall(), data))
        except BadNudge:
            self._nudges.refuse(self._source)


class NudgeSocket(Service):
    """
    One socket, from the start of the service to its end.

    :param wanted: whether somebody has asked for it; then the service does not start without it.
    """

    log = Logger()

    def __init__(
        self,
        reactor: IDatagramReactor,
        nudges: Nudges,
        address: UnixAddress | UdpAddress,
        secret: bytes | None,
        wanted: bool = True,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.address = address
        self._wanted = wanted
        self._reactor = reactor
        source = "unix" if isinstance(address, UnixAddress) else "udp"
        self._protocol = _Protocol(nudges, source, secret if source == "udp" else None, wall)
        self._port: IListeningPort | None = None

    def startService(self) -> None:
        super().startService()
        try:
            self._port = self.address.listen(self._reactor, self._protocol)
        except (CannotListenError, OSError) as error:
            why = f"cannot take nudges at {self.address}: {getattr(error, 'socketError', error)}"
            if self._wanted:
                raise NudgeSocketError(why) from None
            self.log.warn("{why}", why=why)
            return
        self.log.info("nudges are taken at {address}", address=str(self.address))

    def stopService(self) -> Deferred[None]:
        super().stopService()
        port, self._port = self._port, None
        if port is None:
            return succeed(None)
        if isinstance(self.address, UnixAddress):
            try:
                os.unlink(self.address.path)
            except OSError:
                pass  # the next start removes it
        return port.stopListening() or succeed(None)
