"""A small HTTP client over asyncio: kept-alive connections, and streams."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Mapping
from typing import Any

import attrs


class Ended(Exception):
    """The connection ended."""


@attrs.frozen
class Answer:
    """An HTTP answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body, read as JSON."""
        return json.loads(self.body)


class Connection:
    """One connection to the service; opened when it is first needed."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.requests = 0
        self.read_at = 0.0  # when something of a stream came, by the monotonic clock
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def get(self, path: str, keep: bool = True, body: str | None = None) -> Answer:
        """
        One GET; or a POST, if it has a body.

        :raise Ended: if the connection cannot be opened, or ends before the whole answer has come.
        """
        try:
            status, headers = await self.begin(path, keep, body)
            assert self._reader is not None
            content = await self._reader.readexactly(int(headers["content-length"]))
        except (OSError, EOFError) as error:
            self.close()
            raise Ended(repr(error)) from None
        except BaseException:
            self.close()
            raise
        if not keep or headers.get("connection", "").lower() == "close":
            self.close()
        return Answer(status, headers, content)

    async def begin(self, path: str, keep: bool = True, body: str | None = None) -> tuple[int, dict[str, str]]:
        """Send a request, and return the status and the headers of its answer."""
        if self._writer is None:
            self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self.port, limit=1 << 20)
            self.requests = 0
        assert self._reader is not None
        self.requests += 1
        ends = "" if keep else "Connection: close\r\n"
        if body is not None:
            ends += f"Content-Type: application/json\r\nContent-Length: {len(body.encode())}\r\n"
        method = "GET" if body is None else "POST"
        self._writer.write(f"{method} {path} HTTP/1.1\r\nHost: localhost\r\n{ends}\r\n{body or ''}".encode())
        head = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        pairs = (line.partition(":") for line in head[1:] if line)
        return int(head[0].split(" ")[1]), {name.lower(): value.strip() for name, _, value in pairs}

    async def lines(self) -> AsyncIterator[str]:
        """
        The lines of a chunked answer.

        :raise Ended: at its end.
        """
        assert self._reader is not None
        data = b""
        try:
            while size := int(await self._reader.readuntil(b"\r\n"), 16):
                data += (await self._reader.readexactly(size + 2))[:-2]
                self.read_at = time.monotonic()
                *whole, data = data.split(b"\n")
                for line in whole:
                    yield line.decode()
        except (OSError, EOFError, ValueError) as error:
            raise Ended(repr(error)) from None
        raise Ended("the stream is over")

    def close(self) -> None:
        """Close it, if it is open."""
        if self._writer is not None:
            self._writer.transport.abort()
        self._reader = self._writer = None
