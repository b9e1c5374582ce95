"""What queues that run commands have in common."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from jobpush_adapters.common.base import CommandQueue, Common


class Queue(CommandQueue):
    """A queue whose answers are what it was asked."""

    async def _snapshot(self) -> Any:
        return "snapshot"

    async def _check(self) -> Any:
        return "check"

    async def _outcomes(self, jobs: Any) -> Any:
        return ("outcomes", jobs)


class QueueTests(SynchronousTestCase):
    """`CommandQueue` and `Common`."""

    def test_options(self) -> None:
        """The queue and its commands get the options."""
        queue = Queue("reactor", Common(cluster="c", interval=3.0, timeout=4.0, grace=5.0, directory="/d", prefix=["ssh"]), {"A": "b"})
        self.assertEqual((queue.cluster, queue.interval, queue.timeout, queue.grace), ("c", 3.0, 4.0, 5.0))
        commands = queue._commands
        self.assertEqual((commands.reactor, commands.timeout, commands.environment, commands.directory, commands.prefix),
                         ("reactor", 4.0, {"A": "b"}, "/d", ("ssh",)))  # fmt: skip
        plain = Common(cluster="c")
        self.assertEqual((plain.interval, plain.timeout, plain.grace, plain.directory, plain.prefix), (None, 20.0, 60.0, None, ()))

    def test_coroutines(self) -> None:
        """The coroutines begin at once, and their Deferreds fire with the results."""
        queue = Queue(None, Common(cluster="c"), {})
        for answer, expected in ((queue.snapshot(), "snapshot"), (queue.check(), "check"), (queue.outcomes([]), ("outcomes", []))):
            self.assertIsInstance(answer, Deferred)
            self.assertEqual(self.successResultOf(answer), expected)
        empty = CommandQueue(None, Common(cluster="c"), {})
        for answer in (empty.snapshot(), empty.check(), empty.outcomes([])):
            self.failureResultOf(answer, NotImplementedError)
