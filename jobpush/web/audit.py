"""A line in the log for each refusal of identity: who, from where, and why; never what was shown to prove it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from twisted.logger import Logger

from jobpush.web.access_log import escaped
from jobpush.web.identity import Refused
from jobpush.web.peers import peer_uid
from jobpush.web.problems import Problem
from jobpush.web.requests import ClientRequest

LOG = Logger(namespace="jobpush.audit")

#: What refuses whoever asks; not what fails otherwise.
REFUSALS = frozenset((400, 401, 403, 429))

#: Characters of what a client may have said that a line has, at most.
MOST = 300


def refused(request: ClientRequest, problem: Problem) -> None:
    """Write of the refusal of a request, if that was refused for who asks."""
    if problem.status in REFUSALS:
        who = problem.who if isinstance(problem, Refused) else ""
        LOG.warn(
            "refused: {who} from {where}, {method} {path}: {status} {why}",
            who=_text(who) or "nobody known",
            where=where(request),
            method=escaped(request.method)[:20],
            path=escaped(request.path)[:MOST],
            status=problem.status,
            why=_text(problem.why if isinstance(problem, Refused) else problem.detail),
        )


@contextmanager
def refusals(request: ClientRequest) -> Iterator[None]:
    """Write of what is refused meanwhile, and let the problem pass."""
    try:
        yield
    except Problem as problem:
        refused(request, problem)
        raise


def where(request: ClientRequest) -> str:
    """Return where a request came from: an address, or the uid of the process at the other end of a unix socket."""
    uid = peer_uid(request.channel.transport)
    if uid is not None:
        return f"uid {uid} on a unix socket"
    client = request.channel.transport.getPeer()
    return str(getattr(client, "host", None) or "a unix socket")


def _text(text: str) -> str:
    return escaped(text.encode("utf-8", "surrogateescape"))[:MOST]
