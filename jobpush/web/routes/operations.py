"""
The routes for operators and hooks: health, readiness, nudges.
"""

from __future__ import annotations

from collections.abc import Callable

import attrs

from jobpush import __version__
from jobpush.core import wire
from jobpush.polling.nudges import BadNudge, json_object
from jobpush.service import JobPush
from jobpush.web import health
from jobpush.web.held.registry import Registry
from jobpush.web.principal import Principal
from jobpush.web.problems import Problem
from jobpush.web.requests import ClientRequest
from jobpush.web.responses import Response, json_response


class OperationRoutes:
    """
    ``/healthz``, ``/readyz``, ``/v1/nudge``.

    :param operates: returns whether a principal may see what is for operators.
    :param show_version: tell the version.
    """

    def __init__(
        self,
        service: JobPush,
        registry: Registry,
        operates: Callable[[Principal], bool],
        show_version: bool,
    ) -> None:
        self._operates = operates
        self._show_version = show_version
        self._service = service
        self._registry = registry

    def healthz(self, request: ClientRequest) -> Response:
        """The process answers."""
        return self._json({"status": "ok"})

    def readyz(self, request: ClientRequest) -> Response:
        """Whether it can do its work, and to operators what is missing."""
        ready, fields = health.readiness(self._service, self._registry.held)
        if not self._operates(request.principal):
            fields = {"status": fields["status"]}
        elif self._show_version:
            fields["version"] = __version__
        return self._json(fields, 200 if ready else 503)

    def nudge(self, request: ClientRequest) -> Response:
        """A scheduler's hook says "look now"."""
        nudges = self._service.nudges
        if not nudges.readable("http"):
            raise Problem(429, "more nudges than are read in a second; everything is looked at", headers={"Retry-After": "1"})
        try:
            nudge = nudges.parse(json_object(request.content.read() or b"{}"))
        except BadNudge as error:
            nudges.refuse("http")
            raise Problem(400, str(error) if error.field else f"the body: {error}", error.field or "body") from None
        nudges.take("http", nudge)
        clusters = [nudge.cluster] if nudge.cluster is not None else list(self._service.monitors)
        return self._json({"clusters": clusters, "jobs": list(nudge.jobs)}, 202)

    def _json(self, fields: dict[str, object], status: int = 200) -> Response:
        return attrs.evolve(json_response(wire.dumps(fields), self._service.feed.cursor()), status=status)
