"""
The routes of the protocol, put together: which address is answered by what.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any

from klein import Klein
from twisted.internet.defer import CancelledError
from twisted.python.failure import Failure
from twisted.web.iweb import IRequest
from werkzeug.exceptions import HTTPException, MethodNotAllowed, NotFound
from werkzeug.routing import BaseConverter, Map, RequestRedirect

from jobpush.events.interfaces import JournalError
from jobpush.web.answering import Answering
from jobpush.web.dispatch import ErrorHandler, Handler
from jobpush.web.params import journal_fails
from jobpush.web.principal import Scope
from jobpush.web.problems import Problem, nothing_at
from jobpush.web.requests import ClientRequest, client_request
from jobpush.web.responses import Response
from jobpush.web.routes.operations import OperationRoutes
from jobpush.web.routes.pages import PageRoutes
from jobpush.web.routes.streams import StreamRoutes
from jobpush.web.routes.tickets import TicketRoutes
from jobpush.web.routes.tokens import TokenRoutes
from jobpush.web.routes.workflows import WorkflowRoutes
from jobpush.web.static import Static


class _Id(BaseConverter):
    """A job id as the client wrote it, with slashes and line breaks if need be: the adapter says what is none."""

    regex = "(?s:.+)"
    part_isolating = False


def make_app(
    answering: Answering,
    streams: StreamRoutes,
    workflows: WorkflowRoutes,
    operations: OperationRoutes,
    pages: PageRoutes,
    tokens: TokenRoutes | None = None,
    tickets: TicketRoutes | None = None,
) -> tuple[Klein, Mapping[str, Handler], Sequence[ErrorHandler]]:
    """
    Make Klein's application.

    :param answering: answers the routes whose requests may be held.
    :param tokens: if tokens can be made here.
    :param tickets: if tickets can.
    :return: the application, the handlers of its routes by their endpoints, and those of errors.
    """
    app = Klein()
    handlers: dict[str, Handler] = {}
    app.url_map.converters["id"] = _Id
    app.url_map.merge_slashes = False

    def route(method: str, path: str, handler: Callable[..., Any], scope: Scope | None = None, branch: bool = False) -> None:
        """
        :param scope: without which nobody gets an answer.
        """

        def allowed(request: ClientRequest, **parts: str) -> Any:
            if scope is not None and scope not in request.principal.scopes:
                raise Problem(403, f"what this request was made with is not for this: it lacks the scope {scope.value}")
            return handler(request, **parts)

        endpoint = f"{method} {path}{'*' * branch}"
        app.route(path, methods=[method], branch=branch, endpoint=endpoint)(allowed)
        handlers[endpoint] = handlers[f"{endpoint}_branch"] = allowed

    def held(method: str, path: str, name: str, *arguments: str) -> None:
        """A route whose requests may be held; its arguments are parts of the path, by name."""
        read = answering.query if method == "GET" else answering.body

        async def handler(request: ClientRequest, **parts: str) -> object:
            return await read(request, name, *(parts[argument] for argument in arguments))

        route(method, path, handler, Scope.READ)

    def at_once(
        method: str, path: str, handler: Callable[..., Response | Awaitable[Response]], scope: Scope | None = None
    ) -> None:
        """A route that answers with a `Response`, or a coroutine that returns one."""

        async def answered(request: ClientRequest, **parts: str) -> bytes:
            response = handler(request, **parts)
            return (response if isinstance(response, Response) else await response).apply(request)

        route(method, path, answered, scope)

    held("GET", "/v1/jobs", "jobs")
    held("GET", "/v1/jobs/<cluster>/<id:job_id>", "job", "cluster", "job_id")
    held("GET", "/jobstatus", "jobstatus")
    held("GET", "/v1/changes", "changes")
    held("POST", "/v1/changes", "changes")
    held("GET", "/v1/wait", "wait")
    held("POST", "/v1/wait", "wait")
    route("GET", "/v1/events", streams.events, Scope.WATCH)
    route("GET", "/v1/socket", streams.socket, Scope.WATCH)
    at_once("GET", "/v1/workflows", workflows.list, Scope.READ)
    held("GET", "/v1/workflows/<name>", "workflow", "name")
    at_once("PUT", "/v1/workflows/<name>", workflows.put, Scope.WORKFLOW)
    at_once("DELETE", "/v1/workflows/<name>", workflows.delete, Scope.WORKFLOW)
    held("GET", "/v1/workflows/<owner>/<name>", "workflow", "owner", "name")
    at_once("PUT", "/v1/workflows/<owner>/<name>", workflows.put, Scope.WORKFLOW)
    at_once("DELETE", "/v1/workflows/<owner>/<name>", workflows.delete, Scope.WORKFLOW)
    if tokens is not None:
        at_once("GET", "/v1/tokens", tokens.list)
        at_once("POST", "/v1/tokens", tokens.make)
        at_once("DELETE", "/v1/tokens/<token_id>", tokens.revoke)
    if tickets is not None:
        at_once("POST", "/v1/tickets", tickets.make, Scope.WATCH)
    at_once("GET", "/healthz", operations.healthz)
    at_once("GET", "/readyz", operations.readyz)
    at_once("POST", "/v1/nudge", operations.nudge, Scope.NUDGE)
    route("GET", "/dashboard", pages.dashboard)
    route("GET", "/dashboard/<name>", pages.dashboard_file)
    route("GET", "/openapi.json", pages.openapi)
    route("GET", "/docs", pages.docs)
    route("GET", "/metrics", pages.metrics_text, Scope.METRICS)
    route("GET", "/", pages.root)
    routes = Map([rule.empty() for rule in app.url_map.iter_rules()], converters=app.url_map.converters, merge_slashes=False)
    if pages.files is not None:
        route("GET", "/", partial(_file, routes, pages.files), branch=True)
    return app, handlers, _errors(routes, pages.files)


def _allowed(routes: Map, request: ClientRequest) -> list[str]:
    """Return the methods that a route has for an address."""
    return sorted(routes.bind("localhost").allowed_methods(request.below))


def _file(routes: Map, files: Static, request: ClientRequest) -> Any:
    """Serve the site's own files at each address that no route has, whatever the method."""
    if allowed := _allowed(routes, request):
        raise MethodNotAllowed(allowed)
    return files.answer(request, request.below)


def _errors(routes: Map, files: Static | None) -> Sequence[ErrorHandler]:
    """
    Return what makes every error one in the form of the protocol, the router's too.

    :param routes: without that of the site's own files.
    """

    def wrong_method(request: IRequest, failure: Failure) -> bytes:
        asked = client_request(request)
        allowed = ", ".join(_allowed(routes, asked))
        if not allowed and (files is None or files.find(asked.below) is None):
            return nothing_at(asked).response().apply(asked)
        allowed = allowed or "GET, HEAD"
        method = asked.method.decode("latin-1")[:20]
        refused = Problem(405, f"{method} is not for this address; allowed are {allowed}", headers={"Allow": allowed})
        return refused.response().apply(asked)

    return (
        ((Problem,), _problem),
        ((JournalError,), _journal),
        ((MethodNotAllowed,), wrong_method),
        ((NotFound, RequestRedirect), _not_found),
        ((HTTPException,), _other_error),
        ((CancelledError,), _left),
    )


def _problem(request: IRequest, failure: Failure) -> bytes:
    error = failure.value
    assert isinstance(error, Problem)
    return error.response().apply(client_request(request))


def _journal(request: IRequest, failure: Failure) -> bytes:
    error = failure.value
    assert isinstance(error, JournalError)
    if client_request(request).startedWriting:
        raise error  # of a stream, whose connection is dropped: a response cannot follow
    return journal_fails(error).response().apply(client_request(request))


def _not_found(request: IRequest, failure: Failure) -> bytes:
    return nothing_at(client_request(request)).response().apply(client_request(request))


def _other_error(request: IRequest, failure: Failure) -> bytes:
    error = failure.value
    assert isinstance(error, HTTPException)
    return Problem(error.code or 500, error.description or "bad request").response().apply(client_request(request))


def _left(request: IRequest, failure: Failure) -> None:
    """The client left while it was held: there is nobody to answer."""
