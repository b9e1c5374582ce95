"""
The connections without HTTP channels of one resource: how they lose their channels, what their next requests become, and how
they get channels again.

Where this does not fit (TLS, HTTP/1.0, ``Connection: close``, bytes that wait to be read or written) a request is held with its
channel; both ways give the same bytes.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any, cast

import attrs
from klein.interfaces import IKleinRequest
from twisted.internet.interfaces import IReactorTime, ITransport
from twisted.logger import Logger
from twisted.python.failure import Failure

from jobpush.core.filters import Visibility
from jobpush.events.instruments import Instruments
from jobpush.runtime.turns import Turns
from jobpush.web import twisted_internals
from jobpush.web.access_log import client_address, client_words, line_format, request_line
from jobpush.web.held import fast_path
from jobpush.web.held.connection import HeldConnection, StreamConnection
from jobpush.web.held.questions import Hold, Outcome, Question, Ready
from jobpush.web.held.registry import Registry
from jobpush.web.held.response_group import ResponseGroup
from jobpush.web.held.stream_group import Form
from jobpush.web.held.summary import SiteLike, Summaries, Summary
from jobpush.web.params import jittered
from jobpush.web.principal import ANONYMOUS, Principal, Scope
from jobpush.web.problems import Problem, fault
from jobpush.web.requests import HEALTH_CHECKS, Channel, ClientRequest, is_local
from jobpush.web.responses import Response
from jobpush.web.twisted_internals import PLAIN_TRANSPORTS, is_clear, slim, unsent
from jobpush.web.unread import Unread

#: Bytes that may come while a request is held, before the connection is not read any more: as many as Twisted's channel takes.
EARLY_BYTES = 0x4000

#: Of how many questions is remembered how the last one was held.
MOST_LAST_HOLDS = 512

#: Bytes that the parameters of such a question may take up: of larger ones it is not remembered.
LONGEST_LAST_HOLD = 8000

#: Bytes that may have come while requests were held, of all clients that have sent too much; who sends still more is cut off.
MOST_EARLY_BYTES = 32 * 1024 * 1024


@attrs.frozen(eq=False)
class LastHold:
    """
    How the last question for an address was held. While nothing has happened since, the same question is held in the same way.

    :ivar head: the published head then.
    :ivar forgotten: how many jobs had been dropped from the table then.
    """

    group: ResponseGroup
    head: int
    forgotten: int
    wait: float


class Connections:
    """
    :param registry: what holds their requests.
    :param ask: makes an outcome of a question; raises no `Problem`.
    :param moment: the published head, and how many jobs have been dropped from the table.
    :param turns: in which requests are answered.
    :param visibility: returns whose jobs a principal may see; raises `Problem` where it gets no answer.
    :param enabled: without it every request is held with its channel.
    """

    log = Logger()

    def __init__(
        self,
        reactor: IReactorTime,
        registry: Registry,
        ask: Callable[[Question], Outcome],
        moment: Callable[[], tuple[int, int]],
        instruments: Instruments,
        turns: Turns,
        visibility: Callable[[Principal], Visibility],
        enabled: bool = True,
    ) -> None:
        self.registry = registry
        self.unread = Unread()
        self._turns = turns
        self.summaries = Summaries()
        self._reactor = reactor
        self._ask = ask
        self._moment = moment
        self._visibility = visibility
        self._instruments = instruments
        self._enabled = enabled
        if enabled and (why := twisted_internals.unexpected()) is not None:
            self._enabled = False
            self.log.warn(
                "requests are held with their HTTP channels, which takes ten times the memory: this version of Twisted is not "
                "as expected ({why})",
                why=why,
            )
        #: What waits for its turn to be looked at.
        self._later: dict[HeldConnection, bytes] = {}
        #: What has come while requests were held.
        self._early: dict[HeldConnection, bytes] = {}
        self._targets = fast_path.targets()
        self._last_holds: OrderedDict[tuple[fast_path.Target, Visibility, str], LastHold] = OrderedDict()

    @property
    def head(self) -> int:
        """See `connection.Host`."""
        return self._moment()[0]

    def forget_header_blocks(self) -> None:
        """Read every next request anew, on all connections: who may ask, or see what, has changed."""
        self.summaries.forget_header_blocks()
        self._last_holds.clear()

    # -- from a channel

    def can_take(self, request: ClientRequest, begun: bool = False) -> bool:
        """
        Return whether this request's connection can do without its channel.

        :param begun: of a stream, the beginning of whose response was written already; what of it waits to be sent is sent.
        """
        channel = getattr(request, "channel", None)
        return (
            channel is not None
            and self._is_free(channel)
            and request.clientproto == b"HTTP/1.1"
            and request.method in (b"GET", b"POST")
            and channel.requests == [request]
            and bool(request.startedWriting) is begun
            and (begun or not request.cross_origin)
            and is_clear(channel.transport, flush=begun)
        )

    def _is_free(self, channel: Channel) -> bool:
        """Return whether nothing about this connection needs its channel."""
        transport: Any = channel.transport
        return bool(
            self._enabled
            and not self.registry.closing
            and type(transport) in PLAIN_TRANSPORTS
            and transport.protocol is channel
            and channel.persistent
            and isinstance(channel, twisted_internals.GuardedChannel)
            and not channel.has_unread
            and not transport.TLS
        )

    def take(self, request: ClientRequest) -> HeldConnection:
        """Take the connection from a request and its channel, which are over then."""
        return self._take(request.channel, request)

    def take_stream(self, request: ClientRequest, form: Form[bytes], size: int = 0) -> StreamConnection:
        """
        Take the connection from a request that is an open stream, and from its channel, which are over then.

        :param size: bytes that what it follows takes up.
        """
        summary, came_at = self._summary(request.channel, request), self.summaries.moment(request.came_at)
        transport = request.channel.transport
        stream = StreamConnection(self, transport, summary, came_at, form, size)
        detach(request.channel)
        transport.protocol = stream
        return stream

    def idle(self, channel: Channel, request: ClientRequest) -> None:
        """A request was answered, and the next one has not come: take the connection from its channel, if that can be done."""
        answered = not channel.requests and request.clientproto == b"HTTP/1.1"
        if answered and self._is_free(channel) and is_clear(channel.transport, flush=True):
            self._rest([self._take(channel, request)])

    def give_up_idle(self, local: bool | None = None) -> bool:
        """
        End one connection on which nothing is asked, if there is one: about the one that has been so for longest.

        :param local: whether it is one of a unix socket; None for any.
        """
        for item in self.registry.wheel.soonest_first():
            if not isinstance(item, HeldConnection) or item in self.registry:
                continue
            if local is None or is_local(item.transport.getHost()) is local:
                item.transport.abortConnection()
                return True
        return False

    def is_idle(self, protocol: object) -> bool:
        """Return whether this is a connection without a channel on which nothing is asked."""
        return isinstance(protocol, HeldConnection) and protocol not in self.registry

    def _take(self, channel: Channel, request: ClientRequest) -> HeldConnection:
        summary, came_at = self._summary(channel, request), self.summaries.moment(request.came_at)
        transport = channel.transport
        connection = HeldConnection(self, transport, summary, came_at)
        detach(channel)
        transport.protocol = connection
        return connection

    def _summary(self, channel: Channel, request: ClientRequest) -> Summary:
        """What is remembered of a request."""
        raw = b""
        principal: Principal = getattr(request, "principal", ANONYMOUS)
        if getattr(request, "admitted", False):
            headers = request.requestHeaders.getAllRawHeaders()
            raw = fast_path.header_block(channel.piece, request.method, request.clientproto, headers)
        block = self.summaries.block(raw, client_words(request), principal, channel.site)
        return self.summaries.summary(request_line(request), client_address(channel.transport.client), block)

    # -- the next request

    def received(self, connection: HeldConnection, data: bytes) -> None:
        """See `connection.Host`."""
        if connection in self.registry:
            early = self._early[connection] = self._early.get(connection, b"") + data
            if len(early) > EARLY_BYTES:
                connection.transport.pauseProducing()
                if sum(len(other) for other in self._early.values() if len(other) > EARLY_BYTES) > MOST_EARLY_BYTES:
                    connection.transport.abortConnection()
            return
        if connection in self._later:  # it is not read meanwhile, but for what the reactor had seen before
            self._later[connection] += data
            return
        if self._turns.has_time or data.startswith(HEALTH_CHECKS):
            self._turns.now(lambda: self._look_at(connection, data))
            return
        self.registry.wheel.clear(connection)
        connection.transport.pauseProducing()
        self._later[connection] = data
        self._turns.later(lambda: self._look_later(connection))

    def _look_later(self, connection: HeldConnection) -> None:
        data = self._later.pop(connection, None)
        if data is not None and connection.transport.connected:
            connection.transport.resumeProducing()
            self._look_at(connection, data)

    def _look_at(self, connection: HeldConnection, data: bytes) -> None:
        if not self._take_fast(connection, data):
            self._give_channel(connection, data)

    def _take_fast(self, connection: HeldConnection, data: bytes) -> bool:
        """Answer or hold the request in these bytes; return False if it is for the ordinary way."""
        block = connection.summary.block
        now = self._reactor.seconds()
        if not self.summaries.usable(block, now) or not is_clear(connection.transport):
            return False
        uri = fast_path.target_in(data, block.raw)
        target = self._targets.get(uri) if uri is not None else None
        if uri is None or target is None or self.registry.closing:
            return False
        try:
            visibility = self._visibility(block.principal)
        except Problem:
            return False
        if Scope.READ not in block.principal.scopes:
            return False
        shares, principal = self.registry.shares, block.principal
        if not shares.may_ask(principal):
            return False
        asker = fast_path.asker_of(target, principal.name)
        if self._hold_again(connection, target, visibility, asker):
            shares.asked(principal)
            return True
        question = fast_path.question_of(target, visibility, now, asker)
        outcome = self._ask(question)
        if isinstance(outcome, Ready):
            try:
                response = outcome.render()
            except Exception:
                self.log.failure("a response could not be made", Failure())
                response = fault().response()
            if not isinstance(response, Response):
                response.close()
                return False
        elif isinstance(outcome, Hold):
            if outcome.deadline <= now:
                return False
            try:
                self._hold(connection, target, outcome, fast_path.Address(uri, visibility, target.size, asker))
            except Problem as problem:
                response = problem.response()
            else:
                shares.asked(principal)
                return True
        else:
            return False
        shares.asked(principal)
        self._remember(connection, target)
        self.registry.wheel.clear(connection)
        HeldConnection.deliver_all([connection], response)
        return True

    def _hold(
        self, connection: HeldConnection, target: fast_path.Target, hold: Hold, asked: fast_path.Address
    ) -> None:
        """Hold a request of a connection that waited for it. Raises `Problem`, if no more requests may be held."""
        group = self.registry.hold(connection, hold, asked)
        self._remember(connection, target)
        if hold.wait is not None:
            head, forgotten = self._moment()
            if target.size > LONGEST_LAST_HOLD:
                return
            self._last_holds[target, asked.visibility, asked.asker] = LastHold(group, head, forgotten, hold.wait)
            if len(self._last_holds) > MOST_LAST_HOLDS:
                self._last_holds.popitem(last=False)

    def _hold_again(
        self, connection: HeldConnection, target: fast_path.Target, visibility: Visibility, asker: str
    ) -> bool:
        """Hold it where the last one for the same address is held, if nothing has happened since that could change that."""
        last = self._last_holds.get((target, visibility, asker))
        if (
            last is None
            or (last.head, last.forgotten) != self._moment()
            or not self.registry.can_be_joined(last.group)
            or not self.registry.has_room(connection.principal)
        ):
            return False
        self.registry.join(connection, last.group, jittered(last.wait))
        self._remember(connection, target)
        return True

    def _remember(self, connection: HeldConnection, target: fast_path.Target) -> None:
        """What the access log will say of the request that has come."""
        before = connection.summary
        connection.summary = self.summaries.summary(target.line, before.address, before.block)
        connection.came_at = self.summaries.moment(before.block.site.reactor.seconds())

    def _give_channel(self, connection: HeldConnection, data: bytes) -> None:
        """Read the next request on a connection the ordinary way."""
        self.registry.wheel.clear(connection)
        transport, site = connection.transport, connection.summary.block.site
        site.departures.over(connection)
        channel = site.make_channel(transport.getPeer())
        transport.protocol = channel
        channel.makeConnection(cast(ITransport, transport))
        channel.dataReceived(data)

    # -- what becomes of held requests

    def chosen(self, response: Response, connection: HeldConnection) -> Response:
        """See `connection.Host`."""
        return self.unread.choose(response, connection.transport)

    def delivered(self, connections: Sequence[HeldConnection], response: Response) -> None:
        """See `connection.Host`."""
        self._instruments.answered(response.status, len(connections))
        self._write_log(connections, response)
        self._rest(connections)
        if response.close:
            for connection in connections:
                self._early.pop(connection, None)
                connection.transport.loseConnection()
        elif self._early:
            for connection in connections:
                early = self._early.pop(connection, None)
                if early is not None:
                    if len(early) > EARLY_BYTES:
                        connection.transport.resumeProducing()
                    if connection.transport.connected and not connection.transport.disconnecting:
                        self.received(connection, early)

    def _rest(self, connections: Sequence[HeldConnection]) -> None:
        """These wait for their next requests; not for ever."""
        seconds = connections[0].summary.block.site.timeOut
        if seconds is not None:
            self.registry.wheel.set_all(connections, seconds)

    def _write_log(self, connections: Sequence[HeldConnection | StreamConnection], response: Response) -> None:
        """Write a line for each of these. Those that came alike in the same millisecond have the same line."""
        line = line_format(response.status, len(response.body))
        lines: dict[SiteLike, list[str]] = {}
        summary, came_at, text, of_site = None, -1.0, "", list[str]()
        for connection in connections:
            if connection.summary is not summary or connection.came_at != came_at:
                summary, came_at = connection.summary, connection.came_at
                held = max(0.0, summary.block.site.reactor.seconds() - came_at)
                text = line % (summary.address, summary.line, summary.block.words, held)
                of_site = lines.setdefault(summary.block.site, [])
            of_site.append(text)
        for site, texts in lines.items():
            site.access_log.write("".join(texts))

    def ended(self, stream: StreamConnection) -> None:
        """See `connection.Host`."""
        response = Response(200, (), b"")
        self._instruments.answered(response.status)
        self._write_log([stream], response)

    def violations(self) -> Iterator[str]:
        """What is not as it must be, a sentence each; none in a program without a fault."""
        for connection in self._early:
            if connection not in self.registry:
                yield "bytes are kept for a connection whose request is not held"
        for connection in self._later:
            if connection in self.registry:
                yield "a connection whose request is held waits for another one to be looked at"

    def lost(self, connection: HeldConnection | StreamConnection) -> None:
        """See `connection.Host`."""
        self.registry.leave(connection)
        if isinstance(connection, HeldConnection):
            self.registry.wheel.clear(connection)
            self._early.pop(connection, None)
            self._later.pop(connection, None)
            connection.summary.block.site.departures.over(connection)

    def time_is_up(self, connection: HeldConnection) -> None:
        """See `connection.Host`. One whose client still reads its response waits for as long again."""
        if connection in self.registry:
            self.registry.time_is_up(connection)
        elif unsent(connection.transport):
            self._rest([connection])
        else:
            connection.transport.loseConnection()

    def reads_slowly(self, connection: HeldConnection) -> None:
        """See `connection.Host`."""
        connection.summary.block.site.departures.begins(connection)


def detach(channel: Channel) -> None:
    """
    Take the transport from a channel and its request, if it has one, which is over for whoever holds it: nothing of them refers
    to the transport any more, nor they to each other.
    """
    channel.transport.unregisterProducer()
    slim(channel.transport)
    channel.setTimeout(None)
    channel.transport = None  # type: ignore[assignment]
    requests, channel.requests = channel.requests, []
    for request in requests:
        notifications, request.notifications = request.notifications, []
        for notified in notifications:
            notified.callback(None)
        with suppress(KeyError):  # it came through another Klein application, of which this is a part
            request.unsetComponent(IKleinRequest)
        if request.content is not None:
            request.content.close()
        request.channel = None  # type: ignore[assignment]
