"""Listeners inside the service: every event, in order, from where they stopped."""

from __future__ import annotations

import os
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import LogLevel, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from jobpush.core.record import JobStatusEvent
from jobpush.events.interfaces import IJobStatusListener
from jobpush.events.journal import Retention
from jobpush.events.listeners import LogListener, LogListenerFactory
from tests.support import Lab


@implementer(IJobStatusListener)
class Ear:
    """A listener that notes what it hears; ``answers`` are what it returns or raises next."""

    def __init__(self, name: str = "ear") -> None:
        self.name = name
        self.heard: list[int] = []
        self.answers: list[Any] = []

    def job_changed(self, event: JobStatusEvent) -> Deferred[None] | None:
        self.heard.append(event.seq)
        answer = self.answers.pop(0) if self.answers else None
        if isinstance(answer, Exception):
            raise answer
        return answer  # type: ignore[no-any-return]


class ListenerTests(SynchronousTestCase):
    """`ListenerService`."""

    def lab(self, *ears: Ear, directory: str | None = None, **options: Any) -> Lab:
        lab = Lab(directory, listeners=ears, **options)
        lab.queue.set("1", "QUEUED")
        return lab.start()

    def test_every_event_in_order(self) -> None:
        """It hears all, each once."""
        ear = Ear()
        verifyObject(IJobStatusListener, ear)
        lab = self.lab(ear)
        self.addCleanup(lab.stop)
        for state in ("RUNNING", "SUSPENDED", "RUNNING", "COMPLETED"):
            lab.set("1", state)
        self.assertEqual(ear.heard, [1, 2, 3, 4, 5])

    def test_slow_and_failing(self) -> None:
        """The next event comes when it has taken this one; one that it did not take comes again; others do not wait."""
        slow, other = Ear(), Ear("other")
        lab = self.lab(slow, other)
        self.addCleanup(lab.stop)
        busy: Deferred[None] = Deferred()
        slow.answers = [busy, ValueError("no"), None]
        lab.set("1", "RUNNING")
        lab.set("1", "SUSPENDED")
        self.assertEqual((slow.heard, other.heard), ([1, 2], [1, 2, 3]))
        busy.callback(None)
        lab.clock.run(0.5)
        self.assertEqual(slow.heard, [1, 2, 3])
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)
        lab.clock.run(1.5)
        self.assertEqual(slow.heard, [1, 2, 3, 3])

    def test_goes_on_where_it_stopped(self) -> None:
        """A listener that was down hears what it missed; a new one begins with what comes."""
        directory = os.path.abspath(self.mktemp())
        ear = Ear()
        lab = self.lab(ear, directory=directory)
        lab.stop()
        lab = self.lab(directory=directory)
        lab.set("1", "RUNNING")
        lab.set("1", "COMPLETED")
        lab.stop()
        late = Ear("late")
        lab = self.lab(ear, late, directory=directory)
        self.addCleanup(lab.stop)
        self.assertEqual((ear.heard, late.heard), ([1, 2, 3, 4], [4]))

    def test_longer_down_than_the_journal_reaches(self) -> None:
        """What is gone is passed over, and said so."""
        directory = os.path.abspath(self.mktemp())
        lab = self.lab(ear := Ear(), directory=directory)
        lab.stop()
        lab = self.lab(directory=directory, retention=Retention(events=5))
        for number in range(20):
            lab.set("1", "RUNNING" if number % 2 == 0 else "SUSPENDED")
        lab.stop()
        lines: list[Any] = []
        globalLogPublisher.addObserver(lines.append)
        self.addCleanup(globalLogPublisher.removeObserver, lines.append)
        lab = self.lab(ear, directory=directory, retention=Retention(events=5))
        self.addCleanup(lab.stop)
        self.assertEqual(ear.heard[0], 1)
        self.assertEqual(ear.heard[1:], list(range(ear.heard[1], lab.journal.last_seq + 1)))
        self.assertGreater(ear.heard[1], 10)
        self.assertTrue(any(e["log_level"] is LogLevel.warn and "no longer in the journal" in e["log_format"] for e in lines))

    def test_log(self) -> None:
        """One line for each event, whatever a job is called."""
        lines: list[Any] = []
        globalLogPublisher.addObserver(lines.append)
        self.addCleanup(globalLogPublisher.removeObserver, lines.append)
        lab = self.lab(LogListener("log"))  # type: ignore[arg-type]
        self.addCleanup(lab.stop)
        lab.set("2", "FAILED", name="x\njob memory/1 QUEUED -> FAILED {oops}", exit_code=3)
        from twisted.logger import formatEvent

        told = [formatEvent(line) for line in lines if line.get("log_namespace") == "jobpush.events"]
        self.assertIn("memory/2 QUEUED -> FAILED", told[-1])
        self.assertIn("exit_code=3", told[-1])
        self.assertNotIn("\n", "".join(told))
        self.assertEqual(LogListenerFactory().generate_listener(None, {"name": "second"}).name, "second")
