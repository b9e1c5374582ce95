"""PBS's accounting log."""

from __future__ import annotations

import os
import time
from pathlib import Path

import attrs
from twisted.trial.unittest import SynchronousTestCase

from jobpush.core.model import Confidence, JobDescriptor, Outcome, PastAttempt, Phase
from jobpush.core.tasks import TaskSet
from jobpush_adapters.pbs import accounting as pbs_accounting
from tests.adapters.pbs.captures import CAPTURES, told
from tests.support import NOW


class LogCase(SynchronousTestCase):
    """A directory of daily files."""

    def setUp(self) -> None:
        self.directory = Path(self.mktemp())
        self.directory.mkdir()

    def write(self, day: str, *lines: str) -> None:
        with open(self.directory / day, "ab") as file:
            file.write("".join(f"{line}\n" for line in lines).encode("utf-8", "surrogateescape"))

    def find(self, *ids: str, since: float = NOW, now: float = NOW) -> pbs_accounting.Found:
        return pbs_accounting.find(str(self.directory), set(ids), since, now)


def line(kind: str, job_id: str, text: str = "") -> str:
    """A line of the log."""
    return f"11/22/2026 06:00:00;{kind};{job_id};{text}"


class LogTests(LogCase):
    """The accounting log of a server without history."""

    def test_recorded(self) -> None:
        """Ends and deletions, of the submission that is meant."""
        (self.directory / "20261122").write_bytes((CAPTURES / "log.accounting.by-record-type").read_bytes())
        self.assertTrue(pbs_accounting.readable(str(self.directory)))
        self.assertFalse(pbs_accounting.readable("/nonexistent"))
        since = 1795329600.0
        ids = {"1.pbslab", "12.pbslab", "15.pbslab", "22.pbslab", "125.pbslab", "11433.pbslab", "99.pbslab"}
        jobs = self.find(*ids, since=since, now=since + 3600).jobs
        self.assertEqual(jobs.keys(), ids - {"99.pbslab"})
        job = JobDescriptor("pbs", "1.pbslab", Phase.RUNNING, submitted_at=1795329614.0)
        entry = pbs_accounting.of_job(job, jobs["1.pbslab"])
        assert entry is not None
        ended = pbs_accounting.ended(job, entry, NOW)
        assert ended is not None
        self.assertEqual((ended.state, ended.exit_code, ended.started_at, ended.ended_at), ("FAILED", 3, 1795329614.0, 1795329618.0))
        self.assertIsNone(pbs_accounting.of_job(attrs.evolve(job, submitted_at=1795320000.0), jobs["1.pbslab"]))
        for job_id, phase, expected in [
            ("15.pbslab", Phase.QUEUED, ("CANCELLED", None)), ("12.pbslab", Phase.RUNNING, None), ("22.pbslab", Phase.RUNNING, None),
            ("125.pbslab", Phase.QUEUED, ("CANCELLED", "DEPENDENCY")), ("11433.pbslab", Phase.QUEUED, ("MOVED", None)),
        ]:  # fmt: skip
            found = pbs_accounting.ended(JobDescriptor("pbs", job_id, phase), jobs[job_id][-1], NOW)
            self.assertEqual(found and (found.state, found.reason_code and found.reason_code.value), expected, job_id)

    def test_days(self) -> None:
        """From the day before the time that is asked for to the day after now, at most four hundred back; other files are passed over."""
        for day in ("20261119", "20261120", "20261121", "20261122", "20261123", "20261124", "x", "20261122.old"):
            self.write(day, line("E", "1", f"user={day}"), line("E", day, "x=1"))
        every = [path.name for path in self.directory.iterdir()]
        self.assertEqual(sorted(self.find(*every).jobs), ["20261121", "20261122", "20261123"])
        self.assertEqual(sorted(self.find(*every, since=NOW - 86400).jobs), ["20261120", "20261121", "20261122", "20261123"])
        self.assertEqual([entry.fields for entry in self.find("1", since=NOW - 86400).jobs["1"]], [{"user": "20261123"}], "the last counts")
        first, before = (time.strftime("%Y%m%d", time.gmtime(NOW - days * 86400)) for days in (401, 402))
        for day in (first, before):
            self.write(day, line("E", day, "x=1"))
        self.assertEqual(sorted(self.find(first, before, since=0.0).jobs), [first])

    def test_how_far(self) -> None:
        """From its first file to the end of its last whole line."""
        self.assertEqual((self.find("1").oldest, self.find("1").until), ("", ("", 0)))
        self.write("20261122", line("L", "license"))
        found = self.find("1")
        self.assertEqual((found.oldest, found.until), ("20261122", ("20261122", len(line("L", "license")) + 1)))
        with open(self.directory / "20261122", "a", encoding="ascii") as file:
            file.write(line("E", "1", "Exit_status=0"))
        self.assertEqual((self.find("1").until, self.find("1").jobs), (found.until, {}), "that line is being written")
        for at, now, reaches in [(NOW, NOW, True), (NOW - 86400, NOW, False), (NOW + 86400, NOW + 86400, True), (NOW, NOW + 400 * 86400, False)]:
            self.assertEqual(found.reaches_back_to(at, now), reaches, (at, now))
        self.assertFalse(pbs_accounting.Found({}).reaches_back_to(NOW, NOW))

    def test_submissions(self) -> None:
        """What an id had under another time of submission is another entry; a record that does not say is of the last one."""
        Logged = pbs_accounting.LoggedJob
        self.write(
            "20261122", line("Q", "1", "user=kim ctime=1"), line("S", "1", "user=kim ctime=1 start=2"), line("z", "1", "resources_used.cput=1"),
            line("D", "1", "requestor=kim@h"), line("E", "1", "user=kim ctime=1 Exit_status=271"), line("Q", "1", "user=robin ctime=9"), line("D", "1", "requestor=robin@h"),
            line("S", "2", "user=kim ctime=1"), line("R", "2", "user=kim ctime=1 Exit_status=-11"), line("S", "3", "user=kim ctime=1"), line("D", "3", "requestor=kim@h"),
            line("r", "4"), line("A", "5", "Job deleted as result of dependency on job 4.s"), line("M", "6", "destination=q@s"), line("L", "7"), line("K", "8", "x"),
            line("E", "9", "account=a b Exit_status=9 odd user=kim\udcff Exit_status=1"), line("E", "10", "user=kim account=x user=root Exit_status=1"), "", "x",
        )  # fmt: skip
        kim = {"user": "kim", "ctime": "1"}
        self.assertEqual(self.find(*map(str, range(1, 11))).jobs, {
            "1": [Logged({**kim, "start": "2", "Exit_status": "271"}, "E", True, True), Logged({"user": "robin", "ctime": "9"}, "D", False, True)],
            "2": [Logged({**kim, "Exit_status": "-11"}, put_back={**kim, "Exit_status": "-11"})], "3": [Logged(kim, "", True, True)], "4": [Logged(started=True)],
            "5": [Logged(end="A", text="Job deleted as result of dependency on job 4.s")], "6": [Logged(end="M", text="destination=q@s")],
            "9": [Logged({"account": "a", "b": "", "Exit_status": "1", "odd": "", "user": "kim\ufffd"}, "E")],
            "10": [Logged({"user": "kim", "account": "x", "Exit_status": "1"}, "E")],
        })  # fmt: skip

    def test_put_back(self) -> None:
        """How the attempt before ended, by the record that the job was put back; not by that of an older one."""
        (self.directory / "20261122").write_bytes((CAPTURES / "log.accounting.by-record-type").read_bytes())
        since = 1795329600.0
        for job_id, submitted, expected in (
            ("22.pbslab", 1795329746.0, PastAttempt(0, None, None, None, None, 1795329746.0, 1795329890.0)),
            ("11423[1].pbslab", 1795332443.0, PastAttempt(0, Outcome.NODE_FAIL, None, None, None, 1795332443.0, 1795332658.0)),
            ("1.pbslab", 1795329614.0, None),
        ):
            job = JobDescriptor("pbs", job_id, Phase.QUEUED, submitted_at=submitted, attempt=1)
            entry = pbs_accounting.of_job(job, self.find(job_id, since=since, now=since + 3600).jobs[job_id])
            assert entry is not None
            self.assertEqual(pbs_accounting.past_attempt(job, entry), expected, job_id)
            self.assertIsNone(pbs_accounting.past_attempt(attrs.evolve(job, attempt=2), entry), "its record is not there yet")
        older = pbs_accounting.LoggedJob(put_back={"start": "5"})
        self.assertEqual(pbs_accounting.past_attempt(attrs.evolve(job, attempt=3), older), PastAttempt(2, started_at=5.0))

    def test_every_field(self) -> None:
        """What a record makes of the job as it was last seen, whole."""
        seen = JobDescriptor("pbs", "1.s", Phase.RUNNING, name="n", submitted_at=100.9, started_at=150.0, nodes="n0", flags=("x",), reason="r",
                             pending_tasks=TaskSet.of([1]), native={"state": "R"})  # fmt: skip
        fields = {"ctime": "100", "start": "200", "end": "300", "exec_host": "n1/0+n2/1*4", "Exit_status": "271"}
        job = pbs_accounting.ended(seen, pbs_accounting.LoggedJob(fields, "E"), 400.0)
        assert job is not None
        expected = attrs.evolve(
            seen, phase=Phase.DONE, outcome=Outcome.FAILED, settled=True, signal=15, native={"exit_status": "271"}, started_at=200.0, ended_at=300.0,
            nodes="n1,n2", flags=(), reason=None, confidence=Confidence.ACCOUNTING, pending_tasks=None, observed_at=400.0, source="accounting",
        )  # fmt: skip
        self.assertEqual(attrs.asdict(job), attrs.asdict(expected))
        deleted = pbs_accounting.ended(attrs.evolve(seen, phase=Phase.QUEUED, started_at=None), pbs_accounting.LoggedJob(end="D", deleted=True), 400.0)
        assert deleted is not None
        self.assertEqual(attrs.asdict(deleted), attrs.asdict(attrs.evolve(
            expected, outcome=Outcome.CANCELLED, signal=None, native={"record": "D"}, started_at=None, ended_at=None, nodes="n0",
        )))  # fmt: skip

    def test_ends(self) -> None:
        """By the type of the record that ended it; one that was deleted while it ran ends with an E; a subjob that did not run has its array's."""
        Logged = pbs_accounting.LoggedJob
        for job_id, phase, entry, expected in [
            ("1.s", Phase.RUNNING, Logged({"Exit_status": "0"}, "E"), "COMPLETED 0"), ("1.s", Phase.RUNNING, Logged({"Exit_status": "0"}), None),
            ("1.s", Phase.RUNNING, Logged({}, "E"), None), ("1.s", Phase.RUNNING, Logged({"Exit_status": "x"}, "E"), None),
            ("1.s", Phase.RUNNING, Logged({"Exit_status": "-3"}, "E", deleted=True), "CANCELLED"), ("1.s", Phase.RUNNING, Logged({"Exit_status": "-3"}, "E"), "LAUNCH_FAIL ERROR"),
            ("1.s", Phase.RUNNING, Logged({"Exit_status": "-4"}, "E", deleted=True), "NODE_FAIL"), ("1.s", Phase.RUNNING, Logged({"Exit_status": "271"}, "E", True, True), "CANCELLED signal 15"),
            ("1.s", Phase.QUEUED, Logged(end="D", deleted=True), "CANCELLED"), ("1.s", Phase.HELD, Logged(end="D", deleted=True), "CANCELLED"),
            *[("1.s", phase, Logged(end="D", deleted=True), None) for phase in (Phase.STARTING, Phase.RUNNING, Phase.SUSPENDED, Phase.FINISHING)],
            ("1.s", Phase.QUEUED, Logged(end="A", text="Job deleted as result of dependency on job 4.s"), "CANCELLED DEPENDENCY"),
            ("1.s", Phase.QUEUED, Logged(end="A", text="no"), "CANCELLED"), ("1.s", Phase.RUNNING, Logged(end="A", text="no", started=True), "FAILED"),
            ("1.s", Phase.QUEUED, Logged(end="M"), "MOVED"), ("1[2].s", Phase.QUEUED, Logged({"Exit_status": "0"}, "E"), "CANCELLED"),
            ("1[2].s", Phase.RUNNING, Logged({"Exit_status": "0", "exec_host": "n/0"}, "E"), "COMPLETED 0"),
        ]:  # fmt: skip
            found = pbs_accounting.ended(JobDescriptor("pbs", job_id, phase), entry, NOW)
            self.assertEqual(found and told(found), expected, (job_id, phase, entry))

    def test_whose(self) -> None:
        """Of the same user and time of submission, as far as both are known; of several the last."""
        Logged = pbs_accounting.LoggedJob
        job = JobDescriptor("pbs", "1.s", Phase.RUNNING, submitted_at=100.0, user="kim")
        for seen, fields, same in [
            (job, {"ctime": "101"}, False), (job, {"ctime": "100"}, True), (job, {}, True), (attrs.evolve(job, submitted_at=None), {"ctime": "101"}, True),
            (job, {"user": "kim"}, True), (job, {"user": "robin", "ctime": "100"}, False),
        ]:  # fmt: skip
            self.assertEqual(pbs_accounting.of_job(seen, [Logged(fields)]) is not None, same, fields)
        first, last = Logged({"ctime": "100"}, "D"), Logged({"ctime": "100"}, "E")
        self.assertIs(pbs_accounting.of_job(job, [first, last, Logged({"ctime": "200"})]), last)
        self.assertIsNone(pbs_accounting.of_job(job, []))

    def test_described(self) -> None:
        """A job that nothing else tells of, if the log says whose it is."""
        fields = {"user": "kim", "jobname": "n", "queue": "q", "account": "a", "ctime": "100", "start": "200", "end": "300", "exec_host": "n1/0", "run_count": "2",
                  "Resource_List.walltime": "00:10:00", "Exit_status": "3"}  # fmt: skip
        job = pbs_accounting.described("c", "1.s", pbs_accounting.LoggedJob(fields, "E"), NOW)
        assert job is not None
        self.assertEqual(attrs.asdict(job), attrs.asdict(JobDescriptor(
            "c", "1.s", Phase.DONE, aliases=("1",), name="n", user="kim", account="a", outcome=Outcome.FAILED, settled=True, attempt=1, exit_code=3,
            native={"exit_status": "3"}, submitted_at=100.0, started_at=200.0, ended_at=300.0, queue="q", nodes="n1", time_limit_s=600, observed_at=NOW,
            source="accounting", confidence=Confidence.ACCOUNTING,
        )))  # fmt: skip
        unknown = pbs_accounting.described("c", "1.s", pbs_accounting.LoggedJob(fields, started=True), NOW)
        self.assertEqual(unknown and (unknown.state, unknown.settled, unknown.confidence), ("UNKNOWN", False, Confidence.ACCOUNTING))
        for name in ("user", "ctime"):
            less = {key: value for key, value in fields.items() if key != name}
            self.assertIsNone(pbs_accounting.described("c", "1.s", pbs_accounting.LoggedJob(less, "E"), NOW))

    def test_follow(self) -> None:
        """What ends from now on, with what the log had on it before; over midnight; a deletion of one that runs is kept for its end."""
        Logged = pbs_accounting.LoggedJob
        self.write("20261122", line("E", "1", "Exit_status=0"))
        log = pbs_accounting.AccountingLog(str(self.directory))
        self.assertEqual(log.ended(), [])
        self.write("20261122", line("Q", "2", "user=kim ctime=1"), line("D", "3", "requestor=kim@h"), line("S", "4", "user=kim ctime=2"))
        self.assertEqual(log.ended(), [("3", Logged(end="D", deleted=True))])
        self.write("20261122", line("D", "2", "requestor=kim@h"), line("E", "3", "Exit_status=271"))
        self.write("20261123", line("D", "4", "requestor=kim@h"), line("E", "4", "user=kim ctime=2 Exit_status=271"))
        self.assertEqual(log.ended(), [
            ("2", Logged({"user": "kim", "ctime": "1"}, "D", False, True)), ("3", Logged({"Exit_status": "271"}, "E", False, True)),
            ("4", Logged({"user": "kim", "ctime": "2", "Exit_status": "271"}, "E", True, True)),
        ])  # fmt: skip
        self.write("20261123", line("E", "4", "user=kim ctime=3 Exit_status=0"))
        self.assertEqual(log.ended(), [("4", Logged({"user": "kim", "ctime": "3", "Exit_status": "0"}, "E"))])
        self.assertEqual(log.ended(), [])
        self.patch(pbs_accounting, "MOST_FOLLOWED", 1)
        self.write("20261123", line("S", "5", "ctime=1"), line("S", "6", "ctime=1"))
        log.ended()
        self.write("20261123", line("E", "5", "Exit_status=0"), line("E", "6", "Exit_status=0"))
        self.assertEqual([entry.started for _, entry in log.ended()], [False, True])

    def test_follow_from_nothing(self) -> None:
        """A log that has no file yet is read from its first line on."""
        log = pbs_accounting.AccountingLog(str(self.directory))
        self.assertEqual(log.ended(), [])
        self.write("20261122", line("E", "1", "Exit_status=0"))
        self.assertEqual([job_id for job_id, _ in log.ended()], ["1"])

    def test_readable(self) -> None:
        """Its newest file may be read; one may come."""
        self.assertTrue(pbs_accounting.readable(str(self.directory)))
        for day in ("20261121", "20261122", "x"):
            self.write(day)
        unreadable = [str(self.directory / "20261121"), str(self.directory / "x")]
        self.patch(os, "access", lambda path, mode: path not in unreadable and mode == os.R_OK)
        self.assertTrue(pbs_accounting.readable(str(self.directory)))
        unreadable.append(str(self.directory / "20261122"))
        self.assertFalse(pbs_accounting.readable(str(self.directory)))
