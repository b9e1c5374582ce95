"""What is read of the journal and of the tail, against what a plain look at all events finds, and while things happen."""

from __future__ import annotations

from typing import Any
from unittest.mock import patch

from twisted.internet.defer import CancelledError, Deferred

from jobpush.core.filters import EVERYTHING, Scope, Selection
from jobpush.events.interfaces import Found, JournalError
from jobpush.events.reader import AT_ONCE, Older, Page
from jobpush.events.recent_events import Tail
from tests.events.test_reader import JournalReadingCase
from tests.support import Lab, LabCase


class LeavingTests(JournalReadingCase):
    """Clients that leave while what they asked for is read for others too."""

    def read(self) -> Deferred[Found]:
        """The same range of the journal as everybody."""
        return self.journal.read(0, 10, Scope(), 10)

    def test_all_have_left(self) -> None:
        """Who comes when all have left gets what is read, and it is not read again."""
        self.threads.hold()
        gone = self.read()
        gone.cancel()
        self.failureResultOf(gone, CancelledError)
        coming = [self.read() for _ in range(2)]
        self.assertEqual(len(self.threads.held or ()), 1)
        self.threads.release()
        for one in coming:
            self.assertEqual(len(self.successResultOf(one).events), 10)
        self.assertEqual(len(self.successResultOf(self.read()).events), 10)

    def test_one_lets_another_leave(self) -> None:
        """Whoever is told first may let another leave: the rest are told all the same."""
        self.threads.hold()
        coming = [self.read() for _ in range(4)]

        def told(found: Found) -> Found:
            coming[1].cancel()
            return found

        coming[0].addCallback(told)
        self.threads.release()
        self.failureResultOf(coming[1], CancelledError)
        for one in (coming[0], *coming[2:]):
            self.assertEqual(len(self.successResultOf(one).events), 10)


class JoiningTests(LabCase):
    """Jobs that join a workflow while its events are read."""

    def make_lab(self) -> Lab:
        return Lab(self.mktemp(), tail=4)

    def test_joined_meanwhile(self) -> None:
        """What a job tells that has joined after the reading began is told: that it has joined is the news."""
        self.lab.set("2", "RUNNING", user="kim", comment="workflow=w")
        begin = self.lab.cursor
        for number in range(20):
            self.lab.set("1", "RUNNING" if number % 2 == 0 else "SUSPENDED")
        self.lab.threads.hold("read")
        held = self.lab.get(f"/v1/changes?since={begin}&workflow=w@kim&wait=60")
        self.lab.set("3", "RUNNING", user="kim", comment="workflow=w")
        self.lab.threads.release()
        self.lab.tick()
        told = [event["job"]["id"] for event in held.json()["events"] if event["type"] == "job"]
        self.assertEqual(told, ["3", "3"])


class LongTailTests(JournalReadingCase):
    """More events in the tail than are looked at without a pause."""

    def setUp(self) -> None:
        super().setUp()
        self.tail = self.feed._tail = Tail(self.tail.head, 10_000)
        self.publish(AT_ONCE + 100)

    def read(self, found: Any) -> Any:
        """Read to the end."""
        while isinstance(found, Older):
            coming = Deferred.fromCoroutine(found.read())
            for _ in range(10):
                self.clock.advance(0)
            found = self.successResultOf(coming)
        return found

    def test_what_came_before_the_reading(self) -> None:
        """What comes between the question and the first look is told too."""
        found = self.feed.recent(EVERYTHING, 20, 10_000)
        self.assertIsInstance(found, Older)
        self.publish(7)
        page = self.read(found)
        self.assertEqual([event.seq for event in page.events], list(range(21, self.tail.head + 1)))
        self.assertEqual(page.seq, self.tail.head)

    def test_out_of_the_tail(self) -> None:
        """Where what was found has left the tail, and time is up, the answer is ahead of its cursor all the same."""
        found = self.feed.recent(EVERYTHING, 20, 10_000, ends=self.clock.seconds() + 1.0)
        self.clock.advance(2.0)
        self.tail._capacity = 4
        self.publish(1000)
        page = self.read(found)
        assert isinstance(page, Page)
        self.assertTrue(page.more)
        self.assertGreater(page.seq, 20)
        self.assertEqual([event.seq for event in page.events], list(range(21, page.seq + 1)))


class DamagedTests(JournalReadingCase):
    """Events of a version that wrote no checksums, of which the bytes are wrong."""

    def test_told(self) -> None:
        """It is the journal that is damaged, which the client is told: not a fault of the service."""
        for body in (b"{", b"[]", b"{}", b'{"type": "job", "job": {}}'):
            self.journal._writer.execute("UPDATE event SET crc = NULL, body = ? WHERE seq = 5", (body,))
            for selection in (EVERYTHING, Selection(users=frozenset({"kim"})), Selection(keys=frozenset({("c", "1")}))):
                self.journal._events._chunks.clear()
                self.journal._writer.execute("UPDATE event SET user = 'kim' WHERE seq = 5")
                found: Any = self.feed.recent(selection, 3, 10)
                failure = self.failureResultOf(Deferred.fromCoroutine(found.read()), JournalError)
                self.assertIn("event 5 is damaged", str(failure.value))


class DecodingTests(JournalReadingCase):
    """What is decoded of what was read."""

    def test_other_jobs(self) -> None:
        """Nothing of the jobs that were not asked for, though so many are named that all events are read."""
        keys = frozenset(("c", f"n{number}") for number in range(100))
        found: Any = self.feed.recent(Selection(keys=keys), 3, 10)
        with patch("jobpush.core.wire.event_from_bytes", side_effect=AssertionError):
            found = self.successResultOf(Deferred.fromCoroutine(found.read()))
        self.assertEqual(list(found.gathered), [])
