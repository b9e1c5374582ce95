"""
The HTTP server around the resource: limits that hold while a request arrives, errors in the protocol's form, the access log.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from twisted.internet.interfaces import IAddress, IProtocol, IReactorTime, ITCPTransport
from twisted.internet.protocol import connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.http_headers import Headers
from twisted.web.resource import IResource
from twisted.web.server import Request, Site

from jobpush.core.filters import NOTHING, Visibility
from jobpush.events.instruments import Instruments
from jobpush.web.access_log import AccessLog, client_words, line_format, request_line
from jobpush.web.arrivals import ARRIVE_S, Arrivals
from jobpush.web.departures import Departures
from jobpush.web.held.websocket import SocketGuard
from jobpush.web.principal import ANONYMOUS, Principal
from jobpush.web.problems import Problem, fault
from jobpush.web.requests import ClientRequest, IdleConnections, client_request
from jobpush.web.responses import guard
from jobpush.web.twisted_internals import GuardedChannel, waiting

#: Bytes that a request's body may have. Ten thousand long job ids take a quarter of that.
BODY_LIMIT = 2 * 1024 * 1024

#: Seconds for which a refused client may go on sending, so that it can read why before the connection is gone.
LINGER_S = 2.0

#: Seconds after which a connection ends on which nothing is asked.
IDLE_S = 75

WEB = Logger(namespace="jobpush.web")


class JobpushRequest(Request):
    """
    A request whose body is refused as soon as it is too long.

    :ivar came_at: the reactor's time at which its headers had come.
    :ivar admitted: it passed every check on who asks; set by the resource that answers it.
    :ivar principal: who asks; set by the same.
    :ivar visibility: whose jobs it may be shown; set by the same.
    :ivar connections: what takes its connection when it is answered; set by the same.
    :ivar ticket: with which it opens a stream; set by the same.
    :ivar revoked: what says who asks has been revoked since; set by the same.
    :ivar cross_origin: a page of a listed origin has sent it; set by the same.
    :ivar unread: the bound on what was answered and is not read; set by the same.
    :ivar received: bytes of its body that have come.
    :ivar gone: the client has left.
    """

    channel: Any
    site: Any
    came_at = 0.0
    admitted = False
    principal: Principal = ANONYMOUS
    visibility: Visibility = NOTHING
    connections: IdleConnections | None = None
    unread: Any = None
    ticket: Any = None
    revoked = False
    cross_origin = False
    gone = False
    received = 0

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:
        """
        Take a request that has come in full. A target in absolute form says the host too, whatever the Host header is
        (RFC 9112, 3.2.2); so what followed the request line says nothing of the next request.
        """
        scheme, separator, rest = path.partition(b"://")
        hosts = self.requestHeaders.getRawHeaders(b"host", [])
        if separator and scheme.lower() in (b"http", b"https"):
            self.channel.piece = b""
            end = min((at for at in (rest.find(b"/"), rest.find(b"?")) if at >= 0), default=len(rest))
            path = rest[end:] if rest[end:].startswith(b"/") else b"/" + rest[end:]
            if len(hosts) == 1 or (not hosts and version == b"HTTP/1.0"):
                self.requestHeaders.setRawHeaders(b"host", [rest[:end]])
        super().requestReceived(command, path, version)

    def process(self) -> None:
        self.channel.site.arrivals.arrived(self.channel)
        if self.path == b"*" and self.method != b"OPTIONS":
            guard(client_request(self))
            Problem(400, "only OPTIONS may ask about the server as a whole", "path").send(client_request(self))
        else:
            super().process()

    def gotLength(self, length: int | None) -> None:
        self.came_at = self.channel.site.reactor.seconds()
        super().gotLength(length if length is None else min(length, BODY_LIMIT))
        if length is not None and length > BODY_LIMIT:
            self._too_long()

    def handleContentChunk(self, data: bytes) -> None:
        self.received += len(data)
        if self.received > BODY_LIMIT:
            self._too_long()
        else:
            super().handleContentChunk(data)

    def _too_long(self) -> None:
        self.channel.refuse(Problem(413, f"the body is longer than {BODY_LIMIT} bytes", "body"))

    def getRequestHostname(self) -> bytes:
        """Return the host that the client asked for; a unix socket's client need not name one."""
        if self.getHeader(b"host") is None and not hasattr(self.getHost(), "host"):
            return b"localhost"
        name: bytes = super().getRequestHostname()
        return name

    def connectionLost(self, reason: Failure) -> None:
        self.gone = True
        super().connectionLost(reason)
        self.producer = None  # a stream, which refers to this

    def processingFailed(self, reason: Failure) -> Failure:
        """A fault of ours: the log has the traceback, the client a problem."""
        WEB.failure("a request failed", reason)
        if self.finished or self.gone:
            return reason
        if self.startedWriting:
            self.channel.forceAbortClient()  # the client must not take half a response for a whole one
        else:
            fault().send(client_request(self))
        return reason


class JobpushChannel(GuardedChannel):
    """
    A connection that answers what cannot become a request with a problem, and lets the client read it.

    :ivar piece: what came from the network last, if it is the beginning of a request.
    :ivar written: bytes that were written to the transport.
    :ivar responding: a response has begun, no stream, and is not written in full.
    """

    site: JobpushSite
    piece = b""
    written = 0
    responding = False

    def connectionMade(self) -> None:
        super().connectionMade()
        self.site.arrivals.begins(self)
        if waiting(self.transport):
            self.site.departures.begins(self)  # of the response before this channel's time
        if ITCPTransport.providedBy(self.transport):
            # A held request says nothing for minutes; a client that is gone without a word is noticed all the same.
            self.transport.setTcpKeepAlive(True)

    def dataReceived(self, data: bytes) -> None:
        if not self.refused:
            if self.between_requests:
                self.piece = data
                self.site.arrivals.begins(self)
            else:
                self.piece = b""
            super().dataReceived(data)
            self.piece = b""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.site.arrivals.arrived(self)
        self.site.departures.over(self)
        super().connectionLost(reason)

    def writeHeaders(self, version: bytes, code: bytes, reason: bytes, headers: Headers) -> None:
        super().writeHeaders(version, code, reason, headers)
        kind = (headers.getRawHeaders(b"content-type") or [b""])[0]
        if code != b"101" and not kind.startswith(b"text/event-stream"):
            self.responding = True
            self.site.departures.begins(self)

    def write(self, data: bytes) -> None:
        self.written += len(data)
        super().write(data)

    def writeSequence(self, iovec: Sequence[bytes]) -> None:
        self.written += sum(map(len, iovec))
        super().writeSequence(iovec)

    def timeoutConnection(self) -> None:
        """Nothing has come for long: no matter, as long as the client reads a response."""
        if waiting(self.transport) and not self.refused:
            self.setTimeout(self.timeOut)
        else:
            super().timeoutConnection()

    def requestDone(self, request: ClientRequest) -> None:
        self.responding = False
        if not waiting(self.transport):
            self.site.departures.over(self)
        super().requestDone(request)
        if not self.refused and self.transport is not None and request.connections is not None:
            request.connections.idle(self, request)

    def lineReceived(self, line: bytes) -> None:
        if not self.refused:
            super().lineReceived(line)

    def rawDataReceived(self, data: bytes) -> None:
        if not self.refused:
            super().rawDataReceived(data)

    def allContentReceived(self) -> None:
        if not self.refused:
            super().allContentReceived()

    def lineLengthExceeded(self, line: bytes) -> None:
        if self.in_request_line:
            self.refuse(Problem(414, f"the request line is longer than {self.MAX_LENGTH} bytes; use POST", "request line"))
        else:
            self.refuse(Problem(431, f"a header line is longer than {self.MAX_LENGTH} bytes", "header"))

    def bad_request(self) -> None:
        if self.headers_too_large:
            self.refuse(Problem(431, f"the headers are longer than {self.totalHeadersSize} bytes or too many", "header"))
        else:
            self.refuse(Problem(400, "the request is not HTTP/1.1 as RFC 9112 has it", "request"))

    def upgraded(self, protocol: IProtocol, application: Any) -> IProtocol:
        guard: Any = SocketGuard(protocol, application)
        return guard  # type: ignore[no-any-return]

    def refuse(self, problem: Problem) -> None:
        """Answer, stop listening to what comes, and close a little later."""
        if self.refused:
            return
        self.refused = True
        self.persistent = 0
        self.transport.write(problem.raw())
        if hasattr(self.transport, "loseWriteConnection"):
            self.transport.loseWriteConnection()
            self.setTimeout(LINGER_S)
        else:
            self.loseConnection()


    def too_slow(self) -> None:
        """The request has not come in time."""
        if self.between_requests:
            self.loseConnection()
        else:
            self.refuse(Problem(408, f"the request has not come in {ARRIVE_S:g} seconds", "request"))


class JobpushSite(Site):
    """
    A site with limits, problems and an access log. Its root may be any resource, with jobpush's below it.

    :param access_log: the path of the access log, a new file each day; None writes to the service's log.
    :param instruments: where responses are counted.
    :param reserved: see `Arrivals`.
    """

    protocol: Any = JobpushChannel
    requestFactory = JobpushRequest

    def __init__(
        self,
        resource: IResource,
        reactor: IReactorTime,
        access_log: str | None = None,
        instruments: Instruments | None = None,
        reserved: bool = False,
    ) -> None:
        super().__init__(resource, reactor=reactor, timeout=IDLE_S, parsePOSTFormSubmission=False)
        self.access_log = AccessLog(reactor, access_log)
        self._instruments = instruments
        #: A client that has just connected is about to send a request.
        self.arrivals = Arrivals(reactor, reserved)
        self.departures = Departures(reactor)

    def buildProtocol(self, addr: Any) -> Any:
        """Make a channel for a new connection; None closes that, where it could only be refused."""
        return self.make_channel(addr) if self.arrivals.has_room(addr) else None

    def make_channel(self, addr: IAddress | None) -> IProtocol:
        """Make a channel, for a connection that is there already."""
        channel: Any = super().buildProtocol(addr)
        return channel  # type: ignore[no-any-return]

    def startFactory(self) -> None:
        super().startFactory()
        self.arrivals.start()
        self.departures.start()
        self.access_log.open()

    def stopFactory(self) -> None:
        self.arrivals.stop()
        self.departures.stop()
        self.access_log.close()
        super().stopFactory()

    def log(self, request: Any) -> None:
        """A request was answered: write a line and count it."""
        if self._instruments is not None:
            self._instruments.answered(request.code)
        now = self.reactor.seconds()
        held = max(0.0, now - request.came_at) if request.channel is not None else 0.0
        address = getattr(request.getClientAddress(), "host", None) or "-"  # a unix socket's has none
        line = line_format(request.code, request.sentLength)
        self.access_log.write(line % (address, request_line(request), client_words(request), held))
