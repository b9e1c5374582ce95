"""What an accounting record makes of a job, whatever the scheduler. Pure."""

from __future__ import annotations

from typing import Protocol

import attrs

from jobpush.core.model import Confidence, JobDescriptor, Outcome, Phase, ReasonCode


class HowEnded(Protocol):
    """How a record says that a job ended."""

    @property
    def outcome(self) -> Outcome | None:
        """How it ended."""

    @property
    def exit_code(self) -> int | None:
        """Its own code."""

    @property
    def signal(self) -> int | None:
        """The signal that ended it."""

    @property
    def reason(self) -> str | None:
        """The scheduler's words."""

    @property
    def reason_code(self) -> ReasonCode | None:
        """The same in our vocabulary."""


def is_same_user(job: JobDescriptor, user: str | None) -> bool:
    """
    Return whether a record of this user can be of this job. Ids recur: another user's job had the id before or has it now.

    A number is no name: a scheduler that cannot resolve a user shows one.

    :param user: None or empty if the record does not say.
    """
    return not user or not job.user or user == job.user or user.isdigit() or job.user.isdigit()


def ended_by_record(job: JobDescriptor, end: HowEnded, **fields: object) -> JobDescriptor:
    """
    The job as a record says that it ended, confirmed.

    :param fields: what else the record says of it.
    """
    return attrs.evolve(
        job,
        phase=Phase.DONE,
        outcome=end.outcome,
        settled=True,
        exit_code=end.exit_code,
        signal=end.signal,
        reason=end.reason,
        reason_code=end.reason_code,
        flags=(),
        confidence=Confidence.ACCOUNTING,
        pending_tasks=None,
        counts=None,
        **fields,  # type: ignore[arg-type]
    )
