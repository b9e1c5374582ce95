"""How what was told is judged; and what the list of permitted differences can never permit."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from benchmarks.endings.permitted import Permitted
from benchmarks.endings.plans import NEVER_RAN, SCHEDULERS, WHOLE, End, exited, killed, plans
from benchmarks.endings.verdict import Record, Verdict, differences, judge, off_plan


def told(state: str, **fields: Any) -> dict[str, Any]:
    job = {
        "state": state, "phase": "DONE", "exit_code": None, "signal": None, "started_at": "2026-11-26T08:00:00Z", "attempt": 0,
        "previous_attempt": None, "settled": True, "uid": "slurm/1@1", "source": "squeue",
    }  # fmt: skip
    return {**job, **fields}


#: Permits all that can be permitted.
EVERYTHING = [
    Permitted(("slurm",), (), what, (value,), "a test")
    for what in ("state", "exit_code", "ran", "completed")
    for value in ("COMPLETED", "FAILED", 0, None, True, False)
]


class VerdictTests(SynchronousTestCase):
    def verdict(self, end: End, job: dict[str, Any] | None, *earlier: dict[str, Any], record: Record | None = None) -> Verdict:
        events = [{"job": one} for one in (*earlier, *([job] if job else []))]
        return judge("slurm", "a kind", differences(end, job, events), record, EVERYTHING)

    def test_right(self) -> None:
        self.assertEqual(self.verdict(exited(0), told("COMPLETED", exit_code=0)), Verdict.RIGHT)
        self.assertEqual(self.verdict(killed(9), told("FAILED", signal=9)), Verdict.RIGHT)
        self.assertEqual(self.verdict(NEVER_RAN, told("CANCELLED", started_at=None)), Verdict.RIGHT)

    def test_success_is_never_permitted(self) -> None:
        """COMPLETED of a failure or of what never ran is wrong, even for a moment, whatever the list has."""
        success = told("COMPLETED", exit_code=0)
        for end in (exited(3), killed(9), NEVER_RAN, End("TIMEOUT")):
            self.assertEqual(self.verdict(end, success), Verdict.WRONG)
        self.assertEqual(self.verdict(exited(3), told("FAILED", exit_code=3), success), Verdict.WRONG)

    def test_unknown(self) -> None:
        """A job told as lost, or not at all, is wrong where the scheduler has a record of its end."""
        record = Record("FAILED 3:0", "FAILED", 3)
        for job in (None, told("LOST"), told("UNKNOWN", phase="UNKNOWN", settled=False)):
            self.assertEqual(self.verdict(exited(3), job), Verdict.UNKNOWN)
            self.assertEqual(self.verdict(exited(3), job, record=record), Verdict.WRONG)

    def test_permitted(self) -> None:
        """What the list has, and only where all differences are there."""
        self.assertEqual(self.verdict(exited(130), told("FAILED")), Verdict.PERMITTED)
        self.assertEqual(self.verdict(exited(130), told("FAILED", signal=2)), Verdict.WRONG)

    def test_history(self) -> None:
        """A second identity, another end of the same attempt and a wrong attempt are differences."""
        end = told("FAILED", exit_code=3)
        for earlier in (told("FAILED", uid="slurm/1@2"), told("TIMEOUT")):
            self.assertEqual(self.verdict(exited(3), end, earlier), Verdict.WRONG)
        self.assertEqual(self.verdict(exited(3), {**end, "attempt": 1}), Verdict.WRONG)

    def test_own_file(self) -> None:
        """A job that did not do what it was to do is said."""
        self.assertIsNone(off_plan(exited(3), ["start 1.0", "end 3 2.0"]))
        self.assertIsNone(off_plan(NEVER_RAN, []))
        self.assertIsNotNone(off_plan(NEVER_RAN, ["start 1.0"]))
        self.assertIsNotNone(off_plan(exited(3), ["start 1.0"]))
        self.assertIsNotNone(off_plan(exited(3, attempts=2), ["start 1.0", "end 3 2.0"]))


class PlanTests(SynchronousTestCase):
    def test_each_kind_comes(self) -> None:
        """The same seed gives the same jobs; each kind that there is time for is among 30."""
        for scheduler, makers in SCHEDULERS.items():
            chosen = plans(scheduler, 30, 1, short=True)
            self.assertEqual(chosen, plans(scheduler, 30, 1, short=True))
            self.assertGreaterEqual(len({plan.kind for plan in chosen}), sum(short for *_, short in makers) - 1)
            self.assertTrue(all(WHOLE in plan.ends for plan in chosen))
