"""Which guesses accounting is asked about, and when."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from jobpush.core.job_table import ClusterJobs
from jobpush.core.model import ABSENCE, JobDescriptor, Outcome, Phase, Snapshot
from jobpush.core.record import UNSEEN, Record
from jobpush.polling.guesses import EVERY_S, MOST, SOON_S, Guesses

NOTHING_LISTED = Snapshot({}, 0.0, 0.0)


class GuessesTests(SynchronousTestCase):
    """`Guesses`."""

    def setUp(self) -> None:
        self.jobs = ClusterJobs()
        self.guesses = Guesses()
        self.now = 0.0

    def guess(self, count: int, first: int = 0) -> None:
        """So many jobs have left without a record."""
        for number in range(first, first + count):
            job = JobDescriptor("c", str(number), phase=Phase.DONE, outcome=Outcome.LOST, settled=True, source=ABSENCE)
            self.assertTrue(job.is_guess)
            self.jobs.put(Record(job, UNSEEN))

    def next(self) -> tuple[float, list[int]]:
        """After how many seconds it is asked next, and about which."""
        begun = self.now
        while self.now < begun + 1000:
            self.now += 0.5
            if asked := self.guesses.to_ask(self.jobs, NOTHING_LISTED, self.now):
                return self.now - begun, [int(job.id) for job in asked]
        raise AssertionError("it is not asked")

    def test_few(self) -> None:
        """All each time, less and less often; sooner again after a new one."""
        self.guess(3)
        found = [self.next() for _ in range(7)]
        self.assertEqual([ids for _, ids in found], [[0, 1, 2]] * 7)
        self.assertEqual([pause for pause, _ in found[1:]], [SOON_S, 10.0, 20.0, 40.0, EVERY_S, EVERY_S])
        self.guess(1, 3)
        pause, asked = self.next()
        self.assertEqual((pause <= SOON_S + 0.5, asked), (True, [0, 1, 2, 3]))

    def test_many(self) -> None:
        """Never too many at once: the newest each time, and each of the others in its turn; until then without longer pauses."""
        count = 3 * MOST
        self.guess(count)
        self.next()
        asked: list[int] = []
        for _ in range((count - MOST // 2) // (MOST // 2)):
            pause, ids = self.next()
            self.assertEqual((pause, len(ids), ids[-MOST // 2 :]), (SOON_S, MOST, list(range(count - MOST // 2, count))))
            asked += ids[: MOST // 2]
        self.assertEqual(sorted(asked), list(range(count - MOST // 2)))
        self.assertEqual([self.next()[0] for _ in range(6)], [10.0] * 5 + [20.0])

    def test_some_are_settled(self) -> None:
        """What is known meanwhile is not asked about, and the others are, all of them."""
        self.guess(3 * MOST)
        asked: set[int] = set()
        for _ in range(20):
            asked.update(self.next()[1])
            for number in sorted(asked)[:40]:
                self.jobs.forget(str(number))
        self.assertEqual(asked, set(range(3 * MOST)))
