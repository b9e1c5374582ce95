"""A site's own files beside the API."""

from __future__ import annotations

import os
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
        self.root = root = Path(self.mktemp())
        (root / "sub").mkdir(parents=True)
        (root / "index.html").write_text("our jobs")
        (root / "app.js").write_text("// ours")
        (root / "sub" / "page.txt").write_text("below")
        (root.parent / "secret.txt").write_text("not served")
        self.lab.treq = StubTreq(resource(self.lab.service, static=str(root), max_held=10))

    async def get(self, path: str, method: str = "GET", **how: Any) -> Pending:
        """The answer; Twisted reads files in turns of the real reactor."""
        answer = self.lab.request(method, path, **how)
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

    async def test_links(self) -> None:
        """A link is followed to what is in the directory, and not out of it, nor to a name that begins with a dot."""
        os.symlink("app.js", self.root / "same.js")
        os.symlink("sub", self.root / "below")
        os.symlink("/etc/passwd", self.root / "passwd")
        os.symlink("../secret.txt", self.root / "secret.txt")
        os.symlink("..", self.root / "up")
        os.symlink("/", self.root / "sub" / "all")
        os.symlink(".hidden", self.root / "shown")
        os.symlink("loop", self.root / "loop")
        (self.root / ".hidden").write_text("not served")
        for path, status in {
            "/same.js": 200, "/below/page.txt": 200, "/passwd": 404, "/secret.txt": 404, "/up/secret.txt": 404, "/sub/all/etc/passwd": 404,
            "/shown": 404, "/loop": 404, "/below/../app.js": 404,
        }.items():  # fmt: skip
            for _ in range(3):
                self.assertEqual((await self.get(path)).status, status, path)

    async def test_hidden_names(self) -> None:
        """What begins with a dot is not served, whether it is a file or a directory; nor what is no regular file."""
        (self.root / ".git").mkdir()
        (self.root / ".git" / "config").write_text("x")
        (self.root / ".htpasswd").write_text("x")
        os.mkfifo(self.root / "pipe")
        for path in ("/.git/config", "/.htpasswd", "/%2ehtpasswd", "/sub/../.htpasswd", "/pipe", "/app.js/", "//app.js", "/sub//page.txt"):
            self.assertEqual((await self.get(path)).status, 404, path)

    async def test_directories(self) -> None:
        """One with a page of its own has it at its address, to which the address without a slash leads."""
        (self.root / "sub" / "index.html").write_text("a page")
        self.assertEqual((await self.get("/sub/")).body(), b"a page")
        answer = await self.get("/sub", allow_redirects=False)
        self.assertEqual((answer.status, answer.header("location")), (301, "./sub/"))

    async def test_types(self) -> None:
        """What has a type that is not known is no page: a browser does not guess, either."""
        for name in ("data.unknown", "noextension", "LICENSE"):
            (self.root / name).write_text("<script>alert(1)</script>")
            answer = await self.get(f"/{name}")
            self.assertEqual((answer.header("content-type"), answer.header("x-content-type-options")), ("application/octet-stream", "nosniff"))
        policy = (await self.get("/")).header("content-security-policy") or ""
        self.assertIn("default-src 'self'", policy)
        self.assertNotIn("unsafe", policy)

    async def test_methods(self) -> None:
        """405 for a file, with what it takes; 404 where there is none; an address of the API is no file, whatever the method."""
        (self.root / "v1").mkdir()
        (self.root / "v1" / "nudge").write_text("x")
        for method, path, status, allow in (
            ("POST", "/app.js", 405, "GET, HEAD"), ("POST", "/none", 404, None), ("GET", "/v1/nudge", 405, "POST"), ("DELETE", "/", 405, "GET, HEAD"),
            ("GET", "/v1/none", 404, None), ("POST", "/v1/jobs", 405, "GET, HEAD"), ("POST", "/sub", 404, None),
        ):  # fmt: skip
            answer = await self.get(path, method)
            self.assertEqual((answer.status, answer.header("allow")), (status, allow), (method, path))

    async def test_without_files(self) -> None:
        """Without a site's own files there are none."""
        self.lab.treq = StubTreq(resource(self.lab.service, max_held=10))
        self.assertEqual((await self.get("/app.js")).status, 404)
