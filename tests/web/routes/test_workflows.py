"""
The routes on workflows: what a request must be, and what its answer has. What becomes of a workflow is in
tests/core/test_workflows.py.
"""

from __future__ import annotations

import json
from typing import Any

from jobpush.core.filters import ALL, Visibility
from jobpush.core.workflow_quotas import MEMBER_BYTES, WORKFLOW_BYTES, Quotas, Usage
from jobpush.web.access import Policy
from jobpush.web.held.questions import Question, Ready
from jobpush.web.problems import Problem
from jobpush.web.routes import workflows
from jobpush.web.routes.common import Polls
from jobpush.web.routes.workflows import WorkflowRoutes
from tests.support import LabCase, Pending, Says, quoted, step_until


class WorkflowCase(LabCase):
    """A lab with jobs ``1`` (queued), ``2`` and ``3``."""

    def setUp(self) -> None:
        super().setUp()
        self.lab.queue.set("2", "QUEUED")
        self.lab.set("3", "QUEUED")

    def put(self, name: str = "w7", jobs: Any = ("memory/1", "memory/2"), **fields: Any) -> Pending:
        """A client says which jobs a workflow has."""
        return self.lab.request("PUT", f"/v1/workflows/{name}", data=json.dumps({"jobs": list(jobs), **fields}).encode())


    def room(self, owner: Usage, total: Usage = Quotas().total) -> None:  # noqa: B008
        """From now on there is as much."""
        self.lab.service.workflows.quotas = Quotas(owner, total)


class PutTests(WorkflowCase):
    """``PUT``."""

    def test_answer(self) -> None:
        """The whole workflow, as a GET answers it; 201 where it is new, 200 where it was known."""
        first = self.put(edges=[["memory/1", "memory/2"]])
        self.assertEqual((first.status, first.header("content-type")), (201, "application/json"))
        self.assertEqual(first.json(), self.lab.get("/v1/workflows/w7").json())
        self.assertEqual(self.put().status, 200)

    def test_cursor(self) -> None:
        """Nothing is missed by who goes on from the cursor of the answer, and nothing comes twice."""
        answer = self.put()
        self.assertEqual((answer.json()["cursor"], answer.header("jobpush-cursor")), (self.lab.cursor, self.lab.cursor))
        self.lab.set("1", "RUNNING")
        told = self.lab.get(f"/v1/workflows/w7?since={answer.json()['cursor']}").json()["events"]
        self.assertEqual([event["workflow"]["state"] for event in told], ["RUNNING"])

    def test_edges(self) -> None:
        """Each is told once, in the order in which it was put."""
        edges = [["memory/2", "memory/1"], ["memory/3", "memory/1"], ["memory/2", "memory/1"]]
        answer = self.put(jobs=("memory/1", "memory/2", "memory/3"), edges=edges)
        self.assertEqual(answer.json()["edges"], edges[:2])

    def test_circles(self) -> None:
        """A way round in a circle is refused, and the job that is named is on it, not behind it or before it."""
        jobs = [f"memory/{name}" for name in ("a", "b", "c", "behind", "before")]
        edges = [["a", "b"], ["b", "c"], ["c", "a"], ["c", "behind"], ["before", "a"]]
        answer = self.put(jobs=jobs, edges=[[f"memory/{end}" for end in edge] for edge in edges])
        self.assertEqual((answer.status, answer.json()["parameter"]), (400, "edges"))
        self.assertRegex(answer.json()["detail"], "memory/[abc] would have to follow itself")
        elsewhere = self.put(jobs=[f"memory/{name}" for name in "xypq"], edges=[[f"memory/{begin}", f"memory/{end}"] for begin, end in ("xy", "pq", "qp")])
        self.assertEqual((elsewhere.status, elsewhere.json()["parameter"]), (400, "edges"))
        self.assertEqual(self.put(jobs=jobs, edges=[["memory/a", "memory/b"], ["memory/a", "memory/c"], ["memory/b", "memory/c"]]).status, 201)

    def test_edges_of_others(self) -> None:
        """An edge to a job that is none of the workflow's is refused by that job's name, at either end."""
        for edge in (["memory/1", "memory/9"], ["memory/9", "memory/1"]):
            answer = self.put(edges=[edge])
            self.assertEqual((answer.status, answer.json()["parameter"]), (400, "edges"))
            self.assertIn("memory/9 is none of the workflow's jobs", answer.json()["detail"])
        for value in ("memory/1", ["memory/1"], ["memory/1", "memory/2", "memory/1"], 5):
            self.assertEqual(self.put(edges=[value]).json()["parameter"], "edges", value)

    def test_most(self) -> None:
        """More edges or workflows than may be are refused; what is known already can be put again."""
        self.patch(workflows, "MOST_EDGES", 1)
        self.assertEqual(self.put(edges=[["memory/1", "memory/2"]]).status, 201)
        answer = self.put("other", jobs=("memory/1", "memory/2", "memory/3"), edges=[["memory/1", "memory/2"], ["memory/1", "memory/3"]])
        self.assertEqual((answer.status, answer.json()["parameter"]), (413, "edges"))
        self.room(owner=Usage(2, 10, 100_000))
        self.assertEqual(self.put("second").status, 201)
        refused = self.put("third")
        self.assertEqual((refused.status, refused.header("retry-after")), (429, "60"))
        self.assertEqual(self.put("second", jobs=("memory/3",)).status, 200)

    def test_most_members_in_all(self) -> None:
        """Jobs and edges of all workflows are limited; one that is put again gives up those that it had."""
        self.room(owner=Usage(10, 4, 100_000))
        jobs = [f"memory/{number}" for number in range(1, 4)]
        self.assertEqual(self.put("one", jobs=jobs, edges=[jobs[:2]]).status, 201)
        refused = self.put("two", jobs=jobs)
        self.assertEqual((refused.status, refused.header("retry-after")), (429, "60"))
        self.assertIn("4 jobs", refused.json()["detail"])
        self.assertEqual(self.put("one", jobs=[*jobs, "memory/4"]).status, 200)
        self.assertEqual(self.put("one", jobs=jobs[:2], edges=[jobs[:2]]).status, 200)
        self.room(owner=Usage(10, 10, self.lab.service.workflows.usage[""].size + WORKFLOW_BYTES + 2 * MEMBER_BYTES + 100))
        refused = self.put("two", jobs=jobs[:2], edges=[jobs[:2]])
        self.assertEqual((refused.status, refused.header("retry-after")), (429, "60"))
        self.assertIn("bytes", refused.json()["detail"])
        self.assertEqual(self.put("two", jobs=jobs[:2]).status, 201)

    def test_most_of_all(self) -> None:
        """Where all together have no room: 503. It is counted, and nothing has changed."""
        self.room(owner=Usage(10, 10, 100_000), total=Usage(1, 100, 1_000_000))
        self.assertEqual(self.put("one").status, 201)
        refused = self.put("two")
        self.assertEqual((refused.status, refused.header("retry-after"), refused.json()["detail"]), (503, "60", "no room: all workflows together may have at most 1 workflows"))
        self.assertEqual(self.lab.service.workflows.refused, {("put", "all"): 1})
        self.assertEqual(self.lab.get("/v1/workflows/two").status, 404)
        self.assertEqual(self.lab.request("DELETE", "/v1/workflows/one").status, 204)
        self.assertEqual(self.put("two").status, 201)

    def test_tags_take_no_places(self) -> None:
        """Workflows that were found in one user's tags leave others as many of their own."""
        self.room(owner=Usage(1, 10, 100_000))
        self.lab.set("7", "RUNNING", user="kim", comment="workflow=align")
        self.lab.set("8", "RUNNING", user="kim", comment="workflow=other")
        self.assertEqual(self.lab.get("/v1/workflows/align@kim").status, 200)
        self.assertEqual(self.lab.get("/v1/workflows/other@kim").status, 404)
        self.assertEqual(self.put("one").status, 201)
        self.assertEqual(self.put("two").status, 429)
        self.assertEqual(self.lab.service.workflows.refused, {("tag", "owner"): 2, ("put", "owner"): 1})

    def test_a_journal_that_cannot_be_written(self) -> None:
        """503, with when to come back; the workflow is not there, and can be put when the journal can be written."""
        self.lab.journal._writer.execute("PRAGMA query_only=1")
        answer = self.put()
        self.assertEqual((answer.status, answer.header("retry-after")), (503, "5"))
        self.assertEqual(self.lab.get("/v1/workflows/w7").status, 404)
        self.lab.journal._writer.execute("PRAGMA query_only=0")
        self.assertEqual(self.put().status, 201)

    def test_an_array_and_its_task(self) -> None:
        """A task counts once if its array is named too, before it or after it; a task whose array is not named counts."""
        for index in (1, 2):
            self.lab.queue.set(f"9_{index}", "RUNNING")
        self.lab.tick()
        for jobs in (("memory/9", "memory/9_1"), ("memory/9_1", "memory/9")):
            self.assertEqual([job["job"] for job in self.put(jobs=jobs).json()["jobs"]], ["memory/9"])
        self.assertEqual([job["job"] for job in self.put(jobs=("memory/9_1", "memory/1")).json()["jobs"]], ["memory/9_1", "memory/1"])

    def test_many_jobs(self) -> None:
        """Thousands of jobs are all there in the answer, each once, in their order."""
        jobs = [f"memory/x{number}" for number in range(1300)]
        self.assertEqual([job["job"] for job in self.put(jobs=jobs).json()["jobs"]], jobs)
        self.assertEqual([job["job"] for job in self.lab.get("/v1/workflows/w7").json()["jobs"]], jobs)


class ListTests(WorkflowCase):
    """``GET /v1/workflows``."""

    def test_pages(self) -> None:
        """By name, a page at a time; the last one has no ``after``, also where it is full."""
        for name in ("b", "a", "d", "c"):
            self.put(name)
        seen, after = [], ""
        for _ in range(2):
            page = self.lab.get(f"/v1/workflows?limit=2{after and '&after=' + after}").json()
            seen.append([each["name"] for each in page["workflows"]])
            after = page.get("after", "")
        self.assertEqual((seen, after), ([["a", "b"], ["c", "d"]], ""))

    def test_cursor(self) -> None:
        """From which changes can be followed."""
        self.put()
        answer = self.lab.get("/v1/workflows")
        self.assertEqual((answer.json()["cursor"], answer.header("jobpush-cursor")), (self.lab.cursor, self.lab.cursor))

    def test_most(self) -> None:
        """No more than two thousand on a page, whatever is asked for."""
        for number in range(2):
            self.put(f"w{number}")
        self.assertEqual(len(self.lab.get("/v1/workflows?limit=999999").json()["workflows"]), 2)
        self.assertEqual(self.lab.get("/v1/workflows?limit=0").json()["parameter"], "limit")
        self.assertEqual(self.lab.get("/v1/workflows?queue=batch").json()["parameter"], "queue")

    def test_without_jobs(self) -> None:
        """A list has each workflow's state and counts, not its jobs."""
        self.put()
        (listed,) = self.lab.get("/v1/workflows").json()["workflows"]
        self.assertEqual(listed["counts"], {"QUEUED": 2})
        self.assertNotIn("jobs", listed)


class OneTests(WorkflowCase):
    """``GET /v1/workflows/{name}``."""

    def test_until(self) -> None:
        """What is so already is answered at once, with what happened since the cursor, and not as timed out."""
        cursor = self.put().json()["cursor"]
        self.lab.set("1", "RUNNING")
        for query in ("until=started&wait=60", f"until=started&since={cursor}&wait=60", "until=started&since=now&wait=60", "until=started"):
            answer = self.lab.get(f"/v1/workflows/w7?{query}")
            self.assertFalse(answer.held, query)
            self.assertFalse(answer.json()["timed_out"], query)
        since = self.lab.get(f"/v1/workflows/w7?until=started&since={cursor}").json()
        self.assertEqual([event["workflow"]["state"] for event in since["events"]], ["RUNNING"])

    def test_usual_wait(self) -> None:
        """``since`` or ``until`` without ``wait`` is held for the usual time; neither is answered at once."""
        self.put()
        answers = [self.lab.get(f"/v1/workflows/w7?{query}") for query in ("since=now", "until=terminal")]
        self.assertFalse(self.lab.get("/v1/workflows/w7").held)
        self.lab.clock.run(55, step=0.5)
        self.assertEqual([answer.held for answer in answers], [True, True])
        self.lab.clock.run(6, step=0.5)
        self.assertEqual([answer.json()["timed_out"] for answer in answers], [True, True])

    def test_wait_zero(self) -> None:
        """A client that will not wait gets what there is, and is not told that time was up."""
        self.put()
        self.assertEqual(self.lab.get("/v1/workflows/w7?since=now&wait=0").json()["timed_out"], False)

    def test_none(self) -> None:
        """There is none: at once, where it could not be found in tags; else after a look, or when the time is up."""
        for name, query in (("w7", "wait=60"), ("w7@kim", ""), ("w7@kim", "wait=0")):
            answer = self.lab.get(f"/v1/workflows/{name}?{query}")
            self.assertFalse(answer.held, (name, query))
            self.assertEqual((answer.status, answer.json()["parameter"]), (404, "name"))
        self.lab.queue.pending = []
        held = self.lab.get("/v1/workflows/w7@kim?wait=5")
        self.assertTrue(held.held)
        self.lab.clock.run(5.2)
        self.assertEqual(held.status, 404)
        for query in self.lab.queue.pending:
            query.callback(None)
        self.lab.queue.pending = None

    def test_names(self) -> None:
        """A name that no workflow can have is refused."""
        for name in ("a b", ".x", "a" * 129, "w@" + "u" * 257, "<i>"):
            answer = self.lab.get(f"/v1/workflows/{quoted(name)}")
            self.assertEqual((answer.status, answer.json()["parameter"]), (400, "name"), name)
        self.assertEqual(self.lab.get("/v1/workflows/w@" + "u" * 256).status, 404)

    def test_state_of_the_cursor(self) -> None:
        """An answer that was claimed for an event has the state of that event, though there are later ones."""
        cursor = self.put().json()["cursor"]
        held = self.lab.get(f"/v1/workflows/w7?since={cursor}&wait=60")
        self.lab.clock.rightNow += 1.0
        self.lab.queue.set("1", "RUNNING")
        self.lab.tick()
        self.lab.set("1", "COMPLETED")
        told = held.json()
        self.assertEqual((told["cursor"], told["counts"]), (f"{told['cursor'].split('-')[0]}-{told['events'][-1]['seq']}", {"QUEUED": 1, "RUNNING": 1}))
        rest = self.lab.get(f"/v1/workflows/w7?since={told['cursor']}").json()
        self.assertEqual([event["workflow"]["counts"] for event in rest["events"]], [{"COMPLETED": 1, "QUEUED": 1}])

    def test_deleted_while_it_is_asked_for(self) -> None:
        """Who waits for its end is told that it was deleted, with what it was."""
        self.put()
        held = self.lab.get("/v1/workflows/w7?until=started&wait=60")
        gone = self.lab.request("DELETE", "/v1/workflows/w7")
        self.assertEqual((gone.status, gone.header("jobpush-cursor"), gone.body()), (204, self.lab.cursor, b""))
        step_until(lambda: not held.held, self.lab.tick, most=5)
        self.assertEqual((held.json()["deleted"], held.json()["name"], held.json()["counts"]), (True, "w7", {"QUEUED": 2}))

    def test_delete_of_none(self) -> None:
        """404; a name that none can have is 400; a journal that cannot be written is 503, and it stays."""
        self.assertEqual(self.lab.request("DELETE", "/v1/workflows/none").status, 404)
        self.assertEqual(self.lab.request("DELETE", "/v1/workflows/a%20b").status, 400)
        self.put()
        self.lab.journal._writer.execute("PRAGMA query_only=1")
        self.assertEqual(self.lab.request("DELETE", "/v1/workflows/w7").status, 503)
        self.lab.journal._writer.execute("PRAGMA query_only=0")
        self.assertEqual(self.lab.get("/v1/workflows/w7").status, 200)


class VisibilityTests(LabCase):
    """A workflow that a client may not see."""

    def setUp(self) -> None:
        super().setUp()
        self.lab.put("/v1/workflows/w7", {"jobs": ["memory/1"]})

    def test_one(self) -> None:
        """It takes the path of one that does not exist."""
        routes = WorkflowRoutes(self.lab.service, Polls(self.lab.service))

        def asked(visibility: Visibility) -> Question:
            return Question("workflow", ("w7",), {}, self.lab.clock.seconds(), visibility)

        self.assertIsInstance(routes.workflow(asked(ALL)), Ready)
        self.assertEqual(self.assertRaises(Problem, routes.workflow, asked(Visibility("lee"))).status, 404)

    def test_list(self) -> None:
        """It is not in lists."""
        self.assertEqual(len(self.lab.get("/v1/workflows").json()["workflows"]), 1)
        self.lab.serve(policy=Policy(private=True), authenticators=[Says()])
        self.assertEqual(self.lab.get("/v1/workflows", headers={"x-test-user": "lee"}).json()["workflows"], [])
        self.assertEqual(len(self.lab.get("/v1/workflows", headers={"x-test-user": "kim+operator"}).json()["workflows"]), 1)
