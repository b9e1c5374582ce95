"""Reading what was published: the tail, the journal, and what moves meanwhile."""

from __future__ import annotations

import os
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import SynchronousTestCase

from jobpush.core import wire
from jobpush.core.cursors import Cursor
from jobpush.core.filters import EVERYTHING, Scope, Selection
from jobpush.core.record import Change
from jobpush.events.interfaces import CursorGone, JournalError
from jobpush.events.journal import Retention, SQLiteJournal
from jobpush.events.reader import Enough, Feed, Older, Page, Pending
from jobpush.events.recent_events import Tail
from jobpush.events.tracker import JobStatusTracker
from jobpush.runtime.cooperate import Cooperator
from tests.core.world import job
from tests.support import NOW, Lab, LabCase, ManualClock, StepThreads


class TailTests(LabCase):
    """A cursor older than the tail, while the tail moves."""

    def make_lab(self) -> Lab:
        return Lab(retention=Retention(events=1000), tail=4)

    def test_the_tail_moves_while_the_journal_is_read(self) -> None:
        """Events that come while older ones are read from the journal are told once, in order, none is left out."""
        for number in range(30):
            self.lab.set("1", "RUNNING" if number % 2 == 0 else "SUSPENDED")
        self.assertFalse(self.lab.service.tail.covers(3))
        self.lab.threads.hold("write")  # a journal in memory is read on the writer's thread
        held = self.lab.get(f"/v1/changes?since={self.lab.journal.epochs.current}-3&limit=10000&wait=60")
        self.assertTrue(held.held)
        self.lab.threads.release()
        cursor, seen = held.json()["cursor"], [e["seq"] for e in held.json()["events"]]
        self.assertEqual(seen, list(range(4, 32)))
        self.assertTrue(cursor.endswith("-31"))

    def test_nothing_matched_in_the_journal(self) -> None:
        """The reader comes to the tail, which has moved meanwhile, and waits there without a gap."""
        for number in range(30):
            self.lab.set("1", "RUNNING" if number % 2 == 0 else "SUSPENDED")
        self.lab.queue.set("2", "QUEUED")
        self.lab.threads.hold("write")
        held = self.lab.get(f"/v1/jobs/memory/2?since={self.lab.journal.epochs.current}-3&wait=60")
        queue, self.lab.threads.held = self.lab.threads.held, []
        for work in queue or ():
            work()
        self.lab.threads.held = None
        self.lab.tick()
        self.assertEqual([e["job"]["id"] for e in held.json()["events"]], ["2"])

    def test_trimmed_while_it_is_read(self) -> None:
        """What is removed while it is being read is 410, not a gap."""
        for number in range(30):
            self.lab.set("1", "RUNNING" if number % 2 == 0 else "SUSPENDED")
        self.lab.threads.hold("write")
        held = self.lab.get(f"/v1/changes?since={self.lab.journal.epochs.current}-3&wait=60")
        reads, self.lab.threads.held = self.lab.threads.held, None
        self.lab.journal._retention = Retention(events=5)
        self.lab.set("1", "HELD")
        for work in reads or ():
            work()
        self.assertEqual(held.status, 410)


class OldEventsTests(LabCase):
    """Events that are older than the tail, with every kind of filter, and with ``until``."""

    def make_lab(self) -> Lab:
        return Lab(tail=4)

    def setUp(self) -> None:
        super().setUp()
        self.lab.set("2", "RUNNING", name="solve-3", user="lee", account="cfd", queue="long", comment="workflow=w9")
        for index in (1, 2):
            self.lab.queue.set(f"7_{index}", "RUNNING", parent="7", task_index=index, name="sweep", user="ada")
        self.lab.tick()
        self.begin = self.cursor(0)
        for number in range(20):  # so that what is above is in the journal alone
            self.lab.set("9", "RUNNING" if number % 2 == 0 else "SUSPENDED", name="other", user="nobody")
        self.assertFalse(self.lab.service.tail.covers(0))

    def cursor(self, seq: int) -> str:
        return f"{self.lab.journal.epochs.current}-{seq}"

    def told(self, query: str, since: str | None = None) -> list[str]:
        """Whose events there are."""
        found = self.lab.get(f"/v1/changes?since={since or self.begin}&wait=0&limit=1000&{query}").json()["events"]
        return sorted({event["job"]["id"] if event["type"] == "job" else event["workflow"]["name"] for event in found})

    def test_filters(self) -> None:
        """Each filter lets its own pass and nothing else, as it does with new events."""
        for query, ids in {
            "user=lee": ["2", "w9@lee"], "user=lee&user=kim": ["1", "2", "w9@lee"], "account=cfd": ["2"], "queue=long": ["2"],
            "name=solve*": ["2"], "comment=workflow*": ["2"], "cluster=memory": ["1", "2", "7", "7_1", "7_2", "9"],
            "state=QUEUED": ["1", "2", "7", "7_1", "7_2", "9"], "workflow=w9@lee": ["2", "w9@lee"], "user=lee&state=QUEUED": ["2"],
            "job=memory/2": ["2"], "job=memory/7": ["7", "7_1", "7_2"], "job=memory/7_1": ["7_1"], "job=memory/1&job=memory/7_2": ["1", "7_2"],
            "job=memory/2&user=kim": [], "job=memory/77": [], "user=kim&account=cfd": [],
        }.items():  # fmt: skip
            self.assertEqual(self.told(query), ids, query)

    def test_a_workflow_that_is_found_again(self) -> None:
        """What its jobs did is found by their tags, also of jobs that have not come back to it."""
        for job_id in ("3", "4"):
            self.lab.set(job_id, "RUNNING", user="lee", comment="workflow=w8")
        before = self.told("workflow=w8@lee")
        self.assertEqual(self.lab.request("DELETE", "/v1/workflows/w8@lee").status, 204)
        self.lab.set("3", "SUSPENDED", user="lee", comment="workflow=w8")
        self.assertEqual(self.told("workflow=w8@lee"), before)
        self.assertEqual(before, ["3", "4", "w8@lee"])

    def test_many_jobs(self) -> None:
        """However many jobs are named, it is these that are told."""
        for count in (1, 31, 32, 33, 200):
            others = [f"memory/{number}" for number in range(1000, 999 + count)]
            answer = self.lab.post("/v1/changes", {"since": self.begin, "wait": 0, "limit": 1000, "jobs": ["memory/2", *others]})
            self.assertEqual({event["job"]["id"] for event in answer.json()["events"]}, {"2"}, count)

    def test_since(self) -> None:
        """After the cursor, not at it."""
        seqs = [event["seq"] for event in self.lab.events(self.cursor(2), "&job=memory/2")]
        every = [event["seq"] for event in self.lab.events(self.begin, "&job=memory/2")]
        self.assertEqual(seqs, [seq for seq in every if seq > 2])
        self.assertLess(len(seqs), len(every))

    def test_nothing_matches(self) -> None:
        """A request with an old cursor of which nothing is told is held, as one with a new cursor is."""
        held = self.lab.get(f"/v1/changes?since={self.begin}&wait=60&user=somebody")
        self.assertTrue(held.held)
        self.lab.set("3", "QUEUED", user="somebody")
        self.assertEqual([event["job"]["id"] for event in held.json()["events"]], ["3"])

    def test_until(self) -> None:
        """What came since the cursor is gathered, and told with the event that is waited for."""
        held = self.lab.get(f"/v1/jobs/memory/2?since={self.begin}&until=terminal&wait=60")
        self.assertTrue(held.held, "it has begun, and not ended")
        self.lab.set("2", "SUSPENDED", user="lee")
        self.assertTrue(held.held)
        self.lab.set("2", "FAILED", user="lee", exit_code=3)
        self.assertEqual([event["job"]["state"] for event in held.json()["events"]], ["QUEUED", "RUNNING", "SUSPENDED", "FAILED"])
        again = self.lab.get(f"/v1/jobs/memory/2?since={self.begin}&until=terminal&wait=60")
        self.assertEqual(again.json()["events"], held.json()["events"])

    def test_until_in_the_tail(self) -> None:
        """The same where all of it is in memory still."""
        head = self.lab.cursor
        self.lab.set("9", "RUNNING", user="nobody")
        held = self.lab.get(f"/v1/jobs/memory/9?since={head}&until=terminal&wait=60")
        self.assertTrue(held.held)
        self.lab.set("9", "COMPLETED", user="nobody")
        self.assertEqual([event["job"]["state"] for event in held.json()["events"]][-1], "COMPLETED")

    def test_limit(self) -> None:
        """As many as are allowed are all, one more is more; page by page nothing is left out, wherever the tail begins."""
        every = [event["seq"] for event in self.lab.events(self.begin, "&job=memory/9")]
        whole = self.lab.get(f"/v1/changes?since={self.begin}&wait=0&job=memory/9&limit={len(every)}").json()
        self.assertEqual((whole["more"], len(whole["events"]), whole["cursor"]), (False, len(every), self.lab.cursor))
        less = self.lab.get(f"/v1/changes?since={self.begin}&wait=0&job=memory/9&limit={len(every) - 1}").json()
        self.assertEqual((less["more"], len(less["events"]), less["cursor"]), (True, len(every) - 1, less["events"][-1]["cursor"]))
        for limit in (1, 3, 5, 7):
            for query in ("&job=memory/9", "&user=nobody", ""):
                seen: list[int] = []
                cursor, more = self.begin, True
                for _ in range(100):
                    if not more:
                        break
                    answer = self.lab.get(f"/v1/changes?since={cursor}&wait=0&limit={limit}{query}").json()
                    seen.extend(event["seq"] for event in answer["events"])
                    cursor, more = answer["cursor"], answer["more"]
                self.assertFalse(more)
                self.assertEqual(seen, [event["seq"] for event in self.lab.events(self.begin, query)], (limit, query))

    def test_gone(self) -> None:
        """Of a cursor that is not kept nothing is told, not even what is there."""
        self.assertEqual(self.lab.get(f"/v1/changes?since={self.cursor(10**6)}&wait=0").status, 410)
        self.assertEqual(self.lab.get(f"/v1/changes?since={self.lab.cursor}&wait=0").status, 200)


class FeedTests(LabCase):
    """`Feed`, as listeners and routes use it; the tail holds four events."""

    def make_lab(self) -> Lab:
        return Lab(tail=4)

    def setUp(self) -> None:
        super().setUp()
        for number in range(20):
            self.lab.set("1", "RUNNING" if number % 2 == 0 else "SUSPENDED")
        self.feed = self.lab.service.feed

    def ready(self, since: int, limit: int, enough: Enough | None) -> Any:
        """What there is at once."""
        found = self.feed.recent(EVERYTHING, since, limit, enough)
        while isinstance(found, Older):
            found = self.successResultOf(Deferred.fromCoroutine(found.read()))
        return found

    def next(self, since: int, wait: float) -> Deferred[Page]:
        """What comes."""
        return Deferred.fromCoroutine(self.feed.next(EVERYTHING, since, wait))

    def test_more_than_the_limit(self) -> None:
        """Then it is a page, though what is waited for is not among it: in the journal, and in the tail."""
        for since, limit in ((3, 5), (self.feed.head - 3, 2)):
            page = self.ready(since, limit, lambda event: False)
            assert isinstance(page, Page)
            self.assertEqual([event.seq for event in page.events], list(range(since + 1, since + limit + 1)))
            self.assertEqual((page.seq, page.more), (since + limit, True))

    def test_not_enough_yet(self) -> None:
        """What there is up to the limit is kept for the answer, and waiting goes on after it."""
        for since in (3, self.feed.head - 3):
            pending = self.ready(since, self.feed.head - since, lambda event: False)
            assert isinstance(pending, Pending)
            self.assertEqual([event.seq for event in pending.gathered], list(range(since + 1, self.feed.head + 1)))
            self.assertEqual(pending.since, self.feed.head)

    def test_enough_at_once(self) -> None:
        """One event that is waited for is enough, wherever it stands among those that are there, in the journal or in the tail."""
        head = self.feed.head
        for since in (3, head - 3):
            for seq in (since + 1, since + 2, head):
                page = self.ready(since, 100, lambda event, seq=seq: event.seq == seq)
                assert isinstance(page, Page), (since, seq)
                self.assertEqual([event.seq for event in page.events], list(range(since + 1, head + 1)))
                self.assertEqual((page.seq, page.more), (head, False))

    def test_at_once(self) -> None:
        """Events that are there already are given at once, with the head as the number up to which they are all."""
        for since in (3, self.feed.head - 2):
            page = self.successResultOf(self.next(since, 60.0))
            self.assertEqual([event.seq for event in page.events], list(range(since + 1, self.feed.head + 1)))
            self.assertEqual((page.seq, page.more, page.timed_out, page.closing), (self.feed.head, False, False, False))

    def test_waits(self) -> None:
        """The next event ends the wait."""
        head = self.feed.head
        coming = self.next(head, 60.0)
        self.lab.clock.advance(0.5)
        self.assertNoResult(coming)
        self.lab.set("2", "QUEUED")
        page = self.successResultOf(coming)
        self.assertEqual(([event.seq for event in page.events], page.seq, page.timed_out), ([head + 1], head + 1, False))

    def test_time_is_up(self) -> None:
        """When its time is over, and not before; who does not wait has not timed out."""
        coming = self.next(self.feed.head, 5.0)
        self.lab.clock.advance(4.9)
        self.assertNoResult(coming)
        self.lab.clock.advance(0.3)
        page = self.successResultOf(coming)
        self.assertEqual((page.events, page.seq, page.timed_out, page.closing), ([], self.feed.head, True, False))
        page = self.successResultOf(self.next(self.feed.head, 0))
        self.assertEqual((list(page.events), page.seq, page.timed_out), ([], self.feed.head, False))

    def test_reading_is_part_of_the_wait(self) -> None:
        """Where the journal takes longer to read than there is time for, the wait is over with it."""
        self.lab.queue.interval = 600.0
        self.lab.tick(2)
        nothing = Selection(users=frozenset({"nobody"}))
        for seconds, left in ((4.0, True), (5.0, False), (7.0, False)):
            self.lab.threads.hold("write")
            coming = Deferred.fromCoroutine(self.feed.next(nothing, 3, 5.0))
            self.lab.clock.advance(seconds)
            self.lab.threads.release()
            if left:
                self.assertNoResult(coming)
                self.lab.clock.advance(0.9)
                self.assertNoResult(coming)
                self.lab.clock.advance(0.2)
            self.assertTrue(self.successResultOf(coming).timed_out, seconds)

    def test_a_cursor_that_is_ahead(self) -> None:
        """Its wait ends where it began, never before it."""
        coming = self.next(self.feed.head + 1, 5.0)
        self.lab.clock.advance(5.2)
        self.assertEqual(self.successResultOf(coming).seq, self.feed.head + 1)

    def test_the_end(self) -> None:
        """Who waits is told that the service ends."""
        coming = self.next(self.feed.head, 60.0)
        self.lab.service.announce_end()
        self.lab.clock.advance(0)
        page = self.successResultOf(coming)
        self.assertEqual((page.timed_out, page.closing), (True, True))

    def test_cursors(self) -> None:
        """Of this epoch, neither older than what is kept nor beyond what was given out."""
        epoch, head = self.feed.epochs.current, self.feed.head
        self.assertEqual((self.feed.cursor(), self.feed.cursor(7)), (f"{epoch}-{head}", f"{epoch}-7"))
        self.assertEqual([self.feed.resolve(Cursor(epoch, seq)) for seq in (0, 7, head)], [0, 7, head])
        for cursor in (Cursor("another", 7), Cursor(epoch, head + 1)):
            with self.assertRaises(CursorGone) as caught:
                self.feed.resolve(cursor)
            self.assertEqual(caught.exception.oldest_seq, 0)


class JournalReadingCase(SynchronousTestCase):
    """A `Feed` alone, and its journal."""

    def setUp(self) -> None:
        self.threads = StepThreads()
        self.journal = SQLiteJournal(self.threads, None)  # type: ignore[arg-type]
        self.journal.open()
        self.addCleanup(self.journal.close)
        self.tail = Tail(0, 4)
        self.clock = clock = ManualClock()
        self.feed = Feed(clock, Cooperator(clock), self.journal, self.tail, JobStatusTracker(clock, Cooperator(clock), lambda: self.tail.head))
        self.publish(20)

    def publish(self, count: int) -> None:
        """So many events come."""
        change = Change(job("1", "RUNNING"), None, NOW)
        events = [wire.number(self.journal.epochs.current, seq, change) for seq in range(self.tail.head + 1, self.tail.head + count + 1)]
        self.journal.commit(events, [], [])
        self.tail.append(events)


class MovingTests(JournalReadingCase):
    """The tail moves on while the journal is read."""

    def test_what_came_meanwhile(self) -> None:
        """What comes while it is read belongs to the answer, unless that is full before."""
        for enough, limit, last in ((lambda event: event.seq == 5, 100, 40), (lambda event: False, 4, 7), (None, 100, 40)):
            self.setUp()
            self.threads.hold()
            found: Any = self.feed.recent(EVERYTHING, 3, limit, enough)
            coming = Deferred.fromCoroutine(found.read())
            self.publish(20)
            self.threads.release()
            found = self.successResultOf(coming)
            while isinstance(found, Older):
                found = self.successResultOf(Deferred.fromCoroutine(found.read()))
            self.assertEqual([event.seq for event in found.events], list(range(4, last + 1)))
            self.assertEqual((found.seq, found.more), (last, limit == 4))


class DeadlineTests(LabCase):
    """To look through many events ends in time, and the client goes on from there."""

    COUNT = 3000

    def make_lab(self) -> Lab:
        return Lab(tail=self.COUNT // 2)

    def setUp(self) -> None:
        super().setUp()
        self.begin = self.lab.cursor
        for first in range(0, self.COUNT // 2, 500):
            for number in range(first, first + 500):
                self.lab.queue.set(f"j{number}", "QUEUED", name=f"job{number}")
            self.lab.tick()
        for number in range(0, self.COUNT // 2):
            self.lab.queue.set(f"j{number}", "RUNNING", name=f"job{number}")
        self.lab.tick()
        seconds = self.lab.clock.seconds

        def slow() -> float:
            """Each turn of the reactor that looks at events takes a quarter of a second."""
            return seconds() + self.slowness

        self.slowness = 0.0
        turn = Feed._look_at

        def look_at(feed: Feed, reading: Any, events: Any) -> bool:
            self.slowness += 0.25
            return turn(feed, reading, events)

        self.patch(Feed, "_look_at", look_at)
        self.patch(self.lab.clock, "seconds", slow)

    def test_pages(self) -> None:
        """A page that was cut by time says that there is more, and has a cursor ahead of the one that was asked with; in the end all is told."""
        cursor, found, pages = self.begin, [], 0
        more = True
        while more:
            answer = self.lab.get(f"/v1/changes?since={cursor}&wait=0&limit=10000&name=*b7*&name=nothing").json()
            self.assertEqual(answer["timed_out"], False)
            if answer["more"]:
                self.assertGreater(int(answer["cursor"].split("-")[1]), int(cursor.split("-")[1]))
            found += [event["job"]["name"] for event in answer["events"]]
            cursor, more, pages = answer["cursor"], answer["more"], pages + 1
        self.assertGreater(pages, 2)
        self.assertEqual(cursor, self.lab.cursor)
        named = sorted(f"job{number}" for number in range(self.COUNT // 2) if str(number).startswith("7"))
        self.assertEqual(sorted(found), sorted([*named, *named]))

    def test_held(self) -> None:
        """A request that may be held is read for until its time is up; then it says that there is more."""
        for wait, more in ((60, False), (2, True)):
            held = self.lab.get(f"/v1/changes?since={self.begin}&wait={wait}&limit=10000&name=*nothing")
            if more:
                answer = held.json()
                self.assertEqual((answer["events"], answer["more"], answer["timed_out"]), ([], True, False))
                self.assertGreater(int(answer["cursor"].split("-")[1]), int(self.begin.split("-")[1]))
            else:
                self.assertTrue(held.held)

    def test_by_index(self) -> None:
        """What is found by an index is not looked for: one job, one user, and of what is in memory names that begin so, whatever lies between."""
        recent = self.lab.service.feed.cursor(self.lab.service.tail.oldest)
        for since, query in ((self.begin, "job=memory/j1499"), (self.begin, "user=nobody"), (recent, "name=nothing"), (recent, "name=job1499*")):
            answer = self.lab.get(f"/v1/changes?since={since}&wait=0&{query}").json()
            self.assertEqual((answer["more"], answer["cursor"]), (False, self.lab.cursor), query)


class SharedTests(JournalReadingCase):
    """Who asks for the same events of the journal at the same time is answered with one reading."""

    def test_one_reading(self) -> None:
        """Of many that are told everything, each after a cursor of its own, and with a filter of its own."""
        self.publish(2500)
        reads: list[str] = []
        run = self.threads.run
        self.patch(self.threads, "run", lambda name, work: reads.append(name) or run(name, work))
        self.threads.hold()
        coming = [self.journal.read(since, 990, Scope(), 10) for since in range(100)]
        coming[7].cancel()
        self.failureResultOf(coming[7], CancelledError)
        self.threads.release()
        self.assertEqual(len(reads), 1)
        for since, one in enumerate(coming):
            if since != 7:
                found = self.successResultOf(one)
                self.assertEqual(([event.seq for event in found.events], found.seq), (list(range(since + 1, 991)), 990))
        for _ in range(2):  # a whole chunk is kept
            found = self.successResultOf(self.journal.read(5, 2000, Scope(), 10))
            self.assertEqual((found.events[0].seq, found.seq, len(reads)), (6, 1000, 2))

    def test_missing(self) -> None:
        """Where some are missing that should be there nothing is told: it would be a gap."""
        self.publish(10)
        self.journal._writer.execute("DELETE FROM event WHERE seq = 5")
        failure = self.failureResultOf(self.journal.read(0, 10, Scope(), 10), JournalError)
        self.assertIn("of the events 1 to 10 some are missing", str(failure.value))

    def test_a_failure(self) -> None:
        """It is told to all, and the next reading begins anew."""
        self.publish(10)
        self.threads.hold()
        coming = [self.journal.read(0, 10, Scope(), 10) for _ in range(2)]
        self.journal._writer.execute("ALTER TABLE event RENAME TO gone")
        self.threads.release()
        for one in coming:
            self.failureResultOf(one, JournalError)
        self.journal._writer.execute("ALTER TABLE gone RENAME TO event")
        self.assertEqual(len(self.successResultOf(self.journal.read(0, 10, Scope(), 10)).events), 10)


class CommittedTests(SynchronousTestCase):
    """What is on the disk and not published yet."""

    def test_nobody_hears_of_it(self) -> None:
        """A job of which that is the first event is not there yet, whatever is asked: its event could not be read with any cursor."""
        lab = Lab(os.path.abspath(self.mktemp())).start()
        self.addCleanup(lab.stop)
        waiting: list[Any] = []
        self.patch(lab.service.publisher, "_publish", lambda *given: waiting.append(given) or iter(()))
        cooperate = lab.service.cooperator.run
        self.patch(lab.service.cooperator, "run", lambda steps: Deferred() if waiting else cooperate(steps))
        lab.queue.set("7", "RUNNING", user="kim")
        lab.clock.advance(1.0)
        self.assertTrue(waiting, "it is committed")
        self.assertGreater(lab.journal.last_seq, lab.service.feed.head)
        self.assertEqual(lab.get("/v1/jobs/memory/7").status, 404)


class RetentionTests(LabCase):
    """A journal that keeps little."""

    def make_lab(self) -> Lab:
        return Lab(retention=Retention(events=10), tail=4)

    def test_the_oldest(self) -> None:
        """The cursor before the oldest event that is kept is good, the one before that is gone."""
        for number in range(30):
            self.lab.set("1", "RUNNING" if number % 2 == 0 else "SUSPENDED")
        feed = self.lab.service.feed
        self.assertEqual(feed.resolve(Cursor(feed.epochs.current, feed.oldest)), feed.oldest)
        first = self.lab.events(feed.cursor(feed.oldest))[0]["seq"]
        self.assertEqual(first, feed.oldest + 1)
        with self.assertRaises(CursorGone) as caught:
            feed.resolve(Cursor(feed.epochs.current, feed.oldest - 1))
        self.assertEqual(caught.exception.oldest_seq, feed.oldest)
