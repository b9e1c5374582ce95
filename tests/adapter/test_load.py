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
        """Whoever waits as long as it says spends no more than the share, and the reserve, and the last query."""
        budget, now, total, last = LoadBudget(), 0.0, 0.0, 0.0
        for cost, pause in spent:
            now += pause
            now += budget.wait(now)
            now += cost
            budget.spend(cost, now)
            total, last = total + cost, cost
            self.assertLessEqual(total, DUTY * now + RESERVE_S + last + 1e-6)
