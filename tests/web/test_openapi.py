"""The OpenAPI document against the routes, and against what they answer."""

from __future__ import annotations

import json
import re
from typing import Any

from jsonschema import Draft202012Validator
from openapi_spec_validator import validate
from treq.testing import StubTreq

from jobpush.web import resource
from jobpush.web.openapi import document
from jobpush.web.tickets import Tickets
from jobpush.web.tokens import Tokens
from tests.support import LabCase, quoted

DOCUMENT = document()

#: Pages and a site's own files: for browsers, no part of the interface.
NOT_DESCRIBED = {"/", "/dashboard", "/dashboard/{name}", "/docs"}


def validator(name: str) -> Draft202012Validator:
    """Of a schema of the document."""
    return Draft202012Validator({"$ref": f"#/components/schemas/{name}", "components": DOCUMENT["components"]})


def strict(schema: Any) -> Any:
    """The same schema, by which an object has no property that it does not describe."""
    if isinstance(schema, list):
        return [strict(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    if "allOf" in schema:
        return {**schema, "unevaluatedProperties": False}
    found = {name: strict(part) for name, part in schema.items()}
    if schema.get("type") == "object" and "properties" in schema and "additionalProperties" not in schema:
        found["unevaluatedProperties"] = False
    return found


class DocumentTests(LabCase):
    def setUp(self) -> None:
        super().setUp()
        self.document = document()
        tokens = Tokens(self.lab.journal, self.lab.clocks.wall, lambda is_revoked: None)
        tickets = Tickets(self.lab.clock)
        self.lab.resource = resource(self.lab.service, tokens=tokens, max_held=100, tickets=tickets)
        self.lab.treq = StubTreq(self.lab.resource)
        validate(self.document)

    def test_references(self) -> None:
        """What it refers to is there."""
        found = set(re.findall(r'"#/components/(\w+)/(\w+)"', json.dumps(self.document)))
        there = {(kind, name) for kind, parts in self.document["components"].items() for name in parts}
        self.assertEqual(found - there, set())
        self.assertIn(("schemas", "Readiness"), found)

    def test_nothing_else(self) -> None:
        """No answer has a field that is not described."""
        self.lab.set("1", "FAILED", exit_code=3, signal=9, reason="NonZeroExitCode", started_at=self.lab.clock.seconds())
        self.lab.queue.set("9_1", "RUNNING", parent="9", task_index=1)
        self.lab.tick()
        self.lab.put("/v1/workflows/w", {"jobs": ["memory/1", "memory/9"], "edges": [["memory/1", "memory/9"]]})
        components = {"schemas": {name: strict(schema) for name, schema in self.document["components"]["schemas"].items()}}
        # What `allOf` is made of may have more than each of its parts describes.
        open_parts = self.document["components"]["schemas"]["Workflow"]
        for name, address in (
            ("Jobs", "/v1/jobs?limit=1"), ("JobAnswer", "/v1/jobs/memory/1"), ("JobAnswer", "/v1/jobs/memory/1?since=0"),
            ("JobAnswer", "/v1/jobs/memory/9?since=0"), ("Changes", "/v1/changes?since=0"), ("Changes", "/v1/changes"), ("Workflows", "/v1/workflows"),
            ("Barrier", "/v1/wait?job=1&workflow=w&mode=any&wait=0"), ("Barrier", "/v1/wait?job=1&wait=0"), ("Barrier", "/v1/wait?job=77&job=9&wait=0"),
            ("WorkflowAnswer", "/v1/workflows/w"), ("WorkflowAnswer", "/v1/workflows/w?since=0"), ("Health", "/healthz"), ("Readiness", "/readyz"),
            ("Problem", "/v1/jobs/memory/77?wait=0"), ("Problem", "/v1/changes?since=abcdef-1"), ("Problem", "/v1/jobs?limit=x"),
        ):  # fmt: skip
            parts = {**components["schemas"], "Workflow": open_parts} if name == "WorkflowAnswer" else components["schemas"]
            checked = Draft202012Validator({"$ref": f"#/components/schemas/{name}", "components": {"schemas": parts}})
            self.assertEqual([error.message for error in checked.iter_errors(self.lab.get(address).json())], [], address)

    def test_is_openapi(self) -> None:
        """It is what the specification says it must be, for this version of the protocol."""
        validate(DOCUMENT)
        self.assertEqual(self.document["info"]["version"], "1")

    def test_who_asks(self) -> None:
        """What shows jobs says how clients say who they are; a ticket is for streams alone, and health checks ask nobody."""
        schemes = set(self.document["components"]["securitySchemes"])
        for path, operations in self.document["paths"].items():
            for operation in operations.values():
                named = {name for each in operation.get("security", []) for name in each}
                wanted = schemes if path in ("/v1/events", "/v1/socket") else schemes - {"ticket"}
                if not path.startswith("/v1/") and path not in ("/jobstatus", "/metrics"):
                    wanted = set()
                self.assertEqual(named, wanted, path)

    def test_served(self) -> None:
        """It is what ``/openapi.json`` answers, and ``/docs`` has every address of it."""
        self.assertEqual(self.lab.get("/openapi.json").json(), json.loads(json.dumps(DOCUMENT)))
        shown = self.lab.get("/docs").body().decode()
        for path in DOCUMENT["paths"]:
            self.assertIn(path, shown)
        self.assertNotIn("<script", shown)

    def test_routes(self) -> None:
        """Each route with each of its methods is described, and nothing else is."""
        routed: set[tuple[str, str]] = set()
        for rule in self.lab.resource.app.url_map.iter_rules():
            path = re.sub(r"<(?:[^:>]+:)?([^>]+)>", r"{\1}", rule.rule)
            if path in NOT_DESCRIBED or path.endswith("{__rest__}"):
                continue
            routed |= {(path, method.lower()) for method in rule.methods or () if method not in ("HEAD", "OPTIONS")}
        described = {(path, method) for path, methods in self.document["paths"].items() for method in methods}
        self.assertEqual({(path.replace("job_id", "id").replace("token_id", "id"), method) for path, method in routed}, described)

    def test_parameters(self) -> None:
        """Each described parameter of a query is known to its route; an unknown one is refused by its name."""
        for path, methods in self.document["paths"].items():
            operation = methods.get("get")
            if operation is None or path in ("/v1/socket", "/v1/events", "/healthz", "/readyz", "/metrics", "/openapi.json"):
                continue
            address = path.format(cluster="memory", id="1", name="none", owner="-")
            for parameter in operation.get("parameters", ()):
                if parameter["in"] == "query":
                    value = str(parameter["schema"].get("enum", ["1"])[0])
                    answer = self.lab.get(f"{address}?{parameter['name']}={value}&x_=1")
                    self.assertEqual((answer.status, answer.json()["parameter"]), (400, "x_"), f"{path} {parameter['name']}")

    def test_all_parameters(self) -> None:
        """Each parameter that a route takes from its query is described."""
        seen: list[str] = []
        for path, methods in self.document["paths"].items():
            operation = methods.get("get")
            if operation is None:
                continue
            answer = self.lab.get(f"{path.format(cluster='memory', id='1', name='none', owner='-')}?x_=1")
            if answer.status == 400 and "known here are " in answer.json()["detail"]:
                known = set(answer.json()["detail"].partition("known here are ")[2].split(", "))
                described = {parameter["name"] for parameter in operation.get("parameters", ()) if parameter["in"] == "query"}
                self.assertEqual(described, known, path)
                seen.append(path)
        self.assertIn("/v1/changes", seen)

    def test_all_fields(self) -> None:
        """Each field that a route takes from its body is described; a body says ``jobs`` and ``workflows``."""
        for method, path in (("post", "/v1/changes"), ("post", "/v1/wait"), ("put", "/v1/workflows/{name}")):
            answer = self.lab.request(method.upper(), path.format(name="w"), data=b'{"x_": 1}')
            known = set(answer.json()["detail"].partition("known here are ")[2].split(", "))
            described = self.document["paths"][path][method]["requestBody"]["content"]["application/json"]["schema"]["properties"]
            self.assertEqual(set(described), {{"job": "jobs", "workflow": "workflows"}.get(name, name) for name in known}, path)

    def test_paths(self) -> None:
        """Each varying part of a path is described; each operation has a name of its own, and a tag that the reference knows."""
        names = []
        for path, methods in self.document["paths"].items():
            for operation in methods.values():
                names.append(operation["operationId"])
                parts = {parameter["name"] for parameter in operation.get("parameters", ()) if parameter["in"] == "path"}
                self.assertEqual(parts, set(re.findall(r"{(\w+)}", path)), path)
                (tag,) = operation["tags"]
                self.assertIn(tag, {"jobs", "changes", "barriers", "workflows", "streams", "identity", "operations"})
        self.assertEqual(len(names), len(set(names)))

    def test_stream_parameters(self) -> None:
        """The same of the streams, which would not end."""
        for path in ("/v1/events", "/v1/socket"):
            for parameter in self.document["paths"][path]["get"]["parameters"]:
                if parameter["in"] == "query":
                    value = str(parameter["schema"].get("items", {}).get("enum", ["1"])[0])
                    answer = self.lab.get(f"{path}?{parameter['name']}={quoted(value)}&x_=1")
                    self.assertEqual((answer.status, answer.json()["parameter"]), (400, "x_"), f"{path} {parameter['name']}")

    def test_answers(self) -> None:
        """What the routes answer is as described: each has all that it must have, of the right kind."""
        self.lab.set("1", "RUNNING", started_at=self.lab.clock.seconds())
        self.lab.set("1", "FAILED", exit_code=3)
        self.lab.request("PUT", "/v1/workflows/w", data=b'{"jobs": ["memory/1", "memory/2"], "edges": [["memory/1", "memory/2"]]}').json()
        asked: list[tuple[str, str, Any]] = [
            ("get", "/v1/jobs", "/v1/jobs?limit=1"), ("get", "/v1/jobs/{cluster}/{id}", "/v1/jobs/memory/1?since=0"),
            ("get", "/v1/changes", "/v1/changes?since=0&limit=1"), ("get", "/v1/wait", "/v1/wait?job=1&workflow=w&mode=any&wait=0"),
            ("get", "/v1/workflows", "/v1/workflows"), ("get", "/v1/workflows/{name}", "/v1/workflows/w?since=0"),
            ("get", "/jobstatus", "/jobstatus?jobId=1"), ("get", "/healthz", "/healthz"), ("get", "/readyz", "/readyz"),
        ]  # fmt: skip
        for method, path, address in asked:
            answer = self.lab.get(address)
            described = self.document["paths"][path][method]["responses"][str(answer.status)]["content"]["application/json"]["schema"]
            checked = Draft202012Validator({**described, "components": self.document["components"]})
            self.assertEqual([error.message for error in checked.iter_errors(answer.json())], [], address)
        nudged = self.lab.post("/v1/nudge", {})
        self.assertEqual(list(validator("Nudged").iter_errors(nudged.json())), [])
        wrong = self.lab.get("/v1/jobs?limit=x")
        self.assertEqual(list(validator("Problem").iter_errors(wrong.json())), [])
        self.assertIn(str(wrong.status), self.document["paths"]["/v1/jobs"]["get"]["responses"])

    def test_a_wrong_answer(self) -> None:
        """The schemas can say no."""
        job = self.lab.get("/v1/jobs/memory/1").json()["job"]
        self.assertEqual(list(validator("Job").iter_errors(job)), [])
        for wrong in ({**job, "state": "DONE"}, {**job, "exit_code": "3"}, {k: v for k, v in job.items() if k != "uid"}):
            self.assertTrue(list(validator("Job").iter_errors(wrong)))
