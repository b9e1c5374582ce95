"""Which address is answered by what; what is answered by nothing."""

from __future__ import annotations

from tests.support import LabCase


class RouteTests(LabCase):
    """What Twisted and Klein would answer by themselves."""

    def test_unknown_route(self) -> None:
        """404."""
        for path in ("/v1", "/v1/nothing", "/v1/jobs/", "/v1/jobs/memory", "/%00", "/favicon.ico"):
            answer = self.lab.get(path)
            self.assertEqual((answer.status, answer.header("content-type")), (404, "application/problem+json"), path)

    def test_wrong_method(self) -> None:
        """405, with the methods that are allowed."""
        for method, path in (("DELETE", "/v1/jobs"), ("PUT", "/v1/changes"), ("POST", "/v1/jobs/memory/1"), ("PATCH", "/healthz")):
            answer = self.lab.request(method, path)
            self.assertEqual((answer.status, answer.header("content-type")), (405, "application/problem+json"), path)
            self.assertIn("GET", answer.header("allow") or "")

    def test_path_that_is_not_utf8(self) -> None:
        """400."""
        answer = self.lab.get("/v1/jobs/memory/%ff")
        self.assertEqual((answer.status, answer.json()["parameter"]), (400, "path"))

    def test_each_method(self) -> None:
        """What is allowed for an address is said, and is right."""
        for path, allowed in {
            "/v1/jobs": {"GET", "HEAD"}, "/v1/jobs/memory/1": {"GET", "HEAD"}, "/v1/changes": {"GET", "HEAD", "POST"}, "/v1/wait": {"GET", "HEAD", "POST"},
            "/v1/workflows": {"GET", "HEAD"}, "/v1/workflows/w": {"GET", "HEAD", "PUT", "DELETE"}, "/jobstatus": {"GET", "HEAD"},
            "/metrics": {"GET", "HEAD"},
        }.items():  # fmt: skip
            answer = self.lab.request("PATCH", path)
            self.assertEqual((answer.status, set((answer.header("allow") or "").split(", "))), (405, allowed), path)
            self.assertIn("PATCH is not for this address", answer.json()["detail"])

    def test_methods_of_addresses_without_get(self) -> None:
        """GET is said to be allowed only where it is."""
        for method in ("GET", "HEAD", "PUT", "PATCH", "OPTIONS", "TRACE"):
            answer = self.lab.request(method, "/v1/nudge")
            self.assertEqual((answer.status, answer.header("allow")), (405, "POST"), method)

    def test_guards(self) -> None:
        """Each answer, whatever it is, keeps a browser from guessing its type, framing it and running it; no version is told."""
        for method, path in (
            ("GET", "/"), ("GET", "/dashboard"), ("GET", "/dashboard/main.js"), ("GET", "/docs"), ("GET", "/openapi.json"), ("GET", "/metrics"),
            ("GET", "/healthz"), ("GET", "/readyz"), ("GET", "/v1/jobs"), ("GET", "/v1/jobs/memory/1"), ("GET", "/v1/jobs/memory/none"), ("GET", "/none"),
            ("DELETE", "/v1/jobs"), ("get", "/"), ("GET", "/v1/socket"), ("POST", "/v1/nudge"), ("DELETE", "/v1/workflows/w"), ("GET", "/%ff"),
        ):  # fmt: skip
            answer = self.lab.request(method, path)
            policy = answer.header("content-security-policy") or ""
            self.assertIn("default-src 'none'", policy, path)
            self.assertIn("frame-ancestors 'none'", policy, path)
            self.assertNotIn("script-src 'unsafe", policy, path)
            got = [answer.header(name) for name in ("x-content-type-options", "x-frame-options", "referrer-policy", "server")]
            self.assertEqual(got, ["nosniff", "DENY", "no-referrer", "jobpush"], (method, path))

    def test_a_long_method(self) -> None:
        """Not more of it is said than is needed."""
        self.assertLess(len(self.lab.request("X" * 3000, "/v1/jobs").json()["detail"]), 100)

    def test_what_is_not_there_is_named(self) -> None:
        """The address is said, but not thousands of characters of it."""
        self.assertIn("there is nothing at /v1/nothing", self.lab.get("/v1/nothing").json()["detail"])
        self.assertLess(len(self.lab.get("/v1/" + "x" * 3000).json()["detail"]), 300)

    def test_slashes(self) -> None:
        """An address with a slash too many or too few is none: nobody is sent elsewhere."""
        for path in ("/v1/jobs/", "/v1/workflows/", "/dashboard/", "/healthz/"):
            self.assertEqual(self.lab.get(path).status, 404, path)

    def test_ids_of_any_form(self) -> None:
        """A job id may hold whatever a scheduler's ids hold, slashes too: the queue decides."""
        for job_id in ("1/2", "1%2F2", "a[1].host", "a%0Ab"):
            answer = self.lab.get(f"/v1/jobs/memory/{job_id}")
            self.assertEqual((answer.status, answer.json()["parameter"]), (400, "id"), job_id)

    def test_head(self) -> None:
        """HEAD is answered as GET is, without the body."""
        for path in ("/v1/jobs", "/v1/jobs/memory/1", "/healthz", "/metrics", "/docs", "/openapi.json"):
            answer = self.lab.request("HEAD", path)
            self.assertEqual((answer.status, answer.body()), (200, b""), path)

    def test_a_client_that_leaves(self) -> None:
        """Its leaving is no fault, and leaves nothing behind."""
        for path in ("/v1/changes?since=now&wait=60", "/v1/jobs/memory/9?wait=60", "/v1/wait?job=9&wait=60"):
            answer = self.lab.get(path)
            self.assertTrue(answer.held, path)
            answer.cancel()
        self.assertEqual((self.lab.registry.held, self.lab.service.busy, self.flushLoggedErrors()), (0, False, []))
