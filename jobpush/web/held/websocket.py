"""
WebSocket: a stream that is told in messages, and that may change what it follows by a message.

The protocol itself is Twisted's (`twisted.web.websocket`, over wsproto: the extra ``[websocket]``). Around it, what a public
server needs: messages have a limit, and a client that breaks the protocol is told so.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from jobpush.core import wire
from jobpush.core.filters import Selection
from jobpush.core.record import Event
from jobpush.events.reader import Feed
from jobpush.web.held.following import Follower
from jobpush.web.held.registry import Registry
from jobpush.web.held.stream_group import BUFFER_LIMIT, HEARTBEAT_S, tell
from jobpush.web.principal import Principal
from jobpush.web.problems import Problem
from jobpush.web.requests import ClientRequest
from jobpush.web.twisted_internals import let_go, send_close, unfinished, waiting

#: Characters that a client's message may have. Ten thousand long job ids take half of that.
MESSAGE_LIMIT = 1024 * 1024

#: Seconds of silence, pings unanswered, after which a client is disconnected.
SILENCE_S = 3 * HEARTBEAT_S

#: Seconds that a client has for its close frame after ours. A browser that is cut off before it has sent that takes the end for
#: a failure (1006).
CLOSE_S = 1.0

#: What ends each message that is kept: JSON has none.
_END = b"\0"

#: Status codes of RFC 6455 and its registry.
GOING_AWAY = 1001
UNAUTHORIZED = 4401
UNSUPPORTED = 1003
TOO_BIG = 1009

LOG = Logger()

#: What a response has that asks for an upgrade (RFC 9110, 7.8).
_UPGRADE = {"Upgrade": "websocket", "Connection": "Upgrade"}


def check_upgrade(request: ClientRequest) -> None:
    """
    Check that this is a WebSocket's handshake. (That no page of another site has sent it is checked for every request.)

    What is missing is said here: Twisted would say it in another form, and log it as an error of the server.

    :raise Problem: 426 or 400.
    """
    if (request.getHeader(b"upgrade") or b"").lower() != b"websocket":
        raise Problem(426, "this is a WebSocket; the request asks for no upgrade", headers=_UPGRADE)
    if request.getHeader(b"sec-websocket-version") != b"13":
        raise Problem(426, "expected Sec-WebSocket-Version: 13", headers={**_UPGRADE, "Sec-WebSocket-Version": "13"})
    if request.clientproto != b"HTTP/1.1":
        raise Problem(400, "a WebSocket's handshake is HTTP/1.1 (RFC 6455, 4.1)", "request line")
    if b"upgrade" not in (token.strip() for token in (request.getHeader(b"connection") or b"").lower().split(b",")):
        raise Problem(400, "the handshake has no Connection: Upgrade", "Connection")
    for name in ("Sec-WebSocket-Key", "Host"):
        if not request.getHeader(name.encode()):
            raise Problem(400, f"the handshake has no {name}", name)


def socket_resource(protocol: SocketProtocol) -> Any:
    """
    Make the resource that upgrades one request.

    :raise Problem: 501, where the extra is not installed.
    """
    try:
        from twisted.web.websocket import WebSocketResource
    except ImportError:
        why = "WebSocket is not installed here (pip install 'jobpush[websocket]'); /v1/events can be used"
        raise Problem(501, why) from None

    return WebSocketResource(_Given(protocol))


class _Given:
    """A factory of one protocol, which is there already."""

    def __init__(self, protocol: SocketProtocol) -> None:
        self._protocol = protocol

    def buildProtocol(self, request: Any) -> Any:
        """See `twisted.internet.protocol.Factory`."""
        return self._protocol


class Messages:
    """How a WebSocket is told: a `jobpush.web.held.stream_group.Form`, of messages in JSON."""

    def __init__(self, feed: Feed) -> None:
        self._feed = feed

    def events(self, events: Sequence[Event]) -> tuple[bytes, ...]:
        """See `Form`."""
        return tuple(event.data for event in events)

    def bookmark(self, seq: int) -> tuple[bytes, ...]:
        """See `Form`."""
        return (message("bookmark", cursor=self._feed.cursor(seq)),)

    def reset(self, seq: int) -> tuple[bytes, ...]:
        """See `Form`."""
        return (message("reset", cursor=self._feed.cursor(seq), snapshot_url="/v1/jobs"),)


def message(kind: str, **fields: object) -> bytes:
    """A JSON object of that type, for what is no event of the journal."""
    return wire.dumps({"type": kind, **fields})


class SocketProtocol:
    """
    The server's side of one connection, as Twisted calls it.

    :param opened: called when it is open; the Deferred that it returns fires when all is over, and is cancelled when the client
        leaves.
    :ivar follower: the stream, once it is open.
    :ivar lost: the connection is gone.
    """

    def __init__(self, request: ClientRequest, opened: Callable[[SocketProtocol], Deferred[None]]) -> None:
        self._request = request
        self._opened = opened
        self._over: Deferred[None] | None = None
        self.transport: Any = None
        self.follower: SocketFollower | None = None
        self.lost = False

    def negotiationStarted(self, transport: Any) -> None:
        """There is a connection."""
        self.transport = transport
        network = self._request.channel.transport
        network.unregisterProducer()  # the HTTP channel's, which has no part in this any more

    def negotiationFinished(self) -> None:
        """It speaks WebSocket."""
        self._request.setResponseCode(101)
        self._over = self._opened(self)
        self._over.addErrback(self.failed)

    def failed(self, failure: Failure) -> None:
        """Something went wrong that the client can do nothing about."""
        if not failure.check(CancelledError):
            LOG.failure("a WebSocket failed", failure)
            self.abort()

    def abort(self) -> None:
        """Drop the connection."""
        self._request.channel.forceAbortClient()

    def close(self, code: int, reason: str) -> None:
        """Send the close frame. The connection ends when the client has sent its own."""
        self.say(lambda transport: send_close(transport, code, reason))

    def cut(self) -> None:
        """End the connection when what was written is sent, whether or not the client has sent its close frame."""
        if not self.lost:
            self._request.channel.transport.loseConnection()

    def say(self, what: Callable[[Any], object]) -> None:
        """Send something, unless the connection is being closed."""
        from wsproto.utilities import LocalProtocolError

        if self.lost:
            return
        try:
            what(self.transport)
        except LocalProtocolError:
            pass

    def textMessageReceived(self, text: str) -> None:
        """The client says something."""
        if self.follower is not None:
            self.follower.told(text)

    def bytesMessageReceived(self, data: bytes) -> None:
        """JSON is text."""
        self.transport.loseConnection(UNSUPPORTED, "expected JSON, in text messages")

    def pongReceived(self, payload: bytes) -> None:
        """The client is there: `SocketGuard` has taken note of it."""

    def connectionLost(self, reason: Failure) -> None:
        """It is over: the HTTP channel, of which this was a request, hears of it too, and the access log."""
        self.lost = True
        channel = self._request.channel
        channel.site.log(self._request)
        if self.follower is not None:
            self.follower.gone()
        if self._over is not None:
            self._over.cancel()
        # They refer to each other, and each to this.
        let_go(self.transport)
        self.transport = self.follower = self._over = None
        type(channel).connectionLost(channel, reason)


class SocketFollower(Follower[tuple[bytes, ...]]):
    """
    One client that follows over a WebSocket.

    :param read: makes of the fields of a message what is to be followed, the number after which, and the bytes that it takes
        up; raises `Problem`.
    """

    kind = "socket"

    def __init__(
        self,
        feed: Feed,
        registry: Registry,
        principal: Principal,
        form: Messages,
        protocol: SocketProtocol,
        read: Callable[[dict[str, Any]], tuple[Selection, int | None, int]],
        size: int = 0,
    ) -> None:
        super().__init__(feed, registry, principal, form, size)
        self._protocol = protocol
        self._read_fields = read
        self._heard_at = registry.seconds()
        self._why = (GOING_AWAY, "the server ends this; come back in a moment")
        protocol.follower = self

    async def run(self, selection: Selection, since: int | None) -> None:
        self._protocol.transport.attachProducer(self)
        if since is None:
            # First: the cursor of "selected" is one to go on from, and the client may not hear more than that.
            since = self._reset()
        tell(self, (message("selected", cursor=self._feed.cursor(since)),))
        await super().run(selection, since)

    def send(self, chunk: tuple[bytes, ...]) -> None:
        texts = [data.decode("utf-8") for data in chunk]
        self._protocol.say(lambda transport: [transport.sendTextMessage(text) for text in texts])

    def pack(self, chunk: tuple[bytes, ...]) -> bytes:
        return b"".join(data + _END for data in chunk)

    def unpack(self, kept: bytes) -> tuple[bytes, ...]:
        return tuple(kept.split(_END)[:-1])

    def alive(self) -> None:
        """Ask for a sign of life; a client that has given none for long is disconnected."""
        if self._registry.seconds() - self._heard_at > SILENCE_S:
            self.abort()
        else:
            self._protocol.say(lambda transport: transport.ping())

    def drop(self) -> None:
        self._protocol.abort()

    def hang_up(self) -> None:
        if not self._protocol.lost:
            self._protocol.transport.detachProducer()
            self._protocol.close(*self._why)
            self._registry.wheel.set(self, CLOSE_S)

    def refused(self) -> None:
        self._why = (UNAUTHORIZED, "whoever follows may not any more")
        self.finish()

    def expired(self) -> None:
        """The client has not answered the close frame; or it follows for nobody any more."""
        if self.open:
            self.refused()
        else:
            self._protocol.cut()

    def gone(self) -> None:
        """The connection has ended."""
        self._registry.wheel.clear(self)
        self.finish()

    def stopProducing(self) -> None:
        self._protocol.lost = True
        super().stopProducing()

    def heard(self) -> None:
        """Anything has come from the client."""
        self._heard_at = self._registry.seconds()

    def told(self, text: str) -> None:
        """
        ``{"select": {filters}, "since": CURSOR}``: from now on other filters; without ``since`` from where it is. What is wrong
        with a message is said in one of type ``error``, and changes nothing.
        """
        try:
            selection, since, size = self._read(text)
            if size > self.size:
                self._registry.check_bytes(self.principal, size - self.size)
        except Problem as problem:
            fields = json.loads(problem.body())
            tell(self, (message("error", **{name: value for name, value in fields.items() if name != "type"}),))
            return
        self.size = size
        begin = self.told_up_to if since is None else since
        tell(self, (message("selected", cursor=self._feed.cursor(begin)),))
        following = Deferred.fromCoroutine(self.follow(selection, begin))
        following.addErrback(self._protocol.failed)

    def _read(self, text: str) -> tuple[Selection, int | None, int]:
        try:
            fields = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise Problem(400, f"the message is not JSON: {error}", "message") from None
        if not isinstance(fields, dict) or not isinstance(fields.get("select"), dict):
            raise Problem(400, 'expected {"select": {filters}} and perhaps "since"', "message")
        unknown = set(fields) - {"select", "since"}
        if unknown:
            raise Problem(400, f"unknown field {min(unknown)!r}; known are select and since", "message")
        since = fields.get("since")
        if since is not None and not isinstance(since, str):
            raise Problem(400, "since: expected a text", "since")
        return self._read_fields(fields)


class SocketGuard:
    """
    Stands between the connection and Twisted's WebSocket, which has no limit for messages and does not expect data that break
    the protocol.

    :param protocol: the byte-level protocol that it guards.
    :param application: what that tells of the messages.
    """

    def __init__(self, protocol: Any, application: SocketProtocol) -> None:
        self._protocol = protocol
        self._application = application
        self._closed = False

    def makeConnection(self, transport: Any) -> None:
        """As `IProtocol`."""
        self._protocol.makeConnection(transport)

    def connectionLost(self, reason: Failure) -> None:
        """As `IProtocol`."""
        self._protocol.connectionLost(reason)

    def dataReceived(self, data: bytes) -> None:
        """As `IProtocol`."""
        from wsproto.utilities import RemoteProtocolError

        if self._closed:
            return
        mine = self._application
        if mine.follower is not None:
            mine.follower.heard()
        try:
            self._protocol.dataReceived(data)
            if waiting(self._protocol.transport) > BUFFER_LIMIT:
                mine.abort()  # it asks, and does not read what it is answered
            elif unfinished(self._protocol) > MESSAGE_LIMIT:
                self._close(TOO_BIG, f"a message is longer than {MESSAGE_LIMIT} characters")
        except RemoteProtocolError as error:
            self._close(getattr(error.event_hint, "code", 1002) or 1002, str(error))

    def _close(self, code: int, reason: str) -> None:
        self._closed = True
        try:
            self._protocol.loseConnection(code, reason[:100])
        except Exception:  # it is closing already
            self._protocol.transport.loseConnection()

