"""Which events a selection chooses: those of jobs, of parts, of workflows."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from jobpush.core.filters import EVERYTHING, Selection, Targets
from jobpush.core.model import JobDescriptor, Phase
from jobpush.core.record import Change, Event, Subject
from jobpush.core.wire import number
from jobpush.core.workflow import Workflow, workflow_key

JOB = JobDescriptor("c", "1", Phase.RUNNING, user="kim", account="bio", queue="batch", name="align.3", comment="x y")
TASK = JobDescriptor("c", "7_1", Phase.RUNNING, parent="7", task_index=1)
PUT = Workflow("align", Phase.RUNNING)
FOUND = Workflow("align@kim", Phase.RUNNING, found=True)


def event(subject: Subject) -> Event:
    """An event of that subject."""
    return number("e", 1, Change(subject, None, 0.0))


class SelectionTests(SynchronousTestCase):
    """`Selection`."""

    def chosen(self, **filters: Any) -> list[str]:
        """The ids and names of those that match."""
        selection = Selection(**filters)
        return [subject.key[1] for subject in (JOB, TASK, PUT, FOUND) if selection.matches(event(subject))]

    def test_everything(self) -> None:
        """Without filters, all."""
        self.assertTrue(all(EVERYTHING.takes(subject) for subject in (JOB, TASK, PUT, FOUND)))

    def test_filters_on_jobs_leave_workflows_out(self) -> None:
        """A workflow has no account, queue, cluster, name or comment of a job."""
        cases: list[tuple[str, Any, Any]] = [
            ("accounts", frozenset({"bio"}), frozenset({"geo"})),
            ("queues", frozenset({"batch"}), frozenset({"long"})),
            ("names", ("al*",), ("x*",)),
            ("comments", ("*y",), ("*z",)),
        ]
        for name, fits, fits_not in cases:
            self.assertEqual((self.chosen(**{name: fits}), self.chosen(**{name: fits_not})), (["1"], []), name)
        self.assertEqual(self.chosen(clusters=frozenset({"c"})), ["1", "7_1"])

    def test_what_both_have(self) -> None:
        """State and user; the user of a workflow that was found is that of its jobs."""
        self.assertEqual(self.chosen(users=frozenset({"kim"})), ["1", "align@kim"])
        self.assertEqual(self.chosen(states=frozenset({"RUNNING"}), users=frozenset({"lee"})), [])

    def test_keys(self) -> None:
        """An array's key stands for its tasks; a workflow's for itself."""
        self.assertEqual(self.chosen(keys=frozenset({("c", "7")})), ["7_1"])
        self.assertEqual(self.chosen(keys=frozenset({workflow_key("align")})), ["align"])

    def test_workflows(self) -> None:
        """The workflow itself, and the jobs that are said to belong to it."""
        self.assertEqual(self.chosen(workflows=frozenset({"align"})), ["align"])

        def of(subject: Subject) -> tuple[str, ...]:
            return ("align",) if subject is JOB or subject is PUT else ()

        self.assertEqual(self.chosen(workflows=frozenset({"align"}), workflows_of=of), ["1", "align"])

    def test_targets(self) -> None:
        """Exactly those that are named, no tasks of an array."""
        targets = Targets(frozenset({("c", "7"), ("c", "1"), workflow_key("align")}))
        self.assertEqual([targets.matches(event(subject)) for subject in (JOB, TASK, PUT, FOUND)], [True, False, True, False])
