"""The dashboard's files."""

from __future__ import annotations

import re
from pathlib import Path

from treq.testing import StubTreq

from jobpush.web import resource
from jobpush.web.routes.pages import DASHBOARD
from tests.support import LabCase


class DashboardTests(LabCase):
    def test_page(self) -> None:
        """It is at the root, and nothing but its own files may run in it."""
        for path in ("/", "/dashboard"):
            answer = self.lab.get(path)
            self.assertEqual((answer.status, answer.header("content-type")), (200, "text/html; charset=utf-8"))
            policy = answer.header("content-security-policy") or ""
            self.assertIn("script-src 'self'", policy)
            self.assertNotIn("unsafe", policy)
            self.assertIn(b"dashboard/main.js", answer.body())

    def test_files(self) -> None:
        """Each file that the page and its modules name is served, with a type that a browser takes for what it is."""
        types = {".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8", ".svg": "image/svg+xml"}
        page = (DASHBOARD / "index.html").read_text()
        named = set(re.findall(r'"(dashboard/[^"]+)"', page))
        for path in DASHBOARD.glob("*.js"):
            named |= {f"dashboard/{name}" for name in re.findall(r'from "\./([^"]+)"', path.read_text())}
        self.assertEqual({Path(name).name for name in named} | {"index.html"}, {path.name for path in DASHBOARD.iterdir()})
        for name in named:
            answer = self.lab.get(f"/{name}")
            self.assertEqual((answer.status, answer.header("content-type")), (200, types[Path(name).suffix]), name)
            self.assertEqual(answer.header("x-content-type-options"), "nosniff")

    def test_again(self) -> None:
        """A browser that has a file already is told that it has not changed."""
        tag = self.lab.get("/dashboard/main.js").header("etag")
        self.assertEqual(self.lab.get("/dashboard/main.js", headers={"if-none-match": tag}).status, 304)
        self.assertEqual(self.lab.get("/dashboard/main.js", headers={"if-none-match": '"other"'}).status, 200)

    def test_nothing_else(self) -> None:
        """No listing, and no way out of the directory."""
        for path in ("/dashboard/", "/dashboard/none.js", "/dashboard/../pages.py", "/dashboard/%2e%2e/pages.py"):
            self.assertEqual(self.lab.get(path).status, 404, path)

    def test_sites_own(self) -> None:
        """With a site's own page the dashboard has an address of its own. (with_service/test_service.py has the site's page.)"""
        directory = Path(self.mktemp())
        directory.mkdir()
        (directory / "index.html").write_text("our jobs")
        api = resource(self.lab.service, static=str(directory), max_held=10)
        self.lab.treq = StubTreq(api)
        self.assertIn(b"dashboard/main.js", self.lab.get("/dashboard").body())

    def test_words(self) -> None:
        """Every word that the page uses is there in each language, and no other."""
        source = (DASHBOARD / "words.js").read_text()
        table = source[: source.index("\n};")]
        languages = dict(re.findall(r"^  (en|ko): \{\n(.*?)^  \},", table, re.M | re.S))
        self.assertEqual(set(languages), {"en", "ko"})
        keys = {name: set(re.findall(r"(?:^|,|\{)\s*(\w+):", re.sub(r'"(?:[^"\\]|\\.)*"', '""', text), re.M)) for name, text in languages.items()}
        self.assertEqual(keys["en"], keys["ko"])
        used = set(re.findall(r'\bword\("(\w+)"', "".join(p.read_text() for p in DASHBOARD.glob("*.js"))))
        used |= set(re.findall(r'data-word(?:-\w+)?="(\w+)"', (DASHBOARD / "index.html").read_text()))
        self.assertEqual(used - keys["en"], set())
