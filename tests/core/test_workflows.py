"""Workflows: put by clients or found in tags; their state, events, and what is kept of them."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from jobpush.core.model import JobDescriptor, QueueFacts, split_state
from jobpush.core.record import Change, JobStatusEvent
from jobpush.core.wire import number, number_all
from jobpush.core.workflow import Tally, WorkflowMember
from jobpush.core.workflow_quotas import Quotas, Usage, usage_of
from jobpush.core.workflows import QUIET_S, Workflows
from jobpush.events.workflow_expiry import EVERY_S
from jobpush.service import JobPush
from tests.support import Lab, LabCase


class WorkflowCase(LabCase):
    """A lab with jobs ``1`` (queued), ``2`` and ``3``."""

    def setUp(self) -> None:
        super().setUp()
        self.lab.queue.set("2", "QUEUED")
        self.lab.set("3", "QUEUED")

    def put(self, name: str = "w7", jobs: Any = ("1", "2", "3"), **fields: Any) -> Any:
        """A client says which jobs a workflow has."""
        return self.lab.request("PUT", f"/v1/workflows/{name}", json={"jobs": [f"memory/{job}" for job in jobs], **fields})

    def workflow(self, name: str = "w7", query: str = "") -> Any:
        """What is served of it."""
        return self.lab.get(f"/v1/workflows/{name}{query}").json()

    def told(self, name: str = "w7") -> list[Any]:
        """The workflow's own events."""
        return [e["workflow"] for e in self.lab.events() if e["type"] == "workflow" and e["workflow"]["name"] == name]

    def steps(self, name: str = "w7") -> list[str]:
        """The states that they tell, each once."""
        states = [told["state"] for told in self.told(name)]
        return [state for state, before in zip(states, [None, *states], strict=False) if state != before]


class PutTests(WorkflowCase):
    """``PUT /v1/workflows/{name}``."""

    def test_a_life(self) -> None:
        """From queued to its end: one state, counts, progress, the first failure; one event for each look that changes it."""
        self.assertEqual(self.put(edges=[["memory/1", "memory/2"], ["memory/2", "memory/3"]]).status, 201)
        self.assertEqual((self.workflow()["state"], self.workflow()["counts"], self.workflow()["progress"]), ("QUEUED", {"QUEUED": 3}, 0.0))
        self.lab.set("1", "RUNNING", started_at=100.0)
        self.assertEqual(self.workflow()["state"], "RUNNING")
        self.lab.set("1", "COMPLETED", exit_code=0, ended_at=200.0)
        self.assertEqual((self.workflow()["state"], self.workflow()["progress"]), ("RUNNING", 0.3333), "between two jobs it does not go back")
        self.lab.set("2", "FAILED", exit_code=3, ended_at=300.0, reason="NonZeroExitCode")
        self.lab.set("3", "CANCELLED", ended_at=301.0)
        whole = self.workflow()
        self.assertEqual((whole["state"], whole["settled"], whole["progress"], whole["counts"]),
                         ("FAILED", True, 1.0, {"CANCELLED": 1, "COMPLETED": 1, "FAILED": 1}))
        failure = whole["first_failure"]
        self.assertEqual((failure["job"], failure["state"], failure["exit_code"], failure["reason"]), ("memory/2", "FAILED", 3, "NonZeroExitCode"))
        self.assertEqual([h["state"] for h in whole["history"]], ["QUEUED", "RUNNING", "FAILED"])
        self.assertEqual(self.steps(), ["QUEUED", "RUNNING", "FAILED"])
        self.assertEqual([t["progress"] for t in self.told()], [0.0, 0.0, 0.3333, 0.6667, 1.0])
        self.assertEqual([j["state"] for j in whole["jobs"]], ["COMPLETED", "FAILED", "CANCELLED"])
        self.assertEqual(whole["edges"], [["memory/1", "memory/2"], ["memory/2", "memory/3"]])

    def test_idempotent(self) -> None:
        """The same once more is no event; other jobs are one."""
        self.put()
        cursor = self.lab.cursor
        self.assertEqual((self.put().status, self.lab.cursor), (200, cursor))
        self.assertEqual(self.put(jobs=("1", "2")).json()["counts"], {"QUEUED": 2})
        self.assertEqual([e["previous"] for e in self.lab.events(cursor)], [{"state": "QUEUED"}])
        self.lab.set("3", "RUNNING")
        self.assertEqual(self.workflow()["counts"], {"QUEUED": 2}, "3 is none of its jobs any more")

    def test_other_jobs(self) -> None:
        """A workflow that is put with other jobs has these, follows them, and ends when they do; the others are none of its."""
        self.put(jobs=("1", "2"))
        answer = self.put(jobs=("2", "3")).json()
        self.assertEqual([job["job"] for job in answer["jobs"]], ["memory/2", "memory/3"])
        self.lab.set("1", "FAILED", exit_code=1)
        self.lab.set("2", "RUNNING")
        self.assertEqual(self.workflow()["counts"], {"QUEUED": 1, "RUNNING": 1})
        self.assertEqual([job["state"] for job in self.workflow()["jobs"]], ["RUNNING", "QUEUED"])
        self.lab.queue.set("2", "COMPLETED")
        self.lab.set("3", "COMPLETED")
        self.assertEqual((self.workflow()["state"], self.workflow()["settled"]), ("COMPLETED", True))

    def test_jobs_that_nobody_has_seen(self) -> None:
        """Count as unknown, and join when they appear."""
        self.put(jobs=("1", "77"))
        self.assertEqual(self.workflow()["counts"], {"QUEUED": 1, "UNKNOWN": 1})
        self.lab.set("1", "COMPLETED")
        self.assertEqual((self.workflow()["state"], self.workflow()["settled"]), ("UNKNOWN", False))
        self.lab.set("77", "COMPLETED")
        self.assertEqual((self.workflow()["state"], self.workflow()["settled"]), ("COMPLETED", True))

    def test_jobs_that_ended_before(self) -> None:
        """Known from the table, or from the journal."""
        self.lab.set("1", "COMPLETED")
        self.lab.set("2", "FAILED", exit_code=2)
        self.lab.service.table.cluster("memory").forget("2")
        self.assertEqual(self.put(jobs=("1", "2")).json()["state"], "FAILED")

    def test_begun_and_ended_between_two_looks(self) -> None:
        """That it ran is told all the same."""
        self.put(jobs=("1", "2"))
        self.lab.queue.set("1", "COMPLETED")
        self.lab.set("2", "COMPLETED")
        self.assertEqual(self.steps(), ["QUEUED", "RUNNING", "COMPLETED"])

    def test_the_first_failure_is_taken_back(self) -> None:
        """A job that is requeued has not failed."""
        self.put()
        self.lab.set("1", "FAILED", exit_code=1, settled=False)
        self.assertEqual(self.workflow()["first_failure"]["job"], "memory/1")
        self.lab.set("1", "QUEUED", attempt=1)
        self.assertIsNone(self.workflow()["first_failure"])

    def test_the_first_failure_is_the_earliest(self) -> None:
        """By the scheduler's time of the end, in whatever order jobs are seen; which member it is of, and all that is known of it."""
        self.put()
        self.lab.queue.set("1", "FAILED", exit_code=1, ended_at=300.0)
        self.lab.queue.set("2", "TIMEOUT", signal=9, reason="TimeLimit", ended_at=200.0)
        self.lab.tick()
        failure = self.workflow()["first_failure"]
        self.assertEqual(failure, {
            "job": "memory/2", "member": "memory/2", "state": "TIMEOUT", "exit_code": None, "signal": 9, "reason": "TimeLimit", "at": "1970-01-01T00:03:20.000Z",
        })  # fmt: skip
        self.lab.set("3", "FAILED", exit_code=3, ended_at=250.0)
        self.assertEqual(self.workflow()["first_failure"], failure, "a later one changes nothing")
        self.lab.set("2", "QUEUED", attempt=1)
        self.assertEqual(self.workflow()["first_failure"]["job"], "memory/3", "then it is the earliest of the others")
        self.lab.set("2", "FAILED", attempt=1, exit_code=2, ended_at=200.0)
        self.assertEqual((self.workflow()["first_failure"]["job"], self.workflow()["first_failure"]["exit_code"]), ("memory/2", 2))

    def test_the_first_failure_of_those_that_ended_before(self) -> None:
        """When a client puts a workflow whose jobs have failed, or takes the first one that did out of it."""
        for job_id, ended_at in (("1", 300.0), ("2", 200.0), ("3", 250.0)):
            self.lab.queue.set(job_id, "FAILED", exit_code=1, ended_at=ended_at)
        self.lab.tick()
        self.assertEqual(self.put().json()["first_failure"]["job"], "memory/2")
        self.assertEqual(self.put(jobs=("1", "3")).json()["first_failure"]["job"], "memory/3")
        self.assertEqual(self.put(jobs=("1", "2", "3")).json()["first_failure"]["job"], "memory/2")

    def test_times(self) -> None:
        """It began when its first job did, and ended when its last one did; a requeue takes nothing of the first away."""
        self.put()
        self.lab.queue.set("1", "RUNNING", started_at=300.0)
        self.lab.queue.set("2", "RUNNING", started_at=200.0)
        self.lab.tick()
        begin = "1970-01-01T00:03:20.000Z"
        self.assertEqual((self.workflow()["started_at"], self.workflow()["ended_at"]), (begin, None))
        self.lab.set("2", "QUEUED", attempt=1)
        self.assertEqual(self.workflow()["started_at"], begin)
        self.lab.queue.set("1", "COMPLETED", started_at=300.0, ended_at=900.0)
        self.lab.queue.set("2", "COMPLETED", attempt=1, started_at=400.0, ended_at=500.0)
        self.lab.tick()
        self.assertIsNone(self.workflow()["ended_at"], "one of them waits still")
        self.lab.set("3", "COMPLETED", started_at=600.0, ended_at=700.0)
        self.assertEqual((self.workflow()["started_at"], self.workflow()["ended_at"]), (begin, "1970-01-01T00:15:00.000Z"))

    def test_arrays(self) -> None:
        """An array counts by its tasks; the first task that failed is named; a task named beside its array counts once."""
        for index in (1, 2, 3):
            self.lab.queue.set(f"9_{index}", "RUNNING", parent="9", task_index=index)
        self.lab.tick()
        self.put(jobs=("9", "9_2"))
        self.assertEqual((self.workflow()["counts"], len(self.workflow()["jobs"])), ({"RUNNING": 3}, 1))
        self.lab.set("9_3", "FAILED", parent="9", task_index=3, exit_code=4)
        whole = self.workflow()
        self.assertEqual((whole["counts"], whole["first_failure"]["job"], whole["first_failure"]["exit_code"]),
                         ({"FAILED": 1, "RUNNING": 2}, "memory/9_3", 4))

    def test_failed_task_of_an_array_that_is_put_again(self) -> None:
        """It is still the first failure of what has its array; not of what has not."""
        for index in (1, 2):
            self.lab.queue.set(f"9_{index}", "RUNNING", parent="9", task_index=index)
        self.lab.tick()
        self.put(jobs=("9",))
        self.lab.set("9_2", "FAILED", parent="9", task_index=2, exit_code=4)
        self.put(jobs=("9", "1"))
        self.assertEqual(self.workflow()["first_failure"]["job"], "memory/9_2")
        self.put(jobs=("1",))
        self.assertIsNone(self.workflow()["first_failure"])

    def test_delete(self) -> None:
        """The last event says so; then there is none; its jobs stay."""
        self.put()
        held = self.lab.get("/v1/workflows/w7?until=terminal&wait=60")
        self.assertEqual(self.lab.request("DELETE", "/v1/workflows/w7").status, 204)
        self.assertTrue(held.json()["deleted"])
        self.assertTrue(self.told()[-1]["deleted"])
        self.assertEqual((self.lab.get("/v1/workflows/w7").status, self.lab.request("DELETE", "/v1/workflows/w7").status), (404, 404))
        self.assertEqual(list(self.lab.service.workflows.names_of(self.lab.queue.jobs["1"])), [], "its jobs are none of its any more")
        self.assertEqual(self.lab.get("/v1/jobs/memory/1").status, 200)

    def test_list(self) -> None:
        """By name, a page at a time."""
        for name in ("b", "a", "c"):
            self.put(name)
        first = self.lab.get("/v1/workflows?limit=2").json()
        self.assertEqual(([w["name"] for w in first["workflows"]], first["after"]), (["a", "b"], "b"))
        self.assertEqual([w["name"] for w in self.lab.get("/v1/workflows?after=b").json()["workflows"]], ["c"])
        self.assertEqual(self.lab.get("/v1/workflows?state=RUNNING").json()["workflows"], [])

    def test_errors(self) -> None:
        """Each names what is wrong."""
        for body, parameter in [
            ({}, "jobs"), ({"jobs": []}, "jobs"), ({"jobs": "memory/1"}, "jobs"), ({"jobs": [1]}, "jobs"), ({"jobs": ["nowhere/1"]}, "jobs"),
            ({"jobs": ["memory/1"], "edges": [["memory/1"]]}, "edges"), ({"jobs": ["memory/1"], "edges": [["memory/1", "memory/2"]]}, "edges"),
            ({"jobs": ["memory/1"], "edges": "x"}, "edges"), ({"jobs": ["memory/1"], "name": "x"}, "name"),
            ({"jobs": ["memory/1", "memory/2"], "edges": [["memory/1", "memory/2"], ["memory/2", "memory/1"]]}, "edges"),
            ({"jobs": ["memory/1"], "edges": [["memory/1", "memory/1"]]}, "edges"),
        ]:  # fmt: skip
            answer = self.lab.request("PUT", "/v1/workflows/w7", json=body)
            self.assertEqual((answer.status, answer.json()["parameter"]), (400, parameter), body)
        for name in ("a%20b", "w@kim", "%3Cimg%3E", "a" * 129, ".x"):
            self.assertEqual(self.put(name).json()["parameter"], "name", name)
        self.assertEqual(self.lab.request("PUT", "/v1/workflows/w7", json={"jobs": ["memory/1"] * 20001}).status, 400)
        self.assertEqual(self.lab.get("/v1/workflows/w7").status, 404)


class FoundTests(WorkflowCase):
    """Workflows that are found in jobs' tags."""

    def test_found(self) -> None:
        """By the comment; of each user a workflow of its own."""
        self.lab.queue.set("10", "RUNNING", user="kim", comment="workflow=align run 7")
        self.lab.queue.set("11", "QUEUED", user="kim", comment="x;workflow=align")
        self.lab.queue.set("12", "QUEUED", user="lee", comment="workflow=align")
        self.lab.queue.set("13", "QUEUED", user="kim", comment="noworkflow=align")
        self.lab.tick()
        self.assertEqual((self.workflow("align@kim")["counts"], self.workflow("align@kim")["found"]), ({"QUEUED": 1, "RUNNING": 1}, True))
        self.assertEqual(self.workflow("align@lee")["counts"], {"QUEUED": 1})
        self.assertEqual([w["name"] for w in self.lab.get("/v1/workflows?user=lee").json()["workflows"]], ["align@lee"])

    def test_settles_when_it_is_quiet(self) -> None:
        """More jobs may follow; a minute after the last has ended it is complete. One that joins later opens it again."""
        self.lab.set("10", "RUNNING", user="kim", comment="workflow=align")
        held = self.lab.get("/v1/workflows/align@kim?until=terminal&wait=600")
        self.lab.set("10", "COMPLETED", user="kim", comment="workflow=align")
        self.lab.set("11", "RUNNING", user="kim", comment="workflow=align")
        self.lab.set("11", "COMPLETED", user="kim", comment="workflow=align")
        self.assertEqual((self.workflow("align@kim")["state"], self.workflow("align@kim")["settled"]), ("COMPLETED", False))
        self.assertTrue(held.held)
        self.lab.clock.run(QUIET_S + EVERY_S, step=1)
        self.assertEqual((held.json()["state"], held.json()["settled"]), ("COMPLETED", True))
        self.lab.set("12", "QUEUED", user="kim", comment="workflow=align")
        self.assertEqual(self.workflow("align@kim")["state"], "RUNNING")

    def test_not_before_it_is_quiet(self) -> None:
        """A minute, counted from the last thing that happened to any of its jobs."""
        self.lab.set("10", "COMPLETED", user="kim", comment="workflow=align")
        self.lab.clock.run(QUIET_S - 2 * EVERY_S, step=1)
        self.assertFalse(self.workflow("align@kim")["settled"])
        self.lab.set("11", "COMPLETED", user="kim", comment="workflow=align")
        self.lab.clock.run(QUIET_S - 2, step=1)
        self.assertFalse(self.workflow("align@kim")["settled"])
        self.lab.clock.run(EVERY_S + 2, step=1)
        self.assertTrue(self.workflow("align@kim")["settled"])
        self.assertEqual([t["settled"] for t in self.told("align@kim")], [False, False, True], "which is told once")

    def test_quiet_is_not_enough(self) -> None:
        """A workflow with a job that has not ended, or not for sure, is not complete, however long nothing happens."""
        self.lab.queue.facts = QueueFacts(sees_all=True, accounting=True)
        self.lab.set("10", "COMPLETED", user="kim", comment="workflow=align")
        self.lab.set("11", "HELD", user="kim", comment="workflow=align")
        self.lab.clock.run(5 * QUIET_S, step=1)
        self.assertEqual((self.workflow("align@kim")["settled"], self.workflow("align@kim")["state"]), (False, "HELD"))

    def test_an_array_counts_once(self) -> None:
        """Its tasks carry its tag; the first that fails is named, in the first look too."""
        for index, state in ((1, "FAILED"), (2, "RUNNING")):
            self.lab.queue.set(f"9_{index}", state, parent="9", task_index=index, user="kim", comment="workflow=align", exit_code=1 if index == 1 else None)
        self.lab.tick()
        whole = self.workflow("align@kim")
        self.assertEqual((whole["counts"], whole["first_failure"]["job"]), ({"FAILED": 1, "RUNNING": 1}, "memory/9_1"))

    def test_waiting_for_one_that_is_not_there_yet(self) -> None:
        """Its jobs may have been submitted just now."""
        self.lab.queue.set("10", "RUNNING", user="kim", comment="workflow=align")
        answer = self.lab.get("/v1/workflows/align@kim?wait=10")
        none = self.lab.get("/v1/workflows/other@kim?wait=10")
        self.lab.tick(2)
        self.assertEqual((answer.json()["state"], none.status), ("RUNNING", 404))

    def test_retention(self) -> None:
        """A workflow that has ended is dropped in the end, and that is told."""
        self.lab.set("10", "COMPLETED", user="kim", comment="workflow=align")
        self.lab.clock.run(QUIET_S + EVERY_S, step=1)
        self.assertTrue(self.workflow("align@kim")["settled"])
        self.lab.clock.run(7 * 86400 - 2 * 900, step=900)
        self.lab.clock.run(1700, step=10)
        self.assertEqual(self.lab.get("/v1/workflows/align@kim").status, 200, "not before that")
        self.lab.clock.run(200, step=10)
        self.assertEqual(self.lab.get("/v1/workflows/align@kim").status, 404)


class RoomTests(WorkflowCase):
    """Quotas: `jobpush.core.workflow_quotas` has the sums."""

    def room(self, owner: Usage, total: Usage = Usage(100, 100, 10**6)) -> Workflows:  # noqa: B008
        """From now on there is as much."""
        self.lab.service.workflows.quotas = Quotas(owner, total)
        return self.lab.service.workflows

    def test_tags_of_one_look(self) -> None:
        """Workflows and jobs that come at once count as those that come one by one; each user has room of his own."""
        workflows = self.room(Usage(2, 3, 10**6))
        for count, (user, name) in enumerate([("kim", "a"), ("kim", "a"), ("kim", "b"), ("kim", "c"), ("kim", "a"), ("lee", "a"), ("lee", "c")]):
            self.lab.queue.set(f"2{count}", "QUEUED", user=user, comment=f"workflow={name}")
        self.lab.tick()
        self.assertEqual({name: list(record.detail.members) for name, record in workflows.records.items()}, {
            "a@kim": [("memory", "20"), ("memory", "21")], "b@kim": [("memory", "22")],
            "a@lee": [("memory", "25")], "c@lee": [("memory", "26")],
        })  # fmt: skip
        self.assertEqual(workflows.refused, {("tag", "owner"): 2})
        self.lab.set("20", "RUNNING", user="kim", comment="workflow=a")
        self.assertEqual(self.workflow("a@kim")["counts"], {"QUEUED": 1, "RUNNING": 1}, "what has joined goes on")

    def test_arrays_of_one_look(self) -> None:
        """An array takes the room of one job, however many tasks it has; one that finds none leaves nothing."""
        workflows = self.room(Usage(1, 2, 10**6))
        for job_id in ("7_1", "7_2", "7_3", "8_1"):
            self.lab.queue.set(job_id, "FAILED", user="kim", comment=f"workflow=a{job_id[0]}")
        self.lab.tick()
        self.assertEqual((list(workflows.records), workflows.usage["kim"].members), (["a7@kim"], 1))

    def test_tags_leave_room_for_those_that_are_put(self) -> None:
        """They take up three quarters of the room of all."""
        workflows = self.room(Usage(10, 10, 10**6), Usage(4, 100, 10**6))
        for count in range(5):
            self.lab.queue.set(f"2{count}", "QUEUED", user=f"u{count}", comment="workflow=a")
        self.lab.tick()
        self.assertEqual((len(workflows.records), workflows.refused), (3, {("tag", "all"): 2}))
        self.assertEqual((self.put("mine").status, self.put("mine2").status), (201, 503))

    def test_usage(self) -> None:
        """What is taken up is what the workflows have, whatever has become of them."""
        workflows = self.lab.service.workflows
        self.put("a", edges=[["memory/1", "memory/2"]])
        self.put("b", jobs=("1", "77"))
        self.put("a", jobs=("2", "3"))
        self.lab.set("4", "QUEUED", name="one", user="kim", comment="workflow=a")
        self.lab.set("4", "RUNNING", name="another", user="kim", comment="workflow=a", reason="why")
        self.lab.set("2", "RUNNING", name="three", reason="Resources")
        self.lab.request("DELETE", "/v1/workflows/b").body()
        expected: dict[str, Usage] = {}
        for name, record in workflows.records.items():
            owner = name.partition("@")[2]
            expected[owner] = expected.get(owner, Usage()) + usage_of(record.detail.members, record.detail.edges)
        self.assertEqual((sorted(workflows.records), workflows.usage), (["a", "a@kim"], expected))
        for name in ("a", "a@kim"):
            self.lab.request("DELETE", f"/v1/workflows/{name}").body()
        self.assertEqual(workflows.usage, {})


class FollowTests(WorkflowCase):
    """Waiting for workflows, by every way."""

    def test_long_poll(self) -> None:
        """``since`` and ``until`` as for a job."""
        cursor = self.put().json()["cursor"]
        change = self.lab.get(f"/v1/workflows/w7?since={cursor}&wait=60")
        started = self.lab.get("/v1/workflows/w7?until=started&wait=60")
        terminal = self.lab.get("/v1/workflows/w7?until=terminal&wait=60")
        self.lab.set("1", "HELD")
        self.assertEqual((change.json()["counts"], [e["type"] for e in change.json()["events"]]), ({"HELD": 1, "QUEUED": 2}, ["workflow"]))
        self.lab.set("2", "RUNNING")
        self.assertEqual((started.json()["state"], terminal.held), ("RUNNING", True))
        for job in "123":
            self.lab.queue.set(job, "COMPLETED")
        self.lab.tick()
        self.assertEqual((terminal.json()["state"], terminal.json()["cursor"]), ("COMPLETED", self.lab.cursor))
        self.assertEqual(self.workflow(query="?until=terminal&wait=60")["state"], "COMPLETED")
        timed_out = self.lab.get(f"/v1/workflows/w7?since={self.lab.cursor}&wait=5")
        self.lab.clock.run(6)
        self.assertEqual((timed_out.json()["timed_out"], timed_out.json()["events"]), (True, []))

    def test_filter(self) -> None:
        """``workflow=``: its own events and those of its jobs, its arrays' tasks too; without a filter workflows are told too."""
        self.lab.queue.set("9_1", "RUNNING", parent="9", task_index=1)
        self.lab.tick()
        self.put(jobs=("1", "9"))
        cursor = self.lab.cursor
        held = self.lab.get(f"/v1/changes?since={cursor}&workflow=w7&wait=60")
        self.lab.set("2", "RUNNING")
        self.assertTrue(held.held)
        self.lab.set("9_1", "COMPLETED", parent="9", task_index=1)
        told = [(e["type"], e.get("job", e.get("workflow")).get("id", "w7")) for e in held.json()["events"]]
        self.assertEqual(told, [("job", "9_1"), ("job", "9"), ("workflow", "w7")])
        self.assertEqual([e["type"] for e in self.lab.events(cursor, "&workflow=w7")], ["job", "job", "workflow"])
        self.assertEqual([e["type"] for e in self.lab.events(cursor)], ["job", "job", "job", "workflow"])
        self.assertEqual([e["type"] for e in self.lab.events(cursor, "&cluster=memory")], ["job", "job", "job"])
        self.assertEqual([j["id"] for j in self.lab.get("/v1/jobs?workflow=w7").json()["jobs"]], ["1", "9", "9_1"])

    def test_barrier(self) -> None:
        """A workflow beside a job."""
        self.put(jobs=("1", "2"))
        held = self.lab.post("/v1/wait", {"jobs": ["memory/3"], "workflows": ["w7"]})
        unknown = self.lab.post("/v1/wait", {"workflows": ["nowhere"], "wait": 60})
        self.assertEqual((unknown.json()["done"], unknown.json()["unknown"]), (False, ["nowhere"]))
        self.lab.set("3", "COMPLETED")
        self.lab.set("1", "COMPLETED")
        self.assertTrue(held.held)
        self.lab.set("2", "TIMEOUT")
        met = held.json()["met"]
        self.assertEqual([(m.get("job") or m["workflow"], m["state"]) for m in met], [("memory/3", "COMPLETED"), ("w7", "TIMEOUT")])

    def test_listeners_are_told_of_jobs_only(self) -> None:
        """Their contract is ``job_changed``."""
        told: list[JobStatusEvent] = []

        class Listener:
            name = "one"

            def job_changed(self, event: JobStatusEvent) -> None:
                told.append(event)

        lab = Lab(listeners=[Listener()]).start()
        self.addCleanup(lab.stop)
        lab.set("1", "RUNNING", user="kim", comment="workflow=align")
        lab.set("1", "COMPLETED", user="kim", comment="workflow=align")
        self.assertEqual([e.job.state for e in told], ["QUEUED", "RUNNING", "COMPLETED"])
        self.assertEqual(lab.journal.cursors(), {"one": lab.journal.last_seq})


class RestartTests(SynchronousTestCase):
    """Workflows survive a restart, with their jobs, edges and history."""

    def lab(self) -> Lab:
        lab = Lab(self.directory).start()
        self.addCleanup(lambda: lab.threads.stopped or lab.stop())
        return lab

    def test_restart(self) -> None:
        """In the middle, with jobs that the table has forgotten since."""
        self.directory = self.mktemp()
        lab = self.lab()
        for job in ("1", "2"):
            lab.set(job, "QUEUED")
        body = {"jobs": ["memory/1", "memory/2"], "edges": [["memory/1", "memory/2"]]}
        lab.request("PUT", "/v1/workflows/w7", json=body)
        lab.set("1", "FAILED", exit_code=7)
        before = lab.get("/v1/workflows/w7").json()
        lab.stop()
        lab = self.lab()
        lab.service.table.cluster("memory").forget("1")
        after = lab.get("/v1/workflows/w7").json()
        self.assertEqual({k: v for k, v in after.items() if k != "cursor"}, {k: v for k, v in before.items() if k != "cursor"})
        lab.set("2", "COMPLETED")
        self.assertEqual(lab.get("/v1/workflows/w7").json()["counts"], {"COMPLETED": 1, "FAILED": 1})
        self.assertEqual(lab.request("PUT", "/v1/workflows/w7", json=body).status, 200)
        lab.request("PUT", "/v1/workflows/w7", json={"jobs": ["memory/2"]})
        lab.stop()
        whole = self.lab().get("/v1/workflows/w7").json()
        self.assertEqual((whole["counts"], [job["job"] for job in whole["jobs"]]), ({"COMPLETED": 1}, ["memory/2"]))

    def test_dropped_stays_dropped(self) -> None:
        """And a change that cannot be made durable does not happen."""
        self.directory = self.mktemp()
        lab = self.lab()
        lab.set("1", "QUEUED")
        lab.request("PUT", "/v1/workflows/w7", json={"jobs": ["memory/1"]})
        lab.request("DELETE", "/v1/workflows/w7")
        lab.journal._writer.execute("PRAGMA query_only=1")
        self.assertEqual(lab.request("PUT", "/v1/workflows/w8", json={"jobs": ["memory/1"]}).status, 503)
        self.assertEqual(lab.get("/v1/workflows/w8").status, 404)
        lab.journal._writer.execute("PRAGMA query_only=0")
        lab.stop()
        self.assertEqual(self.lab().get("/v1/workflows").json()["workflows"], [])

    def test_tags_that_are_new(self) -> None:
        """Jobs that were known before their queue's tags were: their workflows are found at the start."""
        self.directory = self.mktemp()
        lab = Lab(self.directory)
        lab.service.workflows._tags = {}
        lab.start()
        lab.queue.set("1", "COMPLETED", user="kim", comment="workflow=old")
        lab.queue.set("2", "COMPLETED", user="kim", comment="workflow=align")
        lab.set("3", "RUNNING", user="kim", comment="workflow=align")
        self.assertEqual(lab.get("/v1/workflows").json()["workflows"], [])
        lab.stop()
        jobs, lab = lab.queue.jobs, Lab(self.directory)
        lab.queue.jobs.update(jobs)
        lab.start()
        self.addCleanup(lab.stop)
        lab.tick()
        self.assertEqual([(w["name"], w["counts"]) for w in lab.get("/v1/workflows").json()["workflows"]],
                         [("align@kim", {"COMPLETED": 1, "RUNNING": 1})])


STATES = st.sampled_from(["QUEUED", "HELD", "STARTING", "RUNNING", "SUSPENDED", "FINISHING", "COMPLETED", "FAILED", "CANCELLED"])


class SumTests(SynchronousTestCase):
    """What is kept as jobs change is what counting anew gives."""

    @settings(max_examples=150, deadline=None)
    @given(st.lists(st.lists(st.tuples(st.sampled_from(["1", "2", "3", "4", "5"]), STATES), max_size=6), max_size=8))
    def test_incremental(self, batches: list[list[tuple[str, str]]]) -> None:
        """Whatever changes in whatever order, however it falls into batches."""
        workflows = Workflows()
        keys = [("c", job) for job in ("1", "2", "3", "4", "5")]
        workflows.publish(self.numbered(self.planned(workflows.define("w", keys, (), lambda _: None, 0.0)), 1))
        now: dict[tuple[str, str], WorkflowMember] = {}
        seq, last = 2, workflows.records["w"].subject
        for batch in batches:
            events = []
            for job_id, state in batch:
                phase, outcome = split_state(state)
                job = JobDescriptor(cluster="c", id=job_id, phase=phase, outcome=outcome, settled=outcome is not None)
                before = now.get(job.key)
                if before is not None and before.settled and not job.terminal:
                    job = JobDescriptor(cluster="c", id=job_id, phase=phase, uid="another")
                else:
                    now[job.key] = WorkflowMember.of(job)
                events.append(number("e", seq, Change(job, None, 0.0)))
            plan = self.planned(workflows.follow(events))
            for change in plan.changes:
                self.assertEqual(change.previous, last.state)
                last = change.subject
            workflows.publish(self.numbered(plan, seq))
        tally = Tally()
        for key in keys:
            tally.add(now.get(key, WorkflowMember()))
        expected, served = tally.describe(last, settles=True), workflows.records["w"].subject
        self.assertEqual((served.state, served.counts, served.settled), (expected.state, expected.counts, expected.settled))
        self.assertEqual(served.visible(), last.visible())
        self.assertEqual(served.first_failure is not None, any(m.failed for m in now.values()))

    def planned(self, steps: Any) -> Any:
        """What a generator returns."""
        try:
            while True:
                next(steps)
        except StopIteration as stop:
            return stop.value

    def numbered(self, plan: Any, seq: int) -> Any:
        """As the publisher does it."""
        self.planned(number_all("e", seq - 1, plan))
        return plan


class DefaultTests(SynchronousTestCase):
    """An embedding application need say nothing."""

    def test_default(self) -> None:
        """A queue without options has the default tag."""
        lab = Lab()
        self.assertIsInstance(lab.service, JobPush)
        self.assertEqual(list(lab.service.workflows.tagging), ["memory"])
