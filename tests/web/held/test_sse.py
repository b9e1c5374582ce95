"""Server-sent events as bytes, in chunks or not. How streams go on is in tests/web/held/test_following.py."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from jobpush.core.record import Event
from jobpush.web.held.sse import ChunkedServerSentEvents, ServerSentEvents
from tests.support import Lab, LabCase, a_job
from tests.web.held.test_following import Stream


def unchunked(data: bytes) -> bytes:
    """What chunks hold; they must be whole, and none of them the last."""
    found = b""
    while data:
        size, _, data = data.partition(b"\r\n")
        assert int(size, 16) > 0, "an empty chunk is the end of the stream"
        assert data[int(size, 16) :][:2] == b"\r\n"
        found, data = found + data[: int(size, 16)], data[int(size, 16) + 2 :]
    return found


def event(seq: int, data: bytes = b'{"a":1}') -> Event:
    """An event of a job."""
    return Event(seq=seq, at=0.0, subject=a_job("1"), previous=None, data=data)


class FormTests(SynchronousTestCase):
    """`ServerSentEvents`."""

    def setUp(self) -> None:
        lab = Lab()
        self.feed = lab.service.feed
        self.plain, self.chunks = ServerSentEvents(self.feed), ChunkedServerSentEvents(self.feed)
        lab.start()
        self.epoch = self.feed.epochs.current.encode()
        lab.stop()

    def test_events(self) -> None:
        """Each has the cursor behind it as its id, its kind, and its JSON on one line; in their order."""
        self.assertEqual(self.plain.events([event(7), event(8, b"{}")]), (
            b'id: %b-7\nevent: job\ndata: {"a":1}\n\nid: %b-8\nevent: job\ndata: {}\n\n' % (self.epoch, self.epoch)
        ))  # fmt: skip

    def test_bookmark(self) -> None:
        """It moves the id of the client, and tells nothing else."""
        self.assertEqual(self.plain.bookmark(9), b'id: %b-9\nevent: bookmark\ndata: {"cursor":"%b-9"}\n\n' % (self.epoch, self.epoch))

    def test_reset(self) -> None:
        """It says where to begin anew."""
        told = self.plain.reset(9)
        self.assertTrue(told.startswith(b"id: %b-9\nevent: reset\n" % self.epoch))
        self.assertIn(b'"snapshot_url":"/v1/jobs"', told)

    def test_chunks(self) -> None:
        """In chunks it is the same."""
        self.assertEqual(unchunked(self.chunks.events([event(7), event(8)])), self.plain.events([event(7), event(8)]))
        self.assertEqual(unchunked(self.chunks.bookmark(9)), self.plain.bookmark(9))
        self.assertEqual(unchunked(self.chunks.reset(9)), self.plain.reset(9))

    @given(st.binary(min_size=1, max_size=5000))
    def test_chunks_of_any_size(self, data: bytes) -> None:
        """Whatever the size of an event."""
        self.assertIn(data, unchunked(self.chunks.events([event(1, data)])))


class StreamTests(LabCase):
    """`Stream`."""

    def test_return(self) -> None:
        """Clients that lose their connections come back after one to three seconds, not all at once."""
        times = set()
        for _ in range(40):
            stream = Stream(self)
            found = re.match(r"retry: (\d+)\n\n", stream.text)
            assert found is not None
            times.add(int(found[1]))
            stream.leave()
        self.assertTrue(all(1000 <= time <= 3000 for time in times))
        self.assertGreater(len(times), 1)

    def test_the_end_in_order(self) -> None:
        """When the service ends, whoever reads gets what was still to be told, and then the end of the answer."""
        stream = Stream(self)
        self.lab.set("1", "RUNNING")
        self.lab.service.announce_end()
        self.lab.clock.run(2, step=0.5)
        self.assertEqual(stream.jobs, [("1", "RUNNING")])
        self.assertTrue(stream.transport.value().endswith(b"\r\n0\r\n\r\n"))
        self.assertFalse(stream.transport.aborted)

    def test_left_before_the_end(self) -> None:
        """A client that has left is told nothing, and its leaving is no fault, also at the end."""
        stream = Stream(self)
        stream.leave()
        self.lab.set("1", "RUNNING")
        self.lab.service.announce_end()
        self.lab.clock.run(2, step=0.5)
        self.assertEqual((stream.jobs, self.flushLoggedErrors()), ([], []))
