"""
The HTTP side of jobpush. ``resource(service)`` can be mounted anywhere in a tree of Twisted resources.
"""

from __future__ import annotations

import encodings.idna  # noqa: F401 - Werkzeug loads it late, when twistd --uid may no longer read it
from typing import Any

from klein import Klein
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.web.iweb import IRequest
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET
from werkzeug.exceptions import HTTPException

from jobpush.runtime.timer_wheel import TimerWheel
from jobpush.service import JobPush
from jobpush.web.access import Access
from jobpush.web.answering import Answering, Routes
from jobpush.web.app import ERRORS, make_app
from jobpush.web.dispatch import Dispatch
from jobpush.web.held.connections import Connections
from jobpush.web.held.registry import RESERVE, Registry, raise_descriptor_limit
from jobpush.web.metrics import Metrics
from jobpush.web.principal import ANONYMOUS
from jobpush.web.problems import Problem
from jobpush.web.requests import ClientRequest, client_request
from jobpush.web.routes.barriers import BarrierRoutes
from jobpush.web.routes.changes import ChangeRoutes
from jobpush.web.routes.common import Polls
from jobpush.web.routes.jobs import JobRoutes
from jobpush.web.routes.operations import OperationRoutes
from jobpush.web.routes.pages import PageRoutes
from jobpush.web.routes.streams import StreamRoutes
from jobpush.web.routes.workflows import WorkflowRoutes
from jobpush.web.static import Static

#: Addresses that are answered whoever asks.
_OPEN = (b"/healthz", b"/readyz", b"/metrics")

LOG = Logger(namespace="jobpush.web")

#: Seconds between two checks of the invariants of held requests, where that is asked for.
CHECK_S = 1.0


class ApiResource(Resource):
    """
    The routes, behind what must hold for every request.

    :ivar app: Klein's application: the routes.
    :ivar isLeaf: all paths below are its own, as `IResource` has it.
    :ivar registry: every held request.
    :ivar connections: the connections that have no HTTP channels.
    """

    isLeaf = True

    def __init__(
        self,
        app: Klein,
        dispatch: Dispatch,
        service: JobPush,
        access: Access,
        registry: Registry,
        connections: Connections,
    ) -> None:
        super().__init__()
        self.app = app
        self._dispatch = dispatch
        self.registry = registry
        self.connections = connections
        self.access = access
        #: The requests that keep their channels and are not answered yet, held or not.
        self._requests: dict[ClientRequest, None] = {}
        self._hidden = access.hidden()
        service.on_check.append(self._checked)
        service.serve(self)

    def render(self, request: IRequest) -> Any:
        return self._admit(client_request(request))

    def _admit(self, request: ClientRequest) -> Any:
        request.principal = ANONYMOUS
        request.connections = self.connections
        try:
            self._check(request)
        except Problem as problem:
            return _refuse(request, problem)
        if self.registry.closing:
            request.setHeader(b"connection", b"close")
            if getattr(request.channel, "persistent", False):
                request.channel.persistent = 0
        request.admitted = True
        self._requests[request] = None
        request.notifyFinish().addBoth(lambda _: self._requests.pop(request, None))
        try:
            return self._dispatch.render(request, request.getRequestHostname().decode())
        except HTTPException as error:  # the router's, before there is a route: a host that is none
            request.admitted = False
            return _refuse(request, Problem(400, f"the Host header is not a host name ({error.name})", "Host", close=True))

    def _check(self, request: ClientRequest) -> None:
        """
        Check what must hold for every request. One that does not pass leaves no header block for the next on its connection.

        :raise Problem: if it does not; the connection ends.
        """
        for part in (*request.prepath, *request.postpath, request.getRequestHostname()):
            try:
                part.decode("utf-8")
            except UnicodeDecodeError:
                raise Problem(400, "the path or the host is not UTF-8", "path", close=True) from None
        if request.path not in _OPEN:
            self.access.check()

    def _checked(self) -> None:
        """A queue has said what may be seen: where that has changed, nobody who passed before passes unseen."""
        hidden = self.access.hidden()
        if hidden != self._hidden:
            self._hidden = hidden
            self.connections.forget_header_blocks()

    # -- `jobpush.service.Clients`

    @property
    def busy(self) -> bool:
        """Whether a request is being answered or held."""
        return bool(self._requests) or self.registry.held > 0

    def close(self) -> None:
        """Answer every held request, and hold none from now on."""
        self.registry.close()

    def removed(self, cluster: str) -> None:
        """Answer every held request that names this cluster, which is served no more."""
        self.registry.removed(cluster)


def _refuse(request: ClientRequest, problem: Problem) -> int:
    problem.send(request)
    return NOT_DONE_YET


def resource(
    service: JobPush,
    allow_anonymous: bool = False,
    max_held: int | None = None,
    static: str | None = None,
    keep_channels: bool = False,
    debug_invariants: bool = False,
) -> ApiResource:
    """
    Make the API as a resource.

    :param allow_anonymous: serve all jobs to everybody even where the scheduler hides them from each other.
    :param max_held: how many requests may be held at once; by default what the limit of open files allows, which is raised.
    :param static: a directory whose files are served beside the API.
    :param keep_channels: hold every request with its HTTP channel, even where that is not needed (`jobpush.web.held`).
    :param debug_invariants: check each second what must be so of held requests, and log as an error what is not.
    """
    reactor: IReactorTime = service.reactor
    limit = max_held if max_held is not None else max(16, raise_descriptor_limit() - RESERVE)
    registry = Registry(reactor, service.cooperator, service.tracker, service, limit, TimerWheel(reactor))
    polls = Polls(service)
    jobs, barriers, workflows = JobRoutes(service, polls), BarrierRoutes(service, polls), WorkflowRoutes(service, polls)
    routes = Routes(
        {
            "jobs": jobs.list,
            "job": jobs.job,
            "jobstatus": jobs.jobstatus,
            "changes": ChangeRoutes(service, polls).changes,
            "wait": barriers.wait,
            "workflow": workflows.workflow,
        }
    )
    connections = Connections(reactor, registry, routes.ask, service.moment, service.instruments, not keep_channels)
    answering = Answering(reactor, service.cooperator, registry, connections, routes.ask)
    pages = PageRoutes(Metrics(service, registry), Static(static) if static is not None else None)
    app, handlers = make_app(
        answering, StreamRoutes(service, registry, connections), workflows, OperationRoutes(service, registry), pages
    )
    if debug_invariants:
        check = LoopingCall(_check_invariants, registry, connections)
        check.clock = reactor
        check.start(CHECK_S, now=False)
    return ApiResource(app, Dispatch(app, handlers, ERRORS), service, Access(service, allow_anonymous), registry, connections)


def _check_invariants(registry: Registry, connections: Connections) -> None:
    for violation in (*registry.violations(), *connections.violations()):
        LOG.error("an invariant of held requests is violated: {violation}", violation=violation)
