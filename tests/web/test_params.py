"""Parameters of requests, in query strings, bodies and headers: what they mean, and that each error names its parameter."""

from __future__ import annotations

import json
from typing import Any

from tests.support import LabCase, quoted


class BadInputTests(LabCase):
    """Parameters."""

    def problem(self, path: str, status: int = 400, **kwargs: Any) -> Any:
        """The problem that a GET is answered with."""
        answer = self.lab.get(path, **kwargs)
        self.assertEqual((answer.status, answer.header("content-type")), (status, "application/problem+json"), path)
        self.assertEqual(answer.json()["status"], status)
        self.assertTrue(answer.json()["detail"])
        return answer.json()

    def test_each_names_its_parameter(self) -> None:
        """400, with the name of the parameter and what was expected."""
        for query, name in {
            "wait=-1": "wait", "wait=abc": "wait", "wait=nan": "wait", "wait=inf": "wait", "wait=": "wait", "wait=1&wait=2": "wait",
            "since=xyz": "since", "since=-1": "since", "since=1-2-3": "since", "since=": "since", "since=%00": "since",
            "since=" + "a" * 200 + "-1": "since", "limit=0": "limit", "limit=-5": "limit", "limit=ten": "limit", "limit=1.5": "limit",
            "limit=99999999999": "limit", "state=DEAD": "state", "cluster=nowhere": "cluster", "sinec=now": "sinec",
            "job=nowhere/1": "job", "job=memory/--help": "job", f"job={quoted('memory/1;rm -rf /')}": "job",
            "user=%ff%fe": "user", "%ff=1": "\ufffd", "workflow=a%20b": "workflow",
        }.items():  # fmt: skip
            problem = self.problem(f"/v1/changes?{query}")
            self.assertEqual(problem["parameter"], name, query)
        self.assertEqual(self.problem("/v1/jobs/memory/1?until=never")["parameter"], "until")
        self.assertEqual(self.problem("/jobstatus?jobId=1&timeout=x")["parameter"], "timeout")
        self.assertEqual(self.problem("/jobstatus?jobId=%24%28id%29")["parameter"], "jobId")

    def test_over_long_waits_are_clamped(self) -> None:
        """Ten minutes at most."""
        answer = self.lab.get("/v1/changes?since=now&wait=1e9")
        self.lab.clock.advance(599)
        self.lab.clock.advance(1.1)
        self.assertTrue(answer.json()["timed_out"])

    def test_ids(self) -> None:
        """What is no id of the scheduler is refused before anything runs; a cluster that is none is not found."""
        queries = self.lab.queue.queries
        for job_id in ("--help", "1;rm -rf /", "$(id)", "`id`", "1\n2", "a" * 5000, "-1", "%", "1/2"):
            self.assertEqual(self.problem(f"/v1/jobs/memory/{quoted(job_id)}?wait=9")["parameter"], "id", job_id)
        self.assertEqual(self.problem("/v1/jobs/nowhere/1", 404)["parameter"], "cluster")
        self.assertEqual(self.lab.queue.queries, queries)

    def test_gone_names_since(self) -> None:
        """410."""
        self.assertEqual(self.problem("/v1/changes?since=abcdef-1", 410)["parameter"], "since")

    def test_bodies(self) -> None:
        """Bodies that are not JSON, not an object, or hold what they should not."""
        for body, status, name in [
            (b"", 400, "body"), (b"{", 400, "body"), (b"[1]", 400, "body"), (b"\xff\xfe", 400, "body"), (b"[" * 100000, 400, "body"),
            (json.dumps({"jobs": "memory/1"}).encode(), 400, "jobs"), (json.dumps({"jobs": [1]}).encode(), 400, "job"),
            (json.dumps({"wait": True}).encode(), 400, "wait"), (b'{"wait":1' + b"0" * 400 + b"}", 400, "wait"), (json.dumps({"wait": "soon"}).encode(), 400, "wait"),
            (json.dumps({"limit": True}).encode(), 400, "limit"), (json.dumps({"since": 5}).encode(), 400, "since"),
            (json.dumps({"user": 5}).encode(), 400, "user"), (json.dumps({"users": ["kim"]}).encode(), 400, "users"),
            (json.dumps({"jobs": [f"memory/{n}" for n in range(100_000)]}).encode(), 413, "jobs"),
        ]:  # fmt: skip
            answer = self.lab.post("/v1/changes", body)
            self.assertEqual((answer.status, answer.header("content-type")), (status, "application/problem+json"), body[:60])
            self.assertEqual(answer.json()["parameter"], name, body[:60])

    def test_ten_thousand_jobs_in_one_request(self) -> None:
        """That many are fine."""
        answer = self.lab.post("/v1/changes", {"since": "now", "jobs": [f"memory/{n}" for n in range(10_000)]})
        self.assertTrue(answer.held)
        self.lab.set("9999", "RUNNING")
        self.assertEqual({e["job"]["id"] for e in answer.json()["events"]}, {"9999"})
        self.assertFalse(self.lab.service.tracker._by_key)

    def test_prefer(self) -> None:
        """A preference is a parameter too."""
        headers = {"If-None-Match": f'W/"{self.lab.cursor}"', "Prefer": "wait=x"}
        self.assertEqual(self.problem("/v1/jobs/memory/1", headers=headers)["parameter"], "Prefer")

    def test_body_and_query(self) -> None:
        """A POST with a query string: which of the two is meant cannot be told."""
        self.assertEqual(self.lab.post("/v1/changes?wait=1", {}).json()["parameter"], "wait")
