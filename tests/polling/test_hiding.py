"""Which schedulers hide users' jobs from each other."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.trial.unittest import SynchronousTestCase

from jobpush.core.model import QueueFacts
from jobpush.events.interfaces import JournalError
from jobpush.polling.hiding import Hiding

OPEN = QueueFacts(sees_all=True)
HIDES = QueueFacts(sees_all=True, hides_jobs=True, evidence="PrivateData=jobs")


class Journal:
    """Keeps texts."""

    def __init__(self) -> None:
        self.texts: dict[str, str] = {}
        self.failure: Exception | None = None

    def keep(self, name: str, value: str | None) -> Deferred[None]:
        if self.failure is not None:
            return fail(self.failure)
        assert value is not None
        self.texts[name] = value
        return succeed(None)

    def kept(self) -> dict[str, str]:
        return self.texts


class HidingTests(SynchronousTestCase):
    """`Hiding`."""

    def setUp(self) -> None:
        self.journal = Journal()
        self.facts: dict[str, QueueFacts | None] = {"one": None, "two": None}
        self.changes: list[tuple[bool, tuple[str, ...]]] = []
        self.begin()

    def begin(self) -> None:
        """As at the start of the process."""
        journal: Any = self.journal
        self.hiding = Hiding(journal, lambda: self.facts)
        self.hiding.on_change.append(lambda: self.changes.append(self.told))

    @property
    def told(self) -> tuple[bool, tuple[str, ...]]:
        """Whether jobs are hidden, and of which clusters that is not known."""
        return self.hiding.why() is not None, self.hiding.unknown()

    def says(self, **facts: QueueFacts | None) -> None:
        """Schedulers say what they do."""
        self.facts.update(facts)
        self.hiding.checked()

    def test_nothing_said(self) -> None:
        """What has not been said is not known: it is neither hidden nor open."""
        self.assertEqual(self.told, (False, ("one", "two")))
        self.says(one=OPEN)
        self.assertEqual(self.told, (False, ("two",)))
        self.says(two=OPEN)
        self.assertEqual(self.told, (False, ()))

    def test_hidden(self) -> None:
        """One that hides jobs is enough, whether the others have said anything or not; it is said which, and how that is known."""
        self.says(two=HIDES)
        self.assertEqual(self.told, (True, ("one",)))
        for part in ("two", "PrivateData=jobs"):
            self.assertIn(part, str(self.hiding.why()))

    def test_after_a_restart(self) -> None:
        """That jobs are hidden is known from before; that they are not is asked again."""
        self.says(one=HIDES, two=OPEN)
        self.facts = {"one": None, "two": None}
        self.begin()
        self.assertEqual(self.told, (True, ("two",)))
        self.assertIn("PrivateData=jobs", str(self.hiding.why()))

    def test_hidden_no_more(self) -> None:
        """What a scheduler says now counts, and is what a restart finds."""
        self.says(one=HIDES, two=OPEN)
        self.says(one=OPEN)
        self.assertEqual(self.told, (False, ()))
        self.facts = {"one": None, "two": None}
        self.begin()
        self.assertEqual(self.told, (False, ("one", "two")))

    def test_a_cluster_comes_and_goes(self) -> None:
        """One that is watched no more does not count; what is known of it is there when it comes back."""
        self.says(one=OPEN, two=HIDES)
        del self.facts["two"]
        self.hiding.checked()
        self.assertEqual(self.told, (False, ()))
        self.says(two=None)
        self.assertEqual(self.told, (True, ()))

    def test_changes(self) -> None:
        """It is told when something else is known, and not when the same is said again."""
        self.says(one=OPEN)
        self.says(one=OPEN)
        self.says(two=OPEN)
        self.says(two=HIDES)
        self.says(two=HIDES)
        self.assertEqual(self.changes, [(False, ("two",)), (False, ()), (True, ())])

    def test_a_journal_that_cannot_be_written(self) -> None:
        """It is said in the log; it is tried again when the scheduler is asked again."""
        self.journal.failure = JournalError("full")
        self.says(one=HIDES)
        self.assertEqual(self.told, (True, ("two",)))
        self.journal.failure = None
        self.says(one=HIDES)
        self.facts = {"one": None, "two": None}
        self.begin()
        self.assertEqual(self.told, (True, ("two",)))
