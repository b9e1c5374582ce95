"""
``twistd jobpush``: the options, and the service that they make. The only module that knows all the others.
"""

from __future__ import annotations

import atexit
import ipaddress
import os
import sys
from collections.abc import Sequence
from typing import Any

import attrs
from twisted.application import strports
from twisted.application.service import IService, MultiService
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.error import CannotListenError
from twisted.logger import Logger
from twisted.python import usage

from jobpush import __version__
from jobpush import settings as config
from jobpush.adapter.interfaces import BadQueueOption, IBatchQueueService
from jobpush.adapter.options import OptionReader, declared, help_text
from jobpush.adapter.registry import detect_queues, make_queue_from_table, parse_argument, queue_factories
from jobpush.events.interfaces import IJobStatusListener, JournalError
from jobpush.events.journal import Retention, SQLiteJournal, Threads
from jobpush.events.listeners import distinct, listener_factories, make_listener_from_table
from jobpush.polling.nudge_sockets import (
    SOCKET_NAME,
    NudgeSocket,
    NudgeSocketError,
    UdpAddress,
    UnixAddress,
    parse_address,
    read_secret,
)
from jobpush.polling.queue_options import CommonOptions, QueueOptions, take_common_options
from jobpush.runtime.gc_pauses import GarbageService
from jobpush.service import JobPush
from jobpush.settings import ConfigError, Settings
from jobpush.web import resource
from jobpush.web.site import JobpushSite

DEFAULT_PORT = "8080"

#: Connections that may wait to be accepted. Thousands of clients come back at once after each event; the default of 50
#: makes most of them wait for a second or three until TCP tries again.
BACKLOG = 4096

LOG = Logger(namespace="jobpush")


class Options(usage.Options):
    """The command line of ``twistd jobpush``."""

    synopsis = "[options]"
    longdesc = (
        "Watch batch schedulers and push every change of a job's state to the HTTP clients that wait for it. "
        "With no --queue: the schedulers found on this host, else a demonstration. See --help-queues."
    )
    optParameters: Sequence[Sequence[object]] = [
        ["port", "p", None, "Where to listen: digits mean that port on loopback; else an endpoint string (default: 8080)"],
        ["config", "c", None, "A TOML file with the same settings; the command line goes before it"],
        ["state", "s", None, "The directory of the journal (default: in memory, nothing survives a restart)"],
        ["interval", "i", None, "Seconds between two queries, for queues that do not say their own"],
        ["access-log", None, None, "The file of the access log, a new one each day (default: the service's log)"],
        ["static", None, None, "A directory with a site's own pages, served beside the API"],
        ["max-held", None, None, "How many requests may be held at once (default: what the limit of open files allows)"],
        ["keep-events", None, None, "How many events the journal keeps (default: 1000000)"],
        ["keep-days", None, None, "For how many days it keeps them (default: 7)"],
        ["nudge-secret", None, None, "The file with the secret that nudges by UDP are signed with"],
    ]
    optFlags: Sequence[Sequence[object]] = [
        ["allow-anonymous", None, "Serve all jobs to everybody who reaches the port, even where the scheduler hides them"],
        ["no-parking", None, "Keep the whole HTTP channel of each held request (ten times the memory)"],
        ["new-epoch", None, "Begin the journal's numbers anew: needed after restoring it from a backup"],
    ]

    def __init__(self) -> None:
        super().__init__()
        self.queue_arguments: list[str] = []
        self.listener_arguments: list[str] = []
        self.nudge_arguments: list[str] = []
        self.settings = Settings()
        self.queues: list[IBatchQueueService] = []
        self.queue_options: dict[str, QueueOptions] = {}
        self.listeners: list[IJobStatusListener] = []
        self.nudge_addresses: list[UnixAddress | UdpAddress] = []
        self.nudge_secret: bytes | None = None
        self.found: list[str] = []

    def opt_queue(self, argument: str) -> None:
        """A queue to watch, as TYPE or TYPE:key=value:… (repeatable); see --help-queues"""
        self.queue_arguments.append(argument)

    opt_q = opt_queue

    def opt_listener(self, argument: str) -> None:
        """A listener inside the service, as TYPE or TYPE:key=value:… (repeatable); see --help-queues"""
        self.listener_arguments.append(argument)

    def opt_nudge(self, address: str) -> None:
        """Where hooks say "look now": unix:PATH:mode=666 (default: "nudge" in the state directory) or udp:HOST:PORT"""
        self.nudge_arguments.append(address)

    def opt_help_queues(self) -> None:
        """Show the types of queues and listeners that are installed"""
        print("Queues, for --queue TYPE:")
        for factory in queue_factories():
            print(f"  {factory.queue_type:<12} {factory.queue_help}")
        print("Listeners, for --listener TYPE:")
        for factory in listener_factories():
            print(f"  {factory.listener_type:<12} {factory.listener_help}")
        raise SystemExit(0)

    def opt_help_queue_type(self, kind: str) -> None:
        """Show the options of a type of queue or listener"""
        for factory in queue_factories():
            if factory.queue_type == kind:
                print(f"--queue {kind}[:key=value:…]: {factory.queue_help}\n\n{factory.arg_string_format}")
                print(help_text(declared(CommonOptions)))
                raise SystemExit(0)
        for factory in listener_factories():
            if factory.listener_type == kind:
                print(f"--listener {kind}[:key=value:…]: {factory.listener_help}\n\n{factory.arg_string_format}")
                raise SystemExit(0)
        raise usage.UsageError(f"there is no queue or listener type {kind!r}; see --help-queues")

    def opt_version(self) -> None:
        """Show the version of jobpush"""
        print(f"jobpush {__version__}")
        raise SystemExit(0)

    def postOptions(self) -> None:
        """Check everything, and make the queues. Nothing is opened."""
        from twisted.internet import reactor

        try:
            self.settings = self._settings()
            self._make_queues(reactor)
            self._make_listeners(reactor)
            self._read_nudges()
        except (ConfigError, BadQueueOption) as error:
            raise usage.UsageError(str(error)) from None
        self._check_port(reactor)
        static = self.settings.static
        if static is not None and not os.path.isdir(static):
            raise usage.UsageError(f"--static {static}: there is no such directory")

    def _settings(self) -> Settings:
        """The file's settings, with what the command line says in place of it; both checked alike."""
        settings = config.load(self["config"]) if self["config"] is not None else Settings()
        names = [name.replace("-", "_") for name in _VALUES]
        given = {name: getattr(settings, name) for name in names}
        given.update({name: self[option] for name, option in zip(names, _VALUES, strict=True) if self[option] is not None})
        reader = OptionReader({name: value for name, value in given.items() if value is not None})
        checked: dict[str, Any] = {
            "port": reader.text("port"),
            "state": reader.path("state"),
            "interval": reader.seconds("interval", None),
            "access_log": reader.path("access_log"),
            "static": reader.path("static"),
            "max_held": reader.integer("max_held", 0, least=1) or None,
            "keep_events": reader.integer("keep_events", 0, least=1) or None,
            "keep_days": reader.seconds("keep_days", None, most=36500),
            "nudge_secret": reader.path("nudge_secret"),
            "allow_anonymous": bool(self["allow-anonymous"]) or bool(settings.allow_anonymous),
            "parking": not self["no-parking"] and settings.parking is not False,
        }
        if self.queue_arguments:
            checked["queues"] = [parse_argument(argument) for argument in self.queue_arguments]
        if self.listener_arguments:
            checked["listeners"] = [parse_argument(argument) for argument in self.listener_arguments]
        if self.nudge_arguments:
            checked["nudge"] = self.nudge_arguments
        return attrs.evolve(settings, **checked)

    def _make_queues(self, reactor: Any) -> None:
        interval = {} if self.settings.interval is None else {"interval": self.settings.interval}
        for kind, options in self.settings.queues:
            own, rest = take_common_options(options)
            queue = make_queue_from_table(reactor, kind, {**interval, **rest})
            self.queues.append(queue)
            self.queue_options[queue.cluster] = own
        if not self.settings.queues:
            for queue, evidence in detect_queues(reactor, interval):
                self.queues.append(queue)
                self.found.append(f"found {queue.queue_type}: {evidence}")
        if not self.queues:
            self.queues.append(make_queue_from_table(reactor, "mock", interval))
            self.found.append(
                "NO SCHEDULER WAS FOUND ON THIS HOST: serving the mock queue, a demonstration with invented jobs. "
                "Name a scheduler with --queue"
            )
        names = [queue.cluster for queue in self.queues]
        for name in names:
            if names.count(name) > 1:
                raise BadQueueOption(f"two queues are called {name!r}: tell them apart with cluster=")

    def _make_listeners(self, reactor: Any) -> None:
        self.listeners = [make_listener_from_table(reactor, kind, options) for kind, options in self.settings.listeners]
        shared = distinct(self.listeners)
        if shared is not None:
            raise BadQueueOption(f"two listeners are called {shared!r}: tell them apart with name=")

    def _read_nudges(self) -> None:
        """Where nudges come in, and what those from other hosts are signed with."""
        settings = self.settings
        self.nudge_addresses = [parse_address(text) for text in settings.nudge]
        if settings.state is not None and not settings.nudge:
            self.nudge_addresses = [UnixAddress(os.path.join(settings.state, SOCKET_NAME))]
        if settings.nudge_secret is not None:
            self.nudge_secret = read_secret(settings.nudge_secret)
        elif any(isinstance(address, UdpAddress) for address in self.nudge_addresses):
            raise BadQueueOption("nudge: whoever sends nudges by UDP signs them: --nudge-secret FILE is missing")

    def _check_port(self, reactor: Any) -> None:
        try:
            serverFromString(reactor, self.endpoint)
        except Exception as error:  # each kind of endpoint has errors of its own
            raise usage.UsageError(
                f"--port {self.endpoint}: {error}; expected digits or an endpoint string such as tcp:8080:interface=0.0.0.0"
            ) from None
        if not self.settings.allow_anonymous and is_public(self.endpoint):
            raise usage.UsageError(
                f"--port {self.endpoint} is not provably loopback or a unix socket, and there is no authentication: "
                "whoever reaches it would see all jobs. Say --allow-anonymous if that is meant"
            )

    @property
    def endpoint(self) -> str:
        """The endpoint string to listen on."""
        port = self.settings.port or DEFAULT_PORT
        return f"tcp:{port}:interface=127.0.0.1:backlog={BACKLOG}" if port.isascii() and port.isdigit() else port


#: The options of the command line that have a value and a namesake in the configuration file.
_VALUES = ("port", "state", "interval", "access-log", "static", "max-held", "keep-events", "keep-days", "nudge-secret")


def is_public(endpoint: str) -> bool:
    """Can others than the users of this host reach it, as far as the string tells?"""
    kind, _, rest = endpoint.partition(":")
    if kind == "unix":
        return False
    fields = rest.replace("\\:", "\0").split(":")
    interfaces = [field.partition("=")[2] for field in fields if field.startswith("interface=")]
    if len(interfaces) != 1 or kind not in ("tcp", "tcp6", "ssl", "tls"):
        return True
    try:
        return not ipaddress.ip_address(interfaces[0].replace("\0", ":")).is_loopback
    except ValueError:
        return True


class CannotStart(Exception):
    """The service cannot start; one line that says why."""


class Assembly(MultiService):
    """The port and what it serves; what fails at the start becomes one line and a non-zero exit."""

    def __init__(self, reactor: Any, options: Options, service: JobPush, site: JobpushSite, api: Any) -> None:
        super().__init__()
        self._options = options
        self._service = service
        self._api = api
        self._port = strports.service(options.endpoint, site)
        self._port.setServiceParent(self)
        service.setServiceParent(self)
        self._garbage = GarbageService(reactor)
        self._garbage.setServiceParent(self)
        service.on_check = self._checked
        self._started = False

    def privilegedStartService(self) -> None:
        """Listen, while a privileged port still may be opened."""
        try:
            super().privilegedStartService()
        except CannotListenError as error:
            self._die(f"cannot listen on {self._options.endpoint}: {error.socketError}")
        except OSError as error:
            self._die(f"cannot listen on {self._options.endpoint}: {error}")

    def startService(self) -> None:
        for line in self._options.found:
            LOG.warn("{line}", line=line)
        if self._service.journal.directory is None:  # type: ignore[attr-defined]
            LOG.warn("the journal is in memory: cursors and known jobs do not survive a restart (--state DIR keeps them)")
        try:
            super().startService()
        except (JournalError, NudgeSocketError) as error:
            self._die(str(error))
        clusters = ", ".join(f"{q.cluster} ({q.queue_type})" for q in self._options.queues)
        LOG.info(
            "jobpush {version} serves {clusters} on {endpoint}",
            version=__version__,
            clusters=clusters,
            endpoint=self._options.endpoint,
        )

    def _die(self, line: str) -> None:
        """End before anything runs: one line, status 1."""
        LOG.critical("{line}", line=line)
        twistd = self._options.parent
        if twistd is not None and not twistd["nodaemon"]:
            raise CannotStart(line)  # the parent of the daemon waits for it to say this
        # Not sys.stderr: with --logfile, twistd has put the log there.
        print(f"jobpush: {line}", file=sys.__stderr__, flush=True)
        raise SystemExit(1)

    def _checked(self) -> None:
        """A scheduler that hides users' jobs from each other must not have them shown to all by an oversight."""
        why = self._api.access.hidden()
        if why is not None and not self._started:
            LOG.critical("{why}", why=why)
            print(f"jobpush: {why}", file=sys.__stderr__, flush=True)
            atexit.register(_exit_with_failure)
            from twisted.internet import reactor

            reactor.callWhenRunning(reactor.stop)
        self._started = self._started or all(
            monitor.status.facts is not None for monitor in self._service.monitors.values()
        )

    def stopService(self) -> Deferred[Any]:
        """Stop listening, answer everybody, then end."""
        self.running = False
        stopped: Deferred[Any] = Deferred.fromCoroutine(self._stop())
        return stopped

    async def _stop(self) -> None:
        await self._port.stopService()
        await self._service.stopService()
        self._garbage.stopService()


def makeService(options: Options) -> IService:
    """The service that these options describe. Opens nothing: twistd goes to the background after this."""
    from twisted.internet import reactor

    settings = options.settings
    retention = Retention(
        events=settings.keep_events or Retention().events,
        seconds=settings.keep_days * 86400.0 if settings.keep_days is not None else Retention().seconds,
    )
    journal = SQLiteJournal(Threads(reactor), settings.state, retention, new_epoch=bool(options["new-epoch"]))
    service = JobPush(
        reactor, options.queues, journal, options.listeners, options=options.queue_options, keep_workflows=retention.seconds
    )
    for address in options.nudge_addresses:
        NudgeSocket(reactor, service.nudges, address, options.nudge_secret, bool(settings.nudge)).setServiceParent(service)
    root = resource(service, bool(settings.allow_anonymous), settings.max_held, settings.static, bool(settings.parking))
    site = JobpushSite(root, reactor, settings.access_log)
    return Assembly(reactor, options, service, site, root.api)


def _exit_with_failure() -> None:
    """twistd ends with status 0 whenever its reactor was stopped in order; this time it was not what was wanted."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(1)
