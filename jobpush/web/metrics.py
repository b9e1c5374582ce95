"""
``/metrics``: what is counted and timed, in the text format that Prometheus reads.

`prometheus_client` (the extra ``[metrics]``) is imported when the first scrape comes, and only writes: the counting is
`jobpush.events.instruments`, which costs the same whether anybody asks or not.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import attrs

from jobpush import __version__
from jobpush.core.workflow_quotas import Usage
from jobpush.runtime.histogram import Distribution
from jobpush.service import JobPush
from jobpush.web.held.registry import Registry
from jobpush.web.problems import Problem

if TYPE_CHECKING:
    from prometheus_client.core import Metric

T = TypeVar("T")


class Metrics:
    """A collector of prometheus_client: everything is asked for anew at each scrape."""

    def __init__(self, service: JobPush, registry: Registry) -> None:
        self._service = service
        self._registry = registry

    def text(self, with_version: bool) -> tuple[bytes, bytes]:
        """
        The content type, and the body.

        :param with_version: whether it says which version this is.
        :raise Problem: 404, where prometheus_client is not installed.
        """
        try:
            from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Info, generate_latest
            from prometheus_client.gc_collector import GCCollector
            from prometheus_client.process_collector import ProcessCollector
        except ImportError:
            raise Problem(404, "metrics need prometheus_client: pip install 'jobpush[metrics]'", "path") from None
        registry = CollectorRegistry(auto_describe=False)
        registry.register(self)
        ProcessCollector(registry=registry)
        GCCollector(registry=registry)
        if with_version:
            Info("jobpush", "What runs", registry=registry).info({"version": __version__})
        return CONTENT_TYPE_LATEST.encode(), generate_latest(registry)

    def collect(self) -> Iterator[Metric]:
        """All of them."""
        yield from self._queues()
        yield from self._events()
        yield from self._workflows()
        yield from self._requests()
        yield from self._machine()

    def _queues(self) -> Iterator[Metric]:
        monitors = {(name,): monitor for name, monitor in self._service.monitors.items()}
        status = {labels: monitor.status for labels, monitor in monitors.items()}
        measured = self._service.instruments.query_s
        yield _gauge(
            "queue_age_seconds", "Since the query began whose answer is served", ["cluster"],
            {labels: monitor.stale_s for labels, monitor in monitors.items() if monitor.stale_s is not None},
        )  # fmt: skip
        yield _gauge(
            "queue_healthy", "1 while the answer that is served is fresh and shows all jobs", ["cluster"],
            {labels: float(each.health == "ok") for labels, each in status.items()},
        )  # fmt: skip
        yield _gauge(
            "queue_interval_seconds", "The pause until the next query", ["cluster"],
            {labels: each.interval_s for labels, each in status.items()},
        )  # fmt: skip
        yield _gauge(
            "queue_rows", "Jobs that the last query for all listed", ["cluster"],
            {labels: each.rows for labels, each in status.items()},
        )  # fmt: skip
        yield _gauge(
            "queue_jobs", "Jobs that are served", ["cluster"],
            {(name,): len(self._service.table.cluster(name)) for (name,) in monitors},
        )  # fmt: skip
        yield _counter(
            "queue_queries", "Queries of the scheduler, by what they asked for", ["cluster", "of"],
            {(*labels, "all"): each.queries - each.named for labels, each in status.items()}
            | {(*labels, "named"): each.named for labels, each in status.items()}
            | {(*labels, "probe"): monitor.probes for labels, monitor in monitors.items()},
        )  # fmt: skip
        yield _gauge(
            "queue_cost_share", "The share of the time that queries at the interval would take", ["cluster"],
            {labels: monitor.cost_share for labels, monitor in monitors.items()},
        )  # fmt: skip
        yield _counter(
            "queue_failures", "Queries that failed", ["cluster"], {labels: each.failures for labels, each in status.items()}
        )
        yield _counter(
            "queue_rejected_rows", "Rows that could not be understood", ["cluster"],
            {labels: each.rejected for labels, each in status.items()},
        )  # fmt: skip
        yield _histogram(
            "queue_query_seconds", "How long a query for all jobs took", ["cluster"],
            {(name,): each for name, each in measured.items()},
        )  # fmt: skip
        yield _counter(
            "nudges", "What said that it is time to look, by where it came from", ["source", "what"],
            {
                (source, what): count
                for source, counts in self._service.nudges.counts.items()
                for what, count in attrs.asdict(counts).items()
            },
        )  # fmt: skip

    def _events(self) -> Iterator[Metric]:
        instruments = self._service.instruments
        yield _counter(
            "events", "Changes that were told; those of workflows have no cluster", ["cluster", "state"], instruments.events
        )
        yield _histogram(
            "freshness_seconds",
            "From the scheduler's own time of a start or an end (whole seconds, mostly) to when it was told",
            ["cluster", "change"], instruments.freshness_s,
        )  # fmt: skip
        yield _histogram(
            "wake_seconds", "From when a change was durable to when its bytes were handed to the kernel", ["kind"],
            {(kind,): each for kind, each in instruments.wake_s.items()},
        )  # fmt: skip

    def _workflows(self) -> Iterator[Metric]:
        workflows = self._service.workflows
        total = sum(workflows.usage.values(), Usage())
        yield _gauge("workflows", "Workflows that are known", [], {(): total.workflows})
        yield _gauge("workflow_jobs", "Jobs that these have", [], {(): total.members})
        yield _gauge("workflow_bytes", "Bytes of memory that these take up, about", [], {(): total.size})
        yield _counter(
            "workflow_refusals", "Workflows and jobs of workflows for which there was no room", ["source", "whose"],
            dict(workflows.refused),
        )  # fmt: skip

    def _requests(self) -> Iterator[Metric]:
        registry, answers = self._registry, self._service.instruments.answers
        yield _gauge(
            "held_requests", "Requests that are held", ["kind"], {(kind,): count for kind, count in registry.by_kind().items()}
        )
        yield _gauge("held_requests_limit", "As many may be held", [], {(): registry.limit})
        yield _counter(
            "refused", "Requests that were refused by a limit, that of one principal or that of all", ["limit", "of"],
            registry.shares.refused,
        )  # fmt: skip
        yield _counter("answers", "HTTP answers", ["status"], {(str(status),): count for status, count in answers.items()})

    def _machine(self) -> Iterator[Metric]:
        journal, instruments = self._service.journal, self._service.instruments
        yield _gauge("journal_events", "Events that the journal holds", [], {(): journal.last_seq - journal.trimmed_seq})
        yield _gauge("journal_bytes", "Bytes that the journal's files take up", [], {(): journal.size()})
        yield _gauge("journal_failing", "1 while the last batch could not be committed", [], {(): journal.problem is not None})
        yield _histogram("journal_commit_seconds", "How long a batch took to be durable", [], {(): instruments.commit_s})
        yield _histogram(
            "reactor_stall_seconds", "By how much the reactor was late, ten times a second", [], {(): instruments.stall_s}
        )
        yield _gauge("reactor_stall_most_seconds", "The longest of these since the start", [], {(): instruments.stall_s.most})


#: Values by the labels' values.
Values = Mapping[tuple[()], T] | Mapping[tuple[str], T] | Mapping[tuple[str, str], T]


def _gauge(name: str, text: str, labels: list[str], values: Values[float]) -> Metric:
    from prometheus_client.core import GaugeMetricFamily

    return _with(GaugeMetricFamily(f"jobpush_{name}", text, labels=labels), values)


def _counter(name: str, text: str, labels: list[str], values: Values[float]) -> Metric:
    from prometheus_client.core import CounterMetricFamily

    return _with(CounterMetricFamily(f"jobpush_{name}", text, labels=labels), values)


def _with(family: Any, values: Values[float]) -> Metric:
    for labels, value in values.items():
        family.add_metric(list(labels), value)
    made: Metric = family
    return made


def _histogram(name: str, text: str, labels: list[str], found: Values[Distribution]) -> Metric:
    from prometheus_client.core import HistogramMetricFamily

    family = HistogramMetricFamily(f"jobpush_{name}", text, labels=labels)
    for values, distribution in found.items():
        buckets: list[tuple[str, float]] = []
        total = 0
        for bound, count in zip((*distribution.bounds, None), distribution.counts, strict=True):
            total += count
            buckets.append(("+Inf" if bound is None else str(float(bound)), total))
        family.add_metric(list(values), buckets, distribution.sum)
    return family
