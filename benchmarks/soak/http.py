"""Answers as they come over a connection: as much of HTTP/1.1 as the clients need."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping

import attrs


@attrs.frozen
class Answer:
    """
    A whole answer.

    :ivar headers: with names in lower case.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes


class CutAnswer(Exception):
    """The connection was closed before the answer was whole."""


async def read_answer(reader: asyncio.StreamReader) -> Answer:
    """
    Return the next answer when it is whole.

    :raise CutAnswer: the connection was closed before.
    """
    status, headers = await read_head(reader)
    return Answer(status, headers, b"".join([piece async for piece in pieces(reader, headers)]))


async def read_head(reader: asyncio.StreamReader) -> tuple[int, dict[str, str]]:
    """
    Return the status and the headers, with names in lower case.

    :raise CutAnswer: the connection was closed before.
    """
    try:
        lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    except (asyncio.IncompleteReadError, ConnectionError) as error:
        raise CutAnswer from error
    fields = (line.partition(":") for line in lines[1:] if line)
    return int(lines[0].split()[1]), {name.lower(): value.strip() for name, _, value in fields}


async def pieces(reader: asyncio.StreamReader, headers: Mapping[str, str]) -> AsyncIterator[bytes]:
    """
    Yield the body as it comes, without the framing of chunks.

    :raise CutAnswer: the connection was closed before the end.
    """
    try:
        if "content-length" in headers:
            yield await reader.readexactly(int(headers["content-length"]))
        elif headers.get("transfer-encoding", "").lower() == "chunked":
            while size := int(await reader.readuntil(b"\r\n"), 16):
                yield (await reader.readexactly(size + 2))[:-2]
            await reader.readuntil(b"\r\n")
        else:
            while data := await reader.read(65536):
                yield data
    except (asyncio.IncompleteReadError, ConnectionError) as error:
        raise CutAnswer from error


async def events(body: AsyncIterator[bytes]) -> AsyncIterator[tuple[bytes, bytes]]:
    """
    Yield the name and the data of each server-sent event that has both.

    :raise CutAnswer: the connection was closed.
    """
    text = b""
    async for piece in body:
        *blocks, text = (text + piece).split(b"\n\n")
        for block in blocks:
            fields = dict(line.split(b": ", 1) for line in block.split(b"\n") if b": " in line)
            if b"event" in fields and b"data" in fields:
                yield fields[b"event"], fields[b"data"]
