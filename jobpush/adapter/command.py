"""
Runs one command of a scheduler: without a shell, with an environment of its own, a deadline and a limit on its output.

Whatever goes wrong with a child process becomes a `CommandFailed` here; adapters only read bytes.
"""

from __future__ import annotations

import fcntl
import os
import signal
import warnings
from collections.abc import Callable, Mapping, Sequence

import attrs
from twisted.internet.abstract import FileDescriptor
from twisted.internet.defer import Deferred, fail
from twisted.internet.error import ConnectionDone, ProcessDone, ProcessExitedAlready, ProcessTerminated
from twisted.internet.interfaces import IDelayedCall, IReactorProcess
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure

from jobpush.adapter.interfaces import IQueueReactor, QueueError

#: Seconds from TERM to KILL, and from KILL until the pipes are closed (a grandchild may keep them open).
GRACE_S = 1.0

#: Bytes of a command's standard error that are kept.
STDERR_LIMIT = 65536

#: Bytes of standard output that are read at once, and asked for as the pipe's size (``pipe(7)``). Twisted reads 8 kB in a turn:
#: 20 MB of ``squeue`` would be 2,400 turns.
PIECE = 1024 * 1024

#: A command with a long output writes some kilobytes at a time (4,800 times for the same). After the first `MUCH` bytes it has
#: `PAUSE_S` seconds to fill the pipe before that is read again.
MUCH, PAUSE_S = 65536, 0.002


class CommandFailed(QueueError):
    """The command could not be started, exceeded its deadline or the limit on its output, or was ended by a signal."""


@attrs.frozen
class CommandResult:
    """The exit status and the output of a command that ended by itself; ``elapsed`` in seconds."""

    status: int
    stdout: bytes = attrs.field(repr=False)
    stderr: bytes = attrs.field(repr=False)
    elapsed: float = 0.0

    @property
    def complaint(self) -> str:
        """The first line of standard error, as `printable` text."""
        lines = self.stderr.decode("utf-8", "replace").strip().splitlines()
        return printable(lines[0]) if lines else "no message"


def printable(text: str, most: int = 300) -> str:
    """Return untrusted text for a log line: control characters are escaped, and it is cut to ``most`` characters."""
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text[: most + 1])
    return shown if len(shown) <= most else shown[:most] + "…"


def find_executable(name: str, directory: str | None = None) -> str:
    """
    Return the absolute path of a command.

    :param directory: the only directory to look in; by default those of this process's PATH, then the usual ones.
    :raise CommandFailed: if there is no such command.
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
    reactor: IQueueReactor,
    argv: Sequence[str],
    environment: Mapping[str, str],
    timeout: float,
    stdout_limit: int = 128 * 1024 * 1024,
) -> Deferred[CommandResult]:
    """
    Run a command and collect its output.

    :param argv: its absolute path, then its arguments; no shell sees them.
    :param environment: its whole environment.
    :param timeout: seconds until TERM; KILL follows a second later. Both go to this process alone.
    :param stdout_limit: bytes of standard output after which it is ended.
    :return: fires with a `CommandResult`, whatever the exit status is, when the process has ended and its output is complete;
        fails with `CommandFailed` otherwise, at most two seconds after the deadline. Cancelling ends the process
        in the same way, and fails at once.
    """
    try:
        protocol = _Command(reactor, argv[0], timeout, stdout_limit)
    except OSError as error:
        return fail(CommandFailed(f"cannot start {argv[0]}: {error}"))
    try:
        with protocol.output.child_end as output:
            start_process(reactor, protocol, argv, environment, {0: "w", 1: output.fileno(), 2: "r"})
    except (OSError, ValueError) as error:
        protocol.abandon(CommandFailed(f"cannot start {argv[0]}: {error}"))
    return protocol.finished


def start_process(
    reactor: IReactorProcess,
    protocol: ProcessProtocol,
    argv: Sequence[str],
    environment: Mapping[str, str],
    descriptors: Mapping[int, int | str] | None = None,
) -> None:
    """
    Start a process in the directory ``/``.

    From Python 3.12 on, ``os.fork`` warns in a process with threads, as the child may wait for a lock that one of them holds.
    This process has threads (the journal's, the reactor's pool). What Twisted runs in the child between ``fork`` and ``exec``
    are system calls, which take no such lock.

    :param argv: its absolute path, then its arguments.
    :param environment: its whole environment.
    :param descriptors: as in `twisted.internet.interfaces.IReactorProcess.spawnProcess`; by default three pipes.
    :raise OSError: if it cannot be started.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"This process .* is multi-threaded, use of fork\(\)", DeprecationWarning)
        reactor.spawnProcess(protocol, argv[0], list(argv), env=dict(environment), path="/", childFDs=descriptors)


class _Output(FileDescriptor):
    """
    A command's standard output.

    :param received: called with the bytes that were read.
    :param ended: called when all processes have closed it.
    :ivar child_end: the end of the pipe that the command gets.
    :ivar size: the number of bytes that were read.
    """

    def __init__(self, reactor: IQueueReactor, received: Callable[[bytes], None], ended: Callable[[], None]) -> None:
        super().__init__(reactor)
        self._later = reactor.callLater
        reading, writing = os.pipe()
        self.child_end = os.fdopen(writing, "wb")
        self._pipe = os.fdopen(reading, "rb", buffering=0)
        self._received = received
        self._ended = ended
        os.set_blocking(reading, False)
        self.size = 0
        self._pause: IDelayedCall | None = None
        self._closed = False
        try:
            fcntl.fcntl(reading, fcntl.F_SETPIPE_SZ, PIECE)
            self._large = True
        except (AttributeError, OSError):
            self._large = False  # not Linux; or the user's pipes have reached their limit
        self.connected = 1
        self.startReading()

    def fileno(self) -> int:
        return self._pipe.fileno() if self.open else -1

    def doRead(self) -> Exception | None:
        data = self._pipe.read(PIECE)
        if data == b"":
            return ConnectionDone()
        if data is not None:
            self.size += len(data)
            self._received(data)
            if self._large and self.size > MUCH and self.open:
                self.stopReading()
                self._pause = self._later(PAUSE_S, self.startReading)
        return None

    def connectionLost(self, reason: Failure) -> None:
        self.close()
        self._ended()

    @property
    def open(self) -> bool:
        """Whether more can be read."""
        return not self._closed

    def close(self) -> None:
        """
        Read no more.

        The pipe is closed in the reactor's next turn: this one may have an event for its number still, which what is opened in
        the meantime would get, if the number were free.
        """
        if self._closed:
            return
        if self._pause is not None and self._pause.active():
            self._pause.cancel()
        self.stopReading()
        self._closed = True
        self._later(0, self._pipe.close)


class _Command(ProcessProtocol):
    """One running command. ``failure`` is set once it is being ended."""

    def __init__(self, reactor: IQueueReactor, name: str, timeout: float, stdout_limit: int) -> None:
        self.reactor = reactor
        self.name = os.path.basename(name)
        self.output = _Output(reactor, self._received, self._over)
        self.stdout: list[bytes] = []
        self.stdout_limit = stdout_limit
        self.stderr = b""
        self.failure: CommandFailed | None = None
        self.ended: ProcessDone | ProcessTerminated | None = None
        self.began = reactor.seconds()
        self.timeout = timeout
        self.timer: IDelayedCall | None = reactor.callLater(
            timeout, self.end, CommandFailed(f"{self.name} did not answer within {timeout:g} s")
        )
        self.finished: Deferred[CommandResult] = Deferred(lambda _: self.end(CommandFailed(f"{self.name} was cancelled")))

    def connectionMade(self) -> None:
        assert self.transport is not None
        self.transport.closeStdin()
        if self.failure is not None:
            self.end(self.failure)

    def _received(self, data: bytes) -> None:
        if self.failure is not None:
            return
        if self.output.size > self.stdout_limit:
            self.stdout.clear()
            self.end(CommandFailed(f"{self.name} printed more than {self.stdout_limit} bytes"))
        else:
            self.stdout.append(data)

    def errReceived(self, data: bytes) -> None:
        self.stderr = (self.stderr + data)[:STDERR_LIMIT]

    def end(self, failure: CommandFailed) -> None:
        """End the process: TERM, then KILL, then close its pipes."""
        if self.failure is None:
            self.failure = failure
            self._stop_timer()
            self._signal(signal.SIGTERM, self._kill)

    def abandon(self, failure: CommandFailed) -> None:
        """Fail at once."""
        self._stop_timer()
        self.output.close()
        if not self.finished.called:
            self.finished.errback(Failure(failure))

    def _signal(self, number: int, then: Callable[[], None]) -> None:
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
            self.transport.closeChildFD(2)
        assert self.failure is not None
        self.abandon(self.failure)

    def _stop_timer(self) -> None:
        if self.timer is not None and self.timer.active():
            self.timer.cancel()
        self.timer = None

    def processEnded(self, reason: Failure) -> None:
        assert isinstance(reason.value, (ProcessDone, ProcessTerminated))
        self.ended = reason.value
        self._over()

    def _over(self) -> None:
        """Fire or fail, if both the process and its output have ended."""
        ended, failure = self.ended, self.failure
        if ended is None or (self.output.open and failure is None):
            return
        self._stop_timer()
        if self.finished.called:
            return
        if failure is not None:
            self.abandon(failure)
        elif isinstance(ended, ProcessDone) or ended.exitCode is not None:
            status = ended.exitCode or 0
            elapsed = self.reactor.seconds() - self.began
            self.finished.callback(CommandResult(status, b"".join(self.stdout), self.stderr, elapsed))
        else:
            self.abandon(CommandFailed(f"{self.name} was ended by signal {ended.signal}"))
