"""The log as JSON."""

from __future__ import annotations

import io
import json
import sys

from twisted.logger import ILogObserver, Logger, LogLevel
from twisted.trial.unittest import SynchronousTestCase

from jobpush.runtime import json_log as jsonlog


class JsonLogTests(SynchronousTestCase):
    """`jobpush.runtime.json_log`."""

    def test_every_field(self) -> None:
        """Of an event that has all, and of one that has nothing; what JSON does not have is left out, and what Twisted adds."""
        own = dict.fromkeys(("message", "time", "system", "format", "isError", "why", "text", "level", "logger", "traceback"), "own")
        event = {**own, "log_level": LogLevel.warn, "log_time": 1795327200.5, "log_namespace": "n", "log_format": "{a} \u00e9", "log_source": "x",
                 "a": 1, "b": 1.5, "c": True, "d": None, "e": "f", "g": [1], "h": {}}  # fmt: skip
        self.assertEqual(json.loads(jsonlog.line(event)), {
            "time": "2026-11-22T06:00:00.500+00:00", "level": "warn", "logger": "n", "text": "1 \u00e9", "a": 1, "b": 1.5, "c": True, "d": None, "e": "f",
        })  # fmt: skip
        self.assertIn("\u00e9", jsonlog.line(event))
        self.assertEqual(json.loads(jsonlog.line({})), {"time": "1970-01-01T00:00:00.000+00:00", "level": "info", "logger": None, "text": ""})
        self.assertNotIn("traceback", json.loads(jsonlog.line({"log_failure": "x"})))

    def test_where(self) -> None:
        """On standard output, unless it is told another place; at once."""
        out, flushed = io.StringIO(), []
        self.patch(out, "flush", lambda: flushed.append(out.getvalue()))
        self.patch(sys, "stdout", out)
        observe = jsonlog.observer()
        self.assertTrue(ILogObserver.providedBy(observe))
        for _ in range(2):
            observe({})
        first, second, rest = out.getvalue().split("\n")
        self.assertEqual((first, rest, [text.count("\n") for text in flushed]), (second, "", [1, 2]))

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
