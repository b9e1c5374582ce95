"""
What a client gets: jobs, events, barriers, workflows, and what can go wrong.

Each value holds the fields of the protocol as they came (``fields``); what programs use most has a name and a type here. A
field that a newer server adds disturbs nothing.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import attrs

#: A value of JSON: what the protocol says a field holds is known to whoever reads the field.
Json: TypeAlias = Any

#: An object of JSON.
Fields = Mapping[str, Json]


def moment(text: str | None) -> datetime.datetime | None:
    """A time of the protocol (RFC 3339, UTC)."""
    if text is None:
        return None
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00"))


@attrs.frozen(eq=False)
class Value:
    """Something of the protocol: ``value["field"]`` is what the server said."""

    fields: Fields = attrs.field(repr=False)

    def __getitem__(self, name: str) -> Json:
        return self.fields[name]

    def get(self, name: str, default: Json = None) -> Json:
        """A field that may not be there."""
        return self.fields.get(name, default)


class _Ended(Value):
    """What jobs and workflows have in common."""

    @property
    def state(self) -> str:
        """The outcome if it has ended (``COMPLETED``, ``FAILED`` …), else the phase (``QUEUED``, ``RUNNING`` …)."""
        return str(self.fields["state"])

    @property
    def succeeded(self) -> bool:
        """Whether it has ended, and well."""
        return self.state == "COMPLETED"

    @property
    def started_at(self) -> datetime.datetime | None:
        """When it began to run, in UTC."""
        return moment(self.fields.get("started_at"))

    @property
    def ended_at(self) -> datetime.datetime | None:
        """When it ended, in UTC."""
        return moment(self.fields.get("ended_at"))


class Job(_Ended):
    """One job, array or array task as the server describes it (PROTOCOL: "job")."""

    def __repr__(self) -> str:
        return f"<Job {self.key} {self.state}>"

    @property
    def cluster(self) -> str:
        """The name of its cluster."""
        return str(self.fields["cluster"])

    @property
    def id(self) -> str:
        """The scheduler's own id, such as ``4711`` or ``4711_3``."""
        return str(self.fields["id"])

    @property
    def key(self) -> str:
        """``cluster/id``: what every call takes."""
        return f"{self.cluster}/{self.id}"

    @property
    def phase(self) -> str:
        """QUEUED, HELD, STARTING, RUNNING, SUSPENDED, FINISHING, DONE or UNKNOWN."""
        return str(self.fields["phase"])

    @property
    def outcome(self) -> str | None:
        """How it ended; None while it has not."""
        return self.fields.get("outcome")

    @property
    def terminal(self) -> bool:
        """Whether it has ended, and that is confirmed."""
        return self.phase == "DONE" and bool(self.fields.get("settled"))

    @property
    def exit_code(self) -> int | None:
        """Of the job's script; None if a signal ended it, or it never ran."""
        return self.fields.get("exit_code")

    @property
    def signal(self) -> int | None:
        """The signal that ended it."""
        return self.fields.get("signal")

    @property
    def name(self) -> str | None:
        """The name that its user gave it."""
        return self.fields.get("name")

    @property
    def user(self) -> str | None:
        """Whose it is."""
        return self.fields.get("user")

    @property
    def moved_to(self) -> str | None:
        """``cluster/id`` of the job that it has become, if another cluster took it and that is known."""
        return self.fields.get("moved_to")

    @property
    def reason(self) -> str | None:
        """Why it waits or failed, in the scheduler's words."""
        return self.fields.get("reason")

    @property
    def submitted_at(self) -> datetime.datetime | None:
        """When it was submitted, in UTC."""
        return moment(self.fields.get("submitted_at"))


class Met(_Ended):
    """A job or workflow of a barrier that is far enough, and how it ended."""

    def __repr__(self) -> str:
        return f"<Met {self.key} {self.state}>"

    @property
    def key(self) -> str:
        """``cluster/id`` of a job, the name of a workflow."""
        return str(self.fields.get("job") or self.fields.get("workflow"))

    @property
    def moved_to(self) -> str | None:
        """``cluster/id`` of the job that it has become, if another cluster took it: how it ended is how that one did."""
        return self.fields.get("moved_to")

    @property
    def exit_code(self) -> int | None:
        """Of the job's script; None if a signal ended it, or it never ran."""
        return self.fields.get("exit_code")

    @property
    def signal(self) -> int | None:
        """The signal that ended it."""
        return self.fields.get("signal")

    @property
    def reason(self) -> str | None:
        """In the scheduler's words."""
        return self.fields.get("reason")


class WorkflowStatus(_Ended):
    """A named set of jobs as one thing."""

    def __repr__(self) -> str:
        return f"<WorkflowStatus {self.name} {self.state} {self.progress:.0%}>"

    @property
    def name(self) -> str:
        """Its name."""
        return str(self.fields["name"])

    @property
    def progress(self) -> float:
        """The share of its jobs and tasks that has ended, 0 to 1."""
        return float(self.fields["progress"])

    @property
    def counts(self) -> Mapping[str, int]:
        """How many of its jobs and tasks are in each state."""
        counts: Mapping[str, int] = self.fields["counts"]
        return counts

    @property
    def terminal(self) -> bool:
        """Whether all of its jobs have ended, for good."""
        return self.fields.get("phase") == "DONE" and bool(self.fields.get("settled"))

    @property
    def first_failure(self) -> Fields | None:
        """The job or task that was the first to end badly."""
        return self.fields.get("first_failure")


class Step(Value):
    """One step of a job's history."""

    def __repr__(self) -> str:
        return f"<Step {self.state} {self.fields['at']}>"

    @property
    def state(self) -> str:
        """The state that it entered."""
        return str(self.fields["state"])

    @property
    def at(self) -> datetime.datetime:
        """When, in UTC."""
        at = moment(self.fields["at"])
        assert at is not None
        return at


class ChangeEvent(Value):
    """A change of a job or a workflow."""

    def __repr__(self) -> str:
        what = self.job or self.workflow
        return f"<ChangeEvent {self.cursor} {what!r}>"

    @property
    def kind(self) -> str:
        """``job`` or ``workflow``."""
        return str(self.fields["type"])

    @property
    def cursor(self) -> str:
        """Its place: what comes after it can be asked for with this."""
        return str(self.fields["cursor"])

    @property
    def at(self) -> datetime.datetime:
        """When it happened, in UTC: the scheduler's time where that is known."""
        at = moment(self.fields["at"])
        assert at is not None
        return at

    @property
    def job(self) -> Job | None:
        """The job as it is from then on."""
        return Job(self.fields["job"]) if "job" in self.fields else None

    @property
    def workflow(self) -> WorkflowStatus | None:
        """The workflow as it is from then on."""
        return WorkflowStatus(self.fields["workflow"]) if "workflow" in self.fields else None

    @property
    def previous(self) -> str | None:
        """The state before."""
        return (self.fields.get("previous") or {}).get("state")


@attrs.frozen(eq=False)
class JobList:
    """Jobs as they are, and the cursor from which their changes can be followed."""

    cursor: str
    jobs: Sequence[Job] = attrs.field(repr=False)


@attrs.frozen(eq=False)
class Reset(JobList):
    """
    The server no longer has what followed the last event (it keeps a limited past, or its journal was begun anew): changes may
    have been missed. What is now is in ``jobs``; events go on from there.
    """


@attrs.frozen(eq=False)
class BarrierResult:
    """
    How far some jobs and workflows are.

    :ivar done: whether enough of them are met.
    :ivar met: those that are far enough.
    :ivar open: ``cluster/id`` or names of those that are not.
    :ivar unknown: those that no scheduler knows.
    """

    done: bool
    cursor: str
    met: Sequence[Met]
    open: Sequence[str]
    unknown: Sequence[str]


class ClientError(Exception):
    """What goes wrong with a call."""


class Unreachable(ClientError):
    """The server could not be reached, or did not answer, for as long as the client was willing to try."""


class ApiError(ClientError):
    """
    The server refused the call.

    :ivar status: the HTTP status.
    :ivar parameter: what was wrong, if the server said so.
    """

    def __init__(self, status: int, detail: str, fields: Fields) -> None:
        super().__init__(detail)
        self.status = status
        self.fields = fields
        self.parameter: str | None = fields.get("parameter")


class Unknown(ApiError):
    """There is no such job or workflow: a query of the scheduler that began after the call did not find it."""


class CursorExpired(ApiError):
    """The server no longer has what follows this cursor."""


class WaitTimeout(ClientError):
    """
    The time was up before it was so.

    :ivar last: what was known then; None if nothing was.
    """

    def __init__(self, text: str, last: Job | BarrierResult | WorkflowStatus | None) -> None:
        super().__init__(text)
        self.last = last
