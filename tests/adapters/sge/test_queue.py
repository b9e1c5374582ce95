"""The Grid Engine adapter on recorded and hostile output; a real Grid Engine is in ``with_service``."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet import reactor
from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface.verify import verifyObject

from jobpush.adapter.command import CommandResult
from jobpush.adapter.interfaces import IBatchQueueService, InvalidJobId, QueueError
from jobpush.adapter.testing import QueueUnderTest, makeQueueServiceTests
from jobpush.core.model import JobDescriptor, Phase
from jobpush_adapters.sge import accounting as accounting
from jobpush_adapters.sge import facts as facts
from jobpush_adapters.sge import states as states
from jobpush_adapters.sge import xml as xml
from jobpush_adapters.sge.ended import DELETION_WAIT_S, REMEMBER_S, EndedJobs
from jobpush_adapters.sge.queue import GridEngineQueue
from tests.fakes import Programs
from tests.service_process import ROOT
from tests.support import NOW

CAPTURES = ROOT / "tests" / "captures" / "sge"


def capture(name: str) -> CommandResult:
    """A recorded answer."""
    return CommandResult(0, (CAPTURES / name).read_bytes(), b"")


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


class RowTests(SynchronousTestCase):
    """``qstat -xml``."""

    def test_running(self) -> None:
        """A job that runs, and where."""
        (raw,) = xml.split_rows(capture("01-running.qstat-u-xml.xml"))
        row = xml.parse_row(raw)
        self.assertEqual((row.number, row.letters, row.name, row.user, row.queue), ("1", "r", "ok", "jpalice", "all.q@vm"))
        self.assertEqual((row.time, row.waits, row.tasks), (1795333485.0, False, None))

    def test_array(self) -> None:
        """Tasks that run have a row each; those that wait share one for each state."""
        rows = [xml.parse_row(raw) for raw in xml.split_rows(capture("35-array-task9-deleted-task7-held.qstat-u-xml.xml"))]
        self.assertEqual([(row.letters, str(row.tasks), row.waits) for row in rows],
                         [("r", "1", False), ("r", "3", False), ("qw", "5", True), ("hqw", "7", True)])  # fmt: skip
        (big,) = xml.split_rows(capture("38-array-big-with-hole.qstat-u-xml.xml"))
        tasks = xml.parse_row(big).tasks
        assert tasks is not None
        self.assertTrue(97 in tasks and 1003 in tasks and 100 not in tasks)

    def test_names(self) -> None:
        """Names with what XML escapes, and with what Grid Engine escapes in its own way."""
        names = [xml.parse_row(raw).name for raw in xml.split_rows(capture("50-names.qstat-u-xml.xml"))]
        self.assertEqual(names[:2], ["a|b|c", "a,b;c"])
        self.assertEqual(len(names[2]), 511)
        self.assertEqual(xml.plain(b"a%lt;b&amp;c&quot;d&gt;&#39;&#xe9;"), "a<b&c\"d>'é")

    def test_priority_is_no_change(self) -> None:
        """A row whose priority alone changed is the same row."""
        before = capture("01-running.qstat-u-xml.xml")
        after = CommandResult(0, before.stdout.replace(b"0.50000", b"0.61234"), b"")
        self.assertEqual(xml.split_rows(before), xml.split_rows(after))

    def test_what_is_no_answer(self) -> None:
        """A failed query is told from an empty one, whatever the exit status says."""
        good = (CAPTURES / "01-running.qstat-u-xml.xml").read_bytes()
        error = (
            b"<?xml version='1.0'?>\n<comunication_error >\n    <AN_status>11</AN_status>\n    <AN_text>unable to send message to qmaster "
            b"using port 26444 on host &quot;vm&quot;: got send error</AN_text>\n    <AN_quality>1</AN_quality>\n</comunication_error>"
        )
        for status, stdout, stderr, told in [
            (0, b"", b"", "printed nothing"), (0, good[:-12], b"", "cut off"), (0, good[: len(good) // 2], b"", "cut off"),
            (0, error, b"", "unable to send message"), (0, b"<html><body>Bad Gateway</body></html>", b"", "none of Grid Engine's"),
            (1, b"denied: host \"x\" is neither submit nor admin host\n", b"", "neither submit nor admin host"),
            (1, b"", b"error: commlib error: got select error (Connection refused)\n", "Connection refused"),
            (0, b"\xff\xfe\x00garbage", b"", "none of Grid Engine's"),
        ]:  # fmt: skip
            with self.assertRaises(QueueError) as caught:
                xml.split_rows(CommandResult(status, stdout, stderr))
            self.assertIn(told, str(caught.exception))
            self.assertNotIn("\n", str(caught.exception))

    def test_rows_that_make_no_sense(self) -> None:
        """Without a number, without a state, with odd tasks."""
        good = xml.split_rows(capture("35-array-task9-deleted-task7-held.qstat-u-xml.xml"))[0]
        for bad in (good.replace(b"25", b"x", 1), good.replace(b"<state>r", b"<state>"), good.replace(b"<tasks>1", b"<tasks>9-1"), b"", b"\xff"):
            self.assertRaises(ValueError, xml.parse_row, bad)
        future = xml.parse_row(good.replace(b"</state>", b"</state><JB_quantum_spin>up</JB_quantum_spin>"))
        self.assertEqual(future.letters, "r")

    @given(st.binary(max_size=400))
    def test_arbitrary_bytes(self, data: bytes) -> None:
        """Parsed, refused as a row, or refused as an answer: nothing else."""
        head = b"<?xml version='1.0'?>\n<job_info >"
        for stdout in (data, head + data + b"</job_info>"):
            try:
                rows = xml.split_rows(CommandResult(0, stdout, b""))
            except QueueError:
                continue
            for row in rows:
                try:
                    xml.parse_row(row)
                except ValueError:
                    pass


class DetailTests(SynchronousTestCase):
    """``qstat -j -xml``."""

    def test_dependency(self) -> None:
        """What a job waits for, and since when it is there."""
        details = xml.parse_details(capture("11-hqw-hold_jid.qstat-j-xml.xml"))["10"]
        self.assertEqual((details.depends, details.submitted_at, details.account), (True, 1795333506.0, "sge"))
        self.assertFalse(xml.parse_details(capture("10-hqw-operator-hold.qstat-j-xml.xml"))["8"].depends)

    def test_error(self) -> None:
        """Why a job is in the error state, without the date in front."""
        details = xml.parse_details(capture("18-Eqw-exit100.qstat-j-xml.xml"))["15"]
        self.assertEqual(dict(details.errors), {1: "exit_status of job start = 100"})

    def test_context_and_begin(self) -> None:
        """``-ac comment=`` is the comment; ``-a`` the time before which it does not start."""
        self.assertEqual(xml.parse_details(capture("42-context-and-args.qstat-j-xml.xml"))["29"].comment, "hello")
        begin = xml.parse_details(capture("12-qw-start-time-in-future.qstat-j-xml.xml"))["11"].begin_at
        self.assertGreater(begin or 0, 1795333517)

    def test_unknown_and_ill_formed(self) -> None:
        """Unknown jobs are not there; markup that is none does not matter; an error is an error."""
        self.assertEqual(xml.parse_details(capture("02-ended-ok.qstat-j-xml.xml")), {})
        good = (CAPTURES / "10-hqw-operator-hold.qstat-j-xml.xml").read_bytes()
        odd = good.replace(b"<SME_message_list>", b"<SME_message_list><job ids>8</job ids>")
        self.assertIn("8", xml.parse_details(CommandResult(0, odd, b"")))
        self.assertRaises(QueueError, xml.parse_details, CommandResult(0, good[:-30], b""))

    def test_every_capture(self) -> None:
        """Every recorded answer is understood."""
        for path in sorted(CAPTURES.glob("*.qstat-j-xml.xml")):
            for details in xml.parse_details(CommandResult(0, path.read_bytes(), b"")).values():
                self.assertGreater(details.submitted_at or 0, 1795333000, path.name)
        for path in sorted(CAPTURES.glob("*.qstat-u-xml.xml")):
            self.assertTrue(all(xml.parse_row(row).user for row in xml.split_rows(CommandResult(0, path.read_bytes(), b""))), path.name)


class AccountingTests(SynchronousTestCase):
    """The accounting and reporting files, and ``qacct``."""

    def records(self) -> list[accounting.Record]:
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
            end = record.end(record.job_id in deletions)
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


def line(number: int, failed: int = 0, status: int = 0, submitted: int = 100, task: int = 0, name: str = "x") -> bytes:
    """A line of the accounting file."""
    fields = f"all.q:vm:grp:kim:{name}:{number}:sge:0:{submitted}:{submitted + 1}:{int(NOW)}:{failed}:{status}:1".split(":")
    fields += ["0"] * (31 - len(fields)) + ["NONE", "dep", "NONE", "1", str(task), "0.1", "0", "0", "NONE", "0", "NONE", "0", "0", "0"]
    return ":".join(fields).encode()


def deletion(number: int, state: str = "", submitted: int = 100, by: str = "root", text: str = "job deleted") -> bytes:
    """A line of the reporting file."""
    return f"{int(NOW)}:job_log:{int(NOW)}:deleted:{number}:0:NONE:{state}:{by}:vm:0:1024:{submitted}:x:kim:grp::dep:sge:{text}".encode()


class EndedTests(SynchronousTestCase):
    """Records joined with what the queue lists."""

    def setUp(self) -> None:
        self.directory = Path(self.mktemp())
        self.directory.mkdir()
        self.accounting, self.reporting = self.directory / "accounting", self.directory / "reporting"
        self.accounting.write_bytes(b"")
        self.reporting.write_bytes(b"")
        self.ended = EndedJobs("sge", str(self.accounting), str(self.reporting))
        self.now = NOW
        self.look()

    def look(self, listed: tuple[str, ...] = (), seen: tuple[JobDescriptor, ...] = ()) -> dict[str, JobDescriptor]:
        self.ended.take(self.ended.read(self.now), self.now)
        return self.ended.ended(set(listed), lambda job_id: False, {job.id: job for job in seen}, self.now)

    def append(self, path: Path, *lines: bytes) -> None:
        with path.open("ab") as file:
            file.write(b"\n".join(lines) + b"\n")

    def job(self, **fields: object) -> JobDescriptor:
        return JobDescriptor("sge", "7", Phase.RUNNING, submitted_at=100.0, workdir="/w", **fields)  # type: ignore[arg-type]

    def test_a_record_ends_a_job_that_is_gone(self) -> None:
        """And not one that the queue still lists."""
        self.append(self.accounting, line(7, status=3))
        self.assertEqual(self.look(listed=("7",)), {})
        (job,) = self.look(seen=(self.job(),)).values()
        self.assertEqual((job.state, job.exit_code, job.settled, job.workdir, job.confidence.value), ("FAILED", 3, True, "/w", "accounting"))
        self.assertIs(self.look()["7"], job)
        self.now += REMEMBER_S + 1
        self.look()
        self.assertEqual(self.look(), {})

    def test_never_seen(self) -> None:
        """A job that came and went between two queries is told by its record alone."""
        self.append(self.accounting, line(8, task=3))
        (job,) = self.look().values()
        self.assertEqual((job.id, job.parent, job.task_index, job.user, job.submitted_at), ("8.3", "8", 3, "kim", 100.0))

    def test_half_a_line(self) -> None:
        """A line is read when it is whole."""
        whole = line(7)
        with self.accounting.open("ab") as file:
            file.write(whole[:50])
        self.assertEqual(self.look(), {})
        with self.accounting.open("ab") as file:
            file.write(whole[50:] + b"\n")
        self.assertEqual(list(self.look()), ["7"])

    def test_deleted_or_killed(self) -> None:
        """Which of the two waits for the reporting file, for a while."""
        self.append(self.accounting, line(7, 100, 137))
        self.assertEqual(self.look(), {})
        self.append(self.reporting, deletion(7, "r"))
        self.assertEqual(self.look()["7"].state, "CANCELLED")
        self.append(self.accounting, line(9, 100, 137))
        self.assertNotIn("9", self.look())
        self.now += DELETION_WAIT_S + 1
        self.assertEqual((self.look()["9"].state, self.look()["9"].signal), ("FAILED", 9))

    def test_flag_tells_too(self) -> None:
        """The letter d was seen: it was deleted."""
        self.append(self.accounting, line(7, 100, 137))
        self.assertEqual(self.look(seen=(self.job(flags=("deleting",)),))["7"].state, "CANCELLED")

    def test_deleted_while_it_waited(self) -> None:
        """There is no accounting record; one of a running job comes yet."""
        self.append(self.reporting, deletion(7), deletion(8, "r"))
        job = self.look()["7"]
        self.assertEqual((job.state, job.started_at, job.settled), ("CANCELLED", None, True))
        self.assertNotIn("8", self.look())

    def test_other_lines_are_no_deletions(self) -> None:
        """The daemons clear up after every job."""
        self.append(self.reporting, deletion(7, by="scheduler", text="job deleted by scheduler"), deletion(7, text="job removed "))
        self.assertEqual(self.look(), {})

    def test_rescheduled(self) -> None:
        """It goes on, and the next record counts the attempt."""
        self.append(self.accounting, line(7, 25, 99))
        self.assertEqual(self.look(), {})
        self.append(self.accounting, line(7, 0, 0, submitted=200))
        self.assertEqual((self.look()["7"].state, self.look()["7"].attempt), ("COMPLETED", 1))

    def test_another_job_by_that_id(self) -> None:
        """Ids come round: a record of an older submission is none of this job's."""
        self.append(self.accounting, line(7, 0, 5, submitted=50))
        (job,) = self.look(seen=(self.job(),)).values()
        self.assertEqual((job.submitted_at, job.workdir), (50.0, None))

    def test_rotated_and_truncated(self) -> None:
        """Nothing is lost when the file is moved away, and nothing repeated when it is cut."""
        self.append(self.accounting, line(1))
        self.look()
        self.append(self.accounting, line(2))
        self.accounting.rename(self.directory / "accounting.0")
        self.accounting.write_bytes(line(3) + b"\n")
        self.assertEqual(set(self.look()), {"1", "2", "3"})
        self.accounting.write_bytes(b"")
        self.look()
        self.append(self.accounting, line(4))
        self.assertIn("4", self.look())

    def test_looking_back(self) -> None:
        """What ended before it began to follow is found in the file, over many blocks and a rotated one."""
        old = self.directory / "old"
        old.mkdir()
        many = b"\n".join(line(number, status=number % 7, submitted=1000) for number in range(1, 3001)) + b"\n"
        (old / "accounting.0").write_bytes(many)
        (old / "accounting").write_bytes(b"# comment\n" + line(5000, status=4) + b"\n")
        ended = EndedJobs("sge", str(old / "accounting"), None)
        ended.read(NOW + 10 * REMEMBER_S)
        jobs = [JobDescriptor("sge", str(n), Phase.RUNNING, submitted_at=1000.0) for n in (1, 1234, 3000, 5000, 9999)]
        told = ended.look_back(jobs, 0.0)
        self.assertEqual({job_id: records[0].exit_status for job_id, (records, _) in told.items()}, {"1": 1, "1234": 2, "3000": 4})
        older = JobDescriptor("sge", "5000", Phase.RUNNING, submitted_at=100.0)
        self.assertEqual(set(ended.look_back([older], 0.0)), {"5000"})


class FactTests(SynchronousTestCase):
    """``qconf -sconf`` and the files."""

    def test_settings(self) -> None:
        """What a real configuration says, over continued lines."""
        settings = facts.Settings.parse((CAPTURES / "72-qconf-sconf.txt").read_bytes())
        self.assertEqual((settings.accounting, settings.joblog), (True, True))
        off = facts.Settings.parse(b"reporting_params  accounting=false reporting=false flush_time=00:00:15 joblog=false\n")
        self.assertEqual((off.accounting, off.joblog, off.flush_s), (False, False, 15))

    def test_problems(self) -> None:
        """Each setting that takes something away is named."""
        root = Path(self.mktemp()).resolve()
        common = root / "default" / "common"
        common.mkdir(parents=True)
        good = facts.Settings(True, True, 1)
        for settings, remote, expected in [
            (good, False, ""), (facts.Settings(False, True, 1), False, "accounting=false"), (facts.Settings(True, False, 1), False, "joblog=true"),
            (facts.Settings(True, True, 300), False, "accounting_flush_time"), (good, True, "another host"),
        ]:  # fmt: skip
            files = facts.Files.find(str(root), "default", settings, remote)
            told = facts.facts(settings, files, "default", 60.0)
            self.assertIn(expected, " ".join(told.problems))
            self.assertEqual(bool(told.problems), bool(expected))
            self.assertEqual(told.remembers_s, None if settings.accounting else 0.0)
        self.assertIn("root=", " ".join(facts.Files.find("/nonexistent", "default", good, False).problems))
        (common / "sge_qstat").write_text("# site\n-q fast.q\n")
        self.assertIsNone(facts.Files.find(str(root), "default", good, False).spool)
        spool = root / "db"
        spool.mkdir()
        for method, directory, remote, expected in (
            ("berkeleydb", spool, False, str(spool)),
            ("berkeleydb", spool, True, None),
            ("classic", spool, False, None),
            ("berkeleydb", root / "elsewhere", False, None),
        ):
            (root / "default" / "common" / "bootstrap").write_text(
                f"# Version: 8.1.9\n#\nadmin_user none\nspooling_method         {method}\nspooling_params   {directory}\nbroken\n"
            )
            self.assertEqual(facts.Files.find(str(root), "default", good, remote).spool, expected)
        told = facts.facts(good, facts.Files.find(str(root), "default", good, False), "default", 60.0)
        self.assertFalse(told.sees_all)
        self.assertIn("sge_qstat", told.evidence)


class IdTests(SynchronousTestCase):
    """Grid Engine's grammar."""

    def test_canonical(self) -> None:
        """What is one job, and nothing that Grid Engine takes for several."""
        queue = GridEngineQueue(None)
        verifyObject(IBatchQueueService, queue)
        for good in ("1", "4711", "4711.3", "9999999.9999999"):
            self.assertEqual(queue.canonical_id(good), good)
        for bad in ("0", "01", "1.0", "1.", ".1", "1.2.3", "1-3", "1,2", "*", "abc", "1.x", "12345678901", "4711_3"):
            self.assertRaises(InvalidJobId, queue.canonical_id, bad)


QSTAT = """\
#!/bin/sh
echo "qstat $*" >>"$DIR/log"
[ -e "$DIR/fail" ] && { rm "$DIR/fail"; echo 'error: commlib error: got select error (Connection refused)' >&2; exit 1; }
case "$*" in
"-u * -s prs -xml") cat "$DIR/rows";;
"-xml -j "*) cat "$DIR/details";;
"-u * -s h"?" -xml") cat "$DIR/${4}";;
*) echo "unexpected arguments: $*" >&2; exit 2;;
esac
"""

LETTERS = {"QUEUED": "qw", "RUNNING": "r", "HELD": "hqw"}


def document(rows: str) -> str:
    """What ``qstat -xml`` prints for these rows."""
    return f"<?xml version='1.0'?>\n<job_info  xmlns:xsd=\"x\">\n  <queue_info>\n{rows}  </queue_info>\n  <job_info>\n  </job_info>\n</job_info>\n"


def job_list(number: str, letters: str, tasks: str = "") -> str:
    """One row."""
    time = "JB_submission_time" if "q" in letters else "JAT_start_time"
    return (
        f'    <job_list state="x">\n<JB_job_number>{number}</JB_job_number>\n<JAT_prio>0.5</JAT_prio>\n<JB_name>n</JB_name>\n'
        f"<JB_owner>kim</JB_owner>\n<state>{letters}</state>\n<{time}>2026-11-22T07:44:45</{time}>\n<queue_name>all.q@vm</queue_name>\n"
        f"<slots>1</slots>\n{f'<tasks>{tasks}</tasks>' if tasks else ''}</job_list>\n"
    )


class Recorded(Programs):
    """An adapter with commands that answer what a test has written down."""

    def __init__(self, directory: str, **options: object) -> None:
        super().__init__(directory)
        self.common = self.directory / "default" / "common"
        self.common.mkdir(parents=True)
        self.write("qstat", QSTAT)
        self.write("qconf", f'#!/bin/sh\ncat "{CAPTURES}/72-qconf-sconf.txt"\n')
        self.write("qacct", '#!/bin/sh\necho "qacct $*" >>"$DIR/log"\necho "error: job id $2 not found" >&2; exit 1\n')
        self.queue = GridEngineQueue(reactor, directory=str(self.directory), root=str(self.directory), **options)  # type: ignore[arg-type]
        for kind in ("hu", "ho", "hs"):
            self.put(kind, document(""))
        self.put("details", "<?xml version='1.0'?>\n<detailed_job_info>\n<djob_info>\n</djob_info>\n</detailed_job_info>\n")
        self.show({})

    def show(self, jobs: Mapping[str, str]) -> Mapping[str, str]:
        rows, ended = "", b""
        for job_id, state in jobs.items():
            number, _, task = job_id.partition(".")
            if state == "COMPLETED":
                ended += line(int(number), submitted=1795333000, task=int(task or 0)).replace(
                    str(int(NOW)).encode(), str(int(reactor.seconds())).encode()  # type: ignore[attr-defined]
                ) + b"\n"  # fmt: skip
            else:
                rows += job_list(number, LETTERS[state], task)
        self.put("rows", document(rows))
        (self.common / "accounting").write_bytes(ended)
        return jobs


def recorded(case: TestCase) -> QueueUnderTest:
    fake = Recorded(case.mktemp())
    return QueueUnderTest(fake.queue, fake.show, fake.fail, ids=("1", "4711", "9", "12"), task=("33.4", "33", 4))


class GridEngineContractTests(makeQueueServiceTests(recorded)):  # type: ignore[misc]
    """The public contract."""


class AdapterTests(TestCase):
    """The adapter and its commands."""

    def setUp(self) -> None:
        self.fake = Recorded(self.mktemp())
        self.queue = self.fake.queue

    async def test_an_unchanged_tick_is_one_command(self) -> None:
        """Details and holds are asked for when a row is new."""
        self.fake.show({"1": "RUNNING", "2": "QUEUED", "3": "HELD"})
        await self.queue.snapshot()
        before = len(self.fake.calls())
        await self.queue.snapshot()
        self.assertEqual(self.fake.calls()[before:], ["qstat -u * -s prs -xml"])

    async def test_holds(self) -> None:
        """Who holds a job is told by ``-s hu``, ``-s ho``, ``-s hs``."""
        self.fake.show({"1": "HELD", "2": "HELD", "3": "HELD"})
        self.fake.put("hu", document(job_list("1", "hqw") + job_list("2", "hqw")))
        self.fake.put("ho", document(job_list("2", "hqw")))
        jobs = (await self.queue.snapshot()).jobs
        self.assertEqual({i: job.reason_code and job.reason_code.value for i, job in jobs.items()},
                         {"1": "HELD_BY_USER", "2": "HELD_BY_ADMIN", "3": "OTHER"})  # fmt: skip

    async def test_array_in_several_states(self) -> None:
        """The tasks of most are a range, the others have rows of their own."""
        self.fake.put("rows", document(
            job_list("5", "r", "1") + job_list("5", "qw", "3-99:2") + job_list("5", "hqw", "100,102") + job_list("5", "Eqw", "2")
        ))  # fmt: skip
        jobs = (await self.queue.snapshot()).jobs
        self.assertEqual({i: job.state for i, job in jobs.items()},
                         {"5.1": "RUNNING", "5": "QUEUED", "5.100": "HELD", "5.102": "HELD", "5.2": "HELD"})  # fmt: skip
        self.assertEqual(len(jobs["5"].pending_tasks or ()), 49)

    async def test_doubled_and_odd_rows(self) -> None:
        """A row that makes no sense is counted, with its id; of two rows with one id neither is believed."""
        self.fake.put("rows", document(
            job_list("1", "r") + job_list("2", "r") + job_list("2", "qw") + job_list("3", "") + job_list("x", "r")
        ))  # fmt: skip
        snapshot = await self.queue.snapshot()
        self.assertEqual(set(snapshot.jobs), {"1"})
        self.assertEqual((snapshot.rejected_count, snapshot.rejected_ids), (3, frozenset({"2", "3"})))

    async def test_nothing_understood(self) -> None:
        """Rows, and none of them makes sense: a failed query."""
        self.fake.put("rows", document(job_list("x", "r")))
        await self.assertFailure(self.queue.snapshot(), QueueError)

    async def test_environment(self) -> None:
        """Commands start from an empty environment but for Grid Engine's own variables."""
        self.fake.write("qconf", "#!/bin/sh\nenv >$DIR/environment\n")
        await self.queue.check()
        names = {text.partition("=")[0] for text in (self.fake.directory / "environment").read_text().splitlines()}
        allowed = {"PATH", "LC_ALL", "TZ", "PWD", "OLDPWD", "SHLVL", "_"}
        self.assertLessEqual({name for name in names if not name.startswith("SGE_")}, allowed)

    async def test_rescheduled_keeps_its_submission(self) -> None:
        """A rescheduled job gets a new time of submission; it stays the same job, one attempt on."""
        self.fake.show({"1": "QUEUED"})
        first = (await self.queue.snapshot()).jobs["1"]
        self.fake.put("rows", document(job_list("1", "Rq")).replace("07:44:45", "09:00:00"))
        second = (await self.queue.snapshot()).jobs["1"]
        self.assertEqual((second.uid, second.attempt), (first.uid, 1))

    async def test_qacct_where_the_file_cannot_be_read(self) -> None:
        """Far away, or not readable: ``qacct`` is asked, and has no record yet."""
        fake = Recorded(self.mktemp())
        (fake.common / "accounting").unlink()
        os.rmdir(fake.common)
        fake.write("qacct", f'#!/bin/sh\nif [ "$2" = 4 ]; then cat "{CAPTURES}/05-ended-signal11.qacct-j.txt"; else echo "error: job id $2 not found" >&2; exit 1; fi\n')
        facts = await fake.queue.check()
        self.assertIn("qacct", " ".join(facts.problems))
        jobs = [JobDescriptor("sge", i, Phase.RUNNING, submitted_at=1795333494.0) for i in ("4", "5")]
        outcomes = await fake.queue.outcomes(jobs)
        self.assertEqual({i: (job.state, job.signal, job.source) for i, job in outcomes.jobs.items()}, {"4": ("FAILED", 11, "qacct")})
        self.assertTrue(outcomes.answered)
        older = [JobDescriptor("sge", "4", Phase.RUNNING, submitted_at=1795333999.0)]
        self.assertEqual(dict((await fake.queue.outcomes(older)).jobs), {}, "a record of an older submission")

    async def test_many_are_asked_about_in_turn(self) -> None:
        """``qacct`` reads the whole file each time: some jobs at a time, and no verdict before each was asked about."""
        fake = Recorded(self.mktemp())
        fake.common.rename(fake.directory / "elsewhere")
        await fake.queue.check()
        jobs = [JobDescriptor("sge", str(number), Phase.QUEUED, submitted_at=1795333494.0) for number in range(1, 31)]
        self.assertFalse((await fake.queue.outcomes(jobs)).answered)
        self.assertTrue((await fake.queue.outcomes(jobs)).answered)
        asked = [call.split()[-1] for call in fake.calls() if call.startswith("qacct")]
        self.assertEqual((len(asked), set(asked)), (40, {job.id for job in jobs}))

    async def test_two_hundred_megabytes(self) -> None:
        """An answer without end fails the query, and only that."""
        self.fake.write("qstat", "#!/bin/sh\nexec cat /dev/zero\n")
        error = await self.assertFailure(self.queue.snapshot(), QueueError)
        self.assertIn("bytes", str(error))
