"""A small HTTP server in threads, whose answers are given piece by piece, for tests of what reads answers."""

from __future__ import annotations

import socketserver
import threading
import time
from collections.abc import Callable, Mapping, Sequence

#: Seconds within which a test's condition must come true.
SOON_S = 20.0

#: Seconds between two pieces of an answer, so that they arrive apart.
APART_S = 0.004


class Closed(Exception):
    """This connection is to be closed."""


class Connection(socketserver.StreamRequestHandler):
    """One connection, in a thread of its own: requests without bodies, one after another."""

    server: TinyServer
    disable_nagle_algorithm = True

    def handle(self) -> None:
        try:
            while path := self._read_request():
                self._answer(self.server.asked_for(path))
        except (Closed, ConnectionError):
            pass

    def _read_request(self) -> str | None:
        """Return the path of the next request; None if the client has closed the connection."""
        first = self.rfile.readline()
        while (line := self.rfile.readline()) not in (b"\r\n", b""):
            pass
        return first.split()[1].decode() if line else None

    def _answer(self, pieces: Sequence[bytes | None]) -> None:
        waits = 0
        for number, piece in enumerate(pieces):
            if piece is None:
                waits += 1
                self.server.wait_for_release(waits)
            elif piece == b"":
                raise Closed
            else:
                if number and pieces[number - 1] is not None:
                    time.sleep(APART_S)
                self.request.sendall(piece)


class TinyServer(socketserver.ThreadingTCPServer):
    """
    A server on loopback; ``start`` it.

    :param answers: by path (without what follows a second slash), the pieces that are sent one after another. An empty piece
        closes the connection; the n-th None of an answer waits for the n-th ``release``.
    :ivar asked: the paths of all requests so far.
    :ivar connections: how many connections were made.
    """

    request_queue_size = 1024

    def __init__(self, answers: Mapping[str, Sequence[bytes | None]]) -> None:
        super().__init__(("127.0.0.1", 0), Connection)
        self.asked: list[str] = []
        self.connections = 0
        self.port = int(self.server_address[1])
        self._answers = answers
        self._changed = threading.Condition()
        self._releases = 0
        self._over = False
        self._thread = threading.Thread(target=self.serve_forever, args=(0.05,))

    def start(self) -> None:
        """Accept connections from now on."""
        self._thread.start()

    def stop(self) -> None:
        """Let all that wait close their connections, and end when the clients have closed theirs."""
        with self._changed:
            self._over = True
            self._changed.notify_all()
        self.shutdown()
        self._thread.join(SOON_S)
        self.server_close()

    def release(self) -> None:
        """Let all that wait go on, to their next None."""
        with self._changed:
            self._releases += 1
            self._changed.notify_all()

    def wait_until(self, condition: Callable[[], bool]) -> None:
        """Return when the condition holds, which is looked at when a request has come."""
        with self._changed:
            if not self._changed.wait_for(condition, SOON_S):
                raise AssertionError(f"not within {SOON_S:g} s")

    # -- for its connections

    def process_request(self, request, client_address) -> None:
        self.connections += 1
        super().process_request(request, client_address)

    def asked_for(self, path: str) -> Sequence[bytes | None]:
        """Note a request, and return what is to be answered."""
        with self._changed:
            self.asked.append(path)
            self._changed.notify_all()
        return self._answers["/".join(path.split("/")[:2])]

    def wait_for_release(self, number: int) -> None:
        """
        Return after so many releases.

        :raise Closed: the server is being stopped.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._over or self._releases >= number)
            if self._over:
                raise Closed
