"""
From a request of Twisted's to its response: the ordinary way, which knows everything that a request may have.

A question is made of the request, its route makes an outcome of the question, and the outcome is answered, held, or found out.
On the fast path (`jobpush.web.held.connections`) the same functions make outcomes of the same questions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import attrs
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.server import NOT_DONE_YET

from jobpush.core.filters import Visibility
from jobpush.events.tracker import Wake
from jobpush.runtime.cooperate import Cooperator
from jobpush.web.held.connections import Connections
from jobpush.web.held.fast_path import kept
from jobpush.web.held.members import DeferredMember
from jobpush.web.held.questions import Hold, Later, Outcome, Question, Ready, asked_by
from jobpush.web.held.registry import Registry
from jobpush.web.params import body_of, decoded, preference, size_of
from jobpush.web.principal import Principal
from jobpush.web.problems import Problem, fault, revoked
from jobpush.web.requests import ClientRequest
from jobpush.web.responses import Rendering, Response

Route = Callable[[Question], Outcome]


class Routes:
    """
    The routes whose requests may be held, by name.

    :param routes: what each makes of a question; may raise `Problem`.
    """

    log = Logger()

    def __init__(self, routes: Mapping[str, Route]) -> None:
        self._routes = routes

    def ask(self, question: Question) -> Outcome:
        """Make an outcome of a question. What is wrong with it is the response."""
        try:
            return self._routes[question.route](question)
        except Problem as problem:
            response = problem.response()
        except Exception:
            self.log.failure("a question could not be answered", Failure())
            response = fault().response()
        return Ready(lambda: response)


class Answering:
    """
    :param ask: makes an outcome of a question.
    :param visibility: returns whose jobs a principal may see; raises `Problem` where it gets no answer.
    """

    def __init__(
        self,
        reactor: IReactorTime,
        cooperator: Cooperator,
        registry: Registry,
        connections: Connections,
        ask: Callable[[Question], Outcome],
        visibility: Callable[[Principal], Visibility],
    ) -> None:
        self._reactor = reactor
        self._cooperator = cooperator
        self._registry = registry
        self._connections = connections
        self._ask = ask
        self._visibility = visibility

    async def query(self, request: ClientRequest, route: str, *arguments: str) -> bytes | int:
        """Answer a request whose parameters are in its query string."""
        return await self._answer(request, route, arguments, decoded(request.args))

    async def body(self, request: ClientRequest, route: str, *arguments: str) -> bytes | int:
        """Answer a request whose parameters are in its body."""
        return await self._answer(request, route, arguments, body_of(request))

    async def _answer(
        self, request: ClientRequest, route: str, arguments: tuple[str, ...], parameters: dict[str, list[object]]
    ) -> bytes | int:
        question = asked_by(
            request.principal.name,
            Question(
                route,
                arguments,
                parameters,
                self._reactor.seconds(),
                request.visibility,
                preference(request),
                size=size_of(parameters),
            ),
        )
        outcome = self._ask(question)
        while isinstance(outcome, Later):
            outcome = await outcome.find()
            visibility = self._visibility(request.principal)
            if visibility != question.visibility:  # what may be shown has changed meanwhile
                question = attrs.evolve(question, visibility=visibility)
                outcome = self._ask(question)
        if request.revoked:
            raise revoked()
        if isinstance(outcome, Ready):
            return (await self.rendered(outcome.render())).apply(request)
        return await self._hold(request, outcome, question)

    async def rendered(self, rendering: Rendering) -> Response:
        """A response, made in turns if it takes long."""
        return rendering if isinstance(rendering, Response) else await self._cooperator.run(rendering)

    async def _hold(self, request: ClientRequest, hold: Hold, question: Question) -> bytes | int:
        """Hold the request; without its channel, where that can be done."""
        if self._registry.closing:
            gathered = hold.watch.gathered if hold.watch is not None else ()
            wake = Wake(gathered, self._registry.tracker.head, timed_out=True, closing=True)
            return (await self.rendered(hold.render(wake))).apply(request)
        self._registry.check(request.principal, question.size, hold.key)
        asked = kept(question, request.method, request.uri, request.principal.name)
        if self._connections.can_take(request):
            self._registry.hold(self._connections.take(request), hold, asked)
            return NOT_DONE_YET
        member = DeferredMember(request.principal, self._registry.time_is_up, self._registry.leave)
        self._registry.hold(member, hold, asked)
        return (await member.deferred).apply(request)
