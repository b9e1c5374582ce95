"""``/metrics``, and what reads it."""

from __future__ import annotations

import builtins
import re
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from jobpush.core.workflow_quotas import Quotas, Usage
from tests.service_process import ROOT
from tests.support import LabCase


class MetricsTests(LabCase):
    def metrics(self) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
        text = self.lab.get("/metrics").body().decode()
        families = text_string_to_metric_families(text)
        return {(s.name, frozenset(s.labels.items())): s.value for family in families for s in family.samples}

    def value(self, name: str, **labels: str) -> float | None:
        return self.metrics().get((name, frozenset(labels.items())))

    def test_events(self) -> None:
        """Changes are counted by state; how late they came is known where the scheduler has the time."""
        now = self.lab.clock.seconds()
        self.lab.set("1", "RUNNING", started_at=now - 2)
        self.lab.set("1", "COMPLETED", ended_at=self.lab.clock.seconds() - 40, exit_code=0)
        self.assertEqual(self.value("jobpush_events_total", cluster="memory", state="COMPLETED"), 1)
        self.assertEqual(self.value("jobpush_freshness_seconds_count", cluster="memory", change="end"), 1)
        self.assertEqual(self.value("jobpush_freshness_seconds_bucket", cluster="memory", change="end", le="20.0"), 0)
        self.assertEqual(self.value("jobpush_freshness_seconds_bucket", cluster="memory", change="end", le="60.0"), 1)
        self.assertEqual(self.value("jobpush_freshness_seconds_bucket", cluster="memory", change="start", le="5.0"), 1)

    def test_what_began_before(self) -> None:
        """A start that was only inferred says nothing of how fresh an answer is."""
        self.lab.set("5", "COMPLETED", started_at=self.lab.clock.seconds() - 400, ended_at=self.lab.clock.seconds() - 1)
        self.assertIsNone(self.value("jobpush_freshness_seconds_count", cluster="memory", change="start"))

    def test_held(self) -> None:
        """Held requests by kind, the limit, and how long it took to answer them."""
        poll = self.lab.get(f"/v1/jobs/memory/1?since={self.lab.cursor}&wait=60")
        stream = self.lab.get("/v1/events")
        self.assertTrue(poll.held)
        self.assertEqual(self.value("jobpush_held_requests", kind="poll"), 1)
        self.assertEqual(self.value("jobpush_held_requests", kind="stream"), 1)
        self.assertEqual(self.value("jobpush_held_requests_limit"), 1000)
        self.lab.set("1", "RUNNING")
        self.assertEqual(poll.status, 200)
        self.assertEqual(self.value("jobpush_held_requests", kind="poll"), 0)
        self.assertEqual(self.value("jobpush_wake_seconds_count", kind="poll"), 1)
        self.assertEqual(self.value("jobpush_wake_seconds_count", kind="stream"), 1)
        self.assertTrue(stream.response)

    def test_queue(self) -> None:
        """Queries, their time, the age of what is served, failures."""
        from jobpush.adapter.interfaces import QueueError

        self.assertEqual(self.value("jobpush_queue_healthy", cluster="memory"), 1)
        before = self.value("jobpush_queue_queries_total", cluster="memory", of="all") or 0
        self.lab.queue.failure = QueueError("down")
        self.lab.tick()
        self.assertEqual(self.value("jobpush_queue_healthy", cluster="memory"), 1)
        self.lab.clock.advance(6)
        self.assertEqual(self.value("jobpush_queue_healthy", cluster="memory"), 0)
        self.assertGreaterEqual(self.value("jobpush_queue_failures_total", cluster="memory") or 0, 1)
        self.assertGreater(self.value("jobpush_queue_queries_total", cluster="memory", of="all") or 0, before)
        self.assertGreaterEqual(self.value("jobpush_queue_age_seconds", cluster="memory") or 0, 3)
        self.assertEqual(self.value("jobpush_queue_jobs", cluster="memory"), 1)

    def test_nudges_and_journal(self) -> None:
        """Nudges by source; what the journal holds."""
        self.lab.post("/v1/nudge", {}).body()
        self.assertEqual(self.value("jobpush_nudges_total", source="http", what="taken"), 1)
        self.assertEqual(self.value("jobpush_journal_events"), self.lab.journal.last_seq)
        self.assertEqual(self.value("jobpush_journal_failing"), 0)
        self.lab.journal.problem = "the disk is full"
        self.assertEqual(self.value("jobpush_journal_failing"), 1)
        self.assertGreaterEqual(self.value("jobpush_journal_commit_seconds_count") or 0, 1)

    def test_workflows(self) -> None:
        """How many there are, what they take up, and what found no room."""
        self.lab.service.workflows.quotas = Quotas(Usage(1, 5, 10**6), Usage(5, 5, 10**6))
        for name in ("one", "two"):
            self.lab.request("PUT", f"/v1/workflows/{name}", data=b'{"jobs": ["memory/1", "memory/2"]}').body()
        values = [self.value(f"jobpush_workflow{name}") for name in ("s", "_jobs")]
        self.assertEqual((values, self.value("jobpush_workflow_bytes")), ([1, 2], self.lab.service.workflows.usage[""].size))
        self.assertEqual(self.value("jobpush_workflow_refusals_total", source="put", whose="owner"), 1)

    def test_not_installed(self) -> None:
        """Without prometheus_client the answer says what to type."""
        real = builtins.__import__

        def without(name: str, *args: Any, **kwargs: Any) -> Any:
            if name.startswith("prometheus_client"):
                raise ImportError(name)
            return real(name, *args, **kwargs)

        self.patch(builtins, "__import__", without)
        answer = self.lab.get("/metrics")
        self.assertEqual(answer.status, 404)
        self.assertIn("pip install 'jobpush[metrics]'", answer.json()["detail"])


class GrafanaTests(LabCase):
    """``etc/grafana-dashboard.json``."""

    def test_names(self) -> None:
        """Each metric that it shows is one of those that there are."""
        self.lab.set("1", "RUNNING", started_at=self.lab.clock.seconds())
        text = self.lab.get("/metrics").body().decode()
        names = {family.name for family in text_string_to_metric_families(text)}
        names |= {sample.name for family in text_string_to_metric_families(text) for sample in family.samples}
        declared = set(re.findall(r"^# TYPE (\S+)", text, re.M))
        used = set(re.findall(r"\b(?:jobpush|process)_[a-z_]+", (ROOT / "etc" / "grafana-dashboard.json").read_text()))
        used |= set(re.findall(r"\bjobpush_[a-z_]+", (ROOT / "etc" / "prometheus.yml").read_text()))
        unknown = {name for name in used if name not in names | declared and name.removesuffix("_bucket") not in declared}
        self.assertEqual(unknown, set())
        self.assertGreater(len(used), 15)
