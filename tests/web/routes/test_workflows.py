"""The routes on workflows: whose workflows a client may see. What else they do is tested in tests/core/test_workflows.py."""

from __future__ import annotations

from jobpush.core.filters import ALL, Visibility
from jobpush.web.held.questions import Question, Ready
from jobpush.web.problems import Problem
from jobpush.web.routes import workflows
from jobpush.web.routes.common import Polls
from jobpush.web.routes.workflows import WorkflowRoutes
from tests.support import LabCase


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
        self.patch(workflows, "visibility_of", lambda principal: Visibility("lee"))
        self.assertEqual(self.lab.get("/v1/workflows").json()["workflows"], [])
