"""What is read of the journal and of the tail, against what a plain look at all events finds, and while things happen."""

from __future__ import annotations

import os
import tempfile
from contextlib import ExitStack
from typing import Any
from unittest.mock import patch
from urllib.parse import urlencode

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import SynchronousTestCase

from jobpush.core import filters, wire
from jobpush.core.filters import ALL, EVERYTHING, Scope, Selection, Visibility
from jobpush.core.workflow import workflow_key
from jobpush.events import event_index, journal_reading, reader
from jobpush.events.interfaces import Found, JournalError
from jobpush.events.reader import AT_ONCE, Older, Page
from jobpush.events.recent_events import Tail
from jobpush.web.params import Params
from jobpush.web.routes.common import SELECTION
from tests.events.test_reader import JournalReadingCase
from tests.support import Lab, LabCase

#: Jobs of two clusters, by cluster and id, and what is constant of them: some have no user, a tag, an array, or the same id twice.
JOBS: dict[tuple[int, str], dict[str, Any]] = {
    (0, "1"): {"user": "kim", "account": "bio", "name": "align", "comment": "workflow=w"},
    (0, "2"): {"user": "lee", "queue": "long", "comment": "workflow=w"},
    (0, "3"): {"user": "kim", "queue": "long", "comment": "x workflow=w"},
    (0, "4"): {"name": "align-2"},
    (0, "7_1"): {"user": "ada", "parent": "7", "task_index": 1, "comment": "workflow=a"},
    (0, "7_2"): {"user": "ada", "parent": "7", "task_index": 2, "comment": "workflow=a"},
    (0, "8"): {"user": "kim", "submitted_at": 100.0},
    (1, "8"): {"user": "kim", "submitted_at": 100.0},
    (1, "1"): {"user": "ada", "account": "bio"},
}

STATES = ("QUEUED", "RUNNING", "SUSPENDED", "FAILED", "MOVED")

#: Looks: what has become of some jobs; and those during which no job becomes another.
LOOKS = st.lists(st.dictionaries(st.sampled_from(sorted(JOBS)), st.sampled_from(STATES), min_size=1), min_size=1, max_size=8)
LATER = st.lists(
    st.dictionaries(st.sampled_from(sorted(key for key in JOBS if key[1] != "8")), st.sampled_from(STATES[:-1]), min_size=1),
    min_size=1,
    max_size=8,
)

#: Filters, each with values that fit and others that do not.
FILTERS = {
    "jobs": ("memory/1", "memory/3", "memory/7", "memory/7_1", "memory/8", "second/8", "second/1", "memory/99"),
    "user": ("kim", "lee", "ada", "nobody"),
    "cluster": ("memory", "second"),
    "state": ("QUEUED", "RUNNING", "FAILED"),
    "workflow": ("w@kim", "w@lee", "a@ada", "put", "later", "unknown"),
    "account": ("bio", "x"),
    "name": ("align*", "x"),
}
ASKED = st.fixed_dictionaries({}, optional={
    name: st.lists(st.sampled_from(values), min_size=1, max_size=3, unique=True) for name, values in FILTERS.items()
})  # fmt: skip


class EveryWayTests(SynchronousTestCase):
    """Whichever way events are found, it is those that a look at all of them finds, each once and in order."""

    @given(st.data())
    @settings(max_examples=150, deadline=None)
    def test_as_a_look_at_all(self, data: st.DataObject) -> None:
        """Pages of any size, of a tail of any size, with events between the pages and while they are read."""
        draw = data.draw
        with ExitStack() as cleanup:
            directory = os.path.join(cleanup.enter_context(tempfile.TemporaryDirectory(prefix="jobpush-test-")), "state")
            for module, name, most in (
                (reader, "AT_ONCE", 5), (journal_reading, "CHUNK", 10), (journal_reading, "FOUND", 5),
                (journal_reading, "MOST_OF", 3), (journal_reading, "SEARCHED", 10), (event_index, "MOST_OF", 3),
            ):  # fmt: skip
                cleanup.enter_context(patch.object(module, name, draw(st.integers(1, most), name)))
            lab = Lab(draw(st.sampled_from((None, directory)), "directory"), queues=2, tail=draw(st.integers(1, 40), "tail"))
            for (place, job_id), fields in JOBS.items():
                if draw(st.booleans()):
                    lab.queues[place].set(job_id, "QUEUED", **fields)
            lab.start()
            cleanup.callback(lab.stop)
            lab.put("/v1/workflows/put", {"jobs": ["memory/8", "memory/7", "second/1"]})
            self.happen(lab, draw(LOOKS, "before"))
            lab.tick(8)  # what was moved is so from now on
            lab.put("/v1/workflows/later", {"jobs": ["memory/4", "memory/1"]})
            self.forget_users(lab, draw(st.integers(0, 20), "users from"))
            user = draw(st.sampled_from((None, None, "kim", "nobody")), "sees")
            self.check(lab, data, draw(ASKED, "filters"), ALL if user is None else Visibility(user))

    def check(self, lab: Lab, data: st.DataObject, asked: dict[str, list[str]], visibility: Visibility) -> None:
        """What the pages hold, all taken together, is what fits."""
        selection = Params.of_fields(lab.service, asked, SELECTION, visibility).selection()
        since = data.draw(st.integers(0, lab.service.feed.head), "since")
        at, told, more, happening = since, [], True, data.draw(st.lists(LATER, max_size=3), "meanwhile")
        while more or happening or at < lab.service.feed.head:
            limit = data.draw(st.integers(1, 20), "limit")
            lab.threads.hold("read")
            if visibility is ALL:
                query = urlencode([("job" if name == "jobs" else name, value) for name, values in asked.items() for value in values])
                request = lab.get(f"/v1/changes?since={lab.service.feed.cursor(at)}&wait=0&limit={limit}&{query}")
            else:
                ends = lab.clock.seconds() + data.draw(st.sampled_from((0.0, 10.0)), "seconds")
                page = Deferred.fromCoroutine(lab.service.feed.next(selection, at, 0, limit, ends=ends))
            if happening and data.draw(st.booleans()):
                self.happen(lab, happening.pop())
            done = not request.held if visibility is ALL else page.called
            while not done or lab.threads.held:
                work, lab.threads.held = lab.threads.held or [], []
                for read in work:
                    read()
                lab.clock.advance(0)
                done = not request.held if visibility is ALL else page.called
            lab.threads.release()
            if visibility is ALL:
                answer = request.json()
                seqs, more, seq = [e["seq"] for e in answer["events"]], answer["more"], int(answer["cursor"].split("-")[1])
            else:
                found = self.successResultOf(page)
                seqs, more, seq = [event.seq for event in found.events], found.more, found.seq
            self.assertLessEqual(len(seqs), limit)
            if more:
                self.assertGreater(seq, at)
            told, at = told + seqs, seq
            if not more and happening:
                self.happen(lab, happening.pop())
                more = True
        rows = lab.journal._writer.execute("SELECT body FROM event WHERE seq > ? ORDER BY seq", (since,))
        every = [wire.event_from_bytes(bytes(body)) for (body,) in rows]
        self.assertEqual(told, [event.seq for event in every if selection.matches(event)])
        self.assertEqual(at, lab.service.feed.head)

    @staticmethod
    def happen(lab: Lab, looks: list[dict[tuple[int, str], str]]) -> None:
        for look in looks:
            for (place, job_id), state in look.items():
                lab.queues[place].set(job_id, state, **JOBS[place, job_id])
            lab.tick()

    @staticmethod
    def forget_users(lab: Lab, first: int) -> None:
        """The events before that one are of a version that wrote neither their users nor checksums."""
        lab.journal._writer.execute("UPDATE event SET user = NULL, crc = NULL WHERE seq < ?", (first,))
        lab.journal._events.users_from = first


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


    def test_no_bytes(self) -> None:
        """What was written as bytes has become something else."""
        for body in ("a text", None, 10**15, 1.5):
            self.journal._writer.execute("CREATE TABLE IF NOT EXISTS whole AS SELECT * FROM event")
            self.journal._writer.execute("DROP TABLE event")
            self.journal._writer.execute("CREATE TABLE event AS SELECT * FROM whole")
            self.journal._writer.execute("UPDATE event SET body = ? WHERE seq = 5", (body,))
            for scope in (Scope(), Scope(frozenset({("c", "1")}))):
                failure = self.failureResultOf(self.journal.read(3, 10, scope, 10), JournalError)
                self.assertIn("event 5 is damaged", str(failure.value))
            self.assertEqual([event.seq for event in self.journal.newest(100, 10**6)], list(range(6, 21)))


class DecodingTests(JournalReadingCase):
    """What is decoded of what was read."""

    def test_other_jobs(self) -> None:
        """Nothing of the jobs that were not asked for, though so many are named that all events are read."""
        keys = frozenset(("c", f"n{number}") for number in range(100))
        found: Any = self.feed.recent(Selection(keys=keys), 3, 10)
        with patch("jobpush.core.wire.event_from_bytes", side_effect=AssertionError):
            found = self.successResultOf(Deferred.fromCoroutine(found.read()))
        self.assertEqual(list(found.gathered), [])


class BoundedTests(JournalReadingCase):
    """One reading of the journal keeps others waiting for a moment only, whatever is asked for."""

    def counted(self, scope: Scope, limit: int = 10) -> tuple[int, Found]:
        """How many statements a reading takes, and what it finds."""
        statements: list[str] = []
        self.journal._reader.set_trace_callback(statements.append)
        found = self.successResultOf(self.journal.read(3, 20, scope, limit))
        self.journal._reader.set_trace_callback(None)
        return len(statements), found

    def test_many_jobs(self) -> None:
        """Of more jobs than a few events that follow each other are read, for all who ask so."""
        with patch.object(journal_reading, "MOST_OF", 4):
            for scope in (Scope(frozenset(("c", f"{n}") for n in range(5))), Scope(None, frozenset(f"u{n}" for n in range(5)))):
                count, found = self.counted(scope)
                self.assertLess(count, 4)
                self.assertEqual([event.seq for event in found.events], list(range(4, 21)))

    def test_many_events(self) -> None:
        """Where each of some jobs may have as many as are wanted, they are looked for in a part of the journal."""
        with patch.object(journal_reading, "SEARCHED", 8):
            found = self.counted(Scope(frozenset({("c", "1"), ("c", "2")})))[1]
        self.assertEqual(([event.seq for event in found.events], found.seq), (list(range(4, 12)), 11))

    def test_workflows_of_many_jobs(self) -> None:
        """Their events are found by what else is known of them."""
        jobs = {"v": [("c", "1")], "w": [("c", f"{n}") for n in range(5)]}
        names, users = frozenset(jobs), frozenset({"kim"})
        with patch.object(filters, "MOST_KEYS", 5):
            self.assertEqual(filters.scope_of(Selection(workflows=names, users=users), jobs.get), Scope(None, users))
            self.assertEqual(len(filters.scope_of(Selection(workflows=frozenset({"w"})), jobs.get).keys or ()), 6)

    def test_workflows_that_nobody_knows(self) -> None:
        """They have no jobs: their own events are looked for, and not every event there is."""
        selection = Selection(workflows=frozenset({"v", "gone"}), users=frozenset({"kim"}))
        scope = filters.scope_of(selection, {"v": [("c", "1")]}.get)
        self.assertEqual(scope.keys, {("c", "1"), workflow_key("v"), workflow_key("gone")})
