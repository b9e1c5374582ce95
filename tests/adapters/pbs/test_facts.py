"""What a PBS server lets jobpush see."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from jobpush_adapters.pbs import facts as pbs_facts
from jobpush_adapters.pbs import parse
from tests.adapters.pbs.captures import capture


class FactTests(SynchronousTestCase):
    """What the server says of itself."""

    def test_recorded(self) -> None:
        """History on, everybody sees everything."""
        name, a = parse.parse_server(capture("mixed.qstat-Bf-json"))
        told = pbs_facts.pbs_facts(a, "jobpush", None)
        self.assertEqual((name, told.sees_all, told.hides_jobs, told.accounting, told.problems), ("pbslab", True, False, True, ()))
        self.assertEqual((told.remembers_s, told.remembers_by), (86400.0, "job_history_duration"))

    def test_hidden(self) -> None:
        """query_other_jobs=False: only operators and managers see all."""
        for account, attributes, sees in [
            ("jobpush", {}, False), ("jobpush", {"operators": "ann@*,jobpush@host"}, True), ("jobpush", {"managers": "jobpush@*"}, True),
            ("jobpush", {"acl_roots": "jobpush@*"}, False), ("root", {"acl_roots": "root@*"}, True),
        ]:  # fmt: skip
            told = pbs_facts.pbs_facts({"query_other_jobs": "False", "job_history_enable": "True", **attributes}, account, None)
            self.assertEqual((told.sees_all, told.hides_jobs), (sees, True))
            self.assertEqual(bool(told.problems), not sees)

    def test_history_off(self) -> None:
        """The log instead, or nothing: said by the setting's name."""
        for log, accounting, remembers in ((None, False, 0.0), ("/l", True, None)):
            told = pbs_facts.pbs_facts({}, "jobpush", log)
            self.assertEqual((told.accounting, told.remembers_s), (accounting, remembers))
            self.assertIn("job_history_enable", " ".join(told.problems))

    def test_torque(self) -> None:
        """Hidden unless said otherwise; completed jobs forgotten at once unless said otherwise."""
        told = pbs_facts.torque_facts({}, "jobpush")
        self.assertEqual((told.sees_all, told.remembers_s, len(told.problems)), (False, 0.0, 2))
        told = pbs_facts.torque_facts({"query_other_jobs": "True", "keep_completed": "300"}, "jobpush")
        self.assertEqual((told.sees_all, told.remembers_s, told.remembers_by, told.problems), (True, 300.0, "keep_completed", ()))
