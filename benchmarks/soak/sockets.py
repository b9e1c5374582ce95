"""The client's side of a WebSocket, as little of it as the clients of the soak need."""

from __future__ import annotations

import asyncio
import base64
import json
import os
from typing import Any

from benchmarks.soak.http import CutAnswer

TEXT, CLOSE, PING, PONG = 1, 8, 9, 10


def handshake(path: str, host: str, agent: str) -> bytes:
    """Return the request that begins a WebSocket."""
    key = base64.b64encode(os.urandom(16)).decode("ascii")
    fields = {
        "Host": host, "User-Agent": agent, "Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": key,
    }  # fmt: skip
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"GET {path} HTTP/1.1\r\n{lines}\r\n".encode()


def frame(opcode: int, data: bytes) -> bytes:
    """Return a whole message of a client as a frame, masked."""
    if len(data) < 126:
        length = bytes([0x80 | len(data)])
    else:
        length = bytes([0x80 | 126]) + len(data).to_bytes(2, "big")
    mask = os.urandom(4)
    return bytes([0x80 | opcode]) + length + mask + bytes(byte ^ mask[place % 4] for place, byte in enumerate(data))


async def read_frame(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """
    Return the kind of the next frame of the server, and what is in it.

    :raise CutAnswer: the connection was closed.
    """
    try:
        first, second = await reader.readexactly(2)
        length = second & 0x7F
        if length > 125:
            length = int.from_bytes(await reader.readexactly(2 if length == 126 else 8), "big")
        return first & 0x0F, await reader.readexactly(length)
    except (asyncio.IncompleteReadError, ConnectionError) as error:
        raise CutAnswer from error


async def read_message(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Any:
    """
    Return the next message, from JSON. Pings are answered.

    :raise CutAnswer: the connection was closed, or the server closes it.
    """
    while True:
        opcode, data = await read_frame(reader)
        if opcode == TEXT:
            return json.loads(data)
        if opcode == PING:
            writer.write(frame(PONG, data))
        elif opcode == CLOSE:
            raise CutAnswer
