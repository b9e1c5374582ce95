"""
The HTTP side of jobpush. ``resource(service)`` can be mounted anywhere in a tree of Twisted resources.
"""

from __future__ import annotations

import encodings.idna  # noqa: F401 - Werkzeug loads it late, when twistd --uid may no longer read it
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from typing import Any

import attrs
from klein import Klein
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.iweb import IRequest
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET
from werkzeug.exceptions import HTTPException

from jobpush.core.filters import NOTHING
from jobpush.runtime.descriptors import raise_descriptor_limit
from jobpush.runtime.host_names import KnownHosts
from jobpush.runtime.repeated import Repeated
from jobpush.runtime.timer_wheel import TimerWheel
from jobpush.runtime.turns import Turns
from jobpush.service import JobPush
from jobpush.web import audit
from jobpush.web.access import Access, Policy
from jobpush.web.admission import HEALTH, READYZ, Admission
from jobpush.web.answering import Answering, Routes
from jobpush.web.app import make_app
from jobpush.web.cors import Cors, preflight
from jobpush.web.dispatch import Dispatch
from jobpush.web.held.connections import Connections
from jobpush.web.held.judging import Judging
from jobpush.web.held.registry import MOST_BYTES, RESERVE, Registry
from jobpush.web.identity import Identity
from jobpush.web.metrics import Metrics
from jobpush.web.principal import ANONYMOUS, Principal
from jobpush.web.problems import Problem, fault, nothing_at, revoked
from jobpush.web.requests import ClientRequest, client_request
from jobpush.web.responses import guard
from jobpush.web.routes.barriers import BarrierRoutes
from jobpush.web.routes.changes import ChangeRoutes
from jobpush.web.routes.common import Polls
from jobpush.web.routes.jobs import JobRoutes
from jobpush.web.routes.operations import OperationRoutes
from jobpush.web.routes.pages import PageRoutes
from jobpush.web.routes.streams import StreamRoutes
from jobpush.web.routes.tickets import TicketRoutes
from jobpush.web.routes.tokens import TokenRoutes
from jobpush.web.routes.workflows import WorkflowRoutes
from jobpush.web.shares import PARTS, REQUESTS_S, Shares
from jobpush.web.static import Static
from jobpush.web.tickets import Tickets
from jobpush.web.tokens import Tokens

#: What is for operators where it is known who asks.
_METRICS = b"/metrics"

#: Addresses that are answered whoever asks, and what those of more of them begin with: they show no job. As the client has
#: written them: what is written otherwise is not one of these.
_OPEN = frozenset((*HEALTH, _METRICS, b"/", b"/dashboard", b"/docs", b"/openapi.json"))
_OPEN_BELOW = b"/dashboard/"

#: Where who asks is told who that is, as far as is known here: a page behind a proxy that signs users in does not know it.
_NAMES_WHO_ASKS = b"/v1/jobs"

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
    :ivar turns: in which requests are answered.
    """

    isLeaf = True

    def __init__(
        self,
        app: Klein,
        dispatch: Dispatch,
        service: JobPush,
        access: Access,
        admission: Admission,
        identity: Identity,
        registry: Registry,
        connections: Connections,
        judging: Judging,
        turns: Turns,
    ) -> None:
        super().__init__()
        self.app = app
        self._dispatch = dispatch
        self.registry = registry
        self.connections = connections
        self.turns = turns
        self.access = access
        self.admission = admission
        self.identity = identity
        self.judging = judging
        #: The requests that keep their channels and are not answered yet, held or not.
        self._requests: dict[ClientRequest, None] = {}
        service.hiding.on_change.append(self._changed)
        identity.on_revoked.append(self._revoked)
        service.serve(self)

    def render(self, request: IRequest) -> Any:
        return self._admit(client_request(request))

    def _admit(self, request: ClientRequest) -> Any:
        request.connections = self.connections
        request.principal, request.visibility, request.ticket, request.revoked = ANONYMOUS, NOTHING, None, False
        request.cross_origin = False
        request.unread = self.connections.unread
        guard(request)
        try:
            self._check(request)
        except Problem as problem:
            return _refuse(request, problem)
        if self.registry.closing:
            request.setHeader(b"connection", b"close")
            if getattr(request.channel, "persistent", False):
                request.channel.persistent = 0
        self._requests[request] = None
        request.notifyFinish().addBoth(lambda _: self._requests.pop(request, None))
        if request.path in HEALTH:
            if request.path != READYZ or not self.identity or self.access.is_open():
                return self._render(request)
            Deferred.fromCoroutine(self._readyz(request)).addErrback(self._failed, request)
            return NOT_DONE_YET
        answer = preflight(request)
        if answer is not None or self._is_open(request.path):
            try:
                self.registry.shares.ask(ANONYMOUS)
            except Problem as problem:
                return _refuse(request, problem)
            if answer is None:
                return self._render(request)
            request.write(answer.apply(request))
            request.finish()
            return NOT_DONE_YET
        Deferred.fromCoroutine(self._identify(request)).addErrback(self._failed, request)
        return NOT_DONE_YET

    def _is_open(self, path: bytes) -> bool:
        return (path in _OPEN and not (path == _METRICS and self.identity)) or path.startswith(_OPEN_BELOW)

    async def _identify(self, request: ClientRequest) -> None:
        """
        Find out who asks, and whose jobs that one may see, and answer.

        :raise Problem: if that is not said, or wrong; the connection ends.
        """
        with audit.refusals(request):
            request.principal = principal = await self.identity.principal(request)
        self.registry.shares.ask(principal)
        with audit.refusals(request):
            request.visibility = await self.access.found_out(principal)
        if request.revoked:
            raise revoked()
        if request.path == _NAMES_WHO_ASKS and principal.name:
            request.setHeader(b"jobpush-user", principal.name.encode())
        if request in self._requests:  # the client has not left meanwhile
            # The next request on the connection that has the same headers is asked by the same. What is answered whoever asks
            # leaves no headers for a request of another address, nor does one with a ticket, or of another origin's page.
            request.admitted = request.ticket is None and not request.cross_origin
            self._render(request)

    async def _readyz(self, request: ClientRequest) -> None:
        """Answer whoever asks whether the service is ready; what else there is to say depends on who it is."""
        with suppress(Problem):
            request.principal = await self.identity.principal(request)
        if request in self._requests:
            self._render(request)

    def _failed(self, failure: Failure, request: ClientRequest) -> None:
        """It could not be found out who asks."""
        problem = failure.value
        if not isinstance(problem, Problem):
            LOG.failure("who asks could not be found out", failure)
            problem = fault(close=True)
        if request in self._requests:
            _refuse(request, problem)

    def _render(self, request: ClientRequest) -> Any:
        try:
            return self._dispatch.render(request, request.getRequestHostname().decode())
        except HTTPException as error:  # the router's, before there is a route: a host that is none
            request.admitted = False
            return _refuse(request, Problem(400, f"the Host header is not a host name ({error.name})", "Host", close=True))

    def _check(self, request: ClientRequest) -> None:
        """
        Check what must hold for every request. One that does not pass leaves no header block for the next on its connection.

        :raise Problem: if it does not.
        """
        self.admission.check(request)
        for part in (*request.prepath, *request.postpath, request.getRequestHostname()):
            try:
                part.decode("utf-8")
            except UnicodeDecodeError:
                raise Problem(400, "the path or the host is not UTF-8", "path", close=True) from None
        if len(request.postpath) > 1 and not request.postpath[0]:
            raise nothing_at(request)  # two slashes at the beginning, which the router takes for one

    def _changed(self) -> None:
        """What may be seen has changed: nobody who passed before passes unseen, and what is held is judged again."""
        self.connections.forget_header_blocks()
        self.judging.judge()
        self.access.changed()

    def _revoked(self, is_revoked: Callable[[Principal], bool]) -> None:
        """Some credentials are none any more."""
        self.connections.forget_header_blocks()
        for request in self._requests:  # what they ask is being found out, or who may see what
            request.revoked = request.revoked or is_revoked(request.principal)
        self.judging.revoke(is_revoked)

    # -- `jobpush.service.Clients`

    @property
    def busy(self) -> bool:
        """Whether a request is being answered or held."""
        return bool(self._requests or self.turns) or self.registry.held > 0

    def close(self) -> None:
        """Answer every held request, and hold none from now on."""
        self.registry.close()

    def removed(self, cluster: str) -> None:
        """Answer every held request that names this cluster, which is served no more."""
        self.registry.removed(cluster)


def _refuse(request: ClientRequest, problem: Problem) -> int:
    problem.send(request)
    return NOT_DONE_YET


@attrs.frozen
class Each:
    """
    How much one principal may take. Who does not say who he is has one share with all who do not.

    :ivar held: requests that are held; None for a quarter of all where clients can say who they are, else for all.
    :ivar requests: a second, in the long run; None for a thousand where clients can say who they are, else for any number.
    """

    held: int | None = None
    requests: int | None = None


def resource(
    service: JobPush,
    policy: Policy = Policy(),  # noqa: B008
    identity: Identity | None = None,
    tokens: Tokens | None = None,
    max_held: int | None = None,
    static: str | None = None,
    keep_channels: bool = False,
    debug_invariants: bool = False,
    hosts: Iterable[str] = (),
    each: Each = Each(),  # noqa: B008
    max_requests: int | None = None,
    tickets: Tickets | None = None,
    cors: Iterable[str] = (),
    show_version: bool = False,
) -> ApiResource:
    """
    Make the API as a resource.

    :param policy: what those may see who say who they are, and those who do not.
    :param identity: finds out who asks; by default nobody says that.
    :param tokens: if clients may make and revoke tokens.
    :param max_held: how many requests may be held at once; by default what the limit of open files allows, which is raised.
    :param static: a directory whose files are served beside the API.
    :param keep_channels: hold every request with its HTTP channel, even where that is not needed (`jobpush.web.held`).
    :param debug_invariants: check each second what must be so of held requests, and log as an error what is not.
    :param hosts: names and addresses that the service is known by beside those of this host; ``*.example.org`` is every name
        below ``example.org``.
    :param each: how much one principal may take.
    :param max_requests: how many requests a second all principals together may send in the long run; by default any number.
    :param tickets: if clients may open streams with tickets.
    :param cors: origins whose pages may ask, as browsers write them.
    :param show_version: tell the version to others than operators too.
    """
    reactor: IReactorTime = service.reactor
    limit = max_held if max_held is not None else max(16, raise_descriptor_limit() - RESERVE)
    shares = _shares(reactor, limit, each, max_requests, bool(identity))
    registry = Registry(reactor, service.cooperator, service.tracker, service, limit, TimerWheel(reactor), shares)
    polls = Polls(service)
    identity = identity or Identity()
    service.workflows.tell_owners(bool(identity))
    jobs, barriers = JobRoutes(service, polls), BarrierRoutes(service, polls)
    workflows = WorkflowRoutes(service, polls, bool(identity))
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
    turns = Turns(reactor)
    access = Access(reactor, service.hiding, policy)
    connections = Connections(
        reactor, registry, routes.ask, service.moment, service.instruments, turns, access.visibility, not keep_channels
    )
    answering = Answering(reactor, service.cooperator, registry, connections, routes.ask, access.visibility)
    identity = identity if identity is not None else Identity()

    def operates(principal: Principal) -> bool:
        return principal.sees_all or not identity or access.is_open()

    def tells_version(principal: Principal) -> bool:
        return show_version or principal.sees_all

    pages = PageRoutes(Metrics(service, registry), Static(static) if static is not None else None, operates, tells_version)
    streams = StreamRoutes(service, registry, connections, access.visibility)
    token_routes = TokenRoutes(service, tokens) if tokens is not None else None
    operations = OperationRoutes(service, registry, operates, show_version)
    ticket_routes = TicketRoutes(service, tickets) if tickets is not None else None
    app, handlers, errors = make_app(answering, streams, workflows, operations, pages, token_routes, ticket_routes)
    if debug_invariants:
        check = Repeated(reactor, partial(_check_invariants, registry, connections))
        check.start(CHECK_S, now=False)
    admission = Admission(KnownHosts(hosts), Cors(cors))
    judging = Judging(registry, access.visibility, routes.ask)
    dispatch = Dispatch(app, handlers, errors)
    return ApiResource(app, dispatch, service, access, admission, identity, registry, connections, judging, turns)


def _shares(reactor: IReactorTime, limit: int, each: Each, max_requests: int | None, identified: bool) -> Shares:
    """Make what says how much one principal may take. Where nobody says who he is, that is all but for what was asked for."""
    held = each.held if each.held is not None else max(1, limit // PARTS) if identified else None
    rate = each.requests if each.requests is not None else REQUESTS_S if identified else None
    size = MOST_BYTES // PARTS if identified else None
    return Shares(reactor, held, size, rate, max_requests, burst=limit if held is None else held)


def _check_invariants(registry: Registry, connections: Connections) -> None:
    for violation in (*registry.violations(), *connections.violations()):
        LOG.error("an invariant of held requests is violated: {violation}", violation=violation)
