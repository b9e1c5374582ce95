"""The served table: what is known of each job, and the ways to find one."""

from __future__ import annotations

from typing import Any

import attrs
from twisted.trial.unittest import SynchronousTestCase

from jobpush.core.job_table import ClusterJobs, JobTable, pending_task
from jobpush.core.model import JobDescriptor, Snapshot
from jobpush.core.record import UNSEEN, JobRecord, Record, Sighting
from jobpush.core.tasks import TaskSet
from tests.core.world import job


def record(of: JobDescriptor, last_seq: int = 0, **seen: Any) -> JobRecord:
    """The record of a job that was seen like this."""
    return Record(of, Sighting(**seen) if seen else UNSEEN, last_seq=last_seq)


RANGE = job("7", "QUEUED", pending_tasks=TaskSet.parse("0-3"), aliases=("70",), counts={"QUEUED": 4}, name="sweep", uid="c/7@100")


class ClusterJobsTests(SynchronousTestCase):
    """`ClusterJobs`."""

    def setUp(self) -> None:
        self.jobs = ClusterJobs()

    def put(self, job_id: str, state: str, aliases: tuple[str, ...] = (), **fields: Any) -> None:
        self.jobs.put(record(job(job_id, state, aliases=aliases), **fields))

    def test_put(self) -> None:
        """What a record says decides among which jobs it counts; the next record of it decides anew."""
        self.put("1", "RUNNING")
        self.assertEqual((list(self.jobs.open), list(self.jobs.unsettled), list(self.jobs.ranges), len(self.jobs)), (["1"], [], [], 1))
        self.put("1", "RUNNING", absent_since=5.0)
        self.assertEqual((list(self.jobs.open), list(self.jobs.unsettled)), (["1"], ["1"]))
        self.put("1", "FAILED", unsettled_since=5.0)
        self.assertEqual((list(self.jobs.open), list(self.jobs.unsettled)), ([], ["1"]))
        self.put("1", "FAILED")
        self.assertEqual((list(self.jobs.open), list(self.jobs.unsettled)), ([], []))
        self.jobs.put(record(job("1", "FAILED", settled=False)))
        self.assertEqual(list(self.jobs.open), ["1"], "its end is not confirmed")
        self.assertEqual([each.job.id for each in self.jobs.live()], [])
        self.jobs.put(record(RANGE, range_row=RANGE))
        self.assertEqual((list(self.jobs.open), list(self.jobs.ranges)), (["1"], ["7"]), "a sum is none of those whose absence counts")
        self.jobs.put(record(RANGE))
        self.assertEqual(list(self.jobs.ranges), [])

    def test_live(self) -> None:
        """Those that have not ended."""
        self.put("1", "RUNNING")
        self.put("2", "COMPLETED")
        self.put("3", "QUEUED")
        self.assertEqual([each.job.id for each in self.jobs.live()], ["1", "3"])

    def test_aliases(self) -> None:
        """An alias leads to its job, unless another job has it as its own id; it goes with its job."""
        self.put("7_1", "RUNNING", aliases=("71",))
        self.assertEqual([self.jobs.canonical(text) for text in ("71", "7_1", "72")], ["7_1", "7_1", "72"])
        self.put("71", "QUEUED")
        self.assertEqual(self.jobs.canonical("71"), "71")
        self.jobs.forget("71")
        self.assertEqual(self.jobs.canonical("71"), "7_1")
        self.put("8_1", "RUNNING", aliases=("71",))
        self.jobs.forget("7_1")
        self.assertEqual(self.jobs.canonical("71"), "8_1", "it is another's by now")
        self.jobs.forget("8_1")
        self.assertEqual(self.jobs.canonical("71"), "71")

    def test_parts(self) -> None:
        """The tasks of an array that have a record, and only as long as they have."""
        for job_id in ("7_1", "7_2", "8_1"):
            self.put(job_id, "RUNNING")
        self.assertEqual(list(self.jobs.parts("7")), ["7_1", "7_2"])
        self.jobs.forget("7_1")
        self.assertEqual(list(self.jobs.parts("7")), ["7_2"])
        self.jobs.forget("7_2")
        self.assertEqual((list(self.jobs.parts("7")), list(self.jobs.parts("8"))), ([], ["8_1"]))

    def test_forget(self) -> None:
        """Nothing is left of a job; one that is not there is no error."""
        self.put("1", "RUNNING", absent_since=5.0, range_row=RANGE)
        self.put("7_1", "RUNNING")
        self.jobs.forget("1")
        self.jobs.forget("1")
        self.assertIsNone(self.jobs.get("1"))
        self.assertEqual((list(self.jobs.open), list(self.jobs.unsettled), list(self.jobs.ranges), list(self.jobs.records)), (["7_1"], [], [], ["7_1"]))

    def test_follows(self) -> None:
        """Only a snapshot that says what is different from the very one that was applied."""
        applied = {"1": job("1", "RUNNING")}
        told = Snapshot({}, 0.0, 0.0, base=applied, fresh=())
        self.assertFalse(self.jobs.follows(told))
        self.jobs.applied = applied
        self.assertTrue(self.jobs.follows(told))
        self.assertFalse(self.jobs.follows(attrs.evolve(told, fresh=None)))
        self.assertFalse(self.jobs.follows(attrs.evolve(told, base=dict(applied))))
        self.jobs.applied = None
        self.assertFalse(self.jobs.follows(attrs.evolve(told, base=None)))

    def test_from_a_journal(self) -> None:
        """What was kept is known again."""
        again = ClusterJobs({"1": record(job("1", "RUNNING", aliases=("99",)), absent_since=1.0)})
        self.assertEqual((again.canonical("99"), list(again.open), list(again.unsettled)), ("1", ["1"], ["1"]))


class ClockTests(SynchronousTestCase):
    """A clock that was set."""

    def test_was_set(self) -> None:
        """What time changes was so before, as long as before; nothing else is touched."""
        jobs = ClusterJobs()
        kept = record(job("1", "RUNNING"))
        for one in (kept, record(job("2", "RUNNING"), absent_since=50.0), record(job("3", "FAILED", settled=False), unsettled_since=60.0)):
            jobs.put(one)
        jobs.clock_was_set(-10.0)
        self.assertIs(jobs.records["1"], kept)
        seen = [(jobs.records[i].detail.absent_since, jobs.records[i].detail.unsettled_since) for i in ("2", "3")]
        self.assertEqual(seen, [(40.0, None), (None, 50.0)])

    def test_put_back(self) -> None:
        """So it is with when a job was put back into the queue, whose attempt before accounting is asked about for a while."""
        jobs = ClusterJobs()
        jobs.put(attrs.evolve(record(job("1", "QUEUED", attempt=1)), updated_at=70.0))
        jobs.clock_was_set(3600.0)
        self.assertEqual((list(jobs.put_back), jobs.records["1"].updated_at), (["1"], 3670.0))


class JobTableTests(SynchronousTestCase):
    """`JobTable`."""

    def setUp(self) -> None:
        self.table = JobTable()
        self.table.load({"c": {"7": record(RANGE, range_row=RANGE, last_seq=5), "7_9": record(job("7_9", "RUNNING", aliases=("79",)))}})

    def find(self, job_id: str, cluster: str = "c"):  # type: ignore[no-untyped-def]
        def task_of(text: str) -> tuple[str, int] | None:
            array, _, index = text.partition("_")
            return (array, int(index)) if index else None

        return self.table.find(cluster, job_id, task_of)

    def test_find(self) -> None:
        """By its id or an alias; a task that has no row yet, by its array's range, with the array's record."""
        for job_id in ("7_9", "79"):
            found, known = self.find(job_id)
            self.assertEqual((found.id, known.job is found), ("7_9", True))
        found, known = self.find("7_3")
        self.assertEqual((found.id, found.state, known.last_seq), ("7_3", "QUEUED", 5))
        self.assertEqual(self.find("70")[0].id, "7")
        for job_id in ("8", "7_4", "8_1", "7_9_1"):
            self.assertIsNone(self.find(job_id), job_id)
        self.assertIsNone(self.find("7", "another"))
        self.table.cluster("c").put(record(RANGE))
        self.assertIsNone(self.find("7_3"), "the array has no range any more")

    def test_clusters(self) -> None:
        """Each has jobs of its own; a new one has none."""
        self.assertEqual((len(self.table.cluster("c")), len(self.table.cluster("d"))), (2, 0))
        self.assertIs(self.table.cluster("d"), self.table.cluster("d"))

    def test_pending_task(self) -> None:
        """What the range says holds for each of its tasks, but for what names the range and counts it."""
        task = pending_task(RANGE, "7_2", 2)
        expected = attrs.evolve(RANGE, id="7_2", uid="c/7_2@100", aliases=(), parent="7", task_index=2, pending_tasks=None, counts=None)
        self.assertTrue(task.says_the_same(expected), task)


class MovedTests(SynchronousTestCase):
    """Finding what a job has become that was moved to another cluster."""

    def setUp(self) -> None:
        self.table = JobTable()
        self.job = self.put("c", "MOVED")

    def put(self, cluster: str, state: str, **fields: Any) -> JobDescriptor:
        of = attrs.evolve(job("1", state, **{"user": "kim", **fields}), cluster=cluster)
        self.table.cluster(cluster).put(record(of))
        return of

    def test_it_must_be_the_same_job_and_have_begun(self) -> None:
        """The same id and user, submitted at about the same time, begun, and not moved on itself."""
        self.assertIsNone(self.table.moved_to(self.job))
        for state, fields in (
            ("QUEUED", {}), ("MOVED", {}), ("RUNNING", {"user": "lee"}), ("RUNNING", {"submitted_at": 3701.0}),
            ("RUNNING", {"submitted_at": None}), ("STARTING", {}),
            ("CANCELLED", {}),
        ):  # fmt: skip
            self.put("d", state, **fields)
            found = self.table.moved_to(self.job)
            self.assertEqual(found, "d/1" if state == "CANCELLED" else None, (state, fields))
        for state, fields in (
            ("RUNNING", {}), ("FAILED", {"started_at": 150.0}), ("STARTING", {"started_at": 150.0}),
            ("RUNNING", {"submitted_at": 101.0}), ("RUNNING", {"submitted_at": 99.0}), ("RUNNING", {"submitted_at": 3700.0}),
        ):  # fmt: skip
            self.put("d", state, **fields)
            self.assertEqual(self.table.moved_to(self.job), "d/1", (state, fields))

    def test_follow(self) -> None:
        """Over several clusters; one that leads nowhere, or back, ends where it is."""
        self.put("c", "MOVED", moved_to="d/1")
        self.put("d", "MOVED", moved_to="e/1")
        self.assertEqual(self.found("c"), "d")
        self.put("e", "RUNNING")
        self.assertEqual((self.found("c"), self.found("d"), self.found("e")), ("e", "e", "e"))
        self.put("e", "MOVED", moved_to="c/1")
        self.assertIsNotNone(self.found("c"))
        self.assertIsNone(self.table.follow(("f", "1")))

    def found(self, cluster: str) -> str:
        followed = self.table.follow((cluster, "1"))
        assert followed is not None
        return followed.job.cluster

    def test_those_that_are_not_known_where(self) -> None:
        """They are at hand until that is known, or they are forgotten."""
        jobs = self.table.cluster("c")
        self.assertEqual(list(jobs.moved), ["1"])
        self.put("c", "MOVED", moved_to="d/1")
        self.assertEqual(list(jobs.moved), [])
        self.put("c", "MOVED")
        jobs.forget("1")
        self.assertEqual(list(jobs.moved), [])
