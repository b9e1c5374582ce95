"""Accounting records joined with what the queue lists."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from jobpush.core.model import JobDescriptor, Phase
from jobpush_adapters.sge.ended import DELETION_WAIT_S, REMEMBER_S, EndedJobs
from tests import descriptors
from tests.adapters.sge.captures import CAPTURES, deletion, line
from tests.support import NOW


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
        self.assertEqual({job_id: records[0].exit_status for job_id, (records, _) in told.items()}, {"1": 1, "1234": 2, "3000": 4})
        older = JobDescriptor("sge", "5000", Phase.RUNNING, submitted_at=100.0)
        self.assertEqual(set(ended.look_back([older], 0.0)), {"5000"})
