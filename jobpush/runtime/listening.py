"""
Sockets that listen already when the process begins: systemd's socket activation (sd_listen_fds(3)).

Whoever has opened them keeps them open while this process ends and the next one begins: no client is refused meanwhile. Twisted
reads ``LISTEN_FDS``, ``LISTEN_PID`` and ``LISTEN_FDNAMES``, once, and knows the sockets as ``systemd:`` endpoints.
"""

from __future__ import annotations

import ipaddress
import itertools
import os
import socket
from collections.abc import Callable
from typing import Any, cast

import attrs
from twisted.application import strports
from twisted.application.service import IService, Service
from twisted.internet.endpoints import AdoptedStreamServerEndpoint, serverFromString
from twisted.internet.interfaces import IListeningPort


@attrs.frozen
class InheritedSocket:
    """
    A listening socket that was handed over.

    :ivar endpoint: an endpoint string of Twisted's for it.
    :ivar address: where it listens, for people: ``127.0.0.1:8080``, ``[::1]:8080``, ``/run/jobpush/http.sock``.
    :ivar is_public: whether others than the users of this host may reach it.
    """

    endpoint: str
    address: str
    is_public: bool


def inherited_sockets(reactor: object) -> tuple[InheritedSocket, ...]:
    """Return the stream sockets that were handed over and that nobody listens on yet, in their order."""
    found = []
    for index in itertools.count():
        try:
            # Twisted has no public name for the descriptors; an endpoint has one, and touches nothing before it listens.
            endpoint = serverFromString(reactor, f"systemd:domain=INET:index={index}")
        except IndexError:
            break
        described = _described(cast(AdoptedStreamServerEndpoint, endpoint).fileno, index)
        if described is not None:
            found.append(described)
    return tuple(found)


def _described(descriptor: int, index: int) -> InheritedSocket | None:
    """Return what a descriptor is; None if it is no stream socket that listens."""
    try:
        with socket.socket(fileno=os.dup(descriptor)) as handed:
            family, address = handed.family, handed.getsockname()
            if handed.type != socket.SOCK_STREAM or not handed.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                return None
    except OSError:
        return None
    endpoint = f"systemd:domain={family.name.removeprefix('AF_')}:index={index}"
    if family == socket.AF_UNIX:
        text = address.decode("utf-8", "replace").replace("\0", "@") if isinstance(address, bytes) else address
        return InheritedSocket(endpoint, text or "a unix socket", False)
    host, port = address[:2]
    shown = f"[{host}]:{port}" if family == socket.AF_INET6 else f"{host}:{port}"
    return InheritedSocket(endpoint, shown, not ipaddress.ip_address(host.partition("%")[0]).is_loopback)


def listening_service(reactor: Any, endpoint: str, factory: Any) -> IService:
    """
    Return a service that listens on an endpoint, whoever has opened it. Where that fails, ``privilegedStartService`` raises
    what the endpoint does.
    """
    made = serverFromString(reactor, endpoint)
    if isinstance(made, AdoptedStreamServerEndpoint):
        return AdoptedPort(made, factory)
    return cast(IService, strports.service(endpoint, factory, reactor))


class AdoptedPort(Service):
    """
    Accepts connections on a socket that was handed over.

    :param endpoint: of the socket.
    """

    def __init__(self, endpoint: AdoptedStreamServerEndpoint, factory: Any) -> None:
        self._endpoint = endpoint
        self._factory = factory
        self._port: IListeningPort | None = None

    def privilegedStartService(self) -> None:
        super().privilegedStartService()
        failures: list[Any] = []
        self._endpoint.listen(self._factory).addCallbacks(self._listens, failures.append)
        for failure in failures:
            failure.raiseException()

    def _listens(self, port: IListeningPort) -> None:
        self._port = port

    def startService(self) -> None:
        super().startService()
        if self._port is None:
            self.privilegedStartService()

    def stopService(self) -> Any:
        """
        Accept no more. Connections that come wait for the next process.

        Twisted's port of a unix socket removes the socket's file when it stops, also where another process has made it and
        listens on: of such a port only our descriptor is closed.
        """
        super().stopService()
        port, self._port = cast(Any, self._port), None
        if port is None:
            return None
        if self._endpoint.addressFamily != socket.AF_UNIX:
            return port.stopListening()
        port.stopReading()
        port.socket.close()
        self._factory.doStop()
        return None


class OwnPort(Service):
    """
    Accepts connections on a unix socket that it opens itself.

    :param open_socket: opens it, and returns it with what closes it; may raise `OSError`.
    """

    def __init__(
        self, reactor: Any, open_socket: Callable[[], tuple[socket.socket, Callable[[], None]]], factory: Any
    ) -> None:
        self._reactor = reactor
        self._open = open_socket
        self._factory = factory
        self._accepting: AdoptedPort | None = None
        self._close: Callable[[], None] = lambda: None

    def privilegedStartService(self) -> None:
        super().privilegedStartService()
        opened, self._close = self._open()
        # The endpoint closes the descriptor that it is given.
        endpoint = AdoptedStreamServerEndpoint(self._reactor, opened.detach(), socket.AF_UNIX)
        self._accepting = AdoptedPort(endpoint, self._factory)
        self._accepting.privilegedStartService()

    def startService(self) -> None:
        super().startService()
        if self._accepting is None:
            self.privilegedStartService()

    def stopService(self) -> Any:
        """Accept no more, and remove the socket's file."""
        super().stopService()
        accepting, self._accepting = self._accepting, None
        if accepting is not None:
            accepting.stopService()
        self._close()
        return None
