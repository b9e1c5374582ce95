"""Questions to accounting about jobs that no look has shown."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import CancelledError, Deferred

from jobpush.adapter.interfaces import QueueError
from jobpush.core.model import Confidence, JobDescriptor, QueueFacts
from jobpush.polling import lookups
from jobpush.polling.lookups import Lookups
from tests.support import NOW, LabCase


class LookupTests(LabCase):
    """`Lookups`."""

    def setUp(self) -> None:
        super().setUp()
        self.lab.queue.facts = QueueFacts(sees_all=True, accounting=True, evidence="test")
        self.lab.service.monitors["memory"].status.facts = self.lab.queue.facts
        self.asked = self.lab.queue.recorded_for

    @property
    def lookups(self) -> Lookups:
        """Those of the cluster."""
        return self.lab.service.monitors["memory"].lookups

    def record(self, job_id: str, state: str, **fields: Any) -> None:
        """Accounting has a record of it; the queue does not list it."""
        fields = {"confidence": Confidence.ACCOUNTING, "source": "sacct", "submitted_at": NOW - 90, **fields}
        self.lab.queue.records[job_id] = self.lab.queue.set(job_id, state, **fields)
        del self.lab.queue.jobs[job_id]

    def found(self, *ids: str) -> list[Deferred[None]]:
        """Ask for each of these."""
        asked = [self.lookups.find(job_id) for job_id in ids]
        self.lab.clock.advance(0)
        return asked

    def test_its_whole_history(self) -> None:
        """What accounting says is told as if it had been seen, and stays."""
        self.record("20", "FAILED", exit_code=3, started_at=NOW - 60, ended_at=NOW - 30, nodes="n1")
        (found,) = self.found("20")
        self.successResultOf(found)
        self.assertEqual(self.lab.steps("20"), ["QUEUED", "RUNNING", "FAILED"])
        job = self.lab.get("/v1/jobs/memory/20").json()["job"]
        self.assertEqual((job["exit_code"], job["confidence"], job["settled"]), (3, "accounting", True))
        self.lab.tick(5)
        self.assertEqual(self.lab.states()["20"], "FAILED")

    def test_one_that_is_open(self) -> None:
        """It exists, and what has become of it is unknown; a record that comes later says how it ended."""
        self.record("20", "UNKNOWN")
        self.found("20")
        self.assertEqual(self.lab.states()["20"], "UNKNOWN")
        self.record("20", "COMPLETED", exit_code=0, nodes="n1")
        self.lab.clock.run(10)
        self.assertEqual(self.lab.states()["20"], "COMPLETED")

    def test_an_array(self) -> None:
        """By its id: all of its tasks are told, and the array as their sum; by the id of one task, the others are asked for too."""
        for index, state in enumerate(("COMPLETED", "FAILED", "COMPLETED")):
            self.record(f"20_{index}", state, started_at=NOW - 60, ended_at=NOW - 30, nodes="n1")
        for asked in ("20_0", "20"):
            self.successResultOf(self.found(asked)[0])
            self.lab.clock.run(4)
            self.assertEqual(self.lab.states()["20"], "FAILED", asked)
            self.assertEqual(self.lab.get("/v1/jobs/memory/20").json()["job"]["counts"], {"COMPLETED": 2, "FAILED": 1})

    def array(self, *states: str) -> None:
        """An array that was there before jobpush looked, of which it saw the last task alone; these are accounting's."""
        self.lab.queue.facts = QueueFacts(sees_all=True, accounting=True, lists_ended=False)
        self.lab.service.monitors["memory"].status.facts = self.lab.queue.facts
        self.lab.set("20_9", "RUNNING", started_at=NOW - 60)
        self.lab.set("20_9", "COMPLETED", exit_code=0, started_at=NOW - 60, nodes="n1")
        for index, state in enumerate(states):
            self.record(f"20_{index}", state, started_at=NOW - 60, ended_at=NOW - 30, nodes="n1")

    def test_an_array_whose_tasks_were_not_all_seen(self) -> None:
        """Accounting is asked for them when those have ended that were seen: the array is not told as completed by these."""
        self.array("COMPLETED", "FAILED")
        self.assertNotIn("COMPLETED", self.lab.steps("20"))
        self.lab.clock.run(5)
        self.assertEqual(self.lab.steps("20"), ["QUEUED", "RUNNING", "UNKNOWN"], "the record of the task that was seen is not there yet")
        self.record("20_9", "COMPLETED", exit_code=0, started_at=NOW - 60, nodes="n1")
        self.lab.clock.run(lookups.UNKNOWN_S + 5)
        self.assertEqual(self.lab.steps("20"), ["QUEUED", "RUNNING", "UNKNOWN", "FAILED"])
        asked = len(self.asked)
        self.lab.clock.run(30)
        self.assertEqual(len(self.asked), asked, "and not again")

    def test_an_array_that_has_succeeded_as_far_as_is_recorded(self) -> None:
        """That proves its success where there is a record of what was deleted while it waited, too; else it is lost."""
        for records_waiting, state in ((True, "COMPLETED"), (False, "LOST")):
            self.setUp()
            self.array("COMPLETED", "COMPLETED")
            self.record("20_9", "COMPLETED", exit_code=0, started_at=NOW - 60, nodes="n1")
            facts = QueueFacts(sees_all=True, accounting=True, lists_ended=False, records_waiting=records_waiting)
            self.lab.queue.facts = self.lab.service.monitors["memory"].status.facts = facts
            self.lab.clock.run(lookups.UNKNOWN_S + 5)
            self.assertEqual(self.lab.steps("20")[-1], state)
            job = self.lab.get("/v1/jobs/memory/20").json()["job"]
            self.assertEqual((job["counts"], job["flags"], job["settled"]), ({"COMPLETED": 3}, [] if records_waiting else ["parts_unknown"], True))
            asked = len(self.asked)
            self.lab.clock.run(60)
            self.assertEqual(len(self.asked), asked)

    def test_a_heterogeneous_job(self) -> None:
        """Each of its components has a record from its submission on: they prove the success of the whole."""
        for part in ("20a", "20b"):
            self.record(part, "COMPLETED", exit_code=0, parent="20", started_at=NOW - 60, ended_at=NOW - 30, nodes="n1")
        self.successResultOf(self.found("20")[0])
        job = self.lab.get("/v1/jobs/memory/20").json()["job"]
        self.assertEqual((job["state"], job["counts"], job["flags"]), ("COMPLETED", {"COMPLETED": 2}, []))

    def test_an_array_of_which_accounting_knows_nothing(self) -> None:
        """It stays unknown, and is asked about again now and then."""
        self.array()
        self.lab.clock.run(60)
        self.assertEqual(self.lab.steps("20"), ["QUEUED", "RUNNING", "UNKNOWN"])
        self.assertTrue(2 <= len(self.asked) <= 7, self.asked)

    def test_unknown_for_a_moment(self) -> None:
        """What accounting does not know is not asked about again at once."""
        for _ in range(3):
            self.successResultOf(self.found("20")[0])
        self.assertEqual(self.asked, [("20",)])
        self.lab.clock.run(lookups.UNKNOWN_S + 1)
        self.successResultOf(self.found("20")[0])
        self.assertEqual(self.asked, [("20",)] * 2)
        self.assertNotIn("20", self.lab.states())

    def test_many_are_one(self) -> None:
        """Those that come together, or while another question runs, are one question; the next one begins a second later."""
        self.record("21", "COMPLETED")
        first = self.found("20", "21", "20")
        self.assertEqual(self.asked, [("20", "21")])
        for each in first:
            self.successResultOf(each)
        ids = [str(number) for number in range(100, 100 + lookups.MOST_AT_ONCE + 5)]
        rest = self.found(*ids)
        self.assertEqual(len(self.asked), 1)
        self.lab.clock.run(lookups.PAUSE_S + 0.1, step=0.1)
        self.assertEqual([len(each) for each in self.asked], [2, lookups.MOST_AT_ONCE])
        self.lab.clock.run(lookups.PAUSE_S + 0.1, step=0.1)
        self.assertEqual([len(each) for each in self.asked], [2, lookups.MOST_AT_ONCE, 5])
        for each in rest:
            self.successResultOf(each)

    def test_what_takes_long_is_asked_seldom(self) -> None:
        """A question that took half a second is followed by the next after ten; one that took ten, after half a minute."""
        for took, pause in ((0.5, 10.0), (10.0, 30.0)):
            self.setUp()
            asked: list[Deferred[dict[str, JobDescriptor]]] = []

            def recorded(jobs: Any, asked: Any = asked) -> Any:
                asked.append(Deferred())
                return asked[-1]

            self.lab.queue.recorded = recorded  # type: ignore[method-assign]
            self.found("20")
            self.lab.clock.run(took, step=0.1)
            asked[0].callback({})
            self.found("21")[0].addErrback(lambda failure: failure.trap(CancelledError))
            self.lab.clock.run(pause - took - 0.3, step=0.1)
            self.assertEqual(len(asked), 1)
            self.lab.clock.run(0.6, step=0.1)
            self.assertEqual(len(asked), 2)
            asked[1].callback({})

    def test_without_accounting(self) -> None:
        """Nobody is asked, and nobody waits."""
        self.lab.service.monitors["memory"].status.facts = QueueFacts(sees_all=True)
        self.successResultOf(self.lookups.find("20"))
        self.assertEqual(self.asked, [])

    def test_a_known_job(self) -> None:
        """Nobody is asked about it."""
        self.successResultOf(self.found("1")[0])
        self.assertEqual(self.asked, [])

    def test_accounting_that_fails(self) -> None:
        """Nothing is known then, and it is asked again."""
        self.lab.queue.facts = QueueError("slurmdbd is down")
        self.successResultOf(self.found("20")[0])
        self.lab.queue.facts = QueueFacts(sees_all=True, accounting=True)
        self.record("20", "COMPLETED")
        self.lab.clock.run(lookups.PAUSE_S, step=0.5)
        self.found("20")
        self.assertEqual(self.lab.states()["20"], "COMPLETED")

    def test_shown_meanwhile(self) -> None:
        """What a look has shown while accounting was asked is what counts."""
        answer: Deferred[dict[str, JobDescriptor]] = Deferred()
        self.record("20", "FAILED", exit_code=1)
        told = self.lab.queue.records["20"]
        self.lab.queue.recorded = lambda jobs: answer  # type: ignore[method-assign,assignment]
        (found,) = self.found("20")
        self.lab.set("20", "RUNNING")
        answer.callback({"20": told})
        self.lab.clock.advance(0)
        self.successResultOf(found)
        self.assertEqual(self.lab.states()["20"], "RUNNING")

    def test_who_leaves(self) -> None:
        """Is not waited for, and nobody else is disturbed."""
        answer: Deferred[dict[str, JobDescriptor]] = Deferred()
        self.lab.queue.recorded = lambda jobs: answer  # type: ignore[method-assign,assignment]
        one, other = self.found("20", "20")
        one.cancel()
        self.failureResultOf(one, CancelledError)
        answer.callback({})
        self.lab.clock.advance(0)
        self.successResultOf(other)

    def test_a_known_job_of_another(self) -> None:
        """It is asked about as one that is not known, once in a while; nothing is kept of who leaves, or where it fails."""
        self.lab.set("20", "RUNNING", user="lee")
        left = self.lookups.find("20", known_too=True)
        left.cancel()
        self.failureResultOf(left, CancelledError)
        self.lab.clock.run(5)
        self.assertEqual((self.asked, self.lookups._asked_once), ([], set()))
        self.record("20", "RUNNING", user="lee")
        for _ in range(3):
            self.successResultOf(self.asking("20"))
        self.assertEqual((self.asked, self.lookups._asked_once), ([("20",)], set()))
        self.lab.clock.run(lookups.UNKNOWN_S)
        self.lab.queue.facts = QueueError("slurmdbd is down")
        self.successResultOf(self.asking("20"))
        self.assertEqual(self.lookups._asked_once, set())

    def asking(self, job_id: str) -> Deferred[None]:
        """Ask for one, whether it is known or not."""
        asked = self.lookups.find(job_id, known_too=True)
        self.lab.clock.run(lookups.PAUSE_S)
        return asked

    def test_the_end(self) -> None:
        """Nobody waits then, and nothing is left to be called; nor is anybody asked when all have left."""
        waiting = self.lookups.find("20")
        waiting.cancel()
        self.failureResultOf(waiting, CancelledError)
        self.lab.clock.advance(0)
        self.assertEqual(self.asked, [])
        waiting = self.lookups.find("20")
        self.lookups.give_up()
        self.failureResultOf(waiting, CancelledError)
        self.lab.clock.advance(5)
        self.assertEqual(self.asked, [])
