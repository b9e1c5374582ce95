"""The queue in memory that tests build on keeps the contract too."""

from __future__ import annotations

from typing import Any

from twisted.internet import reactor
from twisted.trial.unittest import TestCase

from jobpush.adapter.interfaces import QueueError
from jobpush.adapter.testing import MemoryQueue, QueueUnderTest, makeQueueServiceTests
from jobpush.core.model import JobDescriptor


def memory_queue(case: TestCase) -> QueueUnderTest:
    queue = MemoryQueue(reactor)

    def show(jobs: Any) -> Any:
        queue.jobs.clear()
        queue.failure = None
        for job_id, state in jobs.items():
            queue.set(job_id, state)
        kept = {i: j for i, j in before.items() if i in queue.jobs and j.state == queue.jobs[i].state}
        queue.jobs.update(kept)
        before.update(queue.jobs)
        return jobs

    before: dict[str, JobDescriptor] = {}

    def fail() -> None:
        queue.failure = QueueError("asked for")

    return QueueUnderTest(queue, show, fail, ids=("1", "2", "7_3"), task=("7_3", "7", 3))


class MemoryContractTests(makeQueueServiceTests(memory_queue)):  # type: ignore[misc]
    """A fake is honest: it keeps the contract too."""
