"""
``twistd jobpush``: the options, and the service that they make. The only module that knows all the others.
"""

from __future__ import annotations

from typing import cast

from twisted.application.service import IService
from twisted.internet.interfaces import IReactorFromThreads

from jobpush.assembly import Assembly
from jobpush.command_line import Options, is_public
from jobpush.events.journal import Retention, SQLiteJournal, Threads
from jobpush.polling.nudge_sockets import IDatagramReactor, NudgeSocket
from jobpush.runtime.clocks import give_elapsed
from jobpush.service import JobPush
from jobpush.settings import DAY_S
from jobpush.web import resource
from jobpush.web.site import JobpushSite

__all__ = ["Options", "is_public", "makeService"]


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
        options=options.made.options,
        keep_workflows=retention.seconds,
    )
    for address in options.nudge_addresses:
        socket = NudgeSocket(
            cast(IDatagramReactor, reactor), service.nudges, address, options.nudge_secret, bool(settings.nudge)
        )
        socket.setServiceParent(service)
    root = resource(
        service,
        settings.allow_anonymous,
        settings.max_held,
        settings.static,
        settings.keep_channels,
        settings.debug_invariants,
        options.hosts(settings),
    )
    site = JobpushSite(root, reactor, settings.access_log, service.instruments)
    return Assembly(reactor, options, service, site, root)
