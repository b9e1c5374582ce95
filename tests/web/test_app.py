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
        for method, path in (("DELETE", "/v1/jobs"), ("PUT", "/v1/changes"), ("POST", "/v1/jobs/memory/1"), ("BREW", "/healthz")):
            answer = self.lab.request(method, path)
            self.assertEqual((answer.status, answer.header("content-type")), (405, "application/problem+json"), path)
            self.assertIn("GET", answer.header("allow") or "")

    def test_path_that_is_not_utf8(self) -> None:
        """400."""
        answer = self.lab.get("/v1/jobs/memory/%ff")
        self.assertEqual((answer.status, answer.json()["parameter"]), (400, "path"))
