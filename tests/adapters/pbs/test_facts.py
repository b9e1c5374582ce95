"""What a PBS server lets jobpush see."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from jobpush.adapter.interfaces import OtherCluster
from jobpush.core.model import QueueFacts
from jobpush_adapters.pbs import facts as pbs_facts
from jobpush_adapters.pbs import parse
from tests.adapters.pbs.captures import capture


class FactTests(SynchronousTestCase):
    """What the server says of itself."""

    def test_another_server(self) -> None:
        """Its answers are not believed, once jobs were asked for of the one before; until then the service says which is ours."""
        server = pbs_facts.ServerName()
        for name in ("b", "a", "a"):
            server.answers(name)
            self.assertEqual(server.name, name)
        server.believe()
        error = self.assertRaises(OtherCluster, server.answers, "b")
        self.assertEqual(str(error), "the answers are those of the server b, expected a; its jobs are not told")
        self.assertEqual(server.name, "a")
        server.answers("a")

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

    def test_who_sees_all(self) -> None:
        """What the server says; what it means that it says nothing; roles, by the user's name alone; and how that is known."""
        for a, account, default, expected in [
            ({}, "kim", False, (True, False, "query_other_jobs=True")), ({}, "kim", True, (False, True, "query_other_jobs=False, and kim is no operator")),
            ({"query_other_jobs": "1"}, "kim", True, (True, False, "query_other_jobs=1")), ({"query_other_jobs": "t"}, "kim", True, (True, False, "query_other_jobs=t")),
            ({"query_other_jobs": "TRUE"}, "kim", True, (True, False, "query_other_jobs=TRUE")),
            ({"managers": "x@*, kim@h"}, "kim", True, (True, True, "query_other_jobs=False, and kim is one of the server's managers")),
            ({"operators": "kim"}, "kim", True, (True, True, "query_other_jobs=False, and kim is one of the server's operators")),
            ({"operators": "kimberly@*"}, "kim", True, (False, True, "query_other_jobs=False, and kim is no operator")),
            ({"acl_roots": "root@h"}, "root", True, (True, True, "query_other_jobs=False, and root is one of the server's acl_roots")),
            ({"acl_roots": "kim@h"}, "kim", True, (False, True, "query_other_jobs=False, and kim is no operator")),
            ({"acl_roots": "kim@h"}, "root", True, (False, True, "query_other_jobs=False, and root is no operator")),
        ]:  # fmt: skip
            self.assertEqual(pbs_facts.sees_all(a, account, default), expected, a)

    def test_everything_that_follows(self) -> None:
        """The facts as a whole, with a history and without, with a log and without."""
        blind = "query_other_jobs=False, and kim is no operator"
        mend = f"{blind}: other users' jobs cannot be seen; make kim an operator (qmgr -c 'set server operators += kim@*')"
        no_log = ("the server keeps no history (job_history_enable) and its accounting log cannot be read: how a job ended cannot be known, "
                  "it is told as LOST; set job_history_enable=True")  # fmt: skip
        log = "the server keeps no history (job_history_enable): outcomes come from the accounting log in /l"
        all_ = "query_other_jobs=True"
        kept, off = "job_history_duration", "job_history_enable"
        for a, path, expected in [
            ({off: "True"}, None, QueueFacts(True, False, True, 1209600.0, kept, all_, (), False, True)),
            ({off: "1", kept: "00:10:00"}, "/l", QueueFacts(True, False, True, 600.0, kept, all_, (), False, True)),
            ({off: "true", kept: "x"}, None, QueueFacts(True, False, True, 0.0, kept, all_, (), False, True)),
            ({off: "yes", kept: "00:10:00"}, None, QueueFacts(True, False, False, 0.0, off, all_, (no_log,), False, True)),
            ({kept: "00:10:00"}, "/l", QueueFacts(True, False, True, None, off, all_, (log,), False, True)),
            ({"query_other_jobs": "False"}, "/l", QueueFacts(False, True, True, None, off, blind, (mend, log), False, True)),
        ]:  # fmt: skip
            self.assertEqual(pbs_facts.pbs_facts(a, "kim", path), expected, a)
        forgets = ("the server forgets completed jobs at once (keep_completed): how a job ended cannot be known, it is told as LOST; "
                   "set keep_completed to some minutes")  # fmt: skip
        for a, expected in [
            ({}, QueueFacts(False, True, False, 0.0, "keep_completed", blind, (mend, forgets))),
            ({"query_other_jobs": "True", "keep_completed": "x"}, QueueFacts(True, False, False, 0.0, "keep_completed", all_, (forgets,))),
            ({"query_other_jobs": "True", "keep_completed": "60"}, QueueFacts(True, False, False, 60.0, "keep_completed", all_, ())),
        ]:  # fmt: skip
            self.assertEqual(pbs_facts.torque_facts(a, "kim"), expected, a)
