"""Grid Engine's letters and codes."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from jobpush_adapters.sge import states


class StateTests(SynchronousTestCase):
    """STATES.md's table for Grid Engine: letters as a set, by precedence."""

    def test_letters(self) -> None:
        """Each state that ``qstat(1)`` knows, in any order of its letters."""
        for letters, phase, flags in [
            ("qw", "QUEUED", ()), ("hqw", "HELD", ()), ("hRwq", "HELD", ("rescheduled",)), ("r", "RUNNING", ()), ("t", "STARTING", ()),
            ("hr", "RUNNING", ()), ("Rr", "RUNNING", ("rescheduled",)), ("Rt", "STARTING", ("rescheduled",)), ("s", "SUSPENDED", ()),
            ("ts", "SUSPENDED", ()), ("S", "SUSPENDED", ("queue_suspended",)), ("tS", "SUSPENDED", ("queue_suspended",)),
            ("T", "SUSPENDED", ("threshold_suspended",)), ("Rs", "SUSPENDED", ("rescheduled",)), ("Eqw", "HELD", ()), ("Ehqw", "HELD", ()),
            ("EhRqw", "HELD", ("rescheduled",)), ("dr", "RUNNING", ("deleting",)), ("dt", "STARTING", ("deleting",)),
            ("dRr", "RUNNING", ("deleting", "rescheduled")), ("ds", "SUSPENDED", ("deleting",)), ("Rq", "QUEUED", ("rescheduled",)),
            ("x", "FINISHING", ()), ("w", "QUEUED", ()), ("z", "UNKNOWN", ()), ("Q", "UNKNOWN", ()), ("Zr", "RUNNING", ()),
        ]:  # fmt: skip
            for order in (letters, letters[::-1]):
                self.assertEqual((states.phase_of(order).value, states.flags_of(order)), (phase, flags), order)

    def test_accounting_codes(self) -> None:
        """``failed`` and ``exit_status`` together, and whether a deletion was seen."""
        for failed, status, deleted, expected in [
            (0, 0, False, ("COMPLETED", 0, None)), (0, 3, False, ("FAILED", 3, None)), (0, 137, False, ("FAILED", 137, None)),
            (1, 0, False, ("LAUNCH_FAIL", None, None)), (21, 0, False, ("LAUNCH_FAIL", None, None)), (23, 0, False, ("LAUNCH_FAIL", None, None)),
            (26, 0, False, ("LAUNCH_FAIL", None, None)), (26, 0, True, ("CANCELLED", None, None)), (28, 0, True, ("CANCELLED", None, None)),
            (30, 100, False, ("LAUNCH_FAIL", None, None)), (30, 100, True, ("CANCELLED", None, None)),
            (37, 137, False, ("TIMEOUT", None, 9)), (37, 137, True, ("TIMEOUT", None, 9)), (100, 137, False, ("FAILED", None, 9)),
            (100, 137, True, ("CANCELLED", None, 9)), (100, 138, False, ("FAILED", None, 10)), (100, 1, False, ("FAILED", 1, None)),
            (24, 0, False, (None, None, None)), (25, 99, True, (None, None, None)), (77, 3, False, ("FAILED", 3, None)),
        ]:  # fmt: skip
            end = states.end_of(failed, status, deleted)
            self.assertEqual((end.outcome and end.outcome.value, end.exit_code, end.signal), expected, (failed, status, deleted))

    def test_which_limit(self) -> None:
        """The limit that was reached is told where it can be."""
        for category, wallclock, cpu, told in [
            ("-l h_rt=3", 4, 0, "h_rt"), ("-l h_rt=0:0:3,h_vmem=1G", 3, 0, "h_rt"), ("-l h_cpu=5", 9, 5.2, "h_cpu"),
            ("-l h_vmem=60M", 1, 0, "h_vmem"), ("-l h_rt=600,h_vmem=1G", 5, 1, ""), ("NONE", 5, 1, ""), ("-l h_rt=INFINITY", 5, 1, ""),
        ]:  # fmt: skip
            self.assertEqual(states.limits_hit(category, wallclock, cpu), told)

    def test_times(self) -> None:
        """Seconds, or hours, minutes and seconds."""
        for text, seconds in {"3600": 3600, "1:00:00": 3600, "0:0:5": 5, ":0:5": 5, "INFINITY": None, "": None, "1.000000": 1}.items():
            self.assertEqual(states.seconds(text), seconds)
