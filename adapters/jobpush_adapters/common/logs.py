"""
Files that a scheduler appends lines to: read what is new, over rotation and truncation, or look back from the end.

Knows nothing of what the lines mean. Blocking, and quick: what is new since the last tick is little, and looking back
goes in blocks and stops where its caller says; the adapters call it on a thread.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence

#: Bytes that are read at once.
BLOCK = 256 * 1024

#: A line that is longer is no line of any scheduler: what follows is read as new lines.
LONGEST_LINE = 1024 * 1024


#: A place in a file: its inode and the offset.
Place = tuple[int, int]

#: The place of a file that was not there.
NOWHERE: Place = (0, 0)


class LogFollower:
    """
    Reads what is appended to a file.

    A file that is shorter than before was truncated and is read from its begin; one with another inode is a new one, of
    whose predecessor the rest is read first where it still lies beside it (``accounting.0``, ``accounting.1``). It begins at
    the begin; `skip` passes over what is there.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self._inode: int | None = None
        self._offset = 0
        self._rest = b""

    def skip(self) -> Place:
        """Pass over what is there now; where that ends."""
        try:
            found = os.stat(self.path)
        except FileNotFoundError:
            return NOWHERE
        self._inode, self._offset, self._rest = found.st_ino, found.st_size, b""
        return (found.st_ino, found.st_size)

    def lines(self) -> list[bytes]:
        """
        The whole lines that were appended since the last call, without their ends.

        :raise OSError: if the file is there and cannot be read.
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
        """What was appended to the file that was rotated away, after it was last read."""
        for path in rotated(self.path):
            try:
                if os.stat(path).st_ino == self._inode:
                    with open(path, "rb") as file:
                        file.seek(self._offset)
                        return file.read()
            except OSError:
                pass
        self._rest = b""
        return b""


def rotated(path: str) -> list[str]:
    """The names under which a file's predecessor may lie, the youngest first."""
    return [f"{path}.{suffix}" for suffix in ("0", "1")]


def look_back(
    paths: Sequence[str], enough: Callable[[bytes], bool], upto: Place | None = None, most: int = 4 * 1024**3
) -> Iterator[list[bytes]]:
    """
    The whole lines of these files, the last first, in blocks, each block's lines in their order.

    :param paths: the youngest file first; one that is not there is passed over.
    :param enough: told the first whole line of each block; when it says so, that block is the last.
    :param upto: what was appended after this place is passed over, if the file is among these.
    :param most: bytes after which it gives up.
    :raise OSError: if a file is there and cannot be read.
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
