"""Listeners inside the service: every event, in order, from where they stopped."""

from __future__ import annotations

import gc
import os
from itertools import pairwise
from typing import Any
from unittest import mock

from twisted.internet.defer import Deferred, fail
from twisted.logger import LogLevel, capturedLogs, formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from jobpush.adapter.interfaces import BadQueueOption
from jobpush.core.record import JobStatusEvent
from jobpush.events.interfaces import IJobStatusListener, JournalError
from jobpush.events.journal import Retention, SQLiteJournal
from jobpush.events.listeners import (
    UNREADABLE_PAUSE_S,
    LogListener,
    LogListenerFactory,
    distinct,
    listener_factories,
    make_listener_from_table,
)
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

    def test_the_journal_cannot_be_read(self) -> None:
        """It is asked again a little later, and the log says why."""
        directory = os.path.abspath(self.mktemp())
        lab = self.lab(ear := Ear(), directory=directory)
        lab.stop()
        lab = self.lab(directory=directory)
        lab.set("1", "RUNNING")
        lab.stop()
        unreadable = mock.patch.object(SQLiteJournal, "read", side_effect=JournalError("cannot be read"))
        with unreadable, mock.patch.object(SQLiteJournal, "newest", return_value=[]), capturedLogs() as events:
            lab = self.lab(ear, directory=directory)
        self.addCleanup(lab.stop)
        self.assertIn("listener ear: cannot be read", map(formatEvent, events))
        self.assertNotIn(2, ear.heard)
        lab.clock.run(UNREADABLE_PAUSE_S + 1)
        self.assertEqual(ear.heard, list(range(1, lab.journal.last_seq + 1)))

    def test_how_often_again(self) -> None:
        """An event that it did not take comes again after 1 s, then after twice as long each time, up to a minute; the next one begins anew."""
        ear = Ear()
        lab = self.lab(ear)
        self.addCleanup(lab.stop)
        heard: list[float] = []
        ear.answers = [ValueError("no")] * 9
        job_changed = ear.job_changed
        ear.job_changed = lambda event: heard.append(lab.clock.seconds()) or job_changed(event)  # type: ignore[method-assign]
        with capturedLogs() as events:
            lab.set("1", "RUNNING")
            lab.clock.run(310, 0.5)
            ear.answers = [ValueError("no")]
            lab.set("1", "COMPLETED")
            lab.clock.run(5, 0.5)
        self.assertEqual([round(after - before) for before, after in pairwise(heard)][:8], [1, 2, 4, 8, 16, 32, 60, 60])
        self.assertEqual(round(heard[-1] - heard[-2]), 1)
        self.assertEqual(formatEvent(events[0]), "listener ear failed at event 2; again in 1 s")
        self.assertEqual(formatEvent(events[-1]), "listener ear failed at event 3; again in 1 s")
        self.flushLoggedErrors(ValueError)

    def test_workflows_are_not_told(self) -> None:
        """It hears of jobs; its place goes on over the events of workflows."""
        directory = os.path.abspath(self.mktemp())
        ear = Ear()
        lab = self.lab(ear, directory=directory)
        self.assertEqual(lab.request("PUT", "/v1/workflows/w", json={"jobs": ["memory/1"]}).status // 100, 2)
        lab.set("1", "RUNNING")
        lab.set("1", "COMPLETED")
        of_jobs = [event["seq"] for event in lab.events() if "job" in event]
        self.assertGreater(len(lab.events()), len(of_jobs))
        self.assertEqual(ear.heard, of_jobs)
        last = lab.journal.last_seq
        lab.stop()
        lab = self.lab(directory=directory)
        self.addCleanup(lab.stop)
        self.assertGreaterEqual(lab.journal.cursors()["ear"], max(of_jobs))
        self.assertLessEqual(lab.journal.cursors()["ear"], last)

    def test_a_journal_that_was_begun_anew(self) -> None:
        """A place that it has not reached is none of it: the listener goes on with what comes."""
        directory = os.path.abspath(self.mktemp())
        lab = self.lab(directory=directory)
        self.successResultOf(lab.journal.save_cursor("ear", 1000))
        lab.stop()
        ear = Ear()
        lab = self.lab(ear, directory=directory)
        self.addCleanup(lab.stop)
        lab.set("1", "RUNNING")
        self.assertEqual(ear.heard, [lab.journal.last_seq])

    def test_a_place_that_cannot_be_kept(self) -> None:
        """Is said; the listener goes on."""
        ear = Ear()
        lab = self.lab(ear)
        self.addCleanup(lab.stop)
        self.patch(lab.journal, "save_cursor", lambda name, seq: fail(JournalError("the disk is full")))
        with capturedLogs() as events:
            lab.set("1", "RUNNING")
            lab.set("1", "COMPLETED")
        self.assertEqual(ear.heard, [1, 2, 3])
        self.assertEqual([formatEvent(event) for event in events if "ear" in str(event)], ["listener ear: the disk is full"] * 2)

    def test_stopped_while_it_is_busy(self) -> None:
        """What it is told then is given up, without a word, and comes again when it is begun again."""
        directory = os.path.abspath(self.mktemp())
        ear = Ear()
        busy: Deferred[None] = Deferred()
        ear.answers = [None, busy]
        lab = self.lab(ear, directory=directory)
        lab.set("1", "RUNNING")
        lab.set("1", "COMPLETED")
        lab.stop()
        self.assertEqual(ear.heard, [1, 2])
        gc.collect()
        self.assertEqual(self.flushLoggedErrors(), [])
        lab = self.lab(ear, directory=directory)
        self.addCleanup(lab.stop)
        self.assertEqual(ear.heard, [1, 2, 2, 3, 4])

    def test_every_word_of_the_log(self) -> None:
        """Of a job of which much is known, and of one of which nothing is."""
        lab = self.lab(LogListener("log"))  # type: ignore[arg-type]
        self.addCleanup(lab.stop)
        with capturedLogs() as events:
            lab.set("2", "QUEUED", name="n" * 90, user="kim")
            lab.set("3", "QUEUED")
            lab.set("2", "FAILED", signal=9)
        told = [formatEvent(event) for event in events if event.get("log_namespace") == "jobpush.events"]
        self.assertEqual(told, [
            f"job memory/2 - -> QUEUED user=kim name={'n' * 80}\u2026 exit_code=- signal=- confidence=observed cursor=2",
            "job memory/3 - -> QUEUED user=- name=- exit_code=- signal=- confidence=observed cursor=3",
            "job memory/2 QUEUED -> FAILED user=- name=- exit_code=- signal=9 confidence=observed cursor=4",
        ])  # fmt: skip

    def test_from_tables(self) -> None:
        """By type, with options; what is wrong is named."""
        self.assertEqual([factory.listener_type for factory in listener_factories()], ["log"])
        self.assertEqual([make_listener_from_table(None, "log", options).name for options in ({}, {"name": "second"})], ["log", "second"])
        for kind, options, told in (("log", {"x": 1}, "unknown option 'x'; known are name"), ("y", {}, "there is no listener type 'y'; installed are: log"),
                                    ("log", {"name": ""}, "name='': expected a text")):  # fmt: skip
            with self.assertRaises(BadQueueOption) as caught:
                make_listener_from_table(None, kind, options)
            self.assertEqual(str(caught.exception), told)
        for names, shared in (((), None), (("a", "b"), None), (("a", "b", "b"), "b"), (("c", "a", "c", "a"), "c")):
            self.assertEqual(distinct([Ear(name) for name in names]), shared)

    def test_log(self) -> None:
        """One line for each event, whatever a job is called."""
        lines: list[Any] = []
        globalLogPublisher.addObserver(lines.append)
        self.addCleanup(globalLogPublisher.removeObserver, lines.append)
        lab = self.lab(LogListener("log"))  # type: ignore[arg-type]
        self.addCleanup(lab.stop)
        lab.set("2", "FAILED", name="x\njob memory/1 QUEUED -> FAILED {oops}", exit_code=3)
        told = [formatEvent(line) for line in lines if line.get("log_namespace") == "jobpush.events"]
        self.assertIn("memory/2 QUEUED -> FAILED", told[-1])
        self.assertIn("exit_code=3", told[-1])
        self.assertNotIn("\n", "".join(told))
        self.assertEqual(LogListenerFactory().generate_listener(None, {"name": "second"}).name, "second")
