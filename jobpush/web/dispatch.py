"""
From a request to its route, and from what that returns to the response, by the table of a Klein application.

`klein.resource.KleinResource` does the same with functions that refer to themselves, and so leaves each request, its headers
and its transport to the garbage collector. Here nothing is left when a request is over: what dies is freed at once.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, cast

from klein import Klein
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.iweb import IRequest
from twisted.web.resource import IResource, getChildForRequest
from twisted.web.server import NOT_DONE_YET
from werkzeug.routing import MapAdapter

from jobpush.web.requests import ClientRequest

LOG = Logger(namespace="jobpush.web")

#: The types of errors, and what answers them: called with the request and the failure, returns a body or None.
ErrorHandler = tuple[tuple[type[Exception], ...], Callable[[IRequest, Failure], bytes | None]]

#: Answers the requests of a route: called with the request and the parts of its path that vary, by name.
Handler = Callable[..., Any]


class Dispatch:
    """
    :param app: whose table of routes is used.
    :param routes: what answers them, by endpoint.
    :param handlers: of errors; the first that fits is used. An error without one is a fault of the server's.
    """

    def __init__(self, app: Klein, routes: Mapping[str, Handler], handlers: Sequence[ErrorHandler]) -> None:
        self._app = app
        self._routes = routes
        self._handlers = handlers

    def render(self, request: ClientRequest, host: str) -> int:
        """
        Answer a request, at once or later. Its route is cancelled if the client leaves before.

        :param host: that the client asked for.
        :return: `NOT_DONE_YET`.
        :raise HTTPException: the host is none.
        """
        request.below = _path(request.postpath)
        mapper = self._app.url_map.bind(
            host,
            _path(request.prepath),
            path_info=request.below,
            default_method=request.method.decode("latin-1"),
        )
        answering = Deferred.fromCoroutine(self._answer(request, mapper))
        if not answering.called:
            request.notifyFinish().addErrback(_cancel, answering)
        answering.addErrback(_log)
        return NOT_DONE_YET

    async def _answer(self, request: ClientRequest, mapper: MapAdapter) -> None:
        over: list[object] = []
        request.notifyFinish().addBoth(over.append)
        try:
            result = await self._result(request, mapper)
        except Exception as error:
            failure = Failure(error)
            result = self._failed(request, failure, bool(over))
            # What was on the way refers to the failure, and that to what was on the way.
            failure.cleanFailure()
            error.__traceback__ = error.__context__ = error.__cause__ = None
            del failure
        if IResource.providedBy(result):
            request.render(getChildForRequest(result, request))
            return
        if isinstance(result, bytes) and not over:
            request.write(result)
        if not over:
            request.finish()

    async def _result(self, request: ClientRequest, mapper: MapAdapter) -> Any:
        rule, found = mapper.match(return_rule=True)
        arguments = dict(found)
        endpoint: Any = self._app.endpoints[rule.endpoint]
        count = endpoint.segment_count
        request.prepath.extend(request.postpath[:count])
        request.postpath = request.postpath[count:]
        arguments.pop("__rest__", None)  # Klein's name for what is below a branch
        result = self._routes[rule.endpoint](request, **arguments)
        return await result if isinstance(result, Coroutine) else result

    def _failed(self, request: ClientRequest, failure: Failure, over: bool) -> bytes | None:
        """Return the body of an answer that says what is wrong; None if there is none to be sent."""
        if over:
            if not failure.check(CancelledError):
                LOG.failure("a request failed whose client has left", failure)
            return None
        for types, handler in self._handlers:
            if failure.check(*types):
                try:
                    return handler(cast(IRequest, request), failure)
                except Exception:
                    request.processingFailed(failure)
                    return None
        request.processingFailed(failure)
        return None


def _path(parts: Sequence[bytes]) -> str:
    """Return a path of these parts; empty if there are none."""
    return "/" + b"/".join(parts).decode("utf-8").lstrip("/") if parts else ""


def _cancel(left: Failure, answering: Deferred[None]) -> None:
    answering.cancel()


def _log(failure: Failure) -> None:
    LOG.failure("a response could not be written", failure)
