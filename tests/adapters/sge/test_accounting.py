"""Grid Engine's accounting and reporting files, and qacct."""

from __future__ import annotations

import attrs
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from jobpush.core.model import Confidence, JobDescriptor, Outcome, Phase, ReasonCode
from jobpush.core.tasks import TaskSet
from jobpush_adapters.sge import accounting
from jobpush_adapters.sge.states import NOT_DELETED, Deleted, End
from tests.adapters.sge.captures import CAPTURES
from tests.support import NOW

DELETED = Deleted(proved=True)


class AccountingTests(SynchronousTestCase):
    """The accounting and reporting files, and ``qacct``."""

    def records(self) -> list[accounting.AccountingRecord]:
        lines = (CAPTURES / "80-accounting.txt").read_bytes().split(b"\n")
        return [record for line in lines if (record := accounting.parse_accounting(line)) is not None]

    def test_every_record(self) -> None:
        """What the recorded run ended in, by name."""
        deletions = {
            deletion.job_id
            for line in (CAPTURES / "81-reporting.txt").read_bytes().split(b"\n")
            if (deletion := accounting.parse_deletion(line)) is not None
        }
        ends: dict[str, list[str]] = {}
        for record in self.records():
            end = record.end(DELETED if record.job_id in deletions else NOT_DELETED)
            shown = end.outcome.value if end.outcome else "goes on"
            ends.setdefault(record.name, []).append(f"{shown} {end.exit_code if end.exit_code is not None else end.signal}")
        for name, expected in {
            "ok": ["COMPLETED 0"], "exit3": ["FAILED 3"], "sig9": ["FAILED 9"], "sig11": ["FAILED 11"], "qdelrun": ["CANCELLED 9"],
            "qdelown": ["CANCELLED 9"], "badout": ["CANCELLED None"], "badwd": ["CANCELLED None"], "ex100": ["CANCELLED None"],
            "ex99": ["goes on None", "COMPLETED 0"], "resched": ["goes on None", "COMPLETED 0"], "dr": ["CANCELLED 9"],
            "transfer": ["CANCELLED 9"], "hrt": ["TIMEOUT 9"], "srt": ["FAILED 10"], "hvmem": ["FAILED 1"], "arr": ["COMPLETED 0"] * 4,
        }.items():  # fmt: skip
            self.assertEqual(ends[name], expected, name)

    def test_tasks(self) -> None:
        """Task number 0 means that there is no array."""
        by_name = {record.name: record for record in self.records()}
        self.assertEqual(by_name["ok"].job_id, "1")
        self.assertRegex(by_name["arr"].job_id, r"\A25\.[0-9]+\Z")

    def test_pending_deletions(self) -> None:
        """A pending job that is deleted leaves a line in the reporting file alone."""
        lines = (CAPTURES / "81-reporting.txt").read_bytes().split(b"\n")
        deletions = {d.job_id: d for line in lines if (d := accounting.parse_deletion(line)) is not None}
        self.assertEqual((deletions["7"].state, deletions["5"].state, deletions["7"].user), ("", "r", "jpalice"))
        self.assertIn("25.9", deletions)
        self.assertNotIn("1", deletions, "the scheduler's own clearing up is no deletion")

    def test_qacct_says_the_same(self) -> None:
        """What ``qacct`` prints is read as the file's line is."""
        from_file = {(record.job_id, record.submitted_at, record.ended_at): record for record in self.records()}
        for path in sorted(CAPTURES.glob("*.qacct-j.txt")):
            for record in accounting.parse_qacct(path.read_bytes()):
                other = from_file.get((record.job_id, record.submitted_at, record.ended_at))
                if other is not None:
                    for name in ("name", "user", "queue", "host", "started_at", "failed", "exit_status"):
                        self.assertEqual(getattr(record, name), getattr(other, name), (path.name, name))

    @given(st.binary(max_size=300))
    def test_arbitrary_bytes(self, line: bytes) -> None:
        """A line that is none is passed over."""
        accounting.parse_accounting(line)
        accounting.parse_deletion(line)
        accounting.finished_id(line)
        list(accounting.parse_qacct(b"=" * 62 + line))


#: A line of which every field is another.
LINE = "long.q:n7:grp:kim:nm:71:acct:0:1795333001:1795333002:1795333012:37:137:1:" + ":".join(["0"] * 17) + ":proj:dep:NONE:4:3:7.5:0:0:-l h_rt=9,x=a:b:0:NONE:0:0:0"


class LineTests(SynchronousTestCase):
    """Lines of the files, field by field."""

    def record(self, **changes: str) -> accounting.AccountingRecord | None:
        fields = LINE.split(":")
        places = {"queue": 0, "host": 1, "user": 3, "name": 4, "number": 5, "account": 6, "submitted": 8, "started": 9, "ended": 10, "failed": 11, "status": 12,
                  "project": 31, "task": 35, "cpu": 36}  # fmt: skip
        for name, value in changes.items():
            fields[places[name]] = value
        return accounting.parse_accounting(":".join(fields).encode())

    def test_record(self) -> None:
        """Each field of accounting(5) that is read; the category may hold colons."""
        expected = accounting.AccountingRecord(
            number="71", task=3, name="nm", user="kim", account="proj", queue="long.q", host="n7", submitted_at=1795333001.0, started_at=1795333002.0,
            ended_at=1795333012.0, failed=37, exit_status=137, cpu=7.5, category="-l h_rt=9,x=a:b", slots=4,
        )  # fmt: skip
        self.assertEqual(self.record(), expected)
        self.assertEqual((expected.job_id, attrs.evolve(expected, task=0).job_id), ("71.3", "71"))
        self.assertEqual(expected.end(), End(Outcome.TIMEOUT, signal=9, reason="killed for a limit (h_rt)"))
        self.assertEqual(attrs.evolve(expected, started_at=1795333004.0).end().reason, "failed 37: qmaster enforced h_rt, h_cpu, or h_vmem limit")

    def test_account(self) -> None:
        """The project, or where there is none the account."""
        for project, account in (("proj", "proj"), ("NONE", "acct"), ("", "acct")):
            record = self.record(project=project)
            assert record is not None
            self.assertEqual(record.account, account)

    def test_milliseconds(self) -> None:
        """Later versions count them."""
        record = self.record(submitted="1795333001500", started="1795333002000", ended="1795333012250")
        assert record is not None
        self.assertEqual((record.submitted_at, record.started_at, record.ended_at), (1795333001.5, 1795333002.0, 1795333012.25))

    def test_what_is_no_record(self) -> None:
        """A comment, a part of a line, fields that are no numbers; a longer line is one."""
        self.assertIsNone(accounting.parse_accounting(b"# Version: 8.1.9"))
        self.assertIsNone(accounting.parse_accounting(":".join(LINE.split(":")[:44]).encode()))
        self.assertIsNotNone(accounting.parse_accounting(":".join(LINE.split(":")[:45]).encode()))
        for name in ("number", "task", "submitted", "started", "ended", "failed", "status", "cpu"):
            self.assertIsNone(self.record(**{name: "x"}), name)

    def deletion(self, **changes: str) -> accounting.Deletion | None:
        fields = ["1795333100", "job_log", "1795333101", "deleted", "71", "3", "NONE", "r", "root", "vm", "0", "1024", "1795333001", "nm", "kim", "grp", "proj", "dep", "acct", "job deleted"]
        places = {"kind": 1, "at": 2, "what": 3, "number": 4, "task": 5, "state": 7, "submitted": 12, "name": 13, "user": 14, "text": 19}
        for name, value in changes.items():
            fields[places[name]] = value
        return accounting.parse_deletion(":".join(fields).encode())

    def test_deletion(self) -> None:
        """Each field of reporting(5) that is read; whether the job waited then."""
        expected = accounting.Deletion("71", 3, "nm", "kim", 1795333001.0, "r", 1795333101.0)
        self.assertEqual(self.deletion(), expected)
        self.assertEqual((expected.job_id, attrs.evolve(expected, task=0).job_id), ("71.3", "71"))
        self.assertEqual(self.deletion(task="-1"), attrs.evolve(expected, task=0))
        self.assertEqual(self.deletion(text="job deleted \r"), expected)
        self.assertEqual(self.deletion(submitted="1795333001500", at="1795333101500"), attrs.evolve(expected, submitted_at=1795333001.5, at=1795333101.5))
        waits = {state for state in ("", "qw", "hqw", "Eqw", "Rq", "r", "t", "s", "S", "T", "dr", "hr") if attrs.evolve(expected, state=state).waited}
        self.assertEqual(waits, {"", "qw", "hqw", "Eqw", "Rq"})
        for change in ({"kind": "acct"}, {"what": "sent"}, {"text": "job removed"}, {"number": "x"}, {"task": "x"}, {"submitted": "x"}, {"at": "x"}):
            self.assertIsNone(self.deletion(**change), change)
        self.assertIsNone(accounting.parse_deletion(b"1:job_log:2:deleted:71:3:NONE:r:root:vm:0:1024:3:nm:kim:grp:proj:dep:job deleted"))
        self.assertIsNone(accounting.parse_deletion(b"1:host:x:job_log:deleted:71:3:NONE:r:root:vm:0:1024:3:nm:kim:grp:proj:dep:acct:job deleted"))

    def test_finished(self) -> None:
        """Whose end a line of the reporting file tells."""
        line = b"1795333100:job_log:1795333101:finished:71:%s:NONE:r:exec:vm:0:1024:1:nm:kim:g:p:d:a:job exited"
        self.assertEqual([accounting.finished_id(line % task) for task in (b"3", b"0", b"-1")], ["71.3", "71", "71"])
        for odd in (line.replace(b"finished", b"sent") % b"3", line.replace(b"job_log", b"acct") % b"3", line % b"x", line.replace(b":71:", b":x:") % b"3", b"1:job_log:2:finished:71:3"):
            self.assertIsNone(accounting.finished_id(odd), odd)
        self.assertEqual(accounting.finished_id(b"1:job_log:2:finished:71:3:"), "71.3")

    def test_ids(self) -> None:
        """A task has a number above 0."""
        self.assertEqual([accounting.task_id("71", task) for task in (0, 1, -1)], ["71", "71.1", "71"])


class QacctTests(SynchronousTestCase):
    """What ``qacct -j`` prints."""

    TEXT = """\
==============================================================
qname        long.q
hostname     n7
group        grp
owner        kim
project      proj
department   dep
jobname      a b
jobnumber    71
taskid       3
account      acct
priority     0
qsub_time    Sun Nov 22 07:36:41 2026
start_time   Sun Nov  1 07:36:42 2026
end_time     11/22/2026 07:36:52.250
granted_pe   NONE
slots        4
failed       37  : qmaster enforced h_rt limit
exit_status  137                  (Killed)
cpu          7.500s
category     -l h_rt=9
"""

    def test_record(self) -> None:
        """Each field, in the forms of several versions."""
        (record,) = accounting.parse_qacct(self.TEXT.encode())
        self.assertEqual(record, accounting.AccountingRecord(
            number="71", task=3, name="a b", user="kim", account="proj", queue="long.q", host="n7", submitted_at=1795333001.0, started_at=1793518602.0,
            ended_at=1795333012.0, failed=37, exit_status=137, cpu=7.5, category="-l h_rt=9", slots=4,
        ))  # fmt: skip

    def test_what_there_is_not(self) -> None:
        """No project, no task, no time, no category; a block that lacks more is none, and hides no other."""
        for old, new, name, value in [
            ("project      proj", "project      NONE", "account", "acct"), ("project      proj", "project", "account", "acct"),
            ("taskid       3", "taskid       undefined", "task", 0), ("Sun Nov  1 07:36:42 2026", "-/-", "started_at", 0.0),
            ("category     -l h_rt=9\n", "", "category", ""), ("cpu          7.500s", "cpu          7.5", "cpu", 7.5),
        ]:  # fmt: skip
            (record,) = accounting.parse_qacct(self.TEXT.replace(old, new).encode())
            self.assertEqual(getattr(record, name), value, new)
        for key in ("qname", "hostname", "owner", "project", "jobname", "jobnumber", "taskid", "account", "qsub_time", "start_time", "end_time", "failed", "exit_status", "cpu"):
            odd = self.TEXT.replace("project      proj", "project      NONE").replace(f"\n{key} ", f"\nx{key} ")
            found = list(accounting.parse_qacct((self.TEXT + odd + self.TEXT).encode()))
            self.assertEqual(len(found), 2, key)


class DescriptorTests(SynchronousTestCase):
    """Jobs by what the files say."""

    def setUp(self) -> None:
        record = accounting.parse_accounting(LINE.encode())
        assert record is not None
        self.record = attrs.evolve(record, failed=0, exit_status=3)
        self.known = JobDescriptor(
            "sge", "71.3", Phase.RUNNING, submitted_at=1795333001.0, attempt=1, name="seen", user="kim", account="seen", queue="seen", nodes="seen", workdir="/w",
            comment="c", time_limit_s=60, reason="r", reason_code=ReasonCode.OTHER, flags=("deleting",), native={"state": "dr"}, source="qstat", parent="71", task_index=3,
            pending_tasks=TaskSet.parse("1-2"), counts={"RUNNING": 1},
        )  # fmt: skip

    def test_seen(self) -> None:
        """What was seen of the job stays, but for what the record says of its end."""
        job = accounting.descriptor("sge", [self.record], NOT_DELETED, self.known, NOW, "accounting")
        assert job is not None
        expected = attrs.evolve(
            self.known, phase=Phase.DONE, outcome=Outcome.FAILED, settled=True, exit_code=3, reason=None, reason_code=None, flags=(), queue="long.q", nodes="n7",
            native={"failed": "0", "exit_status": "3"}, started_at=1795333002.0, ended_at=1795333012.0, source="accounting", confidence=Confidence.ACCOUNTING,
            pending_tasks=None, counts=None,
        )  # fmt: skip
        self.assertTrue(job.says_the_same(expected), job)
        self.assertEqual(job.observed_at, NOW)

    def test_never_seen(self) -> None:
        """A job that came and went: all that its record says."""
        job = accounting.descriptor("sge", [self.record], NOT_DELETED, None, NOW, "qacct")
        assert job is not None
        expected = JobDescriptor(
            "sge", "71.3", Phase.DONE, outcome=Outcome.FAILED, settled=True, exit_code=3, native={"failed": "0", "exit_status": "3"}, name="nm", user="kim", account="proj",
            submitted_at=1795333001.0, started_at=1795333002.0, ended_at=1795333012.0, queue="long.q", nodes="n7", source="qacct",
            confidence=Confidence.ACCOUNTING, parent="71", task_index=3,
        )  # fmt: skip
        self.assertTrue(job.says_the_same(expected), job)
        plain = accounting.descriptor("sge", [attrs.evolve(self.record, task=0, user="", submitted_at=0.0, started_at=0.0, ended_at=0.0)], NOT_DELETED, None, NOW, "qacct")
        assert plain is not None
        self.assertEqual((plain.id, plain.parent, plain.task_index, plain.user), ("71", None, None, None))
        self.assertEqual((plain.submitted_at, plain.started_at, plain.ended_at), (None, None, None))

    def test_attempts(self) -> None:
        """Each record after which it starts again is one; the first submission is the job's, and one of no time is none."""
        again = attrs.evolve(self.record, failed=25, submitted_at=1795333000.0)
        self.assertIsNone(accounting.descriptor("sge", [self.record, again], NOT_DELETED, self.known, NOW, "accounting"))
        for records, known, attempt in (
            ([again, self.record], None, 1), ([again, again, self.record], self.known, 2), ([self.record], self.known, 1), ([again, self.record], attrs.evolve(self.known, attempt=4), 4),
        ):  # fmt: skip
            job = accounting.descriptor("sge", records, NOT_DELETED, known, NOW, "accounting")
            assert job is not None
            self.assertEqual(job.attempt, attempt)
        job = accounting.descriptor("sge", [attrs.evolve(again, submitted_at=0.0), self.record], NOT_DELETED, None, NOW, "accounting")
        assert job is not None
        self.assertIsNone(job.submitted_at, "qmod -rj: the record before has no times")
        deleted = accounting.descriptor("sge", [attrs.evolve(self.record, failed=100, exit_status=137)], DELETED, None, NOW, "accounting")
        assert deleted is not None
        self.assertEqual((deleted.state, deleted.signal), ("CANCELLED", 9))

    def test_deleted_while_it_waited(self) -> None:
        """It did not run; it ended when it was deleted."""
        deletion = accounting.Deletion("71", 3, "nm", "kim", 1795333001.0, "", 1795333101.0)
        job = accounting.deleted_descriptor("sge", deletion, self.known, NOW)
        expected = attrs.evolve(
            self.known, phase=Phase.DONE, outcome=Outcome.CANCELLED, settled=True, reason=None, reason_code=None, flags=(), native={"state": "deleted"},
            started_at=None, ended_at=1795333101.0, source="reporting", confidence=Confidence.ACCOUNTING, pending_tasks=None, counts=None,
        )  # fmt: skip
        self.assertTrue(job.says_the_same(expected), job)
        bare = accounting.deleted_descriptor("sge", deletion, None, NOW)
        expected = JobDescriptor(
            "sge", "71.3", Phase.DONE, outcome=Outcome.CANCELLED, settled=True, native={"state": "deleted"}, name="nm", user="kim", submitted_at=1795333001.0,
            ended_at=1795333101.0, source="reporting", confidence=Confidence.ACCOUNTING, parent="71", task_index=3,
        )  # fmt: skip
        self.assertTrue(bare.says_the_same(expected), bare)
        self.assertEqual((job.observed_at, bare.observed_at), (NOW, NOW))
        timeless = accounting.deleted_descriptor("sge", attrs.evolve(deletion, at=0.0, submitted_at=0.0), None, NOW)
        self.assertEqual((timeless.ended_at, timeless.submitted_at), (None, None))
