"""The jobs, what is done to them, and what is right to tell of each: values, and functions from values to values."""

from __future__ import annotations

from collections.abc import Sequence

import attrs

#: A job that ends only if it is ended.
FOREVER = "exec sleep 600"

#: Seconds before a job's end at which its end may be told: clocks are read at different moments.
SLACK_S = 1.0

#: How a cell of the table begins that is wrong.
WRONG = "**wrong**"

#: What a tool says, as what it means to its user.
SUCCESS, FAILURE, OPEN, UNKNOWN = "success", "failure", "open", "unknown"


@attrs.frozen
class Kind:
    """
    :ivar name: after "a job that …".
    :ivar script: ``fin N`` writes that it ends, and exits with N.
    :ivar act: what is done to it: ``user`` and ``root`` delete it, ``requeue`` puts it back, ``outage`` lets it end while the
        scheduler's own daemon is down; empty for nothing.
    :ivar waits: whether it must not start.
    :ivar limit: whether it has a limit of a minute.
    :ivar late: whether the tool asks for the first time when the scheduler has forgotten the job.
    """

    name: str
    script: str
    act: str = ""
    waits: bool = False
    limit: bool = False
    late: bool = False

    @property
    def key(self) -> str:
        """A word for it."""
        return "".join(c if c.isalnum() else "_" for c in self.name)


KINDS = (
    Kind("exits 0", "sleep 2; fin 0"),
    Kind("exits 3", "sleep 2; fin 3"),
    Kind("exits 137", "sleep 2; fin 137"),
    Kind("kills itself with SIGKILL", "sleep 2; kill -KILL $$"),
    Kind("is deleted by its user while it runs", FOREVER, "user"),
    Kind("is deleted by an administrator while it runs", FOREVER, "root"),
    Kind("is deleted while it waits", "fin 0", "user", waits=True),
    Kind("runs past its time limit", FOREVER, limit=True),
    Kind("is put back, then exits 0", '[ "$(grep -c start "$FILE")" -gt 1 ] || exec sleep 600; fin 0', "requeue"),
    Kind("exits 3 while the scheduler is down", 'until [ -e "$OUTAGE" ]; do sleep 0.5; done; sleep 2; fin 3', "outage"),
    Kind("exited 3 long before it is first asked about", "fin 3", late=True),
    Kind("exited 0 long before it is first asked about", "fin 0", late=True),
)


@attrs.frozen
class Told:
    """One answer of a tool: when, what it means, and in its own words."""

    at: float
    means: str
    words: str


@attrs.frozen
class Truth:
    """
    What a job did.

    :ivar succeeded: whether it wrote that it ends with 0.
    :ivar over_at: when it was over: what it wrote last, or when it was deleted; None if nothing says so.
    """

    succeeded: bool
    over_at: float | None


def truth_of(lines: Sequence[str], deleted_at: float | None) -> Truth:
    """Return what a job did by the lines that it wrote, ``start TIME`` and ``end CODE TIME``, and when it was deleted."""
    ends = [line.split() for line in lines if line.startswith("end ")]
    if deleted_at is not None:
        return Truth(False, deleted_at)
    if ends:
        return Truth(ends[-1][1] == "0", float(ends[-1][2]))
    return Truth(False, None)


def cell(kind: Kind, told: Sequence[Told], truth: Truth) -> str:
    """Return what the table says of what a tool told of a job: wrong if it told an end too early, or another one."""
    if not told:
        return "cannot be asked"
    early = [
        one for one in told
        if one.means in (SUCCESS, FAILURE) and truth.over_at is not None and one.at < truth.over_at - SLACK_S
    ]  # fmt: skip
    if early:
        return f"{WRONG}: {early[0].words} before its end"
    last = told[-1]
    if last.means == OPEN:
        return f"{WRONG}: for ever {last.words}"
    if last.means == UNKNOWN:
        return f"unknown ({last.words})"
    right = (last.means == SUCCESS) == truth.succeeded
    return last.words if right else f"{WRONG}: {last.words}"
