"""Parameters of requests, in query strings, bodies and headers: what they mean, and that each error names its parameter."""

from __future__ import annotations

import io
import json
from typing import Any

from twisted.trial.unittest import SynchronousTestCase
from twisted.web.http_headers import Headers

from jobpush.runtime.timer_wheel import SHARE
from jobpush.web.params import (
    LONGEST_WAIT_S,
    MOST_IDS,
    Params,
    Preference,
    body_of,
    check_wait,
    check_workflow,
    decoded,
    jittered,
    preference,
    resolve,
    values_of,
)
from jobpush.web.problems import Problem
from tests.support import Lab, LabCase, quoted


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
            "wait=1_0": "wait", "wait=%201": "wait", "wait=1%0A": "wait", "wait=%D9%A1": "wait", "wait=0x1": "wait", "wait=.": "wait",
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
        for text in ("0", "-0", "+0.0", ".0", "0.", "0e0", "0E+1"):
            self.assertEqual(self.lab.get(f"/v1/changes?since=now&wait={quoted(text)}").status, 200, text)
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
            (json.dumps({"jobs": [f"memory/{n}" for n in range(100_000)]}).encode(), 400, "jobs"),
        ]:  # fmt: skip
            answer = self.lab.post("/v1/changes", body)
            self.assertEqual((answer.status, answer.header("content-type")), (status, "application/problem+json"), body[:60])
            self.assertEqual(answer.json()["parameter"], name, body[:60])

    def test_filters_that_are_too_large(self) -> None:
        """More patterns, longer ones, more wildcards or more values than can be compared with every job are refused, each time."""
        most = {"name": ["x*"] * 300 + [f"{n}*" for n in range(99)], "comment": ["*a" * 8, "y" * 200], "user": [f"u{n}" for n in range(1000)]}
        self.assertEqual(self.lab.post("/v1/changes", {"since": "0", "wait": 0, **most}).status, 200)
        for name, values in [
            ("name", [f"{n}" for n in range(101)]), ("comment", [f"{n}" for n in range(20_000)]), ("name", ["y" * 201]), ("name", ["é" * 101]),
            ("comment", ["*a" * 9]), ("name", ["?" * 9]), ("name", ["[a]" * 9]), ("user", [f"u{n}" for n in range(1001)]),
            ("account", [f"u{n}" for n in range(1001)]), ("queue", [f"u{n}" for n in range(1001)]), ("state", [f"u{n}" for n in range(1001)]),
        ]:  # fmt: skip
            for _ in range(3):
                answer = self.lab.post("/v1/changes", {"since": "0", name: values})
                self.assertEqual((answer.status, answer.json()["parameter"]), (400, name))
                self.assertLess(len(answer.body()), 1000)
        self.assertEqual(self.problem("/v1/jobs?" + "&".join(f"name={n}" for n in range(101)))["parameter"], "name")

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


class Request:
    """A request with these headers and this body."""

    method = b"POST"

    def __init__(self, *headers: tuple[bytes, bytes], body: bytes = b"", args: Any = None) -> None:
        self.requestHeaders = Headers()
        for name, value in headers:
            self.requestHeaders.addRawHeader(name, value)
        self.args = args or {}
        self.content = io.BytesIO(body)

    def getHeader(self, name: bytes) -> bytes | None:
        values = self.requestHeaders.getRawHeaders(name)
        return values[-1] if values else None


class ValuesTests(LabCase):
    """What parameters mean."""

    def params(self, **values: Any) -> Params:
        """A request with these parameters."""
        listed = {name: value if isinstance(value, list) else [value] for name, value in values.items()}
        return Params(self.lab.service, listed, frozenset({"limit", "since", "until", "wait", "job", "state", "user", "name", "workflow", "cluster"}))

    def refused(self, call: Any, *arguments: Any) -> Problem:
        """The problem that this raises."""
        with self.assertRaises(Problem) as raised:
            call(*arguments)
        return raised.exception

    def test_limit(self) -> None:
        """A whole number in ASCII digits, from 1 on, as a text or a number; what is over the highest is the highest."""
        self.assertEqual([self.params(limit=value).limit() for value in ("1", "999", 7, "10000", "999999999")], [1, 999, 7, 10_000, 10_000])
        self.assertEqual((self.params().limit(), self.params(limit="5000").limit(highest=2000)), (500, 2000))
        for value in ("0", "-1", "\u0661", "1\u0661", "", " 1", "+1", "1.0", "9999999999", True, 1.5, None, [1]):
            problem = self.refused(self.params(limit=[value]).limit) if value is not None else None
            self.assertEqual((problem.status, problem.fields["parameter"]) if problem else (400, "limit"), (400, "limit"), value)

    def test_once(self) -> None:
        """What is expected once may not come twice."""
        self.assertIn("2 times", self.refused(self.params(limit=["1", "1"]).limit).detail)

    def test_unknown(self) -> None:
        """An unknown name is refused, with those that are known; one that begins with ``_`` is nobody's business."""
        self.assertIn("known here are a, b", self.refused(Params, self.lab.service, {"c": ["1"]}, frozenset({"b", "a"})).detail)
        Params(self.lab.service, {"_": ["1"], "_c": ["1"]}, frozenset())
        self.assertEqual(len(self.refused(Params, self.lab.service, {"c" * 500: []}, frozenset()).fields["parameter"]), 100)  # type: ignore[arg-type]

    def test_until(self) -> None:
        """What a job may be waited for to do."""
        self.assertEqual([self.params(until=value).until() for value in ("change", "started", "terminal")], ["change", "started", "terminal"])
        self.assertIsNone(self.params().until())
        for value in ("", "Change", "ended", 5):
            self.assertEqual(self.refused(self.params(until=value).until).fields["parameter"], "until", value)

    def test_since(self) -> None:
        """``now`` is the head, ``0`` the oldest, a cursor its number; one that is not there yet, or of another journal, is gone."""
        service, epoch = self.lab.service, self.lab.service.feed.epochs.current
        self.lab.set("1", "RUNNING")
        self.assertEqual([resolve(service, text, "since") for text in ("now", "0", f"{epoch}-1", f"{epoch}-2")], [2, 0, 1, 2])
        for text, status in ((f"{epoch}-3", 410), ("abcdef-1", 410), (f"{epoch}-", 400), ("NOW", 400), ("1", 400), ("-1", 400)):
            self.assertEqual(self.refused(resolve, service, text, "since").status, status, text)
        gone = self.refused(resolve, service, "abcdef-1", "since")
        self.assertEqual((gone.fields["oldest_cursor"], gone.fields["snapshot_url"]), (f"{epoch}-0", "/v1/jobs"))

    def test_selection(self) -> None:
        """Each filter with all its values; jobs by their keys."""
        selection = self.params(user=["kim", "lee"], state="RUNNING", name=["a*", "b"], job=["1", "memory/2"], cluster="memory").selection()
        self.assertEqual(selection.users, {"kim", "lee"})
        self.assertEqual((selection.states, selection.names, selection.clusters), ({"RUNNING"}, ("a*", "b"), {"memory"}))
        self.assertEqual(selection.keys, {("memory", "1"), ("memory", "2")})
        self.assertIsNone(self.params().selection().keys)

    def test_most_jobs(self) -> None:
        """As many jobs as one request may name are read; one more is 400."""
        self.assertEqual(len(self.params(job=[f"memory/{n}" for n in range(MOST_IDS)]).selection().keys or ()), MOST_IDS)
        problem = self.refused(self.params(job=["memory/1"] * (MOST_IDS + 1)).selection)
        self.assertEqual((problem.status, problem.fields["parameter"]), (400, "jobs"))

    def test_several_clusters(self) -> None:
        """An id without its cluster is refused where there are several, and which there are is said."""
        lab = Lab(queues=2).start()
        self.addCleanup(lab.stop)
        self.assertIn("memory, second", lab.get("/v1/changes?job=1").json()["detail"])
        self.assertEqual(lab.get("/v1/changes?job=second/1&since=now&wait=0").status, 200)

    def test_long_values(self) -> None:
        """What is wrong is shown, but not ten thousand characters of it."""
        for query in (f"cluster={'x' * 10000}", f"state={'x' * 10000}", f"job=memory/{'-' * 10000}", f"workflow={'-' * 10000}"):
            self.assertLess(len(self.lab.get(f"/v1/changes?{query}").json()["detail"]), 500, query[:20])

    def test_workflow_names(self) -> None:
        """Letters, digits and a few marks; ``@`` and a user after them where it may have been found in tags."""
        for name in ("w", "1", "a_.:+-b", "a" * 128, "w@kim", "w@"):
            self.assertEqual(check_workflow(name, "name"), name)
        for wrong in ("", "_w", "a b", "a/b", "a" * 129, "w@a/b", "w@" + "u" * 257, 5, None, "@kim"):
            self.assertEqual(self.refused(check_workflow, wrong, "name").fields["parameter"], "name", wrong)
        self.assertNotIn("@USER", self.refused(check_workflow, "w@kim", "name", False).detail)
        self.assertIn("@USER", self.refused(check_workflow, "a b", "name").detail)


class WaitTests(SynchronousTestCase):
    """Times to wait."""

    def test_seconds(self) -> None:
        """Numbers and texts of numbers, 0 or more, ten minutes at most."""
        self.assertEqual([check_wait(value, "wait") for value in (0, "0", 2.5, "2.5", "1e2", 600, 601, "1e300")], [0, 0, 2.5, 2.5, 100, 600, 600, LONGEST_WAIT_S])
        for value in (-0.1, "-1", "", "x", "nan", "inf", float("nan"), True, [1], {}, 10**400):
            with self.assertRaises(Problem) as raised:
                check_wait(value, "timeout")
            self.assertEqual((raised.exception.status, raised.exception.fields["parameter"]), (400, "timeout"))

    def test_jitter(self) -> None:
        """Deadlines lie between 15/16 of the wait and so much before it that the timer wheel is not late; they are spread."""
        times = [jittered(100.0) for _ in range(500)]
        self.assertGreaterEqual(min(times), 100 * 15 / 16)
        self.assertLessEqual(max(times), 100 * (1 - SHARE))
        self.assertGreater(max(times) - min(times), 2.0)
        self.assertEqual(jittered(0.0), 0.0)


class BodyTests(SynchronousTestCase):
    """`body_of`, `values_of` and `decoded`."""

    def test_names(self) -> None:
        """A body's ``jobs`` and ``workflows`` are the ``job`` and ``workflow`` of a query; null is as if it were not there."""
        found = values_of({"jobs": ["a"], "workflows": "w", "user": "kim", "state": ["X", "Y"], "limit": 5, "since": None, "edges": []})
        self.assertEqual(found, {"job": ["a"], "workflow": ["w"], "user": ["kim"], "state": ["X", "Y"], "limit": [5], "edges": []})

    def test_lists(self) -> None:
        """Jobs and edges must be lists, and what of is said."""
        for name, said in (("job", "slurm/4711"), ("jobs", "slurm/4711"), ("edges", "pairs of jobs")):
            with self.assertRaises(Problem) as raised:
                values_of({name: "x"})
            self.assertEqual(raised.exception.fields["parameter"], name)
            self.assertIn(said, raised.exception.detail)

    def test_body(self) -> None:
        """A JSON object."""
        self.assertEqual(body_of(Request(body=b'{"user": "kim"}')), {"user": ["kim"]})  # type: ignore[arg-type]
        with self.assertRaises(Problem) as raised:
            body_of(Request(body=b"{}", args={b"w\xff" * 200: [b"1"]}))  # type: ignore[arg-type]
        self.assertEqual((raised.exception.status, len(str(raised.exception.fields["parameter"]))), (400, 100))
        self.assertIn("a POST takes its parameters from the body", raised.exception.detail)

    def test_query(self) -> None:
        """Names and values are UTF-8; which is not is said."""
        self.assertEqual(decoded({b"user": [b"kim", "\u00fc".encode()]}), {"user": ["kim", "\u00fc"]})
        for args, name in (({b"\xff": [b"1"]}, "\ufffd"), ({b"user": [b"1", b"\xff"]}, "user")):
            with self.assertRaises(Problem) as raised:
                decoded(args)
            self.assertEqual(raised.exception.fields["parameter"], name)


class PreferenceTests(SynchronousTestCase):
    """`preference`."""

    def of(self, *prefer: bytes, etags: bytes | None = b'W/"e-1"') -> Preference | None:
        """What a request with these ``Prefer`` headers asks for."""
        headers = [(b"if-none-match", etags)] if etags is not None else []
        return preference(Request(*headers, *((b"prefer", value) for value in prefer)))  # type: ignore[arg-type]

    def test_none(self) -> None:
        """Without ``If-None-Match`` a preference means nothing."""
        self.assertIsNone(self.of(b"wait=5", etags=None))

    def test_tags(self) -> None:
        """One or several tags."""
        self.assertEqual(self.of(etags=b'"a", W/"b" ,*'), Preference(('"a"', 'W/"b"', "*"), None))

    def test_versions(self) -> None:
        """Tags are compared weakly: a proxy that compresses makes another of them; ``*`` is whatever there is."""
        for etags, has in ((b'"a", W/"e-1"', True), (b'"e-1"', True), (b"*", True), (b'"a"', False), (b"e-1", False), (b'W/"e-11"', False)):
            found = self.of(etags=etags)
            assert found is not None
            self.assertEqual(found.has('W/"e-1"'), has, etags)

    def test_wait(self) -> None:
        """Wherever it stands, in whatever letters, quoted or not, with parameters of its own."""
        for prefer in ([b"wait=5"], [b"respond-async, wait=5"], [b"Wait = 5"], [b'wait="5"'], [b"wait=5;x=y"], [b"respond-async", b"wait=5"]):
            found = self.of(*prefer)
            assert found is not None
            self.assertEqual(found.wait, 5.0, prefer)
        self.assertEqual(self.of(b"respond-async, return=minimal"), Preference(('W/"e-1"',), None))

    def test_wrong(self) -> None:
        """A wait that is none is refused."""
        with self.assertRaises(Problem) as raised:
            self.of(b"wait=soon")
        self.assertEqual(raised.exception.fields["parameter"], "Prefer")
