"""Work that is not done in one go, or not on the reactor's thread."""

from __future__ import annotations

from collections.abc import Iterator

from twisted.trial.unittest import SynchronousTestCase

from jobpush.adapter.interfaces import QueueError
from jobpush.adapter.work import Work
from tests.fakes import SameThread


class WorkTests(SynchronousTestCase):
    """`Work`."""

    def setUp(self) -> None:
        self.clock = SameThread()
        self.work = Work(self.clock)

    def test_sliced(self) -> None:
        """The first step runs at once, others in later turns; an exception fails the Deferred."""
        done: list[int] = []

        def steps(last: int) -> Iterator[None]:
            for number in range(last):
                done.append(number)
                yield
            if last == 2:
                raise QueueError("no")

        whole = self.work.sliced(steps(3))
        self.assertEqual(done, [0])
        self.assertNoResult(whole)
        self.clock.advance(0)
        self.successResultOf(whole)
        self.assertEqual(done, [0, 1, 2])
        broken = self.work.sliced(steps(2))
        self.clock.advance(0)
        self.failureResultOf(broken, QueueError)

    def test_reading(self) -> None:
        """The Deferred fires with the result; a file that cannot be read is a `QueueError`; other exceptions are unchanged."""
        self.assertEqual(self.successResultOf(self.work.reading(lambda a, b: (b, a), 1, 2)), (2, 1))

        def fail(error: Exception) -> None:
            raise error

        failure = self.failureResultOf(self.work.reading(fail, PermissionError(13, "Permission denied", "/x")), QueueError)
        self.assertEqual(str(failure.value), "/x: Permission denied")
        self.failureResultOf(self.work.reading(fail, KeyError("x")), KeyError)
