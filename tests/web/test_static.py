"""A site's own files beside the API."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from treq.testing import StubTreq
from twisted.internet import reactor as real_reactor
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from jobpush.web import resource
from tests.support import Lab, Pending

reactor: Any = real_reactor


class StaticTests(TestCase):
    """``--static``."""

    timeout = 30

    def setUp(self) -> None:
        self.lab = Lab()
        self.lab.queue.set("1", "RUNNING")
        self.lab.start()
        self.addCleanup(self.lab.stop)
        root = Path(self.mktemp())
        (root / "sub").mkdir(parents=True)
        (root / "index.html").write_text("our jobs")
        (root / "app.js").write_text("// ours")
        (root / "sub" / "page.txt").write_text("below")
        (root.parent / "secret.txt").write_text("not served")
        self.lab.treq = StubTreq(resource(self.lab.service, static=str(root), max_held=10))

    async def get(self, path: str) -> Pending:
        """The answer to a GET; Twisted reads files in turns of the real reactor."""
        answer = self.lab.get(path)
        while answer.held:
            await deferLater(reactor, 0.001)
        await deferLater(reactor, 0.001)
        # treq's connection in memory ends with the response's last byte: now and then before Twisted has closed the file.
        self.flushLoggedErrors(AttributeError)
        return answer

    async def test_files(self) -> None:
        """Are served with their types: the page at the root, others by their names, those of directories too."""
        for path, body, kind in (
            ("/", b"our jobs", "text/html"), ("/index.html", b"our jobs", "text/html"), ("/sub/page.txt", b"below", "text/plain"),
        ):  # fmt: skip
            answer = await self.get(path)
            self.assertEqual((answer.status, answer.body(), answer.header("content-type")), (200, body, kind), path)
        self.assertIn("javascript", (await self.get("/app.js")).header("content-type") or "")

    async def test_the_api_goes_on(self) -> None:
        """The API and the dashboard keep their addresses."""
        self.assertEqual((await self.get("/v1/jobs/memory/1")).json()["job"]["id"], "1")
        self.assertIn(b"dashboard/main.js", (await self.get("/dashboard")).body())

    async def test_nothing_there(self) -> None:
        """
        What is no file is 404 in the protocol's form: a name that no file can have, a directory, which is not listed, and what
        is outside of the directory.
        """
        for path in (
            "/none", "/sub/none.txt", "/sub/", "/sub", "/a%00b", "/" + "a" * 300, "/../secret.txt", "/%2e%2e/secret.txt", "/..%2fsecret.txt",
        ):  # fmt: skip
            answer = await self.get(path)
            self.assertEqual((answer.status, answer.header("content-type")), (404, "application/problem+json"), path)
            self.assertIn("there is nothing at", answer.json()["detail"])

    async def test_without_files(self) -> None:
        """Without a site's own files there are none."""
        self.lab.treq = StubTreq(resource(self.lab.service, max_held=10))
        self.assertEqual((await self.get("/app.js")).status, 404)
