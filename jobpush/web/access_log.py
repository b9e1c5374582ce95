"""
The access log: a line for each request that was answered, in the Combined Log Format of web servers, then the seconds from the
request's first line to its last byte.

Lines are kept back for a moment and go out together: after one event there may be ten thousand.
"""

from __future__ import annotations

import os
import re
import stat
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from io import FileIO
from typing import Any, Protocol
from urllib.parse import unquote_to_bytes

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.logfile import DailyLogFile
from twisted.web.http import datetimeToLogString

from jobpush.runtime.log_file import check_writable
from jobpush.runtime.reload import CannotReload
from jobpush.web.requests import ClientRequest

#: Characters of lines that are kept back, and seconds for which they may be.
BUFFER = 64 * 1024
DELAY_S = 0.2

LOG = Logger(namespace="jobpush.access")


class Sink(Protocol):
    """What takes lines."""

    def write(self, lines: str, /) -> object:
        """Take some lines, each with its end."""

    def close(self) -> None:
        """Take no more."""


class ServiceLog:
    """
    The service's own log. Lines that come together are one message of it: to format and write a message for each of ten
    thousand lines costs more than to send the responses.
    """

    def write(self, lines: str) -> None:
        """Log some lines."""
        LOG.info("{lines}", lines=lines.rstrip("\n"))

    def close(self) -> None:
        """Do nothing: the service closes its log."""


class OneFile:
    """A file, a device or a pipe that is the same every day. Raises `OSError` if it cannot be opened."""

    def __init__(self, path: str) -> None:
        self._file = FileIO(path, "a")

    def write(self, lines: str) -> None:
        """Append some lines."""
        self._file.write(lines.encode("utf-8"))

    def close(self) -> None:
        """Close it."""
        self._file.close()


class AccessLog:
    """
    :param reactor: the clock, and what calls when lines are to be written.
    :param path: a file, a new one each day if it is an ordinary file; None for the service's own log.
    """

    def __init__(self, reactor: IReactorTime, path: str | None) -> None:
        self._reactor = reactor
        self._path = path
        self._sink: Sink | None = None
        self._lines: list[str] = []
        self._length = 0
        self._flushing: IDelayedCall | None = None
        self._failing = False

    def open(self) -> None:
        """
        Open the file. What is no ordinary file (``/dev/stdout``, a link) is never moved away for a new one.

        :raise OSError: if that cannot be done.
        """
        if self._path is None:
            self._sink = ServiceLog()
        elif os.path.lexists(self._path) and not stat.S_ISREG(os.lstat(self._path).st_mode):
            self._sink = OneFile(self._path)
        else:
            self._sink = DailyLogFile(os.path.basename(self._path), os.path.dirname(self._path) or ".")

    def reopen(self) -> str | None:
        """
        Open the file anew, which may have been moved away. Nothing is lost that was taken before.

        :return: what was done, for the log.
        :raise CannotReload: if that cannot be done; lines go on into the old file.
        """
        if self._path is None or self._sink is None:
            return None
        self.flush()
        old = self._sink
        if not isinstance(old, OneFile) or os.path.isfile(self._path):
            check_writable(self._path)
        try:
            self.open()
        except OSError as error:
            self._sink = old
            raise CannotReload(f"{self._path} cannot be opened: {error.strerror}") from None
        old.close()
        return f"{self._path} was opened again"

    def write(self, lines: str) -> None:
        """Take lines, each with its end. They are written when they are many, or a moment later."""
        self._lines.append(lines)
        self._length += len(lines)
        if self._length > BUFFER:
            self.flush()
        elif self._flushing is None:
            self._flushing = self._reactor.callLater(DELAY_S, self.flush)

    def flush(self) -> None:
        """Write what was kept back. What cannot be written is lost, and the service's log says so once."""
        if self._flushing is not None:
            if self._flushing.active():
                self._flushing.cancel()
            self._flushing = None
        lines, self._lines, self._length = self._lines, [], 0
        if lines and self._sink is not None:
            try:
                self._sink.write("".join(lines))
                self._failing = False
            except (OSError, ValueError) as error:
                self._failed(error)

    def _failed(self, error: Exception) -> None:
        """Go on. A file that was closed at midnight, when no new one could be opened, is opened again."""
        if not self._failing:
            self._failing = True
            LOG.error("the access log cannot be written, lines are lost: {error}", error=error)
        if isinstance(error, ValueError):
            with suppress(OSError):
                self.open()

    def close(self) -> None:
        """Write what was kept back, and close the file."""
        self.flush()
        sink, self._sink = self._sink, None
        if sink is not None:
            sink.close()


def line_format(status: int, length: int, now: Callable[[], float] = time.time) -> str:
    """
    Return the line on a response of that status and length, of this second, as a format: ``%`` it with the client's address,
    the request line, the client's own words (see `client_words`) and the seconds for which it was held.
    """
    return f'"%s" - - {datetimeToLogString(now())} "%s" {status} {length or "-"} %s %.3f\n'


def escaped(data: bytes) -> str:
    """Return bytes of a client as the log has them: printable, and without a quotation mark of their own."""
    return repr(data)[2:-1].replace("\\'", "'").replace('"', '\\"')


def request_line(request: ClientRequest) -> str:
    """Return a request's first line, as the log has it."""
    return escaped(request.method + b" " + without_ticket(request.uri) + b" " + request.clientproto)


def without_ticket(uri: bytes) -> bytes:
    """Return an address as the log has it: without the tickets in its query, however their name is written."""
    path, mark, query = uri.partition(b"?")
    if not mark or (b"icket" not in query and b"%" not in query):
        return uri
    parts = re.split(rb"([&;])", query)
    shown = [b"ticket=-" if unquote_to_bytes(part.partition(b"=")[0]) == b"ticket" else part for part in parts]
    return path + mark + b"".join(shown)


def client_words(request: ClientRequest) -> str:
    """Return what the client says of itself (the referrer and the user agent), as the log has it."""
    referrer = without_ticket(request.getHeader(b"referer") or b"-")
    return f'"{escaped(referrer)}" "{escaped(request.getHeader(b"user-agent") or b"-")}"'


def client_address(client: tuple[Any, ...]) -> str:
    """Return the address of a client (a transport's ``client``), the same object for the same; ``-`` on a unix socket."""
    host, port = client[:2]
    return sys.intern(host) if port is not None else "-"
