"""
The fast path: the next request on a connection without a channel, if it is like the one before.

A client that waits for jobs sends the same headers again and again; what changes is the address. To read them takes Twisted,
Klein and Werkzeug a quarter of a millisecond, several times as long as to hold the request. So what followed the request line
is kept as the bytes that it is, and when the next request ends with these very bytes, there is nothing new in it but the
address.

Pure functions from bytes to what they say. Whatever is out of the ordinary (other headers, a body, a percent sign in the path)
is for the ordinary way, which knows everything.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import attrs
from twisted.web.http import parse_qs

from jobpush.core.bounded_cache import BoundedCache
from jobpush.core.filters import Visibility
from jobpush.web.access_log import escaped, without_ticket
from jobpush.web.held.questions import Asked, Question, asked_by
from jobpush.web.params import decoded, size_of
from jobpush.web.problems import Problem

#: Headers that no route looks at, and that change nothing in how a request is read, beyond who asks: that belongs to the kept
#: bytes, until it expires. Also those that begin like this.
PLAIN = frozenset(
    {
        b"host", b"user-agent", b"referer", b"origin", b"cache-control", b"pragma", b"dnt", b"forwarded", b"via", b"priority",
        b"authorization", b"x-slurm-user-token", b"x-slurm-user-name",
    }
)  # fmt: skip
PLAIN_BEGINS = (b"accept", b"sec-", b"x-forwarded-")

#: Longer header blocks and request lines are not kept, in bytes.
LONGEST = 2000

#: Of how many addresses is remembered what they say, and the bytes that it may take up: an address of 2 kB may have 300 values.
MOST_TARGETS = 512
MOST_TARGET_BYTES = 4 * 1024 * 1024

#: Paths of which a router would make nothing else, and queries that can stand in a request line.
_PLAIN_PATH = re.compile(rb"[A-Za-z0-9/._\-\[\]@:+]+")
_VISIBLE = re.compile(rb"[!-~]*")

#: The paths of routes, and of those whose path has a cluster and an id, or a name, after it.
_WHOLE = {b"/v1/changes": "changes", b"/jobstatus": "jobstatus", b"/v1/wait": "wait"}


@attrs.frozen(eq=False)
class Target:
    """
    What an address says.

    :ivar route: the name of what answers it, as in `jobpush.web.held.questions.Question`.
    :ivar arguments: the parts of the path that vary.
    :ivar parameters: texts of the query string, by name.
    :ivar line: the request line, as the access log has it.
    :ivar size: bytes that its parameters take up.
    """

    route: str
    arguments: tuple[str, ...]
    parameters: dict[str, list[object]]
    line: str
    size: int


@attrs.frozen(eq=False)
class Address:
    """
    A question that its address says in full, kept as that: what it says takes up ten times as much. See `questions.Asked`.

    :ivar uri: of a GET without a condition; `read_target` takes it.
    :ivar asker: whose workflows it names; see `asker_of`.
    """

    uri: bytes
    visibility: Visibility
    size: int
    asker: str = ""

    def seen_by(self, visibility: Visibility) -> Address:
        """See `jobpush.web.held.questions.Asked`."""
        return attrs.evolve(self, visibility=visibility)

    def again(self, now: float) -> Question:
        """See `jobpush.web.held.questions.Asked`."""
        target = read_target(self.uri)
        assert target is not None
        return question_of(target, self.visibility, now, self.asker)


def question_of(target: Target, visibility: Visibility, now: float, asker: str) -> Question:
    """
    Return what an address asks.

    :param asker: the user who asks; empty for who did not say who he is.
    """
    return asked_by(
        asker, Question(target.route, target.arguments, target.parameters, now, visibility, size=target.size)
    )


def asker_of(target: Target, asker: str) -> str:
    """Return the user who asks, if it depends on that what the address means: it names workflows. Else nobody."""
    return asker if target.route == "workflow" or "workflow" in target.parameters else ""


def kept(question: Question, method: bytes, uri: bytes, asker: str) -> Asked:
    """
    Return what is kept of a question that came in an ordinary request: its address, if that says all of it.

    :param asker: the user who asks.
    """
    if method != b"GET" or question.condition is not None or len(uri) > LONGEST:
        return question
    target = read_target(uri)
    if target is None:
        return question
    again = question_of(target, question.visibility, question.came_at, asker)
    if (again.route, again.arguments) != (question.route, question.arguments):
        return question
    return Address(uri, question.visibility, question.size, asker_of(target, asker))


def _size(uri: bytes, target: Target | None) -> int:
    return 3 * len(uri) + (target.size if target is not None else 0) + 500


def targets() -> BoundedCache[bytes, Target | None]:
    """Return a cache of what addresses say; None for one that is not taken here."""
    return BoundedCache(read_target, _size, MOST_TARGET_BYTES, MOST_TARGETS)


def header_block(piece: bytes, method: bytes, version: bytes, headers: Iterable[tuple[bytes, Sequence[bytes]]]) -> bytes:
    """
    Return what followed the request line, if that is to be compared with the next request on the connection; else nothing.

    :param piece: the bytes from the network that the whole request came in; empty if it came in several.
    :param headers: by name, as they were read.
    """
    end = piece.find(b"\r\n")
    if (
        method != b"GET"
        or version != b"HTTP/1.1"
        or not piece.startswith(b"GET ")  # a blank line before the request would be taken for its end
        or not 4 < len(piece) - end <= LONGEST
        or piece.find(b"\r\n\r\n") != len(piece) - 4
    ):
        return b""
    host = False
    for name, values in headers:
        lower = name.lower()
        host = host or lower == b"host"
        if lower == b"connection":
            if [value.lower() for value in values] != [b"keep-alive"]:
                return b""
        elif lower not in PLAIN and not lower.startswith(PLAIN_BEGINS):
            return b""
    return piece[end:] if host else b""


def target_in(data: bytes, raw: bytes) -> bytes | None:
    """
    Return the address that a request is for, if the bytes are one whole GET with these headers; else None.

    :param raw: what follows the request line.
    """
    end = len(data) - len(raw)
    if not 16 <= end <= LONGEST or not data.endswith(raw) or data.find(b"\r\n") != end:
        return None
    if data[:5] != b"GET /" or data[end - 9 : end] != b" HTTP/1.1":
        return None
    return data[4 : end - 9]


def read_target(uri: bytes) -> Target | None:
    """Read an address; None if it is not one of those that are taken here."""
    path, _, query = uri.partition(b"?")
    if not _PLAIN_PATH.fullmatch(path) or not _VISIBLE.fullmatch(query):
        return None
    arguments: tuple[str, ...] = ()
    route = _WHOLE.get(path)
    if route is None and path.startswith(b"/v1/jobs/"):
        cluster, _, job_id = path[9:].decode("ascii").partition("/")
        if cluster and job_id and "/" not in job_id:
            route, arguments = "job", (cluster, job_id)
    elif route is None and path.startswith(b"/v1/workflows/"):
        owner, slash, name = path[14:].decode("ascii").rpartition("/")
        if name and bool(owner) is bool(slash) and "/" not in owner:
            route, arguments = "workflow", (owner, name) if owner else (name,)
    if route is None:
        return None
    try:
        parameters = decoded(parse_qs(query, True))
    except Problem:
        return None
    return Target(route, arguments, parameters, escaped(b"GET " + without_ticket(uri) + b" HTTP/1.1"), size_of(parameters))
