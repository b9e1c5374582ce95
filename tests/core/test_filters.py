"""Which jobs and workflows a client asked for."""

from __future__ import annotations

import attrs
from twisted.trial.unittest import SynchronousTestCase

from jobpush.core.filters import ALL, EVERYTHING, OfSubject, Selection, Targets, Visibility, named_clusters
from jobpush.core.model import JobDescriptor, Phase
from jobpush.core.record import Change, Event, Subject
from jobpush.core.wire import number
from jobpush.core.workflow import Workflow
from tests.core.world import job


def event(of: JobDescriptor | Workflow) -> Event:
    """An event of it."""
    return number("e", 1, Change(of, None, 0.0))


def names_of(of: Subject) -> tuple[str, ...]:
    """The job is of two workflows; the workflow is itself."""
    return ("w1@kim", "w2") if of.kind == "job" else (of.key[1],)


class NamedClustersTests(SynchronousTestCase):
    """`named_clusters`."""

    def test_named(self) -> None:
        """By themselves, or with a job; a workflow names none, and nor does what is about all jobs."""
        names = frozenset
        for selects, expected in [
            (EVERYTHING, set()), (Selection(users=names({"kim"})), set()), (Selection(clusters=names({"a"})), {"a"}),
            (Selection(keys=names({("b", "1"), ("", "w")})), {"b"}), (Selection(clusters=names({"a"}), keys=names({("b", "1")})), {"a", "b"}),
            (OfSubject(("a", "1")), {"a"}), (OfSubject(("", "w")), set()), (Targets(names({("a", "1"), ("b", "2"), ("", "w")})), {"a", "b"}),
        ]:  # fmt: skip
            self.assertEqual(named_clusters(selects), expected, selects)


class SelectionTests(SynchronousTestCase):
    """`Selection`."""

    def setUp(self) -> None:
        self.job = job("7_1", "RUNNING", user="kim", account="bio", queue="batch", name="align-1", comment="workflow=w1 x")
        self.workflow = Workflow("w1@kim", Phase.RUNNING, found=True)

    def test_each_filter(self) -> None:
        """One of its values must fit; every filter that is given must. Those on jobs alone leave workflows out."""
        names = frozenset
        for selection, takes_job, takes_workflow in [
            (EVERYTHING, True, True),
            (Selection(keys=names({("c", "7_1")})), True, False), (Selection(keys=names({("c", "7")})), True, False),
            (Selection(keys=names({("d", "7")})), False, False), (Selection(keys=names({("d", "7_1")})), False, False),
            (Selection(keys=names()), False, False), (Selection(keys=names({("", "w1@kim")})), False, True),
            (Selection(clusters=names({"c"})), True, False), (Selection(clusters=names({"d"})), False, False),
            (Selection(users=names({"kim", "lee"})), True, True), (Selection(users=names({"lee"})), False, False),
            (Selection(accounts=names({"bio"})), True, False), (Selection(accounts=names({"cfd"})), False, False),
            (Selection(states=names({"RUNNING"})), True, True), (Selection(states=names({"QUEUED"})), False, False),
            (Selection(queues=names({"batch"})), True, False), (Selection(queues=names({"long"})), False, False),
            (Selection(names=("align*",)), True, False), (Selection(names=("align",)), False, False), (Selection(names=("x", "?lign-[0-9]")), True, False),
            (Selection(comments=("*w1*",)), True, False), (Selection(comments=("x", "*w1*")), True, False), (Selection(names=("x", "align*")), True, False), (Selection(comments=("w1",)), False, False),
            (Selection(workflows=names({"w1@kim"}), workflows_of=names_of), True, True),
            (Selection(workflows=names({"w2"}), workflows_of=names_of), True, False),
            (Selection(workflows=names({"w3"}), workflows_of=names_of), False, False),
            (Selection(users=names({"kim"}), states=names({"QUEUED"})), False, False),
            (Selection(users=names({"kim"}), accounts=names({"bio"})), True, False),
            (Selection(users=names({"kim"}), queues=names({"batch"})), True, False),
        ]:  # fmt: skip
            self.assertEqual((selection.takes(self.job), selection.takes(self.workflow)), (takes_job, takes_workflow), selection)
            self.assertEqual((selection.matches(event(self.job)), selection.matches(event(self.workflow))), (takes_job, takes_workflow))

    def test_what_is_not_known(self) -> None:
        """A job without a name, a user or a comment has none that would fit; an empty pattern is one for no name."""
        bare = job("1", "RUNNING")
        for selection in (
            Selection(users=frozenset({"kim"})), Selection(names=("?*",)), Selection(comments=("?*",)), Selection(accounts=frozenset({"x"})),
            Selection(queues=frozenset({"x"})), Selection(workflows=frozenset({"w"})), Selection(keys=frozenset({("c", "7")})),
        ):  # fmt: skip
            self.assertFalse(selection.takes(bare), selection)
        self.assertTrue(Selection(names=("",), comments=("*",)).takes(bare))

    def test_one_job(self) -> None:
        """An array's tasks are a part of it; case matters in names."""
        self.assertEqual([OfSubject(key).matches(event(self.job)) for key in (("c", "7"), ("c", "7_1"), ("c", "7_2"))], [True, True, False])
        self.assertFalse(Selection(names=("ALIGN*",)).takes(self.job))

    def test_a_workflow_of_a_client(self) -> None:
        """It is its owner's; one without an owner is nobody's."""
        self.assertTrue(Selection(users=frozenset({"kim"})).takes(Workflow("w1@kim", Phase.RUNNING)))
        self.assertFalse(Selection(users=frozenset({"kim"})).takes(Workflow("w1", Phase.RUNNING)))
        self.assertTrue(Selection(workflows=frozenset({"w1"}), states=frozenset({"RUNNING"})).takes(Workflow("w1", Phase.RUNNING)))


class TargetsTests(SynchronousTestCase):
    """`Targets`."""

    def test_themselves(self) -> None:
        """Not an array's tasks that are not named."""
        targets = Targets(frozenset({("c", "7"), ("", "w1@kim")}))
        self.assertTrue(targets.matches(event(job("7", "RUNNING"))))
        self.assertTrue(targets.matches(event(Workflow("w1@kim"))))
        self.assertFalse(targets.matches(event(job("7_1", "RUNNING"))))
        self.assertFalse(targets.matches(event(Workflow("w2"))))


class VisibilityTests(SynchronousTestCase):
    """`Visibility`, a part of each filter."""

    def test_each_filter(self) -> None:
        """Whatever else is asked for, only what is this user's is chosen."""
        mine, others, nobodys = (event(job("1", "RUNNING", user=user)) for user in ("kim", "lee", None))
        for filters in (Selection(), Selection(users=frozenset({"kim", "lee"})), OfSubject(("c", "1")), Targets(frozenset({("c", "1")}))):
            limited = attrs.evolve(filters, visibility=Visibility("kim"))
            self.assertTrue(limited.matches(mine), filters)
            self.assertFalse(limited.matches(others) or limited.matches(nobodys), filters)
            self.assertTrue(attrs.evolve(filters, visibility=ALL).matches(mine))
