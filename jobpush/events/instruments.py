"""
What is measured while the service runs: counts and distributions, as cheap to keep as can be. `jobpush.web.metrics` shows them.

Nothing here knows how they are shown, or who asks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import attrs

from jobpush.core.model import Confidence, JobDescriptor
from jobpush.core.record import Event
from jobpush.runtime.histogram import Distribution

K = TypeVar("K")

#: Upper bounds in seconds: of what is quick, of what scheduler commands take, of what a change takes to be told.
QUICK_S = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
QUERY_S = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 60.0)
FRESH_S = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 3.0, 5.0, 10.0, 20.0, 60.0, 300.0)


@attrs.define(eq=False)
class Instruments:
    """
    :ivar events: how many events were told, by (cluster, state); those of workflows have the cluster "".
    :ivar commit_s: how long the journal took to make a batch durable.
    :ivar query_s: how long queries took, by cluster.
    :ivar freshness_s: from the scheduler's own time of a start or an end to when it was told, by (cluster, "start" or "end").
    :ivar wake_s: from when a batch was durable to when its bytes were handed to the kernel, by kind of held request.
    :ivar stall_s: by how much the reactor was late.
    :ivar answers: how many HTTP answers were given, by status.
    :ivar durable_at: when the last batch was, by the reactor's time.
    """

    events: dict[tuple[str, str], int] = attrs.field(factory=dict)
    commit_s: Distribution = attrs.field(factory=lambda: Distribution(QUICK_S))
    query_s: dict[str, Distribution] = attrs.field(factory=dict)
    freshness_s: dict[tuple[str, str], Distribution] = attrs.field(factory=dict)
    wake_s: dict[str, Distribution] = attrs.field(factory=dict)
    stall_s: Distribution = attrs.field(factory=lambda: Distribution(QUICK_S))
    answers: dict[int, int] = attrs.field(factory=dict)
    durable_at: float = 0.0

    def committed(self, began_at: float, now: float) -> None:
        """Note that a batch with events is durable, by the reactor's time."""
        self.commit_s.add(max(0.0, now - began_at))
        self.durable_at = now

    def told(self, events: Sequence[Event], now: float) -> None:
        """
        Note what is published, and how late, where the scheduler keeps the time and jobpush saw it happen.

        :param now: the date, which is compared with the scheduler's.
        """
        counts = self.events
        for event in events:
            subject = event.subject
            key = subject.key[0], subject.state
            counts[key] = counts.get(key, 0) + 1
            if event.previous is not None and isinstance(subject, JobDescriptor) and subject.confidence is Confidence.OBSERVED:
                self._fresh(subject, now)

    def _fresh(self, job: JobDescriptor, now: float) -> None:
        if job.terminal and job.ended_at is not None:
            _of(self.freshness_s, (job.cluster, "end"), FRESH_S).add(max(0.0, now - job.ended_at))
        elif job.state == "RUNNING" and job.started_at is not None:
            _of(self.freshness_s, (job.cluster, "start"), FRESH_S).add(max(0.0, now - job.started_at))

    def queried(self, cluster: str, seconds: float) -> None:
        """Note one query for all jobs."""
        _of(self.query_s, cluster, QUERY_S).add(seconds)

    def woke(self, kind: str, now: float, times: int = 1) -> None:
        """Note that so many held requests were just answered (by the reactor's time) with what the last batch had for them."""
        _of(self.wake_s, kind, QUICK_S).add(max(0.0, now - self.durable_at), times)

    def answered(self, status: int, times: int = 1) -> None:
        """Note so many HTTP answers."""
        self.answers[status] = self.answers.get(status, 0) + times


def _of(found: dict[K, Distribution], key: K, bounds: Sequence[float]) -> Distribution:
    distribution = found.get(key)
    if distribution is None:
        distribution = found[key] = Distribution(bounds)
    return distribution
