"""Asking for one job: at once, held until it changes, conditional, unknown; and the call of 2010."""

from __future__ import annotations

from collections.abc import Callable
from unittest import mock

from twisted.internet.defer import Deferred

from jobpush.adapter.interfaces import QueueError
from jobpush.core.job_table import JobTable
from jobpush.core.model import Confidence, QueueFacts
from jobpush.core.tasks import TaskSet
from tests.support import NOW, Lab, LabCase


class OneJobTests(LabCase):
    """``GET /v1/jobs/{cluster}/{id}``."""

    def test_present_state(self) -> None:
        """Without ``since`` the present state comes at once, with cursor, ETag and history."""
        answer = self.lab.get("/v1/jobs/memory/1")
        job = answer.json()["job"]
        self.assertEqual((job["state"], job["phase"], job["outcome"], job["settled"]), ("QUEUED", "QUEUED", None, False))
        self.assertEqual((job["user"], job["name"], job["account"], job["queue"]), ("kim", "align", "bio", "batch"))
        self.assertEqual(answer.json()["cursor"], self.lab.cursor)
        self.assertEqual(answer.header("jobpush-cursor"), self.lab.cursor)
        self.assertEqual(answer.header("etag"), f'W/"{self.lab.cursor}"')
        self.assertEqual([entry["state"] for entry in answer.json()["history"]], ["QUEUED"])
        self.assertFalse(answer.json()["timed_out"])

    def test_wait_without_since_is_not_held(self) -> None:
        """``wait`` alone holds nothing for a job that is known."""
        self.assertFalse(self.lab.get("/v1/jobs/memory/1?wait=60").held)

    def test_held_until_it_changes(self) -> None:
        """With ``since`` the answer comes with the change, and holds it."""
        answer = self.lab.get(f"/v1/jobs/memory/1?since={self.lab.cursor}&wait=60")
        self.assertTrue(answer.held)
        self.lab.set("1", "RUNNING")
        self.assertEqual([e["job"]["state"] for e in answer.json()["events"]], ["RUNNING"])
        self.assertEqual(answer.json()["job"]["state"], "RUNNING")
        self.assertEqual(answer.json()["events"][0]["previous"], {"state": "QUEUED"})

    def test_other_jobs_do_not_wake_it(self) -> None:
        """A waiter gets its own job's events and no other's."""
        answer = self.lab.get("/v1/jobs/memory/1?since=now&wait=60")
        self.lab.set("2", "RUNNING")
        self.assertTrue(answer.held)
        self.lab.set("1", "RUNNING")
        self.assertEqual({e["job"]["id"] for e in answer.json()["events"]}, {"1"})

    def test_nothing_between_two_requests_is_lost(self) -> None:
        """What happened since the cursor is told at once, all of it, oldest first."""
        cursor = self.lab.cursor
        self.lab.set("1", "RUNNING")
        self.lab.set("1", "SUSPENDED")
        answer = self.lab.get(f"/v1/jobs/memory/1?since={cursor}&wait=60")
        self.assertEqual([e["job"]["state"] for e in answer.json()["events"]], ["RUNNING", "SUSPENDED"])
        whole = self.lab.get("/v1/jobs/memory/1?since=0").json()
        self.assertEqual([e["job"]["state"] for e in whole["events"]], ["QUEUED", "RUNNING", "SUSPENDED"])
        self.assertTrue(whole["oldest_cursor"].endswith("-0"))

    def test_time_out(self) -> None:
        """When its time is up the answer is 200, empty, with the head as cursor; never later than asked."""
        answer = self.lab.get("/v1/jobs/memory/1?since=now&wait=10")
        self.lab.set("2", "QUEUED")
        self.lab.clock.advance(10 * 15 / 16 - 1.01)
        self.assertTrue(answer.held)
        self.lab.clock.advance(0.65)
        self.assertEqual((answer.status, answer.json()["events"], answer.json()["timed_out"]), (200, [], True))
        self.assertEqual(answer.json()["cursor"], self.lab.cursor)

    def test_until_started(self) -> None:
        """``until=started`` passes over what comes before, and tells it too."""
        answer = self.lab.get("/v1/jobs/memory/1?until=started&wait=60")
        self.lab.set("1", "HELD")
        self.assertTrue(answer.held)
        self.lab.set("1", "RUNNING")
        self.assertEqual([e["job"]["state"] for e in answer.json()["events"]], ["HELD", "RUNNING"])

    def test_until_is_level_triggered(self) -> None:
        """What is already so is answered at once, whatever ``since`` says."""
        self.lab.set("1", "COMPLETED", exit_code=0, started_at=2.0, ended_at=3.0)
        for query in ("until=started", "until=terminal", "until=terminal&since=now", "until=started&since=0"):
            answer = self.lab.get(f"/v1/jobs/memory/1?{query}&wait=60")
            self.assertFalse(answer.held, query)
            self.assertFalse(answer.json()["timed_out"])

    def test_until_terminal_wants_it_settled(self) -> None:
        """A provisional outcome does not answer ``until=terminal``."""
        answer = self.lab.get("/v1/jobs/memory/1?until=terminal&wait=60")
        self.lab.set("1", "PREEMPTED", settled=False)
        self.assertTrue(answer.held)
        self.lab.tick(6)
        self.assertEqual(answer.json()["job"]["state"], "PREEMPTED")
        self.assertTrue(answer.json()["job"]["settled"])

    def test_conditional(self) -> None:
        """``If-None-Match`` alone is answered at once: 304 if it still fits, 200 if not."""
        etag = self.lab.get("/v1/jobs/memory/1").header("etag") or ""
        answer = self.lab.get("/v1/jobs/memory/1", headers={"If-None-Match": etag})
        self.assertEqual((answer.status, answer.body(), answer.header("etag")), (304, b"", etag))
        self.assertEqual(answer.header("jobpush-cursor"), self.lab.cursor)
        self.lab.set("1", "RUNNING")
        self.assertEqual(self.lab.get("/v1/jobs/memory/1", headers={"If-None-Match": etag}).status, 200)

    def test_prefer_wait(self) -> None:
        """With ``Prefer: wait`` it is held: 200 when it changes, 304 when the time is up."""
        etag = self.lab.get("/v1/jobs/memory/1").header("etag") or ""
        headers = {"If-None-Match": etag, "Prefer": "respond-async, wait=20"}
        answer = self.lab.get("/v1/jobs/memory/1", headers=headers)
        self.lab.set("2", "RUNNING")
        self.assertTrue(answer.held)
        self.lab.set("1", "RUNNING")
        self.assertEqual((answer.status, answer.header("preference-applied")), (200, "wait=20"))
        headers["If-None-Match"] = answer.header("etag") or ""
        answer = self.lab.get("/v1/jobs/memory/1", headers=headers)
        self.lab.tick(20)
        self.assertEqual((answer.status, answer.header("preference-applied")), (304, "wait=20"))

    def test_prefer_wait_for_a_job_that_is_forgotten(self) -> None:
        """A job that the table forgets between its event and the answer is answered as the event has it."""
        etag = self.lab.get("/v1/jobs/memory/1").header("etag") or ""
        answer = self.lab.get("/v1/jobs/memory/1", headers={"If-None-Match": etag, "Prefer": "wait=20"})
        with mock.patch.object(JobTable, "find", return_value=None):
            self.lab.set("1", "RUNNING")
            self.assertEqual((answer.status, answer.json()["events"][0]["job"]["state"]), (200, "RUNNING"))

    def test_since_beats_if_none_match(self) -> None:
        """With both, ``since`` counts."""
        etag = self.lab.get("/v1/jobs/memory/1").header("etag") or ""
        answer = self.lab.get("/v1/jobs/memory/1?since=0&wait=0", headers={"If-None-Match": etag})
        self.assertEqual(answer.status, 200)

    def test_head(self) -> None:
        """HEAD has the headers of GET and no body."""
        answer = self.lab.request("HEAD", "/v1/jobs/memory/1")
        self.assertEqual((answer.status, answer.body()), (200, b""))
        self.assertEqual(answer.header("jobpush-cursor"), self.lab.cursor)

    def test_staleness(self) -> None:
        """A scheduler that is down is no error: 200, with the age of what is told."""
        self.lab.queue.failure = QueueError("down")
        self.lab.tick(6)
        answer = self.lab.get("/v1/jobs/memory/1").json()
        self.assertEqual((answer["job"]["state"], answer["health"]), ("QUEUED", "stale"))
        self.assertGreater(answer["stale_s"], 5)

    def test_task_without_a_row(self) -> None:
        """A task of an array's pending range is answered for by the range."""
        self.lab.queue.set("7", "QUEUED", pending_tasks=TaskSet.parse("0-9"), user="kim")
        self.lab.tick()
        job = self.lab.get("/v1/jobs/memory/7_4").json()["job"]
        self.assertEqual((job["id"], job["state"], job["parent"], job["task_index"]), ("7_4", "QUEUED", "7", 4))
        self.assertEqual(self.lab.get("/v1/jobs/memory/7_4").json()["history"], [], "what its array did, it did not")
        self.assertEqual(self.lab.get("/v1/jobs/memory/7_10").status, 404)
        array = self.lab.get("/v1/jobs/memory/7").json()["job"]
        self.assertEqual((array["state"], array["counts"], array["pending_tasks"]), ("QUEUED", {"QUEUED": 10}, "0-9"))

    def test_waiting_for_a_task_without_a_row(self) -> None:
        """A waiter for a task is woken when the task gets a row of its own."""
        self.lab.queue.set("7", "QUEUED", pending_tasks=TaskSet.parse("0-9"))
        self.lab.tick()
        answer = self.lab.get("/v1/jobs/memory/7_4?since=now&wait=60")
        whole = self.lab.get("/v1/jobs/memory/7?since=now&wait=60")
        self.lab.queue.set("7", "QUEUED", pending_tasks=TaskSet.parse("0-3,5-9"))
        self.lab.set("7_4", "RUNNING")
        self.assertEqual(answer.json()["events"][0]["previous"], {"state": "QUEUED"})
        self.assertEqual([e["job"]["id"] for e in whole.json()["events"]], ["7_4", "7"])


class UnknownJobTests(LabCase):
    """Ids that are valid and unknown."""

    def test_without_wait(self) -> None:
        """404 at once."""
        answer = self.lab.get("/v1/jobs/memory/99")
        self.assertEqual((answer.status, answer.json()["parameter"]), (404, "id"))

    def test_with_wait(self) -> None:
        """Held until a query that began after the request is complete, then 404."""
        answer = self.lab.get("/v1/jobs/memory/99?wait=60")
        self.assertTrue(answer.held)
        self.lab.tick()
        self.assertEqual(answer.status, 404)

    def test_query_in_progress_does_not_count(self) -> None:
        """A query that had begun before the request proves nothing."""
        self.lab.queue.pending = []
        self.lab.tick()
        answer = self.lab.get("/v1/jobs/memory/99?wait=60")
        self.lab.queue.pending.pop().callback(None)
        self.lab.clock.advance(0)
        self.assertTrue(answer.held)
        self.lab.tick()
        self.lab.queue.pending.pop().callback(None)
        self.assertEqual(answer.status, 404)

    def test_just_submitted(self) -> None:
        """A job that the next snapshot holds is found, and its first event is after the given cursor."""
        answer = self.lab.get(f"/v1/jobs/memory/99?since={self.lab.cursor}&wait=60")
        self.lab.set("99", "RUNNING")
        self.assertEqual(answer.json()["job"]["state"], "RUNNING")
        self.assertEqual([e["job"]["state"] for e in answer.json()["events"]], ["QUEUED", "RUNNING"])

    def test_just_submitted_until_terminal(self) -> None:
        """It is waited for like any other once it is there."""
        answer = self.lab.get("/v1/jobs/memory/99?until=terminal&wait=60")
        self.lab.set("99", "RUNNING")
        self.assertTrue(answer.held)
        self.lab.set("99", "FAILED", exit_code=3)
        self.assertEqual(answer.json()["job"]["exit_code"], 3)

    def test_scheduler_down(self) -> None:
        """While the scheduler cannot be asked, nothing proves a job unknown: the time-out says so, not 404."""
        self.lab.queue.failure = QueueError("down")
        self.lab.tick()
        answer = self.lab.get("/v1/jobs/memory/99?wait=5")
        self.lab.tick(6)
        self.assertEqual((answer.status, answer.json()["job"], answer.json()["timed_out"]), (200, None, True))
        self.assertEqual(answer.json()["health"], "stale")

    def test_no_query_in_time(self) -> None:
        """A wait that is over before any query could prove anything is a time-out, not 404."""
        self.lab.queue.pending = []
        self.lab.tick()
        answer = self.lab.get("/v1/jobs/memory/99?wait=2")
        self.lab.tick(3)
        self.assertEqual((answer.status, answer.json()["job"], answer.json()["timed_out"]), (200, None, True))
        answer = self.lab.get("/jobstatus?jobId=99&timeout=2")
        self.lab.tick(3)
        self.assertEqual((answer.status, answer.json(), answer.header("jobpush-timed-out")), (200, None, "1"))

    def found_and_not_told(self, end: Callable[[], None]) -> None:
        """
        A look may have found the job at the end, and not be over, as accounting is still asked: then the cursor is not ahead of
        the job's events, which come with the next request.
        """
        self.patch(self.lab.service, "look_up", lambda jobs: Deferred())
        cursor = self.lab.cursor
        paths = (f"/jobstatus?jobId=99&since={cursor}&timeout=5", f"/v1/jobs/memory/99?since={cursor}&wait=5", "/v1/jobs/memory/99?wait=5")
        answers = [self.lab.get(path) for path in paths]
        self.lab.set("99", "RUNNING")
        self.assertNotEqual(self.lab.cursor, cursor)
        self.assertTrue(all(answer.held for answer in answers))
        end()
        self.assertEqual([(answer.status, answer.header("jobpush-cursor")) for answer in answers], [(200, cursor)] * 3)

    def test_found_when_the_time_is_up(self) -> None:
        """See `found_and_not_told`."""
        self.found_and_not_told(lambda: self.lab.tick(6))

    def test_found_at_the_end_of_the_service(self) -> None:
        """See `found_and_not_told`."""
        self.found_and_not_told(self.lab.service.announce_end)

    def test_the_end_of_the_service_proves_nothing(self) -> None:
        """Who looks for a job when the service ends is told to come back."""
        self.lab.queue.pending = []
        self.lab.tick()
        answer = self.lab.get("/v1/jobs/memory/99?wait=60")
        self.lab.service.announce_end()
        self.assertEqual((answer.status, answer.json()["timed_out"]), (200, True))
        self.assertIsNotNone(answer.header("retry-after"))

    def test_only_the_journal_remembers(self) -> None:
        """A job that the table has forgotten is told as its last event told it."""
        self.lab.set("1", "COMPLETED", exit_code=0)
        self.lab.service.table.cluster("memory").forget("1")
        answer = self.lab.get("/v1/jobs/memory/1").json()
        self.assertEqual((answer["job"]["state"], answer["job"]["exit_code"]), ("COMPLETED", 0))

    def test_disconnect(self) -> None:
        """A client that leaves while its job is looked for leaves nothing behind."""
        answer = self.lab.get("/v1/jobs/memory/99?wait=60")
        self.assertEqual(self.lab.registry.held, 1)
        answer.cancel()
        self.assertEqual(self.lab.registry.held, 0)
        self.assertEqual(
            len(self.lab.clock.getDelayedCalls()), 5,
            "only the next ticks of the monitor, the expiry of workflows and the watch of the journal, the heartbeat, and the end of freshness",
        )  # fmt: skip


class JobStatusTests(LabCase):
    """``GET /jobstatus?jobId=``."""

    def test_at_once(self) -> None:
        """The bare descriptor."""
        answer = self.lab.get("/jobstatus?jobId=1")
        self.assertEqual((answer.json()["id"], answer.json()["state"]), ("1", "QUEUED"))
        self.assertEqual(answer.header("jobpush-cursor"), self.lab.cursor)

    def test_held(self) -> None:
        """With ``since`` it is held until the next change."""
        answer = self.lab.get("/jobstatus?jobId=1&since=now&timeout=60")
        self.assertTrue(answer.held)
        self.lab.set("1", "RUNNING")
        self.assertEqual(answer.json()["state"], "RUNNING")
        answer = self.lab.get(f"/jobstatus?jobId=1&since={answer.header('jobpush-cursor')}&timeout=60")
        self.assertTrue(answer.held)
        self.lab.set("1", "SUSPENDED")
        self.assertEqual(answer.json()["state"], "SUSPENDED")

    def test_terminal_is_answered_at_once(self) -> None:
        """A job that has ended is never waited for."""
        self.lab.set("1", "FAILED", exit_code=1)
        self.assertEqual(self.lab.get("/jobstatus?jobId=1&since=now").json()["state"], "FAILED")

    def test_time_out(self) -> None:
        """The body is ``null``, and a header says why."""
        answer = self.lab.get("/jobstatus?jobId=1&since=now&timeout=3")
        self.lab.tick(3)
        self.assertEqual((answer.status, answer.json(), answer.header("jobpush-timed-out")), (200, None, "1"))
        self.assertEqual(answer.header("jobpush-cursor"), self.lab.cursor)

    def test_no_job_id(self) -> None:
        """400, naming it."""
        self.assertEqual(self.lab.get("/jobstatus").json()["parameter"], "jobId")


class SeveralClustersTests(LabCase):
    """Two queues in one service."""

    def make_lab(self) -> Lab:
        return Lab(queues=2)

    def test_jobstatus_needs_the_cluster(self) -> None:
        """400, naming the clusters."""
        answer = self.lab.get("/jobstatus?jobId=1")
        self.assertEqual(answer.status, 400)
        self.assertIn("memory, second", answer.json()["detail"])
        self.assertEqual(self.lab.get("/jobstatus?jobId=1&cluster=memory").json()["id"], "1")

    def test_bare_ids_need_the_cluster(self) -> None:
        """A bare id in a filter is refused where it could be either's."""
        self.assertEqual(self.lab.get("/v1/changes?job=1&since=now&wait=0").json()["parameter"], "job")

    def test_one_that_is_down_does_not_slow_the_other(self) -> None:
        """Each queue has a monitor of its own."""
        self.lab.queues[1].failure = QueueError("down")
        self.lab.set("1", "RUNNING")
        self.lab.tick(6)
        clusters = self.lab.get("/v1/changes").json()["clusters"]
        self.assertEqual((clusters["memory"]["health"], clusters["second"]["health"]), ("ok", "stale"))
        self.assertEqual(self.lab.states(), {"1": "RUNNING"})


class AliasTests(LabCase):
    """Jobs with more than one id."""

    def test_known(self) -> None:
        """A job is found by each of its ids, and answered with its own."""
        self.lab.set("7", "RUNNING", aliases=("het8",))
        self.assertEqual(self.lab.get("/v1/jobs/memory/het8").json()["job"]["id"], "7")
        self.assertEqual(self.lab.get("/jobstatus?jobId=het8").json()["id"], "7")

    def test_known_later(self) -> None:
        """What is no id of a job when it is asked for may be one after a look."""
        self.lab.queue.set("7", "RUNNING", aliases=("het8",))
        answers = [self.lab.get("/v1/jobs/memory/het8?wait=10"), self.lab.get("/jobstatus?jobId=het8&timeout=10")]
        self.assertTrue(all(answer.held for answer in answers))
        self.lab.tick(2)
        self.assertEqual((answers[0].json()["job"]["id"], answers[1].json()["id"]), ("7", "7"))

    def test_unknown_to_jobstatus(self) -> None:
        """The call of 2010 names its own parameter; where no look came in time, it answers null."""
        answer = self.lab.get("/jobstatus?jobId=77&timeout=10")
        self.lab.tick(2)
        self.assertEqual((answer.status, answer.json()["parameter"]), (404, "jobId"))
        self.assertIn("memory lists no job 77", answer.json()["detail"])
        self.lab.queue.pending = []
        late = self.lab.get("/jobstatus?jobId=78&timeout=3")
        self.lab.clock.run(3.1)
        self.assertEqual((late.json(), late.header("jobpush-timed-out")), (None, "1"))
        for query in self.lab.queue.pending:
            query.callback(None)
        self.lab.queue.pending = None

    def test_cursor_of_unknown(self) -> None:
        """
        Where a look that had begun before the question shows the job, and the next one does not come in time, what was told of
        the job is after the cursor of the answer that has no job.
        """
        self.lab.queue.pending = []
        self.lab.queue.set("78", "RUNNING")
        self.lab.clock.advance(1.0)
        answers = [self.lab.get("/jobstatus?jobId=78&timeout=3"), self.lab.get("/v1/jobs/memory/78?wait=3")]
        before, self.lab.queue.pending = self.lab.queue.pending, []
        self.assertEqual(len(before), 1)
        before[0].callback(None)
        self.lab.clock.run(3.1)
        self.assertIn("78", self.lab.states())
        self.assertEqual((answers[0].json(), answers[1].json()["job"]), (None, None))
        for answer in answers:
            told = self.lab.get(f"/v1/changes?since={answer.header('jobpush-cursor')}&wait=0&job=78").json()["events"]
            self.assertEqual([event["job"]["state"] for event in told], ["QUEUED", "RUNNING"])
        for query in self.lab.queue.pending:
            query.callback(None)
        self.lab.queue.pending = None


class ReadingTests(LabCase):
    """Jobs that are looked for in the journal."""

    def make_lab(self) -> Lab:
        return Lab(self.mktemp())

    def test_seen_meanwhile(self) -> None:
        """A job that is seen while the journal is read for it is answered as it was seen."""
        self.lab.service.table.cluster("memory").forget("1")
        self.lab.threads.hold("read")
        answer = self.lab.get("/v1/jobs/memory/1")
        self.assertTrue(answer.held)
        self.lab.set("1", "RUNNING")
        self.lab.threads.release()
        self.assertEqual((answer.json()["job"]["state"], answer.json()["cursor"]), ("RUNNING", self.lab.cursor))

    def test_first_seen_meanwhile(self) -> None:
        """A job that is seen for the first time while the journal is read for it is found, also by who will not wait."""
        self.lab.threads.hold("read")
        answer = self.lab.get("/v1/jobs/memory/5?wait=0")
        self.assertTrue(answer.held)
        self.lab.set("5", "RUNNING")
        self.lab.threads.release()
        self.assertEqual(answer.json()["job"]["state"], "RUNNING")


class NeverSeenTests(LabCase):
    """Jobs that came and went while jobpush did not look: accounting knows of them."""

    def setUp(self) -> None:
        super().setUp()
        self.lab.queue.facts = QueueFacts(sees_all=True, accounting=True, evidence="test")
        self.lab.service.monitors["memory"].status.facts = self.lab.queue.facts
        record = {"exit_code": 3, "confidence": Confidence.ACCOUNTING, "started_at": NOW - 60, "ended_at": NOW - 30, "nodes": "n1"}
        self.lab.queue.records["20"] = self.lab.queue.set("20", "FAILED", **record)
        del self.lab.queue.jobs["20"]

    def test_each_way_to_ask(self) -> None:
        """Held or not, by whatever route: how it ended, with its history, and at once."""
        for path in ("/v1/jobs/memory/20", "/v1/jobs/memory/20?until=terminal&wait=60", "/jobstatus?jobId=20"):
            lab = Lab()
            lab.queue.facts, lab.queue.records = self.lab.queue.facts, self.lab.queue.records
            lab.start()
            self.addCleanup(lab.stop)
            answer = lab.get(path)
            lab.tick(3)
            job = answer.json().get("job", answer.json())
            self.assertEqual((answer.status, job["state"], job["exit_code"]), (200, "FAILED", 3), path)
            self.assertEqual(lab.steps("20"), ["QUEUED", "RUNNING", "FAILED"])

    def test_barrier(self) -> None:
        """What accounting knows of is met; the rest is unknown; one question for all."""
        ids = [f"memory/{number}" for number in (20, 21, 22)]
        answer = self.lab.post("/v1/wait", {"jobs": ids, "wait": 60})
        self.lab.tick(3)
        told = answer.json()
        self.assertEqual(([met["job"] for met in told["met"]], told["unknown"]), (["memory/20"], ["memory/21", "memory/22"]))
        self.assertEqual(self.lab.queue.recorded_for, [("20", "21", "22")])

    def test_unknown_to_both(self) -> None:
        """404, as ever, and accounting is not asked for each question."""
        for _ in range(5):
            answer = self.lab.get("/v1/jobs/memory/21?wait=60")
            self.lab.tick(3)
            self.assertEqual(answer.status, 404)
        self.assertLessEqual(len(self.lab.queue.recorded_for), 2)

    def test_accounting_that_does_not_answer(self) -> None:
        """A request that may not be held waits for a second."""
        self.lab.queue.recorded = lambda jobs: Deferred()  # type: ignore[method-assign]
        answer = self.lab.get("/v1/jobs/memory/20")
        self.assertTrue(answer.held)
        self.lab.clock.run(1.1, step=0.1)
        self.assertEqual(answer.status, 404)
