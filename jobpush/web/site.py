"""
The HTTP server around the resource: limits that hold while a request arrives, errors in the protocol's form, the access log.
"""

from __future__ import annotations

import os
from typing import Any

from twisted.internet.interfaces import ITCPTransport
from twisted.logger import Logger
from twisted.python.logfile import DailyLogFile
from twisted.web.http import HTTPChannel, combinedLogFormatter
from twisted.web.iweb import IAccessLogFormatter
from twisted.web.server import Request, Site
from zope.interface import provider

from jobpush.web.held.sockets import SocketGuard
from jobpush.web.problems import Problem

#: Bytes that a request's body may have. Ten thousand long job ids take a quarter of that.
BODY_LIMIT = 2 * 1024 * 1024

#: Seconds for which a refused client may go on sending, so that it can read why before the connection is gone.
LINGER_S = 2.0

#: Bytes of the access log that are kept back, and seconds for which they may be.
LOG_BUFFER = 64 * 1024
LOG_DELAY_S = 0.2

ACCESS = Logger(namespace="jobpush.access")
WEB = Logger(namespace="jobpush.web")


class JobpushRequest(Request):
    """
    A request whose body is refused as soon as it is too long.

    :ivar came_at: when it came, for the access log.
    :ivar query: the query string's names and values as texts, if they have been read already.
    """

    channel: Any
    site: Any
    came_at = 0.0
    query: dict[str, list[Any]] | None = None
    _received = 0

    def process(self) -> None:
        if self.path == b"*" and self.method != b"OPTIONS":
            Problem(400, "only OPTIONS may ask about the server as a whole", "path").send(self)
        else:
            super().process()

    def gotLength(self, length: int | None) -> None:
        self.came_at = self.channel.site.reactor.seconds()
        super().gotLength(length if length is None else min(length, BODY_LIMIT))
        if length is not None and length > BODY_LIMIT:
            self._too_long()

    def handleContentChunk(self, data: bytes) -> None:
        self._received += len(data)
        if self._received > BODY_LIMIT:
            self._too_long()
        else:
            super().handleContentChunk(data)

    def _too_long(self) -> None:
        self.channel.refuse(Problem(413, f"the body is longer than {BODY_LIMIT} bytes", "body"))

    def getRequestHostname(self) -> bytes:
        """The host that the client asked for; a unix socket's client need not name one."""
        if self.getHeader(b"host") is None and not hasattr(self.getHost(), "host"):
            return b"localhost"
        name: bytes = super().getRequestHostname()
        return name

    def processingFailed(self, reason: Any) -> Any:
        """A fault of ours: the log has the traceback, the client a problem."""
        self.site.log_failure(reason)
        if self.finished or self._disconnected:
            return reason
        if self.startedWriting:
            self.channel.forceAbortClient()  # the client must not take half an answer for a whole one
        else:
            Problem(500, "an error of the server; its log tells more").send(self)
        return reason


class JobpushChannel(HTTPChannel):
    """
    A connection that answers what cannot become a request with a problem, and lets the client read it.

    :ivar piece: what came from the network last, if it is the begin of a request.
    """

    transport: Any
    site: JobpushSite
    refused = False
    piece = b""

    def connectionMade(self) -> None:
        super().connectionMade()
        if ITCPTransport.providedBy(self.transport):
            # A held request says nothing for minutes; a client that is gone without a word is noticed all the same.
            self.transport.setTcpKeepAlive(True)

    def dataReceived(self, data: bytes) -> None:
        if not self.refused:
            self.piece = b"" if self.requests or self._buffer else data
            super().dataReceived(data)
            self.piece = b""

    def requestDone(self, request: Any) -> None:
        super().requestDone(request)
        if not self.refused and self.transport is not None:
            self.site.parking.idle(self, request)

    def lineReceived(self, line: bytes) -> None:
        if not self.refused:
            super().lineReceived(line)

    def rawDataReceived(self, data: bytes) -> None:
        if not self.refused:
            super().rawDataReceived(data)

    def lineLengthExceeded(self, line: bytes) -> None:
        if self._receivedHeaderSize == 0:
            self.refuse(Problem(414, f"the request line is longer than {self.MAX_LENGTH} bytes; use POST", "request line"))
        else:
            self.refuse(Problem(431, f"a header line is longer than {self.MAX_LENGTH} bytes", "header"))

    def _protocolUpgradeForWebsockets(self, protocol: Any) -> None:
        # Not public in Twisted: tests/with_service/test_socket.py fails where it changes.
        super()._protocolUpgradeForWebsockets(SocketGuard(protocol))  # type: ignore[arg-type]

    def allContentReceived(self) -> None:
        if not self.refused:
            super().allContentReceived()

    def _send100Continue(self) -> None:
        if not self.refused:
            super()._send100Continue()

    def _respondToBadRequestAndDisconnect(self) -> None:
        if self._receivedHeaderSize > self.totalHeadersSize or self._receivedHeaderCount > self.maxHeaders:
            self.refuse(Problem(431, f"the headers are longer than {self.totalHeadersSize} bytes or too many", "header"))
        else:
            self.refuse(Problem(400, "the request is not HTTP/1.1 as RFC 9112 has it", "request"))

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


@provider(IAccessLogFormatter)
def access_line(timestamp: str, request: Any) -> str:
    """Combined Log Format, then the seconds from the request's first line to its last byte."""
    held = max(0.0, request.channel.site.reactor.seconds() - request.came_at) if request.channel is not None else 0.0
    return f"{combinedLogFormatter(timestamp, request)} {held:.3f}"


class AccessLog:
    """The access log as lines of the service's own log."""

    def write(self, lines: str) -> None:
        """Some lines."""
        for line in lines.splitlines():
            ACCESS.info("{line}", line=line)

    def close(self) -> None:
        """Nothing to close."""


class JobpushSite(Site):
    """
    :param access_log: the path of the access log, a new file each day; None writes to the service's log.
    """

    protocol: Any = JobpushChannel
    requestFactory = JobpushRequest

    def __init__(self, resource: Any, reactor: Any, access_log: str | None = None) -> None:
        super().__init__(
            resource,
            reactor=reactor,
            timeout=75,
            logFormatter=access_line,
            parsePOSTFormSubmission=False,
            logPath=access_log,
        )
        self.parking = resource.api.parking
        self._lines: list[str] = []
        self._length = 0
        self._flushing: Any = None

    def startFactory(self) -> None:
        super().startFactory()
        if self.logPath is None:
            self._logFile = AccessLog()

    def _openLogFile(self, path: Any) -> Any:
        return DailyLogFile(os.path.basename(path), os.path.dirname(path) or ".")

    def log(self, request: Any) -> None:
        """A request was answered."""
        self.parking.service.measures.answered(request.code)
        self.write_log(self._logFormatter(self._logDateTime, request) + "\n")

    def write_log(self, lines: str) -> None:
        """Lines of the access log. They are written when they are many, or a moment later."""
        self._lines.append(lines)
        self._length += len(lines)
        if self._length > LOG_BUFFER:
            self._flush()
        elif self._flushing is None:
            self._flushing = self.reactor.callLater(LOG_DELAY_S, self._flush)

    def _flush(self) -> None:
        if self._flushing is not None:
            if self._flushing.active():
                self._flushing.cancel()
            self._flushing = None
        lines, self._lines, self._length = self._lines, [], 0
        if lines and self._logFile is not None:
            self._logFile.write("".join(lines))

    def stopFactory(self) -> None:
        self._flush()
        super().stopFactory()

    def log_failure(self, reason: Any) -> None:
        """An unexpected error while a request was answered."""
        WEB.failure("a request failed", reason)
