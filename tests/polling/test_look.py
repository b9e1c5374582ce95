"""One look: what the account may see, what is missing, and accounting."""

from __future__ import annotations

import itertools
import os
from collections.abc import Sequence
from typing import Any

import attrs
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from jobpush.adapter.interfaces import OtherCluster, QueueChanged, QueueError
from jobpush.adapter.testing import MemoryQueue
from jobpush.core.model import JobDescriptor, Outcomes, QueueFacts, Snapshot
from jobpush.core.tasks import TaskSet
from jobpush.polling.look import QueueStatus
from jobpush.runtime.clocks import Clocks
from jobpush.service import JobPush
from tests.polling.seldom_asked import NudgedCase
from tests.support import NOW, Lab, LabCase


class VisibilityTests(LabCase):
    """What the account may see decides what absence means."""

    BLIND = QueueFacts(sees_all=False, hides_jobs=False, evidence="PrivateData=jobs")

    def fill(self, count: int) -> None:
        for number in range(count):
            self.lab.queue.set(f"1{number:03}", "RUNNING")
        self.lab.tick()

    def test_permission_lost(self) -> None:
        """An empty answer where the account may not see: no job ends, the queue is blind, what is seen is told."""
        self.lab.set("2", "RUNNING")
        del self.lab.queue.jobs["1"]
        self.lab.queue.facts = self.BLIND
        self.lab.set("2", "FAILED", exit_code=1)
        self.lab.clock.run(300, step=1.0)
        self.assertEqual(self.lab.states(), {"1": "QUEUED", "2": "FAILED"})
        status = self.lab.service.monitors["memory"].status
        self.assertEqual(status.health, "blind")
        self.assertIn("PrivateData", status.error or "")
        ready = self.lab.get("/readyz")
        self.assertEqual(ready.status, 503)
        self.lab.queue.facts = attrs.evolve(self.BLIND, sees_all=True)
        self.lab.set("1", "RUNNING")
        self.assertEqual((self.lab.states()["1"], status.health), ("RUNNING", "ok"))

    def test_visibility_that_cannot_be_checked(self) -> None:
        """Then the query has failed."""
        self.lab.queue.jobs.clear()
        self.lab.queue.facts = QueueError("scontrol: down")
        self.lab.clock.run(60, step=1.0)
        self.assertEqual(self.lab.states(), {"1": "QUEUED"})
        self.assertEqual(self.lab.service.monitors["memory"].status.health, "stale")

    def test_an_empty_answer(self) -> None:
        """It is believed when a look that begins an interval later says the same, whether there is one job or are forty."""
        for count in (0, 39):
            self.fill(count)
            jobs = dict(self.lab.queue.jobs)
            self.lab.queue.jobs.clear()
            self.lab.tick()
            before = self.lab.states()
            self.lab.tick()
            self.assertNotIn("FINISHING", before.values())
            self.lab.tick()
            self.assertEqual("FINISHING" in self.lab.states().values(), count > 0)
            self.lab.queue.jobs.update(jobs)
            self.lab.tick(2)

    def test_an_empty_answer_that_was_wrong(self) -> None:
        """They are back: nothing was told."""
        self.fill(40)
        head = self.lab.cursor
        jobs = dict(self.lab.queue.jobs)
        self.lab.queue.jobs.clear()
        self.lab.tick()
        self.lab.queue.jobs.update(jobs)
        self.lab.tick(5)
        self.assertEqual(self.lab.events(head), [])

    def test_forgetful_scheduler(self) -> None:
        """A warning at the start, with the setting's name, and a word in ``/readyz``."""
        lab = Lab()
        lab.queue.facts = QueueFacts(sees_all=True, remembers_s=1.5, remembers_by="MinJobAge", evidence="test")
        lab.start()
        self.addCleanup(lab.stop)
        missing = lab.get("/readyz").json()["queues"]["memory"]["missing"]
        self.assertTrue(any("MinJobAge" in line for line in missing), missing)


class AccountingTests(LabCase):
    """Jobs that left the queue."""

    def setUp(self) -> None:
        super().setUp()
        self.lab.queue.facts = QueueFacts(sees_all=True, accounting=True, evidence="test")

    def test_outcome_from_accounting(self) -> None:
        """Asked for what is absent; its answer ends the job."""
        self.lab.set("1", "RUNNING", started_at=2.0)
        record = self.lab.queue.set("1", "FAILED", exit_code=3, started_at=2.0, ended_at=9.0)
        del self.lab.queue.jobs["1"]
        self.lab.tick(3)
        self.assertEqual(self.lab.states()["1"], "FINISHING")
        self.lab.queue.records["1"] = record
        self.lab.clock.run(8)
        self.assertEqual(self.lab.states()["1"], "FAILED")
        self.assertEqual(self.lab.get("/v1/jobs/memory/1").json()["job"]["exit_code"], 3)

    def test_clock_that_is_set(self) -> None:
        """An hour that nobody waited is no grace: nothing is concluded sooner by it."""
        lab, told = self.lab, []
        lab.queue.outcomes = lambda jobs: succeed(Outcomes(no_record=frozenset(job.id for job in jobs)))  # type: ignore[method-assign]
        lab.set("1", "RUNNING", started_at=2.0)
        lab.set("2", "QUEUED")
        lab.queue.jobs.clear()
        lab.tick()
        lab.set_forward += 3600.0
        for _ in range(120):
            lab.clock.advance(0.2)
            told.append(tuple(lab.states().values()))
        ran, waited = zip(*told, strict=True)
        self.assertEqual(list(dict.fromkeys(ran)), ["RUNNING", "FINISHING", "UNKNOWN", "LOST"])
        self.assertEqual(list(dict.fromkeys(waited)), ["QUEUED", "CANCELLED"])
        # The grace is 5 s, of which one or two were over.
        self.assertGreaterEqual(min(ran.index("UNKNOWN"), waited.index("CANCELLED")) * 0.2, 3.0)
        self.assertEqual(lab.service.monitors["memory"].status.health, "ok")

    def test_clock_that_is_set_during_a_query(self) -> None:
        """Its answer has the old dates: that a job is missing in it counts from then, by the new clock."""
        for step in (3600.0, -3600.0):
            self.setUp()
            lab, told = self.lab, []
            lab.queue.outcomes = lambda jobs: succeed(Outcomes(no_record=frozenset(job.id for job in jobs)))  # type: ignore[method-assign]
            lab.set("1", "RUNNING", started_at=2.0)
            lab.queue.jobs.clear()
            pending = lab.queue.pending = []
            lab.tick()
            lab.set_forward, lab.queue.pending = step, None
            pending.pop().callback(None)
            lab.clock.pump([0.0] * 5)
            absent_since = lab.service.table.cluster("memory").records["1"].detail.absent_since
            self.assertLess(abs(absent_since - lab.clocks.wall()), 2.0)
            for _ in range(120):
                lab.clock.advance(0.2)
                told.append(lab.states()["1"])
            self.assertEqual(list(dict.fromkeys(told)), ["RUNNING", "FINISHING", "UNKNOWN", "LOST"], step)
            self.assertTrue(3.0 <= told.index("UNKNOWN") * 0.2 <= 8.0, told.index("UNKNOWN"))

    def test_guesses_are_asked_about_again(self) -> None:
        """Soon after each, as its record may only be late, then less often, up to once a minute."""
        lab, asked = self.lab, []

        def outcomes(jobs: Sequence[JobDescriptor]) -> Deferred[Outcomes]:
            if any(job.done for job in jobs):
                asked.append(lab.clock.seconds() - guessed_at)
            return succeed(Outcomes(no_record=frozenset(job.id for job in jobs)))

        lab.queue.outcomes = outcomes  # type: ignore[method-assign]
        for job_id in ("1", "2"):
            lab.set(job_id, "QUEUED")
            lab.queue.jobs.clear()
            while lab.states()[job_id] != "CANCELLED":
                lab.clock.advance(0.5)
            guessed_at = lab.clock.seconds()
            asked.clear()
            lab.clock.run(250, step=0.5)
            pauses = [after - before for before, after in itertools.pairwise([0.0, *asked])]
            self.assertLess(asked[0], 10.0)
            self.assertEqual(sorted(pauses[1:]), pauses[1:])
            self.assertEqual(len([pause for pause in pauses if pause < 15.0]), 3, pauses)
            self.assertTrue(60.0 <= pauses[-1] <= 65.0, pauses)

    def test_accounting_that_fails(self) -> None:
        """It fails nothing else, and ends no job, however long."""
        self.lab.set("1", "RUNNING")
        self.lab.set("2", "QUEUED")
        asked = []

        def broken(jobs: object) -> Deferred[Outcomes]:
            asked.append(jobs)
            return fail(QueueError("slurmdbd is down"))

        self.lab.queue.outcomes = broken  # type: ignore[method-assign,assignment]
        self.lab.queue.jobs.clear()
        self.lab.set("3", "RUNNING")
        self.lab.clock.run(300, step=1.0)
        self.assertEqual(self.lab.states(), {"1": "UNKNOWN", "2": "QUEUED", "3": "RUNNING"})
        self.assertTrue(8 <= len(asked) <= 40, "and it is asked less and less often")
        self.assertEqual(self.missing(), ["accounting: slurmdbd is down"])
        del self.lab.queue.outcomes  # type: ignore[method-assign]
        self.lab.clock.run(60, step=1.0)
        self.assertEqual(self.missing(), [])

    def missing(self) -> Any:
        """What ``/readyz`` says that is missing."""
        return self.lab.get("/readyz").json()["queues"]["memory"]["missing"]


class NamedTests(NudgedCase):
    """Only what is needed."""

    def setUp(self) -> None:
        super().setUp()
        self.all_is_expensive()

    def all_is_expensive(self) -> None:
        """Let queries for all jobs have taken a second each."""
        self.monitor._look.cost = 1.0

    def test_named_jobs_are_asked_for_alone(self) -> None:
        """The others are neither compared nor absent."""
        self.queue.set("2", "QUEUED")
        self.queue.set("1", "RUNNING")
        self.monitor.nudge(["1"])
        self.lab.clock.advance(0)
        self.assertEqual((self.queue.named_for, self.queries), ([("1",)], 0))
        self.assertEqual(self.lab.states(), {"1": "RUNNING"})
        self.assertEqual(self.lab.get("/readyz").json()["queues"]["memory"]["queries_named"], 1)

    def test_absence_says_nothing_there(self) -> None:
        """A named job that is not listed makes jobpush ask for all."""
        del self.queue.jobs["1"]
        self.monitor.nudge(["1"])
        self.lab.clock.advance(0)
        self.assertEqual((len(self.queue.named_for), self.queries), (1, 1))
        record = self.lab.service.table.cluster("memory").get("1")
        assert record is not None
        self.assertIsNotNone(record.detail.absent_since)

    def test_one_of_two_is_absent(self) -> None:
        """Then too all are asked for."""
        self.queue.set("2", "QUEUED")
        self.queue.set("1", "RUNNING")
        self.queue.set("3", "RUNNING")
        self.monitor.nudge([])
        self.lab.clock.run(10)
        self.all_is_expensive()
        queries = self.queries
        del self.queue.jobs["1"]
        self.monitor.nudge(["1", "2"])
        self.lab.clock.advance(0)
        self.assertEqual((self.queue.named_for[-1], self.queries), (("1", "2"), queries + 1))

    def test_where_all_must_be_asked_for(self) -> None:
        """Too many names, an array's task, a nudge without names, a small queue."""
        for jobs in (["1", "2", "3", "4"], ["7_1"], []):
            begin = self.queue.queries
            self.all_is_expensive()
            self.monitor.nudge(jobs)
            self.lab.clock.run(10)
            self.assertEqual(self.queue.named_for, [], jobs)
            self.assertGreater(self.queue.queries, begin)
        self.monitor.nudge(["1"])
        self.lab.clock.run(10)
        self.assertEqual(self.queue.named_for, [])

    def test_an_array_is_compared_as_a_whole(self) -> None:
        """What turns out to be an array's row makes jobpush ask for all."""
        self.queue.set("9_1", "RUNNING")
        self.queue.jobs["9"] = self.queue.jobs["9_1"]
        self.monitor.nudge(["9"])
        self.lab.clock.advance(0)
        self.assertEqual((len(self.queue.named_for), self.queries), (1, 1))
        del self.queue.jobs["9"]


class LookCase(SynchronousTestCase):
    """A lab whose queue notes how often it is checked, and whose log is kept."""

    def lab(self, facts: QueueFacts | None = None, **options: Any) -> Lab:
        lab = Lab(**options)
        if facts is not None:
            lab.queue.facts = facts
        self.checks = 0
        check = lab.queue.check

        def counted() -> Deferred[QueueFacts]:
            self.checks += 1
            return check()

        lab.queue.check = counted  # type: ignore[method-assign]
        said: list[str] = []
        self.said = said

        def observer(event: Any) -> None:
            said.append(f"{event['log_level'].name}: {formatEvent(event)}")

        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)
        self.addCleanup(lambda: lab.threads.stopped or lab.stop())
        return lab

    def warnings(self, word: str) -> list[str]:
        """The warnings with this word."""
        return [line for line in self.said if line.startswith("warn") and word in line]


class PolicyTests(LookCase):
    """What the queue says of itself, and what the service was told, reaches the comparison."""

    def pending(self, tasks: str) -> TaskSet:
        return TaskSet.parse(tasks)

    def test_where_ended_tasks_are_listed(self) -> None:
        """A task that leaves its range without a row has been cancelled, if no look was late; else it is lost. Never at once."""
        for pause, state in ((0, "CANCELLED"), (40, "LOST")):
            lab = self.lab(QueueFacts(sees_all=True, remembers_s=30.0), grace=10.0).start()
            lab.queue.set("7_9", "RUNNING")
            lab.set("7", "QUEUED", pending_tasks=self.pending("0-3"))
            lab.queue.failure = QueueError("squeue: down")
            lab.clock.run(pause, step=1)
            lab.queue.failure = None
            lab.queue.set("7", "QUEUED", pending_tasks=self.pending("0-2"))
            lab.tick()
            self.assertEqual(lab.steps("7_3"), [])
            lab.clock.run(40, step=1)
            self.assertEqual(lab.steps("7_3"), [state])

    def test_what_has_changed(self) -> None:
        """Where a query fails because the server keeps other things than it said, it is asked again before the next one."""
        lab = self.lab(QueueFacts(sees_all=True, accounting=True)).start()
        before = self.checks
        for failure, checks in ((QueueError("squeue: down"), 0), (QueueChanged("no history any more"), 1)):
            lab.queue.failure = failure
            lab.tick()
            status = lab.service.monitors["memory"].status
            self.assertEqual((status.error, self.checks - before), (str(failure), 0))
            lab.queue.failure, lab.queue.facts = None, QueueFacts(sees_all=True, problems=("no history",))
            lab.clock.run(10, step=1)
            self.assertEqual((status.health, self.checks - before), ("ok", checks))
        self.assertIn("no history", str(lab.get("/readyz").json()))

    def test_where_they_are_not(self) -> None:
        """It may have run: nothing is said of it before accounting has had its time."""
        lab = self.lab(QueueFacts(sees_all=True, accounting=True, lists_ended=False), grace=30.0).start()
        lab.queue.set("7_9", "RUNNING")
        lab.set("7", "QUEUED", pending_tasks=self.pending("0-3"))
        lab.set("7", "QUEUED", pending_tasks=self.pending("0-2"))
        lab.clock.run(20, step=1)
        self.assertEqual(lab.steps("7_3"), [])
        lab.clock.run(40, step=1)
        self.assertEqual(lab.steps("7_3"), ["CANCELLED"])

    def test_grace(self) -> None:
        """The queue's own: one time of it until a job that ran is unknown, two until it is lost."""
        for grace in (5.0, 20.0):
            lab = self.lab(grace=grace).start()
            lab.set("1", "RUNNING")
            del lab.queue.jobs["1"]
            lab.tick()
            begin = lab.clock.seconds()
            lab.clock.run(3, step=0.5)
            for until, state in ((grace - 1.5, "FINISHING"), (2 * grace - 1.5, "UNKNOWN"), (2 * grace + 1.5, "LOST")):
                lab.clock.run(begin + until - lab.clock.seconds(), step=0.5)
                self.assertEqual(lab.states()["1"], state, (grace, until))

    def test_accounting(self) -> None:
        """Whether there is any is what the queue says: a pending job that vanishes is cancelled, or lost."""
        for accounting, state in ((True, "CANCELLED"), (False, "LOST")):
            lab = self.lab(QueueFacts(sees_all=True, accounting=accounting), grace=5.0).start()
            lab.set("1", "QUEUED")
            del lab.queue.jobs["1"]
            lab.clock.run(3, step=1)
            self.assertEqual(lab.states()["1"], "QUEUED")
            lab.clock.run(40, step=1)
            self.assertEqual(lab.states()["1"], state)

    def test_keep_ended(self) -> None:
        """As long as the service was told, and looked for once a minute."""
        lab = self.lab(keep_ended=100.0).start()
        lab.set("1", "COMPLETED")
        del lab.queue.jobs["1"]
        lab.clock.run(99, step=1)
        self.assertEqual(list(lab.states()), ["1"])
        lab.clock.run(61, step=1)
        self.assertEqual(list(lab.states()), [])
        lab = self.lab().start()
        lab.set("1", "COMPLETED")
        del lab.queue.jobs["1"]
        lab.clock.run(3600, step=10)
        self.assertEqual(list(lab.states()), ["1"], "a day, unless it is told otherwise")

    def test_keep_ended_and_a_clock_that_is_set(self) -> None:
        """Nothing is forgotten sooner because the clock was set."""
        for step in (3600.0, -3600.0):
            lab = self.lab(keep_ended=100.0).start()
            lab.set("1", "COMPLETED")
            del lab.queue.jobs["1"]
            lab.set_forward = step
            lab.clock.run(99, step=1)
            self.assertEqual(list(lab.states()), ["1"], step)

    def test_the_first_look_ever(self) -> None:
        """Concludes nothing about what came before; the next ones do, those of a service that begins again among them."""
        directory = os.path.abspath(self.mktemp())
        ended = {"started_at": NOW - 50, "ended_at": NOW - 10, "nodes": "n1"}
        lab = self.lab(directory=directory)
        lab.queue.set("1", "COMPLETED", **ended)
        lab.start()
        self.assertEqual(lab.steps("1"), ["COMPLETED"])
        lab.set("2", "COMPLETED", **ended)
        self.assertEqual(lab.steps("2"), ["QUEUED", "RUNNING", "COMPLETED"])
        lab.stop()
        again = self.lab(directory=directory)
        again.queue.set("3", "COMPLETED", **ended)
        again.start()
        self.assertEqual(again.steps("3"), ["QUEUED", "RUNNING", "COMPLETED"])

    def test_the_first_look_at_an_empty_queue(self) -> None:
        """Is one: what comes after it came since."""
        lab = self.lab().start()
        lab.set("1", "RUNNING")
        self.assertEqual(lab.steps("1"), ["QUEUED", "RUNNING"])


class CheckTests(LookCase):
    """When the queue is asked what its account may see."""

    def test_how_often(self) -> None:
        """At the start, and every minute; every half a minute where not all is seen, so that it is noticed when it is."""
        for sees_all, seconds, checks in ((True, 59, 1), (True, 61, 2), (True, 122, 3), (False, 29, 1), (False, 31, 2), (False, 122, 5)):
            lab = self.lab(QueueFacts(sees_all=sees_all)).start()
            lab.clock.run(seconds, step=1)
            self.assertEqual(self.checks, checks, (sees_all, seconds))

    def test_when_jobs_are_missing(self) -> None:
        """Before it is believed, and once for each job that is; not for one that is missing already."""
        lab = self.lab(grace=100.0).start()
        lab.set("1", "RUNNING")
        before = self.checks
        del lab.queue.jobs["1"]
        lab.tick(3)
        self.assertEqual(self.checks, before + 1)

    def test_told(self) -> None:
        """Whoever wants to know what the account may see is told each time."""
        lab = self.lab()
        heard = []
        lab.service.on_check.append(lambda: heard.append(lab.clock.seconds()))
        lab.start()
        lab.clock.run(61, step=1)
        self.assertEqual([round(at - NOW) for at in heard], [0, 60])

    def test_problems(self) -> None:
        """What an administrator should mend is said when it is found, and again only when it has changed."""
        lab = self.lab(QueueFacts(sees_all=True, problems=("first thing", "second thing"))).start()
        self.assertEqual((len(self.warnings("first thing")), len(self.warnings("second thing"))), (1, 1))
        lab.clock.run(61, step=1)
        self.assertEqual(len(self.warnings("first thing")), 1)
        lab.queue.facts = QueueFacts(sees_all=True, problems=("third thing",))
        lab.clock.run(61, step=1)
        self.assertEqual((len(self.warnings("third thing")), len(self.warnings("first thing"))), (1, 1))

    def test_a_scheduler_that_forgets(self) -> None:
        """Sooner than twice the interval: said once, by the setting's name; not where it remembers as long as that, or nobody knows."""
        for remembers, interval, warned in (
            (1.9, 1.0, 1), (2.0, 1.0, 0), (0.0, 1.0, 1), (None, 1.0, 0), (3.9, None, 1), (4.0, None, 0), (100.0, 60.0, 1), (120.0, 60.0, 0),
        ):  # fmt: skip
            lab = self.lab(QueueFacts(sees_all=True, remembers_s=remembers, remembers_by="MinJobAge"))
            lab.queue.interval = interval
            lab.start()
            lab.queue.facts = QueueFacts(sees_all=True, remembers_s=remembers, remembers_by="MinJobAge", problems=("another",))
            lab.clock.run(400, step=1)
            self.assertEqual(len(self.warnings("MinJobAge")), warned, (remembers, interval))
            if warned:
                self.assertIn(f"listed for {remembers:g} s only", self.warnings("MinJobAge")[0])


class RejectedTests(LookCase):
    """Rows that could not be understood."""

    def test_rows(self) -> None:
        """They are counted, each kind is said once, and their jobs are not missing; the others are told as ever."""
        lab = self.lab()
        lab.queue.set("1", "RUNNING")
        lab.start()
        snapshot, rejected = lab.queue.snapshot, ("row 1: odd", "row 2: odder")

        def odd() -> Deferred[Snapshot]:
            lab.queue.jobs.pop("1", None)
            change = {"rejected": rejected, "rejected_count": 7, "rejected_ids": frozenset({"1"})}
            return snapshot().addCallback(lambda answer: attrs.evolve(answer, **change))

        lab.queue.snapshot = odd  # type: ignore[method-assign]
        lab.tick(2)
        lab.set("2", "RUNNING")
        lab.clock.run(60, step=1)
        queue = lab.get("/readyz").json()["queues"]["memory"]
        self.assertEqual((queue["rejected_rows"], queue["health"]), (7 * 63, "ok"))
        self.assertEqual((lab.states(), lab.steps("1")), ({"1": "RUNNING", "2": "RUNNING"}, ["RUNNING"]))
        self.assertEqual((len(self.warnings("row 1: odd")), len(self.warnings("row 2: odder"))), (1, 1))
        lab.queue.snapshot = snapshot  # type: ignore[method-assign]
        lab.tick(3)
        self.assertEqual(lab.states()["1"], "FINISHING", "now it is missing")


class BlindTests(LookCase):
    """An account that may not see all jobs."""

    def test_blind(self) -> None:
        """As long as jobs that were there are not shown: said once, unready; what is seen is told. Then all is as before, and said so."""
        lab = self.lab(grace=5.0)
        for job_id in ("1", "2"):
            lab.queue.set(job_id, "RUNNING")
        lab.start()
        del lab.queue.jobs["1"]
        lab.queue.facts = QueueFacts(sees_all=False, evidence="PrivateData=jobs")
        lab.set("2", "SUSPENDED")
        for _ in range(20):
            self.assertEqual(lab.states(), {"1": "RUNNING", "2": "SUSPENDED"})
            self.assertEqual(lab.get("/readyz").status, 503)
            lab.tick()
        self.assertEqual(len(self.warnings("not shown to this account (PrivateData=jobs)")), 1)
        seen = lab.service.monitors["memory"].stale_s
        assert seen is not None
        self.assertGreater(seen, 19, "what is served is as old as the last look that saw all")
        lab.queue.facts = QueueFacts(sees_all=True)
        lab.set("1", "RUNNING")
        lab.tick(31)
        self.assertEqual(lab.get("/readyz").json()["queues"]["memory"]["health"], "ok")
        self.assertTrue(any("answers again" in line for line in self.said))
        self.assertEqual(lab.steps("1"), ["RUNNING"])

    def test_it_never_saw_all(self) -> None:
        """Then nothing that is not shown ends, arrays neither."""
        lab = self.lab(QueueFacts(sees_all=False, accounting=True), grace=5.0)
        lab.queue.set("1", "RUNNING")
        lab.queue.set("7", "QUEUED", pending_tasks=TaskSet.parse("0-3"))
        lab.start()
        lab.queue.jobs.clear()
        lab.clock.run(60, step=1)
        self.assertEqual(lab.states(), {"1": "RUNNING", "7": "QUEUED"})


class ConfirmTests(LookCase):
    """What one look misses is believed when another one, later, misses it too."""

    def setUp(self) -> None:
        self.world = self.lab(grace=100.0)
        for number in range(40):
            self.world.queue.set(f"1{number:02}", "RUNNING")
        self.world.start()

    def finishing(self) -> int:
        return list(self.world.states().values()).count("FINISHING")

    def test_some_are_back(self) -> None:
        """Each job that the second look lists was never gone."""
        jobs = dict(self.world.queue.jobs)
        self.world.queue.jobs.clear()
        self.world.tick()
        self.world.queue.jobs.update({job_id: jobs[job_id] for job_id in list(jobs)[30:]})
        self.world.tick(3)
        self.assertEqual(self.finishing(), 30, "of these both looks said it")

    def test_again_and_again(self) -> None:
        """A look in which they are there begins all anew."""
        jobs = dict(self.world.queue.jobs)
        for _ in range(5):
            self.world.queue.jobs.clear()
            self.world.tick()
            self.world.queue.jobs.update(jobs)
            self.world.tick(2)
        self.assertEqual(self.finishing(), 0)

    def test_another_look_comes_soon(self) -> None:
        """It confirms what is missing, however seldom the queue is looked at while nobody waits."""
        self.world.clock.run(300, step=1)
        self.world.queue.jobs.pop("100")
        while "100" in self.world.queue.jobs or not self.world.service.monitors["memory"].unconfirmed:
            self.world.clock.run(1, step=1)
        self.world.clock.run(4, step=1)
        self.assertEqual(self.finishing(), 1)

    def test_visibility_is_asked_between_them(self) -> None:
        """Where that cannot be told, the look has failed, and the next one is a first one."""
        self.world.queue.facts = QueueError("scontrol: down")
        self.world.queue.jobs.clear()
        self.world.clock.run(60, step=1)
        self.assertEqual((self.finishing(), self.world.service.monitors["memory"].status.health), (0, "stale"))


class AskingTests(LookCase):
    """When accounting is asked."""

    def setUp(self) -> None:
        self.world = self.lab(QueueFacts(sees_all=True, accounting=True), grace=1000.0)
        self.world.queue.set("1", "RUNNING")
        self.world.queue.set("2", "RUNNING")
        self.world.start()
        self.asked: list[float] = []
        outcomes = self.world.queue.outcomes

        def counted(jobs: Sequence[JobDescriptor]) -> Deferred[Outcomes]:
            self.asked.append(round(self.world.clock.seconds() - NOW))
            return outcomes(jobs)

        self.world.queue.outcomes = counted  # type: ignore[method-assign]

    def test_less_and_less_often(self) -> None:
        """Twice as long a pause each time that it has no answer, up to half a minute; an answer, or nothing to ask, ends that."""
        del self.world.queue.jobs["1"]
        self.world.clock.run(200, step=1)
        pauses = [after - before for before, after in itertools.pairwise(self.asked)]
        self.assertEqual(pauses, [2, 4, 8, 16, 30, 30, 30, 30, 30])
        self.world.queue.records["1"] = self.world.queue.set("1", "FAILED", exit_code=3)
        del self.world.queue.jobs["1"]
        self.world.clock.run(31, step=1)
        self.assertEqual(self.world.states()["1"], "FAILED")
        self.asked.clear()
        del self.world.queue.jobs["2"]
        self.world.clock.run(8, step=1)
        self.assertEqual([after - before for before, after in itertools.pairwise(self.asked)], [2, 4])

    def test_of_some_it_knows(self) -> None:
        """Then it is asked of the others in the next look: their records may be about to be written."""
        self.world.queue.records["1"] = self.world.queue.set("1", "FAILED", exit_code=3)
        for job_id in ("1", "2"):
            del self.world.queue.jobs[job_id]
        self.world.clock.run(8, step=1)
        self.assertEqual(self.world.states()["1"], "FAILED")
        self.assertEqual([after - before for before, after in itertools.pairwise(self.asked)], [1, 2, 4])

    def test_of_some_there_was_no_time(self) -> None:
        """Then it is asked of them in the next look, as long as that is so."""
        self.patch(self.world.queue, "outcomes", lambda jobs: self.asked.append(1) or succeed(Outcomes(whole=len(self.asked) > 20)))
        del self.world.queue.jobs["1"]
        self.world.clock.run(30, step=1)
        self.assertGreater(len(self.asked), 20)

    def test_nothing_to_ask(self) -> None:
        """It is not asked while no job is missing, nor where there is none."""
        self.world.clock.run(60, step=1)
        self.assertEqual(self.asked, [])
        self.world.queue.facts = QueueFacts(sees_all=True, accounting=False)
        self.world.clock.run(301, step=1)
        del self.world.queue.jobs["1"]
        self.world.clock.run(60, step=1)
        self.assertEqual(self.asked, [])


class StatusTests(LookCase):
    """How a queue is doing, as ``/readyz`` says it."""

    def status(self, lab: Lab) -> Any:
        return lab.get("/readyz").json()["queues"]["memory"]

    def test_before_anything(self) -> None:
        """Nothing is counted yet."""
        status = QueueStatus(MemoryQueue(None), lambda: 0.0)
        self.assertEqual((status.interval_s, status.health, status.stale_s), (2.0, "starting", None))
        rest = set(attrs.asdict(status, recurse=False).values()) - {status.queue, status.elapsed, 2.0}
        self.assertEqual(rest, {None, 0})

    def test_health(self) -> None:
        """Starting, ok, stale with the reason, ok again; what is served ages while nobody answers."""
        lab = self.lab()
        lab.queue.pending = []
        lab.start()
        self.assertEqual((self.status(lab)["health"], self.status(lab)["stale_s"], lab.get("/readyz").status), ("starting", None, 503))
        pending, lab.queue.pending = lab.queue.pending, None
        lab.clock.advance(2.0)
        pending.pop().callback(None)
        lab.clock.advance(0)
        self.assertEqual((self.status(lab)["health"], self.status(lab)["stale_s"], lab.get("/readyz").status), ("ok", 2.0, 200))
        lab.queue.failure = QueueError("down for now")
        lab.tick(3)
        status = self.status(lab)
        self.assertEqual((status["health"], status["missing"], lab.get("/readyz").status), ("ok", ["down for now"], 200))
        self.assertGreaterEqual(status["stale_s"], 3.0)
        lab.tick(3)
        self.assertEqual(self.status(lab)["health"], "stale")
        self.assertEqual(len(self.warnings("down for now; keeping what is known")), 1)
        lab.queue.failure = None
        lab.clock.run(10, step=0.5)
        self.assertEqual((self.status(lab)["health"], self.status(lab)["missing"]), ("ok", []))
        self.assertTrue(any("answers again" in line for line in self.said))

    def test_clock_that_is_set(self) -> None:
        """How old an answer is, nothing changes but time; so it is where the reactor goes by the clock that is set."""
        for step in (3600.0, -3600.0):
            lab = self.lab().start()
            lab.tick(2)
            before = self.status(lab)["stale_s"]
            lab.set_forward = step
            self.assertEqual((self.status(lab)["health"], self.status(lab)["stale_s"]), ("ok", before))
            lab.queue.failure = QueueError("down")
            lab.tick(5)
            self.assertEqual((self.status(lab)["health"], self.status(lab)["stale_s"]), ("ok", before + 5.0))
            lab.tick(2)
            self.assertEqual((self.status(lab)["health"], self.status(lab)["stale_s"]), ("stale", before + 7.0))

    def test_the_reactors_clock_is_set(self) -> None:
        """Of another program's reactor, whose calls wait for an hour then: what is served is not told to be fresh."""
        lab = self.lab()
        elapsed = Clock()
        lab.clocks = Clocks(wall=lab.clock.seconds, elapsed=elapsed.seconds)
        lab.service = JobPush(lab.clock, lab.queues, lab.journal, clocks=lab.clocks)
        lab.serve()
        lab.start()
        lab.clock.rightNow -= 3600.0
        elapsed.advance(60.0)
        self.assertEqual((self.status(lab)["health"], self.status(lab)["stale_s"]), ("stale", 60.0))

    def test_said_once(self) -> None:
        """That the clock was set, and by how much; not by each queue."""
        lab = self.lab(queues=3).start()
        with capturedLogs() as logged:
            for step in (3600.0, 3600.0, -60.0):
                lab.set_forward = step
                lab.tick(20)
        lines = [formatEvent(event) for event in logged if "clock" in (formatEvent(event) or "")]
        words = "the clock of this host was set"
        self.assertEqual(lines, [f"{words} forward by 3600.0 s", f"{words} back by 3660.0 s"])

    def test_no_date(self) -> None:
        """An adapter that tells the reactor's time for a date is not believed: all would seem to be absent for decades."""
        lab = self.lab().start()
        lab.set("1", "RUNNING")
        lab.queue.snapshot = lambda: succeed(Snapshot({}, 57.0, 57.0))  # type: ignore[method-assign]
        lab.tick(20)
        self.assertEqual((lab.states()["1"], self.status(lab)["health"]), ("RUNNING", "stale"))
        self.assertEqual(self.status(lab)["missing"], ["the adapter says that the query began at 57, which is no date of now"])

    def test_another_cluster(self) -> None:
        """Its answer makes what is served stale at once, and until the own one answers again."""
        lab = self.lab()
        lab.queue.set("1", "RUNNING")
        lab.start()
        lab.queue.failure = OtherCluster("the answers are those of beta")
        lab.tick()
        status = self.status(lab)
        self.assertEqual((status["health"], status["missing"], lab.states()), ("stale", ["the answers are those of beta"], {"1": "RUNNING"}))
        self.assertLess(status["stale_s"], 3.0)
        lab.queue.failure = QueueError("no answer")
        lab.tick(2)
        self.assertEqual(self.status(lab)["health"], "stale")
        lab.queue.failure = None
        lab.clock.run(10, step=0.5)
        self.assertEqual(self.status(lab)["health"], "ok")

    def test_another_cluster_that_misses_no_job(self) -> None:
        """Where other jobs stand by the ids of those that are known, or there were none, it is asked whose they are before they are told."""
        for ours in ({"1": "RUNNING"}, {}):
            lab = self.lab()
            for job_id, state in ours.items():
                lab.queue.set(job_id, state, submitted_at=NOW - 60)
            lab.start()
            lab.queue.facts = OtherCluster("the answers are those of beta")
            for job_id in ("1", "2"):
                lab.queue.set(job_id, "RUNNING", submitted_at=NOW - 30)
            lab.tick(3)
            self.assertEqual((lab.states(), self.status(lab)["health"]), (ours, "stale"))
            lab.queue.facts = QueueFacts(sees_all=True, evidence="test")
            lab.queue.jobs.clear()
            for job_id, state in ours.items():
                lab.queue.set(job_id, state, submitted_at=NOW - 60)
            lab.clock.run(30, step=0.5)
            self.assertEqual((lab.states(), self.status(lab)["health"]), (ours, "ok"))

    def test_another_cluster_that_is_gone_when_it_is_asked(self) -> None:
        """Who is asked who he is may not be who has answered: what is believed is asked for between two such questions."""
        lab = self.lab()
        lab.queue.set("1", "RUNNING", submitted_at=NOW - 60)
        lab.start()
        snapshot, ours = lab.queue.snapshot, dict(lab.queue.jobs)

        def theirs() -> Deferred[Snapshot]:
            lab.queue.jobs.clear()
            lab.queue.set("990001", "RUNNING", submitted_at=NOW - 30)
            lab.queue.snapshot = snapshot  # type: ignore[method-assign]
            answer = snapshot()
            lab.queue.jobs.clear()
            lab.queue.jobs.update(ours)
            return answer

        lab.queue.snapshot = theirs  # type: ignore[method-assign]
        lab.tick(3)
        self.assertEqual((lab.states(), lab.steps("1")), ({"1": "RUNNING"}, ["RUNNING"]))

    def test_counts(self) -> None:
        """Queries, failures and rows."""
        lab = self.lab()
        lab.queue.set("1", "RUNNING")
        lab.start()
        lab.tick(4)
        status = self.status(lab)
        self.assertEqual((status["queries"], status["failures"], status["jobs"]), (lab.queue.queries, 0, 1))
        lab.queue.failure = QueueError("down")
        lab.tick(2)
        self.assertEqual(self.status(lab)["failures"], lab.queue.queries - status["queries"])
        self.assertEqual(lab.service.monitors["memory"].status.rows, 1)
        lab.queue.set("2", "RUNNING")
        lab.queue.failure = None
        lab.tick(5)
        self.assertEqual(lab.service.monitors["memory"].status.rows, 2)

    def test_several_questions_for_one_answer(self) -> None:
        """Each counts as a query, and costs its part of the time that the answer took."""
        lab = self.lab()
        lab.queue.set("1", "RUNNING")
        lab.start()
        status, look = lab.service.monitors["memory"].status, lab.service.monitors["memory"]._look
        lab.tick(3)
        before, spent, answers = status.queries, [], []
        self.patch(look.bucket, "spend", lambda seconds, now: spent.append(seconds))

        def snapshot() -> Deferred[Snapshot]:
            answers.append(Deferred[Snapshot]())
            return answers[-1]

        lab.queue.snapshot = snapshot  # type: ignore[method-assign]
        lab.clock.advance(2.0)
        lab.clock.advance(0.3)
        answers[0].callback(Snapshot(dict(lab.queue.jobs), NOW, NOW, queries=3))
        lab.clock.advance(0)
        self.assertEqual(status.queries - before, 3)
        self.assertEqual(spent, [3 * look.usual.charge(1, 0.1)])

    def test_how_long_a_query_took(self) -> None:
        """Is measured, of each query for all jobs."""
        lab = self.lab()
        lab.start()
        lab.queue.pending = []
        lab.clock.advance(1.0)
        lab.clock.advance(0.25)
        lab.queue.pending.pop().callback(None)
        lab.clock.advance(0)
        self.assertEqual(lab.service.instruments.query_s["memory"].most, 0.25)
        lab.queue.pending = None
