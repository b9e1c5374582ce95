"""When a queue is asked: values and arithmetic."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from jobpush.polling.schedule import ECHO_S, Foresight, Wishes


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
