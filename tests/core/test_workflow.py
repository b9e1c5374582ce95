"""The values of workflows: members, sums, states."""

from __future__ import annotations

from typing import Any

import attrs
from twisted.trial.unittest import SynchronousTestCase

from jobpush.core.model import Confidence, JobDescriptor, Outcome, Phase
from jobpush.core.record import Change, HistoryEntry
from jobpush.core.wire import number
from jobpush.core.workflow import NOT_SEEN, WORKFLOW_NAME, FirstFailure, Tally, Workflow, WorkflowMember, workflow_key
from jobpush.core.workflows import Workflows
from jobpush.runtime.cooperate import finish
from tests.core.world import job


def tally(*members: WorkflowMember) -> Tally:
    """The sum of these."""
    found = Tally()
    for member in members:
        found.add(member)
    return found


class MemberTests(SynchronousTestCase):
    """`WorkflowMember`."""

    def test_of(self) -> None:
        """What is kept of a job, all of it."""
        seen = job(
            "1", "FAILED", exit_code=3, signal=9, reason="r", name="n", submitted_at=1.0, started_at=2.0, ended_at=3.0, counts={"FAILED": 2}, uid="u"
        )
        self.assertEqual(WorkflowMember.of(seen), WorkflowMember("u", "FAILED", {"FAILED": 2}, True, True, 3, 9, "r", "n", 1.0, 2.0, 3.0))
        self.assertEqual(NOT_SEEN, WorkflowMember("", "UNKNOWN", None, False, False))

    def test_begun(self) -> None:
        """A job that runs, or ran; an array of which a task did; not one that is starting, though it is said when."""
        for state, started_at, begun in [
            ("QUEUED", None, False), ("QUEUED", 5.0, True), ("HELD", None, False), ("STARTING", 5.0, False), ("STARTING", None, False),
            ("RUNNING", None, True), ("SUSPENDED", None, True), ("FINISHING", None, True), ("CANCELLED", None, True), ("UNKNOWN", None, False),
        ]:  # fmt: skip
            self.assertEqual(WorkflowMember.of(job("1", state, started_at=started_at)).begun, begun, (state, started_at))

    def test_failed(self) -> None:
        """Ended, and neither well nor elsewhere."""
        good = {state for state in ("QUEUED", "RUNNING", "UNKNOWN", *(outcome.value for outcome in Outcome)) if not WorkflowMember(state=state).failed}
        self.assertEqual(good, {"QUEUED", "RUNNING", "UNKNOWN", "COMPLETED", "MOVED"})

    def test_parts(self) -> None:
        """An array's tasks; another job is one by itself."""
        self.assertEqual(WorkflowMember(state="RUNNING").parts, {"RUNNING": 1})
        self.assertEqual(WorkflowMember(state="RUNNING", counts={"FAILED": 2, "RUNNING": 1}).parts, {"FAILED": 2, "RUNNING": 1})
        self.assertEqual(WorkflowMember(state="RUNNING", counts={}).parts, {})


class TallyTests(SynchronousTestCase):
    """`Tally`."""

    def test_times(self) -> None:
        """The first start of what has begun, and the last end, in whatever order they are told."""
        first, second, third = (WorkflowMember("u", "COMPLETED", None, True, True, started_at=s, ended_at=e) for s, e in ((5.0, 50.0), (3.0, 20.0), (9.0, 30.0)))
        estimate = WorkflowMember("u", "STARTING", started_at=1.0)
        for members in ((first, second, third, estimate), (third, estimate, second, first), (second, first, third)):
            found = tally(*members)
            self.assertEqual((found.started_at, found.ended_at), (3.0, 50.0))
        self.assertEqual((tally(estimate).started_at, tally(estimate).ended_at), (None, None))

    def test_counts(self) -> None:
        """What is added and taken away again leaves nothing; when the first began stays known."""
        running = WorkflowMember("u", "RUNNING", {"RUNNING": 2, "FAILED": 1}, True, False, started_at=5.0)
        found = tally(running, WorkflowMember(state="QUEUED"))
        self.assertEqual((found.counts, found.begun, found.unsettled), ({"RUNNING": 2, "FAILED": 1, "QUEUED": 1}, 1, 2))
        copy = found.copy()
        found.remove(running)
        self.assertEqual((found.counts, found.begun, found.unsettled, found.started_at), ({"QUEUED": 1}, 0, 1, 5.0))
        self.assertEqual((copy.counts, copy.begun), ({"RUNNING": 2, "FAILED": 1, "QUEUED": 1}, 1), "a copy goes its own way")

    def test_describe(self) -> None:
        """The workflow that they make: its end only once all have ended, and settled only where it may be."""
        done = WorkflowMember("u", "COMPLETED", None, True, True, started_at=5.0, ended_at=9.0)
        failed = attrs.evolve(done, state="FAILED", ended_at=7.0)
        before = Workflow("w", found=True, first_failure=FirstFailure(("c", "1"), ("c", "1"), "FAILED", 7.0))
        for members, settles, expected in [
            ((done, failed), True, (Phase.DONE, Outcome.FAILED, True, {"COMPLETED": 1, "FAILED": 1}, 5.0, 9.0)),
            ((done, failed), False, (Phase.DONE, Outcome.FAILED, False, {"COMPLETED": 1, "FAILED": 1}, 5.0, 9.0)),
            ((done, attrs.evolve(failed, settled=False)), True, (Phase.DONE, Outcome.FAILED, False, {"COMPLETED": 1, "FAILED": 1}, 5.0, 9.0)),
            ((done, WorkflowMember(state="QUEUED")), True, (Phase.RUNNING, None, False, {"COMPLETED": 1, "QUEUED": 1}, 5.0, None)),
            ((WorkflowMember(state="QUEUED"), WorkflowMember(state="HELD")), True, (Phase.QUEUED, None, False, {"HELD": 1, "QUEUED": 1}, None, None)),
        ]:  # fmt: skip
            told = tally(*members).describe(before, settles)
            self.assertEqual((told.phase, told.outcome, told.settled, told.counts, told.started_at, told.ended_at), expected)
            self.assertEqual((told.name, told.found, told.first_failure, list(told.counts)), ("w", True, before.first_failure, sorted(told.counts)))


class WorkflowTests(SynchronousTestCase):
    """`Workflow`."""

    def test_questions(self) -> None:
        """Its state, how far it is, whether it has begun, whether it has ended for sure."""
        done = Workflow("w", Phase.DONE, Outcome.TIMEOUT, settled=True, counts={"TIMEOUT": 1, "COMPLETED": 3})
        self.assertEqual((done.state, done.total, done.progress, done.terminal, done.started), ("TIMEOUT", 4, 1.0, True, True))
        self.assertFalse(attrs.evolve(done, settled=False).terminal)
        self.assertFalse(Workflow("w", Phase.RUNNING, settled=True).terminal)
        half = Workflow("w", Phase.RUNNING, counts={"RUNNING": 1, "MOVED": 1, "QUEUED": 2})
        self.assertEqual((half.state, half.total, half.progress, half.started), ("RUNNING", 4, 0.25, True))
        self.assertEqual((Workflow("w").progress, Workflow("w").total, Workflow("w").started, Workflow("w").state), (0.0, 0, False, "UNKNOWN"))
        self.assertTrue(Workflow("w", Phase.HELD, started_at=0.0).started)
        begun = {phase for phase in Phase if Workflow("w", phase).started}
        self.assertEqual(begun, {Phase.RUNNING, Phase.SUSPENDED, Phase.FINISHING, Phase.DONE})

    def test_names(self) -> None:
        """It is its owner's, or nobody's. Its key is no job's."""
        self.assertEqual((Workflow("w@kim", found=True).user, Workflow("w@kim").user), ("kim", "kim"))
        self.assertEqual((Workflow("w@", found=True).user, Workflow("w", found=True).user), (None, None))
        self.assertEqual((Workflow("w").key, workflow_key("w")), (("", "w"), ("", "w")))
        good = {text: WORKFLOW_NAME.fullmatch(text) is not None for text in ("w", "7", "a.b:c+d-e_f", "a" * 128, "a" * 129, "", ".x", "a@b", "a/b", "é")}
        self.assertEqual([text for text, fits in good.items() if fits], ["w", "7", "a.b:c+d-e_f", "a" * 128])

    def test_what_makes_an_event(self) -> None:
        """Its state, its counts, the first failure, that it is no more; not when it began or ended."""
        workflow = Workflow("w", Phase.DONE, Outcome.FAILED)
        failure = FirstFailure(("c", "1"), ("c", "1"), "FAILED", 7.0)
        changes: list[dict[str, Any]] = [
            {"outcome": Outcome.TIMEOUT}, {"phase": Phase.RUNNING}, {"settled": True}, {"counts": {"FAILED": 1}}, {"first_failure": failure}, {"deleted": True},
        ]  # fmt: skip
        for change in changes:
            self.assertNotEqual(attrs.evolve(workflow, **change).visible(), workflow.visible(), change)
        for change in ({"started_at": 5.0}, {"ended_at": 5.0}, {"found": True}):
            self.assertEqual(attrs.evolve(workflow, **change).visible(), workflow.visible(), change)

    def test_step(self) -> None:
        """What an event adds to a history."""
        event = number("e", 5, Change(Workflow("w", Phase.RUNNING), None, 9.5))
        self.assertEqual(event.step, HistoryEntry(5, 9.5, "RUNNING", 0, Confidence.OBSERVED))


class MovedTests(SynchronousTestCase):
    """What `Workflows` finds of a member that is moved from cluster to cluster."""

    def setUp(self) -> None:
        self.workflows = Workflows()
        self.known: dict[tuple[str, str], JobDescriptor] = {}

    def put(self, name: str, *keys: tuple[str, str]) -> None:
        """A client says which jobs it has."""
        self.workflows.publish(finish(self.workflows.define(name, keys, (), self.known.get, 0.0)))

    def moved(self, to: str | None) -> None:
        """Job ``c/1`` has become that, or is itself again."""
        now = job("1", "MOVED" if to else "QUEUED", moved_to=to)
        self.known[now.key] = now
        self.workflows.publish(finish(self.workflows.follow([number("e", 1, Change(now, None, 0.0))])))

    def keys(self, name: str = "w") -> set[tuple[str, str]]:
        return set(self.workflows.keys_of(name) or ())

    def test_all_that_it_has_been(self) -> None:
        """Events of all that are found by the workflow, as they were told to who followed it."""
        self.put("w", ("c", "1"))
        for to, keys in (("d/1", {"c", "d"}), (None, {"c", "d"}), ("e/1", {"c", "d", "e"})):
            self.moved(to)
            self.assertEqual(self.keys(), {(cluster, "1") for cluster in keys})
            for cluster in keys:
                self.assertEqual(list(self.workflows.names_of(attrs.evolve(job("1", "RUNNING"), cluster=cluster))), ["w"])

    def test_forgotten(self) -> None:
        """With the last workflow of the member, and not before."""
        for name in ("w", "v"):
            self.put(name, ("c", "1"))
        self.moved("d/1")
        self.workflows.publish(self.workflows.delete(["w"], 0.0))
        self.assertEqual(self.keys("v"), {("c", "1"), ("d", "1")})
        self.workflows.publish(self.workflows.delete(["v"], 0.0))
        self.assertEqual((self.workflows._moved, self.workflows._become, self.workflows._of), ({}, {}, {}))
        self.assertIsNone(self.workflows.keys_of("v"))
