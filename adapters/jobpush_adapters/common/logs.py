"""
Files that a scheduler appends lines to: reads what is new, after rotation and truncation too, or reads back from the end.

Knows nothing of what the lines mean. It blocks, so the adapters call it on a thread. It is quick: little is appended between
two looks, and reading back goes in blocks until its caller stops it.
"""

from __future__ import annotations

import bz2
import errno
import gzip
import lzma
import os
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import BinaryIO

#: Bytes that are read back at once.
BLOCK = 256 * 1024

#: Bytes. No scheduler writes a longer line: one is discarded, and what follows is read as new lines.
LONGEST_LINE = 1024 * 1024


#: A place in a file: its inode and the offset.
Place = tuple[int, int]

#: The place of a file that was not there.
NOWHERE: Place = (0, 0)


class LogFollower:
    """
    Reads what is appended to a file.

    A file that is shorter than before was truncated, and is read from its beginning. A file with another inode is a new one:
    the rest of the one before is read first, if it is still there under another name (``accounting.0``,
    ``accounting-20261126``). Reading begins at the beginning, or at the present end after `skip`.

    :ivar gaps: how often lines may have been missed: the file was truncated, or the one before is nowhere to be found.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.gaps = 0
        self._inode: int | None = None
        self._offset = 0
        self._rest = b""

    def skip(self) -> Place:
        """Skip what is there now; return where it ends."""
        try:
            found = os.stat(self.path)
        except FileNotFoundError:
            return NOWHERE
        self._inode, self._offset, self._rest = found.st_ino, found.st_size, b""
        return (found.st_ino, found.st_size)

    def lines(self) -> list[bytes]:
        """
        Return the whole lines that were appended since the last call, without their line ends.

        :raise OSError: if the file exists and cannot be read.
        """
        try:
            found = os.stat(self.path)
        except FileNotFoundError:
            return []
        data = b""
        if found.st_ino != self._inode:
            data = self._rest_of_old()
            self._offset = 0
        elif found.st_size < self._offset:
            self.gaps += 1
            self._offset, self._rest = 0, b""
        self._inode = found.st_ino
        if found.st_size > self._offset:
            with open(self.path, "rb") as file:
                file.seek(self._offset)
                more = file.read(found.st_size - self._offset)
            self._offset += len(more)
            data += more
        if not data:
            return []
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > LONGEST_LINE:
            self._rest = b""
        return lines

    def _rest_of_old(self) -> bytes:
        """Return what was appended to the file before it was rotated, and after it was last read."""
        if self._inode is None:
            return b""
        for path in archives(self.path):
            try:
                if os.stat(path).st_ino == self._inode:
                    with open(path, "rb") as file:
                        file.seek(self._offset)
                        return file.read()
            except OSError:
                pass
        self._rest = b""
        self.gaps += 1
        return b""


def archives(path: str) -> list[str]:
    """
    Return the files to which a file may have been moved or copied, under whatever name that has its own in it, and whether
    compressed or not; the one that was written last comes first.
    """
    directory, name = os.path.split(path)
    stem = name.removesuffix(".jsonl")
    found = []
    try:
        with os.scandir(directory or ".") as entries:
            for entry in entries:
                if stem in entry.name and entry.name != name and entry.is_file():
                    found.append((entry.stat().st_mtime, entry.path))
    except OSError:
        return []
    return [path for _, path in sorted(found, reverse=True)]


#: What opens compressed files, by the ends of their names.
COMPRESSED: Mapping[str, Callable[..., BinaryIO]] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}  # type: ignore[dict-item]


def compressed_lines(path: str) -> Iterator[bytes]:
    """
    Yield the lines of a compressed file, without their line ends, in their order.

    :raise OSError: if it cannot be read.
    """
    try:
        with COMPRESSED[os.path.splitext(path)[1]](path, "rb") as file:
            for line in file:
                yield line.rstrip(b"\n")
    except (EOFError, ValueError, zlib.error, lzma.LZMAError) as error:
        raise OSError(errno.EIO, f"cannot be read: {error}", path) from error


def look_back(
    paths: Sequence[str], enough: Callable[[bytes], bool], upto: Place | None = None, most: int = 4 * 1024**3
) -> Iterator[list[bytes]]:
    """
    Read the whole lines of these files in blocks, the last block first; the lines of a block are in their order.

    :param paths: the newest file first; one that does not exist is left out.
    :param enough: called with the first whole line of each block; returns whether that block is the last to be read.
    :param upto: what was appended after this place is left out, if its file is among these.
    :param most: bytes after which reading ends.
    :raise OSError: if a file exists and cannot be read.
    """
    if upto == NOWHERE:
        return
    budget = most
    there = [path for path in paths if os.path.exists(path)]
    inodes = [os.stat(path).st_ino for path in there]
    first = inodes.index(upto[0]) if upto is not None and upto[0] in inodes else 0
    for path, inode in list(zip(there, inodes, strict=True))[first:]:
        with open(path, "rb") as file:
            position = file.seek(0, os.SEEK_END)
            if upto is not None and inode == upto[0]:
                position = min(position, upto[1])
            rest = b""
            while position > 0 and budget > 0:
                size = min(BLOCK, position)
                position -= size
                budget -= size
                file.seek(position)
                data = file.read(size) + rest
                if position > 0:
                    rest, newline, data = data.partition(b"\n")
                    if not newline:
                        rest = rest if len(rest) < LONGEST_LINE else b""
                        continue
                lines = data.split(b"\n")
                if lines and not lines[-1]:
                    lines.pop()
                yield lines
                if lines and enough(lines[0]):
                    return
