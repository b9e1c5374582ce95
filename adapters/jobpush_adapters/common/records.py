"""How a job becomes one that has ended, by an accounting record of whatever scheduler. Pure."""

from __future__ import annotations

from typing import Protocol

import attrs

from jobpush.core.model import Confidence, JobDescriptor, Outcome, Phase, ReasonCode


class HowEnded(Protocol):
    """The end of a job as a record has it."""

    @property
    def outcome(self) -> Outcome | None:
        """The outcome; None if the job has not ended."""

    @property
    def exit_code(self) -> int | None:
        """Its exit code."""

    @property
    def signal(self) -> int | None:
        """The signal that ended it."""

    @property
    def reason(self) -> str | None:
        """The reason in the scheduler's words."""

    @property
    def reason_code(self) -> ReasonCode | None:
        """The reason in jobpush's vocabulary."""


def is_same_user(job: JobDescriptor, user: str | None) -> bool:
    """
    Return whether a record of this user can be of this job. Ids recur: another user's job had the id before or has it now.

    A number is no name: a scheduler that cannot resolve a user shows one.

    :param user: None or empty if the record does not say.
    """
    return not user or not job.user or user == job.user or user.isdigit() or job.user.isdigit()


def ended_by_record(job: JobDescriptor, end: HowEnded, **fields: object) -> JobDescriptor:
    """
    Return the job as ended, confirmed by accounting.

    :param fields: the other fields that the record has.
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
