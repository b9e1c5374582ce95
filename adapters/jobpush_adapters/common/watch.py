"""
Watches a scheduler's logs, so that the queue is looked at as soon as something is written to one of them.

The kernel reports a write (inotify). Where it does not, on a network file system or when there are no watches left, the logs
are read every second. The caller knows what the lines mean, and nudges for the jobs in them. Of a spool directory only the
fact counts that something is written there; nothing in it is read.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol, TypeVar

from twisted.internet import inotify
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.python.filepath import FilePath

from jobpush.adapter.interfaces import IQueueReactor, QueueError
from jobpush.adapter.work import Work
from jobpush_adapters.common.logs import LogFollower

#: Seconds between two reads of the logs without a report of the kernel.
EVERY_S = 1.0

#: Seconds from the first write to a spool to the nudge: one change is several writes, and may be listed only after the last.
SETTLE_S = 0.02

#: The names of log files that are begun each day (PBS's server and accounting logs) are dates.
_DATED = re.compile(r"[0-9]{8}")

T = TypeVar("T")

_MASK = inotify.IN_MODIFY | inotify.IN_CREATE | inotify.IN_MOVED_TO

#: Is called with the lines that were written; with none when something was written to a spool.
Told = Callable[[Sequence[bytes]], None]


class LogWatch:
    """
    Watches logs from their present end on.

    :param paths: files, or directories of files whose names are dates, of which the last one is followed.
    :param told: called on the reactor's thread with the lines of all logs that were written since the last call.
    :param spools: directories to which the scheduler writes when a job changes.
    """

    log = Logger()

    def __init__(self, reactor: IQueueReactor, paths: Sequence[str], told: Told, spools: Sequence[str] = ()) -> None:
        self._reactor = reactor
        self._told = told
        self._spools = spools
        self._logs = [_Log(path) for path in paths]
        self._work = Work(reactor)
        self._loop = LoopingCall(self._look)
        self._loop.clock = reactor
        self._kernel: inotify.INotify | None = None
        self._reading: Deferred[None] | None = None
        self._again = False
        self._settling: IDelayedCall | None = None
        self._complaint = ""

    def start(self) -> None:
        """Begin to watch."""
        self._loop.start(EVERY_S)
        try:
            kernel = inotify.INotify(self._reactor)
        except inotify.INotifyError as error:
            self.log.warn("{why}: logs are looked at every {s:g} s", why=str(error), s=EVERY_S)
            return
        self._kernel = kernel
        kernel.startReading()
        for directory in sorted({log.directory for log in self._logs}):
            if not _listen(kernel, directory, self._look):
                self.log.warn("{path} cannot be watched: looked at every {s:g} s", path=directory, s=EVERY_S)
        for directory in self._spools:
            if not _listen(kernel, directory, self._touched):
                self.log.warn("{path} cannot be watched: what is written there is seen by polling", path=directory)

    def stop(self) -> Deferred[None]:
        """End it. Fires when no thread reads a log any more."""
        if self._loop.running:
            self._loop.stop()
        if self._settling is not None:
            self._settling.cancel()
            self._settling = None
        kernel, self._kernel = self._kernel, None
        if kernel is not None:
            kernel.loseConnection()
        return succeed(None) if self._reading is None else self._reading

    def _look(self) -> None:
        """Read what is new, on a thread; again afterwards, if this was called meanwhile."""
        if self._reading is not None:
            self._again = True
            return
        lines = self._work.reading(lambda: [line for log in self._logs for line in log.lines()])
        self._reading = lines.addCallbacks(self._read, self._failed)
        self._reading.addBoth(self._over)

    def _touched(self) -> None:
        if self._settling is None and self._loop.running:
            self._settling = self._reactor.callLater(SETTLE_S, self._settled)

    def _settled(self) -> None:
        self._settling = None
        self._told([])

    def _read(self, lines: list[bytes]) -> None:
        self._complaint = ""
        if lines and self._loop.running:
            self._told(lines)

    def _failed(self, failure: Failure) -> None:
        """Log once why a log cannot be read; it may be readable later."""
        failure.trap(QueueError)
        if str(failure.value) != self._complaint:
            self._complaint = str(failure.value)
            self.log.warn("{why}: changes are seen by polling", why=self._complaint)

    def _over(self, failed: T) -> T:
        self._reading = None
        again, self._again = self._again, False
        if again and self._loop.running:
            self._look()
        return failed


def _listen(kernel: inotify.INotify, directory: str, call: Callable[[], None]) -> bool:
    """Have the kernel call when something is written there; return whether it can."""
    try:
        kernel.watch(FilePath(directory), _MASK, callbacks=[lambda *_: call()])
    except inotify.INotifyError:  # the directory may not be there or not be readable, or there are no watches left
        return False
    return True


class _Log:
    """One log. It blocks."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._dated = os.path.isdir(path)
        self._follower: LogFollower | None = None

    @property
    def directory(self) -> str:
        return self._path if self._dated else os.path.dirname(self._path)

    def lines(self) -> list[bytes]:
        """
        Return the lines that were written since the last call; the first call skips what is there.

        :raise OSError: if it cannot be read.
        """
        path = self._newest() if self._dated else self._path
        if path is None:
            return []
        if self._follower is None:
            self._follower = LogFollower(path)
            self._follower.skip()
            return []
        if path == self._follower.path:
            return self._follower.lines()
        rest = self._follower.lines()
        self._follower = LogFollower(path)
        return rest + self._follower.lines()

    def _newest(self) -> str | None:
        names = [name for name in os.listdir(self._path) if _DATED.fullmatch(name)]
        return os.path.join(self._path, max(names)) if names else None


class Probe(Protocol):
    """
    What a queue asks its scheduler to learn when to look.

    :ivar asked: how many questions it has asked.
    """

    asked: int


class Watching:
    """Makes a queue an `jobpush.adapter.interfaces.IWatchfulQueue` that follows logs; it may find out later which."""

    #: Seconds; see `IWatchfulQueue`. Most changes are listed when the hook is called, or soon after.
    echo: Sequence[float] = (0.1, 0.2, 0.3, 0.5, 1.0)

    _reactor: IQueueReactor

    @property
    def probes(self) -> int:
        """See `IWatchfulQueue`. To follow logs costs the scheduler nothing."""
        return self._probe.asked if self._probe is not None else 0

    def __init__(self) -> None:
        self._probe: Probe | None = None
        self._nudge: Callable[[Sequence[str]], None] | None = None
        self._watch: LogWatch | None = None
        self._watched: tuple[str, ...] = ()
        self._spools: tuple[str, ...] = ()

    def watch(self, nudge: Callable[[Sequence[str]], None]) -> Callable[[], Deferred[None] | None]:
        """See `jobpush.adapter.interfaces.IWatchfulQueue`."""
        self._nudge = nudge
        self._begin_watch()
        return self._end_watch

    def _follow_logs(self, paths: Iterable[str], spools: Iterable[str] = ()) -> None:
        """Follow these logs from now on, and notice writes to these directories."""
        before = self._watched, self._spools
        self._watched, self._spools = tuple(paths), tuple(spools)
        if before != (self._watched, self._spools):
            self._begin_watch()

    def _begin_watch(self) -> None:
        if self._nudge is None:
            return
        if self._watch is not None:
            self._watch.stop()
            self._watch = None
        if self._watched or self._spools:
            self._watch = LogWatch(self._reactor, self._watched, self._said, self._spools)
            self._watch.start()

    def _end_watch(self) -> Deferred[None] | None:
        self._nudge = None
        watch, self._watch = self._watch, None
        return watch.stop() if watch is not None else None

    def _said(self, lines: Sequence[bytes]) -> None:
        """Nudge if these lines are about jobs, or if there are none: then something was written to a spool."""
        jobs = self._jobs_in(lines) if lines else ()
        if jobs is not None and self._nudge is not None:
            self._nudge(jobs)

    def _jobs_in(self, lines: Sequence[bytes]) -> Sequence[str] | None:
        """Return the canonical ids of the jobs in these lines: empty if they name none, None if no line is about a job."""
        raise NotImplementedError
