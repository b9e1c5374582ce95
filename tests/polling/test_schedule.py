"""When a queue is asked: values and arithmetic."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from jobpush.polling.schedule import (
    ECHO_S,
    FORGIVEN_AFTER,
    LATE_NUDGE_S,
    Foresight,
    RefreshQueue,
    TokenBucket,
    fresh_for,
    latest_begin,
)
from tests.support import step_until


class ArithmeticTests(SynchronousTestCase):
    """The values of `jobpush.polling.schedule`."""

    def test_refresh_queue(self) -> None:
        """Names, unless somebody asks for everything; what a failed look was for is not forgotten."""
        refreshes = RefreshQueue()
        self.assertEqual((refreshes.names, refreshes.echo(), refreshes.fresh), (None, None, False))
        refreshes.add(["1", "2"])
        self.assertEqual((refreshes.names, refreshes.echo(), refreshes.fresh), (("1", "2"), 0.0, True))
        taken = refreshes.take()
        refreshes.add(["3"])
        refreshes.give_back(taken)
        self.assertEqual(refreshes.names, ("1", "2", "3"))
        refreshes.looked(refreshes.take(), lambda name, early: name != "2")
        self.assertEqual((refreshes.names, refreshes.echo(), refreshes.fresh), (("2",), ECHO_S[0], False))
        refreshes.add([])
        self.assertIsNone(refreshes.names)

    def test_too_many_names_are_one_for_everything(self) -> None:
        """Nobody makes this list grow without end."""
        refreshes = RefreshQueue()
        refreshes.add(str(number) for number in range(100_000))
        self.assertLessEqual(len(refreshes.take()), 1001)

    def test_foresight(self) -> None:
        """A few announced looks are needed, and four of five of the last ones."""
        foresight = Foresight()
        for _ in range(4):
            foresight.found(True)
        self.assertFalse(foresight.good)
        foresight.found(True)
        self.assertTrue(foresight.good)
        for _ in range(2):
            foresight.found(False)
        self.assertFalse(foresight.good)

    def test_the_soonest_refresh(self) -> None:
        """Of several jobs that are on their way the one that is due first decides when to look."""
        refreshes = RefreshQueue((0.1, 0.5, 2.0))
        refreshes.add(["1"])
        refreshes.looked(refreshes.take(), lambda name, early: False)
        refreshes.looked(refreshes.take(), lambda name, early: False)
        self.assertEqual(refreshes.echo(), 0.5)
        refreshes.add(["2"])
        self.assertEqual((refreshes.echo(), refreshes.fresh), (0.0, True))
        refreshes.looked(refreshes.take(), lambda name, early: False)
        self.assertEqual((refreshes.names, refreshes.echo(), refreshes.fresh), (("1", "2"), 0.1, False))

    def test_so_many_looks(self) -> None:
        """A job that never settles is looked at once for each pause, and once at first."""
        refreshes, pauses = RefreshQueue((0.1, 0.5)), []
        refreshes.add(["1"])

        def look() -> None:
            pauses.append(refreshes.echo())
            refreshes.looked(refreshes.take(), lambda name, early: False)

        step_until(lambda: refreshes.echo() is None, look, most=10)
        self.assertEqual(pauses, [0.0, 0.1, 0.5])

    def test_asked_for_again(self) -> None:
        """Its looks begin anew; it is early if any request for it was, and what came while a look ran is not taken for looked at."""
        refreshes = RefreshQueue((0.1, 0.5))
        refreshes.add(["1"], early=False)
        asked = []
        refreshes.looked(refreshes.take(), lambda name, early: bool(asked.append((name, early))))  # type: ignore[func-returns-value]
        refreshes.add(["1"], early=True)
        self.assertEqual(refreshes.echo(), 0.0)
        taken = refreshes.take()
        refreshes.add(["1"], early=False)
        refreshes.looked(taken, lambda name, early: bool(asked.append((name, early))))  # type: ignore[func-returns-value]
        self.assertEqual((refreshes.echo(), refreshes.fresh, asked), (0.0, True, [("1", False)]))
        refreshes.add(["1"], early=True)
        refreshes.add(["1"], early=False)
        refreshes.looked(refreshes.take(), lambda name, early: bool(asked.append((name, early))))  # type: ignore[func-returns-value]
        self.assertEqual(asked[1:], [("1", True)])

    def test_given_back(self) -> None:
        """What came since counts before what a failed look was for."""
        refreshes = RefreshQueue((0.1, 0.5))
        refreshes.add(["1", "2"])
        refreshes.looked(refreshes.take(), lambda name, early: name == "2")
        taken = refreshes.take()
        self.assertEqual(refreshes.names, None)
        refreshes.add(["1"])
        refreshes.give_back(taken)
        self.assertEqual((refreshes.names, refreshes.fresh), (("1",), True))

    def test_a_thousand_names(self) -> None:
        """Are kept; with one more everything is looked at."""
        refreshes = RefreshQueue()
        refreshes.add(str(number) for number in range(1000))
        self.assertEqual(len(refreshes.names or ()), 1000)
        refreshes.add(["again"])
        self.assertIsNone(refreshes.names)

    def test_the_newest_looks_count(self) -> None:
        """Twenty of them: what was before is forgotten; four of five is enough, a little less is not."""
        foresight = Foresight()
        for announced in [False] * 30 + [True] * 15:
            foresight.found(announced)
        self.assertFalse(foresight.good, "15 of 20")
        for announced, good in ((True, True), (False, True), (False, True), (False, True), (False, True), (False, False)):
            foresight.found(announced)
            self.assertEqual(foresight.good, good)

    def test_kinds(self) -> None:
        """What is found without a nudge is polled for, unless one comes soon, or many in a row do later."""
        foresight = Foresight()
        foresight.changed(("HELD", "CANCELLED"), ("1",), announced=True, now=0.0)
        foresight.changed(("HELD", "QUEUED"), ("2",), announced=False, now=0.0)
        self.assertEqual(set(foresight.polled_for(LATE_NUDGE_S - 0.1)), set())
        self.assertEqual(set(foresight.polled_for(LATE_NUDGE_S)), {"HELD"})
        for _ in range(FORGIVEN_AFTER - 1):
            foresight.changed(("HELD", "QUEUED"), ("2",), announced=True, now=10.0)
        foresight.changed(("HELD", "CANCELLED"), ("2",), announced=True, now=10.0)
        self.assertEqual(set(foresight.polled_for(10.0)), {"HELD"}, "another kind")
        foresight.changed(("HELD", "QUEUED"), ("2",), announced=True, now=10.0)
        self.assertEqual(set(foresight.polled_for(20.0)), set())

    def test_a_late_nudge(self) -> None:
        """For that job, or for any, within two seconds."""
        for jobs, nudged_at, missed in ((["1"], 1.0, False), ([], 1.0, False), (["2"], 1.0, True), (["1"], 2.5, True)):
            foresight = Foresight()
            foresight.changed((None, "QUEUED"), ("1", "alias"), announced=False, now=0.0)
            foresight.nudged(jobs, nudged_at)
            self.assertEqual(None in foresight.polled_for(10.0), missed, (jobs, nudged_at))

    def test_token_bucket(self) -> None:
        """So many at once, then one for each pause."""
        bucket = TokenBucket(3, 2.0)

        def taken(now: float) -> int:
            count = 0
            while bucket.has(now):
                bucket.take(now)
                count += 1
            return count

        self.assertEqual([taken(now) for now in (100.0, 101.9, 102.0, 105.0, 106.0, 1000.0)], [3, 0, 1, 1, 1, 3])

    def test_fresh_for(self) -> None:
        """Three intervals, at least six seconds and at most thirty."""
        self.assertEqual([fresh_for(interval) for interval in (None, 0.1, 2.0, 3.0, 9.0, 10.0, 600.0)], [6, 6, 6, 9, 27, 30, 30])

    def test_latest_begin(self) -> None:
        """A quick answer comes in time; who waits does not wait for longer than ten seconds; the interval is kept."""
        for interval, awaited, cost, took, pause in (
            (None, False, 0.1, 0.1, 4.9), (None, True, 0.1, 0.1, 4.9), (None, False, 1.5, 1.5, 3.0), (None, False, 4.0, 4.0, 4.0),
            (None, True, 60.0, 60.0, 5.0), (None, False, 0.1, 8.0, 2.0), (10.0, False, 0.1, 0.1, 24.9), (10.0, True, 0.1, 0.1, 10.0),
            (20.0, True, 0.1, 0.1, 20.0), (60.0, False, 0.1, 0.1, 60.0),
        ):  # fmt: skip
            latest = latest_begin(interval, awaited, cost, 100.0, 100.0 + took)
            self.assertAlmostEqual(latest - 100.0 - took, pause, 6, (interval, awaited, cost, took))
