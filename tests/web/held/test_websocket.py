"""WebSocket without a network: what a client follows, what it follows then, and the bytes. tests/with_service has it over one."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import wsproto
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase
from wsproto import ConnectionType, WSConnection

from jobpush.core.filters import Selection
from jobpush.web.held import following
from jobpush.web.held.stream_group import HEARTBEAT_S
from jobpush.web.held.websocket import (
    CLOSE_S,
    GOING_AWAY,
    MESSAGE_LIMIT,
    SILENCE_S,
    TOO_BIG,
    UNSUPPORTED,
    Messages,
    SocketFollower,
)
from jobpush.web.params import Params, resolve
from jobpush.web.principal import ANONYMOUS
from jobpush.web.routes.common import SELECTION
from jobpush.web.site import JobpushSite
from tests.support import Lab, LabCase
from tests.web.held.test_connections import House


class Protocol:
    """The server's side of a connection, which notes what is said."""

    def __init__(self) -> None:
        self.said: list[dict[str, Any]] = []
        self.pings = 0
        self.closed: tuple[int, str] | None = None
        self.aborted = False
        self.lost = False
        self.follower: SocketFollower | None = None
        self.failures: list[Any] = []
        self.transport = self

    def say(self, what: Callable[[Any], object]) -> None:
        what(self)

    def sendTextMessage(self, text: str) -> None:
        self.said.append(json.loads(text))

    def ping(self) -> None:
        self.pings += 1

    def attachProducer(self, producer: Any) -> None:
        self.producer = producer

    def detachProducer(self) -> None:
        self.producer = None

    def close(self, code: int, reason: str) -> None:
        self.closed = code, reason

    def cut(self) -> None:
        self.aborted = True

    def abort(self) -> None:
        self.aborted = True

    def failed(self, failure: Any) -> None:
        self.failures.append(failure)


class FollowerTests(LabCase):
    """`SocketFollower` in a service."""

    def follow(self, since: int | None = None, lost: bool = False, **filters: Any) -> tuple[SocketFollower, Protocol]:
        """An open socket; of a client whose cursor is lost, if that is said."""
        service, protocol = self.lab.service, Protocol()

        def read(fields: dict[str, Any]) -> tuple[Selection, int | None, int]:
            selection = Params.of_fields(service, fields["select"], SELECTION).selection()
            return selection, resolve(service, fields["since"], "since") if fields.get("since") else None, 0

        follower = SocketFollower(
            service.feed, self.lab.registry, ANONYMOUS, Messages(service.feed), protocol, read  # type: ignore[arg-type]
        )
        selection = Params.of_fields(service, filters, SELECTION).selection()
        begin = None if lost else service.feed.head if since is None else since
        self.over = Deferred.fromCoroutine(follower.run(selection, begin))
        self.over.addErrback(protocol.failures.append)
        self.lab.clock.advance(0)
        return follower, protocol

    def told(self, protocol: Protocol) -> list[str]:
        """The ids of the jobs of the events that were told."""
        return [message["job"]["id"] for message in protocol.said if message["type"] == "job"]

    def test_lost_cursor(self) -> None:
        """A lost cursor is said to be lost before another is given: the connection may end in between."""
        self.lab.set("1", "QUEUED")
        _, protocol = self.follow(lost=True)
        cursor = self.lab.service.feed.cursor()
        self.assertEqual([(m["type"], m["cursor"]) for m in protocol.said], [("reset", cursor), ("selected", cursor)])
        self.lab.set("1", "RUNNING")
        self.assertEqual(self.told(protocol), ["1"])

    def test_other_filters(self) -> None:
        """From now on other filters, from where the client is: nothing is missing, and nothing of the former comes any more."""
        follower, protocol = self.follow(job=["memory/1"])
        self.lab.set("1", "RUNNING")
        self.lab.set("2", "QUEUED")
        follower.told(json.dumps({"select": {"job": ["memory/2"]}}))
        self.lab.set("1", "SUSPENDED")
        self.lab.set("2", "RUNNING")
        self.assertEqual(self.told(protocol), ["1", "2", "2"])
        self.assertEqual([m["type"] for m in protocol.said if m["type"] != "job"], ["selected", "selected"])
        self.assertEqual((self.lab.registry.held, protocol.failures), (1, []))

    def test_other_filters_from_a_cursor(self) -> None:
        """With ``since`` what was told after that cursor comes first."""
        begin = self.lab.cursor
        self.lab.set("2", "QUEUED")
        follower, protocol = self.follow(job=["memory/1"])
        follower.told(json.dumps({"select": {"job": ["memory/2"]}, "since": begin}))
        self.lab.clock.advance(0)
        self.assertEqual(self.told(protocol), ["2"])

    def test_a_newer_selection_ends_an_older_one(self) -> None:
        """Of two messages in a row the last one counts, also while the first is being caught up with."""
        for number in range(6):
            self.lab.set(str(number + 10), "QUEUED")
        self.lab.service.tail._events = self.lab.service.tail._events[-1:]
        follower, protocol = self.follow(job=["memory/1"])
        self.lab.threads.hold("write")
        begin = f"{self.lab.journal.epochs.current}-0"
        follower.told(json.dumps({"select": {"job": ["memory/10"]}, "since": begin}))
        follower.told(json.dumps({"select": {"job": ["memory/11"]}, "since": begin}))
        self.lab.threads.release()
        for _ in range(5):
            self.lab.clock.advance(0)
        self.lab.set("10", "RUNNING")
        self.lab.set("11", "RUNNING")
        self.assertEqual(self.told(protocol), ["11", "11"])

    def behind(self) -> str:
        """A cursor after which events are that only the journal has: those of jobs 10 to 15."""
        begin = self.lab.cursor
        for number in range(6):
            self.lab.set(str(number + 10), "QUEUED")
        self.lab.service.tail._events = self.lab.service.tail._events[-1:]
        return begin

    def test_a_newer_wish_while_events_are_read_for_an_older_one(self) -> None:
        """Without ``since`` the newer one begins where the older one did, as nothing was told since then."""
        begin = self.behind()
        follower, protocol = self.follow(job=["memory/1"])
        self.lab.threads.hold("write")
        follower.told(json.dumps({"select": {"job": ["memory/10"]}, "since": begin}))
        follower.told(json.dumps({"select": {"job": ["memory/11"]}}))
        self.lab.threads.release()
        for _ in range(5):
            self.lab.clock.advance(0)
        self.assertEqual(self.told(protocol), ["11"])

    def test_a_newer_wish_of_a_client_that_does_not_read(self) -> None:
        """What is told for the older one ends, and the socket is closed in order at the end of the service."""
        self.patch(following, "REPLAY", 2)
        self.patch(Protocol, "attachProducer", lambda protocol, producer: producer.pauseProducing())
        begin = self.behind()
        follower, protocol = self.follow(since=resolve(self.lab.service, begin, "since"))
        follower.told(json.dumps({"select": {}, "since": begin}))
        for _ in range(5):
            self.lab.clock.advance(0)
        self.lab.service.announce_end()
        self.assertEqual(protocol.closed and protocol.closed[0], GOING_AWAY)
        self.assertEqual((self.lab.registry.held, protocol.failures), (0, []))

    def test_a_message_after_the_end(self) -> None:
        """A message that comes when the stream has ended is not followed, and nothing is held for it."""
        follower, _ = self.follow()
        self.lab.service.announce_end()
        follower.told(json.dumps({"select": {}}))
        self.assertEqual(self.lab.registry.held, 0)

    def test_bad_messages(self) -> None:
        """What is wrong with a message is said, and changes nothing."""
        follower, protocol = self.follow(job=["memory/1"])
        for text in ("{", "[]", '{"select": 1}', '{"select": {}, "x": 1}', '{"select": {}, "since": 1}', '{"select": {"state": "X"}}'):
            follower.told(text)
            self.assertEqual((protocol.said[-1]["type"], protocol.said[-1]["status"]), ("error", 400), text)
        self.lab.set("1", "RUNNING")
        self.assertEqual(self.told(protocol), ["1"])

    def test_signs_of_life(self) -> None:
        """It is pinged; a client that has said nothing for 45 seconds is disconnected."""
        follower, protocol = self.follow(job=["memory/9"])
        self.lab.clock.run(HEARTBEAT_S + 1, step=0.5)
        self.assertGreater(protocol.pings, 0)
        follower.heard()
        self.lab.clock.run(SILENCE_S - 5, step=0.5)
        self.assertFalse(protocol.aborted)
        self.lab.clock.run(HEARTBEAT_S + 5, step=0.5)
        self.assertTrue(protocol.aborted)

    def test_paused(self) -> None:
        """What comes while the client does not read comes in order when it reads again."""
        follower, protocol = self.follow()
        follower.pauseProducing()
        for state in ("RUNNING", "SUSPENDED", "RUNNING"):
            self.lab.set("1", state)
        self.assertEqual((self.told(protocol), follower.unread > 0), ([], True))
        follower.resumeProducing()
        self.lab.set("1", "COMPLETED")
        states = [message["job"]["state"] for message in protocol.said if message["type"] == "job"]
        self.assertEqual((states, follower.unread), (["RUNNING", "SUSPENDED", "RUNNING", "COMPLETED"], 0))

    def test_the_end_of_the_service(self) -> None:
        """It is closed as going away, and nothing is left."""
        _, protocol = self.follow()
        self.lab.service.announce_end()
        self.assertEqual(protocol.closed and protocol.closed[0], GOING_AWAY)
        self.assertEqual(self.lab.registry.held, 0)
        self.lab.clock.run(CLOSE_S - 0.1)
        self.assertFalse(protocol.aborted, "the client has a moment to answer")
        self.lab.clock.run(0.3)
        self.assertTrue(protocol.aborted)

    def test_the_client_leaves(self) -> None:
        """Nothing is said to a client that is gone, and nothing is left."""
        follower, protocol = self.follow()
        protocol.lost = True
        follower.finish()
        self.assertEqual((protocol.closed, self.lab.registry.held, self.lab.service.tracker.idle), (None, 0, True))


class HandshakeTests(TestCase):
    """What is wrong with a handshake, over a real socket."""

    timeout = 60

    async def test_what_is_missing(self) -> None:
        """Each problem names the header, in the protocol's form; nothing is logged as an error."""
        house = House(self, True)
        headers = {
            "Upgrade": "websocket", "Connection": "keep-alive, upgrade", "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": "MDAwMDAwMDAwMDAwMDAwMA==", "Host": "localhost",
        }  # fmt: skip
        try:
            for missing, status, version in (
                ("Upgrade", 426, "1.1"), ("Connection", 400, "1.1"), ("Sec-WebSocket-Version", 426, "1.1"),
                ("Sec-WebSocket-Key", 400, "1.1"), ("Host", 400, "1.1"), ("", 400, "1.0"), ("", 101, "1.1"),
            ):  # fmt: skip
                client = house.client()
                lines = [f"{name}: {value}" for name, value in headers.items() if name != missing]
                client.send("\r\n".join([f"GET /v1/socket HTTP/{version}", *lines, "", ""]).encode())
                await client.until(lambda client=client: b"\r\n\r\n" in client.got)
                self.assertTrue(client.got.startswith(f"HTTP/{version} {status} ".encode()), (missing, client.got))
                if status == 400:
                    self.assertIn(b"application/problem+json", client.got)
                    self.assertIn((missing or "request line").encode(), client.got.partition(b"\r\n\r\n")[2])
        finally:
            await house.stop()


def frame(opcode: int, payload: bytes) -> bytes:
    """A client's frame (RFC 6455, 5.2), masked with zeros, of at most 65,535 bytes."""
    size = bytes([0x80 | len(payload)]) if len(payload) < 126 else b"\xfe" + len(payload).to_bytes(2, "big")
    return bytes([opcode]) + size + bytes(4) + payload


class LimitTests(TestCase):
    """How long a client's message may be, over a real socket."""

    timeout = 60

    async def test_control_frames_in_a_message(self) -> None:
        """Pings and pongs between the frames of a message neither add to its length nor take from it."""
        house = House(self, True)
        try:
            client = house.client()
            client.get(
                "/v1/socket", "Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13",
                "Sec-WebSocket-Key: MDAwMDAwMDAwMDAwMDAwMA==",
            )  # fmt: skip
            await client.until(lambda: b"selected" in client.got)
            size = 40_000
            client.send(frame(0x01, b"x" * size))
            for number in range(2, MESSAGE_LIMIT // size + 1):
                client.send(frame(0x00, b"x" * size) + frame(0x8A, b"") + frame(0x89, b"%d" % number))
                await client.until(lambda number=number: client.got.endswith(b"%d" % number))
            self.assertFalse(client.closed)
            client.send(frame(0x00, b"x" * size) + frame(0x8A, b""))
            await client.until(lambda: client.closed)
            self.assertIn(TOO_BIG.to_bytes(2, "big") + b"a message is longer", client.got)
        finally:
            await house.stop()
class Client:
    """A WebSocket's client on a connection without a network."""

    def __init__(self, case: LabCase, query: str = "") -> None:
        self.lab = case.lab
        self.site = JobpushSite(case.lab.resource, case.lab.clock)
        self.site.startFactory()
        self.transport = Transport()
        self.channel: Any = self.site.buildProtocol(None)
        self.channel.makeConnection(self.transport)
        self.wire = WSConnection(ConnectionType.CLIENT)
        self.texts: list[dict[str, Any]] = []
        self.closed: tuple[int, str | None] | None = None
        self.pings = 0
        case.addCleanup(self.leave)
        self.connected = True
        self.send(wsproto.events.Request(host="localhost", target=f"/v1/socket{query}"))

    def send(self, event: Any) -> None:
        """Say something."""
        self.raw(self.wire.send(event))

    def raw(self, data: bytes) -> None:
        """Send these bytes."""
        (self.transport.protocol or self.channel).dataReceived(data)
        self.read()

    def read(self) -> None:
        """Take what has come."""
        for _ in range(5):
            self.lab.clock.advance(0)
        data = self.transport.value()
        self.transport.clear()
        if data:
            self.wire.receive_data(data)
        for event in self.wire.events():
            if isinstance(event, wsproto.events.TextMessage):
                self.texts.append(json.loads(event.data))
            elif isinstance(event, wsproto.events.Ping):
                self.pings += 1
            elif isinstance(event, wsproto.events.CloseConnection):
                self.closed = event.code, event.reason

    def leave(self) -> None:
        """Lose the connection."""
        if self.connected:
            self.connected = False
            (self.transport.protocol or self.channel).connectionLost(Failure(ConnectionDone()))
            self.site.stopFactory()


class Transport(StringTransport):
    """A transport whose protocol can be another one later."""

    protocol: Any = None
    aborted = False

    def abortConnection(self) -> None:
        self.aborted = True


class WireTests(LabCase):
    """``/v1/socket``, as bytes."""

    def jobs(self, client: Client) -> list[tuple[str, str]]:
        """The id and the state of each job that it was told of."""
        client.read()
        return [(text["job"]["id"], text["job"]["state"]) for text in client.texts if text["type"] == "job"]

    def test_events(self) -> None:
        """From a cursor on, and then what happens; who leaves leaves nothing behind."""
        cursor = self.lab.cursor
        self.lab.set("1", "RUNNING")
        client = Client(self, f"?since={cursor}")
        self.lab.set("1", "SUSPENDED")
        self.assertEqual(self.jobs(client), [("1", "RUNNING"), ("1", "SUSPENDED")])
        self.assertEqual((self.lab.registry.by_kind()["socket"], self.lab.service.busy), (1, True))
        client.leave()
        self.lab.clock.advance(0)
        self.assertEqual((self.lab.registry.held, self.lab.service.busy, self.lab.service.tracker.idle), (0, False, True))

    def test_other_filters(self) -> None:
        """A message changes what is followed; from a cursor, if it has one, which may be lost, or be none."""
        cursor = self.lab.cursor
        client = Client(self, "?job=memory/2")
        self.lab.set("1", "RUNNING")
        self.assertEqual(self.jobs(client), [])
        client.send(wsproto.events.TextMessage(data=json.dumps({"select": {"jobs": ["memory/1"]}, "since": cursor})))
        self.assertEqual(self.jobs(client), [("1", "RUNNING")])
        client.send(wsproto.events.TextMessage(data=json.dumps({"select": {}, "since": "x"})))
        self.assertEqual((client.texts[-1]["type"], client.texts[-1]["parameter"]), ("error", "since"))
        self.lab.set("1", "SUSPENDED")
        self.assertEqual(self.jobs(client)[1:], [("1", "SUSPENDED")])

    def test_what_is_no_text(self) -> None:
        """Bytes are refused with the code for that."""
        client = Client(self)
        client.send(wsproto.events.BytesMessage(data=b"{}"))
        assert client.closed is not None
        self.assertEqual(client.closed[0], UNSUPPORTED)

    def test_too_long(self) -> None:
        """A message may have so many bytes, however many messages there were before; one that goes on is refused."""
        client = Client(self)
        half = json.dumps({"select": {"user": ["x" * (MESSAGE_LIMIT // 2)]}})
        for _ in range(3):
            client.send(wsproto.events.TextMessage(data=half))
        self.assertIsNone(client.closed)
        self.assertEqual([text["type"] for text in client.texts], ["selected"] * 4)
        for _ in range(3):
            client.send(wsproto.events.TextMessage(data="x" * (MESSAGE_LIMIT // 2), message_finished=False))
        assert client.closed is not None
        self.assertEqual(client.closed[0], TOO_BIG)

    def test_what_breaks_the_protocol(self) -> None:
        """Is answered with the code that says so; what follows is not read."""
        for data, code in (
            (b"\xff\xff\xff\xff", 1002), (b"\x8b\x80\0\0\0\0", 1002), (b"\x81\x02{}", 1002), (b"\x80\x82\0\0\0\0{}", 1002),
            (b"\x88\x81\0\0\0\0\0", 1002), (b"\x88\x83\0\0\0\0\x03\xe8\xff", 1007), (b"\x81\x82\0\0\0\0\xff\xff", 1007),
        ):  # fmt: skip
            client = Client(self)
            client.raw(data)
            assert client.closed is not None, data
            self.assertEqual(client.closed[0], code, data)
            client.raw(b"\xff" * 100)
            client.leave()
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_silence(self) -> None:
        """A client is pinged; one that answers stays, one that does not is disconnected."""
        client = Client(self)
        for _ in range(int(3 * SILENCE_S)):
            self.lab.clock.advance(1.0)
            client.read()
            if client.pings:
                client.pings = 0
                client.send(wsproto.events.Pong())
        self.assertFalse(client.transport.aborted)
        self.lab.clock.pump([1.0] * int(2 * SILENCE_S))
        self.assertTrue(client.transport.aborted)

    def ended(self) -> Client:
        """A client that has been told the end of the service with the code for that; the connection is open still."""
        client = Client(self)
        self.lab.service.announce_end()
        client.read()
        assert client.closed is not None
        self.assertEqual(client.closed[0], GOING_AWAY)
        self.assertFalse(client.transport.disconnecting)
        self.assertTrue(self.lab.service.busy)
        return client

    def test_the_end(self) -> None:
        """The connection ends when the client has sent its close frame; what it says before that is not answered any more."""
        client = self.ended()
        client.raw(b"\x88\x82\0\0\0\0\x03\xe9")  # a close frame with that code, masked with zeros
        self.assertTrue(client.transport.disconnecting)
        client.leave()
        self.assertFalse(self.lab.service.busy)
        self.lab.clock.run(CLOSE_S + 1)

    def test_the_end_for_a_client_that_is_silent(self) -> None:
        """The connection ends a moment later."""
        client = self.ended()
        self.lab.clock.run(CLOSE_S + 0.2)
        self.assertTrue(client.transport.disconnecting)
        client.leave()
        self.assertEqual(len(self.lab.registry.wheel), 0)


class CatchingUpTests(LabCase):
    """A WebSocket whose client goes back to an earlier cursor."""

    def make_lab(self) -> Lab:
        return Lab(self.mktemp(), tail=2)

    def test_in_order(self) -> None:
        """What happens while the past is read comes after it, and once."""
        for state in ("RUNNING", "SUSPENDED") * 4:
            self.lab.set("1", state)
        client = Client(self)
        self.lab.threads.hold("read")
        client.send(wsproto.events.TextMessage(data=json.dumps({"select": {}, "since": "0"})))
        self.lab.set("1", "RUNNING")
        client.read()
        self.assertEqual([text["type"] for text in client.texts], ["selected", "selected"])
        self.lab.threads.release()
        self.lab.set("1", "SUSPENDED")
        client.read()
        self.assertEqual([text["seq"] for text in client.texts if text["type"] == "job"], list(range(1, 12)))
