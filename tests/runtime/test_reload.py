"""The registry of what can be read again."""

from __future__ import annotations

import os
import signal

from twisted.internet.defer import Deferred
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from jobpush.runtime.reload import CannotReload, Reloads, has_terminal, noted, on_signal


class ReloadsTests(SynchronousTestCase):
    """`Reloads`."""

    def setUp(self) -> None:
        self.done: list[str] = []
        self.reloads = Reloads(lambda: self.done.append("begun"), lambda: self.done.append("ended"))

    def log(self) -> list[str]:
        """What the log says of a reload."""
        with capturedLogs() as logged:
            self.reloads.reload()
        return [formatEvent(event) for event in logged]

    def test_parts(self) -> None:
        """Each part is read again in its order; the log says what has changed in each."""
        self.reloads.add("one", lambda: self.done.append("one"))
        self.reloads.add("two", lambda: "a queue was added")
        self.assertEqual(self.log(), ["one: nothing has changed", "two: a queue was added"])
        self.assertEqual((self.done, self.reloads.names), (["begun", "one", "ended"], ("one", "two")))
        self.assertEqual(len(self.log()), 2, "each time that it is asked for")

    def test_a_part_that_cannot(self) -> None:
        """It keeps what it had, and the log says why; the others are read all the same."""

        def refuse() -> None:
            raise CannotReload("file.toml: unknown key 'x'")

        def fail() -> None:
            raise ValueError("a fault")

        self.reloads.add("one", refuse)
        self.reloads.add("two", fail)
        self.reloads.add("three", lambda: "done")
        said = self.log()
        self.assertEqual(said[0], "one: the old stays: file.toml: unknown key 'x'")
        self.assertEqual((said[1], said[2]), ("two: the old stays: it could not be read again", "three: done"))
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)
        self.assertEqual(self.done, ["begun", "ended"])

    def test_two_at_a_time(self) -> None:
        """What is asked for while parts are read is done once more afterwards, however often it was asked for."""
        waits: list[Deferred[None]] = []

        async def slow() -> str:
            self.done.append("slow")
            waits.append(Deferred())
            await waits[-1]
            return "done"

        self.reloads.add("slow", slow)
        for _ in range(3):
            self.reloads.reload()
        self.assertEqual(self.done, ["begun", "slow"])
        waits[0].callback(None)
        self.assertEqual(self.done, ["begun", "slow", "begun", "slow"], "systemd waits for a word younger than its signal")
        waits[1].callback(None)
        self.assertEqual(self.done, ["begun", "slow", "begun", "slow", "ended"])

    def test_the_end(self) -> None:
        """What is being read is waited for, and nothing is read after it."""
        wait: Deferred[None] = Deferred()

        async def slow() -> None:
            await wait

        self.reloads.add("slow", slow)
        self.successResultOf(Reloads().close())
        self.reloads.reload()
        self.reloads.reload()
        closed = self.reloads.close()
        self.assertNoResult(closed)
        wait.callback(None)
        self.successResultOf(closed)
        self.reloads.reload()
        self.assertEqual(self.done, ["begun", "ended"])


class TerminalTests(SynchronousTestCase):
    """`has_terminal`."""

    def test_terminal(self) -> None:
        """A terminal is one until it is closed; a file and what is closed are none."""
        before = os.dup(0)
        self.addCleanup(os.close, before)
        self.addCleanup(os.dup2, before, 0)
        controller, terminal = os.openpty()
        os.dup2(terminal, 0)
        os.close(terminal)
        self.assertTrue(has_terminal())
        os.close(controller)
        self.assertFalse(has_terminal())
        with open(os.devnull) as null:
            os.dup2(null.fileno(), 0)
        self.assertFalse(has_terminal())


class SignalTests(SynchronousTestCase):
    """`on_signal`."""

    def test_signal(self) -> None:
        """The reactor calls, in its own turn; afterwards the signal does what it did before."""
        calls: list[object] = []
        came: list[int] = []

        class Reactor:
            def callFromThread(self, call: object) -> None:
                calls.append(call)

        before = signal.signal(signal.SIGHUP, lambda number, frame: came.append(number))
        self.addCleanup(signal.signal, signal.SIGHUP, before)
        mine = lambda: None  # noqa: E731
        forget = on_signal(Reactor(), signal.SIGHUP, mine)  # type: ignore[arg-type]
        os.kill(os.getpid(), signal.SIGHUP)
        self.assertEqual((calls, came), ([mine], []))
        forget()
        os.kill(os.getpid(), signal.SIGHUP)
        self.assertEqual((calls, came), ([mine], [signal.SIGHUP]))

    def test_noted(self) -> None:
        """It ends nothing, and it is known whether it came."""
        self.addCleanup(signal.signal, signal.SIGHUP, signal.getsignal(signal.SIGHUP))
        came = noted(signal.SIGHUP)
        self.assertFalse(came())
        os.kill(os.getpid(), signal.SIGHUP)
        self.assertTrue(came())
