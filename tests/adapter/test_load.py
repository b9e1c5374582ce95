"""The load that a scheduler may be caused."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from jobpush.adapter.load import DUTY, LONGEST_WAIT_S, RESERVE_S, LoadBudget, UsualCost


class BudgetTests(SynchronousTestCase):
    """`LoadBudget`."""

    @given(st.lists(st.tuples(st.floats(0, 1.5), st.floats(0, 30)), max_size=50))
    def test_the_budget_holds(self, spent: list[tuple[float, float]]) -> None:
        """Who waits as long as `wait` says spends at most the share, the reserve and the last query."""
        budget, now, total, last = LoadBudget(), 0.0, 0.0, 0.0
        for cost, pause in spent:
            now += pause
            now += budget.wait(now)
            now += cost
            budget.spend(cost, now)
            total, last = total + cost, cost
            self.assertLessEqual(total, DUTY * now + RESERVE_S + last + 1e-6)

    @given(st.lists(st.floats(0, 1000), min_size=1))
    def test_no_debt_without_end(self, spent: list[float]) -> None:
        """Whatever was spent, a query may begin again within half a minute."""
        budget = LoadBudget()
        for cost in spent:
            budget.spend(cost, 10.0)
        self.assertLessEqual(budget.wait(10.0), LONGEST_WAIT_S + 1e-6)
        self.assertEqual(budget.wait(10.0 + LONGEST_WAIT_S), 0)

    def test_reserve_and_share(self) -> None:
        """At most three seconds are saved up; then a twentieth of the time accrues. A clock that goes back changes nothing."""
        budget = LoadBudget()
        self.assertEqual(budget.wait(100.0), 0)
        budget.spend(3.0, 100.0)
        self.assertEqual(budget.wait(100.0), 0)
        budget.spend(1.0, 100.0)
        self.assertEqual(budget.wait(100.0), 20)
        self.assertEqual(budget.wait(90.0), 20)
        self.assertEqual(budget.wait(100.0), 10.0, "ten seconds have passed since")
        self.assertEqual(budget.wait(110.0), 0)
        self.assertEqual(budget.wait(1000.0), 0)
        budget.spend(3.5, 1000.0)
        self.assertApproximates(budget.wait(1000.0), 10, 1e-6)
        late = LoadBudget()
        late.wait(0.0)
        late.spend(4.0, 100.0)
        self.assertEqual(late.wait(100.0), 20, "no more than three seconds were saved up")
        other = LoadBudget(0.5, 1.0)
        other.spend(2.0, 0.0)
        self.assertEqual(other.wait(0.0), 2)
        other.spend(0.0, 1.0)
        self.assertEqual(other.wait(1.0), 1)


class UsualCostTests(SynchronousTestCase):
    """`UsualCost`."""

    def usual(self, *answers: tuple[int, float]) -> UsualCost:
        """What it is after these answers: rows and seconds."""
        usual = UsualCost()
        for rows, seconds in answers:
            usual.charge(rows, seconds)
        return usual

    def test_waiting_is_not_charged(self) -> None:
        """Of an answer that takes longer than those before it, as much is charged as they took."""
        usual = self.usual(*[(100, 0.1)] * 5)
        self.assertEqual(usual.charge(100, 8.0), 0.1)
        self.assertEqual(usual.charge(100, 0.05), 0.05)
        self.assertEqual(usual.usual(100), 0.1)

    def test_what_lasts_is_load(self) -> None:
        """What takes longer most of the time is charged."""
        usual = self.usual(*[(100, 0.1)] * 15)
        charged = [usual.charge(100, 2.0) for _ in range(15)]
        self.assertEqual((charged[0], charged[6], charged[7], charged[-1]), (0.1, 0.1, 2.0, 2.0))

    def test_another_length(self) -> None:
        """A shorter answer costs no more than a longer one, a longer one no more than its rows; what it takes itself counts then."""
        usual = self.usual(*[(1000, 0.4)] * 3)
        self.assertEqual(usual.charge(10, 8.0), 0.4)
        self.assertEqual(usual.charge(1000 * 16, 20.0), 6.4)
        self.assertEqual(usual.charge(1000 * 16, 1.0), 1.0)
        self.assertEqual(usual.usual(1000 * 16), 1.0)

    def test_too_few(self) -> None:
        """Nothing is proved by two answers; the least of them is the estimate."""
        usual = self.usual((10, 3.0))
        self.assertEqual((usual.usual(10), usual.proved(10)), (3.0, None))
        usual.charge(10, 1.0)
        self.assertEqual((usual.usual(10), usual.proved(10)), (1.0, None))
        usual.charge(10, 2.0)
        self.assertEqual((usual.usual(10), usual.proved(10)), (2.0, 2.0))
        self.assertEqual((UsualCost().usual(10), usual.proved(1000)), (None, None))
