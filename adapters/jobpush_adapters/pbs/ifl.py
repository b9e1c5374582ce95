"""
How an OpenPBS server is asked for jobs: through libpbs where that was tested, and by ``qstat``.

``qstat`` sleeps 0.2 s if one of the same user has ended within the same second (measured on 23.06), which libpbs does not. The
library is called in a helper process (`jobpush_adapters.pbs.ifl_helper`).
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from twisted.internet.defer import Deferred, DeferredLock, succeed
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.protocol import ProcessProtocol
from twisted.logger import Logger
from twisted.python.failure import Failure

from jobpush.adapter.command import CommandFailed, CommandResult, find_executable, start_process
from jobpush.adapter.interfaces import IQueueReactor
from jobpush_adapters.common.commands import Commands
from jobpush_adapters.pbs import ifl_helper

#: The beginnings of the versions of which libpbs was tested, and the most jobs that it is asked for, one after another.
TESTED = ("23.",)
MOST_JOBS = 100


def find_library(directory: str | None) -> str | None:
    """
    Return the path of libpbs beside PBS's commands; None if there is none.

    :param directory: where the commands are; by default along PATH.
    """
    try:
        qstat = os.path.realpath(find_executable("qstat", directory))
    except CommandFailed:
        return None
    base = os.path.dirname(os.path.dirname(qstat))
    paths = (os.path.join(base, name, "libpbs.so") for name in ("lib", "lib64"))
    return next((path for path in paths if os.path.exists(path)), None)


class Questions:
    """
    :ivar library: the path of libpbs; None where ``qstat`` is asked.
    """

    log = Logger()

    def __init__(self, reactor: IQueueReactor, commands: Commands) -> None:
        self.library: str | None = None
        self._reactor = reactor
        self._commands = commands
        self._failed = False
        self._helper: _Helper | None = None
        self._one_at_a_time = DeferredLock()

    def use(self, version: str) -> None:
        """Ask through libpbs from now on, if that was tested with this version of PBS, and has not failed before."""
        wanted = version.startswith(TESTED) and not self._failed and not self._commands.remote
        self.library = find_library(self._commands.directory) if wanted else None

    def stop(self) -> Deferred[None]:
        """End the helper. Fires when it has ended."""
        helper, self._helper = self._helper, None
        if helper is None:
            return succeed(None)
        helper.kill()
        return helper.gone

    async def listed(self) -> CommandResult:
        """Return what ``qstat -t -w`` prints, of its columns those that are read."""
        return await self._ask(["list"], ["-t", "-w"])

    async def attributes(self, jobs: Sequence[str], history: bool) -> CommandResult:
        """Return what ``qstat -f -F json`` prints of these jobs."""
        by_qstat = [*(["-x"] if history else []), "-E", "-f", "-F", "json", *jobs]
        if len(jobs) > MOST_JOBS:
            return await self._commands.run("qstat", *by_qstat)
        return await self._ask(["jobs", history, *jobs], by_qstat)

    async def _ask(self, question: list[object], by_qstat: Sequence[str]) -> CommandResult:
        said = ""
        if self.library is not None:
            result = await self._one_at_a_time.run(self._ask_library, question)
            if result.status == 0:
                return result
            said = result.complaint
        result = await self._commands.run("qstat", *by_qstat)
        if said and result.status == 0 and not self._failed:
            # The server answers: what does not work is the library.
            self.library, self._failed = None, True
            self.log.warn("libpbs could not be used, qstat is asked from now on: {why}", why=said)
            await self.stop()
        return result

    def _ask_library(self, question: list[object]) -> Deferred[CommandResult]:
        if self.library is None:  # it has failed while this one waited
            return succeed(CommandResult(1, b"", b"it is used no more"))
        helper = self._helper
        if helper is None or helper.over:
            self._helper, helper = None, _Helper()
            argv = [sys.executable, "-I", "-S", ifl_helper.__file__, self.library]
            environment = {"LC_ALL": "C.UTF-8", "TZ": "UTC", "PATH": "/usr/bin:/bin", **self._commands.environment}
            try:
                start_process(self._reactor, helper, argv, environment)
            except OSError as error:
                return succeed(CommandResult(1, b"", str(error).encode()))
            self._helper = helper
        seconds = self._commands.timeout

        def hung(_: object, __: float) -> NoReturn:
            raise CommandFailed(f"libpbs did not answer within {seconds:g} s")

        return helper.ask(question).addTimeout(seconds, self._reactor, hung)


class _Helper(ProcessProtocol):
    """
    One helper process.

    :ivar gone: fires when it has ended.
    :ivar over: whether it is to be asked no more.
    """

    def __init__(self) -> None:
        self.gone: Deferred[None] = Deferred()
        self.over = False
        self._asked: Deferred[CommandResult] | None = None
        self._answer = b""
        self._said = b""

    def ask(self, question: list[object]) -> Deferred[CommandResult]:
        """Ask. Fires with the answer, or with status 1 if the helper ends instead. Cancelling ends the helper."""
        asked: Deferred[CommandResult] = Deferred(self._cancelled)
        self._asked = asked
        if self.transport is not None:
            self.transport.write(json.dumps(question).encode() + b"\n")
        return asked

    def kill(self) -> None:
        """End it with KILL: it has nothing to tidy up. What it was asked fails with status 1."""
        self.over = True
        try:
            if self.transport is not None:
                self.transport.signalProcess("KILL")
        except ProcessExitedAlready:
            pass

    def outReceived(self, data: bytes) -> None:
        self._answer += data
        head, newline, body = self._answer.partition(b"\n")
        status, _, length = head.partition(b" ")
        if not newline or not length.isdigit() or len(body) < int(length):
            return
        self._answer = b""
        failed = status != b"0"
        self._fire(CommandResult(int(failed), b"" if failed else body, body if failed else b""))

    def errReceived(self, data: bytes) -> None:
        self._said = (self._said + data)[-1000:]

    def processEnded(self, reason: Failure) -> None:
        last = self._said.strip().splitlines()[-1:]
        self.over = True
        self.gone.callback(None)
        self._fire(CommandResult(1, b"", last[0] if last else str(reason.value).encode()))

    def _cancelled(self, _: object) -> None:
        self._asked = None
        self.kill()

    def _fire(self, result: CommandResult) -> None:
        asked, self._asked = self._asked, None
        if asked is not None:
            asked.callback(result)
