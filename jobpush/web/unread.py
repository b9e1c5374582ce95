"""
The bound on what was answered and is not read. What a client does not read waits in the memory of the process, so that many who
ask for much and read nothing could take all of it.

(Tests: tests/web/test_unread.py.)
"""

from __future__ import annotations

from typing import Any

from jobpush.web.problems import try_later
from jobpush.web.responses import Response
from jobpush.web.twisted_internals import kept

#: Bytes that may wait for all clients together, of responses of at least so many bytes.
MOST_BYTES = 64 * 1024 * 1024
LARGE_BYTES = 64 * 1024


class Unread:
    """
    The connections that were given large responses.

    :param most: bytes that may wait on them.
    """

    def __init__(self, most: int | None = None) -> None:
        self._most = MOST_BYTES if most is None else most
        self._connections: dict[Any, None] = {}

    @property
    def bytes(self) -> int:
        """How many bytes they keep."""
        waiting = {connection: kept(connection) for connection in self._connections}
        self._connections = {connection: None for connection, size in waiting.items() if size}
        return sum(waiting.values())

    def choose(self, response: Response, connection: Any) -> Response:
        """
        Return the response that a client gets, which is written at once: 503 in place of a large one that would make it too
        many bytes. One is given out if nothing else is kept, however large it is.

        :param connection: its transport.
        """
        if len(response.body) < LARGE_BYTES:
            return response
        before = self.bytes
        if before and before + len(response.body) > self._most:
            text = "too many bytes of answers wait for clients that do not read them; try again later, or ask for less at once"
            return try_later(text).response()
        self._connections[connection] = None
        return response
