"""
Room for connections. tests/web/test_site.py and tests/web/test_first_requests.py have how long their requests may take.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.address import UNIXAddress
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransportWithDisconnection
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.resource import Resource

from jobpush.web import arrivals
from jobpush.web.site import JobpushSite


class RoomTests(SynchronousTestCase):
    """Descriptors that connections may have."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.site = JobpushSite(Resource(), self.clock)

    def connect_as(self, number: int, local: bool = False) -> Any:
        """Connect with a socket of that number; to a unix socket or not."""
        transport = StringTransportWithDisconnection(hostAddress=UNIXAddress("/socket") if local else None)
        transport.fileno = lambda: number  # type: ignore[attr-defined]
        channel: Any = self.site.buildProtocol(None)
        transport.protocol = channel
        channel.makeConnection(transport)
        self.addCleanup(channel.setTimeout, None)
        return channel

    def test_room(self) -> None:
        """
        When only the descriptors are left that are kept, the oldest connection goes whose request has not come; then one on which
        nothing is asked; then nobody, and the new one is told so and closed.
        """
        first = arrivals.first_kept_descriptor()
        old, other = self.connect_as(first - 2), self.connect_as(first - 1)
        self.clock.advance(arrivals.GRACE_S)
        new = self.connect_as(first)
        self.assertEqual([one.transport.connected for one in (old, other, new)], [False, True, True])
        newer = self.connect_as(first + 1)
        self.assertEqual([one.transport.connected for one in (other, new, newer)], [False, True, True])
        idle = [True]
        self.site.arrivals.give_up_idle.append(lambda local: bool(idle and idle.pop()))
        self.assertEqual(self.connect_as(first).transport.value(), b"")
        with capturedLogs() as logs:
            refused = [self.connect_as(first + 2) for _ in range(2)]
        for one in refused:
            self.assertTrue(one.transport.value().startswith(b"HTTP/1.1 503 "))
            self.assertIn(b"retry-after: 5", one.transport.value().lower())
        self.assertEqual(len([event for event in logs if "connections are refused" in (event["log_format"] or "")]), 1)

    def test_reserved(self) -> None:
        """
        Where there is a socket for users, its connections go on being taken when others are refused, and these do not make them
        go. Each that is refused is counted.
        """
        self.site = JobpushSite(Resource(), self.clock, reserved=True)
        kept = arrivals.first_kept_descriptor()
        most = kept - kept // arrivals.RESERVED
        asked: list[bool | None] = []
        refused: list[bool] = []
        self.site.arrivals.give_up_idle.append(lambda local: asked.append(local) or False)  # type: ignore[func-returns-value]
        self.site.arrivals.on_refused.append(lambda: refused.append(True))
        users = self.connect_as(5, local=True)
        self.clock.advance(arrivals.GRACE_S)
        with capturedLogs():
            other = self.connect_as(most)
        self.assertIn(b"HTTP/1.1 503 ", other.transport.value())
        self.assertEqual((asked, refused), ([False], [True]))
        more = [self.connect_as(number, local=True) for number in (most, kept - 1)]
        self.assertEqual([one.transport.value() for one in (users, *more)], [b""] * 3)
        self.assertTrue(users.transport.connected)
        last = self.connect_as(kept, local=True)
        self.assertEqual((last.transport.value(), users.transport.connected), (b"", False), "the oldest of them has gone")

    def test_too_many_to_be_told(self) -> None:
        """Where too many are being told that there is no room, the next one is closed; a unix socket's is looked at."""
        self.site = JobpushSite(Resource(), self.clock, reserved=True)
        room = self.site.arrivals
        kept = arrivals.first_kept_descriptor()
        room.start()
        self.addCleanup(room.stop)
        self.assertTrue(room.has_room())
        self.patch(arrivals.os, "close", lambda number: None)
        for number, found in (
            (kept - kept // arrivals.RESERVED + arrivals.REFUSED_AT_ONCE, [False, True]),
            (kept + arrivals.REFUSED_AT_ONCE, [False, False]),
        ):
            self.patch(arrivals.os, "dup", lambda _, number=number: number)
            with capturedLogs():
                self.assertEqual([room.has_room(), room.has_room(UNIXAddress("/socket"))], found)
