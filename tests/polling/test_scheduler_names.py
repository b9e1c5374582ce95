"""Which scheduler a queue is of: what is believed of another one's answers, over restarts too."""

from __future__ import annotations

from typing import Any

import attrs
from twisted.internet.defer import Deferred, fail, succeed
from twisted.trial.unittest import SynchronousTestCase

from jobpush.adapter.interfaces import OtherCluster
from jobpush.core.model import QueueFacts
from jobpush.events.interfaces import JournalError
from jobpush.polling.scheduler_names import SchedulerNames
from tests.support import Lab


class Kept:
    """What a journal keeps, as `IJournal` has it."""

    def __init__(self) -> None:
        self.texts: dict[str, str] = {}
        self.works = True

    def kept(self) -> dict[str, str]:
        return self.texts

    def keep(self, name: str, value: str) -> Deferred[None]:
        if not self.works:
            return fail(JournalError("the disk is full"))
        self.texts[name] = value
        return succeed(None)


class NamesTests(SynchronousTestCase):
    """`SchedulerNames` by itself."""

    def setUp(self) -> None:
        self.journal: Any = Kept()
        self.names = SchedulerNames(self.journal)

    def refused(self, *words: str | None) -> str:
        """Why this answer is not believed."""
        return str(self.assertRaises(OtherCluster, self.names.check, *words))

    def test_the_first_one(self) -> None:
        """It is the queue's, until it is told otherwise; after a restart too."""
        for _ in range(2):
            self.names.check("slurm", "ours")
            self.names.check("other", "theirs")
        for _ in range(2):
            self.assertIn("the answers are those of theirs, expected ours; its jobs are not told", self.refused("slurm", "theirs"))
            self.assertIn("a scheduler without a name", self.refused("slurm", None))
            self.names.check("slurm", "ours")
            self.names = SchedulerNames(self.journal)

    def test_without_a_name(self) -> None:
        """One that has none is as good as another; one that says it later is known by it from then on."""
        for name in (None, None, "ours"):
            self.names.check("slurm", name)
        self.refused("slurm", "theirs")

    def test_by_the_settings(self) -> None:
        """What they say counts, and is what it is called from then on."""
        self.assertIn("(if that is meant: the queue's option scheduler_name)", self.refused("slurm", "theirs", "ours"))
        self.names.check("slurm", "ours", "ours")
        self.refused("slurm", "new")
        self.names.check("slurm", "new", "new")
        names = SchedulerNames(self.journal)
        names.check("slurm", "new")

    def test_a_journal_that_fails(self) -> None:
        """It is known until the end of the process, and the log says so."""
        self.journal.works = False
        self.names.check("slurm", "ours")
        self.refused("slurm", "theirs")


class LookTests(SynchronousTestCase):
    """A service whose scheduler is another one after a restart."""

    def test_after_a_restart(self) -> None:
        """Nothing of another cluster is told, whatever jobs it has, and health says so."""
        directory = self.mktemp()
        facts = QueueFacts(sees_all=True, evidence="test", answers_as="ours")
        for answers_as, job_id, states in (("ours", "1", {"1": "RUNNING"}), ("theirs", "990001", {"1": "RUNNING"})):
            lab = Lab(directory)
            lab.queue.facts = attrs.evolve(facts, answers_as=answers_as)
            lab.queue.set(job_id, "RUNNING")
            lab.start()
            lab.tick(3)
            self.assertEqual(lab.states(), states)
            status = lab.get("/readyz").json()["queues"]["memory"]
            self.assertEqual(status["health"], "ok" if answers_as == "ours" else "stale")
            self.assertEqual(["theirs, expected ours" in line for line in status.get("missing", [])], [True] * (answers_as == "theirs"))
            lab.stop()

    def test_it_answers_after_the_question(self) -> None:
        """Also where it is another one by the time that the first jobs are asked for."""
        lab = Lab()
        lab.queue.facts = QueueFacts(sees_all=True, evidence="test", answers_as="ours")
        snapshot = lab.queue.snapshot

        def replaced() -> Any:
            lab.queue.facts = QueueFacts(sees_all=True, evidence="test", answers_as="theirs")
            return snapshot()

        self.patch(lab.queue, "snapshot", replaced)
        lab.queue.set("990001", "RUNNING")
        lab.start()
        lab.tick(2)
        self.assertEqual(lab.states(), {})
        lab.stop()
