"""Health, readiness, and nudges over HTTP."""

from __future__ import annotations

from tests.support import LabCase


class HealthTests(LabCase):
    """``/healthz`` and ``/readyz``."""

    def test_operations(self) -> None:
        """Health and readiness."""
        self.assertEqual(self.lab.get("/healthz").json()["status"], "ok")
        ready = self.lab.get("/readyz").json()
        self.assertEqual((ready["status"], ready["queues"]["memory"]["missing"]), ("ready", []))
