"""The stand-ins: a queue in memory, and programs in place of a scheduler's commands."""

from __future__ import annotations

import os
import subprocess
import time

import attrs
from twisted.internet import reactor
from twisted.trial.unittest import SynchronousTestCase, TestCase

from jobpush.adapter.command import CommandFailed, run_command
from jobpush.adapter.fakes import FakeCommands, MemoryQueue
from jobpush.adapter.interfaces import InvalidJobId, QueueError
from jobpush.core.model import JobDescriptor, Outcome, Phase, QueueFacts
from tests.support import NOW, ManualClock


class MemoryTests(SynchronousTestCase):
    """What the queue in memory takes and gives."""

    def setUp(self) -> None:
        self.clock = ManualClock()
        self.queue = MemoryQueue(self.clock)

    def test_job(self) -> None:
        """A job by its flat state, and what a test says of it."""
        expected = JobDescriptor("memory", "1", Phase.RUNNING, submitted_at=1.0, native={"state": "RUNNING"}, observed_at=NOW)
        self.assertEqual(attrs.asdict(self.queue.set("1", "RUNNING")), attrs.asdict(expected))
        ended = attrs.evolve(expected, phase=Phase.DONE, outcome=Outcome.FAILED, settled=True, native={"state": "FAILED"})
        self.assertEqual(attrs.asdict(self.queue.set("1", "FAILED")), attrs.asdict(ended))
        self.assertFalse(self.queue.set("1", "FAILED", settled=False).settled)
        task = self.queue.set("7_3", "QUEUED", submitted_at=5.0, native={})
        self.assertEqual((task.parent, task.task_index, task.submitted_at, task.native), ("7", 3, 5.0, {}))
        self.assertEqual((self.queue.set("7_3", "QUEUED", parent="9").task_index, self.queue.queue_type), (None, "memory"))
        self.assertEqual((self.queue.cluster, self.queue.interval, self.queue.timeout, self.queue.grace), ("memory", 1.0, 10.0, 5.0))

    def test_answers(self) -> None:
        """At once, or when the test says so, as it was when it was asked; or a failure; each query is counted."""
        self.queue.set("1", "RUNNING")
        self.clock.advance(2)
        snapshot = self.successResultOf(self.queue.snapshot())
        self.assertEqual((set(snapshot.jobs), snapshot.began_at, snapshot.ended_at), ({"1"}, NOW + 2, NOW + 2))
        self.queue.pending = []
        answer = self.queue.snapshot()
        self.queue.set("2", "RUNNING")
        self.assertNoResult(answer)
        self.queue.pending.pop().callback(None)
        self.assertEqual(set(self.successResultOf(answer).jobs), {"1"})
        self.queue.failure = QueueError("x")
        self.failureResultOf(self.queue.snapshot(), QueueError)
        self.assertEqual(self.queue.queries, 3)
        self.queue.facts = QueueError("y")
        self.failureResultOf(self.queue.check(), QueueError)

    def test_outcomes(self) -> None:
        """What accounting knows, if there is any."""
        job, other = self.queue.set("1", "RUNNING"), self.queue.set("2", "RUNNING")
        self.queue.records = {"1": self.queue.set("1", "FAILED")}
        for facts, answered in ((self.queue.facts, False), (QueueFacts(sees_all=True, accounting=True), True), (QueueError("x"), False)):
            self.queue.facts = facts
            outcomes = self.successResultOf(self.queue.outcomes([job, other]))
            self.assertEqual((outcomes.no_record, dict(outcomes.jobs)), ({"2"} if answered else set(), self.queue.records if answered else {}))

    def test_ids(self) -> None:
        """Letters, digits and underscores; with an index they are tasks."""
        for good in ("1", "a_b", "x" * 64):
            self.assertEqual(self.queue.canonical_id(good), good)
        for bad in ("x" * 65, "_", "a-b", "\u0661"):
            error = self.assertRaises(InvalidJobId, self.queue.canonical_id, bad)
            self.assertEqual(str(error), "expected up to 64 letters, digits and '_'")
        self.assertEqual([self.queue.task_of(text) for text in ("7_3", "7_x", "7")], [("7", 3), None, None])


class CommandTests(TestCase):
    """`FakeCommands`."""

    def setUp(self) -> None:
        self.commands = FakeCommands(self.mktemp())

    async def run_command(self, *arguments: str, timeout: float = 5.0) -> tuple[int, bytes, bytes]:
        path = os.path.join(self.commands.directory, "list")
        result = await run_command(reactor, [path, *arguments], {}, timeout)
        return result.status, result.stdout, result.stderr

    async def test_prints(self) -> None:
        """What it was given for the arguments; other arguments are an error."""
        self.commands.prints("list", "it's\nall\n")
        self.commands.prints("list", "ended\n", "-e", "1")
        self.assertEqual(await self.run_command(), (0, b"it's\nall\n", b""))
        self.assertEqual(await self.run_command("-e", "1"), (0, b"ended\n", b""))
        self.assertEqual(await self.run_command("-x"), (2, b"", b"unexpected arguments: -x\n"))
        self.commands.prints("list", "changed\n", "-e", "1")
        self.assertEqual([await self.run_command(), await self.run_command("-e", "1")], [(0, b"it's\nall\n", b""), (0, b"changed\n", b"")])
        self.commands.fails("list", "it's down", 3)
        self.assertEqual(await self.run_command(), (3, b"", b"it's down\n"))
        self.commands.prints("list", "up\n")
        self.assertEqual(await self.run_command(), (0, b"up\n", b""))

    async def test_cut(self) -> None:
        """The last bytes are missing, from then on; the status is the program's own."""
        self.commands.write("list", "#!/bin/sh\nprintf 'a\\nbcd\\n'\nexit 4\n")
        for missing, expected in ((1, b"a\nbcd"), (4, b"a\n"), (6, b""), (99, b""), (0, b"a\nbcd\n")):
            self.commands.cut(missing)
            self.assertEqual(await self.run_command(), (4, expected, b""), missing)
        self.assertEqual([name for name in os.listdir(self.commands.directory) if "answer" in name], [])

    async def test_slow(self) -> None:
        """It takes so long, from then on; ended meanwhile, it leaves no process behind."""
        self.commands.prints("list", "a\n")
        self.commands.slow(0.3)
        began = time.monotonic()
        self.assertEqual(await self.run_command(), (0, b"a\n", b""))
        self.assertGreater(time.monotonic() - began, 0.29)
        self.commands.slow(77.125)
        await self.assertFailure(run_command(reactor, [os.path.join(self.commands.directory, "list")], {}, 0.2), CommandFailed)
        processes = subprocess.run(["ps", "-e", "-o", "args"], stdout=subprocess.PIPE, check=True).stdout
        self.assertNotIn(b"sleep 77.125", processes)
        self.commands.slow(0)
        self.assertEqual(await self.run_command(timeout=2.0), (0, b"a\n", b""))

    async def test_wrap(self) -> None:
        """A program that is there already does as before."""
        path = os.path.join(self.commands.directory, "list")
        with open(path, "w") as file:
            file.write("#!/bin/sh\necho \"$@\"\n")
        self.commands.wrap("list")
        self.assertEqual(await self.run_command("a", "b  c"), (0, b"a b  c\n", b""))
        self.commands.cut(4)
        self.assertEqual(await self.run_command("a", "b  c"), (0, b"a b", b""))
