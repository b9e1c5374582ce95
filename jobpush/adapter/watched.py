"""
What a queue does while it is asked: what the contract tests of `jobpush.adapter.testing` watch in each call.

Tested with them, in tests/adapter/test_testing.py.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from types import BuiltinFunctionType, FrameType
from typing import Any, Generic, TypeVar

import attrs
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.interfaces import IProcessProtocol, IProcessTransport, IReactorTime
from twisted.internet.task import deferLater
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase

_T = TypeVar("_T")

#: The functions that block. They are found by what they are, however the adapter has imported them.
_BLOCKING_C: dict[object, str] = {
    time.sleep: "time.sleep",
    os.system: "os.system",
    socket.gethostbyname: "socket.gethostbyname",
}
_BLOCKING = {subprocess.Popen.__init__.__code__: "subprocess", socket.getaddrinfo.__code__: "socket.getaddrinfo"}

_SHELLS = frozenset({"sh", "bash", "dash", "zsh", "ksh", "csh", "tcsh", "fish"})

INSTEAD = (
    "While it does, the whole service stands still and no client is served. Expected: jobpush.adapter.command.run_command for "
    "a command, twisted.internet.task.deferLater for a pause, twisted.internet.threads.deferToThread for what cannot but block."
)


class _Watch:
    """
    What a queue does while it is asked, in the reactor's thread. A context manager.

    :ivar blocking: the functions that block which it called.
    :ivar commands: the commands that it started, each as its words.
    :ivar processes: those commands' process transports.
    :ivar longest: the longest time, in seconds, for which the reactor did nothing else.
    """

    def __init__(self, reactor: Any) -> None:
        self.blocking: list[str] = []
        self.commands: list[Sequence[str]] = []
        self.processes: list[IProcessTransport] = []
        self.longest = 0.0
        self._reactor = reactor

    def __enter__(self) -> _Watch:
        self._spawn = self._reactor.spawnProcess
        self._reactor.spawnProcess = self._spawned
        self._profile = sys.getprofile()
        self._at = time.monotonic()
        self._timer = self._reactor.callLater(0, self._tick)
        sys.setprofile(self._called)
        return self

    def __exit__(self, *error: object) -> None:
        sys.setprofile(self._profile)
        self._tick()
        self._timer.cancel()
        self._reactor.spawnProcess = self._spawn

    def _tick(self) -> None:
        now = time.monotonic()
        self.longest = max(self.longest, now - self._at)
        self._at = now
        if self._timer.active():
            self._timer.cancel()
        self._timer = self._reactor.callLater(0.01, self._tick)

    def _called(self, frame: FrameType, event: str, argument: object) -> None:
        name = None
        if event == "c_call" and isinstance(argument, BuiltinFunctionType):
            name = _BLOCKING_C.get(argument)
        elif event == "call":
            name = _BLOCKING.get(frame.f_code)
        if name is not None and name not in self.blocking:
            self.blocking.append(name)

    def _spawned(
        self, protocol: IProcessProtocol, executable: str, args: Sequence[str] = (), *more: Any, **options: Any
    ) -> IProcessTransport:
        self.commands.append(list(args) or [executable])
        process: IProcessTransport = self._spawn(protocol, executable, args, *more, **options)
        self.processes.append(process)
        return process


class WatchedCase(TestCase):
    """
    Asks a queue, and fails for what none may do.

    :cvar margin: seconds past its own time-out within which whatever a queue is asked must have ended: a command that ignores
        TERM takes two.
    :ivar timeout_s: the queue's time-out, in seconds.
    :ivar watch: what it did.
    """

    margin = 3.0
    timeout_s: float

    def setUp(self) -> None:
        self.watch = _Watch(_reactor())
        self.addCleanup(_end, self.watch.processes, self.margin)

    async def ask(self, what: str, call: Callable[[], Deferred[_T]]) -> _T:
        """What the queue answers; fails as it does, and if it breaks the rules that hold for each call."""
        with self.watch:
            answer = self.begin(what, call)
            result = await self.settled(what, answer, self.timeout_s + self.margin)
        self.judge(what)
        if isinstance(result, Failure):
            result.raiseException()
        return result

    def begin(self, what: str, call: Callable[[], Deferred[_T]]) -> Deferred[_T]:
        expected = "Expected: it returns a Deferred, which fails with QueueError where it cannot answer"
        try:
            answer = call()
        except Exception as error:
            self.fail(f"{what} raised {error!r}. {expected}")
        self.assertIsInstance(answer, Deferred, f"{what} returned {type(answer).__name__}. {expected}")
        return answer

    async def settled(self, what: str, answer: Deferred[_T], limit: float) -> _T | Failure:
        """What became of the Deferred, by then."""
        done: Deferred[_Result[_T]] = Deferred()
        timer = _reactor().callLater(limit, done.cancel)

        def settled(result: _T | Failure) -> None:
            if not done.called:
                timer.cancel()
                done.callback(_Result(result))

        answer.addBoth(settled)
        try:
            return (await done).result
        except CancelledError:
            answer.cancel()
            self.fail(
                f"{what} has neither fired nor failed within {limit:g} s; the queue's timeout is {self.timeout_s:g} s. "
                "Expected: each Deferred fires or fails by the timeout, whatever the scheduler does"
            )

    def judge(self, what: str) -> None:
        """Fail for what the queue did that none may do."""
        if self.watch.blocking:
            self.fail(f"{what} called {', '.join(self.watch.blocking)} in the reactor's thread. {INSTEAD}")
        for words in self.watch.commands:
            if os.path.basename(words[0]) in _SHELLS and any(word.startswith("-") and "c" in word for word in words[1:2]):
                self.fail(
                    f"{what} started a shell: {' '.join(words)[:100]}. Expected: the command itself with a list of "
                    "arguments, by jobpush.adapter.command.run_command; a job's name must not become a command"
                )


@attrs.frozen
class _Result(Generic[_T]):
    """What became of a Deferred, as a value."""

    result: _T | Failure


def sleep(seconds: float) -> Deferred[None]:
    """Return a Deferred that fires after so many seconds."""
    return deferLater(_reactor(), seconds)


async def _end(processes: Sequence[IProcessTransport], seconds: float) -> None:
    """Kill those that still run: nothing is left behind by a queue that does not end them."""
    for process in processes:
        try:
            process.signalProcess("KILL")
        except ProcessExitedAlready:
            pass
    await ended(processes, seconds)


async def ended(processes: Sequence[IProcessTransport], seconds: float) -> bool:
    """Return whether none of these runs any more, so many seconds from now at the latest."""
    until = time.monotonic() + seconds
    while any(process.pid is not None for process in processes):
        if time.monotonic() > until:
            return False
        await sleep(0.02)
    return True


def _reactor() -> IReactorTime:
    """The reactor; importing it installs one, which importing this module must not."""
    from twisted.internet import reactor

    return reactor
