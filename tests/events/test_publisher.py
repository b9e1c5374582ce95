"""
The races that the design names: a scripted clock, and a journal whose commits can be held up.

In each, two things happen in the order that would lose or repeat an event if publishing were more than one turn.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Generator
from typing import Any

import attrs
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from jobpush.adapter.interfaces import QueueError
from jobpush.core.filters import Scope
from jobpush.core.job_table import ClusterJobs
from jobpush.core.model import JobDescriptor, Phase
from jobpush.core.record import AS_LISTED, HISTORY_LENGTH, Change, Changes, Event, Record
from jobpush.core.wire import number
from jobpush.core.workflow import Workflow
from jobpush.events.publisher import parts
from jobpush.runtime import cooperate
from tests.support import NOW, Lab, LabCase


class CommitTests(LabCase):
    """Between an event's commit and its publication."""

    def begin_commit(self, state: str = "RUNNING") -> None:
        """Job 1 changes; the change is being written."""
        self.lab.threads.hold("write")
        self.lab.queue.set("1", state)
        self.lab.tick()
        assert self.lab.threads.held, "nothing is being written"

    def end_commit(self) -> None:
        self.lab.threads.release()
        self.lab.clock.advance(0)

    def test_durable_before_visible(self) -> None:
        """Nobody hears of an event, and no state or cursor tells of it, before it is durable."""
        held = self.lab.get("/v1/jobs/memory/1?since=now&wait=60")
        cursor = self.lab.cursor
        self.begin_commit()
        self.assertTrue(held.held)
        answer = self.lab.get("/v1/jobs/memory/1").json()
        self.assertEqual((answer["job"]["state"], answer["cursor"]), ("QUEUED", cursor))
        self.assertEqual(self.lab.events(), self.lab.events())
        self.end_commit()
        self.assertEqual(held.json()["job"]["state"], "RUNNING")

    def test_registering_between_commit_and_publish(self) -> None:
        """Who comes while the event is being written waits for it, and gets it once."""
        cursor = self.lab.cursor
        self.begin_commit()
        for since in (cursor, "now"):
            held = self.lab.get(f"/v1/jobs/memory/1?since={since}&wait=60")
            self.assertTrue(held.held)
        self.end_commit()
        self.assertEqual([e["seq"] for e in held.json()["events"]], [2])

    def test_snapshot_is_not_ahead_of_its_cursor(self) -> None:
        """A snapshot taken meanwhile, then its cursor: the event comes exactly once."""
        self.begin_commit()
        snapshot = self.lab.get("/v1/jobs/memory/1").json()
        self.end_commit()
        answer = self.lab.get(f"/v1/jobs/memory/1?since={snapshot['cursor']}&wait=60").json()
        self.assertEqual((snapshot["job"]["state"], [e["seq"] for e in answer["events"]]), ("QUEUED", [2]))

    def test_timing_out_while_it_is_written(self) -> None:
        """The time-out's cursor is what is published, so that the event is not skipped."""
        held = self.lab.get("/v1/jobs/memory/1?since=now&wait=5")
        self.begin_commit()
        self.lab.clock.advance(5)
        self.assertTrue(held.json()["timed_out"])
        self.end_commit()
        answer = self.lab.get(f"/v1/jobs/memory/1?since={held.json()['cursor']}&wait=60").json()
        self.assertEqual([e["seq"] for e in answer["events"]], [2])

    def test_commit_that_fails(self) -> None:
        """Nothing becomes visible; the change is told when it can be written."""
        held = self.lab.get("/v1/jobs/memory/1?since=now&wait=60")
        self.lab.journal._writer.execute("CREATE TRIGGER full BEFORE INSERT ON event BEGIN SELECT RAISE(ABORT, 'disk full'); END")
        self.lab.set("1", "RUNNING")
        self.assertTrue(held.held)
        self.assertEqual(self.lab.states(), {"1": "QUEUED"})
        self.assertIn("disk full", self.lab.get("/readyz").json()["queues"]["memory"]["missing"][0])
        self.lab.journal._writer.execute("DROP TRIGGER full")
        self.lab.tick(2)
        self.assertEqual([e["seq"] for e in held.json()["events"]], [2])


class BatchTests(LabCase):
    """A batch of more events than become visible in one turn, seen from outside between its parts."""

    JOBS = 1300

    def setUp(self) -> None:
        super().setUp()
        self.patch(cooperate, "TURN_S", -1.0)  # each pause is one: other work runs between any two parts
        self.ids = [str(number) for number in range(1000, 1000 + self.JOBS)]
        for job_id in self.ids:
            self.lab.queue.set(job_id, "QUEUED")
        self.lab.tick()

    def change(self, look: Callable[[], object]) -> None:
        """All jobs run now; look at it in each turn until all of it is published."""
        for job_id in self.ids:
            self.lab.queue.set(job_id, "RUNNING")
        end = self.lab.service.feed.head + self.JOBS

        def between() -> None:
            look()
            if self.lab.service.feed.head < end:
                self.lab.clock.callLater(0, between)

        self.lab.clock.callLater(1.0, between)
        self.lab.clock.advance(1.0)
        self.lab.clock.advance(0)
        self.assertEqual(self.lab.service.feed.head, end)

    def events(self) -> list[Event]:
        """What was told."""
        tail = self.lab.service.tail
        return [tail.get(seq).event for seq in tail.find(Scope(), 0)]

    def test_a_state_is_never_ahead_of_its_cursor(self) -> None:
        """In each turn the table shows just what the events up to the head have told; the head moves by some hundreds of events."""
        heads = [self.lab.service.feed.head]

        def look() -> None:
            head = self.lab.service.feed.head
            if head != heads[-1]:
                heads.append(head)
            told = {"1": "QUEUED"}
            told.update((event.key[1], event.job.state) for event in self.events() if event.kind == "job")
            self.assertEqual(self.lab.states(), told)

        self.change(look)
        steps = [after - before for before, after in itertools.pairwise(heads)]
        self.assertEqual(sum(steps), self.JOBS)
        self.assertEqual((len(steps), max(steps)), (3, 500))

    def test_a_request_between_two_parts(self) -> None:
        """It is answered with what is published so far, and what comes after its cursor is the rest, whole and in order."""
        begin, answers = self.lab.service.feed.head, []

        def look() -> None:
            if begin < self.lab.service.feed.head < begin + self.JOBS and not answers:
                jobs = self.lab.service.table.cluster("memory").records.values()
                running = sum(record.job.state == "RUNNING" for record in jobs)
                answers.append((self.lab.service.feed.cursor(), running, self.lab.service.feed.head - begin))

        self.change(look)
        ((cursor, running, published),) = answers
        self.assertEqual(running, published)
        rest = self.lab.get(f"/v1/changes?since={cursor}&wait=0&limit=10000").json()["events"]
        self.assertEqual([event["seq"] for event in rest], list(range(begin + published + 1, begin + self.JOBS + 1)))
        self.assertEqual([event["job"]["id"] for event in rest], self.ids[published:])

    def test_who_waits(self) -> None:
        """A waiter is answered with the part that has what it waits for: its cursor is that part's end, and the rest comes after it."""
        begin = self.lab.cursor
        first = self.lab.get(f"/v1/jobs/memory/{self.ids[0]}?since={begin}&wait=60")
        every = self.lab.get(f"/v1/changes?since={begin}&wait=60&limit=10000")
        last = self.lab.get(f"/v1/jobs/memory/{self.ids[-1]}?since={begin}&wait=60")
        self.change(lambda: None)
        seq = int(begin.rpartition("-")[2])
        self.assertEqual([first.json()["cursor"], every.json()["cursor"]], [self.lab.service.feed.cursor(seq + 500)] * 2)
        self.assertEqual((len(every.json()["events"]), len(first.json()["events"])), (500, 1))
        self.assertEqual((last.json()["cursor"], len(last.json()["events"])), (self.lab.cursor, 1))
        rest = self.lab.get(f"/v1/changes?since={every.json()['cursor']}&wait=0&limit=10000").json()["events"]
        self.assertEqual(len(rest), self.JOBS - 500)

    def test_a_job_with_two_events_far_apart(self) -> None:
        """Its state is that of its last published event, whatever comes later in the same batch."""
        other = self.ids[:600]

        def compare(jobs: ClusterJobs) -> Generator[None, None, Changes]:
            yield
            states = [("1", Phase.RUNNING), *((job_id, Phase.HELD) for job_id in other), ("1", Phase.SUSPENDED)]
            changes = [Change(attrs.evolve(jobs.records[job_id].job, phase=phase), None, NOW) for job_id, phase in states]
            return Changes(changes, {change.subject.key[1]: Record(change.subject, AS_LISTED) for change in changes})

        seen: list[tuple[int, str]] = []

        def look() -> None:
            seen.append((self.lab.service.feed.head, self.lab.states()["1"]))
            if seen[-1][0] < begin + 602:
                self.lab.clock.callLater(0, look)

        begin = self.lab.service.feed.head
        done = self.lab.service.publisher.apply("memory", compare)
        look()
        self.lab.clock.advance(0)
        self.assertEqual(len(self.successResultOf(done)), 602)
        for head, state in seen:
            self.assertEqual(state, "SUSPENDED" if head == begin + 602 else "QUEUED", head)
        self.assertEqual({head for head, _ in seen}, {begin, begin + 500, begin + 602})


class PartsTests(SynchronousTestCase):
    """`parts`."""

    @given(st.lists(st.integers(0, 5), max_size=40), st.integers(0, 6), st.integers(1, 9))
    def test_parts(self, jobs: list[int], workflows: int, size: int) -> None:
        """All of the events in their order; one job's that follow each other stay together, and so do the workflows'."""
        events: list[Any] = [number("e", n, Change(JobDescriptor("c", str(job), Phase.QUEUED), None, 0.0)) for n, job in enumerate(jobs, 1)]
        events += [number("e", n, Change(Workflow(f"w{n}"), None, 0.0)) for n in range(len(jobs) + 1, len(jobs) + workflows + 1)]
        cut = list(parts(events, size))
        self.assertEqual([event for part in cut for event in part], events)
        for part, following in itertools.pairwise(cut):
            self.assertGreaterEqual(len(part), size)
            self.assertNotEqual(part[-1].key, following[0].key)
            self.assertEqual(part[-1].kind, "job")
            # Not longer than need be: without the last run of one job it is too short.
            self.assertLess(sum(event.key != part[-1].key for event in part), size)
        self.assertTrue(all(cut))


class RecordTests(SynchronousTestCase):
    """What is kept beside the events."""

    def lab(self, **options: Any) -> Lab:
        lab = Lab(self.directory, **options)
        self.addCleanup(lambda: lab.threads.stopped or lab.stop())
        return lab

    def setUp(self) -> None:
        self.directory = os.path.abspath(self.mktemp())

    def restart(self, lab: Lab) -> Lab:
        """The service begins again while the scheduler cannot be asked: it serves what was kept."""
        lab.stop()
        again = self.lab()
        again.queue.failure = QueueError("down")
        return again.start()

    def test_a_change_without_an_event(self) -> None:
        """Is durable too: what the scheduler says why, say."""
        lab = self.lab().start()
        lab.set("1", "QUEUED", reason="Priority")
        head = lab.cursor
        lab.set("1", "QUEUED", reason="Resources")
        self.assertEqual(lab.cursor, head)
        self.assertEqual(self.restart(lab).get("/v1/jobs/memory/1").json()["job"]["reason"], "Resources")

    def test_since_when_a_job_is_missing(self) -> None:
        """Is durable too: a restart does not begin its grace anew."""
        lab = self.lab(grace=20.0).start()
        lab.set("1", "QUEUED")
        del lab.queue.jobs["1"]
        lab.tick(3)
        lab.stop()
        again = Lab(self.directory, grace=20.0)
        self.addCleanup(again.stop)
        again.clock.rightNow = lab.clock.rightNow + 18.0
        again.start()
        again.tick()
        self.assertEqual(again.states()["1"], "LOST")

    def test_forgotten(self) -> None:
        """A job that ended long ago is dropped, here and in the journal; that is no event, and is counted."""
        lab = self.lab(keep_ended=100.0).start()
        lab.set("1", "COMPLETED")
        lab.set("2", "RUNNING")
        del lab.queue.jobs["1"]
        head = lab.cursor
        lab.clock.run(95, step=1)
        self.assertEqual(sorted(lab.states()), ["1", "2"], "not before its time")
        lab.clock.run(70, step=1)
        self.assertEqual((list(lab.states()), lab.service.table.forgotten, lab.cursor), (["2"], 1, head))
        self.assertEqual(list(self.restart(lab).states()), ["2"])

    def test_another_job_by_that_id(self) -> None:
        """Has a history of its own, in the batch that begins it and after it."""
        lab = self.lab().start()
        lab.set("1", "RUNNING", submitted_at=100.0)
        lab.set("1", "QUEUED", submitted_at=900.0)
        self.assertEqual(lab.steps("1"), ["QUEUED", "RUNNING", "LOST", "QUEUED"])
        self.assertEqual([step["state"] for step in lab.get("/v1/jobs/memory/1").json()["history"]], ["QUEUED"])
        lab.set("1", "RUNNING", submitted_at=900.0)
        history = lab.get("/v1/jobs/memory/1").json()["history"]
        self.assertEqual([step["state"] for step in history], ["QUEUED", "RUNNING"])
        self.assertEqual([step["cursor"] for step in history], [lab.service.feed.cursor(seq) for seq in (4, 5)])
        kept = self.restart(lab).get("/v1/jobs/memory/1").json()["history"]
        self.assertEqual(kept, history)

    def test_history_is_bounded(self) -> None:
        """The newest steps of a job's life."""
        lab = self.lab().start()
        states = ["RUNNING" if count % 2 else "SUSPENDED" for count in range(HISTORY_LENGTH + 10)]
        for state in states:
            lab.queue.set("1", state)
            lab.clock.advance(1.0)
        history = lab.get("/v1/jobs/memory/1").json()["history"]
        self.assertEqual(len(history), HISTORY_LENGTH)
        self.assertEqual(history[-1]["cursor"], lab.cursor)
        self.assertEqual([step["state"] for step in history], states[10:])
