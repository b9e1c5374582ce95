"""When a queue is asked: values and arithmetic."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from jobpush.polling.schedule import ECHO_S, Foresight, Wishes
from tests.support import step_until


class ArithmeticTests(SynchronousTestCase):
    """The values of `jobpush.polling.schedule`."""

    def test_wishes(self) -> None:
        """Names, unless somebody wishes for everything; what a failed look was for is not forgotten."""
        wishes = Wishes()
        self.assertEqual((wishes.names, wishes.echo(), wishes.fresh), (None, None, False))
        wishes.add(["1", "2"])
        self.assertEqual((wishes.names, wishes.echo(), wishes.fresh), (("1", "2"), 0.0, True))
        taken = wishes.take()
        wishes.add(["3"])
        wishes.give_back(taken)
        self.assertEqual(wishes.names, ("1", "2", "3"))
        wishes.looked(wishes.take(), lambda name, early: name != "2")
        self.assertEqual((wishes.names, wishes.echo(), wishes.fresh), (("2",), ECHO_S[0], False))
        wishes.add([])
        self.assertIsNone(wishes.names)

    def test_too_many_wishes_are_one_for_everything(self) -> None:
        """Nobody makes this list grow without end."""
        wishes = Wishes()
        wishes.add(str(number) for number in range(100_000))
        self.assertLessEqual(len(wishes.take()), 1001)

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

    def test_the_soonest_wish(self) -> None:
        """Of several jobs that are on their way the one that is due first decides when to look."""
        wishes = Wishes((0.1, 0.5, 2.0))
        wishes.add(["1"])
        wishes.looked(wishes.take(), lambda name, early: False)
        wishes.looked(wishes.take(), lambda name, early: False)
        self.assertEqual(wishes.echo(), 0.5)
        wishes.add(["2"])
        self.assertEqual((wishes.echo(), wishes.fresh), (0.0, True))
        wishes.looked(wishes.take(), lambda name, early: False)
        self.assertEqual((wishes.names, wishes.echo(), wishes.fresh), (("1", "2"), 0.1, False))

    def test_so_many_looks(self) -> None:
        """A job that never settles is looked at once for each pause, and once at first."""
        wishes, pauses = Wishes((0.1, 0.5)), []
        wishes.add(["1"])

        def look() -> None:
            pauses.append(wishes.echo())
            wishes.looked(wishes.take(), lambda name, early: False)

        step_until(lambda: wishes.echo() is None, look, most=10)
        self.assertEqual(pauses, [0.0, 0.1, 0.5])

    def test_wished_for_again(self) -> None:
        """Its looks begin anew; it is early if any wish for it was, and what came while a look ran is not taken for looked at."""
        wishes = Wishes((0.1, 0.5))
        wishes.add(["1"], early=False)
        asked = []
        wishes.looked(wishes.take(), lambda name, early: bool(asked.append((name, early))))  # type: ignore[func-returns-value]
        wishes.add(["1"], early=True)
        self.assertEqual(wishes.echo(), 0.0)
        taken = wishes.take()
        wishes.add(["1"], early=False)
        wishes.looked(taken, lambda name, early: bool(asked.append((name, early))))  # type: ignore[func-returns-value]
        self.assertEqual((wishes.echo(), wishes.fresh, asked), (0.0, True, [("1", False)]))
        wishes.add(["1"], early=True)
        wishes.add(["1"], early=False)
        wishes.looked(wishes.take(), lambda name, early: bool(asked.append((name, early))))  # type: ignore[func-returns-value]
        self.assertEqual(asked[1:], [("1", True)])

    def test_given_back(self) -> None:
        """What came since counts before what a failed look was for."""
        wishes = Wishes((0.1, 0.5))
        wishes.add(["1", "2"])
        wishes.looked(wishes.take(), lambda name, early: name == "2")
        taken = wishes.take()
        self.assertEqual(wishes.names, None)
        wishes.add(["1"])
        wishes.give_back(taken)
        self.assertEqual((wishes.names, wishes.fresh), (("1",), True))

    def test_a_thousand_names(self) -> None:
        """Are kept; with one more everything is wished for."""
        wishes = Wishes()
        wishes.add(str(number) for number in range(1000))
        self.assertEqual(len(wishes.names or ()), 1000)
        wishes.add(["again"])
        self.assertIsNone(wishes.names)

    def test_the_newest_looks_count(self) -> None:
        """Twenty of them: what was before is forgotten; four of five is enough, a little less is not."""
        foresight = Foresight()
        for announced in [False] * 30 + [True] * 15:
            foresight.found(announced)
        self.assertFalse(foresight.good, "15 of 20")
        for announced, good in ((True, True), (False, True), (False, True), (False, True), (False, True), (False, False)):
            foresight.found(announced)
            self.assertEqual(foresight.good, good)
