"""Which questions about jobs that no look has shown may bring the next look forward."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from jobpush.polling.unknown_jobs import (
    BURST,
    CLIENT_BURST,
    CLIENT_EVERY_S,
    EVERY_S,
    MOST_CLIENTS,
    MOST_UNKNOWN,
    UNKNOWN_S,
    UnknownJobs,
)


class UnknownJobsTests(SynchronousTestCase):
    """`UnknownJobs`."""

    def setUp(self) -> None:
        self.unknown = UnknownJobs()

    def hurried(self, client: str | None, now: float, times: int = 100) -> int:
        """How many of so many questions about different jobs bring a look forward."""
        return sum(self.unknown.hurries([f"{client}/{now}/{number}"], client, now) for number in range(times))

    def test_each_client(self) -> None:
        """Has a bound of its own: who asks much takes little from the others."""
        self.assertEqual(self.hurried("kim", 100.0), CLIENT_BURST)
        self.assertEqual(self.hurried("kim", 100.0), 0)
        self.assertEqual(self.hurried("lee", 100.0), min(CLIENT_BURST, BURST - CLIENT_BURST))
        self.assertEqual(self.hurried("kim", 100.0 + CLIENT_EVERY_S), 1)

    def test_all(self) -> None:
        """Together have one too, whatever their names, and so has what is asked without one."""
        self.assertEqual(sum(self.hurried(f"user{number}", 100.0) for number in range(50)), BURST)
        self.assertEqual(self.hurried(None, 100.0), 0)
        self.assertEqual(self.hurried(None, 100.0 + EVERY_S), 1)
        self.assertEqual(self.hurried(None, 10_000.0), BURST)

    def test_known_to_be_unknown(self) -> None:
        """A job that a look has not shown brings no other one forward for a moment, unless it is asked for with another one."""
        self.unknown.missed(["1", "2"], 100.0)
        self.assertFalse(self.unknown.hurries(["1"], "kim", 100.0 + UNKNOWN_S - 0.1))
        self.assertFalse(self.unknown.hurries(["1", "2"], "kim", 101.0))
        self.assertTrue(self.unknown.hurries(["1", "3"], "kim", 101.0))
        self.assertTrue(self.unknown.hurries(["1"], "kim", 100.0 + UNKNOWN_S))
        self.assertTrue(self.unknown.hurries([], "kim", 101.0))

    def test_what_is_remembered(self) -> None:
        """Is bounded: the oldest is forgotten."""
        self.unknown.missed(map(str, range(MOST_UNKNOWN + 1)), 100.0)
        self.assertTrue(self.unknown.hurries(["0"], "kim", 101.0))
        self.assertFalse(self.unknown.hurries(["1"], "kim", 101.0))
        for number in range(2 * MOST_CLIENTS):
            self.unknown.hurries(["9"], f"user{number}", 101.0)
        self.assertLessEqual(len(self.unknown._clients), MOST_CLIENTS)
