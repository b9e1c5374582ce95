"""
The routes for operators and hooks: health, readiness, nudges.
"""

from __future__ import annotations

from typing import Any

from jobpush import __version__
from jobpush.core import wire
from jobpush.polling.nudges import BadNudge, json_object
from jobpush.web import health
from jobpush.web.problems import Problem
from jobpush.web.routes.common import Routes, app


class OperationRoutes(Routes):
    """``/healthz``, ``/readyz``, ``/v1/nudge``."""

    @app.route("/healthz", methods=["GET"])
    def healthz(self, request: Any) -> bytes:
        """The process answers."""
        return self._answer(request, wire.dumps({"status": "ok", "version": __version__}))

    @app.route("/readyz", methods=["GET"])
    def readyz(self, request: Any) -> bytes:
        """Can it do its work, and what is missing?"""
        ready, fields = health.readiness(self.service, self.holds.held)
        if not ready:
            request.setResponseCode(503)
        return self._answer(request, wire.dumps(fields))

    @app.route("/v1/nudge", methods=["POST"])
    def nudge(self, request: Any) -> bytes:
        """A scheduler's hook says "look now"."""
        nudges = self.service.nudges
        if not nudges.readable("http"):
            raise Problem(429, "more nudges than are read in a second; everything is looked at", headers={"Retry-After": "1"})
        try:
            nudge = nudges.parse(json_object(request.content.read() or b"{}"))
        except BadNudge as error:
            nudges.refuse("http")
            raise Problem(400, f"the body: {error}", "body") from None
        nudges.take("http", nudge)
        request.setResponseCode(202)
        clusters = [nudge.cluster] if nudge.cluster is not None else list(self.service.monitors)
        return self._answer(request, wire.dumps({"clusters": clusters, "jobs": list(nudge.jobs)}))
