"""
The command line of ``twistd jobpush``: the settings, and what is made of them before anything is opened. (Tests:
tests/test_tap.py.)
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Sequence
from typing import Any

from twisted.internet.endpoints import serverFromString
from twisted.python import usage

from jobpush import __version__
from jobpush.adapter.interfaces import BadQueueOption, IBatchQueueService
from jobpush.adapter.options import declared, help_text
from jobpush.adapter.registry import queue_factories
from jobpush.authentication import authenticator_factories, make_authenticator_from_table
from jobpush.events.interfaces import IJobStatusListener
from jobpush.events.listeners import distinct, listener_factories, make_listener_from_table
from jobpush.listen_addresses import (
    HealthAddress,
    Nowhere,
    UnixSocket,
    default_health_address,
    default_users_address,
    is_digits,
)
from jobpush.polling.nudge_sockets import SOCKET_NAME, UdpAddress, UnixAddress, read_secret
from jobpush.polling.queue_options import CommonOptions
from jobpush.queues import MadeQueues, explained, make_queues
from jobpush.runtime.listening import InheritedSocket, inherited_sockets
from jobpush.settings import CommandLine, ConfigError, Given, Settings, make_settings, read_file
from jobpush.tls_endpoint import PREFIX

#: Connections that may wait to be accepted. Thousands of clients come back at once after each event; the default of 50
#: makes most of them wait for a second or three until TCP tries again.
BACKLOG = 4096

#: Where it listens if nobody has said where.
DEFAULT_PORT = "8080"


class Options(CommandLine):
    """The command line of ``twistd jobpush``: the settings, and what they make."""

    synopsis = "[options]"
    longdesc = (
        "Watch batch schedulers and push every change of a job's state to the HTTP clients that wait for it. "
        "With no --queue: the schedulers found on this host, else a demonstration. See --help-queues."
    )

    def __init__(self) -> None:
        super().__init__()
        self.settings = Settings()
        self.made = MadeQueues({})
        self.listeners: list[IJobStatusListener] = []
        self.authenticators: list[tuple[str, Any]] = []
        self.nudge_addresses: list[UnixAddress | UdpAddress] = []
        self.nudge_secret: bytes | None = None
        self.inherited: tuple[InheritedSocket, ...] = ()
        self._typed: dict[str, Given] = {}
        self._given: dict[str, Given] = {}

    def opt_help_queues(self) -> None:
        """Show the types of queues and listeners that are installed"""
        print("Queues, for --queue TYPE:")
        for factory in queue_factories():
            print(f"  {factory.queue_type:<12} {factory.queue_help}")
        print("Listeners, for --listener TYPE:")
        for listener in listener_factories():
            print(f"  {listener.listener_type:<12} {listener.listener_help}")
        raise SystemExit(0)

    def opt_help_queue_type(self, kind: str) -> None:
        """Show the options of a type of queue or listener"""
        for factory in queue_factories():
            if factory.queue_type == kind:
                print(f"--queue {kind}[:key=value:…]: {factory.queue_help}\n\n{factory.arg_string_format}")
                print(help_text(declared(CommonOptions)))
                raise SystemExit(0)
        for listener in listener_factories():
            if listener.listener_type == kind:
                print(f"--listener {kind}[:key=value:…]: {listener.listener_help}\n\n{listener.arg_string_format}")
                raise SystemExit(0)
        raise usage.UsageError(f"there is no queue or listener type {kind!r}; see --help-queues")

    def opt_help_auth(self) -> None:
        """Show the types of --auth that are installed"""
        print("Ways in which clients say who they are, for --auth TYPE:")
        for factory in authenticator_factories():
            print(f"  {factory.auth_type:<12} {factory.auth_help}")
        print("Without any: the socket, where the kernel says who asks, and tokens that are made there (jobpush login)")
        raise SystemExit(0)

    def opt_help_auth_type(self, kind: str) -> None:
        """Show the options of a type of --auth"""
        for factory in authenticator_factories():
            if factory.auth_type == kind:
                print(f"--auth {kind}[:key=value:…]: {factory.auth_help}\n\n{factory.arg_string_format}")
                raise SystemExit(0)
        raise usage.UsageError(f"there is no auth type {kind!r}; see --help-auth")

    def opt_version(self) -> None:
        """Show the version of jobpush"""
        print(f"jobpush {__version__}")
        raise SystemExit(0)

    def postOptions(self) -> None:
        """Check everything, and make the queues. Nothing is opened."""
        from twisted.internet import reactor

        try:
            self._typed = self.given()
            self._given = self._read()
            self.settings = make_settings(self._given)
            self.made = make_queues(reactor, self.settings)
            self.inherited = inherited_sockets(reactor)
            self._make_listeners(reactor)
            self._make_authenticators(reactor)
            self._read_nudges()
            self._check_port(reactor)
            self._check_static()
        except (ConfigError, BadQueueOption) as error:
            raise usage.UsageError(str(error)) from None

    def _read(self) -> dict[str, Given]:
        """Return what the file gives, and the command line, which goes before it."""
        return {**read_file(self._typed["config"].value), **self._typed} if "config" in self._typed else self._typed

    def read_again(self) -> Settings:
        """
        Return the settings as the file has them now. What is in force stays.

        :raise ConfigError: naming the file, the key, its value and what was expected.
        """
        return make_settings(self._read())

    def where(self, field: str, path: str = "") -> str:
        """
        Return where an option was given and how, for errors.

        :param field: of `Settings`.
        :param path: the path that its value stands for, which is added if it was given as a relative one.
        """
        given = self._given.get(field)
        if given is None and field == "port":
            return f"port = {DEFAULT_PORT}"
        where = given.where if given is not None else f"{field} = {getattr(self.settings, field)}"
        return where if path in where else f"{where}: {path}"

    @property
    def queues(self) -> list[IBatchQueueService]:
        """The queues, in their order."""
        return self.made.queues

    @property
    def found(self) -> Sequence[str]:
        """Lines for the log on what was found on this host."""
        return self.made.found

    def _make_listeners(self, reactor: object) -> None:
        for asked in self.settings.listeners:
            with explained(asked):
                self.listeners.append(make_listener_from_table(reactor, asked.type, asked.options))
                shared = distinct(self.listeners)
                if shared is not None:
                    raise BadQueueOption(f"two listeners are called {shared!r}: tell them apart with name=")

    def _make_authenticators(self, reactor: object) -> None:
        """What is asked who a client is, beside the socket and tokens, each with its type."""
        for asked in self.settings.auth:
            with explained(asked):
                made = make_authenticator_from_table(reactor, asked.type, asked.options)
                self.authenticators.append((asked.type, made))

    def _read_nudges(self) -> None:
        """Where nudges come in, and what those from other hosts are signed with."""
        settings = self.settings
        self.nudge_addresses = list(settings.nudge)
        if settings.state is not None and not settings.nudge:
            self.nudge_addresses = [UnixAddress(os.path.join(settings.state, SOCKET_NAME))]
        if settings.nudge_secret is not None:
            try:
                self.nudge_secret = read_secret(settings.nudge_secret)
            except BadQueueOption as error:
                raise ConfigError(f"{self.where('nudge_secret', settings.nudge_secret)}: {error}") from None
        elif any(isinstance(address, UdpAddress) for address in self.nudge_addresses):
            raise ConfigError(f"{self.where('nudge')}: nudges by UDP must be signed, with nudge_secret (--nudge-secret FILE)")

    @property
    def users_address(self) -> UnixSocket | Nowhere:
        """Where this host's users are known by their processes, beside the endpoints."""
        if self.settings.socket is not None:
            return self.settings.socket
        return Nowhere() if self._handed_over else default_users_address(os.environ.get("RUNTIME_DIRECTORY"))

    @property
    def knows_users(self) -> bool:
        """Whether somebody can say who he is: on a unix socket, or as ``--auth`` has it."""
        ours = any(endpoint.startswith("unix:") for endpoint in self.endpoints)
        return bool(self.settings.auth) or ours or self._handed_over or isinstance(self.users_address, UnixSocket)

    @property
    def _handed_over(self) -> bool:
        """Whether a unix socket was, and is listened on."""
        return any(each.endpoint.startswith("systemd:domain=UNIX:") for each in self.served)

    @property
    def health_address(self) -> HealthAddress:
        """Where health checks are answered."""
        settings = self.settings
        if settings.health is not None:
            return settings.health
        return default_health_address(os.environ.get("RUNTIME_DIRECTORY"), settings.state)

    def _check_port(self, reactor: object) -> None:
        for endpoint in self.endpoints:
            where = self.where_it_listens(endpoint)
            try:
                serverFromString(reactor, endpoint)
            except Exception as error:  # each kind of endpoint has errors of its own
                raise ConfigError(
                    f"{where}: {error}; expected digits or an endpoint string such as tcp:8080:interface=0.0.0.0"
                ) from None
            if self._is_public(endpoint) and not (self.settings.allow_anonymous or self._asks_everybody(endpoint)):
                raise ConfigError(
                    f"{where} is not provably loopback or a unix socket, and there is no authentication: whoever reaches it "
                    "would see all jobs. Say --allow-anonymous if that is meant; or let everybody say who he is, over TLS: "
                    f"--private yes, and --port {PREFIX}:8443:cert=FILE:key=FILE"
                )

    def _asks_everybody(self, endpoint: str) -> bool:
        """Return whether nobody is answered there who does not say who he is, which nobody else can overhear."""
        return self.settings.private is True and endpoint.partition(":")[0] in (PREFIX, "ssl")

    def where_it_listens(self, endpoint: str | None = None) -> str:
        """Return what to call an endpoint in errors; by default all of them."""
        addresses = [each.address for each in self.served if endpoint in (None, each.endpoint)]
        return f"the socket {', '.join(addresses)} that was handed over" if addresses else self.where("port")

    def _is_public(self, endpoint: str) -> bool:
        publics = [each.is_public for each in self.served if each.endpoint == endpoint]
        return publics[0] if publics else is_public(endpoint)

    def hosts(self, settings: Settings) -> tuple[str, ...]:
        """Return the names that the service is known by beside those of this host: given ones, and those that it listens on."""
        return (*settings.hosts, *(name for endpoint in self.endpoints for name in interfaces(endpoint)))

    def _check_static(self) -> None:
        static = self.settings.static
        if static is not None and not os.path.isdir(static):
            raise ConfigError(f"{self.where('static', static)}: there is no such directory")
        if static is not None and not os.access(static, os.R_OK | os.X_OK):
            raise ConfigError(f"{self.where('static', static)}: this account may not read the directory")

    @property
    def served(self) -> tuple[InheritedSocket, ...]:
        """The sockets that were handed over and are listened on: all of them, unless the settings say where to listen."""
        return self.inherited if self.settings.port is None else ()

    @property
    def unserved(self) -> list[str]:
        """The addresses of sockets that were handed over and that nobody listens on."""
        return [each.address for each in self.inherited if each not in self.served]

    @property
    def endpoints(self) -> list[str]:
        """The endpoint strings to listen on."""
        if self.served:
            return [each.endpoint for each in self.served]
        port = self.settings.port or DEFAULT_PORT
        return [f"tcp:{port}:interface=127.0.0.1:backlog={BACKLOG}" if is_digits(port) else port]

    @property
    def listens_on(self) -> str:
        """Where it listens, for people."""
        return ", ".join(each.address for each in self.served) or self.endpoints[0]


def is_public(endpoint: str) -> bool:
    """Return whether others than the users of this host may reach an endpoint, as far as its string tells."""
    kind = endpoint.partition(":")[0]
    if kind == "unix":
        return False
    found = interfaces(endpoint)
    if len(found) != 1 or kind not in ("tcp", "tcp6", "ssl", "tls", PREFIX):
        return True
    try:
        return not ipaddress.ip_address(found[0]).is_loopback
    except ValueError:
        return True


def interfaces(endpoint: str) -> list[str]:
    """Return the names and addresses that an endpoint string says to listen on."""
    fields = endpoint.partition(":")[2].replace("\\:", "\0").split(":")
    return [field.partition("=")[2].replace("\0", ":") for field in fields if field.startswith("interface=")]
