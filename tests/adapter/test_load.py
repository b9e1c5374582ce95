"""The load that a scheduler may be caused."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from jobpush.adapter.load import DUTY, RESERVE_S, LoadBudget


class BudgetTests(SynchronousTestCase):
    """`LoadBudget`."""

    @given(st.lists(st.tuples(st.floats(0, 5), st.floats(0, 30)), max_size=50))
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
