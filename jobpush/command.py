"""
Run one command of a scheduler: no shell, an environment of its own, a deadline, a limit on what it may print.

Everything that can go wrong with a child process ends here as a `CommandFailed`; adapters only read bytes.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping, Sequence
from typing import Any

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessDone, ProcessExitedAlready
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure

from jobpush.interfaces import QueueError

#: Seconds between TERM and KILL, and between KILL and giving up on the pipes (a grandchild may hold them).
GRACE_S = 1.0

#: How much of what a command prints on standard error is kept, in bytes.
STDERR_LIMIT = 65536


class CommandFailed(QueueError):
    """The command could not be started, ran past its deadline, printed too much, or was ended by a signal."""


@attrs.frozen
class CommandResult:
    """What a command that ended by itself left behind; ``elapsed`` in seconds."""

    status: int
    stdout: bytes = attrs.field(repr=False)
    stderr: bytes = attrs.field(repr=False)
    elapsed: float = 0.0

    @property
    def complaint(self) -> str:
        """The first line of standard error, fit for a log line."""
        lines = self.stderr.decode("utf-8", "replace").strip().splitlines()
        return printable(lines[0]) if lines else "no message"


def printable(text: str, most: int = 300) -> str:
    """Text from strangers for a log line: control characters are shown escaped, and it is cut."""
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text[: most + 1])
    return shown if len(shown) <= most else shown[:most] + "…"


def find_executable(name: str, directory: str | None = None) -> str:
    """
    The absolute path of a command.

    :param directory: look only there; otherwise along this process's PATH, then in the usual places.
    :raise CommandFailed: if there is none.
    """
    places = [directory] if directory else [*os.environ.get("PATH", "").split(os.pathsep), "/usr/local/bin", "/usr/bin", "/bin"]
    if os.path.isabs(name):
        places, name = [os.path.dirname(name)], os.path.basename(name)
    for place in places:
        path = os.path.join(place, name)
        if place and os.path.isabs(path) and os.access(path, os.X_OK) and os.path.isfile(path):
            return path
    raise CommandFailed(f"there is no command {name!r} in {directory or 'PATH'}")


def run_command(
    reactor: Any,
    argv: Sequence[str],
    environment: Mapping[str, str],
    timeout: float,
    stdout_limit: int = 128 * 1024 * 1024,
) -> Deferred[CommandResult]:
    """
    Run a command and collect its output.

    :param argv: its absolute path, then its arguments; no shell sees them.
    :param environment: the whole environment that it gets.
    :param timeout: seconds until TERM; KILL follows a second later, to it alone and never to anything that it did not start.
    :param stdout_limit: bytes of standard output after which it is ended.
    :return: fires with a `CommandResult`, whatever the exit status is, when the process has ended and its output is complete;
        fails with `CommandFailed` otherwise, at most two seconds after the deadline. Cancelling ends the process
        in the same way, and fails at once.
    """
    protocol = _Command(reactor, argv[0], timeout, stdout_limit)
    try:
        reactor.spawnProcess(protocol, argv[0], list(argv), env=dict(environment), path="/")
    except (OSError, ValueError) as error:
        protocol.abandon(CommandFailed(f"cannot start {argv[0]}: {error}"))
    return protocol.finished


class _Command(ProcessProtocol):
    """One running command. ``failure`` is set from the moment at which it is being ended on purpose."""

    def __init__(self, reactor: Any, name: str, timeout: float, stdout_limit: int) -> None:
        self.reactor = reactor
        self.name = os.path.basename(name)
        self.stdout: list[bytes] = []
        self.stdout_size = 0
        self.stdout_limit = stdout_limit
        self.stderr = b""
        self.failure: CommandFailed | None = None
        self.began = reactor.seconds()
        self.timeout = timeout
        self.timer: Any = reactor.callLater(
            timeout, self.end, CommandFailed(f"{self.name} did not answer within {timeout:g} s")
        )
        self.finished: Deferred[CommandResult] = Deferred(lambda _: self.end(CommandFailed(f"{self.name} was cancelled")))

    def connectionMade(self) -> None:
        assert self.transport is not None
        self.transport.closeStdin()
        if self.failure is not None:
            self.end(self.failure)

    def outReceived(self, data: bytes) -> None:
        if self.failure is not None:
            return
        self.stdout_size += len(data)
        if self.stdout_size > self.stdout_limit:
            self.stdout.clear()
            self.end(CommandFailed(f"{self.name} printed more than {self.stdout_limit} bytes"))
        else:
            self.stdout.append(data)

    def errReceived(self, data: bytes) -> None:
        self.stderr = (self.stderr + data)[:STDERR_LIMIT]

    def end(self, failure: CommandFailed) -> None:
        """End the process: TERM, then KILL, then give its pipes up."""
        if self.failure is None:
            self.failure = failure
            self._stop_timer()
            self._signal(signal.SIGTERM, self._kill)

    def abandon(self, failure: CommandFailed) -> None:
        """Fail without waiting for anything more."""
        self._stop_timer()
        if not self.finished.called:
            self.finished.errback(Failure(failure))

    def _signal(self, number: int, then: Any) -> None:
        transport = self.transport
        if transport is not None:
            try:
                transport.signalProcess(signal.Signals(number).name.removeprefix("SIG"))
            except (ProcessExitedAlready, OSError):
                pass
        self.timer = self.reactor.callLater(GRACE_S, then)

    def _kill(self) -> None:
        self._signal(signal.SIGKILL, self._give_up)

    def _give_up(self) -> None:
        self.timer = None
        if self.transport is not None:
            for descriptor in (1, 2):
                self.transport.closeChildFD(descriptor)
        assert self.failure is not None
        self.abandon(self.failure)

    def _stop_timer(self) -> None:
        if self.timer is not None and self.timer.active():
            self.timer.cancel()
        self.timer = None

    def processEnded(self, reason: Failure) -> None:
        self._stop_timer()
        if self.finished.called:
            return
        ended: Any = reason.value
        if self.failure is not None:
            self.abandon(self.failure)
        elif isinstance(ended, ProcessDone) or ended.exitCode is not None:
            status = ended.exitCode or 0
            elapsed = self.reactor.seconds() - self.began
            self.finished.callback(CommandResult(status, b"".join(self.stdout), self.stderr, elapsed))
        else:
            self.abandon(CommandFailed(f"{self.name} was ended by signal {ended.signal}"))
