"""A lab whose queue is asked seldom: what the tests of nudges and of named jobs build on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from jobpush.adapter.interfaces import INamedJobsQueue, IWatchfulQueue
from jobpush.adapter.testing import MemoryQueue
from jobpush.core.model import Snapshot
from jobpush.polling.queue_options import PollingOptions
from jobpush.polling.schedule import ECHO_S, ScheduleOptions
from jobpush.service import JobPush
from tests.support import NOW, Lab


@implementer(INamedJobsQueue, IWatchfulQueue)
class NamingQueue(MemoryQueue):
    """A queue that can be asked for some jobs, and that watches."""

    most_named = 3
    echo = ECHO_S
    probes: int = 0

    def __init__(self, reactor: Any, **options: Any) -> None:
        super().__init__(reactor, **options)
        self.named_for: list[Sequence[str]] = []
        self.nudge: Any = None
        self.ended = False

    def named(self, jobs: Sequence[str]) -> Deferred[Snapshot]:
        self.named_for.append(jobs)
        self.queries -= 1

        def some(snapshot: Snapshot) -> Snapshot:
            return Snapshot({name: snapshot.jobs[name] for name in jobs if name in snapshot.jobs}, NOW, NOW)

        return self.snapshot().addCallback(some)

    def watch(self, nudge: Any) -> Any:
        self.nudge = nudge

        def end() -> None:
            self.ended = True

        return end


class SeldomAskedLab(Lab):
    """A lab whose queue is asked every ten minutes, if nobody nudges."""

    queue_class: Any = NamingQueue

    def __init__(self) -> None:
        super().__init__()
        self.queue = self.queue_class(self.clock, interval=600.0)
        self.service = JobPush(
            self.clock,
            [self.queue],
            self.journal,
            options={"memory": PollingOptions(ScheduleOptions(floor=0.1, reconcile=700.0))},
            clocks=self.clocks,
        )
        self.serve()


class NudgedCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.lab = SeldomAskedLab()
        self.queue: Any = self.lab.queue
        self.queue.set("1", "QUEUED")
        self.lab.start()
        self.addCleanup(self.lab.stop)
        self.monitor = self.lab.service.monitors["memory"]
        self.lab.clock.advance(5)
        self.begin = self.queue.queries

    @property
    def queries(self) -> int:
        return int(self.queue.queries - self.begin)
