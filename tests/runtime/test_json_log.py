"""The log as JSON."""

from __future__ import annotations

import io
import json

from twisted.logger import Logger
from twisted.trial.unittest import SynchronousTestCase

from jobpush.runtime import json_log as jsonlog


class JsonLogTests(SynchronousTestCase):
    def test_lines(self) -> None:
        """One JSON object a line, with the values that a text was made of, and a traceback where something failed."""
        out = io.StringIO()
        log = Logger(namespace="jobpush.test", observer=jsonlog.observer(out))
        log.warn("{cluster}: seen {n}\nagain", cluster="slurm", n=3, thing=object())
        try:
            raise ValueError("broken")
        except ValueError:
            log.failure("it failed")
        first, second = (json.loads(line) for line in out.getvalue().splitlines())
        self.assertEqual(
            {k: first[k] for k in ("level", "logger", "text", "cluster", "n")},
            {"level": "warn", "logger": "jobpush.test", "text": "slurm: seen 3\nagain", "cluster": "slurm", "n": 3},
        )
        self.assertNotIn("thing", first)
        self.assertRegex(first["time"], r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00$")
        self.assertEqual(second["level"], "critical")
        self.assertIn("ValueError: broken", second["traceback"])
