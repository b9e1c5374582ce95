"""What is read of the journal and of the tail, against what a plain look at all events finds, and while things happen."""

from __future__ import annotations

from twisted.internet.defer import CancelledError, Deferred

from jobpush.core.filters import Scope
from jobpush.events.interfaces import Found
from tests.events.test_reader import JournalReadingCase


class LeavingTests(JournalReadingCase):
    """Clients that leave while what they asked for is read for others too."""

    def read(self) -> Deferred[Found]:
        """The same range of the journal as everybody."""
        return self.journal.read(0, 10, Scope(), 10)

    def test_all_have_left(self) -> None:
        """Who comes when all have left gets what is read, and it is not read again."""
        self.threads.hold()
        gone = self.read()
        gone.cancel()
        self.failureResultOf(gone, CancelledError)
        coming = [self.read() for _ in range(2)]
        self.assertEqual(len(self.threads.held or ()), 1)
        self.threads.release()
        for one in coming:
            self.assertEqual(len(self.successResultOf(one).events), 10)
        self.assertEqual(len(self.successResultOf(self.read()).events), 10)

    def test_one_lets_another_leave(self) -> None:
        """Whoever is told first may let another leave: the rest are told all the same."""
        self.threads.hold()
        coming = [self.read() for _ in range(4)]

        def told(found: Found) -> Found:
            coming[1].cancel()
            return found

        coming[0].addCallback(told)
        self.threads.release()
        self.failureResultOf(coming[1], CancelledError)
        for one in (coming[0], *coming[2:]):
            self.assertEqual(len(self.successResultOf(one).events), 10)
