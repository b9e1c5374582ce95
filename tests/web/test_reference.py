"""The interface as a page for people."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from jobpush.web.openapi import document
from jobpush.web.reference import page

DOCUMENT = document()


class Page(HTMLParser):
    """What a page has: ids, addresses of links, and the text of each row of its tables, by what stands before the table."""

    def __init__(self, data: bytes) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.open: list[str] = []
        self.rows: dict[str, list[list[str]]] = {}
        self._under = ""
        self.feed(data.decode())
        self.close()

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        given = dict(attrs)
        if "id" in given:
            self.ids.append(given["id"])
            self._under = given["id"]
        if tag == "a":
            self.links.append(given["href"])
        if tag == "tr":
            self.rows.setdefault(self._under, []).append([])
        if tag in ("td", "th"):
            self.rows[self._under][-1].append("")
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"</{tag}> ends something else"

    def handle_data(self, data: str) -> None:
        if self.open and {"td", "th"} & set(self.open):
            self.rows[self._under][-1][-1] += data


class PageTests(SynchronousTestCase):
    """`page`."""

    def setUp(self) -> None:
        self.page = Page(page(document()))

    def test_html(self) -> None:
        """Each element is ended, each id is there once, each link of the page leads to one."""
        self.assertEqual([tag for tag in self.page.open if tag != "meta"], [])
        self.assertEqual(len(self.page.ids), len(set(self.page.ids)))
        inner = [link[1:] for link in self.page.links if link.startswith("#")]
        self.assertLessEqual(set(inner), set(self.page.ids))
        self.assertIn("openapi.json", self.page.links)

    def test_each_request(self) -> None:
        """Each has its place, is in the list of requests, and its parameters and statuses are told."""
        for methods in DOCUMENT["paths"].values():
            for operation in methods.values():
                self.assertIn(f"#{operation['operationId']}", self.page.links)
                rows = self.page.rows[operation["operationId"]]
                first = [row[0] for row in rows]
                for parameter in operation.get("parameters", ()):
                    row = rows[first.index(parameter["name"])]
                    self.assertEqual((row[1], row[3]), (parameter["in"], parameter["description"].replace("`", "")))
                self.assertLessEqual(set(operation["responses"]), set(first))

    def test_bodies(self) -> None:
        """The fields of a body are told, and which of them may be absent."""
        rows = {row[0]: row for row in self.page.rows["putWorkflow"]}
        fields = DOCUMENT["paths"]["/v1/workflows/{name}"]["put"]["requestBody"]["content"]["application/json"]["schema"]
        self.assertIn("edges", fields["properties"])
        for name in fields["properties"]:
            self.assertEqual(rows[name][1].endswith(" (may be absent)"), name not in fields.get("required", ()), name)

    def test_each_value(self) -> None:
        """Each value that has fields has them told, with what they hold and whether they may be absent."""
        rows = {row[0]: row for row in self.page.rows["schema-JobAnswer"]}
        self.assertEqual(rows["more"][1], "boolean (may be absent)")
        self.assertEqual(rows["job"][1], "Job or null")
        self.assertEqual(rows["events"][1], "list of Event")
        self.assertEqual(rows["stale_s"][1], "number or null")
        self.assertIn("edges", [row[0] for row in self.page.rows["schema-WorkflowAnswer"]])
        self.assertIn(b'All fields of <a href="#schema-Workflow">', page(DOCUMENT))
        job = {row[0]: row for row in self.page.rows["schema-Job"]}
        self.assertIn("RUNNING", job["state"][1])
        self.assertEqual(job["submitted_at"][1].removesuffix(" or null"), "date-time")

    def test_sections(self) -> None:
        """Requests of one kind stand together under one heading."""
        headings = re.findall(r"<h2>([^<]+)</h2>", page(DOCUMENT).decode())
        self.assertEqual(headings, ["Jobs", "Changes", "Barriers", "Workflows", "Streams", "Identity", "Operations", "Values"])

    def test_text_is_text(self) -> None:
        """What stands in a text is text; what stands between backticks is code."""
        paths = {"/x": {"get": {**DOCUMENT["paths"]["/healthz"]["get"], "summary": "<b>&", "description": "see `a<b`"}}}
        shown = page({**DOCUMENT, "paths": paths})
        self.assertIn(b"&lt;b&gt;&amp;", shown)
        self.assertIn(b"<code>a&lt;b</code>", shown)
