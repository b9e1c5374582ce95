"""Grid Engine's letters and codes."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from jobpush.core.model import Outcome, ReasonCode
from jobpush_adapters.sge import states


class StateTests(SynchronousTestCase):
    """The states of Grid Engine: letters as a set, by precedence."""

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


class WholeTests(SynchronousTestCase):
    """Each code with all that belongs to it."""

    def test_every_failure(self) -> None:
        """Every ``failed`` code of sge_status(5): what it was, whether it was deleted or not."""
        what = {
            1: "assumedly before job", 3: "before writing config", 4: "before writing PID", 5: "reading config file", 6: "setting processor set",
            7: "before prolog", 8: "in prolog", 9: "before pestart", 10: "in pestart", 11: "before job", 12: "before pestop", 13: "in pestop",
            14: "before epilog", 15: "in epilog", 16: "releasing processor set", 17: "through signal", 18: "shepherd returned error",
            19: "before writing exit_status", 20: "found unexpected error file", 21: "in recognizing job", 26: "opening input/output file",
            27: "searching requested shell", 28: "changing to working directory", 29: "AFS setup", 30: "application error returned (exit 100)",
            31: "accessing sgepasswd file", 32: "entry is missing in password file", 33: "wrong password",
            34: "communicating with Grid Engine helper service", 35: "before job in Grid Engine helper service", 36: "checking configured daemons",
        }  # fmt: skip
        for failed in [*range(1, 24), *range(26, 37)]:
            reason = f"failed {failed}: {what[failed]}" if failed in what else f"failed {failed}"
            self.assertEqual(states.end_of(failed, 0, False), states.End(Outcome.LAUNCH_FAIL, reason=reason, reason_code=ReasonCode.ERROR), failed)
            self.assertEqual(states.end_of(failed, 0, True), states.End(Outcome.CANCELLED, reason=reason), failed)

    def test_the_others(self) -> None:
        """Ends of a job's own, limits, signals, and what goes on."""
        end, limit = states.End, "killed for a limit (h_rt, h_cpu or h_vmem)"
        for failed, status, deleted, limits, expected in [
            (0, 0, False, "", end(Outcome.COMPLETED, exit_code=0)), (0, 0, True, "", end(Outcome.COMPLETED, exit_code=0)), (0, 1, False, "", end(Outcome.FAILED, exit_code=1)),
            (24, 0, False, "", end(None)), (25, 99, True, "", end(None)), (37, 137, False, "h_rt", end(Outcome.TIMEOUT, signal=9, reason="killed for a limit (h_rt)")),
            (37, 0, True, "", end(Outcome.TIMEOUT, reason=limit)), (100, 137, True, "", end(Outcome.CANCELLED, signal=9)), (100, 3, True, "", end(Outcome.CANCELLED)),
            (100, 128, False, "", end(Outcome.FAILED, exit_code=128)), (100, 129, False, "", end(Outcome.FAILED, signal=1)),
            (100, 192, False, "", end(Outcome.FAILED, signal=64)), (100, 193, False, "", end(Outcome.FAILED, exit_code=193)),
            (38, 3, False, "", end(Outcome.FAILED, exit_code=3, reason="failed 38")), (77, 137, False, "", end(Outcome.FAILED, signal=9, reason="failed 77")),
            (77, 137, True, "", end(Outcome.CANCELLED, reason="failed 77")),
        ]:  # fmt: skip
            self.assertEqual(states.end_of(failed, status, deleted, limits), expected, (failed, status, deleted))

    def test_limits(self) -> None:
        """A limit is named if it was asked for and reached, or if it was the only one and is none of time."""
        for category, wallclock, cpu, told in [
            ("-l h_rt=3", 3, 0, "h_rt"), ("-l h_rt=3", 2.9, 0, ""), ("-l h_cpu=5", 9, 5, "h_cpu"), ("-l h_cpu=5", 9, 4.9, ""), ("-l h_rt=0:1:0", 60, 0, "h_rt"),
            ("-l h_rt=0:1:0", 59, 0, ""), ("-l h_vmem=1G", 1, 1, "h_vmem"), ("-l h_cpu=INFINITY,h_rt=9", 9, 9, "h_rt"), ("-l h_cpu=INFINITY", 9, 1e9, ""),
            ("-l xh_rt=3", 9, 9, ""), ("h_rt=3", 9, 9, "h_rt"), ("-u kim -l a=1,h_cpu=3", 9, 9, "h_cpu"), ("", 9, 9, ""),
        ]:  # fmt: skip
            self.assertEqual(states.limits_hit(category, wallclock, cpu), told, (category, wallclock, cpu))

    def test_seconds(self) -> None:
        """Hours, minutes and seconds, each of them."""
        for text, seconds in {
            "1:02:03": 3723, "0:01:00": 60, "0:59:59": 3599, "100:0:0": 360000, ":1:1": 61, "90": 90, "90.0": 90, "1:2": None, "1:2:3:4": None, "1.5": None, "x": None,
        }.items():  # fmt: skip
            self.assertEqual(states.seconds(text), seconds, text)
