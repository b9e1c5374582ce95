"""
The HTTP side of jobpush. ``resource(service)`` can be mounted anywhere in a tree of Twisted resources.
"""

from __future__ import annotations

import encodings.idna  # noqa: F401 - Werkzeug loads it late, when twistd --uid may no longer read it
from typing import Any

from klein.resource import KleinResource
from twisted.web.server import NOT_DONE_YET
from werkzeug.exceptions import HTTPException

from jobpush.service import JobPush
from jobpush.web.access import Access
from jobpush.web.app import Api
from jobpush.web.held.holds import RESERVE, Holds, raise_descriptor_limit
from jobpush.web.problems import Problem


class ApiResource(KleinResource):
    """The routes, behind what must hold for every request."""

    def __init__(self, api: Api) -> None:
        super().__init__(api.app)
        self.api = api

    def render(self, request: Any) -> Any:
        service = self.api.service
        try:
            for part in (*request.prepath, *request.postpath, request.getRequestHostname()):
                try:
                    part.decode("utf-8")
                except UnicodeDecodeError:
                    raise Problem(400, "the path or the host is not UTF-8", "path") from None
            if request.path not in (b"/healthz", b"/readyz", b"/metrics"):
                self.api.access.check()
        except Problem as problem:
            return _refuse(request, problem)
        service.in_flight += 1

        def over(_: object) -> None:
            service.in_flight -= 1

        request.notifyFinish().addBoth(over)
        try:
            return super().render(request)
        except HTTPException as error:  # the router's, before there is a route: a host that is none
            return _refuse(request, Problem(400, f"the Host header is not a host name ({error.name})", "Host"))


def _refuse(request: Any, problem: Problem) -> int:
    problem.send(request)
    return NOT_DONE_YET


def resource(
    service: JobPush,
    allow_anonymous: bool = False,
    max_held: int | None = None,
    static: str | None = None,
    parking: bool = True,
) -> ApiResource:
    """
    The API as a resource.

    :param allow_anonymous: serve all jobs to everybody even where the scheduler hides them from each other.
    :param max_held: how many requests may be held at once; by default what the limit of open files allows, which is raised.
    :param static: a directory whose files are served beside the API.
    :param parking: hold requests without their HTTP channels where that can be done (`jobpush.web.held.parking`).
    """
    cap = max_held if max_held is not None else max(16, raise_descriptor_limit() - RESERVE)
    bound = Api(service, Holds(service, cap), Access(service, allow_anonymous), static, parking)
    return ApiResource(bound)
