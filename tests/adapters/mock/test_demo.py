"""The demonstration."""

from __future__ import annotations

from functools import lru_cache
from itertools import pairwise

import attrs
from twisted.trial.unittest import SynchronousTestCase

from jobpush.core.model import JobDescriptor, Outcome, Phase, ReasonCode
from jobpush_adapters.mock.demo import Demo, Life
from jobpush_adapters.mock.queue import DemoQueue
from tests.support import NOW, ManualClock


class DemoTests(SynchronousTestCase):
    """``mock`` alone."""

    def run_demo(self, seed: int, seconds: int) -> list[dict[str, JobDescriptor]]:
        clock = ManualClock()
        queue = DemoQueue(clock, seed, wall=clock.seconds)
        looks = []
        for _ in range(seconds):
            looks.append(dict(self.successResultOf(queue.snapshot()).jobs))
            clock.advance(1.0)
        return looks

    def test_lively(self) -> None:
        """Within ten minutes everything happens that a scheduler does."""
        looks = self.run_demo(1, 600)
        states = {job.state for look in looks for job in look.values()}
        self.assertLessEqual(
            {"QUEUED", "HELD", "STARTING", "RUNNING", "SUSPENDED", "COMPLETED", "FAILED", "TIMEOUT", "CANCELLED"}, states
        )
        self.assertTrue(any(job.parent for look in looks for job in look.values()), "arrays")
        self.assertTrue(any((job.comment or "").startswith("workflow=") for look in looks for job in look.values()))
        self.assertLess(max(map(len, looks)), 200)

    def test_clock_that_is_set(self) -> None:
        """The story goes on; the looks have the date."""
        clock, wall = ManualClock(), ManualClock()
        queue = DemoQueue(clock, 1, wall=wall.seconds)
        looks = []
        for second in range(100):
            if second == 50:
                wall.rightNow -= 3600.0
            snapshot = self.successResultOf(queue.snapshot())
            self.assertEqual((snapshot.began_at, snapshot.ended_at), (wall.rightNow, wall.rightNow))
            looks.append({job_id: job.state for job_id, job in snapshot.jobs.items()})
            clock.advance(1.0)
            wall.advance(1.0)
        self.assertEqual(looks, [{job_id: job.state for job_id, job in look.items()} for look in self.run_demo(1, 100)])

    def test_seeded(self) -> None:
        """The same seed, the same story; another seed, another."""
        tell = lambda looks: [{i: j.state for i, j in look.items()} for look in looks]  # noqa: E731
        self.assertEqual(tell(self.run_demo(5, 60)), tell(self.run_demo(5, 60)))
        self.assertNotEqual(tell(self.run_demo(5, 60)), tell(self.run_demo(6, 60)))


class LifeTests(SynchronousTestCase):
    """`Life`: a job at any time."""

    def setUp(self) -> None:
        self.job = JobDescriptor("mock", "1", Phase.QUEUED, nodes="n1", submitted_at=100.0, name="x")
        self.life = Life(self.job, ReasonCode.PRIORITY, 105.0, 110.0, (113.0, 116.0), 120.0, Outcome.FAILED, 3, None)

    def test_each_moment(self) -> None:
        """Held, waiting, starting for a second, running, suspended for a while, ended; each from its moment on."""
        begun = {"nodes": "n1", "started_at": 110.0}
        for moment, until, fields in [
            (100.0, 105.0, {"phase": Phase.HELD, "native": {"state": "QUEUED_HELD"}, "reason_code": ReasonCode.HELD_BY_USER, "nodes": None}),
            (105.0, 110.0, {"phase": Phase.QUEUED, "native": {"state": "QUEUED"}, "reason_code": ReasonCode.PRIORITY, "nodes": None}),
            (110.0, 111.0, {"phase": Phase.STARTING, "native": {"state": "STARTING"}, **begun}),
            (111.0, 113.0, {"phase": Phase.RUNNING, "native": {"state": "RUNNING"}, **begun}),
            (113.0, 116.0, {"phase": Phase.SUSPENDED, "native": {"state": "SUSPENDED"}, **begun}),
            (116.0, 120.0, {"phase": Phase.RUNNING, "native": {"state": "RUNNING"}, **begun}),
            (120.0, 999.0, {"phase": Phase.DONE, "native": {"state": "FAILED"}, "outcome": Outcome.FAILED, "settled": True, "exit_code": 3, "ended_at": 120.0, **begun}),
        ]:  # fmt: skip
            expected = attrs.asdict(attrs.evolve(self.job, **fields))
            for at in (moment, until - 0.001):
                self.assertEqual(attrs.asdict(self.life.at(at)), expected, at)


@lru_cache
def story() -> list[tuple[float, dict[str, JobDescriptor]]]:
    """Ten minutes, second by second; told once for all tests, which only look at it."""
    demo = Demo(3, "c", NOW)
    return [(NOW + second, demo.jobs(NOW + second)) for second in range(600)]


class StoryTests(SynchronousTestCase):
    """`Demo`: who submits what."""

    def setUp(self) -> None:
        self.looks = story()
        self.last = {job_id: job for _, look in self.looks for job_id, job in look.items()}

    def test_jobs(self) -> None:
        """Somebody's, of some name, with all that a job has."""
        for job_id, job in self.last.items():
            self.assertEqual((job.cluster, job.id, job.queue, job.source, job.time_limit_s), ("c", job_id, "batch", "mock", 3600))
            self.assertIn((job.user, job.account), (("kim", "bio"), ("ada", "cfd"), ("lee", "ml"), ("ines", "climate")))
            self.assertEqual(job.workdir, f"/home/{job.user}/{job.name}")
            assert job.submitted_at is not None
            self.assertTrue(NOW - 90 <= job.submitted_at <= NOW + 600)
            if job.started_at is not None:
                self.assertRegex(job.nodes or "", r"\An([1-9]|1[0-6])\Z")
                self.assertGreater(job.started_at, job.submitted_at)
        plain = {job.name.partition("-")[0] for job in self.last.values() if job.name and job.parent is None and "-" in job.name}
        self.assertEqual(plain, {"align", "assemble", "train", "solve", "render", "fold", "mesh", "regrid"})
        self.assertEqual(min(int(job_id.partition("_")[0]) for job_id in self.last), 102)

    def test_pace(self) -> None:
        """One submission every two to seven seconds; it begins with a minute and a half of them."""
        times = sorted({job.submitted_at or 0.0 for job in self.last.values()})
        self.assertEqual(times[0], NOW - 90)
        self.assertTrue(all(2.0 <= round(after - before, 3) <= 7.0 for before, after in pairwise(times)))

    def test_how_long_an_end_is_listed(self) -> None:
        """For two minutes."""
        ended = {job_id: job.ended_at for job_id, job in self.last.items() if job.ended_at is not None}
        for at, look in self.looks[::5]:
            for job_id, ended_at in ended.items():
                assert ended_at is not None
                self.assertEqual(job_id in look, at < ended_at + 120 if at >= ended_at else job_id in look)

    def test_the_same_object(self) -> None:
        """Until something of it is seen to change."""
        for (_, before), (_, after) in pairwise(self.looks):
            for job_id in before.keys() & after.keys():
                self.assertEqual(before[job_id] is after[job_id], before[job_id].visible() == after[job_id].visible())

    def test_arrays(self) -> None:
        """Of four to eight tasks, two of which start every six seconds; one user's, one name's."""
        arrays: dict[str, list[JobDescriptor]] = {}
        for job in self.last.values():
            if job.parent is not None:
                arrays.setdefault(job.parent, []).append(job)
        self.assertGreater(len(arrays), 2)
        for array, tasks in arrays.items():
            self.assertEqual([job.task_index for job in tasks], list(range(len(tasks))))
            self.assertTrue(4 <= len(tasks) <= 8)
            self.assertEqual([job.id for job in tasks], [f"{array}_{index}" for index in range(len(tasks))])
            self.assertEqual(len({(job.user, job.name, job.submitted_at) for job in tasks}), 1)
            self.assertTrue((tasks[0].name or "").endswith("-sweep"))
            starts = [job.started_at - (job.submitted_at or 0) for job in tasks if job.started_at is not None]
            self.assertEqual([round(start, 2) for start in starts], [3.0 + 6.0 * (index // 2) for index in range(len(starts))])

    def test_workflows(self) -> None:
        """Four steps, each two seconds after the one before; they end well, and wait for each other."""
        flows: dict[str, list[JobDescriptor]] = {}
        for job in self.last.values():
            if job.comment is not None:
                flows.setdefault(job.comment, []).append(job)
        whole = [steps for steps in flows.values() if all(job.ended_at is not None for job in steps)]
        self.assertGreater(len(whole), 2)
        for steps in whole:
            self.assertEqual([job.name for job in steps], ["fetch", "clean", "model", "report"])
            self.assertEqual(steps[0].comment, f"workflow=w{steps[0].id}")
            self.assertEqual({(job.state, job.exit_code, job.signal) for job in steps}, {("COMPLETED", 0, None)})
            self.assertEqual(len({job.user for job in steps}), 1)
            for before, after in pairwise(steps):
                self.assertApproximates((after.started_at or 0) - (before.ended_at or 0), 2.0, 0.002)
        waits = {look[steps[1].id].reason_code for steps in whole for _, look in self.looks if steps[1].id in look and look[steps[1].id].phase is Phase.QUEUED}
        self.assertEqual(waits, {ReasonCode.DEPENDENCY})

    def test_workflows_end_well(self) -> None:
        """Whatever is drawn."""
        steps = [job for seed in range(40) for job in Demo(seed, "c", NOW).jobs(NOW + 600).values() if job.comment is not None and job.done]
        self.assertGreater(len(steps), 100)
        self.assertEqual({job.state for job in steps}, {"COMPLETED"})

    def test_ends(self) -> None:
        """As they are drawn: most well, the others in each way that there is, with its code or signal; after five to sixty seconds."""
        ends = {(job.state, job.exit_code, job.signal) for job in Demo(1, "c", NOW).jobs(NOW + 20000).values() if job.done}
        for seed in range(2, 40):
            ends |= {(job.state, job.exit_code, job.signal) for job in Demo(seed, "c", NOW).jobs(NOW + 600).values() if job.done}
        self.assertEqual(ends, {
            ("COMPLETED", 0, None), ("FAILED", 3, None), ("FAILED", None, 11), ("TIMEOUT", None, None), ("OUT_OF_MEMORY", None, None), ("CANCELLED", None, 15),
        })  # fmt: skip
        for job in self.last.values():
            if job.ended_at is not None and job.started_at is not None:
                self.assertTrue(5.0 <= job.ended_at - job.started_at <= 60.0)
