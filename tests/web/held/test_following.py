"""Server-sent events: replay, live, signs of life, lost cursors, clients that do not read."""

from __future__ import annotations

import json
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.testing import StringTransport
from twisted.logger import capturedLogs, formatEvent
from twisted.python.failure import Failure

from jobpush.events.interfaces import JournalError
from jobpush.events.journal import Retention
from jobpush.web.held import following, stream_group
from jobpush.web.site import JobpushSite
from tests.support import LabCase


class Transport(StringTransport):
    """A transport that can be full, and aborted."""

    aborted = False

    def abortConnection(self) -> None:
        self.aborted = True
        self.loseConnection()


class Stream:
    """A client of ``/v1/events``, without a network."""

    def __init__(self, case: LabCase, query: str = "", headers: str = "", version: str = "1.1") -> None:
        self.lab = case.lab
        self.site = JobpushSite(case.lab.resource, case.lab.clock)
        self.site.startFactory()
        self.transport = Transport()
        self.channel: Any = self.site.buildProtocol(None)
        self.channel.makeConnection(self.transport)
        self.channel.dataReceived(f"GET /v1/events{query} HTTP/{version}\r\nHost: localhost\r\n{headers}\r\n".encode())
        self.connected = True
        case.addCleanup(self.leave)
        self.settle()

    def settle(self) -> None:
        for _ in range(5):
            self.lab.clock.advance(0)

    def leave(self) -> None:
        if self.connected:
            self.connected = False
            self.channel.connectionLost(Failure(ConnectionDone()))
            self.site.stopFactory()

    @property
    def text(self) -> str:
        """All that came, chunks joined."""
        self.settle()
        head, _, rest = self.transport.value().partition(b"\r\n\r\n")
        body = b""
        while rest and b"chunked" in head:
            size, _, rest = rest.partition(b"\r\n")
            body += rest[: int(size, 16)]
            rest = rest[int(size, 16) + 2 :]
        return (body or rest).decode()

    @property
    def head(self) -> str:
        return self.transport.value().partition(b"\r\n\r\n")[0].decode()

    @property
    def events(self) -> list[tuple[str, str | None, Any]]:
        """(event, id, data) of each."""
        found = []
        for block in self.text.split("\n\n"):
            fields = dict(line.split(": ", 1) for line in block.split("\n") if ": " in line and not line.startswith(":"))
            if "event" in fields:
                found.append((fields["event"], fields.get("id"), json.loads(fields["data"])))
        return found

    @property
    def jobs(self) -> list[tuple[str, str]]:
        """(id, state) of each job event."""
        return [(data["job"]["id"], data["job"]["state"]) for event, _, data in self.events if event == "job"]


class StreamTests(LabCase):
    """One stream."""

    def test_a_journal_that_cannot_be_read(self) -> None:
        """The stream ends in order, with one line in the log: its client comes back with its cursor."""
        async def fails(*asked: Any, **more: Any) -> Any:
            raise JournalError("event 3 is damaged")

        self.lab.service.feed.next = fails  # type: ignore[method-assign]
        with capturedLogs() as logs:
            stream = Stream(self, "?last_event_id=0")
        self.assertIn("retry: ", stream.text)
        self.assertTrue(stream.transport.value().endswith(b"\r\n0\r\n\r\n"))
        self.assertIn("a stream is ended: event 3 is damaged", " ".join(filter(None, map(formatEvent, logs))))
        self.assertEqual(self.flushLoggedErrors(), [])
        self.assertEqual(self.lab.registry.held, 0)

    def test_live(self) -> None:
        """From now on, each with its cursor as id."""
        stream = Stream(self)
        for header in ("text/event-stream", "no-cache, no-transform", "X-Accel-Buffering: no"):
            self.assertIn(header, stream.head)
        self.assertIn("retry: ", stream.text)
        self.lab.set("1", "RUNNING")
        self.lab.set("2", "QUEUED")
        self.assertEqual(stream.jobs, [("1", "RUNNING"), ("2", "QUEUED")])
        self.assertEqual(stream.events[-1][1], self.lab.cursor)
        self.assertEqual(stream.events[0][2]["previous"], {"state": "QUEUED"})

    def test_filters(self) -> None:
        """Only what was asked for."""
        stream = Stream(self, "?user=kim&job=memory/2")
        self.lab.set("1", "RUNNING", user="kim")
        self.lab.set("2", "QUEUED", user="kim")
        self.lab.set("2", "RUNNING", user="lee")
        self.assertEqual(stream.jobs, [("2", "QUEUED")])

    def test_resume(self) -> None:
        """The header goes before the parameter; what was missed comes first, then what comes."""
        cursor = self.lab.cursor
        self.lab.set("1", "RUNNING")
        self.lab.set("1", "SUSPENDED")
        stream = Stream(self, "?last_event_id=now", f"Last-Event-ID: {cursor}\r\n")
        self.lab.set("1", "RUNNING")
        self.assertEqual([state for _, state in stream.jobs], ["RUNNING", "SUSPENDED", "RUNNING"])
        self.assertEqual(Stream(self, f"?last_event_id={cursor}").jobs, stream.jobs)

    def test_long_replay(self) -> None:
        """More than one page of the past, older than the tail, and nothing twice where it meets the present."""
        self.lab.service.tail._capacity = 5
        self.patch(following, "REPLAY", 7)
        for number in range(60):
            self.lab.set("1", "RUNNING" if number % 2 == 0 else "SUSPENDED")
        stream = Stream(self, "?last_event_id=0")
        self.lab.set("1", "HELD")
        self.assertEqual([data["seq"] for event, _, data in stream.events if event == "job"], list(range(1, 63)))

    def test_lost_in_the_middle_of_a_replay(self) -> None:
        """Events that are removed while a client catches up with them: it is told so, and goes on from the head."""
        self.lab.service.tail._capacity = 2
        self.patch(following, "REPLAY", 3)
        for number in range(20):
            self.lab.set("1", "RUNNING" if number % 2 == 0 else "SUSPENDED")
        self.lab.threads.hold("write")  # a journal in memory is read on the writer's thread
        stream = Stream(self, "?last_event_id=0")
        first, self.lab.threads.held = self.lab.threads.held, []
        for work in first or ():
            work()
        stream.settle()
        rest, self.lab.threads.held = self.lab.threads.held, None
        self.lab.journal._retention = Retention(events=2)
        self.lab.set("2", "QUEUED")
        for work in rest or ():
            work()
        stream.settle()
        self.lab.set("2", "RUNNING")
        kinds = [(event, data.get("seq")) for event, _, data in stream.events]
        self.assertEqual(kinds[:4], [("job", 1), ("job", 2), ("job", 3), ("reset", None)])
        self.assertEqual(kinds[-1], ("job", self.lab.service.feed.head))
        self.assertEqual(stream.events[3][1], f"{self.lab.journal.epochs.current}-{self.lab.service.feed.head - 1}")

    def test_a_replay_waits_for_the_reader(self) -> None:
        """No more is read of the journal for a client that does not read; it goes on where it was."""
        self.patch(following, "REPLAY", 3)
        for number in range(10):
            self.lab.set("1", "RUNNING" if number % 2 == 0 else "SUSPENDED")
        pages: list[int] = []
        gate: Deferred[None] = Deferred()
        next_page = self.lab.service.feed.next

        async def gated(*asked: Any, **more: Any) -> Any:
            pages.append(asked[1])
            page = await next_page(*asked, **more)
            if len(pages) == 1:
                await gate
            return page

        self.lab.service.feed.next = gated  # type: ignore[method-assign]
        stream = Stream(self, "?last_event_id=0")
        stream.channel.pauseProducing()
        gate.callback(None)
        stream.settle()
        self.assertEqual((pages, stream.jobs), ([0], []))
        stream.channel.resumeProducing()
        stream.settle()
        self.assertEqual((pages, [data["seq"] for _, _, data in stream.events]), ([0, 3, 6, 9], list(range(1, 12))))

    def test_lost_cursor(self) -> None:
        """EventSource cannot read a 410: it is told in the stream, and goes on from the head."""
        stream = Stream(self, "", "Last-Event-ID: abcdef-12\r\n")
        event, cursor, data = stream.events[0]
        self.assertEqual((event, cursor, data["snapshot_url"]), ("reset", self.lab.cursor, "/v1/jobs"))
        self.lab.set("1", "RUNNING")
        self.assertEqual(stream.jobs, [("1", "RUNNING")])

    def test_bad_cursor(self) -> None:
        """What is no cursor at all is 400."""
        stream = Stream(self, "?last_event_id=garbage")
        self.assertIn("400 Bad Request", stream.head)

    def test_signs_of_life(self) -> None:
        """A comment every 15 seconds, a bookmark every minute."""
        stream = Stream(self, "?user=nobody")
        self.lab.clock.run(16, step=0.5)
        self.assertIn(": alive", stream.text)
        self.lab.set("2", "RUNNING")
        self.lab.clock.run(61, step=0.5)
        bookmarks = [cursor for event, cursor, _ in stream.events if event == "bookmark"]
        self.assertEqual(bookmarks[-1], self.lab.cursor)

    def test_bookmark_after_many_events_of_others(self) -> None:
        """A stream that nothing concerns does not fall behind the journal's retention."""
        self.patch(stream_group, "BOOKMARK_EVENTS", 20)
        stream = Stream(self, "?user=nobody")
        for number in range(25):
            self.lab.set("1", "RUNNING" if number % 2 == 0 else "SUSPENDED")
        self.assertTrue([event for event, _, _ in stream.events if event == "bookmark"])

    def test_client_that_does_not_read(self) -> None:
        """Its buffer is bounded; past it the connection is aborted, and Last-Event-ID replays."""
        self.patch(stream_group, "BUFFER_LIMIT", 20_000)
        stream = Stream(self)
        self.lab.set("1", "RUNNING")
        seen = stream.events[-1][1]
        stream.channel.pauseProducing()
        for number in range(10):
            self.lab.set("1", "SUSPENDED" if number % 2 == 0 else "RUNNING")
        self.assertFalse(stream.transport.aborted)
        for number in range(40):
            self.lab.set("1", "SUSPENDED" if number % 2 == 0 else "RUNNING")
        self.assertTrue(stream.transport.aborted)
        stream.leave()
        again = Stream(self, "", f"Last-Event-ID: {seen}\r\n")
        self.assertEqual(len(again.jobs), 50)

    def test_client_that_reads_later(self) -> None:
        """What waited comes when it reads again, in order."""
        stream = Stream(self)
        stream.channel.pauseProducing()
        for number in range(10):
            self.lab.set("1", "RUNNING" if number % 2 == 0 else "SUSPENDED")
        self.assertEqual(stream.jobs, [])
        stream.channel.resumeProducing()
        self.assertEqual([data["seq"] for _, _, data in stream.events], list(range(2, 12)))

    def test_leaving(self) -> None:
        """Nothing is left."""
        stream = Stream(self)
        stream.leave()
        self.assertTrue(self.lab.service.tracker.idle)
        self.assertEqual(self.lab.registry.held, 0)
        self.assertFalse(self.lab.service.busy)

    def test_end(self) -> None:
        """The service's end ends the stream in order."""
        stream = Stream(self)
        self.lab.service.announce_end()
        self.lab.clock.run(2, step=0.5)
        self.assertTrue(stream.transport.value().endswith(b"0\r\n\r\n"))

    def test_head(self) -> None:
        """HEAD tells what it is, and ends."""
        answer = self.lab.request("HEAD", "/v1/events")
        self.assertEqual(answer.header("content-type"), "text/event-stream; charset=utf-8")
        self.assertFalse(answer.held)

    def test_http_1_0(self) -> None:
        """An old client gets the stream unchunked."""
        stream = Stream(self, version="1.0")
        self.lab.set("1", "RUNNING")
        self.assertNotIn("chunked", stream.head.lower())
        self.assertEqual(stream.jobs, [("1", "RUNNING")])
