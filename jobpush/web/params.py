"""
What a client asked for, from the query string or a JSON body: every value checked, every error naming its parameter.
"""

from __future__ import annotations

import json
import math
import random
import re
from collections.abc import Generator, Mapping, Sequence
from contextlib import suppress
from typing import Any

import attrs

from jobpush.adapter.interfaces import InvalidJobId
from jobpush.core.cursors import Cursor
from jobpush.core.filters import ALL, Selection, Visibility
from jobpush.core.model import STATES, JobKey
from jobpush.core.patterns import MOST_BYTES, MOST_PATTERNS, MOST_WILDCARDS, wildcards
from jobpush.core.workflow import WORKFLOW_NAME, kept_name, owner_of
from jobpush.events.interfaces import CursorGone, JournalError
from jobpush.runtime.cooperate import finish
from jobpush.runtime.timer_wheel import SHARE
from jobpush.service import JobPush
from jobpush.web.problems import Problem, not_yet_known
from jobpush.web.requests import ClientRequest

DEFAULT_WAIT_S = 60.0
LONGEST_WAIT_S = 600.0
DEFAULT_LIMIT = 500
HIGHEST_LIMIT = 10_000

#: How many jobs one request may name, and how many values a filter may have.
MOST_IDS = 20_000
MOST_VALUES = 1000

#: Bytes that an id, or a value of a filter, takes while its request is held, beside its own characters: its objects, its places
#: in sets, and what events find it by. Measured with 20,000 ids in a request: 750 of a barrier's, 280 of a change feed's.
VALUE_BYTES = 750

#: Jobs that are read before other work may have its turn.
_PAUSE_EVERY = 500

#: A number as text. Python's ``float`` takes more: ``1_0``, spaces around it, digits of other scripts.
_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")

#: The filters of the protocol, and the field of `Selection` that each is for.
FILTERS = {
    "cluster": "clusters",
    "user": "users",
    "account": "accounts",
    "state": "states",
    "queue": "queues",
    "name": "names",
    "comment": "comments",
    "workflow": "workflows",
}


class Params:
    """
    The parameters of one request, by name; each a list of texts, or JSON values from a body.

    :param known: the names that this route takes. Another name is an error, unless it begins with ``_``.
    :param visibility: whose jobs the client may see: a part of each selection.
    """

    def __init__(
        self, service: JobPush, values: Mapping[str, list[object]], known: frozenset[str], visibility: Visibility = ALL
    ) -> None:
        self._service = service
        self._values = values
        self._visibility = visibility
        for name in values:
            if name not in known and not name.startswith("_"):
                raise Problem(400, f"unknown parameter {_shown(name)}; known here are {', '.join(sorted(known))}", name[:100])

    @classmethod
    def of_fields(
        cls, service: JobPush, fields: Mapping[str, object], known: frozenset[str], visibility: Visibility = ALL
    ) -> Params:
        """From the fields of a JSON object."""
        return cls(service, values_of(fields), known, visibility)

    @property
    def size(self) -> int:
        """Bytes that they take up while the request is held."""
        return size_of(self._values)

    def one(self, name: str) -> Any:
        """Its only value, or None."""
        values = self._values.get(name, [])
        if len(values) > 1:
            raise Problem(400, f"{name} is given {len(values)} times; expected once", name)
        return values[0] if values else None

    def text(self, name: str) -> str | None:
        """A text, or None."""
        value = self.one(name)
        if value is not None and not isinstance(value, str):
            raise Problem(400, f"{name}: expected a text", name)
        return value

    def wait(self, default: float | None, name: str = "wait") -> float | None:
        """Seconds to hold the request."""
        value = self.one(name)
        return default if value is None else check_wait(value, name)

    def limit(self, highest: int = HIGHEST_LIMIT) -> int:
        """How many events or jobs at most."""
        value = self.one("limit")
        if value is None:
            return DEFAULT_LIMIT
        text = str(value)
        if isinstance(value, bool) or not text.isascii() or not text.isdigit() or len(text) > 9 or int(text) < 1:
            raise Problem(400, f"limit: expected a whole number from 1 to {highest}", "limit")
        return min(int(text), highest)

    def since(self, name: str = "since") -> int | None:
        """The number after which events are asked for, or None."""
        text = self.text(name)
        return None if text is None else resolve(self._service, text, name)

    def until(self) -> str | None:
        """``change``, ``started``, ``terminal`` or None."""
        text = self.text("until")
        if text not in (None, "change", "started", "terminal"):
            raise Problem(400, "until: expected change, started or terminal", "until")
        return text

    def selection(self) -> Selection:
        """The filters and the jobs."""
        return finish(self.selection_steps())

    def selection_steps(self) -> Generator[None, None, Selection]:
        """The same, with pauses."""
        fields: dict[str, Any] = {}
        for name, field in FILTERS.items():
            values = self._values.get(name)
            if values is None:
                continue
            if not all(isinstance(value, str) for value in values):
                raise Problem(400, f"{name}: expected a text or a list of texts", name)
            fields[field] = _patterns(name, values) if field in ("names", "comments") else _few(name, values)
        for state in fields.get("states", ()):
            if state not in STATES:
                raise Problem(400, f"state: {_shown(state)} is none of {', '.join(sorted(STATES))}", "state")
        for cluster in fields.get("clusters", ()):
            check_cluster(self._service, cluster, "cluster")
        if "workflows" in fields:
            for name in fields["workflows"]:
                check_workflow(name, "workflow")
            fields["workflows_of"] = self._service.workflows.names_of
        own = self._visibility.user
        of_own = bool(fields.get("workflows")) and {owner_of(name) for name in fields["workflows"]} == {own}
        if not self._visibility.settled and not of_own and fields.get("users") != {own}:
            raise not_yet_known(self._service.hiding.unknown())
        jobs = self._values.get("job")
        if jobs is not None:
            fields["keys"] = frozenset((yield from self.jobs("job", jobs)))
        return Selection(**fields, visibility=self._visibility)

    def jobs(self, name: str, jobs: Sequence[object]) -> Generator[None, None, dict[JobKey, str]]:
        """
        The jobs that are named, by key, as the client wrote them. Pauses now and then.

        :param name: of the parameter that names them.
        """
        if len(jobs) > MOST_IDS:
            raise Problem(400, f"{name}: {len(jobs)} jobs; at most {MOST_IDS} in one request", name.rstrip("s") + "s")
        found: dict[JobKey, str] = {}
        for count, job in enumerate(jobs, 1):
            found[self.job(job, name)] = str(job)
            if count % _PAUSE_EVERY == 0:
                yield
        return found

    def values(self, name: str) -> list[object]:
        """All its values."""
        return self._values.get(name, [])

    def job(self, value: object, name: str) -> JobKey:
        if not isinstance(value, str):
            raise Problem(400, f"{name}: expected texts such as \"slurm/4711\"", name)
        cluster, slash, job_id = value.partition("/")
        if not slash:
            cluster, job_id = only_cluster(self._service, name), value
        check_cluster(self._service, cluster, name)
        return canonical_key(self._service, cluster, job_id, name, self._visibility)


def _few(name: str, values: Sequence[Any]) -> frozenset[str]:
    """The values of a filter, not too many."""
    found = frozenset(values)
    if len(found) > MOST_VALUES:
        raise Problem(400, f"{name}: {len(found)} values; at most {MOST_VALUES} in one request", name)
    return found


def _patterns(name: str, values: Sequence[Any]) -> tuple[str, ...]:
    """The patterns of a filter: no more, no longer, and with no more wildcards than can be matched against every job."""
    found = tuple(dict.fromkeys(values))
    if len(found) > MOST_PATTERNS:
        raise Problem(400, f"{name}: {len(found)} patterns; at most {MOST_PATTERNS} in one request", name)
    for pattern in found:
        if len(pattern.encode("utf-8", "replace")) > MOST_BYTES or wildcards(pattern) > MOST_WILDCARDS:
            limits = f"a pattern of at most {MOST_BYTES} bytes with at most {MOST_WILDCARDS} wildcards"
            raise Problem(400, f"{name}: expected {limits}, not {_shown(pattern)}", name)
    return found


def body_of(request: ClientRequest) -> dict[str, list[object]]:
    """
    The parameters in the body of a request, a JSON object, by name.

    :raise Problem: 400, if it is none, or parameters are in the query string.
    """
    if request.args:
        name = next(iter(request.args)).decode("utf-8", "replace")
        method = request.method.decode("ascii")
        raise Problem(400, f"a {method} takes its parameters from the body, not from the query string", name[:100])
    try:
        fields = json.loads(request.content.read())
    except (ValueError, RecursionError) as error:
        raise Problem(400, f"the body is not JSON: {error}", "body") from None
    if not isinstance(fields, dict):
        raise Problem(400, "the body is not a JSON object", "body")
    return values_of(fields)


def values_of(fields: Mapping[str, object]) -> dict[str, list[object]]:
    """
    The parameters in a JSON object, by name; ``jobs`` and ``workflows`` are its words for ``job`` and ``workflow``.

    :raise Problem: 400, if one must be a list and is none.
    """
    values = {}
    for name, value in fields.items():
        if value is None:
            continue
        if name in ("job", "jobs", "edges") and not isinstance(value, list):
            what = "pairs of jobs" if name == "edges" else "texts such as \"slurm/4711\""
            raise Problem(400, f"{name}: expected a list of {what}", name)
        name = {"jobs": "job", "workflows": "workflow"}.get(name, name)
        values[name] = value if isinstance(value, list) else [value]
    return values


def with_kept_names(values: Mapping[str, list[object]], asker: str) -> Mapping[str, list[object]]:
    """
    Return the parameters of a request with the names of workflows as they are kept: what is alike then means the same, whoever
    asks.

    :param asker: the user who asks; empty for who did not say who he is.
    """
    names = values.get("workflow")
    if not names:
        return values
    return {**values, "workflow": [kept_name(name, asker) if isinstance(name, str) else name for name in names]}


def size_of(values: Mapping[str, Sequence[object]]) -> int:
    """Return the bytes that the parameters of a request take up, about, while it is held."""
    return sum(
        VALUE_BYTES + (len(value) if isinstance(value, str) else 0) for given in values.values() for value in given
    )


def decoded(args: Mapping[bytes, list[bytes]]) -> dict[str, list[object]]:
    """
    A query string's names and values as texts.

    :raise Problem: 400, if they are not UTF-8.
    """
    values: dict[str, list[object]] = {}
    for name, given in args.items():
        try:
            text = name.decode("utf-8")
        except UnicodeDecodeError:
            raise Problem(400, "the name of a parameter is not UTF-8", name.decode("utf-8", "replace")[:100]) from None
        try:
            values[text] = [value.decode("utf-8") for value in given]
        except UnicodeDecodeError:
            raise Problem(400, f"{text} is not UTF-8", text[:100]) from None
    return values


def check_wait(value: object, name: str) -> float:
    """A time to wait in seconds, clamped to what is allowed."""
    seconds = math.nan
    is_text_of_one = isinstance(value, str) and _NUMBER.fullmatch(value) is not None
    if isinstance(value, (str, int, float)) and (is_text_of_one or not isinstance(value, (str, bool))):
        with suppress(OverflowError):  # a whole number of hundreds of digits
            seconds = float(value)
    if not (math.isfinite(seconds) and seconds >= 0):
        raise Problem(400, f"{name}: expected seconds, 0 or more, such as 60 or 2.5", name)
    return min(seconds, LONGEST_WAIT_S)


def jittered(wait: float) -> float:
    """
    A deadline for a wait, before which the answer must not come: clients drift apart. The timer wheel is up to a thirty-second
    late; so the answer comes between 15/16 of the wait and the wait, and no client's deadline is overrun.
    """
    return wait * (15 / 16 + random.random() * (1 / 16 - SHARE))


def resolve(service: JobPush, text: str, name: str) -> int:
    """
    The number that a cursor of the protocol stands for: ``now``, ``0`` or ``<epoch>-<seq>``.

    :raise Problem: 400 if it is none, 410 if it is gone.
    """
    feed = service.feed
    if text == "now":
        return feed.head
    if text == "0":
        return feed.oldest
    try:
        return feed.resolve(Cursor.parse(text))
    except ValueError as error:
        raise Problem(400, f"{name}: {error}", name) from None
    except CursorGone:
        raise gone(service) from None


def gone(service: JobPush) -> Problem:
    """410: the cursor is lost, here is where to begin anew."""
    return Problem(
        410,
        "the journal no longer holds, or never held, what follows this cursor: take a snapshot and go on from its cursor",
        "since",
        oldest_cursor=service.feed.cursor(service.feed.oldest),
        snapshot_url="/v1/jobs",
    )


def journal_fails(error: JournalError) -> Problem:
    """503: the journal cannot be read or written at the moment."""
    return Problem(503, str(error), headers={"Retry-After": "5"})


def only_cluster(service: JobPush, name: str) -> str:
    """The one cluster that there is, for an id without one."""
    if len(service.monitors) != 1:
        raise Problem(400, f"{name}: several clusters are served; write CLUSTER/ID with one of {_clusters(service)}", name)
    return next(iter(service.monitors))


def check_cluster(service: JobPush, cluster: str, name: str, status: int = 400) -> None:
    """
    Check that a cluster is served.

    :raise Problem: of that status, if it is not.
    """
    if cluster not in service.monitors:
        raise Problem(status, f"{name}: there is no cluster {_shown(cluster)}; served are {_clusters(service)}", name)


def check_workflow(name: object, where: str, found: bool = True) -> str:
    """
    Check that a workflow can have this name, and return it.

    :param found: whether it may have been found in jobs' tags: such a name has ``@`` and the user after it.
    :raise Problem: 400, if it cannot.
    """
    text = name if isinstance(name, str) else ""
    own, at, user = text.partition("@")
    if not WORKFLOW_NAME.fullmatch(own) or (at and (not found or len(user) > 256 or "/" in user)):
        raise Problem(
            400,
            f"{where}: {_shown(str(name))} is no name of a workflow; expected a letter or digit, then up to 127 letters, "
            f"digits or any of _.:+-{', then perhaps @USER' if found else ''}",
            where,
        )
    return text


def canonical_key(service: JobPush, cluster: str, job_id: str, name: str, visibility: Visibility) -> JobKey:
    """
    The key of a job that a client wrote, within the scheduler's grammar; aliases resolved of jobs that the client may see.
    """
    try:
        canonical = service.monitor_of(cluster).queue.canonical_id(job_id)
    except InvalidJobId as error:
        raise Problem(400, f"{name}: {_shown(job_id)} is not a job id of {cluster}: {error}", name) from None
    return resolved(service, (cluster, canonical), visibility)


def resolved(service: JobPush, key: JobKey, visibility: Visibility) -> JobKey:
    """
    Return the key that one is an alias of by now; itself, if it is none, or that of a job that may not be shown: its id is as
    secret as the job.
    """
    jobs = service.table.cluster(key[0])
    canonical = jobs.canonical(key[1])
    record = jobs.get(canonical) if canonical != key[1] else None
    return (key[0], canonical) if record is not None and visibility.shows(record.subject.user) else key


def _clusters(service: JobPush) -> str:
    return ", ".join(sorted(service.monitors))


def _shown(text: str) -> str:
    return repr(text if len(text) <= 80 else text[:80] + "…")


@attrs.frozen
class Preference:
    """``If-None-Match`` with ``Prefer: wait=N`` (RFC 7240)."""

    etags: tuple[str, ...]
    wait: float | None

    def has(self, etag: str) -> bool:
        """Return whether the client has this version: RFC 9110 compares weakly, and ``*`` is any."""
        return any(each == "*" or each.removeprefix("W/") == etag.removeprefix("W/") for each in self.etags)


def preference(request: ClientRequest) -> Preference | None:
    """What a conditional request asks for, or None where it is not one."""
    header = request.getHeader(b"if-none-match")
    if header is None:
        return None
    etags = tuple(part.strip() for part in header.decode("latin-1").split(","))
    wait = None
    for value in request.requestHeaders.getRawHeaders(b"prefer", []):
        for part in value.decode("latin-1").split(","):
            name, _, seconds = part.partition(";")[0].partition("=")
            if name.strip().lower() == "wait":
                wait = check_wait(seconds.strip().strip('"'), "Prefer")
    return Preference(etags, wait)
