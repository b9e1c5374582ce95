"""
``twistd jobpush``: the options, and the service that they make. The only module that knows all the others.
"""

from __future__ import annotations

import atexit
import ipaddress
import os
import sys
from typing import cast

from twisted.application import strports
from twisted.application.service import IService, MultiService
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IReactorFromThreads, IReactorTime
from twisted.logger import Logger
from twisted.python import usage

from jobpush import __version__
from jobpush.adapter.interfaces import BadQueueOption, IBatchQueueService
from jobpush.adapter.options import OptionValues, declared, help_text
from jobpush.adapter.registry import detect_queues, make_queue_from_table, queue_factories
from jobpush.events.interfaces import IJobStatusListener, JournalError
from jobpush.events.journal import Retention, SQLiteJournal, Threads
from jobpush.events.listeners import distinct, listener_factories, make_listener_from_table
from jobpush.polling.nudge_sockets import (
    SOCKET_NAME,
    IDatagramReactor,
    NudgeSocket,
    NudgeSocketError,
    UdpAddress,
    UnixAddress,
    read_secret,
)
from jobpush.polling.queue_options import CommonOptions, PollingOptions, take_common_options
from jobpush.runtime.clocks import give_elapsed
from jobpush.runtime.gc_pauses import GcPausesService
from jobpush.service import JobPush
from jobpush.settings import DAY_S, CommandLine, ConfigError, Given, Settings, explained, is_digits, make_settings, read_file
from jobpush.web import ApiResource, resource
from jobpush.web.site import JobpushSite

#: Connections that may wait to be accepted. Thousands of clients come back at once after each event; the default of 50
#: makes most of them wait for a second or three until TCP tries again.
BACKLOG = 4096

LOG = Logger(namespace="jobpush")


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
        self.queues: list[IBatchQueueService] = []
        self.queue_options: dict[str, PollingOptions] = {}
        self.listeners: list[IJobStatusListener] = []
        self.nudge_addresses: list[UnixAddress | UdpAddress] = []
        self.nudge_secret: bytes | None = None
        self.found: list[str] = []
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

    def opt_version(self) -> None:
        """Show the version of jobpush"""
        print(f"jobpush {__version__}")
        raise SystemExit(0)

    def postOptions(self) -> None:
        """Check everything, and make the queues. Nothing is opened."""
        from twisted.internet import reactor

        try:
            self._given = self.given()
            if "config" in self._given:
                self._given = {**read_file(self._given["config"].value), **self._given}
            self.settings = make_settings(self._given)
            self._make_queues(reactor)
            self._make_listeners(reactor)
            self._read_nudges()
            self._check_port(reactor)
            self._check_static()
        except (ConfigError, BadQueueOption) as error:
            raise usage.UsageError(str(error)) from None

    def where(self, field: str, path: str = "") -> str:
        """
        Return where an option was given and how, for errors.

        :param field: of `Settings`.
        :param path: the path that its value stands for, which is added if it was given as a relative one.
        """
        given = self._given.get(field)
        where = given.where if given is not None else f"{field} = {getattr(self.settings, field)}"
        return where if path in where else f"{where}: {path}"

    def _make_queues(self, reactor: object) -> None:
        interval = {} if self.settings.interval is None else {"interval": self.settings.interval}
        for asked in self.settings.queues:
            with explained(asked):
                own, rest = take_common_options(OptionValues({**interval, **asked.options}, asked.options.directory))
                queue = make_queue_from_table(reactor, asked.type, rest)
                self._add_queue(queue)
            self.queue_options[queue.cluster] = own
        if not self.settings.queues:
            for queue, evidence in detect_queues(reactor, interval):
                self._add_queue(queue)
                self.found.append(f"found {queue.queue_type}: {evidence}")
        if not self.queues:
            self._add_queue(make_queue_from_table(reactor, "mock", interval))
            self.found.append(
                "NO SCHEDULER WAS FOUND ON THIS HOST: serving the mock queue, a demonstration with invented jobs. "
                "Name a scheduler with --queue"
            )

    def _add_queue(self, queue: IBatchQueueService) -> None:
        if queue.cluster in [other.cluster for other in self.queues]:
            raise BadQueueOption(f"two queues are called {queue.cluster!r}: tell them apart with cluster=")
        self.queues.append(queue)

    def _make_listeners(self, reactor: object) -> None:
        for asked in self.settings.listeners:
            with explained(asked):
                self.listeners.append(make_listener_from_table(reactor, asked.type, asked.options))
                shared = distinct(self.listeners)
                if shared is not None:
                    raise BadQueueOption(f"two listeners are called {shared!r}: tell them apart with name=")

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

    def _check_port(self, reactor: object) -> None:
        where = self.where("port")
        try:
            serverFromString(reactor, self.endpoint)
        except Exception as error:  # each kind of endpoint has errors of its own
            raise ConfigError(
                f"{where}: {error}; expected digits or an endpoint string such as tcp:8080:interface=0.0.0.0"
            ) from None
        if not self.settings.allow_anonymous and is_public(self.endpoint):
            raise ConfigError(
                f"{where} is not provably loopback or a unix socket, and there is no authentication: "
                "whoever reaches it would see all jobs. Say --allow-anonymous if that is meant"
            )

    def _check_static(self) -> None:
        static = self.settings.static
        if static is not None and not os.path.isdir(static):
            raise ConfigError(f"{self.where('static', static)}: there is no such directory")
        if static is not None and not os.access(static, os.R_OK | os.X_OK):
            raise ConfigError(f"{self.where('static', static)}: this account may not read the directory")

    @property
    def endpoint(self) -> str:
        """The endpoint string to listen on."""
        port = self.settings.port
        return f"tcp:{port}:interface=127.0.0.1:backlog={BACKLOG}" if is_digits(port) else port


def is_public(endpoint: str) -> bool:
    """Return whether others than the users of this host may reach an endpoint, as far as its string tells."""
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

    def __init__(self, reactor: IReactorTime, options: Options, service: JobPush, site: JobpushSite, api: ApiResource) -> None:
        super().__init__()
        self._options = options
        self._service = service
        self._api = api
        self._port = strports.service(options.endpoint, site)
        self._port.setServiceParent(self)
        service.setServiceParent(self)
        self._gc_pauses = GcPausesService(reactor)
        self._gc_pauses.setServiceParent(self)
        service.on_check.append(self._checked)
        self._started = False

    def privilegedStartService(self) -> None:
        """Listen, while a privileged port still may be opened."""
        self._check_access_log()
        try:
            super().privilegedStartService()
        except (CannotListenError, OSError) as error:
            cause = error.socketError if isinstance(error, CannotListenError) else error
            reason = (isinstance(cause, OSError) and cause.strerror) or cause
            self._die(f"{self._options.where('port')}: cannot listen: {reason}")

    def _check_access_log(self) -> None:
        path = self._options.settings.access_log
        if path is None:
            return
        try:
            # A pipe that nobody reads is refused, and not waited for.
            os.close(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK | os.O_CLOEXEC, 0o666))
        except OSError as error:
            self._die(f"{self._options.where('access_log', path)}: the file cannot be written: {error.strerror}")

    def startService(self) -> None:
        for line in self._options.found:
            LOG.warn("{line}", line=line)
        if self._options.settings.state is None:
            LOG.warn("the journal is in memory: cursors and known jobs do not survive a restart (--state DIR keeps them)")
        try:
            super().startService()
        except JournalError as error:
            self._die(str(error) if self._options.settings.state is None else f"{self._options.where('state')}: {error}")
        except NudgeSocketError as error:
            self._die(f"{self._options.where('nudge')}: {error}")
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

    def stopService(self) -> Deferred[None]:
        """Stop listening, answer everybody, then end."""
        self.running = False
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        await self._port.stopService()
        await self._service.stopService()
        self._gc_pauses.stopService()


def makeService(options: Options) -> IService:
    """
    The service that these options describe. Opens nothing: twistd goes to the background after this.

    The reactor is twistd's own, and nothing uses it yet: from now on no setting of the host's clock stops its delayed calls.
    """
    from twisted.internet import reactor

    give_elapsed(reactor)
    settings = options.settings
    retention = Retention(settings.keep_events, settings.keep_days * DAY_S)
    threads = Threads(cast(IReactorFromThreads, reactor))
    journal = SQLiteJournal(threads, settings.state, retention, new_epoch=settings.new_epoch)
    service = JobPush(
        reactor,
        options.queues,
        journal,
        options.listeners,
        options=options.queue_options,
        keep_workflows=retention.seconds,
    )
    for address in options.nudge_addresses:
        socket = NudgeSocket(
            cast(IDatagramReactor, reactor), service.nudges, address, options.nudge_secret, bool(settings.nudge)
        )
        socket.setServiceParent(service)
    root = resource(
        service, settings.allow_anonymous, settings.max_held, settings.static, settings.keep_channels, settings.debug_invariants
    )
    site = JobpushSite(root, reactor, settings.access_log, service.instruments)
    return Assembly(reactor, options, service, site, root)


def _exit_with_failure() -> None:
    """twistd ends with status 0 whenever its reactor was stopped in order; this time it was not what was wanted."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(1)
