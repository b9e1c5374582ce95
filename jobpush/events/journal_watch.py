"""
Whether the journal is what was written: its files every two seconds, and after the start every event that it holds, a thousand
at a time, with what they are found by. What is found stands in `IJournal.damage`, which makes ``/readyz`` 503.

After a commit that failed it is tried again to write, also while no scheduler answers and nothing is to be told.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from jobpush.events.interfaces import CursorGone, IJournal, JournalError
from jobpush.runtime.repeated import Repeated

#: Seconds between two looks at the files, and between two readings of events.
FILES_EVERY_S = 2.0
EVENTS_EVERY_S = 0.1


class JournalWatch(Service):
    """
    :param journal: one that is open when this is started.
    :param well: is called when it can be written again.
    """

    log = Logger()

    def __init__(self, reactor: IReactorTime, journal: IJournal, well: Callable[[], None]) -> None:
        self._reactor = reactor
        self._journal = journal
        self._well = well
        self._files = Repeated(reactor, self._look)
        self._reading: Deferred[None] | None = None

    def startService(self) -> None:
        super().startService()
        self._files.start(FILES_EVERY_S, now=False)
        self._reading = Deferred.fromCoroutine(self._read_all())
        self._reading.addErrback(lambda failure: failure.trap(CancelledError))
        self._reading.addErrback(lambda failure: self.log.failure("the journal could not be read through", failure))

    def stopService(self) -> Deferred[None] | None:
        super().stopService()
        if self._files.running:
            self._files.stop()
        if self._reading is not None:
            self._reading.cancel()
        return self._reading

    @property
    def reading(self) -> bool:
        """Whether old events are still being read."""
        return self._reading is not None and not self._reading.called

    def _look(self) -> Deferred[None] | None:
        """Look at the files, and commit an empty batch if the last batch failed: then `IJournal.problem` is as it is now."""
        self._journal.look_at_files()
        if self._journal.problem is None or self._journal.damage is not None:
            return None

        def failed(failure: Failure) -> None:
            failure.trap(JournalError)

        return self._journal.commit((), (), ()).addCallbacks(lambda _: self._well(), failed)

    async def _read_all(self) -> None:
        """Read the events that were there at the start, while others wait for nothing."""
        at, last = self._journal.trimmed_seq, self._journal.last_seq
        while at < last:
            await deferLater(self._reactor, EVENTS_EVERY_S)
            try:
                at = await self._journal.check_events(at, last)
            except CursorGone as gone:
                at = gone.oldest_seq
            except JournalError as error:
                self.log.warn("the journal is not read through: {error}", error=str(error))
                return
