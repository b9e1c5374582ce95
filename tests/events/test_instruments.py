"""What is measured while the service runs."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from jobpush.core import wire
from jobpush.core.model import Confidence, JobDescriptor, split_state
from jobpush.core.record import Change, Event
from jobpush.events.instruments import Instruments
from jobpush.runtime.histogram import Distribution
from tests.support import LabCase


def event(state: str, previous: str | None = "QUEUED", **fields: Any) -> Event:
    """An event of a job that is in that state now."""
    phase, outcome = split_state(state)
    job = JobDescriptor(cluster="c", id="1", phase=phase, outcome=outcome, **fields)
    return wire.number("e", 1, Change(job, previous, 1.0))


def told(distribution: Distribution) -> tuple[int, float]:
    """How many were measured, and their sum."""
    return sum(distribution.counts), round(distribution.sum, 6)


class MeasureTests(SynchronousTestCase):
    """`Instruments`."""

    def setUp(self) -> None:
        self.instruments = Instruments()

    def test_events(self) -> None:
        """By cluster and state."""
        self.instruments.told([event("RUNNING"), event("RUNNING"), event("FAILED", settled=True)], 10.0)
        self.instruments.told([event("RUNNING")], 10.0)
        self.assertEqual(self.instruments.events, {("c", "RUNNING"): 3, ("c", "FAILED"): 1})

    def test_freshness(self) -> None:
        """Where the scheduler keeps the time, and where jobpush saw the job change: of starts and of ends."""
        done, start, end = {"settled": True}, ("c", "start"), ("c", "end")
        for given, expected in [
            (event("RUNNING", started_at=7.0), {start: (1, 3.0)}), (event("RUNNING", started_at=12.0), {start: (1, 0.0)}), (event("RUNNING"), {}),
            (event("RUNNING", None, started_at=7.0), {}), (event("SUSPENDED", started_at=7.0), {}),
            (event("RUNNING", started_at=7.0, confidence=Confidence.ACCOUNTING), {}),
            (event("COMPLETED", "RUNNING", started_at=5.0, ended_at=9.5, **done), {end: (1, 0.5)}),
            (event("COMPLETED", "RUNNING", started_at=5.0, **done), {}), (event("COMPLETED", "RUNNING", ended_at=9.5, settled=False), {}),
            (event("COMPLETED", "RUNNING", ended_at=11.0, **done), {end: (1, 0.0)}),
        ]:  # fmt: skip
            self.setUp()
            self.instruments.told([given], 10.0)
            self.assertEqual({key: told(found) for key, found in self.instruments.freshness_s.items()}, expected)
        self.instruments.told([event("COMPLETED", "RUNNING", ended_at=9.0, **done)], 10.0)
        self.assertEqual(told(self.instruments.freshness_s[end]), (2, 1.0))

    def test_times(self) -> None:
        """Of commits, queries and wakes, none below nothing; answers by status."""
        self.instruments.committed(5.0, 5.5)
        self.instruments.committed(7.0, 6.0)
        self.assertEqual((told(self.instruments.commit_s), self.instruments.durable_at), ((2, 0.5), 6.0))
        self.instruments.woke("poll", 6.25)
        self.instruments.woke("poll", 6.5, 2)
        self.instruments.woke("stream", 5.0)
        self.assertEqual({kind: told(found) for kind, found in self.instruments.wake_s.items()}, {"poll": (3, 1.25), "stream": (1, 0.0)})
        for cluster, seconds in (("c", 1.0), ("c", 2.0), ("d", 3.0)):
            self.instruments.queried(cluster, seconds)
        self.assertEqual({cluster: told(found) for cluster, found in self.instruments.query_s.items()}, {"c": (2, 3.0), "d": (1, 3.0)})
        for status, times in ((200, 1), (200, 3), (404, 1)):
            self.instruments.answered(status, times)
        self.instruments.answered(200)
        self.assertEqual(self.instruments.answers, {200: 5, 404: 1})


class WorkflowTests(LabCase):
    """In a running service."""

    def test_events_of_workflows(self) -> None:
        """They are counted by state, and have no cluster."""
        self.assertEqual(self.lab.request("PUT", "/v1/workflows/w", json={"jobs": ["memory/1"]}).status // 100, 2)
        self.lab.set("1", "RUNNING")
        counted = {state: count for (cluster, state), count in self.lab.service.instruments.events.items() if not cluster}
        self.assertEqual(sum(counted.values()), sum("workflow" in event for event in self.lab.events()))
        self.assertTrue(counted)
