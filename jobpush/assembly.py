"""
The running process: the ports and what they serve, how it starts and ends, and what it reads again when it is told to (SIGHUP).
(Tests: tests/test_tap.py, tests/with_service/test_life.py, tests/with_service/test_end.py.)
"""

from __future__ import annotations

import atexit
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from twisted.application.service import IService, MultiService
from twisted.internet.defer import Deferred, gatherResults, maybeDeferred
from twisted.internet.error import CannotListenError
from twisted.internet.task import deferLater
from twisted.internet.tcp import Server
from twisted.logger import Logger
from twisted.python.components import Componentized

from jobpush import __version__
from jobpush.command_line import BACKLOG, Options
from jobpush.events.interfaces import JournalError
from jobpush.listen_addresses import InUse, Nowhere, UnixSocket
from jobpush.polling.nudge_sockets import NudgeSocketError
from jobpush.reloading import ConfiguredQueues
from jobpush.runtime.gc_pauses import GcPausesService
from jobpush.runtime.listening import OwnPort, listening_service
from jobpush.runtime.log_file import ServiceLogFile, log_path
from jobpush.runtime.reload import CannotReload, Reloads, has_terminal, on_signal
from jobpush.runtime.sd_notify import notify_of, watchdog_seconds
from jobpush.runtime.supervision import Supervision
from jobpush.service import DRAIN_S, JobPush
from jobpush.settings import ConfigError
from jobpush.tls_endpoint import TlsEndpoint
from jobpush.web import ApiResource
from jobpush.web.connection_shares import ConnectionShares
from jobpush.web.first_requests import FirstRequests
from jobpush.web.health import readiness
from jobpush.web.health_socket import HealthSocket, HealthSocketError
from jobpush.web.proxy_header import ProxyHeader
from jobpush.web.site import JobpushSite

#: Seconds from when all was done to the end of the process.
EXIT_S = 0.5

#: Seconds in which clients that have just connected send their requests, before those that wait are answered.
UNREAD_S = 0.2

LOG = Logger(namespace="jobpush")


class CannotStart(Exception):
    """The service cannot start; one line that says why."""


class Assembly(MultiService):
    """
    The ports and what they serve; what fails at the start becomes one line and a non-zero exit.

    :param asked: returns whether SIGHUP has come before the start.
    """

    def __init__(
        self,
        reactor: Any,
        options: Options,
        service: JobPush,
        site: JobpushSite,
        api: ApiResource,
        asked: Callable[[], bool] = lambda: False,
    ) -> None:
        super().__init__()
        self._reactor = reactor
        self._options = options
        self._service = service
        self._api = api
        self._site = site
        site.arrivals.give_up_idle.append(api.connections.give_up_idle)
        site.arrivals.on_refused.append(partial(api.registry.shares.note, "connections", "all"))
        self._share_connections()
        self._health = self._health_socket()
        first = FirstRequests(api.turns, site)
        self._ports = [listening_service(reactor, endpoint, first) for endpoint in options.endpoints]
        if isinstance(options.users_address, UnixSocket):
            self._ports.append(OwnPort(reactor, partial(options.users_address.open, BACKLOG), first))
        for port in self._ports:
            port.setServiceParent(self)
        service.setServiceParent(self)
        self._gc_pauses = GcPausesService(reactor)
        self._gc_pauses.setServiceParent(self)
        service.on_check.append(self._checked)
        self._started = False
        self._supervision = Supervision(reactor, notify_of(), self._status, lambda: service.stuck, watchdog_seconds())
        self._queues = ConfiguredQueues(
            reactor, service, options.read_again, options.settings, options.made, options.knows_users
        )
        self.reloads = Reloads(self._supervision.reloading, self._supervision.reloaded)
        self.reloads.add("the access log", site.access_log.reopen)
        self.reloads.add("the hosts", self._reload_hosts)
        self.reloads.add("the origins", self._reload_origins)
        self.reloads.add("the queues", self._queues.reload)
        for port in self._ports:
            endpoint = getattr(port, "endpoint", None)
            if isinstance(endpoint, TlsEndpoint):
                self.reloads.add("the certificate", endpoint.certificates.reload)
        self._add_authenticators()
        self._asked = asked
        self._in_terminal = False
        self._forget_signal = lambda: None

    def _add_authenticators(self) -> None:
        """Start and stop what ``--auth`` has made with this, and read it again on SIGHUP, if it is for that."""
        for kind, authenticator in self._options.authenticators:
            if IService.providedBy(authenticator):
                authenticator.setServiceParent(self)
            if hasattr(authenticator, "reload"):
                self.reloads.add(f"auth {kind}", authenticator.reload)

    def _share_connections(self) -> None:
        """Where clients can say who they are, none of them may have more than a share of the connections."""
        api, site, share = self._api, self._site, self._options.settings.max_connections_each
        if share is None and not api.identity:
            return

        def closable(protocol: object) -> int | None:
            kinds = (protocol in site.arrivals, api.connections.is_idle(protocol), protocol in site.departures)
            return next((place for place, fits in enumerate(kinds) if fits), None)

        proxies = [each.proxies for _, each in self._options.authenticators if isinstance(each, ProxyHeader)]
        made = ConnectionShares(
            self._reactor,
            site.arrivals,
            lambda: [each for each in {*self._reactor.getReaders(), *self._reactor.getWriters()} if isinstance(each, Server)],
            closable,
            share,
            frozenset().union(*proxies),
            partial(api.registry.shares.note, "connections", "one"),
        )
        site.arrivals.refusal = made.refusal
        made.setServiceParent(self)

    def _health_socket(self) -> HealthSocket | None:
        """Make what answers health checks, the first of what is started here."""
        address = self._options.health_address
        if isinstance(address, Nowhere):
            return None
        wanted = self._options.settings.health is not None
        made = HealthSocket(self._reactor, address, lambda: readiness(self._service, self._api.registry.held), wanted)
        made.setServiceParent(self)
        return made

    def setServiceParent(self, parent: Any) -> None:
        """Belong to twistd's application, which logs to the file of ``--logfile`` from now on."""
        super().setServiceParent(parent)
        path = log_path(self._options.parent or {}) if isinstance(parent, Componentized) else None
        if path is not None:
            file = ServiceLogFile(self._reactor, path)
            file.observe_for(parent)
            self.reloads.add("the log", file.reopen)

    def _reload_hosts(self) -> str | None:
        """Be known by the names that the settings give now, and by those that this host has now."""
        try:
            given = self._options.hosts(self._options.read_again())
        except ConfigError as error:
            raise CannotReload(str(error)) from None
        hosts = self._api.admission.hosts
        hosts.look_up(self._reactor)
        if not hosts.give(given):
            return None
        self._api.connections.forget_header_blocks()
        return f"known as {', '.join(hosts.names)}"

    def _reload_origins(self) -> str | None:
        """Answer the pages of the origins that the settings list now."""
        try:
            given = self._options.read_again().cors
        except ConfigError as error:
            raise CannotReload(str(error)) from None
        cors = self._api.admission.cors
        if not cors.give(given):
            return None
        self._api.connections.forget_header_blocks()
        return f"pages of {', '.join(cors.listed) or 'no other origin'} may ask"

    def _hangup(self) -> None:
        """SIGHUP: read again what can be read again; where the terminal was closed that the process runs in, end."""
        if not self._in_terminal or has_terminal():
            self.reloads.reload()
        elif self.running:
            self._reactor.stop()

    def _status(self) -> str:
        """What it is doing, in a line for ``systemctl status``."""
        held = self._api.registry.held
        queues = ", ".join(f"{name}: {monitor.status.health}" for name, monitor in self._service.monitors.items())
        return f"{queues}; {held} requests held"

    def privilegedStartService(self) -> None:
        """Listen, while a privileged port still may be opened."""
        self._check_access_log()
        try:
            super().privilegedStartService()
        except HealthSocketError as error:
            self._die(f"{self._options.where('health')}: {error}")
        except InUse as error:
            self._die(f"{self._options.where('socket')}: {error}")
        except (CannotListenError, OSError) as error:
            cause = error.socketError if isinstance(error, CannotListenError) else error
            reason = (isinstance(cause, OSError) and cause.strerror) or cause
            line = f"{self._options.where_it_listens()}: cannot listen: {reason}"
            unserved = self._options.unserved
            hint = f" ({', '.join(unserved)} was handed over; it is used where no port is set)" if unserved else ""
            self._die(line + hint)

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
        if self._health is not None:
            self._health.started()
        clusters = ", ".join(f"{q.cluster} ({q.queue_type})" for q in self._options.queues)
        LOG.info(
            "jobpush {version} serves {clusters} on {endpoint}",
            version=__version__,
            clusters=clusters,
            endpoint=self._options.listens_on,
        )
        if self._options.unserved:
            LOG.warn(
                "{where}: nobody accepts on what was handed over: {sockets}",
                where=self._options.where("port"),
                sockets=", ".join(self._options.unserved),
            )
        if threading.current_thread() is threading.main_thread():
            self._in_terminal = has_terminal()
            self._forget_signal = on_signal(self._reactor, signal.SIGHUP, self._hangup)
            if self._asked():
                self._reactor.callWhenRunning(self.reloads.reload)
        self._api.admission.hosts.look_up(self._reactor)
        self._supervision.start()

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
        why = self._api.access.refusal()
        if why is not None and not self._started and not self._options.knows_users:
            LOG.critical("{why}", why=why)
            print(f"jobpush: {why}", file=sys.__stderr__, flush=True)
            atexit.register(_exit_with_failure)
            self._reactor.callWhenRunning(self._reactor.stop)
        self._started = self._started or all(
            monitor.status.facts is not None for monitor in self._service.monitors.values()
        )

    def stopService(self) -> Deferred[None]:
        """Stop listening, answer everybody, then end."""
        self.running = False
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        self._supervision.stop()
        self._queues.give_up()
        await self.reloads.close()
        await gatherResults([maybeDeferred(port.stopService) for port in self._ports])
        until = self._reactor.seconds() + UNREAD_S
        while self._site.arrivals and self._reactor.seconds() < until:
            await deferLater(self._reactor, 0.01)
        until = self._reactor.seconds() + DRAIN_S
        stopped = self._service.stopService()
        if self._health is not None:
            self._health.note()
        await stopped
        while self._unread() and self._reactor.seconds() < until:
            await deferLater(self._reactor, 0.02)
        self._gc_pauses.stopService()
        if self._health is not None:
            self._health.stopService()
        self._supervision.end()
        self._forget_signal()
        if self._options.parent is not None:  # under twistd, whose process ends now
            threading.Thread(target=_exit_anyway, daemon=True).start()

    def _unread(self) -> bool:
        """Return whether a client has not read what it was answered: as much of it as the kernel does not take waits here."""
        return any(hasattr(writer, "server") for writer in self._reactor.getWriters())


def _exit_anyway() -> None:
    """All has been done: a thread that waits for a file server that is gone must not keep the process."""
    time.sleep(EXIT_S)
    LOG.warn("something still runs on a thread; it is not waited for")
    os._exit(0)


def _exit_with_failure() -> None:
    """twistd ends with status 0 whenever its reactor was stopped in order; this time it was not what was wanted."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(1)
