"""Workflows and their members as JSON, and back."""

from __future__ import annotations

import json

import attrs

from jobpush.core.model import JobKey, split_state
from jobpush.core.wire.values import JsonFields, dumps, from_time, to_time
from jobpush.core.workflow import FirstFailure, Workflow, WorkflowMember, kept_name


def workflow_fields(workflow: Workflow) -> dict[str, object]:
    """Return a workflow as the protocol names it."""
    failure = workflow.first_failure
    fields: dict[str, object] = {
        "name": workflow.told_name,
        "state": workflow.state,
        "phase": workflow.phase.value,
        "outcome": workflow.outcome.value if workflow.outcome is not None else None,
        "settled": workflow.settled,
        "progress": round(workflow.progress, 4),
        "counts": dict(workflow.counts),
        "first_failure": None,
        "started_at": to_time(workflow.started_at),
        "ended_at": to_time(workflow.ended_at),
        "found": workflow.found,
    }
    if failure is not None:
        fields["first_failure"] = {
            "job": "/".join(failure.job),
            "member": "/".join(failure.member),
            "state": failure.state,
            "exit_code": failure.exit_code,
            "signal": failure.signal,
            "reason": failure.reason,
            "at": to_time(failure.at),
        }
    if workflow.deleted:
        fields["deleted"] = True
    return fields


def workflow_from_fields(fields: JsonFields) -> Workflow:
    """Return a workflow from `workflow_fields`, for what the journal has stored."""
    phase, outcome = split_state(fields["state"])
    failure = fields["first_failure"]
    return Workflow(
        name=kept_name(fields["name"]), named="/" in fields["name"],
        phase=phase, outcome=outcome, settled=fields["settled"], counts=fields["counts"],
        first_failure=FirstFailure(
            key_of(failure["job"]), key_of(failure["member"]), failure["state"], from_time(failure["at"]),
            failure["exit_code"], failure["signal"], failure["reason"],
        ) if failure is not None else None,
        started_at=_time_or_none(fields["started_at"]), ended_at=_time_or_none(fields["ended_at"]),
        found=fields["found"], deleted=fields.get("deleted", False),
    )  # fmt: skip


def member_fields(key: JobKey, member: WorkflowMember) -> dict[str, object]:
    """Return a workflow's job as the protocol shows it."""
    fields: dict[str, object] = {
        "job": "/".join(key),
        "name": member.name,
        "state": member.state,
        "exit_code": member.exit_code,
        "submitted_at": to_time(member.submitted_at),
        "started_at": to_time(member.started_at),
        "ended_at": to_time(member.ended_at),
    }
    if member.counts is not None:
        fields["counts"] = dict(member.counts)
    return fields


def member_bytes(member: WorkflowMember) -> bytes:
    """Return a workflow's member for the journal."""
    return dumps(attrs.asdict(member, recurse=False))


def member_from_bytes(data: bytes) -> WorkflowMember:
    """Return a member from `member_bytes`."""
    return WorkflowMember(**json.loads(data))


def key_of(text: str) -> JobKey:
    """Return the key that ``CLUSTER/ID`` stands for."""
    cluster, _, job_id = text.partition("/")
    return (cluster, job_id)


def _time_or_none(text: str | None) -> float | None:
    return from_time(text) if text is not None else None
