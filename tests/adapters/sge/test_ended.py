"""Accounting records joined with what the queue lists."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from jobpush.core.model import JobDescriptor, Outcome, Phase, ReasonCode
from jobpush_adapters.common import logs
from jobpush_adapters.sge import ended, submissions
from jobpush_adapters.sge.ended import EndedJobs
from tests import descriptors
from tests.adapters.sge.captures import CAPTURES, accounting_record, deletion, line, slave
from tests.support import NOW

#: Seconds for which ended jobs are told, for which a record waits for a deletion, and by which clocks may differ.
REMEMBER_S, DELETION_WAIT_S, SKEW_S = 300, 30, 120


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

    def job(self, done: bool = False, **fields: object) -> JobDescriptor:
        phase = Phase.DONE if done else Phase.RUNNING
        return JobDescriptor("sge", "7", phase, submitted_at=100.0, workdir="/w", **fields)  # type: ignore[arg-type]

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

    def test_the_letter_alone_proves_nothing(self) -> None:
        """The letter d was seen: its own teardown sets it too. Where nobody can say who deleted it, the flag says what was seen."""
        seen = (self.job(flags=("deleting",)),)
        self.append(self.accounting, line(7, 100, 137))
        self.append(self.reporting, self.finished(7))
        job = self.look(seen=seen)["7"]
        self.assertEqual((job.state, job.signal, job.flags), ("FAILED", 9, ()))
        alone = EndedJobs("sge", str(self.accounting), None)
        alone.take(alone.read(self.now), self.now)
        (job,) = alone.ended(set(), lambda job_id: False, {"7": seen[0]}, self.now).values()
        self.assertEqual((job.state, job.signal, job.flags), ("FAILED", 9, ("deleting",)))

    def test_deletion_that_the_job_caught(self) -> None:
        """It keeps its exit status; where the letter d was seen the line of the deletion is waited for."""
        self.append(self.accounting, line(7, 0, 3))
        self.assertEqual(self.look(seen=(self.job(flags=("deleting",)),)), {})
        self.append(self.reporting, deletion(7, "r"))
        job = self.look(seen=(self.job(flags=("deleting",)),))["7"]
        self.assertEqual((job.state, job.exit_code, job.flags), ("FAILED", 3, ("deleted",)))

    def test_forced_deletion(self) -> None:
        """The qmaster's own record says 0 / 0; the job was killed."""
        self.append(self.accounting, line(7, 0, 0))
        self.append(self.reporting, deletion(7, "r"), deletion(7, "r", by="scheduler", text="job deleted by forced deletion request"))
        job = self.look(seen=(self.job(),))["7"]
        self.assertEqual((job.state, job.exit_code), ("CANCELLED", None))

    def test_slaves(self) -> None:
        """Only the record of the whole parallel job ends it, whatever its slaves say, and when."""
        self.append(self.accounting, slave(line(7, 100, 129)))
        self.assertEqual(self.look(seen=(self.job(),)), {})
        self.append(self.accounting, slave(line(7, 0, 0)), slave(line(7, 0, 5), "NONE"), slave(line(7, 0, 0, submitted=105), "3.vm"))
        job = self.look(seen=(self.job(),))["7"]
        self.assertEqual((job.state, job.exit_code, job.attempt), ("FAILED", 5, 0))

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
        self.assertEqual(self.look(seen=(self.job(),)), {}, "nothing is told of another job by that number")
        self.append(self.accounting, line(7, 0, 6))
        self.assertEqual(self.look(seen=(self.job(),))["7"].exit_code, 6)

    def test_ids_reset(self) -> None:
        """The first job by a number ended a moment ago; the second has left the queue, and its record is late."""
        self.append(self.accounting, line(7, 0, 0))
        self.assertEqual(self.look()["7"].state, "COMPLETED")
        second = JobDescriptor("sge", "7", Phase.RUNNING, submitted_at=200.0, user="kim")
        self.assertEqual(self.look(listed=("7",), seen=(second,)), {})
        self.assertEqual(self.look(seen=(second,)), {})
        self.append(self.accounting, line(7, 0, 4, submitted=200))
        job = self.look(seen=(second,))["7"]
        self.assertEqual((job.exit_code, job.submitted_at, job.attempt), (4, 200.0, 0))

    def test_rescheduled_before_it_was_followed(self) -> None:
        """The record of the attempt before is older than what is read at first: the job has its first time of submission."""
        old = line(7, 25, 99, submitted=100).replace(b":%d:" % NOW, b":%d:" % 5000)
        for before, submitted in ((old, 100.0), (old.replace(b":100:101:5000:", b":0:0:0:"), None)):
            self.accounting.write_bytes(line(5, submitted=1).replace(b":%d:" % NOW, b":%d:" % 90) + b"\n" + before + b"\n" + line(7, 0, 3, submitted=5000) + b"\n")
            begun = EndedJobs("sge", str(self.accounting), str(self.reporting))
            begun.take(begun.read(NOW), NOW)
            job = begun.ended(set(), lambda job_id: False, {}, NOW)["7"]
            self.assertEqual((job.exit_code, job.submitted_at, job.attempt), (3, submitted, 1))

    def test_resubmission_kept_with_the_job(self) -> None:
        """The time of submission that a rescheduled job has now proves its record, though the attempt before is forgotten."""
        records = [accounting_record(line(7, 0, 3, submitted=200))]
        first = self.job(attempt=1)
        self.assertEqual(submissions.of_submission(first, records), [])
        again = self.job(attempt=1, native={"state": "Rr", "submission_time": "200"})
        self.assertEqual(submissions.of_submission(again, records), records)

    def test_tasks_after_a_reschedule(self) -> None:
        """When one task of an array is rescheduled, those that start later have the new time of submission too."""
        records = [accounting_record(one) for one in (line(8, 25, 99, task=1).replace(b":%d:" % NOW, b":200:"), line(8, 0, 3, submitted=200, task=2))]
        task = JobDescriptor("sge", "8.2", Phase.RUNNING, submitted_at=100.0, parent="8", task_index=2)
        self.assertEqual(submissions.of_submission(task, records), records[1:])
        self.assertEqual(submissions.of_submission(task, records[1:]), [])

    def test_another_user(self) -> None:
        """Of the same number and time, but somebody else's: none of it."""
        other = self.job(user="lee")
        self.assertEqual(submissions.of_submission(other, [accounting_record(line(7))]), [])

    def test_reporting_file_alone(self) -> None:
        """Its acct lines are accounting records too, told once."""
        self.append(self.reporting, b"%d:acct:" % NOW + line(7, 0, 5))
        self.assertEqual(self.look(seen=(self.job(),))["7"].exit_code, 5)
        self.append(self.accounting, line(7, 0, 5))
        self.assertEqual(self.look(seen=(self.job(),))["7"].attempt, 0)

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

    def test_how_long_it_is_told(self) -> None:
        """Until its last line is five minutes old; and the wait begins anew while the queue lists it."""
        self.append(self.accounting, line(7))
        self.look(listed=("7",))
        self.now += 200
        self.assertEqual(self.look(listed=("7",)), {})
        self.now += REMEMBER_S
        self.assertEqual(list(self.look()), ["7"])
        self.now += 0.5
        self.assertEqual(list(self.look()), ["7"], "the last time")
        self.assertEqual(self.look(), {})

    def test_waiting_tasks(self) -> None:
        """A task is listed where the pending range of its array has it."""
        self.append(self.accounting, line(8, task=3), line(8, task=4))
        self.ended.take(self.ended.read(self.now), self.now)
        self.assertEqual(list(self.ended.ended(set(), lambda job_id: job_id == "8.3", {}, self.now)), ["8.4"])

    def test_listed_again(self) -> None:
        """It is judged anew when it is gone again: by then it may have been seen."""
        self.append(self.accounting, line(7))
        self.assertIsNone(self.look()["7"].workdir)
        self.assertEqual(self.look(listed=("7",)), {})
        self.assertEqual(self.look(seen=(self.job(),))["7"].workdir, "/w")

    def test_wait_for_the_deletion(self) -> None:
        """As long as it may come, where the record could be of one: not longer, not if it is told to be finished, not without a reporting file."""
        for failed, finished, waits in ((100, False, True), (37, False, False), (0, False, False), (100, True, False), (1, False, True)):
            with self.subTest(failed=failed, finished=finished):
                self.setUp()
                self.append(self.accounting, line(7, failed, 137))
                if finished:
                    self.append(self.reporting, self.finished(7))
                self.assertEqual(list(self.look()), [] if waits else ["7"])
                self.now += DELETION_WAIT_S - 0.5
                self.assertEqual(list(self.look()), [] if waits else ["7"])
                self.now += 0.5
                self.assertEqual(list(self.look()), ["7"])
        alone = EndedJobs("sge", str(self.accounting), None)
        alone.take(alone.read(self.now), self.now)
        self.append(self.accounting, line(8, 100, 137))
        alone.take(alone.read(self.now), self.now)
        self.assertIn("8", alone.ended(set(), lambda job_id: False, {}, self.now))

    def finished(self, number: int) -> bytes:
        """A line of the reporting file."""
        return deletion(number).replace(b":deleted:", b":finished:")

    def test_finished_of_others(self) -> None:
        """Jobs of which nothing else is told are not told for it."""
        self.append(self.accounting, line(7, 100, 137))
        self.append(self.reporting, self.finished(8))
        self.assertEqual(self.look(), {})

    def test_out_of_the_error_state(self) -> None:
        """What is finished then was an attempt: whether a person deleted it must be waited for. That attempt's start was told."""
        held = self.job(reason_code=ReasonCode.ERROR)
        self.append(self.accounting, line(7, 100, 137))
        self.append(self.reporting, self.finished(7))
        self.assertEqual(self.look(seen=(held,)), {})
        self.append(self.reporting, deletion(7, "r"))
        job = self.look(seen=(held,))["7"]
        self.assertEqual((job.state, job.started_at), ("CANCELLED", None))
        self.append(self.accounting, line(8, 100, 137))
        self.append(self.reporting, deletion(8, "r"))
        other = JobDescriptor("sge", "8", Phase.RUNNING, submitted_at=100.0, reason_code=ReasonCode.OTHER)
        self.assertEqual(self.look(seen=(other,))["8"].started_at, 101.0)

    def test_rescheduled_and_deleted(self) -> None:
        """While it waited again: its records say that it goes on, the reporting file that it does not."""
        self.append(self.accounting, line(7, 25, 99))
        self.append(self.reporting, deletion(7))
        job = self.look(seen=(self.job(attempt=1),))["7"]
        self.assertEqual((job.state, job.attempt, job.started_at, job.ended_at, job.source), ("CANCELLED", 1, None, NOW, "reporting"))

    def test_of_which_submission(self) -> None:
        """An older record that comes late is none of it; one that does not know may be. What is done already is not what was seen."""
        self.append(self.accounting, line(7, status=1, submitted=200), line(7, status=2, submitted=150), line(7, 25, 99, submitted=200))
        self.assertEqual(self.look(), {}, "the last one: it goes on")
        self.append(self.accounting, line(7, status=3, submitted=0))
        self.assertEqual((self.look()["7"].exit_code, self.look()["7"].attempt, self.look()["7"].submitted_at), (3, 1, 200.0))
        job = self.look(listed=("7",)) or self.look(seen=(self.job(done=True, outcome=Outcome.FAILED),))["7"]
        self.assertIsNone(job.workdir)
        self.append(self.reporting, deletion(9, submitted=99))
        seen = JobDescriptor("sge", "9", Phase.QUEUED, submitted_at=100.0, workdir="/w")
        self.assertNotIn("9", self.look(seen=(seen,)), "that deletion was of another job")

    def test_most(self) -> None:
        """No more jobs are remembered than a bound: the oldest go first."""
        self.patch(ended, "MOST", 3)
        self.append(self.accounting, *(line(number) for number in range(1, 4)))
        self.assertEqual(list(self.look()), ["1", "2", "3"])
        self.append(self.accounting, line(4), line(5))
        self.assertEqual(list(self.look()), ["3", "4", "5"])

    def test_first_look(self) -> None:
        """It begins with the last five minutes of both files, and takes what it finds there for finished."""
        now = NOW + REMEMBER_S
        old, new = line(1, 100, 137).replace(b":%d:" % NOW, b":%d:" % (NOW - 1)), line(2, 100, 137)
        self.accounting.write_bytes(old + b"\n" + new + b"\n")
        self.reporting.write_bytes(deletion(3).replace(b"%d" % NOW, b"%d" % (NOW - 1)) + b"\n" + deletion(4) + b"\n")
        for reporting, expected in ((str(self.reporting), ["2", "4"]), (None, ["2"])):
            begun = EndedJobs("sge", str(self.accounting), reporting)
            begun.take(begun.read(now), now)
            self.assertEqual(list(begun.ended(set(), lambda job_id: False, {}, now)), expected)
            self.assertEqual(begun.read(now), ended.Found([], [], [], [], {}))

    def test_clock_that_is_set(self) -> None:
        """What has ended is listed for five minutes that have passed."""
        begun = EndedJobs("sge", str(self.accounting), None)
        begun.take(begun.read(NOW), 10.0)
        self.append(self.accounting, line(1))
        begun.take(begun.read(NOW - 3600), 20.0)
        self.assertEqual(list(begun.ended(set(), lambda job_id: False, {}, NOW - 3600)), ["1"])
        for passed, expected in ((REMEMBER_S, ["1"]), (REMEMBER_S + 0.5, ["1"]), (REMEMBER_S + 1.0, [])):
            begun.take(begun.read(NOW + 3600), 20.0 + passed)
            self.assertEqual(list(begun.ended(set(), lambda job_id: False, {}, NOW + 3600)), expected)

    def test_looking_back_for_deletions(self) -> None:
        """Of the job itself, or of the array whose tasks waited; none of a job that had the id before, none that is too old."""
        self.reporting.write_bytes(b"\n".join((
            deletion(6, submitted=99), deletion(7, "r"), deletion(8).replace(b":8:0:", b":8:3:"), deletion(9), deletion(10, submitted=0),
        )) + b"\n")  # fmt: skip
        self.accounting.write_bytes(line(7, 100, 137) + b"\n" + line(7, 25, 99) + b"\n" + line(6, submitted=99) + b"\n" + line(10, submitted=0) + b"\n")
        begun = EndedJobs("sge", str(self.accounting), str(self.reporting))
        begun.read(NOW)
        jobs = [JobDescriptor("sge", job_id, Phase.QUEUED, submitted_at=100.5) for job_id in ("6", "7", "8", "8.3", "8.4", "10", "11")]
        told = {job_id: one for job_id, one in begun.look_back(jobs, NOW + SKEW_S).items() if one.records or one.deletion}
        self.assertEqual({job_id: ([record.failed for record in one.records], one.deletion is not None) for job_id, one in told.items()},
                         {"7": ([100, 25], True), "8": ([], True), "8.3": ([], True), "10": ([0], True)})  # fmt: skip
        alone = EndedJobs("sge", str(self.accounting), None)
        alone.read(NOW)
        self.assertEqual({job_id for job_id, one in alone.look_back(jobs, 0.0).items() if one.records}, {"7", "10"})
        self.assertEqual({one.deletion for one in alone.look_back(jobs, 0.0).values()}, {None})

    def test_how_far_it_looks_back(self) -> None:
        """Until a line is older than the jobs that are asked about, by more than clocks may differ."""
        records, deletions = [], []
        for number in range(1, 8):
            records.append(line(number).replace(b":%d:" % NOW, b":%d:" % (NOW + number)) + b"\n")
            deletions.append(deletion(number + 10).replace(b"%d" % NOW, b"%d" % (NOW + number)) + b"\n")
        records.insert(4, line(9).replace(b":%d:" % NOW, b":0:") + b"\n")
        self.accounting.write_bytes(b"".join(records))
        self.reporting.write_bytes(b"".join(deletions))
        self.patch(logs, "BLOCK", 1)
        begun = EndedJobs("sge", str(self.accounting), str(self.reporting))
        begun.read(NOW + 10 * REMEMBER_S)
        jobs = [JobDescriptor("sge", str(number), Phase.QUEUED, submitted_at=100.0) for number in range(1, 20)]
        told = begun.look_back(jobs, NOW + SKEW_S + 4)
        self.assertEqual(sorted(int(job_id) for job_id, one in told.items() if one.records or one.deletion), [3, 4, 5, 6, 7, 9, 13, 14, 15, 16, 17])

    def test_what_was_deleted_says_more(self) -> None:
        """A deletion of a running job is no end of it before its record comes; the record is then one of a deletion, whatever its signal."""
        self.append(self.reporting, deletion(7, "r"))
        self.assertEqual(self.look(seen=(self.job(),)), {})
        self.append(self.accounting, line(7, 100, 137))
        job = self.look(seen=(self.job(),))["7"]
        self.assertEqual((job.state, job.source), ("CANCELLED", "accounting"))

    def test_every_record(self) -> None:
        """Each field of each job that a recorded run has left in the two files, though nobody saw one of them in the queue."""
        self.accounting.write_bytes((CAPTURES / "80-accounting.txt").read_bytes())
        self.reporting.write_bytes((CAPTURES / "81-reporting.txt").read_bytes())
        self.now = 1795333600.0
        self.ended.take(self.ended.read(self.now), self.now)
        self.now += 60.0
        expected = {key: fields for key, fields in descriptors.expected("sge").items() if key[0] == "80-accounting.txt"}
        found = descriptors.shown("80-accounting.txt", self.look().values())
        self.assertEqual(descriptors.differences(expected, found), [])

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
        self.assertEqual({job_id: one.records[0].exit_status for job_id, one in told.items() if one.records}, {"1": 1, "1234": 2, "3000": 4})
        older = JobDescriptor("sge", "5000", Phase.RUNNING, submitted_at=100.0)
        self.assertEqual(ended.look_back([older], 0.0)["5000"].records[0].exit_status, 4)

    def test_how_far_the_files_reach(self) -> None:
        """Under whatever name the file was moved to, and compressed: back to the oldest record of files without one unread between."""
        def at(number: int, when: int) -> bytes:
            return line(number, status=3).replace(b":%d:" % NOW, b":%d:" % when) + b"\n"

        parts = {"accounting-20261126": at(1, 3000) + at(2, 4000), "accounting.1.gz": gzip.compress(at(3, 1000) + at(4, 2000)), "accounting": b"# Version\n" + at(5, 5000)}
        for place, name in enumerate(("accounting.1.gz", "accounting-20261126", "accounting")):
            (self.directory / name).write_bytes(parts[name])
            os.utime(self.directory / name, (2000 + 1000 * place,) * 2)
        jobs = [JobDescriptor("sge", str(n), Phase.RUNNING, submitted_at=100.0, observed_at=seen) for n, seen in ((3, 900.0), (1, 2500.0), (8, 1000.0), (9, 999.0))]
        told = EndedJobs("sge", str(self.accounting), None).look_back(jobs, 900.0)
        self.assertEqual({job_id: (len(one.records), one.reached) for job_id, one in told.items()}, {"3": (1, False), "1": (1, True), "8": (0, True), "9": (0, False)})
        (self.directory / "accounting-20261126").rename(self.directory / "accounting-20261126.zst")
        (self.directory / "accounting-20261126.zst").write_bytes(b"\x28\xb5\x2f\xfd no lines")
        os.utime(self.directory / "accounting-20261126.zst", (3000, 3000))
        told = EndedJobs("sge", str(self.accounting), None).look_back(jobs, 900.0)
        self.assertEqual({job_id: (len(one.records), one.reached) for job_id, one in told.items()}, {"3": (1, False), "1": (0, False), "8": (0, False), "9": (0, False)})

    def test_caught_up(self) -> None:
        """By a later record, or because the time is over after which each record is written."""
        self.ended.flush_s = 15.0
        self.assertEqual([self.ended.caught_up(NOW - gone, gone) for gone in (20, 20.5)], [False, True])
        self.assertFalse(self.ended.caught_up(NOW - 5, 5))
        self.append(self.accounting, slave(line(1)))
        self.look()
        self.assertEqual([self.ended.caught_up(NOW - gone, gone) for gone in (1, 5)], [False, True])

    def test_followed(self) -> None:
        """Since before a job was seen last, unless the file was cut or lost meanwhile."""
        job = self.job(observed_at=NOW)
        self.assertTrue(self.ended.followed(job))
        self.append(self.accounting, line(1))
        self.look()
        self.now += 5
        self.accounting.write_bytes(b"")
        self.look()
        self.assertEqual((self.ended.followed(job), self.ended.gaps), (False, 1))
