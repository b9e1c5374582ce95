"""
The process that asks a PBS server about jobs through libpbs, and answers what ``qstat`` would: ``ifl_helper.py LIBRARY``.

`jobpush_adapters.pbs.ifl` starts it and exchanges lines with it over its standard streams. It is a process of its own because a
library that is called through ctypes may crash or hang. It imports nothing of jobpush.

A question is a line of JSON: ``["list"]``, as ``qstat -t -w``, or ``["jobs", HISTORY, ID, …]``, as ``qstat [-x] -f -F
json``. An answer begins with a line ``STATUS LENGTH``; so many bytes follow: what was asked for, or, with status 1, why it
cannot be had.

Structures and numbers are from ``pbs_ifl.h`` and ``pbs_error.h`` of OpenPBS 23.06.
"""

from __future__ import annotations

import ctypes
import json
import re
import signal
import sys
from collections.abc import Iterable, Iterator

#: PBSE_UNKJOBID, PBSE_HISTJOBID: the job is unknown, or has finished and its history was not asked for.
UNKNOWN = frozenset({15001, 15139})

#: What a row of the list is made of, and what stands above the first.
LISTED = (b"job_state", b"queue")
HEAD = ("Job id Name User Time S Queue\n", "------ ---- ---- ---- - -----\n")

#: PR_SET_PDEATHSIG (prctl(2)).
PARENT_DEATH_SIGNAL = 1

#: A name, a resource or None, and a value.
Found = tuple[bytes, bytes | None, bytes | None]


class PbsError(Exception):
    """The server could not be asked."""


class Attribute(ctypes.Structure):
    """``struct attrl``."""


Attribute._fields_ = [
    ("next", ctypes.POINTER(Attribute)), ("name", ctypes.c_char_p), ("resource", ctypes.c_char_p), ("value", ctypes.c_char_p),
    ("op", ctypes.c_int),
]  # fmt: skip


class Status(ctypes.Structure):
    """``struct batch_status``."""


Status._fields_ = [
    ("next", ctypes.POINTER(Status)), ("name", ctypes.c_char_p), ("attribs", ctypes.POINTER(Attribute)),
    ("text", ctypes.c_char_p),
]  # fmt: skip


def load(path: str) -> ctypes.CDLL:
    """Return libpbs, with the types of what is called."""
    pbs = ctypes.CDLL(path)
    pbs.pbs_statjob.restype = ctypes.POINTER(Status)
    pbs.pbs_statjob.argtypes = [ctypes.c_int, ctypes.c_char_p, ctypes.POINTER(Attribute), ctypes.c_char_p]
    pbs.pbs_statfree.argtypes = [ctypes.POINTER(Status)]
    pbs.pbs_geterrmsg.restype = ctypes.c_char_p
    pbs.__pbs_errno_location.restype = ctypes.POINTER(ctypes.c_int)
    return pbs


def error_of(pbs: ctypes.CDLL) -> int:
    """Return the number of the last error of this thread."""
    return int(getattr(pbs, "__pbs_errno_location")().contents.value)  # noqa: B009 - a name with two underscores is mangled


def wanted(names: tuple[bytes, ...]) -> ctypes._Pointer[Attribute] | None:
    """Return the list of attributes that are asked for; None for all of them."""
    last = None
    for name in reversed(names):
        last = ctypes.pointer(Attribute(last, name, None, None, 0))
    return last


def ask(
    pbs: ctypes.CDLL, connection: int, job: bytes | None, names: tuple[bytes, ...], extend: bytes
) -> Iterator[tuple[bytes, list[Found]]]:
    """Yield the id of each job, and its attributes."""
    first = pbs.pbs_statjob(connection, job, wanted(names), extend or None)
    if not first and error_of(pbs) != 0 and (job is None or error_of(pbs) not in UNKNOWN):
        raise PbsError(f"libpbs: {text(pbs.pbs_geterrmsg(connection)) or 'no answer'} (errno={error_of(pbs)})")
    status = first
    while status:
        found = []
        attribute = status.contents.attribs
        while attribute:
            one = attribute.contents
            found.append((one.name, one.resource, one.value))
            attribute = one.next
        yield status.contents.name, found
        status = status.contents.next
    if first:
        pbs.pbs_statfree(first)


def row(job: bytes, attributes: list[Found]) -> str:
    """Return a row of the list: of its columns, those that are read."""
    values = {name: text(value) for name, _, value in attributes}
    return f"{text(job)} - - - {values.get(b'job_state', '?')} {values.get(b'queue', '?')}\n"


def text(value: bytes | None) -> str:
    """Return a value as text."""
    return (value or b"").decode("utf-8", "surrogateescape")


def variables(value: str) -> dict[str, str]:
    """Return the variables of ``A=1,B=2``; a comma within a value stands behind a backslash."""
    words = (word.replace("\\,", ",").partition("=") for word in re.split(r"(?<!\\),", value))
    return {name: rest for name, _, rest in words if name}


def document(jobs: Iterable[tuple[bytes, list[Found]]]) -> dict[str, dict[str, str | dict[str, str]]]:
    """Return the attributes of jobs, those with resources nested, as in the JSON of ``qstat``."""
    found: dict[str, dict[str, str | dict[str, str]]] = {}
    for job_id, attributes in jobs:
        job = found.setdefault(text(job_id), {})
        for name, resource, value in attributes:
            key = text(name)
            nested = job.setdefault(key, {}) if resource else variables(text(value)) if key == "Variable_List" else text(value)
            if resource and isinstance(nested, dict):
                nested[text(resource)] = text(value)
            job[key] = nested
    return found


class Server:
    """The server, and a connection that is kept."""

    def __init__(self, pbs: ctypes.CDLL) -> None:
        self._pbs = pbs
        self._connection = -1

    def answer(self, question: list[object]) -> str:
        """
        Return the answer to a question; over a new connection if it cannot be had over the one that is there. Blocks.

        :raise PbsError: if it cannot be had.
        """
        if self._connection >= 0:
            try:
                return self._answer(question)
            except PbsError:
                self._pbs.pbs_disconnect(self._connection)
                self._connection = -1
        self._connection = self._pbs.pbs_connect(None)
        if self._connection < 0:
            raise PbsError(f"libpbs: cannot connect to the server (errno={error_of(self._pbs)})")
        return self._answer(question)

    def _answer(self, question: list[object]) -> str:
        what, *rest = question
        if what == "list":
            rows = [row(job, found) for job, found in ask(self._pbs, self._connection, None, LISTED, b"t")]
            return "".join([*(HEAD if rows else ()), *rows])
        history, *jobs = rest
        extend = b"x" if history else b""
        told = (one for job in jobs for one in ask(self._pbs, self._connection, str(job).encode("ascii"), (), extend))
        return json.dumps({"Jobs": document(told)}, indent=4) + "\n"


def main(arguments: list[str]) -> None:
    """Answer until standard input ends."""
    ctypes.CDLL(None).prctl(PARENT_DEATH_SIGNAL, signal.SIGKILL, 0, 0, 0)
    server = Server(load(arguments[0]))
    for line in sys.stdin:
        try:
            status, said = 0, server.answer(json.loads(line))
        except PbsError as error:
            status, said = 1, f"{error}\n"
        data = said.encode("utf-8", "surrogateescape")
        sys.stdout.buffer.write(b"%d %d\n" % (status, len(data)) + data)
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main(sys.argv[1:])
