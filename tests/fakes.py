"""Commands that answer what a test has written down: stand-ins for schedulers' own, as programs or within the process."""

from __future__ import annotations

import os
import shlex
import stat
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from jobpush.adapter.command import CommandResult
from jobpush.adapter.interfaces import QueueError
from jobpush.adapter.testing import FakeCommands
from jobpush.core.model import Snapshot
from jobpush_adapters.common import commands
from tests.support import ManualClock, step_until


class Programs:
    """
    A directory of programs. In their text ``$DIR`` stands for the directory.

    :ivar log: where they note how they are called, if they do.
    """

    def __init__(self, directory: str) -> None:
        self.directory = Path(directory).resolve()
        self.directory.mkdir(parents=True)
        self.log = self.directory / "log"

    def write(self, name: str, script: str) -> None:
        """Make a program, or make it anew."""
        path = self.directory / name
        path.write_text(script.replace("$DIR", str(self.directory)))
        path.chmod(path.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)

    def put(self, name: str, content: str | bytes) -> Path:
        """Make a file that programs read."""
        path = self.directory / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    def fail(self) -> None:
        """Make the next query fail, if its program looks for this."""
        (self.directory / "fail").touch()

    def commands(self, *names: str) -> FakeCommands:
        """Return these programs as those of the public contract, which makes them slow and cuts off what they print."""
        commands = FakeCommands(str(self.directory))
        for name in names:
            commands.wrap(name)
        return commands

    def calls(self) -> list[str]:
        """How the programs were called."""
        return self.log.read_text().splitlines() if self.log.exists() else []


class SameThread(ManualClock):
    """A clock whose threads are the caller's: what is done on a thread is done at once."""

    def getThreadPool(self) -> SameThread:
        return self

    def callInThreadWithCallback(self, told: Callable[[bool, Any], None], work: Callable[..., Any], *arguments: Any) -> None:
        """See `twisted.python.threadpool.ThreadPool`."""
        try:
            result = work(*arguments)
        except Exception:
            told(False, Failure())
        else:
            told(True, result)

    def callFromThread(self, work: Callable[..., Any], *arguments: Any) -> None:
        """See `IReactorFromThreads`."""
        work(*arguments)


class Scripted:
    """
    Commands without processes: what an adapter runs is answered at once by a function of the test, and noted.

    :param answer: told the words of a command; what it returns, or raises, is the command's result.
    :ivar calls: the commands that were run, as one text each.
    """

    def __init__(self, case: SynchronousTestCase, answer: Callable[[Sequence[str]], CommandResult | bytes]) -> None:
        self.calls: list[str] = []
        self.environments: list[Mapping[str, str]] = []
        self._answer = answer
        case.patch(commands, "run_command", self._run)
        case.patch(commands, "find_executable", lambda name, directory=None: os.path.join(directory or "", name))

    def _run(self, reactor: Any, argv: Sequence[str], environment: Mapping[str, str], timeout: float) -> Deferred[CommandResult]:
        self.calls.append(" ".join(argv))
        self.environments.append(environment)
        try:
            result = self._answer(argv)
        except Exception as error:
            return fail(error)
        return succeed(result if isinstance(result, CommandResult) else CommandResult(0, result, b""))


class CommandCase(SynchronousTestCase):
    """
    A queue whose commands are answered within the process, by `answer`.

    :ivar queue: made by the test.
    :ivar set_forward: seconds by which the clock of dates has been set forward; the reactor's does not follow it.
    """

    def setUp(self) -> None:
        self.clock = SameThread()
        self.set_forward = 0.0
        self.commands = Scripted(self, self.answer)
        self.queue: Any = None

    def answer(self, argv: Sequence[str]) -> CommandResult | bytes:
        """What a command prints."""
        raise NotImplementedError

    def wall(self) -> float:
        """The date."""
        return self.clock.seconds() + self.set_forward

    def look(self) -> Snapshot:
        """What the queue says now."""
        snapshot: Snapshot = self.result(self.queue.snapshot())
        return snapshot

    def result(self, deferred: Any) -> Any:
        """What comes of it."""
        step_until(lambda: deferred.called, lambda: self.clock.advance(0))
        return self.successResultOf(deferred)

    def failure(self, deferred: Any) -> str:
        """What it says that failed."""
        failed: list[Any] = []
        self.result(deferred.addErrback(failed.append))
        self.assertTrue(failed, "it did not fail")
        self.assertIsInstance(failed[0].value, QueueError)
        return str(failed[0].value)

    def asked(self) -> list[str]:
        """The commands since the last call."""
        calls = self.commands.calls[:]
        self.commands.calls.clear()
        return calls


def far_words(argv: Sequence[str]) -> Sequence[str]:
    """The words of a command; of one on another host without those that bring it there, which end with its time-out."""
    return shlex.split(" ".join(argv[list(argv).index("timeout") + 4 :])) if "timeout" in argv else argv
