"""Groups of streams: one rendering for each form, signs of life, bookmarks, and clients that do not read."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from jobpush.core.filters import OfSubject, Selection
from jobpush.web.held import stream_group
from jobpush.web.held.stream_group import BOOKMARK_S, BUFFER_LIMIT, HEARTBEAT_S
from tests.web.held.test_registry import Lab, StreamStub


class GroupTests(SynchronousTestCase):
    """Streams that follow the same, in a registry."""

    def setUp(self) -> None:
        self.lab = Lab()

    def stream(self, form: StreamStub | None = None, since: int | None = None, job: str | None = None) -> StreamStub:
        """One more stream."""
        stream = StreamStub()
        if form is not None:
            stream.form = form
        selection = Selection() if job is None else Selection(keys=OfSubject(("lab", job)).keys)
        self.lab.registry.follow(stream, selection, self.lab.tracker.head if since is None else since)
        return stream

    def test_one_rendering_for_each_form(self) -> None:
        """Events are written down once for each form, however many members have it."""
        form = StreamStub()
        rendered: list[int] = []
        form.events = lambda events: (rendered.append(len(events)), f"{len(events)} events")[1]  # type: ignore[method-assign, func-returns-value]
        streams = [self.stream(form) for _ in range(300)]
        other = self.stream()
        self.lab.publish("1", "2")
        self.lab.settle()
        self.assertEqual(({tuple(stream.got) for stream in streams}, rendered), ({("2 events",)}, [2]))
        self.assertEqual(other.got, ["events [1, 2]"])

    def test_many_that_do_not_read(self) -> None:
        """Together they may have so much waiting: then each its part, and those with more are ended; who reads is told all."""
        self.patch(stream_group, "MOST_UNREAD", 10_000)
        self.patch(stream_group, "BUFFER_LIMIT", 4_000)
        deaf = [self.stream() for _ in range(5)]
        less, reading = self.stream(), self.stream()
        for stream in deaf:
            stream.unread = 1_900
        less.unread = 300
        self.lab.publish("1")
        self.lab.settle()
        self.assertEqual(["aborted" in stream.got for stream in (*deaf, less, reading)], [False] * 7, "in all no more than may be")
        less.unread = 600
        self.lab.clock.advance(stream_group.COUNT_S)
        self.lab.publish("1")
        self.lab.settle()
        self.assertEqual(["aborted" in stream.got for stream in (*deaf, less, reading)], [*[True] * 5, False, False])
        self.assertEqual(len(reading.got), 2)

    def test_joined_before_the_events_are_told(self) -> None:
        """A stream that joins between publishing and telling gets what it has not been told, and nothing twice."""
        first = self.stream()
        self.lab.publish("1", "2", "3")
        told_all = self.stream(since=3)
        told_some = self.stream(since=2)
        self.lab.settle()
        self.assertEqual((first.got, told_some.got, told_all.got), (["events [1, 2, 3]"], ["events [3]"], []))
        self.lab.publish("1")
        self.lab.settle()
        self.assertEqual([stream.got[-1] for stream in (first, told_some, told_all)], ["events [4]"] * 3)

    def test_told_up_to_where_something_is_still_to_be_written(self) -> None:
        """What waits to be written to a stream has not been told to it."""
        self.patch(stream_group, "AT_ONCE", 1)
        streams = [self.stream() for _ in range(2)]
        told: list[list[int]] = []
        for stream in streams:
            stream.write = lambda chunk: told.append([self.lab.registry.told_up_to(each) for each in streams])  # type: ignore[method-assign]
        for jobs in (("1",), ("1", "1")):
            self.lab.publish(*jobs)
            self.lab.settle()
        self.assertEqual(told, [[0, 1], [1, 1], [1, 3], [3, 3]])

    def test_one_leaves_before_it_is_told(self) -> None:
        """A stream that leaves between publishing and telling is told nothing."""
        self.patch(stream_group, "AT_ONCE", 1)
        streams = [self.stream() for _ in range(3)]
        self.lab.publish("1")
        self.lab.registry.leave(streams[1])
        self.lab.settle()
        self.assertEqual([len(stream.got) for stream in streams], [1, 0, 1])

    def test_a_fault_of_one(self) -> None:
        """A stream that cannot be written to is dropped; the others are told everything, and have signs of life."""

        def fault(*_: object) -> None:
            raise ZeroDivisionError

        first, broken, last = (self.stream() for _ in range(3))
        broken.write = broken.alive = fault  # type: ignore[method-assign]
        for _ in range(2):
            self.lab.publish("1")
            self.lab.settle()
            self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual((first.got, last.got, broken.got), (*[["events [1]", "events [2]"]] * 2, ["aborted"] * 2))
        self.lab.clock.pump([1] * int(HEARTBEAT_S))
        self.assertTrue(self.flushLoggedErrors(ZeroDivisionError))
        self.assertTrue(self.lab.registry._beat.running)

    def test_signs_of_life(self) -> None:
        """Each member has a sign of life at least every 15 seconds, from when it joins; not all in the same second."""
        streams = []
        for _ in range(40):
            streams.append(self.stream(job="9"))
            self.lab.clock.advance(0.2)
        last = {stream: self.lab.clock.seconds() for stream in streams}
        seen, most = dict.fromkeys(streams, 0), 0
        for _ in range(58):
            self.lab.clock.advance(1)
            now = self.lab.clock.seconds()
            alive = 0
            for stream in streams:
                if len(stream.got) > seen[stream]:
                    alive += stream.got[-1] == "alive"
                    seen[stream], last[stream] = len(stream.got), now
                self.assertLessEqual(now - last[stream], HEARTBEAT_S)
            most = max(most, alive)
        self.assertLess(most, 20)

    def test_bookmarks(self) -> None:
        """A bookmark every minute, and after many events that are none of its own, moves the place; not before."""
        stream = self.stream(job="9")
        self.lab.publish(*["1"] * (stream_group.BOOKMARK_EVENTS - 1))
        self.lab.clock.advance(2)
        self.assertFalse([got for got in stream.got if got.startswith("bookmark")])
        self.lab.publish("1")
        self.lab.clock.advance(1)
        self.lab.settle()
        self.assertEqual([got for got in stream.got if got.startswith("bookmark")], [f"bookmark {stream_group.BOOKMARK_EVENTS}"])
        self.assertEqual(self.lab.registry.told_up_to(stream), stream_group.BOOKMARK_EVENTS)
        self.lab.publish("1")
        self.lab.clock.pump([1] * int(BOOKMARK_S + 2))
        self.lab.settle()
        self.assertEqual(stream.got[-1][:8] if stream.got[-1] != "alive" else stream.got[-2][:8], "bookmark")

    def test_a_client_that_does_not_read(self) -> None:
        """It is dropped when more than the limit waits for it, by events and by signs of life alike; others go on."""
        deaf, hears = self.stream(), self.stream()
        deaf.unread = BUFFER_LIMIT
        self.lab.publish("1")
        self.lab.settle()
        self.assertEqual(deaf.got, ["events [1]"])
        deaf.unread = BUFFER_LIMIT + 1
        self.lab.publish("1")
        self.lab.settle()
        self.assertEqual((deaf.got[1:], hears.got[1:]), (["aborted"], ["events [2]"]))
        silent = self.stream(job="9")
        silent.unread = BUFFER_LIMIT + 1
        self.lab.clock.pump([1] * int(HEARTBEAT_S))
        self.assertIn("aborted", silent.got)
        self.assertNotIn("alive", silent.got)

    def test_the_end(self) -> None:
        """What was published is told before the streams end."""
        streams = [self.stream() for _ in range(200)]
        self.lab.publish("1")
        self.lab.registry.close()
        self.assertEqual({tuple(stream.got) for stream in streams}, {("events [1]", "finished")})

    def test_the_last_one_leaves(self) -> None:
        """Nothing is left: no subscription, no timer."""
        stream = self.stream()
        self.lab.registry.leave(stream)
        self.assertEqual((self.lab.tracker.idle, self.lab.clock.getDelayedCalls()), (True, []))
