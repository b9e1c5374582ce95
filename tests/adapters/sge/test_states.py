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
        """``failed`` and ``exit_status`` together, and whether the reporting file names who deleted it."""
        for failed, status, deleted, expected in [
            (0, 0, False, ("COMPLETED", 0, None, ())), (0, 3, False, ("FAILED", 3, None, ())), (0, 137, False, ("FAILED", 137, None, ())),
            (0, 0, True, ("COMPLETED", 0, None, ("deleted",))), (0, 3, True, ("FAILED", 3, None, ("deleted",))),
            (1, 0, False, ("LAUNCH_FAIL", None, None, ())), (11, 0, False, ("LAUNCH_FAIL", None, None, ())), (8, 0, True, ("CANCELLED", None, None, ())),
            (12, 0, False, ("COMPLETED", 0, None, ())), (15, 4, False, ("FAILED", 4, None, ())), (16, 4, True, ("FAILED", 4, None, ("deleted",))),
            (15, 137, True, ("CANCELLED", None, 9, ())), (17, 137, False, ("FAILED", None, 9, ())), (17, 137, True, ("CANCELLED", None, 9, ())),
            (2, 0, False, ("FAILED", None, None, ())), (18, 0, False, ("FAILED", None, None, ())), (21, 0, False, ("FAILED", None, None, ())),
            (23, 3, False, ("FAILED", None, None, ())), (26, 0, False, ("LAUNCH_FAIL", None, None, ())), (26, 0, True, ("CANCELLED", None, None, ())),
            (28, 0, True, ("CANCELLED", None, None, ())), (30, 100, False, ("LAUNCH_FAIL", None, None, ())), (38, 0, False, ("LAUNCH_FAIL", None, None, ())),
            (37, 137, False, ("FAILED", None, 9, ())), (37, 137, True, ("FAILED", None, 9, ("deleted",))), (100, 137, False, ("FAILED", None, 9, ())),
            (100, 137, True, ("CANCELLED", None, 9, ())), (100, 138, False, ("FAILED", None, 10, ())), (100, 1, False, ("FAILED", 1, None, ())),
            (100, 0, False, ("FAILED", None, None, ())), (24, 0, False, (None, None, None, ())), (25, 99, True, (None, None, None, ())),
            (77, 3, False, ("FAILED", None, None, ())), (77, 0, False, ("FAILED", None, None, ())),
        ]:  # fmt: skip
            end = states.end_of(failed, status, states.Deleted(proved=deleted))
            self.assertEqual((end.outcome and end.outcome.value, end.exit_code, end.signal, end.flags), expected, (failed, status, deleted))

    def test_no_code_but_two_kinds_is_a_success(self) -> None:
        """COMPLETED is said of failed 0, and of what failed after the job had run, only; and never of a record that nobody reported."""
        completed = {failed for failed in range(200) for deleted in (states.NOT_DELETED, states.Deleted(proved=True), states.Deleted(suspected=True))
                     if states.end_of(failed, 0, deleted).outcome is Outcome.COMPLETED}  # fmt: skip
        self.assertEqual(completed, {0, 12, 13, 14, 15, 16})
        for deleted, outcome in ((states.NOT_DELETED, Outcome.FAILED), (states.Deleted(proved=True), Outcome.CANCELLED)):
            end = states.end_of(0, 0, deleted, reported=False)
            self.assertEqual((end.outcome, end.exit_code), (outcome, None))
        self.assertEqual(states.end_of(0, 0, states.Deleted(proved=True, forced=True)).outcome, Outcome.CANCELLED)

    def test_suspected_deletion(self) -> None:
        """Where the reporting file cannot be read: FAILED, with the flag."""
        end = states.end_of(100, 137, states.Deleted(suspected=True))
        self.assertEqual((end.outcome, end.signal, end.flags), (Outcome.FAILED, 9, ("deleting",)))
        for failed in (2, 5, 18, 23, 30, 37, 99):
            self.assertEqual(states.end_of(failed, 137, states.Deleted(suspected=True)).flags, ("deleting",), failed)

    def test_which_limit(self) -> None:
        """The limit that was reached is told where it can be proved: memory by the most that was used."""
        for category, wallclock, cpu, memory, slots, told in [
            ("-l h_rt=3", 4, 0, 0, 1, "h_rt"), ("-l h_rt=0:0:3,h_vmem=1G", 3, 0, 0, 1, "h_rt"), ("-l h_cpu=5", 9, 5.2, 0, 1, "h_cpu"),
            ("-l h_cpu=5", 9, 5.2, 0, 2, ""), ("-l h_cpu=5", 9, 10, 0, 2, "h_cpu"), ("-l h_vmem=60M", 1, 0, 60 * 2**20, 1, "h_vmem"),
            ("-l h_vmem=60M", 1, 0, 60e6, 1, ""), ("-l h_vmem=60m", 1, 0, 60e6, 1, "h_vmem"), ("-l h_vmem=60M", 1, 0, 0, 1, ""),
            ("-l h_vmem=60M", 1, 0, 60 * 2**20, 2, ""), ("-l h_rt=600,h_vmem=1G", 5, 1, 2**30, 1, "h_vmem"), ("NONE", 5, 1, 1e12, 1, ""),
            ("-l h_rt=INFINITY", 5, 1, 0, 1, ""), ("-l h_vmem=INFINITY", 5, 1, 1e12, 1, ""),
        ]:  # fmt: skip
            self.assertEqual(states.limit_hit(category, wallclock, cpu, memory, slots), told, category)

    def test_sizes(self) -> None:
        """Bytes, in thousands or in 1024s."""
        for text, size in {"1": 1, "1.5k": 1500, "1K": 1024, "2m": 2e6, "2M": 2**21, "1G": 2**30, "1t": 1e12, "3.152M": 3.152 * 2**20, "": None, "x": None, "1P": None}.items():
            self.assertEqual(states.size(text), size, text)

    def test_times(self) -> None:
        """Seconds, or hours, minutes and seconds."""
        for text, seconds in {"3600": 3600, "1:00:00": 3600, "0:0:5": 5, ":0:5": 5, "INFINITY": None, "": None, "1.000000": 1}.items():
            self.assertEqual(states.seconds(text), seconds)


class WholeTests(SynchronousTestCase):
    """Each code with all that belongs to it."""

    def test_every_failure(self) -> None:
        """Every ``failed`` code of sge_status(5) that says that no end of the job is known: what it was, deleted or not."""
        what = {
            1: "assumedly before job", 3: "before writing config", 4: "before writing PID", 5: "reading config file", 6: "setting processor set",
            7: "before prolog", 8: "in prolog", 9: "before pestart", 10: "in pestart", 11: "before job", 18: "shepherd returned error",
            19: "before writing exit_status", 20: "found unexpected error file", 21: "in recognizing job", 26: "opening input/output file",
            27: "searching requested shell", 28: "changing to working directory", 29: "AFS setup", 30: "application error returned (exit 100)",
            31: "accessing sgepasswd file", 32: "entry is missing in password file", 33: "wrong password",
            34: "communicating with Grid Engine helper service", 35: "before job in Grid Engine helper service", 36: "checking configured daemons",
            38: "adding supplementary group",
        }  # fmt: skip
        for failed in [*range(1, 12), *range(18, 24), *range(26, 37), 38, 39, 77]:
            reason = f"failed {failed}: {what[failed]}" if failed in what else f"failed {failed}"
            launch = failed != 2 and (failed < 12 or 26 <= failed < 39)
            end = states.End(Outcome.LAUNCH_FAIL if launch else Outcome.FAILED, reason=reason, reason_code=ReasonCode.ERROR if launch else None)
            self.assertEqual(states.end_of(failed, 0), end, failed)
            self.assertEqual(states.end_of(failed, 0, states.Deleted(proved=True)), states.End(Outcome.CANCELLED, reason=reason), failed)

    def test_the_others(self) -> None:
        """Ends of a job's own, what failed afterwards, limits and signals."""
        end, limit, after = states.End, "failed 37: qmaster enforced h_rt, h_cpu, or h_vmem limit", "failed 100: assumedly after job"
        for failed, status, reached, expected in [
            (0, 0, "", end(Outcome.COMPLETED, exit_code=0)), (0, 1, "", end(Outcome.FAILED, exit_code=1)), (24, 0, "", end(None)), (25, 99, "", end(None)),
            (12, 0, "", end(Outcome.COMPLETED, exit_code=0, reason="failed 12: before pestop")), (13, 2, "", end(Outcome.FAILED, exit_code=2, reason="failed 13: in pestop")),
            (37, 137, "h_rt", end(Outcome.TIMEOUT, signal=9, reason="killed for a limit (h_rt)")), (37, 137, "h_cpu", end(Outcome.TIMEOUT, signal=9, reason="killed for a limit (h_cpu)")),
            (37, 137, "h_vmem", end(Outcome.OUT_OF_MEMORY, signal=9, reason="killed for a limit (h_vmem)")), (37, 0, "", end(Outcome.FAILED, reason=limit)),
            (100, 128, "", end(Outcome.FAILED, exit_code=128, reason=after)), (100, 129, "", end(Outcome.FAILED, signal=1)),
            (100, 192, "", end(Outcome.FAILED, signal=64)), (100, 193, "", end(Outcome.FAILED, exit_code=193, reason=after)),
        ]:  # fmt: skip
            self.assertEqual(states.end_of(failed, status, limit=reached), expected, (failed, status))

    def test_seconds(self) -> None:
        """Hours, minutes and seconds, each of them."""
        for text, seconds in {
            "1:02:03": 3723, "0:01:00": 60, "0:59:59": 3599, "100:0:0": 360000, ":1:1": 61, "90": 90, "90.0": 90, "1:2": None, "1:2:3:4": None, "1.5": None, "x": None,
        }.items():  # fmt: skip
            self.assertEqual(states.seconds(text), seconds, text)
