"""
``twistd jobpush``: the options, and the service that they make. The only module that knows all the others.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from typing import cast

from twisted.application.service import IService
from twisted.internet.interfaces import IReactorFromThreads

from jobpush.assembly import Assembly
from jobpush.command_line import Options, is_public
from jobpush.core.workflow_quotas import Quotas, Usage
from jobpush.events.journal import Retention, SQLiteJournal
from jobpush.events.journal_threads import Threads
from jobpush.listen_addresses import UnixSocket
from jobpush.polling.nudge_sockets import IDatagramReactor, NudgeSocket
from jobpush.runtime.accounts import Accounts
from jobpush.runtime.clocks import give_elapsed
from jobpush.runtime.reload import has_terminal, noted
from jobpush.service import JobPush
from jobpush.settings import DAY_S
from jobpush.web import Each, resource
from jobpush.web.access import Anonymous, Policy
from jobpush.web.identity import Identity, Roles
from jobpush.web.peers import PeerCredentials, no_answer
from jobpush.web.proxy_header import ProxyHeader
from jobpush.web.site import JobpushSite
from jobpush.web.tickets import TicketAuthenticator, Tickets
from jobpush.web.tokens import TokenAuthenticator, Tokens

__all__ = ["Options", "is_public", "makeService"]

MIB = 1024 * 1024


def _who_asks(options: Options, reactor: object, service: JobPush) -> tuple[Policy, Identity, Tokens | None, Tickets | None]:
    """What the options say on who may see what, and how it is found out who asks."""
    settings = options.settings
    accounts = Accounts(reactor)
    identity = Identity((), Roles(frozenset(settings.operators)), lambda name: accounts.groups_of(name).addErrback(no_answer))
    anonymous = Anonymous.ALWAYS if settings.allow_anonymous else Anonymous.OPEN
    if not options.knows_users:
        return Policy(anonymous, settings.private), identity, None, None
    tokens = Tokens(service.journal, service.clocks.wall, identity.revoke)
    identity.add(TokenAuthenticator(service.reactor, tokens, service.clocks.wall))
    for _, authenticator in options.authenticators:
        identity.add(authenticator)
    uids = [each.proxies for _, each in options.authenticators if isinstance(each, ProxyHeader)]
    identity.add(PeerCredentials(accounts, frozenset().union(*uids), settings.allow_anonymous))
    ways = identity.ways
    tickets = Tickets(service.reactor)
    identity.add(TicketAuthenticator(service.reactor, tickets))
    identity.on_revoked.append(tickets.revoke)
    return Policy(anonymous, settings.private, ways), identity, tokens, tickets


def makeService(options: Options) -> IService:
    """
    The service that these options describe. Opens nothing: twistd goes to the background after this.

    The reactor is twistd's own, and nothing uses it yet: from now on no setting of the host's clock stops its delayed calls.
    """
    from twisted.internet import reactor

    give_elapsed(reactor)
    asked = _note_hangups(options)
    settings = options.settings
    retention = Retention(settings.keep_events, settings.keep_days * DAY_S)
    threads = Threads(cast(IReactorFromThreads, reactor))
    journal = SQLiteJournal(threads, settings.state, retention, new_epoch=settings.new_epoch)
    service = JobPush(
        reactor,
        options.queues,
        journal,
        options.listeners,
        options=options.made.options,
        keep_workflows=retention.seconds,
        quotas=Quotas(
            Usage(settings.owner_workflows, settings.owner_workflow_jobs, settings.owner_workflow_mb * MIB),
            Usage(settings.max_workflows, settings.max_workflow_jobs, settings.max_workflow_mb * MIB),
        ),
    )
    for address in options.nudge_addresses:
        socket = NudgeSocket(
            cast(IDatagramReactor, reactor), service.nudges, address, options.nudge_secret, bool(settings.nudge)
        )
        socket.setServiceParent(service)
    policy, identity, tokens, tickets = _who_asks(options, reactor, service)
    root = resource(
        service,
        policy,
        identity,
        tokens,
        settings.max_held,
        settings.static,
        settings.keep_channels,
        settings.debug_invariants,
        options.hosts(settings),
        Each(settings.max_held_each, settings.max_requests_each),
        settings.max_requests,
        tickets,
        settings.cors,
        settings.show_version,
    )
    has_socket = isinstance(options.users_address, UnixSocket)
    site = JobpushSite(root, reactor, settings.access_log, service.instruments, has_socket)
    return Assembly(reactor, options, service, site, root, asked)


def _note_hangups(options: Options) -> Callable[[], bool]:
    """
    Let a SIGHUP that comes before the start is over, which takes minutes where a large journal is upgraded, end nothing, unless
    it is a terminal's. Returns what says whether one has come.
    """
    if options.parent is None or threading.current_thread() is not threading.main_thread():
        return lambda: False
    if options.parent.get("nodaemon", True) and has_terminal():  # `twist` never goes to the background
        return lambda: False
    return noted(signal.SIGHUP)
