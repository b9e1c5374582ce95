"""`JobPush`, by itself: what is opened, started, woken and ended, and in which order."""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import LogLevel, capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from jobpush.adapter.interfaces import IWatchfulQueue, QueueError
from jobpush.adapter.testing import MemoryQueue
from jobpush.core.model import QueueFacts
from jobpush.core.workflows import Tag
from jobpush.events.interfaces import JournalError
from jobpush.events.journal import SQLiteJournal
from jobpush.polling.queue_options import PollingOptions
from jobpush.polling.schedule import DEFAULT_INTERVAL_S
from jobpush.runtime.clocks import Clocks
from jobpush.service import DRAIN_S, REMOVED_S, UNWATCHED_S, JobPush
from tests.support import Lab, LabCase, ManualClock, StepThreads, step_until


@implementer(IWatchfulQueue)
class WatchfulQueue(MemoryQueue):
    """A queue whose scheduler says when something has changed."""

    echo = (0.5,)
    probes = 0

    def __init__(self, reactor: Any) -> None:
        super().__init__(reactor, interval=None)
        self.changed: Callable[[Sequence[str]], None] | None = None
        self.ended: Deferred[None] = Deferred()

    def watch(self, changed: Callable[[Sequence[str]], None]) -> Callable[[], Deferred[None]]:
        self.changed = changed

        def end() -> Deferred[None]:
            self.changed = None
            return self.ended

        return end


class BusyClients:
    """Clients whose answers are on their way until the test says otherwise."""

    def __init__(self) -> None:
        self.busy = True
        self.closed = 0

    def close(self) -> None:
        self.closed += 1


class StartTests(SynchronousTestCase):
    """The start."""

    def test_a_journal_that_cannot_be_opened(self) -> None:
        """The service does not start, and no scheduler is asked."""
        clock = ManualClock()
        queue = MemoryQueue(clock)
        journal = SQLiteJournal(StepThreads(), "/dev/null/none", clock=clock.seconds)  # type: ignore[arg-type]
        service = JobPush(clock, [queue], journal, clocks=Clocks(clock.seconds, clock.seconds))
        with self.assertRaises(JournalError):
            service.startService()
        clock.run(5.0)
        self.assertEqual((queue.queries, clock.getDelayedCalls()), (0, []))

    def test_what_was_known(self) -> None:
        """Jobs, workflows and the head of the last run are there before the scheduler has answered."""
        directory = self.mktemp()
        lab = Lab(directory).start()
        lab.set("1", "RUNNING", name="align")
        lab.put("/v1/workflows/w7", {"jobs": ["memory/1"]})
        cursor = lab.cursor
        lab.stop()
        again = Lab(directory)
        again.queue.failure = QueueError("down")
        again.start()
        self.addCleanup(again.stop)
        self.assertEqual(again.cursor, cursor)
        self.assertEqual(again.get("/v1/jobs/memory/1").json()["job"]["name"], "align")
        self.assertEqual(again.get("/v1/workflows/w7").json()["state"], "RUNNING")

    def test_jobs_of_a_queue_that_is_gone(self) -> None:
        """Are kept, which the log says, and come back with their queue."""
        directory = self.mktemp()
        lab = Lab(directory, queues=2).start()
        lab.queues[1].set("7", "RUNNING")
        lab.tick()
        lab.stop()
        with capturedLogs() as logged:
            without = Lab(directory).start()
            without.stop()
        self.assertIn("1 known jobs of second, which is no queue now, are kept", [formatEvent(event) for event in logged])
        again = Lab(directory, queues=2)
        again.queues[1].failure = QueueError("down")
        again.start()
        self.addCleanup(again.stop)
        self.assertEqual(again.get("/v1/jobs/second/7").json()["job"]["state"], "RUNNING")

    def test_options(self) -> None:
        """Each queue has its own options: how often it may be asked, and where workflows are found."""
        clock = ManualClock()
        queues = [MemoryQueue(clock, cluster=name, interval=None) for name in ("own", "usual")]
        journal = SQLiteJournal(StepThreads(), None, clock=clock.seconds)  # type: ignore[arg-type]
        clocks = Clocks(clock.seconds, clock.seconds)
        service = JobPush(clock, queues, journal, options={"own": PollingOptions(tag=None)}, keep_ended=60.0, clocks=clocks)
        self.assertEqual(list(service.workflows.tagging), ["usual"])
        self.assertIsInstance(PollingOptions().tag, Tag)
        self.assertFalse(service.closing)

    def test_what_may_be_seen(self) -> None:
        """Whoever wants to is told each time that a scheduler has said what its account may see."""
        lab = Lab(queues=2)
        told: list[int] = []
        lab.service.on_check.append(lambda: told.append(lab.queues[1].queries))
        lab.start()
        self.addCleanup(lab.stop)
        self.assertEqual(len(told), 2)

    def test_the_reactor_is_watched(self) -> None:
        """By how much the reactor was late is noted from the start, and no longer after the end."""
        lab = Lab().start()
        lab.clock.advance(3.0)
        self.assertIn("jobpush_reactor_stall_most_seconds 2.9", lab.get("/metrics").body().decode())
        lab.stop()
        self.assertEqual(lab.clock.getDelayedCalls(), [])


class WatchfulTests(SynchronousTestCase):
    """Queues whose schedulers say that something has changed."""

    def setUp(self) -> None:
        self.lab = Lab()
        self.queue = WatchfulQueue(self.lab.clock)
        journal = SQLiteJournal(self.lab.threads, None, clock=self.lab.clock.seconds)  # type: ignore[arg-type]
        self.lab.service = JobPush(self.lab.clock, [self.queue], journal, clocks=self.lab.clocks)
        self.lab.serve()
        self.lab.start()

    def test_a_change(self) -> None:
        """The queue is looked at soon, and the nudge is counted as the adapter's."""
        before = self.queue.queries
        self.lab.clock.run(1.0)
        self.queue.set("1", "RUNNING")
        assert self.queue.changed is not None
        self.queue.changed(["1"])
        self.lab.clock.run(0.5)
        self.assertGreater(self.queue.queries, before)
        self.assertEqual(self.lab.get("/v1/jobs/memory/1").json()["job"]["state"], "RUNNING")
        self.assertEqual(self.lab.service.nudges.counts["adapter"].taken, 1)
        self.queue.ended.callback(None)
        self.lab.stop()

    def test_the_end(self) -> None:
        """The end waits until the queue is watched no more, but not for long; then the log says so."""
        ended = self.lab.service.stopService()
        self.lab.clock.run(UNWATCHED_S - 0.1)
        self.assertIsNone(self.queue.changed)
        self.assertFalse(ended.called)
        self.queue.ended.callback(None)
        self.lab.clock.advance(0)
        self.assertTrue(ended.called)

    def test_the_end_of_a_queue_that_does_not_end(self) -> None:
        """It is not waited for longer than a moment, which the log says."""
        with capturedLogs() as logged:
            ended = self.lab.service.stopService()
            self.lab.clock.run(UNWATCHED_S + 0.1)
        self.assertTrue(ended.called)
        self.assertTrue([event for event in logged if "a queue is watched still" in formatEvent(event)])
        self.queue.ended = Deferred()
        gc.collect()
        self.assertEqual(self.flushLoggedErrors(), [], "no failure is left over that nobody takes")


class WaitingTests(LabCase):
    """What clients wait for."""

    def make_lab(self) -> Lab:
        return Lab(queues=2, keep_ended=60.0)

    def test_busy(self) -> None:
        """It is busy as long as any of its clients is."""
        self.assertFalse(self.lab.service.busy)
        clients = BusyClients()
        self.lab.service.serve(clients)
        self.assertTrue(self.lab.service.busy)
        clients.busy = False
        self.assertFalse(self.lab.service.busy)

    def test_moment(self) -> None:
        """It changes with each event, and when a job is dropped from the table; and with nothing else."""
        moments = [self.lab.service.moment()]
        self.lab.tick(3)
        self.assertEqual(self.lab.service.moment(), moments[0])
        self.lab.set("1", "RUNNING")
        moments.append(self.lab.service.moment())
        self.lab.set("1", "COMPLETED")
        moments.append(self.lab.service.moment())
        del self.lab.queue.jobs["1"]
        head = self.lab.service.feed.head
        self.lab.clock.run(200.0, step=1.0)
        self.assertEqual((self.lab.states(), self.lab.service.feed.head), ({}, head))
        moments.append(self.lab.service.moment())
        self.assertEqual(len(set(moments)), len(moments))

    def test_fresh(self) -> None:
        """A look at each of the clusters that begins after the call; the others are not waited for."""
        both, one = self.lab.service.fresh(["memory", "second"]), self.lab.service.fresh(["memory"])
        self.lab.queues[1].failure = QueueError("down")
        self.lab.tick(2)
        self.assertIsNone(self.successResultOf(one))
        self.assertNoResult(both)
        self.lab.queues[1].failure = None
        self.lab.tick(8)
        self.assertIsNone(self.successResultOf(both))

    def test_fresh_is_given_up(self) -> None:
        """Cancelling leaves nothing behind, and is no fault of anybody's."""
        fresh = self.lab.service.fresh(["memory", "second"])
        fresh.addErrback(lambda _: None)
        fresh.cancel()
        self.lab.tick(2)
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_fresh_at_the_end(self) -> None:
        """Who waits for a look when the service ends waits for good: whoever holds them answers them."""
        fresh = self.lab.service.fresh(["memory"])
        self.lab.service.announce_end()
        self.assertNoResult(fresh)


class AwaitedTests(SynchronousTestCase):
    """`JobPush.awaited`."""

    def asked(self, clusters: frozenset[str]) -> list[bool]:
        """Which of two idle queues are looked at soon when somebody waits for jobs of these clusters."""
        clock = ManualClock()
        queues = [MemoryQueue(clock, cluster=name, interval=None) for name in ("one", "two")]
        journal = SQLiteJournal(StepThreads(), None, clock=clock.seconds)  # type: ignore[arg-type]
        service = JobPush(clock, queues, journal, clocks=Clocks(clock.seconds, clock.seconds))
        service.startService()
        clock.run(200.0, step=0.5)  # they are asked seldom by now
        before = [queue.queries for queue in queues]
        step_until(lambda: all(queue.queries > count for queue, count in zip(queues, before, strict=True)), lambda: clock.advance(0.1))
        clock.run(DEFAULT_INTERVAL_S + 0.5)
        before = [queue.queries for queue in queues]
        service.awaited(clusters)
        clock.run(0.2)
        after = [queue.queries for queue in queues]
        done = service.stopService()
        clock.run(1.0)
        self.assertTrue(done.called)
        return [now > then for now, then in zip(after, before, strict=True)]

    def test_which(self) -> None:
        """Those that are named; all, if none is."""
        self.assertEqual(self.asked(frozenset({"two"})), [False, True])
        self.assertEqual(self.asked(frozenset()), [True, True])


class QueueTests(LabCase):
    """Queues that come and go; tests/test_reloading.py has what becomes of held requests."""

    def made(self, cluster: str) -> WatchfulQueue:
        queue = WatchfulQueue(self.lab.clock)
        queue.cluster = cluster
        return queue

    def test_watched(self) -> None:
        """A queue that learns by itself when to look is watched as long as it is there, and its end is waited for."""
        queue = self.made("new")
        self.lab.service.add_queue(queue)
        self.assertIsNotNone(queue.changed)
        removed = Deferred.fromCoroutine(self.lab.service.remove_queue("new"))
        self.assertIsNone(queue.changed)
        self.assertNoResult(removed)
        queue.ended.callback(None)
        self.successResultOf(removed)
        self.assertEqual(list(self.lab.service.monitors), ["memory"])

    def test_replaced(self) -> None:
        """The new one is asked when nothing of the old one runs."""
        old, new = self.made("new"), self.made("new")
        self.lab.service.add_queue(old)
        replaced = Deferred.fromCoroutine(self.lab.service.replace_queue(new))
        self.assertEqual((old.changed, new.changed, new.queries), (None, None, 0))
        old.ended.callback(None)
        self.successResultOf(replaced)
        self.assertIsNotNone(new.changed)
        self.assertGreater(new.queries, 0)
        new.ended.callback(None)

    def test_a_queue_that_does_not_end(self) -> None:
        """Its end is waited for, but not for ever; the log says so."""
        self.lab.service.add_queue(self.made("new"))
        removed = Deferred.fromCoroutine(self.lab.service.remove_queue("new"))
        with capturedLogs() as logged:
            self.lab.clock.run(REMOVED_S + 0.1)
        self.successResultOf(removed)
        self.assertTrue([event for event in logged if "a queue is watched still" in formatEvent(event)])

    def test_tags(self) -> None:
        """Where its jobs carry the names of their workflows is as its options say now."""
        self.assertEqual(list(self.lab.service.workflows.tagging), ["memory"])
        self.lab.service.add_queue(MemoryQueue(self.lab.clock, cluster="new"))
        self.assertEqual(list(self.lab.service.workflows.tagging), ["memory", "new"])
        other = MemoryQueue(self.lab.clock, cluster="new")
        self.successResultOf(Deferred.fromCoroutine(self.lab.service.replace_queue(other, PollingOptions(tag=None))))
        self.assertEqual(list(self.lab.service.workflows.tagging), ["memory"])
        self.successResultOf(Deferred.fromCoroutine(self.lab.service.remove_queue("memory")))
        self.assertEqual(list(self.lab.service.workflows.tagging), [])

    def test_a_look_at_what_is_gone(self) -> None:
        """There is nothing to look at: it is over at once, and leaves what is looked at elsewhere."""
        self.successResultOf(Deferred.fromCoroutine(self.lab.service.remove_queue("memory")))
        self.successResultOf(self.lab.service.fresh(["memory"], [("memory", "1")]))
        self.assertEqual(self.lab.service.monitor_of("memory").queue, self.lab.queue)
        self.assertRaises(KeyError, self.lab.service.monitor_of, "other")


class EndTests(LabCase):
    """The end."""

    def setUp(self) -> None:
        self.lab = Lab()
        self.lab.start()

    def test_all_clients(self) -> None:
        """Each that serves clients is told once to answer them; from then on the service is closing."""
        clients = [BusyClients(), BusyClients()]
        for each in clients:
            each.busy = False
            self.lab.service.serve(each)
        self.lab.service.announce_end()
        self.assertEqual(([each.closed for each in clients], self.lab.service.closing), ([1, 1], True))
        self.lab.stop()

    def test_answers_leave_first(self) -> None:
        """The journal is open until the answers have left."""
        clients = BusyClients()
        self.lab.service.serve(clients)
        ended = self.lab.service.stopService()
        self.lab.clock.run(DRAIN_S / 2)
        self.assertEqual((ended.called, self.lab.threads.stopped), (False, False))
        clients.busy = False
        self.lab.clock.run(0.1)
        self.assertEqual((ended.called, self.lab.threads.stopped), (True, True))

    def test_answers_that_do_not_leave(self) -> None:
        """Are waited for a few seconds, and not for ever."""
        self.lab.service.serve(BusyClients())
        ended = self.lab.service.stopService()
        self.lab.clock.run(DRAIN_S - 0.1)
        self.assertFalse(ended.called)
        self.lab.clock.run(0.3)
        self.assertTrue(ended.called)

    def test_a_query_that_runs(self) -> None:
        """Is given up: a scheduler that hangs holds up no end."""
        self.lab.queue.pending = []
        self.lab.clock.advance(1.0)
        self.assertEqual(len(self.lab.queue.pending), 1)
        self.lab.stop()
        self.assertEqual((self.lab.service.running, self.lab.clock.getDelayedCalls()), (0, []))

    def test_nothing_is_left(self) -> None:
        """No timers, and nothing is logged as an error."""
        with capturedLogs() as logged:
            self.lab.stop()
        self.assertEqual(self.lab.clock.getDelayedCalls(), [])
        self.assertEqual([e for e in logged if e["log_level"] >= LogLevel.warn], [])


class SecondsTests(SynchronousTestCase):
    """How long jobs that ended are served."""

    def test_keep_ended(self) -> None:
        """For the time that was asked for; then only the journal knows them."""
        lab = Lab(keep_ended=30.0)
        lab.queue.facts = QueueFacts(sees_all=True)
        lab.start()
        self.addCleanup(lab.stop)
        lab.set("1", "COMPLETED", ended_at=lab.clock.seconds())
        del lab.queue.jobs["1"]
        lab.clock.run(25.0, step=1.0)
        self.assertIn("1", lab.states())
        lab.clock.run(100.0, step=1.0)
        self.assertNotIn("1", lab.states())
        self.assertEqual(lab.get("/v1/jobs/memory/1").json()["job"]["state"], "COMPLETED")
