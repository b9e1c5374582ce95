"""The directory that the journal is in: one service has it at a time, on a local disk."""

from __future__ import annotations

import fcntl
import os
import struct

from jobpush.events.interfaces import JournalError

#: File systems on which SQLite's write-ahead log does not work, or not safely.
NETWORK_FILE_SYSTEMS = frozenset(
    {
        *("nfs", "nfs4", "lustre", "gpfs", "beegfs", "cifs", "smb3", "smbfs", "ncpfs", "ceph", "afs", "coda", "9p"),
        *("orangefs", "pvfs2", "panfs", "wekafs", "glusterfs"),
        *("fuse.sshfs", "fuse.glusterfs", "fuse.ceph", "fuse.ceph-fuse", "fuse.s3fs", "fuse.gcsfuse", "fuse.juicefs"),
        *("fuse.rclone", "fuse.smbnetfs", "fuse.curlftpfs", "fuse.mfs", "fuse.lizardfs", "fuse.saunafs", "fuse.beegfs"),
        *("fuse.cvmfs2", "fuse.gvfsd-fuse", "fuse.davfs2", "fuse.weka"),
    }
)


#: The begin of the index of a write-ahead log, which is there twice: the version, whether it is valid, the bytes of a page, and
#: how many frames the log has. In the order of bytes of this host.
_INDEX = struct.Struct("=I 8x Bx H I 28x")

#: The name of the journal's file.
NAME = "journal.sqlite"


def was_used(directory: str) -> bool:
    """Return whether a journal was opened here before."""
    return size_of(os.path.join(directory, "lock")) > 0


def mark_used(directory: str) -> None:
    """Note, in the file of the lock, that there is a journal here: one that is missing later is missed."""
    with open(os.path.join(directory, "lock"), "w", encoding="ascii") as file:
        file.write(f"The journal of jobpush is in {NAME}.\n")


def size_of(path: str) -> int:
    """Return the bytes of a file; 0 if there is none."""
    try:
        return os.path.getsize(path)
    except OSError:
        return 0


def create_file(path: str) -> None:
    """
    Make a file that others may not read: jobs' names and comments are in it. SQLite gives its helpers the same mode.

    :raise JournalError: where that is not possible.
    """
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640))
    except OSError as error:
        raise JournalError(f"{path} cannot be used: {error.strerror}") from None


def lock_directory(directory: str) -> int:
    """
    Make the state directory and keep it for this process. The lock goes with the process, however it ends.

    :return: the file descriptor that holds the lock.
    :raise JournalError: if it cannot be used, or is in use.
    """
    try:
        os.makedirs(directory, mode=0o750, exist_ok=True)
        kind = file_system_of(directory)
        if kind in NETWORK_FILE_SYSTEMS:
            raise JournalError(f"the state directory {directory} is on {kind}; it must be on a local disk (SQLite's WAL)")
        descriptor = os.open(os.path.join(directory, "lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
    except OSError as error:
        reason = "Not a directory" if isinstance(error, FileExistsError) else error.strerror or error
        raise JournalError(f"the state directory {directory} cannot be used: {reason}") from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not os.access(directory, os.W_OK):
            raise OSError("not writable")
    except BlockingIOError:
        os.close(descriptor)
        raise JournalError(f"the state directory {directory} is in use by another jobpush") from None
    except OSError as error:
        os.close(descriptor)
        raise JournalError(f"the state directory {directory} cannot be used: {error}") from None
    return descriptor


class Files:
    """
    The files of an open journal, as they should be found under their names.

    :param path: of the file; SQLite's write-ahead log is beside it.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._found: dict[str, tuple[int, int]] = {}
        self._size = 0
        self._index: int | None = None

    def problem(self) -> str | None:
        """
        Return what has become of them, if they are not those that were there when this was called first: what is written to
        them goes nowhere. (The journal only grows; its write-ahead log is at least as long as SQLite's index of it says.)
        """
        for path in (self._path, f"{self._path}-wal"):
            before = self._found.get(path)
            try:
                now = os.stat(path)
            except OSError as error:
                if before is not None or path == self._path:
                    return f"{path} is gone: {error.strerror}"
                continue
            if before not in (None, (now.st_dev, now.st_ino)):
                return f"{path} was replaced"
            self._found[path] = (now.st_dev, now.st_ino)
            if path == self._path:
                if now.st_size < self._size:
                    return f"{path} was cut from {self._size} to {now.st_size} bytes"
                self._size = now.st_size
        return self._cut_log()

    def _cut_log(self) -> str | None:
        """Return what has become of the write-ahead log if it is shorter than its index says, at a moment when that is so."""
        path = f"{self._path}-wal"
        before = self._indexed()
        size = size_of(path)
        if size >= before[0] or self._indexed() != before:
            return None
        return f"{path} was cut from {before[0]} to {size} bytes"

    def _indexed(self) -> tuple[int, bytes]:
        """
        Return how long the write-ahead log is at least, by its index (https://www.sqlite.org/walformat.html), and the index's
        begin, which no other moment has; 0 if that cannot be told.
        """
        try:
            if self._index is None:
                self._index = os.open(f"{self._path}-shm", os.O_RDONLY | os.O_CLOEXEC)
            data = os.pread(self._index, 2 * _INDEX.size, 0)
        except OSError:
            return 0, b""
        if len(data) < 2 * _INDEX.size or data[: _INDEX.size] != data[_INDEX.size :]:  # it is being written
            return 0, b""
        _, initialized, page, frames = _INDEX.unpack_from(data)
        return (32 + frames * (24 + (65536 if page == 1 else page)) if initialized and frames else 0), data

    def close(self) -> None:
        """
        Look no more. Not before SQLite has closed its files: when a process closes a file that it has opened twice, all of its
        locks on it are gone (``fcntl_locking(2)``), and other processes take the journal for unused.
        """
        if self._index is not None:
            os.close(self._index)
            self._index = None


def file_system_of(path: str, mountinfo: str = "/proc/self/mountinfo") -> str:
    """Return the type of the file system that holds a path (``proc_pid_mountinfo(5)``); empty if that cannot be told."""
    path = os.path.realpath(path)
    best = ("", "")
    try:
        with open(mountinfo, encoding="utf-8", errors="surrogateescape") as lines:
            for line in lines:
                fields, _, rest = line.partition(" - ")
                point = fields.split()[4].replace("\\040", " ")
                inside = path == point or path.startswith(point.rstrip("/") + "/")
                if inside and len(point) >= len(best[0]):
                    best = (point, rest.split()[0])
    except (OSError, IndexError):
        return ""
    return best[1]
